"""Figure of `larger_filters`: momenta of modes, shares of higher modes, speeds, and laws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import mode_momenta
from infomech import plot
from infomech.plot._style import COLORS, MARKERS


def draw(
    modes: dict[int, Any], layers: Sequence[Any], moved: Sequence[Any], fits: dict[Any, Any]
) -> Figure:
    """Momenta of modes, shares of higher modes, speeds, and R² of candidate laws.

    Args:
        modes: momenta of modes, measured and from theory, by number of taps.
        layers: shares of higher modes in layers of networks.
        moved: kernels by kind, and their rates.
        fits: R² with its interval, by kind and law.
    """
    with plot.style():
        figure = Figure(figsize=(12.5, 8), layout="constrained")
        (momenta, shares), (speeds, laws) = figure.subplots(2, 2)
        _draw_momenta(momenta, modes)
        _draw_shares(shares, layers)
        _draw_speeds(speeds, moved)
        _draw_laws(laws, fits)
    return figure


def _draw_momenta(panel, modes):
    for n, (taps, (measured, _)) in enumerate(modes.items()):
        a = np.arange(1, taps, 2)
        panel.plot(
            a, np.abs(measured[a, 0, 0]), MARKERS[n], color=COLORS[n], label=f"{taps}×{taps}"
        )
        fine = np.linspace(1, taps - 1, 100)
        phi = np.pi * fine / (2 * taps)
        panel.plot(fine, np.cos(phi) / np.sqrt(2) / np.sin(phi) ** 2, color=COLORS[n], linewidth=1)
        panel.plot(fine, abs(measured[1, 0, 0]) / fine**2, ":", color=COLORS[n], linewidth=1)
    panel.plot([], [], color="black", linewidth=1, label="cos φ/(√2 sin² φ), φ = πa/2n")
    panel.plot([], [], ":", color="black", linewidth=1, label="1/a²")
    panel.set(
        yscale="log",
        xlabel="a (odd; other modes carry no momentum)",
        ylabel="momentum (pixels)",
        title="Momentum of mode (a, 0) of unit energy",
    )
    panel.legend()


def _draw_shares(panel, layers):
    rows = np.arange(len(layers))[::-1]
    for name, color, words in (
        ("energy", COLORS[0], "of the energy"),
        ("momentum", COLORS[1], "of squared momenta"),
    ):
        value, low, high = np.array([getattr(layer, name) for layer in layers]).T
        panel.hlines(rows, low, high, color=color, linewidth=2)
        panel.plot(value, rows, "o", color=color, label=words)
    panel.set_yticks(rows, [layer.name for layer in layers], fontsize=7)
    panel.set(
        xlim=(-0.02, 1), xlabel="share of higher modes (95 % interval)", title="Layers of networks"
    )
    panel.legend(loc="upper center")


def _draw_speeds(panel, moved):
    size = moved[-1].kernels.shape[1:]
    for n, kind in enumerate(kind for kind in moved if kind.kernels.shape[1:] == size):
        share = mode_momenta.candidates(kind.kernels)["√ε of low modes"]
        panel.plot(
            share,
            kind.speed,
            MARKERS[n],
            color=COLORS[n],
            markersize=4,
            alpha=0.7,
            label=kind.name,
        )
    panel.set(
        xlim=(-0.02, 1.02),
        xlabel="√ε of low modes",
        ylabel="|v| (pixels per layer)",
        title="Speed of a disk",
    )
    panel.legend(fontsize=7)


def _draw_laws(panel, fits):
    names = list(dict.fromkeys(name for name, _ in fits))
    laws = list(dict.fromkeys(law for _, law in fits))
    for n, law in enumerate(laws):
        value, low, high = np.array([fits[name, law] for name in names]).T
        rows = np.arange(len(names))[::-1] + 0.3 - 0.12 * n
        panel.hlines(rows, low, high, color=COLORS[n], linewidth=1.5)
        panel.plot(value, rows, MARKERS[n], color=COLORS[n], markersize=4, label=law)
    panel.set_yticks(np.arange(len(names))[::-1], names, fontsize=7)
    panel.set(xlim=(-0.02, 1.02), xlabel="R² of |v| (95 % interval)", title="Candidate laws")
    panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
