"""`infomech design`: a kernel that moves a pattern as target."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infomech import design, losses, plot
from infomech._core import checks, files
from infomech._rollout import rollout
from infomech.cli import kernel as kernel_command
from infomech.cli.options import Clock, numbers_in_line, tell, use
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
    """Find a kernel that moves a pattern at a target velocity, and say how good it is.

    Writes the taps (design.npy), a picture of them (design.png) and everything else (design.json).
    Ends with 1 and the best that was found if the wish can't be met.
    """

    velocity: tuple[float, ...]
    """Pixels per layer, one number for each axis."""
    kernel_size: tuple[int, ...] = (3,)
    """Taps on each axis; one number for all axes."""
    diffusion: float | None = None
    """Growth of the variance, mean over the axes, in pixels² per layer; not asked for if absent."""
    rectifier: str = "relu"
    """relu, modulus, identity, leaky_relu, softplus, gelu or tanh."""
    family: str = "taps"
    """Kernels that may be found: taps, unit-energy or non-negative."""
    steps: int = 32
    """Layers."""
    pattern: str = "disk"
    """disk, impulse, gaussian, box, an image file or a photograph such as camera."""
    radius: float = 5.0
    """Of the disk, half width of the box, two sigma of the gaussian; in pixels."""
    tolerance: float = 1e-4
    """Largest error that is let pass, in the units of the wish."""
    starts: int = 16
    """Random kernels to start from."""
    seed: int = 0
    """Of the starts."""
    solver: str = "auto"
    """auto, least squares, dogleg, lbfgs or adam."""
    animation: str = ""
    """gif or webp: write an animation as well."""
    out: Path = Path("out/design")
    """Folder for the files; made if need be."""
    compile_cache: Path | None = None
    """Folder that keeps compiled code, so that the next time it need not be compiled again."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Fits, writes the files, prints what was found; 1 if it isn't what was target for."""
        use("float32", self.compile_cache)
        clock = Clock()
        if self.animation:
            checks.one_of("animation", self.animation, ("gif", "webp"))
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
                raise checks.error(name, number, "numbers whose squares single precision can hold")
        if not -(2**63) <= self.seed < 2**63:
            raise checks.error("seed", self.seed, "a whole number of at most 63 bits")
        kernel_size = self.kernel_size * axes if len(self.kernel_size) == 1 else self.kernel_size
        kernel_size, out = checks.shape("kernel_size", kernel_size), files.folder(self.out)
        if len(kernel_size) != axes:
            raise checks.error(
                "velocity", f"{axes} numbers", f"{len(kernel_size)}, one per axis of taps"
            )
        values = patterns.pattern(self.pattern, self.radius, axes, "float32")
        if not values.any():
            raise checks.error("pattern", f"{self.pattern}, which is dark", "one that isn't 0")
        conversion = patterns.conversion(self.pattern)
        tell(conversion, json=self.json)
        first = patterns.with_room(values, kernel_size, checks.integer("steps", self.steps, 1))
        wish = losses.velocity(np.asarray(self.velocity, np.float32))
        if self.diffusion is not None:
            wish = wish + losses.diffusion(np.float32(self.diffusion))
        starts = design.starts(
            kernel_size, checks.integer("starts", self.starts, 1), key=jax.random.key(self.seed)
        )
        found = design.fit(
            wish,
            starts,
            field=first,
            steps=self.steps,
            rectifier=self.rectifier,
            family=FAMILIES[self.family],
            solver=self.solver,
            tolerance=self.tolerance**2,
            progress=not self.json,
            stop_at_first=True,
        )
        taps = found.kernel[found.best]
        result = self._result(found, taps, kernel_size)
        paths = {kind: out / f"design.{kind}" for kind in ("npy", "png", "json")}
        with files.replacing(paths["npy"]) as part, part.open("wb") as stream:
            np.save(stream, taps)
        plot.save(plot.kernel(taps), paths["png"])
        if self.animation:
            paths[self.animation] = out / f"design.{self.animation}"
            _, frames = rollout(taps, first, self.steps, rectifier=self.rectifier, observe=_values)
            plot.animation(frames, paths[self.animation])
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
        self, found: design.Result, taps: Any, kernel_size: tuple[int, ...]
    ) -> dict[str, Any]:
        best = found.best
        achieved = found.status[best] == design.CONVERGED
        too_fast = [
            a
            for a, (v, n) in enumerate(zip(self.velocity, kernel_size, strict=True))
            if abs(v) > (n - 1) / 2
        ]
        reason = found.reason[best]
        if not achieved and too_fast:
            axis = too_fast[0]
            n, most = kernel_size[axis], (kernel_size[axis] - 1) / 2
            reason = (
                f"out of reach: a kernel of {n} {'tap' if n == 1 else 'taps'} "
                f"moves at most (n − 1)/2 = {most:g} "
                f"{'pixel' if most == 1 else 'pixels'} per layer in the long run; "
                f"{abs(self.velocity[axis]):g} along axis {axis} was asked for"
            )
        return {
            "achieved": bool(achieved),
            "reason": reason,
            "solver": found.solver,
            "starts_converged": int(np.sum(found.status == design.CONVERGED)),
            "kernel": taps,
            "loss": found.loss[best],
            "measured": {
                name: _as_requested(value[best], found.target[name])
                for name, value in found.achieved.items()
            },
            "target": found.target,
        }


def _as_requested(measured: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The mean over the axes of a diffusion tensor, if a number is what was target for."""
    return np.trace(measured) / len(measured) if measured.ndim == 2 > target.ndim else measured


def _values(field: Any) -> Any:
    return field.values


def _report(
    result: dict[str, Any], taps: Any, rectifier: str, paths: dict[str, Path], clock: Clock
) -> str:
    lines = ["achieved" if result["achieved"] else f"not achieved: {result['reason']}"]
    for name, value in result["measured"].items():
        target = numbers_in_line(np.asarray(result["target"][name], np.float64))
        lines.append(f"{name:<24}{numbers_in_line(np.asarray(value))}, target {target}")
    lines += [
        f"{'starts that got there':<24}{result['starts_converged']}, by {result['solver']}",
        "",
        kernel_command.described(taps, rectifier),
        "",
        *(f"wrote  {path}" for path in paths.values()),
        f"time   {clock}",
    ]
    return "\n".join(lines)
