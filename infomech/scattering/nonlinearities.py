"""Non-linearities between layers: the modulus, two-sided ReLU, any Lipschitz function."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math


@dataclass(frozen=True)
class Nonlinearity:
    """Maps the complex output z of a band-pass to one or more real signals ρ(z).

    A non-linearity is static, so it can't be learned: gradients are with respect to signals and
    frames.

    Attributes:
        name: name in tables and messages.
        function: maps (Re z, Im z), each (*shape), to the parts of ρ(z), (parts, *shape).
        parts: number of real signals per complex one.
        lipschitz: L with Σ_parts ‖ρ(z)‖² ≤ L² ‖z‖², for ρ(0) = 0.
        conserves: whether that holds with equality and L = 1.
        symmetric: whether the conjugate of z gives the same parts, up to their order. Then one of
            two mirrored bands suffices for a real signal.
        homogeneous: whether ρ(a z) = a ρ(z) for every a > 0.
    """

    name: str
    function: Callable[[jax.Array, jax.Array], jax.Array]
    parts: int = 1
    lipschitz: float = 1.0
    conserves: bool = False
    symmetric: bool = False
    homogeneous: bool = False

    def in_unit(self, unit: jax.Array, real: jax.Array, imaginary: jax.Array) -> jax.Array:
        """ρ(unit · z)/unit: the parts of ρ for a signal scaled by 1/unit."""
        if self.homogeneous:
            return self.function(real, imaginary)
        return self.function(real * unit, imaginary * unit) / unit


def _modulus(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    return safe_math.sqrt(real * real + imaginary * imaginary)[None]


def _halves(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    parts = (real, -real, imaginary, -imaginary)
    return jnp.stack([jax.nn.relu(part) for part in parts])


#: |z|, with gradient 0 at z = 0
modulus = Nonlinearity("modulus", _modulus, conserves=True, symmetric=True, homogeneous=True)
#: max(±Re z, 0) and max(±Im z, 0): ReLU split into two halves for both parts of z. The four parts
#: conserve the energy of z, but each keeps oscillating with z, which slows the decay of energy.
halves = Nonlinearity("halves", _halves, parts=4, conserves=True, symmetric=True, homogeneous=True)
_KNOWN = {known.name: known for known in (modulus, halves)}


def lipschitz(
    function: Callable[[jax.Array], jax.Array], constant: float, *, name: str | None = None
) -> Nonlinearity:
    """Wrap a pointwise Lipschitz function that maps complex to real signals of the same shape.

    Args:
        function: ρ, with ρ(0) = 0 and |ρ(z) − ρ(w)| ≤ constant · |z − w|. It is called with complex
            arrays and must be differentiable by JAX if gradients are needed.
        constant: its Lipschitz constant, positive; verified only on a few test values.
        name: name of the non-linearity; the function's own name if None.

    Returns:
        `Nonlinearity`. It isn't assumed symmetric, so both of two mirrored bands are computed.

    Raises:
        ValueError: a constant that isn't positive, ρ(0) ≠ 0, values that aren't real, a changed
            shape, or |ρ(z)| > constant · |z| for a test value z with |z| from 2⁻¹⁰ to 2¹⁰.
    """
    checks.positive("constant", constant, jnp.float32)
    constant = float(constant)
    name = name or str(getattr(function, "__name__", type(function).__name__))
    checks.hashable("function", function)
    magnitudes = np.array([0, *2.0 ** np.arange(-10, 11)])
    trial = np.asarray(magnitudes * np.exp(1j * np.arange(8)[:, None]), np.complex64)
    with jax.ensure_compile_time_eval():
        values = function(jnp.asarray(trial))
    if not jnp.issubdtype(values.dtype, jnp.floating) or values.shape != trial.shape:
        got = f"{name}: complex {trial.shape} to {values.dtype} {values.shape}"
        raise checks.error("function", got, "real values of the same shape")
    if not np.all(np.abs(np.asarray(values)) <= constant * np.abs(trial) * (1 + 1e-5)):
        raise checks.error("function", name, f"|ρ(z)| ≤ {constant:g} |z| for every z")
    return Nonlinearity(name, _OfComplex(function), lipschitz=constant)


@dataclass(frozen=True)
class _OfComplex:
    """Call ρ with complex z. Instances that wrap the same function are equal."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, real: jax.Array, imaginary: jax.Array) -> jax.Array:
        return self.function(jax.lax.complex(real, imaginary))[None]


def get(nonlinearity: str | Nonlinearity) -> Nonlinearity:
    """Look up a non-linearity by name, modulus or halves; a `Nonlinearity` is returned unchanged.

    Raises:
        ValueError: an unknown name or another type; wrap functions with `lipschitz`.
    """
    if isinstance(nonlinearity, Nonlinearity):
        checks.hashable("nonlinearity", nonlinearity)
        return nonlinearity
    checks.one_of("nonlinearity", nonlinearity, _KNOWN)
    return _KNOWN[nonlinearity]


def parts_of(layers: tuple[Nonlinearity, ...]) -> int:
    """Largest number of parts over these layers."""
    return max(layer.parts for layer in layers)


def apply(
    layers: tuple[Nonlinearity, ...],
    layer: Any,
    unit: jax.Array,
    real: jax.Array,
    imaginary: jax.Array,
) -> jax.Array:
    """Apply the non-linearity of one layer to fields (fields, *shape).

    Args:
        layers: one non-linearity per layer.
        layer: index of the layer, possibly traced.
        unit: unit of z and of the parts.
        real, imaginary: real and imaginary part of z, (fields, *shape).

    Returns:
        Array (fields, parts, *shape), padded with zeros to the largest number of parts.
    """
    max_parts = parts_of(layers)
    kinds = list(dict.fromkeys(layers))

    def padded(kind: Nonlinearity):
        def run(re, im):
            parts = jax.vmap(functools.partial(kind.in_unit, unit))(re, im)
            padding = [(0, 0), (0, max_parts - kind.parts)] + [(0, 0)] * (re.ndim - 1)
            return jnp.pad(parts, padding)

        return run

    branch = jnp.asarray([kinds.index(kind) for kind in layers])[layer]
    return jax.lax.switch(branch, [padded(kind) for kind in kinds], real, imaginary)
