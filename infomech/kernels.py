"""Kernel families of unit energy: constant, gradient, mixed, Gaussian, random."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math


def axis_offsets(kernel_size: int) -> np.ndarray:
    """Tap positions on one axis of n taps, r_i = i - (n - 1)/2, in pixels; shape (n,)."""
    kernel_size = checks.integer("kernel_size", kernel_size, 1)
    return np.arange(kernel_size) - (kernel_size - 1) / 2


def offsets(kernel_size: int | Sequence[int]) -> np.ndarray:
    """Tap positions of a kernel, r_i = i - (n - 1)/2 on each axis, in pixels.

    Args:
        kernel_size: taps on each of the d axes.

    Returns:
        Array of shape (*kernel_size, d), float64.

    Source: [M].
    """
    axes = [axis_offsets(n) for n in checks.shape("kernel_size", kernel_size)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def constant(kernel_size: int | Sequence[int], *, dtype: Any = None) -> jax.Array:
    """Even kernel of N equal taps, k = 1/√N: unit energy, gain √N, momentum 0 ([M]).

    Args:
        kernel_size: taps on each axis.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Array of shape `kernel_size`, dimensionless.

    Raises:
        ValueError: `kernel_size` is not one to three positive integers.
    """
    kernel_size = checks.shape("kernel_size", kernel_size)
    return jnp.full(kernel_size, 1 / np.sqrt(np.prod(kernel_size)), checks.floating_dtype(dtype))


def gradient(
    kernel_size: int | Sequence[int], direction: Any = None, *, dtype: Any = None
) -> jax.Array:
    """Odd kernel k(r) ∝ r·n of unit energy, with its momentum along +n ([M]).

    Args:
        kernel_size: taps on each of the d axes.
        direction: n, a nonzero vector (d,) of any length; the last axis if None. May be traced.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Array of shape `kernel_size`, dimensionless.

    Raises:
        ValueError: `direction` has the wrong shape, is 0, or has no component along an axis with
            more than one tap.
    """
    kernel_size = checks.shape("kernel_size", kernel_size)
    dtype = checks.floating_dtype(dtype)
    direction = _direction(kernel_size, direction, dtype)
    positions = jnp.asarray(offsets(kernel_size), dtype)
    taps = jnp.matmul(positions, direction, precision="highest")
    # a traced direction may be 0
    return jnp.where(jnp.any(taps != 0), safe_math.unit(taps), 0)


def mix(
    kernel_size: int | Sequence[int],
    *,
    share: Any = None,
    ratio: Any = None,
    direction: Any = None,
    dtype: Any = None,
) -> jax.Array:
    """The DC + gradient family, from purely even (rest) to purely odd (motion) ([M]).

    Set the odd share ε of the energy, k = √(1 − ε) Σ̂ + √ε ∇̂, or the mixing ratio β,
    k ∝ (1 − β) Σ̂ + β ∇̂, where ε = β²/((1 − β)² + β²). Σ̂ is `constant`, ∇̂ is `gradient`.

    Args:
        kernel_size: taps on each of the d axes.
        share: ε in [0, 1]; may be traced. The slopes of √ε at 0 and of √(1 − ε) at 1 are infinite
            and returned as 0: differentiate with respect to `ratio` there.
        ratio: β in [0, 1]; may be traced. Give exactly one of `share` and `ratio`.
        direction: as for `gradient`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Array of shape `kernel_size` and unit energy, dimensionless.

    Raises:
        ValueError: both or neither of `share` and `ratio`, a value outside [0, 1], a bad direction.
    """
    kernel_size = checks.shape("kernel_size", kernel_size)
    if (share is None) == (ratio is None):
        raise checks.error(
            "share, ratio", "both" if ratio is not None else "neither", "exactly one"
        )
    dtype = checks.floating_dtype(dtype)
    if share is not None:
        share = checks.scalar("share", share, dtype)
        even, odd = safe_math.sqrt(1 - share), safe_math.sqrt(share)
    else:
        ratio = checks.scalar("ratio", ratio, dtype)
        length = jnp.sqrt((1 - ratio) ** 2 + ratio**2)
        even, odd = (1 - ratio) / length, ratio / length
    return even * constant(kernel_size, dtype=dtype) + odd * gradient(
        kernel_size, direction, dtype=dtype
    )


def gaussian(kernel_size: int | Sequence[int], sigma: Any, *, dtype: Any = None) -> jax.Array:
    """Even kernel k(r) ∝ exp(−½ Σ_a (r_a/σ_a)²) of unit energy.

    Args:
        kernel_size: taps on each of the d axes.
        sigma: spread in pixels, positive, one number or one per axis; may be traced.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Array of shape `kernel_size`, dimensionless.

    Raises:
        ValueError: `sigma` is not positive or has the wrong shape.
    """
    kernel_size = checks.shape("kernel_size", kernel_size)
    sigma = checks.positive("sigma", sigma, checks.floating_dtype(dtype), len(kernel_size))
    # smaller sigmas give the same taps, but their squares would overflow
    sigma = jnp.maximum(sigma, 1e-6)
    scaled = jnp.asarray(offsets(kernel_size), sigma.dtype) / jnp.expand_dims(
        sigma, range(len(kernel_size))
    )
    exponent = -0.5 * jnp.sum(scaled**2, axis=-1)
    # relative to the largest tap: narrow bumps between the taps of an even size don't underflow
    return safe_math.unit(jnp.exp(exponent - jax.lax.stop_gradient(jnp.max(exponent))))


def random(
    kernel_size: int | Sequence[int], *, key: jax.Array, share: Any = None, dtype: Any = None
) -> jax.Array:
    """Random kernel, uniform on the unit sphere, or on its subset with odd share ε.

    With `share`, k = √(1 − ε) ê + √ε ô, where ê and ô are uniform on the unit spheres of the even
    and of the odd kernels.

    Args:
        kernel_size: taps on each axis.
        key: typed key, `jax.random.key`.
        share: odd share ε in [0, 1], or None; may be traced.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Array of shape `kernel_size`, dimensionless.

    Raises:
        ValueError: `share` outside [0, 1], or above 0 for a single tap, which has no odd part (NaN
            if such a share is traced); `key` is not a typed key.
    """
    kernel_size = checks.shape("kernel_size", kernel_size)
    dtype = checks.floating_dtype(dtype)
    sample = jax.random.normal(checks.key(key), kernel_size, dtype)
    if share is None:
        return safe_math.unit(sample)
    known = checks.concrete(share)
    share = checks.scalar("share", share, dtype)
    mirrored = jnp.flip(sample)
    if np.prod(kernel_size) == 1:
        if known is not None and known > 0:
            raise checks.error("share", known, "0: a kernel of one tap has no odd part")
        return safe_math.unit(sample) * jnp.where(share > 0, jnp.nan, 1)
    even, odd = safe_math.unit(sample + mirrored), safe_math.unit(sample - mirrored)
    return safe_math.sqrt(1 - share) * even + safe_math.sqrt(share) * odd


def _direction(kernel_size: tuple[int, ...], direction: Any, dtype: Any) -> jax.Array:
    """`direction`, or the last axis if None, scaled to a largest component of 1."""
    if direction is None:
        direction = np.eye(len(kernel_size))[-1]
    vector = checks.vector("direction", direction, len(kernel_size), dtype)
    known = checks.concrete(direction)
    if known is not None and not np.any(known):
        raise checks.error("direction", known, "a nonzero vector")
    if known is not None and not np.any(known[np.array(kernel_size) > 1]):
        expected = "a nonzero component along an axis with more than one tap"
        raise checks.error("direction", known, f"{expected}; kernel size is {kernel_size}")
    return vector / safe_math.magnitude(vector)
