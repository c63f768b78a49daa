"""Checks of arguments, whose messages all say which one, what came and what was expected."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def fail(argument: str, got: object, expected: str) -> ValueError:
    """The error for `argument`: names it, shows what came and says what was expected."""
    return ValueError(f"{argument}: got {got}, expected {expected}")


def concrete(x: Any) -> np.ndarray | None:
    """The value of `x` as a NumPy array, or None while it is being traced."""
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def one_of(argument: str, value: object, known: Collection[str]) -> None:
    """Raises ValueError unless `value` is one of the `known` names."""
    if value not in known:
        raise fail(argument, repr(value), "one of " + ", ".join(known))


def integer(argument: str, value: object, at_least: int) -> int:
    """`value` as an int; raises ValueError unless it is a whole number >= `at_least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or int(value) < at_least:  # type: ignore[call-overload]
        raise fail(argument, repr(value), f"a whole number of at least {at_least}")
    return int(value)  # type: ignore[call-overload]


def box(argument: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """`shape` as a tuple of 1 to 3 positive sizes; a single int is a one-dimensional shape."""
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not 1 <= len(sizes) <= 3 or any(
        isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in sizes
    ):
        raise fail(argument, sizes, "one to three positive whole numbers")
    return tuple(int(n) for n in sizes)


def hashable(argument: str, value: object) -> None:
    """Raises ValueError unless `value` can be hashed, as what is compiled for must be."""
    try:
        hash(value)
    except TypeError as error:
        raise fail(argument, f"{type(value).__name__}, not hashable", "a hashable one") from error


def in_range(argument: str, value: Any, low: float, high: float) -> None:
    """Raises ValueError if a concrete `value` is NaN or outside [low, high]."""
    known = concrete(value)
    if known is not None and not np.all((known >= low) & (known <= high)):
        raise fail(argument, known, f"a number in [{low:g}, {high:g}]")


def positive(argument: str, value: Any) -> None:
    """Raises ValueError unless a concrete `value` is positive and finite throughout."""
    known = concrete(value)
    if known is not None and not np.all((known > 0) & np.isfinite(known)):
        raise fail(argument, known, "a positive number")


def finite(argument: str, value: Any) -> None:
    """Raises ValueError if a concrete `value` holds NaN or infinity."""
    if isinstance(value, jax.core.Tracer):
        return
    if isinstance(value, jax.Array):
        # counted where the array is, so that a large field stays on its device
        with jax.ensure_compile_time_eval():
            bad = int(jnp.sum(~jnp.isfinite(value)))
    else:
        bad = int(np.sum(~np.isfinite(value)))
    if bad:
        raise fail(argument, f"{bad} of {np.size(value)} values not finite", "finite numbers only")


def floating(argument: str, value: Any) -> jax.Array:
    """`value` as a real floating array: floats keep their dtype, integers get the default."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise fail(argument, type(value).__name__, "an array of real numbers") from error
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise fail(argument, f"dtype {array.dtype}", "real numbers")
    return array.astype(jnp.result_type(float))


def taps(argument: str, kernel: Any) -> jax.Array:
    """`kernel` as a floating array of 1 to 3 axes, or ValueError if it is empty or not finite."""
    array = floating(argument, kernel)
    if not 1 <= array.ndim <= 3:
        raise fail(argument, f"{array.ndim} axes", "a kernel of 1, 2 or 3 axes")
    if math.prod(array.shape) == 0:
        raise fail(
            argument, f"shape {array.shape}, which has no taps", "at least one tap on every axis"
        )
    finite(argument, kernel)
    return array


def vector(argument: str, value: Any, dimensions: int, dtype: Any) -> jax.Array:
    """`value` as a vector of `dimensions` numbers; raises ValueError on another shape or on NaN."""
    array = jnp.asarray(value, dtype)
    if array.shape != (dimensions,):
        raise fail(argument, f"shape {array.shape}", f"one number per axis, shape ({dimensions},)")
    finite(argument, value)
    return array
