"""What one may wish of a rollout, as differentiable losses: weighted sums of squared residuals.

A loss is a pytree whose targets and weights may be traced, so one loss of a thousand targets goes
through `jax.vmap`; `loss(run)` is Σ w r², and `loss.residuals(run)` the vector √w r that
least-squares solvers want.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks, guards, mechanics, observables, spectrum
from infomech.fields import Field, as_field
from infomech.rollout import Trace


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Run:
    """What a loss is given: the kernel, the field before and after, and what was observed.

    Attributes:
        kernel: taps, or (steps, *taps) with one kernel per layer.
        first: the field before layer 1.
        final: the field after the last layer.
        trace: the `Trace` of the rollout.
    """

    kernel: jax.Array
    first: Field
    final: Field
    trace: Trace


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["target", "weight"],
    meta_fields=["name", "measure", "residual"],
)
@dataclass(frozen=True)
class Term:
    """One wish: `residual(measure(run), target)`, whose squares count `weight` times.

    Attributes:
        name: of what is measured.
        measure: function of a `Run`, and of nothing traced besides.
        residual: function of what was measured and the target.
        target: what it should be.
        weight: w ≥ 0.
    """

    name: str
    measure: Callable[[Run], jax.Array]
    residual: Callable[[jax.Array, jax.Array], jax.Array]
    target: Any
    weight: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Loss:
    """A weighted sum of wishes, Σ_i w_i ‖r_i‖²; add losses, and multiply them by weights ≥ 0."""

    terms: tuple[Term, ...]

    def __call__(self, run: Run) -> jax.Array:
        """Σ w r², shape ()."""
        return jnp.sum(self.residuals(run) ** 2)

    def residuals(self, run: Run) -> jax.Array:
        """√w r of all terms one after the other, shape (m,)."""
        parts = []
        for term in self.terms:
            r = jnp.ravel(term.residual(term.measure(run), term.target))
            parts.append(r * guards.sqrt(jnp.asarray(term.weight, r.dtype)))
        return jnp.concatenate(parts)

    def measured(self, run: Run) -> dict[str, jax.Array]:
        """What each term measures, by name; a name that comes again is numbered."""
        return {name: t.measure(run) for name, t in zip(self.names, self.terms, strict=True)}

    @property
    def targets(self) -> dict[str, Any]:
        """What each term should be, by name."""
        return {name: t.target for name, t in zip(self.names, self.terms, strict=True)}

    @property
    def names(self) -> list[str]:
        """Of the terms; one that comes again is numbered."""
        names: list[str] = []
        for term in self.terms:
            again = sum(n.partition(" #")[0] == term.name for n in names)
            names.append(f"{term.name} #{again + 1}" if again else term.name)
        return names

    def __add__(self, other: "Loss") -> "Loss":
        """The sum of two losses."""
        if not isinstance(other, Loss):
            raise checks.fail("loss", type(other).__name__, "another Loss to add")
        return Loss(self.terms + other.terms)

    def __mul__(self, weight: Any) -> "Loss":
        """The loss `weight` times."""
        known = checks.concrete(weight)
        if known is not None and not (np.ndim(known) == 0 and 0 <= known < np.inf):
            raise checks.fail("weight", weight, "a number of at least 0")
        return Loss(tuple(replace(t, weight=t.weight * weight) for t in self.terms))

    __rmul__ = __mul__


def batch_axes(loss: Loss) -> Loss:
    """`in_axes` for `jax.vmap` over losses with batches of targets; single numbers are shared."""
    return jax.tree.map(lambda leaf: 0 if np.ndim(leaf) else None, loss)


def _difference(measured, target):
    target = jnp.asarray(target, measured.dtype)
    if target.shape != measured.shape:
        raise checks.fail("target", f"shape {target.shape}", f"{measured.shape}")
    return measured - target


def observable(
    name: str, measure: Callable[[Run], Any], target: Any, *, residual: Any = _difference
) -> Loss:
    """Anything that can be computed of a `Run`: ‖measure(run) − target‖².

    So every entry of a trace, every observable of the final field and every quantity of
    `mechanics` and `spectrum` can be wished for:
    `observable("gain", lambda run: im.mechanics.energy_momentum(run.kernel).gain, 1.0)`.

    Args:
        name: of what is measured.
        measure: function of a `Run`.
        target: what it should be, of the shape that `measure` returns; may be traced.
        residual: function of what was measured and the target; their difference if not given.

    Raises:
        ValueError: when evaluated, a target of another shape than what was measured.
    """
    if not callable(measure):
        raise checks.fail("measure", type(measure).__name__, "a function of a Run")
    return Loss((Term(name, measure, residual, target, 1.0),))


def velocity(target: Any, *, burn_in: int = 0) -> Loss:
    """‖v − v*‖² for the slope v of the least-squares line through the centre, pixels per layer.

    Args:
        target: v*, one number per axis; may be traced.
        burn_in: the line starts at this layer.
    """
    return observable("velocity", _Slope("centre", _layer("burn_in", burn_in)), target)


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
    return observable("trajectory", _centres, target, residual=_mean_difference)


def arrival(place: Any, layer: int) -> Loss:
    """‖c_layer − place‖², in pixels²: where the centre should be after so many layers.

    Args:
        place: one number per axis, in the field's own coordinates; may be traced.
        layer: one that is observed; for any other the loss is NaN.
    """
    return observable(f"centre after layer {layer}", _CentreAt(_layer("layer", layer)), place)


def shape(pattern: Any) -> Loss:
    """‖û_T − p̂‖² for the final field and a pattern moved onto its centre, both of unit energy.

    The pattern is moved in Fourier space by fractions of a pixel, so where the field lies doesn't
    count, only how it is shaped: between 0 and 4, and 0 only for the same shape.

    Args:
        pattern: `Field` or array, no larger than the field, not all 0; may be traced.
    """
    return observable("shape", _itself, as_field(pattern).values, residual=_misfit)


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
        x = jnp.where(used, layer - guards.divide(jnp.sum(jnp.where(used, layer, 0)), count), 0)
        # about the first entry, so that a pattern far from position 0 loses no digits
        away = jnp.where(jnp.expand_dims(used, range(1, path.ndim)), path - path[:1], 0)
        moved = jnp.tensordot(x, away, axes=1, precision="highest")
        return guards.divide(moved, jnp.sum(x**2))


@dataclass(frozen=True)
class _CentreAt:
    """The centre after a layer, NaN if it isn't observed."""

    layer: int

    def __call__(self, run: Run) -> jax.Array:
        there = run.trace.layer == self.layer
        place = jnp.sum(jnp.where(there[:, None], run.trace.centre, 0), axis=0)
        return jnp.where(jnp.any(there), place, jnp.nan)


def _tensor_difference(measured, target):
    target = jnp.asarray(target, measured.dtype)
    kinds = {0: jnp.trace(measured) / measured.shape[0], 1: jnp.diagonal(measured), 2: measured}
    return _difference(kinds.get(target.ndim, measured), target)


def _centres(run):
    return run.trace.centre


def _mean_difference(measured, target):
    return _difference(measured, target) / math.sqrt(measured.shape[0])


def _itself(run):
    return run.final.values


def _misfit(values, pattern):
    room = [m - n for m, n in zip(values.shape, pattern.shape, strict=True)]
    if min(room) < 0:
        raise checks.fail("pattern", f"shape {pattern.shape}", f"at most {values.shape}")
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
    return _unit(values) - _unit(moved)


def _middle(values, origin):
    return observables.centre(Field(values, origin, jnp.zeros((), values.dtype)))


def _unit(values):
    return guards.divide(values, guards.sqrt(jnp.sum(values**2)))


def _log_energy(run):
    return run.trace.log_energy[-1] - run.trace.log_energy[0]


def _anisotropy(run):
    covariance = run.trace.covariance[-1]
    mean = jnp.trace(covariance) / covariance.shape[0]
    return guards.divide(covariance, mean) - jnp.eye(covariance.shape[0], dtype=covariance.dtype)


def _as_it_is(measured, target):
    return measured


def _root(measured, target):
    return guards.sqrt(measured)


def _per_layer(run, share):
    """The mean of a share over the kernels of all layers."""
    if run.kernel.ndim == run.final.values.ndim:
        return share(run.kernel)
    return jnp.mean(jax.vmap(share)(run.kernel))


def _odd_share(run):
    return _per_layer(run, lambda kernel: mechanics.energy_momentum(kernel).share)


def _high_share(run):
    def share(kernel):
        energies = spectrum.energies(kernel / guards.magnitude(kernel))
        low = np.indices(kernel.shape).sum(0) <= 1
        return guards.divide(jnp.sum(jnp.where(low, 0, energies)), jnp.sum(energies))

    return _per_layer(run, share)
