"""One field split over many devices; each runs the layers on its own tile.

Neighbors exchange halos as wide as the reach of several layers, to communicate rarely; between
exchanges each device also computes the halo of its tile. JAX derives reverse mode, which sends the
cotangents of halos back to the devices that own the pixels.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from infomech._core import safe_math, scans
from infomech.engines import convolution, derivatives, halo, layers, shifts
from infomech.engines.stack import MIN_SEGMENT, Engine, Stack

#: limit on the pixels of a halo, which are computed redundantly, relative to its tile
MAX_EXTRA_SHARE = 0.2

#: limit on the layers between exchanges; more would save no measurable time
MAX_STEPS_PER_EXCHANGE = 16


def objection(stack: Stack, platform: str) -> str | None:
    """Reason why this engine can't execute these layers on any platform; None if it can."""
    return None if stack.mesh is not None else "supports only a field split over a mesh of devices"


def run(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers, as values and e of values · 2ᵉ.

    Reverse mode stores only the inputs and recomputes the layers.
    """
    return jax.checkpoint(functools.partial(forward, stack))(kernels, values)


def forward(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers in plain JAX, as values and e of values · 2ᵉ."""
    assert isinstance(stack.mesh, Mesh)
    split, replicated = PartitionSpec(*stack.mesh.axis_names), PartitionSpec()
    # without check_vma the cotangents of the kernels are summed over devices once, at the end
    mapped = jax.shard_map(
        functools.partial(_run_on_device, stack),
        mesh=stack.mesh,
        in_specs=(replicated, split),
        out_specs=(split, replicated),
        check_vma=False,
    )
    return mapped(kernels, values)


def steps_per_exchange(stack: Stack) -> int:
    """Number of layers between two exchanges of halos."""
    counts = range(1, MAX_STEPS_PER_EXCHANGE + 1)
    maximum = max(n for n in counts if n == 1 or _is_efficient(stack, n))
    if stack.steps <= maximum:
        return stack.steps
    divisors = [n for n in range(maximum, maximum // 2, -1) if stack.steps % n == 0]
    return divisors[0] if divisors else maximum


def _is_efficient(stack, steps):
    """Whether a halo for `steps` layers fits into the neighboring tile and adds few pixels."""
    split_axes = halo.sides(stack, steps)
    mirror = stack.boundary == "reflect"
    fits = all(max(side.halo) + mirror <= side.pixels for side in split_axes)
    extra = math.prod(1 + sum(side.halo) / side.pixels for side in split_axes) - 1
    return fits and extra <= MAX_EXTRA_SHARE


def _run_on_device(stack, kernels, tile):
    """All layers on one device's tile."""
    state = (tile, jnp.zeros((), jnp.int32))
    shared, layer_kernels = (None, kernels) if stack.stacked else (kernels[0], None)
    run = functools.partial(_exchange_and_run, stack, shared)
    return scans.in_segments(run, state, layer_kernels, stack.steps, steps_per_exchange(stack))


def _exchange_and_run(stack, shared, state, layer_kernels, steps):
    """One exchange of halos, then the `steps` layers that it allows."""
    tile, exponent = state
    split_axes = halo.sides(stack, steps)
    padded = halo.exchange(tile, split_axes, stack.boundary)
    interval = layers.steps_between_rescales(stack)
    rescale = stack.rescale and stack.steps > interval

    def layer(state, number_and_kernel):
        number, kernel = number_and_kernel
        padded, e = state
        kernel = shared if kernel is None else kernel
        padded = _layer(stack, split_axes, kernel, _pad_by_reach(padded, split_axes))
        padded = halo.refresh(padded, split_axes, stack.boundary, number)
        if rescale:
            padded, e = jax.lax.cond(number % interval == 0, _rescale, lambda *s: s, padded, e)
        return (padded, e), None

    state = padded, jnp.zeros((), jnp.int32)
    if steps > 1:
        head = None if layer_kernels is None else layer_kernels[:-1]
        state, _ = jax.lax.scan(layer, state, (jnp.arange(1, steps, dtype=jnp.int32), head))
    padded, e = state
    kernel = shared if layer_kernels is None else layer_kernels[-1]
    tile = _layer(stack, split_axes, kernel, halo.crop(padded, split_axes))
    if not rescale:
        return tile, exponent
    tile, e = _rescale_all_devices(tile, e, tuple(stack.mesh.axis_names))
    return tile, exponent + e


def _layer(stack, split_axes, kernel, padded):
    """φ(k * u) for a field that already has its halo along the split axes."""
    split = {side.axis for side in split_axes}
    unpadded = tuple(1 if a in split else n for a, n in enumerate(stack.kernel_size))
    padded = shifts.pad(padded, unpadded, stack.boundary)
    return stack.rectifier(_convolve(kernel, padded)).astype(padded.dtype)


def _pad_by_reach(padded, split_axes):
    """Add zeros as wide as one layer's reach, to keep the shape through a layer."""
    widths = [(0, 0)] * padded.ndim
    for side in split_axes:
        widths[side.axis] = side.reach
    return jnp.pad(padded, widths)


def _convolve(kernel, padded):
    """k * u where all taps read pixels, with the reverse mode of another engine."""
    few = math.prod(kernel.shape) <= shifts.MAX_TAPS
    implementation = shifts.convolution if few else convolution.convolution

    def forward(kernel, padded):
        return (implementation.forward(kernel, padded, "valid"),)

    def reverse_function(needed):
        def reverse(kernel, padded, cotangent):
            both = implementation.reverse(kernel, padded, "valid", cotangent, needed)
            return tuple(c for c in both if c is not None)

        return derivatives.Function(reverse, reverse)

    function = derivatives.Function(forward, forward, reverse_function)
    return derivatives.call(function, kernel, padded)[0]


def _rescale(values, exponent):
    """Scale values by a power of 2 to the order of 1, and add it to the exponent."""
    size = _exponent(values)[0]
    return values * layers.power_of_two(-size, values.dtype), exponent + size


def _rescale_all_devices(values, exponent, names):
    """Scale the values on all devices to one common exponent."""
    size, alive = _exponent(values)
    minimum = np.iinfo(np.int32).min // 2
    largest = jax.lax.pmax(jnp.where(alive, exponent + size, minimum), names)
    largest = jnp.where(largest == minimum, 0, largest)
    difference = jnp.where(alive, exponent - largest, 0)
    return values * layers.power_of_two(difference, values.dtype), largest


def _exponent(values):
    """e of mean |u| = m · 2ᵉ with ½ ≤ m < 1, and whether it exists; 0 if not."""
    values = jax.lax.stop_gradient(values)
    wide = values.astype(safe_math.wider(values.dtype, jnp.float32))
    size = safe_math.total(jnp.abs(wide) / values.size)
    alive = (size > 0) & jnp.isfinite(size)
    return jnp.where(alive, jnp.frexp(size)[1].astype(jnp.int32), 0), alive


def _segment(stack: Stack) -> int:
    """Layers between two stored fields: whole exchanges."""
    exchange = steps_per_exchange(stack)
    return exchange * scans.segment_length(stack.steps // exchange, max(1, MIN_SEGMENT // exchange))


ENGINE = Engine("tiles", objection, run, plain=forward, segment=_segment, splits_field=True)
