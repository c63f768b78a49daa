"""`python -m benchmarks.scattering`: time per scattering path, compared with kymatio.

kymatio 0.3 cannot be imported with SciPy 1.17, so it is installed into a separate environment and
runs in a worker process. Writes SCATTERING.md.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import memory, report, turns
from benchmarks.cases import CORES
from infomech import scattering
from infomech._core import files
from infomech.scattering import Frame, _transform, nonlinearities, signals, supports

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
#: environment for kymatio, and its packages
ENVIRONMENT = ROOT / ".venv-kymatio"
PEER = ("kymatio==0.3.0", "numpy>=2,<2.5", "scipy>=1.13,<1.17", "torch>=2.5,<2.14")
OURS = "infomech, features"
AT_RATE = "infomech, features, at the rate of the bands"
PRUNE, PRUNED = 1e-6, "prune=1e-6"
#: number of turns, and seconds that kymatio runs in each, after an untimed run of the same length
TURNS, TURN_SECONDS = 7, 0.1
#: required speedup per path over the faster of kymatio's front ends
REQUIRED_SPEEDUP = 2.0


@dataclass(frozen=True)
class Case:
    """A signal, and the filters of both programs for it.

    Attributes:
        title: short description.
        signal: the signal, float32.
        frame: infomech's filters.
        settings: arguments of kymatio's class.
    """

    title: str
    signal: np.ndarray
    frame: Frame
    settings: dict[str, int]


@dataclass(frozen=True)
class Target:
    """A transform with a time limit.

    Attributes:
        title: short description.
        source: name of the signal; see `signals.signal`.
        shape: samples along each axis.
        octaves: octaves of Meyer wavelets; six orientations for an image.
        depth: number of layers.
        limit: seconds without compilation.
    """

    title: str
    source: str
    shape: int
    octaves: int
    depth: int
    limit: float


TARGETS = (
    Target("noise, 4,096 samples, 8 octaves, depth 6", "noise", 4096, 8, 6, 10.0),
    Target("photograph, 128², 3 scales × 6 orientations, depth 4", "camera", 128, 3, 4, 60.0),
)


def cases() -> list[Case]:
    """Noise and a photograph; kymatio's J=8 has nine wavelets on eight octaves and a low-pass."""
    noise, image = signals.signal("noise"), signals.signal("camera", shape=128)
    return [
        Case("4,096 samples, J=8, Q=1", noise, scattering.meyer(4096, 9), {"J": 8, "Q": 1}),
        Case(
            "image of 128², J=3, L=6",
            image,
            scattering.oriented((128, 128), 3, 6),
            {"J": 3, "L": 6},
        ),
    ]


def corresponding(frame: Frame, which: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """infomech's paths for kymatio's, which numbers wavelets from the finest scale.

    Raises:
        ValueError: the numbers of wavelets differ.
    """
    bands = _transform.computed_bands(frame, (nonlinearities.modulus,))
    bands = sorted(bands, key=lambda band: (-frame.labels[band].scale, band))
    wavelets = max((n for path in which for n in path), default=-1) + 1
    if wavelets != len(bands):
        raise ValueError(f"kymatio has {wavelets} wavelets, infomech {len(bands)}")
    return tuple(tuple(bands[n] for n in path) for path in which)


def computed(layers: np.ndarray) -> int:
    """Number of computed paths, from the counts `Energies.paths`: one for each mirrored pair."""
    return sum(round(count / 2**n) for n, count in enumerate(layers.tolist()))


class Worker:
    """The process that runs kymatio; it sleeps between jobs."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        """The answer to a job.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"kymatio's process ended: {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def interpreter() -> str:
    """Python of the environment with kymatio; the environment is created if missing."""
    folder = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
    python, stamp = str(folder / "python"), ENVIRONMENT / "installed.txt"
    if not stamp.exists() or stamp.read_text("utf-8") != "\n".join(PEER):
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEER], check=True)
        stamp.write_text("\n".join(PEER), "utf-8")
    return python


def compete(case: Case, worker: Worker, folder: Path, runs: int) -> tuple[list[Row], Row]:
    """A row for each contender, timed in turns, and kymatio's description of its filters."""
    path = folder / "signal.npy"
    np.save(path, case.signal)
    rows, entries = [], {}
    kymatio: Row = {}
    for front, threads in (("numpy", 1), *(("torch", n) for n in sorted({1, CORES}))):
        name = f"kymatio, {front}" + (f", threads: {threads}" if front == "torch" else "")
        filters = worker.ask(
            name=name, front=front, signal=str(path), settings=case.settings, threads=threads
        )
        kymatio = kymatio or filters
        per_run = worker.ask(name=name, runs=3)["seconds"]
        entries[name] = _worker_timer(worker, name, max(1, math.ceil(TURN_SECONDS / per_run)))
        rows.append({"contender": name, "paths": len(filters["paths"]), "dtype": filters["dtype"]})
    which = corresponding(case.frame, kymatio["paths"])
    results: dict[str, Any] = {}
    for name, run, paths in _infomech_runs(case, which):
        first, results[name] = turns.timed(run)
        entries[name] = _local_timer(run)
        rows.append({"contender": name, "paths": paths, "dtype": "float32", "first": first})
        if name == AT_RATE:
            rows[-1]["error"] = difference(results[name], results[OURS])
    seconds: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(runs):
        for name, entry in entries.items():
            seconds[name].append(entry())
    for row in rows:
        row.update(title=case.title, seconds=seconds[row["contender"]])
    return summary(rows), kymatio


def difference(approximate: Any, exact: Any) -> float:
    """‖approximate − exact‖ / ‖exact‖."""
    approximate, exact = np.asarray(approximate, np.float64), np.asarray(exact, np.float64)
    return float(np.linalg.norm(approximate - exact) / np.linalg.norm(exact))


def _worker_timer(worker: Worker, name: str, runs: int) -> Callable[[], float]:
    return lambda: worker.ask(name=name, runs=runs)["seconds"]


def _local_timer(run: Callable[[], Any]) -> Callable[[], float]:
    return lambda: turns.settled(run)


def _infomech_runs(case, which):
    """Name, function and number of paths of each of infomech's variants."""
    frame, values = case.frame, jax.numpy.asarray(case.signal)
    subsample = supports.subsampling(frame)

    def features(x: Any, oversampling: int | None = None) -> Any:
        return scattering.features(x, frame, which, subsample=subsample, oversampling=oversampling)

    exact, at_rate = jax.jit(features), jax.jit(lambda x: features(x, 0))
    energies = scattering.energies(values, frame, 2, prune=PRUNE)
    variants = {
        OURS: lambda: exact(values),
        AT_RATE: lambda: at_rate(values),
        "infomech, features, without jit around": lambda: features(values),
        f"infomech, energies, {PRUNED}": lambda: scattering.energies(values, frame, 2, prune=PRUNE),
    }
    counts = [len(which), len(which), len(which), computed(np.asarray(energies.paths))]
    jax.clear_caches()
    return [
        (name, lambda run=run: jax.block_until_ready(run()), count)
        for (name, run), count in zip(variants.items(), counts, strict=True)
    ]


def summary(rows: list[Row]) -> list[Row]:
    """Add medians, time per path, and its ratio to ours in the same turn."""
    (ours,) = (row for row in rows if row["contender"] == OURS)
    reference = np.asarray(ours["seconds"]) / ours["paths"]
    for row in rows:
        median = statistics.median(row["seconds"])
        row["median_ms"], row["runs"] = median * 1e3, len(row["seconds"])
        row["path_us"] = median / row["paths"] * 1e6
        row["ratio"] = float(np.median(np.asarray(row["seconds"]) / row["paths"] / reference))
        row["compile_s"] = row["first"] - median if "first" in row else None
    return rows


def speedup(rows: list[Row], ours: str = OURS) -> float:
    """Time per path of the faster of kymatio's front ends, divided by ours."""
    ratios = {row["contender"]: row["ratio"] for row in rows}
    best = min(ratio for name, ratio in ratios.items() if name.startswith("kymatio"))
    return best / ratios[ours]


def measure_target(target: Target, quick: bool) -> Row:
    """Time with and without compilation, paths, energy account and peak memory of one run."""
    jax.clear_caches()
    run = _run(target, quick)
    first, energies = turns.timed(run)
    seconds = statistics.median(turns.timed(run)[0] for _ in range(1 if quick else 5))
    low, high = np.asarray(energies.total_bounds / energies.energy, float)
    return {
        "title": target.title,
        "limit": target.limit,
        "seconds": seconds,
        "compile_s": first - seconds,
        "paths": computed(np.asarray(energies.paths)),
        "low": low,
        "high": high,
        "complete": bool(energies.complete),
        "memory_bytes": _memory(target, quick),
    }


def _run(target, quick):
    values = jax.numpy.asarray(signals.signal(target.source, shape=target.shape))
    if values.ndim == 1:
        frame = scattering.meyer(target.shape, target.octaves)
    else:
        frame = scattering.oriented(values.shape, target.octaves, 6)
    depth = 2 if quick else target.depth
    return lambda: jax.block_until_ready(scattering.energies(values, frame, depth, prune=PRUNE))


def _memory(target, quick):
    """Peak memory of a compiled run in a separate process; None if unavailable."""
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])
    settings = {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.scattering", "--peak", target.title]
    child = subprocess.run(
        command + ["--quick"] * quick,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    last = child.stdout.strip().rpartition("\n")[2]
    return int(last) if child.returncode == 0 and last.isdigit() else None


def case_table(rows: list[Row]) -> str:
    """One case as a Markdown table."""
    lines = [
        "| contender | paths | dtype | median ms | µs per path | ratio | error | compile s |"
        " runs |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        compile_s = "" if row["compile_s"] is None else f"{row['compile_s']:.2g}"
        error = f"{row['error']:.1e}" if "error" in row else ""
        lines.append(
            f"| {row['contender']} | {row['paths']} | {row['dtype']} | "
            f"{_three_digits(row['median_ms'])} | {_three_digits(row['path_us'])} | "
            f"{row['ratio']:.2f} | {error} | {compile_s} | {row['runs']} |"
        )
    return "\n".join(lines)


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def target_table(rows: list[Row]) -> str:
    """The targets as a Markdown table."""
    lines = [
        "| case | paths | share in the features | compile s | peak memory MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        peak = "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:.0f}"
        lines.append(
            f"| {row['title']} | {row['paths']} | {row['low']:.6f} … {row['high']:.6f} | "
            f"{row['compile_s']:.2g} | {peak} |"
        )
    return "\n".join(lines)


def required(results: list[list[Row]], targets: list[Row]) -> str:
    """Requirements, measured values and verdicts as a Markdown table."""
    lines = ["| quantity | required | measured | verdict |", "| --- | ---: | ---: | --- |"]
    for rows in results:
        for row in rows:
            name = row["contender"]
            if name in (OURS, AT_RATE) or "energies" in name:
                ratio = speedup(rows, name)
                lines.append(
                    f"| {row['title']}: {name}, per path, against kymatio's better front end | "
                    f"≥ {REQUIRED_SPEEDUP:g} × | {ratio:.2f} × | "
                    f"{_verdict(ratio >= REQUIRED_SPEEDUP)} |"
                )
    for row in targets:
        met = row["complete"] and row["seconds"] < row["limit"]
        lines.append(
            f"| {row['title']}, {PRUNED}, compiled | < {row['limit']:g} s | "
            f"{row['seconds']:.3g} s | {_verdict(met)} |"
        )
    return "\n".join(lines)


def _verdict(met: bool) -> str:
    return "reached" if met else "not reached"


def frame_table(kymatio_rows: list[tuple[Case, Row]]) -> str:
    """Littlewood-Paley sums of both programs' filters, and the share of the signal they lose."""
    lines = [
        "| case | filters | smallest sum | largest sum | mean | share of this signal lost |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case, row in kymatio_rows:
        total = np.asarray(scattering.frames.littlewood_paley(case.frame), np.float64)
        power = np.abs(np.fft.fftn(case.signal)) ** 2
        kept = np.sum(power * total) / np.sum(power)
        ours = {"smallest": total.min(), "largest": total.max(), "mean": total.mean(), "kept": kept}
        for name, filters in (("infomech", ours), ("kymatio", row)):
            sums = " | ".join(f"{filters[key]:.3f}" for key in ("smallest", "largest", "mean"))
            lost = max(0.0, 1 - filters["kept"])
            lost = 0.0 if lost < 1e-5 else lost
            lines.append(f"| {case.title} | {name} | {sums} | {lost:.1%} |")
    return "\n".join(lines)


def measure(quick: bool) -> str:
    """Run the benchmark; return the report."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    machine = report.machine(load)
    worker = Worker([interpreter(), str(Path(__file__).with_name("kymatio_worker.py"))])
    results, kymatio_rows = [], []
    selected = cases()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            tqdm(total=len(selected) + len(TARGETS), unit="case", file=sys.stderr) as bar,
        ):
            for case in selected:
                bar.set_description(case.title)
                rows, kymatio = compete(case, worker, Path(folder), 2 if quick else TURNS)
                results.append(rows)
                kymatio_rows.append((case, kymatio))
                bar.update()
            targets = []
            for target in TARGETS:
                bar.set_description(target.title)
                targets.append(measure_target(target, quick))
                bar.update()
    finally:
        worker.close()
    after = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    versions = ", ".join(f"{name} {v}" for name, v in kymatio_rows[0][1]["versions"].items())
    parts = [HEAD.format(**files.provenance(), **machine, after=after, versions=versions)]
    if quick:
        parts.append("**A quick run: it tests the benchmark, not the speed.**")
    if report.busy(machine):
        parts.append(f"**{report.BUSY}**")
    parts += ["## Requirements", required(results, targets)]
    parts += ["## Time per path", LEGEND]
    for rows in results:
        parts += [f"### {rows[0]['title']}", case_table(rows)]
    parts += ["## Energy that the filters pass", FILTERS, frame_table(kymatio_rows)]
    parts += [f"## Deeper networks, with {PRUNED}", DEEPER, target_table(targets)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print the report and write SCATTERING.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scattering", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns and layers")
    folder = Path(__file__).parent
    parser.add_argument("--out", type=files.argument, default=folder, help="folder for the report")
    parser.add_argument(
        "--peak", metavar="TARGET", help="print the peak memory of a target in bytes"
    )
    options = parser.parse_args(arguments)
    if options.peak:
        (target,) = (target for target in TARGETS if target.title == options.peak)
        run = _run(target, options.quick)
        run()
        print(memory.peak(run))
        return 0
    jax.config.update("jax_platforms", "cpu")
    text = measure(options.quick)
    print(text)
    files.write_text(files.folder(options.out) / "SCATTERING.md", text)
    return 0


HEAD = """\
# Benchmark of scattering

Written by `python -m benchmarks.scattering`, which repeats all measurements.

- {created}, commit {commit}.
- {cores} cores of {cpu}, {system}, load {load:.1f} at the start and {after:.1f} at the end.
- jax {jax}, numpy {numpy}, python {python}; in a separate process {versions}."""

LEGEND = """\
Time divided by the number of paths; the signal itself counts as one path. Both programs transform
the same signal along the same number of paths, in turns, one process at a time. kymatio follows
paths of at most two wavelets with increasing scale, and infomech's features follow the
corresponding paths. **ratio**: time per path divided by that of infomech's features in the same
turn, median; above 1, infomech is faster. **error**: norm of the difference from infomech's
features, divided by their norm.

Differences between the two:

- kymatio subsamples each wavelet's output to the rate of its band, so most of its paths are short.
  It pads the signal by reflection, to 8,192 samples and to 144². infomech keeps each path at the
  rate of the signal on a periodic grid, because subsampling changes the energy of the modulus. It
  subsamples only the features, without loss.
- At the rate of the bands (`oversampling=0`), infomech, like kymatio, keeps each path on the
  coarsest grid that holds the square of its modulus, and returns features on the same grid.
  Frequencies of the modulus above that grid's Nyquist frequency are aliased; the table gives this
  error.
- kymatio's NumPy front end computes in float64 in one dimension, whatever the dtype of its input.
- `energies` follows all paths of at most two wavelets that hold more than 1e-6 of the energy, at
  any scales. It returns no features but an energy account, which includes one more layer. Of two
  mirrored paths, one is computed, and one counts.
- Preparing signals, filters and plans is not timed; compilation is timed separately."""

FILTERS = """\
Energy that the filters block is easily mistaken for energy decay. A Parseval frame has a
Littlewood-Paley sum of 1 at every frequency. For real signals, kymatio's sum is
|φ̂|² + Σ (|ψ̂(ω)|² + |ψ̂(−ω)|²)/2. The mean is the share of white noise that one layer keeps."""

DEEPER = """\
`energies` of all layers, with certified bounds on the share of the energy in the features; the
table of requirements has the times. Peak memory is that of a compiled run in a separate process,
above the memory in use before it."""

if __name__ == "__main__":
    sys.exit(main())
