"""The mechanics of all filter slices of a layer, by chunks, and their sums by output unit."""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import mechanics, spectrum
from infomech.networks import nulls

#: filters measured at once; a layer of fewer is padded, so that one program serves all of a size
CHUNK = 2**14


class Slices(NamedTuple):
    """Mechanics of the filters of a layer, k_oi of output o and input i; N of them, d axes of taps.

    Attributes:
        energy: E = ‖k‖², (N,).
        odd: ‖k_o‖², (N,).
        gain: s = Σ k, (N,).
        momentum: p = Σ r k(r), pixels, (N, d).
        place: in the ball of (DC, ∇ on axis 0, …), (N, d + 1); NaN for a filter of zeros.
    """

    energy: Any
    odd: Any
    gain: Any
    momentum: Any
    place: Any


class Sums(NamedTuple):
    """Energies of a layer by output unit; C units of d axes of taps.

    Attributes:
        whole: Σ E over the filters of a unit, (C,).
        parts: energies in the `nulls.PARTS`, (4, C).
        shuffled: what these would be with the taps of each filter in any order, (4, C).
        modes: energy of each DCT-II mode, all units together, (*taps).
        filters: how many filters hold energy.
        zero: how many are all zeros.
        not_finite: how many hold NaN or infinity.
    """

    whole: np.ndarray
    parts: np.ndarray
    shuffled: np.ndarray
    modes: np.ndarray
    filters: int
    zero: int
    not_finite: int


def measure(kernels: np.ndarray, *, skip_nan: bool = False) -> tuple[Slices, Sums]:
    """The mechanics of every filter of a layer and the sums over each output unit.

    Args:
        kernels: true convolutions, (outputs, inputs, *taps); may lie in a file that is mapped.
        skip_nan: leave filters that hold NaN or infinity out of the sums; otherwise they make the
            sums of their units, and all that is made of these, NaN.

    Returns:
        `Slices` in the order (output, input), single precision, and `Sums` in double precision.
    """
    outputs, _, *taps = kernels.shape
    whole, gains, found = np.zeros(outputs), [], []
    parts, shuffled = np.zeros((2, 4, outputs))
    modes, counts = np.zeros(taps), np.zeros(3, int)
    bad = 0.0 if skip_nan else np.nan
    for first, block in _blocks(kernels):
        rows = slice(first, first + block.shape[0])
        slices, energies = _mechanics(block.reshape(-1, *taps))
        energy, odd, gain = (np.asarray(a, np.float64) for a in slices[:3])
        good = np.isfinite(energy)
        counts += [np.sum(energy > 0), np.sum(energy == 0), np.sum(~good)]
        low = energies.reshape(len(energy), -1)[:, _low(taps)].astype(np.float64)
        own = np.stack([odd, low.sum(1), low[:, 0], low[:, 1:].sum(1)])
        both = np.concatenate([energy[None], own, nulls.shuffled_energies(energy, gain, taps)])
        both = np.where(good, both, bad).reshape(9, *block.shape[:2]).sum(2)
        whole[rows] += both[0]
        parts[:, rows] += both[1:5]
        shuffled[:, rows] += both[5:]
        modes += np.sum(energies[good], 0, dtype=np.float64) + (0 if good.all() else bad)
        found.append(slices)
        gains.append(gain)
    every = Slices(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return every, Sums(whole, parts, shuffled, modes, *(int(n) for n in counts))


def _blocks(kernels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first output and filters (outputs, inputs, *taps), at most a chunk at once."""
    outputs, inputs = kernels.shape[:2]
    each = max(1, CHUNK // inputs)
    for first in range(0, outputs, each):
        for start in range(0, inputs, CHUNK):
            yield first, kernels[first : first + each, start : start + CHUNK]


def _low(taps):
    """Where DC and the gradients are among the modes in a row."""
    steps = [math.prod(taps[axis + 1 :]) for axis, n in enumerate(taps) if n > 1]
    return [0, *steps]


def _mechanics(filters):
    """`Slices` of a chunk and the energy of each DCT mode, as NumPy arrays."""
    count = len(filters)
    wide = jnp.result_type(float) if filters.dtype == np.float64 else np.float32
    room = np.zeros((CHUNK, *filters.shape[1:]), wide)
    room[:count] = filters
    slices, energies = jax.tree.map(lambda a: np.asarray(a)[:count], _of_chunk(room))
    return slices, energies


@functools.partial(jax.jit)
def _of_chunk(filters):
    def one(kernel):
        found = mechanics.energy_momentum(kernel)
        place = spectrum.coordinates(kernel)
        slices = Slices(found.energy, found.odd, found.gain, found.momentum, place)
        return slices, spectrum.energies(kernel)

    return jax.vmap(one)(filters)
