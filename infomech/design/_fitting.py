"""Kernels that do what is asked: from a loss and some starts to kernels, and how good they are."""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import fields, observables, rectifiers
from infomech._core import checks
from infomech.design import parametrizations, solvers
from infomech.design._simulation import Setup, again, check
from infomech.design.parametrizations import Parametrization
from infomech.losses import Loss, batch_axes

if TYPE_CHECKING:
    import optax
    import optimistix

#: what `Result.status` means
REASONS = (
    "converged",
    "stalled: no more progress above the tolerance",
    "hit a bound of the family of kernels",
    "the pattern left the domain",
    "the field died",
    "the loss is not finite",
    "ran out of rounds while it still made progress",
    "not confirmed at double precision on a larger domain",
)
CONVERGED, STALLED, BOUND, LEFT, DEAD, NOT_FINITE, UNFINISHED, UNCONFIRMED = range(len(REASONS))
#: share of the mass at the boundary from which on a pattern has left the domain
EDGE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Result:
    """What a design found, for n starts.

    Attributes:
        kernel: the kernels found, (n, *taps) or (n, steps, *taps), of the dtype of the start.
        loss: Σ w r² of each at double precision on a larger domain, (n,).
        status: index into `REASONS` for each, (n,).
        achieved: what each term of the loss measured there, by name, along a leading axis n.
        target: the target of each term, by name.
        history: loss after each round, (rounds + 1, n).
        solver: its name.
    """

    kernel: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    achieved: dict[str, np.ndarray]
    target: dict[str, np.ndarray]
    history: np.ndarray
    solver: str

    @property
    def best(self) -> int:
        """Index of the start that came closest."""
        return int(np.argmin(np.where(np.isfinite(self.loss), self.loss, np.inf)))

    @property
    def reason(self) -> list[str]:
        """`status` in words, one for each start."""
        return [REASONS[i] for i in self.status]


def starts(kernel_size: Any, count: int, *, key: jax.Array, dtype: Any = None) -> jax.Array:
    """Random kernels to start from: non-negative taps, uniform on the simplex Σ k = 1.

    No field dies of them, and under ReLU theory knows what each of them does.

    Args:
        kernel_size: taps on each axis.
        count: number of kernels n.
        key: typed key, `jax.random.key`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Kernels (n, *shape), dimensionless.
    """
    kernel_size, count = checks.shape("kernel_size", kernel_size), checks.integer("count", count, 1)
    ones = jnp.ones(int(np.prod(kernel_size)), checks.floating_dtype(dtype))
    drawn = jax.random.dirichlet(checks.key(key), ones, (count,), ones.dtype)
    return drawn.reshape(count, *kernel_size)


def fit(
    loss: Loss,
    start: Any,
    *,
    field: Any,
    steps: int,
    family: Parametrization = parametrizations.taps,
    solver: "str | optax.GradientTransformation | optimistix.AbstractIterativeSolver" = "auto",
    rectifier: Any = "relu",
    boundary: str = "zero",
    normalize: str = "l2",
    every: int = 1,
    iterations: int = 20,
    tolerance: float = 1e-10,
    batched_loss: bool = False,
    stop_at_first: bool = False,
    progress: bool = True,
) -> Result:
    """Kernels that make the loss small, from many starts at once.

    Starts go through one `vmap`, so that a bad one spoils none of the others. What a start ends
    with is simulated again at double precision before it is called converged, and where zeros lie
    outside, on a domain on which no kernel of this size could reach them.

    Args:
        loss: of a rollout; see `infomech.losses`.
        start: kernels to begin with: (n, *taps), or one of them (*taps); with a stack of kernels
            (n, steps, *taps), one per layer. The nearest kernels of the family are taken.
        field: `Field` or array that the rollout starts from.
        steps, rectifier, boundary, normalize, every: as for `infomech.rollout`.
        family: which kernels may be found; see `infomech.design.parametrizations`.
        solver: "least squares" (Levenberg-Marquardt; needs the extra `design`),
            "dogleg" (the same), "lbfgs" or "adam"; any `optax.GradientTransformation`; or any
            least-squares solver or minimizer of optimistix, with the tolerances it was made with.
            "auto" is the first that is installed of least squares and lbfgs.
        iterations: most rounds, of 50 steps each for adam and other optax optimizers, else of 10.
            The solver goes on from one to the next: 2 rounds of 10 steps are 20 steps.
        tolerance: a loss this small is converged.
        batched_loss: whether targets and weights have a leading axis n, one for each start; single
            numbers are shared.
        stop_at_first: whether to stop as soon as one start is as close as the tolerance.
        progress: whether to show a progress bar, where tqdm is installed.

    Returns:
        `Result`.

    Raises:
        ValueError: an argument that doesn't fit, a solver that isn't there, a loss that isn't
            finite at any start, a domain too small for a velocity that is target for.
    """
    setup = Setup(
        checks.integer("steps", steps, 1),
        rectifiers.get(rectifier),
        boundary,
        normalize,
        checks.integer("every", every, 1),
    )
    iterations = checks.integer("iterations", iterations, 1)
    check(loss, family)
    field = fields.as_field(field)
    kernels = _starts(start, field, loss, batched_loss)
    _enough_room(loss, field, setup, kernels.shape[-field.values.ndim :])
    chosen = solvers.choose(solver)
    problem = _Problem(setup, family, chosen, batched_loss)
    params = jax.vmap(family.free)(kernels)
    state = problem.init(params, loss, field)
    value, (_, dead, _) = _seen(problem, params, loss, field)
    if not np.isfinite(value).any():
        raise checks.error("start", _why(dead), "a start with a finite loss")
    history = [value]
    best, least = params, value
    active, waited = np.isfinite(value), np.zeros(len(value), bool)
    for _ in _counted(range(iterations), chosen.name, progress):
        moved, state = problem.advance(params, state, loss, field)
        # a solver may take a round to find a step that it accepts, but not two
        waiting = ~waited & np.asarray(jax.vmap(jnp.array_equal)(moved, params))
        waited |= waiting
        params = _where(active, moved, params)
        value, _ = _seen(problem, params, loss, field)
        history.append(value)
        better = value < least
        best, before = _where(better, params, best), least
        least = np.where(better, value, least)
        active &= (least > tolerance) & np.isfinite(value) & (waiting | (least < 0.999 * before))
        if not active.any() or (stop_at_first and (least <= tolerance).any()):
            break
    found = jax.vmap(family.kernel)(best)
    exact, achieved = again(loss, found, field, setup, batched_loss)
    _, signs = _seen(problem, best, loss, field)
    status = _status(signs, least, exact, active, tolerance)
    return Result(
        np.asarray(found),
        exact,
        status,
        achieved,
        {name: np.asarray(target) for name, target in loss.targets.items()},
        np.stack(history),
        chosen.name,
    )


@dataclass(frozen=True)
class _Problem:
    """The functions of one design, each compiled once for all starts."""

    setup: Setup
    family: Parametrization
    solver: solvers.Solver
    batched_loss: bool

    @functools.partial(jax.jit, static_argnums=0)
    def look(self, params, loss, field):
        """Of each start: its loss; whether the pattern left, the field died, it is at a bound."""

        def one(params, loss):
            run = self.setup.run(self.family.kernel(params), field)
            left = jnp.max(run.trace.edge) > EDGE_TOLERANCE
            signs = left, jnp.isneginf(run.trace.log_energy[-1]), self.family.bound(run.kernel)
            return jnp.sum(loss.residuals(run) ** 2), signs

        return self._each(one)(params, loss)

    @functools.partial(jax.jit, static_argnums=0)
    def init(self, params, loss, field):
        def one(params, loss):
            return self.solver.init(self._residuals(loss, field), params)

        return self._each(one)(params, loss)

    @functools.partial(jax.jit, static_argnums=0)
    def advance(self, params, state, loss, field):
        def one(params, loss, state):
            return self.solver.advance(self._residuals(loss, field), params, state)

        return self._each(one, 0)(params, loss, state)

    def _residuals(self, loss: Loss, field: Any) -> Callable[[jax.Array], jax.Array]:
        def residuals(params):
            return loss.residuals(self.setup.run(self.family.kernel(params), field))

        return residuals

    def _each(self, function: Callable, *more: int) -> Callable:
        def mapped(params, loss, *rest):
            axes = batch_axes(loss) if self.batched_loss else None
            return jax.vmap(function, in_axes=(0, axes, *more))(params, loss, *rest)

        return mapped


def _starts(start, field, loss, batched_loss):
    d = field.values.ndim
    kernels = checks.floating("start", start)
    if kernels.ndim < d or kernels.ndim > d + 2:
        raise checks.error("start", f"{kernels.ndim} axes", f"{d}, or {d + 1} with many starts")
    kernels = kernels[None] if kernels.ndim == d else kernels
    checks.finite("start", kernels)
    for leaf in jax.tree.leaves(loss) if batched_loss else ():
        if np.ndim(leaf) and np.shape(leaf)[0] != len(kernels):
            raise checks.error(
                "loss",
                f"a target or weight of shape {np.shape(leaf)}",
                f"a leading axis of {len(kernels)}, one for each start",
            )
    return kernels


def _enough_room(loss, field, setup, taps):
    """Whether the center can get to where the wishes want it without leaving the domain.

    A domain whose edge no kernel with these taps could reach is large enough for whatever is asked.
    """
    pixels, steps = np.asarray(field.values.shape), setup.steps
    wide = setup.boundary == "periodic" or _out_of_reach(np.asarray(field.values), taps, steps)
    center = np.asarray(observables.center(field))
    # an even number of taps moves the origin by half a pixel per layer
    halves = steps * np.asarray([n % 2 == 0 for n in taps]) / 2
    first = np.asarray(field.origin)
    for name, term in zip(loss.names, loss.terms, strict=True):
        known = None if term.places is None else checks.concrete(term.target)
        if known is None:
            continue
        known = np.asarray(known)
        if known.ndim == 0 or known.shape[-1] != len(pixels):
            raise checks.error(name, f"shape {known.shape}", f"{len(pixels)} numbers, one per axis")
        if wide:
            continue
        places = term.places(known.reshape(-1, len(pixels)), center, steps)
        last = first + pixels - 1
        outside = np.maximum(first - halves - places, places - last).max(0)
        if (outside > 0).any():
            needed = np.ceil(pixels + 2 * np.maximum(outside, 0)).astype(int)
            raise checks.error(
                "field",
                f"{field.values.shape} pixels",
                f"at least {tuple(needed.tolist())}, "
                f"since {name} takes the center {outside.max():.3g} pixels beyond the end",
            )


def _out_of_reach(values, taps, steps):
    """Whether no kernel with these taps can bring the pattern to the edge of its domain."""
    if not values.any():
        return False
    for axis, n in enumerate(taps):
        others = tuple(a for a in range(values.ndim) if a != axis)
        there = np.flatnonzero(values.any(others))
        below, above = steps * ((n - 1) // 2), steps * (n // 2)
        if there[0] < below or there[-1] + above > values.shape[axis] - 1:
            return False
    return True


def _seen(problem, params, loss, field):
    return jax.tree.map(np.asarray, problem.look(params, loss, field))


def _why(dead):
    if np.all(dead):
        return "kernels under which the field dies"
    return "kernels whose loss is not finite" + (" (the field dies)" if np.any(dead) else "")


def _counted(rounds, name, progress):
    if not progress or importlib.util.find_spec("tqdm") is None:
        return rounds
    from tqdm import tqdm

    return tqdm(rounds, desc=name, unit="round")


def _where(mask, yes, no):
    def pick(a, b):
        return jnp.where(jnp.asarray(mask).reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)


def _status(signs, value, exact, active, tolerance):
    left, dead, bound = signs
    close = value <= tolerance
    status = np.where(active, UNFINISHED, np.where(bound, BOUND, STALLED))
    status = np.where(close, UNCONFIRMED, status)
    status = np.where(left, LEFT, status)
    status = np.where(close & (exact <= 4 * tolerance), CONVERGED, status)
    status = np.where(~np.isfinite(value), NOT_FINITE, status)
    return np.where(dead, DEAD, status)
