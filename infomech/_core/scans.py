"""Scans in segments: reverse mode stores few states and recomputes the others."""

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
    inner = segment_length(length, 8)
    outer = length // inner
    if outer <= 1:
        return jax.lax.scan(body, state, xs, length=length)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def segment(state, xs):
        return jax.lax.scan(body, state, xs, length=inner)

    cut = outer * inner
    folded = jax.tree.map(lambda a: a[:cut].reshape(outer, inner, *a.shape[1:]), xs)
    state, ys = jax.lax.scan(segment, state, folded, length=outer)
    ys = jax.tree.map(lambda a: a.reshape(cut, *a.shape[2:]), ys)
    if cut == length:
        return state, ys
    tail = jax.tree.map(lambda a: a[cut:], xs)
    state, tail_ys = jax.lax.scan(body, state, tail, length=length - cut)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, tail_ys)


def in_segments(
    run: Callable[[Any, Any, int], Any], state: Any, xs: Any, length: int, segment: int
) -> Any:
    """Call `run(state, xs, count)` on segments of `segment` entries, then on the rest."""
    count = length // segment if length > segment else 0
    cut = count * segment
    if count:
        folded = jax.tree.map(lambda a: a[:cut].reshape(count, segment, *a.shape[1:]), xs)
        state, _ = jax.lax.scan(
            lambda s, x: (run(s, x, segment), None), state, folded, length=count
        )
    if cut < length:
        state = run(state, jax.tree.map(lambda a: a[cut:], xs), length - cut)
    return state


def segment_length(length: int, minimum: int) -> int:
    """A segment length near √length, at least `minimum`; a divisor of `length` if one is near."""
    root = max(math.isqrt(length), minimum)
    if length <= root:
        return max(length, 1)
    divisors = [n for n in range(max(minimum, root // 2), 2 * root + 1) if length % n == 0]
    return min(divisors, key=lambda n: abs(n - root), default=root)
