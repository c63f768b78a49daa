"""What the atlas reads from the speeds of one setting: how laws fit, and where one is straight."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from experiments import straight
from experiments.atlas_sweeps import Case
from infomech import rates

#: fixed before any run: linear to 1 %, 5 %, 10 % of the speed gained
TOLERANCES = (0.01, 0.05, 0.10)
#: the kinds of lines, and whether they go through the origin
LINES = {"linear": False, "proportional": True}


@dataclass(frozen=True)
class Reading:
    """What was found in one setting and direction.

    Attributes:
        case: its speeds.
        fits: of all candidate laws, over all shares and where the rectifier is inactive.
        best: law of the highest R² over all shares, among those that are finite there: tan θ is
            infinite at ε = 1. None if no speed was measured.
        ranges: of either kind of lines, the deviation over every range.
        widest: of either kind, the widest range where the law holds to each tolerance, or None.
    """

    case: Case
    fits: tuple[rates.LawFit, ...]
    best: str | None
    ranges: dict[str, straight.Ranges]
    widest: dict[str, list[tuple[float, float] | None]]

    def r_squared(self, law: str, over: str = "all") -> float:
        """R² of one law over "all" shares or those where the rectifier is "inactive"."""
        return next(f.r_squared for f in self.fits if (f.law, f.over) == (law, over))


def reading(case: Case, resamples: int) -> Reading:
    """The fits of one case and, for both kinds of lines, where the law holds to each tolerance."""
    share, speed, key = case.share, case.speed, jax.random.key(0)
    fits = rates.fit_laws(share, speed, case.inactive_share, key=key, resamples=resamples)
    whole = [f for f in fits if f.over == "all" and f.points == np.sum(np.isfinite(speed))]
    best = max((f for f in whole if np.isfinite(f.r_squared)), key=_r_squared, default=None)
    ranges = {
        name: straight.ranges(share, speed, through_zero=through_zero)
        for name, through_zero in LINES.items()
    }
    widest = {
        name: [straight.widest(share, [every], p) for p in TOLERANCES]
        for name, every in ranges.items()
    }
    return Reading(case, fits, best.law if best else None, ranges, widest)


def _r_squared(fit: rates.LawFit) -> float:
    return fit.r_squared


def recorded(found: Reading) -> dict[str, Any]:
    """What is kept of a reading in the record."""
    whole = {name: float(every.deviation[0, -1]) for name, every in found.ranges.items()}
    return {
        **asdict(found.case),
        "refused": found.case.refused,
        "fits": found.fits,
        "best": found.best,
        "deviation": whole,
        "widest": found.widest,
    }
