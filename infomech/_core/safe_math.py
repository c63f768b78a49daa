"""Division, root and logarithm with finite gradients, scaled sums, and dtype promotion."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.custom_jvp
def divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """a/b; NaN with gradient 0 where b is 0.

    The derivative avoids b², which under- or overflows where a/b doesn't.
    """
    defined = b != 0
    return jnp.where(defined, a / jnp.where(defined, b, 1), jnp.nan)


@divide.defjvp
def _divide_jvp(primals, tangents):
    (a, b), (da, db) = primals, tangents
    defined = b != 0
    safe_b = jnp.where(defined, b, 1)
    tangent = (da - jnp.where(defined, a, 0) / safe_b * db) / safe_b
    return divide(a, b), jnp.where(defined, tangent, 0)


def sqrt(x: jax.Array) -> jax.Array:
    """√x, with gradient 0 at x = 0; NaN with gradient 0 for x < 0."""
    root = jnp.sqrt(jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, root, jnp.where(x == 0, 0, jnp.nan))


def log(x: jax.Array) -> jax.Array:
    """log x; −∞ at 0 and NaN for x < 0, with gradient 0."""
    logarithm = jnp.log(jnp.where(x > 0, x, 1))
    return jnp.where(x > 0, logarithm, jnp.where(x == 0, -jnp.inf, jnp.nan))


def magnitude(x: jax.Array) -> jax.Array:
    """max |x|, or 1 for x = 0; no gradient flows through it.

    Compute scale-invariant results from x / magnitude(x): its squares neither underflow nor
    overflow.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x)))
    return jnp.where(largest > 0, largest, 1)


@jax.custom_jvp
def inner(x: jax.Array, y: jax.Array) -> jax.Array:
    """Σ x y, scaled: under- or overflows only if the result does not fit the dtype.

    The derivatives are y and x at every scale, also where their product under- or overflows.
    """
    a, b = magnitude(x), magnitude(y)
    return a * (b * jnp.sum((x / a) * (y / b)))


@inner.defjvp
def _inner_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return inner(x, y), jnp.sum(dx * y) + jnp.sum(x * dy)


def energy(x: jax.Array) -> jax.Array:
    """Σ x², scaled as in `inner`; the gradient is 2x at every scale."""
    return inner(x, x)


def norm(x: jax.Array) -> jax.Array:
    """√Σ x², at any scale of x; gradient 0 at x = 0."""
    largest = magnitude(x)
    return largest * sqrt(jnp.sum((x / largest) ** 2))


def unit(x: jax.Array) -> jax.Array:
    """x / ‖x‖, at any scale of x; NaN for x = 0."""
    x = x / magnitude(x)
    return divide(x, sqrt(jnp.sum(x**2)))


def scale(x: jax.Array) -> jax.Array:
    """A power of two near the mean of |x|, or 1 for x = 0; no gradient flows through it.

    Division by it is exact and keeps the squares of x, and their sums, within the dtype. On CPU it
    is much faster than `magnitude`.
    """
    limits, count = jnp.finfo(x.dtype), x.size
    sum_abs = jax.lax.stop_gradient(total(jnp.abs(x)))
    mean = jnp.clip(sum_abs / count, limits.tiny, float(limits.max) / count)
    _, exponent = jnp.frexp(jnp.where(sum_abs > 0, mean, 1))
    return jnp.ldexp(jnp.ones((), x.dtype), exponent - 1)


def total(values: jax.Array, weights: dict[int, jax.Array] | None = None) -> jax.Array:
    """Σ_x u(x) Π_a w_a(x_a), with weight 1 on axes missing from `weights`.

    Contracts axis by axis, the last first: XLA's matrix products are about ten times faster on CPU
    than its reductions, and moments that share a contraction compute it once.
    """
    for axis in reversed(range(values.ndim)):
        ones = np.ones(values.shape[axis], values.dtype)
        values = jnp.matmul(values, (weights or {}).get(axis, ones), precision="highest")
    return values


def wider(*dtypes: Any) -> jnp.dtype:
    """The promoted floating dtype of `dtypes`, also under strict dtype promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.dtype(jnp.result_type(*dtypes))


def flushed(x: jax.Array) -> jax.Array:
    """Upper bound on √Σ x² over the subnormal x, which XLA may flush to zero; no gradient."""
    limits = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), f"uint{limits.bits}")
    magnitude_bits = bits & jnp.array(2 ** (limits.bits - 1) - 1, bits.dtype)
    is_subnormal = (magnitude_bits > 0) & (magnitude_bits < 2**limits.nmant)
    return limits.tiny * jnp.sqrt(jnp.sum(is_subnormal, dtype=x.dtype))
