"""Quantities that a sweep measures at each point."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech import mechanics, rates, theory
from infomech._core import checks
from infomech._rollout import Trace
from infomech.fields import Field


class Description(NamedTuple):
    """Meaning, unit and axis names of a measured quantity."""

    meaning: str
    units: str
    axes: tuple[str, ...] = ()


#: results of `measure`
RATES = {
    "velocity": Description("velocity of the center", "pixels per layer", ("component",)),
    "velocity_stderr": Description("its standard error", "pixels per layer", ("component",)),
    "diffusion": Description(
        "growth of the covariance", "pixels² per layer", ("component", "component_2")
    ),
    "diffusion_stderr": Description(
        "its standard error", "pixels² per layer", ("component", "component_2")
    ),
    "velocity_theory": Description(
        "velocity for an inactive rectifier, NaN if it is active",
        "pixels per layer",
        ("component",),
    ),
    "diffusion_theory": Description(
        "diffusion for an inactive rectifier, NaN if it is active",
        "pixels² per layer",
        ("component", "component_2"),
    ),
    "inactive": Description("whether the rectifier leaves a non-negative field unchanged", "1"),
    "energy": Description("Σ k²", "1"),
    "odd_share": Description("odd share of the energy", "1"),
    "momentum": Description("p = Σ r k", "pixels", ("component",)),
    "gain": Description("s = Σ k", "1"),
    "mass_squared": Description("‖k_e‖² − ‖k_o‖²", "1"),
    "edge": Description("largest share of the mass at the boundary", "1"),
    "status": Description(
        "0: measured; otherwise the reason for a missing velocity: "
        + "; ".join(f"{status}: {status.reason}" for status in rates.Status if status)
        + "; -1: not computed yet",
        "1",
    ),
}


def measure(kernel: jax.Array, final: Field, trace: Trace, setting: Any) -> dict[str, jax.Array]:
    """Velocity, diffusion, their errors and predictions, mechanics, boundary contact, status.

    Args:
        kernel: taps, d axes.
        final: the field after the last layer.
        trace: `infomech.Trace` of the rollout.
        setting: `infomech.sweeps.Setting`; only rectifier, burn_in and edge_tolerance are used.

    Returns:
        Dictionary with the names, units and axes of `RATES`; NaN for a rate that can't be fitted.
    """
    velocity = rates.velocity(trace, setting.burn_in, edge_tolerance=setting.edge_tolerance)
    diffusion = rates.diffusion(trace, setting.burn_in, edge_tolerance=setting.edge_tolerance)
    predicted = theory.predict(kernel, rectifier=setting.rectifier)
    em = mechanics.energy_momentum(kernel)
    return {
        "velocity": velocity.value,
        "velocity_stderr": velocity.stderr,
        "diffusion": diffusion.value,
        "diffusion_stderr": diffusion.stderr,
        "velocity_theory": predicted.velocity,
        "diffusion_theory": predicted.diffusion,
        "inactive": predicted.inactive,
        "energy": em.energy,
        "odd_share": em.share,
        "momentum": em.momentum,
        "gain": em.gain,
        "mass_squared": em.mass_squared,
        "edge": jnp.max(jnp.maximum(trace.edge, trace.cut)),
        "status": velocity.status.astype(jnp.int8),
    }


def name_of(observe: str | Callable[..., Any]) -> str:
    """Name of an observing function: "rates", or module:name."""
    if isinstance(observe, str):
        return observe
    module = getattr(observe, "__module__", "")
    return f"{module}:{getattr(observe, '__qualname__', type(observe).__name__)}"


def find(observe: str | Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """The function named by "rates" or package.module:function, or `observe` itself.

    Raises:
        ValueError: it can't be imported or is not callable.
    """
    if observe == "rates":
        return measure
    function: Any = observe
    if isinstance(observe, str):
        module, _, name = observe.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            expected = '"rates" or package.module:function, importable (see PYTHONPATH)'
            raise checks.error("observe", f"{observe!r} ({error})", expected) from error
    if not callable(function):
        raise checks.error("observe", f"{observe!r}, which is not callable", "a function")
    return function
