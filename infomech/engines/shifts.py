"""Convolution as a sum of shifted copies of the field, which XLA fuses into one pass."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import safe_math
from infomech.engines import layers
from infomech.engines.stack import Engine, Stack

#: each tap is one operation; with more than this, XLA stops fusing them and slows down
MAX_TAPS = 200


def objection(stack: Stack, platform: str) -> str | None:
    """Reason why this engine can't execute these layers on any platform; None if it can."""
    taps = math.prod(stack.kernel_size)
    return f"uses one operation per tap, {taps} taps are too many" if taps > MAX_TAPS else None


def pad(values: jax.Array, kernel_size: tuple[int, ...], boundary: str) -> jax.Array:
    """Pad each axis with the n//2 pixels below and (n − 1)//2 above that n taps read.

    A boundary of "valid" adds none: the values already include them, and the convolution removes
    them.
    """
    if boundary == "valid":
        return values
    mode = {"zero": "constant", "periodic": "wrap", "reflect": "reflect"}[boundary]
    return jnp.pad(values, [(n // 2, (n - 1) // 2) for n in kernel_size], mode=mode)


def _convolve(kernel, values, boundary):
    """Σ_i k[i] u[x − i + c]."""
    padded = pad(values, kernel.shape, boundary)
    shape = tuple(m - n + 1 for m, n in zip(padded.shape, kernel.shape, strict=True))
    shifted = _shifted(padded, kernel.shape, shape)
    return sum((kernel[i] * s for i, s in shifted), start=jnp.zeros((), values.dtype))


def _reverse(kernel, values, boundary, cotangent, needed):
    """dL/dk[i] = Σ_x g(x) u(x − i + c) and dL/du = Σ_i k[i] g(y + i − c), for g = dL/d(k * u)."""
    dk = du = None
    if needed[0]:
        padded = pad(values, kernel.shape, boundary)
        shifted = _shifted(padded, kernel.shape, cotangent.shape)
        # XLA's matrix products are about ten times faster on CPU than its reductions
        dk = jnp.stack([safe_math.total(cotangent * s) for _, s in shifted]).reshape(kernel.shape)
    if needed[1]:
        du = _correlate(kernel, cotangent, boundary)
    return dk, du


def _correlate(kernel, cotangent, boundary):
    """Σ_i k[i] g(y + i − c), the transpose of the convolution."""
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
    # cotangents of pixels beyond the mirror are folded back onto the pixels they mirror
    wide = [(n - 1, n - 1) for n in kernel.shape]
    shape = tuple(m + n - 1 for m, n in zip(cotangent.shape, kernel.shape, strict=True))
    flipped = jnp.flip(kernel)
    shifted = _shifted(jnp.pad(cotangent, wide), kernel.shape, shape)
    full = sum((flipped[i] * s for i, s in shifted), start=jnp.zeros((), cotangent.dtype))
    if boundary == "valid":
        return full
    mirror = functools.partial(pad, kernel_size=kernel.shape, boundary=boundary)
    return jax.linear_transpose(mirror, cotangent)(full)[0]


def _shifted(padded, kernel_size, shape):
    """Yield (i, slice of the padded field that starts at n − 1 − i) for each tap i of n."""
    for index in np.ndindex(kernel_size):
        start = [n - 1 - i for i, n in zip(index, kernel_size, strict=True)]
        yield (
            index,
            jax.lax.slice(padded, start, [a + m for a, m in zip(start, shape, strict=True)]),
        )


convolution = layers.Convolution(_convolve, _reverse)
run = functools.partial(layers.run, convolution)
ENGINE = Engine("shifts", objection, run, plain=functools.partial(layers.forward, convolution))
