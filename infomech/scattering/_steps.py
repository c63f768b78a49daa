"""One step down the tree of paths: compute children of a chunk and update the energy sums."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from infomech.scattering import nonlinearities
from infomech.scattering._filters import full_spectrum
from infomech.scattering.nonlinearities import Nonlinearity


@dataclass(frozen=True)
class Plan:
    """Static configuration of a walk.

    Attributes:
        shape: samples along each axis.
        layers: non-linearity of each layer, depth + 1 of them.
        which: index of each layer's frame among the distinct frames.
        multiplicity: for each distinct frame, the number of bands that each computed band stands
            for: 2 with its mirror, 1 alone, 0 for padding.
        chunk: number of paths computed at once, a multiple of the parts of a non-linearity.
        max_paths: maximum number of computed paths.
        record: whether to record each path.
    """

    shape: tuple[int, ...]
    layers: tuple[Nonlinearity, ...]
    which: tuple[int, ...]
    multiplicity: tuple[tuple[int, ...], ...]
    chunk: int
    max_paths: int
    record: bool = False

    @property
    def depth(self) -> int:
        """Number of layers below the signal."""
        return len(self.layers) - 1

    @property
    def parts(self) -> int:
        """Paths computed per band."""
        return nonlinearities.parts_of(self.layers)


class Totals(NamedTuple):
    """Sums over the paths of each layer.

    Attributes:
        propagated: Σ ‖U[q] f‖² over the computed paths, (depth + 1,).
        collected: Σ ‖U[q] f * χ‖² over the computed paths, (depth + 1,).
        passed: Σ_λ ‖U[q] f * g_λ‖² over the computed paths, (depth + 1,).
        pruned: upper bound on the energy that enters pruned paths, indexed by the layer before
            them, (depth + 1,).
    """

    propagated: jax.Array
    collected: jax.Array
    passed: jax.Array
    pruned: jax.Array


class Records(NamedTuple):
    """Counts, and a record of each path if requested.

    Attributes:
        computed: paths in each layer, including mirrored ones, (depth + 1,).
        complete: 1 if `max_paths` was never reached.
        layer, step, parent: of each path: its layer, −1 for unused rows; its last band and part as
            band · parts + part; the row of its parent path. (max_paths,) or (0,).
        weight: number of mirrored paths it stands for.
    """

    computed: jax.Array
    complete: jax.Array
    layer: jax.Array
    step: jax.Array
    parent: jax.Array
    weight: jax.Array


class State(NamedTuple):
    """State of a walk: one chunk of paths per layer, and the sums so far.

    Attributes:
        spectra: half spectra of the paths, (depth + 1, chunk, *half).
        weight: number of mirrored paths each stands for.
        row: row of each path in the records.
        pending: which children still have to be computed.
        remaining: number of pending children in each layer.
        totals, compensation: compensated sums.
        records: counts and recorded paths.
        recorded_energies: energy and collected energy of each recorded path.
        started: number of paths computed or pending.
    """

    spectra: jax.Array
    weight: jax.Array
    row: jax.Array
    pending: jax.Array
    remaining: jax.Array
    totals: Totals
    compensation: Totals
    records: Records
    recorded_energies: tuple[jax.Array, jax.Array]
    started: jax.Array


def start(plan, spectrum, threshold, filters):
    """The initial state, with the signal as the only path."""
    real = filters.weights.dtype
    layers, chunk = plan.depth + 1, plan.chunk
    bands = filters.responses.shape[1]
    rows = plan.max_paths if plan.record else 0
    zeros, unused = jnp.zeros(layers, real), jnp.zeros(rows, jnp.int32)
    state = State(
        jnp.zeros((layers, chunk, *spectrum.shape), spectrum.dtype),
        jnp.zeros((layers, chunk), real),
        jnp.zeros((layers, chunk), jnp.int32),
        jnp.zeros((layers, chunk * bands), bool),
        jnp.zeros(layers, jnp.int32),
        Totals(zeros, zeros, zeros, zeros),
        Totals(zeros, zeros, zeros, zeros),
        Records(jnp.zeros(layers, jnp.int32), jnp.int32(1), unused - 1, unused, unused, unused),
        (jnp.zeros(rows, real),) * 2,
        jnp.int32(1),
    )
    first = jnp.zeros((chunk, *spectrum.shape), spectrum.dtype).at[0].set(spectrum)
    weight = jnp.zeros(chunk, real).at[0].set(1)
    step = jnp.zeros(chunk, jnp.int32)
    return _enter(plan, state, filters, threshold, 0, first, weight, step, step - 1)


def visit(plan, state, filters, threshold, unit, layer):
    """Compute the next children of one layer's chunk; return the state and the picked children."""
    bands = filters.responses.shape[1]
    pending = state.pending[layer]
    picks = jnp.nonzero(pending, size=plan.chunk // plan.parts, fill_value=pending.size)[0]
    valid = picks < pending.size
    pending = pending.at[picks].set(False, mode="drop")
    picks = jnp.where(valid, picks, 0).astype(jnp.int32)
    state = state._replace(
        pending=put(state.pending, pending, layer),
        remaining=state.remaining.at[layer].add(-jnp.sum(valid, dtype=jnp.int32)),
    )
    spectra = children(plan, filters, state.spectra[layer], unit, layer, picks)
    parent, band = picks // bands, picks % bands
    multiplicity = _multiplicity(plan, layer, filters.weights.dtype)[band]
    weight = jnp.where(valid, state.weight[layer][parent] * multiplicity, 0)[:, None]
    part = jnp.arange(plan.parts, dtype=jnp.int32)
    parts = _parts(plan, layer)
    weight = jnp.where((part < parts)[None], weight, 0).reshape(-1)
    step = (band[:, None] * plan.parts + part[None]).reshape(-1).astype(jnp.int32)
    parent_rows = jnp.repeat(state.row[layer][parent], plan.parts)
    state = _enter(plan, state, filters, threshold, layer + 1, spectra, weight, step, parent_rows)
    return state, picks


def children(plan, filters, spectra, unit, layer, picks):
    """Spectra of ρ(U[q] f * g_λ) for the picks, each parent · bands + λ, as one chunk."""
    bands = filters.responses.shape[1]
    frame = jnp.asarray(plan.which)[layer]
    parents = spectra[picks // bands]
    responses = filters.responses[frame, picks % bands].astype(parents.dtype)
    axes = tuple(range(1, len(plan.shape) + 1))
    outputs = jnp.fft.ifftn(full_spectrum(parents, plan.shape) * responses, axes=axes)
    parts = nonlinearities.apply(plan.layers, layer, unit, outputs.real, outputs.imag)
    return jnp.fft.rfftn(parts.reshape(plan.chunk, *plan.shape), axes=axes)


def _enter(plan, state, filters, threshold, layer, spectra, weight, step, parent):
    """Store a chunk of paths in a layer, add up its energies and select its children."""
    table = energies(plan, filters, spectra, layer)
    bound = _gain(plan, layer, table.dtype) * table[:, :-2]
    multiplicity = _multiplicity(plan, layer, filters.weights.dtype)
    valid = weight > 0
    keep = (bound > threshold) & (multiplicity > 0)[None] & valid[:, None] & (layer < plan.depth)
    parts = _parts(plan, layer)
    count = state.started + parts * jnp.cumsum(keep.ravel(), dtype=jnp.int32).reshape(keep.shape)
    excess = keep & (count > plan.max_paths)
    keep = keep & ~excess
    records = state.records._replace(
        computed=state.records.computed.at[layer].add(jnp.sum(weight).astype(jnp.int32)),
        complete=jnp.where(jnp.any(excess), 0, state.records.complete),
    )
    new = sums(plan, table, weight, keep, layer)
    added = [
        _compensated_add(total[layer], lost[layer], value)
        for total, lost, value in zip(state.totals, state.compensation, new, strict=True)
    ]
    totals = [t.at[layer].set(a) for t, (a, _) in zip(state.totals, added, strict=True)]
    compensation = [c.at[layer].set(a) for c, (_, a) in zip(state.compensation, added, strict=True)]
    state = state._replace(
        spectra=put(state.spectra, spectra, layer),
        weight=put(state.weight, weight, layer),
        pending=put(state.pending, keep.ravel(), layer),
        remaining=state.remaining.at[layer].set(jnp.sum(keep, dtype=jnp.int32)),
        totals=Totals(*totals),
        compensation=Totals(*compensation),
        records=records,
        started=state.started + parts * jnp.sum(keep, dtype=jnp.int32),
    )
    return _record(state, layer, valid, step, parent, table) if plan.record else state


def _compensated_add(total, lost, value):
    """Neumaier summation: the new sum and its accumulated rounding error."""
    result = total + value
    larger = jnp.abs(total) >= jnp.abs(value)
    error = jnp.where(larger, (total - result) + value, (value - result) + total)
    return result, lost + error


def _record(state, layer, valid, step, parent, table):
    rows = len(state.records.layer)
    used = jnp.sum(state.records.layer >= 0, dtype=jnp.int32)
    index = used + jnp.cumsum(valid, dtype=jnp.int32) - 1
    row = jnp.where(valid, index, rows)
    records, (energy, collected) = state.records, state.recorded_energies

    def write(column, values):
        return column.at[row].set(jnp.broadcast_to(values, row.shape), mode="drop")

    weight = state.weight[layer]
    return state._replace(
        row=put(state.row, index, layer),
        records=records._replace(
            layer=write(records.layer, jnp.asarray(layer, jnp.int32)),
            step=write(records.step, step),
            parent=write(records.parent, parent),
            weight=write(records.weight, weight.astype(jnp.int32)),
        ),
        recorded_energies=(write(energy, table[:, -1]), write(collected, table[:, -2])),
    )


def energies(plan, filters, spectra, layer):
    """‖u * g_λ‖² for each band, ‖u * χ‖² and ‖u‖² of each path of a chunk, (chunk, bands + 2)."""
    power = (spectra.real**2 + spectra.imag**2).reshape(len(spectra), -1)
    weights = filters.weights[jnp.asarray(plan.which)[layer]]
    return jnp.matmul(power, weights.T, precision="highest")


def sums(plan, table, weight, keep, layer):
    """Contribution of a chunk to the `Totals` of its layer."""
    weights = weight[:, None] * _multiplicity(plan, layer, table.dtype)[None]
    bands = table[:, :-2] * weights
    pruned = _gain(plan, layer, table.dtype) * jnp.sum(jnp.where(keep, 0, bands))
    return jnp.sum(weight * table[:, -1]), jnp.sum(weight * table[:, -2]), jnp.sum(bands), pruned


def _gain(plan, layer, dtype):
    """L² of a layer's non-linearity."""
    return jnp.asarray([kind.lipschitz**2 for kind in plan.layers], dtype)[layer]


def _multiplicity(plan, layer, dtype):
    return jnp.asarray(plan.multiplicity, dtype)[jnp.asarray(plan.which)[layer]]


def _parts(plan, layer):
    return jnp.asarray([kind.parts for kind in plan.layers], jnp.int32)[layer]


def put(stack, value, layer):
    """Replace the entry of one layer in a stack."""
    return jax.lax.dynamic_update_index_in_dim(stack, value, layer, 0)
