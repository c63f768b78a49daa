"""What is measured of a field: mass, energy, center, covariance, shape, contact with the boundary.

Positions are in pixels and include the field's origin. On a periodic domain (`boundary="periodic"`)
the center is the circular mean and displacements from it are taken the short way round. A field of
zero mass has no center: its center, covariance and shape are NaN, and gradients through them are 0.
Sums accumulate in at least float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.fields import Field, as_field

#: what lies outside the domain: zeros, the opposite side, or the mirror image (edge not repeated)
BOUNDARIES = ("zero", "periodic", "reflect")


def mass(field: Any) -> jax.Array:
    """M = Σ u, true value exp(log_gain) Σ values; shape ()."""
    field = as_field(field)
    return jnp.exp(field.log_gain) * safe_math.total(_wide(field))


def log_mass(field: Any) -> jax.Array:
    """log M = log_gain + log Σ values, which neither overflows nor underflows; shape ().

    −∞ for a dead field, NaN for a negative mass.
    """
    field = as_field(field)
    return field.log_gain + safe_math.log(safe_math.total(_wide(field)))


def energy(field: Any) -> jax.Array:
    """W = Σ u² = ‖u‖², true value exp(2 log_gain) Σ values²; shape ().

    0 or infinite where the dtype can't hold it, as single precision can't that of 1e-21:
    `log_energy` has no such limit.
    """
    field = as_field(field)
    half = jnp.exp(field.log_gain / 2)
    return safe_math.energy(_wide(field) * half * half)


def log_energy(field: Any) -> jax.Array:
    """log ‖u‖² = 2 log_gain + log Σ values², which neither overflows nor underflows; shape ().

    −∞ for a dead field.
    """
    field = as_field(field)
    values = _wide(field)
    scale = safe_math.scale(values)
    return 2 * (field.log_gain + jnp.log(scale)) + safe_math.log(
        safe_math.total((values / scale) ** 2)
    )


def center(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Center of mass c = Σ x u / M in pixels, shape (d,).

    On a periodic domain of L pixels, the circular mean: c = L/2π · arg Σ u exp(2πi x/L) per axis,
    between 0 and L from the origin (a trace unwraps it over time).

    Args:
        field: `Field` or array of d axes.
        boundary: one of `BOUNDARIES`.

    Returns:
        Vector (d,); NaN for a field of zero mass.

    Raises:
        ValueError: unknown boundary, or not a field.
    """
    field = as_field(field)
    _, middles = _located(field, boundary)
    return jnp.stack(middles) + field.origin


def covariance(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Covariance of the mass about its center, C = Σ (x − c)(x − c)ᵀ u / M, in pixels², (d, d).

    Args and errors as for `center`; on a periodic domain x − c is taken the short way round.
    """
    values, middles = _located(field, boundary)
    d = values.ndim
    away = [_away(n, c, boundary) for n, c in zip(values.shape, middles, strict=True)]
    entries = {}
    for a in range(d):
        entries[a, a] = _mean(values, {a: away[a] ** 2})
        for b in range(a + 1, d):
            entries[a, b] = entries[b, a] = _mean(values, {a: away[a], b: away[b]})
    return jnp.stack([jnp.stack([entries[a, b] for b in range(d)]) for a in range(d)])


def spread(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Standard deviation of the mass on each axis, σ = √diag C, in pixels, shape (d,)."""
    return safe_math.sqrt(jnp.diagonal(covariance(field, boundary=boundary)))


def skewness(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Skewness of the mass on each axis, Σ (x − c)³ u / (M σ³), dimensionless, shape (d,).

    0 for a symmetric pattern; falls as t^(−1/2) under repeated filtering. NaN where σ is 0.
    """
    return _standardized(field, boundary, 3)


def excess_kurtosis(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Excess kurtosis of the mass on each axis, Σ (x − c)⁴ u / (M σ⁴) − 3, shape (d,).

    0 for a Gaussian; falls as 1/t under repeated filtering. NaN where σ is 0.
    """
    return _standardized(field, boundary, 4) - 3


def balance(field: Any) -> jax.Array:
    """|Σ u| / Σ |u|, in [0, 1]; shape (): 1 for a field of one sign, NaN for a dead one.

    The mass of a field of both signs, and with it its center, is known only to about the rounding
    error over this number.
    """
    values = _wide(as_field(field))
    return safe_math.divide(jnp.abs(safe_math.total(values)), safe_math.total(jnp.abs(values)))


def edge(field: Any, reach: tuple[tuple[int, int], ...], *, boundary: str = "zero") -> jax.Array:
    """Share of Σ |u| that is within reach of the boundary, in [0, 1]; shape ().

    On a periodic domain nothing leaves, but a pattern that meets itself has no plain center: there
    it is the share within reach of the antipode of the circular center.

    Args:
        field: `Field` or array of d axes.
        reach: for each axis, how many pixels count at its (lower, upper) end: see `layer_reach`.
        boundary: one of `BOUNDARIES`.

    Returns:
        Scalar; 0 for a dead field, NaN for one on a ring whose mass cancels.

    Raises:
        ValueError: unknown boundary, or not one pair per axis.
    """
    values, middles = _located(field, boundary)
    size = jnp.abs(values)
    if not isinstance(reach, tuple | list) or len(reach) != size.ndim:
        raise checks.error("reach", reach, f"{size.ndim} pairs, one per axis")
    if boundary == "periodic":
        near = jnp.zeros((), bool)
        for a, (n, c) in enumerate(zip(size.shape, middles, strict=True)):
            seam = n / 2 - max(reach[a])
            far = (jnp.abs(_away(n, c, boundary)) >= seam) & (max(reach[a]) > 0)
            near = near | jnp.expand_dims(far, [b for b in range(size.ndim) if b != a])
        located = ~jnp.any(jnp.isnan(jnp.stack(middles)))
        touching = jnp.where(located, safe_math.total(jnp.where(near, size, 0)), jnp.nan)
    else:
        # by weights, not slices, which would move pixels of a field that is split over devices
        touching = jnp.zeros((), size.dtype)
        inner: dict[int, jax.Array] = {}
        for a, (n, (down, up)) in enumerate(zip(size.shape, reach, strict=True)):
            touches = (np.arange(n) < down) | (np.arange(n) >= n - up)
            weights = {**inner, a: jnp.asarray(touches, size.dtype)}
            touching = touching + safe_math.total(size, weights)
            inner[a] = jnp.asarray(~touches, size.dtype)
    everything = safe_math.total(size)
    return jnp.where(everything > 0, safe_math.divide(touching, everything), 0)


def layer_reach(
    taps: tuple[int, ...], layers: int = 1, *, boundary: str = "zero"
) -> tuple[tuple[int, int], ...]:
    """How many pixels at the (lower, upper) end of each axis feel it within `layers` layers.

    With the output on the pixel grid, one layer of n taps moves mass by −(n − 1)//2 up to n//2
    pixels, so as many pixels at either end can lose some. At a reflecting boundary the mirror image
    comes in as well: of n//2 pixels beyond the first, and of (n − 1)//2 before the last.
    """
    reach = []
    for n in taps:
        down, up = (n - 1) // 2, n // 2
        low, high = (down, up) if boundary != "reflect" else (up + 1, max(up, down + 1))
        more = layers - 1
        reach.append((more * down + low, more * up + high) if n > 1 else (0, 0))
    return tuple(reach)


def wrap(displacement: jax.Array, length: Any) -> jax.Array:
    """A displacement on a ring of the given length, taken the short way round: in [−L/2, L/2)."""
    return jnp.mod(displacement + length / 2, length) - length / 2


def _wide(field: Field) -> jax.Array:
    return field.values.astype(safe_math.wider(field.values.dtype, jnp.float32))


def _located(field: Any, boundary: str) -> tuple[jax.Array, list[jax.Array]]:
    """The values over their scale, and their center on each axis counted from pixel 0."""
    checks.one_of("boundary", boundary, BOUNDARIES)
    values = _wide(as_field(field))
    values = values / safe_math.scale(values)
    middle = _circular_mean if boundary == "periodic" else _plain_mean
    return values, [middle(values, axis) for axis in range(values.ndim)]


def _plain_mean(values: jax.Array, axis: int) -> jax.Array:
    n = values.shape[axis]
    x = jnp.asarray(np.arange(n) - n // 2, values.dtype)
    first = jax.lax.stop_gradient(_mean(values, {axis: x}))
    start = jnp.where(jnp.isnan(first), 0, first)
    # once more about the first result: a long axis would cost digits otherwise
    return n // 2 + start + _mean(values, {axis: x - start})


def _circular_mean(values: jax.Array, axis: int) -> jax.Array:
    n = values.shape[axis]
    angle = 2 * np.pi * np.arange(n) / n
    sign = jnp.sign(safe_math.total(values))
    sine = sign * safe_math.total(values, {axis: jnp.asarray(np.sin(angle), values.dtype)})
    cosine = sign * safe_math.total(values, {axis: jnp.asarray(np.cos(angle), values.dtype)})
    exists = (sine != 0) | (cosine != 0)
    turn = jnp.arctan2(jnp.where(exists, sine, 0), jnp.where(exists, cosine, 1)) / (2 * np.pi)
    return jnp.where(exists, jnp.mod(turn, 1) * n, jnp.nan)


def _away(n: int, middle: jax.Array, boundary: str) -> jax.Array:
    """Displacement of each pixel of an axis from its center; 0 throughout where there is none."""
    there = jnp.where(jnp.isnan(middle), 0, middle)
    x = jnp.asarray(np.arange(n), middle.dtype) - there
    return wrap(x, n) if boundary == "periodic" else x


def _standardized(field: Any, boundary: str, power: int) -> jax.Array:
    values, middles = _located(field, boundary)
    moments = []
    for a, (n, c) in enumerate(zip(values.shape, middles, strict=True)):
        x = _away(n, c, boundary)
        variance = _mean(values, {a: x**2})
        exists = variance > 0
        sigma = jnp.sqrt(jnp.where(exists, variance, 1))
        moments.append(jnp.where(exists, _mean(values, {a: (x / sigma) ** power}), jnp.nan))
    return jnp.stack(moments)


def _mean(values: jax.Array, weights: dict[int, jax.Array]) -> jax.Array:
    """Mean of Π_a w_a(x_a) over the mass; NaN where there is none."""
    return safe_math.divide(safe_math.total(values, weights), safe_math.total(values))
