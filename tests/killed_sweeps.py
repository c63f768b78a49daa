"""A sweep killed again and again: run as a script by test_sweep_survival.py, prints JSON.

Everything is imported once; each run is a fork of its own, so that a kill costs a second at most.
So this process itself must start neither JAX nor Zarr, which go on in threads.
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
import xarray  # noqa: F401  (imported by the forks otherwise, each on its own)
import zarr  # noqa: F401

from infomech import sweeps
from infomech.sweeps import _blocks, _program


def ends(kernel, final, trace, setting):
    """Some quantities that take little time to trace, which each fork does."""
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
    """One run; writes down which blocks it computes; dies at the `kill_at`-th file moved in place.

    Only chunks of the store count, or any file if `anything` does. Odd numbers die just before.
    """
    numbers = {b.where[0].start: b.number for b in _blocks.layout(sweep()).blocks()}
    compute, replace, moved = _program.Program.__call__, os.replace, itertools.count(1)

    def computed(self, columns, points):
        with log.open("a") as file:
            file.write(f"{numbers[int(columns['seed'][0])]}\n")
        time.sleep(0.01)
        return compute(self, columns, points)

    def replaced(*paths):
        target = str(paths[1])
        counts = anything or (target.startswith(f"{path}/") and "/c/" in target)
        # files of a block are moved by several threads
        fatal = counts and next(moved) == kill_at
        if fatal and kill_at % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    _program.Program.__call__, os.replace = computed, replaced
    sweeps.run(sweep(), path)


def forked(path, log, seconds=None, **kill):
    """Runs in a fork; None if it was killed, else its exit code.

    It is killed so many `seconds` after its second block was begun, or as `run` says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of any fork; it hasn't started anything here
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
    """How many blocks a run has begun."""
    return len(log.read_text().split()) if log.exists() else 0


def stored(path):
    """Numbers of the blocks that are there: each is a file of the mask."""
    return [int(file.parent.name) for file in path.glob("done/c/*/0")]


def main(folder):
    """Kills, then one run to the end, then another from nothing."""
    path, whole, log = folder / "killed.zarr", folder / "whole.zarr", folder / "log"
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    code = forked(whole, folder / "other")
    draw = random.Random(0)
    said = json.loads((whole / "zarr.json").read_text())["attributes"]
    # a block moves a file in place for each variable, and one of the mask
    files = len(said["sweep"]["measured"]) + 1
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
