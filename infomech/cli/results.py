"""Formatting of measured and predicted rates, shared by the commands."""

import functools
import math
from typing import Any

import jax
import numpy as np

from infomech import mechanics, rates, rectifiers, theory
from infomech._core import checks
from infomech.cli.options import numbers_in_line


def record(name: str, rate: rates.Estimate) -> dict[str, Any]:
    """A rate as stored in files: value, standard error, R², halves and steadiness."""
    fields = {"stderr": rate.stderr, "r_squared": rate.r_squared}
    fields |= {"halves": rate.halves, "steady": rate.steady}
    return {name: rate.value, **{f"{name}_{field}": value for field, value in fields.items()}}


def lines(name: str, facts: dict[str, Any], unit: str) -> list[str]:
    """Lines of a report on one rate, from the output of `record`.

    Value ± standard error, R² of the line, and a warning if the halves of the fit window differ.
    """
    value, stderr, r_squared, halves = (
        np.asarray(facts[key], np.float64)
        for key in (name, f"{name}_stderr", f"{name}_r_squared", f"{name}_halves")
    )
    steady = np.asarray(facts[f"{name}_steady"])
    if np.all(np.isnan(value)):
        return [f"{name:<20}none: {facts['status']}"]
    text = [
        f"{name:<20}{_nested(_with_error, value, stderr, r_squared)} {unit}",
        f"  R² of the line    {_nested(_r_squared, r_squared)}",
    ]
    if not np.all(steady):
        first, second = (_nested(_plain, half, stderr) for half in halves)
        text += [
            f"  WARNING           the {name} changes within the fit window: {first} in its first",
            f"                    half, {second} in its second; the error does not include that",
        ]
    return text


def predicted(kernel: Any, rectifier: str) -> dict[str, Any]:
    """p/s and D of a kernel of nonzero gain, and a caveat if the rectifier may be active.

    Returns:
        "velocity" and "diffusion" of `infomech.theory.predict` for the identity, NaN if the gain is
        0 up to rounding, and "caveat", empty if they hold for every non-negative field.
    """
    kernel = checks.kernel("kernel", kernel)
    gain, linear, holds = _theory(kernel, rectifier)
    eps = np.finfo(kernel.dtype).eps
    defined = abs(float(gain)) > kernel.size * eps * np.sum(np.abs(np.asarray(kernel, np.float64)))
    if not defined:
        caveat = "gain is 0"
    elif holds:
        caveat = ""
    elif rectifiers.get(rectifier).keeps_nonnegative:
        caveat = f"some taps are negative, so {rectifier} may be active"
    else:
        caveat = f"{rectifier} changes positive values"
    result: dict[str, Any] = {"caveat": caveat}
    for name, value in (("velocity", linear.velocity), ("diffusion", linear.diffusion)):
        rate = np.asarray(value)
        # components below the rounding errors of the largest one are 0
        rounded = np.where(np.abs(rate) > 8 * eps * np.max(np.abs(rate)), rate, 0)
        result[name] = rounded if defined else np.full_like(rate, np.nan)
    return result


@functools.partial(jax.jit, static_argnames="rectifier")
def _theory(kernel, rectifier):
    """Gain, p/s and D, and whether they hold."""
    linear = theory.predict(kernel, rectifier="identity")
    holds = theory.predict(kernel, rectifier=rectifier).inactive
    return mechanics.energy_momentum(kernel).gain, linear, holds


def prediction(value: Any, unit: str, caveat: str) -> str:
    """A predicted rate as text, with its caveat."""
    value = np.asarray(value, np.float64)
    if np.all(np.isnan(value)):
        return f"not defined ({caveat})"
    return f"{numbers_in_line(value)} {unit}" + (f"; not known to hold: {caveat}" if caveat else "")


def _nested(text: Any, *arrays: np.ndarray) -> str:
    if arrays[0].ndim:
        return f"[{', '.join(_nested(text, *parts) for parts in zip(*arrays, strict=True))}]"
    return text(*map(float, arrays))


def _with_error(value: float, error: float, r_squared: float) -> str:
    """Value ± error, with the digits that the error supports; 0 for a constant path."""
    if math.isnan(r_squared):
        return "0"
    if not error > 0:
        return _plain(value, error)
    places = _places(error)
    shown = f"{float(f'{error:.0e}'):.{max(places, 0)}f}" if places <= 6 else f"{error:.0e}"
    return f"{_plain(value, error)} ± {shown}"


def _plain(value: float, error: float) -> str:
    """A value with the digits that its error supports, at most six."""
    places = _places(error) if error > 0 else 99
    # + 0.0 turns −0.0 into 0.0
    rounded = round(value, min(places, 99)) + 0.0
    leading = math.floor(math.log10(abs(rounded))) if rounded else 0
    if places + leading >= 6 or places > 6:
        return numbers_in_line(np.asarray(rounded))
    return f"{rounded:.{max(places, 0)}f}"


def _places(error: float) -> int:
    """Decimal places down to the first digit of the error."""
    return -math.floor(math.log10(float(f"{error:.0e}")))


def _r_squared(value: float) -> str:
    return "constant" if math.isnan(value) else rates.format_r_squared(value)
