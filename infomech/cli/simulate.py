"""`infomech simulate`: one rollout, as a figure, an animation and a trace file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infomech import plot, rates
from infomech._core import checks, files
from infomech._rollout import Trace, rollout
from infomech.cli import results
from infomech.cli.animation import animate, check_format
from infomech.cli.choices import BoundaryName, EngineName, NormalizationName, RectifierName
from infomech.cli.options import Clock, KernelChoice, print_conversion, use
from infomech.dynamics import BOUNDARIES
from infomech.fields import Field, as_field, patterns


@dataclass(frozen=True)
class Simulate:
    """Pass a pattern through layers of one kernel and track its center, spread and energy.

    Writes a figure (simulate.png) and the trace with its provenance (simulate.json, simulate.npz).
    """

    kernel: KernelChoice = field(default_factory=KernelChoice)
    pattern: str = "disk"
    """disk, impulse, gaussian, box, an image file or a photograph such as camera."""
    radius: float = 5.0
    """Of the disk, half width of the box, two sigma of the gaussian; in pixels."""
    steps: int = 48
    """Number of layers."""
    burn_in: int = 16
    """First layer of the fits of velocity and diffusion."""
    rectifier: RectifierName = "relu"
    boundary: BoundaryName = "zero"
    normalize: NormalizationName = "l2"
    shape: tuple[int, ...] = ()
    """Pixels on each axis, pattern in the middle; empty: wide enough that nothing leaves."""
    dtype: str = "float32"
    """float32 or float64."""
    animation: str = ""
    """gif or webp: write an animation as well."""
    out: Path = Path("out/simulate")
    """Folder for the files; created if missing."""
    follow: int = 0
    """Layers between moves of the domain with the pattern, by whole pixels; 0: no moves."""
    engine: EngineName = "auto"
    compile_cache: Path | None = None
    """Folder that caches compiled code for later runs."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Runs the rollout, writes its files and prints the measured rates."""
        use(self.dtype, self.compile_cache)
        clock = Clock()
        check_format(self.animation)
        checks.positive("radius", self.radius, self.dtype)
        kernel, out = self.kernel.build(self.dtype), files.folder(self.out)
        first = self._start(kernel.shape)
        conversion = patterns.conversion(self.pattern)
        print_conversion(conversion, json=self.json)
        settings: dict[str, Any] = {
            "rectifier": self.rectifier,
            "boundary": self.boundary,
            "normalize": self.normalize,
            "engine": self.engine,
        }
        final, trace = rollout(kernel, first, self.steps, follow=self.follow, **settings)
        result = _result(kernel, trace, self.burn_in, self.rectifier)
        paths = {kind: out / f"simulate.{kind}" for kind in ("json", "npz", "png")}
        plot.save(plot.simulation(first, final, trace), paths["png"])
        if self.animation:
            paths[self.animation] = out / f"simulate.{self.animation}"
            animate(paths[self.animation], kernel, first, self.steps, **settings)
        with files.replacing(paths["npz"]) as part:
            np.savez_compressed(part, kernel=kernel, final=final.values, **vars(trace))
        text = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "files": paths,
                "seconds": clock.seconds(),
                "conversion": conversion,
                "result": result,
                "trace": trace,
            }
        )
        files.write_text(paths["json"], text + "\n")
        print(text if self.json else _report(result, paths, clock))
        return 0

    def _start(self, taps: tuple[int, ...]) -> Field:
        checks.one_of("boundary", self.boundary, BOUNDARIES)
        steps = checks.integer("steps", self.steps, 0)
        values = patterns.pattern(self.pattern, self.radius, len(taps), self.dtype)
        if not self.shape:
            return patterns.padded(values, taps, steps, self.boundary)
        shape = checks.shape("shape", self.shape)
        if len(shape) != values.ndim or np.any(np.less(shape, values.shape)):
            raise checks.error("shape", shape, f"{values.ndim} axes of at least {values.shape}")
        spare = np.subtract(shape, values.shape)
        return as_field(np.pad(values, [(s // 2, s - s // 2) for s in spare]))


def _result(kernel: Any, trace: Trace, burn_in: int, rectifier: str) -> dict[str, Any]:
    velocity, diffusion = rates.velocity(trace, burn_in), rates.diffusion(trace, burn_in)
    predicted = results.predicted(kernel, rectifier)
    return {
        **results.record("velocity", velocity),
        "status": velocity.reason,
        **results.record("diffusion", diffusion),
        **{f"theory_{name}": value for name, value in predicted.items()},
        "edge": np.max(np.asarray(trace.edge)),
        "cut": np.asarray(trace.cut)[-1],
    }


def _report(result: dict[str, Any], paths: dict[str, Path], clock: Clock) -> str:
    lines = []
    for name, unit in (("velocity", "pixels per layer"), ("diffusion", "pixels² per layer")):
        theory = results.prediction(result[f"theory_{name}"], unit, result["theory_caveat"])
        lines += [*results.lines(name, result, unit), f"  theory            {theory}"]
    lines.append(f"mass at boundary    {float(result['edge']):.3g} of the total at most")
    if result["cut"]:
        lines.append(f"mass cut off        {float(result['cut']):.3g} of the total")
    lines += [f"wrote               {path}" for path in paths.values()]
    return "\n".join([*lines, f"time                {clock}"])
