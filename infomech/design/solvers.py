"""Ways to make a loss small: optax optimisers, and least squares by optimistix."""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import jax
import jax.numpy as jnp

from infomech import checks, extras, guards

if TYPE_CHECKING:
    import optax

#: the solvers that have a name
SOLVERS = ("auto", "least squares", "dogleg", "lbfgs", "adam")
#: steps in a round: few where a step may take many evaluations
FEW_STEPS, MANY_STEPS = 10, 50


def _at_ease(function):
    """The same function, with the promotions that other people's code relies on."""

    @functools.wraps(function)
    def eased(*arguments):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*arguments)

    return eased


@dataclass(frozen=True)
class Solver:
    """One solver for one start.

    Attributes:
        name: of the solver.
        init: its state from the parameters.
        advance: `advance(residuals, params, state)`, parameters and state a round later.
    """

    name: str
    init: Callable[[jax.Array], Any]
    advance: Callable[[Callable, jax.Array, Any], tuple[jax.Array, Any]]


def choose(solver: Union[str, "optax.GradientTransformation"]) -> Solver:
    """The solver of a name, or one made of an optax optimiser.

    Raises:
        ValueError: an unknown name.
        ImportError: optimistix is not installed, which least squares need.
    """
    import optax  # here, or everyone who imports infomech would wait for it

    if isinstance(solver, optax.GradientTransformation):
        return _first_order("optax", solver)
    checks.one_of("solver", solver, SOLVERS)
    second = importlib.util.find_spec("optimistix") is not None
    if solver in ("least squares", "dogleg") and not second:
        raise extras.missing("optimistix", "design", f"solver {solver!r}")
    if solver == "auto":
        solver = "least squares" if second else "lbfgs"
    return _named(solver)


@functools.cache
def _named(solver: str) -> Solver:
    import optax

    if solver == "adam":
        return _first_order(solver, optax.adam(optax.cosine_decay_schedule(0.02, 1000, 0.02)))
    if solver == "lbfgs":
        return _first_order(solver, optax.lbfgs(), FEW_STEPS)
    import optimistix

    kinds = {"least squares": optimistix.LevenbergMarquardt, "dogleg": optimistix.Dogleg}
    return _second_order(solver, kinds[solver](rtol=1e-7, atol=1e-9))


@functools.cache
def _first_order(
    name: str, optimiser: "optax.GradientTransformation", steps: int = MANY_STEPS
) -> Solver:
    import optax

    optimiser = optax.with_extra_args_support(optimiser)

    def advance(residuals, params, state):
        def value(params):
            return jnp.sum(residuals(params) ** 2)

        def step(carry, _):
            params, state = carry
            now, slope = jax.value_and_grad(value)(params)
            slope = jnp.where(jnp.isfinite(slope) & _felt(now, slope, params), slope, 0)
            updates, state = optimiser.update(
                slope, state, params, value=now, grad=slope, value_fn=value
            )
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), None, length=steps)[0]

    def init(params):
        # of the types that the optimiser returns later, or everything would be compiled twice
        return jax.tree.map(
            lambda a: jax.lax.convert_element_type(a, a.dtype), optimiser.init(params)
        )

    return Solver(name, _at_ease(init), _at_ease(advance))


def _felt(value, slope, params):
    """Whether a step changes the loss at all; without, optax's line search may go on for ever."""
    least = 100 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    return guards.norm(slope) * guards.norm(params) > least


def _second_order(name: str, solver: Any) -> Solver:
    import optimistix

    def advance(residuals, params, state):
        size = jax.eval_shape(residuals, params).size
        found: Any = optimistix.least_squares(
            lambda params, _: residuals(params), solver, params,
            options={"jac": "bwd" if size < params.size else "fwd"},
            max_steps=FEW_STEPS, throw=False,
        )  # fmt: skip
        better = jnp.all(jnp.isfinite(found.value))
        return jnp.where(better, found.value, params), state

    return Solver(name, lambda params: jnp.zeros(()), _at_ease(advance))
