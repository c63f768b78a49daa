"""The mechanics of all filter slices of a layer, by chunks, and their sums by output unit."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks, mechanics, spectrum
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
        ValueError: an axis of length 0.
    """
    outputs, _, *taps = kernels.shape
    if 0 in kernels.shape:
        raise checks.fail("kernels", f"shape {kernels.shape}", "at least one filter and one tap")
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
    parts = [
        _mechanics(kernels[output[n : n + CHUNK], inner[n : n + CHUNK]])
        for n in range(0, max(len(rows), 1), CHUNK)
    ]
    every = Slices(*(np.concatenate(c) for c in zip(*(one for one, _ in parts), strict=True)))
    return every, np.concatenate([energies for _, energies in parts])


def _blocks(kernels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first output and filters (outputs, inputs, *taps), at most a chunk at once."""
    outputs, inputs = kernels.shape[:2]
    each = max(1, CHUNK // inputs)
    for first in range(0, outputs, each):
        for start in range(0, inputs, CHUNK):
            yield first, kernels[first : first + each, start : start + CHUNK]


def _low(energies):
    """Energy in DC, (N,), and in the gradient along each axis, (d, N); 0 along one tap."""
    axes = range(energies.ndim - 1)
    dc = energies[:, *(0 for _ in axes)]
    along = [
        energies[:, *(int(a == axis) for a in axes)] if energies.shape[1 + axis] > 1 else 0 * dc
        for axis in axes
    ]
    return dc, np.stack(along)


def _mechanics(filters):
    """`Slices` of a chunk and the energy of each DCT mode; NaN for filters that aren't finite."""
    count, axes = len(filters), tuple(range(1, filters.ndim))
    filters = np.asarray(filters, np.float64)

    def wide(column):
        return column.reshape(-1, *(1 for _ in axes))

    size = np.max(np.abs(filters), axes)
    finite = np.isfinite(size)
    # of size 1, their squares neither underflow nor overflow in single precision
    scale = np.where(finite & (size > 0), size, 1)
    room = np.zeros((CHUNK, *filters.shape[1:]), jnp.result_type(float))
    room[:count] = np.where(wide(finite), filters, 0) / wide(scale)
    slices, energies = jax.tree.map(lambda a: np.asarray(a, np.float64)[:count], _of_chunk(room))
    scale = np.where(finite, scale, np.nan)
    scaled = slices._replace(
        energy=slices.energy * scale**2, odd=slices.odd * scale**2, gain=slices.gain * scale,
        momentum=slices.momentum * scale[:, None],
        place=np.where(finite[:, None], slices.place, np.nan),
    )  # fmt: skip
    return scaled, energies * wide(scale**2)


@jax.jit
def _of_chunk(filters):
    def one(kernel):
        found = mechanics.energy_momentum(kernel)
        place = spectrum.coordinates(kernel)
        slices = Slices(found.energy, found.odd, found.gain, found.momentum, place)
        return slices, spectrum.energies(kernel)

    return jax.vmap(one)(filters)
