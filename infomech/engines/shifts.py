"""The convolution as a sum of shifted copies of the field, which XLA fuses to one pass."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import safe_math
from infomech.engines import layers
from infomech.engines.stack import Stack

#: with more taps than this, each an operation of its own, XLA falls back to something slow
MAX_TAPS = 200


def objection(stack: Stack, platform: str) -> str | None:
    """Why this engine can't execute these layers on any platform; None if it can."""
    taps = math.prod(stack.kernel_size)
    return f"{taps} taps, one operation each, are too many" if taps > MAX_TAPS else None


def pad(values: jax.Array, taps: tuple[int, ...], boundary: str) -> jax.Array:
    """`values` with the n//2 pixels below and (n − 1)//2 above that a kernel of n taps reads.

    With a boundary of "valid" they are there already, and the field loses them.
    """
    if boundary == "valid":
        return values
    mode = {"zero": "constant", "periodic": "wrap", "reflect": "reflect"}[boundary]
    return jnp.pad(values, [(n // 2, (n - 1) // 2) for n in taps], mode=mode)


def _convolve(kernel, values, boundary):
    """Σ_i k[i] u[x − i + c]."""
    padded = pad(values, kernel.shape, boundary)
    shape = tuple(m - n + 1 for m, n in zip(padded.shape, kernel.shape, strict=True))
    shifted = _shifted(padded, kernel.shape, shape)
    return sum((kernel[i] * s for i, s in shifted), start=jnp.zeros((), values.dtype))


def _reverse(kernel, values, boundary, cotangent, wanted):
    """dL/dk[i] = Σ_x g(x) u(x − i + c) and dL/du = Σ_i k[i] g(y + i − c), for g = dL/d(k * u)."""
    dk = du = None
    if wanted[0]:
        padded = pad(values, kernel.shape, boundary)
        shifted = _shifted(padded, kernel.shape, cotangent.shape)
        # XLA's matrix products are some ten times faster on CPU than its reductions
        dk = jnp.stack([safe_math.total(cotangent * s) for _, s in shifted]).reshape(kernel.shape)
    if wanted[1]:
        du = _correlate(kernel, cotangent, boundary)
    return dk, du


def _correlate(kernel, cotangent, boundary):
    if boundary in ("zero", "periodic"):
        mode = {"zero": "constant", "periodic": "wrap"}[boundary]
        below = [((n - 1) // 2, n // 2) for n in kernel.shape]
        padded = jnp.pad(cotangent, below, mode=mode)
        shifted = _shifted(padded, kernel.shape, cotangent.shape)
        return sum(
            (
                kernel[tuple(n - 1 - a for a, n in zip(i, kernel.shape, strict=True))] * s
                for i, s in shifted
            ),
            start=jnp.zeros((), cotangent.dtype),
        )
    # what lies beyond the mirror gets its share as well, and is folded back
    wide = [(n - 1, n - 1) for n in kernel.shape]
    shape = tuple(m + n - 1 for m, n in zip(cotangent.shape, kernel.shape, strict=True))
    flipped = jnp.flip(kernel)
    shifted = _shifted(jnp.pad(cotangent, wide), kernel.shape, shape)
    full = sum((flipped[i] * s for i, s in shifted), start=jnp.zeros((), cotangent.dtype))
    if boundary == "valid":
        return full
    mirror = functools.partial(pad, taps=kernel.shape, boundary=boundary)
    return jax.linear_transpose(mirror, cotangent)(full)[0]


def _shifted(padded, taps, shape):
    """(i, the padded field from n − 1 − i on) for each tap i of a box of n."""
    for index in np.ndindex(taps):
        start = [n - 1 - i for i, n in zip(index, taps, strict=True)]
        yield (
            index,
            jax.lax.slice(padded, start, [a + m for a, m in zip(start, shape, strict=True)]),
        )


convolution = layers.Convolution(_convolve, _reverse)
run = functools.partial(layers.run, convolution)
