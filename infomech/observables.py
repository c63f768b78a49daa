"""What is measured of a field: mass, energy, centre, covariance, shape, contact with the boundary.

Positions are in pixels and include the field's origin. On a periodic domain (`boundary="periodic"`)
the centre is the circular mean and displacements from it are taken the short way round. A field of
zero mass has no centre: its centre, covariance and shape are NaN, and gradients through them are 0.
Sums accumulate in at least float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks
from infomech.fields import Field, as_field

#: what lies outside the domain: zeros, the opposite side, or the mirror image (edge not repeated)
BOUNDARIES = ("zero", "periodic", "reflect")


def mass(field: Any) -> jax.Array:
    """M = Σ u, true value exp(log_gain) Σ values; shape () (PHYSICS: [M] §3)."""
    field = as_field(field)
    return jnp.exp(field.log_gain) * jnp.sum(_wide(field))


def log_mass(field: Any) -> jax.Array:
    """log M = log_gain + log Σ values, which neither overflows nor underflows; shape ().

    −∞ for a dead field, NaN for a negative mass.
    """
    field = as_field(field)
    return field.log_gain + _log(jnp.sum(_wide(field)))


def energy(field: Any) -> jax.Array:
    """W = Σ u² = ‖u‖², true value exp(2 log_gain) Σ values²; shape ()."""
    return jnp.exp(log_energy(field))


def log_energy(field: Any) -> jax.Array:
    """log ‖u‖² = 2 log_gain + log Σ values², which neither overflows nor underflows; shape ().

    −∞ for a dead field.
    """
    field = as_field(field)
    values = _wide(field)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(values)))
    scale = jnp.where(largest > 0, largest, 1)
    return 2 * (field.log_gain + jnp.log(scale)) + _log(jnp.sum((values / scale) ** 2))


def centre(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Centre of mass c = Σ x u / M in pixels, shape (d,).

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
    field, middles = _located(field, boundary)
    return jnp.stack(middles) + field.origin


def covariance(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Covariance of the mass about its centre, C = Σ (x − c)(x − c)ᵀ u / M, in pixels², (d, d).

    Args and errors as for `centre`; on a periodic domain x − c is taken the short way round.
    """
    field, middles = _located(field, boundary)
    values, d = _wide(field), field.values.ndim
    away = [_away(n, c, boundary) for n, c in zip(values.shape, middles, strict=True)]
    entries = {}
    for a in range(d):
        marginal = _marginal(values, (a,))
        entries[a, a] = _mean(away[a] ** 2, marginal)
        for b in range(a + 1, d):
            joint = _marginal(values, (a, b))
            along = jnp.matmul(joint, away[b], precision="highest")
            entries[a, b] = entries[b, a] = _ratio(jnp.sum(away[a] * along), jnp.sum(marginal))
    return jnp.stack([jnp.stack([entries[a, b] for b in range(d)]) for a in range(d)])


def spread(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Standard deviation of the mass on each axis, σ = √diag C, in pixels, shape (d,)."""
    return _sqrt(jnp.diagonal(covariance(field, boundary=boundary)))


def skewness(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Skewness of the mass on each axis, Σ (x − c)³ u / (M σ³), dimensionless, shape (d,).

    0 for a symmetric pattern; falls as t^(−1/2) under repeated filtering. NaN where σ is 0.
    """
    return _standardised(field, boundary, 3)


def excess_kurtosis(field: Any, *, boundary: str = "zero") -> jax.Array:
    """Excess kurtosis of the mass on each axis, Σ (x − c)⁴ u / (M σ⁴) − 3, shape (d,).

    0 for a Gaussian; falls as 1/t under repeated filtering. NaN where σ is 0.
    """
    return _standardised(field, boundary, 4) - 3


def edge(
    field: Any, reach: tuple[tuple[int, int], ...], *, boundary: str = "zero"
) -> jax.Array:
    """Share of Σ |u| that one layer can carry over the boundary, in [0, 1]; shape ().

    On a periodic domain nothing leaves, but a pattern that meets itself has no plain centre: there
    it is the share within reach of the antipode of the circular centre.

    Args:
        field: `Field` or array of d axes.
        reach: for each axis, how many pixels mass can move (down, up) the axis: see `layer_reach`.
        boundary: one of `BOUNDARIES`.

    Returns:
        Scalar; 0 for a dead field.

    Raises:
        ValueError: unknown boundary, or not one pair per axis.
    """
    field, middles = _located(field, boundary)
    size = jnp.abs(_wide(field))
    if len(reach) != size.ndim:
        raise checks.fail("reach", reach, f"{size.ndim} pairs, one per axis")
    if boundary == "periodic":
        near = jnp.zeros((), bool)
        for a, (n, c) in enumerate(zip(size.shape, middles, strict=True)):
            seam = n / 2 - max(reach[a])
            far = (jnp.abs(_away(n, c, boundary)) >= seam) & (max(reach[a]) > 0)
            near = near | jnp.expand_dims(far, [b for b in range(size.ndim) if b != a])
        touching = jnp.sum(jnp.where(near, size, 0))
    else:
        touching = jnp.zeros((), size.dtype)
        inner = size
        for a, (n, (down, up)) in enumerate(zip(size.shape, reach, strict=True)):
            low, high = min(down, n), max(n - up, min(down, n))
            first = jax.lax.slice_in_dim(inner, 0, low, axis=a)
            last = jax.lax.slice_in_dim(inner, high, n, axis=a)
            touching = touching + jnp.sum(first) + jnp.sum(last)
            inner = jax.lax.slice_in_dim(inner, low, high, axis=a)
    total = jnp.sum(size)
    return jnp.where(total > 0, touching / jnp.where(total > 0, total, 1), 0)


def layer_reach(taps: tuple[int, ...], layers: int = 1) -> tuple[tuple[int, int], ...]:
    """How far `layers` layers of a kernel of shape `taps` move mass (down, up) each axis, in pixels.

    With the output on the pixel grid, one layer of n taps moves it by −(n − 1)//2 up to n//2.
    """
    return tuple((layers * ((n - 1) // 2), layers * (n // 2)) for n in taps)


def wrap(displacement: jax.Array, length: Any) -> jax.Array:
    """A displacement on a ring of the given length, taken the short way round: in [−L/2, L/2)."""
    return jnp.mod(displacement + length / 2, length) - length / 2


def _wide(field: Field) -> jax.Array:
    return field.values.astype(jnp.promote_types(field.values.dtype, jnp.float32))


def _located(field: Any, boundary: str) -> tuple[Field, list[jax.Array]]:
    """The field, and its centre on each axis counted from pixel 0."""
    checks.one_of("boundary", boundary, BOUNDARIES)
    field = as_field(field)
    values = _wide(field)
    middle = _circular_mean if boundary == "periodic" else _plain_mean
    return field, [middle(_marginal(values, (a,))) for a in range(values.ndim)]


def _marginal(values: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    others = tuple(a for a in range(values.ndim) if a not in axes)
    return jnp.sum(values, axis=others)


def _plain_mean(marginal: jax.Array) -> jax.Array:
    n = marginal.shape[0]
    x = jnp.asarray(np.arange(n) - n // 2, marginal.dtype)
    first = _mean(x, marginal)
    # once more about the first result: a long axis would cost digits otherwise
    return n // 2 + first + _mean(x - first, marginal)


def _circular_mean(marginal: jax.Array) -> jax.Array:
    n = marginal.shape[0]
    angle = 2 * np.pi * np.arange(n) / n
    total = jnp.sum(marginal)
    sine = jnp.sum(marginal * jnp.asarray(np.sin(angle), marginal.dtype)) * jnp.sign(total)
    cosine = jnp.sum(marginal * jnp.asarray(np.cos(angle), marginal.dtype)) * jnp.sign(total)
    exists = (sine != 0) | (cosine != 0)
    turn = jnp.arctan2(jnp.where(exists, sine, 0), jnp.where(exists, cosine, 1)) / (2 * np.pi)
    return jnp.where(exists, jnp.mod(turn, 1) * n, jnp.nan)


def _away(n: int, middle: jax.Array, boundary: str) -> jax.Array:
    """Displacement of each pixel of an axis from its centre; 0 throughout where there is none."""
    there = jnp.where(jnp.isnan(middle), 0, middle)
    x = jnp.asarray(np.arange(n), middle.dtype) - there
    return wrap(x, n) if boundary == "periodic" else x


def _standardised(field: Any, boundary: str, power: int) -> jax.Array:
    field, middles = _located(field, boundary)
    values = _wide(field)
    moments = []
    for a, (n, c) in enumerate(zip(values.shape, middles, strict=True)):
        marginal, x = _marginal(values, (a,)), _away(n, c, boundary)
        variance = _mean(x**2, marginal)
        exists = variance > 0
        sigma = jnp.sqrt(jnp.where(exists, variance, 1))
        moments.append(jnp.where(exists, _mean((x / sigma) ** power, marginal), jnp.nan))
    return jnp.stack(moments)


def _mean(quantity: jax.Array, marginal: jax.Array) -> jax.Array:
    return _ratio(jnp.sum(quantity * marginal), jnp.sum(marginal))


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    exists = b != 0
    return jnp.where(exists, a / jnp.where(exists, b, 1), jnp.nan)


def _log(x: jax.Array) -> jax.Array:
    logarithm = jnp.log(jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, logarithm, jnp.where(x == 0, -jnp.inf, jnp.nan))


def _sqrt(x: jax.Array) -> jax.Array:
    root = jnp.sqrt(jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, root, jnp.where(x == 0, 0, jnp.nan))
