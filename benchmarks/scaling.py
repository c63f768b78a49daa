"""How time and memory of infomech grow with cells, layers and taps; and the plot of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import memory, peers, turns
from benchmarks.cases import Case, samples

BASE = Case(1, 512, 2, 3, 20)
#: time of these is measured
SWEEPS = {
    "cells": [replace(BASE, pixels=n) for n in (64, 128, 256, 512, 1024, 2048, 4096)],
    "layers": [replace(BASE, pixels=256, layers=t) for t in (10, 30, 100, 300, 1000, 3000)],
    "taps": [replace(BASE, taps=n) for n in (3, 5, 7, 9, 11, 15, 21)],
}
#: and peak memory of these
MEMORY = [replace(BASE, pixels=1024, layers=t) for t in (10, 30, 100, 300, 1000)]
#: layers and pixels of a quick run, which only shows that this works
QUICK = replace(BASE, pixels=32, layers=10)


def sweeps(quick: bool) -> tuple[dict[str, list[Case]], list[Case]]:
    """The cases whose time is measured, by what grows, and those whose memory is."""
    if not quick:
        return SWEEPS, MEMORY
    longer = [QUICK, replace(QUICK, layers=20)]
    larger, wider = [QUICK, replace(QUICK, pixels=64)], [QUICK, replace(QUICK, taps=5)]
    return {"cells": larger, "layers": longer, "taps": wider}, longer


def measure(quick: bool, bar: tqdm) -> dict[str, Any]:
    """Points (what grows, seconds) of each sweep, and peak memory in fields against layers.

    Returns:
        "cells", "layers", "taps": pairs with seconds of one rollout; "memory" and "memory,
        gradient": pairs (layers, fields); "exponents": by the same names, the slope of the
        straight line through the logarithms.
    """
    timed, remembered = sweeps(quick)
    result: dict[str, Any] = {}
    for name, cases in timed.items():
        result[name] = []
        for case in cases:
            bar.set_description(f"time against {name}")
            size = {"cells": case.pixels**case.axes, "layers": case.layers, "taps": case.tap_count}
            result[name].append((size[name], _median(case)))
            bar.update()
    bar.set_description("memory against layers")
    for name, gradient in (("memory", False), ("memory, gradient", True)):
        jobs = [(replace(case, gradient=gradient), peers.OURS, "") for case in remembered]
        used = memory.measure_all(jobs, bar)
        result[name] = [
            (case.layers, peak / case.field_bytes)
            for (case, _, _), peak in zip(jobs, used, strict=True)
            if peak is not None
        ]
    result["exponents"] = {name: exponent(points) for name, points in result.items()}
    return result


def points(quick: bool) -> int:
    """How many measurements `measure` makes."""
    timed, remembered = sweeps(quick)
    return sum(len(cases) for cases in timed.values()) + 2 * len(remembered)


def exponent(pairs: list[tuple[float, float]]) -> float | None:
    """a of the least-squares power law y ∝ x^a; None for fewer than two pairs."""
    if len(pairs) < 2:
        return None
    x, y = np.log(np.maximum(np.asarray(pairs, float), 1e-9)).T
    return float(np.polyfit(x, y, 1)[0])


def _median(case: Case, runs: int = 5) -> float:
    kernels, fields = samples(case)
    run, _ = peers.CONTENDERS[peers.OURS].variants[""](case, kernels, fields) or (None, None)
    assert run is not None
    run()
    return float(np.median([turns.settled(run) for _ in range(runs)]))


def draw(result: dict[str, Any], path: Path) -> None:
    """Writes the plot: three panels of time and one of memory, each with a straight guide."""
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
        spaced = ConstrainedLayoutEngine(hspace=0.06, wspace=0.06)
        figure = Figure(figsize=(8.4, 6.4), layout=spaced)
        panels = figure.subplots(2, 2).ravel()
        about = {
            "cells": f"3×3, {BASE.layers} layers",
            "layers": "256², 3×3",
            "taps": f"{BASE.pixels}², {BASE.layers} layers",
        }
        for axes, (name, words) in zip(panels, about.items(), strict=False):
            _panel(axes, name, "milliseconds", words)
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
    layers = np.asarray([case[0] for case in result["memory, gradient"]], float)
    if layers.size:
        axes.plot(layers, 3 * np.sqrt(layers), "--", color="0.6", label="3 √layers")
    for name, (marker, color, label) in styles.items():
        if result[name]:
            axes.plot(*np.asarray(result[name], float).T, marker, color=color, label=label)
    axes.legend()
