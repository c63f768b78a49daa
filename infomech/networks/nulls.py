"""Null models: shares of energy in untrained filters, in closed form."""

import math
from collections.abc import Sequence

import numpy as np

from infomech._core import checks

#: parts of a filter's energy: odd part; DC and gradients; DC; gradients
PARTS = ("odd", "low", "dc", "gradient")


def modes(kernel_size: Sequence[int]) -> np.ndarray:
    """Number of DCT-II modes in each of `PARTS`.

    Point reflection swaps the N taps in pairs, so N // 2 modes are odd. An axis with one tap has no
    gradient.

    Args:
        kernel_size: taps on each axis.

    Returns:
        Integers, (4,).

    Raises:
        ValueError: invalid `kernel_size`.
    """
    size = checks.shape("kernel_size", kernel_size)
    gradients = sum(n > 1 for n in size)
    return np.array([math.prod(size) // 2, 1 + gradients, 1, gradients])


def random_shares(
    kernel_size: Sequence[int], filters: int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the energy of independent Gaussian filters: (modes of the part) / (all modes).

    Mode energies are independent and identically distributed. The share of m of N modes in F
    filters follows Beta(F m/2, F (N − m)/2).

    Args:
        kernel_size: taps on each axis.
        filters: F, number of filters in the share.
        level: probability between the bounds.

    Returns:
        Mean shares (4,) in the order of `PARTS`, and bounds (4, 2).

    Raises:
        ValueError: invalid `kernel_size`, `filters` below 1, or `level` outside (0, 1).
    """
    count, filters = modes(kernel_size), checks.integer("filters", filters, 1)
    total, tail = math.prod(checks.shape("kernel_size", kernel_size)), tails(level)
    free = (count > 0) & (count < total)
    a, b = filters * np.where(free, count, 1) / 2, filters * np.where(free, total - count, 1) / 2
    from scipy import special  # slow to import

    bounds = special.betaincinv(a[:, None], b[:, None], np.array(tail))
    mean = count / total
    return mean, np.where(free[:, None], bounds, mean[:, None])


def shuffled_energies(
    energy: np.ndarray, gain: np.ndarray, kernel_size: Sequence[int]
) -> np.ndarray:
    """Mean energies of the parts over all permutations of a filter's taps.

    Permutations preserve E and s = Σ k. DC keeps s²/N, and each of the other N − 1 modes has
    (E − s²/N)/(N − 1) on average.

    Args:
        energy: E of each filter, any shape.
        gain: s of each filter, of the same shape.
        kernel_size: taps on each axis.

    Returns:
        Energies (4, …) in the order of `PARTS`, in the units of `energy`.

    Raises:
        ValueError: invalid `kernel_size`.
    """
    checks.unmasked("energy", energy)
    checks.unmasked("gain", gain)
    odd, _, _, gradients = modes(kernel_size)
    total = math.prod(checks.shape("kernel_size", kernel_size))
    dc = gain**2 / total
    mode = np.maximum(energy - dc, 0) / max(total - 1, 1)
    return np.stack([odd * mode, dc + gradients * mode, dc, gradients * mode])


def tails(level: float) -> tuple[float, float]:
    """Probabilities below the lower and the upper bound of an interval.

    Raises:
        ValueError: `level` outside (0, 1).
    """
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise checks.error("level", repr(level), "a number between 0 and 1")
    return (1 - level) / 2, (1 + level) / 2
