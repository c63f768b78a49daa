"""What the energies of a scattering network say: the law of decay, and where energy goes."""

import math
from typing import Any, NamedTuple

import numpy as np

from infomech._core import checks
from infomech.scattering._transform import Energies, Paths
from infomech.scattering.frames import Frame

#: laws of decay: log W_n is linear in n, or in log n
LAWS = ("exponential", "polynomial")
#: layers that a fit needs: each law has two unknowns, and three or four points leave hardly any
#: scatter to compare likelihoods by
MIN_LAYERS = 5


class Decay(NamedTuple):
    """Two laws fitted to the propagated energies of the layers, and which is the likelier.

    Attributes:
        law: "exponential", W_n ∝ a⁻ⁿ, or "polynomial", W_n ∝ n⁻ᵖ; "none" if fewer than
            `MIN_LAYERS` layers can be used, too few to tell: all numbers are then NaN.
        factor: a, per layer, by least squares of log W_n against n.
        factor_interval: 95 % interval of a.
        power: p, by least squares of log W_n against log n.
        power_interval: 95 % interval of p.
        log_ratio: log likelihood of the exponential law less that of the polynomial one, with
            normal errors of log W_n of unknown size: positive where the exponential fits better.
        layers: the layers n used.
    """

    law: str
    factor: float
    factor_interval: tuple[float, float]
    power: float
    power_interval: tuple[float, float]
    log_ratio: float
    layers: np.ndarray


def decay(energies: Any, *, first: int = 1, floor: float | None = None) -> Decay:
    """The law by which W_n decays with n: exponential or polynomial, by likelihood.

    Args:
        energies: `Energies` of `infomech.scattering.energies`, of which layers are left out that
            pruning leaves uncertain by more than a tenth; or numbers W_0 … W_N.
        first: first layer used, at least 1.
        floor: layers with at most this share of W_0 are left out, as rounding or pruning may have
            made them; the square root of the dtype's rounding if None.

    Returns:
        `Decay`.

    Raises:
        ValueError: not one axis of at least two finite, non-negative numbers; under vmap `Energies`
            have more.
    """
    values = energies
    if isinstance(energies, Energies):
        # in units of their own, so that no scale of the signal leaves nothing of them
        values = energies.relative.propagated
        if np.ndim(values) == 1:
            low, high = np.asarray(energies.relative.propagated_bounds).T
            values = np.where(high <= 1.1 * low, np.asarray(values), 0)
    energy = np.asarray(checks.floating("energies", values))
    if energy.ndim != 1 or len(energy) < 2:
        raise checks.error("energies", f"shape {energy.shape}", "W_0 … W_N of one signal")
    checks.finite("energies", energy)
    if not np.all(energy >= 0):
        raise checks.error("energies", f"{energy.min():.3g}", "none below 0")
    first = checks.integer("first", first, 1)
    if floor is None:
        floor = math.sqrt(np.finfo(energy.dtype).eps)
    n = np.arange(len(energy))
    least = floor * float(energy[0])
    used = (n >= first) & (energy.astype(np.float64) > least)
    if used.sum() < MIN_LAYERS:
        nothing = (math.nan, math.nan)
        return Decay("none", math.nan, nothing, math.nan, nothing, math.nan, n[used])
    height = np.log(energy[used].astype(np.float64))
    by_layer, by_log = (_line(x, height) for x in (n[used], np.log(n[used])))
    ratio = 0.5 * used.sum() * math.log(max(by_log[2], 1e-300) / max(by_layer[2], 1e-300))
    low, high = (math.exp(-end) for end in by_layer[1][::-1])
    return Decay(
        LAWS[0] if ratio >= 0 else LAWS[1],
        math.exp(-by_layer[0]),
        (low, high),
        -by_log[0],
        (-by_log[1][1], -by_log[1][0]),
        ratio,
        n[used],
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Slope, its 95 % interval, and the sum of squared residuals."""
    from scipy import stats

    line = stats.linregress(x, y)
    rest = float(np.sum((y - line.intercept - line.slope * x) ** 2))
    reach = line.stderr * stats.t.ppf(0.975, len(x) - 2)
    return float(line.slope), (line.slope - reach, line.slope + reach), rest


def significant(paths: Paths, share: float = 0.99) -> np.ndarray:
    """Operationally significant nodes: the fewest paths that hold a share of their layer's energy.

    Args:
        paths: of `infomech.scattering.paths`; mirrored ones are counted.
        share: of the energy of the layer's computed paths, above 0 and at most 1.

    Returns:
        Counts of paths for each layer, (N + 1,).

    Raises:
        ValueError: a share out of range.
    """
    if not 0 < share <= 1:
        raise checks.error("share", share, "a number above 0 and at most 1")
    found = []
    for layer in range(paths.order.max() + 1):
        here = paths.order == layer
        rank = np.argsort(-paths.energy[here], kind="stable")
        energy = paths.energy[here][rank].astype(np.float64)
        many = paths.multiplicity[here][rank]
        held = np.cumsum(energy * many)
        if not held[-1] > 0:
            found.append(0)
            continue
        wanted = share * held[-1] * (1 - 1e-12)
        row = int(np.argmax(held >= wanted))
        before = held[row] - energy[row] * many[row]
        found.append(int(many[:row].sum() + math.ceil((wanted - before) / energy[row])))
    return np.array(found)


def by_scale(paths: Paths, frame: Frame, *, parts: int = 1) -> np.ndarray:
    """Energy of each layer by the scale of the last step, W_n split up.

    Args:
        paths: of `infomech.scattering.paths`.
        frame: the frame of all layers.
        parts: of the non-linearity.

    Returns:
        Array (N + 1, scales + 1), in units of the signal squared; column 0 is the signal itself,
        and bands without a scale.
    """
    scales = np.array([band.scale for band in frame.labels])
    table = np.zeros((paths.order.max() + 1, scales.max() + 1))
    last = np.array([scales[path[-1] // parts] if path else 0 for path in paths.steps])
    np.add.at(table, (paths.order, last), paths.energy * paths.multiplicity)
    return table
