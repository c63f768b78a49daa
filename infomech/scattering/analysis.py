"""Analyze the energies of a scattering network: law of decay, important paths, scales."""

import math
from typing import Any, NamedTuple

import numpy as np

from infomech._core import checks
from infomech.scattering._transform import Energies, Paths
from infomech.scattering.frames import Frame

#: laws of decay: log W_n is linear in n or in log n
LAWS = ("exponential", "polynomial")
#: fewest layers for a fit: both laws have two parameters, and with three or four points the
#: residuals are too few to compare likelihoods
MIN_LAYERS = 5


class Decay(NamedTuple):
    """Fits of two decay laws to the propagated energies, and the more likely law.

    Attributes:
        law: "exponential", W_n ∝ a⁻ⁿ, or "polynomial", W_n ∝ n⁻ᵖ; "none" with fewer than
            `MIN_LAYERS` usable layers, where all numbers are NaN.
        factor: a per layer, from a least-squares fit of log W_n against n.
        factor_interval: 95 % confidence interval of a.
        power: p, from a least-squares fit of log W_n against log n.
        power_interval: 95 % confidence interval of p.
        log_ratio: log likelihood of the exponential law minus that of the polynomial one, for
            normal errors of log W_n with unknown variance; positive if the exponential fits better.
        layers: the layers n used in the fits.
    """

    law: str
    factor: float
    factor_interval: tuple[float, float]
    power: float
    power_interval: tuple[float, float]
    log_ratio: float
    layers: np.ndarray


def decay(energies: Any, *, first: int = 1, floor: float | None = None) -> Decay:
    """Fit exponential and polynomial decay of W_n with n, and compare their likelihoods.

    Args:
        energies: `Energies` from `infomech.scattering.energies`, without the layers whose bounds
            differ by more than 10 %; or numbers W_0 … W_N.
        first: first layer used, at least 1.
        floor: layers with at most this fraction of W_0 are excluded, since rounding or pruning may
            dominate them; the square root of the machine epsilon if None.

    Returns:
        `Decay`.

    Raises:
        ValueError: anything but one axis of at least two finite, non-negative numbers; `Energies`
            from vmap have more axes.
    """
    values = energies
    if isinstance(energies, Energies):
        # relative energies neither over- nor underflow, whatever the scale of the signal
        values = energies.relative.propagated
        if np.ndim(values) == 1:
            low, high = np.asarray(energies.relative.propagated_bounds).T
            values = np.where(high <= 1.1 * low, np.asarray(values), 0)
    energy = np.asarray(checks.floating("energies", values))
    if energy.ndim != 1 or len(energy) < 2:
        raise checks.error("energies", f"shape {energy.shape}", "W_0 … W_N of one signal")
    checks.finite("energies", energy)
    if not np.all(energy >= 0):
        raise checks.error("energies", f"{energy.min():.3g}", "non-negative numbers")
    first = checks.integer("first", first, 1)
    if floor is None:
        floor = math.sqrt(np.finfo(energy.dtype).eps)
    n = np.arange(len(energy))
    used = (n >= first) & (energy.astype(np.float64) > floor * float(energy[0]))
    if used.sum() < MIN_LAYERS:
        interval = (math.nan, math.nan)
        return Decay("none", math.nan, interval, math.nan, interval, math.nan, n[used])
    log_energy = np.log(energy[used].astype(np.float64))
    exponential, polynomial = (_line(x, log_energy) for x in (n[used], np.log(n[used])))
    residual_ratio = max(polynomial[2], 1e-300) / max(exponential[2], 1e-300)
    log_ratio = 0.5 * used.sum() * math.log(residual_ratio)
    low, high = (math.exp(-end) for end in exponential[1][::-1])
    return Decay(
        LAWS[0] if log_ratio >= 0 else LAWS[1],
        math.exp(-exponential[0]),
        (low, high),
        -polynomial[0],
        (-polynomial[1][1], -polynomial[1][0]),
        log_ratio,
        n[used],
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Slope, its 95 % confidence interval, and the sum of squared residuals."""
    from scipy import stats

    line = stats.linregress(x, y)
    residual = float(np.sum((y - line.intercept - line.slope * x) ** 2))
    margin = line.stderr * stats.t.ppf(0.975, len(x) - 2)
    return float(line.slope), (line.slope - margin, line.slope + margin), residual


def significant(paths: Paths, share: float = 0.99) -> np.ndarray:
    """Operationally significant paths: the fewest that hold a share of each layer's energy.

    Args:
        paths: from `infomech.scattering.paths`; mirrored paths are counted.
        share: fraction of the energy of the layer's computed paths, above 0 and at most 1.

    Returns:
        Number of paths for each layer, (N + 1,).

    Raises:
        ValueError: a share out of range.
    """
    if not 0 < share <= 1:
        raise checks.error("share", share, "a number above 0 and at most 1")
    counts = []
    for layer in range(paths.order.max() + 1):
        in_layer = paths.order == layer
        rank = np.argsort(-paths.energy[in_layer], kind="stable")
        energy = paths.energy[in_layer][rank].astype(np.float64)
        multiplicity = paths.multiplicity[in_layer][rank]
        cumulative = np.cumsum(energy * multiplicity)
        if not cumulative[-1] > 0:
            counts.append(0)
            continue
        target = share * cumulative[-1] * (1 - 1e-12)
        row = int(np.argmax(cumulative >= target))
        before = cumulative[row] - energy[row] * multiplicity[row]
        partial = math.ceil((target - before) / energy[row])
        counts.append(int(multiplicity[:row].sum() + partial))
    return np.array(counts)


def by_scale(paths: Paths, frame: Frame, *, parts: int = 1) -> np.ndarray:
    """Split the energy W_n of each layer by the scale of the last step.

    Args:
        paths: from `infomech.scattering.paths`.
        frame: the frame of all layers.
        parts: number of parts of the non-linearity.

    Returns:
        Array (N + 1, scales + 1), in units of the signal squared. Column 0 holds the signal itself
        and bands without a scale.
    """
    scales = np.array([band.scale for band in frame.labels])
    table = np.zeros((paths.order.max() + 1, scales.max() + 1))
    last = np.array([scales[path[-1] // parts] if path else 0 for path in paths.steps])
    np.add.at(table, (paths.order, last), paths.energy * paths.multiplicity)
    return table
