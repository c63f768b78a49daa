"""A census of a network's filters: energy, odd share, momentum and low frequencies, by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from infomech._core import checks, extras
from infomech.networks import nulls, slices
from infomech.networks._shares import ratio
from infomech.networks.slices import Slices, Sums
from infomech.weights import _layers
from infomech.weights._layers import Layer

if TYPE_CHECKING:
    import xarray as xr

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: orders of the harmonics of directions: one-sided, along an axis, along the axes of the grid
HARMONICS = (1, 2, 4)
#: bins of the rose of directions
BINS = 36


def census(
    layers: Iterable[Layer], *, level: float = 0.95, keep: int = 2000, skip_nan: bool = False
) -> xr.Dataset:
    """The mechanics of the filters of each layer, beside what filters without any order would have.

    Every slice k_oi of an output o and an input i is one filter. Shares of a layer's energy are
    ratios of sums over all of its filters, Σ part / Σ E, and their intervals treat the output units
    as independent. Two null models: independent Gaussian taps (`nulls.random_shares`), and the
    same taps in any order (`nulls.shuffled_energies`). Layers of one tap have no mechanics; they
    are left out and named in `attrs["pointwise"]`.

    Args:
        layers: as of `infomech.weights.layers`.
        level: probability of the intervals.
        keep: how many filters of each layer stay in the result one by one, evenly spaced.
        skip_nan: leave out filters that hold NaN or infinity; otherwise they make shares NaN.

    Returns:
        Dataset of variables with dimension `layer`, and `axis` 0 … d − 1 of the taps (y before x):

        - taps (layer, axis); outputs, inputs, filters (with energy), zero, not_finite: counts.
        - energy, even, odd, mass_squared: Σ over filters, in the units of the weights squared.
        - share (layer, part): of the odd part, of DC and the gradients ("low"), of DC, of the
          gradients; share_interval (layer, part, bound); share_quantiles (layer, part, quantile)
          of "odd" and "low" over filters.
        - random, random_interval: of Gaussian filters, as many; shuffled: mean over all orders of
          the taps; excess, excess_interval: share − shuffled.
        - spectrum (layer, mode_0, …): share of each DCT-II mode.
        - momentum (layer, axis): mean of p/‖k‖, pixels; gradient_axis (layer, axis): share of each
          axis in the energy of the gradients, with gradient_axis_interval (layer, axis, bound).
        - resultant (layer, harmonic): |mean of exp(i m θ)| of the directions θ of the momenta, from
          +x towards +y; of 1 or 3 axes of more than one tap the length of the mean direction,
          m = 1 only; resultant_random: what one in 20 layers of independent, isotropic directions
          exceeds. Filters of one unit are seldom independent, nor are random ones of a box that
          is no square isotropic.
        - rose (layer, angle): share of the directions in each of 36 bins, of two such axes.
        - filter_layer, filter_output, filter_input (filter), where it stands; filter_energy,
          filter_share, its odd share, filter_low, filter_mass_squared, filter_momentum (filter,
          axis) in pixels, filter_direction of it, filter_spectrum (filter, mode_0, …), ball
          (filter, coordinate), its place in that of (DC, ∇ on axis 0, …): one by one.

        Where a layer has fewer axes or modes than another there is NaN.

    Raises:
        ValueError: no layer with more than one tap, or a bad `level` or `keep`.
    """
    nulls.tails(level)
    keep = checks.integer("keep", keep, 0)
    found, pointwise = [], []
    for layer in _layers.checked("layers", layers):
        if math.prod(layer.kernels.shape[2:]) < 2:
            pointwise.append(layer.name)
            continue
        every, sums = slices.measure(layer.kernels, skip_nan=skip_nan)
        found.append(_of_layer(layer, every, sums, level) | _kept(layer, keep))
    if not found:
        got = f"only layers of one tap: {', '.join(pointwise)}" if pointwise else "none"
        raise checks.error("layers", got, "at least one with more than one tap")
    return _dataset(found, pointwise, level)


def dominance(found: xr.Dataset) -> xr.Dataset:
    """Whether DC and the gradients dominate the filters of each layer, as [M] says of small ones.

    Where they are most of the modes, as of 2×2 taps, more than half alone says nothing: their share
    has to be above that of Gaussian taps too.

    Args:
        found: of `census`.

    Returns:
        Dataset of truth values (layer): above_random, the lower bound of their share is above the
        upper bound of Gaussian taps; above_shuffled, the lower bound of the excess over shuffled
        taps is above 0: low modes hold more than the DC component alone explains; dominated,
        the lower bound is above one half, and above_random; not_dominated, the upper bound is not
        above one half. Neither of both where the interval can't tell, or doesn't exist.
    """
    low = found.sel(part="low")
    least, most = (low.share_interval.sel(bound=end) for end in ("lower", "upper"))
    above_random = least > low.random_interval.sel(bound="upper")
    verdicts = {
        "dominated": (least > 0.5) & above_random,
        "not_dominated": most <= 0.5,
        "above_random": above_random,
        "above_shuffled": low.excess_interval.sel(bound="lower") > 0,
    }
    return labeled(
        {name: ("layer", said.values) for name, said in verdicts.items()},
        {"layer": found.layer.values},
        {},
    )


def _of_layer(layer: Layer, every: Slices, sums: Sums, level: float) -> dict[str, Any]:
    outputs, inputs, *taps = layer.kernels.shape
    share, interval = ratio(sums.parts, sums.whole, level)
    shuffled, _ = ratio(sums.shuffled, sums.whole, level)
    excess, excess_interval = ratio(sums.parts - sums.shuffled, sums.whole, level)
    random, random_interval = nulls.random_shares(taps, max(sums.filters, 1), level=level)
    energy, odd = sums.whole.sum(), sums.parts[0].sum()
    axes, axes_interval = ratio(sums.gradients, sums.gradients.sum(0), level)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_filters = [_quantiles(every.odd / every.energy), _quantiles(np.sum(every.place**2, 1))]
        length = np.sqrt(every.energy)[:, None]
        unit = every.momentum / length
        spectrum = sums.modes / energy
    wide = [axis for axis, n in enumerate(taps) if n > 1]
    directions = _directions(every.momentum[every.energy > 0][:, wide])
    return {
        "layer": layer.name, "taps": np.array(taps), "outputs": outputs, "inputs": inputs,
        "filters": sums.filters, "zero": sums.zero, "not_finite": sums.not_finite,
        "energy": energy, "even": energy - odd, "odd": odd, "mass_squared": energy - 2 * odd,
        "share": share, "share_interval": np.clip(interval, 0, 1),
        "share_quantiles": np.stack(of_filters),
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
    """How one-sided the directions of the momenta are, and where they point."""
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
    # d N R² is distributed as χ² of d degrees of freedom
    limit = np.sqrt(special.chdtri(axes, 0.05) / (axes * count)) if count else np.nan
    return {"resultant": resultant, "resultant_random": limit, "rose": rose}


def _kept(layer: Layer, keep: int) -> dict[str, Any]:
    """Up to `keep` filters, one by one."""
    outputs, inputs = layer.kernels.shape[:2]
    last = outputs * inputs - 1
    rows = np.unique(np.linspace(0, last, min(keep, last + 1)).astype(int))
    some, modes = slices.some(layer.kernels, rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = some.odd / some.energy
        spectrum = modes / some.energy.reshape(-1, *(1 for _ in modes.shape[1:]))
        direction = some.momentum / np.linalg.norm(some.momentum, axis=1, keepdims=True)
    return {
        "filter_output": rows // inputs,
        "filter_input": rows % inputs,
        "filter_energy": some.energy,
        "filter_share": share,
        "filter_mass_squared": some.energy - 2 * some.odd,
        "filter_momentum": some.momentum,
        "filter_direction": direction,
        "filter_low": np.sum(some.place**2, 1),
        "filter_spectrum": spectrum,
        "ball": some.place,
    }


_DIMENSIONS = {
    "taps": ("axis",),
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


def _dataset(found: list[dict[str, Any]], pointwise: list[str], level: float) -> xr.Dataset:
    most = max(len(row["taps"]) for row in found)
    modes = tuple(f"mode_{axis}" for axis in range(most))
    dimensions = _DIMENSIONS | {"spectrum": modes}
    of_filters = {
        "filter_momentum": ("axis",),
        "filter_direction": ("axis",),
        "ball": ("coordinate",),
        "filter_spectrum": modes,
    }
    variables: dict[str, Any] = {}
    for name in found[0]:
        column = [np.asarray(row[name]) for row in found]
        if name == "layer":
            continue
        if name.endswith("spectrum"):
            # a layer of fewer axes has one mode on those that it lacks
            full = most + name.startswith("filter")
            column = [c.reshape(*c.shape, *(1,) * (full - c.ndim)) for c in column]
        if name.startswith("filter_") or name == "ball":
            rest = of_filters.get(name, ())
            variables[name] = ("filter", *rest), np.concatenate(_padded(column, first=1))
        else:
            variables[name] = ("layer", *dimensions.get(name, ())), np.stack(_padded(column))
    numbers = np.repeat(np.arange(len(found)), [len(row["filter_energy"]) for row in found])
    variables["filter_layer"] = ("filter",), numbers
    centers = (np.arange(BINS) + 0.5) * 2 * np.pi / BINS - np.pi
    return labeled(
        variables,
        {
            "layer": [row["layer"] for row in found],
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
    """The Dataset of these.

    Raises:
        ImportError: xarray isn't installed.
    """
    with extras.needed("networks", "a census"):
        import xarray as xr
    return xr.Dataset(variables, coordinates, attributes)


def _padded(arrays: list[np.ndarray], first: int = 0) -> list[np.ndarray]:
    """The arrays with NaN behind their ends on all but the first axes, all of one size."""
    sizes = np.max([a.shape[first:] for a in arrays], 0).astype(int)
    if all(a.shape[first:] == tuple(sizes) for a in arrays):
        return arrays
    rooms = [
        [(0, 0)] * first + [(0, n - m) for n, m in zip(sizes, a.shape[first:], strict=True)]
        for a in arrays
    ]
    return [
        np.pad(a.astype(np.float64), room, constant_values=np.nan)
        for a, room in zip(arrays, rooms, strict=True)
    ]
