"""Which kernels a design may consist of: maps from free numbers to taps, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech import parity, spectrum
from infomech._core import checks, safe_math


def _nowhere(taps):
    return jnp.zeros((), bool)


@dataclass(frozen=True)
class Parametrization:
    """A family of kernels, given by free numbers.

    Families are static, so everything is compiled anew for one that isn't equal to the last. Those
    of this module are equal if their options are. For one of your own use functions of a module, or
    frozen dataclasses with `__call__`: a lambda made anew is never equal to the one before.

    Attributes:
        name: of the family.
        kernel: taps from the free numbers; differentiable.
        free: free numbers of the nearest kernel of the family, from taps.
        bound: whether a kernel (taps) lies at the family's edge, where nothing can move on.
    """

    name: str
    kernel: Callable[[jax.Array], jax.Array]
    free: Callable[[jax.Array], jax.Array]
    bound: Callable[[jax.Array], jax.Array] = _nowhere


def _same(x):
    return x


#: every tap by itself
taps = Parametrization("taps", _same, _same)

#: ‖k‖ = 1: k = θ/‖θ‖, the energy sphere
unit_energy = Parametrization("unit energy", safe_math.unit, safe_math.unit)


def _softplus_inverse(kernel):
    least = 1e-3 * safe_math.magnitude(kernel)
    kernel = jnp.maximum(kernel, least)
    return kernel + jnp.log(-jnp.expm1(-kernel))


def _vanishing(kernel):
    return jnp.any(kernel < 1e-4 * safe_math.magnitude(kernel))


#: k ≥ 0: k = log(1 + e^θ), which reaches 0 only in the limit
non_negative = Parametrization("non-negative", jax.nn.softplus, _softplus_inverse, _vanishing)


def odd_share(share: float) -> Parametrization:
    """Unit energy and the odd share ε: k = √(1 − ε) ê + √ε ô for the parts of θ, scaled to 1.

    Args:
        share: ε in [0, 1], a known number.

    Raises:
        ValueError: another share, or one that JAX traces.
    """
    checks.scalar("share", share, None)
    known = checks.concrete(share)
    if known is None:
        raise checks.error("share", "a traced value", "a known number: families are static")
    return Parametrization(f"odd share {known:g}", _WithShare(float(known)), _same)


@dataclass(frozen=True)
class _WithShare:
    """Taps of unit energy and an odd share."""

    share: float

    def __call__(self, theta: jax.Array) -> jax.Array:
        parts = parity.split(theta)
        if self.share in (0, 1):
            return safe_math.unit(parts.odd if self.share else parts.even)
        even, odd = safe_math.unit(parts.even), safe_math.unit(parts.odd)
        return np.sqrt(1 - self.share) * even + np.sqrt(self.share) * odd


def low_order(shape: int | Sequence[int], order: int) -> Parametrization:
    """The DCT-II modes whose indices add up to `order` at most; θ are their coefficients.

    Order 0 is DC, order 1 adds the gradients, and Σ (n − 1) has all modes.

    Args:
        shape: taps on each axis.
        order: largest sum of a mode's indices, at least 0.
    """
    shape, order = checks.shape("shape", shape), checks.integer("order", order, 0)
    return Parametrization(
        f"DCT modes up to order {order}", _FromModes(shape, order), _ToModes(shape, order)
    )


def _kept(shape, order):
    """Places of the modes up to an order, in the flat array of all."""
    return np.flatnonzero(np.indices(shape).sum(0).ravel() <= order)


@dataclass(frozen=True)
class _FromModes:
    """Taps from the coefficients of their modes up to an order."""

    shape: tuple[int, ...]
    order: int

    def __call__(self, theta: jax.Array) -> jax.Array:
        modes = jnp.zeros(int(np.prod(self.shape)), theta.dtype)
        modes = modes.at[_kept(self.shape, self.order)].set(theta)
        return spectrum.from_dct(modes.reshape(self.shape))


@dataclass(frozen=True)
class _ToModes:
    """Coefficients of the modes up to an order, from taps."""

    shape: tuple[int, ...]
    order: int

    def __call__(self, taps: jax.Array) -> jax.Array:
        if taps.shape != self.shape:
            raise checks.error("start", f"taps of shape {taps.shape}", f"{self.shape}")
        return spectrum.dct(taps).ravel()[_kept(self.shape, self.order)]


def mirror_symmetric(axes: Sequence[int]) -> Parametrization:
    """Kernels that are even under the mirror of each of these axes, so that nothing moves there."""
    axes = tuple(checks.integer("axes", a, 0) for a in axes)
    mirrored = _Mirrored(axes)
    return Parametrization(f"mirror-symmetric along {axes}", mirrored, mirrored)


@dataclass(frozen=True)
class _Mirrored:
    """The mean of taps and their mirror image, axis after axis."""

    axes: tuple[int, ...]

    def __call__(self, theta: jax.Array) -> jax.Array:
        for axis in self.axes:
            if axis >= theta.ndim:
                raise checks.error("axes", self.axes, f"axes of a kernel of {theta.ndim}")
            theta = (theta + jnp.flip(theta, axis)) / 2
        return theta


def per_layer(family: Parametrization) -> Parametrization:
    """A stack of kernels (steps, *taps), each of the family."""
    return Parametrization(
        f"{family.name}, per layer",
        _EachLayer(family.kernel),
        _EachLayer(family.free),
        _AnyLayer(family.bound),
    )


@dataclass(frozen=True)
class _EachLayer:
    """A function of one layer, applied to each of a stack."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, stack: jax.Array) -> jax.Array:
        return jax.vmap(self.function)(stack)


@dataclass(frozen=True)
class _AnyLayer:
    """Whether a test of one layer holds for any of a stack."""

    test: Callable[[jax.Array], jax.Array]

    def __call__(self, stack: jax.Array) -> jax.Array:
        return jnp.any(jax.vmap(self.test)(stack))
