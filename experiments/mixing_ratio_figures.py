"""Figure of `mixing_ratio`: speeds of both rectifiers, and where the modulus is faster."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from experiments.mixing_ratio_sweeps import Case
from infomech import plot


def draw(cases: Sequence[Case], faster: float) -> Figure:
    """Speed against β for each size, and modulus minus ReLU in every setting."""
    with plot.style():
        figure = Figure(figsize=(12, 3.2 + 0.12 * len(cases)), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.15))
        speeds, gains = (figure.add_subplot(grid[i, 0]) for i in range(2))
        _speeds(speeds, cases)
        _gains(gains, cases)
        _map(figure, figure.add_subplot(grid[:, 1]), cases, faster)
    return figure


def _speeds(panel, cases):
    shown = [case for case in cases if case.axes == 1 and case.pattern == cases[-1].pattern]
    for case in shown:
        color = f"C{case.taps - 2}"
        panel.plot(case.ratio, case.speed["relu"], color=color, label=f"{case.taps} taps")
        panel.plot(case.ratio, case.speed["modulus"], "--", color=color, linewidth=1)
        inactive = case.inactive
        panel.plot(case.ratio[inactive], case.theory[inactive], ".", color=color, markersize=5)
    panel.plot([], [], "k-", label="ReLU")
    panel.plot([], [], "k--", linewidth=1, label="modulus")
    panel.plot([], [], "k.", markersize=5, label="σ₁ β/(1 − β)")
    panel.set(
        xlabel="mixing ratio β",
        ylabel="speed (pixels per layer)",
        xlim=(0, 1),
        title=f"Speed of the {shown[0].pattern}, one dimension",
    )
    panel.legend(fontsize=7)


def _gains(panel, cases):
    for case in cases:
        style = "-" if case.axes == 1 else "--"
        panel.plot(
            case.ratio[:-1],
            case.gain[:-1],
            style,
            color=f"C{case.taps - 2}",
            linewidth=0.9,
            alpha=0.8,
        )
    panel.axhline(0, color="black", linewidth=0.8)
    panel.set(
        xlabel="mixing ratio β",
        ylabel="modulus − ReLU (px/layer)",
        xlim=(0.3, 1),
        ylim=(-0.4, 0.2),
        title="All settings except β = 1 (dashed: two dimensions)",
    )


def _map(figure, panel, cases, faster):
    largest = max(float(np.max(np.abs(case.gain))) for case in cases)
    norm = SymLogNorm(faster, vmin=-largest, vmax=largest)
    for row, case in enumerate(cases):
        half = 0.5 * case.ratio[1]
        image = panel.imshow(
            case.gain[None],
            extent=(-half, 1 + half, row + 0.5, row - 0.5),
            cmap="RdBu",
            norm=norm,
            aspect="auto",
            interpolation="nearest",
        )
        panel.plot([case.inactive_ratio] * 2, [row - 0.5, row + 0.5], "k", linewidth=1.2)
    panel.set_xlim(0, 1 + 0.5 * max(case.ratio[1] for case in cases))
    panel.set_ylim(len(cases) - 0.5, -0.5)
    panel.set_yticks(range(len(cases)), [case.name for case in cases], fontsize=7)
    panel.grid(visible=False)
    panel.set(
        xlabel="mixing ratio β (inactive left of the black line)",
        title="Where the modulus is faster",
    )
    bar = figure.colorbar(image, ax=panel, shrink=0.8)
    bar.set_label("modulus − ReLU (pixels per layer)")
