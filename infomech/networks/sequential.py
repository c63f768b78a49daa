"""A small sequential CNN of true convolutions, and where on the image each of its units lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import observables, rectifiers
from infomech._core import checks
from infomech.engines import shifts


@dataclass(frozen=True)
class Layer:
    """Static options of one layer u_o ← φ(Σ_i k_oi * u_i + b_o).

    Attributes:
        outputs: channels behind the layer.
        taps: on each axis of the image.
        stride: samples 0, s, 2s, … are kept; one number, or one per axis.
        dilation: samples from one tap to the next; one number, or one per axis.
        groups: into which inputs and outputs are split, each output reading those of its group.
        rectifier: φ, a name that `infomech.rectifiers` knows.
    """

    outputs: int
    taps: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    rectifier: str = "relu"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first option that makes no sense."""
        checks.integer("outputs", self.outputs, 1)
        if checks.shape("taps", self.taps) != self.taps:
            raise checks.error("taps", repr(self.taps), "a tuple, as long as the image has axes")
        per_axis("stride", self.stride, len(self.taps))
        per_axis("dilation", self.dilation, len(self.taps))
        if self.outputs % checks.integer("groups", self.groups, 1):
            raise checks.error("groups", self.groups, f"a divisor of {self.outputs} outputs")
        checks.one_of("rectifier", self.rectifier, rectifiers.names())


@dataclass(frozen=True)
class Spec:
    """Static options of a network: layers, then the mean over positions and a dense layer.

    Attributes:
        channels: of the image.
        layers: at least one, all with taps on the same number of axes, d = 1 to 3.
        classes: outputs of the dense layer.
        boundary: what lies outside the image, one of `infomech.observables.BOUNDARIES`.
    """

    channels: int
    layers: tuple[Layer, ...]
    classes: int
    boundary: str = "zero"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first option that makes no sense."""
        inputs = checks.integer("channels", self.channels, 1)
        checks.integer("classes", self.classes, 1)
        checks.one_of("boundary", self.boundary, observables.BOUNDARIES)
        hashed = isinstance(self.layers, tuple) and all(isinstance(x, Layer) for x in self.layers)
        if not hashed or len({len(x.taps) for x in self.layers}) != 1:
            expected = "a tuple of one or more Layers with taps on equally many axes"
            raise checks.error("layers", self.layers, expected)
        for n, layer in enumerate(self.layers):
            if inputs % layer.groups:
                expected = f"a divisor of {inputs} inputs"
                raise checks.error(f"layers[{n}].groups", layer.groups, expected)
            inputs = layer.outputs


class Filters(NamedTuple):
    """Parameters of one layer: kernels (outputs, inputs/groups, *taps) and bias (outputs,)."""

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
    """Activations of one layer before and after its rectifier, (outputs, *grid) each."""

    before: jax.Array
    after: jax.Array


class Response(NamedTuple):
    """What a network makes of one image: `Activations` per layer, and the logits (classes,)."""

    layers: tuple[Activations, ...]
    logits: jax.Array


class Lattice(NamedTuple):
    """Where the units of a layer lie: unit j at origin + spacing · j, in pixels of the image.

    Attributes:
        origin: position of the unit of index 0, shape (d,).
        spacing: from one unit to the next, shape (d,).
    """

    origin: np.ndarray
    spacing: np.ndarray

    def at(self, index: Any) -> np.ndarray:
        """Positions of the units of these indices, (…, d) to (…, d)."""
        checks.unmasked("index", index)
        return self.origin + self.spacing * np.asarray(index)


def init(spec: Spec, *, key: jax.Array, dtype: Any = None) -> Parameters:
    """Random parameters: normal kernels of He's variance 2/(inputs/groups · taps), biases 0.

    Args:
        spec: of the network.
        key: of `jax.random.key`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        `Parameters`; the dense layer's weights have variance 1/channels.

    Raises:
        ValueError: a key that is none, no floating dtype.
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
    """Passes one image through the network; batch with `jax.vmap`.

    u ← φ(k * u + b) per layer, true convolutions at every stride-th sample, then
    logits = weights · mean over positions of u + bias. Under `jax.jit` what is not used is not
    computed.

    Args:
        params: of `init`; kernels of libraries that correlate are point-reflected first.
        image: (channels, *grid); computed with in the dtype of the parameters.
        spec: of the network; static.

    Returns:
        `Response`.

    Raises:
        ValueError: an image or parameters of another shape than the spec's.
    """
    shapes = _shapes(spec)
    checks.unmasked("params", params)
    if [x.kernels.shape for x in params.layers] != shapes:
        raise checks.error("params", [x.kernels.shape for x in params.layers], f"kernels {shapes}")
    values = checks.floating("image", image, params.layers[0].kernels.dtype)
    d = len(spec.layers[0].taps)
    if values.ndim != d + 1 or values.shape[0] != spec.channels or 0 in values.shape:
        raise checks.error("image", f"shape {values.shape}", f"({spec.channels}, *grid), {d} axes")
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

    c = (m − 1)//2 for taps that span m = e (n − 1) + 1 samples: for odd m the middle tap reads
    the sample itself, for even m the output lies half a sample before it; see `lattices`.

    Args:
        kernels: (outputs, inputs/groups, *taps).
        values: (inputs, *grid).
        stride: s, one number or one per axis; static, as all that follow.
        dilation: e, one number or one per axis.
        groups: into which inputs and outputs are split.
        boundary: one of `infomech.observables.BOUNDARIES`.

    Returns:
        (outputs, *⌈grid/stride⌉).

    Raises:
        ValueError: shapes that don't fit each other, an unknown boundary.
    """
    taps = kernels.shape[2:]
    checks.one_of("boundary", boundary, observables.BOUNDARIES)
    splits = len(kernels) % checks.integer("groups", groups, 1) == 0
    fits = values.ndim == kernels.ndim - 1 and len(values) == groups * kernels.shape[1]
    if not splits or not fits:
        expected = f"(outputs, inputs/{groups}, *taps) for values of shape {values.shape}"
        raise checks.error("kernels", f"shape {kernels.shape}", expected)
    dilations = per_axis("dilation", dilation, len(taps))
    # the operator is a cross-correlation: reflecting the kernels makes it a convolution
    out = jax.lax.conv_general_dilated(
        shifts.pad(values, (1, *_spans(taps, dilations)), boundary)[None],
        jnp.flip(kernels, range(2, kernels.ndim)),
        window_strides=per_axis("stride", stride, len(taps)),
        padding="VALID",
        rhs_dilation=dilations,
        feature_group_count=groups,
        precision=jax.lax.Precision.HIGHEST,
    )
    return out[0]


def lattices(spec: Spec) -> tuple[Lattice, ...]:
    """Where the units of each layer lie on the image, at the middle of what their taps span.

    origin += spacing · (c − (m − 1)/2), which is 0 or −½ samples (see `convolve`), and
    spacing *= stride: a network of mirror-symmetric kernels looks exactly there.

    Returns:
        One `Lattice` per layer, in pixels of the image, whose first pixel lies at 0.
    """
    d = len(spec.layers[0].taps)
    origin, spacing, found = np.zeros(d), np.ones(d), []
    for layer in spec.layers:
        spans = np.array(_spans(layer.taps, per_axis("dilation", layer.dilation, d)))
        origin = origin + spacing * ((spans - 1) // 2 - (spans - 1) / 2)
        spacing = spacing * np.array(per_axis("stride", layer.stride, d))
        found.append(Lattice(origin, spacing))
    return tuple(found)


def gates(
    params: Parameters, images: Any, *, spec: Spec, weighting: str = "signed", batch: int = 64
) -> tuple[jax.Array, ...]:
    """How far the rectifiers of each channel let gradients through, on the mean over images.

    The mean over images and positions of φ'(u) with weighting "signed" and of φ'(u)² with
    "energy"; for ReLU both are the share of positions where it is open.

    Args:
        params: of the network.
        images: (images, channels, *grid).
        spec: of the network; static, as all that follow.
        weighting: signed or energy.
        batch: how many images are worked on at once.

    Returns:
        One array (outputs,) per layer, as `infomech.networks.drift.predict` takes them.

    Raises:
        ValueError: unknown weighting, no images, otherwise as `apply`.
    """
    checks.one_of("weighting", weighting, ("signed", "energy"))
    images = checks.floating("images", images)
    if not images.ndim or not len(images):
        raise checks.error("images", f"shape {images.shape}", "(images, channels, *grid)")
    power = {"signed": 1, "energy": 2}[weighting]

    def one(image):
        slopes = []
        for layer, (before, _) in zip(
            spec.layers, apply(params, image, spec=spec).layers, strict=True
        ):
            rectifier = rectifiers.get(layer.rectifier)
            _, slope = jax.jvp(rectifier, (before,), (jnp.ones_like(before),))
            slopes.append(jnp.mean(slope**power, axis=range(1, slope.ndim)))
        return tuple(slopes)

    means = jax.lax.map(one, images, batch_size=checks.integer("batch", batch, 1))
    return tuple(jnp.mean(x, axis=0) for x in means)


def per_axis(argument: str, value: Any, d: int) -> tuple[int, ...]:
    """`value` as one positive whole number per axis; raises ValueError if it is none."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * d
    if len(values) != d:
        raise checks.error(argument, repr(value), f"one whole number, or {d}, one per axis")
    return tuple(checks.integer(argument, n, 1) for n in values)


def _spans(taps: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """Samples from the first to the last tap on each axis, both counted."""
    return tuple(e * (n - 1) + 1 for n, e in zip(taps, dilations, strict=True))


def _shapes(spec: Spec) -> list[tuple[int, ...]]:
    """Shape of the kernels of each layer."""
    inputs = (spec.channels, *(layer.outputs for layer in spec.layers[:-1]))
    return [(x.outputs, n // x.groups, *x.taps) for x, n in zip(spec.layers, inputs, strict=True)]
