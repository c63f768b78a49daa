"""`infomech scatter`: how the energy of a signal travels through a scattering network."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infomech import plot, scattering
from infomech._core import checks, files
from infomech.cli.options import Clock, tell, use
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
    """A family of tight frames and what it is made of.

    Attributes:
        frame: auto, meyer or weyl-heisenberg for signals; oriented, curvelets or ridgelets for
            images. auto: meyer and oriented.
        octaves: from the spectral gap up to half the sampling rate, less one step; 0: 8 for signals
            and 3 for images.
        dilation: of wavelets, more than 1.
        bands: of Weyl-Heisenberg filters, on either side.
        width: of the Weyl-Heisenberg prototype, in spacings.
        orientations: over a half turn at the coarsest scale.
    """

    frame: str = "auto"
    octaves: float = 0.0
    dilation: float = 2.0
    bands: int = 16
    width: float = 2.0
    orientations: int = 6

    def build(self, grid: tuple[int, ...], dtype: str) -> Frame:
        """The frame on this grid. Raises ValueError naming the option that is wrong."""
        checks.one_of("frame", self.frame, FRAMES)
        one = len(grid) == 1
        name = ("meyer" if one else "oriented") if self.frame == "auto" else self.frame
        if one != (name in ("meyer", "weyl-heisenberg")):
            fitting = FRAMES[1:3] if one else FRAMES[3:]
            axes = "one axis" if one else "two axes"
            raise checks.error("frame", name, f"for a signal of {axes} one of {', '.join(fitting)}")
        if name == "weyl-heisenberg":
            return scattering.weyl_heisenberg(grid[0], self.bands, width=self.width, dtype=dtype)
        octaves = self.octaves or (8.0 if one else 3.0)
        if one:
            return scattering.meyer(grid[0], octaves, dilation=self.dilation, dtype=dtype)
        growth = {"oriented": 0.0, "curvelets": 0.5, "ridgelets": 1.0}[name]
        return scattering.oriented(
            grid, octaves, self.orientations, dilation=self.dilation, growth=growth, dtype=dtype
        )


@dataclass(frozen=True)
class Scatter:
    """Pass a signal or image through a scattering network and account for its energy.

    Prints a table with certified brackets and writes a figure (scatter.png) and the numbers with
    their provenance (scatter.json).
    """

    signal: str = "chirp"
    """impulse, step, noise, chirp, digits, a photograph such as camera, or a .wav, .npy or image
    file."""
    shape: int | None = None
    """Length of the signal, or side of the square in the middle of an image; as it is if not given
    (4096 for impulse, step, noise and chirp)."""
    bandwidth: float = float(np.pi)
    """Of noise and chirp, in radians per sample."""
    number: int = 0
    """Of the digit."""
    seed: int = 0
    """Of the noise."""
    frame: FrameChoice = field(default_factory=FrameChoice)
    depth: int = 4
    """Layers below the signal."""
    nonlinearity: str = "modulus"
    """modulus, or halves: the two halves of ReLU."""
    prune: float = 1e-6
    """Bands with at most this share of the energy are not computed; they widen the brackets."""
    max_paths: int = 100_000
    """Paths computed at most."""
    memory_mib: float = 256
    """MiB that paths may take at once."""
    dtype: str = "float64"
    """float32 or float64."""
    out: Path = Path("out/scatter")
    """Folder for the figure and the numbers; made if need be."""
    compile_cache: Path | None = None
    """Folder that keeps compiled code, so that the next time it need not be compiled again."""
    json: bool = False
    """Print the whole result as JSON instead of a table."""

    def run(self) -> int:
        """Passes the signal, writes the files and prints what became of its energy."""
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
        tell(conversion, json=self.json)
        frame = self.frame.build(values.shape, self.dtype)
        checks.one_of("nonlinearity", self.nonlinearity, ("modulus", "halves"))
        options: dict[str, Any] = {
            "prune": self.prune,
            "nonlinearity": self.nonlinearity,
            "max_paths": self.max_paths,
            "memory_mib": self.memory_mib,
        }
        found = scattering.energies(values, frame, self.depth, **options)
        paths = scattering.paths(values, frame, self.depth, **options) if found.complete else None
        guarantees = self._guarantees(values, frame)
        facts = _facts(values, frame, found, paths, guarantees)
        names = {kind: out / f"scatter.{kind}" for kind in ("json", "png")}
        parts = nonlinearities.get(self.nonlinearity).parts
        plot.save(
            plot.scattering(values, frame, found, guarantees, paths, parts=parts), names["png"]
        )
        result = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": names,
                "conversion": conversion,
                "result": facts,
            }
        )
        files.write_text(names["json"], result + "\n")
        print(result if self.json else f"{_report(facts)}\n\n{_end(names, clock)}")
        return 0

    def _guarantees(self, values: np.ndarray, frame: Frame) -> dict[str, np.ndarray]:
        """Bounds on W_n by the rules that the frame fulfills; the modulus only has any."""
        found: dict[str, np.ndarray] = {}
        if self.nonlinearity != "modulus":
            return found
        for name, rule in (("this frame", "factors"), ("any analytic frame", "general")):
            if rule == "factors" or supports.opening(frame) < np.pi / len(frame.shape) / 2 + 1e-9:
                bound = bounds.guaranteed(values, frame, self.depth + 1, rule=rule)
                found[name] = np.asarray(bound)
        return found


def _facts(
    values: np.ndarray,
    frame: Frame,
    found: Energies,
    paths: Paths | None,
    guarantees: dict[str, np.ndarray],
) -> dict[str, Any]:
    law = analysis.decay(found) if found.energy > 0 else None
    return {
        "grid": list(values.shape),
        "bands": len(frame.labels),
        "gap": supports.gap(frame),
        "factor": float(supports.factors(frame).min()),
        **{name: getattr(found, name) for name in scattering.Account._fields},
        "paths": found.paths,
        "complete": found.complete,
        "guarantees": guarantees,
        "significant": None if paths is None else analysis.significant(paths),
        "decay": None if law is None else law._asdict(),
    }


def _report(facts: dict[str, Any]) -> str:
    energy = float(facts["energy"]) or 1.0
    grid = "×".join(map(str, facts["grid"]))
    bound = facts["guarantees"].get("this frame")
    nodes = facts["significant"]
    lines = [
        f"{grid} samples of energy {facts['energy']:.6g}; {facts['bands']} bands, spectral gap "
        f"{facts['gap']:.4g} radians per sample, contraction factor {facts['factor']:.4g}",
        "",
        "layer    paths  99 % in   W_n/‖f‖²   certified bracket          guarantee    F_n/‖f‖²",
    ]
    for n, share in enumerate(facts["propagated"] / energy):
        last = n == len(facts["paths"])
        low, high = facts["propagated_bounds"][n] / energy
        some = "" if nodes is None or last or n >= len(nodes) else nodes[n]
        sure = "" if bound is None else f"{min(bound[n] / energy, 1):.3e}"
        kept = "" if last else f"{facts['collected'][n] / energy:.3e}"
        count = "" if last else facts["paths"][n]
        lines.append(
            f"{n:5d}{count:>9}{some:>9}   {share:.3e}  {low:.3e} to {high:.3e}"
            f"  {sure:>10}   {kept:>9}"
        )
    low, high = facts["total_bounds"] / energy
    lines += ["", f"in the features: between {100 * low:.6g} % and {min(100 * high, 100):.6g} %"]
    if not facts["complete"]:
        lines.append("max_paths was reached: the brackets are wider than prune would have them")
    return "\n".join([*lines, *_law(facts["decay"])])


def _law(law: dict[str, Any] | None) -> list[str]:
    if law is None or law["law"] == "none":
        used = 0 if law is None else len(law["layers"])
        return [
            f"decay: too few layers to tell ({used} with energy above rounding and pruning; "
            f"a law needs {analysis.MIN_LAYERS})"
        ]
    low, high = law["factor_interval"]
    power = law["power_interval"]
    return [
        f"decay: {law['law']} is the likelier (log likelihood ratio {law['log_ratio']:+.1f}); "
        f"a⁻ⁿ with a = {law['factor']:.3g} ({low:.3g} to {high:.3g}), "
        f"n⁻ᵖ with p = {law['power']:.3g} ({power[0]:.3g} to {power[1]:.3g})"
    ]


def _end(names: dict[str, Path], clock: Clock) -> str:
    return f"numbers  {names['json']}\nfigure   {names['png']}\ntime     {clock}"
