"""The result of an experiment: its verdict, the reading behind it, and its numbers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

HOLDS, IN_A_REGIME, FAILS = "holds", "holds in a regime", "fails"
VERDICTS = (HOLDS, IN_A_REGIME, FAILS)


@dataclass(frozen=True)
class Number:
    """A measured number and its criterion.

    Attributes:
        name: unique within a finding.
        value: the number; None if it does not exist.
        low, high: ends of its interval (95 % for samples); None without one.
        unit: empty if dimensionless.
        wanted: the criterion in words, as fixed in the experiment's file; empty without one.
        met: whether the criterion is met; None without one, or if undecided.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    wanted: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Finding:
    """Result of an experiment.

    Attributes:
        verdict: one of `VERDICTS`.
        reading: one or two sentences that name the reading or regime behind the verdict.
        setting: what was measured, in words.
        numbers: on which the verdict is based.
        figure: PNG file, or None.
        text: the whole result as lines for a terminal.
    """

    verdict: str
    reading: str
    setting: str
    numbers: tuple[Number, ...]
    figure: Path | None
    text: str


def verdict(parts: Iterable[bool]) -> str:
    """ "holds" if all parts hold, "holds in a regime" if some do, else "fails"."""
    holds = [bool(part) for part in parts]
    if holds and all(holds):
        return HOLDS
    return IN_A_REGIME if any(holds) else FAILS


def proportion(hits: int, count: int) -> tuple[float, float, float]:
    """Share hits/count and its 95 % Wilson interval, which lies within [0, 1]."""
    z = 1.959964
    share, shrink = hits / count, 1 + z**2 / count
    middle = (share + z**2 / (2 * count)) / shrink
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / shrink
    return share, max(0.0, float(middle - half)), min(1.0, float(middle + half))


def median(values: np.ndarray) -> tuple[float, float, float]:
    """Median of samples and its interval of at least 95 % between two order statistics.

    By the binomial distribution of fair coins, at most 2.5 % lies beyond either end. NaN samples
    are dropped first; without samples the result is NaN.
    """
    ordered = np.sort(values[np.isfinite(values)])
    count = len(ordered)
    if count == 0:
        return np.nan, np.nan, np.nan
    below = special.bdtr(np.arange(count), count, 0.5)
    # below six samples even minimum and maximum cover less than 95 %; they are returned anyway
    skip = max(0, int(np.sum(below <= 0.025)) - 1)
    return float(np.median(ordered)), float(ordered[skip]), float(ordered[-1 - skip])


def shown(value: float, wanted: str = "") -> str:
    """A number to four digits, or to as many as distinguish it from the numbers in `wanted`.

    For example, 0.98997 is not shown as 0.99 next to "at least 0.99".
    """
    bounds = [float(text) for text in re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", wanted)]
    for digits in range(4, 17):
        text = f"{value:.{digits}g}"
        if float(text) not in bounds or value in bounds:
            break
    return text


def line(number: Number) -> str:
    """A number with its interval and criterion, for a terminal."""
    value = "none" if number.value is None else shown(number.value, number.wanted)
    ends = ""
    if number.low is not None and number.high is not None:
        low, high = (shown(end, number.wanted) for end in (number.low, number.high))
        ends = f" ({low} to {high})"
    met = {None: "undecided", True: "yes", False: "no"}[number.met]
    wanted = f"   [{number.wanted}: {met}]" if number.wanted else ""
    return f"{number.name:<88}{value}{ends} {number.unit}{wanted}"
