"""Losses on rollouts: weighted sums of squared residuals of what was measured.

A loss is a pytree whose targets and weights may be traced, so one loss of a thousand targets goes
through `jax.vmap`; `loss(run)` is Σ w r², and `loss.residuals(run)` the vector √w r that
least-squares solvers want.
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
    """What a loss is given: the kernel, the field before and after, and what was observed.

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
    meta_fields=["name", "measure", "residual", "places"],
)
@dataclass(frozen=True)
class Term:
    """One wish: `residual(measure(run), target)`, whose squares count `weight` times.

    Attributes:
        name: of what is measured.
        measure: function of a `Run`, and of nothing traced besides.
        residual: function of what was measured and the target.
        target: what it should be.
        weight: w ≥ 0.
        places: where the wish wants the center to get, from targets (n, d), the center at first
            (d,) and the number of layers; None if it says nothing of that.
    """

    name: str
    measure: Callable[[Run], jax.Array]
    residual: Callable[[jax.Array, jax.Array], jax.Array]
    target: Any
    weight: Any
    places: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None = None

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
    """A weighted sum of wishes, Σ_i w_i ‖r_i‖²; add losses, and multiply them by weights ≥ 0."""

    terms: tuple[Term, ...]

    def __call__(self, run: Run) -> jax.Array:
        """Σ w r², shape ()."""
        return jnp.sum(self.residuals(run) ** 2)

    def residuals(self, run: Run) -> jax.Array:
        """√w r of all terms one after the other, shape (m,)."""
        return jnp.concatenate([term.residuals(run) for term in self.terms])

    def measured(self, run: Run) -> dict[str, jax.Array]:
        """What each term measures, by name; a name that comes again is numbered."""
        return {name: t.measure(run) for name, t in zip(self.names, self.terms, strict=True)}

    @property
    def targets(self) -> dict[str, Any]:
        """What each term should be, by name."""
        return {name: t.target for name, t in zip(self.names, self.terms, strict=True)}

    @property
    def names(self) -> list[str]:
        """Of the terms; one that comes again is numbered."""
        names: list[str] = []
        for term in self.terms:
            again = sum(n.partition(" #")[0] == term.name for n in names)
            names.append(f"{term.name} #{again + 1}" if again else term.name)
        return names

    def check(self) -> None:
        """Raises ValueError naming a known target or weight that isn't finite."""
        for name, term in zip(self.names, self.terms, strict=True):
            finite_numbers(f"{name} target", term.target)
            finite_numbers(f"{name} weight", term.weight)

    def __add__(self, other: "Loss") -> "Loss":
        """The sum of two losses."""
        if not isinstance(other, Loss):
            raise checks.error("loss", type(other).__name__, "another Loss to add")
        return Loss(self.terms + other.terms)

    def __mul__(self, weight: Any) -> "Loss":
        """The loss `weight` times."""
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
    """`in_axes` for `jax.vmap` over losses with batches of targets; single numbers are shared."""
    return jax.tree.map(lambda leaf: 0 if np.ndim(leaf) else None, loss)


def difference(measured: jax.Array, target: Any) -> jax.Array:
    """What was measured less its target, of the same shape."""
    target = jnp.asarray(target, measured.dtype)
    if target.shape != measured.shape:
        raise checks.error("target", f"shape {target.shape}", f"{measured.shape}")
    return measured - target


def finite_numbers(argument: str, value: Any) -> None:
    """Raises ValueError unless `value` is real numbers and, where they are known, finite ones."""
    checks.floating(argument, value)
    known = checks.concrete(value)
    if known is not None and known.size <= 9 and not np.isfinite(known).all():
        raise checks.error(argument, known.tolist(), "finite numbers only")
    checks.finite(argument, value)


def observable(
    name: str, measure: Callable[[Run], Any], target: Any, *, residual: Any = difference
) -> Loss:
    """Anything that can be computed of a `Run`: ‖measure(run) − target‖².

    So every entry of a trace, every observable of the final field and every quantity of
    `mechanics` and `spectrum` can be target for:
    `observable("gain", lambda run: im.mechanics.energy_momentum(run.kernel).gain, 1.0)`.

    Args:
        name: of what is measured.
        measure: function of a `Run`.
        target: what it should be, of the shape that `measure` returns; may be traced.
        residual: function of what was measured and the target; their difference if not given.

    Raises:
        ValueError: a target that isn't finite; when evaluated, one of another shape than what was
            measured.
    """
    if not callable(measure):
        raise checks.error("measure", type(measure).__name__, "a function of a Run")
    checks.unmasked("target", target)
    finite_numbers(f"{name} target", target)
    if isinstance(target, list | tuple) and checks.concrete(target) is not None:
        target = np.asarray(target)  # one leaf, which may have an axis for each start
    return Loss((Term(name, measure, residual, target, 1.0),))
