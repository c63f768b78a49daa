"""What infomech is required to reach, what it did reach, and the verdict."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import peers

Row = dict[str, Any]
REACHED_AIM, REACHED, MISSED, UNKNOWN = "aim reached", "reached", "not reached", "not measured"


@dataclass(frozen=True)
class Requirement:
    """One line of the table.

    Attributes:
        what: is compared with what.
        least: the bound that has to be kept.
        aim: the bound that is aimed for.
        measured: the worst case; None if there is none.
        where: the worst case, in words.
        unit: of the numbers; "×" for ratios.
        larger: whether larger is better.
    """

    what: str
    least: float
    aim: float
    measured: float | None = None
    where: str = ""
    unit: str = "×"
    larger: bool = True

    @property
    def verdict(self) -> str:
        """Which of the bounds are kept, in words."""
        if self.measured is None or not math.isfinite(self.measured):
            return UNKNOWN
        sign = 1 if self.larger else -1
        if sign * self.measured >= sign * self.aim:
            return REACHED_AIM
        return REACHED if sign * self.measured >= sign * self.least else MISSED


def table(
    rows: Sequence[Row], million: dict[str, Any] | None, scaling: dict[str, Any] | None
) -> list[Requirement]:
    """All requirements, with what was measured.

    Args:
        rows: of all cases and contenders, as `turns.compete` makes them.
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
        *_beside_numba(forward),
        *_gradients([row for row in rows if row["gradient"]]),
        _of_million(million),
        *_growth(scaling),
    ]


def _beside_numba(forward: Sequence[Row]) -> Iterable[Requirement]:
    """Single fields and batches, beside the plain stencil and the one with rows blocked."""
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
    """The smallest ratio in any case, and where it is."""
    found = [row for row in rows if row["contender"] in contenders]
    if not found:
        return None, ""
    worst = min(found, key=lambda row: row["ratio"])
    return worst["ratio"], f"{worst['title']}: {worst['contender']}"


def _gradients(rows: Sequence[Row]) -> Iterable[Requirement]:
    """Time, memory and PyTorch; time and memory of the case with the most layers."""
    layers = max((row["layers"] for row in rows), default=1000)
    deep = {row["contender"]: row for row in rows if row["layers"] == layers}
    taps = next((row["taps"] ** row["axes"] for row in deep.values()), 9)
    pixels = next((row["pixels"] for row in deep.values()), 256)
    what = f"value and gradient for the taps, T = {layers}, {pixels}²"
    ours, value = deep.get(peers.OURS), deep.get(peers.VALUE_ONLY)
    over = 1 / value["ratio"] if value else None
    low = 3.0 * (taps + 2)
    yield Requirement(f"{what}, over the forward run: time", 5.0, 3.5, over, larger=False)
    for mode, row, least in (
        ("", ours, 3 * math.sqrt(layers)),
        (" in forward mode", deep.get(peers.FORWARD_MODE), low),
    ):
        used = row["memory_fields"] if row else None
        yield Requirement(
            f"the same, peak memory{mode}", least, low, used, unit="fields", larger=False
        )
    yield Requirement("gradients against PyTorch autograd", 10.0, 50.0, *_worst(rows, ["PyTorch"]))


def _of_million(million: dict[str, Any] | None) -> Requirement:
    what = "a million 3×3 kernels, each 32 layers on 32², speed and diffusion of each"
    seconds, where = None, ""
    if million:
        seconds = million["compile_s"] + million["seconds"] * 1e6 / million["kernels"]
        if million["kernels"] < 1e6:
            where = f"from {million['kernels']} kernels"
    return Requirement(what, 300.0, 90.0, seconds, where, "s", larger=False)


def _growth(scaling: dict[str, Any] | None) -> Iterable[Requirement]:
    """Exponents of the power laws; 1 is linear, 0 is flat."""
    found = scaling["exponents"] if scaling else {}
    for name in ("cells", "layers", "taps"):
        yield Requirement(
            f"time against {name}: linear, so an exponent of 1 or less",
            1.2,
            1.05,
            found.get(name),
            unit="",
            larger=False,
        )
    yield Requirement(
        "memory against layers without gradients: flat, so an exponent of 0",
        0.1,
        0.02,
        found.get("memory"),
        unit="",
        larger=False,
    )
