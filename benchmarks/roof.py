"""Roofline of the machine: multiply-adds per second and bytes per second."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.cases import CORES, Case

#: bytes of the streamed arrays; far larger than any cache
STREAM_BYTES = 1 << 28
#: numbers per thread, few enough for the L1 cache; multiply-adds between load and store
LANES, DEPTH = 1024, 16


@dataclass(frozen=True)
class Roof:
    """Rates of all cores together.

    Attributes:
        bandwidth: bytes/s to and from memory.
        fma: multiply-adds per second, by dtype.
        stream: name of the loop that reached `bandwidth`.
        arithmetic: name of the loop that reached `fma`, by dtype.
    """

    bandwidth: float
    fma: dict[str, float]
    stream: str
    arithmetic: dict[str, str]

    def shares(self, case: Case, rate: float) -> dict[str, float]:
        """Shares of the two limits that `rate` cell-steps/s of a case reach.

        Returns:
            "fma": taps · rate / multiply-adds per second. "sweep": 2 · itemsize · rate / bandwidth,
            as if each layer read the field from memory once and wrote it once; above 1 if several
            layers run in cache.
        """
        traffic = 2 * np.dtype(case.dtype).itemsize * rate
        return {
            "fma": case.tap_count * rate / self.fma[case.dtype],
            "sweep": traffic / self.bandwidth,
        }


def measure(
    dtypes: tuple[str, ...] = ("float32", "float64"), stream_bytes: int = STREAM_BYTES
) -> Roof:
    """Measure each rate by several loops, and keep the largest; each loop counts its best run.

    Bandwidth: a threaded copy, counted as 2 · itemsize bytes per element; with Numba also the triad
    a = b + s·c, counted as 3 · itemsize. Multiply-adds: a matrix product; with Numba also
    x ← x·f + g on numbers in the L1 cache.
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
    loops = {dtype: max(rates, key=lambda name: rates[name]) for dtype, rates in products.items()}
    fma = {dtype: products[dtype][name] for dtype, name in loops.items()}
    return Roof(streams[stream], fma, stream, loops)


def _best(run: Callable[[], Any], runs: int = 7) -> float:
    """Seconds of the fastest of several runs, after an untimed one."""
    run()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


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
    """`LANES` independent numbers per thread, with `DEPTH` multiply-adds in sequence on each."""
    import numba

    numba.set_num_threads(CORES)
    chain = "x = x * f + g; " * DEPTH
    text = f"""
def multiply_add(numbers, repeats, f, g):
    for thread in prange(len(numbers)):
        row = numbers[thread]
        for _ in range(repeats):
            for i in range(row.size):
                x = row[i]
                {chain}
                row[i] = x
"""
    names: dict[str, Any] = {"prange": numba.prange}
    exec(text, names)
    run: Any = numba.njit(parallel=True, fastmath={"contract"})(names["multiply_add"])
    numbers, repeats = np.ones((CORES, LANES), dtype), 20_000
    f, g = np.dtype(dtype).type(0.999), np.dtype(dtype).type(0.001)
    return numbers.size * DEPTH * repeats / _best(lambda: run(numbers, repeats, f, g), 5)
