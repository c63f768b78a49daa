"""Initial patterns by name, in their smallest box, and the padding that a rollout needs."""

import functools
import math

import jax.numpy as jnp
import numpy as np

from infomech._core import checks
from infomech.fields import _field, images

#: names of patterns, in addition to photographs and image files
PATTERNS = ("disk", "impulse", "gaussian", "box")


@functools.lru_cache(maxsize=8)
def pattern(name: str, radius: float, dimensions: int, dtype: str = "float32") -> np.ndarray:
    """A pattern in the smallest box that holds it.

    Args:
        name: disk, impulse, gaussian or box; in two dimensions also an image file or one of
            `infomech.fields.PHOTOGRAPHS`.
        radius: of the disk, half width of the box, two sigma of the gaussian (cut off at four
            sigma); in pixels.
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
    """Conversion of an image or photograph to gray, in one line; empty if unchanged.

    Raises:
        ValueError: an unreadable image.
    """
    return "" if name in PATTERNS else images.read(name).conversion


def padded_shape(
    shape: tuple[int, ...], kernel_size: tuple[int, ...], steps: int, boundary: str
) -> tuple[int, ...]:
    """Shape of a domain whose boundary a pattern can't reach within `steps` layers of any kernel.

    A layer of n taps widens a pattern by n − 1 pixels; n pixels stay free at either end. A periodic
    domain is twice as large, so the pattern never meets itself.
    """
    padded = [m + steps * (n - 1) + 2 * n for m, n in zip(shape, kernel_size, strict=True)]
    return tuple(2 * m if boundary == "periodic" else m for m in padded)


def padded(
    values: np.ndarray, kernel_size: tuple[int, ...], steps: int, boundary: str = "zero"
) -> _field.Field:
    """`values` padded with zeros to `padded_shape`, placed such that nothing leaves the domain.

    Positions count from the first pixel of `values`.
    """
    checks.unmasked("values", values)
    shape = padded_shape(values.shape, kernel_size, steps, boundary)
    before = [n + steps * ((n - 1) // 2) for n in kernel_size]
    padding = [(b, n - b - m) for b, n, m in zip(before, shape, values.shape, strict=True)]
    field = _field.as_field(jnp.asarray(np.pad(values, padding)))
    return _field.Field(field.values, -jnp.asarray(before, field.origin.dtype), field.log_gain)
