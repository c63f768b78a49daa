"""Closed forms of velocity and diffusion, valid while the rectifier is inactive."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech import parity, rectifiers
from infomech._core import checks, safe_math
from infomech.kernels import gradient, offsets


class Prediction(NamedTuple):
    """Predicted motion under a kernel of d axes; see `predict`.

    Attributes:
        velocity: velocity v of the center, pixels per layer, shape (d,).
        diffusion: D, growth of the covariance, pixels² per layer, shape (d, d).
        inactive: whether the rectifier leaves non-negative fields unchanged, shape ().
    """

    velocity: jax.Array
    diffusion: jax.Array
    inactive: jax.Array


class InactiveRange(NamedTuple):
    """Largest parameters of DC + gradient kernels without negative taps, each of shape ().

    See `inactive_range`.

    Attributes:
        share: largest odd share ε.
        ratio: largest mixing ratio β.
        tangent: largest tan θ = ‖k_o‖/‖k_e‖.
    """

    share: jax.Array
    ratio: jax.Array
    tangent: jax.Array


def predict(kernel: Any, *, rectifier: Any = "relu") -> Prediction:
    """Velocity and diffusion of any non-negative field, exact while the rectifier is inactive.

    v = p/s = Σ r k / Σ k and D = Σ r rᵀ k / s − v vᵀ. In each layer the center moves by v and the
    covariance grows by D, for any field, as long as nothing leaves the domain. This holds for
    non-negative taps under a rectifier with φ(u) = u for u ≥ 0, and under the identity for every
    kernel of gain s ≠ 0.

    Args:
        kernel: taps, d = 1 to 3 axes; batch with `jax.vmap`.
        rectifier: a name, a `Rectifier` or a pointwise callable.

    Returns:
        `Prediction`; velocity and diffusion are NaN where no closed form is known.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes; unknown rectifier.
    """
    kernel = checks.kernel("kernel", kernel)
    rectifier = rectifiers.get(rectifier)
    gain = jnp.sum(kernel)
    inactive = jnp.all(kernel >= 0) & (gain > 0) & rectifier.keeps_nonnegative
    exact = (gain != 0) if rectifier is rectifiers.identity else inactive
    scale = jnp.where(exact, gain, 1)
    parts = kernel, parity.split(kernel).odd
    weights, odd = (safe_math.divide(part, scale).ravel() for part in parts)
    r = jnp.asarray(offsets(kernel.shape).reshape(-1, kernel.ndim), kernel.dtype)
    # sum over the odd part only: the even part contributes nothing but rounding errors
    v = jnp.sum(odd[:, None] * r, axis=0)
    displacement = r - v[None]
    diffusion = jnp.einsum("n,na,nb->ab", weights, displacement, displacement, precision="highest")
    return Prediction(
        jnp.where(exact, v, jnp.nan),
        jnp.where(exact, diffusion, jnp.nan),
        exact & rectifier.keeps_nonnegative,
    )


def inactive_range(
    kernel_size: int | Sequence[int], direction: Any = None, *, dtype: Any = None
) -> InactiveRange:
    """Range of the DC + gradient family without negative taps, where the rectifier is inactive.

    The smallest tap of √(1 − ε) Σ̂ + √ε ∇̂ is 0 at tan θ = 1/(√N max ∇̂); on one axis of n taps
    that is σ₁/r_max with σ₁² = (n² − 1)/12 and r_max = (n − 1)/2.

    Args:
        kernel_size: taps on each of the d axes, N in all.
        direction: of the gradient, shape (d,); the last axis if None.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `InactiveRange`: upper ends of the intervals of ε, β and tan θ, which start at 0.

    Raises:
        ValueError: as for `infomech.kernels.gradient`.
    """
    kernel_size = checks.shape("kernel_size", kernel_size)
    steepest = jnp.max(gradient(kernel_size, direction, dtype=dtype))
    tangent = 1 / (math.sqrt(math.prod(kernel_size)) * steepest)
    return InactiveRange(tangent**2 / (1 + tangent**2), tangent / (1 + tangent), tangent)


def step_spread(kernel_size: int) -> float:
    """Spread of n equal taps on one axis, σ₁ = √((n² − 1)/12) pixels.

    The constant kernel spreads an impulse to σ₁ √t in t layers. In v = σ₁ tan θ, D = σ₁² − v² the
    speed σ₁ plays the role of the speed of light.
    """
    return math.sqrt((checks.integer("kernel_size", kernel_size, 1) ** 2 - 1) / 12)


def contraction(speed: Any, limit: Any) -> jax.Array:
    """Spread along the motion relative to rest, 1/γ = √(1 − v²/c²); NaN for v > c."""
    checks.unmasked("speed", speed)
    checks.unmasked("limit", limit)
    return safe_math.sqrt(1 - (jnp.asarray(speed) / limit) ** 2)
