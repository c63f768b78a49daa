"""Mechanics of all filter slices of a layer, computed in chunks, and sums by output unit."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from infomech import spectrum
from infomech._core import checks
from infomech.kernels import offsets
from infomech.networks import nulls

#: range of the largest weight of a layer; float64 can represent the squares
SAFE_RANGE = (1e-140, 1e140)
#: taps per chunk
CHUNK = 2**17


class Slices(NamedTuple):
    """Mechanics of the N filters k_oi of a layer (output o, input i), with d axes of taps.

    Attributes:
        energy: E = ‖k‖², (N,).
        odd: ‖k_o‖², (N,).
        gain: s = Σ k, (N,).
        momentum: p = Σ r k(r), pixels, (N, d).
        ball: amplitudes of the unit-energy filter on (DC, ∇ on axis 0, …), (N, d + 1); NaN for an
            all-zero filter.
    """

    energy: Any
    odd: Any
    gain: Any
    momentum: Any
    ball: Any


class Sums(NamedTuple):
    """Energies of a layer by output unit; C units, d axes of taps.

    Attributes:
        energy: Σ E over the filters of a unit, (C,).
        parts: energies in the `nulls.PARTS`, (4, C).
        shuffled: mean of these over all permutations of the taps of each filter, (4, C).
        gradients: energy of the gradient along each axis, (d, C).
        modes: energy of each DCT-II mode, summed over units, (*kernel_size).
        filters: number of filters with energy.
        zero: number of all-zero filters.
        not_finite: number of filters that contain NaN or infinity.
    """

    energy: np.ndarray
    parts: np.ndarray
    shuffled: np.ndarray
    gradients: np.ndarray
    modes: np.ndarray
    filters: int
    zero: int
    not_finite: int


def measure(kernels: np.ndarray, *, skip_nan: bool = False) -> tuple[Slices, Sums]:
    """Mechanics of each filter of a layer, and sums over each output unit.

    Args:
        kernels: true convolutions, (outputs, inputs, *kernel_size); may be memory-mapped.
        skip_nan: skip filters that contain NaN or infinity in the sums; otherwise they make the
            sums of their units, and all derived quantities, NaN.

    Returns:
        `Slices` in the order (output, input), and `Sums`.

    Raises:
        ValueError: an axis of length 0; float64 weights whose squares under- or overflow.
    """
    outputs, _, *kernel_size = kernels.shape
    if 0 in kernels.shape:
        raise checks.error("kernels", f"shape {kernels.shape}", "at least one filter and one tap")
    _check_squares(kernels)
    energies, chunks = np.zeros(outputs), []
    parts, shuffled = np.zeros((2, 4, outputs))
    gradients = np.zeros((len(kernel_size), outputs))
    modes, counts = np.zeros(kernel_size), np.zeros(3, int)
    masked = 0.0 if skip_nan else np.nan
    for first, block in _blocks(kernels):
        rows = slice(first, first + block.shape[0])
        slices, spectra = _mechanics(block.reshape(-1, *kernel_size))
        energy, odd, gain = slices[:3]
        finite = np.isfinite(energy)
        counts += [np.sum(energy > 0), np.sum(energy == 0), np.sum(~finite)]
        dc, along = _low(spectra)
        actual = np.stack([energy, odd, dc + along.sum(0), dc, along.sum(0)])
        columns = np.concatenate(
            [actual, nulls.shuffled_energies(energy, gain, kernel_size), along]
        )
        columns = np.where(finite, columns, masked).reshape(len(columns), *block.shape[:2]).sum(2)
        energies[rows] += columns[0]
        parts[:, rows] += columns[1:5]
        shuffled[:, rows] += columns[5:9]
        gradients[:, rows] += columns[9:]
        modes += np.sum(spectra[finite], 0) + (0 if finite.all() else masked)
        chunks.append(slices)
    slices = Slices(*(np.concatenate(column) for column in zip(*chunks, strict=True)))
    return slices, Sums(energies, parts, shuffled, gradients, modes, *(int(n) for n in counts))


def measure_rows(kernels: np.ndarray, rows: np.ndarray) -> tuple[Slices, np.ndarray]:
    """Mechanics of selected filters, indexed in the order (output, input).

    Returns:
        `Slices`, and the energy of each DCT-II mode of each filter, (N, *kernel_size).
    """
    output, inner = np.divmod(rows, kernels.shape[1])
    size = _chunk_size(kernels)
    chunks = [
        _mechanics(kernels[output[n : n + size], inner[n : n + size]])
        for n in range(0, max(len(rows), 1), size)
    ]
    columns = zip(*(slices for slices, _ in chunks), strict=True)
    spectra = np.concatenate([energies for _, energies in chunks])
    return Slices(*(np.concatenate(column) for column in columns)), spectra


def _check_squares(kernels):
    """Half and single precision need no check: their squares fit into double precision."""
    if kernels.dtype.itemsize < 8:
        return
    largest = max(
        float(np.max(np.abs(block), where=np.isfinite(block), initial=0))
        for _, block in _blocks(kernels)
    )
    if largest and not SAFE_RANGE[0] <= largest <= SAFE_RANGE[1]:
        expected = f"{SAFE_RANGE[0]:g} to {SAFE_RANGE[1]:g}, whose squares fit into float64"
        raise checks.error("kernels", f"weights of up to {largest:.3g}", expected)


def _blocks(kernels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Index of the first output and filters (outputs, inputs, *kernel_size), chunk by chunk."""
    outputs, inputs = kernels.shape[:2]
    size = _chunk_size(kernels)
    step = max(1, size // inputs)
    for first in range(0, outputs, step):
        for start in range(0, inputs, size):
            yield first, kernels[first : first + step, start : start + size]


def _chunk_size(kernels):
    """Filters per chunk."""
    return max(1, CHUNK // math.prod(kernels.shape[2:]))


def _low(modes):
    """Components on DC, (N,), and on mode 1 along each axis, (d, N); 0 on axes with one tap."""
    axes = range(modes.ndim - 1)
    dc = modes[:, *(0 for _ in axes)]
    along = [
        modes[:, *(int(a == axis) for a in axes)] if modes.shape[1 + axis] > 1 else 0 * dc
        for axis in axes
    ]
    return dc, np.stack(along)


def _mechanics(filters):
    """`Slices` of a chunk and the energy of each DCT mode; NaN for nonfinite filters.

    Same quantities as `mechanics` and `spectrum`, in double precision and without JAX: compiling
    would take longer than a million filters.
    """
    axes, kernel_size = tuple(range(1, filters.ndim)), filters.shape[1:]
    filters = np.array(filters, np.float64)
    filters[~np.isfinite(filters).all(axes)] = np.nan
    odd = (filters - np.flip(filters, axes)) / 2
    modes = filters
    for n in kernel_size:
        # replaces the first axis of taps by its modes at the end; after the loop, all axes
        modes = np.tensordot(modes, spectrum.basis(n), (1, 1))
    dc, along = _low(modes)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        energies = modes**2
        energy = np.sum(filters**2, axes)
        # the first DCT mode decreases along its axis, so the gradient is its negative
        ball = np.column_stack([dc, *-along]) / np.sqrt(energy)[:, None]
        slices = Slices(
            energy,
            np.sum(odd**2, axes),
            np.sum(filters, axes),
            # the even part would add only rounding errors to the momentum
            np.tensordot(odd, offsets(kernel_size), filters.ndim - 1),
            ball,
        )
    return slices, energies
