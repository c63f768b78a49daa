"""Scattering to any depth: the energy of each layer with a certified account, and its features."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks, guards
from infomech.scattering import filters, frames, nonlinearities, steps, tree
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity

#: paths computed at once hold about so many samples, which suits the caches of a processor
SAMPLES_AT_ONCE = 2**17
#: counts are 32-bit integers
_MOST = 2**30


class Energies(NamedTuple):
    """How energy travels down the layers n = 0 … N, as sums over the paths that were computed.

    In exact arithmetic, for a tight frame and a non-linearity that conserves energy,
    W_n = F_n + W_(n+1), and `energy` = Σ F_n + what was pruned. The bounds allow for all that was
    pruned and for rounding.

    Attributes:
        energy: ‖f‖² = Σ_x f(x)².
        propagated: W_n = Σ_{|q| = n} ‖U[q] f‖², (N + 2,); bands of the last layer count as layer
            N + 1. Where a non-linearity doesn't conserve energy, what is pruned isn't in it, nor is
            layer N + 1: see `propagated_bounds`.
        collected: F_n = Σ_{|q| = n} ‖U[q] f * χ‖², (N + 1,).
        passed: Σ_{|q| = n} Σ_λ ‖U[q] f * g_λ‖² of the paths computed, (N + 1,).
        pruned: at most this much energy enters the layer on paths that weren't computed, (N + 2,).
        propagated_bounds: the true W_n lie in these intervals, (N + 2, 2).
        collected_bounds: the true F_n do, (N + 1, 2).
        total_bounds: the true Σ_n F_n does, (2,).
        paths: paths computed in each layer, mirrored ones included, (N + 1,).
        complete: False if `max_paths` cut the tree where `prune` would not have.
    """

    energy: jax.Array
    propagated: jax.Array
    collected: jax.Array
    passed: jax.Array
    pruned: jax.Array
    propagated_bounds: jax.Array
    collected_bounds: jax.Array
    total_bounds: jax.Array
    paths: jax.Array
    complete: jax.Array


class Paths(NamedTuple):
    """The paths that a walk computed, in arrays of one row each.

    Attributes:
        steps: bands from the first layer to the last, one tuple for each path; the path of the
            signal itself is empty. With a non-linearity of several parts, band · parts + part.
        order: length of each path.
        energy: ‖U[q] f‖².
        collected: ‖U[q] f * χ‖².
        multiplicity: how many paths it stands for: 2 for each band that has a mirror.
    """

    steps: tuple[tuple[int, ...], ...]
    order: np.ndarray
    energy: np.ndarray
    collected: np.ndarray
    multiplicity: np.ndarray


def energies(
    signal: Any, frame: Frame | Sequence[Frame], depth: int, *, prune: Any = 0.0,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    max_paths: int = 10**6, memory: int = 2**28,
) -> Energies:  # fmt: skip
    """Energy of each layer of a scattering network, to any depth [E].

    U[q] f = ρ(… ρ(ρ(f * g_λ1) * g_λ2) … * g_λn) along a path q. Of a real signal, and of what
    follows, a band and its mirror give the same, so one of the two is computed. Paths are computed
    in chunks, deepest first, so that memory doesn't grow with their number. Works under jit, vmap
    over signals, grad and jvp, with respect to the signal and to the responses of a frame; the
    choice of what to prune is held fixed in derivatives. Of mirrored bands the first is
    differentiated: `infomech.scattering.frames.with_bands` makes the second anew. Hand large frames
    to a jit of your own as arguments: closed over, they are constants that XLA takes long to fold.

    Args:
        signal: f, real, of the frame's grid. A non-homogeneous non-linearity depends on its unit.
        frame: one for all layers, or one for each of the layers 0 … depth.
        depth: N ≥ 0, static.
        prune: bands with at most this share of ‖f‖² are not computed; traced.
        nonlinearity: modulus, halves or a `Nonlinearity`, or one for each of 0 … depth; static.
        max_paths: paths computed at most, mirrored ones not counted; static.
        memory: bytes that the chunks may take, besides signal and filters, also in reverse mode;
            under vmap for each signal; static.

    Returns:
        `Energies`, in units of the signal squared.

    Raises:
        ValueError: a signal of the wrong shape, complex or not finite; a negative depth; more paths
            than `max_paths` where nothing is pruned; memory too small for one band; another number
            of frames or non-linearities than of layers.
    """
    values, stack, plan = prepare(signal, frame, depth, nonlinearity, max_paths, memory)
    share = _share(prune, plan, values.dtype)
    return _energies(values, stack, share, plan=plan)


def paths(
    signal: Any, frame: Frame | Sequence[Frame], depth: int, *, prune: float = 1e-6,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    max_paths: int = 10**5, memory: int = 2**28,
) -> Paths:  # fmt: skip
    """Each path that `energies` computes with its energy; not for use under jit.

    Args:
        signal, frame, depth, prune, nonlinearity, max_paths, memory: as of `energies`.

    Returns:
        `Paths`, in the order in which they were computed.

    Raises:
        ValueError: as of `energies`; or more paths than `max_paths`.
    """
    values, stack, plan = prepare(signal, frame, depth, nonlinearity, max_paths, memory, True)
    share = _share(prune, plan, values.dtype)
    if any(checks.concrete(leaf) is None for leaf in jax.tree.leaves((values, stack, share))):
        raise checks.fail("signal", "traced arrays", "known ones: call outside of jit")
    notes, energy, collected = _noted(values, stack, share, plan=plan)
    notes = jax.tree.map(np.asarray, notes)
    if not notes.complete:
        raise checks.fail("max_paths", max_paths, "more, or a larger prune: the tree goes on")
    there = notes.layer >= 0
    numbers = [kept(f, plan.layers) for f in stack]
    found: list[tuple[int, ...]] = []
    for layer, step, parent in zip(
        notes.layer[there], notes.step[there], notes.parent[there], strict=True
    ):
        if layer == 0:
            found.append(())
            continue
        band, part = divmod(int(step), plan.parts)
        number = numbers[plan.which[layer - 1]][band]
        found.append((*found[parent], number * plan.layers[layer - 1].parts + part))
    return Paths(
        tuple(found), notes.layer[there], np.asarray(energy)[there],
        np.asarray(collected)[there], notes.weight[there],
    )  # fmt: skip


def prepare(signal, frame, depth, nonlinearity, max_paths, memory, record=False):
    """Checked arguments: signal, the different frames, and the plan of a walk."""
    every, layers = each_layer(frame, depth, nonlinearity)
    depth, grid = len(layers) - 1, every[0].grid
    for one in {id(one): one for one in every}.values():
        frames.check(one)
        if one.grid != grid:
            raise checks.fail("frame", f"grids {grid} and {one.grid}", "frames of one grid")
    values = checks.floating("signal", signal)
    if values.shape != grid:
        raise checks.fail("signal", f"shape {values.shape}", f"the frame's grid {grid}")
    checks.finite("signal", signal)
    values = values.astype(guards.wider(values.dtype, jnp.float32))
    different = list({id(one): one for one in every}.values())
    which = tuple(next(i for i, d in enumerate(different) if d is one) for one in every)
    stack = tuple(_of_dtype(one, values.dtype) for one in different)
    numbers = [kept(one, layers) for one in different]
    most = max(map(len, numbers))
    multiplicity = tuple(
        tuple(2 if one.mirrors[i] > i and _mirrored(layers) else 1 for i in some)
        + (0,) * (most - len(some))
        for one, some in zip(different, numbers, strict=True)
    )
    max_paths = checks.integer("max_paths", max_paths, 1)
    if max_paths > _MOST:
        raise checks.fail("max_paths", max_paths, f"at most {_MOST}")
    plan = steps.Plan(grid, layers, which, multiplicity, 0, max_paths, record)
    return values, stack, dataclasses.replace(plan, chunk=_chunk(plan, values.dtype, memory))


def _share(prune, plan, dtype):
    """`prune` as one number; if it is 0, all paths must be fewer than there may be."""
    share = checks.floating("prune", prune, dtype)
    known = checks.concrete(prune)
    if share.ndim or (known is not None and not 0 <= known < 1):
        got = f"shape {share.shape}" if share.ndim else known
        raise checks.fail("prune", got, "a share of the energy, at least 0 and below 1")
    if known is not None and known == 0:
        _check_count(plan)
    return share


def each_layer(frame, depth, nonlinearity):
    """A frame and a `Nonlinearity` for each of the layers 0 … depth."""
    depth = checks.integer("depth", depth, 0)
    kinds = _one_each("nonlinearity", nonlinearity, str | Nonlinearity, depth)
    every = _one_each("frame", frame, Frame, depth)
    return every, tuple(nonlinearities.get(kind) for kind in kinds)


def _one_each(argument, value, kind, depth):
    if isinstance(value, kind):
        return (value,) * (depth + 1)
    every = tuple(value) if isinstance(value, list | tuple) else ()
    if len(every) != depth + 1 or not all(isinstance(v, kind) for v in every):
        got = f"{len(every)} of them" if every else type(value).__name__
        raise checks.fail(argument, got, f"one, or one for each of the layers 0 to {depth}")
    return every


def _of_dtype(frame, dtype):
    def cast(response):
        complex_ = jnp.issubdtype(response.dtype, jnp.complexfloating)
        return response.astype(guards.wider(dtype, jnp.complex64) if complex_ else dtype)

    return Frame(cast(frame.low), cast(frame.bands), frame.labels, frame.mirrors)


def _mirrored(layers):
    return all(kind.symmetric for kind in layers)


def kept(frame, layers):
    """Numbers of the bands to compute: of mirrored ones the first, if they give the same."""
    return frames.firsts(frame) if _mirrored(layers) else tuple(range(len(frame.mirrors)))


def _chunk(plan, dtype, memory):
    """How many paths fit into the memory: each has a spectrum and a debt in each layer's chunk, and
    some twenty arrays of its size at work on it. No more than the widest layer has."""
    memory = checks.integer("memory", memory, 1)
    samples, bands = math.prod(plan.grid), len(plan.multiplicity[0])
    each = (2 * plan.depth + 22) * samples * dtype.itemsize + 2 * plan.depth * bands
    if memory < each * plan.parts:
        raise checks.fail("memory", f"{memory} bytes", f"at least {each * plan.parts} for one band")
    fits = min(memory // each, SAMPLES_AT_ONCE // samples, max(_counts(plan)))
    return max(fits // plan.parts, 1) * plan.parts


def _counts(plan):
    """Paths in each layer if none is pruned, mirrored ones not counted."""
    found = [1]
    for which, kind in zip(plan.which[:-1], plan.layers[:-1], strict=True):
        bands = sum(m > 0 for m in plan.multiplicity[which])
        found.append(found[-1] * bands * kind.parts)
    return found


def _check_count(plan):
    """Raises ValueError if there are more paths than there may be, none being pruned."""
    count = sum(_counts(plan))
    if count > plan.most:
        raise checks.fail(
            "depth", f"{plan.depth} layers, which have {count} paths without pruning",
            f"at most max_paths={plan.most}: prune small bands (prune=1e-6 of the energy), "
            "take fewer layers, or raise max_paths",
        )  # fmt: skip


def _tables(values, stack, share, plan):
    """The walk of a signal in units in which its largest value is 1 if that changes nothing."""
    homogeneous = all(kind.homogeneous for kind in plan.layers)
    unit = guards.magnitude(values) if homogeneous else jnp.ones((), values.dtype)
    scaled = values / unit
    energy = jnp.sum(scaled * scaled)
    bank = filters.bank(stack, tuple(kept(f, plan.layers) for f in stack))
    axes = tuple(range(values.ndim))
    found = tree.walk(plan, jnp.fft.rfftn(scaled, axes=axes), share * energy, bank)
    return unit * unit, energy, found


@functools.partial(jax.jit, static_argnames=("plan",))
def _energies(values, stack, share, *, plan):
    square, energy, (totals, notes, _) = _tables(values, stack, share, plan)
    zero = jnp.zeros(1, values.dtype)
    pruned = jnp.concatenate([zero, totals.pruned])
    computed = jnp.concatenate([totals.propagated, zero])
    conserved = np.array([True, *(kind.conserves for kind in plan.layers)])
    propagated = computed + jnp.where(conserved, pruned, 0)
    above = [frames.bounds(stack[i])[1] for i in plan.which]
    reach, most = _beyond(pruned, above, plan)
    slack = 256 * jnp.finfo(values.dtype).eps * energy * _growth(above, plan)
    low = jnp.stack([propagated - slack, computed + reach + slack], -1)
    collected = totals.collected
    high = jnp.stack(above) * reach[:-1]
    total = jnp.sum(collected)
    return Energies(
        energy * square, propagated * square, collected * square, totals.passed * square,
        pruned * square, jnp.maximum(low, 0) * square,
        jnp.maximum(collected[:, None] + jnp.stack([-slack[1:], high + slack[1:]], -1), 0) * square,
        jnp.maximum(total + jnp.stack([-slack[-1], most + slack[-1]]), 0) * square,
        notes.computed, notes.complete > 0,
    )  # fmt: skip


def _beyond(pruned, above, plan):
    """How much energy may travel on what was pruned: in each layer, and into all features.

    ‖f * g‖² over all bands is at most B ‖f‖², and ρ multiplies that by L² at most.
    """
    reach = [pruned[0]]
    for n, kind in enumerate(plan.layers):
        reach.append(pruned[n + 1] + kind.lipschitz**2 * above[n] * reach[-1])
    most, into = jnp.zeros_like(pruned[0]), jnp.zeros_like(pruned[0])
    for n in reversed(range(plan.depth + 1)):
        into = above[n] * jnp.maximum(1, plan.layers[n].lipschitz ** 2 * into)
        most = most + pruned[n] * into
    return jnp.stack(reach), most


def _growth(above, plan):
    """The most that layers may multiply energy by up to each one: rounding is relative to it."""
    factors = [jnp.ones_like(above[0])]
    for bound, kind in zip(above, plan.layers, strict=True):
        factors.append(factors[-1] * jnp.maximum(1, kind.lipschitz**2 * bound))
    return jnp.stack(factors)


@functools.partial(jax.jit, static_argnames=("plan",))
def _noted(values, stack, share, *, plan):
    square, _, (_, notes, (energy, collected)) = _tables(values, stack, share, plan)
    return notes, energy * square, collected * square
