"""Figures of the filters of networks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from infomech.networks.chain import Displaced
from infomech.plot.looks import COLOURS, style

#: layers of which DCT maps are shown at most, evenly spaced over the depth
_MAPS = 10


def census(found: Any) -> Figure:
    """Filters in the ball of (DC, ∇x, ∇y), shares by depth, directions of momenta, DCT maps.

    Args:
        found: Dataset of `infomech.networks.census`. The ball and the rose are those of layers
            with two axes of taps.

    Returns:
        Figure.
    """
    count = found.sizes["layer"]
    planes = np.flatnonzero(np.isfinite(found.rose.values).all(1))
    with style():
        figure = Figure(figsize=(12.5, 7.4), layout="constrained")
        rows: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        (left, right), below = (row.subfigures(1, 2, width_ratios=(1, 2.1)) for row in rows)
        _draw_ball(left.add_subplot(projection="3d"), found, planes)
        low, odd = right.subplots(1, 2)
        _draw_share(low, found, "low", "Energy in DC and gradients")
        _draw_share(odd, found, "odd", "Odd share of the energy")
        left, right = below
        _draw_rose(left.add_subplot(projection="polar"), found, planes)
        _draw_maps(
            right, found, np.unique(np.linspace(0, count - 1, min(_MAPS, count)).astype(int))
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
    # sums that nearly cancel may have their centre anywhere
    edge = 2 * float(np.quantile(sizes, 0.9)) if sizes.any() else 1.0
    for one, shade, shown in zip(layers, shades, measured, strict=True):
        panel.plot(
            np.asarray(one.predicted.displacement).ravel(), shown, "o", markersize=2.5, alpha=0.6,
            color=shade, markeredgewidth=0,
            label=f"layer {one.layer}, R² {one.agreement.scores.r_squared:.2f}",
        )  # fmt: skip
    panel.plot([-edge, edge], [-edge, edge], "k--", linewidth=0.8)
    panel.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
    panel.set(xlabel="predicted (pixels)", ylabel="measured (pixels)")
    panel.legend(fontsize=7, loc="upper left")


def _shades(count):
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.85, count))


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
        title="Filters in the unit ball\n(dark: first layer, light: last)",
    )
    panel.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), box_aspect=(1, 1, 1))
    for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
        axis.set_ticks([-1, 0, 1])
        axis.set_tick_params(pad=-2, labelsize=7)


def _draw_share(panel, found, part, title):
    some = found.sel(part=part)
    n = np.arange(1, found.sizes["layer"] + 1)
    quartiles = found.share_quantiles.sel(quantity=part, quantile=[0.25, 0.75]).values.T
    panel.fill_between(
        n, *quartiles, step="mid", color=COLOURS[0], alpha=0.12, linewidth=0,
        label="middle half of the filters",
    )  # fmt: skip
    lower, upper = some.share_interval.values.T
    share = some.share.values
    panel.errorbar(
        n, share, np.maximum([share - lower, upper - share], 0), fmt="o-", color=COLOURS[0],
        markersize=3.5, linewidth=1, capsize=2, label="share of the layer's energy",
    )  # fmt: skip
    panel.plot(n, some.random, "k--", linewidth=1, label="Gaussian taps")
    panel.plot(n, some.shuffled, ":", color=COLOURS[1], linewidth=1.5, label="taps shuffled")
    panel.set(xlabel="layer", ylim=(0, 1), title=title)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(fontsize=7)


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
    panel.set_title("Directions of momenta (dashed: isotropic)")


def _draw_maps(figure, found, chosen):
    """Share of each DCT mode; of three axes the first two, summed over the third."""
    figure.suptitle("Energy by DCT mode: shares of the layer's energy, DC at the top left")
    rows = 1 if len(chosen) < 5 else 2
    panels = figure.subplots(rows, math.ceil(len(chosen) / rows), squeeze=False).ravel()
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
                colour = "white" if share < 0.05 else "black"
                panel.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour,
                           fontsize=6.5)  # fmt: skip
        panel.set_title(f"{n + 1}: {_short(str(found.layer.values[n]))}", fontsize=7)


def _short(name, most=22):
    return name if len(name) <= most else "…" + name[1 - most :]
