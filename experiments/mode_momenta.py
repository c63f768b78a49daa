"""Momenta of DCT-II modes of n×n taps, and kernels with many modes.

Mode (a, b) is a product of cosines, and Σ cos(πb(j + ½)/n) = 0 for b > 0. Along an axis only modes
(a, 0) with odd a carry momentum: p = cos φ/(√2 sin² φ) pixels with φ = πa/2n, about 1/a².
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import kernels, mechanics, spectrum

#: DC and the gradients, as DCT-II modes
LOW = ((0, 0), (1, 0), (0, 1))


class Parts(NamedTuple):
    """Energies and momenta of low and higher modes of filters, (filters, …).

    Attributes:
        energy: of the filter.
        higher: energy of the higher modes.
        momentum: squared momentum of the low modes, pixels².
        higher_momentum: squared momentum of the higher modes, pixels².
    """

    energy: np.ndarray
    higher: np.ndarray
    momentum: np.ndarray
    higher_momentum: np.ndarray


def closed_form(taps: int) -> np.ndarray:
    """Momentum of each mode (a, b) of unit energy along both axes, pixels, (taps, taps, 2).

    Signs are those of modes that increase along their axis.
    """
    a = np.arange(taps)
    phi = np.pi * np.maximum(a, 1) / (2 * taps)
    along = np.where(a % 2 == 1, np.cos(phi) / (np.sqrt(2) * np.sin(phi) ** 2), 0)
    momenta = np.zeros((taps, taps, 2))
    momenta[:, 0, 0] = momenta[0, :, 1] = along
    return momenta


def of_modes(taps: int) -> np.ndarray:
    """Momentum of each mode, computed from its taps, (taps, taps, 2)."""
    modes = np.eye(taps**2).reshape(-1, taps, taps)
    momentum = jax.jit(jax.vmap(_momentum))(jnp.asarray(modes))
    # DCT modes decrease along their axes
    return -np.asarray(momentum).reshape(taps, taps, 2)


def _momentum(coefficients):
    return mechanics.energy_momentum(spectrum.from_dct(coefficients)).momentum


def parts(filters: np.ndarray) -> Parts:
    """Energies and squared momenta of low and higher modes of filters (filters, taps, taps)."""
    modes = np.asarray(_dct(jnp.asarray(filters)))
    low = low_modes(modes)
    along = closed_form(filters.shape[-1])
    # squares do not depend on the signs
    momenta = [np.einsum("nab,abi->ni", part, along) for part in (low, modes - low)]
    energy, higher = (np.sum(part**2, (1, 2)) for part in (modes, modes - low))
    return Parts(energy, higher, *(np.sum(p**2, 1) for p in momenta))


_dct = jax.jit(jax.vmap(spectrum.dct))


def low_modes(modes: np.ndarray) -> np.ndarray:
    """Coefficients with all modes except `LOW` set to 0, (filters, taps, taps)."""
    mask = np.zeros(modes.shape[1:])
    mask[tuple(np.transpose(LOW))] = 1
    return modes * mask


def candidates(filters: np.ndarray) -> dict[str, np.ndarray]:
    """ε, √ε and tan θ of filters and of their low modes alone, (filters,).

    tan θ goes to infinity as ε goes to 1; values above 1 (ε above ½) are NaN, because in a first
    run with all values a few kernels near ε = 1 determined every line.
    """
    mirrored = filters[:, ::-1, ::-1]
    even, odd = (np.sum((filters + s * mirrored) ** 2, (1, 2)) / 4 for s in (1, -1))
    modes = np.asarray(_dct(jnp.asarray(filters)))
    rest, moving = modes[:, 0, 0] ** 2, modes[:, 1, 0] ** 2 + modes[:, 0, 1] ** 2
    laws = {}
    for words, (e, o) in (("all modes", (even, odd)), ("low modes", (rest, moving))):
        share = o / (e + o)
        laws[f"ε of {words}"] = share
        laws[f"√ε of {words}"] = np.sqrt(share)
        laws[f"tan θ ≤ 1 of {words}"] = np.sqrt(o / np.where((e > 0) & (o <= e), e, np.nan))
    return laws


def non_negative(taps: int, count: int, seed: int) -> np.ndarray:
    """Random taps ≥ 0 with many modes, tilted by 0 to 1 per half width, of unit energy."""
    draw = np.random.default_rng([seed, taps])
    angle, tilt = draw.uniform(0, 2 * np.pi, count), np.linspace(0, 1, count)
    n = np.stack([np.sin(angle), np.cos(angle)], -1)
    along = np.einsum("abi,ni->nab", kernels.offsets((taps, taps)), n) / ((taps - 1) / 2)
    values = np.exp(0.5 * draw.normal(size=along.shape) + tilt[:, None, None] * along)
    return values / np.sqrt(np.sum(values**2, (1, 2), keepdims=True))


def with_higher_modes(taps: int, count: int, share: float, seed: int) -> np.ndarray:
    """DC + gradient in random directions, ε from 0 to 1, with a share of random higher modes."""
    draw = np.random.default_rng([seed, taps, round(100 * share)])
    angle, odd = draw.uniform(0, 2 * np.pi, count), np.linspace(0, 1, count)
    modes = draw.normal(size=(count, taps, taps))
    modes = modes - low_modes(modes)
    modes *= np.sqrt(share / np.sum(modes**2, (1, 2), keepdims=True))
    rest = 1 - share
    modes[:, 0, 0] = np.sqrt(rest * (1 - odd))
    modes[:, 1, 0], modes[:, 0, 1] = np.sqrt(rest * odd) * np.stack([np.sin(angle), np.cos(angle)])
    return np.asarray(jax.jit(jax.vmap(spectrum.from_dct))(jnp.asarray(modes)))
