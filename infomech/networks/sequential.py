"""A small sequential CNN of true convolutions, and the image positions of its units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech._core import checks
from infomech.dynamics import BOUNDARIES
from infomech.engines import shifts


@dataclass(frozen=True)
class Layer:
    """Static options of one layer u_o ← φ(Σ_i k_oi * u_i + b_o).

    Attributes:
        outputs: output channels.
        kernel_size: taps on each axis of the image.
        stride: keeps the pixels 0, s, 2s, …; one number, or one per axis.
        dilation: pixels between neighboring taps; one number, or one per axis.
        groups: inputs and outputs are split into groups; outputs read the inputs of their group.
        rectifier: φ, a name from `infomech.rectifiers`.
    """

    outputs: int
    kernel_size: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    rectifier: str = "relu"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first invalid option."""
        checks.integer("outputs", self.outputs, 1)
        if checks.shape("kernel_size", self.kernel_size) != self.kernel_size:
            expected = "a tuple with one number per axis of the image"
            raise checks.error("kernel_size", repr(self.kernel_size), expected)
        per_axis("stride", self.stride, len(self.kernel_size))
        per_axis("dilation", self.dilation, len(self.kernel_size))
        if self.outputs % checks.integer("groups", self.groups, 1):
            raise checks.error("groups", self.groups, f"a divisor of {self.outputs} outputs")
        checks.one_of("rectifier", self.rectifier, rectifiers.names())


@dataclass(frozen=True)
class Spec:
    """Static options of a network: layers, mean over positions, and a dense layer.

    Attributes:
        channels: of the image.
        layers: at least one, all with the same number of axes, d = 1 to 3.
        classes: outputs of the dense layer.
        boundary: boundary condition, one of `infomech.dynamics.BOUNDARIES`.
    """

    channels: int
    layers: tuple[Layer, ...]
    classes: int
    boundary: str = "zero"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first invalid option."""
        inputs = checks.integer("channels", self.channels, 1)
        checks.integer("classes", self.classes, 1)
        checks.one_of("boundary", self.boundary, BOUNDARIES)
        valid = isinstance(self.layers, tuple) and all(isinstance(x, Layer) for x in self.layers)
        if not valid or len({len(x.kernel_size) for x in self.layers}) != 1:
            expected = "a tuple of one or more Layers with the same number of axes"
            raise checks.error("layers", self.layers, expected)
        for n, layer in enumerate(self.layers):
            if inputs % layer.groups:
                expected = f"a divisor of {inputs} inputs"
                raise checks.error(f"layers[{n}].groups", layer.groups, expected)
            inputs = layer.outputs


class Filters(NamedTuple):
    """Parameters of a layer: kernels (outputs, inputs/groups, *kernel_size) and bias (outputs,)."""

    kernels: jax.Array
    bias: jax.Array


class Head(NamedTuple):
    """Parameters of the dense layer: weights (classes, channels) and bias (classes,)."""

    weights: jax.Array
    bias: jax.Array


class Parameters(NamedTuple):
    """Parameters of a network, a pytree."""

    layers: tuple[Filters, ...]
    head: Head


class Activations(NamedTuple):
    """Activations of one layer before and after its rectifier, (outputs, *shape) each."""

    before: jax.Array
    after: jax.Array


class Response(NamedTuple):
    """Response to one image: `Activations` per layer, and the logits (classes,)."""

    layers: tuple[Activations, ...]
    logits: jax.Array


class Lattice(NamedTuple):
    """Positions of the units of a layer: unit j lies at origin + spacing · j, in image pixels.

    Attributes:
        origin: position of unit 0, shape (d,).
        spacing: distance between neighboring units, shape (d,).
    """

    origin: np.ndarray
    spacing: np.ndarray

    def at(self, index: Any) -> np.ndarray:
        """Positions of units by index, (…, d) to (…, d)."""
        checks.unmasked("index", index)
        return self.origin + self.spacing * np.asarray(index)


def init(spec: Spec, *, key: jax.Array, dtype: Any = None) -> Parameters:
    """Random parameters: normal kernels with He variance 2/(inputs/groups · taps), zero biases.

    Args:
        spec: of the network.
        key: from `jax.random.key`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Parameters`; the dense layer's weights have variance 1/channels.

    Raises:
        ValueError: invalid key, or dtype that is not floating.
    """
    dtype = checks.floating_dtype(dtype)
    keys = jax.random.split(checks.key(key), len(spec.layers) + 1)

    def normal(key, shape, variance):
        sigma = jnp.asarray(math.sqrt(variance), dtype)
        return sigma * jax.random.normal(key, shape, dtype)

    layers = tuple(
        Filters(normal(k, shape, 2 / math.prod(shape[1:])), jnp.zeros(shape[0], dtype))
        for k, shape in zip(keys[:-1], _shapes(spec), strict=True)
    )
    channels = spec.layers[-1].outputs
    weights = normal(keys[-1], (spec.classes, channels), 1 / channels)
    return Parameters(layers, Head(weights, jnp.zeros(spec.classes, dtype)))


def apply(params: Parameters, image: Any, *, spec: Spec) -> Response:
    """Apply the network to one image; batch with `jax.vmap`.

    Each layer is u ← φ(k * u + b), a true convolution at every stride-th pixel, and
    logits = weights · mean over positions of u + bias. `jax.jit` removes unused outputs.

    Args:
        params: from `init`; point-reflect the kernels of frameworks that cross-correlate.
        image: (channels, *shape); converted to the dtype of the parameters.
        spec: of the network; static.

    Returns:
        `Response`.

    Raises:
        ValueError: image or parameters whose shape doesn't match the spec.
    """
    shapes = _shapes(spec)
    checks.unmasked("params", params)
    if [x.kernels.shape for x in params.layers] != shapes:
        raise checks.error("params", [x.kernels.shape for x in params.layers], f"kernels {shapes}")
    values = checks.floating("image", image, params.layers[0].kernels.dtype)
    d = len(spec.layers[0].kernel_size)
    if values.ndim != d + 1 or values.shape[0] != spec.channels or 0 in values.shape:
        raise checks.error("image", f"shape {values.shape}", f"({spec.channels}, *shape), {d} axes")
    layers = []
    for filters, layer in zip(params.layers, spec.layers, strict=True):
        filtered = convolve(
            filters.kernels,
            values,
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
            boundary=spec.boundary,
        )
        before = filtered + jnp.expand_dims(filters.bias, range(1, d + 1))
        values = rectifiers.get(layer.rectifier)(before)
        layers.append(Activations(before, values))
    pooled = jnp.mean(values, axis=range(1, d + 1))
    logits = jnp.matmul(params.head.weights, pooled, precision="highest") + params.head.bias
    return Response(tuple(layers), logits)


def convolve(
    kernels: jax.Array,
    values: jax.Array,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    boundary: str = "zero",
) -> jax.Array:
    """One layer of true convolutions, out_o[y] = Σ_i Σ_j k_oi[j] u_i[s y − e j + c].

    c = (m − 1)//2 for taps that span m = e (n − 1) + 1 pixels. For odd m the middle tap reads the
    pixel itself; for even m the output lies half a pixel before it; see `lattices`.

    Args:
        kernels: (outputs, inputs/groups, *kernel_size).
        values: (inputs, *shape).
        stride: s, one number or one per axis; static, like all following arguments.
        dilation: e, one number or one per axis.
        groups: groups of inputs and outputs.
        boundary: one of `infomech.dynamics.BOUNDARIES`.

    Returns:
        (outputs, *⌈shape/stride⌉).

    Raises:
        ValueError: mismatched shapes, unknown boundary.
    """
    kernel_size = kernels.shape[2:]
    checks.one_of("boundary", boundary, BOUNDARIES)
    divisible = len(kernels) % checks.integer("groups", groups, 1) == 0
    fits = values.ndim == kernels.ndim - 1 and len(values) == groups * kernels.shape[1]
    if not divisible or not fits:
        expected = f"(outputs, inputs/{groups}, *kernel_size) for values of shape {values.shape}"
        raise checks.error("kernels", f"shape {kernels.shape}", expected)
    dilations = per_axis("dilation", dilation, len(kernel_size))
    # the operator is a cross-correlation; reflected kernels make it a convolution
    out = jax.lax.conv_general_dilated(
        shifts.pad(values, (1, *_spans(kernel_size, dilations)), boundary)[None],
        jnp.flip(kernels, range(2, kernels.ndim)),
        window_strides=per_axis("stride", stride, len(kernel_size)),
        padding="VALID",
        rhs_dilation=dilations,
        feature_group_count=groups,
        precision=jax.lax.Precision.HIGHEST,
    )
    return out[0]


def lattices(spec: Spec) -> tuple[Lattice, ...]:
    """Image positions of the units of each layer, at the center of the span of their taps.

    origin += spacing · (c − (m − 1)/2), which is 0 or −½ pixels (see `convolve`), and
    spacing *= stride. A network of mirror-symmetric kernels looks exactly there.

    Returns:
        One `Lattice` per layer, in pixels of the image; the first pixel lies at 0.
    """
    d = len(spec.layers[0].kernel_size)
    origin, spacing, result = np.zeros(d), np.ones(d), []
    for layer in spec.layers:
        spans = np.array(_spans(layer.kernel_size, per_axis("dilation", layer.dilation, d)))
        origin = origin + spacing * ((spans - 1) // 2 - (spans - 1) / 2)
        spacing = spacing * np.array(per_axis("stride", layer.stride, d))
        result.append(Lattice(origin, spacing))
    return tuple(result)


def gates(
    params: Parameters, images: Any, *, spec: Spec, weighting: str = "signed", batch: int = 64
) -> tuple[jax.Array, ...]:
    """Mean slope of the rectifiers in each channel.

    The mean over images and positions of φ'(u) for weighting "signed", of φ'(u)² for "energy". For
    ReLU both are the share of positions where it is open.

    Args:
        params: of the network.
        images: (images, channels, *shape).
        spec: of the network; static, like all following arguments.
        weighting: "signed" or "energy".
        batch: images per step.

    Returns:
        One array (outputs,) per layer, for `infomech.networks.drift.predict`.

    Raises:
        ValueError: unknown weighting, no images, otherwise as in `apply`.
    """
    checks.one_of("weighting", weighting, ("signed", "energy"))
    images = checks.floating("images", images)
    if not images.ndim or not len(images):
        raise checks.error("images", f"shape {images.shape}", "(images, channels, *shape)")
    power = {"signed": 1, "energy": 2}[weighting]

    def mean_slopes(image):
        slopes = []
        for layer, (before, _) in zip(
            spec.layers, apply(params, image, spec=spec).layers, strict=True
        ):
            rectifier = rectifiers.get(layer.rectifier)
            _, slope = jax.jvp(rectifier, (before,), (jnp.ones_like(before),))
            slopes.append(jnp.mean(slope**power, axis=range(1, slope.ndim)))
        return tuple(slopes)

    means = jax.lax.map(mean_slopes, images, batch_size=checks.integer("batch", batch, 1))
    return tuple(jnp.mean(x, axis=0) for x in means)


def per_axis(argument: str, value: Any, d: int) -> tuple[int, ...]:
    """Expands `value` to one positive integer per axis; raises ValueError if invalid."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * d
    if len(values) != d:
        raise checks.error(argument, repr(value), f"one integer, or {d}, one per axis")
    return tuple(checks.integer(argument, n, 1) for n in values)


def _spans(kernel_size: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """Pixels from the first to the last tap on each axis, inclusive."""
    return tuple(e * (n - 1) + 1 for n, e in zip(kernel_size, dilations, strict=True))


def _shapes(spec: Spec) -> list[tuple[int, ...]]:
    """Shape of the kernels of each layer."""
    inputs = (spec.channels, *(layer.outputs for layer in spec.layers[:-1]))
    return [
        (layer.outputs, n // layer.groups, *layer.kernel_size)
        for layer, n in zip(spec.layers, inputs, strict=True)
    ]
