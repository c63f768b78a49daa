"""Repeatedly killed sweep: script of test_sweep_survival.py, prints JSON.

Modules are imported once and each run is a fork, so a kill costs at most a second. This process
itself must not start JAX or Zarr, whose threads don't survive a fork.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import jax
import xarray  # noqa: F401  (otherwise imported by each fork)
import zarr  # noqa: F401

from infomech import sweeps
from infomech.sweeps import _blocks, _program


def ends(kernel, final, trace, setting):
    """Quantities that are quick to trace; every fork traces them."""
    return {
        "center": trace.center[-1],
        "mass": final.values.sum(),
        "energy": trace.log_energy,
        "covariance": trace.covariance[-1],
        "died": ~(trace.log_energy[-1] > -1e30),
    }


def sweep():
    """30 blocks of 12 points."""
    return sweeps.Sweep(
        axes=(sweeps.seeds(90), sweeps.linear("share", 0, 1, 4)),
        family="random",
        dimensions=1,
        pattern="impulse",
        steps=4,
        burn_in=1,
        block=12,
        observe=ends,
    )


def run(path, log, kill_at=None, anything=False):
    """One run, which logs the blocks it computes and dies at the `kill_at`-th file replacement.

    Only chunks of the store count, or all files if `anything`. Odd numbers die just before it.
    """
    numbers = {b.where[0].start: b.number for b in _blocks.layout(sweep()).blocks()}
    compute, replace, counter = _program.Program.__call__, os.replace, itertools.count(1)

    def computed(self, columns, points):
        with log.open("a") as file:
            file.write(f"{numbers[int(columns['seed'][0])]}\n")
        time.sleep(0.01)
        return compute(self, columns, points)

    def replaced(*paths):
        target = str(paths[1])
        counts = anything or (target.startswith(f"{path}/") and "/c/" in target)
        # several threads replace the files of a block
        fatal = counts and next(counter) == kill_at
        if fatal and kill_at % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    _program.Program.__call__, os.replace = computed, replaced
    sweeps.run(sweep(), path)


def forked(path, log, seconds=None, **kill):
    """Exit code of a run in a fork; None if it was killed.

    It is killed `seconds` after it began its second block, or as described in `run`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns about forks, but has not started here
        pid = os.fork()
    if pid == 0:
        try:
            run(path, log, **kill)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    if seconds is not None:
        while begun(log) < 2 and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def begun(log):
    """Number of blocks a run has begun."""
    return len(log.read_text().split()) if log.exists() else 0


def stored(path):
    """Numbers of the stored blocks: each has a file in `done`."""
    return [int(file.parent.name) for file in path.glob("done/c/*/0")]


def main(folder):
    """An uninterrupted run, then killed runs of another store, then a run that completes it."""
    path, full, log = folder / "killed.zarr", folder / "full.zarr", folder / "log"
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    code = forked(full, folder / "other")
    draw = random.Random(0)
    attributes = json.loads((full / "zarr.json").read_text())["attributes"]
    # each block replaces one file per variable and one in `done`
    files = len(attributes["sweep"]["measured"]) + 1
    kills = [{"kill_at": 1, "anything": True}, {"kill_at": 40, "anything": True}]
    kills += [{"kill_at": draw.randint(1, 2 * files)} for _ in range(9)]
    kills += [{"kill_at": files}, {"kill_at": files - 1}]
    kills += [{"seconds": draw.uniform(0, 0.06)} for _ in range(9)]
    runs = []
    for kill in kills:
        before = stored(path)
        log.unlink(missing_ok=True)
        died = forked(path, log, **kill)
        started = [int(line) for line in log.read_text().split()] if log.exists() else []
        runs.append(
            {"died": died is None, "before": before, "started": started, "after": stored(path)}
        )
    print(
        json.dumps(
            {"first": code, "runs": runs, "last": forked(path, log), "blocks": len(stored(path))}
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
