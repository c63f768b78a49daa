"""What stands between two layers: the modulus, halves of a rectifier, any Lipschitz function."""

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
    """A function from the complex output z of a band-pass to one or more real signals ρ(z).

    Attributes:
        name: what it is called in tables and messages.
        function: (Re z, Im z), each (*grid), to the parts of ρ(z), shape (parts, *grid).
        parts: how many real signals it makes of one complex one.
        lipschitz: L with Σ_parts ‖ρ(z)‖² ≤ L² ‖z‖², for ρ(0) = 0.
        conserves: whether that holds with equality and L = 1.
        symmetric: whether the conjugate of z gives the same parts, up to their order; then a real
            signal needs one of two mirrored bands only.
        homogeneous: ρ(a z) = a ρ(z) for every a > 0.

    It is static, so it can't be learned: derivatives are those of signals and frames.
    """

    def in_unit(self, unit: jax.Array, real: jax.Array, imaginary: jax.Array) -> jax.Array:
        """ρ(unit · z)/unit, the parts of a signal that is held in units of `unit`."""
        if self.homogeneous:
            return self.function(real, imaginary)
        return self.function(real * unit, imaginary * unit) / unit

    name: str
    function: Callable[[jax.Array, jax.Array], jax.Array]
    parts: int = 1
    lipschitz: float = 1.0
    conserves: bool = False
    symmetric: bool = False
    homogeneous: bool = False


def _modulus(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    return safe_math.sqrt(real * real + imaginary * imaginary)[None]


def _halves(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    parts = (real, -real, imaginary, -imaginary)
    return jnp.stack([jax.nn.relu(part) for part in parts])


#: |z|, with gradient 0 at z = 0
modulus = Nonlinearity("modulus", _modulus, conserves=True, symmetric=True, homogeneous=True)
#: ReLU split into its two halves, of the real and of the imaginary part: four parts that together
#: hold the energy of z; a half keeps oscillating with z, so that energy decays more slowly
halves = Nonlinearity("halves", _halves, parts=4, conserves=True, symmetric=True, homogeneous=True)
_KNOWN = {known.name: known for known in (modulus, halves)}


def lipschitz(
    function: Callable[[jax.Array], jax.Array], constant: float, *, name: str | None = None
) -> Nonlinearity:
    """A pointwise function of your own, from complex to real signals of the same shape.

    Args:
        function: ρ, with ρ(0) = 0 and |ρ(z) − ρ(w)| ≤ constant · |z − w|; it is called with complex
            arrays and must be differentiable by JAX where gradients are wanted.
        constant: its Lipschitz constant, positive. It is taken at your word, but for a trial.
        name: what to call it; the function's own name if None.

    Returns:
        `Nonlinearity`; of mirrored bands both are passed, since nothing says that they're alike.

    Raises:
        ValueError: a constant that isn't positive, ρ(0) ≠ 0, values that aren't real, another
            shape, or values on a trial of numbers from 2⁻¹⁰ to 2¹⁰ that are larger than
            constant · |z|.
    """
    checks.positive("constant", constant, jnp.float32)
    constant = float(constant)
    name = name or str(getattr(function, "__name__", type(function).__name__))
    checks.hashable("function", function)
    sizes = np.array([0, *2.0 ** np.arange(-10, 11)])
    trial = np.asarray(sizes * np.exp(1j * np.arange(8)[:, None]), np.complex64)
    with jax.ensure_compile_time_eval():
        values = function(jnp.asarray(trial))
    if not jnp.issubdtype(values.dtype, jnp.floating) or values.shape != trial.shape:
        got = f"{name}: complex {trial.shape} to {values.dtype} {values.shape}"
        raise checks.error("function", got, "real values, pointwise")
    if not np.all(np.abs(np.asarray(values)) <= constant * np.abs(trial) * (1 + 1e-5)):
        raise checks.error("function", name, f"|ρ(z)| ≤ {constant:g} |z| for every z")
    return Nonlinearity(name, _OfComplex(function), lipschitz=constant)


@dataclass(frozen=True)
class _OfComplex:
    """ρ of the two parts of z; made anew of the same function, it is the same."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, real: jax.Array, imaginary: jax.Array) -> jax.Array:
        return self.function(jax.lax.complex(real, imaginary))[None]


def get(nonlinearity: str | Nonlinearity) -> Nonlinearity:
    """The non-linearity of a name: modulus, or halves; of a `Nonlinearity`, itself.

    Raises:
        ValueError: an unknown name, or something else; see `lipschitz`.
    """
    if isinstance(nonlinearity, Nonlinearity):
        checks.hashable("nonlinearity", nonlinearity)
        return nonlinearity
    checks.one_of("nonlinearity", nonlinearity, _KNOWN)
    return _KNOWN[nonlinearity]


def parts_of(layers: tuple[Nonlinearity, ...]) -> int:
    """The most parts that any of these layers makes."""
    return max(layer.parts for layer in layers)


def apply(
    layers: tuple[Nonlinearity, ...],
    layer: Any,
    unit: jax.Array,
    real: jax.Array,
    imaginary: jax.Array,
):
    """Parts of the given layer, (…, parts, *grid) of fields (…, *grid); zeros where it has fewer.

    Args:
        layers: one non-linearity per layer.
        layer: which, possibly traced.
        unit: that z is held in, and the parts.
        real, imaginary: parts of z, with one axis for the fields in front.
    """
    most = parts_of(layers)
    kinds = list(dict.fromkeys(layers))

    def padded(kind: Nonlinearity):
        def run(re, im):
            parts = jax.vmap(functools.partial(kind.in_unit, unit))(re, im)
            room = [(0, 0), (0, most - kind.parts)] + [(0, 0)] * (re.ndim - 1)
            return jnp.pad(parts, room)

        return run

    which = jnp.asarray([kinds.index(kind) for kind in layers])[layer]
    return jax.lax.switch(which, [padded(kind) for kind in kinds], real, imaginary)
