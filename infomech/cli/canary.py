"""Compiler check: compares jitted batches of all observables with plain NumPy.

jax 0.9.1 to 0.10.2 silently compute wrong numbers on CPU in jitted vmaps over many small arrays
(see the exclusions in pyproject.toml). `infomech doctor` runs this check for users.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import mechanics, observables, parity, spectrum, theory
from infomech._rollout import layer

#: lengths of the minor axis and batch sizes, including those at which compilers have failed
MINORS = (2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 17, 31)
BATCHES = (16385, 32769, 40000)


class Finding(NamedTuple):
    """Largest error of one quantity relative to its largest value, and the tolerance."""

    quantity: str
    minor: int
    batch: int
    dtype: str
    error: float
    allowed: float

    @property
    def right(self) -> bool:
        """Whether compiled numbers and NumPy agree up to rounding."""
        return self.error <= self.allowed


def check(
    minors: Sequence[int] = MINORS,
    batches: Sequence[int] = BATCHES,
    dtypes: Sequence[str] = ("float32",),
) -> Iterator[Finding]:
    """Compares all quantities on batches of random arrays (3, minor) or (minor,).

    Args:
        minors: lengths of the minor axis.
        batches: numbers of arrays in a batch.
        dtypes: "float32", and "float64" if JAX has 64-bit types enabled.

    Yields:
        A `Finding` per quantity, minor axis, batch and dtype.
    """
    random = np.random.default_rng(0)
    for dtype in dtypes:
        allowed = 2e-4 if dtype == "float32" else 1e-11
        for minor in minors:
            # a slope in each array keeps the circular mean well defined
            slope = 1 + np.arange(3)[:, None] + np.arange(minor)
            noise = random.uniform(0.5, 1.5, (max(batches), 3, minor))
            sample = (noise * slope / minor).astype(dtype)
            for name, (compiled, plain) in _QUANTITIES.items():
                arrays = sample[:, 0] if name in _OF_ONE_AXIS else sample
                expected = plain(arrays.astype(np.float64))
                for batch in batches:
                    got = np.asarray(jax.jit(jax.vmap(compiled))(arrays[:batch]), np.float64)
                    worst = np.max(np.abs(got - expected[:batch])) / np.max(np.abs(expected))
                    # NaN counts as an infinite error
                    error = float(worst) if np.isfinite(worst) else np.inf
                    yield Finding(name, minor, batch, dtype, error, allowed)


def _moments(k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum, mean position (n, 2) and covariance (n, 2, 2) of a batch, from pixel 0."""
    total = k.sum((1, 2))
    rows, columns = np.arange(k.shape[1]), np.arange(k.shape[2])
    profiles = k.sum(2) / total[:, None], k.sum(1) / total[:, None]
    mean = np.stack([profiles[0] @ rows, profiles[1] @ columns], -1)
    offsets = rows[None] - mean[:, :1], columns[None] - mean[:, 1:]
    cross = np.einsum("nij,ni,nj->n", k, *offsets) / total
    variances = [np.sum(p * x**2, 1) for p, x in zip(profiles, offsets, strict=True)]
    covariance = np.stack([variances[0], cross, cross, variances[1]], -1).reshape(-1, 2, 2)
    return total, mean, covariance


def _middle(k: np.ndarray) -> np.ndarray:
    return (np.array(k.shape[1:]) - 1) / 2


def _odd_share(k: np.ndarray) -> np.ndarray:
    odd = (k - k[:, ::-1, ::-1]) / 2
    return np.sum(odd**2, (1, 2)) / np.sum(k**2, (1, 2))


def _dct(k: np.ndarray) -> np.ndarray:
    rows, columns = (spectrum.basis(n) for n in k.shape[1:])
    return rows @ k @ columns.T


def _mirror_energies(k: np.ndarray) -> np.ndarray:
    """Energies of the mirror parities; a DCT mode is even along axes where its index is even."""
    energies = _dct(k) ** 2
    parts = [energies[:, a::2, b::2].sum((1, 2)) for a in (0, 1) for b in (0, 1)]
    return np.stack(parts, -1).reshape(-1, 2, 2)


def _low_share(k: np.ndarray) -> np.ndarray:
    energies = _dct(k) ** 2
    low = energies[:, 0, 0] + energies[:, 1, 0] + energies[:, 0, 1]
    return low / energies.sum((1, 2))


def _standardized(k: np.ndarray, power: int) -> np.ndarray:
    total, mean, covariance = _moments(k)
    moments = []
    for axis, profile in enumerate((k.sum(2), k.sum(1))):
        offset = np.arange(profile.shape[1])[None] - mean[:, axis, None]
        scaled = offset / np.sqrt(covariance[:, axis, axis])[:, None]
        moments.append(np.sum(profile * scaled**power, 1) / total)
    return np.stack(moments, -1)


def _circular(k: np.ndarray) -> np.ndarray:
    """Unit vector of the circular mean on each axis, which has no jump, unlike the angle."""
    components = []
    for profile in (k.sum(2), k.sum(1)):
        turn = profile @ np.exp(2j * np.pi * np.arange(profile.shape[1]) / profile.shape[1])
        components += [turn.real / np.abs(turn), turn.imag / np.abs(turn)]
    return np.stack(components, -1)


def _compiled_circular(k: jax.Array) -> jax.Array:
    center = observables.center(k, boundary="periodic")
    angle = [2 * np.pi * c / n for c, n in zip(center, k.shape, strict=True)]
    return jnp.stack([f(a) for a in angle for f in (jnp.cos, jnp.sin)])


def _box_layer(k: np.ndarray) -> np.ndarray:
    padded = np.pad(k, ((0, 0), (1, 1), (0, 0)))
    return padded[:, :-2] + 2 * padded[:, 1:-1] + 4 * padded[:, 2:]


def _edge(k: np.ndarray) -> np.ndarray:
    inner = k[:, 1:-1, 1:-1] if k.shape[2] > 2 else k[:, 1:-1, :0]
    return 1 - inner.sum((1, 2)) / k.sum((1, 2))


_TAPS = np.array([[4.0], [2.0], [1.0]])

_OF_ONE_AXIS = ("energy in all modes",)
_QUANTITIES: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "odd share": (lambda k: mechanics.energy_momentum(k).share, _odd_share),
    "momentum": (
        lambda k: mechanics.energy_momentum(k).momentum,
        lambda k: (_moments(k)[1] - _middle(k)) * k.sum((1, 2))[:, None],
    ),
    "mass squared": (
        lambda k: mechanics.energy_momentum(k).mass_squared,
        lambda k: np.sum(k * k[:, ::-1, ::-1], (1, 2)),
    ),
    "mirror energies": (parity.mirror_energies, _mirror_energies),
    "DCT energies": (spectrum.energies, lambda k: _dct(k) ** 2),
    "low-frequency share": (spectrum.low_frequency_share, _low_share),
    "predicted speed": (
        lambda k: theory.predict(k).velocity,
        lambda k: _moments(k)[1] - _middle(k),
    ),
    "predicted diffusion": (lambda k: theory.predict(k).diffusion, lambda k: _moments(k)[2]),
    "mass": (observables.mass, lambda u: u.sum((1, 2))),
    "energy": (observables.energy, lambda u: np.sum(u**2, (1, 2))),
    "center": (observables.center, lambda u: _moments(u)[1]),
    "covariance": (observables.covariance, lambda u: _moments(u)[2]),
    "circular center": (_compiled_circular, _circular),
    "skewness": (observables.skewness, lambda u: _standardized(u, 3)),
    "excess kurtosis": (observables.excess_kurtosis, lambda u: _standardized(u, 4) - 3),
    "edge": (lambda u: observables.edge(u, ((1, 1), (1, 1))), _edge),
    # the sum of a small matrix product, which jax 0.9.1 to 0.10.2 miscompute
    "energy in all modes": (
        lambda k: jnp.sum(spectrum.energies(k)),
        lambda k: np.sum(k**2, 1),
    ),
    "layer": (lambda u: layer(jnp.asarray(_TAPS, u.dtype), u).values, _box_layer),
}


def quantities() -> int:
    """Number of findings of `check` for each minor axis, batch and dtype."""
    return len(_QUANTITIES)
