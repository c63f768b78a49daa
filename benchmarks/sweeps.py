"""`python -m benchmarks.sweeps`: cost of storing, resuming and distributing a sweep.

Compares a stored sweep of a million kernels with its bare computation, and measures the overhead
of blocks, reading back, and weak scaling over virtual devices. Writes SWEEPS.md.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import report
from infomech import sweeps
from infomech._core import files
from infomech.sweeps import _blocks, _program

TURNS = 3
#: limits: overhead of blocks, time stored over bare, seconds to open and reduce
MAX_OVERHEAD, MAX_STORED, MAX_READ_S = 0.05, 1.2, 1.0
DEVICES = (1, 2, 4, 8)


def million(quick: bool) -> sweeps.Sweep:
    """Random 3×3 kernels, 32 layers each on 32² periodic pixels, observed every 4 layers."""
    return sweeps.Sweep(
        axes=(sweeps.seeds(5000 if quick else 10**6),),
        family="random",
        boundary=("periodic",),
        pattern=("gaussian",),
        radius=2.0,
        shape=32,
        steps=(32,),
        every=4,
        burn_in=8,
        edge_tolerance=0.05,
    )


def law(quick: bool) -> sweeps.Sweep:
    """The speed law over shares and directions, in blocks of a second or more."""
    return sweeps.Sweep(
        axes=(
            sweeps.linear("angle", 0, 1.5, 4 if quick else 2500),
            sweeps.linear("share", 0, 1, 41),
        ),
        steps=(24,),
        burn_in=8,
        block=5125,
    )


def turns(sweep: sweeps.Sweep, count: int) -> list[dict[str, float]]:
    """Time the stored sweep and its bare computation in turns, in seconds without compiling.

    The bare computation calls the same program on the same batches and copies results to NumPy.
    """
    (setting,) = sweep.settings()
    devices = jax.local_devices()
    plan = _blocks.layout(sweep)
    largest = max(block.points for block in plan.blocks())
    batch = _program.batch_size(setting, largest, devices)
    compiled = _program.lowered(sweep, setting, devices, batch).compile()
    tables = [axis.table() for axis in sweep.axes]
    rows = []
    for _ in range(count):
        start = time.perf_counter()
        for block in plan.blocks():
            columns = _blocks.columns(tables, block)
            jax.device_get(
                [
                    compiled(inputs)
                    for inputs in _program.batches(columns, block.points, batch, "float32")
                ]
            )
        bare = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            spent = sweeps.run(sweep, Path(folder) / "s.zarr").seconds
            total = time.perf_counter() - start
        rows.append(
            {
                "bare": bare,
                "stored": total - spent["compile"],
                "compile": spent["compile"],
                "run": spent["run"],
                "write": spent["write"],
                "blocks": len(list(plan.blocks())),
            }
        )
    return rows


def reading(quick: bool, count: int) -> dict[str, float]:
    """Seconds to open a store of 10⁵ points with xarray and average its velocities."""
    import xarray

    sweep = sweeps.Sweep(
        axes=(
            sweeps.linear("share", 0, 1, 100),
            sweeps.seeds(10 if quick else 1000),
            sweeps.values("noise", noise=[0.1]),
        ),
        dimensions=1,
        pattern=("impulse",),
        steps=(4,),
        burn_in=1,
        block=5000,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.zarr"
        sweeps.run(sweep, path)
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            with xarray.open_zarr(path, chunks=None) as store:
                store.velocity.mean(["seed", "noise"]).load()
            seconds.append(time.perf_counter() - start)
    return {"points": sweep.points, "seconds": statistics.median(seconds)}


def scaling(quick: bool) -> list[dict[str, Any]]:
    """Run each number of virtual devices in its own process, on up to as many cores."""
    root = str(Path(__file__).parent.parent)
    rows = []
    for devices in DEVICES[:2] if quick else DEVICES:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join([root, *(path for path in sys.path if path)]),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        command = [sys.executable, "-m", "benchmarks.sweeps", "--devices", str(devices)]
        output = subprocess.run(
            command + ["--quick"] * quick,
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
        rows.append(json.loads(output.splitlines()[-1]))
    return rows


def time_batch(devices: int, quick: bool) -> dict[str, Any]:
    """Time one batch with the same number of points on each device of this process."""
    cores = sorted(os.sched_getaffinity(0))[:devices]
    os.sched_setaffinity(0, cores)
    sweep = million(True)
    (setting,) = sweep.settings()
    points_per_device = 100 if quick else 2000
    compiled = _program.lowered(
        sweep, setting, jax.devices(), points_per_device * devices
    ).compile()
    text = compiled.as_text()
    columns = {"seed": np.arange(points_per_device * devices, dtype=np.uint32)}
    seconds = []
    for _ in range(2 if quick else 6):
        start = time.perf_counter()
        jax.block_until_ready(compiled(columns))
        seconds.append(time.perf_counter() - start)
    communication = re.findall(r"all-gather|all-reduce|all-to-all|collective-permute", text)
    return {
        "devices": jax.device_count(),
        "cores": len(cores),
        "points": points_per_device * devices,
        "seconds": statistics.median(seconds[1:]),
        "communication": sorted(set(communication)),
    }


def measure(quick: bool) -> str:
    """Run all measurements and return the report."""
    machine = report.machine(os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    count = 1 if quick else TURNS
    with tqdm(total=4, unit="part", file=sys.stderr) as bar:
        kernels = turns(million(quick), count)
        bar.update()
        blockwise = turns(law(quick), count)
        bar.update()
        read = reading(quick, 1 if quick else 5)
        bar.update()
        spreads = scaling(quick)
        bar.update()
    text = [HEAD.format(**files.provenance(), **machine)]
    if quick:
        text.append("**A quick run: it tests the benchmark, not the speed.**")
    if report.busy(machine):
        text.append(f"**{report.BUSY}**")
    text += ["## Requirements", required(quick, kernels, blockwise, read)]
    text += ["## Time", LEGEND, table({"kernels": kernels, "law": blockwise})]
    text += ["## Weak scaling over virtual devices", SCALING, scaling_table(spreads)]
    return "\n\n".join(text) + "\n"


def required(quick: bool, kernels: list[Any], blockwise: list[Any], read: dict[str, float]) -> str:
    """Requirements, measurements and verdicts, as a Markdown table."""
    ratio = statistics.median(run["stored"] / run["bare"] for run in kernels)
    overhead = statistics.median((run["stored"] - run["run"]) / run["run"] for run in blockwise)
    block_s = statistics.median(run["run"] / run["blocks"] for run in blockwise)
    count = blockwise[0]["blocks"]
    points = million(quick).points
    rows = [
        (f"{points:,} 3×3 kernels × 32 layers on 32²: stored relative to bare computation",
         f"≤ {MAX_STORED:g} ×", f"{ratio:.3f} ×", ratio <= MAX_STORED),
        (f"overhead relative to the compiled computation, in {count} blocks of {block_s:.2g} s",
         f"< {MAX_OVERHEAD:.0%}", f"{overhead:.1%}", overhead < MAX_OVERHEAD),
        (f"open a store of {int(read['points']):,} points and average its velocities with xarray",
         f"< {MAX_READ_S:g} s", f"{read['seconds']:.3g} s", read["seconds"] < MAX_READ_S),
    ]  # fmt: skip
    lines = ["| quantity | required | measured | verdict |", "| --- | ---: | ---: | --- |"]
    for quantity, limit, measured, met in rows:
        verdict = "reached" if met else "not reached"
        lines.append(f"| {quantity} | {limit} | {measured} | {verdict} |")
    return "\n".join(lines)


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Medians over turns, as a Markdown table."""
    names = ("bare", "stored", "run", "write", "compile", "blocks")
    lines = ["| sweep | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for name, several in runs.items():
        cells = [f"{statistics.median(run[column] for run in several):.3g}" for column in names]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def scaling_table(rows: list[dict[str, Any]]) -> str:
    """Seconds, efficiency and collective operations, as a Markdown table."""
    lines = [
        "| devices | cores | points | seconds | points/s per core | communication |",
        "| ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        rate = row["points"] / row["seconds"] / row["cores"]
        lines.append(
            f"| {row['devices']} | {row['cores']} | {row['points']} | {row['seconds']:.3g} | "
            f"{rate:.3g} | {', '.join(row['communication']) or 'none'} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print the report and write SWEEPS.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweeps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points, one turn")
    folder = Path(__file__).parent
    parser.add_argument("--out", type=files.argument, default=folder, help="output folder")
    parser.add_argument("--devices", type=int, help="time this many virtual devices and print it")
    options = parser.parse_args(arguments)
    if options.devices:
        print(json.dumps(time_batch(options.devices, options.quick)))
        return 0
    text = measure(options.quick)
    print(text)
    files.write_text(files.folder(options.out) / "SWEEPS.md", text)
    return 0


HEAD = """\
# Benchmark of sweeps

Written by `python -m benchmarks.sweeps`, which repeats all measurements.

- {created}, commit {commit}.
- {cores} cores of {cpu}, {system}, load {load:.1f} at the start.
- jax {jax}, numpy {numpy}, python {python}."""

LEGEND = """\
Seconds without compiling, medians over turns. **bare** calls the same program on the same batches
and copies the results to NumPy. **stored** is a complete `infomech.sweeps.run` on a new store:
**run** is its compiled computation, **write** the storing of blocks."""

SCALING = """\
Each device has the same number of points. Devices are virtual
(`--xla_force_host_platform_device_count`), and a process uses as many cores as devices if the
machine has that many. Time shows scaling only up to the number of cores; beyond it, see the
collective operations in the compiled program (communication)."""

if __name__ == "__main__":
    sys.exit(main())
