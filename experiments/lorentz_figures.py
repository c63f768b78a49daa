"""Figure of `lorentz`: contraction, boosts, and composition of layers."""

import numpy as np
from matplotlib.figure import Figure

from experiments import lorentz_parts
from experiments.lorentz_parts import Group, LorentzSettings, Plane
from infomech import plot, theory


def draw(groups: dict[str, Group], plane: Plane | None, setting: LorentzSettings) -> Figure:
    """Contraction, tilts as boosts, alternating layers, and rapidities of two layers."""
    with plot.style():
        figure = Figure(figsize=(11, 8.4), layout="constrained")
        (contraction, boosts), (turns, rapidities) = figure.subplots(2, 2)
        _contraction(contraction, groups, plane, setting)
        _boosts(boosts, groups, setting)
        _turns(turns, groups)
        _rapidities(rapidities, groups)
    return figure


def _contraction(panel, groups, plane, setting):
    v = np.linspace(0, 1, 200)
    panel.plot(v, np.sqrt(1 - v**2), "k", linewidth=1, label="1/γ")
    for i, taps in enumerate(setting.taps):
        group, rest = groups[f"{taps} taps"], theory.step_spread(taps)
        inactive = lorentz_parts.inactive(group.kernel)
        x, y = group.speed / rest, np.sqrt(np.maximum(group.spread, 0)) / rest
        panel.plot(
            x[inactive],
            y[inactive],
            "o",
            color=f"C{i}",
            markersize=4,
            label=f"{taps} taps, inactive",
        )
        panel.plot(
            x[~inactive], y[~inactive], "o", color=f"C{i}", markersize=4, markerfacecolor="none"
        )
    if plane:
        panel.plot(
            plane.speed,
            np.sqrt(np.maximum(plane.along, 0)),
            "+",
            color="gray",
            markersize=5,
            label="2×2 and 3×3 taps",
            zorder=1,
        )
    kinds = {
        "non-negative": lorentz_parts.own_rest(groups["non-negative"].kernel),
        "both signs": groups["both signs, even part"].spread,
    }
    for (name, rest_own), marker in zip(kinds.items(), ("^", "x"), strict=True):
        group = groups[name]
        square = np.where(rest_own > 1e-9, rest_own, np.nan)
        x, y = np.abs(group.speed) / np.sqrt(square), np.sqrt(np.maximum(group.spread, 0) / square)
        panel.plot(x, y, marker, color="black", markersize=4, alpha=0.6, label=f"random, {name}")
    panel.axvline(1, color="black", linewidth=0.6, linestyle=":")
    panel.set(
        xlabel="v/c, c² = D of the even part",
        ylabel="√(D/c²)",
        xlim=(0, 2),
        ylim=(0, 1.5),
        title="Contraction (open: rectifier active)",
    )
    panel.legend(fontsize=7)


def _boosts(panel, groups, setting):
    tilts = np.linspace(-3, 3, setting.tilts)
    fine = np.linspace(-3, 3, 200)
    panel.plot(fine / 2, np.tanh(fine / 2), "k", linewidth=1, label="tanh")
    for i, (name, kernel) in enumerate(lorentz_parts.boosted(setting).items()):
        group, limit = groups[f"boosted {name}"], (len(kernel) - 1) / 2
        rapidities = lorentz_parts.boosts(group.speed / limit, tilts)
        panel.plot(
            rapidities,
            group.speed / limit,
            "o-",
            markersize=9 - 1.5 * i,
            linewidth=0.8,
            color=f"C{i}",
            label=name,
        )
    panel.set(
        xlabel="artanh(v/c) without tilt + η/2",
        ylabel="v/c, c = reach of the taps",
        title="Tilted taps k(r) exp(ηr)",
    )
    panel.legend(fontsize=7)


def _turns(panel, groups):
    top = 2.0
    panel.plot([0, top], [0, top], "k", linewidth=1, label="v₁ + v₂")
    for (words, *_), color in zip(lorentz_parts.PAIRS, ("C0", "C1", "C2"), strict=True):
        pairs, first, second = (groups[f"{what}, {words}"] for what in ("pairs", "first", "second"))
        x = first.speed + second.speed
        panel.plot(x, 2 * pairs.speed, "o", color=color, markersize=4, label=f"measured, {words}")
        predicted = lorentz_parts.added(first.speed, second.speed, 1.0)
        panel.plot(x, predicted, "x", color=color, markersize=4, label=f"relativistic sum, {words}")
    panel.set(
        xlabel="v₁ + v₂ (pixels)",
        ylabel="displacement by two layers (pixels)",
        title="Two alternating kernels of 3 taps (c = 1, their reach)",
    )
    panel.legend(fontsize=7)


def _rapidities(panel, groups):
    pairs = groups["pairs, inactive"].kernel
    both, total = lorentz_parts.rapidities_of_two(pairs)
    top = float(np.nanmax(total)) * 1.05
    panel.plot([0, top], [0, top], "k", linewidth=1, label="sum")
    panel.plot([0, top], [0, top / 2], "k--", linewidth=1, label="mean")
    panel.plot(total, both, "o", markersize=4, label="k₁ * k₂, 3 taps, inactive")
    panel.set(
        xlabel="sum of artanh(tan θ) of both layers",
        ylabel="artanh(tan θ) of k₁ * k₂",
        title="Rapidities of kernels do not add over layers",
    )
    panel.legend(fontsize=7)
