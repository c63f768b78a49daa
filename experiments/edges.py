"""Disks under DC + gradient kernels along the last axis: where their mass, front and core are.

A profile is the mass of each column; within a column mass is taken to be spread evenly. The very
outermost pixel that is lit moves by (n − 1)/2 pixels a layer at any β > 0, and tells nothing.
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
#: sums of shares of the mass are known to this, and no better
ROUNDING = 1e-12
#: the front is where mass falls to this share of the largest column's, furthest ahead
FRONT = 0.1
#: radius of the core, as a share of that of the disk
CORE = 0.5


@dataclass(frozen=True)
class Edges:
    """What became of disks, (radii, ratios, …), at the layers looked at.

    Attributes:
        quantiles: positions of `QUANTILES` in pixels from the middle of the disk, (…, looks, 3).
        front: position of the front, (…, looks).
        center: center of mass, (…, looks).
        left: share of the mass that is within a radius of where the disk was, (…, looks).
        carried: share of the mass in the core of the disk carried along, whose middle is a radius
            behind the front, over that share at the start, (…, looks).
        first: what is left of the core after one layer: mass of its pixels over that of as many
            lit ones, (…).
        fields: of the largest disk, (ratios, looks, rows, columns).
    """

    quantiles: np.ndarray
    front: np.ndarray
    center: np.ndarray
    left: np.ndarray
    carried: np.ndarray
    first: np.ndarray
    fields: np.ndarray


def mixed(size: int, ratios: np.ndarray) -> jax.Array:
    """(1 − β) Σ̂ + β ∇̂ of unit energy along the last axis, also for β > 1, (ratios, size, size)."""
    even, odd = kernels.constant((size, size), dtype="float64"), kernels.gradient((size, size))
    stack = (1 - ratios)[:, None, None] * even[None] + ratios[:, None, None] * odd[None]
    return stack / jnp.sqrt(jnp.sum(stack**2, (1, 2), keepdims=True))


def seen(field: im.fields.Field) -> tuple[jax.Array, jax.Array]:
    """Mass of each pixel over all of the mass, and where the first pixel lies."""
    return field.values / jnp.sum(field.values), field.origin


def measure(
    size: int, rectifier: str, radii: np.ndarray, ratios: np.ndarray, *, steps: int, every: int
) -> Edges:
    """Passes disks of several radii through layers of all mixing ratios.

    Args:
        size: taps on each axis.
        rectifier: a name.
        radii: of the disks, rising.
        ratios: β, at least 0, may be beyond 1.
        steps: layers.
        every: layers between looks.
    """
    side = 2 * int(np.ceil(radii.max())) + 1
    disks = [np.asarray(im.fields.disk((side, side), r, dtype="float64").values) for r in radii]
    fields = [patterns.with_room(disk, (size, size), steps) for disk in disks]
    starts = jax.tree.map(lambda *parts: jnp.stack(parts), *fields)

    def one(kernel, field, radius):
        _, looks = im.rollout(kernel, field, steps, rectifier=rectifier, observe=seen, every=every)
        after = im.layer(kernel, field, rectifier=rectifier)
        # the kernel sees nothing but the disk from there
        core = _within(after, observables.center(field), radius - size / jnp.sqrt(2.0))
        return looks, core_left(after.values, core)

    both = jax.vmap(jax.vmap(one, (0, None, None)), (None, 0, 0))
    (values, origin), first = jax.tree.map(
        np.asarray, jax.jit(both)(mixed(size, ratios), starts, radii)
    )
    # positions count from the middle of the disk
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
    """Mean of the pixels of the core over the mean of all lit ones, shape ()."""
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
        top, begin: where their first row and column lie, (…).
        place: along the last axis, (…).
        radius: in pixels.
    """
    rows, columns = values.shape[-2:]
    y = top[..., None] + np.arange(rows)
    x = (begin - place)[..., None] + np.arange(columns)
    inside = y[..., :, None] ** 2 + x[..., None, :] ** 2 <= radius**2
    return np.sum(values * inside, (-2, -1))


def quantiles(mass: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Places before which there are `QUANTILES` of the mass, (…, 3).

    Where no mass lies between two places, every place between them is such a quantile, and rounding
    would pick one. The result is the middle of them, as for a median.

    Args:
        mass: of each column, 1 in all, (…, columns).
        begin: where the first column lies, (…).
    """
    summed = np.cumsum(mass, -1)

    def reached(share):
        column = np.argmax(summed >= share, -1)[..., None]
        own = np.take_along_axis(mass, column, -1)[..., 0]
        above = np.take_along_axis(summed, column, -1)[..., 0] - share
        inside = np.where(own > 0, above / np.where(own > 0, own, 1), np.nan)
        return begin + column[..., 0] + 0.5 - inside

    pairs = [(reached(share - ROUNDING), reached(share + ROUNDING)) for share in QUANTILES]
    return np.stack([(low + high) / 2 for low, high in pairs], -1)


def front(mass: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Where mass falls to `FRONT` of the largest column's beyond the last column above it, (…)."""
    level = FRONT * np.max(mass, -1, keepdims=True)
    last = mass.shape[-1] - 1 - np.argmax(np.flip(mass >= level, -1), -1)[..., None]
    here = np.take_along_axis(mass, last, -1)
    after = np.take_along_axis(mass, np.minimum(last + 1, mass.shape[-1] - 1), -1)
    known = here > after
    part = np.where(known, (here - level) / np.where(known, here - after, 1), np.nan)
    return begin + (last + part)[..., 0]
