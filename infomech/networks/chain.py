"""Treat layers as one network and compare its predicted and measured displacements."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks
from infomech._core.progress import Progress
from infomech.networks import drift, receptive, sequential
from infomech.networks.drift import Agreement, Drift
from infomech.networks.receptive import Shape
from infomech.networks.sequential import Filters, Head, Parameters, Spec
from infomech.weights._layers import Layer


class Displaced(NamedTuple):
    """Displacement of content up to one layer, for each channel; see `displacements`.

    Attributes:
        layer: counted from 1.
        weighting: signed or energy.
        predicted: from momenta, gains and the rectifiers' gates.
        measured: for one unit in the middle of each channel.
        agreement: of the displacements.
        ungated: agreement with equal gates, that is, from momenta and gains alone.
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
    """Stack layers into a `sequential` network.

    Normalization, pooling and branches between the convolutions are ignored. Biases of the layers
    are used; the dense layer is zero.

    Args:
        layers: from `infomech.weights.layers`, in network order.
        strides: of each layer; 1 if empty.
        dilations: of each layer; 1 if empty.
        groups: of each layer; if empty, the number of channels for depthwise layers (one input per
            output) and 1 for others.
        rectifier: after each layer.

    Returns:
        `Parameters` and `Spec`.

    Raises:
        ValueError: no layers; a layer that doesn't match the previous layer's outputs or contains
            NaN; not one stride, dilation or number of groups per layer.
    """
    layers = list(layers)
    if not layers:
        raise checks.error("layers", "none", "at least one")
    options = []
    for name, values in (("strides", strides), ("dilations", dilations), ("groups", groups)):
        values = list(values) or [0 if name == "groups" else 1] * len(layers)
        if len(values) != len(layers):
            names = ", ".join(layer.name for layer in layers)
            raise checks.error(name, f"{len(values)} values", f"one for each of {names}")
        options.append(values)
    channels = layers[0].kernels.shape[1]
    before, specs, filters = channels, [], []
    for n, (layer, stride, dilation, split) in enumerate(zip(layers, *options, strict=True)):
        outputs, inputs, *kernel_size = layer.kernels.shape
        checks.finite(layer.name, layer.kernels)
        checks.integer(f"strides[{n}]", stride, 1)
        checks.integer(f"dilations[{n}]", dilation, 1)
        split = split or (before if n and inputs == 1 else 1)
        if n == 0:
            before = channels = inputs * checks.integer("groups[0]", split, 1)
        fits = split * inputs == before and outputs % split == 0
        if not fits or len(kernel_size) != layers[0].kernels.ndim - 2:
            got = f"{layer.name} of shape {layer.kernels.shape} after {layers[n - 1].name}"
            expected = f"inputs for {before} channels: layers in network order, and groups "
            raise checks.error("layers", got, expected + "for grouped convolutions")
        size = tuple(kernel_size)
        specs.append(sequential.Layer(outputs, size, stride, dilation, split, rectifier))
        dtype = jnp.result_type(float) if layer.kernels.dtype == np.float64 else np.float32
        bias = np.zeros(outputs) if layer.bias is None else layer.bias
        checks.unmasked(f"{layer.name} bias", bias)
        filters.append(Filters(jnp.asarray(layer.kernels, dtype), jnp.asarray(bias, dtype)))
        before = outputs
    head = Head(jnp.zeros((1, before), dtype), jnp.zeros(1, dtype))
    return Parameters(tuple(filters), head), Spec(channels, tuple(specs), 1)


def reach(spec: Spec) -> tuple[int, ...]:
    """Receptive field of a unit of the last layer, in pixels of the image on each axis."""
    lattices = sequential.lattices(spec)
    d = len(spec.layers[0].kernel_size)
    spacings = [np.ones(d), *(lattice.spacing for lattice in lattices)]
    size = np.ones(d)
    for layer, spacing in zip(spec.layers, spacings[:-1], strict=True):
        dilation = np.array(sequential.per_axis("dilation", layer.dilation, d))
        size = size + spacing * dilation * (np.array(layer.kernel_size) - 1)
    return tuple(math.ceil(n) for n in size)


def displacements(
    params: Parameters,
    images: Any,
    *,
    spec: Spec,
    key: jax.Array,
    resamples: int = 1000,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Displaced]:
    """Displacement of content from the image to the channels of each layer, predicted and measured.

    The prediction is `drift.predict` with the mean gates of the rectifiers on these images. The
    measurement is `receptive.measure` before the rectifier, for the unit of each channel nearest to
    the center of the image.

    Args:
        params: of the network.
        images: (images, channels, *shape), larger than `reach`; otherwise borders cut receptive
            fields.
        spec: of the network; static.
        key: for the bootstrap, from `jax.random.key`.
        resamples: bootstrap draws; static.
        on_progress: called with a `Progress` in layers at the start and after each layer.

    Returns:
        For each layer one result with weighting "signed" and one with "energy".

    Raises:
        ValueError: images of the wrong shape.
    """
    images = checks.floating("images", images)
    results = []
    lattices = sequential.lattices(spec)
    for n, lattice in enumerate(lattices):
        if on_progress:
            on_progress(Progress(n, len(lattices)))
        middle = (np.array(images.shape[2:]) - 1) / 2
        index = np.rint((middle - lattice.origin) / lattice.spacing).astype(int)
        channels = spec.layers[n].outputs
        units = np.column_stack([np.arange(channels), np.tile(index, (channels, 1))])
        positions = np.tile(lattice.at(index), (channels, 1))
        by_weighting = _displaced(
            params, images, units, positions, key, spec=spec, layer=n, resamples=resamples
        )
        results += [Displaced(n + 1, name, *by_weighting[name]) for name in drift.WEIGHTINGS]
    if on_progress:
        on_progress(Progress(len(lattices), len(lattices)))
    return results


@functools.partial(jax.jit, static_argnames=("spec", "layer", "resamples"))
def _displaced(params, images, units, positions, key, *, spec, layer, resamples):
    def function(image):
        return sequential.apply(params, image, spec=spec).layers[layer].before

    fields = receptive.receptive_fields(function, images, units)
    layers = spec.layers[: layer + 1]
    kernels = [filters.kernels for filters in params.layers[: layer + 1]]
    results = {}
    for weighting in drift.WEIGHTINGS:
        options: dict[str, Any] = {
            "strides": [x.stride for x in layers],
            "groups": [x.groups for x in layers],
            "dilations": [x.dilation for x in layers],
            "weighting": weighting,
        }
        shape = functools.partial(receptive.moments, weighting=weighting)
        measured = jax.vmap(shape)(fields, positions.astype(images.dtype))
        gates = sequential.gates(params, images, spec=spec, weighting=weighting)[: layer + 1]
        predictions = [drift.predict(kernels, g, **options) for g in (gates, None)]
        agreements = [
            drift.agreement(predicted, measured, key=key, resamples=resamples)
            for predicted in predictions
        ]
        results[weighting] = predictions[0], measured, *agreements
    return results
