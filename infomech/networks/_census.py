"""A census of a network's filters by layer: energy, odd share, momentum, low frequencies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from infomech._core import checks, extras
from infomech.networks import nulls, slices
from infomech.networks._shares import ratio
from infomech.networks.slices import Slices, Sums
from infomech.weights import _layers
from infomech.weights._layers import Layer

if TYPE_CHECKING:
    import xarray as xr

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: angular harmonics of the directions: one-sided, along one axis, along both axes of the grid
HARMONICS = (1, 2, 4)
#: bins of the histogram of directions
BINS = 36


def census(
    layers: Iterable[Layer], *, level: float = 0.95, keep: int = 2000, skip_nan: bool = False
) -> xr.Dataset:
    """Mechanics of the filters of each layer, compared with two null models.

    Each slice k_oi, from input i to output o, is one filter. Shares of a layer's energy are ratios
    of sums over all its filters, Σ part / Σ E. Their intervals treat output units as independent.
    The null models are independent Gaussian taps (`nulls.random_shares`) and random permutations
    of the taps (`nulls.shuffled_energies`). Layers with one tap have no mechanics; they are skipped
    and listed in `attrs["pointwise"]`.

    Args:
        layers: from `infomech.weights.layers`.
        level: confidence level of the intervals.
        keep: number of filters per layer to return individually, evenly spaced.
        skip_nan: skip filters that contain NaN or infinity; otherwise they make shares NaN.

    Returns:
        Dataset with dimension `layer`, and `axis` 0 … d − 1 of the kernels (y before x):

        - kernel_size (layer, axis); outputs, inputs, filters (with energy), zero, not_finite:
          counts.
        - energy, even, odd, mass_squared: Σ over filters, in squared units of the weights.
        - share (layer, part): of the odd part, of DC and gradients ("low"), of DC, of the
          gradients; share_interval (layer, part, bound); share_quantiles (layer, quantity,
          quantile) of "odd" and "low" over filters.
        - random, random_interval: for as many Gaussian filters; shuffled: mean over all
          permutations of the taps; excess, excess_interval: share − shuffled.
        - spectrum (layer, mode_0, …): share of each DCT-II mode.
        - momentum (layer, axis): mean of p/‖k‖, pixels; gradient_axis (layer, axis): share of each
          axis in the energy of the gradients, with gradient_axis_interval (layer, axis, bound).
        - resultant (layer, harmonic): |mean of exp(i m θ)| over the directions θ of the momenta,
          from +x towards +y. Kernels with 1 or 3 axes of more than one tap have m = 1 only, the
          length of the mean direction. resultant_random: exceeded by one in 20 layers with
          independent, isotropic directions. Filters of one unit are seldom independent, and random
          filters of a non-square kernel are not isotropic.
        - rose (layer, angle): share of the directions in each of 36 bins, for two such axes.
        - individual filters: filter_layer, filter_output, filter_input (filter) locate them;
          filter_energy, filter_share (odd share), filter_low, filter_mass_squared,
          filter_momentum (filter, axis) in pixels and its direction filter_direction,
          filter_spectrum (filter, mode_0, …), ball (filter, coordinate): amplitudes of the
          unit-energy filter on (DC, ∇ on axis 0, …).

        Layers with fewer axes or modes than others are padded with NaN.

    Raises:
        ValueError: no layer with more than one tap, or invalid `level` or `keep`.
    """
    nulls.tails(level)
    keep = checks.integer("keep", keep, 0)
    rows, pointwise = [], []
    for layer in _layers.checked("layers", layers):
        if math.prod(layer.kernels.shape[2:]) < 2:
            pointwise.append(layer.name)
            continue
        filters, sums = slices.measure(layer.kernels, skip_nan=skip_nan)
        rows.append(_summary(layer, filters, sums, level) | _individual(layer, keep))
    if not rows:
        got = f"only layers with one tap: {', '.join(pointwise)}" if pointwise else "none"
        raise checks.error("layers", got, "at least one layer with more than one tap")
    return _dataset(rows, pointwise, level)


def dominance(dataset: xr.Dataset) -> xr.Dataset:
    """Whether DC and gradients dominate the filters of each layer, as [M] states for small kernels.

    In 2×2 kernels DC and gradients are most of the modes, so a share above one half proves nothing
    by itself. It must also exceed the share of Gaussian taps.

    Args:
        dataset: from `census`.

    Returns:
        Dataset of booleans (layer). above_random: the lower bound of the share exceeds the upper
        bound for Gaussian taps. above_shuffled: the lower bound of the excess over shuffled taps
        exceeds 0, so low modes hold more than the DC component alone explains. dominated: the lower
        bound exceeds one half, and above_random. not_dominated: the upper bound is at most one
        half. Neither holds if the interval contains one half or doesn't exist.
    """
    low = dataset.sel(part="low")
    lower, upper = (low.share_interval.sel(bound=end) for end in ("lower", "upper"))
    above_random = lower > low.random_interval.sel(bound="upper")
    verdicts = {
        "dominated": (lower > 0.5) & above_random,
        "not_dominated": upper <= 0.5,
        "above_random": above_random,
        "above_shuffled": low.excess_interval.sel(bound="lower") > 0,
    }
    return labeled(
        {name: ("layer", verdict.values) for name, verdict in verdicts.items()},
        {"layer": dataset.layer.values},
        {},
    )


def _summary(layer: Layer, filters: Slices, sums: Sums, level: float) -> dict[str, Any]:
    outputs, inputs, *kernel_size = layer.kernels.shape
    share, interval = ratio(sums.parts, sums.energy, level)
    shuffled, _ = ratio(sums.shuffled, sums.energy, level)
    excess, excess_interval = ratio(sums.parts - sums.shuffled, sums.energy, level)
    random, random_interval = nulls.random_shares(kernel_size, max(sums.filters, 1), level=level)
    energy, odd = sums.energy.sum(), sums.parts[0].sum()
    axes, axes_interval = ratio(sums.gradients, sums.gradients.sum(0), level)
    with np.errstate(invalid="ignore", divide="ignore"):
        quantiles = [
            _quantiles(filters.odd / filters.energy),
            _quantiles(np.sum(filters.ball**2, 1)),
        ]
        length = np.sqrt(filters.energy)[:, None]
        unit = filters.momentum / length
        spectrum = sums.modes / energy
    axes_used = [axis for axis, n in enumerate(kernel_size) if n > 1]
    directions = _directions(filters.momentum[filters.energy > 0][:, axes_used])
    return {
        "layer": layer.name, "kernel_size": np.array(kernel_size),
        "outputs": outputs, "inputs": inputs, "filters": sums.filters,
        "zero": sums.zero, "not_finite": sums.not_finite,
        "energy": energy, "even": energy - odd, "odd": odd, "mass_squared": energy - 2 * odd,
        "share": share, "share_interval": np.clip(interval, 0, 1),
        "share_quantiles": np.stack(quantiles),
        "random": random, "random_interval": random_interval,
        "shuffled": shuffled, "excess": excess, "excess_interval": excess_interval,
        "spectrum": spectrum, "gradient_axis": axes,
        "gradient_axis_interval": np.clip(axes_interval, 0, 1),
        "momentum": _mean(unit[np.isfinite(unit).all(1)]),
        **directions,
    }  # fmt: skip


def _quantiles(shares):
    shares = shares[np.isfinite(shares)]
    return np.quantile(shares, QUANTILES) if len(shares) else np.full(len(QUANTILES), np.nan)


def _mean(rows):
    return rows.mean(0, dtype=np.float64) if len(rows) else np.full(rows.shape[1], np.nan)


def _directions(momentum: np.ndarray) -> dict[str, Any]:
    """Anisotropy and histogram of the directions of the momenta."""
    size = np.linalg.norm(momentum, axis=1)
    unit = momentum[size > 0] / size[size > 0][:, None]
    count, axes = unit.shape
    resultant = np.full(len(HARMONICS), np.nan)
    rose = np.full(BINS, np.nan)
    if count and axes == 2:
        angle = np.arctan2(unit[:, 0], unit[:, 1])
        turns = np.exp(1j * np.outer(HARMONICS, angle))
        resultant = np.abs(turns.mean(1))
        rose = np.histogram(angle, BINS, (-np.pi, np.pi))[0] / count
    elif count:
        resultant[0] = np.linalg.norm(unit.mean(0))
    # d N R² follows a χ² distribution with d degrees of freedom
    from scipy import special  # slow to import

    limit = np.sqrt(special.chdtri(axes, 0.05) / (axes * count)) if count else np.nan
    return {"resultant": resultant, "resultant_random": limit, "rose": rose}


def _individual(layer: Layer, keep: int) -> dict[str, Any]:
    """Quantities of up to `keep` individual filters."""
    outputs, inputs = layer.kernels.shape[:2]
    last = outputs * inputs - 1
    rows = np.unique(np.linspace(0, last, min(keep, last + 1)).astype(int))
    filters, modes = slices.measure_rows(layer.kernels, rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = filters.odd / filters.energy
        spectrum = modes / filters.energy.reshape(-1, *(1 for _ in modes.shape[1:]))
        direction = filters.momentum / np.linalg.norm(filters.momentum, axis=1, keepdims=True)
    return {
        "filter_output": rows // inputs,
        "filter_input": rows % inputs,
        "filter_energy": filters.energy,
        "filter_share": share,
        "filter_mass_squared": filters.energy - 2 * filters.odd,
        "filter_momentum": filters.momentum,
        "filter_direction": direction,
        "filter_low": np.sum(filters.ball**2, 1),
        "filter_spectrum": spectrum,
        "ball": filters.ball,
    }


_DIMENSIONS = {
    "kernel_size": ("axis",),
    "momentum": ("axis",),
    "gradient_axis": ("axis",),
    "gradient_axis_interval": ("axis", "bound"),
    "share": ("part",),
    "random": ("part",),
    "shuffled": ("part",),
    "excess": ("part",),
    "share_interval": ("part", "bound"),
    "random_interval": ("part", "bound"),
    "excess_interval": ("part", "bound"),
    "share_quantiles": ("quantity", "quantile"),
    "resultant": ("harmonic",),
    "rose": ("angle",),
}


def _dataset(rows: list[dict[str, Any]], pointwise: list[str], level: float) -> xr.Dataset:
    axes = max(len(row["kernel_size"]) for row in rows)
    modes = tuple(f"mode_{axis}" for axis in range(axes))
    dimensions = _DIMENSIONS | {"spectrum": modes}
    filter_dimensions = {
        "filter_momentum": ("axis",),
        "filter_direction": ("axis",),
        "ball": ("coordinate",),
        "filter_spectrum": modes,
    }
    variables: dict[str, Any] = {}
    for name in rows[0]:
        column = [np.asarray(row[name]) for row in rows]
        if name == "layer":
            continue
        if name.endswith("spectrum"):
            # layers with fewer axes have one mode on each missing axis
            full = axes + name.startswith("filter")
            column = [c.reshape(*c.shape, *(1,) * (full - c.ndim)) for c in column]
        if name.startswith("filter_") or name == "ball":
            dims = filter_dimensions.get(name, ())
            variables[name] = ("filter", *dims), np.concatenate(_padded(column, first=1))
        else:
            variables[name] = ("layer", *dimensions.get(name, ())), np.stack(_padded(column))
    numbers = np.repeat(np.arange(len(rows)), [len(row["filter_energy"]) for row in rows])
    variables["filter_layer"] = ("filter",), numbers
    centers = (np.arange(BINS) + 0.5) * 2 * np.pi / BINS - np.pi
    return labeled(
        variables,
        {
            "layer": [row["layer"] for row in rows],
            "part": list(nulls.PARTS),
            "bound": ["lower", "upper"],
            "quantile": list(QUANTILES),
            "quantity": ["odd", "low"],
            "harmonic": list(HARMONICS),
            "angle": centers,
        },
        {"pointwise": pointwise, "level": level},
    )


def labeled(variables: Any, coordinates: Any, attributes: Any) -> xr.Dataset:
    """Build a Dataset.

    Raises:
        ImportError: xarray is not installed.
    """
    with extras.needed("networks", "a census"):
        import xarray as xr
    return xr.Dataset(variables, coordinates, attributes)


def _padded(arrays: list[np.ndarray], first: int = 0) -> list[np.ndarray]:
    """Pad the arrays with NaN to a common shape, except on the first axes."""
    sizes = np.max([a.shape[first:] for a in arrays], 0).astype(int)
    if all(a.shape[first:] == tuple(sizes) for a in arrays):
        return arrays
    widths = [
        [(0, 0)] * first + [(0, n - m) for n, m in zip(sizes, a.shape[first:], strict=True)]
        for a in arrays
    ]
    return [
        np.pad(a.astype(np.float64), width, constant_values=np.nan)
        for a, width in zip(arrays, widths, strict=True)
    ]
