"""Contenders compared, then timed in turns, so that what else the machine does meets all alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import peers
from benchmarks.cases import Case, difference, samples
from benchmarks.roof import Roof

#: seconds that one run may take
MAX_SECONDS = 60.0
#: seconds from which on a run isn't repeated without need
SLOW = 2.0
#: seconds that a fast contender runs before it is timed, and then again
SETTLING = 0.03
#: timed runs of contenders that take longer than so many seconds
RUNS = {10.0: 2, SLOW: 5, 0.0: 7}


@dataclass(frozen=True)
class Entry:
    """A contender ready to run a case.

    Attributes:
        run: computes the case.
        variant: the way it does so, the fastest of those it has.
        compile_s: seconds to compile; None where nothing is.
        seconds: what one run takes, roughly.
        difference: largest relative difference from what was expected.
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
        An `Entry`; why there is none, in words; None if the contender can't do such a case.

    Raises:
        ArithmeticError: it computes something else.
    """
    contender = peers.CONTENDERS[name]
    found: list[Entry] = []
    why = None
    for variant, build in contender.variants.items():
        if contender.module != "infomech":
            short = build(replace(case, layers=1), kernels, fields)
            if short and (seconds := timed(short[0])[0] * case.layers) > MAX_SECONDS:
                why = f"a run would take about {seconds:.0f} s"
                continue
        built = build(case, kernels, fields)
        if built is None:
            continue
        run, compile_s = built
        seconds, got = timed(run)
        apart = difference(case, name, got, got if expected is None else expected)
        if seconds < SLOW:
            seconds = timed(run)[0]
        found.append(Entry(run, variant, compile_s, seconds, apart))
    return min(found, key=lambda entry: entry.seconds) if found else why


def compete(
    case: Case, names: Sequence[str], roof: Roof, bar: tqdm, runs: int | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compares and times the contenders; a row of numbers for each, and who was left out and why.

    Args:
        case: what is computed.
        names: of the contenders, `peers.OURS` first, whose answer is what the others must give.
        roof: what shares are measured by.
        bar: moves by 1.
        runs: timed runs of each; `RUNS` if None.

    Raises:
        ArithmeticError: a contender computes something else.
    """
    kernels, fields = samples(case)
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
    """Seconds of each timed run; the slow ones take part in the first rounds only."""
    taken: dict[str, list[float]] = {name: [] for name in entries}
    for turn in range(runs or max(RUNS.values())):
        for name, entry in entries.items():
            slower = max(limit for limit in RUNS if entry.seconds >= limit)
            if turn >= RUNS[slower]:
                continue
            taken[name].append(timed(entry.run)[0] if slower else settled(entry.run))
    return taken


def settled(run: Callable[[], Any]) -> float:
    """Seconds per call over a while, after a while untimed for caches and threads to settle.

    At first both are still the last contender's, whose threads may spin for some milliseconds.
    """
    for _ in range(2):
        calls, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < SETTLING or not calls:
            run()
            calls += 1
    return seconds / calls


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _row(
    case: Case, name: str, entry: Entry, seconds: dict[str, list[float]], roof: Roof
) -> dict[str, Any]:
    """The numbers of one contender; `ratio` is the median of its time over ours in each round."""
    own = seconds[name]
    median, rate = float(np.median(own)), case.cell_steps / float(np.median(own))
    share = roof.shares(case, rate) if not case.gradient else {}
    return {
        "title": case.title,
        **asdict(case),
        "contender": name,
        "variant": entry.variant,
        "seconds": own,
        "runs": len(own),
        "median_ms": median * 1e3,
        "gcell_steps_per_s": rate / 1e9,
        "ratio": float(np.median([a / b for a, b in zip(own, seconds[peers.OURS], strict=False)])),
        "compile_s": entry.compile_s,
        "difference": entry.difference,
        "share_of_fma": share.get("fma"),
        "share_of_sweep": share.get("sweep"),
        "memory_bytes": None,
        "memory_fields": None,
    }
