"""The state between layers, advanced by engines, normalization and a domain that follows."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import observables
from infomech._core import safe_math, scans
from infomech.dynamics import Dynamics
from infomech.engines import derivatives, plan
from infomech.engines.stack import Engine, Stack
from infomech.fields import Field


@dataclass(frozen=True)
class RolloutConfig:
    """Static configuration of a rollout.

    Attributes:
        stack: all layers, on the whole field.
        observe: "trace", a function of a field, or None.
        every: layers between observations.
        engine: "auto", a name or an `Engine`.
        grad_mode: one of `plan.GRAD_MODES`.
        follow: layers between moves of the domain; 0 for a fixed one.
    """

    stack: Stack
    observe: Callable[[Field], Any] | str | None
    every: int
    engine: str | Engine
    grad_mode: str
    follow: int = 0

    @property
    def dynamics(self) -> Dynamics:
        """Rectifier, boundary and normalization of each layer."""
        return self.stack.dynamics


class State(NamedTuple):
    """State between layers; the normalized field is values · scale.

    The next layer multiplies its taps by the scale, which saves a pass over the field.
    """

    values: jax.Array
    origin: jax.Array
    log_gain: jax.Array
    scale: jax.Array
    log_kept: jax.Array


def initial_state(field: Field, rescale: bool) -> State:
    """The state before the first layer.

    With `rescale`, the scale is 1 / max |u|: fields of any scale can then be squared safely.
    """
    scale = 1 / safe_math.magnitude(field.values) if rescale else jnp.ones((), field.values.dtype)
    return State(field.values, field.origin, field.log_gain, scale, jnp.zeros_like(field.log_gain))


def scale_kernels(
    kernel: jax.Array, stacked: bool, dtype: Any, rescale: bool
) -> tuple[jax.Array, jax.Array]:
    """Each kernel divided by its largest |tap|, and the log of that tap, along a leading axis.

    This prevents over- and underflow for kernels of any scale. Without `rescale` the divisor is 1.
    """

    def scaled(kernel):
        scale = safe_math.magnitude(kernel) if rescale else jnp.ones((), kernel.dtype)
        return kernel / scale, jnp.log(scale.astype(dtype))

    return jax.vmap(scaled)(kernel if stacked else kernel[None])


def advance(
    config: RolloutConfig, shared: Any, state: State, layer_kernels: Any, steps: int
) -> State:
    """The state after `steps` more layers.

    Scaled kernels are `layer_kernels`, one per layer, or the `shared` one if that is None.
    """
    if not config.follow:
        return _run_segment(config, shared, state, layer_kernels, steps)

    def follow(state, layer_kernels, steps):
        state = _run_segment(config, shared, state, layer_kernels, steps)
        return _recenter(state, config.stack.kernel_size, steps)

    return scans.in_segments(follow, state, layer_kernels, steps, config.follow)


def _run_segment(config, shared, state, layer_kernels, steps):
    """The state after successive layers without observation or move of the domain."""
    stack = dataclasses.replace(config.stack, steps=steps)
    segment = plan.segment(stack, config.engine, config.grad_mode)
    if config.dynamics.norm_in_layer:

        def layer(state, kernel):
            kernels = jax.tree.map(lambda a: a[None], kernel)
            return _call_engine(segment, shared, state, kernels, 1), None

        return scans.checkpointed(layer, state, layer_kernels, steps)[0]

    def in_one_call(shared, state, layer_kernels):
        return _call_engine(segment, shared, state, layer_kernels, steps)

    def in_segments(shared, state, layer_kernels):
        call = functools.partial(_call_engine, segment, shared)
        return scans.in_segments(call, state, layer_kernels, steps, segment.interval)

    return derivatives.with_derivatives_of(in_segments, in_one_call, shared, state, layer_kernels)


def _call_engine(segment, shared, state, layer_kernels, steps):
    """The state after one call of the engine, with its norm factored out."""
    kernels, log_scales = shared if layer_kernels is None else layer_kernels
    stack = dataclasses.replace(segment.stack, steps=steps)
    # a single layer takes the scale in its taps; of several, only the first may
    in_taps = steps == 1
    values, exponent = segment.run(
        stack,
        kernels * state.scale if in_taps else kernels,
        state.values if in_taps else state.values * state.scale,
    )
    # Compute the field once. XLA would fuse the last layer into each use of the field with
    # different rounding; then max |u| equals no pixel and its gradient is NaN.
    values = jax.lax.optimization_barrier(values)
    log_gain, homogeneous = state.log_gain, stack.rectifier.homogeneous
    if homogeneous:
        log_scale = exponent.astype(log_gain.dtype) * math.log(2) + jnp.sum(
            jnp.broadcast_to(log_scales, (steps,))
        )
        log_gain = log_gain + log_scale - jnp.log(state.scale.astype(log_gain.dtype))
    origin = state.origin + steps * _origin_step(stack.kernel_size, state.origin.dtype)
    # engines already scale the values of homogeneous rectifiers to near 1
    scale = _inverse_norm(values, stack.dynamics.normalize, near_one=homogeneous)
    return State(values, origin, log_gain, scale, state.log_kept)


def _recenter(state, kernel_size, steps):
    """Move the domain by whole pixels to bring the center of mass to its middle."""
    values = state.values
    center = observables.center(Field(values, jnp.zeros_like(state.origin), state.log_gain))
    reach = [steps * (n // 2) for n in kernel_size]
    max_shift = jnp.asarray(reach, center.dtype)
    middle = jnp.asarray([(n - 1) / 2 for n in values.shape], center.dtype)
    offset = jax.lax.stop_gradient(center) - middle
    shift = jnp.round(jnp.where(jnp.isfinite(offset), offset, 0))
    shift = jnp.clip(shift, -max_shift, max_shift)
    padded = jnp.pad(values, [(n, n) for n in reach])
    start = (shift + max_shift).astype(jnp.int32)
    shifted = jax.lax.dynamic_slice(padded, list(start), values.shape)
    size = jnp.abs(values).astype(state.log_kept.dtype)
    inside = jnp.ones((), bool)
    for axis, n in enumerate(values.shape):
        along_axis = [-1 if a == axis else 1 for a in range(values.ndim)]
        x = jnp.asarray(np.arange(n).reshape(along_axis), shift.dtype)
        inside = inside & (x >= shift[axis]) & (x < n + shift[axis])
    total = safe_math.total(size)
    # sum the cut pixels directly: a difference of totals would carry their rounding error
    cut = safe_math.total(jnp.where(inside, 0, size)) / jnp.where(total > 0, total, 1)
    log_kept = state.log_kept + jnp.log1p(-jnp.minimum(cut, 1 - jnp.finfo(cut.dtype).eps))
    return state._replace(values=shifted, origin=state.origin + shift, log_kept=log_kept)


def normalized_field(state: State, dynamics: Dynamics) -> Field:
    """The normalized field of a state."""
    log_gain = state.log_gain
    if dynamics.phi.homogeneous:
        log_gain = log_gain - jnp.log(state.scale.astype(log_gain.dtype))
    return Field(state.values * state.scale, state.origin, log_gain)


def _inverse_norm(values, normalize, near_one):
    if normalize == "none":
        return jnp.ones((), values.dtype)
    wide = values.astype(safe_math.wider(values.dtype, jnp.float32))
    size = jnp.abs(wide)
    if normalize == "sum":
        norm = safe_math.total(size)
    elif normalize == "max":
        norm = jnp.max(size)
    else:
        unit = jnp.ones((), wide.dtype) if near_one else safe_math.scale(wide)
        norm = unit * safe_math.sqrt(safe_math.total((wide / unit) ** 2))
    return jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 1).astype(values.dtype)


def _origin_step(kernel_size, dtype):
    shift = [(n - 1) // 2 - (n - 1) / 2 for n in kernel_size]
    return jnp.asarray(shift, dtype)
