"""Weight readers: formats, layouts, dtypes, and files they must refuse."""

import io
import json
import math
import os
import pickle
import struct
import sys
import zipfile

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import infomech as im
from infomech import weights
from infomech.weights import _formats, _stored, layouts

BF16 = np.dtype(jnp.bfloat16)


def wave(shape, dtype="float64"):
    """Values that differ under every reflection and axis swap."""
    return np.cos(1.7 * np.arange(math.prod(shape))).reshape(shape).astype(dtype)


def only(source, **options):
    (layer,) = weights.layers(source, **options)
    return layer


def verdicts(source):
    return {entry.name: entry.layout or entry.rule for entry in weights.describe(source)}


# --- files as frameworks write them ----------------------------------------------------------


def safetensors(path, header, body=b"", length=None):
    """A safetensors file with any header, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def tensor(shape, begin=0, dtype="F32", end=None):
    size = 4 * math.prod(shape) if end is None else end - begin
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + size]}


def keras_2(path, layers, whole_model=True, config=True):
    """A Keras 2 .h5 file: layers are (class, name, {weight: array})."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [name.encode() for _, name, _ in layers]
        root.attrs["keras_version"] = "2.15.0"
        for _, name, weights in layers:
            group = root.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{weight}:0".encode() for weight in weights]
            for weight, values in weights.items():
                group[f"{name}/{weight}:0"] = values
                if whole_model:
                    file[f"optimizer_weights/SGD/m/{name}/{name}/{weight}:0"] = values
        if config:
            file.attrs["model_config"] = json.dumps(keras_config(layers))
    return path


def keras_config(layers):
    configs = [{"class_name": kind, "config": {"name": name}} for kind, name, _ in layers]
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": configs}}


def keras_3(path, layers, archive=True):
    """A Keras 3 .keras or .weights.h5 file: layers are (class, name, group, arrays)."""
    file = io.BytesIO() if archive else path
    with h5py.File(file, "w") as weights:
        weights.create_group("vars").attrs["name"] = "sequential"
        weights["optimizer/vars/2"] = wave((3, 3, 1, 1))
        for _, name, group, arrays in layers:
            numbered = weights.create_group(f"layers/{group}/vars")
            numbered.attrs["name"] = name
            for n, values in enumerate(arrays):
                numbered[str(n)] = values
    if archive:
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("metadata.json", '{"keras_version": "3.15.1"}')
            zipped.writestr("config.json", json.dumps(keras_config([row[:3] for row in layers])))
            zipped.writestr("model.weights.h5", file.getvalue())
    return path


# --- what the frameworks compute with the weights --------------------------------------------

#: name, shape of the weights, (channels, *grid), and what PyTorch 2.13 (torch.nn.functional.conv),
#: Keras 2 (tf_keras 2.21: Conv, DepthwiseConv), Flax 0.12 (linen.Conv) and Haiku 0.0.17
#: (DepthwiseConv2D) compute from `wave` weights and `wave` input, without padding, channels first
COMPUTED = [
    ("conv1.weight", (2, 3, 3), (3, 4), [0.958668, -0.746117, -0.252927, 0.11403]),
    ("conv1.weight", (4, 1, 3, 2), (2, 3, 3), [
        -0.114419, -0.697001, -0.446345, 0.619232, -0.726602, -0.119006, 0.403529, 0.591764]),
    ("conv1.weight", (2, 1, 2, 2, 3), (2, 2, 2, 4), [1.446703, 1.024391, -0.82981, -0.215582]),
    ("conv1d/kernel:0", (3, 3, 2), (3, 4), [0.583857, -0.222037, -0.047162, -0.478372]),
    ("conv2d/kernel:0", (3, 2, 2, 4), (4, 3, 3), [
        0.23356, -0.866201, 0.739571, 0.169159, -0.854673, 0.329972, -0.092277, -0.760147]),
    ("conv3d/kernel:0", (2, 2, 3, 1, 2), (1, 2, 2, 4), [0.559396, 0.438737, 0.257503, -0.332877]),
    ("depthwise_conv2d/depthwise_kernel:0", (3, 2, 2, 2), (2, 3, 3), [
        0.77227, -1.34539, -1.010009, -0.450671, 1.028309, -1.212075, -0.959737, -0.528657]),
    ("depthwise_conv1d/depthwise_kernel:0", (3, 2, 2), (2, 4), [
        0.393268, -0.775964, 0.836175, 0.251668, -0.213996, 0.875902, -0.850903, -0.011714]),
    ("params/Conv_0/kernel", (3, 3, 2), (3, 4), [0.583857, -0.222037, -0.047162, -0.478372]),
    ("params/Conv_0/kernel", (3, 2, 1, 4), (2, 3, 3), [
        0.77227, -1.34539, -1.010009, -0.450671, 1.028309, -1.212075, -0.959737, -0.528657]),
    ("params/Conv_0/kernel", (2, 2, 3, 1, 2), (1, 2, 2, 4), [
        0.559396, 0.438737, 0.257503, -0.332877]),
    ("depthwise_conv2_d/w", (3, 2, 1, 4), (2, 3, 3), [
        0.77227, -1.34539, -1.010009, -0.450671, 1.028309, -1.212075, -0.959737, -0.528657]),
]  # fmt: skip


def convolved(kernels, channels):
    """True convolution (k * u)(x) = Σ_r k(r) u(x − r), where all taps lie inside, in NumPy."""
    outputs, inputs, *taps = kernels.shape
    groups = len(channels) // inputs
    grid = [n - k + 1 for n, k in zip(channels.shape[1:], taps, strict=True)]
    result = np.zeros((outputs, *grid))
    for o in range(outputs):
        group = o // (outputs // groups)
        for i, u in enumerate(channels[group * inputs : (group + 1) * inputs]):
            for x in np.ndindex(*grid):
                for r in np.ndindex(*taps):
                    at = tuple(p + k - 1 - q for p, k, q in zip(x, taps, r, strict=True))
                    result[(o, *x)] += kernels[(o, i, *r)] * u[at]
    return result


def correlate(image, taps, mode):
    """Cross-correlation Σ_r w(r) u(x + r) of one channel, as frameworks compute it, in NumPy."""
    if mode == "same":
        image = np.pad(image, [((n - 1) // 2, n // 2) for n in taps.shape])
    windows = np.lib.stride_tricks.sliding_window_view(image, taps.shape)
    return np.tensordot(windows, taps, taps.ndim)


@pytest.mark.parametrize(("name", "shape", "grid", "computed"), COMPUTED)
def test_convolution_matches_framework(name, shape, grid, computed):
    layer = only({name: wave(shape)})
    assert layer.kernels.dtype == "float64"
    result = convolved(layer.kernels, wave(grid))
    np.testing.assert_allclose(result.ravel(), computed, atol=1e-6)


#: name, format stated in the file, and layout family
NAMES = [
    ("features.0.weight", "pt", "OI*"),
    ("params/stem/kernel", "flax", "*IO"),
    ("conv/weight", "mlx", "O*I"),
    ("block/depthwise_kernel:0", "tf", "*CM"),
]


def with_axes(family, d):
    return family.replace("*", {1: "W", 2: "HW", 3: "DHW"}[d])


@pytest.mark.parametrize(("name", "maker", "family"), NAMES)
@pytest.mark.parametrize(("d", "axis"), [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_shift_direction_matches_framework(name, maker, family, d, axis, tmp_path):
    layout = with_axes(family, d)
    taps = dict.fromkeys("DHW"[-d:], 1)
    taps["DHW"[-d:][axis]] = 0
    weights = np.zeros([3 if letter in taps else 1 for letter in layout], "float32")
    weights[tuple(taps.get(letter, 0) for letter in layout)] = 1
    # the tap reads one pixel back, so it shifts the image forward
    image = im.fields.impulse((7,) * d, dtype="float32").values
    shifted = np.roll(image, 1, axis)
    np.testing.assert_array_equal(correlate(image, weights.reshape((3,) * d), "same"), shifted)

    save_file({name: weights}, tmp_path / "m.safetensors", metadata={"format": maker})
    layer = only(tmp_path / "m.safetensors")
    assert layer.layout == layout
    np.testing.assert_array_equal(im.layer(layer.kernels[0, 0], image).values, shifted)


def test_read_kernel_shifts_in_rollout():
    weights = np.zeros((3, 3, 1, 1))
    weights[1, 0] = 1
    _, trace = im.rollout(only({"kernel": weights}).kernels[0, 0], im.fields.impulse((9, 9)), 3)
    np.testing.assert_allclose(trace.center, [[4, 4], [4, 5], [4, 6], [4, 7]])


@pytest.mark.parametrize("family", ["OI*", "*IO", "O*I"])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(4, 6, 2), (3, 3, 3), (3, 6, 3)])
def test_grouped_and_depthwise_layouts(family, d, inputs, outputs, groups):
    layout, per_group = with_axes(family, d), inputs // groups
    size = {"O": outputs, "I": per_group, "D": 2, "H": 3, "W": 2}
    weights = wave([size[letter] for letter in layout])
    kernels = only([weights], layout=layout).kernels
    assert kernels.shape == (outputs, per_group, *(size[axis] for axis in "DHW"[-d:]))
    channels = wave((inputs, 3, 4, 3)[: d + 1])
    for o, result in enumerate(convolved(kernels, channels)):
        first = o // (outputs // groups) * per_group
        taps = np.take(weights, o, layout.index("O"))
        taps = np.moveaxis(taps, layout.replace("O", "").index("I"), 0)
        group = channels[first : first + per_group]
        expected = sum(correlate(u, w, "valid") for u, w in zip(group, taps, strict=True))
        np.testing.assert_allclose(result, expected, atol=1e-12)


def test_depthwise_multiplier_varies_fastest():
    weights = wave((3, 3, 4, 2))
    kernels = only({"depthwise_kernel": weights}).kernels
    assert kernels.shape == (8, 1, 3, 3)
    np.testing.assert_array_equal(kernels[2 * 3 + 1, 0], weights[::-1, ::-1, 3, 1])


# --- which arrays are convolutions -----------------------------------------------------------

C2 = (8, 4, 3, 3)
RECOGNIZED = {
    ("conv1.weight", C2): "OIHW",
    ("layer1.0.downsample.0.weight", (8, 4, 1, 1)): "OIHW",
    ("attn.proj.weight", C2): "OIHW",
    ("weight", (8, 4, 3)): "OIW",
    ("video.weight", (8, 4, 3, 3, 3)): "OIDHW",
    ("params/Conv_0/kernel", (3, 3, 4, 8)): "HWIO",
    ("Conv_0/kernel/value", (3, 4, 8)): "WIO",
    ("attention/conv/kernel", (3, 3, 4, 8)): "HWIO",
    ("resnet/embedder/kernel:0", (3, 3, 4, 8)): "HWIO",
    ("patch_embed.proj.weight", C2): "OIHW",
    ("resnet/~/initial_conv.w", (7, 7, 3, 8)): "HWIO",
    ("sep/pointwise_kernel:0", (1, 1, 4, 8)): "HWIO",
    ("sep/depthwise_kernel:0", (3, 3, 4, 2)): "HWCM",
    ("MobilenetV1/Conv2d_1_depthwise/depthwise_weights", (3, 3, 4, 1)): "HWCM",
    ("dw/depthwise_kernel", (3, 4, 2)): "WCM",
}
NO_CONVOLUTIONS = {
    ("fc.weight", (8, 4)): "2 axes: dense",
    ("conv.bias", (8,)): "1 axes: dense weights, a bias",
    ("steps", ()): "0 axes",
    ("a.weight", (1, 1, 1, 1, 1, 1)): "6 axes: more than 3 axes of taps",
    ("a.weight", (8, 0, 3, 3)): "an axis of length 0",
    ("experts.weight", (8, 64, 5760)): "5760 taps on an axis: more than 256",
    ("norm1.weight", (8, 4, 4)): "name 'norm1': no convolution weight",
    ("bilinear.weight", (8, 4, 4)): "name 'bilinear': no",
    ("vit.pos_embed", (1, 17, 8)): "name 'pos_embed': no",
    ("cls_token", (1, 1, 8)): "name 'cls_token': no",
    ("block.gamma_1", (1, 8, 1, 1)): "name 'gamma_1': no",
    ("mystery", (8, 1, 1)): "a vector",
    ("up.deconv.weight", C2): "name 'deconv': a transposed convolution",
    ("ConvTranspose_0/kernel", (3, 3, 4, 8)): ": a transposed convolution",
    ("conv2_d_transpose/w", (3, 3, 4, 8)): ": a transposed convolution",
    ("MultiHeadDotProductAttention_0/out/kernel", (2, 4, 8)): "an attention kernel",
    ("opt_state/0/mu/Conv_0/kernel", (3, 3, 4, 8)): "optimizer state",
}
UNDECIDED = {
    ("query/kernel", (8, 2, 4)): ": attention or convolution",
    ("conv.weight_v", (8, 4, 3)): "name 'weight_v' determines no layout",
    ("linear/w", (3, 4, 8)): "name 'w' determines no layout",
    ("block1_conv1_W_1:0", (3, 3, 4, 8)): "determines no layout",
}


@pytest.mark.parametrize(("array", "layout"), RECOGNIZED.items())
def test_layouts_are_inferred_from_names(array, layout):
    name, shape = array
    layer = only({name: wave(shape, "float32"), "other": np.ones(3)})
    assert (layer.name, layer.layout) == (name, layout)
    assert layer.rule


@pytest.mark.parametrize(("array", "reason"), NO_CONVOLUTIONS.items())
def test_other_arrays_give_a_reason(array, reason):
    name, shape = array
    (entry,) = weights.describe({name: wave(shape)})
    assert (entry.name, entry.shape, entry.dtype) == (name, shape, "float64")
    assert entry.layout is None
    assert not entry.undecided
    assert reason in entry.rule
    with pytest.raises(ValueError, match="expected at least one convolution layer"):
        weights.layers({name: wave(shape)})


EXPECTED_CHOICE = r"expected layout= one of OIW, OIHW, .*, or pattern= to exclude it"


@pytest.mark.parametrize(("array", "reason"), UNDECIDED.items())
def test_undecided_name_raises(array, reason):
    name, shape = array
    tree = {name: wave(shape), "conv.weight": wave(C2)}
    (entry,) = (entry for entry in weights.describe(tree) if entry.undecided)
    assert reason in entry.rule
    with pytest.raises(ValueError, match=EXPECTED_CHOICE):
        weights.layers(tree)
    assert only(tree, pattern="*.weight").name == "conv.weight"
    layout = {3: "WIO", 4: "HWIO"}[len(shape)]
    layer = only(tree, pattern=f"*{name}", layout=layout)
    assert layer.rule == "layout given"
    np.testing.assert_array_equal(
        layer.kernels, np.flip(np.moveaxis(wave(shape), (-1, -2), (0, 1)), range(2, len(shape)))
    )


def test_contradicting_framework_is_undecided(tmp_path):
    for name, maker in [("a.weight", "tf"), ("a.kernel", "pt")]:
        save_file({name: wave(C2)}, tmp_path / "a.safetensors", metadata={"format": maker})
        with pytest.raises(ValueError, match=f"in a file of format '{maker}' determines no layout"):
            weights.layers(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("weights", "bias", "outputs"),
    [("up.weight", "up.bias", 8), ("up/kernel:0", "up/bias:0", 3), ("conv/w", "conv/b", 3)],
)
def test_bias_length_identifies_transposed_convolutions(weights, bias, outputs):
    tree = {weights: wave((8, 4, 3, 3)), bias: np.ones(outputs)}
    assert only(tree).name == weights
    tree[bias] = np.ones(4)
    assert f"bias of 4 for {outputs} outputs" in verdicts(tree)[weights]


def test_given_layout_applies_to_all_candidates():
    tree = {
        "a.weight": wave((3, 3, 4, 8)),
        "b": wave((3, 3, 8, 2)),
        "c.weight": wave((4, 4, 3)),
        "norm.weight": wave((4, 4, 4)),
        "long": wave((300, 1, 2, 2)),
    }
    shapes = {layer.name: layer.kernels.shape for layer in weights.layers(tree, layout="HWIO")}
    assert shapes == {"a.weight": (8, 4, 3, 3), "b": (2, 8, 3, 3), "long": (2, 2, 300, 1)}
    with pytest.raises(ValueError, match="layout: got 'NCHW', expected one of OIW, OIHW"):
        weights.layers(tree, layout="NCHW")


def test_pattern_selects_layers():
    tree = {"a.0.weight": wave(C2), "a.1.weight": wave(C2), "b.weight": wave(C2), "c": wave((2,))}
    names = [layer.name for layer in weights.layers(tree, pattern="a.*")]
    assert names == ["a.0.weight", "a.1.weight"]
    with pytest.raises(ValueError, match=r"pattern: got 'A\*', expected .* a.0.weight, a.1.weight"):
        weights.layers(tree, pattern="A*")


def test_source_without_convolutions_is_listed():
    tree = {f"fc{n}.weight": np.ones((2, 2)) for n in range(20)}
    with pytest.raises(ValueError, match=r"'fc0.weight' \(2, 2\) \(2 axes.* and 8 more, expected"):
        weights.layers(tree)
    for empty in ({}, {"a": "text"}, [lambda x: x], None):
        with pytest.raises(ValueError, match="without arrays"):
            weights.layers(empty)


# --- formats ---------------------------------------------------------------------------------


def test_alphabetical_files_use_natural_order(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({f"l{n}.weight": wave(C2, "float32") for n in range(12)}, path)
    assert [layer.name for layer in weights.layers(path)] == [f"l{n}.weight" for n in range(12)]


def test_safetensors_keep_file_order(tmp_path):
    arrays = {
        "z.weight": wave(C2, "float32"),
        "y.weight": wave((2, 2, 3)),
        "fc.weight": wave((2, 2)),
    }
    body = b"".join(values.tobytes() for values in arrays.values())
    header, begin = {"__metadata__": {"format": "pt"}}, 0
    for name, values in arrays.items():
        dtype = "F32" if values.dtype == np.float32 else "F64"
        header[name] = tensor(values.shape, begin, dtype, begin + values.nbytes)
        begin += values.nbytes
    # an odd header length leaves the arrays unaligned
    path = safetensors(tmp_path / "a.safetensors", json.dumps(header).encode() + b" ", body)
    layers = list(weights.layers(str(path)))
    assert [layer.name for layer in layers] == ["z.weight", "y.weight"]
    assert "according to the file" in layers[0].rule
    for layer in layers:
        assert layer.kernels.dtype == arrays[layer.name].dtype
        taps = tuple(range(2, layer.kernels.ndim))
        np.testing.assert_array_equal(np.flip(layer.kernels, taps), arrays[layer.name])
        np.testing.assert_array_equal(jnp.asarray(layer.kernels), layer.kernels)
        with pytest.raises(ValueError, match="read-only"):
            layer.kernels[:] = 0


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(save, tmp_path):
    arrays = {"b.weight": wave(C2), "a/kernel": np.asfortranarray(wave((3, 3, 2, 4)))}
    save(tmp_path / "a.npz", **arrays, big=wave((3,)).astype(">f8"))
    layers = {layer.name: layer.kernels for layer in weights.layers(tmp_path / "a.npz")}
    assert list(layers) == list(arrays)
    np.testing.assert_array_equal(np.flip(layers["b.weight"], (2, 3)), arrays["b.weight"])
    np.testing.assert_array_equal(layers["a/kernel"][1, 0], arrays["a/kernel"][::-1, ::-1, 0, 1])
    assert verdicts(tmp_path / "a.npz")["big"].startswith("1 axes")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8"])
def test_npy_needs_a_layout(order, dtype, tmp_path):
    array = np.asarray(wave((3, 3, 2, 4), dtype), order=order)
    np.save(tmp_path / "conv1.npy", array)
    with pytest.raises(ValueError, match=r"'conv1' \(3, 3, 2, 4\) .* expected layout="):
        weights.layers(tmp_path / "conv1.npy")
    layer = only(tmp_path / "conv1.npy", layout="HWIO")
    assert layer.kernels.dtype == np.dtype(dtype).newbyteorder("=")
    assert layer.kernels.dtype.isnative
    np.testing.assert_array_equal(layer.kernels[3, 1], array[::-1, ::-1, 1, 3])


KERAS_2 = [
    ("Conv2D", "zero", {"kernel": wave((3, 3, 2, 4)), "bias": wave((4,))}),
    ("DepthwiseConv2D", "depthwise_conv2d", {"depthwise_kernel": wave((3, 3, 4, 2))}),
    (
        "SeparableConv2D",
        "sep",
        {
            "depthwise_kernel": wave((3, 3, 8, 1)),
            "pointwise_kernel": wave((1, 1, 8, 3)),
            "bias": wave((3,)),
        },
    ),
    ("Conv2DTranspose", "up", {"kernel": wave((3, 3, 2, 3)), "bias": wave((2,))}),
    ("DepthwiseConv2D", "by_keras_3", {"kernel": wave((3, 3, 2, 2))}),
    ("Conv1D", "conv1d_10", {"kernel": wave((3, 2, 4))}),
    ("Conv3D", "conv3d", {"kernel": wave((3, 3, 3, 2, 4))}),
    ("EinsumDense", "mix", {"kernel": wave((3, 3, 3))}),
    ("Dense", "head", {"kernel": wave((4, 2))}),
]


def test_keras_2_model(tmp_path):
    path = keras_2(tmp_path / "model.h5", KERAS_2)
    layers = {layer.name.split("/", 2)[2]: layer for layer in weights.layers(path)}
    assert {name: layer.layout for name, layer in layers.items()} == {
        "zero/kernel:0": "HWIO",
        "depthwise_conv2d/depthwise_kernel:0": "HWCM",
        "sep/depthwise_kernel:0": "HWCM",
        "sep/pointwise_kernel:0": "HWIO",
        "by_keras_3/kernel:0": "HWCM",
        "conv1d_10/kernel:0": "WIO",
        "conv3d/kernel:0": "DHWIO",
    }
    # in model order, not by name
    assert list(layers)[:3] == [
        "zero/kernel:0",
        "depthwise_conv2d/depthwise_kernel:0",
        "sep/depthwise_kernel:0",
    ]
    np.testing.assert_array_equal(
        layers["zero/kernel:0"].kernels[2, 1], wave((3, 3, 2, 4))[::-1, ::-1, 1, 2]
    )
    rules = verdicts(path)
    assert rules["model_weights/up/up/kernel:0"].startswith("Keras layer Conv2DTranspose: no")
    assert rules["optimizer_weights/SGD/m/zero/zero/kernel:0"] == "optimizer state"


def test_keras_2_weights(tmp_path):
    rows = [row for row in KERAS_2 if row[1] not in ("by_keras_3", "mix")]
    path = keras_2(tmp_path / "weights.h5", rows, whole_model=False, config=False)
    layers = {layer.name: layer.layout for layer in weights.layers(path)}
    assert list(layers.items()) == [
        ("zero/zero/kernel:0", "HWIO"),
        ("depthwise_conv2d/depthwise_conv2d/depthwise_kernel:0", "HWCM"),
        ("sep/sep/depthwise_kernel:0", "HWCM"),
        ("sep/sep/pointwise_kernel:0", "HWIO"),
        ("conv1d_10/conv1d_10/kernel:0", "WIO"),
        ("conv3d/conv3d/kernel:0", "DHWIO"),
    ]
    assert "bias of 2 for 3 outputs" in verdicts(path)["up/up/kernel:0"]


KERAS_3 = [
    ("Conv2D", "stem", "conv2d", [wave((3, 3, 2, 4)), wave((4,))]),
    ("SeparableConv2D", "s", "separable_conv2d", [wave((3, 3, 4, 2)), wave((1, 1, 8, 6))]),
    ("DepthwiseConv1D", "d", "depthwise_conv1d", [wave((3, 4, 2))]),
    ("Conv2DTranspose", "up", "conv2d_transpose", [wave((3, 3, 2, 5))]),
    ("Conv2D", "ten", "conv2d_10", [wave((3, 3, 2, 4))]),
    ("Conv2D", "two", "conv2d_2", [wave((3, 3, 2, 4))]),
    ("EinsumDense", "e", "einsum_dense", [wave((3, 3, 3))]),
    ("Dense", "query", "multi_head_attention/query_dense", [wave((3, 2, 4))]),
]


def test_keras_3_archive(tmp_path):
    path = keras_3(tmp_path / "model.keras", KERAS_3)
    layers = [(layer.name, layer.layout) for layer in weights.layers(path)]
    assert layers == [
        ("layers/conv2d/vars/0", "HWIO"),
        ("layers/separable_conv2d/vars/0", "HWCM"),
        ("layers/separable_conv2d/vars/1", "HWIO"),
        ("layers/depthwise_conv1d/vars/0", "WCM"),
        ("layers/conv2d_10/vars/0", "HWIO"),
        ("layers/conv2d_2/vars/0", "HWIO"),
    ]
    rules = verdicts(path)
    assert rules["layers/conv2d_transpose/vars/0"].startswith("Keras layer Conv2DTranspose: no")
    assert rules["optimizer/vars/2"] == "optimizer state"
    stem = only(path, pattern="layers/conv2d/*").kernels
    np.testing.assert_array_equal(stem[3, 1], wave((3, 3, 2, 4))[::-1, ::-1, 1, 3])


def test_bias_is_read(tmp_path):
    stem = only(keras_3(tmp_path / "model.keras", KERAS_3), pattern="layers/conv2d/*")
    np.testing.assert_array_equal(stem.bias, wave((4,)))
    first, *rest = weights.layers(keras_2(tmp_path / "model.h5", KERAS_2))
    np.testing.assert_array_equal(first.bias, wave((4,)))
    assert rest[0].bias is None
    # Equinox, in half precision
    tree = {"a": {"weight": wave((3, 2, 3, 3)), "bias": wave((3, 1, 1)).astype(np.float16)}}
    bias = only(tree).bias
    np.testing.assert_array_equal(bias, tree["a"]["bias"].ravel())
    assert bias.dtype == wave(()).dtype
    assert only({"a": {"weight": wave((3, 2, 3, 3)), "bias": np.ones((2, 2))}}).bias is None


def test_keras_3_weights(tmp_path):
    path = keras_3(tmp_path / "model.weights.h5", KERAS_3, archive=False)
    layers = [(layer.name, layer.layout) for layer in weights.layers(path)]
    assert layers == [
        ("layers/conv2d/vars/0", "HWIO"),
        ("layers/conv2d_2/vars/0", "HWIO"),
        ("layers/conv2d_10/vars/0", "HWIO"),
        ("layers/depthwise_conv1d/vars/0", "WCM"),
        ("layers/separable_conv2d/vars/0", "HWCM"),
        ("layers/separable_conv2d/vars/1", "HWIO"),
    ]
    assert "attention" in verdicts(path)["layers/multi_head_attention/query_dense/vars/0"]


def test_ambiguous_layer_names_use_groups(tmp_path):
    rows = [
        ("Conv2D", "same", "conv2d", [wave((3, 3, 2, 4))]),
        ("Conv2DTranspose", "same", "conv2d_transpose", [wave((3, 3, 2, 5))]),
    ]
    assert only(keras_3(tmp_path / "a.keras", rows)).name == "layers/conv2d/vars/0"


def test_unknown_keras_classes_raise(tmp_path):
    rows = [("BlurConv2D", "b", "blur_conv2d", [wave((3, 3, 2, 4))])]
    with pytest.raises(ValueError, match="Keras layer BlurConv2D, of unknown layout"):
        weights.layers(keras_3(tmp_path / "a.keras", rows))
    with pytest.raises(ValueError, match="name '0' determines no layout"):
        weights.layers(keras_3(tmp_path / "a.weights.h5", rows, archive=False))


def test_live_models():
    key = jax.random.key(0)
    model = eqx.nn.Sequential([eqx.nn.Conv2d(2, 3, 3, key=key), eqx.nn.Lambda(jax.nn.relu)])
    layer = only(model)
    np.testing.assert_array_equal(layer.bias, model.layers[0].bias.ravel())
    assert (layer.name, layer.layout) == ("layers/0/weight", "OIHW")
    np.testing.assert_array_equal(layer.kernels[:, :, ::-1, ::-1], model.layers[0].weight)
    image = wave((2, 3, 4))
    expected = model.layers[0](jnp.asarray(image)) - model.layers[0].bias
    np.testing.assert_allclose(convolved(layer.kernels, image), expected, atol=1e-12)

    tree = {"params": {"Conv_0": {"kernel": jnp.ones((3, 2, 4)), "bias": jnp.ones(4)}, "n": [1]}}
    assert only(tree).name == "params/Conv_0/kernel"
    with pytest.raises(ValueError, match="traced arrays"):
        jax.jit(lambda x: list(weights.layers(x)))(tree)


def test_live_model_is_neither_copied_nor_modified():
    weights = np.asarray(wave(C2))
    layer = only({"a.weight": weights})
    assert np.shares_memory(layer.kernels, weights)
    assert not layer.kernels.flags.writeable
    assert weights.flags.writeable
    depthwise = np.asarray(wave((3, 3, 4, 2)))
    assert np.shares_memory(only({"depthwise_kernel": depthwise}).kernels, depthwise)


def test_layers_are_read_lazily(monkeypatch):
    read = []
    monkeypatch.setattr(np, "asarray", lambda leaf: read.append(leaf.shape) or np.array(leaf))
    layers = weights.layers({"a.weight": np.zeros((1, 1, 2)), "b.weight": np.zeros((1, 1, 3))})
    assert read == []
    next(layers)
    assert read == [(1, 1, 2)]
    next(layers)
    assert read == [(1, 1, 2), (1, 1, 3)]


# --- dtypes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.dtype("float16"), BF16, np.dtype("f4"), np.dtype("f8")])
def test_half_precision_is_widened_exactly(dtype, tmp_path):
    array = np.asarray([1.0, -2.5, np.nan, np.inf, 3e-5, -0.0]).astype(dtype).reshape(1, 2, 3)
    save_file({"a.weight": array}, tmp_path / "a.safetensors")
    sources = [
        {"a.weight": array},
        {"a.weight": jnp.asarray(array)},
        tmp_path / "a.safetensors",
    ]
    for source in sources:
        (entry,) = weights.describe(source)
        assert entry.dtype == dtype.name
        kernels = only(source).kernels
        assert kernels.dtype == (dtype if dtype.itemsize >= 4 else np.float32)
        np.testing.assert_array_equal(kernels[..., ::-1], array.astype(kernels.dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "complex64", "longdouble"])
def test_other_dtypes_are_no_weights(dtype):
    (entry,) = weights.describe({"a.weight": np.ones(C2, dtype)})
    assert entry.layout is None
    assert entry.rule == f"{entry.dtype}, not one of float16, bfloat16, float32, float64"


def test_dtypes_unknown_to_numpy(tmp_path):
    header = {"a.weight": tensor((2, 2, 2), 0, "F8_E4M3", 8), "b.weight": tensor((4,), 8, "F4", 10)}
    path = safetensors(tmp_path / "a.safetensors", header, bytes(10))
    assert verdicts(path)["a.weight"].startswith("F8_E4M3, not one of float16")
    np.save(tmp_path / "a.npy", wave((2, 2, 2)).astype(BF16))
    assert "perhaps bfloat16" in verdicts(tmp_path / "a.npy")["a"]


# --- refused files ---------------------------------------------------------------------------


def assert_refused(path, message, **options):
    for read in (weights.describe, lambda source: list(weights.layers(source, **options))):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert path.name in str(caught.value)


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    assert_refused(tmp_path / "no.npz", "no such file")
    assert_refused(tmp_path, "not a file")
    (tmp_path / "a.onnx").touch()
    assert_refused(tmp_path / "a.onnx", "expected one of .safetensors, .npz")
    for suffix in (".safetensors", ".npz", ".npy", ".h5", ".keras"):
        (tmp_path / f"empty{suffix}").touch()
        assert_refused(tmp_path / f"empty{suffix}", "expected an intact file")
        (tmp_path / f"text{suffix}").write_text("no weights, but some text that is long enough")
        assert_refused(tmp_path / f"text{suffix}", "expected an intact file")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
def test_pickles_are_never_loaded(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    assert_refused(path, r"torch.load\(path, weights_only=True\);\nsafetensors.torch.save_file")
    for other in (".npy", ".npz"):
        path = path.replace(path.with_suffix(other))
        assert_refused(path, "unreadable")
    assert not (tmp_path / "sprung").exists()


def test_object_arrays_are_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = np.array([Trap()] * 8, object).reshape(2, 2, 2)
    np.save(tmp_path / "a.npy", trap)
    np.savez(tmp_path / "a.npz", **{"a.weight": trap})
    for name in ("a.npy", "a.npz"):
        assert set(verdicts(tmp_path / name).values()) == {
            "Python objects, stored as a pickle, which is never read"
        }
        with pytest.raises(ValueError, match="as a pickle, which is never read"):
            weights.layers(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_pytorch_conversion(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    import safetensors.torch

    monkeypatch.chdir(tmp_path)
    conv = torch.nn.Conv2d(2, 3, 3, groups=1)
    tied = torch.nn.ModuleDict({"a": conv, "b": conv})
    torch.save(tied.state_dict(), "model.pt")
    exec(_formats.CONVERSION, {"torch": torch, "safetensors": safetensors, "path": "model.pt"})
    layers = list(weights.layers("new.safetensors"))
    assert [layer.name for layer in layers] == ["a.weight", "b.weight"]
    np.testing.assert_array_equal(layers[0].kernels[..., ::-1, ::-1], conv.weight.detach().numpy())


W8 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD_SAFETENSORS = {
    "longer header than file": (b"{}", b"", 1000, "a header of 1000 bytes in a file of 10"),
    "endless header": (b"{}", b"", 2**64 - 1, "a header of 18446744073709551615 bytes"),
    "no JSON": (b"{'a'}", b"", None, "unreadable header"),
    "no text": (b"\xff\xfe", b"", None, "unreadable header"),
    "too deep": (b"[" * 100_000, b"", None, "unreadable header"),
    "a list": ([], b"", None, "a header that is not an object"),
    "a name twice": (
        b'{"a":%s,"a":%s}' % ((json.dumps(W8).encode(),) * 2), bytes(8), None, "'a' occurs 2"),
    "a key twice": (
        b'{"a":{"dtype":"F32","dtype":"F64","shape":[2],"data_offsets":[0,8]}}', bytes(8), None,
        "'dtype' occurs 2 times"),
    "no entry": ({"a": 1}, b"", None, "'a': dtype, shape or data_offsets missing"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8), None, "dtype, sh"),
    "unknown dtype": ({"a": W8 | {"dtype": "F33"}}, bytes(8), None, "unknown dtype 'F33'"),
    "no dtype": ({"a": W8 | {"dtype": ["F32"]}}, bytes(8), None, "unknown dtype"),
    "negative": ({"a": W8 | {"shape": [-1, -2]}}, bytes(8), None, "shape is not a list"),
    "fraction": ({"a": W8 | {"shape": [2.0]}}, bytes(8), None, "shape is not a list"),
    "truth": ({"a": W8 | {"shape": [2, True]}}, bytes(8), None, "shape is not a list"),
    "many axes": ({"a": W8 | {"shape": [2] + [1] * 64}}, bytes(8), None, "shape is not"),
    "overflow": ({"a": W8 | {"shape": [2**62, 2**62]}}, bytes(8), None, "8 bytes for shape"),
    "size": ({"a": W8 | {"shape": [3]}}, bytes(8), None, r"8 bytes for shape \(3,\) of F32"),
    "offsets": ({"a": W8 | {"data_offsets": [0, 8, 16]}}, bytes(8), None, "data_offsets are"),
    "backwards": ({"a": W8 | {"data_offsets": [8, 0]}}, bytes(8), None, "-8 bytes for shape"),
    "beyond": ({"a": W8 | {"data_offsets": [8, 16]}}, bytes(8), None, "bytes 8 to 16"),
    "cut short": ({"a": W8}, bytes(7), None, "bytes 0 to 8, previous .* 0 of 7"),
    "overlap": (
        {"a": W8, "b": W8 | {"data_offsets": [4, 12]}}, bytes(12), None, "'b' at bytes 4 to 12"),
    "the same bytes": ({"a": W8, "b": W8}, bytes(8), None, "'b' at bytes 0 to 8"),
    "a gap": ({"a": W8, "b": W8 | {"data_offsets": [9, 17]}}, bytes(17), None, "'b' at bytes 9"),
    "left over": ({"a": W8}, bytes(9), None, "1 bytes belong to no tensor"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("header", "body", "length", "message"), BAD_SAFETENSORS.values(), ids=BAD_SAFETENSORS
)
def test_corrupt_safetensors_are_refused(header, body, length, message, tmp_path):
    assert_refused(safetensors(tmp_path / "a.safetensors", header, body, length), message)


def assert_read_or_refused(path):
    """A corrupt file gives correct shapes or a ValueError that names it; nothing else."""
    message = "source: got"
    try:
        shapes = {entry.name: entry.shape for entry in weights.describe(path)}
        for layer in weights.layers(path):
            assert layer.kernels.size == math.prod(shapes[layer.name])
            assert layer.kernels.dtype in (np.float32, np.float64)
            layer.kernels.tobytes()
    except ValueError as caught:
        message = str(caught)
    assert message.startswith("source: got")


@pytest.fixture(scope="module")
def intact_files(tmp_path_factory):
    """A folder with an intact file of each format, and their bytes by suffix."""
    folder = tmp_path_factory.mktemp("corrupt")
    weights = {"a.weight": wave((2, 3, 3, 3), "float32"), "b.weight": wave((2, 2, 3))}
    save_file(weights, folder / "a.safetensors", metadata={"format": "pt"})
    np.savez(folder / "a.npz", **weights)
    np.save(folder / "a.npy", weights["a.weight"])
    keras_2(folder / "a.h5", KERAS_2[:3])
    keras_3(folder / "a.keras", KERAS_3[:3])
    return folder, {path.suffix: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=250)
@given(st.data())
def test_corrupted_safetensors(intact_files, data):
    folder, files = intact_files
    corrupted = bytearray(files[".safetensors"])
    if data.draw(st.booleans()):
        del corrupted[data.draw(st.integers(0, len(corrupted))) :]
    header = 8 + int.from_bytes(files[".safetensors"][:8], "little")
    places = st.one_of(st.integers(0, 9), st.integers(0, header), st.integers(0, len(corrupted)))
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        corrupted[at : at + 1] = bytes([byte])
    path = folder / "corrupted.safetensors"
    path.write_bytes(corrupted)
    assert_read_or_refused(path)


numbers = st.one_of(st.integers(-2, 200), st.integers(2**31 - 1, 2**70), st.floats(), st.none())
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "BF16", "F32", "F64", "I8", "F4", "BOOL", "X", 3]),
        "shape": st.lists(numbers, max_size=6),
        "data_offsets": st.lists(numbers, max_size=3),
    },
)


@given(st.dictionaries(st.text(max_size=9) | st.just("a.weight"), entries, max_size=3), st.data())
@settings(max_examples=200)
def test_any_safetensors_header(intact_files, header, data):
    body = data.draw(st.binary(max_size=64))
    assert_read_or_refused(
        safetensors(intact_files[0] / "any.safetensors", json.dumps(header).encode(), body)
    )


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".keras"])
@settings(max_examples=40)
@given(data=st.data())
def test_other_corrupted_files(intact_files, suffix, data):
    folder, files = intact_files
    corrupted = bytearray(files[suffix])
    if data.draw(st.booleans()):
        del corrupted[data.draw(st.integers(0, len(corrupted))) :]
    places = st.one_of(st.integers(0, 200), st.integers(0, len(corrupted)))
    for at, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        corrupted[at : at + 1] = bytes([byte])
    path = folder / f"corrupted{suffix}"
    path.write_bytes(corrupted)
    assert_read_or_refused(path)


@pytest.fixture
def low_limit(monkeypatch):
    """A limit that small files exceed."""
    monkeypatch.setattr(_stored, "MIN_CHECKED_BYTES", 2**20)


@pytest.mark.usefixtures("low_limit")
def test_zip_bombs_are_refused(tmp_path):
    zeros = np.zeros((2, 2, 2**19), "float32")
    np.savez_compressed(tmp_path / "bomb.npz", **{"a.weight": zeros})
    assert_refused(
        tmp_path / "bomb.npz", "an archive of .* bytes that unpacks to .* at most 100 times"
    )
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", zeros.tobytes())
    assert_refused(
        tmp_path / "bomb.keras", "an archive of .* bytes that unpacks to .* at most 100 times"
    )
    # small files may compress to any ratio; poorly compressed files may have any size
    np.savez_compressed(tmp_path / "small.npz", zeros[..., : 2**15])
    assert not only(tmp_path / "small.npz", layout="OIW").kernels.any()
    noise = np.random.default_rng(0).standard_normal((2**10, 2**7, 2))
    np.savez_compressed(tmp_path / "noise.npz", noise)
    assert only(tmp_path / "noise.npz", layout="OIW").kernels.shape == noise.shape


@pytest.mark.usefixtures("low_limit")
def test_understated_archive_sizes_are_refused(tmp_path):
    zeros = np.zeros((2, 2, 2**19), "float32")
    np.savez_compressed(tmp_path / "bomb.npz", **{"a.weight": zeros})
    raw, size = (tmp_path / "bomb.npz").read_bytes(), zeros.nbytes + 128
    for stated in (1000, 100):
        forged = raw.replace(size.to_bytes(4, "little"), stated.to_bytes(4, "little"))
        assert forged != raw
        (tmp_path / "forged.npz").write_bytes(forged)
        assert_refused(tmp_path / "forged.npz", "unreadable")


def test_hdf5_bomb_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        # allocated but never written
        file.create_dataset("a/kernel", (3, 3, 2**20, 2**20), "f4", chunks=(3, 3, 64, 64))
    assert_refused(tmp_path / "a.h5", "'a/kernel' of 0 bytes that unpacks to")


def test_inconsistent_archives_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **{"a.weight": wave((1, 1, 3)), "b.weight": wave((1, 1, 3))})
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(raw.replace(b"b.weight", b"a.weight"))
    assert_refused(tmp_path / "a.npz", "2 members 'a.weight.npy'")
    np.savez(tmp_path / "b.npz", **{"a.weight": wave((1, 1, 3))})
    raw = (tmp_path / "b.npz").read_bytes()
    number = wave((1, 1, 3)).tobytes()[8:16]
    (tmp_path / "b.npz").write_bytes(raw.replace(number, number[::-1]))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        list(weights.layers(tmp_path / "b.npz"))
    with zipfile.ZipFile(tmp_path / "c.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert_refused(tmp_path / "c.keras", "no model.weights.h5 in the archive")
    with zipfile.ZipFile(tmp_path / "d.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
        archive.writestr("config.json", "{" * 100_000)
    assert_refused(tmp_path / "d.keras", "unreadable model configuration")


def test_hdf5_external_data_is_not_read(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["conv/kernel"] = wave((3, 3, 2, 4))
    (tmp_path / "raw").write_bytes(bytes(8 * 72))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv/kernel"] = wave((3, 3, 2, 4))
        file["outside"] = h5py.ExternalLink("secret.h5", "/conv")
        file["soft"] = h5py.SoftLink("/conv")
        file["conv/loop"] = file["conv"]
        file.create_dataset("reference", data=file["conv"].ref, dtype=h5py.ref_dtype)
        layout = h5py.VirtualLayout((3, 3, 2, 4), "f8")
        layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "conv/kernel", (3, 3, 2, 4))
        file.create_virtual_dataset("virtual/kernel", layout)
        file.create_dataset(
            "raw/kernel", (3, 3, 2, 4), "f8", external=[(str(tmp_path / "raw"), 0, 8 * 72)]
        )
    assert only(tmp_path / "a.h5").name == "conv/kernel"
    rules = verdicts(tmp_path / "a.h5")
    link = "a link, not one of float16, bfloat16, float32, float64"
    assert rules["outside"] == rules["soft"] == link
    for name in ("virtual/kernel", "raw/kernel"):
        assert rules[name].startswith("data in other files")
    assert "reference" in rules


# --- memory, imports -------------------------------------------------------------------------


def resident():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_large_file_needs_memory_of_one_tensor(tmp_path):
    path, sizes = tmp_path / "large.safetensors", [2**23] * 8 + [2**29]
    header, begin = {}, 0
    for n, size in enumerate(sizes):
        header[f"conv{n}.weight"] = tensor((size // 2**10, 2**10, 1), begin)
        begin += 4 * size
    safetensors(path, header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + begin)
    assert path.stat().st_size > 2**31
    before, peak = resident(), 0
    for layer in weights.layers(path, pattern="conv[0-7].weight"):
        assert layer.kernels.any() == np.False_
        peak = max(peak, resident())
    del layer
    # eight tensors of 32 MB; the last two may be mapped at the same time
    assert peak - before < 100e6
    layer = only(path, pattern="conv8*")
    assert layer.kernels[-1, -1] == 0
    assert resident() - before < 40e6


def test_missing_h5py_names_the_extra(tmp_path, monkeypatch):
    keras_3(tmp_path / "a.keras", KERAS_3[:1])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"a.keras' needs h5py, .* '\.\[networks\]'"):
        list(weights.layers(tmp_path / "a.keras"))


def test_documented_layouts():
    assert layouts.LAYOUTS == (
        "OIW", "OIHW", "OIDHW", "WIO", "HWIO", "DHWIO", "WCM", "HWCM", "DHWCM", "OWI", "OHWI",
        "ODHWI",
    )  # fmt: skip
