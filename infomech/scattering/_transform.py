"""Scattering to any depth: energies of layers and paths, with certified bounds."""

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

#: samples of all paths in a chunk, chosen to fit into CPU caches
MAX_SAMPLES_PER_CHUNK = 2**17
#: range of max |f| for which float64 represents the energies of paths
_UNIT_RANGE = (1e-140, 1e140)
#: counts are 32-bit integers
_MAX_PATHS = 2**30


class Paths(NamedTuple):
    """The computed paths, one row each.

    Attributes:
        steps: a tuple of bands for each path, first layer first; empty for the signal itself. For
            non-linearities with several parts a step is band · parts + part.
        order: length of each path.
        energy: ‖U[q] f‖², float64.
        collected: ‖U[q] f * χ‖², float64.
        multiplicity: number of paths it stands for: a factor of 2 for each band with a mirror.
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

    U[q] f = ρ(… ρ(ρ(f * g_λ1) * g_λ2) … * g_λn) along a path q. For real signals a band and its
    mirror give equal results, so only one of them is computed. Paths are computed in chunks,
    depth first, so memory doesn't grow with their number.

    Supports jit, vmap over signals, grad and jvp, with respect to the signal and to the responses
    of a frame. Derivatives hold the set of pruned paths fixed. Of two mirrored bands only the first
    gets a gradient: `infomech.scattering.frames.with_bands` rebuilds the second. Pass large frames
    as arguments to your own jitted functions: XLA is slow to fold large closed-over constants.

    Args:
        signal: f, real, with the frame's shape and any scale: it is divided by max |f| internally.
            The unit of the signal matters for non-homogeneous non-linearities only.
        frame: one for all layers, or one for each of the layers 0 … depth.
        depth: N ≥ 0, static.
        prune: bands with at most this fraction of ‖f‖² are not computed; traced.
        nonlinearity: modulus, halves or a `Nonlinearity`, or one for each of the layers 0 … depth;
            static.
        max_paths: maximum number of computed paths, not counting mirrors; static.
        memory_mib: limit in MiB (2²⁰ bytes) for the chunks, without signal and filters, also in
            reverse mode; per signal under vmap; static.

    Returns:
        `Energies`, in units of the signal squared, and in units of max |f|² as `relative`.

    Raises:
        ValueError: a signal of the wrong shape, complex, not finite or with subnormal numbers only,
            which XLA flushes to zero; a negative depth; more paths than `max_paths` without
            pruning; too little memory for one band; a wrong number of frames or non-linearities.
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
    """List the paths that `energies` computes, with their energies. Not for use under jit.

    Args:
        signal, frame, depth, prune, nonlinearity, max_paths, memory_mib: see `energies`.

    Returns:
        `Paths`, in the order of computation.

    Raises:
        ValueError: invalid arguments to `energies`; more paths than `max_paths`; a float64 signal
            whose square is out of the range of float64.
    """
    values, stack, plan = prepare(signal, frame, depth, nonlinearity, max_paths, memory_mib, True)
    share = _share(prune, plan, values.dtype)
    if any(checks.concrete(leaf) is None for leaf in jax.tree.leaves((values, stack, share))):
        raise checks.error("signal", "traced arrays", "concrete ones: call outside of jit")
    records, recorded, unit = jax.tree.map(
        np.asarray, _recorded_walk(values, stack, share, plan=plan)
    )
    low, high = _UNIT_RANGE
    if not low <= float(unit) <= high:
        expected = f"{low:g} to {high:g}, whose squares are in the range of float64"
        raise checks.error("signal", f"numbers of up to {unit:.3g}", expected)
    if not records.complete:
        raise checks.error("max_paths", max_paths, "a larger number, or a larger prune")
    used = records.layer >= 0
    numbers = [computed_bands(f, plan.layers) for f in stack]
    steps: list[tuple[int, ...]] = []
    for layer, step, parent in zip(
        records.layer[used], records.step[used], records.parent[used], strict=True
    ):
        if layer == 0:
            steps.append(())
            continue
        band, part = divmod(int(step), plan.parts)
        number = numbers[plan.which[layer - 1]][band]
        steps.append((*steps[parent], number * plan.layers[layer - 1].parts + part))
    energy, collected = (_accounts.absolute_values(column[used], unit) for column in recorded)
    return Paths(tuple(steps), records.layer[used], energy, collected, records.weight[used])


def prepare(signal, frame, depth, nonlinearity, max_paths, memory_mib, record=False):
    """Check the arguments; return the signal, the distinct frames, and the plan of a walk."""
    layer_frames, layers = per_layer(frame, depth, nonlinearity)
    depth, shape = len(layers) - 1, layer_frames[0].shape
    distinct = list({id(item): item for item in layer_frames}.values())
    for item in distinct:
        frames.check(item)
        if item.shape != shape:
            raise checks.error("frame", f"shapes {shape} and {item.shape}", "frames of equal shape")
    values = checks.floating("signal", signal)
    if values.shape != shape:
        raise checks.error("signal", f"shape {values.shape}", f"the frame's shape {shape}")
    checks.finite("signal", signal)
    values = values.astype(safe_math.wider(values.dtype, jnp.float32))
    _check_normal(values)
    which = tuple(next(i for i, d in enumerate(distinct) if d is item) for item in layer_frames)
    stack = tuple(_astype(item, values.dtype) for item in distinct)
    numbers = [computed_bands(item, layers) for item in distinct]
    max_bands = max(map(len, numbers))
    multiplicity = tuple(
        tuple(2 if item.mirrors[i] > i and _symmetric(layers) else 1 for i in bands)
        + (0,) * (max_bands - len(bands))
        for item, bands in zip(distinct, numbers, strict=True)
    )
    max_paths = checks.integer("max_paths", max_paths, 1)
    if max_paths > _MAX_PATHS:
        raise checks.error("max_paths", max_paths, f"at most {_MAX_PATHS}")
    plan = _steps.Plan(shape, layers, which, multiplicity, 0, max_paths, record)
    return values, stack, dataclasses.replace(plan, chunk=_chunk(plan, values.dtype, memory_mib))


def _check_normal(values):
    """Raise ValueError for a concrete nonzero signal that XLA would flush to zero."""
    known = checks.concrete(values)
    if known is None or not known.any():
        return
    largest, tiny = np.abs(known).max(), np.finfo(known.dtype).tiny
    if largest < tiny:
        expected = f"at least {tiny:.3g}, the smallest normal {known.dtype}, or only zeros"
        raise checks.error("signal", f"numbers of up to {largest:.3g}", expected)


def _share(prune, plan, dtype):
    """Convert `prune` to a scalar; if it is 0, check that all paths are within `max_paths`."""
    share = checks.floating("prune", prune, dtype)
    known = checks.concrete(prune)
    if share.ndim or (known is not None and not 0 <= known < 1):
        got = f"shape {share.shape}" if share.ndim else known
        raise checks.error("prune", got, "a fraction of the energy, at least 0 and below 1")
    if known is not None and known == 0:
        _check_count(plan)
    return share


def per_layer(frame, depth, nonlinearity):
    """A frame and a `Nonlinearity` for each of the layers 0 … depth."""
    depth = checks.integer("depth", depth, 0)
    kinds = _broadcast("nonlinearity", nonlinearity, str | Nonlinearity, depth)
    layer_frames = _broadcast("frame", frame, Frame, depth)
    return layer_frames, tuple(nonlinearities.get(kind) for kind in kinds)


def _broadcast(argument, value, kind, depth):
    if isinstance(value, kind):
        return (value,) * (depth + 1)
    values = tuple(value) if isinstance(value, list | tuple) else ()
    if len(values) != depth + 1 or not all(isinstance(v, kind) for v in values):
        got = f"{len(values)} of them" if values else type(value).__name__
        raise checks.error(argument, got, f"one, or one for each of the layers 0 to {depth}")
    return values


def _astype(frame, dtype):
    def cast(response):
        complex_ = jnp.issubdtype(response.dtype, jnp.complexfloating)
        return response.astype(safe_math.wider(dtype, jnp.complex64) if complex_ else dtype)

    return Frame(cast(frame.low), cast(frame.bands), frame.labels, frame.mirrors)


def _symmetric(layers):
    return all(kind.symmetric for kind in layers)


def computed_bands(frame, layers):
    """Indices of the bands to compute: one of each mirrored pair if both give equal results."""
    return (
        frames.independent_bands(frame) if _symmetric(layers) else tuple(range(len(frame.mirrors)))
    )


def _chunk(plan, dtype, memory_mib):
    """Number of paths per chunk that fit into the memory, at most those of the widest layer.

    Each path needs a spectrum and its cotangent in every layer, and about twenty temporary arrays.
    """
    memory = in_bytes(memory_mib)
    samples, bands = math.prod(plan.shape), len(plan.multiplicity[0])
    path_bytes = (2 * plan.depth + 22) * samples * dtype.itemsize + 2 * plan.depth * bands
    required = path_bytes * plan.parts
    if memory < required:
        raise checks.error("memory_mib", memory_mib, f"at least {required / 2**20} for one band")
    chunk = min(memory // path_bytes, MAX_SAMPLES_PER_CHUNK // samples, max(_counts(plan)))
    return max(chunk // plan.parts, 1) * plan.parts


def in_bytes(memory_mib: float) -> int:
    """Convert MiB to bytes; raise ValueError unless given one positive number."""
    checks.positive("memory_mib", memory_mib, "float32")
    return int(memory_mib * 2**20)


def _counts(plan):
    """Number of paths in each layer without pruning, not counting mirrors."""
    counts = [1]
    for which, kind in zip(plan.which[:-1], plan.layers[:-1], strict=True):
        bands = sum(m > 0 for m in plan.multiplicity[which])
        counts.append(counts[-1] * bands * kind.parts)
    return counts


def _check_count(plan):
    """Raise ValueError if the unpruned tree has more than `max_paths` paths."""
    count = sum(_counts(plan))
    if count > plan.max_paths:
        raise checks.error(
            "depth",
            f"{plan.depth} layers with {count} paths without pruning",
            f"at most max_paths={plan.max_paths}: prune bands (prune=1e-6 of the energy), "
            "reduce depth, or raise max_paths",
        )


def _walk(scaled, unit, stack, share, plan):
    """Walk the tree of a signal divided by its unit; also return its energy."""
    energy = jnp.sum(scaled * scaled)
    bank = _filters.bank(stack, tuple(computed_bands(f, plan.layers) for f in stack))
    axes = tuple(range(scaled.ndim))
    spectrum = jnp.fft.rfftn(scaled, axes=axes)
    return energy, _tree.walk(plan, spectrum, share * energy, unit, bank)


@functools.partial(jax.jit, static_argnames=("plan",))
def _energies(values, stack, share, *, plan):
    unit = safe_math.magnitude(values)
    account = functools.partial(_account, plan=plan)
    relative, absolute, records = derivatives.with_squared_unit(
        account, values, unit, stack, share, safe_math.flushed(values) / unit
    )
    bounds = {
        name: _accounts.outward(getattr(absolute, name), getattr(relative, name))
        for name in Account._fields
        if name.endswith("_bounds")
    }
    absolute = absolute._replace(**bounds)
    return Energies(relative, absolute, unit, records.computed, records.complete > 0)


def _account(scaled, unit, stack, share, flushed, *, plan):
    """Energies of a signal divided by its unit, and the records of the walk."""
    energy, (totals, records, _) = _walk(scaled, unit, stack, share, plan)
    zero = jnp.zeros(1, scaled.dtype)
    pruned = jnp.concatenate([zero, totals.pruned])
    computed = jnp.concatenate([totals.propagated, zero])
    conserved = np.array([True, *(kind.conserves for kind in plan.layers)])
    propagated = computed + jnp.where(conserved, pruned, 0)
    upper = [frames.bounds(stack[i])[1] for i in plan.which]
    missing, missing_total = _max_missing(pruned, upper, plan)
    flushed_energy = flushed * (2 * safe_math.sqrt(energy) + flushed)
    rounding = 256 * jnp.finfo(scaled.dtype).eps * energy
    slack = (rounding + flushed_energy) * _max_gain(upper, plan)
    collected = totals.collected
    total = jnp.sum(collected)
    account = Account(
        energy,
        propagated,
        collected,
        totals.passed,
        pruned,
        _interval(propagated - slack, computed + missing + slack),
        _interval(collected - slack[1:], collected + jnp.stack(upper) * missing[:-1] + slack[1:]),
        _interval(total - slack[-1], total + missing_total + slack[-1]),
    )
    return account, records


def _interval(low, high):
    """Interval from max(low, 0) to high, (…, 2); 0 to infinity where an overflow made NaN."""
    low = jnp.where(low > 0, low, 0)
    return jnp.stack([low, jnp.where(jnp.isnan(high), jnp.inf, high)], -1)


def _max_missing(pruned, upper, plan):
    """Maximum energy on pruned paths: in each layer, and in all features together.

    ‖f * g‖² summed over the bands is at most B ‖f‖², and ρ multiplies it by at most L².
    """
    missing = [pruned[0]]
    for n, kind in enumerate(plan.layers):
        missing.append(pruned[n + 1] + kind.lipschitz**2 * upper[n] * missing[-1])
    total, factor = jnp.zeros_like(pruned[0]), jnp.zeros_like(pruned[0])
    for n in reversed(range(plan.depth + 1)):
        factor = upper[n] * jnp.maximum(1, plan.layers[n].lipschitz ** 2 * factor)
        total = total + pruned[n] * factor
    return jnp.stack(missing), total


def _max_gain(upper, plan):
    """Maximum energy gain up to each layer, to which rounding errors are relative."""
    gains = [jnp.ones_like(upper[0])]
    for bound, kind in zip(upper, plan.layers, strict=True):
        gains.append(gains[-1] * jnp.maximum(1, kind.lipschitz**2 * bound))
    return jnp.stack(gains)


@functools.partial(jax.jit, static_argnames=("plan",))
def _recorded_walk(values, stack, share, *, plan):
    unit = safe_math.magnitude(values)
    _, (_, records, recorded) = _walk(values / unit, unit, stack, share, plan)
    return records, recorded, unit
