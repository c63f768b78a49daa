"""Ways to make a loss small: optax optimizers, and what optimistix has for it."""

import functools
import importlib.util
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, extras, safe_math

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
    """One solver for one start; two that are made of the same are equal.

    Attributes:
        name: of the solver.
        parts: what it is made of, hashable.
        init: `init(residuals, params)`, its state before the first step.
        advance: `advance(residuals, params, state)`, parameters and state a round later.
    """

    name: str
    parts: Any
    init: Callable[[Callable, jax.Array], Any] = field(compare=False)
    advance: Callable[[Callable, jax.Array, Any], tuple[jax.Array, Any]] = field(compare=False)


def choose(solver: Any) -> Solver:
    """The solver of a name, or one made of an optax optimizer or of a solver of optimistix.

    Raises:
        ValueError: an unknown name, or something else.
        ImportError: optimistix is not installed, which least squares need.
    """
    import optax  # here, or everyone who imports infomech would wait for it

    if isinstance(solver, optax.GradientTransformation):
        return _first_order("optax", solver)
    second = importlib.util.find_spec("optimistix") is not None
    if not isinstance(solver, str):
        if second and _of_optimistix(solver):
            return _iterative(type(solver).__name__, solver)
        expected = f"one of {', '.join(SOLVERS)}, an optax.GradientTransformation, or a least-"
        expected += "squares solver or minimizer of optimistix"
        raise checks.error("solver", type(solver).__name__, expected)
    checks.one_of("solver", solver, SOLVERS)
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
    return _iterative(solver, kinds[solver](rtol=1e-7, atol=1e-9))


def _first_order(
    name: str, optimizer: "optax.GradientTransformation", steps: int = MANY_STEPS
) -> Solver:
    import optax

    parts = steps, _contents(optimizer)
    optimizer = optax.with_extra_args_support(optimizer)

    def advance(residuals, params, state):
        def value(params):
            return jnp.sum(residuals(params) ** 2)

        def step(carry, _):
            params, state = carry
            now, slope = jax.value_and_grad(value)(params)
            slope = jnp.where(jnp.isfinite(slope) & _felt(now, slope, params), slope, 0)
            updates, state = optimizer.update(
                slope, state, params, value=now, grad=slope, value_fn=value
            )
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), None, length=steps)[0]

    def init(residuals, params):
        # of the types that the optimizer returns later, or everything would be compiled twice
        return jax.tree.map(_strong, optimizer.init(params))

    return Solver(name, parts, _at_ease(init), _at_ease(advance))


def _felt(value, slope, params):
    """Whether a step changes the loss at all; without, optax's line search may go on for ever."""
    least = 100 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    return safe_math.norm(slope) * safe_math.norm(params) > least


def _of_optimistix(solver: Any) -> bool:
    import optimistix

    return isinstance(solver, optimistix.AbstractLeastSquaresSolver | optimistix.AbstractMinimiser)


def _iterative(name: str, solver: Any) -> Solver:
    """The library's own loop, FEW_STEPS at a time: a start that has ended is left as it is.

    The state between two rounds is (y, whether the start has ended, arrays of the solver's state).
    """
    import optimistix

    squares = isinstance(solver, optimistix.AbstractLeastSquaresSolver)

    def problem(residuals, params):
        """What all of the solver's methods are told: function, args and options."""
        size = jax.eval_shape(residuals, params).size
        options = {"jac": "bwd" if size < params.size else "fwd"} if squares else {}

        def function(params, _):
            found = residuals(params)
            return found if squares else jnp.sum(found**2), None

        return function, None, options

    def start(told, params):
        function, _, options = told
        output, _ = jax.eval_shape(function, params, None)
        try:
            return solver.init(function, params, None, options, output, None, frozenset())
        except KeyError as error:
            raise checks.error(
                "solver", f"{name}, which needs the option {error}", "one that needs no options"
            ) from error

    def init(residuals, params):
        arrays, _ = _parted(start(problem(residuals, params), params))
        return params, jnp.zeros((), bool), [_strong(a) for a in arrays]

    def advance(residuals, params, state):
        function, args, options = told = problem(residuals, params)
        # only what isn't an array is used of it
        _, whole = _parted(start(told, params))

        def on(carry):
            _, (_, ended, _), steps = carry
            return ~ended & (steps < FEW_STEPS)

        def step(carry):
            _, (y, _, arrays), steps = carry
            y, inner, _ = solver.step(function, y, args, options, whole(arrays), frozenset())
            ended, result = solver.terminate(function, y, args, options, inner, frozenset())
            found, _, _ = solver.postprocess(
                function, y, None, args, options, inner, frozenset(), result
            )
            ended = ended | ~(result == optimistix.RESULTS.successful) | ~_finite(y)
            return found, (y, ended, _parted(inner)[0]), steps + 1

        found, state, _ = jax.lax.while_loop(on, step, (params, state, 0))
        return jnp.where(_finite(found), found, params), state

    return Solver(name, _contents(solver), _at_ease(init), _at_ease(advance))


def _finite(params):
    return jnp.all(jnp.isfinite(params))


def _strong(array):
    return jax.lax.convert_element_type(array, array.dtype)


def _parted(state: Any) -> tuple[list[jax.Array], Callable[[list[jax.Array]], Any]]:
    """The arrays of a solver's state, and what puts such arrays back among all else that it has."""
    leaves, tree = jax.tree.flatten(state)
    moving = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]

    def whole(arrays):
        rest = iter(arrays)
        mixed = [next(rest) if m else x for x, m in zip(leaves, moving, strict=True)]
        return jax.tree.unflatten(tree, mixed)

    return [x for x, m in zip(leaves, moving, strict=True) if m], whole


def _contents(part: Any, above: tuple[int, ...] = ()) -> Any:
    """A hashable stand-in for a solver, equal for two that are made of the same.

    Optax's optimizers are closures, equal to nothing but themselves, so of a function of optax its
    code counts and what it closes over. Any other function is itself.
    """
    if id(part) in above:
        return "itself", above.index(id(part))
    above = (*above, id(part))
    if isinstance(part, types.FunctionType) and part.__module__.partition(".")[0] == "optax":
        cells = [_inside(cell) for cell in part.__closure__ or ()]
        closed = (part.__defaults__, part.__kwdefaults__, cells)
        return part.__code__, tuple(_contents(x, above) for x in closed)
    if isinstance(part, functools.partial):
        inside = (part.func, part.args, part.keywords)
        return "partial", tuple(_contents(x, above) for x in inside)
    if isinstance(part, jax.Array | np.ndarray):
        return part.shape, str(part.dtype), np.asarray(part).tobytes()
    leaves, tree = jax.tree.flatten(part)
    if len(leaves) != 1 or leaves[0] is not part:
        return tree, tuple(_contents(leaf, above) for leaf in leaves)
    checks.hashable("solver", part)
    return type(part), part


def _inside(cell):
    try:
        return cell.cell_contents
    except ValueError:  # a name that the function never got to
        return None
