"""Convolution weights of trained networks, one layer at a time, as true convolutions."""

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
    """What a source holds under one name.

    Attributes:
        name: as the source spells it; in a pytree the path to the array, with / between.
        shape: as stored.
        dtype: as stored.
        layout: one of `infomech.weights.layouts.LAYOUTS`; None if it is no convolution, or if
            that can't be told.
        rule: why it has this layout, or none.
        undecided: whether only the user can tell if it is a convolution and of which layout.
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
        kernels: true convolutions, (outputs, inputs of one group, *taps), float32 or float64; not
            to be written to. One input of a group: a depthwise layer, or one input channel.
        layout: that the array has in the source, one of `infomech.weights.layouts.LAYOUTS`.
        rule: how that was told.
        bias: of each output, (outputs,), in the dtype of the kernels; None if there is none.
    """

    name: str
    kernels: np.ndarray
    layout: str
    rule: str
    bias: np.ndarray | None = None


def describe(source: Any) -> list[Entry]:
    """Everything that a source holds, convolution or not, and how that was told; reads no array.

    Args:
        source: as of `layers`.

    Returns:
        One `Entry` per array, in the order of the source.

    Raises:
        ValueError: as of `layers`, but for sources that hold no convolutions.
    """
    with _formats.opened(source) as stored:
        return [
            Entry(array.name, array.shape, array.dtype, *verdict)
            for array, verdict in _judged(stored, None)
        ]


def layers(
    source: Any, *, layout: str | None = None, pattern: str | None = None
) -> Iterator[Layer]:
    """The convolution layers of a source, each read when its turn comes.

    Frameworks store weights of cross-correlations, which leave here point-reflected, as the true
    convolutions that `infomech.rollout` iterates: w[o, i, r] → k[o, i, −r]. float16 and bfloat16
    become float32, which is exact; float32 and float64 stay, as views of what was read.

    Which arrays are convolutions is told by their names, as `describe` shows: `weight` is PyTorch's
    and Equinox's (outputs, inputs, *taps), `kernel` Flax's and Keras's (*taps, inputs, outputs),
    `w` in a module named conv Haiku's, `depthwise_kernel` and `depthwise_weights` (*taps, channels,
    multiplier). Files of Keras say of which class a layer is, safetensors of which framework they
    are. Transposed convolutions are left out: those that names, classes or the length of the bias
    give away. PyTorch's without a bias look like others; leave them out by `pattern`.

    Args:
        source: path of a .safetensors, .npz, .npy, .keras or .h5 file, or a pytree of arrays, such
            as a Flax state or an Equinox module.
        layout: of all arrays whose names don't rule a convolution out and that have as many axes;
            one of `infomech.weights.layouts.LAYOUTS`. By name if None.
        pattern: names of layers as a shell writes them, such as "features.*"; all if None.

    Returns:
        Iterator over `Layer`, in the order of the source; in Keras's files in that of the model as
        far as the file tells it.

    Raises:
        ValueError: no such file, a pickle, a file that is broken or unpacks to too much; no
            convolution, or none of that name; a name that doesn't tell the layout; an unknown
            layout; a package that isn't installed.
    """
    if layout is not None:
        checks.one_of("layout", layout, layouts.LAYOUTS)
    with _formats.opened(source) as stored:
        _chosen(stored, layout, pattern)
    return _read(source, layout, pattern)


def checked(argument: str, layers: Iterable[Layer]) -> Iterator[Layer]:
    """The layers one by one; raises ValueError if one is something else, such as a file's name."""
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        got = f"a {type(layers).__name__}"
        raise checks.error(argument, got, "layers, as infomech.weights.layers(source) gives them")
    for layer in layers:
        if not isinstance(layer, Layer):
            got = f"a {type(layer).__name__} among them"
            raise checks.error(argument, got, "layers of infomech.weights.layers(source)")
        yield layer


def _read(source: Any, layout: str | None, pattern: str | None) -> Iterator[Layer]:
    # opened again rather than kept open, as nobody may ever ask for the first layer
    with _formats.opened(source) as stored:
        others = {array.name: array for array in stored}
        for array, axes, rule in _chosen(stored, layout, pattern):
            values = array.read()
            wide = np.promote_types(values.dtype, np.float32)
            kernels = layouts.convolution(values.astype(wide, copy=False), axes)
            kernels.flags.writeable = False
            bias = _bias(others.get(layouts.bias_name(array)), len(kernels), wide)
            yield Layer(array.name, kernels, axes, rule, bias)


def _bias(stored: Stored | None, outputs: int, dtype: Any) -> np.ndarray | None:
    # Equinox keeps an axis of length 1 for each axis of the image
    fits = stored is not None and max(stored.shape, default=0) == math.prod(stored.shape) == outputs
    return np.asarray(stored.read()).astype(dtype).reshape(-1) if stored and fits else None


def _judged(stored: list[Stored], layout: str | None) -> Iterator[tuple[Stored, Verdict]]:
    shapes = {array.name: array.shape for array in stored}
    for array in stored:
        yield array, layouts.judge(array, layout, shapes)


def _chosen(
    stored: list[Stored], layout: str | None, pattern: str | None
) -> list[tuple[Stored, str, str]]:
    """The convolutions that are asked for, with layout and rule."""
    judged = list(_judged(stored, layout))
    convolutions = [(array, v.layout, v.rule) for array, v in judged if v.layout]
    undecided = [(array, v.rule) for array, v in judged if v.undecided]
    if pattern is not None:
        asked = functools.partial(fnmatch.fnmatchcase, pat=pattern)
        names = [array.name for array, v in judged if v.layout or v.undecided]
        convolutions = [row for row in convolutions if asked(row[0].name)]
        undecided = [row for row in undecided if asked(row[0].name)]
        if names and not convolutions and not undecided:
            raise checks.error("pattern", repr(pattern), f"one that fits any of {_listed(names)}")
    if undecided:
        shown = [f"{array.name!r} {array.shape} ({rule})" for array, rule in undecided]
        expected = f"layout= one of {', '.join(layouts.LAYOUTS)} for it, or pattern= without it"
        raise checks.error("source", _listed(shown), expected)
    if not convolutions:
        held = [f"{array.name!r} {array.shape} ({v.rule})" for array, v in judged]
        raise checks.error("source", _listed(held) or "nothing", "at least one convolution layer")
    return convolutions


def _listed(items: Iterable[str], most: int = 12) -> str:
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
