"""Run several experiments in parallel, each in its own process."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import jax

from experiments import quick, records
from experiments.catalog import EXPERIMENTS
from experiments.records import Record

#: parallel experiments; each spends most of its time compiling, on one core
PROCESSES = min(os.cpu_count() or 1, 4)


def each(scales: dict[str, str], out: Path) -> Iterator[Record]:
    """Run experiments in parallel and yield their records as they finish."""
    if min(PROCESSES, len(scales)) < 2:
        for name, scale in scales.items():
            yield _run(name, out, scale)
        return
    # run the training claim first, since others reuse its networks; then the long ones
    early = ("train_digits", "frontier", "atlas", "energy_conservation")
    names = sorted(scales, key=lambda name: early.index(name) if name in early else len(early))
    spawn = multiprocessing.get_context("spawn")
    # progress bars of parallel processes would overwrite each other
    quiet = quick.environment("TQDM_DISABLE", "1")
    with quiet, ProcessPoolExecutor(PROCESSES, spawn, _initialize) as pool:
        try:
            for done in as_completed(pool.submit(_run, name, out, scales[name]) for name in names):
                yield done.result()
        except BrokenProcessPool as error:
            message = (
                "a process was killed, perhaps out of memory: --only NAME runs one claim alone"
            )
            raise ValueError(message) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _run(name: str, out: Path, scale: str) -> Record:
    return records.recorded(name, EXPERIMENTS[name], out, scale=scale)


def _initialize() -> None:
    # exit immediately when interrupted
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # omit source locations from programs, which saves time
    jax.config.update("jax_traceback_in_locations_limit", 0)
    # keep the garbage collector from scanning JAX's caches
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
