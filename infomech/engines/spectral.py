"""All layers at once in Fourier space, for the identity on a periodic domain.

û after n layers is Ĥⁿ û with Ĥ(ω) = Σ_i k[i] exp(−iω(i − c)), so the cost of n layers of one kernel
doesn't depend on n. By their logarithms the mode is found that is largest in the end; its |Ĥ|ⁿ
leaves as an exponent, so that no number of layers over- or underflows. Rounding errors are n times
those of Ĥ: 10⁵ layers want float64.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech._core import safe_math
from infomech.engines.stack import Stack


def objection(stack: Stack, platform: str) -> str | None:
    """Why this engine can't execute these layers on any platform; None if it can."""
    if stack.rectifier != rectifiers.identity:
        return f"it is for the identity, not {stack.rectifier.name}"
    if stack.boundary != "periodic":
        return f"it is for a periodic boundary, not {stack.boundary}"
    if stack.dtype not in ("float32", "float64"):
        return f"there is no Fourier transform of {stack.dtype}"
    return None


def run(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers of a stack, as values and e of values · 2ᵉ."""
    transfer = jax.vmap(lambda kernel: _transfer(kernel, stack.shape))(kernels)
    modes = jnp.fft.rfftn(values)
    if stack.stacked:
        modes, exponent = _one_by_one(transfer, modes, stack.rescale)
    else:
        modes, exponent = _power(transfer[0], modes, stack.steps, stack.rescale)
    return jnp.fft.irfftn(modes, stack.shape).astype(values.dtype), exponent


def _transfer(kernel, pixels):
    """Ĥ(ω) on the modes of `rfftn`, by one product with exp(−iω(i − c)) per axis."""
    transfer = jax.lax.complex(kernel, jnp.zeros_like(kernel))
    for axis, (n, m) in enumerate(zip(kernel.shape, pixels, strict=True)):
        modes = np.arange(m // 2 + 1 if axis == kernel.ndim - 1 else m)
        # the product of integers is reduced before it is rounded
        turns = np.outer(modes, np.arange(n) - (n - 1) // 2) % m / m
        waves = jnp.asarray(np.exp(-2j * np.pi * turns), transfer.dtype)
        moved = jnp.tensordot(waves, transfer, axes=(1, axis), precision="highest")
        transfer = jnp.moveaxis(moved, 0, axis)
    return transfer


def _power(transfer, modes, layers, rescale):
    """transferˡᵃʸᵉʳˢ · modes, over 2 to the exponent that is returned as well."""
    if not rescale:
        return jax.lax.integer_pow(transfer, layers) * modes, jnp.zeros((), jnp.int32)
    log_size = safe_math.log(_size(jax.lax.stop_gradient(transfer)))
    end = layers * log_size + safe_math.log(_size(jax.lax.stop_gradient(modes)))
    largest = log_size.ravel()[jnp.argmax(end)]
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    twos = layers * largest / math.log(2)
    exponent = jnp.floor(twos)
    rest = jnp.exp((twos - exponent) * math.log(2))
    # a mode that would be larger yet than the largest in the end can only be one without content
    most = 0.5 * math.log(float(jnp.finfo(log_size.dtype).max))
    scale = jnp.where(layers * (log_size - largest) < most, jnp.exp(-largest), 0)
    power = jax.lax.integer_pow(_times(scale, transfer), layers)
    return _times(rest, power * modes), exponent.astype(jnp.int32)


def _one_by_one(transfers, modes, rescale):
    """The product of all transfer functions and the modes, with exponents taken out on the way."""

    def layer(state, transfer):
        modes, exponent = state
        modes = transfer * modes
        if not rescale:
            return (modes, exponent), None
        _, e = jnp.frexp(safe_math.magnitude(_size(jax.lax.stop_gradient(modes))))
        scale = jnp.ldexp(jnp.ones((), modes.real.dtype), -e)
        return (_times(scale, modes), exponent + e.astype(exponent.dtype)), None

    return jax.lax.scan(layer, (modes, jnp.zeros((), jnp.int32)), transfers)[0]


def _times(scale, z):
    """scale · z for a real scale, where JAX is told never to promote."""
    return jax.lax.complex(scale * z.real, scale * z.imag)


def _size(z):
    """|z|, with gradient 0 at 0."""
    return safe_math.sqrt(z.real**2 + z.imag**2)
