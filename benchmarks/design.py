"""`python -m benchmarks.design`: second-order least squares beside tuned Adam and L-BFGS.

The same problems from the same starts for every solver, all starts in one vmapped call, to a loss
of 1e-8. Adam is tuned: of several learning rates the best one counts. Writes DESIGN.md.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

import infomech as im
from benchmarks import report
from infomech import design, losses
from infomech._core import files

#: a loss this small is what is asked for
ENOUGH = 1e-8
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3)
#: rounds of 50 steps of Adam, and of 10 of the others
ROUNDS = {"least squares": 20, "dogleg": 20, "lbfgs": 20, "adam": 30}
RUNS = 2


@dataclass(frozen=True)
class Problem:
    """A wish, the kernels that it is made of, and where it is simulated.

    Attributes:
        title: in a few words.
        taps: shape of a kernel.
        pixels: shape of the field, a disk or box of radius 5 in the middle.
        steps: layers, under ReLU.
        wish: the loss.
    """

    title: str
    taps: tuple[int, ...]
    pixels: tuple[int, ...]
    steps: int
    wish: losses.Loss


def problems(quick: bool) -> list[Problem]:
    """From two numbers for nine taps to seven that no kernel meets by chance."""
    steps, pixels = (8, 33) if quick else (32, 65)
    velocity = losses.velocity(np.array([0.3, -0.1], np.float32))
    tensor = losses.diffusion(np.array([[0.3, 0.1], [0.1, 0.4]], np.float32))
    line = losses.velocity(np.array([0.5], np.float32)) + losses.diffusion(
        np.array([0.6], np.float32)
    )
    result = [
        Problem("velocity, 3x3 taps", (3, 3), (pixels, pixels), steps, velocity),
        Problem("velocity and diffusion, 5 taps", (5,), (4 * pixels,), steps, line),
    ]
    if not quick:
        both = velocity + tensor + 0.01 * losses.energy(0.0)
        result.append(
            Problem(
                "velocity, diffusion tensor, energy, 3x3 taps",
                (3, 3),
                (pixels, pixels),
                steps,
                both,
            )
        )
    return result


def solvers() -> dict[str, tuple[Any, int]]:
    """Every contender and its rounds, by name."""
    result: dict[str, tuple[Any, int]] = {
        name: (name, ROUNDS[name]) for name in ("least squares", "dogleg", "lbfgs")
    }
    return result | {
        f"adam {rate:g}": (optax.adam(rate), ROUNDS["adam"]) for rate in LEARNING_RATES
    }


def compete(problem: Problem, starts: int, quick: bool) -> list[dict[str, Any]]:
    """A row for each solver: starts that got there, steps, and seconds without compilation."""
    first = design.starts(problem.taps, starts, key=jax.random.key(0))
    field = (im.fields.box if len(problem.taps) == 1 else im.fields.disk)(problem.pixels, 5.0)
    rows = []
    for name, (solver, rounds) in solvers().items():

        def fit(solver=solver, rounds=rounds):
            begin = time.perf_counter()
            result = design.fit(
                problem.wish,
                first,
                field=field,
                steps=problem.steps,
                solver=solver,
                iterations=2 if quick else rounds,
                tolerance=ENOUGH,
                every=4,
            )
            return time.perf_counter() - begin, result

        compiled, result = fit()
        seconds = statistics.median(fit()[0] for _ in range(1 if quick else RUNS))
        each = 50 if name.startswith("adam") else 10
        least = np.minimum.accumulate(result.history, axis=0)
        there = least[-1] <= ENOUGH
        when = np.argmax(least <= ENOUGH, axis=0)[there]
        rows.append(
            {
                "problem": problem.title,
                "solver": name,
                "reached": int(there.sum()),
                "starts": starts,
                "steps": int(np.median(when)) * each if there.any() else None,
                "seconds": seconds,
                "compile_s": compiled - seconds,
                "best": float(np.min(least[-1])),
            }
        )
    return rows


def tuned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with one rate of Adam only: most starts that got there, then least time."""
    rates = [row for row in rows if row["solver"].startswith("adam")]
    best = min(rates, key=lambda row: (-row["reached"], row["seconds"]))
    return [row for row in rows if row not in rates] + [best]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, a table for each problem."""
    lines = []
    for title in dict.fromkeys(row["problem"] for row in rows):
        some = tuned([row for row in rows if row["problem"] == title])
        lines += [
            f"## {title}",
            "",
            "| solver | starts at 1e-8 | steps, median | seconds | compile s | least loss |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in some:
            steps = "" if row["steps"] is None else f"≤ {row['steps']}"
            lines.append(
                f"| {row['solver']} | {row['reached']} of {row['starts']} | {steps} | "
                f"{row['seconds']:.3g} | {row['compile_s']:.2g} | {row['best']:.1e} |"
            )
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all problems, prints the tables and writes DESIGN.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.design", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems, for some seconds")
    place = Path(__file__).parent
    parser.add_argument("--out", type=files.argument, default=place, help="folder to write")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for problem in tqdm(problems(options.quick), unit="problem"):
        rows += compete(problem, 4 if options.quick else 16, options.quick)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    text = HEAD.format(**files.provenance(), **report.machine(load)) + table(rows)
    print(text)
    files.write_text(files.folder(options.out) / "DESIGN.md", text)
    return 0


HEAD = """\
# Benchmark of design

Written by `python -m benchmarks.design`, which measures all of it anew.

- {created}, commit {commit}.
- {cores} cores of {cpu}, load {load:.1f} at the end. jax {jax}, python {python}.

All starts in one vmapped call, from the first step until each has converged to a loss of 1e-8, has
stalled or has run out of rounds, and the simulation at double precision by which it is judged;
without compilation. Steps are counted in rounds of 10, or of 50 for Adam.

"""

if __name__ == "__main__":
    sys.exit(main())
