"""One field split over many devices: each passes layers on a tile of its own.

Neighbors exchange halos of several layers' reach at a time, so that devices talk seldom; in
between, each computes the halo along with its tile. Reverse mode is that of JAX, which sends the
cotangents of halos back the way they came.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from infomech._core import safe_math, scans
from infomech.engines import convolution, derivatives, halo, layers, shifts
from infomech.engines.stack import Stack

#: a halo may make a tile larger by this share, which is computed in vain
MAX_EXTRA_SHARE = 0.2

#: after so many layers to each exchange, more would save nothing that can be noticed
MAX_STEPS_PER_EXCHANGE = 16


def objection(stack: Stack, platform: str) -> str | None:
    """Why this engine can't execute these layers on any platform; None if it can."""
    return None if stack.mesh is not None else "it is for a field split over a mesh of devices"


def run(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers, as values and e of values · 2ᵉ.

    Reverse mode remembers what comes in and computes the layers again.
    """
    return jax.checkpoint(functools.partial(passed, stack))(kernels, values)


def passed(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers, as values and e of values · 2ᵉ, in plain JAX."""
    assert isinstance(stack.mesh, Mesh)
    field, same = PartitionSpec(*stack.mesh.axis_names), PartitionSpec()
    # without tracking of what varies over devices, cotangents of kernels are added up once, at last
    mapped = jax.shard_map(
        functools.partial(_passed_by_one, stack),
        mesh=stack.mesh,
        in_specs=(same, field),
        out_specs=(field, same),
        check_vma=False,
    )
    return mapped(kernels, values)


def layers_per_exchange(stack: Stack) -> int:
    """For how many layers the halos last that are exchanged at a time."""
    most = max(n for n in range(1, MAX_STEPS_PER_EXCHANGE + 1) if n == 1 or _bearable(stack, n))
    if stack.steps <= most:
        return stack.steps
    even = [n for n in range(most, most // 2, -1) if stack.steps % n == 0]
    return even[0] if even else most


def _bearable(stack, layers):
    around = halo.sides(stack, layers)
    mirror = stack.boundary == "reflect"
    fits = all(max(side.halo) + mirror <= side.pixels for side in around)
    extra = math.prod(1 + sum(side.halo) / side.pixels for side in around) - 1
    return fits and extra <= MAX_EXTRA_SHARE


def _passed_by_one(stack, kernels, tile):
    """All layers as one device passes them."""
    state = (tile, jnp.zeros((), jnp.int32))
    shared, own = (None, kernels) if stack.stacked else (kernels[0], None)
    run = functools.partial(_until_exchange, stack, shared)
    return scans.in_pieces(run, state, own, stack.steps, layers_per_exchange(stack))


def _until_exchange(stack, shared, state, own, count):
    """One exchange of halos and the `count` layers that they last for."""
    tile, exponent = state
    around = halo.sides(stack, count)
    wide = halo.exchanged(tile, around, stack.boundary)
    between = layers.layers_between_scales(stack)
    rescale = stack.rescale and stack.steps > between

    def layer(state, number_and_own):
        number, kernel = number_and_own
        wide, e = state
        wide = _layer(stack, around, shared if kernel is None else kernel, _ringed(wide, around))
        wide = halo.settled(wide, around, stack.boundary, number)
        if rescale:
            wide, e = jax.lax.cond(number % between == 0, _rescaled, lambda *s: s, wide, e)
        return (wide, e), None

    state = wide, jnp.zeros((), jnp.int32)
    if count > 1:
        head = None if own is None else own[:-1]
        state, _ = jax.lax.scan(layer, state, (jnp.arange(1, count, dtype=jnp.int32), head))
    wide, e = state
    kernel = shared if own is None else own[-1]
    tile = _layer(stack, around, kernel, halo.cropped(wide, around))
    if not rescale:
        return tile, exponent
    tile, e = _rescaled_alike(tile, e, tuple(stack.mesh.axis_names))
    return tile, exponent + e


def _layer(stack, around, kernel, padded):
    """φ(k * u) for a field that has all that taps meet along the axes that are split."""
    split = {side.axis for side in around}
    taps = tuple(1 if a in split else n for a, n in enumerate(stack.kernel_size))
    padded = shifts.pad(padded, taps, stack.boundary)
    return stack.rectifier(_product(kernel, padded)).astype(padded.dtype)


def _ringed(wide, around):
    """With a ring of zeros, so that a layer doesn't change the shape."""
    ring = [(0, 0)] * wide.ndim
    for side in around:
        ring[side.axis] = side.reach
    return jnp.pad(wide, ring)


def _product(kernel, padded):
    """k * u where all taps meet pixels, with the engines' own reverse mode."""
    few = math.prod(kernel.shape) <= shifts.MAX_TAPS
    by = shifts.convolution if few else convolution.convolution

    def forward(kernel, padded):
        return (by.forward(kernel, padded, "valid"),)

    def reverse_of(wanted):
        def reverse(kernel, padded, cotangent):
            both = by.reverse(kernel, padded, "valid", cotangent, wanted)
            return tuple(c for c in both if c is not None)

        return derivatives.Function(reverse, reverse)

    function = derivatives.Function(forward, forward, reverse_of)
    return derivatives.call(function, kernel, padded)[0]


def _rescaled(values, exponent):
    """The same field, by a power of 2 of the order of 1."""
    size = _exponent(values)[0]
    return values * layers.power(-size, values.dtype), exponent + size


def _rescaled_alike(values, exponent, names):
    """The same field, by one power of 2 on all devices."""
    size, alive = _exponent(values)
    least = np.iinfo(np.int32).min // 2
    largest = jax.lax.pmax(jnp.where(alive, exponent + size, least), names)
    largest = jnp.where(largest == least, 0, largest)
    away = jnp.where(alive, exponent - largest, 0)
    return values * layers.power(away, values.dtype), largest


def _exponent(values):
    """e of mean |u| = m · 2ᵉ with ½ ≤ m < 1, and whether there is one; 0 if not."""
    values = jax.lax.stop_gradient(values)
    wide = values.astype(safe_math.wider(values.dtype, jnp.float32))
    size = safe_math.total(jnp.abs(wide) / values.size)
    alive = (size > 0) & jnp.isfinite(size)
    return jnp.where(alive, jnp.frexp(size)[1].astype(jnp.int32), 0), alive
