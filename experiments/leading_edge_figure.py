"""Figure of `leading_edge`: disks at β = 1, their cores, and speeds against β."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from infomech import plot

COLORS = {2: "#0072B2", 3: "#D55E00"}
STYLES = {"relu": "-", "modulus": "--"}
WORDS = {"relu": "ReLU", "modulus": "modulus"}


def draw(results: dict[tuple[int, str], Any], setting: Any) -> Figure:
    """Fields early at β = 1; cores, early speeds of quantiles, late speeds of fronts against β.

    Args:
        results: `Edges` by size and rectifier.
        setting: settings of `leading_edge`.
    """
    with plot.style():
        figure = Figure(figsize=(13, 6.6), layout="constrained")
        above, (core, carried, early, late) = figure.subplots(2, 4, height_ratios=(1, 1.1))
        for panel, (case, edge) in zip(above, results.items(), strict=True):
            _draw_field(panel, case, edge, setting)
        for case, edge in results.items():
            _draw_lines(core, carried, late, case, edge, setting)
        _draw_quantiles(early, results, setting)
        core.set(
            title="Core left after one layer", ylabel="core over mean lit pixel", ylim=(0, None)
        )
        carried.set(title=f"Moving core, layer {setting.every}", ylabel="mass over initial mass")
        early.set(title="Early, 3×3: quantiles", ylabel="pixels per layer")
        late.set(title="Late: the front", ylabel="pixels per layer", ylim=(-0.5, 1.3))
        for panel in (core, carried, early, late):
            panel.set_xlabel("mixing ratio β")
            panel.axvline(1, color="black", linestyle=":", linewidth=1)
        core.legend(fontsize=7, loc="lower left")
        early.legend(fontsize=7, loc="lower left")
    return figure


def _draw_field(panel, case, edge, setting):
    size, rectifier = case
    values = edge.fields[setting.one, 1]
    shift = setting.every * ((size - 1) // 2 - (size - 1) / 2)
    # the center of the disk lies at 0
    first = -(size + setting.steps * ((size - 1) // 2)) - np.ceil(setting.radii[-1]) + shift
    rows, columns = values.shape
    panel.imshow(
        values / values.max(),
        cmap="magma",
        vmin=0,
        vmax=1,
        origin="lower",
        extent=(first - 0.5, first + columns - 0.5, first - 0.5, first + rows - 0.5),
    )
    radius = setting.radii[-1]
    panel.add_patch(Circle((0, 0), radius, fill=False, color="white", linestyle=":"))
    limit = 2.2 * radius
    panel.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
    panel.set_title(f"{size}×{size}, {WORDS[rectifier]}: β = 1, layer {setting.every}")
    panel.set_facecolor("black")
    panel.grid(False)


def _draw_lines(core, carried, late, case, edge, setting):
    size, rectifier = case
    style = {"color": COLORS[size], "linestyle": STYLES[rectifier], "linewidth": 1.4}
    half = setting.steps // setting.every // 2
    speed = edge.front[:, :, -1] - edge.front[:, :, half]
    speed = speed / (setting.steps - half * setting.every)
    for panel, values in ((core, edge.first), (carried, edge.carried[:, :, 1]), (late, speed)):
        label = f"{size}×{size}, {WORDS[rectifier]}" if panel is core else None
        panel.plot(setting.ratios, np.median(values, 0), **style, label=label)
        if rectifier == "relu":
            ends = values.min(0), values.max(0)
            panel.fill_between(setting.ratios, *ends, color=COLORS[size], alpha=0.12, linewidth=0)


def _draw_quantiles(panel, results, setting):
    words = ("trailing 5 %", "median", "leading 95 %")
    for rectifier, style in STYLES.items():
        places = results[3, rectifier].quantiles
        speed = np.median(places[:, :, 1] - places[:, :, 0], 0) / setting.every
        for n, color in enumerate(("#56B4E9", "#009E73", "#CC79A7")):
            panel.plot(
                setting.ratios,
                speed[:, n],
                style,
                color=color,
                linewidth=1.4,
                label=f"{words[n]}, {WORDS[rectifier]}",
            )
