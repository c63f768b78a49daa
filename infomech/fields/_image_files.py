"""Unaltered pixels of image files: all bits of each sample, one picture, upright."""

import contextlib
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infomech._core import checks, extras

#: formats that Pillow reads without loss; in others it may drop bits
FORMATS = (
    "BMP", "DIB", "GIF", "ICO", "JPEG", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP",
)  # fmt: skip

#: exceptions that readers raise for broken files
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    struct.error,
    zlib.error,
)

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: raw modes of 16-bit PNG of which Pillow keeps the high bytes -> modes that keep the low ones
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}

#: extra samples of TIFF: opacity, premultiplied into the colors or not
_ASSOCIATED, _UNASSOCIATED = 1, 2

#: EXIF orientation -> function that turns an image upright
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}

TRANSPARENT = "transparency over black"
_TURNED = "turned upright according to its orientation tag"


def read(path: Path, page: int | None, conversions: list[str]) -> np.ndarray:
    """Pixels of an image file.

    Args:
        path: of the file.
        page: index of the picture in a file of several; None expects a single one.
        conversions: each conversion appends a line.

    Returns:
        Gray (rows, columns), or with a last axis: gray and opacity, RGB, or RGB and opacity.
        Bits, bytes and 16-bit integers range from 0 to the largest value of their dtype.

    Raises:
        ValueError: it can't be read, or not completely, or not without loss.
        ImportError: a package of the extra `cli` is not installed.
    """
    with extras.needed("cli", f"image {str(path)!r}"):
        import PIL.Image  # noqa: F401  (every reader below needs it)
    with _readable(path), path.open("rb") as file:
        tiff = file.read(4) in _TIFF
    deep = _deep_tiff(path, page, conversions) if tiff else None
    return _by_pillow(path, page, conversions) if deep is None else deep


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns errors of readers into a ValueError naming the file."""
    from PIL import Image

    try:
        yield
    except (*_READ_ERRORS, Image.DecompressionBombError) as error:
        raise _refused(path, f"unreadable ({error})", "an image file") from error


def _refused(path: Path, got: str, expected: str) -> ValueError:
    return checks.error("source", f"{str(path)!r}, {got}", expected)


def _page_number(path: Path, count: int, page: int | None) -> int:
    """Index of the picture to read out of `count` in the file."""
    if page is None and count > 1:
        expected = f"a file of one picture, or page= from 0 to {count - 1}"
        raise _refused(path, f"{count} pictures", expected)
    if page is not None and page >= count:
        raise checks.error("page", page, f"0 to {count - 1}, the pictures of {str(path)!r}")
    return page or 0


# --- Pillow: samples of up to 8 bits, gray of 16 bits, PNG of 16 bits --------------------------


def _by_pillow(path: Path, page: int | None, conversions: list[str]) -> np.ndarray:
    from PIL import Image

    with _readable(path), Image.open(path) as picture:
        kind, count = picture.format, getattr(picture, "n_frames", 1)
    if kind not in FORMATS:
        got = f"format {kind}, in which Pillow may drop bits"
        raise _refused(path, got, f"one of {', '.join(FORMATS)}")
    if kind == "MPO" and page is None:  # a photograph, followed by previews or a depth map
        conversions.append(f"the first of {count} pictures")
        page = 0
    number = _page_number(path, count, page)
    with _readable(path), Image.open(path) as picture:
        picture.seek(number)
        raw, mode = _samples(picture)
        largest = _largest(picture)
    if (65535 if mode == "I" else 255) % largest:
        got = f"samples from 0 to {largest}, which Pillow rounds"
        raise _refused(path, got, "0 to 255, or 0 to 65535 in gray")
    deep = raw in (*_LOW_BYTES, "LA;16B")
    if deep and count > 1:
        raise _refused(path, "an animation of 16 bits", "one of 8 bits, or a file of one picture")
    with _readable(path):
        return _deep_png(path, raw, conversions) if deep else _plain(path, number, conversions)


def _samples(picture: Any) -> tuple[str, str]:
    """Raw mode of the samples in the file, and the mode that Pillow converts them to."""
    args = picture.tile[0].args if picture.tile else ""
    return (args if isinstance(args, str) else ""), picture.mode


def _largest(picture: Any) -> int:
    """Sample value of white in files that Pillow rescales to 8 or 16 bits; else 1."""
    args = picture.tile[0].args if picture.tile else ""
    rescaled = picture.format == "PPM" and picture.tile[0].codec_name.startswith("ppm")
    return int(args[-1]) if rescaled and isinstance(args, tuple) else 1


def _plain(path: Path, number: int, conversions: list[str]) -> np.ndarray:
    """Pixels of files that Pillow reads unaltered."""
    from PIL import Image

    # open the file here: given a path, Pillow swaps rows and columns of mapped, rotated TIFFs
    with path.open("rb") as file, Image.open(file) as picture:
        picture.seek(number)
        raw, mode = _samples(picture)
        clear = picture.info.get("transparency")
        if isinstance(clear, int) and raw in ("L;2", "L;4"):  # the only samples Pillow rescales
            clear = picture.info["transparency"] = clear * (255 // (2 ** int(raw[-1]) - 1))
        picture = _upright(picture, conversions)
    if mode.startswith("I"):
        gray = np.asarray(picture).astype(np.uint16)
        return gray if clear is None else _with_opacity(gray[..., None], clear)
    if mode == "F" or (mode in ("1", "L", "LA") and clear is None):
        return np.asarray(picture)
    if mode == "CMYK":
        conversions.append("CMYK to RGB as (1 − C)(1 − K)")
    pixels = np.asarray(picture.convert("RGBA"))
    return pixels[..., ::3] if mode in ("1", "L") else pixels


def _deep_png(path: Path, raw: str, conversions: list[str]) -> np.ndarray:
    """16-bit samples, read as pairs of bytes, or high and low bytes in two passes.

    Pillow keeps the high byte only, and the low one if declared with bytes swapped.
    """
    if raw == "LA;16B":
        pairs, _ = _bytes(path, "RGBA", conversions)
        return 256 * pairs[..., ::2] + pairs[..., 1::2]
    high, clear = _bytes(path, raw, conversions)
    low, _ = _bytes(path, _LOW_BYTES[raw], [])
    pixels = 256 * high + low
    return pixels if clear is None else _with_opacity(pixels, clear)


def _bytes(path: Path, raw: str, conversions: list[str]) -> tuple[np.ndarray, Any]:
    """Pixels read with raw mode `raw`, and the transparent color."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.tile = [tile._replace(args=raw) for tile in picture.tile]
        clear = picture.info.get("transparency")
        return np.asarray(_upright(picture, conversions)).astype(np.uint16), clear


def _with_opacity(pixels: np.ndarray, clear: Any) -> np.ndarray:
    """Appends an opacity channel: 0 for the transparent color, full elsewhere."""
    opaque = np.any(pixels != np.array(clear, np.uint16), -1, keepdims=True)
    return np.concatenate([pixels, opaque * np.uint16(65535)], -1)


def _upright(picture: Any, conversions: list[str]) -> Any:
    from PIL import ExifTags, ImageOps

    if picture.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
        conversions.append(_TURNED)
    return ImageOps.exif_transpose(picture)


# --- tifffile: other samples of TIFF ------------------------------------------------------------


def _deep_tiff(path: Path, page: int | None, conversions: list[str]) -> np.ndarray | None:
    """Pixels of a TIFF file whose samples Pillow would alter; None if it would not."""
    with extras.needed("cli", f"image {str(path)!r}"):
        import tifffile
    with _readable(path), tifffile.TiffFile(path) as file:
        count = len(file.pages)
        if file.is_imagej or file.is_shaped:  # one page may stand for a stack
            count = max(count, sum(s.size for s in file.series) // max(1, file.pages[0].size))
    number = _page_number(path, count, page)
    with _readable(path), tifffile.TiffFile(path) as file:
        if number >= len(file.pages):
            raise ValueError("a stack without pages")
        picture = file.pages[number]
        if objection := _objection(picture, alone=page is None):
            got, expected = objection
        elif picture.bitspersample <= 8 and picture.extrasamples[:1] != (_ASSOCIATED,):
            return None
        else:
            _check_size(picture)
            return _tiff_pixels(picture, conversions)
    raise _refused(path, got, expected)


def _check_size(page: Any) -> None:
    from PIL import Image

    pixels, limit = page.imagelength * page.imagewidth, Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > 2 * limit:
        raise ValueError(f"{pixels} pixels, more than Pillow's limit of {2 * limit}")


def _objection(page: Any, *, alone: bool) -> tuple[str, str] | None:
    """(got, expected) if the samples can't be interpreted as shades, else None."""
    kind = {1: "unsigned integers", 2: "signed integers", 3: "floats"}.get(page.sampleformat)
    bits, colors = page.bitspersample, getattr(page.photometric, "name", str(page.photometric))
    if alone and page.is_reduced:
        return "a reduced copy of another image", "the image itself, or page=0"
    if kind not in ("unsigned integers", "floats"):
        got = f"{bits}-bit {kind or 'samples'}, whose black and white are unknown"
        return got, "unsigned integers, or floats from 0 to 1"
    if bits <= 8 and page.extrasamples[:1] != (_ASSOCIATED,):
        return None
    gray = colors in ("MINISBLACK", "MINISWHITE")
    if not gray and colors != "RGB":
        return f"{bits}-bit samples of {colors}", "gray or RGB where samples have more than 8 bits"
    if colors == "MINISWHITE" and kind == "floats":
        return "floats with 0 for white", "0 for black"
    if page.extrasamples not in ((), (_ASSOCIATED,), (_UNASSOCIATED,)):
        return f"{page.samplesperpixel} channels of unknown meaning", "gray or RGB, and opacity"
    if page.axes not in ("YX", "YXS", "SYX"):
        return f"axes {page.axes}", "rows, columns and channels"
    return None


def _tiff_pixels(page: Any, conversions: list[str]) -> np.ndarray:
    pixels = page.asarray()
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype.kind == "u":
        full = 2**page.bitspersample - 1
        if page.photometric.name == "MINISWHITE":
            first = slice(None) if pixels.ndim == 2 else (..., slice(0, 1))
            pixels = pixels.copy()
            pixels[first] = full - pixels[first]
        if full != np.iinfo(pixels.dtype).max:
            pixels = pixels / full
    if page.extrasamples == (_ASSOCIATED,):  # colors are premultiplied by the opacity
        conversions.append(TRANSPARENT)
        pixels = pixels[..., :-1]
    orientation = page.tags.valueof("Orientation", 1)
    if orientation in _TURNS:
        conversions.append(_TURNED)
        pixels = _TURNS[orientation](pixels)
    return pixels
