"""Accounts of energy whose numbers hold at every scale of the signal, and their true values.

The energy of a signal of 1e-21 is 1e-42, which single precision can't hold. So energies are summed
in units of max |f|², and that unit is kept. True values are multiplied back in double precision on
the host; while JAX traces, in the dtype of the signal, with brackets rounded outwards.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks


class Account(NamedTuple):
    """The energies of `Energies`, in one unit of energy."""

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
    """How energy travels down the layers n = 0 … N, as sums over the paths that were computed.

    In exact arithmetic, for a tight frame and a non-linearity that conserves energy,
    W_n = F_n + W_(n+1), and `energy` = Σ F_n + what was pruned. The bounds allow for all that was
    pruned and for rounding.

    Outside of jit energies are float64 NumPy arrays, which hold those of every float32 signal.
    While JAX traces they have the signal's dtype; an energy that it can't hold becomes 0 or
    infinite, and the bounds still hold the true one. `relative` has neither limit.

    Attributes:
        energy: ‖f‖² = Σ_x f(x)².
        propagated: W_n = Σ_{|q| = n} ‖U[q] f‖², (N + 2,); bands of the last layer count as layer
            N + 1. Where a non-linearity doesn't conserve energy, what is pruned isn't in it, nor is
            layer N + 1: see `propagated_bounds`.
        collected: F_n = Σ_{|q| = n} ‖U[q] f * χ‖², (N + 1,).
        passed: Σ_{|q| = n} Σ_λ ‖U[q] f * g_λ‖² of the paths computed, (N + 1,).
        pruned: at most this much energy enters the layer on paths that weren't computed, (N + 2,).
        propagated_bounds: the true W_n lie in these intervals, (N + 2, 2).
        collected_bounds: the true F_n do, (N + 1, 2).
        total_bounds: the true Σ_n F_n does, (2,).
        paths: paths computed in each layer, mirrored ones included, (N + 1,).
        complete: False if `max_paths` cut the tree where `prune` would not have.
        relative: an `Account` of all these energies in units of `unit`². Ratios of them are shares
            that no scale of the signal makes under- or overflow, also under jit.
        unit: max |f|, or 1 for a signal of zeros, without gradient.
        absolute: the `Account` in units of the signal squared and in the signal's dtype.
    """

    relative: Account
    absolute: Account
    unit: Any
    paths: Any
    complete: Any

    def __repr__(self) -> str:
        """The energy, and the shares of it that travel on, where they are known."""
        if checks.concrete(self.unit) is None or np.ndim(self.unit):
            return f"Energies({np.shape(self.relative.propagated)} propagated)"
        energy = float(self.relative.energy) or 1.0
        shares = ", ".join(
            f"{share / energy:.4g}" for share in np.asarray(self.relative.propagated)
        )
        return f"Energies(energy={self.energy:.6g}, propagated/energy=[{shares}])"

    @property
    def energy(self) -> Any:
        """‖f‖², shape ()."""
        return self._true("energy")

    @property
    def propagated(self) -> Any:
        """W_n, (N + 2,)."""
        return self._true("propagated")

    @property
    def collected(self) -> Any:
        """F_n, (N + 1,)."""
        return self._true("collected")

    @property
    def passed(self) -> Any:
        """Energy of the bands of the paths computed, (N + 1,)."""
        return self._true("passed")

    @property
    def pruned(self) -> Any:
        """Energy that enters each layer on paths that weren't computed, (N + 2,)."""
        return self._true("pruned")

    @property
    def propagated_bounds(self) -> Any:
        """Intervals that hold the true W_n, (N + 2, 2)."""
        return self._true("propagated_bounds")

    @property
    def collected_bounds(self) -> Any:
        """Intervals that hold the true F_n, (N + 1, 2)."""
        return self._true("collected_bounds")

    @property
    def total_bounds(self) -> Any:
        """The interval that holds the true Σ_n F_n, (2,)."""
        return self._true("total_bounds")

    def _true(self, name: str) -> Any:
        relative, absolute = getattr(self.relative, name), getattr(self.absolute, name)
        if checks.concrete(relative) is None or checks.concrete(self.unit) is None:
            return absolute
        values = true_values(relative, self.unit)
        return outward(values, np.asarray(relative)) if name.endswith("_bounds") else values


def true_values(relative: Any, unit: Any) -> Any:
    """Energies in units of unit² as they are, in double precision on the host."""
    relative, unit = np.asarray(relative, np.float64), np.asarray(unit, np.float64)
    unit = unit.reshape(unit.shape + (1,) * (relative.ndim - unit.ndim))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return unit * (unit * relative)


def outward(intervals: Any, relative: Any) -> Any:
    """Intervals (…, 2) that still hold what they held in other units, where digits were lost.

    Below the smallest normal number of the dtype a lower end becomes 0 and an upper end that
    number; of what overflowed, a lower end becomes the largest number. NaN says nothing.
    """
    xp = jnp if isinstance(intervals, jax.Array) else np
    low, high = intervals[..., 0], intervals[..., 1]
    limits = jnp.finfo(intervals.dtype)
    least = xp.where(low >= limits.tiny, xp.minimum(low, limits.max), 0).astype(low.dtype)
    return xp.stack([_rounded(least, low), upward(high, relative[..., 1])], -1)


def upward(bounds: Any, relative: Any) -> Any:
    """Upper bounds rounded up where the dtype can't hold them; infinite where they are NaN."""
    xp = jnp if isinstance(bounds, jax.Array) else np
    tiny = jnp.finfo(bounds.dtype).tiny
    lost = (relative > 0) & (bounds < tiny)
    most = xp.where(lost, tiny, xp.where(xp.isnan(bounds), np.inf, bounds)).astype(bounds.dtype)
    return _rounded(most, bounds)


def _rounded(rounded: Any, exact: Any) -> Any:
    """Numbers that were rounded, with the slopes of the exact ones."""
    return _with_slopes(rounded, exact) if isinstance(rounded, jax.Array) else rounded


@jax.custom_jvp
def _with_slopes(rounded, exact):
    del exact
    return rounded


@_with_slopes.defjvp
def _with_slopes_jvp(primals, tangents):
    return primals[0], tangents[1]
