"""`python -m benchmarks.design`: second-order least squares compared with tuned Adam and L-BFGS.

Every solver runs the same problems from the same starts, in one vmapped call, to a loss of 1e-8.
Adam is tuned: only the best of several learning rates counts. Writes DESIGN.md.
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
from infomech.design.solvers import CHUNK, FIRST_ORDER_CHUNK

#: a start with a loss up to this value has converged
TOLERANCE = 1e-8
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3)
#: maximum numbers of chunks of iterations, after each of which `design.fit` checks convergence
CHUNKS, ADAM_CHUNKS, QUICK_CHUNKS = 20, 30, 2
RUNS = 2


@dataclass(frozen=True)
class Problem:
    """An objective, the size of its kernels, and the rollout on which it is evaluated.

    Attributes:
        title: a few words.
        kernel_size: taps along each axis.
        shape: pixels of the field, with a disk or box of radius 5 in the middle.
        steps: layers, with ReLU.
        objective: the loss.
    """

    title: str
    kernel_size: tuple[int, ...]
    shape: tuple[int, ...]
    steps: int
    objective: losses.Loss


def problems(quick: bool) -> list[Problem]:
    """Problems from two targets for nine taps to seven that no kernel meets by chance."""
    steps, size = (8, 33) if quick else (32, 65)
    velocity = losses.velocity(np.array([0.3, -0.1], np.float32))
    tensor = losses.diffusion(np.array([[0.3, 0.1], [0.1, 0.4]], np.float32))
    line = losses.velocity(np.array([0.5], np.float32)) + losses.diffusion(
        np.array([0.6], np.float32)
    )
    selected = [
        Problem("velocity, 3x3 taps", (3, 3), (size, size), steps, velocity),
        Problem("velocity and diffusion, 5 taps", (5,), (4 * size,), steps, line),
    ]
    if not quick:
        combined = velocity + tensor + 0.01 * losses.energy(0.0)
        selected.append(
            Problem(
                "velocity, diffusion tensor, energy, 3x3 taps",
                (3, 3),
                (size, size),
                steps,
                combined,
            )
        )
    return selected


def solvers() -> dict[str, tuple[Any, int, int]]:
    """Solver, iterations per chunk and number of chunks of each contender, by name."""
    named: dict[str, tuple[Any, int, int]] = {
        name: (name, CHUNK, CHUNKS) for name in ("least squares", "dogleg", "lbfgs")
    }
    return named | {
        f"adam {rate:g}": (optax.adam(rate), FIRST_ORDER_CHUNK, ADAM_CHUNKS)
        for rate in LEARNING_RATES
    }


def compete(problem: Problem, starts: int, quick: bool) -> list[dict[str, Any]]:
    """A row for each solver: converged starts, iterations, and seconds without compilation."""
    initial = design.starts(problem.kernel_size, starts, key=jax.random.key(0))
    pattern = im.fields.box if len(problem.kernel_size) == 1 else im.fields.disk
    field = pattern(problem.shape, 5.0)
    rows = []
    for name, (solver, chunk, chunks) in solvers().items():
        iterations = chunk * (QUICK_CHUNKS if quick else chunks)

        def fit(solver=solver, iterations=iterations):
            begin = time.perf_counter()
            result = design.fit(
                problem.objective,
                initial,
                field=field,
                steps=problem.steps,
                solver=solver,
                iterations=iterations,
                tolerance=TOLERANCE,
                every=4,
            )
            return time.perf_counter() - begin, result

        compiled, result = fit()
        seconds = statistics.median(fit()[0] for _ in range(1 if quick else RUNS))
        lowest = np.minimum.accumulate(result.history, axis=0)
        reached = lowest[-1] <= TOLERANCE
        needed = np.argmax(lowest <= TOLERANCE, axis=0)[reached]  # chunks
        rows.append(
            {
                "problem": problem.title,
                "solver": name,
                "reached": int(reached.sum()),
                "starts": starts,
                "iterations": int(np.median(needed)) * chunk if reached.any() else None,
                "seconds": seconds,
                "compile_s": compiled - seconds,
                "best": float(np.min(lowest[-1])),
            }
        )
    return rows


def tuned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with only the best rate of Adam: most converged starts, then shortest time."""
    rates = [row for row in rows if row["solver"].startswith("adam")]
    best = min(rates, key=lambda row: (-row["reached"], row["seconds"]))
    return [row for row in rows if row not in rates] + [best]


def table(rows: list[dict[str, Any]]) -> str:
    """Format rows as Markdown, one table per problem."""
    lines = []
    for title in dict.fromkeys(row["problem"] for row in rows):
        selected = tuned([row for row in rows if row["problem"] == title])
        lines += [
            f"## {title}",
            "",
            "| solver | starts at 1e-8 | iterations, median | seconds | compile s | lowest loss |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in selected:
            iterations = "" if row["iterations"] is None else f"≤ {row['iterations']}"
            lines.append(
                f"| {row['solver']} | {row['reached']} of {row['starts']} | {iterations} | "
                f"{row['seconds']:.3g} | {row['compile_s']:.2g} | {row['best']:.1e} |"
            )
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all problems, print the tables and write DESIGN.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.design", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small problems, takes seconds")
    folder = Path(__file__).parent
    parser.add_argument("--out", type=files.argument, default=folder, help="output folder")
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

Written by `python -m benchmarks.design`, which repeats all measurements.

- {created}, commit {commit}.
- {cores} cores of {cpu}, load {load:.1f} at the end. jax {jax}, python {python}.

Seconds are without compilation and cover one vmapped call of all starts, from the first iteration
until each start has converged to a loss of 1e-8, has stalled or has run out of iterations, and the
final simulation in double precision that decides convergence. Iterations are counted in chunks of
10, or of 50 for Adam.

"""

if __name__ == "__main__":
    sys.exit(main())
