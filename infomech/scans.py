"""A scan whose reverse mode remembers few states and recomputes the rest."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def checkpointed(
    body: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: Any, length: int
) -> tuple[Any, Any]:
    """`lax.scan` over `length` steps whose reverse mode stores O(√length) states."""
    inner = _segment(length)
    outer = length // inner
    if outer <= 1:
        return jax.lax.scan(body, state, xs, length=length)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def segment(state, xs):
        return jax.lax.scan(body, state, xs, length=inner)

    cut = outer * inner
    folded = jax.tree.map(lambda a: a[:cut].reshape(outer, inner, *a.shape[1:]), xs)
    state, seen = jax.lax.scan(segment, state, folded, length=outer)
    seen = jax.tree.map(lambda a: a.reshape(cut, *a.shape[2:]), seen)
    if cut == length:
        return state, seen
    state, rest = jax.lax.scan(
        body, state, jax.tree.map(lambda a: a[cut:], xs), length=length - cut
    )
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), seen, rest)


def _segment(length: int) -> int:
    """A length of segments near √length, one that divides `length` if there is any near."""
    if length <= 8:
        return max(length, 1)
    root = math.isqrt(length)
    near = [n for n in range(max(2, root // 2), 2 * root + 1) if length % n == 0]
    return min(near, key=lambda n: abs(n - root), default=root)
