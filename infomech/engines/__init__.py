"""How one layer's convolution is executed: one file per engine, and a plan that chooses among them.

Every engine is a function `convolve(kernel, values, boundary)` with the same result:
out[x] = Σ_i k[i] u[x − i + c] with c = (n − 1)//2, the true convolution on the pixel grid.
"""
