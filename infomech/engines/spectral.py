"""All layers at once in Fourier space, for the identity on a periodic domain.

û after n layers is Ĥⁿ û with Ĥ(ω) = Σ_i k[i] exp(−iω(i − c)), so the cost of n layers of one kernel
doesn't depend on n. Logarithms select the mode that is largest at the end, and its |Ĥ|ⁿ becomes the
exponent of the result: no number of layers over- or underflows. Rounding errors are n times those
of Ĥ; use float64 for 10⁵ layers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech._core import safe_math
from infomech.engines import native
from infomech.engines.stack import Engine, Stack


def objection(stack: Stack, platform: str) -> str | None:
    """Reason why this engine can't execute these layers on any platform; None if it can."""
    if stack.rectifier != rectifiers.identity:
        return f"supports only the identity, not {stack.rectifier.name}"
    if stack.boundary != "periodic":
        return f"supports only a periodic boundary, not {stack.boundary}"
    if stack.dtype not in ("float32", "float64"):
        return f"has no Fourier transform of {stack.dtype}"
    return None


def run(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers of a stack, as values and e of values · 2ᵉ."""
    transfer = jax.vmap(lambda kernel: _transfer(kernel, stack.shape))(kernels)
    modes = jnp.fft.rfftn(values)
    if stack.stacked:
        modes, exponent = _multiply_each(transfer, modes, stack.rescale)
    else:
        modes, exponent = _power(transfer[0], modes, stack.steps, stack.rescale)
    return jnp.fft.irfftn(modes, stack.shape).astype(values.dtype), exponent


def reservation(stack: Stack, platform: str) -> str | None:
    """Reason not to choose this engine automatically; None if its two transforms pay."""
    if objection(stack, platform):
        return None  # a better reason
    is_native = native.ENGINE.available(stack, platform)
    # two transforms and a power against all multiply-adds, by measured costs
    transforms = (110 if is_native else 16) * math.log2(max(2, math.prod(stack.shape)))
    pays = not stack.stacked and stack.steps * math.prod(stack.kernel_size) > transforms
    return None if pays else "is slower here than layer by layer"


def _transfer(kernel, shape):
    """Ĥ(ω) on the modes of `rfftn`, by one product with exp(−iω(i − c)) per axis."""
    transfer = jax.lax.complex(kernel, jnp.zeros_like(kernel))
    for axis, (n, m) in enumerate(zip(kernel.shape, shape, strict=True)):
        modes = np.arange(m // 2 + 1 if axis == kernel.ndim - 1 else m)
        # reduce the product of integers modulo m before rounding
        turns = np.outer(modes, np.arange(n) - (n - 1) // 2) % m / m
        waves = jnp.asarray(np.exp(-2j * np.pi * turns), transfer.dtype)
        product = jnp.tensordot(waves, transfer, axes=(1, axis), precision="highest")
        transfer = jnp.moveaxis(product, 0, axis)
    return transfer


def _power(transfer, modes, steps, rescale):
    """m and e of m · 2ᵉ = transferˢᵗᵉᵖˢ · modes."""
    if not rescale:
        return jax.lax.integer_pow(transfer, steps) * modes, jnp.zeros((), jnp.int32)
    log_size = safe_math.log(_size(jax.lax.stop_gradient(transfer)))
    final = steps * log_size + safe_math.log(_size(jax.lax.stop_gradient(modes)))
    largest = log_size.ravel()[jnp.argmax(final)]
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    twos = steps * largest / math.log(2)
    exponent = jnp.floor(twos)
    rest = jnp.exp((twos - exponent) * math.log(2))
    # a mode that outgrows the largest final mode has zero amplitude: drop it before it overflows
    limit = 0.5 * math.log(float(jnp.finfo(log_size.dtype).max))
    scale = jnp.where(steps * (log_size - largest) < limit, jnp.exp(-largest), 0)
    power = jax.lax.integer_pow(_times(scale, transfer), steps)
    return _times(rest, power * modes), exponent.astype(jnp.int32)


def _multiply_each(transfers, modes, rescale):
    """The product of all transfer functions and the modes, rescaled after each layer."""

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
    """scale · z for a real scale, without promotion to complex."""
    return jax.lax.complex(scale * z.real, scale * z.imag)


def _size(z):
    """|z|, with gradient 0 at 0."""
    return safe_math.sqrt(z.real**2 + z.imag**2)


def _all_layers(stack: Stack) -> int:
    return stack.steps


ENGINE = Engine(
    "spectral",
    objection,
    run,
    plain=run,
    reservation=reservation,
    segment=_all_layers,
    recomputes_layers=False,
)
