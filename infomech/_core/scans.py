"""Scans in pieces: reverse mode remembers few states and recomputes the rest."""

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
    inner = piece(length, 8)
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


def in_pieces(
    run: Callable[[Any, Any, int], Any], state: Any, xs: Any, length: int, each: int
) -> Any:
    """`run(state, xs, count)` over `length` entries of xs, `each` at a time and then the rest."""
    pieces = length // each if length > each else 0
    cut = pieces * each
    if pieces:
        folded = jax.tree.map(lambda a: a[:cut].reshape(pieces, each, *a.shape[1:]), xs)
        state, _ = jax.lax.scan(lambda s, x: (run(s, x, each), None), state, folded, length=pieces)
    if cut < length:
        state = run(state, jax.tree.map(lambda a: a[cut:], xs), length - cut)
    return state


def piece(length: int, least: int) -> int:
    """A length of pieces near √length and not below `least`, that divides it if there is any."""
    root = max(math.isqrt(length), least)
    if length <= root:
        return max(length, 1)
    near = [n for n in range(max(least, root // 2), 2 * root + 1) if length % n == 0]
    return min(near, key=lambda n: abs(n - root), default=root)
