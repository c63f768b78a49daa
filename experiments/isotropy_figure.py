"""Figure of `isotropy`: equal spreads, round shapes, and drifts of centers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from infomech import plot

#: drawn for values that are 0 up to rounding
FLOOR = 1e-16


def draw(families: Sequence[Any], equal: float, round_: float) -> Figure:
    """Variance ratios and fourth-order harmonics over layers, and drifts of the center.

    Args:
        found: families of `isotropy`.
        equal: tolerance of the ratios.
        round_: tolerance of the harmonics.
    """
    with plot.style():
        figure = Figure(figsize=(12.5, 4.3), layout="constrained")
        spreads, shapes, centers = figure.subplots(1, 3)
        for n, family in enumerate(families):
            layers = 1 + np.arange(family.ratio().shape[1])
            for panel, values in (
                (spreads, family.ratio()),
                (shapes, np.maximum(family.fourfold(), 1e-4)),
            ):
                middle = np.nanmedian(values, 0)
                panel.plot(layers, middle, color=f"C{n}", linewidth=1.5, label=family.name)
                if len(values) > 1:
                    low, high = np.nanquantile(values, (0.1, 0.9), axis=0)
                    panel.fill_between(layers, low, high, color=f"C{n}", alpha=0.15, linewidth=0)
        spreads.axhline(1 - equal, color="black", linestyle="--", linewidth=1)
        spreads.text(0, 1.005, "all kernels invariant under quarter turns", fontsize=7, va="bottom")
        spreads.set(
            xlabel="layer",
            ylabel="smallest over largest σ²",
            ylim=(0, 1.05),
            title="Equal spreads",
        )
        shapes.axhline(round_, color="black", linestyle="--", linewidth=1)
        shapes.set(
            xscale="log",
            yscale="log",
            xlabel="layer",
            ylabel="|κ(z⁴)| / σ⁴",
            title="Roundness to fourth order",
        )
        _draw_centers(centers, families)
        handles, labels = spreads.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _draw_centers(panel, families):
    """Sorted drifts of all rollouts, for inactive and active rectifiers."""
    inactive = [family.shapes["relu"].drift for family in families if family.inactive]
    groups = [("inactive, any pattern", np.concatenate(inactive).ravel(), "#0072B2", "-")]
    for rectifier, style in (("relu", "-"), ("modulus", "--")):
        signed = np.concatenate(
            [family.shapes[rectifier].drift for family in families if not family.inactive]
        )
        words = {"relu": "ReLU"}.get(rectifier, rectifier)
        groups += [
            (f"both signs, {words}, symmetric", signed[:, :2].ravel(), "#009E73", style),
            (f"both signs, {words}, asymmetric", signed[:, 2:].ravel(), "#D55E00", style),
        ]
    for name, values, color, style in groups:
        drift = np.sort(np.maximum(values[np.isfinite(values)], FLOOR))
        share = np.arange(1, len(drift) + 1) / len(drift)
        panel.plot(drift, share, style, color=color, label=name, drawstyle="steps-post")
    panel.set(
        xscale="log",
        xlabel="largest drift of the center (pixels)",
        ylabel="share of rollouts below",
        title="Drift of the center",
    )
    panel.set_xticks([10.0**n for n in range(-15, 3, 4)])
    panel.legend(fontsize=7, loc="center", bbox_to_anchor=(0.45, 0.45))
