"""Kernel families of designs: maps from free parameters to taps, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech import parity, spectrum
from infomech._core import checks, safe_math


def _never(taps):
    return jnp.zeros((), bool)


@dataclass(frozen=True)
class Parametrization:
    """A family of kernels, given by free parameters.

    Families are static: an unequal one triggers compilation. Families of this module are equal if
    their options are. For your own, use module-level functions or frozen dataclasses with
    `__call__`; two lambdas are never equal.

    Attributes:
        name: name of the family.
        kernel: taps from the free parameters; differentiable.
        free: free parameters of the nearest kernel of the family, from taps.
        bound: whether a kernel (taps) lies at a bound of the family, where no further progress is
            possible.
    """

    name: str
    kernel: Callable[[jax.Array], jax.Array]
    free: Callable[[jax.Array], jax.Array]
    bound: Callable[[jax.Array], jax.Array] = _never


def _identity(x):
    return x


#: unconstrained taps
taps = Parametrization("taps", _identity, _identity)

#: ‖k‖ = 1: k = θ/‖θ‖, the energy sphere
unit_energy = Parametrization("unit energy", safe_math.unit, safe_math.unit)


def _softplus_inverse(kernel):
    minimum = 1e-3 * safe_math.magnitude(kernel)
    kernel = jnp.maximum(kernel, minimum)
    return kernel + jnp.log(-jnp.expm1(-kernel))


def _vanishing(kernel):
    return jnp.any(kernel < 1e-4 * safe_math.magnitude(kernel))


#: k ≥ 0: k = log(1 + e^θ), which reaches 0 only in the limit
non_negative = Parametrization("non-negative", jax.nn.softplus, _softplus_inverse, _vanishing)


def odd_share(share: float) -> Parametrization:
    """Unit energy and odd share ε: k = √(1 − ε) ê + √ε ô with the normalized parts of θ.

    Args:
        share: ε in [0, 1], not traced.

    Raises:
        ValueError: a share out of range, or traced by JAX.
    """
    checks.scalar("share", share, None)
    known = checks.concrete(share)
    if known is None:
        raise checks.error("share", "a traced value", "a concrete number: families are static")
    return Parametrization(f"odd share {known:g}", _WithShare(float(known)), _identity)


@dataclass(frozen=True)
class _WithShare:
    """Taps of unit energy and a given odd share."""

    share: float

    def __call__(self, theta: jax.Array) -> jax.Array:
        parts = parity.split(theta)
        if self.share in (0, 1):
            return safe_math.unit(parts.odd if self.share else parts.even)
        even, odd = safe_math.unit(parts.even), safe_math.unit(parts.odd)
        return np.sqrt(1 - self.share) * even + np.sqrt(self.share) * odd


def low_order(shape: int | Sequence[int], order: int) -> Parametrization:
    """Span of the DCT-II modes whose indices sum to at most `order`; θ holds the coefficients.

    Order 0 is DC, order 1 adds the gradients, and order Σ (n − 1) includes all modes.

    Args:
        shape: taps along each axis.
        order: largest sum of the indices of a mode, at least 0.
    """
    shape, order = checks.shape("shape", shape), checks.integer("order", order, 0)
    return Parametrization(
        f"DCT modes up to order {order}", _FromModes(shape, order), _ToModes(shape, order)
    )


def _low_modes(shape, order):
    """Flat indices of the modes up to an order."""
    return np.flatnonzero(np.indices(shape).sum(0).ravel() <= order)


@dataclass(frozen=True)
class _FromModes:
    """Taps from the coefficients of the modes up to an order."""

    shape: tuple[int, ...]
    order: int

    def __call__(self, theta: jax.Array) -> jax.Array:
        modes = jnp.zeros(int(np.prod(self.shape)), theta.dtype)
        modes = modes.at[_low_modes(self.shape, self.order)].set(theta)
        return spectrum.from_dct(modes.reshape(self.shape))


@dataclass(frozen=True)
class _ToModes:
    """Coefficients of the modes up to an order, from taps."""

    shape: tuple[int, ...]
    order: int

    def __call__(self, taps: jax.Array) -> jax.Array:
        if taps.shape != self.shape:
            raise checks.error("start", f"taps of shape {taps.shape}", f"{self.shape}")
        return spectrum.dct(taps).ravel()[_low_modes(self.shape, self.order)]


def mirror_symmetric(axes: Sequence[int]) -> Parametrization:
    """Kernels that are even under reflection of each given axis: no motion along these axes."""
    axes = tuple(checks.integer("axes", a, 0) for a in axes)
    mirrored = _Mirrored(axes)
    return Parametrization(f"mirror-symmetric along {axes}", mirrored, mirrored)


@dataclass(frozen=True)
class _Mirrored:
    """Mean of the taps and their mirror image, axis by axis."""

    axes: tuple[int, ...]

    def __call__(self, theta: jax.Array) -> jax.Array:
        for axis in self.axes:
            if axis >= theta.ndim:
                raise checks.error("axes", self.axes, f"axes of a kernel of {theta.ndim}")
            theta = (theta + jnp.flip(theta, axis)) / 2
        return theta


def per_layer(family: Parametrization) -> Parametrization:
    """A stack of kernels (steps, *taps), each in the family."""
    return Parametrization(
        f"{family.name}, per layer",
        _EachLayer(family.kernel),
        _EachLayer(family.free),
        _AnyLayer(family.bound),
    )


@dataclass(frozen=True)
class _EachLayer:
    """A function of one layer, applied to each layer of a stack."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, stack: jax.Array) -> jax.Array:
        return jax.vmap(self.function)(stack)


@dataclass(frozen=True)
class _AnyLayer:
    """Whether a test holds for any layer of a stack."""

    test: Callable[[jax.Array], jax.Array]

    def __call__(self, stack: jax.Array) -> jax.Array:
        return jnp.any(jax.vmap(self.test)(stack))
