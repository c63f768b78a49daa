"""What lies around a tile of a split field: fetched from neighbors, kept true while it shrinks.

A tile with a halo of S layers' reach passes S layers by itself. At the end of each, the outermost
pixels of the halo are those whose taps met nothing: they are stale, and set to 0. What lies beyond
the domain follows its boundary after every layer, as on one device.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech.engines.stack import Stack


@dataclass(frozen=True)
class Side:
    """One axis that is split: its place, its name in the mesh, its tiles and its halo.

    Attributes:
        axis: of the field.
        name: of the mesh's axis.
        count: tiles along it.
        pixels: of one tile.
        reach: pixels below and above that one layer reads.
        layers: that a halo lasts for.
    """

    axis: int
    name: str
    count: int
    pixels: int
    reach: tuple[int, int]
    layers: int

    @property
    def halo(self) -> tuple[int, int]:
        """Width of the halo below and above."""
        return self.layers * self.reach[0], self.layers * self.reach[1]

    def is_first(self) -> jax.Array:
        """Whether this device's tile lies at the lower end of the domain."""
        return jax.lax.axis_index(self.name) == 0

    def is_last(self) -> jax.Array:
        """Whether this device's tile lies at the upper end of the domain."""
        return jax.lax.axis_index(self.name) == self.count - 1


def sides(stack: Stack, layers: int) -> list[Side]:
    """Every axis that is split over more than one device, with a halo for `layers` layers."""
    names = stack.mesh.axis_names if stack.mesh is not None else ()
    numbers = enumerate(zip(names, stack.split, stack.tile, stack.kernel_size, strict=False))
    return [
        Side(axis, name, count, pixels, (n // 2, (n - 1) // 2), layers)
        for axis, (name, count, pixels, n) in numbers
        if count > 1
    ]


def exchanged(tile: jax.Array, around: list[Side], boundary: str) -> jax.Array:
    """The tile with its halo, by two permutations of devices for each axis that is split.

    One axis after the other: the second sends what the first has fetched, so corners come along.
    """
    for side in around:
        low, high = side.halo
        shift = range(side.count if boundary == "periodic" else side.count - 1)
        up = [(i, (i + 1) % side.count) for i in shift]
        parts = [tile]
        if low:
            below = jax.lax.ppermute(_slice(tile, side, -low, None), side.name, up)
            if boundary == "reflect":
                below = jnp.where(side.is_first(), _mirror(tile, side, 1, 1 + low), below)
            parts.insert(0, below)
        if high:
            down = [(j, i) for i, j in up]
            above = jax.lax.ppermute(_slice(tile, side, 0, high), side.name, down)
            if boundary == "reflect":
                above = jnp.where(side.is_last(), _mirror(tile, side, -1 - high, -1), above)
            parts.append(above)
        tile = jnp.concatenate(parts, axis=side.axis)
    return tile


def settled(wide: jax.Array, around: list[Side], boundary: str, passed: jax.Array) -> jax.Array:
    """A tile with its halo after `passed` of the layers that it lasts for: what is stale is 0.

    What lies beyond the domain is 0, or the mirror image of what lies inside.
    """
    for side in around:
        wide = jnp.where(_known(wide, side, boundary == "zero", passed), wide, 0)
    if boundary == "reflect":
        for side in around:
            wide = _mirrored(wide, side)
    return wide


def cropped(wide: jax.Array, around: list[Side]) -> jax.Array:
    """A tile with a halo of many layers, cut down to that of one."""
    for side in around:
        low, high = (r - h for h, r in zip(side.halo, side.reach, strict=True))
        wide = _slice(wide, side, -low, wide.shape[side.axis] + high)
    return wide


def _known(wide, side, inside, passed):
    """Where, along a side, pixels are neither stale nor, if only those `inside` count, beyond."""
    size = wide.shape[side.axis]
    place = [-1 if a == side.axis else 1 for a in range(wide.ndim)]
    x = jnp.asarray(np.arange(size, dtype=np.int32))
    low, high = passed * side.reach[0], size - passed * side.reach[1]
    if inside:
        low = jnp.where(side.is_first(), side.halo[0], low)
        high = jnp.where(side.is_last(), side.halo[0] + side.pixels, high)
    return ((x >= low) & (x < high)).reshape(place)


def _mirrored(wide, side):
    low, high = side.halo
    size = wide.shape[side.axis]
    below, above = _slice(wide, side, 0, low), _slice(wide, side, size - high, size)
    if low:
        below = jnp.where(side.is_first(), _mirror(wide, side, low + 1, 2 * low + 1), below)
    if high:
        image = _mirror(wide, side, size - 2 * high - 1, size - high - 1)
        above = jnp.where(side.is_last(), image, above)
    middle = _slice(wide, side, low, size - high)
    return jnp.concatenate([below, middle, above], axis=side.axis)


def _mirror(values, side, start, stop):
    return jnp.flip(_slice(values, side, start, stop), side.axis)


def _slice(values, side, start, stop):
    return values[(slice(None),) * side.axis + (slice(start, stop),)]
