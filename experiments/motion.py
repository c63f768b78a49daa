"""Speed and diffusion of patterns under many kernels at once, along a direction per kernel."""

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
    """Rates of patterns under kernels, arrays (patterns, kernels); in pixels and layers.

    Attributes:
        speed: of the center along the direction; NaN if refused.
        stderr: of the line fitted to the center.
        early: the same speed, fitted to the first half of these layers.
        diffusion: growth of the variance along the direction.
        across: speed of the center perpendicular to the direction, always positive.
        breadth: growth of the variance perpendicular to it, summed over axes.
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
    """Stacked patterns in the middle of domains of equal shape, too large for anything to leave."""
    values_list = [patterns.pattern(name, radius, len(taps), "float64") for name in names]
    widest = max(len(values) for values in values_list)
    rooms = [(widest - len(values)) // 2 for values in values_list]
    padded = [np.pad(values, room) for values, room in zip(values_list, rooms, strict=True)]
    placed = [patterns.padded(values, taps, steps) for values in padded]
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
    """Pass every pattern through layers of every kernel.

    Args:
        kernels: (n, *taps), or (n, steps, *taps) for layers that differ.
        units: unit vectors, (n, d).
        start: stack of fields.
        steps: layers.
        burn_in: rates are fitted from this layer on.
        rectifier: name.
        lag: from `boxed`, added to the velocities, (n, d); default 0.

    Returns:
        `Motion`.
    """
    return rates(passed(kernels, start, steps=steps, rectifier=rectifier), units, burn_in, lag)


def rates(trace: im.Trace, units: Any, burn_in: int, lag: Any = None) -> Motion:
    """`Motion` of traces (patterns, kernels, …) from layer `burn_in` on; see `measure`."""
    lag = jnp.zeros_like(units) if lag is None else jnp.asarray(lag)
    return Motion(*map(np.asarray, _rates(trace, jnp.asarray(units), lag, burn_in)))


@functools.partial(jax.jit, static_argnames=("steps", "rectifier"))
def passed(
    kernels: Any, start: im.fields.Field, *, steps: int, rectifier: str = "relu"
) -> im.Trace:
    """Traces of every pattern under every kernel, (patterns, kernels, …)."""

    def rollout(field, kernel):
        return im.rollout(kernel, field, steps, rectifier=rectifier)[1]

    return jax.vmap(jax.vmap(rollout, in_axes=(None, 0)), in_axes=(0, None))(start, kernels)


@jax.jit
def _rates(traces, units, lags, burn_in):
    """Jitted separately, hence compiled once for all kernels and rectifiers."""

    def fit(trace, unit, lag):
        layer = trace.layer.astype(trace.center.dtype)
        center = trace.center + layer[:, None] * lag[None]
        ahead = center @ unit
        side = center - ahead[:, None] * unit[None]
        early = trace.layer <= (burn_in + trace.layer[-1]) // 2
        path = jnp.concatenate([ahead[:, None], side], axis=1)
        along = trace.covariance @ unit @ unit
        spread = jnp.stack([along, jnp.trace(trace.covariance, axis1=1, axis2=2) - along], 1)
        turned = replace(trace, center=path, covariance=spread[:, None])
        speed, diffusion = im.rates.velocity(turned, burn_in), im.rates.diffusion(turned, burn_in)
        half = im.rates.fit_line(layer, ahead, early & (trace.layer >= burn_in))
        return Motion(
            speed.value[0],
            speed.stderr[0],
            half.slope,
            diffusion.value[0, 0],
            jnp.linalg.norm(speed.value[1:]),
            diffusion.value[0, 1],
        )

    return jax.vmap(jax.vmap(fit), in_axes=(0, None, None))(traces, units, lags)


def mixed(taps: tuple[int, ...], values: Any, direction: Any, *, by: str = "share") -> jax.Array:
    """Constant + gradient kernels at given odd shares or mixing ratios, (values, *taps).

    Args:
        taps: on each axis.
        values: (n,).
        direction: of the gradient, (d,).
        by: meaning of the values, "share" or "ratio".
    """
    return _mixed(taps, jnp.asarray(values, "float64"), jnp.asarray(direction, "float64"), by)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _mixed(taps, values, direction, by):
    def kernel(value):
        return im.kernels.mix(taps, **{by: value}, direction=direction, dtype=value.dtype)

    return jax.vmap(kernel)(values)


def boxed(kernels: Any, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels zero-padded to `taps` on each axis, which lets one program serve all sizes.

    Args:
        kernels: (n, *shape).
        taps: at least as many as on any axis.

    Returns:
        The padded kernels, and the correction to add to their velocities, (d,): an even number of
        taps lies half a pixel off an odd number.
    """
    kernels = np.asarray(kernels)
    shape = np.array(kernels.shape[1:])
    before = (taps - shape) // 2
    padding = [(0, 0), *zip(before, taps - shape - before, strict=True)]
    return np.pad(kernels, padding), (taps - shape) / 2 - before


def units(degrees: Sequence[float]) -> np.ndarray:
    """Unit vectors in the plane by their angles from the last axis towards the first, (n, 2)."""
    angle = np.deg2rad(degrees)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)
