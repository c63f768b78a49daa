"""Division, root and logarithm with finite gradients everywhere, sums, and promotion of dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """a/b, and NaN with gradient 0 where b is 0."""
    exists = b != 0
    return jnp.where(exists, a / jnp.where(exists, b, 1), jnp.nan)


def sqrt(x: jax.Array) -> jax.Array:
    """√x, with gradient 0 at x = 0; NaN with gradient 0 for x < 0."""
    root = jnp.sqrt(jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, root, jnp.where(x == 0, 0, jnp.nan))


def log(x: jax.Array) -> jax.Array:
    """log x; −∞ at 0 and NaN for x < 0, with gradient 0."""
    logarithm = jnp.log(jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, logarithm, jnp.where(x == 0, -jnp.inf, jnp.nan))


def magnitude(x: jax.Array) -> jax.Array:
    """max |x|, or 1 where x is 0, as a constant without gradient.

    A result that doesn't depend on the scale of x is computed from x / magnitude(x), so that its
    squares neither underflow nor overflow.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x)))
    return jnp.where(largest > 0, largest, 1)


def total(values: jax.Array, weights: dict[int, jax.Array] | None = None) -> jax.Array:
    """Σ_x u(x) Π_a w_a(x_a), with weight 1 on the axes not named.

    Contracts one axis after the other, the last first: XLA's matrix products are some ten times
    faster on CPU than its reductions, and moments that share a contraction compute it once.
    """
    for axis in reversed(range(values.ndim)):
        ones = np.ones(values.shape[axis], values.dtype)
        values = jnp.matmul(values, (weights or {}).get(axis, ones), precision="highest")
    return values


def wider(*dtypes: Any) -> jnp.dtype:
    """The floating dtype that holds all of `dtypes`, also where JAX is told never to promote."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.dtype(jnp.result_type(*dtypes))
