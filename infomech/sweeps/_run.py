"""Running a sweep: what the store lacks is computed, block after block, and written at once."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax

from infomech._core import checks
from infomech.sweeps import _blocks, _store
from infomech.sweeps._grid import Sweep
from infomech.sweeps._program import Program, variables, wide_types

#: with more blocks than this, looking at them all may take seconds
_MIN_ANNOUNCED_BLOCKS = 200


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: points of this run stored, or found stored.
        points: of this run's share.
        compile_s, run_s, write_s: seconds spent compiling, computing and storing.
        note: something worth telling, or "".
    """

    done: int
    points: int
    compile_s: float = 0.0
    run_s: float = 0.0
    write_s: float = 0.0
    note: str = ""


class RunReport(NamedTuple):
    """What a run did.

    Attributes:
        points: of this run's share.
        computed: of these, computed and stored now; the others had been.
        damaged: points stored before but not intact, computed again.
        batch: points at a time, by setting.
        seconds: spent compiling, computing and storing: the last `Progress`.
    """

    points: int
    computed: int
    damaged: int
    batch: dict[str, int]
    seconds: Progress


def run(
    sweep: Sweep,
    path: str | os.PathLike[str],
    *,
    shard: tuple[int, int] = (0, 1),
    batch: int = 0,
    devices: list[jax.Device] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Computes what is missing in the store of a sweep, block by block.

    May be stopped at any moment and run again; may run several times at once on the same store,
    with the same shard or others. Each setting is compiled once, for a batch that is spread over
    the devices by `jax.shard_map`; a batch too large for memory is halved.

    Args:
        sweep: what to compute.
        path: folder of the store, made if there is none.
        shard: (i, n): only every n-th block, from the i-th on; with several processes of
            `jax.distributed`, each has its share of those.
        batch: points at a time on all devices; 0: as many as memory is good for.
        devices: to compute on; all of this process if None.
        on_progress: called after each block, and when there is something to tell.

    Returns:
        `RunReport`.

    Raises:
        ValueError: a store of another sweep or version, a shard that is none, an `observe` that
            gives no arrays or other ones for other settings, float64 without 64-bit types.
        StoreError: the store can't be written any more; what is in it stays.
    """
    devices = devices or jax.local_devices()
    part, parts = _shard(shard)
    checks.integer("batch", batch, 0)
    wide_types(sweep)
    settings = list(sweep.settings())
    clock = _Clock(on_progress or (lambda _: None))

    def measured():
        with clock.counting("compile_s"):
            return variables(sweep)

    opened = _store.prepare(path, sweep, measured)
    mine = [block for block in opened.layout.blocks() if block.number % parts == part]
    if len(mine) > _MIN_ANNOUNCED_BLOCKS:
        clock.tell(f"looking which of {len(mine):,} blocks are there")
    absent, damaged = [], 0
    for block in mine:
        noted, there = opened.look(block)
        if there is None:
            absent.append(block)
            damaged += block.points if noted else 0
    total = sum(block.points for block in mine)
    kept = total - sum(block.points for block in absent)
    clock.begin(kept, total)
    if damaged:
        clock.tell(f"{damaged} stored points are not what was written: computed again")
    tables, used = [axis.table() for axis in sweep.axes], {}
    for number in dict.fromkeys(block.setting for block in absent):
        todo = [block for block in absent if block.setting == number]
        program = Program(
            sweep, settings[number], opened.shapes, devices, batch, clock.counting, clock.tell
        )
        # runs started on one store by accident meet as late as can be
        first = int.from_bytes(os.urandom(4), "little") % len(todo)
        for block in todo[first:] + todo[:first]:
            if not opened.intact(block):
                found = program(_blocks.columns(tables, block), block.points)
                with clock.counting("write_s"):
                    opened.write(block, found)
                clock.computed += block.points
            clock.passed(block.points)
        used[str(settings[number])] = program.batch
    return RunReport(total, clock.computed, damaged, used, clock.progress)


def _shard(shard: tuple[int, int]) -> tuple[int, int]:
    """This process' part, and of how many."""
    if not (isinstance(shard, tuple | list) and len(shard) == 2):
        raise checks.error("shard", repr(shard), "two whole numbers (i, n) with i < n")
    part, parts = checks.integer("shard", shard[0], 0), checks.integer("shard", shard[1], 1)
    if part >= parts:
        raise checks.error("shard", f"{part} of {parts}", f"0 to {parts - 1} of {parts}")
    processes = jax.process_count()
    return part * processes + jax.process_index(), parts * processes


class _Clock:
    """Counts points and seconds, and passes them on."""

    def __init__(self, watch: Callable[[Progress], None]) -> None:
        self.progress, self.watch, self.computed = Progress(0, 0), watch, 0

    def begin(self, done: int, points: int) -> None:
        """It is known how many points there are to do."""
        self.progress = replace(self.progress, done=done, points=points)
        self.watch(self.progress)

    def passed(self, points: int) -> None:
        """So many more points are stored."""
        self.progress = replace(self.progress, done=self.progress.done + points)
        self.watch(self.progress)

    def tell(self, note: str) -> None:
        """Passes something on that is worth telling."""
        self.watch(replace(self.progress, note=note))

    @contextlib.contextmanager
    def counting(self, what: str) -> Iterator[None]:
        """Adds the seconds of a block of code to `what`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = getattr(self.progress, what) + time.perf_counter() - start
            self.progress = replace(self.progress, **{what: spent})
