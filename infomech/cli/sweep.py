"""`infomech sweep`: run the sweep of a TOML file, inspect its store, export it."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro

from infomech import sweeps
from infomech._core import checks, files
from infomech.cli.options import print_conversion, show_progress, use
from infomech.fields import patterns
from infomech.sweeps import _spec, _store


@dataclass(frozen=True)
class SweepRun:
    """Run a sweep: every setting at every point of its axes.

    Interrupt at any time and rerun the same command to resume; several processes may share one
    store. Read the results with `xarray.open_zarr`.
    """

    spec: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
    """TOML file with settings (one compilation per combination) and axes of numbers."""
    store: Path = Path("out/sweep.zarr")
    """Folder of the results."""
    shard: str = "0/1"
    """i/n: only every n-th block, starting with the i-th, 0 ≤ i < n; for job arrays."""
    batch: int = 0
    """Points computed at once on all devices; 0: chosen from the memory."""
    distributed: tuple[str, ...] = ()
    """Divide the blocks among several processes: auto (detected by JAX, as under SLURM), or
    host:port, number of processes and index of this one."""
    explain: bool = False
    """Print the estimated cost and exit."""
    compile_cache: Path | None = None
    """Folder of JAX's compilation cache; later runs skip compiling."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Runs the missing blocks; returns 0, 1 if the store is unwritable, 130 if interrupted."""
        shard = _shard(self.shard)
        # JAX requires this before any computation
        _join(self.distributed)
        sweep = _spec.load(self.spec)
        use("float64" if "float64" in sweep.dtype else "float32", self.compile_cache)
        if self.explain:
            explanation = sweeps.explain(sweep, batch=self.batch)
            print(files.to_json(explanation) if self.json else explanation)
            return 0
        try:
            with show_progress("sweep", "point") as update:
                report = sweeps.run(
                    sweep, self.store, shard=shard, batch=self.batch, on_progress=update
                )
        except (KeyboardInterrupt, sweeps.StoreError) as error:
            cause = "interrupted" if isinstance(error, KeyboardInterrupt) else error.strerror
            print(f"infomech: {cause}; finished blocks are kept. Resume with:", file=sys.stderr)
            print(f"  {self._command()}", file=sys.stderr)
            return 130 if isinstance(error, KeyboardInterrupt) else 1
        for name in sweep.pattern:
            print_conversion(patterns.conversion(name), json=self.json)
        print(files.to_json(report) if self.json else self._summary(report))
        return 0

    def _command(self) -> str:
        words = ["infomech", "sweep", "run", str(self.spec), "--store", str(self.store)]
        for name in ("shard", "batch", "distributed", "compile_cache"):
            value = getattr(self, name)
            if value != getattr(SweepRun, name):
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{name.replace('_', '-')}", *map(str, values)]
        return shlex.join(words)

    def _summary(self, report: sweeps.RunReport) -> str:
        s = report.seconds
        return "\n".join(
            [
                f"points  {report.points:,}, of which {report.computed:,} were computed now",
                f"time    compiling {s['compile']:.1f} s, running {s['run']:.1f} s,"
                f" storing {s['write']:.1f} s",
                f"store   {self.store}: xarray.open_zarr({str(self.store)!r})",
            ]
        )


@dataclass(frozen=True)
class SweepStatus:
    """Report how much of a store is complete, and verify its checksums."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Folder of the results."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Prints the status; returns 0 if the store is complete and intact, else 1."""
        with show_progress("blocks", "block") as update:
            status = _store.status(self.store, update)
        print(files.to_json(status) if self.json else _summary(self.store, status))
        return 0 if status.intact == status.points and status.labeled else 1


@dataclass(frozen=True)
class SweepExport:
    """Write a store as one NetCDF file."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Folder of the results."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """NetCDF file to write."""

    def run(self) -> int:
        """Writes the file and prints its dimensions."""
        dataset = sweeps.export(self.store, self.out)
        sizes = ", ".join(f"{name} {size}" for name, size in dataset.sizes.items())
        print(f"{self.out}: {sizes}")
        return 0


def _summary(path: Path, status: _store.Status) -> str:
    lines = [
        f"{path}: {status.intact:,} of {status.points:,} points"
        f" ({status.intact / status.points:.1%}), {status.blocks:,} blocks"
    ]
    if status.damaged:
        lines.append(
            f"{status.damaged:,} points failed their checksum"
            " and will be recomputed on the next run"
        )
    if not status.labeled:
        lines.append("coordinates failed their checksum and will be rewritten on the next run")
    for name, count in status.statuses.items():
        lines.append(f"  {count:>9,}  {name}")
    return "\n".join([*lines, f"written by infomech {status.infomech}, {status.created}"])


def _shard(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal()):
        raise checks.error("shard", repr(text), "i/n, such as 0/4")
    return int(part), int(parts)


def _join(words: tuple[str, ...]) -> None:
    """Joins the processes of a distributed run."""
    if not words:
        return
    if words == ("auto",):
        jax.distributed.initialize()
        return
    if len(words) != 3 or not all(word.isdecimal() for word in words[1:]):
        expected = "auto, or host:port and two numbers separated by spaces"
        got = " ".join(words)
        if "," in got:
            expected += f": --distributed {got.replace(',', ' ')}"
        raise checks.error("distributed", repr(got), expected)
    jax.distributed.initialize(words[0], int(words[1]), int(words[2]))
