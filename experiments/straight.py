"""How far from a straight line a sampled curve is over each of its ranges, and where it's near."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: points on a range at least: two are always on a line
LEAST = 3


class Ranges(NamedTuple):
    """Every range of a curve from point i to point j; arrays are (n, n).

    Attributes:
        deviation: largest distance of a point from the best line, as a share of max y − min y over
            the range; inf where j < i + 2, a value is missing, or y is constant.
        grows: whether the value at j is above that at i.
    """

    deviation: np.ndarray
    grows: np.ndarray


def ranges(x: np.ndarray, y: np.ndarray, *, through_zero: bool = False) -> Ranges:
    """The deviation from the best line over every range: min over lines of max |y − line| / gain.

    The best line is the one whose largest distance is least (Chebyshev's), so that no line does
    better, and the gain is max y − min y over the range. For a line y = a + bx that distance is
    half the largest height of a point above or below the chord of two points around it; for
    y = bx it is the largest |y_i x_j − y_j x_i|/(x_i + x_j) of two points.

    Args:
        x: increasing, at least 0, (n,).
        y: NaN where unknown, (n,).
        through_zero: whether lines go through the origin.

    Returns:
        `Ranges`.
    """
    n = len(x)
    known = np.where(np.isfinite(y), y, 0)
    pairs = _pairs(x, known) if through_zero else _chords(x, known)
    distance, gain, missing = np.zeros((3, n, n))
    for width in range(n):
        for i in range(n - width):
            j = i + width
            # what is within a range is within the next larger ones
            inner = (distance[i + 1, j], distance[i, j - 1]) if width else ()
            distance[i, j] = max(pairs[i, j], *inner, 0)
            gain[i, j] = np.ptp(known[i : j + 1])
            missing[i, j] = not np.all(np.isfinite(y[i : j + 1]))
    first, last = np.indices((n, n))
    exists = (last - first >= LEAST - 1) & (missing == 0) & (gain > 0)
    deviation = np.where(exists, distance / np.where(exists, gain, 1), np.inf)
    return Ranges(deviation, exists & (known[None] > known[:, None]))


def widest(
    x: np.ndarray, several: Sequence[Ranges], tolerance: float
) -> tuple[float, float] | None:
    """The widest range over which every one of several curves grows within tolerance of its line.

    Of ranges of one width the one of the least deviation is taken.

    Returns:
        Both ends, or None if there is no such range.
    """
    worst = np.max([found.deviation for found in several], axis=0)
    good = (worst <= tolerance) & np.all([found.grows for found in several], axis=0)
    if not np.any(good):
        return None
    first, last = np.nonzero(good)
    best = np.lexsort((worst[good], -np.round(x[last] - x[first], 9)))[0]
    return float(x[first[best]]), float(x[last[best]])


def _chords(x, y):
    """Half the largest height between points i and j above or below their chord, (n, n)."""
    i, j, k = np.ix_(*[np.arange(len(x))] * 3)
    inside = (i < k) & (k < j)
    part = (x[k] - x[i]) / np.where(inside, x[j] - x[i], 1)
    height = np.abs(y[k] - y[i] - part * (y[j] - y[i])) / 2
    return np.max(np.where(inside, height, 0), axis=2)


def _pairs(x, y):
    total = x[:, None] + x[None]
    crossed = np.abs(y[:, None] * x[None] - y[None] * x[:, None])
    return np.where(total > 0, crossed / np.where(total > 0, total, 1), np.abs(y)[:, None])
