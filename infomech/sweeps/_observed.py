"""What a sweep measures of each point."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech import mechanics, rates, theory
from infomech._core import checks
from infomech._rollout import Trace
from infomech.fields import Field


class Described(NamedTuple):
    """What one measured quantity is: meaning, unit, and the names of its axes."""

    meaning: str
    units: str
    axes: tuple[str, ...] = ()


#: what `measure` gives
LAWS = {
    "velocity": Described("velocity of the center", "pixels per layer", ("component",)),
    "velocity_stderr": Described("its standard error", "pixels per layer", ("component",)),
    "diffusion": Described(
        "growth of the covariance", "pixels² per layer", ("component", "component_2")
    ),
    "diffusion_stderr": Described(
        "its standard error", "pixels² per layer", ("component", "component_2")
    ),
    "velocity_theory": Described(
        "velocity while the rectifier is inactive, NaN where it works",
        "pixels per layer",
        ("component",),
    ),
    "diffusion_theory": Described(
        "diffusion while the rectifier is inactive, NaN where it works",
        "pixels² per layer",
        ("component", "component_2"),
    ),
    "inactive": Described("whether the rectifier does nothing to a non-negative field", "1"),
    "energy": Described("Σ k²", "1"),
    "odd_share": Described("odd share of the energy", "1"),
    "momentum": Described("p = Σ r k", "pixels", ("component",)),
    "gain": Described("s = Σ k", "1"),
    "mass_squared": Described("‖k_e‖² − ‖k_o‖²", "1"),
    "edge": Described("largest share of the mass that felt the boundary", "1"),
    "status": Described(
        "0: measured; else why there is no speed: "
        + "; ".join(f"{i}: {reason}" for i, reason in enumerate(rates.REASONS) if i)
        + "; -1: not computed yet",
        "1",
    ),
}


def measure(kernel: jax.Array, final: Field, trace: Trace, setting: Any) -> dict[str, jax.Array]:
    """Speed, diffusion, their errors, theory's values, mechanics, contact with the edge, status.

    Args:
        kernel: taps, d axes.
        final: the field after the last layer.
        trace: of the rollout.
        setting: `infomech.sweeps.Setting`; of it rectifier, burn_in and edge_tolerance.

    Returns:
        Dictionary with the names, units and axes of `LAWS`; NaN where a rate is refused.
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
    """Where a function that observes is found: "laws", or module:name."""
    if isinstance(observe, str):
        return observe
    module = getattr(observe, "__module__", "")
    return f"{module}:{getattr(observe, '__qualname__', type(observe).__name__)}"


def find(observe: str | Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """The function that "laws" or package.module:function names, or `observe` itself.

    Raises:
        ValueError: it can't be imported or called.
    """
    if observe == "laws":
        return measure
    found: Any = observe
    if isinstance(observe, str):
        module, _, name = observe.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            expected = '"laws" or package.module:function, where Python (PYTHONPATH) finds it'
            raise checks.error("observe", f"{observe!r} ({error})", expected) from error
    if not callable(found):
        raise checks.error("observe", f"{observe!r}, which can't be called", "a function")
    return found
