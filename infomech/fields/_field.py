"""The `Field` type, with origin and scale, and initial patterns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.fields import images


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Field:
    """An image or signal u(x) on d = 1 to 3 axes: true value exp(log_gain) · values.

    Attributes:
        values: samples, one per pixel.
        origin: position of pixel 0 on each axis, in pixels, shape (d,). A layer with an even number
            of taps moves it by half a pixel.
        log_gain: natural logarithm of the factor removed by normalizations, shape ().
    """

    values: jax.Array
    origin: jax.Array
    log_gain: jax.Array


def as_field(values: Any) -> Field:
    """Converts an array to a `Field` with origin 0 and log_gain 0; passes a `Field` through.

    Raises:
        ValueError: not 1 to 3 axes, an axis of length 0, NaN or infinity, or complex numbers.
    """
    if isinstance(values, Field):
        array = _samples(values.values)
        wide = safe_math.wider(array.dtype, jnp.float32)
        origin = checks.vector("field.origin", values.origin, array.ndim, wide)
        log_gain = checks.floating("field.log_gain", values.log_gain, wide)
        if log_gain.ndim:
            raise checks.error("field.log_gain", f"shape {log_gain.shape}", "one number")
        return Field(array, origin, log_gain)
    array = _samples(values)
    checks.finite("field", values)
    wide = safe_math.wider(array.dtype, jnp.float32)
    return Field(array, jnp.zeros(array.ndim, wide), jnp.zeros((), wide))


def _samples(values: Any) -> jax.Array:
    array = checks.floating("field", values)
    if not 1 <= array.ndim <= 3 or 0 in array.shape:
        raise checks.error("field", f"shape {array.shape}", "1, 2 or 3 axes of at least one pixel")
    return array


def impulse(shape: int | Sequence[int], *, index: Any = None, dtype: Any = None) -> Field:
    """A single pixel of value 1 in a field of zeros.

    Args:
        shape: pixels on each axis.
        index: of that pixel; the middle, (n − 1)//2, if None.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Field` of mass 1.

    Raises:
        ValueError: `index` is outside the field.
    """
    shape = checks.shape("shape", shape)
    if index is None:
        index = tuple((n - 1) // 2 for n in shape)
    checks.unmasked("index", index)
    pixel = np.atleast_1d(np.asarray(index))
    is_integer = pixel.dtype.kind in "iu" and bool not in map(type, jax.tree.leaves(index))
    is_index = is_integer and pixel.shape == (len(shape),)
    if not is_index or np.any(pixel < 0) or np.any(pixel >= shape):
        raise checks.error("index", index, f"a pixel of a field of shape {shape}")
    values = np.zeros(shape)
    values[tuple(pixel)] = 1
    return as_field(jnp.asarray(values, checks.floating_dtype(dtype)))


def disk(
    shape: int | Sequence[int], radius: Any, *, center: Any = None, dtype: Any = None
) -> Field:
    """A disk (interval, ball): 1 where |x − center| ≤ radius, else 0.

    Args:
        shape: pixels on each of the d axes.
        radius: in pixels, positive; may be traced.
        center: position in pixels, shape (d,); the middle of the field if None.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Field`.

    Raises:
        ValueError: `radius` is not positive, or `center` is not one number per axis.
    """
    offset = _offsets(shape, center, dtype)
    radius = checks.positive("radius", radius, offset[0].dtype)
    distance_squared = sum((x**2 for x in offset), start=jnp.zeros((), offset[0].dtype))
    return as_field((distance_squared <= radius**2).astype(distance_squared.dtype))


def box(shape: int | Sequence[int], width: Any, *, center: Any = None, dtype: Any = None) -> Field:
    """A box: 1 where |x_a − center_a| ≤ width_a/2 on every axis, else 0.

    Args:
        shape: pixels on each of the d axes.
        width: edge length in pixels, one number or one per axis, positive; may be traced.
        center: position in pixels, shape (d,); the middle of the field if None.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Field`.

    Raises:
        ValueError: `width` is not positive, or `center` is not one number per axis.
    """
    axes = _axes("width", width, shape, center, dtype)
    inside = jnp.ones((), bool)
    for x, w in axes:
        inside = inside & (jnp.abs(x) <= w / 2)
    return as_field(inside.astype(axes[0][0].dtype))


def gaussian(
    shape: int | Sequence[int], sigma: Any, *, center: Any = None, dtype: Any = None
) -> Field:
    """A Gaussian bump of height 1, exp(−½ Σ_a ((x_a − center_a)/σ_a)²).

    Args:
        shape: pixels on each of the d axes.
        sigma: spread in pixels, one number or one per axis, positive; may be traced.
        center: position in pixels, shape (d,); the middle of the field if None.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Field`.

    Raises:
        ValueError: `sigma` is not positive, or `center` is not one number per axis.
    """
    axes = _axes("sigma", sigma, shape, center, dtype)
    return as_field(jnp.exp(-0.5 * sum((x / s) ** 2 for x, s in axes)))


def random(shape: int | Sequence[int], *, key: jax.Array, dtype: Any = None) -> Field:
    """White noise, uniform on [0, 1), non-negative as images are. `key` is a typed key."""
    shape, dtype = checks.shape("shape", shape), checks.floating_dtype(dtype)
    return as_field(jax.random.uniform(checks.key(key), shape, dtype))


def image(source: Any, *, page: int | None = None, margin: int = 0, dtype: Any = None) -> Field:
    """A grayscale image in [0, 1] from a file, a bundled photograph or an array.

    Color becomes luma, 0.299 R + 0.587 G + 0.114 B, and transparent pixels become black;
    `infomech.fields.images.read` also reports these conversions. 16-bit files keep all bits.
    Pillow and tifffile read files, and scikit-image provides the `PHOTOGRAPHS`: all are in the
    extra `cli`.

    Args:
        source: a path, one of `PHOTOGRAPHS`, or an array (rows, columns) or (rows, columns,
            1, 3 or 4). Unsigned integers are divided by the largest value of their dtype; floats
            are used unchanged.
        page: index of the picture in a file of several; None refuses such files.
        margin: dark pixels added on every side.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Field` of two axes; axis 0 counts the rows.

    Raises:
        ValueError: the file is missing, unreadable, has several pictures, or samples that can't be
            interpreted as shades, such as signed integers; the array has another shape, masked
            values or is not finite.
        ImportError: a package of the extra `cli` is not installed.
    """
    margin, dtype = checks.integer("margin", margin, 0), checks.floating_dtype(dtype)
    shades = images.read(source, page=page).shades
    return as_field(jnp.asarray(np.pad(shades, margin), dtype))


def _offsets(shape: int | Sequence[int], center: Any, dtype: Any) -> list[jax.Array]:
    """Offset of each pixel from the center along each axis, as broadcastable arrays."""
    shape = checks.shape("shape", shape)
    if center is None:
        center = np.array([(n - 1) / 2 for n in shape])
    middle = checks.vector("center", center, len(shape), checks.floating_dtype(dtype))
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    return [jnp.asarray(x, middle.dtype) - middle[a] for a, x in enumerate(axes)]


def _axes(
    name: str, sizes: Any, shape: int | Sequence[int], center: Any, dtype: Any
) -> list[tuple[jax.Array, jax.Array]]:
    """Offset of each pixel from the center, and the size of the pattern, along each axis."""
    offset = _offsets(shape, center, dtype)
    return list(
        zip(offset, checks.positive(name, sizes, offset[0].dtype, len(offset)), strict=True)
    )
