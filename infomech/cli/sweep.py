"""`infomech sweep`: run a sweep that a TOML file describes, inspect its store, and export it."""

import functools
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from tqdm import tqdm

from infomech import sweeps
from infomech._core import checks, files
from infomech.cli.options import tell, use
from infomech.fields import patterns
from infomech.sweeps import _spec, _store


@dataclass(frozen=True)
class SweepRun:
    """Run a sweep, or what is missing of it: every setting at every point of its axes.

    It may be stopped at any moment; the same command goes on. Several processes may work on one
    store, which is read by `xarray.open_zarr`.
    """

    spec: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
    """TOML file: settings, each value of which is compiled for, and axes of numbers."""
    store: Path = Path("out/sweep.zarr")
    """Folder of the results."""
    shard: str = "0/1"
    """i/n: only every n-th block from the i-th on, 0 ≤ i < n, for job arrays."""
    batch: int = 0
    """Points at a time on all devices; 0: as many as memory is good for."""
    distributed: tuple[str, ...] = ()
    """This is one of several processes, each of which takes its share of the blocks: auto, as SLURM
    and others tell JAX, or host:port, how many there are and the number of this one."""
    explain: bool = False
    """Only tell what it will take."""
    compile_cache: Path | None = None
    """Folder that keeps compiled code, so that the next time it need not be compiled again."""
    json: bool = False
    """Print what was done as JSON."""

    def run(self) -> int:
        """Runs what is missing; 0, or 1 if the store can't be written, 130 if interrupted."""
        shard = _shard(self.shard)
        # before anything is computed, as JAX asks
        _join(self.distributed)
        sweep = _spec.load(self.spec)
        use("float64" if "float64" in sweep.dtype else "float32", self.compile_cache)
        if self.explain:
            told = sweeps.explain(sweep, batch=self.batch)
            print(files.to_json(told) if self.json else told)
            return 0
        bar = _Bar()
        try:
            done = sweeps.run(sweep, self.store, shard=shard, batch=self.batch, on_progress=bar)
        except (KeyboardInterrupt, sweeps.StoreError) as error:
            bar.close()
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else error.strerror
            print(f"infomech: {stopped}; what is done is kept. To go on:", file=sys.stderr)
            print(f"  {self._command()}", file=sys.stderr)
            return 130 if isinstance(error, KeyboardInterrupt) else 1
        bar.close()
        for name in sweep.pattern:
            tell(patterns.conversion(name), json=self.json)
        print(files.to_json(done) if self.json else self._report(done))
        return 0

    def _command(self) -> str:
        words = ["infomech", "sweep", "run", str(self.spec), "--store", str(self.store)]
        for name in ("shard", "batch", "distributed", "compile_cache"):
            value = getattr(self, name)
            if value != getattr(SweepRun, name):
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{name.replace('_', '-')}", *map(str, values)]
        return shlex.join(words)

    def _report(self, done: sweeps.RunReport) -> str:
        s = done.seconds
        return "\n".join(
            [
                f"points  {done.points:,}, of which {done.computed:,} were computed now",
                f"time    compiling {s.compile_s:.1f} s, running {s.run_s:.1f} s,"
                f" storing {s.write_s:.1f} s",
                f"store   {self.store}: xarray.open_zarr({str(self.store)!r})",
            ]
        )


@dataclass(frozen=True)
class SweepStatus:
    """Tell how far a store is, and whether what is in it is what was written."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Folder of the results."""
    json: bool = False
    """Print it as JSON."""

    def run(self) -> int:
        """Prints it; 0 if all is there and intact, else 1."""
        bar = functools.partial(
            tqdm, desc="blocks", unit="block", delay=2, leave=False, disable=None, file=sys.stderr
        )
        found = _store.status(self.store, bar)
        print(files.to_json(found) if self.json else _status(self.store, found))
        return 0 if found.intact == found.points and found.labeled else 1


@dataclass(frozen=True)
class SweepExport:
    """Write a store as one NetCDF file."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Folder of the results."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The file."""

    def run(self) -> int:
        """Writes it and says what is in it."""
        found = sweeps.export(self.store, self.out)
        sizes = ", ".join(f"{name} {size}" for name, size in found.sizes.items())
        print(f"{self.out}: {sizes}")
        return 0


class _Bar:
    """A progress bar that tells compiling, running and storing apart."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, progress: sweeps.Progress) -> None:
        if self.bar is None:
            self.bar = tqdm(
                total=progress.points,
                initial=progress.done,
                unit="point",
                unit_scale=True,
                desc="sweep",
                file=sys.stderr,
                disable=None,
            )
        if progress.note:
            tqdm.write(f"infomech: {progress.note}", file=sys.stderr)
        self.bar.total = progress.points
        self.bar.set_postfix_str(
            f"compiling {progress.compile_s:.0f} s, running {progress.run_s:.0f} s, "
            f"storing {progress.write_s:.1f} s"
        )
        self.bar.update(progress.done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _status(path: Path, found: _store.Status) -> str:
    lines = [
        f"{path}: {found.intact:,} of {found.points:,} points"
        f" ({found.intact / found.points:.1%}), {found.blocks:,} blocks"
    ]
    if found.damaged:
        lines.append(
            f"not what was written, and computed again next time: {found.damaged:,} points"
        )
    if not found.labeled:
        lines.append("the coordinates are not what was written, and written anew next time")
    for name, count in found.statuses.items():
        lines.append(f"  {count:>9,}  {name}")
    return "\n".join([*lines, f"written by infomech {found.infomech}, {found.created}"])


def _shard(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal()):
        raise checks.error("shard", repr(text), "i/n, such as 0/4")
    return int(part), int(parts)


def _join(words: tuple[str, ...]) -> None:
    """Joins the other processes."""
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
