"""One step down the tree of paths: the children of a chunk, and what they add to the sums."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from infomech.scattering import nonlinearities
from infomech.scattering._filters import whole
from infomech.scattering.nonlinearities import Nonlinearity


@dataclass(frozen=True)
class Plan:
    """What a walk is compiled for.

    Attributes:
        grid: samples on each axis.
        layers: non-linearity of each layer, depth + 1 of them.
        which: number of the frame of each layer, among the different ones.
        multiplicity: for each different frame, how many bands each of those that are passed stands
            for: 2 with its mirror, 1 alone, 0 if it only pads.
        chunk: paths computed at once, a multiple of the parts of a non-linearity.
        most: paths computed at most.
        record: whether each path is noted.
    """

    grid: tuple[int, ...]
    layers: tuple[Nonlinearity, ...]
    which: tuple[int, ...]
    multiplicity: tuple[tuple[int, ...], ...]
    chunk: int
    most: int
    record: bool = False

    @property
    def depth(self) -> int:
        """Layers below the signal itself."""
        return len(self.layers) - 1

    @property
    def parts(self) -> int:
        """Paths computed of one band."""
        return nonlinearities.parts_of(self.layers)


class Totals(NamedTuple):
    """Sums over the paths of each layer.

    Attributes:
        propagated: Σ ‖U[q] f‖² of the paths computed, (depth + 1,).
        collected: Σ ‖U[q] f * χ‖² of the paths computed, (depth + 1,).
        passed: Σ_λ ‖U[q] f * g_λ‖² of the paths computed, (depth + 1,).
        pruned: at most this much energy enters the paths not computed, by the layer in front of
            them, (depth + 1,).
    """

    propagated: jax.Array
    collected: jax.Array
    passed: jax.Array
    pruned: jax.Array


class Notes(NamedTuple):
    """Counts, and what was noted of each path if wanted.

    Attributes:
        computed: paths in each layer, mirrored ones included, (depth + 1,).
        complete: 1 if the largest number of paths was never reached.
        layer, step, parent: of each path: its layer, −1 if there is none; its last band and part,
            as band · parts + part; the number of the path it comes from. (most,) or (0,).
        weight: how many mirrored paths it stands for.
    """

    computed: jax.Array
    complete: jax.Array
    layer: jax.Array
    step: jax.Array
    parent: jax.Array
    weight: jax.Array


class State(NamedTuple):
    """One chunk for each layer: spectra, how many paths each stands for and its number among those
    noted; the children still to compute and how many; sums and what rounding took from them;
    notes."""

    spectra: jax.Array
    weight: jax.Array
    name: jax.Array
    todo: jax.Array
    left: jax.Array
    totals: Totals
    lost: Totals
    notes: Notes
    noted: tuple[jax.Array, jax.Array]
    begun: jax.Array


def start(plan, spectrum, threshold, filters):
    """The state in which the signal itself is all that has arrived."""
    real = filters.weights.dtype
    layers, chunk = plan.depth + 1, plan.chunk
    bands = filters.responses.shape[1]
    rows = plan.most if plan.record else 0
    zeros, none = jnp.zeros(layers, real), jnp.zeros(rows, jnp.int32)
    state = State(
        jnp.zeros((layers, chunk, *spectrum.shape), spectrum.dtype),
        jnp.zeros((layers, chunk), real),
        jnp.zeros((layers, chunk), jnp.int32),
        jnp.zeros((layers, chunk * bands), bool),
        jnp.zeros(layers, jnp.int32),
        Totals(zeros, zeros, zeros, zeros),
        Totals(zeros, zeros, zeros, zeros),
        Notes(jnp.zeros(layers, jnp.int32), jnp.int32(1), none - 1, none, none, none),
        (jnp.zeros(rows, real),) * 2,
        jnp.int32(1),
    )
    first = jnp.zeros((chunk, *spectrum.shape), spectrum.dtype).at[0].set(spectrum)
    weight = jnp.zeros(chunk, real).at[0].set(1)
    none = jnp.zeros(chunk, jnp.int32)
    return _arrive(plan, state, filters, threshold, 0, first, weight, none, none - 1)


def visit(plan, state, filters, threshold, unit, layer):
    """Computes the next children of one layer's chunk; with them, which they were."""
    bands = filters.responses.shape[1]
    todo = state.todo[layer]
    picks = jnp.nonzero(todo, size=plan.chunk // plan.parts, fill_value=todo.size)[0]
    there = picks < todo.size
    todo = todo.at[picks].set(False, mode="drop")
    picks = jnp.where(there, picks, 0).astype(jnp.int32)
    state = state._replace(
        todo=put(state.todo, todo, layer),
        left=state.left.at[layer].add(-jnp.sum(there, dtype=jnp.int32)),
    )
    spectra = children(plan, filters, state.spectra[layer], unit, layer, picks)
    parent, band = picks // bands, picks % bands
    stands = _multiplicity(plan, layer, filters.weights.dtype)[band]
    weight = jnp.where(there, state.weight[layer][parent] * stands, 0)[:, None]
    part = jnp.arange(plan.parts, dtype=jnp.int32)
    parts = _parts(plan, layer)
    weight = jnp.where((part < parts)[None], weight, 0).reshape(-1)
    step = (band[:, None] * plan.parts + part[None]).reshape(-1).astype(jnp.int32)
    names = jnp.repeat(state.name[layer][parent], plan.parts)
    state = _arrive(plan, state, filters, threshold, layer + 1, spectra, weight, step, names)
    return state, picks


def children(plan, filters, spectra, unit, layer, picks):
    """Spectra of ρ(U[q] f * g_λ) for the picked pairs parent · bands + λ, in a chunk and a unit."""
    bands = filters.responses.shape[1]
    frame = jnp.asarray(plan.which)[layer]
    parents = spectra[picks // bands]
    responses = filters.responses[frame, picks % bands].astype(parents.dtype)
    axes = tuple(range(1, len(plan.grid) + 1))
    answers = jnp.fft.ifftn(whole(parents, plan.grid) * responses, axes=axes)
    parts = nonlinearities.apply(plan.layers, layer, unit, answers.real, answers.imag)
    return jnp.fft.rfftn(parts.reshape(plan.chunk, *plan.grid), axes=axes)


def _arrive(plan, state, filters, threshold, layer, spectra, weight, step, parent):
    """Takes a chunk of paths into a layer: their energies, and which children will be computed."""
    table = energies(plan, filters, spectra, layer)
    bound = _gain(plan, layer, table.dtype) * table[:, :-2]
    stands = _multiplicity(plan, layer, filters.weights.dtype)
    keep = (bound > threshold) & (stands > 0)[None] & (weight > 0)[:, None] & (layer < plan.depth)
    parts = _parts(plan, layer)
    after = state.begun + parts * jnp.cumsum(keep.ravel(), dtype=jnp.int32).reshape(keep.shape)
    full = keep & (after > plan.most)
    keep = keep & ~full
    there = weight > 0
    notes = state.notes._replace(
        computed=state.notes.computed.at[layer].add(jnp.sum(weight).astype(jnp.int32)),
        complete=jnp.where(jnp.any(full), 0, state.notes.complete),
    )
    found = sums(plan, table, weight, keep, layer)
    added = [
        _add(total[layer], lost[layer], new)
        for total, lost, new in zip(state.totals, state.lost, found, strict=True)
    ]
    state = state._replace(
        spectra=put(state.spectra, spectra, layer),
        weight=put(state.weight, weight, layer),
        todo=put(state.todo, keep.ravel(), layer),
        left=state.left.at[layer].set(jnp.sum(keep, dtype=jnp.int32)),
        totals=Totals(*(t.at[layer].set(a) for t, (a, _) in zip(state.totals, added, strict=True))),
        lost=Totals(*(t.at[layer].set(a) for t, (_, a) in zip(state.lost, added, strict=True))),
        notes=notes,
        begun=state.begun + parts * jnp.sum(keep, dtype=jnp.int32),
    )
    return _note(state, layer, there, step, parent, table) if plan.record else state


def _add(total, lost, new):
    """Their sum and what rounding took from it, Neumaier's way: chunks may be very many."""
    both = total + new
    large = jnp.abs(total) >= jnp.abs(new)
    rest = jnp.where(large, (total - both) + new, (new - both) + total)
    return both, lost + rest


def _note(state, layer, there, step, parent, table):
    rows = len(state.notes.layer)
    used = jnp.sum(state.notes.layer >= 0, dtype=jnp.int32)
    name = used + jnp.cumsum(there, dtype=jnp.int32) - 1
    row = jnp.where(there, name, rows)
    notes, (energy, collected) = state.notes, state.noted

    def noted(column, values):
        return column.at[row].set(jnp.broadcast_to(values, row.shape), mode="drop")

    weight = state.weight[layer]
    return state._replace(
        name=put(state.name, name, layer),
        notes=notes._replace(
            layer=noted(notes.layer, jnp.asarray(layer, jnp.int32)),
            step=noted(notes.step, step),
            parent=noted(notes.parent, parent),
            weight=noted(notes.weight, weight.astype(jnp.int32)),
        ),
        noted=(noted(energy, table[:, -1]), noted(collected, table[:, -2])),
    )


def energies(plan, filters, spectra, layer):
    """‖u * g_λ‖² for each band, ‖u * χ‖² and ‖u‖² of each path of a chunk, (chunk, bands + 2)."""
    power = (spectra.real**2 + spectra.imag**2).reshape(len(spectra), -1)
    weights = filters.weights[jnp.asarray(plan.which)[layer]]
    return jnp.matmul(power, weights.T, precision="highest")


def sums(plan, table, weight, keep, layer):
    """What a chunk adds to the `Totals` of its layer."""
    stands = weight[:, None] * _multiplicity(plan, layer, table.dtype)[None]
    bands = table[:, :-2] * stands
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
    """The stack with a layer's value in it."""
    return jax.lax.dynamic_update_index_in_dim(stack, value, layer, 0)
