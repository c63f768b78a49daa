"""Compare the filters of two networks, such as before and after training."""

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
    """Change in the shares of energy from one network's filters to another's.

    Layers are paired by name. If their shapes agree, output units are paired too, as before and
    after training of one network; otherwise the layers are treated as independent.

    Args:
        layers: of the first network, from `infomech.weights.layers`.
        others: of the second network.
        level: confidence level of the intervals.
        skip_nan: skip filters that contain NaN or infinity; otherwise they make shares NaN.

    Returns:
        Dataset with dimension `layer`: share (layer, network, part) as in `census`; change (layer,
        part), second − first, with change_interval (layer, part, bound); energy (layer, network);
        cosine (layer), Σ k k' / √(Σ k² Σ k'²), NaN where shapes differ. attrs["unmatched"] lists
        the layers that only one network has.

    Raises:
        ValueError: no common layer with more than one tap, or a duplicate name.
    """
    nulls.tails(level)
    first, second = _by_name("layers", layers), _by_name("others", others)
    names = [name for name in first if name in second]
    if not names:
        got, expected = (", ".join(list(network)[:5]) for network in (second, first))
        raise checks.error("others", got, f"layers named as {expected}")
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
    """Yield layers of equal names and shapes with independent normal taps of He variance.

    Args:
        layers: templates; their weights are not used.
        seed: of the random taps.
    """
    random = np.random.default_rng(checks.integer("seed", seed, 0))
    for layer in layers:
        shape = layer.kernels.shape
        scale = np.float32(math.sqrt(2 / math.prod(shape[1:])))
        yield layer._replace(kernels=scale * random.standard_normal(shape, np.float32))


def _by_name(argument, layers):
    named = {}
    for layer in _layers.checked(argument, layers):
        if layer.name in named:
            raise checks.error(argument, f"{layer.name} twice", "layers of different names")
        if math.prod(layer.kernels.shape[2:]) > 1:
            named[layer.name] = layer
    if not named:
        raise checks.error(argument, "no layer with more than one tap", "at least one")
    return named


def _row(first, second, level, skip_nan):
    _, a = slices.measure(first.kernels, skip_nan=skip_nan)
    _, b = slices.measure(second.kernels, skip_nan=skip_nan)
    paired = first.kernels.shape == second.kernels.shape
    shares, change, interval = ratio_change(a, b, level, paired=paired)
    energies = np.array([a.energy.sum(), b.energy.sum()])
    cosine = _cosine(first, second, skip_nan) if paired else np.nan
    return shares, energies, change, interval, cosine


def _cosine(first, second, skip_nan):
    """Cosine similarity, summed by unit to keep little of two large files in memory."""
    products, axes = np.zeros(3), tuple(range(1, first.kernels.ndim - 1))
    for pair in zip(first.kernels, second.kernels, strict=True):
        k, other = (np.asarray(kernel, np.float64) for kernel in pair)
        if skip_nan:
            finite = np.isfinite(k + other).all(axes)
            k, other = k[finite], other[finite]
        products += [np.sum(k * other), np.sum(k * k), np.sum(other * other)]
    scale = math.sqrt(products[1]) * math.sqrt(products[2])
    return products[0] / scale if scale else np.nan
