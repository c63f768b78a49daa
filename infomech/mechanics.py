"""Energies of a kernel's even and odd parts, and its momentum, mass and rapidity."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech._core import checks, safe_math
from infomech.kernels import offsets
from infomech.parity import split


class EnergyMomentum(NamedTuple):
    """Mechanical quantities of a kernel of d axes; see `energy_momentum`.

    Attributes:
        energy: E = ‖k‖², shape ().
        even: energy of the even part ‖k_e‖², the rest energy, shape ().
        odd: energy of the odd part ‖k_o‖², the energy of motion, shape ().
        share: odd share of the energy, ε = ‖k_o‖²/‖k‖² in [0, 1], shape (); NaN for a zero kernel.
        gain: s = Σ k, shape ().
        momentum: p = Σ r k(r), pixels, shape (d,).
        mass_squared: ‖k_e‖² − ‖k_o‖² = ⟨k, R k⟩, shape ().
        rapidity: artanh(‖k_o‖/‖k_e‖), shape (); NaN unless ‖k_o‖ < ‖k_e‖.
        direction: p/|p|, shape (d,); NaN where the momentum is 0.
    """

    energy: jax.Array
    even: jax.Array
    odd: jax.Array
    share: jax.Array
    gain: jax.Array
    momentum: jax.Array
    mass_squared: jax.Array
    rapidity: jax.Array
    direction: jax.Array


def energy_momentum(kernel: Any) -> EnergyMomentum:
    """Energy, odd share, momentum, invariant mass and rapidity of a kernel ([M]).

    E = ‖k_e‖² + ‖k_o‖², ε = ‖k_o‖²/E, p = Σ r k(r), m² = ‖k_e‖² − ‖k_o‖²,
    tanh(rapidity) = ‖k_o‖/‖k_e‖. All are dimensionless except p, in pixels.

    Args:
        kernel: taps, d = 1 to 3 axes; batch with `jax.vmap`.

    Returns:
        `EnergyMomentum`. Undefined quantities are NaN, and gradients through them are 0.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    kernel = checks.kernel("kernel", kernel)
    kernel = kernel.astype(safe_math.wider(kernel.dtype, jnp.float32))
    parts, scale = split(kernel), safe_math.magnitude(kernel)
    even, odd = safe_math.energy(parts.even), safe_math.energy(parts.odd)
    scaled = split(kernel / scale)
    scaled_even, scaled_odd = jnp.sum(scaled.even**2), jnp.sum(scaled.odd**2)
    position = jnp.asarray(offsets(kernel.shape), kernel.dtype)
    # sum over the odd part only: the even part contributes nothing but rounding errors
    p = jnp.sum(position * scaled.odd[..., None], axis=tuple(range(kernel.ndim)))
    return EnergyMomentum(
        energy=even + odd,
        even=even,
        odd=odd,
        share=safe_math.divide(scaled_odd, scaled_even + scaled_odd),
        gain=jnp.sum(kernel),
        momentum=scale * p,
        # not even - odd: both may be infinite where their difference is finite
        mass_squared=safe_math.inner(kernel, jnp.flip(kernel)),
        rapidity=_rapidity(scaled_even, scaled_odd),
        direction=safe_math.divide(p, safe_math.sqrt(jnp.sum(p**2))),
    )


def _rapidity(even: jax.Array, odd: jax.Array) -> jax.Array:
    defined = odd < even
    moving = defined & (odd > 0)
    ratio = jnp.where(moving, odd, 0.25) / jnp.where(moving, even, 1)
    return jnp.where(moving, jnp.arctanh(jnp.sqrt(ratio)), jnp.where(defined, 0, jnp.nan))
