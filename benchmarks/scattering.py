"""`python -m benchmarks.scattering`: time per path of the scattering transform beside kymatio's.

kymatio 0.3 doesn't import with SciPy 1.17, so it is installed into an environment of its own, where
a worker process waits for its turn. Writes SCATTERING.md.
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
#: where kymatio is installed, and what with
ENVIRONMENT = ROOT / ".venv-kymatio"
PEER = ("kymatio==0.3.0", "numpy>=2,<2.5", "scipy>=1.13,<1.17", "torch>=2.5,<2.14")
OURS = "infomech, features"
AT_RATE = "infomech, features, at the rate of the bands"
PRUNE, PRUNED = 1e-6, "prune=1e-6"
#: turns, and seconds that kymatio runs in each, first untimed
TURNS, WHILE = 7, 0.1
#: how many times faster per path than the better front end infomech has to be
FASTER = 2.0


@dataclass(frozen=True)
class Case:
    """A signal, and both programs' filters for it.

    Attributes:
        title: in a few words.
        signal: float32.
        frame: infomech's.
        settings: of kymatio's class.
    """

    title: str
    signal: np.ndarray
    frame: Frame
    settings: dict[str, int]


@dataclass(frozen=True)
class Target:
    """A transform that has to be done within a time.

    Attributes:
        title: in a few words.
        source: of the signal, as of `signals.signal`.
        samples: on each axis.
        octaves: of Meyer wavelets, with six orientations for an image.
        depth: layers.
        limit: seconds without compilation.
    """

    title: str
    source: str
    samples: int
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
    """infomech's paths for kymatio's, whose wavelets are counted from the finest scale.

    Raises:
        ValueError: another number of wavelets.
    """
    bands = _transform.kept(frame, (nonlinearities.modulus,))
    bands = sorted(bands, key=lambda band: (-frame.labels[band].scale, band))
    others = max((n for path in which for n in path), default=-1) + 1
    if others != len(bands):
        raise ValueError(f"kymatio has {others} wavelets, infomech {len(bands)}")
    return tuple(tuple(bands[n] for n in path) for path in which)


def computed(layers: np.ndarray) -> int:
    """Paths that a walk computed, of the counts of `Energies.paths`: one for each mirrored pair."""
    return sum(round(count / 2**n) for n, count in enumerate(layers.tolist()))


class Worker:
    """The process in which kymatio runs; it works only while it is asked something."""

    def __init__(self, command: Sequence[str]) -> None:
        """Starts the process."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        """The answer to a job.

        Raises:
            RuntimeError: there is none.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"kymatio's process ended: {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def interpreter() -> str:
    """Python of the environment that has kymatio, which is made if need be."""
    folder = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
    python, stamp = str(folder / "python"), ENVIRONMENT / "installed.txt"
    if not stamp.exists() or stamp.read_text("utf-8") != "\n".join(PEER):
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEER], check=True)
        stamp.write_text("\n".join(PEER), "utf-8")
    return python


def compete(case: Case, worker: Worker, folder: Path, runs: int) -> tuple[list[Row], Row]:
    """A row for each contender, timed in turns, and what kymatio says of its filters."""
    path = folder / "signal.npy"
    np.save(path, case.signal)
    rows, entries = [], {}
    theirs: Row = {}
    for front, threads in (("numpy", 1), *(("torch", n) for n in sorted({1, CORES}))):
        name = f"kymatio, {front}" + (f", threads: {threads}" if front == "torch" else "")
        about = worker.ask(
            name=name, front=front, signal=str(path), settings=case.settings, threads=threads
        )
        theirs = theirs or about
        each = worker.ask(name=name, runs=3)["seconds"]
        entries[name] = _asking(worker, name, max(1, math.ceil(WHILE / each)))
        rows.append({"contender": name, "paths": len(about["paths"]), "dtype": about["dtype"]})
    which = corresponding(case.frame, theirs["paths"])
    found: dict[str, Any] = {}
    for name, run, paths in _ours(case, which):
        first, found[name] = turns.timed(run)
        entries[name] = _settling(run)
        rows.append({"contender": name, "paths": paths, "dtype": "float32", "first": first})
        if name == AT_RATE:
            rows[-1]["error"] = difference(found[name], found[OURS])
    taken: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(runs):
        for name, entry in entries.items():
            taken[name].append(entry())
    for row in rows:
        row.update(title=case.title, seconds=taken[row["contender"]])
    return summary(rows), theirs


def difference(some: Any, exact: Any) -> float:
    """‖some − exact‖ / ‖exact‖."""
    exact = np.asarray(exact, np.float64)
    return float(np.linalg.norm(np.asarray(some, np.float64) - exact) / np.linalg.norm(exact))


def _asking(worker: Worker, name: str, runs: int) -> Callable[[], float]:
    return lambda: worker.ask(name=name, runs=runs)["seconds"]


def _settling(run: Callable[[], Any]) -> Callable[[], float]:
    return lambda: turns.settled(run)


def _ours(case, which):
    """Name, run and number of paths of each of infomech's ways."""
    frame, values = case.frame, jax.numpy.asarray(case.signal)
    every = supports.subsampling(frame)

    def features(x: Any, oversampling: int | None = None) -> Any:
        return scattering.features(x, frame, which, subsample=every, oversampling=oversampling)

    exact, at_rate = jax.jit(features), jax.jit(lambda x: features(x, 0))
    found = scattering.energies(values, frame, 2, prune=PRUNE)
    ways = {
        OURS: lambda: exact(values),
        AT_RATE: lambda: at_rate(values),
        "infomech, features, without jit around": lambda: features(values),
        f"infomech, energies, {PRUNED}": lambda: scattering.energies(values, frame, 2, prune=PRUNE),
    }
    counts = [len(which), len(which), len(which), computed(np.asarray(found.paths))]
    jax.clear_caches()
    return [
        (name, lambda run=run: jax.block_until_ready(run()), count)
        for (name, run), count in zip(ways.items(), counts, strict=True)
    ]


def summary(rows: list[Row]) -> list[Row]:
    """The rows with medians, time per path, and how it compares with ours in the same turn."""
    (ours,) = (row for row in rows if row["contender"] == OURS)
    own = np.asarray(ours["seconds"]) / ours["paths"]
    for row in rows:
        median = statistics.median(row["seconds"])
        row["median_ms"], row["runs"] = median * 1e3, len(row["seconds"])
        row["path_us"] = median / row["paths"] * 1e6
        row["ratio"] = float(np.median(np.asarray(row["seconds"]) / row["paths"] / own))
        row["compile_s"] = row["first"] - median if "first" in row else None
    return rows


def faster(rows: list[Row], ours: str = OURS) -> float:
    """How many times less time per path ours takes than the better of kymatio's front ends."""
    at = {row["contender"]: row["ratio"] for row in rows}
    best = min(ratio for name, ratio in at.items() if name.startswith("kymatio"))
    return best / at[ours]


def reach(target: Target, quick: bool) -> Row:
    """Seconds of one run, without and with compilation, paths, account and peak memory."""
    jax.clear_caches()
    run = _run(target, quick)
    first, found = turns.timed(run)
    seconds = statistics.median(turns.timed(run)[0] for _ in range(1 if quick else 5))
    low, high = np.asarray(found.total_bounds / found.energy, float)
    return {
        "title": target.title,
        "limit": target.limit,
        "seconds": seconds,
        "compile_s": first - seconds,
        "paths": computed(np.asarray(found.paths)),
        "low": low,
        "high": high,
        "complete": bool(found.complete),
        "memory_bytes": _memory(target, quick),
    }


def _run(target, quick):
    values = jax.numpy.asarray(signals.signal(target.source, shape=target.samples))
    if values.ndim == 1:
        frame = scattering.meyer(target.samples, target.octaves)
    else:
        frame = scattering.oriented(values.shape, target.octaves, 6)
    depth = 2 if quick else target.depth
    return lambda: jax.block_until_ready(scattering.energies(values, frame, depth, prune=PRUNE))


def _memory(target, quick):
    """Peak memory of a compiled run, in a process of its own; None where it can't be had."""
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
    """One case as Markdown."""
    lines = [
        "| contender | paths | dtype | median ms | µs per path | ratio | error | compile s |"
        " runs |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        compiling = "" if row["compile_s"] is None else f"{row['compile_s']:.2g}"
        error = f"{row['error']:.1e}" if "error" in row else ""
        lines.append(
            f"| {row['contender']} | {row['paths']} | {row['dtype']} | "
            f"{_three(row['median_ms'])} | {_three(row['path_us'])} | "
            f"{row['ratio']:.2f} | {error} | {compiling} | {row['runs']} |"
        )
    return "\n".join(lines)


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def target_table(rows: list[Row]) -> str:
    """The targets as Markdown."""
    lines = [
        "| what | paths | share in the features | compile s | peak memory MB |",
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
    """What is required, what was measured and the verdict, as Markdown."""
    lines = ["| what | required | measured | verdict |", "| --- | ---: | ---: | --- |"]
    for rows in results:
        for row in rows:
            name = row["contender"]
            if name in (OURS, AT_RATE) or "energies" in name:
                ratio = faster(rows, name)
                lines.append(
                    f"| {row['title']}: {name}, per path, against kymatio's better front end | "
                    f"≥ {FASTER:g} × | {ratio:.2f} × | {_verdict(ratio >= FASTER)} |"
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


def frame_table(theirs: list[tuple[Case, Row]]) -> str:
    """What both programs' filters let through: bounds of the Littlewood-Paley sum and shares."""
    lines = [
        "| case | filters | smallest sum | largest | mean | lost of this signal |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case, row in theirs:
        total = np.asarray(scattering.frames.littlewood_paley(case.frame), np.float64)
        power = np.abs(np.fft.fftn(case.signal)) ** 2
        held = np.sum(power * total) / np.sum(power)
        ours = {"least": total.min(), "most": total.max(), "mean": total.mean(), "held": held}
        for name, some in (("infomech", ours), ("kymatio", row)):
            sums = " | ".join(f"{some[key]:.3f}" for key in ("least", "most", "mean"))
            lost = max(0.0, 1 - some["held"])
            lost = 0.0 if lost < 1e-5 else lost
            lines.append(f"| {case.title} | {name} | {sums} | {lost:.1%} |")
    return "\n".join(lines)


def measure(quick: bool) -> str:
    """Runs all of it; the report."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    machine = report.machine(load)
    worker = Worker([interpreter(), str(Path(__file__).with_name("kymatio_worker.py"))])
    results, theirs = [], []
    chosen = cases()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            tqdm(total=len(chosen) + len(TARGETS), unit="case", file=sys.stderr) as bar,
        ):
            for case in chosen:
                bar.set_description(case.title)
                rows, about = compete(case, worker, Path(folder), 2 if quick else TURNS)
                results.append(rows)
                theirs.append((case, about))
                bar.update()
            targets = []
            for target in TARGETS:
                bar.set_description(target.title)
                targets.append(reach(target, quick))
                bar.update()
    finally:
        worker.close()
    after = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    versions = ", ".join(f"{name} {v}" for name, v in theirs[0][1]["versions"].items())
    parts = [HEAD.format(**files.provenance(), **machine, after=after, versions=versions)]
    if quick:
        parts.append("**A quick run: it tests the benchmark, not the speed.**")
    if report.busy(machine):
        parts.append(f"**{report.BUSY}**")
    parts += ["## What is required", required(results, targets)]
    parts += ["## Time per path", LEGEND]
    for rows in results:
        parts += [f"### {rows[0]['title']}", case_table(rows)]
    parts += ["## What the filters let through", FILTERS, frame_table(theirs)]
    parts += [f"## Deeper, with {PRUNED}", DEEPER, target_table(targets)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark, prints the report and writes SCATTERING.md; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scattering", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few turns and layers")
    place = Path(__file__).parent
    parser.add_argument("--out", type=files.argument, default=place, help="folder to write")
    parser.add_argument("--peak", metavar="TARGET", help="print bytes of peak memory of a target")
    options = parser.parse_args(arguments)
    if options.peak:
        (target,) = (target for target in TARGETS if target.title == options.peak)
        run = _run(target, options.quick)
        run()
        print(memory._peak(run))
        return 0
    jax.config.update("jax_platforms", "cpu")
    text = measure(options.quick)
    print(text)
    files.write_text(files.folder(options.out) / "SCATTERING.md", text)
    return 0


HEAD = """\
# Benchmark of scattering

Written by `python -m benchmarks.scattering`, which measures all of it anew.

- {created}, commit {commit}.
- {cores} cores of {cpu}, {system}, load {load:.1f} at the start and {after:.1f} at the end.
- jax {jax}, numpy {numpy}, python {python}; in another process {versions}."""

LEGEND = """\
Time divided by the number of paths, of which the signal itself is one; the same signal and as many
paths for both, in turns, one process working at a time. kymatio goes along paths of up to two steps
whose scales get coarser, and infomech's features go along those that correspond. **ratio**: time
per path over that of infomech's features in the same turn, median; above 1, infomech is faster.
**error**: norm of the difference from infomech's features, over their norm.

What isn't the same:

- kymatio subsamples after every step to the rate of the band, so that most of its paths are short;
  it pads the signal by reflection, to 8,192 samples and to 144². infomech keeps every path at the
  rate of the signal, on a periodic grid, since the energy of the modulus at a lower rate is another
  one; it subsamples features only, by as much as loses nothing.
- At the rate of the bands (`oversampling=0`) infomech keeps each path, as kymatio does, on the
  coarsest grid that holds the square of its modulus, and features come out on the same grid. What
  the modulus has beyond that grid's Nyquist frequency folds back, which is the error given.
- kymatio's NumPy front end computes in float64 in one dimension, whatever it is given.
- `energies` goes along all paths of up to two steps that hold more than 1e-6 of the energy,
  whatever their scales, and gives no features but the account of the energy, of a further layer
  too. Of two mirrored paths one is computed, and one counts.
- Signals, filters and plans are made before, and compilation is extra."""

FILTERS = """\
Energy that the filters don't let through looks like energy that decayed. The Littlewood-Paley sum
is 1 at every frequency for a frame that loses nothing; kymatio's, for real signals, is
|φ̂|² + Σ (|ψ̂(ω)|² + |ψ̂(−ω)|²)/2. The mean is the share of white noise that is kept by one layer."""

DEEPER = """\
`energies` of all layers with certified bounds on the share of the energy in the features; time is
above. Peak memory is that of a compiled run in a process of its own, above what it had before."""

if __name__ == "__main__":
    sys.exit(main())
