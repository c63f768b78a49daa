"""Two networks' filters side by side: before and after training, or beside random ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from infomech._core import checks
from infomech.networks import nulls, slices
from infomech.networks._census import labeled
from infomech.networks._shares import ratio_change
from infomech.weights import _layers
from infomech.weights._layers import Layer

if TYPE_CHECKING:
    import xarray as xr


def compare(
    layers: Iterable[Layer],
    others: Iterable[Layer],
    *,
    level: float = 0.95,
    skip_nan: bool = False,
) -> xr.Dataset:
    """How the shares of the energy change from one network's filters to another's.

    Layers are paired by name. Where their shapes agree, output units are paired too, as those of
    one network before and after training are; else the two are independent.

    Args:
        layers: of the first network, as of `infomech.weights.layers`.
        others: of the second one.
        level: probability of the intervals.
        skip_nan: leave out filters that hold NaN or infinity; otherwise they make shares NaN.

    Returns:
        Dataset with dimension `layer`: share (network, layer, part) as of `census`; change (layer,
        part), second less first, with change_interval (layer, part, bound); energy (network,
        layer); cosine (layer), Σ k k' / √(Σ k² Σ k'²), NaN where shapes differ. Layers that only
        one of them has are named in attrs["unmatched"].

    Raises:
        ValueError: no layer of more than one tap that both have, or two of one name.
    """
    nulls.tails(level)
    first, second = _by_name("layers", layers), _by_name("others", others)
    names = [name for name in first if name in second]
    if not names:
        got, named = (", ".join(list(some)[:5]) for some in (second, first))
        raise checks.error("others", got, f"layers named as {named}")
    rows = [_row(first[name], second[name], level, skip_nan) for name in names]
    share, energy, change, interval, cosine = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    return labeled(
        {
            "share": (("layer", "network", "part"), share),
            "energy": (("layer", "network"), energy),
            "change": (("layer", "part"), change),
            "change_interval": (("layer", "part", "bound"), interval),
            "cosine": (("layer",), cosine),
        },
        {
            "layer": names,
            "network": ["first", "second"],
            "part": list(nulls.PARTS),
            "bound": ["lower", "upper"],
        },
        {"unmatched": sorted(first.keys() ^ second.keys()), "level": level},
    )


def random_like(layers: Iterable[Layer], *, seed: int = 0) -> Iterator[Layer]:
    """Layers of the same names and shapes with independent normal taps of He's variance.

    Args:
        layers: to be imitated; their weights aren't read.
        seed: of the numbers.
    """
    random = np.random.default_rng(checks.integer("seed", seed, 0))
    for layer in layers:
        shape = layer.kernels.shape
        scale = np.float32(math.sqrt(2 / math.prod(shape[1:])))
        yield layer._replace(kernels=scale * random.standard_normal(shape, np.float32))


def _by_name(argument, layers):
    found = {}
    for layer in _layers.checked(argument, layers):
        if layer.name in found:
            raise checks.error(argument, f"{layer.name} twice", "layers of different names")
        if math.prod(layer.kernels.shape[2:]) > 1:
            found[layer.name] = layer
    if not found:
        raise checks.error(argument, "none of more than one tap", "at least one")
    return found


def _row(first, second, level, skip_nan):
    _, a = slices.measure(first.kernels, skip_nan=skip_nan)
    _, b = slices.measure(second.kernels, skip_nan=skip_nan)
    same = first.kernels.shape == second.kernels.shape
    shares, change, interval = ratio_change(a, b, level, paired=same)
    energies = np.array([a.whole.sum(), b.whole.sum()])
    return shares, energies, change, interval, _cosine(first, second, skip_nan) if same else np.nan


def _cosine(first, second, skip_nan):
    """Summed unit by unit, so that little of two large files is in memory."""
    products, axes = np.zeros(3), tuple(range(1, first.kernels.ndim - 1))
    for pair in zip(first.kernels, second.kernels, strict=True):
        k, other = (np.asarray(kernel, np.float64) for kernel in pair)
        if skip_nan:
            good = np.isfinite(k + other).all(axes)
            k, other = k[good], other[good]
        products += [np.sum(k * other), np.sum(k * k), np.sum(other * other)]
    scale = math.sqrt(products[1]) * math.sqrt(products[2])
    return products[0] / scale if scale else np.nan
