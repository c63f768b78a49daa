"""Scattering to any depth: the energy of each layer with a certified account, and its features."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.engines import derivatives
from infomech.scattering import _accounts, _filters, _steps, _tree, frames, nonlinearities
from infomech.scattering._accounts import Account, Energies
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity

#: paths computed at once hold about so many samples, which suits the caches of a processor
SAMPLES_AT_ONCE = 2**17
#: signals whose paths have energies that float64 holds, by their largest number
SQUARES = (1e-140, 1e140)
#: counts are 32-bit integers
_MAX_PATHS = 2**30


class Paths(NamedTuple):
    """The paths that a walk computed, in arrays of one row each.

    Attributes:
        steps: bands from the first layer to the last, one tuple for each path; the path of the
            signal itself is empty. With a non-linearity of several parts, band · parts + part.
        order: length of each path.
        energy: ‖U[q] f‖², float64.
        collected: ‖U[q] f * χ‖², float64.
        multiplicity: how many paths it stands for: 2 for each band that has a mirror.
    """

    steps: tuple[tuple[int, ...], ...]
    order: np.ndarray
    energy: np.ndarray
    collected: np.ndarray
    multiplicity: np.ndarray


def energies(
    signal: Any,
    frame: Frame | Sequence[Frame],
    depth: int,
    *,
    prune: Any = 0.0,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    max_paths: int = 10**6,
    memory_mib: float = 256,
) -> Energies:
    """Energy of each layer of a scattering network, to any depth [E].

    U[q] f = ρ(… ρ(ρ(f * g_λ1) * g_λ2) … * g_λn) along a path q. Of a real signal, and of what
    follows, a band and its mirror give the same, so one of the two is computed. Paths are computed
    in chunks, deepest first, so that memory doesn't grow with their number. Works under jit, vmap
    over signals, grad and jvp, with respect to the signal and to the responses of a frame; the
    choice of what to prune is held fixed in derivatives. Of mirrored bands the first is
    differentiated: `infomech.scattering.frames.with_bands` makes the second anew. Hand large frames
    to a jit of your own as arguments: closed over, they are constants that XLA takes long to fold.

    Args:
        signal: f, real, of the frame's grid, of any scale: it is divided by max |f| first, and the
            factor kept. A non-homogeneous non-linearity depends on its unit.
        frame: one for all layers, or one for each of the layers 0 … depth.
        depth: N ≥ 0, static.
        prune: bands with at most this share of ‖f‖² are not computed; traced.
        nonlinearity: modulus, halves or a `Nonlinearity`, or one for each of 0 … depth; static.
        max_paths: paths computed at most, mirrored ones not counted; static.
        memory_mib: MiB (2²⁰ bytes) that the chunks may take, besides signal and filters, also in
            reverse mode; under vmap for each signal; static.

    Returns:
        `Energies`, in units of the signal squared, and in units of max |f|² as `relative`.

    Raises:
        ValueError: a signal of the wrong shape, complex, not finite or of subnormal numbers only,
            which XLA takes for zeros; a negative depth; more paths
            than `max_paths` where nothing is pruned; memory too small for one band; another number
            of frames or non-linearities than of layers.
    """
    values, stack, plan = prepare(signal, frame, depth, nonlinearity, max_paths, memory_mib)
    share = _share(prune, plan, values.dtype)
    return _energies(values, stack, share, plan=plan)


def paths(
    signal: Any,
    frame: Frame | Sequence[Frame],
    depth: int,
    *,
    prune: float = 1e-6,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    max_paths: int = 10**5,
    memory_mib: float = 256,
) -> Paths:
    """Each path that `energies` computes with its energy; not for use under jit.

    Args:
        signal, frame, depth, prune, nonlinearity, max_paths, memory_mib: as of `energies`.

    Returns:
        `Paths`, in the order in which they were computed.

    Raises:
        ValueError: as of `energies`; more paths than `max_paths`; a float64 signal so small or so
            large that its square is no float64.
    """
    values, stack, plan = prepare(signal, frame, depth, nonlinearity, max_paths, memory_mib, True)
    share = _share(prune, plan, values.dtype)
    if any(checks.concrete(leaf) is None for leaf in jax.tree.leaves((values, stack, share))):
        raise checks.error("signal", "traced arrays", "known ones: call outside of jit")
    notes, noted, unit = jax.tree.map(np.asarray, _noted(values, stack, share, plan=plan))
    if not SQUARES[0] <= float(unit) <= SQUARES[1]:
        expected = f"{SQUARES[0]:g} to {SQUARES[1]:g}, whose squares float64 holds"
        raise checks.error("signal", f"numbers of up to {unit:.3g}", expected)
    if not notes.complete:
        raise checks.error("max_paths", max_paths, "more, or a larger prune: the tree goes on")
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
    energy, collected = (_accounts.absolute_values(one[there], unit) for one in noted)
    return Paths(tuple(found), notes.layer[there], energy, collected, notes.weight[there])


def prepare(signal, frame, depth, nonlinearity, max_paths, memory_mib, record=False):
    """Checked arguments: signal, the different frames, and the plan of a walk."""
    every, layers = each_layer(frame, depth, nonlinearity)
    depth, grid = len(layers) - 1, every[0].shape
    for one in {id(one): one for one in every}.values():
        frames.check(one)
        if one.shape != grid:
            raise checks.error("frame", f"grids {grid} and {one.shape}", "frames of one grid")
    values = checks.floating("signal", signal)
    if values.shape != grid:
        raise checks.error("signal", f"shape {values.shape}", f"the frame's grid {grid}")
    checks.finite("signal", signal)
    values = values.astype(safe_math.wider(values.dtype, jnp.float32))
    _normal(values)
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
    if max_paths > _MAX_PATHS:
        raise checks.error("max_paths", max_paths, f"at most {_MAX_PATHS}")
    plan = _steps.Plan(grid, layers, which, multiplicity, 0, max_paths, record)
    return values, stack, dataclasses.replace(plan, chunk=_chunk(plan, values.dtype, memory_mib))


def _normal(values):
    """Raises ValueError for a known signal, not 0, that XLA would take for zeros."""
    known = checks.concrete(values)
    if known is None or not known.any():
        return
    largest, least = np.abs(known).max(), np.finfo(known.dtype).tiny
    if largest < least:
        expected = f"at least {least:.3g}, the smallest normal {known.dtype}, or only zeros"
        raise checks.error("signal", f"numbers of up to {largest:.3g}", expected)


def _share(prune, plan, dtype):
    """`prune` as one number; if it is 0, all paths must be fewer than there may be."""
    share = checks.floating("prune", prune, dtype)
    known = checks.concrete(prune)
    if share.ndim or (known is not None and not 0 <= known < 1):
        got = f"shape {share.shape}" if share.ndim else known
        raise checks.error("prune", got, "a share of the energy, at least 0 and below 1")
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
        raise checks.error(argument, got, f"one, or one for each of the layers 0 to {depth}")
    return every


def _of_dtype(frame, dtype):
    def cast(response):
        complex_ = jnp.issubdtype(response.dtype, jnp.complexfloating)
        return response.astype(safe_math.wider(dtype, jnp.complex64) if complex_ else dtype)

    return Frame(cast(frame.low), cast(frame.bands), frame.labels, frame.mirrors)


def _mirrored(layers):
    return all(kind.symmetric for kind in layers)


def kept(frame, layers):
    """Numbers of the bands to compute: of mirrored ones the first, if they give the same."""
    return frames.firsts(frame) if _mirrored(layers) else tuple(range(len(frame.mirrors)))


def _chunk(plan, dtype, memory_mib):
    """How many paths fit into the memory: each has a spectrum and a debt in each layer's chunk, and
    some twenty arrays of its size at work on it. No more than the widest layer has."""
    memory = in_bytes(memory_mib)
    samples, bands = math.prod(plan.grid), len(plan.multiplicity[0])
    each = (2 * plan.depth + 22) * samples * dtype.itemsize + 2 * plan.depth * bands
    least = each * plan.parts
    if memory < least:
        raise checks.error("memory_mib", memory_mib, f"at least {least / 2**20} for one band")
    fits = min(memory // each, SAMPLES_AT_ONCE // samples, max(_counts(plan)))
    return max(fits // plan.parts, 1) * plan.parts


def in_bytes(memory_mib: float) -> int:
    """Bytes of a memory in MiB; raises ValueError unless that is one positive number."""
    checks.positive("memory_mib", memory_mib, "float32")
    return int(memory_mib * 2**20)


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
        raise checks.error(
            "depth",
            f"{plan.depth} layers, which have {count} paths without pruning",
            f"at most max_paths={plan.most}: prune small bands (prune=1e-6 of the energy), "
            "take fewer layers, or raise max_paths",
        )


def _tables(scaled, unit, stack, share, plan):
    """The walk of a signal over its unit, and its energy."""
    energy = jnp.sum(scaled * scaled)
    bank = _filters.bank(stack, tuple(kept(f, plan.layers) for f in stack))
    axes = tuple(range(scaled.ndim))
    spectrum = jnp.fft.rfftn(scaled, axes=axes)
    return energy, _tree.walk(plan, spectrum, share * energy, unit, bank)


@functools.partial(jax.jit, static_argnames=("plan",))
def _energies(values, stack, share, *, plan):
    unit = safe_math.magnitude(values)
    account = functools.partial(_account, plan=plan)
    relative, absolute, notes = derivatives.with_squared_unit(
        account, values, unit, stack, share, safe_math.flushed(values) / unit
    )
    bounds = {
        name: _accounts.outward(getattr(absolute, name), getattr(relative, name))
        for name in Account._fields
        if name.endswith("_bounds")
    }
    absolute = absolute._replace(**bounds)
    return Energies(relative, absolute, unit, notes.computed, notes.complete > 0)


def _account(scaled, unit, stack, share, lost, *, plan):
    """The energies of a signal over its unit, and what was noted on the walk."""
    energy, (totals, notes, _) = _tables(scaled, unit, stack, share, plan)
    zero = jnp.zeros(1, scaled.dtype)
    pruned = jnp.concatenate([zero, totals.pruned])
    computed = jnp.concatenate([totals.propagated, zero])
    conserved = np.array([True, *(kind.conserves for kind in plan.layers)])
    propagated = computed + jnp.where(conserved, pruned, 0)
    above = [frames.bounds(stack[i])[1] for i in plan.which]
    reach, most = _beyond(pruned, above, plan)
    unseen = lost * (2 * safe_math.sqrt(energy) + lost)
    slack = (256 * jnp.finfo(scaled.dtype).eps * energy + unseen) * _growth(above, plan)
    collected = totals.collected
    total = jnp.sum(collected)
    found = Account(
        energy,
        propagated,
        collected,
        totals.passed,
        pruned,
        _bracket(propagated - slack, computed + reach + slack),
        _bracket(collected - slack[1:], collected + jnp.stack(above) * reach[:-1] + slack[1:]),
        _bracket(total - slack[-1], total + most + slack[-1]),
    )
    return found, notes


def _bracket(low, high):
    """From `low`, at least 0, to `high`, (…, 2); from 0 to infinity where an overflow made NaN."""
    low = jnp.where(low > 0, low, 0)
    return jnp.stack([low, jnp.where(jnp.isnan(high), jnp.inf, high)], -1)


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
    unit = safe_math.magnitude(values)
    _, (_, notes, noted) = _tables(values / unit, unit, stack, share, plan)
    return notes, noted, unit
