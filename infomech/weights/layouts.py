"""Which arrays are convolutions and how their axes lie: told by name or user, never by shape.

A layout names the axes of an array in order: O output channels, I input channels (of one group), C
channels of a depthwise convolution and M its outputs per channel, and D, H, W the taps. What leaves
this room is (outputs, inputs of one group, *taps), a true convolution; grouped and depthwise
convolutions need no more than that, as group g of G has the outputs g·O/G to (g + 1)·O/G.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from infomech.weights._stored import Stored

#: taps by the number of axes of the whole array
_TAPS = {3: "W", 4: "HW", 5: "DHW"}

#: what `layout=` may be: PyTorch and Equinox; Flax, Haiku and Keras; depthwise Keras; MLX
LAYOUTS = tuple(
    family.replace("*", taps) for family in ("OI*", "*IO", "*CM", "O*I") for taps in _TAPS.values()
)

#: taps on one axis above which a name alone doesn't make an array a convolution
MAX_TAPS_PER_AXIS = 256

#: dtypes that are read
DTYPES = ("float16", "bfloat16", "float32", "float64")

#: of Keras layers, the layout of each of their arrays, by name or by number
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
    """Layout of an array, or None if it is no convolution or that can't be told; and why."""

    layout: str | None
    rule: str
    undecided: bool = False


def judge(stored: Stored, layout: str | None, shapes: Mapping[str, tuple[int, ...]]) -> Verdict:
    """Whether an array is a convolution, and how its axes lie.

    Args:
        stored: the array.
        layout: what the user says it is, one of `LAYOUTS`; None to go by its name.
        shapes: of all arrays of the source, by name: the bias next to an array tells its outputs.

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
        found = verdict.layout.replace("*", _TAPS[len(stored.shape)])
        verdict = verdict._replace(layout=found)
        most = max(_axes_last(found, stored.shape)[2:])
        if most > MAX_TAPS_PER_AXIS:
            limit = f"above {MAX_TAPS_PER_AXIS} only layout= makes it a convolution"
            reason = f"{most} taps on an axis: {limit}"
    elif layout is not None and (verdict.layout or verdict.undecided):
        verdict = Verdict(layout, "layout given")
        if len(layout) != len(stored.shape):
            reason = f"{len(stored.shape)} axes, and layout {layout} is given"
    if verdict.layout and not reason:
        outputs, bias = _axes_last(verdict.layout, stored.shape)[0], shapes.get(bias_name(stored))
        if bias is not None and len(bias) == 1 and bias != (outputs,):
            reason = f"a bias of {bias[0]} for {outputs} outputs: perhaps a transposed convolution"
    return Verdict(None, reason) if reason else verdict


def convolution(array: np.ndarray, layout: str) -> np.ndarray:
    """Weights as (outputs, inputs of one group, *taps) and point-reflected; a view where possible.

    Frameworks correlate; the reflection over all axes of taps makes it a true convolution.
    """
    order = [layout.index(axis) for axis in layout if axis not in "OICM"]
    first = [layout.index(axis) for axis in ("CM" if "C" in layout else "OI")]
    array = np.transpose(array, first + order)
    if "C" in layout:
        array = array.reshape(-1, 1, *array.shape[2:])
    return np.flip(array, tuple(range(2, array.ndim)))


def _axes_last(layout: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(outputs, inputs of one group, *taps)."""
    size = dict(zip(layout, shape, strict=True))
    taps = tuple(n for axis, n in size.items() if axis not in "OICM")
    return (size["C"] * size["M"], 1, *taps) if "C" in size else (size["O"], size["I"], *taps)


def _impossible(stored: Stored) -> str:
    """Why an array is no convolution whatever it is called."""
    axes = len(stored.shape)
    if stored.dtype == "object":
        return "Python objects, a pickle, which is never read"
    if stored.dtype == "void16":
        return "2 bytes of a type that NumPy's files don't keep, perhaps bfloat16"
    if stored.dtype not in DTYPES:
        return f"{stored.dtype}, none of {', '.join(DTYPES)}"
    if axes < 3:
        return f"{axes} axes: dense weights, a bias or the like"
    if axes > 5:
        return f"{axes} axes: more than 3 of taps"
    if 0 in stored.shape:
        return "an axis of length 0"
    return ""


#: leaves that are no weights of convolutions, and modules that have none
_NO_LEAF = ("bias", "embed", "token", "norm", "scale", "offset", "gamma", "beta", "mean", "var")
_OPTIMIZERS = ("optimizer", "optimizer_weights", "optimizer_state", "opt_state")
_ATTENTION = ("query", "key", "value", "out", "qkv")


def _by_name(stored: Stored) -> Verdict:
    modules, leaf = _split(stored.name)
    named = [module for module in modules if not module.isdigit() and module not in ("vars", "~")]
    own = named[-1].lower() if named else ""
    if any(module in _OPTIMIZERS for module in modules):
        return Verdict(None, "state of an optimizer")
    if stored.layer:
        return _by_keras(stored.layer, leaf)
    if "transpose" in own or "deconv" in own:
        return Verdict(None, f"a transposed convolution by the name {own!r}")
    if any(part in leaf.lower() for part in _NO_LEAF):
        return Verdict(None, f"no weight of a convolution by the name {leaf!r}")
    if leaf in ("kernel", "0") and "conv" not in own:
        if any("attention" in module.lower() or "attn" in module for module in named):
            return Verdict(None, "a kernel of attention")
        if own in _ATTENTION and len(stored.shape) == 3:
            return Verdict(None, f"name {own!r}, of attention or a convolution", undecided=True)
    return _by_leaf(leaf, own, stored)


def _by_leaf(leaf: str, own: str, stored: Stored) -> Verdict:
    maker = stored.maker
    unless_transposed = "unless it is a transposed one, which looks the same without a bias"
    if leaf in ("depthwise_kernel", "depthwise_weights"):
        return Verdict("*CM", f"name {leaf!r}: Keras, depthwise")
    if leaf == "pointwise_kernel":
        return Verdict("*IO", f"name {leaf!r}: Keras")
    if leaf == "kernel" and maker not in ("pt", "mlx"):
        return Verdict("*IO", f"name 'kernel': Flax or Keras, {unless_transposed}")
    if leaf == "w" and "conv" in own and maker not in ("pt", "mlx"):
        return Verdict("*IO", f"name 'w' in {own!r}: Haiku")
    if leaf == "weight" and maker in ("", "pt", "np", "mlx"):
        if "norm" in own or "bilinear" in own:
            return Verdict(None, f"no weight of a convolution by the name {own!r}")
        if maker == "mlx":
            return Verdict("O*I", "name 'weight' and format 'mlx'")
        framework = "PyTorch, as the file says" if maker == "pt" else "PyTorch or Equinox"
        return Verdict("OI*", f"name 'weight': {framework}, {unless_transposed}")
    if max(stored.shape) == math.prod(stored.shape):
        return Verdict(None, "a vector")
    of = f" in a file of format {maker!r}" if maker else ""
    return Verdict(None, f"name {leaf!r}{of} tells no layout", undecided=True)


def _by_keras(layer: str, leaf: str) -> Verdict:
    if layer not in KERAS:
        return Verdict(None, f"Keras layer {layer}, of unknown layout", undecided=True)
    layout = KERAS[layer].get(leaf)
    if layout is None:
        return Verdict(None, f"no weight of a convolution: Keras layer {layer}")
    return Verdict(layout, f"Keras layer {layer}")


def _split(name: str) -> tuple[list[str], str]:
    """The modules that lead to an array, and its own name."""
    *modules, leaf = re.split(r"[./]", name.removesuffix(":0"))
    # Flax boxes its parameters
    return (modules[:-1], modules[-1]) if leaf == "value" and modules else (modules, leaf)


def bias_name(stored: Stored) -> str:
    """The name that the bias of these weights has, if they have one."""
    if stored.layer in KERAS and stored.name.endswith("vars/0"):
        return stored.name[:-1] + "1"
    bias = {"weight": "bias", "kernel": "bias", "w": "b"}
    return re.sub(
        r"(?:^|(?<=[./]))(weight|kernel|w)(?=(:0|[./]value)?$)",
        lambda match: bias[match[1]],
        stored.name,
    )
