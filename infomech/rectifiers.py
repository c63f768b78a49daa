"""Pointwise rectifiers, with flags: homogeneous, and identity on non-negative values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks


@dataclass(frozen=True)
class Rectifier:
    """A pointwise function φ and the two properties that the mechanics relies on.

    Attributes:
        name: shown in tables and messages.
        function: φ, array to array of the same shape and dtype.
        homogeneous: φ(a u) = a φ(u) for every a > 0; norms can then be factored out.
        keeps_nonnegative: φ(u) = u for every u ≥ 0; φ is then inactive on non-negative fields.
    """

    name: str
    function: Callable[[Any], Any]
    homogeneous: bool
    keeps_nonnegative: bool

    def __call__(self, values: Any) -> Any:
        """φ(values)."""
        return self.function(values)


#: what arguments called `rectifier` accept
RectifierLike = str | Rectifier | Callable[[jax.Array], jax.Array]


def _identity(values: Any) -> Any:
    return values


_KNOWN = {
    rectifier.name: rectifier
    for rectifier in (
        Rectifier("relu", jax.nn.relu, homogeneous=True, keeps_nonnegative=True),
        Rectifier("modulus", jnp.abs, homogeneous=True, keeps_nonnegative=True),
        Rectifier("identity", _identity, homogeneous=True, keeps_nonnegative=True),
        Rectifier("leaky_relu", jax.nn.leaky_relu, homogeneous=True, keeps_nonnegative=True),
        Rectifier("softplus", jax.nn.softplus, homogeneous=False, keeps_nonnegative=False),
        Rectifier("gelu", jax.nn.gelu, homogeneous=False, keeps_nonnegative=False),
        Rectifier("tanh", jnp.tanh, homogeneous=False, keeps_nonnegative=False),
    )
}

relu, modulus, identity, leaky_relu, softplus, gelu, tanh = _KNOWN.values()


def names() -> tuple[str, ...]:
    """Names that `get` accepts."""
    return tuple(_KNOWN)


def get(rectifier: RectifierLike) -> Rectifier:
    """Rectifier with a given name, or made from a pointwise callable.

    Known names: relu max(u, 0), with slope 0 at 0; modulus |u|; identity u; leaky_relu, slope 0.01
    below 0; softplus log(1 + eᵘ); gelu, in its tanh form; tanh. A callable is evaluated at numbers
    from 2⁻²⁰ to 2²⁰ of both signs to determine its flags.

    Args:
        rectifier: a name, a `Rectifier`, or a function from arrays to arrays of the same shape.

    Returns:
        `Rectifier`.

    Raises:
        ValueError: an unknown name, or a callable that can't be evaluated because it is not
            pointwise or closes over traced values (pass a `Rectifier` with its flags instead).
    """
    if isinstance(rectifier, Rectifier):
        checks.hashable("rectifier", rectifier)
        return rectifier
    if isinstance(rectifier, str):
        checks.one_of("rectifier", rectifier, _KNOWN)
        return _KNOWN[rectifier]
    if not callable(rectifier):
        raise checks.error("rectifier", repr(rectifier), "a name, a Rectifier or a callable")
    checks.hashable("rectifier", rectifier)
    return _probe(rectifier)


def _probe(function: Callable[[Any], Any]) -> Rectifier:
    """Determine the flags of a callable from its values."""
    sizes = 2.0 ** np.arange(-20, 21, dtype=np.float32)
    points = np.concatenate([-sizes, np.zeros(1, np.float32), sizes])
    name = getattr(function, "__name__", type(function).__name__)

    def run(x: np.ndarray) -> np.ndarray:
        try:
            with jax.ensure_compile_time_eval():
                return np.asarray(function(jnp.asarray(x)))
        except Exception as error:
            raise checks.error(
                "rectifier",
                f"{name}, which failed on a vector ({type(error).__name__})",
                "a pointwise function of concrete arrays; if it closes over traced values, "
                "wrap it as Rectifier(name, function, homogeneous=…, keeps_nonnegative=…)",
            ) from error

    values = run(points)
    if values.shape != points.shape:
        raise checks.error("rectifier", f"{name}: {points.shape} to {values.shape}", "equal shapes")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise checks.error("rectifier", f"{name}: float32 to dtype {values.dtype}", "real floats")
    at_one, at_minus_one = run(points[points == 1]), run(points[points == -1])
    for separate, joint in (
        (at_one, values[points == 1]),
        (at_minus_one, values[points == -1]),
        (run(points[::-1]), values[::-1]),
    ):
        if not np.array_equal(separate, joint, equal_nan=True):
            raise checks.error("rectifier", name, "a pointwise function: each value by itself")
    scaled = np.where(points > 0, at_one, at_minus_one) * np.abs(points)
    homogeneous = bool(np.allclose(values, scaled, rtol=1e-5, atol=0))
    keeps_nonnegative = bool(np.array_equal(values[points >= 0], points[points >= 0]))
    return Rectifier(name, function, homogeneous, keeps_nonnegative)
