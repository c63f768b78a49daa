"""Peak memory of one run of one contender, measured in a separate process.

`python -m benchmarks.memory JSON` runs one job and prints its peak memory in bytes.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.cases import CORES, Case

#: processes in which a gradient is measured
REPEATS = 3


def measure_all(jobs: list[tuple[Case, str, str]], bar: tqdm) -> list[int | None]:
    """`measure` of each (case, contender, variant), several at a time."""

    def measure_job(job: tuple[Case, str, str]) -> int | None:
        peak = measure(*job)
        bar.update()
        return peak

    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(measure_job, jobs))


def measure(case: Case, contender: str, variant: str) -> int | None:
    """Resident memory of a run in bytes, beyond kernels, fields and compiled code.

    The result and buffers touched for the first time are included. For a gradient, the largest peak
    of several processes counts, because the scheduling of threads varies. None if the run fails or
    the system does not report memory (Linux only).
    """
    peaks = [_in_child(case, contender, variant) for _ in range(REPEATS if case.gradient else 1)]
    return max((peak for peak in peaks if peak is not None), default=None)


def _in_child(case: Case, contender: str, variant: str) -> int | None:
    job = {"case": asdict(case), "contender": contender, "variant": variant}
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join([root, *(path for path in sys.path if path)])
    # return freed memory to the system at once, so only memory in use counts
    settings = {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "MALLOC_MMAP_THRESHOLD_": "65536"}
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings},
    )
    last = child.stdout.strip().rpartition("\n")[2]
    return int(last) if child.returncode == 0 and last.isdigit() else None


def run(case: Case, contender: str, variant: str) -> int | None:
    """Peak memory of a run within this process; see `measure`."""
    import jax

    from benchmarks import peers
    from benchmarks.cases import inputs

    build = peers.CONTENDERS[contender].variants[variant]
    with jax.enable_x64(case.dtype == "float64"):
        tiny = replace(case, fields=min(case.fields, 2), pixels=min(case.pixels, 16), steps=2)
        warm_up = build(tiny, *inputs(tiny))
        if warm_up is None:
            return None
        warm_up[0]()  # load libraries and start threads
        built = build(case, *inputs(case))
        return None if built is None else peak(built[0])


def peak(function: Callable[[], Any]) -> int | None:
    """Rise of resident memory above its current value while the function runs, in bytes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # else reuse of freed memory would not count
    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
        before = _status("VmRSS")
        result = function()
        rise = _status("VmHWM") - before
        del result
    except (OSError, KeyError):
        return None
    return max(rise, 0)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[key].split()[0]) * 1024


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(run(Case(**job["case"]), job["contender"], job["variant"]))
