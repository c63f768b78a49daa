"""Initial patterns by name, cut to size, and the dark room that a rollout needs around them."""

import functools
import math

import jax.numpy as jnp
import numpy as np

from infomech._core import checks
from infomech.fields import _field, images

#: the patterns known by name, besides photographs and image files
PATTERNS = ("disk", "impulse", "gaussian", "box")


@functools.lru_cache(maxsize=8)
def pattern(name: str, radius: float, dimensions: int, dtype: str = "float32") -> np.ndarray:
    """A pattern in the smallest box that holds it.

    Args:
        name: disk, impulse, gaussian or box; in two dimensions also an image file or one of
            `infomech.fields.PHOTOGRAPHS`.
        radius: of the disk, half width of the box, two sigma of the gaussian (which is cut off at
            four); in pixels.
        dimensions: 1 to 3.
        dtype: floating dtype.

    Returns:
        Array of `dimensions` axes.

    Raises:
        ValueError: an unknown name or unreadable image, or an image in 1 or 3 dimensions.
    """
    checks.positive("radius", radius, dtype)
    side = 2 * math.ceil(radius) + 1
    if name == "disk":
        return np.asarray(_field.disk((side,) * dimensions, radius, dtype=dtype).values)
    if name == "impulse":
        return np.ones((1,) * dimensions, dtype)
    if name == "gaussian":
        wide = (2 * side - 1,) * dimensions
        return np.asarray(_field.gaussian(wide, radius / 2, dtype=dtype).values)
    if name == "box":
        return np.ones((side,) * dimensions, dtype)
    names = ", ".join(PATTERNS)
    if dimensions != 2:
        raise checks.error("pattern", repr(name), f"one of {names} in {dimensions} dimensions")
    try:
        return np.asarray(_field.image(name, dtype=dtype).values)
    except ValueError as error:
        raise ValueError(
            str(error).replace("source:", "pattern:") + f", or one of {names}"
        ) from error


def conversion(name: str) -> str:
    """How the image or photograph of a pattern became gray, in one line; empty if nothing was done.

    Raises:
        ValueError: an unreadable image.
    """
    return "" if name in PATTERNS else images.read(name).conversion


def domain(
    extent: tuple[int, ...], taps: tuple[int, ...], steps: int, boundary: str
) -> tuple[int, ...]:
    """Pixels on each axis that keep a pattern off the boundary for `steps` layers of any kernel.

    A layer of n taps widens a pattern by n − 1 pixels; n pixels are left at either end. On a
    periodic domain twice that room, so that the pattern never meets itself.
    """
    widest = [m + steps * (n - 1) + 2 * n for m, n in zip(extent, taps, strict=True)]
    return tuple(2 * m if boundary == "periodic" else m for m in widest)


def with_room(
    values: np.ndarray, taps: tuple[int, ...], steps: int, boundary: str = "zero"
) -> _field.Field:
    """`values` in a field of zeros as large as `domain` says, placed so that nothing gets out.

    The origin is such that positions count from the first pixel of `values`.
    """
    checks.unmasked("values", values)
    size = domain(values.shape, taps, steps, boundary)
    below = [n + steps * ((n - 1) // 2) for n in taps]
    room = [(b, n - b - m) for b, n, m in zip(below, size, values.shape, strict=True)]
    field = _field.as_field(jnp.asarray(np.pad(values, room)))
    return _field.Field(field.values, -jnp.asarray(below, field.origin.dtype), field.log_gain)
