"""Figure of `kernel_sizes`: speeds and diffusion of both sizes, and random pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import size_rates
from experiments.ledger import Number
from infomech import plot

COLORS = {2: "#0072B2", 3: "#D55E00"}
STYLES = {"relu": "-", "modulus": "--"}


def draw(family: dict[str, dict[int, Any]], shares: Sequence[Number], ratios: np.ndarray) -> Figure:
    """Rates against β (medians over directions and patterns, ranges for ReLU), and pairs."""
    with plot.style():
        figure = Figure(figsize=(12.5, 7), layout="constrained")
        (speed, along), (across, pairs) = figure.subplots(2, 2)
        for panel, name, title in (
            (speed, "speed", "Speed (pixels per layer)"),
            (along, "along", "Diffusion along the motion (pixels² per layer)"),
            (across, "across", "Diffusion across the motion (pixels² per layer)"),
        ):
            _draw_rates(panel, family, name, ratios)
            panel.set(xlabel="mixing ratio β", title=title)
        speed.legend(fontsize=7)
        _draw_shares(pairs, shares)
    return figure


def _draw_rates(panel, family, name, ratios):
    top = 0.0
    for rectifier, sizes in family.items():
        for size, rates in sizes.items():
            values = np.moveaxis(getattr(rates, name), 1, 0).reshape(len(ratios), -1)
            middle = np.nanmedian(values, 1)
            low, high = np.nanmin(values, 1), np.nanmax(values, 1)
            words = {"relu": "ReLU"}.get(rectifier, rectifier)
            panel.plot(
                ratios,
                middle,
                STYLES[rectifier],
                color=COLORS[size],
                linewidth=1.5,
                label=f"{size}×{size}, {words}",
            )
            if rectifier == "relu":
                panel.fill_between(ratios, low, high, color=COLORS[size], alpha=0.15, linewidth=0)
                top = max(top, float(high.max()))
    fine = np.linspace(0, 0.5, 101)
    for size in COLORS:
        values = size_rates.closed_form(size, fine)[name]
        panel.plot(fine, values, ":", color="black", linewidth=1)
    panel.plot([], [], ":", color="black", label="rectifier inactive, closed form")
    panel.set_ylim(-0.06 * top, 1.25 * top)


def _draw_shares(panel, shares):
    kinds = list(dict.fromkeys(number.name.rpartition(" | ")[2] for number in shares))
    for words, color, shift in (
        ("moves faster", "#009E73", 0.12),
        ("diffuses more", "#CC79A7", -0.12),
    ):
        group = [number for number in shares if words in number.name]
        rows = len(kinds) - 1 - np.arange(len(group)) + shift
        panel.hlines(
            rows,
            [number.low for number in group],
            [number.high for number in group],
            color=color,
            linewidth=2,
        )
        panel.plot([number.value for number in group], rows, "o", color=color, label=words)
    labels = [kind.replace(", ", ",\n", 1) for kind in kinds]
    panel.set_yticks(np.arange(len(kinds))[::-1], labels, fontsize=7)
    panel.axvline(0.5, color="black", linestyle="--", linewidth=1)
    panel.set(
        xlim=(0, 1.02),
        xlabel="share of pairs (95 % interval)",
        title="Random pairs: the 3×3 kernel …",
    )
    panel.legend(loc="lower left")
