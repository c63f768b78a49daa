"""Which kernels a design may consist of: maps from free numbers to taps, and back."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks, guards, parity, spectrum


@dataclass(frozen=True)
class Parametrisation:
    """A family of kernels, given by free numbers.

    Attributes:
        name: of the family.
        kernel: taps from the free numbers; differentiable.
        free: free numbers of the nearest kernel of the family, from taps.
        bound: whether a kernel (taps) lies at the family's edge, where nothing can move on.
    """

    name: str
    kernel: Callable[[jax.Array], jax.Array]
    free: Callable[[jax.Array], jax.Array]
    bound: Callable[[jax.Array], jax.Array] = lambda taps: jnp.zeros((), bool)


def _same(x):
    return x


#: every tap by itself
taps = Parametrisation("taps", _same, _same)

#: ‖k‖ = 1: k = θ/‖θ‖, the energy sphere
unit_energy = Parametrisation("unit energy", guards.unit, guards.unit)


def _softplus_inverse(kernel):
    least = 1e-3 * guards.magnitude(kernel)
    kernel = jnp.maximum(kernel, least)
    return kernel + jnp.log(-jnp.expm1(-kernel))


def _vanishing(kernel):
    return jnp.any(kernel < 1e-4 * guards.magnitude(kernel))


#: k ≥ 0: k = log(1 + e^θ), which reaches 0 only in the limit
non_negative = Parametrisation("non-negative", jax.nn.softplus, _softplus_inverse, _vanishing)


def odd_share(share: float) -> Parametrisation:
    """Unit energy and the odd share ε: k = √(1 − ε) ê + √ε ô for the parts of θ, scaled to 1.

    Args:
        share: ε in [0, 1].
    """
    checks.in_unit_interval("share", share)
    return Parametrisation(
        f"odd share {share:g}", functools.partial(_with_share, share=float(share)), _same
    )


def _with_share(theta, share):
    parts = parity.split(theta)
    even = np.sqrt(1 - share) * guards.unit(parts.even) if share < 1 else 0
    odd = np.sqrt(share) * guards.unit(parts.odd) if share > 0 else 0
    return even + odd


def low_order(shape: int | Sequence[int], order: int) -> Parametrisation:
    """The DCT-II modes whose indices add up to `order` at most; θ are their coefficients.

    Order 0 is DC, order 1 adds the gradients, and Σ (n − 1) has all modes.

    Args:
        shape: taps on each axis.
        order: largest sum of a mode's indices, at least 0.
    """
    shape, order = checks.box("shape", shape), checks.integer("order", order, 0)
    kept = np.flatnonzero(np.indices(shape).sum(0).ravel() <= order)

    def kernel(theta):
        modes = jnp.zeros(int(np.prod(shape)), theta.dtype).at[kept].set(theta)
        return spectrum.from_dct(modes.reshape(shape))

    def free(taps):
        if taps.shape != shape:
            raise checks.fail("start", f"taps of shape {taps.shape}", f"{shape}")
        return spectrum.dct(taps).ravel()[kept]

    return Parametrisation(f"DCT modes up to order {order}", kernel, free)


def mirror_symmetric(axes: Sequence[int]) -> Parametrisation:
    """Kernels that are even under the mirror of each of these axes, so that nothing moves there."""
    axes = tuple(checks.integer("axes", a, 0) for a in axes)

    def kernel(theta):
        for axis in axes:
            if axis >= theta.ndim:
                raise checks.fail("axes", axes, f"axes of a kernel of {theta.ndim}")
            theta = (theta + jnp.flip(theta, axis)) / 2
        return theta

    return Parametrisation(f"mirror-symmetric along {axes}", kernel, kernel)


def per_layer(family: Parametrisation) -> Parametrisation:
    """A stack of kernels (steps, *taps), each of the family."""
    return Parametrisation(
        f"{family.name}, per layer",
        jax.vmap(family.kernel),
        jax.vmap(family.free),
        lambda taps: jnp.any(jax.vmap(family.bound)(taps)),
    )
