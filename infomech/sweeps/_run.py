"""Run a sweep: compute the blocks missing in a store, and write each as it is done."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from infomech._core import checks, extras
from infomech._core.progress import Progress
from infomech.sweeps import _blocks, _store
from infomech.sweeps._grid import Sweep
from infomech.sweeps._program import Program, check_dtype, variables

#: above this many blocks, announce the scan for finished ones
_MIN_ANNOUNCED_BLOCKS = 200


class RunReport(NamedTuple):
    """Summary of a run.

    Attributes:
        points: points of this shard.
        computed: points computed and stored by this run.
        damaged: stored points that failed their checksum and were recomputed.
        batch: batch size by setting.
        seconds: seconds spent on "compile", "run" and "write".
    """

    points: int
    computed: int
    damaged: int
    batch: dict[str, int]
    seconds: dict[str, float]


def run(
    sweep: Sweep,
    path: str | os.PathLike[str],
    *,
    shard: tuple[int, int] = (0, 1),
    batch: int = 0,
    devices: list[jax.Device] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Computes the missing blocks of a sweep and stores them.

    A run can be interrupted at any time and repeated, and several runs may share one store, with
    the same shard or different ones. Each setting is compiled once, for a batch that
    `jax.shard_map` distributes over the devices; a batch too large for memory is halved.

    Args:
        sweep: the sweep.
        path: folder of the store, created if missing.
        shard: (i, n): only every n-th block, starting with the i-th; the processes of
            `jax.distributed` divide these among themselves.
        batch: points computed at once on all devices; 0: chosen from the memory.
        devices: devices to use; None: all of this process.
        on_progress: called with a `Progress` in points at the start, after each block and for each
            message; its `seconds` are those of "compile", "run" and "write".

    Returns:
        `RunReport`.

    Raises:
        ValueError: the store belongs to another sweep or version; invalid shard; `observe` returns
            no arrays, or shapes that differ between settings; float64 without `jax_enable_x64`.
        StoreError: the store has become unwritable; finished blocks are kept.
    """
    part, parts = _shard(shard)
    checks.integer("batch", batch, 0)
    check_dtype(sweep)
    clock = _Clock(on_progress)

    def timed_variables():
        with clock.timed("compile"):
            return variables(sweep)

    store = _store.prepare(path, sweep, timed_variables)
    blocks = [block for block in store.layout.blocks() if block.number % parts == part]
    return _fill(store, sweep, blocks, clock, batch, devices or jax.local_devices())


def compute(
    sweep: Sweep,
    *,
    batch: int = 0,
    devices: list[jax.Device] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Any:
    """Computes a sweep in memory.

    Args:
        sweep: the sweep.
        batch, devices, on_progress: as for `run`.

    Returns:
        xarray Dataset, the same as `xarray.open_zarr` of a store written by `run`.

    Raises:
        ValueError: `observe` returns no arrays, or shapes that differ between settings; float64
            without `jax_enable_x64`.
        ImportError: a package of the extra `sweeps` is not installed.

    Example:
        >>> from infomech import sweeps
        >>> axis = sweeps.linear("share", 0, 1, 3)
        >>> sweep = sweeps.Sweep(axis, dimensions=1, steps=6, burn_in=1)
        >>> sweeps.compute(sweep).velocity.dims
        ('share', 'component')
    """
    with extras.needed("sweeps", "a sweep in memory"):
        import xarray
    checks.integer("batch", batch, 0)
    check_dtype(sweep)
    clock = _Clock(on_progress)
    with clock.timed("compile"):
        measured = variables(sweep)
    store, memory = _store.in_memory(sweep, measured)
    blocks = list(store.layout.blocks())
    _fill(store, sweep, blocks, clock, batch, devices or jax.local_devices())
    return xarray.open_zarr(memory, chunks=None).load()


def _fill(
    store: _store.Store,
    sweep: Sweep,
    blocks: list[_blocks.Block],
    clock: "_Clock",
    batch: int,
    devices: list[jax.Device],
) -> RunReport:
    """Computes and stores the missing ones of some blocks."""
    settings = list(sweep.settings())
    if len(blocks) > _MIN_ANNOUNCED_BLOCKS:
        clock.log(f"scanning {len(blocks):,} blocks for finished ones")
    missing, damaged = [], 0
    for block in blocks:
        checksum, results = store.load(block)
        if results is None:
            missing.append(block)
            damaged += block.points if checksum else 0
    total = sum(block.points for block in blocks)
    clock.start(total - sum(block.points for block in missing), total)
    if damaged:
        clock.log(f"{damaged} stored points failed their checksum and will be recomputed")
    tables, batches = [axis.table() for axis in sweep.axes], {}
    for number in dict.fromkeys(block.setting for block in missing):
        todo = [block for block in missing if block.setting == number]
        program = Program(
            sweep, settings[number], store.shapes, devices, batch, clock.timed, clock.log
        )
        # a random first block keeps concurrent runs on one store apart for long
        first = int.from_bytes(os.urandom(4), "little") % len(todo)
        for block in todo[first:] + todo[:first]:
            if not store.intact(block):
                results = program(_blocks.columns(tables, block), block.points)
                with clock.timed("write"):
                    store.write(block, results)
                clock.computed += block.points
            clock.advance(block.points)
        batches[str(settings[number])] = program.batch
    return RunReport(total, clock.computed, damaged, batches, clock.seconds)


def _shard(shard: tuple[int, int]) -> tuple[int, int]:
    """Shard of this process, and the number of shards."""
    if not (isinstance(shard, tuple | list) and len(shard) == 2):
        raise checks.error("shard", repr(shard), "two integers (i, n) with i < n")
    part, parts = checks.integer("shard", shard[0], 0), checks.integer("shard", shard[1], 1)
    if part >= parts:
        raise checks.error("shard", f"{part} of {parts}", f"0 to {parts - 1} of {parts}")
    processes = jax.process_count()
    return part * processes + jax.process_index(), parts * processes


class _Clock:
    """Counts points and seconds, and reports them."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.on_progress, self.computed = on_progress, 0
        self.done, self.points = 0, 0
        self.seconds = {"compile": 0.0, "run": 0.0, "write": 0.0}

    def start(self, done: int, points: int) -> None:
        """Sets the points done by earlier runs, and the total."""
        self.done, self.points = done, points
        self.log()

    def advance(self, points: int) -> None:
        """Counts stored points."""
        self.done += points
        self.log()

    def log(self, note: str = "") -> None:
        """Reports the progress, with a message."""
        if self.on_progress:
            seconds = dict(self.seconds)
            self.on_progress(Progress(self.done, self.points, note=note, seconds=seconds))

    @contextlib.contextmanager
    def timed(self, work: str) -> Iterator[None]:
        """Adds the seconds of a `with` block to one kind of work."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[work] += time.perf_counter() - start
