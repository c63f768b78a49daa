"""Linear fits of speed against each candidate law, with bootstrap intervals."""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers, theory
from infomech._core import checks
from infomech.rates import _estimates

#: smallest R² of a law that is called linear
LINEAR_R_SQUARED = 0.99
#: symbols of the candidate laws
SYMBOLS = {"share": "ε", "sqrt_share": "√ε", "tangent": "tan θ", "ratio": "β"}


@dataclass(frozen=True)
class LawFit:
    """One candidate law fitted over one range of shares; intervals are 95 % bootstrap intervals."""

    law: str
    over: str
    points: int
    slope: float
    slope_interval: tuple[float, float]
    intercept: float
    r_squared: float
    r_squared_interval: tuple[float, float]


def format_r_squared(r_squared: float, digits: int = 4) -> str:
    """R² to `digits` decimals, rounded down, so a value below a bound never appears to reach it.

    A value within a hundredth of the last digit of 1 is a rounding error and shown as 1; NaN is
    shown as "nan".
    """
    if math.isnan(r_squared):
        return "nan"
    unit = 10**digits
    if 1 - 0.01 / unit < r_squared < 1:
        rounded = 1.0
    else:
        rounded = math.floor(r_squared * unit * (1 + 1e-12)) / unit
    return f"{rounded:.{digits}f}"


def inactive_share(
    kernel_size: tuple[int, ...], direction: Any, rectifier: str, *, dtype: Any = None
) -> float:
    """Largest odd share of the DC + gradient family with an inactive rectifier; NaN if none.

    Arguments and errors as for `infomech.theory.inactive_range`; 1 for the identity.
    """
    if rectifier == "identity":
        return 1.0
    inactive = theory.inactive_range(kernel_size, direction, dtype=dtype)
    return float(inactive.share) if rectifiers.get(rectifier).keeps_nonnegative else math.nan


def fit_laws(
    share: np.ndarray,
    speed: np.ndarray,
    inactive_share: float,
    *,
    key: jax.Array,
    resamples: int = 1000,
) -> tuple[LawFit, ...]:
    """Fits each candidate law to speeds, over all shares and where the rectifier is inactive.

    Args:
        share: odd shares ε, (n,).
        speed: pixels per layer, (n,); NaN are excluded.
        inactive_share: the rectifier is inactive up to this share; NaN if it is always active.
        key: typed key of the bootstrap.
        resamples: bootstrap draws behind the intervals.

    Returns:
        One `LawFit` for each law of `infomech.rates.candidates` and each range, "all" and
        "inactive"; NaN if fewer than two points remain.

    Raises:
        ValueError: a share outside [0, 1], arrays of unequal lengths, `resamples` < 1.
    """
    checks.unmasked("share", share)
    checks.unmasked("speed", speed)
    # include a share at the end of the inactive range, however it was rounded
    inactive = share <= inactive_share * (1 + 1e-6)
    ranges = {"all": np.ones_like(inactive), "inactive": inactive}
    curves = _estimates.candidates(jnp.asarray(share, speed.dtype))
    names = list(itertools.product(curves, ranges))
    x = np.stack([np.asarray(curves[law]) for law, _ in names])
    used = np.stack([ranges[over] for _, over in names]) & np.isfinite(x)
    used &= np.isfinite(speed)
    lines, intervals = jax.device_get(_fit_rows(x, speed, used, key, resamples))
    return tuple(
        LawFit(
            law,
            over,
            int(used[i].sum()),
            float(lines.slope[i]),
            tuple(intervals.slope[i].tolist()),
            float(lines.intercept[i]),
            float(lines.r_squared[i]),
            tuple(intervals.r_squared[i].tolist()),
        )
        for i, (law, over) in enumerate(names)
    )


@functools.partial(jax.jit, static_argnames="resamples")
def _fit_rows(x, speed, used, key, resamples):
    """Lines through the points of each row of x, and their bootstrap intervals."""
    lines = jax.vmap(lambda x, used: _estimates.fit_line(x, speed, used))(x, used)
    intervals = functools.partial(_estimates.bootstrap, key=key, resamples=resamples)
    return lines, jax.vmap(lambda x, used: intervals(x, speed, used))(x, used)
