"""`infomech kernel`: the mechanics and spectrum of one kernel."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infomech import mechanics, parity, plot, spectrum, theory
from infomech._core import files
from infomech.cli import results
from infomech.cli.choices import RectifierName
from infomech.cli.options import KernelChoice, numbers_in_line, use


@dataclass(frozen=True)
class Kernel:
    """Show the mechanics and the DCT of a kernel: energies, momentum, mass, modes, predicted speed.

    Taps are those of a true convolution. Deep-learning libraries compute cross-correlations:
    reflect their weights first.
    """

    kernel: KernelChoice = field(default_factory=KernelChoice)
    rectifier: RectifierName = "relu"
    figure: Path | None = None
    """Figure to write: .png, .pdf or .svg."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Prints the kernel's mechanics and writes its figure if requested."""
        use("float64")
        taps = self.kernel.build("float64")
        facts = _facts(taps, self.rectifier)
        if self.figure is not None:
            plot.save(plot.kernel(taps), self.figure)
        print(files.to_json(facts) if self.json else _text(facts))
        return 0


def described(taps: Any, rectifier: str) -> str:
    """Report of a kernel's mechanics, as text."""
    return _text(_facts(taps, rectifier))


def _facts(taps: Any, rectifier: str) -> dict[str, Any]:
    # jit: one compilation instead of one for each of a hundred small operations
    mechanics_of = jax.jit(functools.partial(_mechanics, rectifier=rectifier))
    facts = {name: np.asarray(value) for name, value in mechanics_of(taps).items()}
    predicted = results.predicted(taps, rectifier)
    return {"taps": np.asarray(taps), **facts, "rectifier": rectifier, **predicted}


def _mechanics(taps: Any, rectifier: str) -> dict[str, Any]:
    return {
        **mechanics.energy_momentum(taps)._asdict(),
        "mirror_energies": parity.mirror_energies(taps),
        "dct_energies": spectrum.energies(taps),
        "low_frequency_share": spectrum.low_frequency_share(taps),
        "coordinates": spectrum.coordinates(taps),
        "inactive": theory.predict(taps, rectifier=rectifier).inactive,
    }


def _text(facts: dict[str, Any]) -> str:
    axes, caveat = facts["taps"].ndim, facts["caveat"]
    names = ["DC", *(f"gradient along axis {a}" for a in range(axes))]
    rows = [
        ("energy ‖k‖²", _number(facts["energy"])),
        ("  even (rest)", _number(facts["even"])),
        ("  odd (motion)", _number(facts["odd"])),
        ("odd share ε", _number(facts["share"])),
        ("gain s = Σ k", _number(facts["gain"])),
        ("momentum p = Σ r k", _number(facts["momentum"], "pixels")),
        ("direction of p", _number(facts["direction"])),
        ("mass squared", _number(facts["mass_squared"])),
        ("rapidity", _number(facts["rapidity"])),
        ("low-frequency share", _number(facts["low_frequency_share"])),
        *((f"  {n}", _number(c)) for n, c in zip(names, facts["coordinates"], strict=True)),
        (f"{facts['rectifier']} inactive", "yes" if facts["inactive"] else "no"),
        ("velocity v = p/s", results.prediction(facts["velocity"], "pixels per layer", caveat)),
        ("diffusion D", results.prediction(facts["diffusion"], "pixels² per layer", caveat)),
    ]
    lines = [f"{name:<24}{value}" for name, value in rows]
    grid = np.array2string(facts["dct_energies"], precision=4, suppress_small=True)
    return "\n".join(
        ["taps", str(facts["taps"]), "", *lines, "", "energy of each DCT-II mode (DC first)", grid]
    )


def _number(value: np.ndarray, unit: str = "") -> str:
    if np.all(np.isnan(value)):
        return "not defined"
    return f"{numbers_in_line(value)} {unit}".rstrip()
