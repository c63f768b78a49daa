"""Solvers for design problems: optimizers of optax, solvers and minimizers of optimistix."""

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

#: named solvers
SOLVERS = ("auto", "least squares", "dogleg", "lbfgs", "adam")
#: iterations between two convergence checks; fewer if an iteration may take many evaluations
CHUNK, FIRST_ORDER_CHUNK = 10, 50


def _with_default_promotion(function):
    """Enables JAX's default promotion rules, which third-party code relies on."""

    @functools.wraps(function)
    def wrapped(*arguments):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*arguments)

    return wrapped


@dataclass(frozen=True)
class Solver:
    """A solver for a single start; solvers with equal configuration are equal.

    Attributes:
        name: name of the solver.
        parts: hashable configuration.
        chunk: iterations between two convergence checks.
        init: `init(residuals, params)`, the state before the first iteration.
        advance: `advance(residuals, params, state, iterations)`, parameters and state after more
            iterations.
    """

    name: str
    parts: Any
    chunk: int
    init: Callable[[Callable, jax.Array], Any] = field(compare=False)
    advance: Callable[[Callable, jax.Array, Any, Any], tuple[jax.Array, Any]] = field(compare=False)


def choose(solver: Any) -> Solver:
    """The solver for a name, an optax optimizer, or a solver of optimistix.

    Raises:
        ValueError: an unknown name or an unsupported type.
        ImportError: "least squares" or "dogleg" without optimistix.
    """
    import optax  # slow to import

    if isinstance(solver, optax.GradientTransformation):
        return _first_order("optax", solver)
    has_optimistix = importlib.util.find_spec("optimistix") is not None
    if not isinstance(solver, str):
        if has_optimistix and _of_optimistix(solver):
            return _iterative(type(solver).__name__, solver)
        expected = f"one of {', '.join(SOLVERS)}, an optax.GradientTransformation, or a least-"
        expected += "squares solver or minimizer of optimistix"
        raise checks.error("solver", type(solver).__name__, expected)
    checks.one_of("solver", solver, SOLVERS)
    if solver in ("least squares", "dogleg") and not has_optimistix:
        raise extras.missing("optimistix", "design", f"solver {solver!r}")
    if solver == "auto":
        solver = "least squares" if has_optimistix else "lbfgs"
    return _named(solver)


@functools.cache
def _named(solver: str) -> Solver:
    import optax

    if solver == "adam":
        return _first_order(solver, optax.adam(optax.cosine_decay_schedule(0.02, 1000, 0.02)))
    if solver == "lbfgs":
        return _first_order(solver, optax.lbfgs(), CHUNK)
    import optimistix

    kinds = {"least squares": optimistix.LevenbergMarquardt, "dogleg": optimistix.Dogleg}
    return _iterative(solver, kinds[solver](rtol=1e-7, atol=1e-9))


def _first_order(
    name: str, optimizer: "optax.GradientTransformation", chunk: int = FIRST_ORDER_CHUNK
) -> Solver:
    import optax

    parts = chunk, _contents(optimizer)
    optimizer = optax.with_extra_args_support(optimizer)

    def advance(residuals, params, state, iterations):
        def loss(params):
            return jnp.sum(residuals(params) ** 2)

        def step(_, carry):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            useful = jnp.isfinite(gradient) & _makes_progress(value, gradient, params)
            gradient = jnp.where(useful, gradient, 0)
            updates, state = optimizer.update(
                gradient, state, params, value=value, grad=gradient, value_fn=loss
            )
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, iterations, step, (params, state))

    def init(residuals, params):
        # the strong types that `update` returns; weak types would compile everything twice
        return jax.tree.map(_strong, optimizer.init(params))

    return Solver(
        name, parts, chunk, _with_default_promotion(init), _with_default_promotion(advance)
    )


def _makes_progress(value, gradient, params):
    """Whether a step can change the loss; otherwise optax's line search may not terminate."""
    threshold = 100 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    return safe_math.norm(gradient) * safe_math.norm(params) > threshold


def _of_optimistix(solver: Any) -> bool:
    import optimistix

    return isinstance(solver, optimistix.AbstractLeastSquaresSolver | optimistix.AbstractMinimiser)


def _iterative(name: str, solver: Any) -> Solver:
    """A solver of optimistix, iterated in chunks; a start that has terminated stays unchanged.

    The state between two chunks is (y, whether the start has terminated, arrays of the solver's
    state).
    """
    import optimistix

    squares = isinstance(solver, optimistix.AbstractLeastSquaresSolver)

    def problem(residuals, params):
        """Arguments of all methods of the solver: function, args and options."""
        size = jax.eval_shape(residuals, params).size
        options = {"jac": "bwd" if size < params.size else "fwd"} if squares else {}

        def function(params, _):
            r = residuals(params)
            return r if squares else jnp.sum(r**2), None

        return function, None, options

    def start(arguments, params):
        function, _, options = arguments
        output, _ = jax.eval_shape(function, params, None)
        try:
            return solver.init(function, params, None, options, output, None, frozenset())
        except KeyError as error:
            raise checks.error(
                "solver",
                f"{name}, which needs the option {error}",
                "a solver without required options",
            ) from error

    def init(residuals, params):
        arrays, _ = _partition(start(problem(residuals, params), params))
        return params, jnp.zeros((), bool), [_strong(a) for a in arrays]

    def advance(residuals, params, state, iterations):
        function, args, options = arguments = problem(residuals, params)
        # only the static parts of this state are used
        _, combine = _partition(start(arguments, params))

        def unfinished(carry):
            _, (_, terminated, _), count = carry
            return ~terminated & (count < iterations)

        def step(carry):
            _, (y, _, arrays), count = carry
            y, inner, _ = solver.step(function, y, args, options, combine(arrays), frozenset())
            terminated, status = solver.terminate(function, y, args, options, inner, frozenset())
            best, _, _ = solver.postprocess(
                function, y, None, args, options, inner, frozenset(), status
            )
            terminated = terminated | ~(status == optimistix.RESULTS.successful) | ~_finite(y)
            return best, (y, terminated, _partition(inner)[0]), count + 1

        best, state, _ = jax.lax.while_loop(unfinished, step, (params, state, 0))
        return jnp.where(_finite(best), best, params), state

    return Solver(
        name,
        _contents(solver),
        CHUNK,
        _with_default_promotion(init),
        _with_default_promotion(advance),
    )


def _finite(params):
    return jnp.all(jnp.isfinite(params))


def _strong(array):
    return jax.lax.convert_element_type(array, array.dtype)


def _partition(state: Any) -> tuple[list[jax.Array], Callable[[list[jax.Array]], Any]]:
    """Arrays of a solver's state, and a function that combines arrays with its static parts."""
    leaves, tree = jax.tree.flatten(state)
    is_array = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]

    def combine(arrays):
        remaining = iter(arrays)
        merged = [next(remaining) if a else x for x, a in zip(leaves, is_array, strict=True)]
        return jax.tree.unflatten(tree, merged)

    return [x for x, a in zip(leaves, is_array, strict=True) if a], combine


def _contents(part: Any, above: tuple[int, ...] = ()) -> Any:
    """Hashable representation of a solver, equal for equal configurations.

    Optax's optimizers are closures and never compare equal, so a function of optax is represented
    by its code and the values it closes over. Any other function represents itself.
    """
    if id(part) in above:
        return "itself", above.index(id(part))
    above = (*above, id(part))
    if isinstance(part, types.FunctionType) and part.__module__.partition(".")[0] == "optax":
        cells = [_cell_value(cell) for cell in part.__closure__ or ()]
        values = (part.__defaults__, part.__kwdefaults__, cells)
        return part.__code__, tuple(_contents(x, above) for x in values)
    if isinstance(part, functools.partial):
        arguments = (part.func, part.args, part.keywords)
        return "partial", tuple(_contents(x, above) for x in arguments)
    if isinstance(part, jax.Array | np.ndarray):
        return part.shape, str(part.dtype), np.asarray(part).tobytes()
    leaves, tree = jax.tree.flatten(part)
    if len(leaves) != 1 or leaves[0] is not part:
        return tree, tuple(_contents(leaf, above) for leaf in leaves)
    checks.hashable("solver", part)
    return type(part), part


def _cell_value(cell):
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell: the name was never assigned
        return None
