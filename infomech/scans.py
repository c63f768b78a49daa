"""Scans in pieces, so that little is remembered, and maps in pieces, so that all cores work."""

import functools
import itertools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: samples that one chain works on at once on CPU, so that they stay in its core's cache
_IN_CACHE = 2**14
#: and on accelerators, so that there is enough for all of it
_AT_ONCE = 2**20
#: two for each core, since they don't end at the same time
_CHAINS = min(2 * (os.cpu_count() or 1), 16)


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


def side_by_side(function: Callable[[Any], Any], xs: Any, samples: int) -> Any:
    """`lax.map` in several chains that don't wait for each other, of small blocks.

    On CPU one operation rarely keeps all cores busy, but chains without a common operand to wait
    for run at the same time.

    Args:
        function: of one entry.
        xs: pytree of arrays with a common leading axis, not empty.
        samples: that `function` works on at once.

    Returns:
        What `function` gives for each entry, stacked.
    """
    length = len(jax.tree.leaves(xs)[0])
    on_cpu = jax.default_backend() == "cpu"
    chains = min(_CHAINS if on_cpu else 1, length)
    block = max(1, (_IN_CACHE if on_cpu else _AT_ONCE) // samples)
    cuts = np.linspace(0, length, chains + 1).astype(int)
    found = []
    for first, last in itertools.pairwise(cuts):
        own = jax.tree.map(lambda a, first=first, last=last: a[first:last], xs)
        found.append(jax.lax.map(function, own, batch_size=min(block, int(last - first))))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


def piece(length: int, least: int) -> int:
    """A length of pieces near √length and not below `least`, that divides it if there is any."""
    root = max(math.isqrt(length), least)
    if length <= root:
        return max(length, 1)
    near = [n for n in range(max(least, root // 2), 2 * root + 1) if length % n == 0]
    return min(near, key=lambda n: abs(n - root), default=root)
