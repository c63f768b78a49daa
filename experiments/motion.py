"""How fast patterns move and spread under many kernels at once, along a direction of each."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import infomech as im
from infomech.fields import patterns


class Motion(NamedTuple):
    """What patterns do under kernels, arrays (patterns, kernels); in pixels and layers.

    Attributes:
        speed: of the center along the direction; NaN if refused.
        stderr: of the line through the center.
        early: the same speed from the first half of the layers fitted.
        diffusion: growth of the covariance along the direction.
        across: speed of the center across it, always positive.
        breadth: growth of the covariance across it, of all axes together.
    """

    speed: Any
    stderr: Any
    early: Any
    diffusion: Any
    across: Any
    breadth: Any


def starts(
    names: Sequence[str], radius: float, taps: tuple[int, ...], steps: int
) -> im.fields.Field:
    """Patterns by name in the middle of domains of one size, which nothing can leave, stacked."""
    found = [patterns.pattern(name, radius, len(taps), "float64") for name in names]
    widest = max(len(values) for values in found)
    rooms = [(widest - len(values)) // 2 for values in found]
    padded = [np.pad(values, room) for values, room in zip(found, rooms, strict=True)]
    placed = [patterns.with_room(values, taps, steps) for values in padded]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *placed)


def measure(
    kernels: Any,
    units: Any,
    start: im.fields.Field,
    steps: int,
    burn_in: int,
    *,
    rectifier: str = "relu",
    lag: Any = None,
) -> Motion:
    """Passes every pattern through layers of every kernel.

    Args:
        kernels: (n, *taps), or (n, steps, *taps) for layers that differ.
        units: directions of length 1, (n, d).
        start: stack of fields.
        steps: layers.
        burn_in: rates are fitted from this layer on.
        rectifier: name.
        lag: of `boxed`, added to the velocities, (n, d); none if left out.

    Returns:
        `Motion`.
    """
    return rates(passed(kernels, start, steps=steps, rectifier=rectifier), units, burn_in, lag)


def rates(trace: im.Trace, units: Any, burn_in: int, lag: Any = None) -> Motion:
    """`Motion` of traces (patterns, kernels, …) from layer `burn_in` on; the rest as `measure`."""
    lag = jnp.zeros_like(units) if lag is None else jnp.asarray(lag)
    return Motion(*map(np.asarray, _rates(trace, jnp.asarray(units), lag, burn_in)))


@functools.partial(jax.jit, static_argnames=("steps", "rectifier"))
def passed(
    kernels: Any, start: im.fields.Field, *, steps: int, rectifier: str = "relu"
) -> im.Trace:
    """Traces of every pattern under every kernel, (patterns, kernels, …)."""

    def one(field, kernel):
        return im.rollout(kernel, field, steps, rectifier=rectifier)[1]

    return jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))(start, kernels)


@jax.jit
def _rates(traces, units, lags, burn_in):
    """On its own, so that it's compiled once for all kernels and rectifiers."""

    def one(trace, unit, lag):
        layer = trace.layer.astype(trace.center.dtype)
        center = trace.center + layer[:, None] * lag[None]
        ahead = center @ unit
        side = center - ahead[:, None] * unit[None]
        early = trace.layer <= (burn_in + trace.layer[-1]) // 2
        path = jnp.concatenate([ahead[:, None], side], axis=1)
        along = trace.covariance @ unit @ unit
        spread = jnp.stack([along, jnp.trace(trace.covariance, axis1=1, axis2=2) - along], 1)
        whole = replace(trace, center=path, covariance=spread[:, None])
        speed, diffusion = im.rates.velocity(whole, burn_in), im.rates.diffusion(whole, burn_in)
        half = im.rates.fit_line(layer, ahead, early & (trace.layer >= burn_in))
        return Motion(
            speed.value[0],
            speed.stderr[0],
            half.slope,
            diffusion.value[0, 0],
            jnp.linalg.norm(speed.value[1:]),
            diffusion.value[0, 1],
        )

    return jax.vmap(jax.vmap(one), in_axes=(0, None, None))(traces, units, lags)


def mixed(taps: tuple[int, ...], values: Any, direction: Any, *, by: str = "share") -> jax.Array:
    """Constant + gradient kernels at given odd shares or mixing ratios, (values, *taps).

    Args:
        taps: on each axis.
        values: (n,).
        direction: of the gradient, (d,).
        by: "share" or "ratio", what the values are.
    """
    return _mixed(taps, jnp.asarray(values, "float64"), jnp.asarray(direction, "float64"), by)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _mixed(taps, values, direction, by):
    def one(value):
        return im.kernels.mix(taps, **{by: value}, direction=direction, dtype=value.dtype)

    return jax.vmap(one)(values)


def boxed(kernels: Any, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels among zeros in boxes of `taps` on each axis, so that one program serves all sizes.

    Args:
        kernels: (n, *shape).
        taps: no fewer than on any axis.

    Returns:
        The larger kernels, and what is to be added to their velocities, (d,): taps of an even
        number lie half a pixel off those of an odd one.
    """
    kernels = np.asarray(kernels)
    shape = np.array(kernels.shape[1:])
    below = (taps - shape) // 2
    room = [(0, 0), *zip(below, taps - shape - below, strict=True)]
    return np.pad(kernels, room), (taps - shape) / 2 - below


def units(degrees: Sequence[float]) -> np.ndarray:
    """Directions in the plane by their angles from the last axis towards the first, (n, 2)."""
    angle = np.deg2rad(degrees)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)
