"""`python -m benchmarks.networks`: a census of ten million filters, and of a small file.

Runs complete commands in separate processes on generated files. Measures time, including imports
and compilation, and peak resident memory. Writes NETWORKS.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import report
from infomech._core import files

RUNS = 3
#: packages that `infomech census` must not import
FRAMEWORKS = ("torch", "tensorflow", "keras", "flax")


@dataclass(frozen=True)
class Case:
    """A weight file, and limits for its census.

    Attributes:
        title: short description.
        layers: number of layers with `width` outputs and inputs, 3×3 kernels, float32.
        width: channels of each layer.
        seconds: maximum time of the whole command.
        gib: maximum peak resident memory.
    """

    title: str
    layers: int
    width: int
    seconds: float
    gib: float


def cases(quick: bool) -> list[Case]:
    """Ten million filters in ten layers, and a small network; one tiny file if `quick`."""
    width = 20 if quick else 1000
    filters = f"{10 * width * width:,} filters"
    small = Case(f"{4 * 64 * 64:,} filters", 4, 64, 5.0, 2.0)
    return [Case(filters, 10, width, 120.0, 2.0), *([] if quick else [small])]


def write(case: Case, path: Path) -> None:
    """Writes a safetensors file of normal weights with PyTorch names."""
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    shape = (case.width, case.width, 3, 3)
    tensors = {
        f"l{n}.weight": random.standard_normal(shape, np.float32) for n in range(case.layers)
    }
    save_file(tensors, path, {"format": "pt"})


def run(case: Case, runs: int) -> tuple[list[float], int, str]:
    """Seconds of each `infomech census` run, peak memory in bytes, imported frameworks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        # in a separate process, to keep the memory of this one small
        _python(f"from benchmarks.networks import *; write({case!r}, Path({str(path)!r}))")
        command = "import sys; from infomech.cli import main; failed = main(sys.argv[1:]);"
        command += f"imported = [n for n in {FRAMEWORKS} if n in sys.modules];"
        command += "import resource; peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        command += "print(peak, ','.join(imported) or 'none'); sys.exit(failed)"
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            output = _python(command, "census", str(path), "--out", folder)
            seconds.append(time.perf_counter() - start)
        peak, frameworks = output.split()[-2:]
        return seconds, int(peak) * 1024, frameworks


def _python(command, *arguments):
    """Output of a command run in a separate process."""
    return subprocess.run(
        [sys.executable, "-c", command, *arguments],
        check=True,
        env=_environment(),
        capture_output=True,
        text=True,
    ).stdout


def _environment():
    root = str(Path(__file__).parent.parent)
    paths = os.pathsep.join([root, *(path for path in sys.path if path)])
    return {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}


def measure(quick: bool) -> str:
    """Runs the benchmark; returns the report."""
    machine = report.machine(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    lines = [
        "| census of | seconds | at most | peak memory GiB | at most | verdict |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for case in tqdm(cases(quick), unit="file", file=sys.stderr):
        seconds, memory, frameworks = run(case, 1 if quick else RUNS)
        median, gib = statistics.median(seconds), memory / 2**30
        met = median <= case.seconds and gib <= case.gib
        lines.append(
            f"| {case.title} | {median:.3g} | {case.seconds:g} | {gib:.2f} | {case.gib:g} | "
            f"{'reached' if met else 'not reached'} |"
        )
    parts = [HEAD.format(**files.provenance(), **machine)]
    if quick:
        parts.append("**Quick run: tests the benchmark, not the speed.**")
    if report.busy(machine):
        parts.append(f"**{report.BUSY}**")
    parts += ["\n".join(lines), LEGEND, f"Frameworks imported: {frameworks}."]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark, prints the report and writes NETWORKS.md; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, one run")
    folder = Path(__file__).parent
    parser.add_argument("--out", type=files.argument, default=folder, help="output folder")
    options = parser.parse_args(arguments)
    text = measure(options.quick)
    print(text)
    files.write_text(files.folder(options.out) / "NETWORKS.md", text)
    return 0


HEAD = """\
# Benchmark of the census

Written by `python -m benchmarks.networks`.

- {created}, commit {commit}.
- {cores} cores of {cpu}, {system}, load {load:.1f} at the start.
- jax {jax}, numpy {numpy}, python {python}."""

LEGEND = """\
The whole `infomech census` command: Python startup, imports, compilation, reading, computing,
figure and files; 3×3 filters in float32 from safetensors. Median over runs. Memory is the peak
resident size of the process, including mapped pages of the file."""

if __name__ == "__main__":
    sys.exit(main())
