"""Grayscale images from files, bundled photographs and arrays."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from infomech._core import checks, extras, files
from infomech.fields import _image_files

#: photographs that come with scikit-image, by name
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip

#: weights of red, green and blue in a shade of gray: luma of ITU-R BT.601
WEIGHTS = (0.299, 0.587, 0.114)


class Picture(NamedTuple):
    """A grayscale image and its conversion from the source.

    Attributes:
        shades: (rows, columns), float64, 0 black and 1 white.
        conversion: conversions of color, transparency and orientation in one line; may be empty.
    """

    shades: np.ndarray
    conversion: str


def read(source: Any, *, page: int | None = None) -> Picture:
    """Reads a grayscale image and describes its conversion.

    Red, green and blue become 0.299 R + 0.587 G + 0.114 B, and transparent pixels become black.
    CMYK is first converted to RGB as (1 − C)(1 − K). The EXIF orientation is applied.

    Args:
        source: a path, one of `PHOTOGRAPHS`, or an array, as for `infomech.fields.image`.
        page: index of the picture in a file of several.

    Returns:
        `Picture`.

    Raises:
        ValueError: the file is missing or unreadable, has several pictures but no `page` is given,
            or has samples of unknown scale; the array has another shape or is not finite.
        ImportError: a package of the extra `cli` is not installed.
    """
    if page is not None:
        page = checks.integer("page", page, 0)
    conversions: list[str] = []
    if isinstance(source, str | os.PathLike):
        pixels = _file(source, page, conversions)
        allowed: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (3,), (4,))
    else:
        if page is not None:
            raise checks.error("page", page, "None for an array")
        pixels, allowed = _array(source), ((), (1,), (3,), (4,))
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.shape[2:] not in allowed:
        expected = "an image (rows, columns) or (rows, columns, 1, 3 or 4)"
        raise checks.error("source", f"shape {pixels.shape}", expected)
    shades = _shades(pixels, conversions)
    checks.finite("source", shades)
    name = f"{Path(source).name}: " if isinstance(source, str | os.PathLike) else ""
    return Picture(shades, name + ", ".join(conversions) if conversions else "")


def _array(source: Any) -> np.ndarray:
    checks.unmasked("source", source)
    try:
        return np.asarray(source)
    except (TypeError, ValueError) as error:
        raise checks.error("source", type(source).__name__, "an image file or array") from error


def _shades(pixels: np.ndarray, conversions: list[str]) -> np.ndarray:
    """Shades of pixels with 1 to 4 channels: gray, gray + opacity, RGB, RGB + opacity."""
    if pixels.dtype.kind == "u":
        scale = float(np.iinfo(pixels.dtype).max)
    elif pixels.dtype.kind == "b" or jnp.issubdtype(pixels.dtype, jnp.floating):
        scale = 1.0
    else:
        raise checks.error("source", f"dtype {pixels.dtype}", "bool, unsigned integers or floats")
    pixels = pixels.astype(np.float64) / scale
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    shades = pixels[..., 0]
    if channels > 2:
        red, green, blue = WEIGHTS
        conversions.append(f"RGB to gray with weights {red} R + {green} G + {blue} B")
        shades = pixels[..., :3] @ np.array(WEIGHTS)
    if channels in (2, 4):
        opacity = pixels[..., -1]
        if np.any(opacity != 1):
            conversions.append(_image_files.TRANSPARENT)
        shades = shades * opacity
    return shades


def _file(source: str | os.PathLike[str], page: int | None, conversions: list[str]) -> np.ndarray:
    if isinstance(source, str) and source in PHOTOGRAPHS:
        with extras.needed("cli", f"photograph {source!r}"):
            from skimage import data
        return np.asarray(getattr(data, source)())
    path = files.local("source", source)
    if not path.is_file():
        known = ", ".join(PHOTOGRAPHS)
        problem = "not a file" if path.exists() else "no such file"
        got = f"{str(path)!r}, {problem}"
        raise checks.error("source", got, f"an image file or one of {known}")
    return _image_files.read(path, page, conversions)
