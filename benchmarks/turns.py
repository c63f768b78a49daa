"""Compare the contenders, then time them in turns, so background load affects all alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import peers
from benchmarks.cases import Case, difference, inputs
from benchmarks.roof import Roof

#: longest run in seconds
MAX_SECONDS = 60.0
#: runs of at least so many seconds are timed singly, without a warm-up
SLOW = 2.0
#: seconds of the warm-up of a fast contender, and of its timed run
WARM_UP = 0.03
#: number of timed runs, by the least seconds per run
RUNS = {10.0: 2, SLOW: 5, 0.0: 7}


@dataclass(frozen=True)
class Entry:
    """A contender ready to run a case.

    Attributes:
        run: computes the case.
        variant: name of its fastest variant.
        compile_s: seconds to compile; None if nothing is compiled.
        seconds: approximate time of one run.
        difference: largest relative difference from the expected result.
    """

    run: Callable[[], tuple[Any, ...]]
    variant: str
    compile_s: float | None
    seconds: float
    difference: float


def prepare(
    case: Case, name: str, kernels: np.ndarray, fields: np.ndarray, expected: Sequence[Any] | None
) -> Entry | str | None:
    """The fastest variant of a contender, compared with `expected`.

    Returns:
        An `Entry`; a text if every variant is too slow; None if the contender does not support the
        case.

    Raises:
        ArithmeticError: the result differs from `expected`.
    """
    contender = peers.CONTENDERS[name]
    entries: list[Entry] = []
    reason = None
    for variant, build in contender.variants.items():
        if contender.module != "infomech":
            single = build(replace(case, steps=1), kernels, fields)
            if single and (seconds := timed(single[0])[0] * case.steps) > MAX_SECONDS:
                reason = f"a run would take about {seconds:.0f} s"
                continue
        built = build(case, kernels, fields)
        if built is None:
            continue
        run, compile_s = built
        seconds, result = timed(run)
        error = difference(case, name, result, result if expected is None else expected)
        if seconds < SLOW:
            seconds = timed(run)[0]
        entries.append(Entry(run, variant, compile_s, seconds, error))
    return min(entries, key=lambda entry: entry.seconds) if entries else reason


def compete(
    case: Case, names: Sequence[str], roof: Roof, bar: tqdm, runs: int | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare and time the contenders.

    Args:
        case: the case to run.
        names: contenders; `peers.OURS` first, whose result is the reference.
        roof: limits of the machine, for the shares.
        bar: progress bar; advances by 1.
        runs: timed runs of each contender; `RUNS` if None.

    Returns:
        A row of numbers for each contender, and a note for each one that was left out.

    Raises:
        ArithmeticError: the results of two contenders differ.
    """
    kernels, fields = inputs(case)
    entries: dict[str, Entry] = {}
    notes = []
    with jax.enable_x64(case.dtype == "float64"):
        expected = None
        for name in names:
            bar.set_description(f"{case.title}: {name}")
            try:
                entry = prepare(case, name, kernels, fields, expected)
            except (MemoryError, RuntimeError) as error:
                if name == peers.OURS:
                    raise
                entry = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            if isinstance(entry, Entry):
                entries[name] = entry
                expected = entry.run() if expected is None else expected
            elif entry is not None:
                notes.append(f"{case.title}: {name}, {entry}")
        bar.set_description(case.title)
        seconds = in_turns(entries, runs)
    bar.update()
    return [_row(case, name, entries[name], seconds, roof) for name in entries], notes


def in_turns(entries: dict[str, Entry], runs: int | None) -> dict[str, list[float]]:
    """Seconds of each timed run; slow contenders run in the first turns only."""
    seconds: dict[str, list[float]] = {name: [] for name in entries}
    for turn in range(runs or max(RUNS.values())):
        for name, entry in entries.items():
            slower = max(limit for limit in RUNS if entry.seconds >= limit)
            if turn >= RUNS[slower]:
                continue
            seconds[name].append(timed(entry.run)[0] if slower else settled(entry.run))
    return seconds


def settled(run: Callable[[], Any]) -> float:
    """Seconds per call over `WARM_UP` seconds, after an untimed period of the same length.

    The warm-up refills the caches and outlasts the last contender's threads, which may spin for
    some milliseconds.
    """
    for _ in range(2):
        calls, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < WARM_UP or not calls:
            run()
            calls += 1
    return seconds / calls


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _row(
    case: Case, name: str, entry: Entry, seconds: dict[str, list[float]], roof: Roof
) -> dict[str, Any]:
    """The numbers of one contender; `ratio` is its time over ours in the same turn, median."""
    times = seconds[name]
    median, rate = float(np.median(times)), case.cell_steps / float(np.median(times))
    ratios = [a / b for a, b in zip(times, seconds[peers.OURS], strict=False)]
    share = roof.shares(case, rate) if not case.gradient else {}
    return {
        "title": case.title,
        **asdict(case),
        "contender": name,
        "variant": entry.variant,
        "seconds": times,
        "runs": len(times),
        "median_ms": median * 1e3,
        "gcell_steps_per_s": rate / 1e9,
        "ratio": float(np.median(ratios)),
        "compile_s": entry.compile_s,
        "difference": entry.difference,
        "share_of_fma": share.get("fma"),
        "share_of_sweep": share.get("sweep"),
        "memory_bytes": None,
        "memory_fields": None,
    }
