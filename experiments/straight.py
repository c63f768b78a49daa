"""Deviation of a sampled curve from a straight line over each of its ranges."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: points of a range; two always lie on a line
MIN_POINTS = 3


class Ranges(NamedTuple):
    """All ranges of a curve, from point i to point j; arrays are (n, n).

    Attributes:
        deviation: largest distance of a point from the best line, divided by max y − min y over the
            range; inf where j < i + 2, a value is missing, or y is constant.
        grows: whether the value at j exceeds that at i.
    """

    deviation: np.ndarray
    grows: np.ndarray


def ranges(x: np.ndarray, y: np.ndarray, *, through_zero: bool = False) -> Ranges:
    """Deviation from the best line over every range: min over lines of max |y − line| / gain.

    The best line minimizes the largest distance (Chebyshev), and the gain is max y − min y over the
    range. For lines y = a + bx the distance is half the largest height of a point above or below
    the chord of two points around it; for y = bx it is the largest |y_i x_j − y_j x_i|/(x_i + x_j)
    over pairs of points.

    Args:
        x: increasing and non-negative, (n,).
        y: NaN where unknown, (n,).
        through_zero: whether lines go through the origin.

    Returns:
        `Ranges`.
    """
    n = len(x)
    values = np.where(np.isfinite(y), y, 0)
    pairs = _pairs(x, values) if through_zero else _chords(x, values)
    distance, gain, incomplete = np.zeros((3, n, n))
    for width in range(n):
        for i in range(n - width):
            j = i + width
            # a range includes the pairs of its subranges
            inner = (distance[i + 1, j], distance[i, j - 1]) if width else ()
            distance[i, j] = max(pairs[i, j], *inner, 0)
            gain[i, j] = np.ptp(values[i : j + 1])
            incomplete[i, j] = not np.all(np.isfinite(y[i : j + 1]))
    first, last = np.indices((n, n))
    valid = (last - first >= MIN_POINTS - 1) & (incomplete == 0) & (gain > 0)
    deviation = np.where(valid, distance / np.where(valid, gain, 1), np.inf)
    return Ranges(deviation, valid & (values[None] > values[:, None]))


def widest(x: np.ndarray, curves: Sequence[Ranges], tolerance: float) -> tuple[float, float] | None:
    """Widest range over which all curves grow and stay within tolerance of their lines.

    Of ranges of equal width, the one with the smallest deviation is taken.

    Returns:
        Both ends, or None if there is no such range.
    """
    worst = np.max([curve.deviation for curve in curves], axis=0)
    good = (worst <= tolerance) & np.all([curve.grows for curve in curves], axis=0)
    if not np.any(good):
        return None
    first, last = np.nonzero(good)
    best = np.lexsort((worst[good], -np.round(x[last] - x[first], 9)))[0]
    return float(x[first[best]]), float(x[last[best]])


def _chords(x, y):
    """Half the largest distance of points between i and j from their chord, (n, n)."""
    i, j, k = np.ix_(*[np.arange(len(x))] * 3)
    inside = (i < k) & (k < j)
    fraction = (x[k] - x[i]) / np.where(inside, x[j] - x[i], 1)
    height = np.abs(y[k] - y[i] - fraction * (y[j] - y[i])) / 2
    return np.max(np.where(inside, height, 0), axis=2)


def _pairs(x, y):
    total = x[:, None] + x[None]
    crossed = np.abs(y[:, None] * x[None] - y[None] * x[:, None])
    return np.where(total > 0, crossed / np.where(total > 0, total, 1), np.abs(y)[:, None])
