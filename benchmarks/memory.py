"""Peak memory of one run of one contender, in a process of its own.

`python -m benchmarks.memory JSON` runs what `measure` describes in JSON and prints bytes.
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

#: processes that measure a gradient
REPEATS = 3


def measure_all(jobs: list[tuple[Case, str, str]], bar: tqdm) -> list[int | None]:
    """`measure` of every (case, contender, variant), several at a time."""

    def one(job: tuple[Case, str, str]) -> int | None:
        found = measure(*job)
        bar.update()
        return found

    with ThreadPoolExecutor(CORES) as pool:
        return list(pool.map(one, jobs))


def measure(case: Case, contender: str, variant: str) -> int | None:
    """Bytes of resident memory that a run needs beyond kernels, fields and compiled code.

    The result counts, and so do buffers that are touched for the first time. Of a gradient it is
    the largest of several processes, since which thread does what differs. None where the system
    doesn't say (it takes Linux), or the run fails.
    """
    peaks = [_in_child(case, contender, variant) for _ in range(REPEATS if case.gradient else 1)]
    return max((peak for peak in peaks if peak is not None), default=None)


def _in_child(case: Case, contender: str, variant: str) -> int | None:
    job = {"case": asdict(case), "contender": contender, "variant": variant}
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join([root, *(path for path in sys.path if path)])
    # whatever is freed goes back to the system at once, so that only what is in use counts
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
    """What `measure` measures, within this process."""
    import jax

    from benchmarks import peers
    from benchmarks.cases import samples

    build = peers.CONTENDERS[contender].variants[variant]
    with jax.enable_x64(case.dtype == "float64"):
        tiny = replace(case, fields=min(case.fields, 2), pixels=min(case.pixels, 16), layers=2)
        warm_up = build(tiny, *samples(tiny))
        if warm_up is None:
            return None
        warm_up[0]()  # libraries are loaded and threads started
        built = build(case, *samples(case))
        return None if built is None else _peak(built[0])


def _peak(function: Callable[[], Any]) -> int | None:
    """How far resident memory rises above what it is now while the function runs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # so that freed memory can't be used without being seen
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes what it is now
        before = _status("VmRSS")
        result = function()
        peak = _status("VmHWM") - before
        del result
    except (OSError, KeyError):
        return None
    return max(peak, 0)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[key].split()[0]) * 1024


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(run(Case(**given["case"]), given["contender"], given["variant"]))
