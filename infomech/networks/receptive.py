"""Effective receptive fields of the units of any network, from gradients.

A filter that moves content by +v looks at −v. The displacement of a unit's content is the position
of the unit minus the center of its receptive field, in pixels of the image.

Source: Luo et al., Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks, arXiv 1701.04128.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import observables, rates
from infomech._core import checks, safe_math, scans

#: weightings of the pixels of a receptive field
WEIGHTINGS = ("signed", "absolute", "energy")


class ReceptiveField(NamedTuple):
    """Gradients g of a unit with respect to the image, (channels, *shape) each.

    Attributes:
        mean: of g over images.
        square: mean of g²; under- or overflows where the dtype can't represent it.
        root: √(mean of g²), representable in any dtype; computed from `square` if None.
    """

    mean: jax.Array
    square: jax.Array
    root: jax.Array | None = None


class Shape(NamedTuple):
    """Moments of the receptive field of one unit; see `moments`.

    Attributes:
        displacement: position of the unit − center, pixels, (d,).
        covariance: of the weights about their center, pixels², (d, d).
        weight: Σ w, shape ().
        balance: |Σ w|/Σ |w| over pixels, in [0, 1], shape (); NaN for a unit with zero gradients.
        center: Σ x w/Σ w, pixels, (d,).
        excess_kurtosis: on each axis, 0 for a Gaussian, (d,).
        anisotropy: (λ₁ − λ_d)/(λ₁ + λ_d) of the largest and the smallest eigenvalue of the
            covariance, in [0, 1], shape (); NaN if weights of both signs make one negative.
        edge: share of Σ |w| at the border of the image, in [0, 1], shape ().
    """

    displacement: jax.Array
    covariance: jax.Array
    weight: jax.Array
    balance: jax.Array
    center: jax.Array
    excess_kurtosis: jax.Array
    anisotropy: jax.Array
    edge: jax.Array


def receptive_fields(
    function: Callable[[jax.Array], jax.Array], images: Any, units: Any, *, batch: int = 64
) -> ReceptiveField:
    """Gradients of units with respect to the image, averaged over images.

    Args:
        function: any differentiable map of one image (channels, *shape) to activations
            (outputs, *shape).
        images: (images, channels, *shape).
        units: integers (units, 1 + d), the channel and the index on each axis.
        batch: images per step, with all units; bounds memory. Further images run in a loop, in
            which XLA uses one CPU core for convolutions.

    Returns:
        `ReceptiveField` with a leading axis of units; sums accumulate in at least float32.

    Raises:
        ValueError: no images, units outside the activations, `batch` < 1.
    """
    images = checks.floating("images", images)
    if images.ndim < 3 or 0 in images.shape:
        raise checks.error("images", f"shape {images.shape}", "(images, channels, *shape)")
    shape = jax.eval_shape(function, images[0]).shape
    if len(shape) != images.ndim - 1:
        expected = f"(outputs, *shape) of {images.ndim - 1} axes"
        raise checks.error("function", f"activations of shape {shape}", expected)
    units = _units(units, shape)
    dtype = safe_math.wider(images.dtype, jnp.float32)

    def gradients(image):
        activations, pull = jax.vjp(function, image)
        ones = jnp.ones(len(units), activations.dtype)
        cotangents = jnp.zeros((len(units), *shape), activations.dtype)
        cotangents = cotangents.at[(jnp.arange(len(units)), *units.T)].set(ones)
        (g,) = jax.vmap(pull)(cotangents)
        return g.astype(dtype)

    def add(sums, batch_images, _):
        mean, square, scale = sums
        g = jax.vmap(gradients)(batch_images)
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(g), (0, *range(2, g.ndim))))
        new_scale = jnp.maximum(scale, jnp.expand_dims(largest, range(1, scale.ndim)))
        safe = jnp.where(new_scale > 0, new_scale, 1)
        squares = jnp.sum((g / safe[None]) ** 2, 0)
        return mean + jnp.sum(g, 0), square * (scale / safe) ** 2 + squares, new_scale

    zeros = jnp.zeros((len(units), *images.shape[1:]), dtype)
    # squares are scaled by the largest gradient of each unit so far
    start = (zeros, zeros, jnp.zeros((len(units), *[1] * (images.ndim - 1)), dtype))
    batch = checks.integer("batch", batch, 1)
    mean, square, scale = scans.in_segments(add, start, images, len(images), batch)
    mean, square = mean / len(images), square / len(images)
    return ReceptiveField(mean, scale * (scale * square), scale * safe_math.sqrt(square))


def measure(
    function: Callable[[jax.Array], jax.Array],
    images: Any,
    units: Any,
    positions: Any,
    *,
    weighting: str = "signed",
    border: int = 1,
    batch: int = 64,
) -> Shape:
    """Moments of the effective receptive fields of units.

    Args:
        function, images, units, batch: as in `receptive_fields`.
        positions: of the units, pixels of the image, (units, d), such as
            `infomech.networks.sequential.lattices(spec)[layer].at(units[:, 1:])`.
        weighting, border: as in `moments`.

    Returns:
        `Shape` with a leading axis of units.

    Raises:
        ValueError: as in `receptive_fields` and `moments`.
    """
    fields = receptive_fields(function, images, units, batch=batch)
    positions = checks.floating("positions", positions)
    count, d = len(fields.mean), fields.mean.ndim - 2
    if positions.shape != (count, d):
        expected = f"one per unit, ({count}, {d})"
        raise checks.error("positions", f"shape {positions.shape}", expected)
    shape = functools.partial(moments, weighting=weighting, border=border)
    return jax.vmap(shape)(fields, positions)


def moments(
    field: ReceptiveField, position: Any, *, weighting: str = "signed", border: int = 1
) -> Shape:
    """Center, spread and shape of the receptive field of one unit; batch with `jax.vmap`.

    The weight w(x) of a pixel is a sum over the channels of the image: mean gradients for "signed",
    their absolute values for "absolute", mean squared gradients for "energy".

    Args:
        field: of one unit.
        position: of the unit, pixels, (d,).
        weighting: one of `WEIGHTINGS`; static.
        border: width of the border at both ends of each axis, pixels; static.

    Returns:
        `Shape`. Where the weights cancel up to rounding, `balance` <
        `infomech.rates.MIN_BALANCE` rounding errors, center and shape are NaN.

    Raises:
        ValueError: unknown weighting, a negative border, not one position per axis.
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    checks.integer("border", border, 0)
    power = 2 if weighting == "energy" else 1
    root = safe_math.sqrt(field.square) if field.root is None else field.root
    pixels = {"signed": field.mean, "absolute": jnp.abs(field.mean), "energy": root}[weighting]
    # rescaled, since gradients of deep networks can underflow in the sums
    scale = safe_math.magnitude(pixels)
    weights = jnp.sum((pixels / scale) ** power, axis=0)
    position = checks.vector("position", position, weights.ndim, weights.dtype)
    balance = observables.balance(weights)
    defined = balance >= rates.MIN_BALANCE * jnp.finfo(balance.dtype).eps
    center = jnp.where(defined, observables.center(weights), jnp.nan)
    covariance = jnp.where(defined, observables.covariance(weights), jnp.nan)
    return Shape(
        displacement=position - center,
        covariance=covariance,
        weight=scale * jnp.sum(weights) if power == 1 else scale * (scale * jnp.sum(weights)),
        balance=balance,
        center=center,
        excess_kurtosis=jnp.where(defined, observables.excess_kurtosis(weights), jnp.nan),
        anisotropy=_anisotropy(covariance),
        edge=observables.edge(weights, ((border, border),) * weights.ndim),
    )


def _anisotropy(covariance: jax.Array) -> jax.Array:
    exists = jnp.all(jnp.isfinite(covariance))
    values = jnp.linalg.eigvalsh(jnp.where(exists, covariance, 0))
    low, high = values[0], values[-1]
    # rounding may leave a slightly negative eigenvalue if the field lies on a line
    rounding = 8 * jnp.finfo(values.dtype).eps * high
    exists = exists & (low >= -rounding) & (high > 0)
    low = jnp.maximum(low, 0)
    return jnp.where(exists, safe_math.divide(high - low, high + low), jnp.nan)


def _units(units: Any, shape: tuple[int, ...]) -> jax.Array:
    checks.unmasked("units", units)
    concrete = checks.concrete(units)
    indices = jnp.asarray(units)
    integers = jnp.issubdtype(indices.dtype, jnp.integer)
    if not integers or indices.ndim != 2 or indices.shape[1] != len(shape) or not len(indices):
        got = f"shape {indices.shape} of {indices.dtype}"
        raise checks.error("units", got, f"integers (units, {len(shape)})")
    if concrete is not None and not np.all((concrete >= 0) & (concrete < np.array(shape))):
        raise checks.error("units", concrete.tolist(), f"indices into activations of shape {shape}")
    return indices
