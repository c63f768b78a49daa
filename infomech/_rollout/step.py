"""A field between layers, and how engines, normalization and a moving domain take it on."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from infomech import observables, rectifiers
from infomech._core import safe_math, scans
from infomech.engines import derivatives, plan
from infomech.engines.stack import Stack
from infomech.fields import Field


@dataclass(frozen=True)
class How:
    """All that is static about a rollout; `every` and `follow` are 0 for never."""

    steps: int
    rectifier: rectifiers.Rectifier
    boundary: str
    normalize: str
    observe: Callable[[Field], Any] | str | None
    every: int
    engine: str
    grad_mode: str
    follow: int
    mesh: Mesh | None


class State(NamedTuple):
    """Between layers: the normalized field is values · scale.

    The scale goes into the next layer's taps, which saves a pass over the field.
    """

    values: jax.Array
    origin: jax.Array
    log_gain: jax.Array
    scale: jax.Array
    log_kept: jax.Array


def start(field: Field, free: bool) -> State:
    """The state before the first layer.

    Where scales are `free`, that is 1 over max |u|, which brings a field of any scale to where its
    squares can be added up.
    """
    scale = 1 / safe_math.magnitude(field.values) if free else jnp.ones((), field.values.dtype)
    return State(field.values, field.origin, field.log_gain, scale, jnp.zeros_like(field.log_gain))


def scaled_kernels(
    kernel: jax.Array, stacked: bool, dtype: Any, free: bool
) -> tuple[jax.Array, jax.Array]:
    """Each kernel over its largest tap, and the logarithm of that, along a leading axis.

    So that no scale of the kernels can over- or underflow; only where scales are `free`.
    """

    def scaled(kernel):
        scale = safe_math.magnitude(kernel) if free else jnp.ones((), kernel.dtype)
        return kernel / scale, jnp.log(scale.astype(dtype))

    return jax.vmap(scaled)(kernel if stacked else kernel[None])


def advance(
    how: How, taps: tuple[int, ...], shared: Any, state: State, own: Any, layers: int
) -> State:
    """The state `layers` layers on, by their `own` scaled kernels or, if None, the `shared` one."""
    # a rectifier that isn't homogeneous sees the normalized field: each layer by itself
    alone = not how.rectifier.homogeneous and how.normalize != "none"
    run = functools.partial(_run_layers, how, taps)

    def segment(state, own, layers):
        if alone:
            return _one_by_one(functools.partial(run, None, shared), state, own, layers)
        stack = stack_of(how, taps, state, layers, own is not None)
        engine = plan.choose(stack, how.engine)
        each = plan.remembered(stack, how.grad_mode, engine)

        def at_once(shared, state, own):
            return run(engine, shared, state, own, layers)

        def in_pieces(shared, state, own):
            return scans.in_pieces(functools.partial(run, engine, shared), state, own, layers, each)

        return derivatives.differentiated_as(in_pieces, at_once, shared, state, own)

    if not how.follow:
        return segment(state, own, layers)

    def followed(state, own, layers):
        return _recentered(segment(state, own, layers), taps, layers)

    return scans.in_pieces(followed, state, own, layers, how.follow)


def _one_by_one(run, state, own, layers):
    def one(state, own):
        return run(state, jax.tree.map(lambda a: a[None], own), 1), None

    return scans.checkpointed(one, state, own, layers)[0]


def _run_layers(how, taps, engine, shared, state, own, layers):
    """The state after layers that one call of an engine executes, one chosen for them if None."""
    kernels, log_scales = shared if own is None else own
    stack = stack_of(how, taps, state, layers, own is not None)
    run = plan.runner(engine or plan.choose(stack, how.engine), how.grad_mode)
    # one layer takes the scale in its taps; of several only the first should
    inside = layers == 1
    values, exponent = run(
        stack,
        kernels * state.scale if inside else kernels,
        state.values if inside else state.values * state.scale,
    )
    # computed once: XLA would fuse the last layer into each use of the field, where it rounds
    # differently, and then max |u| equals no pixel and its gradient is NaN
    values = jax.lax.optimization_barrier(values)
    log_gain = state.log_gain
    if how.rectifier.homogeneous:
        taken = exponent.astype(log_gain.dtype) * math.log(2) + jnp.sum(
            jnp.broadcast_to(log_scales, (layers,))
        )
        log_gain = log_gain + taken - jnp.log(state.scale.astype(log_gain.dtype))
    origin = state.origin + layers * _origin_step(taps, state.origin.dtype)
    # the values of a homogeneous rectifier are near 1 already
    scale = _inverse_norm(values, how.normalize, near_one=how.rectifier.homogeneous)
    return State(values, origin, log_gain, scale, state.log_kept)


def _recentered(state, taps, layers):
    """The state on a domain moved by whole pixels, with the center of mass in its middle."""
    values = state.values
    middle = observables.center(Field(values, jnp.zeros_like(state.origin), state.log_gain))
    most = jnp.asarray([layers * (n // 2) for n in taps], middle.dtype)
    target = jnp.asarray([(n - 1) / 2 for n in values.shape], middle.dtype)
    away = jax.lax.stop_gradient(middle) - target
    shift = jnp.clip(jnp.round(jnp.where(jnp.isfinite(away), away, 0)), -most, most)
    padded = jnp.pad(values, [(layers * (n // 2),) * 2 for n in taps])
    start = (shift + most).astype(jnp.int32)
    moved = jax.lax.dynamic_slice(padded, list(start), values.shape)
    size = jnp.abs(values).astype(state.log_kept.dtype)
    stays = jnp.ones((), bool)
    for axis, n in enumerate(values.shape):
        pixels = np.arange(n).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        x = jnp.asarray(pixels, shift.dtype)
        stays = stays & (x >= shift[axis]) & (x < n + shift[axis])
    everything = safe_math.total(size)
    # added up by itself, since a difference of sums would have their rounding error
    cut = safe_math.total(jnp.where(stays, 0, size)) / jnp.where(everything > 0, everything, 1)
    log_kept = state.log_kept + jnp.log1p(-jnp.minimum(cut, 1 - jnp.finfo(cut.dtype).eps))
    return state._replace(values=moved, origin=state.origin + shift, log_kept=log_kept)


def stack_of(
    how: How, taps: tuple[int, ...], field: Field | State, layers: int, stacked: bool
) -> Stack:
    """What an engine is told of some layers on this field."""
    rescale = how.rectifier.homogeneous and how.normalize != "none"
    shape, dtype = field.values.shape, field.values.dtype.name
    return Stack(
        shape, taps, layers, stacked, how.rectifier, how.boundary, dtype, rescale, how.mesh
    )


def as_seen(state: State, rectifier: rectifiers.Rectifier) -> Field:
    """The normalized field of a state."""
    log_gain = state.log_gain
    if rectifier.homogeneous:
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


def _origin_step(taps, dtype):
    shift = [(n - 1) // 2 - (n - 1) / 2 for n in taps]
    return jnp.asarray(shift, dtype)
