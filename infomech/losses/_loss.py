"""Losses on rollouts: weighted sums of squared residuals of measurements.

A loss is a pytree whose targets and weights may be traced, so `jax.vmap` handles a loss with a
batch of targets. `loss(run)` is Σ w r²; `loss.residuals(run)` is the vector √w r for least-squares
solvers.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech._rollout import Trace
from infomech.fields import Field


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Run:
    """Argument of a loss: the kernel, the field before and after the rollout, and its trace.

    Attributes:
        kernel: taps, or (steps, *taps) with one kernel per layer.
        first: the field before layer 1.
        final: the field after the last layer.
        trace: the `Trace` of the rollout.
    """

    kernel: jax.Array
    first: Field
    final: Field
    trace: Trace


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["target", "weight"],
    meta_fields=["name", "measure", "residual", "positions"],
)
@dataclass(frozen=True)
class Term:
    """One objective: `residual(measure(run), target)`, with squares weighted by `weight`.

    Attributes:
        name: name of the measured quantity.
        measure: function of a `Run`; must not close over traced values.
        residual: function of the measured value and the target.
        target: desired value.
        weight: w ≥ 0.
        positions: positions the center must reach, from targets (n, d), the initial center (d,)
            and the number of layers; None if the objective implies none.
    """

    name: str
    measure: Callable[[Run], jax.Array]
    residual: Callable[[jax.Array, jax.Array], jax.Array]
    target: Any
    weight: Any
    positions: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None = None

    def residuals(self, run: Run) -> jax.Array:
        """√w r, shape (m,). Raises ValueError naming the term if its target doesn't fit."""
        measured = self.measure(run)
        try:
            r = jnp.ravel(self.residual(measured, self.target))
        except ValueError as error:
            raise ValueError(f"{self.name} {error}") from error
        return r * safe_math.sqrt(jnp.asarray(self.weight, r.dtype))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Loss:
    """Weighted sum of terms, Σ_i w_i ‖r_i‖²; supports + and multiplication by weights ≥ 0."""

    terms: tuple[Term, ...]

    def __call__(self, run: Run) -> jax.Array:
        """Σ w r², shape ()."""
        return jnp.sum(self.residuals(run) ** 2)

    def residuals(self, run: Run) -> jax.Array:
        """√w r of all terms, concatenated, shape (m,)."""
        return jnp.concatenate([term.residuals(run) for term in self.terms])

    def measured(self, run: Run) -> dict[str, jax.Array]:
        """Measurement of each term by name; repeated names are numbered."""
        return {name: t.measure(run) for name, t in zip(self.names, self.terms, strict=True)}

    @property
    def targets(self) -> dict[str, Any]:
        """Target of each term by name."""
        return {name: t.target for name, t in zip(self.names, self.terms, strict=True)}

    @property
    def names(self) -> list[str]:
        """Names of the terms; repeated names are numbered."""
        names: list[str] = []
        for term in self.terms:
            repeats = sum(n.partition(" #")[0] == term.name for n in names)
            names.append(f"{term.name} #{repeats + 1}" if repeats else term.name)
        return names

    def check(self) -> None:
        """Raises ValueError naming a concrete target or weight that isn't finite."""
        for name, term in zip(self.names, self.terms, strict=True):
            finite_numbers(f"{name} target", term.target)
            finite_numbers(f"{name} weight", term.weight)

    def __add__(self, other: "Loss") -> "Loss":
        """The sum of two losses."""
        if not isinstance(other, Loss):
            raise checks.error("loss", type(other).__name__, "another Loss to add")
        return Loss(self.terms + other.terms)

    def __mul__(self, weight: Any) -> "Loss":
        """The loss multiplied by `weight`."""
        checks.unmasked("weight", weight)
        finite_numbers("weight", weight)
        known = checks.concrete(weight)
        if known is not None and not (np.ndim(known) == 0 and known >= 0):
            raise checks.error("weight", weight, "a number of at least 0")
        loss = Loss(tuple(replace(t, weight=t.weight * weight) for t in self.terms))
        loss.check()
        return loss

    __rmul__ = __mul__


def batch_axes(loss: Loss) -> Loss:
    """`in_axes` for `jax.vmap` over a loss with batched targets; scalars are shared."""
    return jax.tree.map(lambda leaf: 0 if np.ndim(leaf) else None, loss)


def difference(measured: jax.Array, target: Any) -> jax.Array:
    """Measured value minus target; both must have the same shape."""
    target = jnp.asarray(target, measured.dtype)
    if target.shape != measured.shape:
        raise checks.error("target", f"shape {target.shape}", f"{measured.shape}")
    return measured - target


def finite_numbers(argument: str, value: Any) -> None:
    """Raises ValueError unless `value` holds real numbers that are finite where concrete."""
    checks.floating(argument, value)
    known = checks.concrete(value)
    if known is not None and known.size <= 9 and not np.isfinite(known).all():
        raise checks.error(argument, known.tolist(), "finite numbers only")
    checks.finite(argument, value)


def observable(
    name: str, measure: Callable[[Run], Any], target: Any, *, residual: Any = difference
) -> Loss:
    """‖measure(run) − target‖² for any function of a `Run`.

    The function may use the trace, observables of the final field, `mechanics` or `spectrum`:
    `observable("gain", lambda run: im.mechanics.energy_momentum(run.kernel).gain, 1.0)`.

    Args:
        name: name of the measured quantity.
        measure: function of a `Run`.
        target: desired value, of the shape that `measure` returns; may be traced.
        residual: function of the measured value and the target; by default their difference.

    Raises:
        ValueError: a target that isn't finite; on evaluation, a target whose shape differs from the
            measured value.
    """
    if not callable(measure):
        raise checks.error("measure", type(measure).__name__, "a function of a Run")
    checks.unmasked("target", target)
    finite_numbers(f"{name} target", target)
    if isinstance(target, list | tuple) and checks.concrete(target) is not None:
        target = np.asarray(target)  # a single leaf, which may have an axis over starts
    return Loss((Term(name, measure, residual, target, 1.0),))
