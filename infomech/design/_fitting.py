"""Fit kernels to a loss from many starts, and verify the results in double precision."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import fields, observables
from infomech._core import checks
from infomech._core import status as status_codes
from infomech._core.progress import Progress
from infomech.design import parametrizations, solvers
from infomech.design._simulation import Setup, check, verify
from infomech.design.parametrizations import Parametrization
from infomech.dynamics import Dynamics, resolve
from infomech.losses import Loss, batch_axes
from infomech.rectifiers import RectifierLike

if TYPE_CHECKING:
    import optax
    import optimistix


class Status(status_codes.Code):
    """How a start ended; `reason` says it in words."""

    CONVERGED = 0, "converged"
    STALLED = 1, "stalled above the tolerance"
    BOUND = 2, "hit a bound of the kernel family"
    LEFT = 3, "the pattern left the domain"
    DEAD = 4, "the field died"
    NOT_FINITE = 5, "the loss is not finite"
    UNFINISHED = 6, "reached the iteration limit while still improving"
    UNCONFIRMED = 7, "not confirmed in double precision on a larger domain"


#: largest share of mass at the boundary of a pattern inside the domain
MAX_EDGE_SHARE = 1e-6
#: default `iterations` of `fit`, in chunks between two convergence checks
DEFAULT_CHUNKS = 20


@dataclass(frozen=True)
class Result:
    """Result of a design with n starts.

    Attributes:
        kernel: fitted kernels, (n, *taps) or (n, steps, *taps), of the dtype of the starts.
        loss: Σ w r² of each in double precision on a larger domain, (n,).
        status: `Status` of each, (n,).
        achieved: measured value of each term by name, same precision and domain, leading axis n.
        target: target of each term by name.
        history: loss before the first and after each chunk of iterations, (chunks + 1, n).
        solver: name of the solver.
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
        """Index of the start with the lowest loss."""
        return int(np.argmin(np.where(np.isfinite(self.loss), self.loss, np.inf)))

    @property
    def reason(self) -> list[str]:
        """`status` in words, one per start."""
        return [Status(number).reason for number in self.status]


def starts(kernel_size: Any, count: int, *, key: jax.Array, dtype: Any = None) -> jax.Array:
    """Random starts: non-negative taps, uniform on the simplex Σ k = 1.

    Such kernels never kill a field, and theory predicts their motion under ReLU exactly.

    Args:
        kernel_size: taps along each axis.
        count: number of kernels n.
        key: typed key, `jax.random.key`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        Kernels (n, *kernel_size), dimensionless.
    """
    kernel_size, count = checks.shape("kernel_size", kernel_size), checks.integer("count", count, 1)
    ones = jnp.ones(int(np.prod(kernel_size)), checks.floating_dtype(dtype))
    kernels = jax.random.dirichlet(checks.key(key), ones, (count,), ones.dtype)
    return kernels.reshape(count, *kernel_size)


def fit(
    loss: Loss,
    start: Any,
    *,
    field: Any,
    steps: int,
    family: Parametrization = parametrizations.taps,
    solver: "str | optax.GradientTransformation | optimistix.AbstractIterativeSolver" = "auto",
    dynamics: Dynamics | None = None,
    rectifier: RectifierLike | None = None,
    boundary: str | None = None,
    normalize: str | None = None,
    every: int = 1,
    iterations: int | None = None,
    tolerance: float = 1e-10,
    batched_loss: bool = False,
    stop_at_first: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Minimizes a loss over the kernels of a family, from many starts at once.

    Starts are independent under one `vmap`: a bad one doesn't affect the others. Each result is
    simulated again in double precision before it counts as converged; with a zero boundary, on a
    domain large enough that no kernel of this size can reach its edge.

    Args:
        loss: objective for the rollout; see `infomech.losses`.
        start: initial kernels (n, *taps) or a single one (*taps); with one kernel per layer
            (n, steps, *taps). They are projected onto the family.
        field: `Field` or array at which the rollout starts.
        steps, dynamics, rectifier, boundary, normalize, every: see `infomech.rollout`.
        family: admissible kernels; see `infomech.design.parametrizations`.
        solver: "least squares" (Levenberg-Marquardt) or "dogleg", which need the extra `design`;
            "lbfgs" or "adam"; any `optax.GradientTransformation`; or any least-squares solver or
            minimizer of optimistix, with its own tolerances. "auto" is least squares if optimistix
            is installed, else lbfgs.
        iterations: maximum number of solver iterations. Convergence is checked after each chunk of
            10 iterations (50 for adam and other optax optimizers); the last chunk may be shorter.
            None: 20 chunks.
        tolerance: a start with a loss up to this value has converged.
        batched_loss: whether targets and weights have a leading axis n, one per start; scalars are
            shared.
        stop_at_first: whether to stop as soon as one start has reached the tolerance.
        on_progress: called with a `Progress` in iterations at the start and after each chunk.

    Returns:
        `Result`.

    Raises:
        ValueError: an invalid argument, an unknown solver, a loss that isn't finite for any start,
            or a domain too small for the target velocity or position.
    """
    dynamics = resolve(dynamics, rectifier=rectifier, boundary=boundary, normalize=normalize)
    setup = Setup(checks.integer("steps", steps, 1), dynamics, checks.integer("every", every, 1))
    check(loss, family)
    field = fields.as_field(field)
    kernels = _starts(start, field, loss, batched_loss)
    _check_domain(loss, field, setup, kernels.shape[-field.values.ndim :])
    method = solvers.choose(solver)
    if iterations is None:
        iterations = DEFAULT_CHUNKS * method.chunk
    iterations = checks.integer("iterations", iterations, 1)
    problem = _Problem(setup, family, method, batched_loss)
    params = jax.vmap(family.free)(kernels)
    state = problem.init(params, loss, field)
    value, (_, dead, _) = _evaluate(problem, params, loss, field)
    if not np.isfinite(value).any():
        raise checks.error("start", _describe(dead), "a start with a finite loss")
    history = [value]
    best, lowest = params, value
    active, paused = np.isfinite(value), np.zeros(len(value), bool)
    if on_progress:
        on_progress(Progress(0, iterations))
    for done in range(0, iterations, method.chunk):
        count = min(method.chunk, iterations - done)
        updated, state = problem.advance(params, state, loss, field, count)
        # a solver may need one chunk to find an acceptable step, but not two
        pausing = ~paused & np.asarray(jax.vmap(jnp.array_equal)(updated, params))
        paused |= pausing
        params = _where(active, updated, params)
        value, _ = _evaluate(problem, params, loss, field)
        history.append(value)
        better = value < lowest
        best, previous = _where(better, params, best), lowest
        lowest = np.where(better, value, lowest)
        improved = pausing | (lowest < 0.999 * previous)
        active &= (lowest > tolerance) & np.isfinite(value) & improved
        if on_progress:
            on_progress(Progress(done + count, iterations))
        if not active.any() or (stop_at_first and (lowest <= tolerance).any()):
            break
    kernels = jax.vmap(family.kernel)(best)
    verified, achieved = verify(loss, kernels, field, setup, batched_loss)
    _, flags = _evaluate(problem, best, loss, field)
    status = _status(flags, lowest, verified, active, tolerance)
    return Result(
        np.asarray(kernels),
        verified,
        status,
        achieved,
        {name: np.asarray(target) for name, target in loss.targets.items()},
        np.stack(history),
        method.name,
    )


@dataclass(frozen=True)
class _Problem:
    """Functions of one design, each compiled once for all starts."""

    setup: Setup
    family: Parametrization
    solver: solvers.Solver
    batched_loss: bool

    @functools.partial(jax.jit, static_argnums=0)
    def evaluate(self, params, loss, field):
        """Loss of each start, and flags: pattern left, field died, kernel at a bound."""

        def evaluate(params, loss):
            run = self.setup.run(self.family.kernel(params), field)
            left = jnp.max(run.trace.edge) > MAX_EDGE_SHARE
            flags = left, jnp.isneginf(run.trace.log_energy[-1]), self.family.bound(run.kernel)
            return jnp.sum(loss.residuals(run) ** 2), flags

        return self._batched(evaluate)(params, loss)

    @functools.partial(jax.jit, static_argnums=0)
    def init(self, params, loss, field):
        def init(params, loss):
            return self.solver.init(self._residuals(loss, field), params)

        return self._batched(init)(params, loss)

    @functools.partial(jax.jit, static_argnums=0)
    def advance(self, params, state, loss, field, iterations):
        def advance(params, loss, state):
            return self.solver.advance(self._residuals(loss, field), params, state, iterations)

        return self._batched(advance, 0)(params, loss, state)

    def _residuals(self, loss: Loss, field: Any) -> Callable[[jax.Array], jax.Array]:
        def residuals(params):
            return loss.residuals(self.setup.run(self.family.kernel(params), field))

        return residuals

    def _batched(self, function: Callable, *more: int) -> Callable:
        def batched(params, loss, *rest):
            axes = batch_axes(loss) if self.batched_loss else None
            return jax.vmap(function, in_axes=(0, axes, *more))(params, loss, *rest)

        return batched


def _starts(start, field, loss, batched_loss):
    d = field.values.ndim
    kernels = checks.floating("start", start)
    if kernels.ndim < d or kernels.ndim > d + 2:
        raise checks.error("start", f"{kernels.ndim} axes", f"{d}, or {d + 1} for many starts")
    kernels = kernels[None] if kernels.ndim == d else kernels
    checks.finite("start", kernels)
    for leaf in jax.tree.leaves(loss) if batched_loss else ():
        if np.ndim(leaf) and np.shape(leaf)[0] != len(kernels):
            raise checks.error(
                "loss",
                f"a target or weight of shape {np.shape(leaf)}",
                f"a leading axis of {len(kernels)}, one per start",
            )
    return kernels


def _check_domain(loss, field, setup, kernel_size):
    """Raises ValueError if a target requires the center to leave the domain.

    A domain whose edge no kernel of this size can reach is large enough for any target.
    """
    shape, steps = np.asarray(field.values.shape), setup.steps
    unlimited = setup.dynamics.boundary == "periodic" or _edge_unreachable(
        np.asarray(field.values), kernel_size, steps
    )
    center = np.asarray(observables.center(field))
    # an even kernel size moves the origin by half a pixel per layer
    halves = steps * np.asarray([n % 2 == 0 for n in kernel_size]) / 2
    first = np.asarray(field.origin)
    for name, term in zip(loss.names, loss.terms, strict=True):
        target = None if term.positions is None else checks.concrete(term.target)
        if target is None:
            continue
        target = np.asarray(target)
        if target.ndim == 0 or target.shape[-1] != len(shape):
            raise checks.error(name, f"shape {target.shape}", f"{len(shape)} numbers, one per axis")
        if unlimited:
            continue
        positions = term.positions(target.reshape(-1, len(shape)), center, steps)
        last = first + shape - 1
        outside = np.maximum(first - halves - positions, positions - last).max(0)
        if (outside > 0).any():
            required = np.ceil(shape + 2 * np.maximum(outside, 0)).astype(int)
            raise checks.error(
                "field",
                f"shape {field.values.shape}",
                f"at least {tuple(required.tolist())}: "
                f"{name} takes the center {outside.max():.3g} pixels beyond the edge",
            )


def _edge_unreachable(values, kernel_size, steps):
    """Whether no kernel of this size can bring the pattern to the edge of the domain."""
    if not values.any():
        return False
    for axis, n in enumerate(kernel_size):
        others = tuple(a for a in range(values.ndim) if a != axis)
        occupied = np.flatnonzero(values.any(others))
        below, above = steps * ((n - 1) // 2), steps * (n // 2)
        if occupied[0] < below or occupied[-1] + above > values.shape[axis] - 1:
            return False
    return True


def _evaluate(problem, params, loss, field):
    return jax.tree.map(np.asarray, problem.evaluate(params, loss, field))


def _describe(dead):
    if np.all(dead):
        return "kernels under which the field dies"
    return "kernels whose loss is not finite" + (" (the field dies)" if np.any(dead) else "")


def _where(mask, yes, no):
    def pick(a, b):
        return jnp.where(jnp.asarray(mask).reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)


def _status(flags, value, verified, active, tolerance):
    left, dead, bound = flags
    close = value <= tolerance
    status = np.where(active, Status.UNFINISHED, np.where(bound, Status.BOUND, Status.STALLED))
    status = np.where(close, Status.UNCONFIRMED, status)
    status = np.where(left, Status.LEFT, status)
    status = np.where(close & (verified <= 4 * tolerance), Status.CONVERGED, status)
    status = np.where(~np.isfinite(value), Status.NOT_FINITE, status)
    return np.where(dead, Status.DEAD, status)
