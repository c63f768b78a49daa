"""Figures of frames and of the energy in scattering networks."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from infomech._core import checks
from infomech.plot._style import COLORS, style
from infomech.scattering import analysis
from infomech.scattering._transform import Energies, Paths
from infomech.scattering.frames import Frame


def scattering(
    signal: Any,
    frame: Frame,
    energies: Energies,
    guarantees: dict[str, Any],
    paths: Paths | None = None,
    *,
    parts: int = 1,
) -> Figure:
    """Plot a frame, the decay of energy with its guarantees, and the energy by scale.

    In one dimension the first panel also shows the spectrum of the signal.

    Args:
        signal: input signal, one or two axes.
        frame: frame of the layers.
        energies: energies of the signal.
        guarantees: bounds on W_0 … W_(N + 1), by name.
        paths: computed paths; if None, the last panel shows the energy of the features.
        parts: number of parts of the non-linearity.

    Returns:
        Figure with three panels.
    """
    checks.unmasked("signal", signal)
    with style():
        figure = Figure(figsize=(12, 3.8), layout="constrained")
        responses, decay, shares = figure.subplots(1, 3)
        if len(frame.shape) == 1:
            _draw_responses(responses, signal, frame)
        else:
            _draw_tiling(responses, frame)
        _draw_decay(decay, energies, guarantees)
        if paths is None:
            _draw_features(shares, energies)
        else:
            _draw_scales(shares, energies, analysis.by_scale(paths, frame, parts=parts))
    return figure


def _draw_responses(panel, signal, frame):
    omega = 2 * np.pi * np.fft.rfftfreq(frame.shape[0])
    half = slice(0, len(omega))
    power = np.abs(np.fft.rfft(np.asarray(signal, np.float64))) ** 2
    shown = omega > 0
    panel.fill_between(
        omega[shown],
        power[shown] / (power[shown].max() or 1),
        color="0.8",
        linewidth=0,
        label="|f̂|², largest 1",
    )
    panel.plot(
        omega[shown],
        np.abs(np.asarray(frame.low)[half][shown]) ** 2,
        color="black",
        label="low-pass |χ̂|²",
    )
    positive = [i for i, band in enumerate(frame.labels) if band.center[0] > 0]
    for i in positive:
        response = np.abs(np.asarray(frame.bands)[i, half]) ** 2
        panel.plot(
            omega[shown],
            response[shown],
            linewidth=0.9,
            color=COLORS[0],
            label="band-passes |ĝ|²" if i == positive[0] else None,
        )
    panel.set(xscale="log", xlabel="|ω| (radians per sample)", title="Frame and signal")
    panel.set_ylim(0, 1.35)
    panel.legend(loc="upper left", ncols=2, fontsize=7)


def _draw_tiling(panel, frame):
    """Show the strongest band at each frequency: a color per scale, opacity by its power."""
    power = np.abs(np.asarray(frame.bands)) ** 2
    scale = np.array([band.scale for band in frame.labels])[power.argmax(0)]
    low = np.abs(np.asarray(frame.low)) ** 2
    strongest = np.where(low > power.max(0), 0, scale)
    shade = np.fft.fftshift(np.maximum(power.max(0), low))
    colors = ListedColormap(["0.6", *_scale_colors(scale.max())])
    rows, columns = (np.fft.fftshift(np.fft.fftfreq(n)) * 2 * np.pi for n in frame.shape)
    panel.imshow(
        np.fft.fftshift(strongest),
        cmap=colors,
        alpha=0.25 + 0.75 * shade,
        origin="lower",
        extent=(columns[0], -columns[0], rows[0], -rows[0]),
    )
    panel.grid(False)
    panel.set(
        xlabel="ω along axis 1 (radians per sample)",
        ylabel="ω along axis 0",
        title="Frame: strongest band, by scale",
    )


def _draw_decay(panel, energies, guarantees):
    energy, relative = energies.energy or 1.0, energies.relative
    share = np.asarray(relative.propagated, np.float64) / (float(relative.energy) or 1.0)
    low, high = np.asarray(relative.propagated_bounds).T / (float(relative.energy) or 1.0)
    layers = np.arange(len(share))
    floor = max(min(share[share > 0], default=1), 1e-16) / 10
    panel.fill_between(
        layers,
        np.maximum(low, floor),
        np.maximum(high, floor),
        color=COLORS[0],
        alpha=0.25,
        linewidth=0,
        label="certified bounds",
    )
    positive = share > 0
    panel.plot(
        layers[positive], share[positive], "o-", color=COLORS[0], markersize=4, label="measured"
    )
    for color, (name, bound) in zip(COLORS[1:], guarantees.items(), strict=False):
        panel.plot(
            layers,
            np.asarray(bound)[: len(layers)] / energy,
            "--",
            color=color,
            linewidth=1.2,
            label=f"guarantee, {name}",
        )
    panel.set(
        yscale="log",
        xlabel="layer n",
        ylabel="W$_n$ / ‖f‖²",
        title="Propagated energy",
        ylim=(floor, 3),
    )
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(loc="lower left", fontsize=7)


def _draw_features(panel, energies):
    relative = energies.relative
    share = np.asarray(relative.collected, np.float64) / (float(relative.energy) or 1.0)
    panel.bar(np.arange(len(share)), share, color=COLORS[0])
    panel.set(xlabel="layer n", ylabel="F$_n$ / ‖f‖²", title="Energy in the features", ylim=(0, 1))


def _draw_scales(panel, energies, table):
    """Split each layer's energy by the scale of the last band; coarse scales are dark."""
    total = table.sum(1, keepdims=True)
    parts = np.divide(table, total, out=np.zeros_like(table), where=total > 0)[1:, 1:]
    layers = np.arange(1, len(table))
    colors = _scale_colors(parts.shape[1])
    base = np.zeros(len(layers))
    for scale, color in enumerate(colors, 1):
        panel.bar(layers, parts[:, scale - 1], bottom=base, color=color, label=f"{scale}")
        base = base + parts[:, scale - 1]
    panel.set(
        xlabel="layer n",
        ylabel="share of the layer's energy",
        title="Energy by scale of the path",
        ylim=(0, 1),
    )
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(
        title="scale", loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, reverse=True
    )


def _scale_colors(count):
    return matplotlib.colormaps["viridis"](np.linspace(0, 1, count))
