"""The same accounts for layers of a convolutional network: where the energy of an input goes."""

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

#: what may follow a rectifier
NORMALIZATIONS = ("none", "channel", "layer")


class LayerEnergies(NamedTuple):
    """Energy in front of, within and behind each layer, arrays of one number per layer.

    Attributes:
        incoming: ‖u‖² over all channels.
        filtered: ‖k * u‖².
        rectified: ‖φ(k * u)‖².
        normalized: energy handed on to the next layer.
        lower, upper: smallest and largest squared singular value of the layer's filters over all
            frequencies: lower · incoming ≤ filtered ≤ upper · incoming. Filters with fewer outputs
            than inputs have lower bound 0.
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
    """Passes an input through convolution layers and accounts for its energy in each.

    One layer is u_o ← φ(Σ_i k_oi * u_i), true convolutions on a periodic domain, and then, with
    normalize="channel", each channel less its mean and divided by its standard deviation, or, with
    "layer", all channels together. With real filters and one input channel, a path of a scattering
    network is such a stack, and so is an `infomech.rollout`.

    Args:
        weights: one array (outputs, inputs, *taps) per layer, of 1 or 2 axes of taps; weights of
            deep-learning libraries are cross-correlations: `infomech.parity.reflect` each first.
        values: (inputs, *grid).
        rectifier: φ, as of `infomech.rectifiers.get`; static.
        normalize: none, channel or layer; static.

    Returns:
        `LayerEnergies`, in units of the input squared until a layer normalizes. Outside of jit it
        is computed in double precision and holds NumPy arrays, so that energies of inputs and
        weights of any single precision are right. While JAX traces, an energy that the dtype can't
        hold is 0 or infinite.

    Raises:
        ValueError: shapes that don't go together, taps that don't fit into the grid, numbers that
            aren't finite, an unknown rectifier or normalization.
    """
    field = checks.floating("values", values)
    checks.finite("values", values)
    if field.ndim not in (2, 3):
        raise checks.error("values", f"shape {field.shape}", "(channels, *grid), one or two axes")
    checks.one_of("normalize", normalize, NORMALIZATIONS)
    field = field.astype(safe_math.wider(field.dtype, jnp.float32))
    stack, channels = [], field.shape[0]
    for n, layer in enumerate(weights):
        kernel = checks.floating(f"weights[{n}]", layer, field.dtype)
        checks.finite(f"weights[{n}]", layer)
        taps = kernel.shape[2:]
        fits = len(taps) == field.ndim - 1 and all(
            0 < a <= b for a, b in zip(taps, field.shape[1:], strict=True)
        )
        if not fits or kernel.shape[1] != channels or not kernel.shape[0]:
            expected = f"(outputs, {channels}, *taps) with taps that fit into {field.shape[1:]}"
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
        grid = field.shape[1:]
        axes = tuple(range(1, field.ndim))
        response = _response(kernel, grid)
        spectrum = jnp.fft.fftn(field, axes=axes).reshape(len(field), -1)
        passed = jnp.einsum("wij,jw->iw", response, spectrum, precision="highest")
        filtered = jnp.fft.ifftn(passed.reshape(-1, *grid), axes=axes).real
        rectified = rectifier(filtered)
        behind = _normalized(rectified, normalize)
        strengths = jnp.linalg.svd(response, compute_uv=False) ** 2
        lower = jnp.min(strengths) if len(kernel) >= len(field) else jnp.zeros_like(field[0].sum())
        energy = [safe_math.energy(x) for x in (field, filtered, rectified, behind)]
        rows.append((*energy, lower, jnp.max(strengths)))
        field = behind
    return LayerEnergies(*(jnp.stack(column) for column in zip(*rows, strict=True)))


def _response(kernel: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """k̂_oi(ω), (frequencies, outputs, inputs)."""
    response = transfer(kernel, grid).reshape(*kernel.shape[:2], math.prod(grid))
    return jnp.moveaxis(response, -1, 0)


def _normalized(values: jax.Array, how: str) -> jax.Array:
    if how == "none":
        return values
    axes = tuple(range(how == "channel", values.ndim))
    # what follows doesn't depend on their scale, at which squares may be lost
    values = values / safe_math.magnitude(values)
    centered = values - jnp.mean(values, axes, keepdims=True)
    spread = safe_math.sqrt(jnp.mean(centered**2, axes, keepdims=True))
    # what rounding leaves of a constant channel is no spread
    rounding = 8 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axes, keepdims=True)
    return jnp.where(spread > rounding, centered / jnp.where(spread > rounding, spread, 1), 0)


def random_weights(
    channels: Sequence[int], taps: Sequence[int], *, key: jax.Array, dtype: Any = None
) -> list[jax.Array]:
    """Normal weights of He's variance, 2 / (inputs · taps), for which ReLU keeps the mean energy.

    Args:
        channels: of the input and of the output of each layer.
        taps: on each axis.
        key: of `jax.random.key`.
        dtype: floating dtype; JAX's default float if None.

    Returns:
        One array (outputs, inputs, *taps) per layer.

    Raises:
        ValueError: fewer than two numbers of channels, taps that are no box, a key that is none.
    """
    box, dtype = checks.shape("taps", taps), checks.floating_dtype(dtype)
    counts = [checks.integer("channels", n, 1) for n in channels]
    if len(counts) < 2:
        raise checks.error("channels", counts, "those of the input and of each layer's output")
    keys = jax.random.split(checks.key(key), len(counts) - 1)
    return [
        jax.random.normal(k, (after, before, *box), dtype)
        * jnp.asarray(np.sqrt(2 / (before * math.prod(box))), dtype)
        for k, before, after in zip(keys, counts[:-1], counts[1:], strict=False)
    ]
