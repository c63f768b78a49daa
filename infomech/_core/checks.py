"""Argument checks. Messages read "argument: got X, expected Y".

Concrete arrays are checked by value. While JAX traces them, only shape and dtype are checked.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def error(argument: str, got: object, expected: str) -> ValueError:
    """The ValueError "argument: got X, expected Y"; the caller raises it."""
    return ValueError(f"{argument}: got {got}, expected {expected}")


def concrete(x: Any) -> np.ndarray | None:
    """The value of `x` as a NumPy array, or None if any part of it is traced."""
    return None if _is_traced(x) else np.asarray(x)


def unmasked(argument: str, value: Any) -> None:
    """Raises ValueError if an array in `value`, an array or a pytree, has masked values.

    JAX silently drops masks on conversion, which would expose the masked numbers.
    """
    arrays = [leaf for leaf in jax.tree.leaves(value) if isinstance(leaf, np.ma.MaskedArray)]
    masked = sum(np.count_nonzero(np.ma.getmask(array)) for array in arrays)
    if masked:
        got = f"{masked} of {sum(array.size for array in arrays)} values masked"
        raise error(argument, got, "no masked values; fill or drop them")


def one_of(argument: str, value: object, known: Collection[str]) -> None:
    """Raises ValueError unless `value` is one of the `known` names."""
    if not isinstance(value, str) or value not in known:
        raise error(argument, repr(value), "one of " + ", ".join(known))


def integer(argument: str, value: object, at_least: int) -> int:
    """`value` as an int; raises ValueError unless it is an integer >= `at_least`."""
    if not _is_integer(value) or int(value) < at_least:  # type: ignore[call-overload]
        raise error(argument, repr(value), f"an integer of at least {at_least}")
    return int(value)  # type: ignore[call-overload]


def shape(argument: str, value: int | Sequence[int]) -> tuple[int, ...]:
    """`value` as a tuple of 1 to 3 positive sizes; a single int is a one-dimensional shape."""
    sizes = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value,)
    if not 1 <= len(sizes) <= 3 or not all(_is_integer(n) and n > 0 for n in sizes):
        raise error(argument, repr(value), "one to three positive integers")
    return tuple(int(n) for n in sizes)


def floating_dtype(dtype: Any) -> Any:
    """`dtype`, or JAX's default float if None; raises ValueError if it is not a floating dtype."""
    try:
        resolved = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    except TypeError as cause:
        raise error("dtype", repr(dtype), "a floating dtype") from cause
    if not jnp.issubdtype(resolved, jnp.floating):
        raise error("dtype", resolved, "a floating dtype")
    return resolved


def key(value: Any) -> jax.Array:
    """`value`; raises ValueError unless it is a single typed key."""
    typed = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not typed or value.shape:
        raise error("key", repr(value), "one key of jax.random.key(seed)")
    return value


def hashable(argument: str, value: object) -> None:
    """Raises ValueError unless `value` is hashable, as static arguments of jit must be."""
    try:
        hash(value)
    except TypeError as cause:
        raise error(argument, f"{type(value).__name__}, not hashable", "a hashable one") from cause


def floating(argument: str, value: Any, dtype: Any = None) -> jax.Array:
    """`value` as a real floating array; raises ValueError if it can't be converted.

    Without `dtype`, floats keep their dtype and integers get the default one.
    """
    kind = type(value).__name__
    if not isinstance(value, jax.Array):
        unmasked(argument, value)
        try:
            value = jnp.asarray(value) if _is_traced(value) else np.asarray(value)
        except (TypeError, ValueError) as cause:
            raise error(argument, kind, "an array of real numbers") from cause
        if value.dtype.kind in "OSUMm":
            raise error(argument, kind, "an array of real numbers")
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(value.dtype, kind) for kind in kinds):
        raise error(argument, f"dtype {value.dtype}", "real numbers")
    if dtype is None:
        is_float = jnp.issubdtype(value.dtype, jnp.floating)
        dtype = jax.dtypes.canonicalize_dtype(value.dtype if is_float else jnp.result_type(float))
    return jnp.asarray(value, dtype)


def finite(argument: str, value: Any) -> None:
    """Raises ValueError if a concrete real `value` holds NaN or infinity."""
    if _is_traced(value):
        return
    unmasked(argument, value)
    if isinstance(value, jax.Array):
        # count on the array's device: a large field is not copied to the host
        with jax.ensure_compile_time_eval():
            bad = int(jnp.sum(~jnp.isfinite(value)))
    else:
        bad = int(np.sum(~np.isfinite(value)))
    if bad:
        raise error(argument, f"{bad} of {np.size(value)} values not finite", "finite numbers only")


def scalar(argument: str, value: Any, dtype: Any) -> jax.Array:
    """`value` as a scalar in [0, 1]; raises ValueError otherwise."""
    number = floating(argument, value, dtype)
    if number.ndim:
        raise error(argument, f"shape {number.shape}", "one number; use jax.vmap for many")
    in_unit_interval(argument, value)
    return number


def in_unit_interval(argument: str, value: Any) -> None:
    """Raises ValueError if an entry of a concrete `value` is NaN or outside [0, 1]."""
    unmasked(argument, value)
    known = concrete(value)
    if known is not None and not np.all((known >= 0) & (known <= 1)):
        raise error(argument, known, "a number in [0, 1]")


def positive(argument: str, value: Any, dtype: Any, dimensions: int = 0) -> jax.Array:
    """`value` as a positive scalar, or as a vector (`dimensions`,) if `dimensions` is not 0."""
    number = floating(argument, value, dtype)
    each = f", or shape ({dimensions},)" if dimensions else ""
    if number.shape not in ((), (dimensions,)[: bool(dimensions)]):
        raise error(argument, f"shape {number.shape}", f"one number{each}")
    known = concrete(value)
    if known is not None and not np.all((known > 0) & np.isfinite(known)):
        raise error(argument, known, f"a positive number{each}")
    return jnp.broadcast_to(number, (dimensions,)) if dimensions else number


def vector(argument: str, value: Any, dimensions: int, dtype: Any) -> jax.Array:
    """`value` as a finite vector (`dimensions`,); raises ValueError otherwise."""
    array = floating(argument, value, dtype)
    if array.shape != (dimensions,):
        raise error(argument, f"shape {array.shape}", f"one number per axis, shape ({dimensions},)")
    finite(argument, value)
    return array


def kernel(argument: str, value: Any) -> jax.Array:
    """`value` as a floating array of 1 to 3 axes; raises ValueError if empty or not finite."""
    array = floating(argument, value)
    if not 1 <= array.ndim <= 3:
        raise error(argument, f"{array.ndim} axes", "a kernel of 1, 2 or 3 axes")
    if math.prod(array.shape) == 0:
        raise error(
            argument, f"shape {array.shape}, which has no taps", "at least one tap per axis"
        )
    finite(argument, value)
    return array


def _is_traced(x: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
