"""Energy accounts that neither over- nor underflow, whatever the scale of the signal.

The energy of a signal of size 1e-21 is 1e-42, below the range of single precision. So energies are
summed in units of max |f|², and the unit is stored. Absolute values are restored in double
precision on the host. Under jit they have the dtype of the signal, with bounds rounded outwards.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks


class Account(NamedTuple):
    """The energies of `Energies` in a common unit."""

    energy: Any
    propagated: Any
    collected: Any
    passed: Any
    pruned: Any
    propagated_bounds: Any
    collected_bounds: Any
    total_bounds: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Energies:
    """Energies of the layers n = 0 … N, as sums over the computed paths.

    In exact arithmetic, for a tight frame and a non-linearity that conserves energy,
    W_n = F_n + W_(n+1), and `energy` = Σ F_n + pruned energy. The bounds account for pruning and
    rounding.

    Outside of jit the energies are float64 NumPy arrays, which cover every float32 signal. Under
    jit they have the signal's dtype. An energy out of its range becomes 0 or infinite there, but
    the bounds still contain the true value. `relative` has no such limit.

    Attributes:
        energy: ‖f‖² = Σ_x f(x)².
        propagated: W_n = Σ_{|q| = n} ‖U[q] f‖², (N + 2,); bands of the last layer count as layer
            N + 1. If a non-linearity doesn't conserve energy, pruned energy and layer N + 1 are
            excluded: see `propagated_bounds`.
        collected: F_n = Σ_{|q| = n} ‖U[q] f * χ‖², (N + 1,).
        passed: Σ_{|q| = n} Σ_λ ‖U[q] f * g_λ‖² over the computed paths, (N + 1,).
        pruned: upper bound on the energy that enters each layer on pruned paths, (N + 2,).
        propagated_bounds: intervals that contain the true W_n, (N + 2, 2).
        collected_bounds: intervals that contain the true F_n, (N + 1, 2).
        total_bounds: interval that contains the true Σ_n F_n, (2,).
        paths: number of computed paths in each layer, including mirrored ones, (N + 1,).
        complete: False if `max_paths` removed paths that `prune` would have kept.
        relative: an `Account` of all these energies in units of `unit`². Their ratios neither over-
            nor underflow, whatever the scale of the signal, also under jit.
        unit: max |f|, or 1 for a zero signal, without gradient.
        absolute: the `Account` in units of the signal squared and in the signal's dtype.
    """

    relative: Account
    absolute: Account
    unit: Any
    paths: Any
    complete: Any

    def __repr__(self) -> str:
        """Show the energy and its propagated fractions, if they are concrete."""
        if checks.concrete(self.unit) is None or np.ndim(self.unit):
            return f"Energies({np.shape(self.relative.propagated)} propagated)"
        energy = float(self.relative.energy) or 1.0
        fractions = np.asarray(self.relative.propagated) / energy
        text = ", ".join(f"{fraction:.4g}" for fraction in fractions)
        return f"Energies(energy={self.energy:.6g}, propagated/energy=[{text}])"

    @property
    def energy(self) -> Any:
        """‖f‖², shape ()."""
        return self._absolute("energy")

    @property
    def propagated(self) -> Any:
        """W_n, (N + 2,)."""
        return self._absolute("propagated")

    @property
    def collected(self) -> Any:
        """F_n, (N + 1,)."""
        return self._absolute("collected")

    @property
    def passed(self) -> Any:
        """Energy of the bands of the computed paths, (N + 1,)."""
        return self._absolute("passed")

    @property
    def pruned(self) -> Any:
        """Upper bound on the energy that enters each layer on pruned paths, (N + 2,)."""
        return self._absolute("pruned")

    @property
    def propagated_bounds(self) -> Any:
        """Intervals that contain the true W_n, (N + 2, 2)."""
        return self._absolute("propagated_bounds")

    @property
    def collected_bounds(self) -> Any:
        """Intervals that contain the true F_n, (N + 1, 2)."""
        return self._absolute("collected_bounds")

    @property
    def total_bounds(self) -> Any:
        """Interval that contains the true Σ_n F_n, (2,)."""
        return self._absolute("total_bounds")

    def _absolute(self, name: str) -> Any:
        relative, absolute = getattr(self.relative, name), getattr(self.absolute, name)
        if checks.concrete(relative) is None or checks.concrete(self.unit) is None:
            return absolute
        values = absolute_values(relative, self.unit)
        return outward(values, np.asarray(relative)) if name.endswith("_bounds") else values


def absolute_values(relative: Any, unit: Any) -> Any:
    """Convert energies in units of unit² to absolute ones, in double precision on the host."""
    relative, unit = np.asarray(relative, np.float64), np.asarray(unit, np.float64)
    unit = unit.reshape(unit.shape + (1,) * (relative.ndim - unit.ndim))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return unit * (unit * relative)


def outward(intervals: Any, relative: Any) -> Any:
    """Round intervals (…, 2) outwards where a change of units under- or overflowed.

    Below the smallest normal number of the dtype, the lower end becomes 0 and the upper end that
    number. An overflowed lower end becomes the largest finite number. NaN becomes a trivial bound.
    """
    xp = jnp if isinstance(intervals, jax.Array) else np
    low, high = intervals[..., 0], intervals[..., 1]
    limits = jnp.finfo(intervals.dtype)
    rounded = xp.where(low >= limits.tiny, xp.minimum(low, limits.max), 0).astype(low.dtype)
    return xp.stack([_keep_gradient(rounded, low), upward(high, relative[..., 1])], -1)


def upward(bounds: Any, relative: Any) -> Any:
    """Round upper bounds up where they underflowed; NaN becomes infinity."""
    xp = jnp if isinstance(bounds, jax.Array) else np
    tiny = jnp.finfo(bounds.dtype).tiny
    underflowed = (relative > 0) & (bounds < tiny)
    known = xp.where(xp.isnan(bounds), np.inf, bounds)
    rounded = xp.where(underflowed, tiny, known).astype(bounds.dtype)
    return _keep_gradient(rounded, bounds)


def _keep_gradient(rounded: Any, exact: Any) -> Any:
    """Rounded values with the gradient of the exact ones."""
    return _straight_through(rounded, exact) if isinstance(rounded, jax.Array) else rounded


@jax.custom_jvp
def _straight_through(rounded, exact):
    del exact
    return rounded


@_straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[0], tangents[1]
