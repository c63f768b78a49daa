"""What shares of the energy to expect of filters in which nothing was learned, in closed form."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from infomech._core import checks

#: parts of a filter's energy: of its odd part; in DC and the gradients; in DC; in the gradients
PARTS = ("odd", "low", "dc", "gradient")


def modes(taps: Sequence[int]) -> np.ndarray:
    """How many DCT-II modes of a box of taps each of `PARTS` has.

    Point reflection swaps the N taps in pairs, so N // 2 modes are odd; an axis of one tap has no
    gradient.

    Args:
        taps: on each axis.

    Returns:
        Whole numbers, (4,).

    Raises:
        ValueError: `taps` is no box.
    """
    box = checks.shape("taps", taps)
    gradients = sum(n > 1 for n in box)
    return np.array([math.prod(box) // 2, 1 + gradients, 1, gradients])


def random_shares(
    taps: Sequence[int], filters: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the energy of independent Gaussian filters: (modes of the part) / (all modes).

    Energies of the modes are independent and alike, so that the share of m of N modes in F filters
    is distributed as Beta(F m/2, F (N − m)/2).

    Args:
        taps: on each axis.
        filters: F, together in one share.
        level: probability between the bounds.

    Returns:
        Mean shares (4,) in the order of `PARTS`, and bounds (4, 2).

    Raises:
        ValueError: `taps` is no box, `filters` is no number of at least 1, or `level` isn't inside
            (0, 1).
    """
    count, number = modes(taps), checks.integer("filters", filters, 1)
    whole, tail = math.prod(checks.shape("taps", taps)), tails(level)
    free = (count > 0) & (count < whole)
    a, b = number * np.where(free, count, 1) / 2, number * np.where(free, whole - count, 1) / 2
    bounds = special.betaincinv(a[:, None], b[:, None], np.array(tail))
    mean = count / whole
    return mean, np.where(free[:, None], bounds, mean[:, None])


def shuffled_energies(energy: np.ndarray, gain: np.ndarray, taps: Sequence[int]) -> np.ndarray:
    """Mean energies of the parts over all orders in which a filter's taps may stand.

    No shuffle changes E or s = Σ k, so that DC keeps s²/N; each of the other N − 1 modes has
    (E − s²/N)/(N − 1) on average.

    Args:
        energy: E of each filter, any shape.
        gain: s of each filter, of the same shape.
        taps: on each axis.

    Returns:
        Energies (4, …) in the order of `PARTS`, in the units of `energy`.

    Raises:
        ValueError: `taps` is no box.
    """
    checks.unmasked("energy", energy)
    checks.unmasked("gain", gain)
    odd, _, _, gradients = modes(taps)
    number = math.prod(checks.shape("taps", taps))
    dc = gain**2 / number
    each = np.maximum(energy - dc, 0) / max(number - 1, 1)
    return np.stack([odd * each, dc + gradients * each, dc, gradients * each])


def tails(level: float) -> tuple[float, float]:
    """Probabilities below the lower and the upper bound of an interval.

    Raises:
        ValueError: `level` isn't inside (0, 1).
    """
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise checks.error("level", repr(level), "a number between 0 and 1")
    return (1 - level) / 2, (1 + level) / 2
