"""Infer from names (or the user), never from shapes, which arrays are convolutions, and their axes.

A layout names the axes of an array in order: O output channels, I input channels (of one group), C
channels of a depthwise convolution and M its outputs per channel, and D, H, W the taps. Weights are
returned as (outputs, inputs/groups, *kernel_size), true convolutions. This covers grouped and
depthwise convolutions too: group g of G has the outputs g·O/G to (g + 1)·O/G.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from infomech.weights._stored import Stored

#: axes of taps by the number of axes of the array
_TAPS = {3: "W", 4: "HW", 5: "DHW"}

#: values of `layout=`: PyTorch and Equinox; Flax, Haiku and Keras; depthwise Keras; MLX
LAYOUTS = tuple(
    family.replace("*", taps) for family in ("OI*", "*IO", "*CM", "O*I") for taps in _TAPS.values()
)

#: with more taps on one axis, only `layout=` makes an array a convolution
MAX_TAPS_PER_AXIS = 256

#: dtypes of weights
DTYPES = ("float16", "bfloat16", "float32", "float64")

#: layouts of the arrays of Keras layers, by name or by number
KERAS: dict[str, dict[str, str]] = {}
for _axes in ("1D", "2D", "3D"):
    KERAS[f"Conv{_axes}"] = {"kernel": "*IO", "0": "*IO"}
    KERAS[f"Conv{_axes}Transpose"] = {}
for _axes in ("1D", "2D"):
    KERAS[f"DepthwiseConv{_axes}"] = dict.fromkeys(("kernel", "depthwise_kernel", "0"), "*CM")
    KERAS[f"SeparableConv{_axes}"] = {
        **{"depthwise_kernel": "*CM", "0": "*CM"},
        **{"pointwise_kernel": "*IO", "1": "*IO"},
    }
for _other in ("Dense", "EinsumDense", "Embedding", "LocallyConnected1D", "LocallyConnected2D"):
    KERAS[_other] = {}
for _other in ("BatchNormalization", "LayerNormalization", "MultiHeadAttention"):
    KERAS[_other] = {}


class Verdict(NamedTuple):
    """Layout of an array, None if it is no convolution or undecided; and the reason."""

    layout: str | None
    rule: str
    undecided: bool = False


def judge(stored: Stored, layout: str | None, shapes: Mapping[str, tuple[int, ...]]) -> Verdict:
    """Decide whether an array is a convolution, and the order of its axes.

    Args:
        stored: the array.
        layout: given by the user, one of `LAYOUTS`; None to infer it from the name.
        shapes: of all arrays of the source, by name; the matching bias gives the output count.

    Returns:
        `Verdict`.
    """
    reason = _impossible(stored)
    if reason:
        return Verdict(None, reason)
    verdict = _by_name(stored)
    if layout is None and verdict.undecided:
        return verdict
    if layout is None and verdict.layout:
        axes = verdict.layout.replace("*", _TAPS[len(stored.shape)])
        verdict = verdict._replace(layout=axes)
        largest = max(_axes_last(axes, stored.shape)[2:])
        if largest > MAX_TAPS_PER_AXIS:
            limit = f"more than {MAX_TAPS_PER_AXIS} need an explicit layout="
            reason = f"{largest} taps on an axis: {limit}"
    elif layout is not None and (verdict.layout or verdict.undecided):
        verdict = Verdict(layout, "layout given")
        if len(layout) != len(stored.shape):
            reason = f"{len(stored.shape)} axes, but the given layout is {layout}"
    if verdict.layout and not reason:
        outputs, bias = _axes_last(verdict.layout, stored.shape)[0], shapes.get(bias_name(stored))
        if bias is not None and len(bias) == 1 and bias != (outputs,):
            reason = f"bias of {bias[0]} for {outputs} outputs: perhaps a transposed convolution"
    return Verdict(None, reason) if reason else verdict


def convolution(array: np.ndarray, layout: str) -> np.ndarray:
    """Point-reflected weights (outputs, inputs/groups, *kernel_size); a view where possible.

    Frameworks cross-correlate; reflecting all axes of taps makes this a true convolution.
    """
    channels = [layout.index(axis) for axis in ("CM" if "C" in layout else "OI")]
    taps = [layout.index(axis) for axis in layout if axis not in "OICM"]
    array = np.transpose(array, channels + taps)
    if "C" in layout:
        array = array.reshape(-1, 1, *array.shape[2:])
    return np.flip(array, tuple(range(2, array.ndim)))


def _axes_last(layout: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(outputs, inputs/groups, *kernel_size)."""
    size = dict(zip(layout, shape, strict=True))
    taps = tuple(n for axis, n in size.items() if axis not in "OICM")
    channels = (size["C"] * size["M"], 1) if "C" in size else (size["O"], size["I"])
    return (*channels, *taps)


def _impossible(stored: Stored) -> str:
    """Why an array can't be a convolution, whatever its name; else an empty string."""
    axes = len(stored.shape)
    if stored.dtype == "object":
        return "Python objects, stored as a pickle, which is never read"
    if stored.dtype == "void16":
        return "2-byte items of a dtype that NumPy files don't record, perhaps bfloat16"
    if stored.dtype not in DTYPES:
        return f"{stored.dtype}, not one of {', '.join(DTYPES)}"
    if axes < 3:
        return f"{axes} axes: dense weights, a bias or similar"
    if axes > 5:
        return f"{axes} axes: more than 3 axes of taps"
    if 0 in stored.shape:
        return "an axis of length 0"
    return ""


#: names of leaves and modules that are no convolution weights
_NO_LEAF = ("bias", "embed", "token", "norm", "scale", "offset", "gamma", "beta", "mean", "var")
_OPTIMIZERS = ("optimizer", "optimizer_weights", "optimizer_state", "opt_state")
_ATTENTION = ("query", "key", "value", "out", "qkv")


def _by_name(stored: Stored) -> Verdict:
    modules, leaf = _split(stored.name)
    named = [name for name in modules if not name.isdigit() and name not in ("vars", "~")]
    module = named[-1].lower() if named else ""
    if any(name in _OPTIMIZERS for name in modules):
        return Verdict(None, "optimizer state")
    if stored.layer:
        return _by_keras(stored.layer, leaf)
    if "transpose" in module or "deconv" in module:
        return Verdict(None, f"name {module!r}: a transposed convolution")
    if any(part in leaf.lower() for part in _NO_LEAF):
        return Verdict(None, f"name {leaf!r}: no convolution weight")
    if leaf in ("kernel", "0") and "conv" not in module:
        if any("attention" in name.lower() or "attn" in name for name in named):
            return Verdict(None, "an attention kernel")
        if module in _ATTENTION and len(stored.shape) == 3:
            return Verdict(None, f"name {module!r}: attention or convolution", undecided=True)
    return _by_leaf(leaf, module, stored)


def _by_leaf(leaf: str, module: str, stored: Stored) -> Verdict:
    maker = stored.maker
    unless_transposed = "unless transposed, which looks the same without a bias"
    if leaf in ("depthwise_kernel", "depthwise_weights"):
        return Verdict("*CM", f"name {leaf!r}: Keras, depthwise")
    if leaf == "pointwise_kernel":
        return Verdict("*IO", f"name {leaf!r}: Keras")
    if leaf == "kernel" and maker not in ("pt", "mlx"):
        return Verdict("*IO", f"name 'kernel': Flax or Keras, {unless_transposed}")
    if leaf == "w" and "conv" in module and maker not in ("pt", "mlx"):
        return Verdict("*IO", f"name 'w' in {module!r}: Haiku")
    if leaf == "weight" and maker in ("", "pt", "np", "mlx"):
        if "norm" in module or "bilinear" in module:
            return Verdict(None, f"name {module!r}: no convolution weight")
        if maker == "mlx":
            return Verdict("O*I", "name 'weight' and format 'mlx'")
        framework = "PyTorch, according to the file" if maker == "pt" else "PyTorch or Equinox"
        return Verdict("OI*", f"name 'weight': {framework}, {unless_transposed}")
    if max(stored.shape) == math.prod(stored.shape):
        return Verdict(None, "a vector")
    where = f" in a file of format {maker!r}" if maker else ""
    return Verdict(None, f"name {leaf!r}{where} determines no layout", undecided=True)


def _by_keras(layer: str, leaf: str) -> Verdict:
    if layer not in KERAS:
        return Verdict(None, f"Keras layer {layer}, of unknown layout", undecided=True)
    layout = KERAS[layer].get(leaf)
    if layout is None:
        return Verdict(None, f"Keras layer {layer}: no convolution weight")
    return Verdict(layout, f"Keras layer {layer}")


def _split(name: str) -> tuple[list[str], str]:
    """Module path and leaf name of an array."""
    *modules, leaf = re.split(r"[./]", name.removesuffix(":0"))
    # Flax stores a boxed parameter under "value"
    return (modules[:-1], modules[-1]) if leaf == "value" and modules else (modules, leaf)


def bias_name(stored: Stored) -> str:
    """Name under which the bias of these weights would be stored."""
    if stored.layer in KERAS and stored.name.endswith("vars/0"):
        return stored.name[:-1] + "1"
    bias = {"weight": "bias", "kernel": "bias", "w": "b"}
    return re.sub(
        r"(?:^|(?<=[./]))(weight|kernel|w)(?=(:0|[./]value)?$)",
        lambda match: bias[match[1]],
        stored.name,
    )
