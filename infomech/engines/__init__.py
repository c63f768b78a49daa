"""How a stack of layers is executed: one file per engine, and a plan that chooses among them.

An engine is a module with `objection(stack, platform)`, why it can't execute a `Stack` of layers or
None, and `run(stack, kernels, values)`, which gives values and an exponent e of the field after all
of them, values · 2ᵉ. Each convolution is the true one on the pixel grid,
out[x] = Σ_i k[i] u[x − i + c] with c = (n − 1)//2. An engine that executes several layers at a time
on an accelerator is another such module.
"""
