"""Shares of a layer's energy, how they change, and intervals of both."""

import numpy as np
from scipy import special

from infomech.networks import nulls
from infomech.networks.slices import Sums


def ratio(parts: np.ndarray, whole: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Σ parts / Σ whole over the last axis and its interval, of independent units.

    The variance of R = Σ a / Σ e is that of its linear part, C/(C − 1) Σ (a − R e)² / (Σ e)² of C
    units; the interval has Student's quantiles, and is NaN for one unit alone.

    Args:
        parts: (…, C).
        whole: (C,).
        level: probability of the interval.

    Returns:
        Ratios (…) and bounds (…, 2).
    """
    value, residuals = _linear(parts, whole)
    return value, _around(value, _spread(residuals), level, len(whole))


def ratio_change(
    first: Sums, second: Sums, level: float, *, paired: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of two layers (2, 4), second less first (4,), and the interval of that (4, 2).

    Args:
        first, second: sums of each.
        level: probability of the interval.
        paired: whether their output units belong together, one by one; else they are independent.
    """
    (before, own), (after, others) = (_linear(s.parts, s.whole) for s in (first, second))
    change = after - before
    spread = _spread(others - own) if paired else np.hypot(_spread(own), _spread(others))
    units = min(len(first.whole), len(second.whole))
    return np.stack([before, after]), change, _around(change, spread, level, units)


def _linear(parts, whole):
    """Ratios of sums, and what each unit adds to them to first order."""
    total = whole.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        value = parts.sum(-1) / total
        return value, (parts - value[..., None] * whole) / total


def _spread(residuals):
    count = residuals.shape[-1]
    factor = count / (count - 1) if count > 1 else np.nan
    return np.sqrt(factor * np.sum(residuals**2, -1))


def _around(value, spread, level, units):
    ends = special.stdtrit(max(units - 1, 1), np.array(nulls.tails(level)))
    return value[..., None] + spread[..., None] * ends
