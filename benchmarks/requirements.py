"""Performance requirements, measured values and verdicts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import peers

Row = dict[str, Any]
AIM_REACHED, REACHED, MISSED, UNKNOWN = "aim reached", "reached", "not reached", "not measured"


@dataclass(frozen=True)
class Requirement:
    """One row of the table.

    Attributes:
        title: the quantity and its reference.
        bound: the bound that must hold.
        aim: a stricter bound to aim for.
        measured: value in the worst case; None if not measured.
        where: the worst case, in words.
        unit: unit of the numbers; "×" for ratios.
        larger: whether larger is better.
    """

    title: str
    bound: float
    aim: float
    measured: float | None = None
    where: str = ""
    unit: str = "×"
    larger: bool = True

    @property
    def verdict(self) -> str:
        """Which of the two bounds hold, in words."""
        if self.measured is None or not math.isfinite(self.measured):
            return UNKNOWN
        sign = 1 if self.larger else -1
        if sign * self.measured >= sign * self.aim:
            return AIM_REACHED
        return REACHED if sign * self.measured >= sign * self.bound else MISSED


def table(
    rows: Sequence[Row], million: dict[str, Any] | None, scaling: dict[str, Any] | None
) -> list[Requirement]:
    """All requirements with their measured values.

    Args:
        rows: rows of all cases and contenders, from `turns.compete`.
        million: the result of `million.run`, or None.
        scaling: the result of `scaling.measure`, or None.
    """
    forward = [row for row in rows if not row["gradient"]]
    return [
        Requirement(
            "against the best of OpenCV, PyTorch, SciPy, lax.conv, every case",
            1.5,
            3.0,
            *_worst(forward, peers.LIBRARIES),
        ),
        *_against_numba(forward),
        *_gradients([row for row in rows if row["gradient"]]),
        _of_million(million),
        *_growth(scaling),
    ]


def _against_numba(forward: Sequence[Row]) -> Iterable[Requirement]:
    """Single fields and batches, against the plain stencil and the one with blocked rows."""
    single = [row for row in forward if row["fields"] == 1]
    batches = [row for row in forward if row["fields"] > 1]
    for name in (peers.NUMBA, peers.NUMBA_BLOCKED):
        stencil = f"the hand-written {name.replace('Numba', 'Numba stencil')}"
        yield Requirement(
            f"against {stencil}, single large field", 0.6, 1.0, *_worst(single, [name])
        )
        yield Requirement(
            "the same, batches of small fields with their own kernels",
            2.0,
            5.0,
            *_worst(batches, [name]),
        )


def _worst(rows: Sequence[Row], contenders: Iterable[str]) -> tuple[float | None, str]:
    """The smallest ratio over all cases, and its case and contender."""
    selected = [row for row in rows if row["contender"] in contenders]
    if not selected:
        return None, ""
    worst = min(selected, key=lambda row: row["ratio"])
    return worst["ratio"], f"{worst['title']}: {worst['contender']}"


def _gradients(rows: Sequence[Row]) -> Iterable[Requirement]:
    """Time and memory of the case with the most layers, and the worst ratio to PyTorch."""
    steps = max((row["steps"] for row in rows), default=1000)
    deep = {row["contender"]: row for row in rows if row["steps"] == steps}
    taps = next((row["kernel_size"] ** row["axes"] for row in deep.values()), 9)
    pixels = next((row["pixels"] for row in deep.values()), 256)
    title = f"value and gradient for the taps, T = {steps}, {pixels}²"
    ours, value = deep.get(peers.OURS), deep.get(peers.VALUE_ONLY)
    relative = 1 / value["ratio"] if value else None
    aim = 3.0 * (taps + 2)
    yield Requirement(f"{title}, over the forward run: time", 5.0, 3.5, relative, larger=False)
    for mode, row, bound in (
        ("", ours, 3 * math.sqrt(steps)),
        (" in forward mode", deep.get(peers.FORWARD_MODE), aim),
    ):
        peak = row["memory_fields"] if row else None
        yield Requirement(
            f"the same, peak memory{mode}", bound, aim, peak, unit="fields", larger=False
        )
    yield Requirement("gradients against PyTorch autograd", 10.0, 50.0, *_worst(rows, ["PyTorch"]))


def _of_million(million: dict[str, Any] | None) -> Requirement:
    title = "a million 3×3 kernels, each 32 layers on 32², speed and diffusion of each"
    seconds, where = None, ""
    if million:
        seconds = million["compile_s"] + million["seconds"] * 1e6 / million["kernels"]
        if million["kernels"] < 1e6:
            where = f"from {million['kernels']} kernels"
    return Requirement(title, 300.0, 90.0, seconds, where, "s", larger=False)


def _growth(scaling: dict[str, Any] | None) -> Iterable[Requirement]:
    """Exponents of the power laws; 1 is linear, 0 is flat."""
    exponents = scaling["exponents"] if scaling else {}
    for name in ("cells", "layers", "taps"):
        yield Requirement(
            f"time against {name}: linear, so an exponent of 1 or less",
            1.2,
            1.05,
            exponents.get(name),
            unit="",
            larger=False,
        )
    yield Requirement(
        "memory against layers without gradients: flat, so an exponent of 0",
        0.1,
        0.02,
        exponents.get("memory"),
        unit="",
        larger=False,
    )
