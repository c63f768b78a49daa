"""Objectives for rollouts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import mechanics, observables, spectrum
from infomech._core import checks, safe_math
from infomech.fields import Field, as_field
from infomech.losses._loss import Loss, Run, difference, finite_numbers, observable


def velocity(target: Any, *, burn_in: int = 0) -> Loss:
    """‖v − v*‖² with v the slope of the least-squares line through the center, pixels per layer.

    Args:
        target: v*, one number per axis; may be traced.
        burn_in: first layer of the fit.
    """
    loss = observable("velocity", _Slope("center", _layer("burn_in", burn_in)), target)
    return _with_positions(loss, _extrapolated)


def diffusion(target: Any, *, burn_in: int = 0) -> Loss:
    """‖D − D*‖² with D the slope of the covariance, in pixels² per layer.

    Args:
        target: D*: a number (mean over the axes), d numbers (one per axis), or the full tensor
            (d, d); may be traced.
        burn_in: first layer of the fit.
    """
    measure = _Slope("covariance", _layer("burn_in", burn_in))
    return observable("diffusion", measure, target, residual=_tensor_difference)


def trajectory(target: Any) -> Loss:
    """Mean of ‖c_t − c*_t‖² over all observations, in pixels².

    Args:
        target: c*, shape (n, d) for n observations and d axes, in the field's coordinates.
    """
    loss = observable("trajectory", _centers, target, residual=_mean_difference)
    return _with_positions(loss, _targets)


def arrival(position: Any, layer: int) -> Loss:
    """‖c_layer − position‖², in pixels²: the center after a given layer.

    Args:
        position: target position, one number per axis, in the field's coordinates; may be traced.
        layer: an observed layer; for any other the loss is NaN.
    """
    measure = _CenterAt(_layer("layer", layer))
    finite_numbers("arrival position", position)
    loss = observable(f"center after layer {layer}", measure, position)
    return _with_positions(loss, _targets)


def shape(pattern: Any) -> Loss:
    """‖û_T − p̂‖² for the final field and a pattern shifted to its center, both of unit energy.

    The pattern is shifted in Fourier space by fractions of a pixel, so only the shape of the field
    counts, not its position. The loss lies between 0 and 4 and is 0 only for equal shapes.

    Args:
        pattern: `Field` or array, no larger than the field, not all 0; may be traced.
    """
    values = as_field(pattern).values
    finite_numbers("shape pattern", values)
    return observable("shape", _final_values, values, residual=_misfit)


def energy(target: Any = 0.0) -> Loss:
    """(log E_T − log E_0 − target)² for the true energy E = Σ u²; target 0 conserves it."""
    return observable("log energy", _log_energy, target)


def isotropy() -> Loss:
    """‖C/c − 1‖² for the final covariance C and its mean c over the axes; 0 if isotropic."""
    return observable("anisotropy", _anisotropy, 0.0, residual=_measured)


def odd_share() -> Loss:
    """Odd share ε = ‖k_o‖²/‖k‖² of the kernel's energy, to be minimized; mean over layers."""
    return observable("odd share", _odd_share, 0.0, residual=_root)


def high_frequency_share() -> Loss:
    """Share of the kernel's energy outside the DC and first-order DCT modes; mean over layers.

    Equal to 1 − `spectrum.low_frequency_share`.
    """
    return observable("high-frequency share", _high_share, 0.0, residual=_root)


def _with_positions(
    loss: Loss, positions: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
) -> Loss:
    return Loss(tuple(replace(term, positions=positions) for term in loss.terms))


def _extrapolated(velocities, center, steps):
    return center + steps * velocities


def _targets(positions, center, steps):
    return positions


def _layer(argument: str, value: Any) -> int:
    return checks.integer(argument, value, 0)


@dataclass(frozen=True)
class _Slope:
    """Slope of the least-squares line through an entry of the trace, from layer `burn_in` on.

    Equal if its fields are, so rebuilding a loss doesn't recompile.
    """

    path: str
    burn_in: int

    def __call__(self, run: Run) -> jax.Array:
        path = getattr(run.trace, self.path)
        used = run.trace.layer >= self.burn_in
        layer = run.trace.layer.astype(path.dtype)
        count = jnp.sum(used).astype(path.dtype)
        x = jnp.where(used, layer - safe_math.divide(jnp.sum(jnp.where(used, layer, 0)), count), 0)
        # relative to the first entry: no cancellation for patterns far from position 0
        offset = jnp.where(jnp.expand_dims(used, range(1, path.ndim)), path - path[:1], 0)
        covariance = jnp.tensordot(x, offset, axes=1, precision="highest")
        return safe_math.divide(covariance, jnp.sum(x**2))


@dataclass(frozen=True)
class _CenterAt:
    """The center after a layer, NaN if the layer isn't observed."""

    layer: int

    def __call__(self, run: Run) -> jax.Array:
        selected = run.trace.layer == self.layer
        center = jnp.sum(jnp.where(selected[:, None], run.trace.center, 0), axis=0)
        return jnp.where(jnp.any(selected), center, jnp.nan)


def _tensor_difference(measured, target):
    target = jnp.asarray(target, measured.dtype)
    by_rank = {0: jnp.trace(measured) / measured.shape[0], 1: jnp.diagonal(measured), 2: measured}
    return difference(by_rank.get(target.ndim, measured), target)


def _centers(run):
    return run.trace.center


def _mean_difference(measured, target):
    return difference(measured, target) / math.sqrt(measured.shape[0])


def _final_values(run):
    return run.final.values


def _misfit(values, pattern):
    padding = [m - n for m, n in zip(values.shape, pattern.shape, strict=True)]
    if min(padding) < 0:
        raise checks.error("pattern", f"shape {pattern.shape}", f"at most {values.shape}")
    pattern = jnp.pad(jnp.asarray(pattern, values.dtype), [(0, n) for n in padding])
    zero = jnp.zeros(values.ndim, values.dtype)
    shift = _center(values, zero) - _center(pattern, zero)
    modes = jnp.fft.rfftn(pattern)
    for axis, n in enumerate(pattern.shape):
        last = axis == pattern.ndim - 1
        frequencies = jnp.asarray((np.fft.rfftfreq if last else np.fft.fftfreq)(n), values.dtype)
        phase = -2 * np.pi * frequencies * shift[axis]
        wave = jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
        modes = modes * wave.reshape([-1 if a == axis else 1 for a in range(pattern.ndim)])
    shifted = jnp.fft.irfftn(modes, pattern.shape).astype(values.dtype)
    return safe_math.unit(values) - safe_math.unit(shifted)


def _center(values, origin):
    return observables.center(Field(values, origin, jnp.zeros((), values.dtype)))


def _log_energy(run):
    return run.trace.log_energy[-1] - run.trace.log_energy[0]


def _anisotropy(run):
    covariance = run.trace.covariance[-1]
    mean = jnp.trace(covariance) / covariance.shape[0]
    return safe_math.divide(covariance, mean) - jnp.eye(covariance.shape[0], dtype=covariance.dtype)


def _measured(measured, target):
    return measured


def _root(measured, target):
    return safe_math.sqrt(measured)


def _per_layer(run, share):
    """Mean of a share over the kernels of all layers."""
    if run.kernel.ndim == run.final.values.ndim:
        return share(run.kernel)
    return jnp.mean(jax.vmap(share)(run.kernel))


def _odd_share(run):
    return _per_layer(run, lambda kernel: mechanics.energy_momentum(kernel).share)


def _high_share(run):
    def share(kernel):
        energies = spectrum.energies(kernel / safe_math.magnitude(kernel))
        low = np.indices(kernel.shape).sum(0) <= 1
        return safe_math.divide(jnp.sum(jnp.where(low, 0, energies)), jnp.sum(energies))

    return _per_layer(run, share)
