"""`infomech scatter`: account for the energy of a signal in a scattering network."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infomech import plot, scattering
from infomech._core import checks, files
from infomech.cli.options import Clock, print_conversion, use
from infomech.scattering import (
    Energies,
    Frame,
    Paths,
    analysis,
    bounds,
    nonlinearities,
    signals,
    supports,
)

FRAMES = ("auto", "meyer", "weyl-heisenberg", "oriented", "curvelets", "ridgelets")


@dataclass(frozen=True)
class FrameChoice:
    """A family of tight frames and its parameters.

    Attributes:
        frame: meyer or weyl-heisenberg for signals; oriented, curvelets or ridgelets for images.
            auto selects meyer or oriented.
        octaves: octaves from the spectral gap to half the sampling rate, minus one dilation step;
            0 selects 8 for signals and 3 for images.
        dilation: dilation of wavelets, more than 1.
        bands: number of Weyl-Heisenberg filters on each side.
        width: width of the Weyl-Heisenberg prototype, in spacings.
        orientations: number of orientations over a half turn at the coarsest scale.
    """

    frame: str = "auto"
    octaves: float = 0.0
    dilation: float = 2.0
    bands: int = 16
    width: float = 2.0
    orientations: int = 6

    def build(self, shape: tuple[int, ...], dtype: str) -> Frame:
        """Build the frame for signals of this shape. Raises ValueError for invalid options."""
        checks.one_of("frame", self.frame, FRAMES)
        line = len(shape) == 1
        name = ("meyer" if line else "oriented") if self.frame == "auto" else self.frame
        if line != (name in ("meyer", "weyl-heisenberg")):
            choices = FRAMES[1:3] if line else FRAMES[3:]
            axes = "one axis" if line else "two axes"
            raise checks.error("frame", name, f"for signals with {axes}: {', '.join(choices)}")
        if name == "weyl-heisenberg":
            return scattering.weyl_heisenberg(shape[0], self.bands, width=self.width, dtype=dtype)
        octaves = self.octaves or (8.0 if line else 3.0)
        if line:
            return scattering.meyer(shape[0], octaves, dilation=self.dilation, dtype=dtype)
        growth = {"oriented": 0.0, "curvelets": 0.5, "ridgelets": 1.0}[name]
        return scattering.oriented(
            shape, octaves, self.orientations, dilation=self.dilation, growth=growth, dtype=dtype
        )


@dataclass(frozen=True)
class Scatter:
    """Pass a signal or image through a scattering network and account for its energy.

    Prints a table with certified bounds; writes a figure (scatter.png) and the numbers with their
    provenance (scatter.json).
    """

    signal: str = "chirp"
    """impulse, step, noise, chirp, digits, a photograph such as camera, or a .wav, .npy or image
    file."""
    shape: int | None = None
    """Length of the signal, or side of the central square of an image. By default the full size,
    and 4096 for impulse, step, noise and chirp."""
    bandwidth: float = float(np.pi)
    """Bandwidth of noise and chirp, in radians per sample."""
    number: int = 0
    """Index of the digit."""
    seed: int = 0
    """Random seed of the noise."""
    frame: FrameChoice = field(default_factory=FrameChoice)
    depth: int = 4
    """Number of layers."""
    nonlinearity: str = "modulus"
    """modulus, or halves (both halves of ReLU)."""
    prune: float = 1e-6
    """Skip bands with at most this fraction of the energy; this widens the bounds."""
    max_paths: int = 100_000
    """Maximum number of computed paths."""
    memory_mib: float = 256
    """Memory limit for paths, in MiB."""
    dtype: str = "float64"
    """float32 or float64."""
    out: Path = Path("out/scatter")
    """Folder for the figure and the numbers; created if missing."""
    compile_cache: Path | None = None
    """Folder for compiled code, reused by later runs."""
    json: bool = False
    """Print the whole result as JSON instead of a table."""

    def run(self) -> int:
        """Run the network, write the files and print the table."""
        use(self.dtype, self.compile_cache)
        clock = Clock()
        out = files.folder(self.out)
        values, conversion = signals.read(
            self.signal,
            shape=self.shape,
            bandwidth=self.bandwidth,
            number=self.number,
            seed=self.seed,
            dtype=self.dtype,
        )
        print_conversion(conversion, json=self.json)
        frame = self.frame.build(values.shape, self.dtype)
        checks.one_of("nonlinearity", self.nonlinearity, ("modulus", "halves"))
        options: dict[str, Any] = {
            "prune": self.prune,
            "nonlinearity": self.nonlinearity,
            "max_paths": self.max_paths,
            "memory_mib": self.memory_mib,
        }
        energies = scattering.energies(values, frame, self.depth, **options)
        paths = None
        if energies.complete:
            paths = scattering.paths(values, frame, self.depth, **options)
        guarantees = self._guarantees(values, frame)
        facts = _facts(values, frame, energies, paths, guarantees)
        names = {kind: out / f"scatter.{kind}" for kind in ("json", "png")}
        parts = nonlinearities.get(self.nonlinearity).parts
        plot.save(
            plot.scattering(values, frame, energies, guarantees, paths, parts=parts), names["png"]
        )
        record = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": names,
                "conversion": conversion,
                "result": facts,
            }
        )
        files.write_text(names["json"], record + "\n")
        print(record if self.json else f"{_report(facts)}\n\n{_end(names, clock)}")
        return 0

    def _guarantees(self, values: np.ndarray, frame: Frame) -> dict[str, np.ndarray]:
        """Bounds on W_n by each rule that applies to the frame; for the modulus only."""
        result: dict[str, np.ndarray] = {}
        if self.nonlinearity != "modulus":
            return result
        for name, rule in (("this frame", "factors"), ("any analytic frame", "general")):
            if rule == "factors" or supports.opening(frame) < np.pi / len(frame.shape) / 2 + 1e-9:
                bound = bounds.guaranteed(values, frame, self.depth + 1, rule=rule)
                result[name] = np.asarray(bound)
        return result


def _facts(
    values: np.ndarray,
    frame: Frame,
    energies: Energies,
    paths: Paths | None,
    guarantees: dict[str, np.ndarray],
) -> dict[str, Any]:
    law = analysis.decay(energies) if energies.energy > 0 else None
    return {
        "shape": list(values.shape),
        "bands": len(frame.labels),
        "gap": supports.gap(frame),
        "factor": float(supports.factors(frame).min()),
        **{name: getattr(energies, name) for name in scattering.Account._fields},
        "paths": energies.paths,
        "complete": energies.complete,
        "guarantees": guarantees,
        "significant": None if paths is None else analysis.significant(paths),
        "decay": None if law is None else law._asdict(),
    }


def _report(facts: dict[str, Any]) -> str:
    energy = float(facts["energy"]) or 1.0
    shape = "×".join(map(str, facts["shape"]))
    guarantee = facts["guarantees"].get("this frame")
    significant = facts["significant"]
    lines = [
        f"{shape} samples of energy {facts['energy']:.6g}; {facts['bands']} bands, spectral gap "
        f"{facts['gap']:.4g} radians per sample, contraction factor {facts['factor']:.4g}",
        "",
        "layer    paths  99 % in   W_n/‖f‖²   certified bounds           guarantee    F_n/‖f‖²",
    ]
    for n, propagated in enumerate(facts["propagated"] / energy):
        last = n == len(facts["paths"])
        low, high = facts["propagated_bounds"][n] / energy
        nodes = "" if significant is None or last or n >= len(significant) else significant[n]
        limit = "" if guarantee is None else f"{min(guarantee[n] / energy, 1):.3e}"
        collected = "" if last else f"{facts['collected'][n] / energy:.3e}"
        count = "" if last else facts["paths"][n]
        lines.append(
            f"{n:5d}{count:>9}{nodes:>9}   {propagated:.3e}  {low:.3e} to {high:.3e}"
            f"  {limit:>10}   {collected:>9}"
        )
    low, high = facts["total_bounds"] / energy
    lines += [
        "",
        f"energy in the features: between {100 * low:.6g} % and {min(100 * high, 100):.6g} %",
    ]
    if not facts["complete"]:
        lines.append("max_paths was reached: the bounds are wider than with prune alone")
    return "\n".join([*lines, *_law(facts["decay"])])


def _law(law: dict[str, Any] | None) -> list[str]:
    if law is None or law["law"] == "none":
        used = 0 if law is None else len(law["layers"])
        return [
            f"decay: too few layers for a fit ({used} above rounding and pruning, "
            f"{analysis.MIN_LAYERS} needed)"
        ]
    low, high = law["factor_interval"]
    power = law["power_interval"]
    return [
        f"decay: {law['law']} fits better (log likelihood ratio {law['log_ratio']:+.1f}); "
        f"a⁻ⁿ with a = {law['factor']:.3g} ({low:.3g} to {high:.3g}), "
        f"n⁻ᵖ with p = {law['power']:.3g} ({power[0]:.3g} to {power[1]:.3g})"
    ]


def _end(names: dict[str, Path], clock: Clock) -> str:
    return f"numbers  {names['json']}\nfigure   {names['png']}\ntime     {clock}"
