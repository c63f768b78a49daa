"""Band supports of a frame: spectral gap, contraction factors, opening angle, subsampling."""

import math
from collections.abc import Sequence

import numpy as np

from infomech._core import checks
from infomech.scattering.frames import Frame, frequencies, magnitudes, nonzero


def gap(bank: Frame) -> float:
    """Spectral gap δ: the smallest |ω| that any band-pass passes, in radians per sample.

    Every band-pass vanishes for |ω| < δ, so a tight frame has |χ̂| = 1 there.

    Raises:
        ValueError: traced responses, or bands that are all zero.
    """
    support = _supports(bank)
    if not support.any():
        raise checks.error("frame", "bands that are 0 everywhere", "band-passes")
    return float(magnitudes(bank.shape)[support.any(0)].min())


def factors(bank: Frame) -> np.ndarray:
    """Contraction factor of each band: how much one more layer widens the pass band behind it.

    For a band with spectrum S, a = max_ν min_{ω ∈ S} |ω| / |ω − ν| over the frequencies ν of the
    grid: demodulation by ν moves the band a times closer to 0. For S = [A, B] on one side of 0 the
    best real ν is 2AB/(A + B), and a = (B + A)/(B − A). A filter that passes both ω and −ω has
    a = 1. Every ν gives a valid factor; in two dimensions a local search finds a good one.

    Args:
        bank: a frame with concrete responses.

    Returns:
        Array (bands,), dimensionless, each at least 1; infinite for bands of one frequency.

    Raises:
        ValueError: traced responses.
    """
    factors = [_factor(band, bank.shape) if band.any() else np.inf for band in _supports(bank)]
    return np.array(factors)


def opening(bank: Frame) -> float:
    """Largest angle between a frequency in a band's support and the center of that support.

    Below π/2 every band is analytic: its support lies in an open half plane of frequencies. In one
    dimension it lies on one side of 0 and the angle is 0; it is π for bands on both sides. π and −π
    are the same frequency and count for the nearer side.

    Returns:
        Radians.

    Raises:
        ValueError: traced responses.
    """
    omega = np.stack(frequencies(bank.shape), -1)
    nyquist = np.abs(omega) > np.pi * (1 - 1e-9)
    widest = 0.0
    for support in _supports(bank):
        if not support.any():
            continue
        center = np.where(nyquist, 0, omega)[support].mean(0)
        # a support with only ±π along an axis counts as positive there
        center = np.where(nyquist[support].all(0), np.pi, center)
        signed = np.where(nyquist & (center != 0), np.pi * np.sign(center), omega)[support]
        norms = np.linalg.norm(signed, axis=-1) * np.linalg.norm(center)
        if not np.all(norms > 1e-12):
            return math.pi
        widest = max(widest, float(np.arccos(np.clip(signed @ center / norms, -1, 1)).max()))
    return widest


def subsampling(bank: Frame) -> int:
    """Largest common divisor of all axes by which f * χ can be subsampled without loss.

    Raises:
        ValueError: traced responses.
    """
    passed = nonzero(_concrete(bank.low))
    highest = [np.abs(axis[passed]).max(initial=0) for axis in frequencies(bank.shape)]
    common = math.gcd(*bank.shape)
    strides = [s for s in range(1, common + 1) if common % s == 0 and max(highest) * s < np.pi]
    return max(strides, default=1)


def required_samples(bank: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Samples needed along each axis to represent f * g and |f * g|² for each filter g.

    A filter with frequencies up to the k-th needs 2k + 1 samples for f * g. If its frequencies lie
    on an arc of D bins, |f * g|² lies within ±D and needs 2D + 1. Both may exceed the grid.

    Returns:
        Two integer arrays (bands + 1, axes); the last row belongs to the low-pass.

    Raises:
        ValueError: traced responses.
    """
    passed = np.concatenate([_supports(bank), nonzero(_concrete(bank.low))[None]])
    fields, squares = [], []
    for axis, n in enumerate(bank.shape, 1):
        others = tuple(other for other in range(1, passed.ndim) if other != axis)
        lines = np.asarray(passed.any(others))
        bins = np.minimum(np.arange(n), n - np.arange(n))
        fields.append(2 * np.where(lines, bins, 0).max(1) + 1)
        squares.append([2 * _arc(line) + 1 for line in lines])
    return np.stack(fields, -1), np.stack(squares, -1)


def _arc(mask):
    """Length in bins of the shortest arc of a circle that contains all set bins."""
    bins = np.flatnonzero(mask)
    if not bins.size:
        return 0
    return int(mask.size - np.diff(bins, append=bins[0] + mask.size).max())


def _supports(bank):
    return nonzero(_concrete(bank.bands))


def _concrete(responses):
    values = checks.concrete(responses)
    if values is None:
        raise checks.error("frame", "traced responses", "concrete ones: call outside of jit")
    return values


def _factor(support: np.ndarray, shape: Sequence[int]) -> float:
    omega = np.stack([axis[support] for axis in frequencies(shape)], -1)
    size = np.linalg.norm(omega, axis=-1)
    if not size.all():
        return 1.0
    spacing = 2 * np.pi / np.asarray(shape)

    def factor(point: np.ndarray) -> float:
        difference = np.abs(omega - point * spacing)
        distance = np.linalg.norm(np.minimum(difference, 2 * np.pi - difference), axis=-1)
        return float(np.min(size / np.maximum(distance, 1e-9 * size)))

    # start on the ray through the center of the band, then climb from neighbor to neighbor
    ray = np.linspace(0, 1.5, 61)[:, None] * omega.mean(0) / spacing
    best = max(np.unique(np.rint(ray), axis=0), key=factor)
    offsets = np.array(np.meshgrid(*([-1, 0, 1],) * len(shape))).reshape(len(shape), -1).T
    while True:
        neighbor = max(best + offsets, key=factor)
        if factor(neighbor) <= factor(best):
            return np.inf if factor(best) > 1e8 else factor(best)
        best = neighbor
