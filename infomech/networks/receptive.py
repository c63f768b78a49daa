"""Effective receptive fields: where on the image any unit of any network looks, by gradients.

A filter that moves content by +v looks at −v: the displacement of a unit's content is the unit's
position less the center of its receptive field, in pixels of the image.

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

#: how the pixels of a receptive field are weighted
WEIGHTINGS = ("signed", "absolute", "energy")


class ReceptiveField(NamedTuple):
    """Gradients g of a unit to the image, (channels, *grid) each.

    Attributes:
        mean: of g over images.
        square: mean of g²; 0 or infinite where the dtype can't hold it.
        root: its root √(mean of g²), which any dtype holds; that of `square` if None.
    """

    mean: jax.Array
    square: jax.Array
    root: jax.Array | None = None


class Shape(NamedTuple):
    """Moments of the receptive field of one unit; see `moments`.

    Attributes:
        displacement: of content, position of the unit − center, pixels, (d,).
        covariance: of the weights about their center, pixels², (d, d).
        weight: Σ w, shape ().
        balance: |Σ w|/Σ |w| over pixels, in [0, 1], shape (); NaN for a unit that sees nothing.
        center: Σ x w/Σ w, pixels, (d,).
        excess_kurtosis: on each axis, 0 for a Gaussian, (d,).
        anisotropy: (λ₁ − λ_d)/(λ₁ + λ_d) of the largest and the smallest eigenvalue of the
            covariance, in [0, 1], shape (); NaN where weights of both signs make one negative.
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
    """Gradients of units to the image, on the mean over images.

    Args:
        function: any differentiable map of one image (channels, *grid) to activations
            (outputs, *grid).
        images: (images, channels, *grid).
        units: whole numbers (units, 1 + d), the channel and the index on each axis.
        batch: how many images are worked on at once, with all units, which bounds the memory. More
            images go in a loop, within which XLA runs convolutions on one core of a CPU.

    Returns:
        `ReceptiveField` with a leading axis of units; sums accumulate in at least float32.

    Raises:
        ValueError: no images, units that the activations don't have, `batch` < 1.
    """
    images = checks.floating("images", images)
    if images.ndim < 3 or 0 in images.shape:
        raise checks.error("images", f"shape {images.shape}", "(images, channels, *grid)")
    shape = jax.eval_shape(function, images[0]).shape
    if len(shape) != images.ndim - 1:
        expected = f"(outputs, *grid) of {images.ndim - 1} axes"
        raise checks.error("function", f"activations of shape {shape}", expected)
    units = _units(units, shape)
    dtype = safe_math.wider(images.dtype, jnp.float32)

    def gradients(image):
        activations, pull = jax.vjp(function, image)
        ones = jnp.ones(len(units), activations.dtype)
        chosen = jnp.zeros((len(units), *shape), activations.dtype)
        chosen = chosen.at[(jnp.arange(len(units)), *units.T)].set(ones)
        (found,) = jax.vmap(pull)(chosen)
        return found.astype(dtype)

    def add(sums, some, _):
        mean, square, unit = sums
        found = jax.vmap(gradients)(some)
        size = jax.lax.stop_gradient(jnp.max(jnp.abs(found), (0, *range(2, found.ndim))))
        larger = jnp.maximum(unit, jnp.expand_dims(size, range(1, unit.ndim)))
        safe = jnp.where(larger > 0, larger, 1)
        squares = jnp.sum((found / safe[None]) ** 2, 0)
        return mean + jnp.sum(found, 0), square * (unit / safe) ** 2 + squares, larger

    zeros = jnp.zeros((len(units), *images.shape[1:]), dtype)
    # squares are summed in units of the largest gradient of each unit so far
    start = (zeros, zeros, jnp.zeros((len(units), *[1] * (images.ndim - 1)), dtype))
    batch = checks.integer("batch", batch, 1)
    mean, square, unit = scans.in_pieces(add, start, images, len(images), batch)
    mean, square = mean / len(images), square / len(images)
    return ReceptiveField(mean, unit * (unit * square), unit * safe_math.sqrt(square))


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
        function, images, units, batch: as of `receptive_fields`.
        positions: of the units, pixels of the image, (units, d), such as
            `infomech.networks.sequential.lattices(spec)[layer].at(units[:, 1:])`.
        weighting, border: as of `moments`.

    Returns:
        `Shape` with a leading axis of units.

    Raises:
        ValueError: as `receptive_fields` and `moments`.
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

    The weights w(x) of pixels sum over the channels of the image: the mean gradients with "signed",
    their absolute values with "absolute", the mean squared gradients with "energy".

    Args:
        field: of one unit.
        position: of the unit, pixels, (d,).
        weighting: one of `WEIGHTINGS`; static.
        border: how many pixels at the ends of each axis are its border; static.

    Returns:
        `Shape`. Where the weights cancel but for rounding, `balance` <
        `infomech.rates.MIN_BALANCE` rounding errors, center and shape are NaN.

    Raises:
        ValueError: unknown weighting, a negative border, not one position per axis.
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    checks.integer("border", border, 0)
    power = 2 if weighting == "energy" else 1
    root = safe_math.sqrt(field.square) if field.root is None else field.root
    pixels = {"signed": field.mean, "absolute": jnp.abs(field.mean), "energy": root}[weighting]
    # the gradients of a deep network can be too small for the sums behind its moments
    scale = safe_math.magnitude(pixels)
    weights = jnp.sum((pixels / scale) ** power, axis=0)
    position = checks.vector("position", position, weights.ndim, weights.dtype)
    balance = observables.balance(weights)
    known = balance >= rates.MIN_BALANCE * jnp.finfo(balance.dtype).eps
    center = jnp.where(known, observables.center(weights), jnp.nan)
    covariance = jnp.where(known, observables.covariance(weights), jnp.nan)
    return Shape(
        displacement=position - center,
        covariance=covariance,
        weight=scale * jnp.sum(weights) if power == 1 else scale * (scale * jnp.sum(weights)),
        balance=balance,
        center=center,
        excess_kurtosis=jnp.where(known, observables.excess_kurtosis(weights), jnp.nan),
        anisotropy=_anisotropy(covariance),
        edge=observables.edge(weights, ((border, border),) * weights.ndim),
    )


def _anisotropy(covariance: jax.Array) -> jax.Array:
    exists = jnp.all(jnp.isfinite(covariance))
    values = jnp.linalg.eigvalsh(jnp.where(exists, covariance, 0))
    low, high = values[0], values[-1]
    # rounding may leave less than 0 of a field on a line
    rounding = 8 * jnp.finfo(values.dtype).eps * high
    exists = exists & (low >= -rounding) & (high > 0)
    low = jnp.maximum(low, 0)
    return jnp.where(exists, safe_math.divide(high - low, high + low), jnp.nan)


def _units(units: Any, shape: tuple[int, ...]) -> jax.Array:
    checks.unmasked("units", units)
    known = checks.concrete(units)
    found = jnp.asarray(units)
    whole = jnp.issubdtype(found.dtype, jnp.integer)
    if not whole or found.ndim != 2 or found.shape[1] != len(shape) or not len(found):
        got = f"shape {found.shape} of {found.dtype}"
        raise checks.error("units", got, f"whole numbers (units, {len(shape)})")
    if known is not None and not np.all((known >= 0) & (known < np.array(shape))):
        raise checks.error("units", known.tolist(), f"indices into activations of shape {shape}")
    return found
