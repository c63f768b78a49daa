"""Shares of a layer's energy and their changes, with confidence intervals."""

import numpy as np

from infomech.networks import nulls
from infomech.networks.slices import Sums


def ratio(parts: np.ndarray, energy: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Ratio Σ parts / Σ energy over the last axis, with an interval for independent units.

    The variance of R = Σ a / Σ e is linearized, C/(C − 1) Σ (a − R e)² / (Σ e)² for C units. The
    interval uses Student's quantiles, and is NaN for a single unit.

    Args:
        parts: (…, C).
        energy: (C,).
        level: confidence level of the interval.

    Returns:
        Ratios (…) and bounds (…, 2).
    """
    value, residuals = _linear(parts, energy)
    return value, _interval(value, _standard_error(residuals), level, len(energy))


def ratio_change(
    first: Sums, second: Sums, level: float, *, paired: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of two layers (2, 4), change second − first (4,), and its interval (4, 2).

    Args:
        first, second: sums of the two layers.
        level: confidence level of the interval.
        paired: whether output units correspond one to one; otherwise they are independent.
    """
    (before, residuals), (after, other_residuals) = (
        _linear(sums.parts, sums.energy) for sums in (first, second)
    )
    change = after - before
    if paired:
        error = _standard_error(other_residuals - residuals)
    else:
        error = np.hypot(_standard_error(residuals), _standard_error(other_residuals))
    units = min(len(first.energy), len(second.energy))
    return np.stack([before, after]), change, _interval(change, error, level, units)


def _linear(parts, energy):
    """Ratios of sums, and the first-order contribution of each unit."""
    total = energy.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        value = parts.sum(-1) / total
        return value, (parts - value[..., None] * energy) / total


def _standard_error(residuals):
    count = residuals.shape[-1]
    factor = count / (count - 1) if count > 1 else np.nan
    return np.sqrt(factor * np.sum(residuals**2, -1))


def _interval(value, error, level, units):
    from scipy import special  # slow to import

    quantiles = special.stdtrit(max(units - 1, 1), np.array(nulls.tails(level)))
    return value[..., None] + error[..., None] * quantiles
