"""Figures of filter censuses and of drift."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from infomech import rates
from infomech.networks.chain import Displaced
from infomech.plot._style import COLORS, style

#: maximum number of DCT maps, evenly spaced over the layers
_MAX_MAPS = 10
#: titles of the share panels
_TITLES = {"low": "Energy in DC and gradients", "odd": "Odd share of the energy"}


def census(dataset: Any, change: Any = None, *, other: str = "the other network") -> Figure:
    """Filters in the ball of (DC, ∇x, ∇y), shares by depth, directions of momenta, DCT maps.

    Args:
        dataset: from `infomech.networks.census`. Ball and rose show the layers with two axes.
        change: from `infomech.networks.compare`. Shares of its first network are drawn at the
            layers of equal names.
        other: name of that network in the legend.

    Returns:
        Figure.
    """
    count = dataset.sizes["layer"]
    planes = np.flatnonzero(np.isfinite(dataset.rose.values).all(1))
    chosen = np.unique(np.linspace(0, count - 1, min(_MAX_MAPS, count)).astype(int))
    # fixed positions: a layout engine would draw everything several times
    with style():
        figure = Figure(figsize=(12.5, 7.4))
        _draw_ball(figure.add_axes((0.0, 0.505, 0.3, 0.45), projection="3d"), dataset, planes)
        _draw_color_key(figure.add_axes((0.08, 0.471, 0.15, 0.014)), count)
        _draw_rose(figure.add_axes((0.04, 0.035, 0.22, 0.34), projection="polar"), dataset, planes)
        shares = figure.add_gridspec(
            1, 2, left=0.345, right=0.99, bottom=0.535, top=0.955, wspace=0.13
        )
        for column, (part, title) in enumerate(_TITLES.items()):
            panel = figure.add_subplot(shares[column])
            _draw_share(panel, dataset, part)
            if change is not None:
                _draw_other(panel, dataset, change.sel(part=part), other)
            panel.legend(fontsize=7)
            _set_title(panel, title)
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
        _draw_maps(maps.subplots(squeeze=False).ravel(), dataset, chosen)
        figure.text(
            0.66,
            0.44,
            "Energy by DCT mode: shares of the layer's energy, DC at the top left",
            ha="center",
            fontsize="large",
        )
    return figure


def drift(results: Mapping[str, Sequence[Displaced]]) -> Figure:
    """Measured against predicted displacements of content, a column per network.

    Args:
        results: from `infomech.networks.chain.displacements`, by name of the network.

    Returns:
        Figure with panels for signed and energy weighting.
    """
    with style():
        rows, columns = (1, 2) if len(results) == 1 else (2, len(results))
        figure = Figure(figsize=(3.4 * columns, 3.4 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).reshape(2, -1)
        for row, weighting in zip(panels, ("signed", "energy"), strict=True):
            for panel, (name, layers) in zip(row, results.items(), strict=True):
                _draw_drift(panel, [layer for layer in layers if layer.weighting == weighting])
                panel.set_title(f"{name}: {weighting}", fontsize=9)
    return figure


def _draw_drift(panel, layers):
    shades = _shades(len(layers))
    measured = [np.asarray(layer.measured.displacement).ravel() for layer in layers]
    sizes = np.abs(np.concatenate([m[np.isfinite(m)] for m in measured]))
    # limits ignore outliers: nearly canceling sums may have their center anywhere
    edge = 2 * float(np.quantile(sizes, 0.9)) if sizes.any() else 1.0
    for layer, shade, values in zip(layers, shades, measured, strict=True):
        panel.plot(
            np.asarray(layer.predicted.displacement).ravel(),
            values,
            "o",
            markersize=2.5,
            alpha=0.6,
            color=shade,
            markeredgewidth=0,
            label=f"layer {layer.layer}, {_score(layer.agreement)}",
        )
    panel.plot([-edge, edge], [-edge, edge], "k--", linewidth=0.8)
    panel.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
    panel.set(xlabel="predicted (pixels)", ylabel="measured (pixels)")
    panel.legend(fontsize=7, loc="upper left")


def _score(agreement):
    r_squared = float(agreement.scores.r_squared)
    return agreement.reason or f"R² {rates.format_r_squared(r_squared, 2)}"


def _shades(count):
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.85, count))


def _set_title(panel, title, height=1.0, **options):
    """An explicit height keeps Matplotlib from measuring every label."""
    panel.set_title(title, y=height, **options)


def _draw_color_key(panel, count):
    """Colors of the layers in ball and rose."""
    bars = [(n + 0.5, 1) for n in range(count)]
    panel.broken_barh(bars, (0, 1), facecolors=_shades(count))
    panel.set(xlim=(0.5, count + 0.5), ylim=(0, 1), xticks=sorted({1, count}))
    panel.set_yticks([])
    panel.grid(False)
    panel.tick_params(labelsize=7, length=0)
    panel.set_ylabel("layer", fontsize=8, rotation=0, ha="right", va="center")


def _draw_ball(panel, dataset, planes):
    """Filters in the ball: DC up, ∇x right, ∇y back; low-mode filters lie on the surface."""
    shades = _shades(dataset.sizes["layer"])
    angle = np.linspace(0, 2 * np.pi, 100)
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle])
    for order in ((0, 1, 2), (0, 2, 1), (2, 0, 1)):
        panel.plot(*ring[list(order)], color="0.75", linewidth=0.7)
    for n in planes:
        dc, y, x = dataset.ball.values[dataset.filter_layer.values == n][:500, :3].T
        panel.scatter(
            x, y, dc, s=3 if len(dc) > 200 else 10, alpha=0.5, color=shades[n], linewidths=0
        )
    panel.set(
        xlabel="∇x",
        ylabel="∇y",
        zlabel="DC",
    )
    _set_title(panel, "Filters in the unit ball", 1.03)
    panel.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), box_aspect=(1, 1, 1))
    for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
        axis.set_ticks([-1, 0, 1])
        axis.set_tick_params(pad=-2, labelsize=7)
        axis.labelpad = -5


def _draw_share(panel, dataset, part):
    selected = dataset.sel(part=part)
    n = np.arange(1, dataset.sizes["layer"] + 1)
    quartiles = dataset.share_quantiles.sel(quantity=part, quantile=[0.25, 0.75]).values.T
    panel.fill_between(
        n,
        *quartiles,
        step="mid",
        color=COLORS[0],
        alpha=0.12,
        linewidth=0,
        label="middle half of the filters",
    )
    lower, upper = selected.share_interval.values.T
    share = selected.share.values
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
    panel.plot(n, selected.random, "k--", linewidth=1, label="Gaussian taps")
    panel.plot(n, selected.shuffled, ":", color=COLORS[1], linewidth=1.5, label="taps shuffled")
    panel.set(xlabel="layer", ylim=(0, 1))
    panel.xaxis.get_major_locator().set_params(integer=True)


def _draw_other(panel, dataset, change, name):
    """Shares of the other network, at the layers of equal names."""
    shares = change.share.sel(network="first").reindex(layer=dataset.layer.values)
    panel.plot(
        np.arange(1, dataset.sizes["layer"] + 1),
        shares,
        "D--",
        color=COLORS[3],
        markersize=4,
        markerfacecolor="white",
        linewidth=0.8,
        alpha=0.8,
        label=_truncate(name),
    )


def _draw_rose(panel, dataset, planes):
    """Directions of the momenta, layers overlaid; y points down as in an image."""
    panel.set_theta_direction(-1)
    angle = np.append(dataset.angle.values, dataset.angle.values[0])
    shades = _shades(dataset.sizes["layer"])
    bins = dataset.sizes["angle"]
    for n in planes:
        rose = dataset.rose.values[n] * bins
        panel.plot(angle, np.append(rose, rose[0]), color=shades[n], linewidth=1)
    panel.plot(np.linspace(0, 2 * np.pi, 100), np.ones(100), "k--", linewidth=1)
    panel.set_xticks(np.arange(4) * np.pi / 2, ["+x", "+y", "−x", "−y"])
    panel.set_yticks([1], [""])
    panel.tick_params(labelsize=7)
    _set_title(panel, "Directions of momenta (dashed: isotropic)", 1.09)


def _draw_maps(panels, dataset, chosen):
    """Share of each DCT mode; with three axes, summed over the third."""
    for panel in panels:
        panel.set_axis_off()
    for panel, n in zip(panels, chosen, strict=False):
        size = [int(m) for m in dataset.kernel_size.values[n] if np.isfinite(m)]
        padded = dataset.spectrum.values[n]
        # layers with fewer axes have one mode on each missing axis
        modes = padded[tuple(slice(m) for m in [*size, 1, 1][: padded.ndim])].reshape(size)
        shares = np.atleast_2d(modes.sum(2) if len(size) == 3 else modes)
        panel.imshow(np.log10(np.maximum(shares, 1e-12)), cmap="magma", vmin=-3, vmax=0)
        for (row, column), share in np.ndenumerate(shares):
            if max(shares.shape) <= 3:
                color = "white" if share < 0.05 else "black"
                panel.text(
                    column, row, f"{share:.2f}", ha="center", va="center", color=color, fontsize=6.5
                )
        _set_title(panel, f"{n + 1}: {_truncate(str(dataset.layer.values[n]))}", fontsize=7)


def _truncate(name, length=22):
    return name if len(name) <= length else "…" + name[1 - length :]
