"""Accuracy of a loss gradient: comparison with finite differences as depth grows."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import fields
from infomech._core import checks, safe_math
from infomech.design import parametrizations
from infomech.design._simulation import Setup, check
from infomech.design.parametrizations import Parametrization
from infomech.dynamics import Dynamics, resolve
from infomech.losses import Loss
from infomech.rectifiers import RectifierLike

#: step sizes of the central differences, relative to the largest parameter
STEPS = tuple(10.0 ** -np.arange(1, 10))
#: largest relative error of an accurate gradient
MAX_ERROR = 1e-2


@dataclass(frozen=True)
class Diagnosis:
    """Accuracy of a gradient; see `diagnose`.

    Attributes:
        step: step sizes of the finite differences, relative to the largest parameter, (s,).
        error: ‖finite differences − gradient‖ / ‖gradient‖ per step size, for all layers, (s,).
        layers: numbers of layers examined, (h,).
        gradient_norm: ‖gradient‖ for each of them, (h,).
        horizon_error: smallest error over the step sizes for each of them, (h,).
        gradient: gradient for all layers, of the shape of the parameters.
        unreached: mask of parameters whose gradient and finite differences all vanish.
        kinked: mask of parameters whose one-sided differences disagree at every step size: the loss
            has a kink there.
    """

    step: np.ndarray
    error: np.ndarray
    layers: np.ndarray
    gradient_norm: np.ndarray
    horizon_error: np.ndarray
    gradient: np.ndarray
    unreached: np.ndarray
    kinked: np.ndarray

    @property
    def horizon(self) -> int:
        """Largest number of layers with an error up to `MAX_ERROR`; 0 if there is none."""
        accurate = self.horizon_error <= MAX_ERROR
        stop = len(accurate) if accurate.all() else int(np.argmin(accurate))
        return int(self.layers[stop - 1]) if stop else 0

    def __str__(self) -> str:
        """Readable summary."""
        best = int(np.argmin(np.where(np.isfinite(self.error), self.error, np.inf)))
        lines = [
            f"gradient   error {self.error[best]:.1e} at steps of {self.step[best]:.0e}",
            f"horizon    {self.horizon} of {self.layers[-1]} layers",
        ]
        for mask, words in (
            (self.unreached, "the loss does not depend on"),
            (self.kinked, "the loss has a kink at"),
        ):
            if mask.any():
                where = ", ".join(str(tuple(map(int, i))) for i in np.argwhere(mask))
                lines.append(f"{words} {where}")
        return "\n".join(lines)


def diagnose(
    loss: Loss,
    kernel: Any,
    *,
    field: Any,
    steps: int,
    family: Parametrization = parametrizations.taps,
    dynamics: Dynamics | None = None,
    rectifier: RectifierLike | None = None,
    boundary: str | None = None,
    normalize: str | None = None,
) -> Diagnosis:
    """Accuracy of the gradient of a loss at one kernel.

    Compares automatic differentiation with central differences of many step sizes, for all layers
    and for fewer; one-sided differences reveal kinks.

    Args:
        loss, field, steps, family: see `infomech.design.fit`.
        dynamics, rectifier, boundary, normalize: see `infomech.rollout`.
        kernel: taps, or (steps, *taps).

    Raises:
        ValueError: an invalid argument.
    """
    check(loss, family)
    field = fields.as_field(field)
    kernel = checks.floating("kernel", kernel)
    checks.finite("kernel", kernel)
    steps = checks.integer("steps", steps, 1)
    dynamics = resolve(dynamics, rectifier=rectifier, boundary=boundary, normalize=normalize)
    setup = Setup(steps, dynamics)
    params = family.free(kernel)
    stacked = kernel.ndim > field.values.ndim
    depths = [steps] if stacked else _depths(steps)
    results = [_derivatives(loss, params, field, replace(setup, steps=t), family) for t in depths]
    gradient, central, forward, backward = results[-1]
    errors = [_errors(*result[:2]) for result in results]
    magnitude = np.abs(np.asarray(central)).max(0)
    unreached = (np.abs(gradient) == 0) & (magnitude == 0)
    gap = np.abs(np.asarray(forward) - np.asarray(backward))
    scale = np.abs(np.asarray(forward)) + np.abs(np.asarray(backward))
    kinked = np.all(gap > 0.1 * np.where(scale > 0, scale, np.inf), axis=0)
    return Diagnosis(
        np.asarray(STEPS),
        errors[-1],
        np.asarray(depths),
        np.asarray([_norm(result[0]) for result in results]),
        np.asarray([np.nanmin(np.where(np.isfinite(e), e, np.inf)) for e in errors]),
        gradient,
        unreached,
        kinked,
    )


def _depths(steps: int) -> list[int]:
    """About six numbers of layers up to `steps`, at least 2 if possible."""
    return sorted({steps, *(max(min(2, steps), steps * i // 6) for i in range(1, 6))})


def _derivatives(loss, params, field, setup, family):
    """Gradient, and central, forward and backward differences (s, *params) of the loss."""
    gradient, *differences = _flat_derivatives(loss, params, field, setup, family)
    shape = (len(STEPS), *params.shape)
    return np.asarray(gradient), *(np.asarray(d).reshape(shape) for d in differences)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _flat_derivatives(loss, params, field, setup, family):
    def value(params):
        return loss(setup.run(family.kernel(params), field))

    h = jnp.asarray(STEPS, params.dtype) * safe_math.magnitude(params)
    shifts = jnp.multiply.outer(h, jnp.eye(params.size, dtype=params.dtype))
    points = jnp.concatenate([shifts, -shifts]) + params.reshape(1, 1, -1)
    values = jax.lax.map(jax.vmap(value), points.reshape(*points.shape[:2], *params.shape))
    center, gradient = jax.value_and_grad(value)(params)
    up, down = values[: len(STEPS)], values[len(STEPS) :]
    width = h[:, None]
    return gradient, (up - down) / (2 * width), (up - center) / width, (center - down) / width


def _errors(gradient, central):
    norm = _norm(gradient)
    errors = np.array([_norm(differences - gradient) for differences in central])
    return errors / norm if norm > 0 else np.where(errors == 0, 0.0, np.inf)


def _norm(x):
    """Norm in double precision, where squares of float32 numbers never overflow."""
    return np.linalg.norm(np.asarray(x, np.float64).ravel())
