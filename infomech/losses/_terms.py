"""What one may wish of a rollout."""

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
    """‖v − v*‖² for the slope v of the least-squares line through the center, pixels per layer.

    Args:
        target: v*, one number per axis; may be traced.
        burn_in: the line starts at this layer.
    """
    wish = observable("velocity", _Slope("center", _layer("burn_in", burn_in)), target)
    return _placed(wish, _onwards)


def diffusion(target: Any, *, burn_in: int = 0) -> Loss:
    """‖D − D*‖² for the slope D of the covariance, in pixels² per layer.

    Args:
        target: D*: a number, the mean over the axes; d numbers, one per axis; or the whole tensor
            (d, d). May be traced.
        burn_in: the line starts at this layer.
    """
    measure = _Slope("covariance", _layer("burn_in", burn_in))
    return observable("diffusion", measure, target, residual=_tensor_difference)


def trajectory(target: Any) -> Loss:
    """Mean of ‖c_t − c*_t‖² over all observations, in pixels².

    Args:
        target: c*, shape (n, d) for n observations of d axes, in the field's own coordinates.
    """
    return _placed(observable("trajectory", _centers, target, residual=_mean_difference), _there)


def arrival(place: Any, layer: int) -> Loss:
    """‖c_layer − place‖², in pixels²: where the center should be after so many layers.

    Args:
        place: one number per axis, in the field's own coordinates; may be traced.
        layer: one that is observed; for any other the loss is NaN.
    """
    measure = _CenterAt(_layer("layer", layer))
    finite_numbers("arrival place", place)
    return _placed(observable(f"center after layer {layer}", measure, place), _there)


def shape(pattern: Any) -> Loss:
    """‖û_T − p̂‖² for the final field and a pattern moved onto its center, both of unit energy.

    The pattern is moved in Fourier space by fractions of a pixel, so where the field lies doesn't
    count, only how it is shaped: between 0 and 4, and 0 only for the same shape.

    Args:
        pattern: `Field` or array, no larger than the field, not all 0; may be traced.
    """
    values = as_field(pattern).values
    finite_numbers("shape pattern", values)
    return observable("shape", _itself, values, residual=_misfit)


def energy(target: Any = 0.0) -> Loss:
    """(log E_T − log E_0 − target)² for the true energy E = Σ u²; 0 keeps it, less loses it."""
    return observable("log energy", _log_energy, target)


def isotropy() -> Loss:
    """‖C/c − 1‖² for the final covariance C and its mean over the axes c: 0 if it is round."""
    return observable("anisotropy", _anisotropy, 0.0, residual=_as_it_is)


def odd_share() -> Loss:
    """The odd share ε = ‖k_o‖²/‖k‖² of the kernel's energy, to be low; the mean over layers."""
    return observable("odd share", _odd_share, 0.0, residual=_root)


def high_frequency_share() -> Loss:
    """The share of the kernel's energy beyond DC and first-order DCT modes; the mean over layers.

    1 − `spectrum.low_frequency_share`.
    """
    return observable("high-frequency share", _high_share, 0.0, residual=_root)


def _placed(loss: Loss, places: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Loss:
    return Loss(tuple(replace(term, places=places) for term in loss.terms))


def _onwards(velocities, center, steps):
    return center + steps * velocities


def _there(positions, center, steps):
    return positions


def _layer(argument: str, value: Any) -> int:
    return checks.integer(argument, value, 0)


@dataclass(frozen=True)
class _Slope:
    """Slope of the least-squares line through a path of the trace, from layer `burn_in` on.

    Two of the same are equal, so that a wish made anew doesn't compile anew.
    """

    path: str
    burn_in: int

    def __call__(self, run: Run) -> jax.Array:
        path = getattr(run.trace, self.path)
        used = run.trace.layer >= self.burn_in
        layer = run.trace.layer.astype(path.dtype)
        count = jnp.sum(used).astype(path.dtype)
        x = jnp.where(used, layer - safe_math.divide(jnp.sum(jnp.where(used, layer, 0)), count), 0)
        # about the first entry, so that a pattern far from position 0 loses no digits
        away = jnp.where(jnp.expand_dims(used, range(1, path.ndim)), path - path[:1], 0)
        moved = jnp.tensordot(x, away, axes=1, precision="highest")
        return safe_math.divide(moved, jnp.sum(x**2))


@dataclass(frozen=True)
class _CenterAt:
    """The center after a layer, NaN if it isn't observed."""

    layer: int

    def __call__(self, run: Run) -> jax.Array:
        there = run.trace.layer == self.layer
        place = jnp.sum(jnp.where(there[:, None], run.trace.center, 0), axis=0)
        return jnp.where(jnp.any(there), place, jnp.nan)


def _tensor_difference(measured, target):
    target = jnp.asarray(target, measured.dtype)
    kinds = {0: jnp.trace(measured) / measured.shape[0], 1: jnp.diagonal(measured), 2: measured}
    return difference(kinds.get(target.ndim, measured), target)


def _centers(run):
    return run.trace.center


def _mean_difference(measured, target):
    return difference(measured, target) / math.sqrt(measured.shape[0])


def _itself(run):
    return run.final.values


def _misfit(values, pattern):
    room = [m - n for m, n in zip(values.shape, pattern.shape, strict=True)]
    if min(room) < 0:
        raise checks.error("pattern", f"shape {pattern.shape}", f"at most {values.shape}")
    pattern = jnp.pad(jnp.asarray(pattern, values.dtype), [(0, n) for n in room])
    zero = jnp.zeros(values.ndim, values.dtype)
    away = _middle(values, zero) - _middle(pattern, zero)
    modes = jnp.fft.rfftn(pattern)
    for axis, n in enumerate(pattern.shape):
        last = axis == pattern.ndim - 1
        turns = jnp.asarray((np.fft.rfftfreq if last else np.fft.fftfreq)(n), values.dtype)
        phase = -2 * np.pi * turns * away[axis]
        wave = jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
        modes = modes * wave.reshape([-1 if a == axis else 1 for a in range(pattern.ndim)])
    moved = jnp.fft.irfftn(modes, pattern.shape).astype(values.dtype)
    return safe_math.unit(values) - safe_math.unit(moved)


def _middle(values, origin):
    return observables.center(Field(values, origin, jnp.zeros((), values.dtype)))


def _log_energy(run):
    return run.trace.log_energy[-1] - run.trace.log_energy[0]


def _anisotropy(run):
    covariance = run.trace.covariance[-1]
    mean = jnp.trace(covariance) / covariance.shape[0]
    return safe_math.divide(covariance, mean) - jnp.eye(covariance.shape[0], dtype=covariance.dtype)


def _as_it_is(measured, target):
    return measured


def _root(measured, target):
    return safe_math.sqrt(measured)


def _per_layer(run, share):
    """The mean of a share over the kernels of all layers."""
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
