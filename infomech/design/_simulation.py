"""Rollouts of a design, and the double-precision rollout that verifies it."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks
from infomech._rollout import rollout
from infomech.design.parametrizations import Parametrization
from infomech.dynamics import Dynamics
from infomech.fields import Field, as_field, patterns
from infomech.losses import Loss, Run


@dataclass(frozen=True)
class Setup:
    """Static configuration of the rollouts of a design; see `infomech.rollout`."""

    steps: int
    dynamics: Dynamics
    every: int = 1

    def run(self, kernel: jax.Array, field: Field) -> Run:
        """Rolls out a kernel and collects the arguments of losses."""
        final, trace = rollout(kernel, field, self.steps, dynamics=self.dynamics, every=self.every)
        return Run(kernel, field, final, trace)


def check(loss: Loss, family: Parametrization) -> None:
    """Raises ValueError for an invalid loss or family, or a target that isn't finite."""
    if not isinstance(loss, Loss):
        raise checks.error("loss", type(loss).__name__, "a Loss; see infomech.losses")
    loss.check()
    if not isinstance(family, Parametrization):
        raise checks.error("family", type(family).__name__, "a Parametrization")
    checks.hashable("family", family)


def verify(
    loss: Loss, kernels: Any, field: Field, setup: Setup, batched_loss: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Loss and measurements in double precision, with a zero boundary moved out of reach."""
    with jax.enable_x64(True):
        values = np.asarray(field.values, np.float64)
        kernels = jnp.asarray(np.asarray(kernels), jnp.float64)
        taps = kernels.shape[-values.ndim :]
        if setup.dynamics.boundary == "zero":
            wide = patterns.padded(values, taps, setup.steps)
        else:
            wide = as_field(jnp.asarray(values))
        origin = wide.origin + np.asarray(field.origin, np.float64)
        log_gain = jnp.asarray(np.asarray(field.log_gain, np.float64))
        wide = replace(wide, origin=origin, log_gain=log_gain)
        loss = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), loss)
        if batched_loss:
            loss = jax.tree.map(lambda a: a if a.ndim else jnp.full(len(kernels), a), loss)
        values, measured = _measure(loss, kernels, wide, setup, batched_loss)
        return np.asarray(values), {name: np.asarray(a) for name, a in measured.items()}


@functools.partial(jax.jit, static_argnums=(3, 4))
def _measure(loss, kernels, field, setup, batched_loss):
    def measure(kernel, loss):
        run = setup.run(kernel, field)
        return loss(run), loss.measured(run)

    if batched_loss:
        return jax.lax.map(lambda pair: measure(*pair), (kernels, loss), batch_size=64)
    return jax.lax.map(lambda kernel: measure(kernel, loss), kernels, batch_size=64)
