"""Figures of the filters of networks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from infomech import rates
from infomech.networks.chain import Displaced
from infomech.plot._style import COLORS, style

#: layers of which DCT maps are shown at most, evenly spaced over the depth
_MAPS = 10
#: shares of which there is a panel
_TITLES = {"low": "Energy in DC and gradients", "odd": "Odd share of the energy"}


def census(found: Any, change: Any = None, *, other: str = "the other network") -> Figure:
    """Filters in the ball of (DC, ∇x, ∇y), shares by depth, directions of momenta, DCT maps.

    Args:
        found: Dataset of `infomech.networks.census`. The ball and the rose are those of layers
            with two axes of taps.
        change: Dataset of `infomech.networks.compare`, whose first network's shares are drawn
            beside those of the layers of the same names.
        other: what the legend calls that network.

    Returns:
        Figure.
    """
    count = found.sizes["layer"]
    planes = np.flatnonzero(np.isfinite(found.rose.values).all(1))
    chosen = np.unique(np.linspace(0, count - 1, min(_MAPS, count)).astype(int))
    # everything in its place from the start: a layout engine draws all of it several times
    with style():
        figure = Figure(figsize=(12.5, 7.4))
        _draw_ball(figure.add_axes((0.0, 0.505, 0.3, 0.45), projection="3d"), found, planes)
        _draw_key(figure.add_axes((0.08, 0.471, 0.15, 0.014)), count)
        _draw_rose(figure.add_axes((0.04, 0.035, 0.22, 0.34), projection="polar"), found, planes)
        shares = figure.add_gridspec(
            1, 2, left=0.345, right=0.99, bottom=0.535, top=0.955, wspace=0.13
        )
        for column, (part, title) in enumerate(_TITLES.items()):
            panel = figure.add_subplot(shares[column])
            _draw_share(panel, found, part)
            if change is not None:
                _draw_other(panel, found, change.sel(part=part), other)
            panel.legend(fontsize=7)
            _entitle(panel, title)
        rows = 1 if len(chosen) < 5 else 2
        maps = figure.add_gridspec(
            rows,
            math.ceil(len(chosen) / rows),
            left=0.33,
            right=0.995,
            bottom=0.02,
            top=0.395,
            wspace=0.04,
            hspace=0.25,
        )
        _draw_maps(maps.subplots(squeeze=False).ravel(), found, chosen)
        figure.text(
            0.66,
            0.44,
            "Energy by DCT mode: shares of the layer's energy, DC at the top left",
            ha="center",
            fontsize="large",
        )
    return figure


def drift(found: Mapping[str, Sequence[Displaced]]) -> Figure:
    """Measured against predicted displacements of content, a column per network.

    Args:
        found: by name of the network, what `infomech.networks.chain.displacements` gives.

    Returns:
        Figure: paths summed with their signs, and by energy.
    """
    with style():
        rows, columns = (1, 2) if len(found) == 1 else (2, len(found))
        figure = Figure(figsize=(3.4 * columns, 3.4 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).reshape(2, -1)
        for row, weighting in zip(panels, ("signed", "energy"), strict=True):
            for panel, (name, layers) in zip(row, found.items(), strict=True):
                _draw_drift(panel, [one for one in layers if one.weighting == weighting])
                panel.set_title(f"{name}: {weighting}", fontsize=9)
    return figure


def _draw_drift(panel, layers):
    shades = _shades(len(layers))
    measured = [np.asarray(one.measured.displacement).ravel() for one in layers]
    sizes = np.abs(np.concatenate([m[np.isfinite(m)] for m in measured]))
    # sums that nearly cancel may have their center anywhere
    edge = 2 * float(np.quantile(sizes, 0.9)) if sizes.any() else 1.0
    for one, shade, shown in zip(layers, shades, measured, strict=True):
        panel.plot(
            np.asarray(one.predicted.displacement).ravel(),
            shown,
            "o",
            markersize=2.5,
            alpha=0.6,
            color=shade,
            markeredgewidth=0,
            label=f"layer {one.layer}, {_agreed(one.agreement)}",
        )
    panel.plot([-edge, edge], [-edge, edge], "k--", linewidth=0.8)
    panel.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
    panel.set(xlabel="predicted (pixels)", ylabel="measured (pixels)")
    panel.legend(fontsize=7, loc="upper left")


def _agreed(a):
    return a.reason or f"R² {rates.format_r_squared(float(a.scores.r_squared), 2)}"


def _shades(count):
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.85, count))


def _entitle(panel, title, height=1.0, **looks):
    """Where a title stands is said, or Matplotlib would measure every label to find out."""
    panel.set_title(title, y=height, **looks)


def _draw_key(panel, count):
    """The colors of the layers, for ball and rose."""
    each = [(n + 0.5, 1) for n in range(count)]
    panel.broken_barh(each, (0, 1), facecolors=_shades(count))
    panel.set(xlim=(0.5, count + 0.5), ylim=(0, 1), xticks=sorted({1, count}))
    panel.set_yticks([])
    panel.grid(False)
    panel.tick_params(labelsize=7, length=0)
    panel.set_ylabel("layer", fontsize=8, rotation=0, ha="right", va="center")


def _draw_ball(panel, found, planes):
    """Places of filters: DC up, ∇x to the right, ∇y to the back; those at the rim are all low."""
    shades = _shades(found.sizes["layer"])
    turn = np.linspace(0, 2 * np.pi, 100)
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn])
    for order in ((0, 1, 2), (0, 2, 1), (2, 0, 1)):
        panel.plot(*ring[list(order)], color="0.75", linewidth=0.7)
    for n in planes:
        dc, y, x = found.ball.values[found.filter_layer.values == n][:500, :3].T
        panel.scatter(
            x, y, dc, s=3 if len(dc) > 200 else 10, alpha=0.5, color=shades[n], linewidths=0
        )
    panel.set(
        xlabel="∇x",
        ylabel="∇y",
        zlabel="DC",
    )
    _entitle(panel, "Filters in the unit ball", 1.03)
    panel.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), box_aspect=(1, 1, 1))
    for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
        axis.set_ticks([-1, 0, 1])
        axis.set_tick_params(pad=-2, labelsize=7)
        axis.labelpad = -5


def _draw_share(panel, found, part):
    some = found.sel(part=part)
    n = np.arange(1, found.sizes["layer"] + 1)
    quartiles = found.share_quantiles.sel(quantity=part, quantile=[0.25, 0.75]).values.T
    panel.fill_between(
        n,
        *quartiles,
        step="mid",
        color=COLORS[0],
        alpha=0.12,
        linewidth=0,
        label="middle half of the filters",
    )
    lower, upper = some.share_interval.values.T
    share = some.share.values
    panel.errorbar(
        n,
        share,
        np.maximum([share - lower, upper - share], 0),
        fmt="o-",
        color=COLORS[0],
        markersize=3.5,
        linewidth=1,
        capsize=2,
        label="share of the layer's energy",
    )
    panel.plot(n, some.random, "k--", linewidth=1, label="Gaussian taps")
    panel.plot(n, some.shuffled, ":", color=COLORS[1], linewidth=1.5, label="taps shuffled")
    panel.set(xlabel="layer", ylim=(0, 1))
    panel.xaxis.get_major_locator().set_params(integer=True)


def _draw_other(panel, found, change, name):
    """Shares of the other network, at the layers of the same names."""
    theirs = change.share.sel(network="first").reindex(layer=found.layer.values)
    panel.plot(
        np.arange(1, found.sizes["layer"] + 1),
        theirs,
        "D--",
        color=COLORS[3],
        markersize=4,
        markerfacecolor="white",
        linewidth=0.8,
        alpha=0.8,
        label=_short(name),
    )


def _draw_rose(panel, found, planes):
    """Where momenta point, layers on top of each other; y runs down as in an image."""
    panel.set_theta_direction(-1)
    angle = np.append(found.angle.values, found.angle.values[0])
    shades = _shades(found.sizes["layer"])
    bins = found.sizes["angle"]
    for n in planes:
        rose = found.rose.values[n] * bins
        panel.plot(angle, np.append(rose, rose[0]), color=shades[n], linewidth=1)
    panel.plot(np.linspace(0, 2 * np.pi, 100), np.ones(100), "k--", linewidth=1)
    panel.set_xticks(np.arange(4) * np.pi / 2, ["+x", "+y", "−x", "−y"])
    panel.set_yticks([1], [""])
    panel.tick_params(labelsize=7)
    _entitle(panel, "Directions of momenta (dashed: isotropic)", 1.09)


def _draw_maps(panels, found, chosen):
    """Share of each DCT mode; of three axes the first two, summed over the third."""
    for panel in panels:
        panel.set_axis_off()
    for panel, n in zip(panels, chosen, strict=False):
        taps = [int(t) for t in found.taps.values[n] if np.isfinite(t)]
        every = found.spectrum.values[n]
        # a layer of fewer axes has but one mode on those it lacks
        modes = every[tuple(slice(t) for t in [*taps, 1, 1][: every.ndim])].reshape(taps)
        shares = np.atleast_2d(modes.sum(2) if len(taps) == 3 else modes)
        shown = np.maximum(shares, 1e-12)
        panel.imshow(np.log10(shown), cmap="magma", vmin=-3, vmax=0)
        for (row, column), share in np.ndenumerate(shares):
            if max(shares.shape) <= 3:
                color = "white" if share < 0.05 else "black"
                panel.text(
                    column, row, f"{share:.2f}", ha="center", va="center", color=color, fontsize=6.5
                )
        _entitle(panel, f"{n + 1}: {_short(str(found.layer.values[n]))}", fontsize=7)


def _short(name, most=22):
    return name if len(name) <= most else "…" + name[1 - most :]
