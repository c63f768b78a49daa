"""Image files of all kinds, written byte by byte and compared with the numbers written."""

import struct
import zlib

import numpy as np
import pytest

from infomech import fields
from infomech.fields import images, patterns

PIL = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")

RNG = np.random.default_rng(31)
LUMA = np.array([0.299, 0.587, 0.114])
LUMA_NOTE = "RGB to gray with weights 0.299 R + 0.587 G + 0.114 B"
ALPHA_NOTE = "transparency over black"


def random_pixels(*channels, dtype=np.uint16):
    return RNG.integers(0, np.iinfo(dtype).max, (5, 7, *channels), dtype, endpoint=True)


def shades(pixels):
    """Expected shades, in plain NumPy."""
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    x = pixels.astype(np.float64) / scale
    if x.ndim == 2:
        return x
    gray = x[..., :3] @ LUMA if x.shape[2] > 2 else x[..., 0]
    return gray * x[..., -1] if x.shape[2] in (2, 4) else gray


# --- PNG ---------------------------------------------------------------------------------------


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def filtered(rows, step):
    """Rows of bytes, encoded with PNG's five filters in turn."""
    above, parts = np.zeros(rows.shape[1] + step, np.int64), []
    for n, row in enumerate(rows):
        current = np.concatenate([np.zeros(step, np.int64), row])
        a, b, c = current[:-step], above[step:], above[:-step]
        p = a + b - c
        nearest = np.abs(np.stack([p - a, p - b, p - c])).argmin(0)
        paeth = np.choose(nearest, [a, b, c])
        predicted = [0 * a, a, b, (a + b) // 2, paeth][n % 5]
        parts.append(bytes([n % 5]) + ((row - predicted) % 256).astype(np.uint8).tobytes())
        above = current
    return b"".join(parts)


def png(pixels, *, before=(), after=()):
    """A PNG file of the pixels with all filters, and chunks before and after the samples."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    size = pixels.dtype.itemsize
    color = {1: 0, 3: 2, 2: 4, 4: 6}[channels]
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(len(pixels), -1).view(np.uint8)
    header = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), 8 * size, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(name, data) for name, data in before),
            chunk(b"IDAT", zlib.compress(filtered(rows.astype(np.int64), channels * size))),
            *(chunk(name, data) for name, data in after),
            chunk(b"IEND", b""),
        ]
    )


@pytest.fixture
def write(tmp_path):
    def write(content, name="x.png"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def assert_shades(path, expected, conversion, **options):
    actual = images.read(path, **options)
    np.testing.assert_allclose(actual.shades, expected, rtol=0, atol=1e-12)
    notes = ", ".join(part for part in conversion.split("; ") if part)
    assert actual.conversion == (f"{path.name}: {notes}" if notes else "")
    field = fields.image(path, dtype="float32", **options)
    np.testing.assert_allclose(field.values, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "conversion"),
    [(1, ""), (2, ALPHA_NOTE), (3, LUMA_NOTE), (4, f"{LUMA_NOTE}; {ALPHA_NOTE}")],
)
def test_png_of_8_and_16_bits(write, dtype, channels, conversion):
    pixels = random_pixels(*[channels] if channels > 1 else [], dtype=dtype)
    assert_shades(write(png(pixels)), shades(pixels), conversion)


def test_png_keeps_the_lowest_bit(write):
    pixels = np.array([[[258, 0, 0], [259, 0, 0]]], np.uint16)
    result = images.read(write(png(pixels))).shades
    np.testing.assert_allclose(result, [[0.299 * 258 / 65535, 0.299 * 259 / 65535]], rtol=1e-12)


@pytest.mark.parametrize(("channels", "layout"), [((), ">H"), ((3,), ">HHH")], ids=["gray", "RGB"])
def test_transparent_color_of_16_bits_is_black(write, channels, layout):
    pixels = random_pixels(*channels)
    color = np.atleast_1d(pixels[2, 3])
    expected = shades(pixels)
    expected[2, 3] = 0
    path = write(png(pixels, before=[(b"tRNS", struct.pack(layout, *color))]))
    assert_shades(path, expected, f"{LUMA_NOTE}; {ALPHA_NOTE}" if channels else ALPHA_NOTE)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_with_a_transparent_shade(write, bits):
    maximum = 2**bits - 1
    levels = 5 * np.arange(8) % (maximum + 1)
    packed = np.packbits((levels[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()
    content = b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(">H", maximum)),
            chunk(b"IDAT", zlib.compress(b"\0" + packed)),
            chunk(b"IEND", b""),
        ]
    )
    expected = np.where(levels == maximum, 0, levels / maximum)[None]
    assert_shades(write(content), expected, ALPHA_NOTE)


@pytest.mark.parametrize("fraction", [0.5, 0.8])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_truncated_png_of_16_bits_is_refused(write, channels, fraction):
    content = png(RNG.integers(0, 65536, (32, 32, channels)).astype(np.uint16))
    path = write(content[: int(fraction * len(content))])
    with pytest.raises(ValueError, match=r"^source: .*x\.png', unreadable"):
        images.read(path)


# --- TIFF --------------------------------------------------------------------------------------

GRAY, WHITE_IS_0, RGB, SEPARATED = 1, 0, 2, 5


def tiff(pixels, photometric, *, order="<", extra=(), bits=None, tags=()):
    """A TIFF file of one strip; a photometric ("planar", number) stores channels separately."""
    planar, photometric = photometric if isinstance(photometric, tuple) else ("", photometric)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    data = (
        (np.moveaxis(pixels, -1, 0) if planar else pixels)
        .astype(pixels.dtype.newbyteorder(order))
        .tobytes()
    )
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    depth = bits or 8 * pixels.dtype.itemsize
    strips = channels if planar else 1
    strip_bytes = len(data) // strips
    entries = {
        256: ("L", [pixels.shape[1]]),
        257: ("L", [len(pixels)]),
        258: ("H", [depth] * channels),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("L", [8 + n * strip_bytes for n in range(strips)]),
        277: ("H", [channels]),
        278: ("L", [len(pixels)]),
        279: ("L", [strip_bytes] * strips),
        284: ("H", [2 if planar else 1]),
        339: ("H", [kind] * channels),
        **dict(tags),
    }
    if extra:
        entries[338] = ("H", list(extra))
    start = 8 + len(data)
    end = start + 2 + 12 * len(entries) + 4
    table, values = struct.pack(order + "H", len(entries)), b""
    for tag, (code, numbers) in sorted(entries.items()):
        packed = struct.pack(order + code * len(numbers), *numbers)
        if len(packed) > 4:
            packed, values = struct.pack(order + "L", end + len(values)), values + packed
        kind = {"H": 3, "L": 4}[code]
        table += struct.pack(order + "HHL", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "L", start) + data + table + bytes(4) + values


FLOAT = RNG.uniform(size=(5, 7))
TIFFS = {
    "8-bit gray": (random_pixels(dtype=np.uint8), GRAY, {}, ""),
    "16-bit gray": (random_pixels(), GRAY, {}, ""),
    "16-bit big-endian gray": (random_pixels(), GRAY, {"order": ">"}, ""),
    "32-bit gray": (random_pixels(dtype=np.uint32), GRAY, {}, ""),
    "8-bit RGB": (random_pixels(3, dtype=np.uint8), RGB, {}, LUMA_NOTE),
    "16-bit RGB": (random_pixels(3), RGB, {}, LUMA_NOTE),
    "16-bit big-endian RGB": (random_pixels(3), RGB, {"order": ">"}, LUMA_NOTE),
    "16-bit planar RGB": (random_pixels(3), ("planar", RGB), {}, LUMA_NOTE),
    "16-bit RGB and opacity": (random_pixels(4), RGB, {"extra": [2]}, f"{LUMA_NOTE}; {ALPHA_NOTE}"),
    "16-bit gray and opacity": (random_pixels(2), GRAY, {"extra": [2]}, ALPHA_NOTE),
    "half": (FLOAT.astype(np.float16), GRAY, {}, ""),
    "single": (FLOAT.astype(np.float32), GRAY, {}, ""),
    "double": (FLOAT, GRAY, {}, ""),
    "double, big-endian": (FLOAT, GRAY, {"order": ">"}, ""),
    "double RGB": (RNG.uniform(size=(5, 7, 3)), RGB, {}, LUMA_NOTE),
}


@pytest.mark.parametrize(
    ("pixels", "photometric", "options", "conversion"), TIFFS.values(), ids=TIFFS
)
def test_tiff_sample_types(write, pixels, photometric, options, conversion):
    path = write(tiff(pixels, photometric, **options), "x.tif")
    assert_shades(path, shades(pixels), conversion)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_with_0_for_white(write, dtype):
    pixels = random_pixels(dtype=dtype)
    path = write(tiff(pixels, WHITE_IS_0), "x.tif")
    assert_shades(path, 1 - shades(pixels), "")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_with_premultiplied_opacity(write, dtype):
    """Such colors stay unchanged over black."""
    pixels = random_pixels(4, dtype=dtype)
    pixels[..., :3] = pixels[..., :3] * (pixels[..., 3:] / np.iinfo(dtype).max)
    path = write(tiff(pixels, RGB, extra=[1]), "x.tif")
    assert_shades(path, shades(pixels[..., :3]), f"{ALPHA_NOTE}; {LUMA_NOTE}")


def test_compressed_tiff_of_16_bits(tmp_path):
    pixels = random_pixels(3)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", compression="zlib")
    assert_shades(tmp_path / "x.tif", shades(pixels), LUMA_NOTE)


REFUSED = {
    "int8": (
        random_pixels(dtype=np.int8),
        GRAY,
        {},
        "8-bit signed integers, whose black and white are",
    ),
    "int16": (
        random_pixels(dtype=np.int16),
        GRAY,
        {},
        "16-bit signed integers, whose black and white are",
    ),
    "int32": (
        random_pixels(dtype=np.int32),
        GRAY,
        {},
        "32-bit signed integers, whose black and white are",
    ),
    "16-bit CMYK": (
        random_pixels(4),
        SEPARATED,
        {},
        "16-bit samples of SEPARATED, expected gray or RGB",
    ),
    "extra": (
        random_pixels(4),
        RGB,
        {"extra": [0]},
        "4 channels of unknown meaning, expected gray or",
    ),
    "reduced": (
        random_pixels(),
        GRAY,
        {"tags": [(254, ("L", [1]))]},
        "a reduced copy of another image",
    ),
    "float, white 0": (FLOAT, WHITE_IS_0, {}, "floats with 0 for white, expected 0 for black"),
}


@pytest.mark.parametrize(
    ("pixels", "photometric", "options", "message"), REFUSED.values(), ids=REFUSED
)
def test_ambiguous_tiff_is_refused(write, pixels, photometric, options, message):
    path = write(tiff(pixels, photometric, **options), "x.tif")
    with pytest.raises(ValueError, match=rf"^source: got '.*x\.tif', {message}"):
        images.read(path)


@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.7])
def test_truncated_tiff_of_16_bits_is_refused(tmp_path, fraction):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, RNG.integers(0, 65536, (32, 32, 3)).astype(np.uint16), photometric="rgb")
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(ValueError, match=r"^source: .*x\.tif', unreadable"):
        images.read(path)


def test_tiff_of_nan_is_refused(write):
    pixels = FLOAT.copy()
    pixels[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"^source: got 1 of 35 values not finite"):
        images.read(write(tiff(pixels, GRAY), "x.tif"))


# --- several images and orientation --------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("stack", ["pages", "ImageJ", "one page"])
def test_tiff_of_several_pages_needs_a_page(tmp_path, dtype, stack):
    path, pixels = tmp_path / "x.tif", RNG.integers(0, 200, (3, 5, 7)).astype(dtype)
    options = {"ImageJ": {"imagej": True}, "one page": {"truncate": True}}.get(stack, {})
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    message = r"^source: got '.*x\.tif', 3 pictures, expected .* page= from 0 to 2$"
    with pytest.raises(ValueError, match=message):
        fields.image(path)
    if stack == "pages":
        assert_shades(path, shades(pixels[1]), "", page=1)
        with pytest.raises(ValueError, match=r"^page: got 3, expected 0 to 2"):
            fields.image(path, page=3)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_animation_needs_a_page(tmp_path, name):
    frames = [np.full((6, 8), shade, np.uint8) for shade in (0, 255)]
    first, *rest = (PIL.fromarray(frame) for frame in frames)
    options = {"lossless": True} if name == "x.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=rest, **options)
    with pytest.raises(ValueError, match="2 pictures, expected a file of one picture, or page="):
        fields.image(tmp_path / name)
    np.testing.assert_allclose(fields.image(tmp_path / name, page=1).values, np.ones((6, 8)))


@pytest.mark.parametrize("page", [-1, True, 0.5])
def test_page_is_an_integer(write, page):
    with pytest.raises(ValueError, match=r"^page: got"):
        fields.image(write(png(random_pixels())), page=page)


def test_array_has_no_pages():
    with pytest.raises(ValueError, match=r"^page: got 0, expected None for an array"):
        fields.image(FLOAT, page=0)


#: from the pixels of the file to the upright image, by EXIF orientation
TO_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.swapaxes(a[::-1], 0, 1),  # the file's left column is the image's top row
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.swapaxes(a, 0, 1)[::-1],
}
UPRIGHT_NOTE = "turned upright according to its orientation tag"


def exif(number):
    return b"II*\0" + struct.pack("<LHHHLHHL", 8, 1, 274, 3, 1, number, 0, 0)


@pytest.mark.parametrize("number", TO_UPRIGHT)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_is_turned_upright(write, number, dtype):
    pixels = random_pixels(3, dtype=dtype)
    path = write(png(pixels, after=[(b"eXIf", exif(number))]))
    expected = TO_UPRIGHT[number](shades(pixels))
    assert_shades(path, expected, f"{UPRIGHT_NOTE if number > 1 else ''}; {LUMA_NOTE}")


@pytest.mark.parametrize("number", TO_UPRIGHT)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_is_turned_upright(write, number, dtype):
    pixels = random_pixels(dtype=dtype)
    path = write(tiff(pixels, GRAY, tags=[(274, ("H", [number]))]), "x.tif")
    assert_shades(path, TO_UPRIGHT[number](shades(pixels)), UPRIGHT_NOTE if number > 1 else "")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "group4"])
@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "CMYK"])
def test_rotated_tiff_matches_upright_tiff(tmp_path, mode, compression):
    if compression == "group4" and mode != "1":
        return  # one bit only
    picture = PIL.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    for number in (1, 6):
        picture.convert(mode).save(
            tmp_path / f"{number}.tif", compression=compression, tiffinfo={274: number}
        )
    upright, turned = (images.read(tmp_path / f"{number}.tif").shades for number in (1, 6))
    np.testing.assert_allclose(turned, np.rot90(upright, -1), rtol=0, atol=1e-12)
    assert np.ptp(upright) > 0.2


def test_jpeg_is_turned_upright(tmp_path):
    gray = np.kron(np.array([[0, 255], [0, 0]], np.uint8), np.ones((8, 16), np.uint8))
    PIL.fromarray(gray).save(tmp_path / "x.jpg", exif=b"Exif\0\0" + exif(6), quality=95)
    result = fields.image(tmp_path / "x.jpg").values
    assert result.shape == (32, 16)
    np.testing.assert_allclose(result, np.rot90(gray, -1) / 255, atol=0.1)


# --- other formats -------------------------------------------------------------------------------


def test_cmyk_reports_its_conversion(tmp_path):
    pixels = random_pixels(4, dtype=np.uint8)
    PIL.fromarray(pixels, mode="CMYK").save(tmp_path / "x.tif")
    ink = pixels / 255
    actual = images.read(tmp_path / "x.tif")
    assert actual.conversion == f"x.tif: CMYK to RGB as (1 − C)(1 − K), {LUMA_NOTE}"
    expected = ((1 - ink[..., :3]) * (1 - ink[..., 3:])) @ LUMA
    np.testing.assert_allclose(actual.shades, expected, atol=1 / 255)


def pnm(magic, maximum, pixels):
    header = f"{magic}\n{pixels.shape[1]} {pixels.shape[0]}\n{maximum}\n".encode()
    return header + pixels.astype(">u2" if maximum > 255 else np.uint8).tobytes()


def test_pgm_of_16_bits(write):
    pixels = random_pixels()
    assert_shades(write(pnm("P5", 65535, pixels), "x.pgm"), shades(pixels), "")


def test_pgm_of_4_bits(write):
    pixels = RNG.integers(0, 16, (5, 7))
    assert_shades(write(pnm("P5", 15, pixels), "x.pgm"), pixels / 15, "")


@pytest.mark.parametrize(("magic", "maximum"), [("P6", 65535), ("P5", 1000), ("P5", 100)])
def test_pnm_rounded_by_pillow_is_refused(write, magic, maximum):
    path = write(pnm(magic, maximum, np.zeros((5, 7, 3 if magic == "P6" else 1))), "x.pnm")
    with pytest.raises(ValueError, match=f"samples from 0 to {maximum}, which Pillow rounds"):
        fields.image(path)


def test_lossy_format_is_refused(tmp_path):
    PIL.fromarray(random_pixels(dtype=np.uint8)).save(tmp_path / "x.sgi")
    message = r"x\.sgi', format SGI, in which Pillow may drop bits, expected one of BMP"
    with pytest.raises(ValueError, match=message):
        fields.image(tmp_path / "x.sgi")


def test_gray_photograph_needs_no_conversion():
    pytest.importorskip("skimage")
    assert images.read("camera").conversion == ""
    assert images.read("astronaut").conversion == f"astronaut: {LUMA_NOTE}"
    assert patterns.conversion("astronaut") == f"astronaut: {LUMA_NOTE}"
    assert patterns.conversion("disk") == ""


def test_arrays_report_their_conversion():
    assert images.read(random_pixels(3)).conversion == LUMA_NOTE
    assert images.read(FLOAT).conversion == ""
