"""Where the gradient of a loss can be trusted: against finite differences, layer after layer."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import fields, rectifiers
from infomech._core import checks, safe_math
from infomech.design import parametrizations
from infomech.design._simulation import Setup, check
from infomech.design.parametrizations import Parametrization
from infomech.losses import Loss

#: step sizes of the central differences, relative to the largest parameter
STEPS = tuple(10.0 ** -np.arange(1, 10))
#: relative error up to which a gradient is called right
TRUSTED = 1e-2


@dataclass(frozen=True)
class Diagnosis:
    """How far a gradient is right; see `diagnose`.

    Attributes:
        step: sizes of the finite differences, relative to the largest parameter, (s,).
        error: ‖finite differences − gradient‖ / ‖gradient‖ for each size, at all layers, (s,).
        layers: numbers of layers looked at, (h,).
        gradient_norm: ‖gradient‖ at each, (h,).
        horizon_error: the smallest error over the sizes at each, (h,).
        gradient: at all layers, of the shape of the parameters.
        unreached: parameters that neither the gradient nor any finite difference sees, a mask.
        kinked: parameters whose one-sided differences disagree at every size: the loss has a kink.
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
        """Most layers up to which the gradient is right within `TRUSTED`; 0 if at none."""
        right = self.horizon_error <= TRUSTED
        stop = len(right) if right.all() else int(np.argmin(right))
        return int(self.layers[stop - 1]) if stop else 0

    def __str__(self) -> str:
        """The diagnosis in lines for people."""
        best = int(np.argmin(np.where(np.isfinite(self.error), self.error, np.inf)))
        lines = [
            f"gradient   error {self.error[best]:.1e} at steps of {self.step[best]:.0e}",
            f"horizon    {self.horizon} of {self.layers[-1]} layers",
        ]
        for mask, words in (
            (self.unreached, "no derivative reaches"),
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
    rectifier: Any = "relu",
    boundary: str = "zero",
    normalize: str = "l2",
) -> Diagnosis:
    """Where the gradient of a loss is right, at one kernel.

    Central differences at many step sizes are compared with automatic differentiation, at all
    layers and at some fewer; one-sided ones show kinks.

    Args:
        loss, field, steps, family, rectifier, boundary, normalize: as for `infomech.design.fit`.
        kernel: taps, or (steps, *taps).

    Raises:
        ValueError: an argument that doesn't fit.
    """
    check(loss, family)
    field = fields.as_field(field)
    kernel = checks.floating("kernel", kernel)
    checks.finite("kernel", kernel)
    steps = checks.integer("steps", steps, 1)
    setup = Setup(steps, rectifiers.get(rectifier), boundary, normalize)
    params = family.free(kernel)
    stacked = kernel.ndim > field.values.ndim
    horizon = [steps] if stacked else _horizons(steps)
    found = [_compare(loss, params, field, replace(setup, steps=t), family) for t in horizon]
    gradient, central, forward, backward = found[-1]
    errors = [_errors(*f[:2]) for f in found]
    size = np.abs(np.asarray(central)).max(0)
    unreached = (np.abs(gradient) == 0) & (size == 0)
    apart = np.abs(np.asarray(forward) - np.asarray(backward))
    scale = np.abs(np.asarray(forward)) + np.abs(np.asarray(backward))
    kinked = np.all(apart > 0.1 * np.where(scale > 0, scale, np.inf), axis=0)
    return Diagnosis(
        np.asarray(STEPS),
        errors[-1],
        np.asarray(horizon),
        np.asarray([_norm(f[0]) for f in found]),
        np.asarray([np.nanmin(np.where(np.isfinite(e), e, np.inf)) for e in errors]),
        gradient,
        unreached,
        kinked,
    )


def _horizons(steps: int) -> list[int]:
    """Some numbers of layers, the last of them `steps`, of at least 2 where there are as many."""
    return sorted({steps, *(max(min(2, steps), steps * i // 6) for i in range(1, 6))})


def _compare(loss, params, field, setup, family):
    """Gradient, and central, forward and backward differences (s, *params) of the loss."""
    gradient, *differences = _all_values(loss, params, field, setup, family)
    shape = (len(STEPS), *params.shape)
    return np.asarray(gradient), *(np.asarray(d).reshape(shape) for d in differences)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _all_values(loss, params, field, setup, family):
    def value(params):
        return loss(setup.run(family.kernel(params), field))

    h = jnp.asarray(STEPS, params.dtype) * safe_math.magnitude(params)
    moves = jnp.multiply.outer(h, jnp.eye(params.size, dtype=params.dtype))
    places = jnp.concatenate([moves, -moves]) + params.reshape(1, 1, -1)
    at = jax.lax.map(jax.vmap(value), places.reshape(*places.shape[:2], *params.shape))
    here, gradient = jax.value_and_grad(value)(params)
    up, down = at[: len(STEPS)], at[len(STEPS) :]
    width = h[:, None]
    return gradient, (up - down) / (2 * width), (up - here) / width, (here - down) / width


def _errors(gradient, central):
    norm = _norm(gradient)
    away = np.array([_norm(one - gradient) for one in central])
    return away / norm if norm > 0 else np.where(away == 0, 0.0, np.inf)


def _norm(x):
    """In double precision, which holds the squares of all numbers of single precision."""
    return np.linalg.norm(np.asarray(x, np.float64).ravel())
