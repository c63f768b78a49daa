"""Fields: patterns compared with NumPy, images from files and arrays, and bad input."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bad_input import BAD_SHAPES
from jax.test_util import check_grads

from infomech import fields
from infomech.fields import Field

SHAPES = [(1,), (9,), (6,), (7, 7), (5, 8), (1, 4), (4, 5, 3)]
TOLERANCE = {"float32": 1e-5, "float64": 1e-14}
KEY = jax.random.key(0)


TAKE_SHAPE = {
    "impulse": fields.impulse,
    "disk": functools.partial(fields.disk, radius=1.0),
    "box": functools.partial(fields.box, width=1.0),
    "gaussian": functools.partial(fields.gaussian, sigma=1.0),
    "random": functools.partial(fields.random, key=KEY),
}


def assert_close(actual, expected, tolerance=1e-14):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def displacements(shape, center):
    """Displacements x − center, shape (*shape, d)."""
    return np.moveaxis(np.indices(shape), 0, -1) - np.asarray(center)


def middle(shape):
    return (np.array(shape) - 1) / 2


# --- patterns -------------------------------------------------------------------------------


def reference_patterns(shape, center, radius, width, sigma):
    x = displacements(shape, center)
    return {
        "disk": np.sum(x**2, axis=-1) <= radius**2,
        "box": np.all(np.abs(x) <= np.array(width) / 2, axis=-1),
        "gaussian": np.exp(-0.5 * np.sum((x / sigma) ** 2, axis=-1)),
    }


def patterns(shape, dtype, center, radius, width, sigma):
    return {
        "disk": fields.disk(shape, radius, center=center, dtype=dtype),
        "box": fields.box(shape, width, center=center, dtype=dtype),
        "gaussian": fields.gaussian(shape, sigma, center=center, dtype=dtype),
    }


def sizes(d):
    return {
        "radius": 2.3,
        "width": np.array([2.0, 3.5, 1.0])[:d],
        "sigma": np.array([0.8, 2.0, 1.3])[:d],
    }


def assert_plain(field, dtype):
    """The field has this dtype, lies at the origin and is not normalized."""
    assert field.values.dtype == dtype
    np.testing.assert_array_equal(field.origin, np.zeros(field.values.ndim))
    np.testing.assert_array_equal(field.log_gain, 0)


@pytest.mark.parametrize(
    ("shape", "dtype"), [*((shape, "float64") for shape in SHAPES), ((5, 8), "float32")]
)
def test_patterns_match_plain_numpy(shape, dtype):
    """In the middle of the field (the default) and off the middle."""
    build = jax.jit(functools.partial(patterns, shape, dtype, **sizes(len(shape))))
    off = middle(shape) + np.array([0.3, -1.1, 0.7])[: len(shape)]
    for actual, center in ((build(center=None), middle(shape)), (build(center=off), off)):
        for name, expected in reference_patterns(shape, center, **sizes(len(shape))).items():
            assert_close(actual[name].values, expected, TOLERANCE[dtype])
            assert_plain(actual[name], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_disk_and_box_include_their_borders(dtype):
    """(3, 4) is at distance 5; a box 4 wide reaches 2 pixels either side."""
    disk = fields.disk((13, 13), 5.0, dtype=dtype).values
    assert disk[9, 10] == 1
    assert disk[10, 10] == 0
    np.testing.assert_array_equal(np.sum(disk), 81)
    np.testing.assert_array_equal(fields.box(9, 4.0, dtype=dtype).values, [0, 0, *[1] * 5, 0, 0])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_impulse_is_a_single_pixel_of_one(shape, dtype):
    corner = tuple(n - 1 for n in shape)
    for index, pixel in ((None, tuple((n - 1) // 2 for n in shape)), (corner, corner)):
        field = fields.impulse(shape, index=index, dtype=dtype)
        assert_plain(field, dtype)
        expected = np.zeros(shape)
        expected[pixel] = 1
        np.testing.assert_array_equal(field.values, expected)


def test_impulse_accepts_arrays_and_integers():
    np.testing.assert_array_equal(fields.impulse(4, index=3).values, [0, 0, 0, 1])
    for index in (np.array([1, 0]), [1, 0], jnp.array([1, 0])):
        assert fields.impulse((2, 2), index=index).values[1, 0] == 1


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_random_is_uniform_and_depends_on_key(dtype):
    field = fields.random((100, 100), key=KEY, dtype=dtype)
    assert_plain(field, dtype)
    values = np.asarray(field.values)
    assert values.min() >= 0
    assert values.max() < 1
    deciles = np.histogram(values, bins=10, range=(0, 1))[0]
    np.testing.assert_allclose(deciles, 1000, atol=120)  # four standard deviations
    np.testing.assert_array_equal(fields.random((100, 100), key=KEY, dtype=dtype).values, values)
    other = fields.random((100, 100), key=jax.random.key(1), dtype=dtype).values
    assert np.mean(np.asarray(other) == values) < 0.01


@pytest.mark.parametrize("name", ["impulse", "disk", "box", "gaussian", "random"])
def test_dtype_defaults_to_float(name):
    for requested, expected in (
        (None, "float64"),
        ("float32", "float32"),
        (jnp.float32, "float32"),
    ):
        field = jax.eval_shape(functools.partial(TAKE_SHAPE[name], 3, dtype=requested))
        assert field.values.dtype == expected


def test_vmap_matches_single_calls():
    centers, radii = np.array([[1.0, 2.5], [3.0, 0.0]]), np.array([1.5, 2.0])

    @jax.jit
    def build(center, radius):
        return patterns((5, 4), "float64", center, radius, width=2 * radius, sigma=radius)

    result = jax.vmap(build)(centers, radii)
    for i in range(2):
        for name, field in build(centers[i], radii[i]).items():
            assert_close(result[name].values[i], field.values)


def test_vmap_of_random_matches_single_calls():
    keys = jax.random.split(KEY, 2)
    result = jax.vmap(lambda key: fields.random(5, key=key).values)(keys)
    assert_close(result, [fields.random(5, key=key).values for key in keys])


def test_gaussian_derivatives_match_finite_differences():
    @jax.jit
    def values(sigma, center):
        return fields.gaussian((4, 3), sigma, center=center).values

    arguments = np.array([1.2, 0.7]), np.array([1.4, 0.8])
    check_grads(values, arguments, order=1, modes=("fwd", "rev"))


TRACED_IN_A_TUPLE = {
    "disk": lambda x: fields.disk((5, 5), 1.5, center=(x, 2.0)),
    "box": lambda x: fields.box((5, 5), (x, 2.0)),
    "gaussian": lambda x: fields.gaussian((5, 5), (x, 2.0), center=(2.0, x)),
    "as_field": lambda x: fields.as_field([x, 1.0]),
}


@pytest.mark.parametrize("build", TRACED_IN_A_TUPLE.values(), ids=TRACED_IN_A_TUPLE)
def test_tuples_of_traced_numbers_are_accepted(build):
    assert_close(jax.jit(build)(1.7).values, build(1.7).values)


# --- Field ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.ones(3, np.float32), "float32"),
        (np.ones((2, 3)), "float64"),
        ([1, 2, 3], "float64"),
        (np.ones((2, 1, 3), bool), "float64"),
        (jnp.ones(3, jnp.bfloat16), "bfloat16"),
    ],
)
def test_as_field_keeps_dtype(values, dtype):
    field = fields.as_field(values)
    assert_plain(field, jnp.dtype(dtype))
    np.testing.assert_array_equal(field.values, values)
    exact = "float64" if dtype == "float64" else "float32"
    assert field.origin.dtype == field.log_gain.dtype == exact


def test_as_field_keeps_origin_and_gain():
    field = fields.as_field(Field(jnp.ones(3), jnp.array([-0.5]), jnp.array(7.0)))
    for result in (field, fields.as_field(field)):
        np.testing.assert_array_equal(
            [*result.values, *result.origin, result.log_gain], [1, 1, 1, -0.5, 7]
        )


def test_field_may_contain_nan():
    """A rollout may return one: runtime trouble is data."""
    field = fields.as_field(Field(jnp.array([jnp.nan]), jnp.zeros(1), jnp.zeros(())))
    np.testing.assert_array_equal(field.values, [np.nan])


def test_fields_pass_through_transformations():
    def double(field):
        return Field(2 * field.values, field.origin + 1, field.log_gain)

    field = fields.as_field(np.arange(3.0))
    doubled = jax.jit(double)(field)
    np.testing.assert_array_equal(doubled.values, [0, 2, 4])
    np.testing.assert_array_equal(doubled.origin, [1])
    batch = jax.vmap(fields.as_field)(np.ones((2, 3)))
    assert (batch.values.shape, batch.origin.shape, batch.log_gain.shape) == ((2, 3), (2, 1), (2,))
    slope = jax.grad(lambda values: jnp.sum(fields.as_field(values).values ** 2))(np.arange(3.0))
    np.testing.assert_array_equal(slope, [0, 2, 4])


# --- images from arrays ---------------------------------------------------------------------

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (3, 4), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (3, 4, 4), dtype=np.uint8)
LUMA = np.array([0.299, 0.587, 0.114])
FLOATS = RNG.random((3, 4))

ARRAYS = {
    "8 bits": (GRAY, GRAY / 255),
    "16 bits": (GRAY.astype(np.uint16) * 257, GRAY / 255),
    "32 bits": (GRAY.astype(np.uint32), GRAY / (2**32 - 1)),
    "bool": (GRAY > 99, GRAY > 99),
    "float64": (FLOATS, FLOATS),
    "float32": (FLOATS.astype(np.float32), FLOATS.astype(np.float32)),
    "bfloat16": (jnp.asarray(GRAY > 99, jnp.bfloat16), GRAY > 99),
    "JAX": (jnp.asarray(GRAY), GRAY / 255),
    "floats beyond 1": (7 * FLOATS - 3, 7 * FLOATS - 3),
    "one channel": (GRAY[..., None], GRAY / 255),
    "color": (COLOR[..., :3], COLOR[..., :3] / 255 @ LUMA),
    "transparent": (COLOR, (COLOR[..., :3] / 255 @ LUMA) * (COLOR[..., 3] / 255)),
    "float color": (COLOR[..., :3] / 255, COLOR[..., :3] / 255 @ LUMA),
}


@pytest.mark.parametrize(("pixels", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_image_from_array(pixels, expected):
    field = fields.image(pixels)
    assert_plain(field, "float64")
    assert_close(field.values, expected)


def test_image_takes_dtype_and_margin():
    field = fields.image(GRAY, margin=2, dtype="float32")
    assert_plain(field, "float32")
    assert_close(field.values, np.pad(GRAY / 255, 2), 1e-6)


# --- images from files ----------------------------------------------------------------------


@pytest.fixture
def save(tmp_path):
    """Write pixels to an image file and return its path."""
    image = pytest.importorskip("PIL.Image")

    def write(pixels, name="picture.png", mode=None):
        picture = pixels if isinstance(pixels, image.Image) else image.fromarray(pixels)
        (picture.convert(mode) if mode else picture).save(tmp_path / name)
        return tmp_path / name

    return write


FILES = {
    "8 bits": (GRAY, "picture.png", GRAY / 255),
    "16 bits": (GRAY.astype(np.uint16) * 257, "picture.png", GRAY / 255),
    "16-bit TIFF": (GRAY.astype(np.uint16) * 257, "picture.tiff", GRAY / 255),
    "1 bit": (GRAY > 99, "picture.png", GRAY > 99),
    "color": (COLOR[..., :3], "picture.png", COLOR[..., :3] / 255 @ LUMA),
    "bitmap": (COLOR[..., :3], "picture.bmp", COLOR[..., :3] / 255 @ LUMA),
    "transparent": (COLOR, "picture.png", COLOR[..., :3] @ LUMA * COLOR[..., 3] / 255**2),
    "gray and opacity": (
        COLOR[..., :2],
        "picture.png",
        COLOR[..., 0] * (COLOR[..., 1] / 255**2),
    ),
    "floats": (FLOATS.astype(np.float32), "picture.tiff", FLOATS.astype(np.float32)),
}


@pytest.mark.parametrize(("pixels", "name", "expected"), FILES.values(), ids=FILES)
def test_image_from_file(save, pixels, name, expected):
    path = save(pixels, name)
    for source in (path, str(path)):
        field = fields.image(source)
        assert_plain(field, "float64")
        assert_close(field.values, expected)


def test_image_from_palette_file(save):
    """The transparent color of a palette is black."""
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    picture.putpalette([255, 255, 255, 255, 0, 0, 0, 255, 0])
    picture.info["transparency"] = 0
    assert_close(fields.image(save(picture)).values, [[0, 0.299, 0.587]])


def test_image_from_bundled_photograph():
    data = pytest.importorskip("skimage.data")
    field = fields.image("camera")
    assert_close(field.values, data.camera() / 255)
    assert_plain(field, "float64")


@pytest.mark.parametrize("name", fields.PHOTOGRAPHS)
def test_photographs_are_bundled(name):
    """None of them is downloaded."""
    data = pytest.importorskip("skimage.data")
    assert list(Path(data.__path__[0]).glob(f"{name}.*"))


# --- invalid files --------------------------------------------------------------------------


def assert_refused(source, message):
    with pytest.raises(ValueError, match=rf"^source: got .*{message}") as error:
        fields.image(source)
    return str(error.value)


def test_missing_file_is_refused_and_lists_photographs(tmp_path):
    message = assert_refused(
        tmp_path / "nothing.png", "nothing.png', no such file, expected an image"
    )
    assert all(name in message for name in fields.PHOTOGRAPHS)


def test_folder_is_refused(tmp_path):
    assert_refused(tmp_path, tmp_path.name)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"], ids=str)
def test_non_image_file_is_refused(tmp_path, content):
    pytest.importorskip("PIL")
    path = tmp_path / "text.png"
    path.write_bytes(content)
    assert_refused(path, r"text.png', unreadable \(.*\), expected an image file")


@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.tiff"])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_truncated_file_is_refused(save, name, fraction):
    path = save(RNG.integers(0, 256, (32, 32), dtype=np.uint8), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    assert_refused(path, f"{name}', unreadable .*, expected an image file")


def test_corrupt_file_is_refused(save):
    path = save(RNG.integers(0, 256, (32, 32), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert_refused(path, "picture.png', unreadable .*, expected an image file")


def test_file_of_signed_integers_is_refused(save):
    assert_refused(save(GRAY.astype(np.int32), "picture.tiff"), "32-bit signed integers, whose")


def test_file_of_nan_is_refused(save):
    path = save(np.array([[np.nan, 1.0]], np.float32), "picture.tiff")
    assert_refused(path, "1 of 2 values not finite")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns before it refuses
def test_oversized_file_is_refused(save, monkeypatch):
    path = save(GRAY)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 2)
    assert_refused(path, r"picture.png', unreadable \(.*pixels")


BAD_ARRAYS = {
    "a vector": (np.ones(3), r"shape \(3,\), expected an image"),
    "four axes": (np.ones((1, 1, 1, 1)), r"shape \(1, 1, 1, 1\), expected an image"),
    "two channels": (np.ones((2, 2, 2)), r"shape \(2, 2, 2\), expected an image"),
    "no pixels": (np.ones((0, 2)), r"shape \(0, 2\), expected"),
    "NaN": (np.array([[np.nan, 1.0]]), "1 of 2 values not finite"),
    "infinite": (np.array([[np.inf, 1.0]]), "1 of 2 values not finite"),
    "signed": (np.ones((2, 2), int), "dtype int64, expected bool, unsigned integers or floats"),
    "complex": (np.ones((2, 2), complex), "dtype complex128, expected bool"),
    "words": (np.array([["a"]]), "dtype <U1, expected bool"),
    "a number": (5, r"shape \(\), expected an image"),
    "None": (None, "expected an image"),
    "ragged": ([[1.0, 2.0], [3.0]], "expected"),
}


@pytest.mark.parametrize(("source", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_array_is_refused(source, message):
    assert_refused(source, message)


# --- bad input ------------------------------------------------------------------------------

BAD_VALUES = {
    "a number": (1.0, r"shape \(\), expected 1, 2 or 3 axes"),
    "four axes": (np.ones((1, 1, 1, 1)), r"shape \(1, 1, 1, 1\), expected 1, 2 or 3 axes"),
    "empty": (np.ones((3, 0)), r"shape \(3, 0\), expected .* at least one pixel"),
    "NaN": ([1.0, np.nan], "1 of 2 values not finite"),
    "infinite": ([1.0, -np.inf, np.inf], "2 of 3 values not finite"),
    "complex": ([1j], "complex128, expected real numbers"),
    "a word": ("abc", "str, expected an array of real numbers"),
    "None": (None, "NoneType, expected an array of real numbers"),
    "ragged": ([[1.0, 2.0], [3.0]], "list, expected an array of real numbers"),
}


@pytest.mark.parametrize(("values", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=f"^field: got .*{message}"):
        fields.as_field(values)


BAD_FIELDS = {
    "a number": (np.ones(()), np.zeros(0), 0.0, "field: got .*axes"),
    "four axes": (np.ones((1, 1, 1, 1)), np.zeros(4), 0.0, "field: got .*axes"),
    "empty": (np.ones(0), np.zeros(1), 0.0, "field: got .*at least one pixel"),
    "origin": (np.ones((2, 2)), np.zeros(1), 0.0, r"field.origin: got shape \(1,\)"),
    "origin NaN": (np.ones(2), np.array([np.nan]), 0.0, "field.origin: got .*not finite"),
    "gain": (np.ones(2), np.zeros(1), np.zeros(2), r"field.log_gain: got shape \(2,\)"),
}


@pytest.mark.parametrize(
    ("values", "origin", "log_gain", "message"), BAD_FIELDS.values(), ids=BAD_FIELDS
)
def test_bad_field_is_refused(values, origin, log_gain, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        fields.as_field(Field(values, origin, log_gain))


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=str)
@pytest.mark.parametrize("function", TAKE_SHAPE.values(), ids=TAKE_SHAPE)
def test_bad_shape_is_refused(function, shape):
    with pytest.raises(ValueError, match=r"^shape: got .*, expected .* three positive integers"):
        function(shape)


@pytest.mark.parametrize("dtype", [int, "complex64", bool, "nonsense"], ids=str)
@pytest.mark.parametrize("name", [*TAKE_SHAPE, "image"])
def test_bad_dtype_is_refused(name, dtype):
    """An integer dtype would turn a grayscale image into zeros."""
    with pytest.raises(ValueError, match=r"^dtype: got .*, expected a floating dtype"):
        fields.image(FLOATS, dtype=dtype) if name == "image" else TAKE_SHAPE[name](3, dtype=dtype)


TAKE_SIZE = {"radius": fields.disk, "width": fields.box, "sigma": fields.gaussian}
BAD_SIZES = [0.0, -1.0, np.nan, np.inf, "wide", 1j, None, (1.0, 2.0, 3.0)]


@pytest.mark.parametrize("size", BAD_SIZES, ids=str)
@pytest.mark.parametrize("argument", TAKE_SIZE)
def test_bad_size_is_refused(argument, size):
    with pytest.raises(ValueError, match=f"^{argument}: got .*, expected .*number"):
        TAKE_SIZE[argument]((3, 3), size)


@pytest.mark.parametrize(
    "center", [1.0, (1.0,), (1.0, 2.0, 3.0), (np.nan, 1.0), "ab", (1j, 1.0)], ids=str
)
@pytest.mark.parametrize("argument", TAKE_SIZE)
def test_bad_center_is_refused(argument, center):
    with pytest.raises(ValueError, match=r"^center: got .*, expected .*number"):
        TAKE_SIZE[argument]((3, 3), 1.0, center=center)


BAD_INDICES = [
    3,
    -1,
    (1,),
    (1, 1, 1),
    (3, 0),
    (0, -1),
    (0.5, 1),
    (True, 1),
    (None, 1),
    "ab",
    [[1, 1]],
]


@pytest.mark.parametrize("index", BAD_INDICES, ids=str)
def test_bad_index_is_refused(index):
    with pytest.raises(ValueError, match=r"^index: got .*, expected a pixel of a field of shape"):
        fields.impulse((3, 3), index=index)


@pytest.mark.parametrize("margin", [-1, 1.5, True, None, "2"], ids=str)
def test_bad_margin_is_refused(margin):
    with pytest.raises(ValueError, match=r"^margin: got .*, expected an integer of at least 0"):
        fields.image(GRAY, margin=margin)


@pytest.mark.parametrize("key", [0, None, "seed"], ids=str)
def test_bad_key_is_refused(key):
    with pytest.raises(ValueError, match=r"^key: got .*, expected .*jax.random.key"):
        fields.random(3, key=key)
