"""A function with a fast reverse mode of its own that can still be pushed forward and batched.

`jax.custom_vjp` blocks forward mode. Here a function comes in two forms, a fast one that JAX can't
look into and a plain one that it can. Values come from the fast form, reverse mode from its own
fast form, and every other derivative, of any order, from the plain one.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


@dataclass(frozen=True)
class Function:
    """Two forms of one function of arrays, and its reverse mode.

    Attributes:
        fast: `fast(*args)`, the outputs: floating ones first, then integers.
        plain: `plain(*args, *integers)`, the floating outputs as they are where the integer outputs
            have these values, in operations that JAX can differentiate.
        reverse: `reverse(wanted)`, for which of the args a derivative is wanted, gives the Function
            of (*args, *integers, *cotangents of the floating outputs) that returns these
            derivatives; None: reverse mode is that of the plain form.
    """

    fast: Callable[..., tuple[jax.Array, ...]]
    plain: Callable[..., tuple[jax.Array, ...]]
    reverse: Callable[[tuple[bool, ...]], "Function"] | None = None


def call(function: Function, *args: jax.Array) -> tuple[jax.Array, ...]:
    """The outputs of `function.fast(*args)`, differentiable and batchable as said above."""
    # found out once: transformed calls know theirs from this one, without a trace
    traced = any(isinstance(a, jax.core.Tracer) for a in args)
    shapes = _kinds(jax.eval_shape(function.fast, *args)) if traced else None
    return tuple(_call_p.bind(*args, function=function, shapes=shapes))


def differentiated_as(other: Callable[..., Any], function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, whose derivatives, of any order, are those of `other`.

    Both compute the same, each faster or leaner for its purpose.

    Args:
        other, function: of pytrees of floating arrays, which close over nothing traced.
    """
    leaves, tree = jax.tree.flatten(args)

    @jax.custom_jvp
    def whole(*leaves):
        return function(*jax.tree.unflatten(tree, leaves))

    def moved(leaves, tangents):
        there = [i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero)]

        def of_those(*some):
            every = list(leaves)
            for i, leaf in zip(there, some, strict=True):
                every[i] = leaf
            return other(*jax.tree.unflatten(tree, every))

        return jax.jvp(of_those, [leaves[i] for i in there], [tangents[i] for i in there])

    whole.defjvp(moved, symbolic_zeros=True)
    return whole(*leaves)


def with_squared_unit(
    function: Callable[..., tuple[Any, Any]], values: jax.Array, unit: jax.Array, *rest: Any
) -> tuple[Any, Any, Any]:
    """`function(values / unit, unit, *rest)`, which grows as its unit squared, in both units.

    Reverse mode never multiplies by unit², which may be 0 or infinite where derivatives are
    neither: for a slope s of the function, that of unit² · function(values / unit) is unit · s.

    Args:
        function: gives a pytree of floating arrays and another of anything. unit² times the
            first mustn't depend on the unit, which is held fixed. Closes over nothing traced.

    Returns:
        The floating arrays, the same times unit², and the others.
    """
    leaves, tree = jax.tree.flatten((unit, *rest))

    def squared(unit, found):
        return jax.tree.map(lambda x: unit * (unit * x), found)

    @jax.custom_jvp
    def whole(values, *leaves):
        found, more = function(values / leaves[0], *jax.tree.unflatten(tree, leaves))
        return found, squared(leaves[0], found), more

    def moved(primals, tangents):
        unit = primals[1]
        places = [primals[0] / unit, *primals[1:]]
        # values move by as much as their units have grown, all else by unit times that
        slopes = [tangents[0], *(_times(unit, t) for t in tangents[1:])]
        there = [i for i, t in enumerate(slopes) if i != 1 and not isinstance(t, SymbolicZero)]

        def of_those(*some):
            every = list(places)
            for i, leaf in zip(there, some, strict=True):
                every[i] = leaf
            return function(every[0], *jax.tree.unflatten(tree, every[1:]))

        (found, more), (slope, of_more) = jax.jvp(
            of_those, [places[i] for i in there], [slopes[i] for i in there]
        )
        in_unit = jax.tree.map(lambda s: s / unit, slope)
        absolute = jax.tree.map(lambda s: unit * s, slope)
        return (found, squared(unit, found), more), (in_unit, absolute, of_more)

    whole.defjvp(moved, symbolic_zeros=True)
    return whole(values, *leaves)


def _times(unit, tangent):
    if isinstance(tangent, SymbolicZero):
        return tangent
    return tangent * unit.astype(tangent.dtype)


def forward_in_first(function: Callable[..., Any], *args: jax.Array) -> Any:
    """`function(*args)`, whose derivatives for the first arg are taken forward, in either mode.

    So reverse mode remembers nothing on the way and its time grows with the size of the first arg.
    Derivatives for the other args are taken in reverse.

    Args:
        function: of floating arrays, gives a pytree of arrays; closes over nothing traced.
    """
    leaves, tree = jax.tree.flatten(jax.eval_shape(function, *args))
    integers = [i for i, leaf in enumerate(leaves) if not jnp.issubdtype(leaf.dtype, jnp.inexact)]
    order = sorted(range(len(leaves)), key=lambda i: (i in integers, i))

    def both(*operands):
        found = jax.tree.leaves(function(*operands))
        return tuple(found[i] for i in order)

    def floating(*operands):
        return both(*operands[: len(args)])[: len(order) - len(integers)]

    def reverse(wanted):
        def forward(*operands):
            args, cotangents = operands[: len(wanted)], operands[len(wanted) + len(integers) :]
            if any(wanted[1:]):
                found = jax.vjp(floating, *args)[1](cotangents)
                return tuple(c for c, w in zip(found, wanted, strict=True) if w)

            def along(direction):
                moved = jax.jvp(lambda k: floating(k, *args[1:]), args[:1], (direction,))[1]
                parts = [jnp.sum(m * c) for m, c in zip(moved, cotangents, strict=True)]
                return sum(p.astype(args[0].dtype) for p in parts)

            basis = jnp.eye(args[0].size, dtype=args[0].dtype).reshape(-1, *args[0].shape)
            return (jax.vmap(along)(basis).reshape(args[0].shape),)

        return Function(forward, forward)

    found = call(Function(both, floating, reverse), *args)
    back = {i: leaf for i, leaf in zip(order, found, strict=True)}
    return jax.tree.unflatten(tree, [back[i] for i in range(len(leaves))])


_call_p, _tangent_p = Primitive("infomech_call"), Primitive("infomech_tangent")


def _call(*args, function, shapes):
    del shapes
    return function.fast(*args)


def _kinds(arrays):
    return tuple((a.shape, a.dtype) for a in arrays)


def _tangent(*operands, function, given, shapes):
    """Tangents of the floating outputs, for tangents of those args that are `given` one."""
    del shapes  # known beforehand: finding them out again would take a trace
    count = len(given)
    rest = len(operands) - sum(given)
    args, integers, tangents = operands[:count], operands[count:rest], iter(operands[rest:])
    full = [next(tangents) if g else _no_tangent(a) for a, g in zip(args, given, strict=True)]
    return jax.jvp(lambda *a: function.plain(*a, *integers), args, tuple(full))[1]


def _no_tangent(array):
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.zeros_like(array)
    return np.zeros(array.shape, jax.dtypes.float0)


def _plain_reverse(function, wanted, *operands):
    count = len(wanted)
    rest = len(operands) - len(jax.eval_shape(function.plain, *_known(function, wanted, operands)))
    args, integers, cotangents = operands[:count], operands[count:rest], operands[rest:]
    _, pull = jax.vjp(lambda *a: function.plain(*a, *integers), *args)
    found = pull(tuple(cotangents))
    return tuple(c for c, w in zip(found, wanted, strict=True) if w)


def _known(function, wanted, operands):
    """The leading operands that the plain form takes: args and integers."""
    args = operands[: len(wanted)]
    integers = [o for o in operands[len(wanted) :] if not jnp.issubdtype(o.dtype, jnp.inexact)]
    return (*args, *integers)


def _reversed(function, wanted):
    if function.reverse is not None:
        return function.reverse(wanted)
    plain = functools.partial(_plain_reverse, function, wanted)
    return Function(plain, plain)


def _jvp(primals, tangents, *, function, shapes):
    outputs = _call_p.bind(*primals, function=function, shapes=shapes)
    given = tuple(not isinstance(t, ad.Zero) for t in tangents)
    integers = [o for o in outputs if not jnp.issubdtype(o.dtype, jnp.inexact)]
    there = [t for t in tangents if not isinstance(t, ad.Zero)]
    floating = _kinds(o for o in outputs if jnp.issubdtype(o.dtype, jnp.inexact))
    moved = _tangent_p.bind(
        *primals, *integers, *there, function=function, given=given, shapes=floating
    )
    return outputs, [*moved, *(ad.Zero(jax.typeof(o).to_tangent_aval()) for o in integers)]


def _jvp_of_tangent(primals, tangents, **params):
    filled = [
        jnp.zeros_like(p) if isinstance(t, ad.Zero) and jnp.issubdtype(p.dtype, jnp.inexact) else t
        for p, t in zip(primals, tangents, strict=True)
    ]
    floating = [i for i, p in enumerate(primals) if jnp.issubdtype(p.dtype, jnp.inexact)]

    def of_floating(*values):
        operands = list(primals)
        for i, value in zip(floating, values, strict=True):
            operands[i] = value
        return _tangent(*operands, **params)

    return jax.jvp(of_floating, [primals[i] for i in floating], [filled[i] for i in floating])


def _transpose(cotangents, *operands, function, given, shapes):
    del shapes
    rest = len(operands) - sum(given)
    known = operands[:rest]
    linear = [ad.is_undefined_primal(o) for o in operands[rest:]]
    flags = iter(linear)
    wanted = tuple(g and next(flags) for g in given)
    filled = [ad.instantiate_zeros(c) for c in cotangents]
    of_wanted = _kinds(o for o, w in zip(known, wanted, strict=False) if w)
    found = iter(
        _call_p.bind(*known, *filled, function=_reversed(function, wanted), shapes=of_wanted)
    )
    return [None] * rest + [next(found) if is_linear else None for is_linear in linear]


def _batched(function, axes, size):
    """The Function of a batch: along axis 0 of each arg, or of none where its axis is None."""

    def fast(*args):
        return jax.vmap(function.fast, in_axes=axes, axis_size=size)(*args)

    def plain(*args):
        every = (*axes, *([0] * (len(args) - len(axes))))
        return jax.vmap(function.plain, in_axes=every, axis_size=size)(*args)

    def reverse(wanted):
        one = _reversed(function, wanted)
        shared = [axis is None for axis, w in zip(axes, wanted, strict=True) if w]

        def added_up(form, *operands):
            every = (*axes, *([0] * (len(operands) - len(axes))))
            found = jax.vmap(form, in_axes=every, axis_size=size)(*operands)
            return tuple(jnp.sum(f, axis=0) if s else f for f, s in zip(found, shared, strict=True))

        return Function(
            functools.partial(added_up, one.fast), functools.partial(added_up, one.plain)
        )

    return Function(fast, plain, reverse)


def _batch_call(operands, dims, *, function, shapes):
    (size,) = {o.shape[d] for o, d in zip(operands, dims, strict=True) if d is not None}
    moved = [o if d is None else jnp.moveaxis(o, d, 0) for o, d in zip(operands, dims, strict=True)]
    axes = tuple(None if d is None else 0 for d in dims)
    shapes = shapes and tuple(((size, *shape), dtype) for shape, dtype in shapes)
    outputs = _call_p.bind(*moved, function=_batched(function, axes, size), shapes=shapes)
    return outputs, [0] * len(outputs)


def _batch_tangent(operands, dims, *, function, given, shapes):
    count, rest = len(given), len(operands) - sum(given)
    if all(d is None for d in dims[:rest]):
        # many tangents at one place, which is looked at once
        one = functools.partial(_tangent, function=function, given=given, shapes=shapes)
        outputs = jax.vmap(one, in_axes=tuple(dims))(*operands)
        return outputs, [0] * len(outputs)
    size = next(o.shape[d] for o, d in zip(operands, dims, strict=True) if d is not None)
    own = iter(range(rest, len(operands)))
    pairs = {i: next(own) for i in range(count) if given[i]}
    # integers, and args with their tangents, are batched together or not at all
    together = {*range(count, rest)}
    for pair in pairs.items():
        if any(dims[i] is not None for i in pair):
            together |= {*pair}
    moved = []
    for i, (operand, dim) in enumerate(zip(operands, dims, strict=True)):
        if dim is not None:
            operand = jnp.moveaxis(operand, dim, 0)
        elif i in together:
            operand = jnp.broadcast_to(operand[None], (size, *operand.shape))
        moved.append(operand)
    axes = tuple(0 if dims[i] is not None or i in together else None for i in range(count))
    outputs = _tangent_p.bind(
        *moved,
        function=_batched(function, axes, size),
        given=given,
        shapes=tuple(((size, *shape), dtype) for shape, dtype in shapes),
    )
    return outputs, [0] * len(outputs)


def _abstract(*operands, shapes, function, **params):
    if shapes is None:
        shapes = _kinds(jax.eval_shape(function.fast, *operands))
    return [jax.core.ShapedArray(*shape) for shape in shapes]


for _primitive, _evaluate in ((_call_p, _call), (_tangent_p, _tangent)):
    _primitive.multiple_results = True
    _primitive.def_impl(_evaluate)
    _primitive.def_abstract_eval(_abstract)
    mlir.register_lowering(_primitive, mlir.lower_fun(_evaluate, multiple_results=True))
ad.primitive_jvps[_call_p] = _jvp
ad.primitive_jvps[_tangent_p] = _jvp_of_tangent
ad.primitive_transposes[_tangent_p] = _transpose
batching.primitive_batchers[_call_p] = _batch_call
batching.primitive_batchers[_tangent_p] = _batch_tangent
