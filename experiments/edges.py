"""Mass, front and core of disks under DC + gradient kernels along the last axis.

A profile is the mass of each column, taken as uniform within a column. The outermost lit pixel is
not informative: it moves by (n − 1)/2 pixels per layer at any β > 0.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import infomech as im
from infomech import kernels, observables
from infomech.fields import patterns

#: trailing, middle and leading quantile of the mass along the motion
QUANTILES = (0.05, 0.5, 0.95)
#: rounding error of summed shares of the mass
ROUNDING = 1e-12
#: the front is the foremost place where mass falls to this share of the largest column
FRONT = 0.1
#: radius of the core, as a share of that of the disk
CORE = 0.5


@dataclass(frozen=True)
class Edges:
    """Observations of disks, (radii, ratios, …).

    Attributes:
        quantiles: positions of `QUANTILES` in pixels from the center of the disk,
            (…, observations, 3).
        front: position of the front, (…, observations).
        center: center of mass, (…, observations).
        left: share of the mass within one radius of the initial center, (…, observations).
        carried: share of the mass in the moving core, centered one radius behind the front,
            relative to the initial share, (…, observations).
        first: core left after one layer: mean of its pixels over the mean of all lit pixels, (…).
        fields: of the largest disk, (ratios, observations, rows, columns).
    """

    quantiles: np.ndarray
    front: np.ndarray
    center: np.ndarray
    left: np.ndarray
    carried: np.ndarray
    first: np.ndarray
    fields: np.ndarray


def mixed(size: int, ratios: np.ndarray) -> jax.Array:
    """(1 − β) Σ̂ + β ∇̂ along the last axis, of unit energy, also for β > 1: (ratios, size, size)."""
    even, odd = kernels.constant((size, size), dtype="float64"), kernels.gradient((size, size))
    stack = (1 - ratios)[:, None, None] * even[None] + ratios[:, None, None] * odd[None]
    return stack / jnp.sqrt(jnp.sum(stack**2, (1, 2), keepdims=True))


def observe(field: im.fields.Field) -> tuple[jax.Array, jax.Array]:
    """Share of the mass in each pixel, and position of the first pixel."""
    return field.values / jnp.sum(field.values), field.origin


def measure(
    size: int, rectifier: str, radii: np.ndarray, ratios: np.ndarray, *, steps: int, every: int
) -> Edges:
    """Pass disks of several radii through layers of all mixing ratios.

    Args:
        size: taps on each axis.
        rectifier: name.
        radii: of the disks, increasing.
        ratios: β ≥ 0, may exceed 1.
        steps: layers.
        every: layers between observations.
    """
    side = 2 * int(np.ceil(radii.max())) + 1
    disks = [np.asarray(im.fields.disk((side, side), r, dtype="float64").values) for r in radii]
    fields = [patterns.padded(disk, (size, size), steps) for disk in disks]
    starts = jax.tree.map(lambda *parts: jnp.stack(parts), *fields)

    def run(kernel, field, radius):
        _, trace = im.rollout(
            kernel, field, steps, rectifier=rectifier, observe=observe, every=every
        )
        after = im.layer(kernel, field, rectifier=rectifier)
        # pixels from which the kernel covers only the disk
        core = _within(after, observables.center(field), radius - size / jnp.sqrt(2.0))
        return trace, core_left(after.values, core)

    all_pairs = jax.vmap(jax.vmap(run, (0, None, None)), (None, 0, 0))
    (values, origin), first = jax.tree.map(
        np.asarray, jax.jit(all_pairs)(mixed(size, ratios), starts, radii)
    )
    # positions relative to the center of the disk
    y, x = np.moveaxis(origin - (side - 1) / 2, -1, 0)
    mass = values.sum(-2)
    ahead = front(mass, x)
    core = [
        within(v, a, b, c - r, CORE * r)
        for v, a, b, c, r in zip(values, y, x, ahead, radii, strict=True)
    ]
    left = [within(v, a, b, 0 * a, r) for v, a, b, r in zip(values, y, x, radii, strict=True)]
    carried = np.stack(core)
    return Edges(
        quantiles(mass, x),
        ahead,
        x + np.sum(mass * np.arange(mass.shape[-1]), -1),
        np.stack(left),
        carried / carried[..., :1],
        first,
        values[-1],
    )


def core_left(values: jax.Array, core: jax.Array) -> jax.Array:
    """Mean of the pixels of the core over the mean of all lit pixels, shape ()."""
    lit = values > 1e-12 * jnp.max(values)
    return jnp.mean(values, where=core) / jnp.mean(values, where=lit)


def _within(field, place, radius):
    y, x = (
        np.arange(float(n)) + field.origin[axis] - place[axis]
        for axis, n in enumerate(field.values.shape)
    )
    return y[:, None] ** 2 + x[None] ** 2 <= radius**2


def within(
    values: np.ndarray, top: np.ndarray, begin: np.ndarray, place: np.ndarray, radius: float
) -> np.ndarray:
    """Share of the mass within a radius of (0, place), (…).

    Args:
        values: fields of mass 1, (…, rows, columns).
        top, begin: positions of the first row and column, (…).
        place: along the last axis, (…).
        radius: in pixels.
    """
    rows, columns = values.shape[-2:]
    y = top[..., None] + np.arange(rows)
    x = (begin - place)[..., None] + np.arange(columns)
    inside = y[..., :, None] ** 2 + x[..., None, :] ** 2 <= radius**2
    return np.sum(values * inside, (-2, -1))


def quantiles(mass: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Positions of `QUANTILES` of the mass, (…, 3).

    In a gap without mass every position is such a quantile, and rounding would pick one. The result
    is the middle of the gap, as for a median.

    Args:
        mass: of each column, with sum 1, (…, columns).
        begin: position of the first column, (…).
    """
    summed = np.cumsum(mass, -1)

    def reached(share):
        column = np.argmax(summed >= share, -1)[..., None]
        inside = np.take_along_axis(mass, column, -1)[..., 0]
        excess = np.take_along_axis(summed, column, -1)[..., 0] - share
        fraction = np.where(inside > 0, excess / np.where(inside > 0, inside, 1), np.nan)
        return begin + column[..., 0] + 0.5 - fraction

    pairs = [(reached(share - ROUNDING), reached(share + ROUNDING)) for share in QUANTILES]
    return np.stack([(low + high) / 2 for low, high in pairs], -1)


def front(mass: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Position beyond the last column above `FRONT` of the largest where mass falls to it, (…)."""
    level = FRONT * np.max(mass, -1, keepdims=True)
    last = mass.shape[-1] - 1 - np.argmax(np.flip(mass >= level, -1), -1)[..., None]
    here = np.take_along_axis(mass, last, -1)
    after = np.take_along_axis(mass, np.minimum(last + 1, mass.shape[-1] - 1), -1)
    falling = here > after
    fraction = np.where(falling, (here - level) / np.where(falling, here - after, 1), np.nan)
    return begin + (last + fraction)[..., 0]
