"""What the machine can do: multiply-adds and bytes per second, the roof over every stencil."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.cases import CORES, Case

#: bytes of the arrays that are streamed, far more than any cache holds
STREAM_BYTES = 1 << 28
#: numbers that each thread multiplies and adds to, few enough for the first cache
LANES, DEPTH = 1024, 16


@dataclass(frozen=True)
class Roof:
    """Rates of all cores together.

    Attributes:
        bandwidth: bytes/s to and from memory.
        fma: multiply-adds per second, by dtype.
        stream: the loop that reached `bandwidth`.
        arithmetic: the loop that reached `fma`, by dtype.
    """

    bandwidth: float
    fma: dict[str, float]
    stream: str
    arithmetic: dict[str, str]

    def shares(self, case: Case, rate: float) -> dict[str, float]:
        """What `rate` cell-steps/s of a case are of the two roofs.

        Returns:
            "fma": taps · rate / multiply-adds per second. "sweep": 2 · itemsize · rate / bandwidth,
            as if every layer read the field from memory once and wrote it once; above 1 where
            several layers run in cache.
        """
        moved = 2 * np.dtype(case.dtype).itemsize * rate
        return {
            "fma": case.tap_count * rate / self.fma[case.dtype],
            "sweep": moved / self.bandwidth,
        }


def measure(
    dtypes: tuple[str, ...] = ("float32", "float64"), stream_bytes: int = STREAM_BYTES
) -> Roof:
    """The larger of several ways to reach each rate, each the best of several runs.

    Bandwidth: a copy in threads, of which 2 · itemsize bytes per element are counted; and, with
    Numba, the triad a = b + s·c, of which 3 are. Multiply-adds: a matrix product; and, with Numba,
    x ← x·f + g on numbers that stay in the first cache.
    """
    streams = {"copy": _copy(stream_bytes)}
    products = {dtype: {"matrix product": _product(dtype)} for dtype in dtypes}
    try:
        streams["triad"] = _triad(stream_bytes)
        for dtype in dtypes:
            products[dtype]["chains of multiply-adds"] = _chains(dtype)
    except ImportError:
        pass
    stream = max(streams, key=lambda name: streams[name])
    chosen = {dtype: max(rates, key=lambda name: rates[name]) for dtype, rates in products.items()}
    fma = {dtype: products[dtype][name] for dtype, name in chosen.items()}
    return Roof(streams[stream], fma, stream, chosen)


def _best(run: Callable[[], Any], runs: int = 7) -> float:
    """Seconds of the fastest of several runs, after one that isn't counted."""
    run()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _copy(size: int) -> float:
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(np.array_split(target, CORES), np.array_split(source, CORES), strict=True))
    with ThreadPoolExecutor(CORES) as pool:
        seconds = _best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return 2 * size / seconds


def _triad(size: int) -> float:
    import numba

    numba.set_num_threads(CORES)

    def triad(a, b, c, s):
        for i in numba.prange(a.size):
            a[i] = b[i] + s * c[i]

    run: Any = numba.njit(parallel=True, fastmath=True)(triad)
    arrays = [np.ones(size // 4, np.float32) for _ in range(3)]
    return 3 * size / _best(lambda: run(*arrays, np.float32(2)))


def _product(dtype: str, n: int = 1536) -> float:
    matrix = np.ones((n, n), dtype)
    return n**3 / _best(lambda: matrix @ matrix)


def _chains(dtype: str) -> float:
    """Threads with `LANES` numbers each, which depend on nothing but their own last value.

    One after the other, `DEPTH` multiply-adds go into each number between loading and storing it.
    """
    import numba

    numba.set_num_threads(CORES)
    chain = "x = x * f + g; " * DEPTH
    text = f"""
def multiply_add(numbers, rounds, f, g):
    for thread in prange(len(numbers)):
        row = numbers[thread]
        for _ in range(rounds):
            for i in range(row.size):
                x = row[i]
                {chain}
                row[i] = x
"""
    names: dict[str, Any] = {"prange": numba.prange}
    exec(text, names)
    run: Any = numba.njit(parallel=True, fastmath={"contract"})(names["multiply_add"])
    numbers, rounds = np.ones((CORES, LANES), dtype), 20_000
    f, g = np.dtype(dtype).type(0.999), np.dtype(dtype).type(0.001)
    return numbers.size * DEPTH * rounds / _best(lambda: run(numbers, rounds, f, g), 5)
