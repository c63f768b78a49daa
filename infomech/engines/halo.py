"""Halos around the tiles of a split field: exchange between neighbors, masking, cropping.

A tile with a halo as wide as the reach of S layers can run S layers without communication. After
each layer the outermost pixels of the halo are stale, because their taps read beyond it; they are
set to 0. Pixels beyond the domain follow the boundary rule after every layer, as on one device.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech.engines.stack import Stack


@dataclass(frozen=True)
class Side:
    """One split axis of the field.

    Attributes:
        axis: index of the field's axis.
        name: name of the mesh's axis.
        tiles: number of tiles along the axis.
        pixels: number of pixels of one tile along the axis.
        reach: pixels below and above that one layer reads.
        steps: layers between exchanges of the halo.
    """

    axis: int
    name: str
    tiles: int
    pixels: int
    reach: tuple[int, int]
    steps: int

    @property
    def halo(self) -> tuple[int, int]:
        """Width of the halo below and above."""
        return self.steps * self.reach[0], self.steps * self.reach[1]

    def is_first(self) -> jax.Array:
        """Whether this device's tile is at the lower end of the domain."""
        return jax.lax.axis_index(self.name) == 0

    def is_last(self) -> jax.Array:
        """Whether this device's tile is at the upper end of the domain."""
        return jax.lax.axis_index(self.name) == self.tiles - 1


def sides(stack: Stack, steps: int) -> list[Side]:
    """The axes that are split over more than one device, with a halo for `steps` layers."""
    names = stack.mesh.axis_names if stack.mesh is not None else ()
    axes = enumerate(zip(names, stack.split, stack.tile, stack.kernel_size, strict=False))
    return [
        Side(axis, name, tiles, pixels, (n // 2, (n - 1) // 2), steps)
        for axis, (name, tiles, pixels, n) in axes
        if tiles > 1
    ]


def exchange(tile: jax.Array, split_axes: list[Side], boundary: str) -> jax.Array:
    """Add the halo to a tile, with two permutations of devices for each split axis.

    The axes follow one another: each sends the pixels that the previous one received, which also
    transfers the corners.
    """
    for side in split_axes:
        low, high = side.halo
        shift = range(side.tiles if boundary == "periodic" else side.tiles - 1)
        up = [(i, (i + 1) % side.tiles) for i in shift]
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


def refresh(
    padded: jax.Array, split_axes: list[Side], boundary: str, steps: jax.Array
) -> jax.Array:
    """Set stale pixels to 0, `steps` layers after the exchange, and apply the boundary rule.

    Pixels beyond the domain become 0, or the mirror image of those inside.
    """
    for side in split_axes:
        padded = jnp.where(_valid(padded, side, boundary == "zero", steps), padded, 0)
    if boundary == "reflect":
        for side in split_axes:
            padded = _reflect(padded, side)
    return padded


def crop(padded: jax.Array, split_axes: list[Side]) -> jax.Array:
    """Cut a halo for many layers down to a halo for one."""
    for side in split_axes:
        low, high = (r - h for h, r in zip(side.halo, side.reach, strict=True))
        padded = _slice(padded, side, -low, padded.shape[side.axis] + high)
    return padded


def _valid(padded, side, inside, steps):
    """Mask of the pixels that are not stale and, if `inside`, not beyond the domain."""
    size = padded.shape[side.axis]
    along_axis = [-1 if a == side.axis else 1 for a in range(padded.ndim)]
    x = jnp.asarray(np.arange(size, dtype=np.int32))
    low, high = steps * side.reach[0], size - steps * side.reach[1]
    if inside:
        low = jnp.where(side.is_first(), side.halo[0], low)
        high = jnp.where(side.is_last(), side.halo[0] + side.pixels, high)
    return ((x >= low) & (x < high)).reshape(along_axis)


def _reflect(padded, side):
    low, high = side.halo
    size = padded.shape[side.axis]
    below, above = _slice(padded, side, 0, low), _slice(padded, side, size - high, size)
    if low:
        below = jnp.where(side.is_first(), _mirror(padded, side, low + 1, 2 * low + 1), below)
    if high:
        image = _mirror(padded, side, size - 2 * high - 1, size - high - 1)
        above = jnp.where(side.is_last(), image, above)
    middle = _slice(padded, side, low, size - high)
    return jnp.concatenate([below, middle, above], axis=side.axis)


def _mirror(values, side, start, stop):
    return jnp.flip(_slice(values, side, start, stop), side.axis)


def _slice(values, side, start, stop):
    return values[(slice(None),) * side.axis + (slice(start, stop),)]
