"""What an experiment hands back: its verdict, the reading that makes it true, and its numbers."""

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
    """A measured number beside what was asked of it.

    Attributes:
        name: what it is, unique among the numbers of a finding.
        value: the number; None where there is none.
        low, high: ends of its interval, of 95 % where it is drawn from samples; None without one.
        unit: nothing for a pure number.
        wanted: the tolerance in words, as fixed in the experiment's file; nothing if none is.
        met: whether it was kept; None if nothing was asked, or if that can't be told.
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
    """What an experiment found.

    Attributes:
        verdict: one of `VERDICTS`.
        reading: one or two sentences on which reading or regime makes it so.
        setting: what was measured on, in words.
        numbers: that the verdict rests on.
        figure: PNG file, or None.
        text: all of it as lines for a terminal.
    """

    verdict: str
    reading: str
    setting: str
    numbers: tuple[Number, ...]
    figure: Path | None
    text: str


def verdict(parts: Iterable[bool]) -> str:
    """ "holds" if every part does, "holds in a regime" if some do, else "fails"."""
    held = [bool(part) for part in parts]
    if held and all(held):
        return HOLDS
    return IN_A_REGIME if any(held) else FAILS


def proportion(hits: int, count: int) -> tuple[float, float, float]:
    """The share hits/count and its 95 % interval after Wilson, which stays within [0, 1]."""
    z = 1.959964
    share, shrink = hits / count, 1 + z**2 / count
    middle = (share + z**2 / (2 * count)) / shrink
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / shrink
    return share, max(0.0, float(middle - half)), min(1.0, float(middle + half))


def median(values: np.ndarray) -> tuple[float, float, float]:
    """The median of samples and its interval of at least 95 %: ordered samples around it.

    As many are left out at either end as leave no more than 2.5 % to it, after the binomial of
    fair coins; NaN among the samples is left out first, and all are NaN if nothing is left.
    """
    ordered = np.sort(values[np.isfinite(values)])
    count = len(ordered)
    if count == 0:
        return np.nan, np.nan, np.nan
    below = special.bdtr(np.arange(count), count, 0.5)
    # below six samples even the outermost two are no interval of 95 %: they are the nearest to it
    left_out = max(0, int(np.sum(below <= 0.025)) - 1)
    return float(np.median(ordered)), float(ordered[left_out]), float(ordered[-1 - left_out])


def shown(value: float, wanted: str = "") -> str:
    """A number to four digits, or to as many as keep it apart from the numbers in `wanted`.

    A value of 0.98997 is not shown as 0.99 beside "at least 0.99".
    """
    bounds = [float(text) for text in re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", wanted)]
    for digits in range(4, 17):
        text = f"{value:.{digits}g}"
        if float(text) not in bounds or value in bounds:
            break
    return text


def line(number: Number) -> str:
    """A number for a terminal, with its interval and what was wanted."""
    value = "none" if number.value is None else shown(number.value, number.wanted)
    ends = ""
    if number.low is not None and number.high is not None:
        low, high = (shown(end, number.wanted) for end in (number.low, number.high))
        ends = f" ({low} to {high})"
    met = {None: "can't be told", True: "yes", False: "no"}[number.met]
    wanted = f"   [{number.wanted}: {met}]" if number.wanted else ""
    return f"{number.name:<88}{value}{ends} {number.unit}{wanted}"
