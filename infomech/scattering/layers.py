"""Energy accounts for the layers of a convolutional network."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech._core import checks, safe_math
from infomech.rectifiers import Rectifier
from infomech.scattering.frames import transfer

#: normalizations after the rectifier
NORMALIZATIONS = ("none", "channel", "layer")


class LayerEnergies(NamedTuple):
    """Energy before, within and after each layer; each field has one number per layer.

    Attributes:
        incoming: ‖u‖² over all channels.
        filtered: ‖k * u‖².
        rectified: ‖φ(k * u)‖².
        normalized: energy of the layer's output.
        lower, upper: smallest and largest squared singular value of the layer's filters over all
            frequencies: lower · incoming ≤ filtered ≤ upper · incoming. The lower bound is 0 for
            fewer outputs than inputs.
    """

    incoming: jax.Array
    filtered: jax.Array
    rectified: jax.Array
    normalized: jax.Array
    lower: jax.Array
    upper: jax.Array


def energies(
    weights: Sequence[Any],
    values: Any,
    *,
    rectifier: str | Rectifier = "relu",
    normalize: str = "none",
) -> LayerEnergies:
    """Pass an input through convolution layers and measure its energy in each.

    One layer is u_o ← φ(Σ_i k_oi * u_i), with true convolutions on a periodic domain. With
    normalize="channel", the mean of each channel is then subtracted and the channel divided by its
    standard deviation; "layer" does the same for all channels together. With real filters and one
    input channel, a path of a scattering network is such a stack, and so is an `infomech.rollout`.

    Args:
        weights: one array (outputs, inputs, *kernel_size) per layer, with 1 or 2 spatial axes.
            Weights of deep-learning libraries are cross-correlations: apply
            `infomech.parity.reflect` first.
        values: (inputs, *shape).
        rectifier: φ, see `infomech.rectifiers.get`; static.
        normalize: none, channel or layer; static.

    Returns:
        `LayerEnergies`, in units of the input squared up to the first normalization. Outside of jit
        it is computed in double precision and holds NumPy arrays, so energies neither over- nor
        underflow for single-precision inputs and weights. Under jit, energies beyond the range of
        the dtype become 0 or infinite.

    Raises:
        ValueError: incompatible shapes, more taps than samples along an axis, non-finite values, an
            unknown rectifier or normalization.
    """
    field = checks.floating("values", values)
    checks.finite("values", values)
    if field.ndim not in (2, 3):
        raise checks.error("values", f"shape {field.shape}", "(channels, *shape), one or two axes")
    checks.one_of("normalize", normalize, NORMALIZATIONS)
    field = field.astype(safe_math.wider(field.dtype, jnp.float32))
    stack, channels = [], field.shape[0]
    for n, layer in enumerate(weights):
        kernel = checks.floating(f"weights[{n}]", layer, field.dtype)
        checks.finite(f"weights[{n}]", layer)
        kernel_size = kernel.shape[2:]
        fits = len(kernel_size) == field.ndim - 1 and all(
            0 < taps <= samples for taps, samples in zip(kernel_size, field.shape[1:], strict=True)
        )
        if not fits or kernel.shape[1] != channels or not kernel.shape[0]:
            expected = f"(outputs, {channels}, *kernel_size) that fits into {field.shape[1:]}"
            raise checks.error(f"weights[{n}]", f"shape {kernel.shape}", expected)
        stack.append(kernel)
        channels = kernel.shape[0]
    if not stack:
        raise checks.error("weights", "no layer", "at least one")
    options = {"rectifier": rectifiers.get(rectifier), "normalize": normalize}
    known = [checks.concrete(array) for array in (field, *stack)]
    if any(array is None for array in known):
        return _energies(tuple(stack), field, **options)
    with jax.enable_x64(True):
        field, *stack = (jnp.asarray(array, jnp.float64) for array in known)
        return jax.tree.map(np.asarray, _energies(tuple(stack), field, **options))


@functools.partial(jax.jit, static_argnames=("rectifier", "normalize"))
def _energies(stack, field, *, rectifier, normalize):
    rows = []
    for kernel in stack:
        shape = field.shape[1:]
        axes = tuple(range(1, field.ndim))
        response = _response(kernel, shape)
        spectrum = jnp.fft.fftn(field, axes=axes).reshape(len(field), -1)
        product = jnp.einsum("wij,jw->iw", response, spectrum, precision="highest")
        filtered = jnp.fft.ifftn(product.reshape(-1, *shape), axes=axes).real
        rectified = rectifier(filtered)
        normalized = _normalized(rectified, normalize)
        gains = jnp.linalg.svd(response, compute_uv=False) ** 2
        lower = jnp.min(gains) if len(kernel) >= len(field) else jnp.zeros_like(field[0].sum())
        energy = [safe_math.energy(x) for x in (field, filtered, rectified, normalized)]
        rows.append((*energy, lower, jnp.max(gains)))
        field = normalized
    return LayerEnergies(*(jnp.stack(column) for column in zip(*rows, strict=True)))


def _response(kernel: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """k̂_oi(ω), (frequencies, outputs, inputs)."""
    response = transfer(kernel, shape).reshape(*kernel.shape[:2], math.prod(shape))
    return jnp.moveaxis(response, -1, 0)


def _normalized(values: jax.Array, normalize: str) -> jax.Array:
    if normalize == "none":
        return values
    axes = tuple(range(normalize == "channel", values.ndim))
    # the result doesn't depend on the scale, but squares of tiny values underflow
    values = values / safe_math.magnitude(values)
    centered = values - jnp.mean(values, axes, keepdims=True)
    spread = safe_math.sqrt(jnp.mean(centered**2, axes, keepdims=True))
    # a constant channel has only the spread of its rounding errors
    rounding = 8 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axes, keepdims=True)
    return jnp.where(spread > rounding, centered / jnp.where(spread > rounding, spread, 1), 0)


def random_weights(
    channels: Sequence[int], taps: Sequence[int], *, key: jax.Array, dtype: Any = None
) -> list[jax.Array]:
    """Normal weights with He's variance 2 / (inputs · taps): ReLU layers keep the mean energy.

    Args:
        channels: number of channels of the input and of each layer's output.
        taps: kernel size, taps along each axis.
        key: typed key from `jax.random.key`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        One array (outputs, inputs, *kernel_size) per layer.

    Raises:
        ValueError: fewer than two channel counts, an invalid kernel size, or an invalid key.
    """
    kernel_size, dtype = checks.shape("taps", taps), checks.floating_dtype(dtype)
    counts = [checks.integer("channels", n, 1) for n in channels]
    if len(counts) < 2:
        raise checks.error("channels", counts, "counts for the input and for each layer's output")
    keys = jax.random.split(checks.key(key), len(counts) - 1)
    return [
        jax.random.normal(k, (outputs, inputs, *kernel_size), dtype)
        * jnp.asarray(np.sqrt(2 / (inputs * math.prod(kernel_size))), dtype)
        for k, inputs, outputs in zip(keys, counts[:-1], counts[1:], strict=False)
    ]
