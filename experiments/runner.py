"""Several experiments at a time, each in a process of its own."""

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

#: experiments at a time; most of each is compiled for, on one processor
PROCESSES = min(os.cpu_count() or 1, 4)


def each(scales: dict[str, str], out: Path) -> Iterator[Record]:
    """Runs experiments, several at a time, and yields their records as they end."""
    if min(PROCESSES, len(scales)) < 2:
        for name, scale in scales.items():
            yield _one(name, out, scale)
        return
    # first that which trains the networks of others, then long ones that need none of them, or a
    # network would be trained twice
    early = ("train_digits", "frontier", "atlas", "energy_conservation")
    names = sorted(scales, key=lambda name: early.index(name) if name in early else len(early))
    spawn = multiprocessing.get_context("spawn")
    # bars of processes side by side would overwrite each other
    quiet = quick.environment("TQDM_DISABLE", "1")
    with quiet, ProcessPoolExecutor(PROCESSES, spawn, _begin) as pool:
        try:
            for done in as_completed(pool.submit(_one, name, out, scales[name]) for name in names):
                yield done.result()
        except BrokenProcessPool as error:
            message = "a process was killed, for want of memory perhaps: --only NAME runs it alone"
            raise ValueError(message) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _one(name: str, out: Path, scale: str) -> Record:
    return records.recorded(name, EXPERIMENTS[name], out, scale=scale)


def _begin() -> None:
    # ends at once when interrupted
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # programs needn't say where in the code each operation comes from, which takes its time
    jax.config.update("jax_traceback_in_locations_limit", 0)
    # nor need what JAX remembers be looked through for garbage again and again
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
