"""Readings of the atlas from the speeds of one setting: fits of laws, and linear ranges."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from experiments import straight
from experiments.atlas_sweeps import Case
from infomech import rates

#: fixed before any run: linear to 1 %, 5 %, 10 % of the speed gained
TOLERANCES = (0.01, 0.05, 0.10)
#: kinds of lines, and whether they pass through the origin
LINES = {"linear": False, "proportional": True}


@dataclass(frozen=True)
class Reading:
    """Result for one setting and direction.

    Attributes:
        case: its speeds.
        fits: of all candidate laws, over all shares and where the rectifier is inactive.
        best: law of the highest R² over all shares, among those finite there (tan θ is infinite at
            ε = 1). None if no speed was measured.
        ranges: deviations over all ranges, by kind of line.
        widest: widest range where the law holds to each tolerance, or None, by kind of line.
    """

    case: Case
    fits: tuple[rates.LawFit, ...]
    best: str | None
    ranges: dict[str, straight.Ranges]
    widest: dict[str, list[tuple[float, float] | None]]

    def r_squared(self, law: str, over: str = "all") -> float:
        """R² of one law over "all" shares, or only where the rectifier is "inactive"."""
        return next(f.r_squared for f in self.fits if (f.law, f.over) == (law, over))


def reading(case: Case, resamples: int) -> Reading:
    """Fits of one case and, for both kinds of lines, where the law holds to each tolerance."""
    share, speed, key = case.share, case.speed, jax.random.key(0)
    fits = rates.fit_laws(share, speed, case.inactive_share, key=key, resamples=resamples)
    complete = [f for f in fits if f.over == "all" and f.points == np.sum(np.isfinite(speed))]
    best = max((f for f in complete if np.isfinite(f.r_squared)), key=_r_squared, default=None)
    ranges = {
        name: straight.ranges(share, speed, through_zero=through_zero)
        for name, through_zero in LINES.items()
    }
    widest = {
        name: [straight.widest(share, [curve], p) for p in TOLERANCES]
        for name, curve in ranges.items()
    }
    return Reading(case, fits, best.law if best else None, ranges, widest)


def _r_squared(fit: rates.LawFit) -> float:
    return fit.r_squared


def recorded(reading: Reading) -> dict[str, Any]:
    """A reading as it is stored in the record."""
    deviation = {name: float(curve.deviation[0, -1]) for name, curve in reading.ranges.items()}
    return {
        **asdict(reading.case),
        "refused": reading.case.refused,
        "fits": reading.fits,
        "best": reading.best,
        "deviation": deviation,
        "widest": reading.widest,
    }
