"""Division, root and logarithm with finite gradients everywhere, sums, and promotion of dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.custom_jvp
def divide(a: jax.Array, b: jax.Array) -> jax.Array:
    """a/b, and NaN with gradient 0 where b is 0.

    Its derivative has no b², which under- or overflows where a/b doesn't.
    """
    exists = b != 0
    return jnp.where(exists, a / jnp.where(exists, b, 1), jnp.nan)


@divide.defjvp
def _divide_jvp(primals, tangents):
    (a, b), (of_a, of_b) = primals, tangents
    exists = b != 0
    safe = jnp.where(exists, b, 1)
    slope = (of_a - jnp.where(exists, a, 0) / safe * of_b) / safe
    return divide(a, b), jnp.where(exists, slope, 0)


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


@jax.custom_jvp
def inner(x: jax.Array, y: jax.Array) -> jax.Array:
    """Σ x y, of parts over their largest, so that it is lost only where the dtype can't hold it.

    Derivatives are y and x at every scale, also where their product under- or overflows.
    """
    a, b = magnitude(x), magnitude(y)
    return a * (b * jnp.sum((x / a) * (y / b)))


@inner.defjvp
def _inner_jvp(primals, tangents):
    (x, y), (of_x, of_y) = primals, tangents
    return inner(x, y), jnp.sum(of_x * y) + jnp.sum(x * of_y)


def energy(x: jax.Array) -> jax.Array:
    """Σ x², lost only where the dtype can't hold it; the slope is 2x at every scale."""
    return inner(x, x)


def norm(x: jax.Array) -> jax.Array:
    """√Σ x², of numbers of any scale; gradient 0 at x = 0."""
    largest = magnitude(x)
    return largest * sqrt(jnp.sum((x / largest) ** 2))


def unit(x: jax.Array) -> jax.Array:
    """x over its norm, however small or large x is; NaN where x is 0."""
    x = x / magnitude(x)
    return divide(x, sqrt(jnp.sum(x**2)))


def scale(x: jax.Array) -> jax.Array:
    """A power of two about the mean of |x|, or 1 where x is 0, as a constant without gradient.

    Division by it rounds nothing and keeps the squares of x, and their sums, within the dtype. On
    CPU it is found much faster than `magnitude`.
    """
    limits, count = jnp.finfo(x.dtype), x.size
    size = jax.lax.stop_gradient(total(jnp.abs(x)))
    mean = jnp.clip(size / count, limits.tiny, float(limits.max) / count)
    _, exponent = jnp.frexp(jnp.where(size > 0, mean, 1))
    return jnp.ldexp(jnp.ones((), x.dtype), exponent - 1)


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


def flushed(x: jax.Array) -> jax.Array:
    """At least √Σ x² of the subnormal numbers in x, which XLA may take for zeros; no gradient."""
    limits = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), f"uint{limits.bits}")
    size = bits & jnp.array(2 ** (limits.bits - 1) - 1, bits.dtype)
    count = jnp.sum((size > 0) & (size < 2**limits.nmant), dtype=x.dtype)
    return limits.tiny * jnp.sqrt(count)
