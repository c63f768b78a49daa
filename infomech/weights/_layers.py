"""Convolution weights of trained networks as true convolutions, read layer by layer."""

import fnmatch
import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from infomech._core import checks
from infomech.weights import _formats, layouts
from infomech.weights._stored import Stored
from infomech.weights.layouts import Verdict


class Entry(NamedTuple):
    """One named array of a source.

    Attributes:
        name: as the source spells it; in a pytree the path to the array, with / between.
        shape: as stored.
        dtype: as stored.
        layout: one of `infomech.weights.layouts.LAYOUTS`; None if it is no convolution or
            undecided.
        rule: reason for this layout, or for having none.
        undecided: whether only the user can decide if this is a convolution, and its layout.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str | None
    rule: str
    undecided: bool


class Layer(NamedTuple):
    """The weights of one convolution layer.

    Attributes:
        name: as the source spells it.
        kernels: true convolutions, (outputs, inputs/groups, *kernel_size), float32 or float64,
            read-only. One input per group: a depthwise layer, or one input channel.
        layout: of the array in the source, one of `infomech.weights.layouts.LAYOUTS`.
        rule: how the layout was inferred.
        bias: of each output, (outputs,), in the dtype of the kernels; None without bias.
    """

    name: str
    kernels: np.ndarray
    layout: str
    rule: str
    bias: np.ndarray | None = None


def describe(source: Any) -> list[Entry]:
    """List every array of a source, with its layout and how it was inferred; reads no array.

    Args:
        source: as in `layers`.

    Returns:
        One `Entry` per array, in the order of the source.

    Raises:
        ValueError: as in `layers`, except for sources without convolutions.
    """
    with _formats.opened(source) as stored:
        return [
            Entry(array.name, array.shape, array.dtype, *verdict)
            for array, verdict in _verdicts(stored, None)
        ]


def layers(
    source: Any, *, layout: str | None = None, pattern: str | None = None
) -> Iterator[Layer]:
    """Iterate over the convolution layers of a source; each is read on demand.

    Frameworks store the weights of cross-correlations. They are point-reflected here into the true
    convolutions that `infomech.rollout` iterates: w[o, i, r] → k[o, i, −r]. float16 and bfloat16
    are converted to float32, which is exact; float32 and float64 arrays are returned as views.

    Names decide which arrays are convolutions, as `describe` shows: `weight` is (outputs, inputs,
    *kernel_size) as in PyTorch and Equinox, `kernel` is (*kernel_size, inputs, outputs) as in Flax
    and Keras, `w` in a module named conv is Haiku's, `depthwise_kernel` and `depthwise_weights` are
    (*kernel_size, channels, multiplier). Keras files also state the class of each layer,
    safetensors files the framework. Transposed convolutions are skipped if a name, a class or the
    length of the bias identifies them. PyTorch's without bias can't be identified; exclude them
    with `pattern`.

    Args:
        source: path of a .safetensors, .npz, .npy, .keras or .h5 file, or a pytree of arrays, such
            as a Flax state or an Equinox module.
        layout: applies to all arrays with as many axes whose names don't exclude a convolution;
            one of `infomech.weights.layouts.LAYOUTS`. Inferred from names if None.
        pattern: shell wildcard for layer names, such as "features.*"; all layers if None.

    Returns:
        Iterator over `Layer`, in the order of the source; for Keras files in the order of the
        model, if the file states it.

    Raises:
        ValueError: missing file, pickle, corrupt file or zip bomb; no convolution, or none that
            matches `pattern`; a name that doesn't determine the layout; unknown layout; missing
            package.
    """
    if layout is not None:
        checks.one_of("layout", layout, layouts.LAYOUTS)
    with _formats.opened(source) as stored:
        _select(stored, layout, pattern)
    return _read(source, layout, pattern)


def checked(argument: str, layers: Iterable[Layer]) -> Iterator[Layer]:
    """Yields the layers; raises ValueError for anything else, such as a file name."""
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        got = f"a {type(layers).__name__}"
        raise checks.error(argument, got, "layers from infomech.weights.layers(source)")
    for layer in layers:
        if not isinstance(layer, Layer):
            got = f"an element of type {type(layer).__name__}"
            raise checks.error(argument, got, "layers from infomech.weights.layers(source)")
        yield layer


def _read(source: Any, layout: str | None, pattern: str | None) -> Iterator[Layer]:
    # reopened rather than kept open, since the iterator may never be consumed
    with _formats.opened(source) as stored:
        arrays = {array.name: array for array in stored}
        for array, axes, rule in _select(stored, layout, pattern):
            values = array.read()
            wide = np.promote_types(values.dtype, np.float32)
            kernels = layouts.convolution(values.astype(wide, copy=False), axes)
            kernels.flags.writeable = False
            bias = _bias(arrays.get(layouts.bias_name(array)), len(kernels), wide)
            yield Layer(array.name, kernels, axes, rule, bias)


def _bias(stored: Stored | None, outputs: int, dtype: Any) -> np.ndarray | None:
    # Equinox biases have an axis of length 1 per axis of the image
    fits = stored is not None and max(stored.shape, default=0) == math.prod(stored.shape) == outputs
    return np.asarray(stored.read()).astype(dtype).reshape(-1) if stored and fits else None


def _verdicts(stored: list[Stored], layout: str | None) -> Iterator[tuple[Stored, Verdict]]:
    shapes = {array.name: array.shape for array in stored}
    for array in stored:
        yield array, layouts.judge(array, layout, shapes)


def _select(
    stored: list[Stored], layout: str | None, pattern: str | None
) -> list[tuple[Stored, str, str]]:
    """The requested convolutions with their layouts and rules."""
    verdicts = list(_verdicts(stored, layout))
    convolutions = [(array, v.layout, v.rule) for array, v in verdicts if v.layout]
    undecided = [(array, v.rule) for array, v in verdicts if v.undecided]
    if pattern is not None:
        matches = functools.partial(fnmatch.fnmatchcase, pat=pattern)
        names = [array.name for array, v in verdicts if v.layout or v.undecided]
        convolutions = [row for row in convolutions if matches(row[0].name)]
        undecided = [row for row in undecided if matches(row[0].name)]
        if names and not convolutions and not undecided:
            raise checks.error(
                "pattern", repr(pattern), f"a pattern that matches any of {_listed(names)}"
            )
    if undecided:
        arrays = [f"{array.name!r} {array.shape} ({rule})" for array, rule in undecided]
        expected = f"layout= one of {', '.join(layouts.LAYOUTS)}, or pattern= to exclude it"
        raise checks.error("source", _listed(arrays), expected)
    if not convolutions:
        arrays = [f"{array.name!r} {array.shape} ({v.rule})" for array, v in verdicts]
        raise checks.error(
            "source", _listed(arrays) or "no arrays", "at least one convolution layer"
        )
    return convolutions


def _listed(items: Iterable[str], limit: int = 12) -> str:
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
