"""The mechanics of all filter slices of a layer, by chunks, and their sums by output unit."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from infomech import spectrum
from infomech._core import checks
from infomech.kernels import offsets
from infomech.networks import nulls

#: largest weights of a layer whose squares float64 holds
SQUARES = (1e-140, 1e140)
#: taps measured at once
CHUNK = 2**17


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
        gradients: energy of the gradient along each axis, (d, C).
        modes: energy of each DCT-II mode, all units together, (*taps).
        filters: how many filters hold energy.
        zero: how many are all zeros.
        not_finite: how many hold NaN or infinity.
    """

    whole: np.ndarray
    parts: np.ndarray
    shuffled: np.ndarray
    gradients: np.ndarray
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
        `Slices` in the order (output, input), and `Sums`.

    Raises:
        ValueError: an axis of length 0; float64 weights so small or so large that their squares are
            no float64.
    """
    outputs, _, *taps = kernels.shape
    if 0 in kernels.shape:
        raise checks.error("kernels", f"shape {kernels.shape}", "at least one filter and one tap")
    _check_squares(kernels)
    whole, found = np.zeros(outputs), []
    parts, shuffled = np.zeros((2, 4, outputs))
    gradients = np.zeros((len(taps), outputs))
    modes, counts = np.zeros(taps), np.zeros(3, int)
    bad = 0.0 if skip_nan else np.nan
    for first, block in _blocks(kernels):
        rows = slice(first, first + block.shape[0])
        slices, energies = _mechanics(block.reshape(-1, *taps))
        energy, odd, gain = slices[:3]
        good = np.isfinite(energy)
        counts += [np.sum(energy > 0), np.sum(energy == 0), np.sum(~good)]
        dc, along = _low(energies)
        own = np.stack([energy, odd, dc + along.sum(0), dc, along.sum(0)])
        columns = np.concatenate([own, nulls.shuffled_energies(energy, gain, taps), along])
        columns = np.where(good, columns, bad).reshape(len(columns), *block.shape[:2]).sum(2)
        whole[rows] += columns[0]
        parts[:, rows] += columns[1:5]
        shuffled[:, rows] += columns[5:9]
        gradients[:, rows] += columns[9:]
        modes += np.sum(energies[good], 0) + (0 if good.all() else bad)
        found.append(slices)
    every = Slices(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return every, Sums(whole, parts, shuffled, gradients, modes, *(int(n) for n in counts))


def some(kernels: np.ndarray, rows: np.ndarray) -> tuple[Slices, np.ndarray]:
    """The mechanics of these filters, counted in the order (output, input), one by one.

    Returns:
        `Slices`, and the energy of each DCT-II mode of each, (N, *taps).
    """
    output, inner = np.divmod(rows, kernels.shape[1])
    size = _at_once(kernels)
    parts = [
        _mechanics(kernels[output[n : n + size], inner[n : n + size]])
        for n in range(0, max(len(rows), 1), size)
    ]
    every = Slices(*(np.concatenate(c) for c in zip(*(one for one, _ in parts), strict=True)))
    return every, np.concatenate([energies for _, energies in parts])


def _check_squares(kernels):
    """Those of half and single precision all have squares in double precision."""
    if kernels.dtype.itemsize < 8:
        return
    largest = max(
        float(np.max(np.abs(block), where=np.isfinite(block), initial=0))
        for _, block in _blocks(kernels)
    )
    if largest and not SQUARES[0] <= largest <= SQUARES[1]:
        expected = f"{SQUARES[0]:g} to {SQUARES[1]:g}, whose squares float64 holds"
        raise checks.error("kernels", f"weights of up to {largest:.3g}", expected)


def _blocks(kernels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first output and filters (outputs, inputs, *taps), at most a chunk at once."""
    outputs, inputs = kernels.shape[:2]
    size = _at_once(kernels)
    each = max(1, size // inputs)
    for first in range(0, outputs, each):
        for start in range(0, inputs, size):
            yield first, kernels[first : first + each, start : start + size]


def _at_once(kernels):
    """Filters of a chunk."""
    return max(1, CHUNK // math.prod(kernels.shape[2:]))


def _low(modes):
    """What is there of DC, (N,), and of the mode 1 along each axis, (d, N); 0 along one tap."""
    axes = range(modes.ndim - 1)
    dc = modes[:, *(0 for _ in axes)]
    along = [
        modes[:, *(int(a == axis) for a in axes)] if modes.shape[1 + axis] > 1 else 0 * dc
        for axis in axes
    ]
    return dc, np.stack(along)


def _mechanics(filters):
    """`Slices` of a chunk and the energy of each DCT mode; NaN for filters that aren't finite.

    What `mechanics` and `spectrum` say of one kernel, in double precision and without JAX: to
    compile it takes longer than to count a million filters.
    """
    axes, taps = tuple(range(1, filters.ndim)), filters.shape[1:]
    filters = np.array(filters, np.float64)
    filters[~np.isfinite(filters).all(axes)] = np.nan
    odd = (filters - np.flip(filters, axes)) / 2
    modes = filters
    for n in taps:
        # takes the first axis of taps away and puts its modes behind the last: in turn, all
        modes = np.tensordot(modes, spectrum.basis(n), (1, 1))
    dc, along = _low(modes)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        energies = modes**2
        energy = np.sum(filters**2, axes)
        # the DCT's first mode falls along its axis: its negative is the gradient
        place = np.column_stack([dc, *-along]) / np.sqrt(energy)[:, None]
        every = Slices(
            energy,
            np.sum(odd**2, axes),
            np.sum(filters, axes),
            # the even part adds nothing but rounding to the momentum
            np.tensordot(odd, offsets(taps), filters.ndim - 1),
            place,
        )
    return every, energies
