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

from infomech import checks, guards
from infomech.fields import Field
from infomech.rollout import Trace


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
        places: where the wish wants the centre to get, from targets (n, d), the centre at first
            (d,) and the number of layers; None if it says nothing of that.
    """

    name: str
    measure: Callable[[Run], jax.Array]
    residual: Callable[[jax.Array, jax.Array], jax.Array]
    target: Any
    weight: Any
    places: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None = None


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
        parts = []
        for term in self.terms:
            r = jnp.ravel(term.residual(term.measure(run), term.target))
            parts.append(r * guards.sqrt(jnp.asarray(term.weight, r.dtype)))
        return jnp.concatenate(parts)

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

    def __add__(self, other: "Loss") -> "Loss":
        """The sum of two losses."""
        if not isinstance(other, Loss):
            raise checks.fail("loss", type(other).__name__, "another Loss to add")
        return Loss(self.terms + other.terms)

    def __mul__(self, weight: Any) -> "Loss":
        """The loss `weight` times."""
        checks.unmasked("weight", weight)
        known = checks.concrete(weight)
        if known is not None and not (np.ndim(known) == 0 and 0 <= known < np.inf):
            raise checks.fail("weight", weight, "a number of at least 0")
        return Loss(tuple(replace(t, weight=t.weight * weight) for t in self.terms))

    __rmul__ = __mul__


def batch_axes(loss: Loss) -> Loss:
    """`in_axes` for `jax.vmap` over losses with batches of targets; single numbers are shared."""
    return jax.tree.map(lambda leaf: 0 if np.ndim(leaf) else None, loss)


def difference(measured: jax.Array, target: Any) -> jax.Array:
    """What was measured less its target, of the same shape."""
    target = jnp.asarray(target, measured.dtype)
    if target.shape != measured.shape:
        raise checks.fail("target", f"shape {target.shape}", f"{measured.shape}")
    return measured - target


def observable(
    name: str, measure: Callable[[Run], Any], target: Any, *, residual: Any = difference
) -> Loss:
    """Anything that can be computed of a `Run`: ‖measure(run) − target‖².

    So every entry of a trace, every observable of the final field and every quantity of
    `mechanics` and `spectrum` can be wished for:
    `observable("gain", lambda run: im.mechanics.energy_momentum(run.kernel).gain, 1.0)`.

    Args:
        name: of what is measured.
        measure: function of a `Run`.
        target: what it should be, of the shape that `measure` returns; may be traced.
        residual: function of what was measured and the target; their difference if not given.

    Raises:
        ValueError: when evaluated, a target of another shape than what was measured.
    """
    if not callable(measure):
        raise checks.fail("measure", type(measure).__name__, "a function of a Run")
    checks.unmasked("target", target)
    return Loss((Term(name, measure, residual, target, 1.0),))
