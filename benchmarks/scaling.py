"""Scaling of infomech's time and memory with cells, layers and taps, and its plot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import memory, peers, turns
from benchmarks.cases import Case, inputs

BASE = Case(1, 512, 2, 3, 20)
#: cases whose time is measured
SWEEPS = {
    "cells": [replace(BASE, pixels=n) for n in (64, 128, 256, 512, 1024, 2048, 4096)],
    "layers": [replace(BASE, pixels=256, steps=t) for t in (10, 30, 100, 300, 1000, 3000)],
    "taps": [replace(BASE, kernel_size=n) for n in (3, 5, 7, 9, 11, 15, 21)],
}
#: cases whose peak memory is measured
MEMORY = [replace(BASE, pixels=1024, steps=t) for t in (10, 30, 100, 300, 1000)]
#: base case of a quick run
QUICK = replace(BASE, pixels=32, steps=10)


def sweeps(quick: bool) -> tuple[dict[str, list[Case]], list[Case]]:
    """The cases whose time is measured, by the quantity that grows, and those for memory."""
    if not quick:
        return SWEEPS, MEMORY
    longer = [QUICK, replace(QUICK, steps=20)]
    larger, wider = [QUICK, replace(QUICK, pixels=64)], [QUICK, replace(QUICK, kernel_size=5)]
    return {"cells": larger, "layers": longer, "taps": wider}, longer


def measure(quick: bool, bar: tqdm) -> dict[str, Any]:
    """Time of one rollout against each quantity, and peak memory against layers.

    Returns:
        "cells", "layers", "taps": pairs (quantity, seconds); "memory" and "memory, gradient": pairs
        (layers, peak memory in fields); "exponents": by the same names, the slope of a straight
        line through the logarithms.
    """
    time_cases, memory_cases = sweeps(quick)
    result: dict[str, Any] = {}
    for name, cases in time_cases.items():
        result[name] = []
        for case in cases:
            bar.set_description(f"time against {name}")
            sizes = {"cells": case.pixels**case.axes, "layers": case.steps, "taps": case.tap_count}
            result[name].append((sizes[name], _median(case)))
            bar.update()
    bar.set_description("memory against layers")
    for name, gradient in (("memory", False), ("memory, gradient", True)):
        jobs = [(replace(case, gradient=gradient), peers.OURS, "") for case in memory_cases]
        peaks = memory.measure_all(jobs, bar)
        result[name] = [
            (case.steps, peak / case.field_bytes)
            for (case, _, _), peak in zip(jobs, peaks, strict=True)
            if peak is not None
        ]
    result["exponents"] = {name: exponent(points) for name, points in result.items()}
    return result


def points(quick: bool) -> int:
    """Number of measurements in `measure`."""
    time_cases, memory_cases = sweeps(quick)
    return sum(len(cases) for cases in time_cases.values()) + 2 * len(memory_cases)


def exponent(pairs: list[tuple[float, float]]) -> float | None:
    """Exponent a of the least-squares power law y ∝ x^a; None for fewer than two pairs."""
    if len(pairs) < 2:
        return None
    x, y = np.log(np.maximum(np.asarray(pairs, float), 1e-9)).T
    return float(np.polyfit(x, y, 1)[0])


def _median(case: Case, runs: int = 5) -> float:
    kernels, fields = inputs(case)
    run, _ = peers.CONTENDERS[peers.OURS].variants[""](case, kernels, fields) or (None, None)
    assert run is not None
    run()
    return float(np.median([turns.settled(run) for _ in range(runs)]))


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw three panels of time and one of memory, each with a straight guide line."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from infomech import plot

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(style):
        layout = ConstrainedLayoutEngine(hspace=0.06, wspace=0.06)
        figure = Figure(figsize=(8.4, 6.4), layout=layout)
        panels = figure.subplots(2, 2).ravel()
        titles = {
            "cells": f"3×3, {BASE.steps} layers",
            "layers": "256², 3×3",
            "taps": f"{BASE.pixels}², {BASE.steps} layers",
        }
        for axes, (name, title) in zip(panels, titles.items(), strict=False):
            _panel(axes, name, "milliseconds", title)
            x, y = np.asarray(result[name], float).T
            axes.plot(x, y[-1] * 1e3 * x / x[-1], "--", color="0.6", label=f"∝ {name}")
            axes.plot(x, y * 1e3, "o-", color="#0072B2", label="rollout")
            axes.legend()
        _memory_panel(panels[3], result)
        plot.save(figure, path)


def _panel(axes: Any, x: str, y: str, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)


def _memory_panel(axes: Any, result: dict[str, Any]) -> None:
    _panel(axes, "layers", "peak memory, in fields", f"{MEMORY[0].pixels}², 3×3")
    styles = {
        "memory, gradient": ("^-", "#D55E00", "value and gradient"),
        "memory": ("o-", "#0072B2", "rollout"),
    }
    layers = np.asarray([pair[0] for pair in result["memory, gradient"]], float)
    if layers.size:
        axes.plot(layers, 3 * np.sqrt(layers), "--", color="0.6", label="3 √layers")
    for name, (marker, color, label) in styles.items():
        if result[name]:
            axes.plot(*np.asarray(result[name], float).T, marker, color=color, label=label)
    axes.legend()
