"""Execute a stack of layers: one module per engine, and a planner that chooses among them.

An engine is a module with two functions. `objection(stack, platform)` returns the reason why it
can't execute a `Stack` of layers, or None. `run(stack, kernels, values)` returns values and an
exponent e; the field after all layers is values · 2ᵉ. Each convolution is a true one on the pixel
grid, out[x] = Σ_i k[i] u[x − i + c] with c = (n − 1)//2. To add an engine, for example one that
fuses several layers on an accelerator, write another such module.
"""
