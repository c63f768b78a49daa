"""Run many layers as a scan over one, for any XLA implementation of a single convolution.

Reverse mode is written by hand: a second forward pass stores the input of each rectifier, then a
scan goes backwards through the layers.
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
    """One implementation of k * u.

    Attributes:
        forward: `forward(kernel, values, boundary)`, k * u on the pixel grid.
        reverse: `reverse(kernel, values, boundary, cotangent, needed)`, the cotangents of kernel
            and values; None for those that `needed`, a pair of bools, excludes.
    """

    forward: Callable[..., jax.Array]
    reverse: Callable[..., tuple[jax.Array | None, jax.Array | None]]


def run(
    convolution: Convolution, stack: Stack, kernels: jax.Array, values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The field after all layers of a stack, as values and e of values · 2ᵉ."""
    fast = functools.partial(forward, convolution, stack)
    plain = functools.partial(forward_at_exponent, convolution, stack)

    def reverse_function(needed):
        pull_back = functools.partial(reverse, convolution, stack, needed)
        return derivatives.Function(pull_back, pull_back)

    function = derivatives.Function(fast, plain, reverse_function)
    values, exponent = derivatives.call(function, kernels, values)
    return values, exponent


def forward(convolution, stack, kernels, values):
    """The field after all layers in plain JAX, as values and e of values · 2ᵉ."""
    (values, _, exponent), _ = _scan(convolution, stack, kernels, values, keep=False)
    return values, exponent


def forward_at_exponent(convolution, stack, kernels, values, exponent):
    """The values after all layers in plain JAX, scaled to the given exponent."""
    values, computed = forward(convolution, stack, kernels, values)
    return (values * power_of_two(computed - exponent, values.dtype),)


def reverse(convolution, stack, needed, kernels, values, exponent, cotangent):
    """dL/dkernels and dL/dvalues, those that are needed, from dL/d(values after all layers)."""
    inputs, scales, computed = _rectifier_inputs(convolution, stack, kernels, values)
    last, first_scale = stack.steps - 1, scales[0]
    g = cotangent * power_of_two(computed - exponent, values.dtype)

    def back(g, total, z, layer, before, scale, need_field):
        kernel = (kernels[layer] if stack.stacked else kernels[0]) * scale
        m = jax.vjp(stack.rectifier, z)[1](g)[0]
        dk, du = convolution.reverse(kernel, before, stack.boundary, m, (needed[0], need_field))
        if needed[0] and stack.stacked:
            total = jax.lax.dynamic_update_index_in_dim(total, dk * scale, layer, 0)
        elif needed[0]:
            total = total + (dk * scale)[None]
        return du, total

    def step(state, layer):
        g, total, z = state
        z_before = jax.lax.dynamic_index_in_dim(inputs, layer - 1, keepdims=False)
        before = stack.rectifier(z_before)
        g, total = back(g, total, z, layer, before, scales[layer], True)
        return (g, total, z_before), None

    state = (g, jnp.zeros_like(kernels), inputs[last])
    (g, total, z), _ = jax.lax.scan(step, state, jnp.arange(last, 0, -1))
    du, dk = back(g, total, z, 0, values, first_scale, needed[1])
    return tuple(c for c, n in zip((dk, du), needed, strict=True) if n)


def steps_between_rescales(stack: Stack) -> int:
    """Layers that a field may pass without rescaling, if each may shrink it by 19 digits."""
    return max(1, int(-np.log10(float(jnp.finfo(stack.dtype).tiny)) / 18.9))


def power_of_two(exponent, dtype):
    """2^exponent, without gradient."""
    return jnp.ldexp(jnp.ones((), dtype), jax.lax.stop_gradient(exponent))


def _rectifier_inputs(convolution, stack, kernels, values):
    """Input of each layer's rectifier, scale of each layer's kernel, and the final exponent."""
    (_, _, exponent), (inputs, scales) = _scan(convolution, stack, kernels, values, keep=True)
    return inputs, scales, exponent


def _scan(convolution, stack, kernels, values, *, keep):
    """The final (values, scale, exponent), and each layer's (rectifier input, scale) if `keep`."""

    def layer(state, kernel):
        values, scale, exponent = state
        kernel = kernels[0] if kernel is None else kernel
        z = convolution.forward(kernel * scale, values, stack.boundary)
        state = stack.rectifier(z).astype(values.dtype), jnp.ones_like(scale), exponent
        return state, (z, scale) if keep else None

    def rescaled(state):
        values, _, exponent = state
        wide = values.astype(safe_math.wider(values.dtype, jnp.float32))
        size = safe_math.total(jnp.abs(jax.lax.stop_gradient(wide)) / values.size)
        _, e = jnp.frexp(size)
        e = jnp.where(jnp.isfinite(size), e, 0).astype(exponent.dtype)
        return values, power_of_two(-e, values.dtype), exponent + e

    def chunk(state, chunk_kernels):
        state, kept = jax.lax.scan(layer, state, chunk_kernels, length=interval)
        return rescaled(state), kept

    state = (values, jnp.ones((), values.dtype), jnp.zeros((), jnp.int32))
    layer_kernels = kernels if stack.stacked else None
    interval = steps_between_rescales(stack)
    chunks = (stack.steps - 1) // interval if stack.rescale else 0
    cut = chunks * interval
    head_kept = None
    if chunks:
        head = jax.tree.map(
            lambda a: a[:cut].reshape(chunks, interval, *a.shape[1:]), layer_kernels
        )
        state, head_kept = jax.lax.scan(chunk, state, head, length=chunks)
        head_kept = jax.tree.map(lambda a: a.reshape(cut, *a.shape[2:]), head_kept)
    tail = jax.tree.map(lambda a: a[cut:], layer_kernels)
    state, kept = jax.lax.scan(layer, state, tail, length=stack.steps - cut)
    if chunks and keep:
        kept = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), head_kept, kept)
    return state, kept
