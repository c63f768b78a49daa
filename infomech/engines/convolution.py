"""Convolution by XLA's own operator. Its compile time doesn't grow with the number of taps."""

import functools

import jax
import jax.numpy as jnp

from infomech.engines import layers, shifts
from infomech.engines.stack import Engine, Stack


def objection(stack: Stack, platform: str) -> str | None:
    """None: this engine supports every stack of layers on every platform."""
    return None


def _convolve(kernel, values, boundary):
    # the operator is a cross-correlation: reflecting the kernel makes it a convolution
    padded = shifts.pad(values, kernel.shape, boundary)
    out = jax.lax.conv_general_dilated(
        padded[None, None],
        jnp.flip(kernel)[None, None],
        window_strides=(1,) * kernel.ndim,
        padding="VALID",
        precision=jax.lax.Precision.HIGHEST,
    )
    return out[0, 0]


def _reverse(kernel, values, boundary, cotangent, needed):
    def convolve(kernel, values):
        return _convolve(kernel, values, boundary)

    dk, du = jax.vjp(convolve, kernel, values)[1](cotangent)
    return dk if needed[0] else None, du if needed[1] else None


convolution = layers.Convolution(_convolve, _reverse)
run = functools.partial(layers.run, convolution)
ENGINE = Engine("convolution", objection, run, plain=functools.partial(layers.forward, convolution))
