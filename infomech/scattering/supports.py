"""Where the bands of a frame lie: spectral gap, contraction factors, opening, subsampling."""

import math
from collections.abc import Sequence

import numpy as np

from infomech._core import checks
from infomech.scattering.frames import Frame, frequencies, lets_through, magnitudes


def gap(bank: Frame) -> float:
    """Spectral gap δ: the smallest |ω| that any band-pass lets through, in radians per sample.

    Every band-pass vanishes for |ω| < δ, so a tight frame has |χ̂| = 1 there.

    Raises:
        ValueError: the responses are being traced, or no band lets anything through.
    """
    support = _supports(bank)
    if not support.any():
        raise checks.error("frame", "bands that are 0 everywhere", "band-passes")
    return float(magnitudes(bank.shape)[support.any(0)].min())


def factors(bank: Frame) -> np.ndarray:
    """Contraction factor of each band: how much wider a pass band gets by one layer in front.

    For a band with spectrum S, a = max_ν min_{ω ∈ S} |ω| / |ω − ν| over the frequencies ν of the
    grid: demodulated by ν the band lies a times closer to 0. For S = [A, B] on one side of 0 the
    best real ν is 2AB/(A + B), and a = (B + A)/(B − A); a filter that lets ω and −ω through has
    a = 1. Every ν gives a valid factor; in two dimensions the best is searched for step by step.

    Args:
        bank: a frame whose responses are known.

    Returns:
        Array (bands,), dimensionless, each at least 1; infinite for bands of one frequency.

    Raises:
        ValueError: the responses are being traced.
    """
    found = [_factor(band, bank.shape) if band.any() else np.inf for band in _supports(bank)]
    return np.array(found)


def opening(bank: Frame) -> float:
    """The largest angle between a frequency that a band lets through and the middle of its support.

    Below π/2 every band is analytic: it lies in an open half plane of frequencies, and in one
    dimension on one side of 0, where the angle is 0 (π for bands on both sides). π and −π are one
    frequency and count for the nearer side.

    Returns:
        Radians.

    Raises:
        ValueError: the responses are being traced.
    """
    omega = np.stack(frequencies(bank.shape), -1)
    both = np.abs(omega) > np.pi * (1 - 1e-9)
    widest = 0.0
    for support in _supports(bank):
        if not support.any():
            continue
        ahead = np.where(both, 0, omega)[support].mean(0)
        # what holds nothing but ±π on an axis lies on its positive side
        ahead = np.where(both[support].all(0), np.pi, ahead)
        turned = np.where(both & (ahead != 0), np.pi * np.sign(ahead), omega)[support]
        size = np.linalg.norm(turned, axis=-1) * np.linalg.norm(ahead)
        if not np.all(size > 1e-12):
            return math.pi
        widest = max(widest, float(np.arccos(np.clip(turned @ ahead / size, -1, 1)).max()))
    return widest


def subsampling(bank: Frame) -> int:
    """Largest divisor of every axis by which f * χ can be subsampled without loss.

    Raises:
        ValueError: the responses are being traced.
    """
    passed = lets_through(_known(bank.low))
    highest = [np.abs(axis[passed]).max(initial=0) for axis in frequencies(bank.shape)]
    common = math.gcd(*bank.shape)
    fits = [s for s in range(1, common + 1) if common % s == 0 and max(highest) * s < np.pi]
    return max(fits, default=1)


def samples(bank: Frame) -> tuple[np.ndarray, np.ndarray]:
    """How many samples hold what each filter lets through, and the square of its modulus.

    2k + 1 on each axis for frequencies up to the k-th, and 2D + 1 for frequencies on an arc of D
    bins, since |f * g|² lies within ±D: both may be more than the grid has.

    Returns:
        Two arrays of whole numbers (bands + 1, axes); the last row is of the low-pass.

    Raises:
        ValueError: the responses are being traced.
    """
    through = np.concatenate([_supports(bank), lets_through(_known(bank.low))[None]])
    fields, squares = [], []
    for axis, n in enumerate(bank.shape, 1):
        others = tuple(other for other in range(1, through.ndim) if other != axis)
        on = np.asarray(through.any(others))
        size = np.minimum(np.arange(n), n - np.arange(n))
        fields.append(2 * np.where(on, size, 0).max(1) + 1)
        squares.append([2 * _arc(line) + 1 for line in on])
    return np.stack(fields, -1), np.stack(squares, -1)


def _arc(on):
    """Bins from end to end of the shortest arc of a circle that holds those that are on."""
    there = np.flatnonzero(on)
    if not there.size:
        return 0
    return int(on.size - np.diff(there, append=there[0] + on.size).max())


def _supports(bank):
    return lets_through(_known(bank.bands))


def _known(responses):
    known = checks.concrete(responses)
    if known is None:
        raise checks.error("frame", "responses that are traced", "known ones: call outside of jit")
    return known


def _factor(support: np.ndarray, grid: Sequence[int]) -> float:
    omega = np.stack([axis[support] for axis in frequencies(grid)], -1)
    size = np.linalg.norm(omega, axis=-1)
    if not size.all():
        return 1.0
    spacing = 2 * np.pi / np.asarray(grid)

    def value(point: np.ndarray) -> float:
        away = np.abs(omega - point * spacing)
        distance = np.linalg.norm(np.minimum(away, 2 * np.pi - away), axis=-1)
        return float(np.min(size / np.maximum(distance, 1e-9 * size)))

    ahead = omega.mean(0)
    lengths = np.linspace(0, 1.5, 61)[:, None] * ahead / spacing
    best = max(np.unique(np.rint(lengths), axis=0), key=value)
    around = np.array(np.meshgrid(*([-1, 0, 1],) * len(grid))).reshape(len(grid), -1).T
    while True:
        step = max(best + around, key=value)
        if value(step) <= value(best):
            return np.inf if value(best) > 1e8 else value(best)
        best = step
