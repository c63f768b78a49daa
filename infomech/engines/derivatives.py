"""Functions with a fast reverse mode that still support forward mode and batching.

`jax.custom_vjp` blocks forward mode. A function here has two forms: a fast one, opaque to JAX, and
a plain one that JAX can differentiate. Values come from the fast form and reverse mode from a fast
form of its own; all other derivatives, of any order, come from the plain form.
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
        plain: `plain(*args, *integers)`, the floating outputs for these values of the integer
            outputs, in operations that JAX can differentiate.
        reverse: `reverse(needed)`, with a bool for each arg, returns the Function of (*args,
            *integers, *cotangents of the floating outputs) that computes the cotangents of the
            needed args. If None, reverse mode is that of the plain form.
    """

    fast: Callable[..., tuple[jax.Array, ...]]
    plain: Callable[..., tuple[jax.Array, ...]]
    reverse: Callable[[tuple[bool, ...]], "Function"] | None = None


def call(function: Function, *args: jax.Array) -> tuple[jax.Array, ...]:
    """The outputs of `function.fast(*args)`, with derivatives and batching as described above."""
    # computed once here: transformed calls derive their shapes from these without a new trace
    traced = any(isinstance(a, jax.core.Tracer) for a in args)
    shapes = _shapes_and_dtypes(jax.eval_shape(function.fast, *args)) if traced else None
    return tuple(_call_p.bind(*args, function=function, shapes=shapes))


def with_derivatives_of(other: Callable[..., Any], function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, with derivatives of any order taken from `other`.

    Both compute the same result, each faster or leaner for its purpose.

    Args:
        other, function: functions of pytrees of floating arrays that close over no tracers.
    """
    leaves, tree = jax.tree.flatten(args)

    @jax.custom_jvp
    def primal(*leaves):
        return function(*jax.tree.unflatten(tree, leaves))

    def jvp(leaves, tangents):
        nonzero = [i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero)]

        def of_nonzero(*moving):
            all_leaves = list(leaves)
            for i, leaf in zip(nonzero, moving, strict=True):
                all_leaves[i] = leaf
            return other(*jax.tree.unflatten(tree, all_leaves))

        return jax.jvp(of_nonzero, [leaves[i] for i in nonzero], [tangents[i] for i in nonzero])

    primal.defjvp(jvp, symbolic_zeros=True)
    return primal(*leaves)


def with_squared_unit(
    function: Callable[..., tuple[Any, Any]], values: jax.Array, unit: jax.Array, *rest: Any
) -> tuple[Any, Any, Any]:
    """`function(values / unit, unit, *rest)`, which scales as unit², with and without that factor.

    Reverse mode never multiplies by unit², which may be 0 or infinite where derivatives are
    neither: for a derivative s of the function, that of unit² · function(values / unit) is
    unit · s.

    Args:
        function: returns a pytree of floating arrays and another of anything. unit² times the
            first must not depend on the unit, which is held fixed. Closes over no tracers.

    Returns:
        The floating arrays, the same times unit², and the second pytree.
    """
    leaves, tree = jax.tree.flatten((unit, *rest))

    def squared(unit, relative):
        return jax.tree.map(lambda x: unit * (unit * x), relative)

    @jax.custom_jvp
    def primal(values, *leaves):
        relative, aux = function(values / leaves[0], *jax.tree.unflatten(tree, leaves))
        return relative, squared(leaves[0], relative), aux

    def jvp(primals, tangents):
        unit = primals[1]
        points = [primals[0] / unit, *primals[1:]]
        # tangents times unit: those of values / unit are then the tangents of values
        slopes = [tangents[0], *(_times(unit, t) for t in tangents[1:])]
        nonzero = [i for i, t in enumerate(slopes) if i != 1 and not isinstance(t, SymbolicZero)]

        def of_nonzero(*moving):
            all_points = list(points)
            for i, leaf in zip(nonzero, moving, strict=True):
                all_points[i] = leaf
            return function(all_points[0], *jax.tree.unflatten(tree, all_points[1:]))

        (relative, aux), (slope, aux_slope) = jax.jvp(
            of_nonzero, [points[i] for i in nonzero], [slopes[i] for i in nonzero]
        )
        relative_slope = jax.tree.map(lambda s: s / unit, slope)
        absolute_slope = jax.tree.map(lambda s: unit * s, slope)
        outputs = relative, squared(unit, relative), aux
        return outputs, (relative_slope, absolute_slope, aux_slope)

    primal.defjvp(jvp, symbolic_zeros=True)
    return primal(values, *leaves)


def _times(unit, tangent):
    if isinstance(tangent, SymbolicZero):
        return tangent
    return tangent * unit.astype(tangent.dtype)


def forward_mode_in_first(function: Callable[..., Any], *args: jax.Array) -> Any:
    """`function(*args)`, whose derivatives in the first arg are always taken in forward mode.

    Reverse mode then stores no intermediate states, and its time grows with the size of the first
    arg. Derivatives in the other args are taken in reverse mode.

    Args:
        function: maps floating arrays to a pytree of arrays; closes over no tracers.
    """
    leaves, tree = jax.tree.flatten(jax.eval_shape(function, *args))
    integers = [i for i, leaf in enumerate(leaves) if not jnp.issubdtype(leaf.dtype, jnp.inexact)]
    order = sorted(range(len(leaves)), key=lambda i: (i in integers, i))

    def ordered(*operands):
        outputs = jax.tree.leaves(function(*operands))
        return tuple(outputs[i] for i in order)

    def floating(*operands):
        return ordered(*operands[: len(args)])[: len(order) - len(integers)]

    def reverse(needed):
        def cotangents_of_args(*operands):
            args, cotangents = operands[: len(needed)], operands[len(needed) + len(integers) :]
            if any(needed[1:]):
                pulled_back = jax.vjp(floating, *args)[1](cotangents)
                return tuple(c for c, n in zip(pulled_back, needed, strict=True) if n)

            def along(direction):
                tangents = jax.jvp(lambda k: floating(k, *args[1:]), args[:1], (direction,))[1]
                parts = [jnp.sum(t * c) for t, c in zip(tangents, cotangents, strict=True)]
                return sum(p.astype(args[0].dtype) for p in parts)

            basis = jnp.eye(args[0].size, dtype=args[0].dtype).reshape(-1, *args[0].shape)
            return (jax.vmap(along)(basis).reshape(args[0].shape),)

        return Function(cotangents_of_args, cotangents_of_args)

    outputs = call(Function(ordered, floating, reverse), *args)
    by_position = {i: leaf for i, leaf in zip(order, outputs, strict=True)}
    return jax.tree.unflatten(tree, [by_position[i] for i in range(len(leaves))])


_call_p, _tangent_p = Primitive("infomech_call"), Primitive("infomech_tangent")


def _call_impl(*args, function, shapes):
    del shapes
    return function.fast(*args)


def _shapes_and_dtypes(arrays):
    return tuple((a.shape, a.dtype) for a in arrays)


def _tangent_impl(*operands, function, given, shapes):
    """Tangents of the floating outputs.

    Operands are all args, the integer outputs, and the tangents of the args that are `given` one.
    """
    del shapes  # only for abstract evaluation, to avoid a trace
    count = len(given)
    rest = len(operands) - sum(given)
    args, integers, tangents = operands[:count], operands[count:rest], iter(operands[rest:])
    all_tangents = [
        next(tangents) if g else _zero_tangent(a) for a, g in zip(args, given, strict=True)
    ]
    return jax.jvp(lambda *a: function.plain(*a, *integers), args, tuple(all_tangents))[1]


def _zero_tangent(array):
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.zeros_like(array)
    return np.zeros(array.shape, jax.dtypes.float0)


def _reverse_of_plain(function, needed, *operands):
    count = len(needed)
    outputs = jax.eval_shape(function.plain, *_plain_operands(needed, operands))
    rest = len(operands) - len(outputs)
    args, integers, cotangents = operands[:count], operands[count:rest], operands[rest:]
    _, pull_back = jax.vjp(lambda *a: function.plain(*a, *integers), *args)
    results = pull_back(tuple(cotangents))
    return tuple(c for c, n in zip(results, needed, strict=True) if n)


def _plain_operands(needed, operands):
    """The leading operands that the plain form takes: args and integers."""
    args = operands[: len(needed)]
    integers = [o for o in operands[len(needed) :] if not jnp.issubdtype(o.dtype, jnp.inexact)]
    return (*args, *integers)


def _reverse_function(function, needed):
    if function.reverse is not None:
        return function.reverse(needed)
    plain = functools.partial(_reverse_of_plain, function, needed)
    return Function(plain, plain)


def _jvp(primals, tangents, *, function, shapes):
    outputs = _call_p.bind(*primals, function=function, shapes=shapes)
    given = tuple(not isinstance(t, ad.Zero) for t in tangents)
    integers = [o for o in outputs if not jnp.issubdtype(o.dtype, jnp.inexact)]
    nonzero = [t for t in tangents if not isinstance(t, ad.Zero)]
    floating = _shapes_and_dtypes(o for o in outputs if jnp.issubdtype(o.dtype, jnp.inexact))
    out_tangents = _tangent_p.bind(
        *primals, *integers, *nonzero, function=function, given=given, shapes=floating
    )
    zeros = (ad.Zero(jax.typeof(o).to_tangent_aval()) for o in integers)
    return outputs, [*out_tangents, *zeros]


def _jvp_of_tangent(primals, tangents, **params):
    instantiated = [
        jnp.zeros_like(p) if isinstance(t, ad.Zero) and jnp.issubdtype(p.dtype, jnp.inexact) else t
        for p, t in zip(primals, tangents, strict=True)
    ]
    floating = [i for i, p in enumerate(primals) if jnp.issubdtype(p.dtype, jnp.inexact)]

    def of_floating(*values):
        operands = list(primals)
        for i, value in zip(floating, values, strict=True):
            operands[i] = value
        return _tangent_impl(*operands, **params)

    return jax.jvp(of_floating, [primals[i] for i in floating], [instantiated[i] for i in floating])


def _transpose(cotangents, *operands, function, given, shapes):
    del shapes
    rest = len(operands) - sum(given)
    known = operands[:rest]
    linear = [ad.is_undefined_primal(o) for o in operands[rest:]]
    flags = iter(linear)
    needed = tuple(g and next(flags) for g in given)
    instantiated = [ad.instantiate_zeros(c) for c in cotangents]
    results = iter(
        _call_p.bind(
            *known,
            *instantiated,
            function=_reverse_function(function, needed),
            shapes=_shapes_and_dtypes(o for o, n in zip(known, needed, strict=False) if n),
        )
    )
    return [None] * rest + [next(results) if is_linear else None for is_linear in linear]


def _batched(function, axes, size):
    """The Function of a batch along axis 0 of each arg; not batched where its axis is None."""

    def fast(*args):
        return jax.vmap(function.fast, in_axes=axes, axis_size=size)(*args)

    def plain(*args):
        all_axes = (*axes, *([0] * (len(args) - len(axes))))
        return jax.vmap(function.plain, in_axes=all_axes, axis_size=size)(*args)

    def reverse(needed):
        single = _reverse_function(function, needed)
        shared = [axis is None for axis, n in zip(axes, needed, strict=True) if n]

        def summed(form, *operands):
            all_axes = (*axes, *([0] * (len(operands) - len(axes))))
            results = jax.vmap(form, in_axes=all_axes, axis_size=size)(*operands)
            return tuple(
                jnp.sum(r, axis=0) if s else r for r, s in zip(results, shared, strict=True)
            )

        fast, plain = (functools.partial(summed, form) for form in (single.fast, single.plain))
        return Function(fast, plain)

    return Function(fast, plain, reverse)


def _batch_call(operands, dims, *, function, shapes):
    (size,) = {o.shape[d] for o, d in zip(operands, dims, strict=True) if d is not None}
    leading = [
        o if d is None else jnp.moveaxis(o, d, 0) for o, d in zip(operands, dims, strict=True)
    ]
    axes = tuple(None if d is None else 0 for d in dims)
    shapes = shapes and tuple(((size, *shape), dtype) for shape, dtype in shapes)
    outputs = _call_p.bind(*leading, function=_batched(function, axes, size), shapes=shapes)
    return outputs, [0] * len(outputs)


def _batch_tangent(operands, dims, *, function, given, shapes):
    count, rest = len(given), len(operands) - sum(given)
    if all(d is None for d in dims[:rest]):
        # many tangents at one point: the primal is computed once
        single = functools.partial(_tangent_impl, function=function, given=given, shapes=shapes)
        outputs = jax.vmap(single, in_axes=tuple(dims))(*operands)
        return outputs, [0] * len(outputs)
    size = next(o.shape[d] for o, d in zip(operands, dims, strict=True) if d is not None)
    positions = iter(range(rest, len(operands)))
    pairs = {i: next(positions) for i in range(count) if given[i]}
    # integers must be batched, and an arg and its tangent either both or not at all
    batched = {*range(count, rest)}
    for pair in pairs.items():
        if any(dims[i] is not None for i in pair):
            batched |= {*pair}
    leading = []
    for i, (operand, dim) in enumerate(zip(operands, dims, strict=True)):
        if dim is not None:
            operand = jnp.moveaxis(operand, dim, 0)
        elif i in batched:
            operand = jnp.broadcast_to(operand[None], (size, *operand.shape))
        leading.append(operand)
    axes = tuple(0 if dims[i] is not None or i in batched else None for i in range(count))
    outputs = _tangent_p.bind(
        *leading,
        function=_batched(function, axes, size),
        given=given,
        shapes=tuple(((size, *shape), dtype) for shape, dtype in shapes),
    )
    return outputs, [0] * len(outputs)


def _abstract(*operands, shapes, function, **params):
    if shapes is None:
        shapes = _shapes_and_dtypes(jax.eval_shape(function.fast, *operands))
    return [jax.core.ShapedArray(*shape) for shape in shapes]


for _primitive, _implementation in ((_call_p, _call_impl), (_tangent_p, _tangent_impl)):
    _primitive.multiple_results = True
    _primitive.def_impl(_implementation)
    _primitive.def_abstract_eval(_abstract)
    mlir.register_lowering(_primitive, mlir.lower_fun(_implementation, multiple_results=True))
ad.primitive_jvps[_call_p] = _jvp
ad.primitive_jvps[_tangent_p] = _jvp_of_tangent
ad.primitive_transposes[_tangent_p] = _transpose
batching.primitive_batchers[_call_p] = _batch_call
batching.primitive_batchers[_tangent_p] = _batch_tangent
