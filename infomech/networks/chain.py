"""Layers of a file as one network, and where it moves content: predicted beside measured."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks
from infomech.networks import drift, receptive, sequential
from infomech.networks.drift import Agreement, Drift
from infomech.networks.receptive import Shape
from infomech.networks.sequential import Filters, Head, Lattice, Parameters, Spec
from infomech.weights._layers import Layer


class Displaced(NamedTuple):
    """What one layer of a network does to content, channel by channel; see `displacements`.

    Attributes:
        layer: counted from 1.
        weighting: signed or energy.
        predicted: by momenta, gains and the rectifiers' gates.
        measured: of one unit in the middle of each channel.
        agreement: of the displacements.
        ungated: the same with all gates alike: by momenta and gains alone.
    """

    layer: int
    weighting: str
    predicted: Drift
    measured: Shape
    agreement: Agreement
    ungated: Agreement


def chain(
    layers: Iterable[Layer],
    *,
    strides: Sequence[int] = (),
    dilations: Sequence[int] = (),
    groups: Sequence[int] = (),
    rectifier: str = "relu",
) -> tuple[Parameters, Spec]:
    """Layers one after the other as a `sequential` network.

    What else a network has between its convolutions, such as normalization, pooling and branches,
    isn't in it. Biases that come with the weights are; the dense layer is empty.

    Args:
        layers: as of `infomech.weights.layers`, in the order in which they follow each other.
        strides: of each layer; 1 if empty.
        dilations: of each layer; 1 if empty.
        groups: of each layer; if empty as many as channels for a layer of one input per output,
            a depthwise one, and 1 for others.
        rectifier: behind each layer.

    Returns:
        `Parameters` and `Spec`.

    Raises:
        ValueError: no layer, or one whose inputs don't fit the outputs of the one before, or that
            holds NaN; not one stride, dilation or number of groups per layer.
    """
    layers = list(layers)
    if not layers:
        raise checks.error("layers", "none", "at least one")
    options = []
    for name, values in (("strides", strides), ("dilations", dilations), ("groups", groups)):
        each = list(values) or [0 if name == "groups" else 1] * len(layers)
        if len(each) != len(layers):
            names = ", ".join(layer.name for layer in layers)
            raise checks.error(name, f"{len(each)} of them", f"one for each of {names}")
        options.append(each)
    channels = layers[0].kernels.shape[1]
    before, specs, filters = channels, [], []
    for n, (layer, stride, dilation, split) in enumerate(zip(layers, *options, strict=True)):
        outputs, inputs, *taps = layer.kernels.shape
        checks.finite(layer.name, layer.kernels)
        checks.integer(f"strides[{n}]", stride, 1)
        checks.integer(f"dilations[{n}]", dilation, 1)
        split = split or (before if n and inputs == 1 else 1)
        if n == 0:
            before = channels = inputs * checks.integer("groups[0]", split, 1)
        if split * inputs != before or outputs % split or len(taps) != layers[0].kernels.ndim - 2:
            got = f"{layer.name} of shape {layer.kernels.shape} behind {layers[n - 1].name}"
            expected = f"inputs for {before} channels: layers that follow each other, and groups "
            raise checks.error("layers", got, expected + "if it is a grouped convolution")
        specs.append(sequential.Layer(outputs, tuple(taps), stride, dilation, split, rectifier))
        dtype = jnp.result_type(float) if layer.kernels.dtype == np.float64 else np.float32
        bias = np.zeros(outputs) if layer.bias is None else layer.bias
        checks.unmasked(f"{layer.name} bias", bias)
        filters.append(Filters(jnp.asarray(layer.kernels, dtype), jnp.asarray(bias, dtype)))
        before = outputs
    head = Head(jnp.zeros((1, before), dtype), jnp.zeros(1, dtype))
    return Parameters(tuple(filters), head), Spec(channels, tuple(specs), 1)


def reach(spec: Spec) -> tuple[int, ...]:
    """Pixels of the image that a unit of the last layer sees, on each axis."""
    lattices = sequential.lattices(spec)
    spacings = [np.ones(len(spec.layers[0].taps)), *(lattice.spacing for lattice in lattices)]
    seen = np.ones(len(spec.layers[0].taps))
    for layer, spacing in zip(spec.layers, spacings[:-1], strict=True):
        dilation = np.array(sequential.per_axis("dilation", layer.dilation, len(layer.taps)))
        seen = seen + spacing * dilation * (np.array(layer.taps) - 1)
    return tuple(math.ceil(n) for n in seen)


def displacements(
    params: Parameters,
    images: Any,
    *,
    spec: Spec,
    key: jax.Array,
    samples: int = 1000,
    progress: Callable[[Sequence[Lattice]], Iterable[Lattice]] = iter,
) -> list[Displaced]:
    """Where each layer's channels have moved content by then: predicted and measured.

    The prediction is `drift.predict` with the gates that rectifiers have on these images; the
    measurement is that of `receptive.measure` in front of the rectifier, for the unit of each
    channel nearest to the middle of the image.

    Args:
        params: of the network.
        images: (images, channels, *grid), larger than `reach`, or borders cut receptive fields.
        spec: of the network; static.
        key: of the bootstrap, of `jax.random.key`.
        samples: of the bootstrap; static.
        progress: wraps the lattices of the layers while these are worked off, as `tqdm.tqdm` does.

    Returns:
        For each layer one of weighting "signed" and one of "energy".

    Raises:
        ValueError: images of another shape than the network's.
    """
    images = checks.floating("images", images)
    found = []
    for n, lattice in enumerate(progress(sequential.lattices(spec))):
        middle = (np.array(images.shape[2:]) - 1) / 2
        index = np.rint((middle - lattice.origin) / lattice.spacing).astype(int)
        channels = spec.layers[n].outputs
        units = np.column_stack([np.arange(channels), np.tile(index, (channels, 1))])
        positions = np.tile(lattice.at(index), (channels, 1))
        both = _one(params, images, units, positions, key, spec=spec, layer=n, samples=samples)
        found += [Displaced(n + 1, weighting, *both[weighting]) for weighting in drift.WEIGHTINGS]
    return found


@functools.partial(jax.jit, static_argnames=("spec", "layer", "samples"))
def _one(params, images, units, positions, key, *, spec, layer, samples):
    def function(image):
        return sequential.apply(params, image, spec=spec).layers[layer].before

    fields = receptive.receptive_fields(function, images, units)
    layers = spec.layers[: layer + 1]
    kernels = [filters.kernels for filters in params.layers[: layer + 1]]
    found = {}
    for weighting in drift.WEIGHTINGS:
        options: dict[str, Any] = {
            "strides": [one.stride for one in layers],
            "groups": [one.groups for one in layers],
            "dilations": [one.dilation for one in layers],
            "weighting": weighting,
        }
        shape = functools.partial(receptive.moments, weighting=weighting)
        measured = jax.vmap(shape)(fields, positions.astype(images.dtype))
        gates = sequential.gates(params, images, spec=spec, weighting=weighting)[: layer + 1]
        predicted, plain = (drift.predict(kernels, some, **options) for some in (gates, None))
        agreements = [
            drift.agreement(one, measured, key=key, resamples=samples) for one in (predicted, plain)
        ]
        found[weighting] = predicted, measured, *agreements
    return found
