"""`infomech design`: a kernel that moves a pattern at a target velocity."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infomech import design, losses, plot
from infomech._core import checks, files
from infomech.cli import kernel as kernel_command
from infomech.cli.animation import animate, check_format
from infomech.cli.choices import RectifierName
from infomech.cli.options import Clock, numbers_in_line, print_conversion, show_progress, use
from infomech.design import parametrizations
from infomech.fields import patterns
from infomech.losses._loss import finite_numbers

FAMILIES = {
    "taps": parametrizations.taps,
    "unit-energy": parametrizations.unit_energy,
    "non-negative": parametrizations.non_negative,
}


@dataclass(frozen=True)
class Design:
    """Find a kernel that moves a pattern at a target velocity, and report its accuracy.

    Writes the taps (design.npy), their picture (design.png) and all results (design.json). Exits
    with status 1 and the best kernel if the target is not achieved.
    """

    velocity: tuple[float, ...]
    """Target velocity in pixels per layer, one number per axis."""
    kernel_size: tuple[int, ...] = (3,)
    """Taps along each axis; one number for all axes."""
    diffusion: float | None = None
    """Target growth of the variance, mean over the axes, in pixels² per layer (optional)."""
    rectifier: RectifierName = "relu"
    family: str = "taps"
    """Kernel family: taps, unit-energy or non-negative."""
    steps: int = 32
    """Number of layers."""
    pattern: str = "disk"
    """disk, impulse, gaussian, box, an image file or a photograph such as camera."""
    radius: float = 5.0
    """Radius of the disk, half width of the box, two sigma of the gaussian; in pixels."""
    tolerance: float = 1e-4
    """Largest accepted error, in the units of the target."""
    starts: int = 16
    """Number of random starts."""
    seed: int = 0
    """Seed of the starts."""
    solver: str = "auto"
    """auto, least squares, dogleg, lbfgs or adam."""
    animation: str = ""
    """gif or webp: also write an animation."""
    out: Path = Path("out/design")
    """Folder for the files, created if missing."""
    compile_cache: Path | None = None
    """Folder of JAX's compilation cache; later runs skip compiling."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Fits, writes the files and prints the result; returns 1 if the target is not achieved."""
        use("float32", self.compile_cache)
        clock = Clock()
        check_format(self.animation)
        checks.one_of("family", self.family, FAMILIES)
        checks.positive("tolerance", self.tolerance, "float32")
        axes = len(self.velocity)
        if not 1 <= axes <= 3:
            raise checks.error("velocity", f"{axes} numbers", "one to three, one per axis")
        for name, number in (("velocity", self.velocity), ("diffusion", self.diffusion)):
            if number is None:
                continue
            finite_numbers(name, number)
            if np.abs(number).max() > 1e15:
                raise checks.error(name, number, "numbers whose squares fit in single precision")
        if not -(2**63) <= self.seed < 2**63:
            raise checks.error("seed", self.seed, "an integer of at most 63 bits")
        kernel_size = self.kernel_size * axes if len(self.kernel_size) == 1 else self.kernel_size
        kernel_size, out = checks.shape("kernel_size", kernel_size), files.folder(self.out)
        if len(kernel_size) != axes:
            raise checks.error(
                "velocity", f"{axes} numbers", f"{len(kernel_size)}, one per axis of taps"
            )
        values = patterns.pattern(self.pattern, self.radius, axes, "float32")
        if not values.any():
            raise checks.error("pattern", f"{self.pattern}, which is all 0", "a pattern that isn't")
        conversion = patterns.conversion(self.pattern)
        print_conversion(conversion, json=self.json)
        field = patterns.padded(values, kernel_size, checks.integer("steps", self.steps, 1))
        loss = losses.velocity(np.asarray(self.velocity, np.float32))
        if self.diffusion is not None:
            loss = loss + losses.diffusion(np.float32(self.diffusion))
        starts = design.starts(
            kernel_size, checks.integer("starts", self.starts, 1), key=jax.random.key(self.seed)
        )
        with show_progress("design", "iteration", shown=not self.json) as update:
            fitted = design.fit(
                loss,
                starts,
                field=field,
                steps=self.steps,
                rectifier=self.rectifier,
                family=FAMILIES[self.family],
                solver=self.solver,
                tolerance=self.tolerance**2,
                on_progress=update,
                stop_at_first=True,
            )
        taps = fitted.kernel[fitted.best]
        result = self._result(fitted, taps, kernel_size)
        paths = {kind: out / f"design.{kind}" for kind in ("npy", "png", "json")}
        with files.replacing(paths["npy"]) as part, part.open("wb") as stream:
            np.save(stream, taps)
        plot.save(plot.kernel(taps), paths["png"])
        if self.animation:
            paths[self.animation] = out / f"design.{self.animation}"
            animate(paths[self.animation], taps, field, self.steps, rectifier=self.rectifier)
        text = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "files": paths,
                "seconds": clock.seconds(),
                "conversion": conversion,
                "result": result,
            }
        )
        files.write_text(paths["json"], text + "\n")
        print(text if self.json else _report(result, taps, self.rectifier, paths, clock))
        return 0 if result["achieved"] else 1

    def _result(
        self, fitted: design.Result, taps: Any, kernel_size: tuple[int, ...]
    ) -> dict[str, Any]:
        best = fitted.best
        achieved = fitted.status[best] == design.Status.CONVERGED
        too_fast = [
            a
            for a, (v, n) in enumerate(zip(self.velocity, kernel_size, strict=True))
            if abs(v) > (n - 1) / 2
        ]
        reason = fitted.reason[best]
        if not achieved and too_fast:
            axis = too_fast[0]
            n, limit = kernel_size[axis], (kernel_size[axis] - 1) / 2
            reason = (
                f"out of reach: a kernel of {n} {'tap' if n == 1 else 'taps'} "
                f"moves at most (n − 1)/2 = {limit:g} "
                f"{'pixel' if limit == 1 else 'pixels'} per layer in the long run; "
                f"the target along axis {axis} is {abs(self.velocity[axis]):g}"
            )
        return {
            "achieved": bool(achieved),
            "reason": reason,
            "solver": fitted.solver,
            "starts_converged": int(np.sum(fitted.status == design.Status.CONVERGED)),
            "kernel": taps,
            "loss": fitted.loss[best],
            "measured": {
                name: _as_requested(value[best], fitted.target[name])
                for name, value in fitted.achieved.items()
            },
            "target": fitted.target,
        }


def _as_requested(measured: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean over the axes of a diffusion tensor if the target is a single number."""
    return np.trace(measured) / len(measured) if measured.ndim == 2 > target.ndim else measured


def _report(
    result: dict[str, Any], taps: Any, rectifier: str, paths: dict[str, Path], clock: Clock
) -> str:
    lines = ["achieved" if result["achieved"] else f"not achieved: {result['reason']}"]
    for name, value in result["measured"].items():
        target = numbers_in_line(np.asarray(result["target"][name], np.float64))
        lines.append(f"{name:<24}{numbers_in_line(np.asarray(value))}, target {target}")
    lines += [
        f"{'starts converged':<24}{result['starts_converged']}, by {result['solver']}",
        "",
        kernel_command.described(taps, rectifier),
        "",
        *(f"wrote  {path}" for path in paths.values()),
        f"time   {clock}",
    ]
    return "\n".join(lines)
