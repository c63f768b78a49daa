"""Many layers by repeating one in a scan, for any way in which XLA executes one convolution.

Reverse mode is written out: what each rectifier sees is computed once more and kept, then the
layers are gone through backwards.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import safe_math
from infomech.engines import derivatives
from infomech.engines.stack import Stack


@dataclass(frozen=True)
class Convolution:
    """One way to execute k * u.

    Attributes:
        forward: `forward(kernel, values, boundary)`, k * u on the pixel grid.
        reverse: `reverse(kernel, values, boundary, cotangent, wanted)`, the cotangents of kernel
            and values, None for what isn't wanted.
    """

    forward: Callable[..., jax.Array]
    reverse: Callable[..., tuple[jax.Array | None, jax.Array | None]]


def run(
    convolution: Convolution, stack: Stack, kernels: jax.Array, values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The field after all layers of a stack, as values and e of values · 2ᵉ."""
    fast = functools.partial(passed, convolution, stack)
    plain = functools.partial(rescaled, convolution, stack)

    def reverse_of(wanted):
        form = functools.partial(reverse, convolution, stack, wanted)
        return derivatives.Function(form, form)

    found = derivatives.call(derivatives.Function(fast, plain, reverse_of), kernels, values)
    return found[0], found[1]


def rescaled(convolution, stack, kernels, values, exponent):
    """The values after all layers as they are with this exponent, in plain JAX."""
    values, own = passed(convolution, stack, kernels, values)
    return (values * power(own - exponent, values.dtype),)


def reverse(convolution, stack, wanted, kernels, values, exponent, cotangent):
    """The wanted ones of dL/dkernels and dL/dvalues, from dL/d(values after all layers)."""
    seen, scales, own = _seen(convolution, stack, kernels, values)
    last, first_scale = stack.steps - 1, scales[0]
    g = cotangent * power(own - exponent, values.dtype)

    def back(g, total, z, layer, before, scale, want_field):
        kernel = (kernels[layer] if stack.stacked else kernels[0]) * scale
        m = jax.vjp(stack.rectifier, z)[1](g)[0]
        dk, du = convolution.reverse(kernel, before, stack.boundary, m, (wanted[0], want_field))
        if wanted[0] and stack.stacked:
            total = jax.lax.dynamic_update_index_in_dim(total, dk * scale, layer, 0)
        elif wanted[0]:
            total = total + (dk * scale)[None]
        return du, total

    def step(state, layer):
        g, total, z = state
        z_before = jax.lax.dynamic_index_in_dim(seen, layer - 1, keepdims=False)
        before = stack.rectifier(z_before)
        g, total = back(g, total, z, layer, before, scales[layer], True)
        return (g, total, z_before), None

    state = (g, jnp.zeros_like(kernels), seen[last])
    (g, total, z), _ = jax.lax.scan(step, state, jnp.arange(last, 0, -1))
    du, dk = back(g, total, z, 0, values, first_scale, wanted[1])
    return tuple(c for c, w in zip((dk, du), wanted, strict=True) if w)


def layers_between_scales(stack: Stack) -> int:
    """How many layers a field may pass between scales: a layer may take 19 digits of its size."""
    return max(1, int(-np.log10(float(jnp.finfo(stack.dtype).tiny)) / 18.9))


def passed(convolution, stack, kernels, values):
    """Values after all layers, and e of values · 2ᵉ."""
    (values, _, exponent), _ = _scan(convolution, stack, kernels, values, keep=False)
    return values, exponent


def _seen(convolution, stack, kernels, values):
    """What each layer's rectifier sees, the scale of its kernel, and the exponent of the last."""
    (_, _, exponent), (seen, scales) = _scan(convolution, stack, kernels, values, keep=True)
    return seen, scales, exponent


def _scan(convolution, stack, kernels, values, *, keep):
    def layer(state, own):
        values, scale, exponent = state
        kernel = kernels[0] if own is None else own
        z = convolution.forward(kernel * scale, values, stack.boundary)
        state = stack.rectifier(z).astype(values.dtype), jnp.ones_like(scale), exponent
        return state, (z, scale) if keep else None

    def renewed(state):
        values, _, exponent = state
        wide = values.astype(safe_math.wider(values.dtype, jnp.float32))
        size = safe_math.total(jnp.abs(jax.lax.stop_gradient(wide)) / values.size)
        _, e = jnp.frexp(size)
        e = jnp.where(jnp.isfinite(size), e, 0).astype(exponent.dtype)
        return values, power(-e, values.dtype), exponent + e

    def chunk(state, own):
        state, kept = jax.lax.scan(layer, state, own, length=every)
        return renewed(state), kept

    state = (values, jnp.ones((), values.dtype), jnp.zeros((), jnp.int32))
    own = kernels if stack.stacked else None
    every = layers_between_scales(stack)
    chunks = (stack.steps - 1) // every if stack.rescale else 0
    cut = chunks * every
    kept = None
    if chunks:
        head = jax.tree.map(lambda a: a[:cut].reshape(chunks, every, *a.shape[1:]), own)
        state, kept = jax.lax.scan(chunk, state, head, length=chunks)
        kept = jax.tree.map(lambda a: a.reshape(cut, *a.shape[2:]), kept)
    tail = jax.tree.map(lambda a: a[cut:], own)
    state, rest = jax.lax.scan(layer, state, tail, length=stack.steps - cut)
    if chunks and keep:
        rest = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), kept, rest)
    return state, rest


def power(exponent, dtype):
    """2^exponent, without gradient."""
    return jnp.ldexp(jnp.ones((), dtype), jax.lax.stop_gradient(exponent))
