"""Energy, momentum and mass of a kernel read as a particle."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech._core import checks, safe_math
from infomech.kernels import offsets
from infomech.parity import split


class EnergyMomentum(NamedTuple):
    """The mechanics of one kernel of d axes; see `energy_momentum`.

    Attributes:
        energy: E = ‖k‖², shape ().
        even: rest energy ‖k_e‖², shape ().
        odd: energy of motion ‖k_o‖², shape ().
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
    tanh(rapidity) = ‖k_o‖/‖k_e‖. Dimensionless but for p, which is in pixels.

    Args:
        kernel: taps, d = 1 to 3 axes; batch with `jax.vmap`.

    Returns:
        `EnergyMomentum`. Where a quantity does not exist it is NaN, and gradients through it are 0.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    kernel = checks.kernel("kernel", kernel)
    kernel = kernel.astype(safe_math.wider(kernel.dtype, jnp.float32))
    whole, scale = split(kernel), safe_math.magnitude(kernel)
    energies = safe_math.energy(whole.even), safe_math.energy(whole.odd)
    parts = split(kernel / scale)
    even, odd = jnp.sum(parts.even**2), jnp.sum(parts.odd**2)
    position = jnp.asarray(offsets(kernel.shape), kernel.dtype)
    # the even part adds nothing but rounding to the momentum
    p = jnp.sum(position * parts.odd[..., None], axis=tuple(range(kernel.ndim)))
    return EnergyMomentum(
        energy=energies[0] + energies[1],
        even=energies[0],
        odd=energies[1],
        share=safe_math.divide(odd, even + odd),
        gain=jnp.sum(kernel),
        momentum=scale * p,
        # of both energies, which may be infinite where their difference is not
        mass_squared=safe_math.inner(kernel, jnp.flip(kernel)),
        rapidity=_rapidity(even, odd),
        direction=safe_math.divide(p, safe_math.sqrt(jnp.sum(p**2))),
    )


def _rapidity(even: jax.Array, odd: jax.Array) -> jax.Array:
    exists = odd < even
    moving = exists & (odd > 0)
    ratio = jnp.where(moving, odd, 0.25) / jnp.where(moving, even, 1)
    return jnp.where(moving, jnp.arctanh(jnp.sqrt(ratio)), jnp.where(exists, 0, jnp.nan))
