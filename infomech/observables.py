"""Measurements on a field: mass, energy, center, covariance, higher moments, boundary contact.

Positions are in pixels and include the field's origin. On a periodic domain (`boundary="periodic"`)
the center is the circular mean, and displacements from it take the shorter way round. A field of
zero mass has no center: its center and all moments about it are NaN, and gradients through them
are 0. Sums accumulate in at least float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.dynamics import BOUNDARIES
from infomech.fields import Field, as_field


def mass(field: Any) -> jax.Array:
    """M = Σ u, true value exp(log_gain) Σ values; shape ()."""
    field = as_field(field)
    return jnp.exp(field.log_gain) * safe_math.total(_wide(field))


def log_mass(field: Any) -> jax.Array:
    """log M = log_gain + log Σ values, without overflow or underflow; shape ().

    −∞ for a dead field, NaN for a negative mass.
    """
    field = as_field(field)
    return field.log_gain + safe_math.log(safe_math.total(_wide(field)))


def energy(field: Any) -> jax.Array:
    """W = Σ u² = ‖u‖², true value exp(2 log_gain) Σ values²; shape ().

    Under- or overflows where the dtype can't represent it: in float32 the energy of 1e-21 is 0.
    `log_energy` has no such limit.
    """
    field = as_field(field)
    half = jnp.exp(field.log_gain / 2)
    return safe_math.energy(_wide(field) * half * half)


def log_energy(field: Any) -> jax.Array:
    """log ‖u‖² = 2 log_gain + log Σ values², without overflow or underflow; shape ().

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

    On a periodic domain of L pixels it is the circular mean c = L/2π · arg Σ u exp(2πi x/L) per
    axis, between 0 and L from the origin (a trace unwraps it over time).

    Args:
        field: `Field` or array of d axes.
        boundary: one of `infomech.dynamics.BOUNDARIES`.

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

    Args and errors as for `center`; on a periodic domain x − c takes the shorter way round.
    """
    values, middles = _located(field, boundary)
    d = values.ndim
    x = [_displacement(n, c, boundary) for n, c in zip(values.shape, middles, strict=True)]
    entries = {}
    for a in range(d):
        entries[a, a] = _mean(values, {a: x[a] ** 2})
        for b in range(a + 1, d):
            entries[a, b] = entries[b, a] = _mean(values, {a: x[a], b: x[b]})
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
    """|Σ u| / Σ |u| in [0, 1], shape (); 1 for a field of one sign, NaN for a dead one.

    The mass and center of a field of both signs have a relative error of about the rounding error
    over this number.
    """
    values = _wide(as_field(field))
    return safe_math.divide(jnp.abs(safe_math.total(values)), safe_math.total(jnp.abs(values)))


def edge(field: Any, reach: tuple[tuple[int, int], ...], *, boundary: str = "zero") -> jax.Array:
    """Share of Σ |u| within reach of the boundary, in [0, 1]; shape ().

    On a periodic domain nothing leaves, but a pattern that meets itself has no plain center. There
    it is the share within reach of the antipode of the circular center.

    Args:
        field: `Field` or array of d axes.
        reach: for each axis, pixels that count at its (lower, upper) end; see `layer_reach`.
        boundary: one of `infomech.dynamics.BOUNDARIES`.

    Returns:
        Scalar; 0 for a dead field, NaN on a periodic domain if the mass cancels.

    Raises:
        ValueError: unknown boundary, or not one pair per axis.
    """
    values, middles = _located(field, boundary)
    mass = jnp.abs(values)
    if not isinstance(reach, tuple | list) or len(reach) != mass.ndim:
        raise checks.error("reach", reach, f"{mass.ndim} pairs, one per axis")
    if boundary == "periodic":
        near = jnp.zeros((), bool)
        for a, (n, c) in enumerate(zip(mass.shape, middles, strict=True)):
            seam = n / 2 - max(reach[a])
            far = (jnp.abs(_displacement(n, c, boundary)) >= seam) & (max(reach[a]) > 0)
            near = near | jnp.expand_dims(far, [b for b in range(mass.ndim) if b != a])
        located = ~jnp.any(jnp.isnan(jnp.stack(middles)))
        touching = jnp.where(located, safe_math.total(jnp.where(near, mass, 0)), jnp.nan)
    else:
        # weights, not slices: slices would move pixels of a field that is sharded over devices
        touching = jnp.zeros((), mass.dtype)
        inner: dict[int, jax.Array] = {}
        for a, (n, (down, up)) in enumerate(zip(mass.shape, reach, strict=True)):
            touches = (np.arange(n) < down) | (np.arange(n) >= n - up)
            weights = {**inner, a: jnp.asarray(touches, mass.dtype)}
            touching = touching + safe_math.total(mass, weights)
            inner[a] = jnp.asarray(~touches, mass.dtype)
    total = safe_math.total(mass)
    return jnp.where(total > 0, safe_math.divide(touching, total), 0)


def layer_reach(
    kernel_size: tuple[int, ...], steps: int = 1, *, boundary: str = "zero"
) -> tuple[tuple[int, int], ...]:
    """Pixels at the (lower, upper) end of each axis that the boundary affects in `steps` layers.

    With the output on the pixel grid, one layer of n taps moves mass by −(n − 1)//2 to n//2 pixels,
    so as many pixels at either end can lose mass. A reflecting boundary also adds the mirror image:
    of n//2 pixels beyond the first, and of (n − 1)//2 before the last.
    """
    reach = []
    for n in kernel_size:
        down, up = (n - 1) // 2, n // 2
        low, high = (down, up) if boundary != "reflect" else (up + 1, max(up, down + 1))
        more = steps - 1
        reach.append((more * down + low, more * up + high) if n > 1 else (0, 0))
    return tuple(reach)


def wrap(displacement: jax.Array, length: Any) -> jax.Array:
    """Displacement on a ring of length L, taken the shorter way round: in [−L/2, L/2)."""
    return jnp.mod(displacement + length / 2, length) - length / 2


def _wide(field: Field) -> jax.Array:
    return field.values.astype(safe_math.wider(field.values.dtype, jnp.float32))


def _located(field: Any, boundary: str) -> tuple[jax.Array, list[jax.Array]]:
    """The values over their scale, and their center on each axis relative to pixel 0."""
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
    # mean again about the first result: on a long axis one pass would lose digits
    return n // 2 + start + _mean(values, {axis: x - start})


def _circular_mean(values: jax.Array, axis: int) -> jax.Array:
    n = values.shape[axis]
    angle = 2 * np.pi * np.arange(n) / n
    sign = jnp.sign(safe_math.total(values))
    sine = sign * safe_math.total(values, {axis: jnp.asarray(np.sin(angle), values.dtype)})
    cosine = sign * safe_math.total(values, {axis: jnp.asarray(np.cos(angle), values.dtype)})
    defined = (sine != 0) | (cosine != 0)
    turn = jnp.arctan2(jnp.where(defined, sine, 0), jnp.where(defined, cosine, 1)) / (2 * np.pi)
    return jnp.where(defined, jnp.mod(turn, 1) * n, jnp.nan)


def _displacement(n: int, middle: jax.Array, boundary: str) -> jax.Array:
    """Displacement of each pixel of an axis from its center, or from 0 if the center is NaN."""
    reference = jnp.where(jnp.isnan(middle), 0, middle)
    x = jnp.asarray(np.arange(n), middle.dtype) - reference
    return wrap(x, n) if boundary == "periodic" else x


def _standardized(field: Any, boundary: str, power: int) -> jax.Array:
    values, middles = _located(field, boundary)
    moments = []
    for a, (n, c) in enumerate(zip(values.shape, middles, strict=True)):
        x = _displacement(n, c, boundary)
        variance = _mean(values, {a: x**2})
        defined = variance > 0
        sigma = jnp.sqrt(jnp.where(defined, variance, 1))
        moments.append(jnp.where(defined, _mean(values, {a: (x / sigma) ** power}), jnp.nan))
    return jnp.stack(moments)


def _mean(values: jax.Array, weights: dict[int, jax.Array]) -> jax.Array:
    """Mass-weighted mean of Π_a w_a(x_a); NaN for zero mass."""
    return safe_math.divide(safe_math.total(values, weights), safe_math.total(values))
