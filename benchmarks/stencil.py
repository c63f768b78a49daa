"""The stencil that one would write by hand in Numba: taps written out, rectifier in the same loop.

Fields lie in padded buffers, so that no tap asks whether it is inside, and rows begin on cache
lines. Threads share out the rows of a single field, or whole fields with all their layers.
"""

import functools
import itertools
import math
import time
from typing import Any

import numpy as np

from benchmarks.cases import CORES, Built, Case

#: bytes of a cache line, to which rows are aligned
LINE = 64
#: pixels of a one-dimensional field that a thread takes at a time
CHUNK = 16384


def source(axes: int, taps: int, pixels: int, pad: int, rows: int) -> str:
    """Python text of `layer(k, u, v)`: v ← max(k * u, 0), for flat buffers and reflected taps.

    Args:
        axes: of the field, 1 to 3.
        taps: on each axis, odd.
        pixels: on each axis.
        pad: zeros before and after each row; `taps // 2` on the other axes.
        rows: computed together, so that what they read is read once; 1 for a field of one axis.
    """
    half = taps // 2
    width, high = pixels + 2 * pad, pixels + 2 * half
    strides = (high * width, width, 1)[3 - axes :]
    text = ["def layer(k, u, v):", *[f"    k{i} = k[{i}]" for i in range(taps**axes)]]
    if axes == 1:
        text += [f"    for start in prange({math.ceil(pixels / CHUNK)}):"]
        begin, stop = f"start * {CHUNK}", f"min({CHUNK}, {pixels} - start * {CHUNK})"
    elif axes == 2:
        text += [f"    for start in prange({pixels // rows}):"]
        begin, stop = f"start * {rows * width}", str(pixels)
    else:
        text += [f"    for z in prange({pixels}):", f"     for y in range({pixels // rows}):"]
        begin, stop = f"z * {high * width} + y * {rows * width}", str(pixels)
    body = [f"a, b = u[{begin}:], v[{begin}:]", f"for x in range({stop}):"]
    shift = pad - half  # from where the padding begins to what the first tap reads
    reads = [
        sum(i * s for i, s in zip(tap, strides, strict=True)) + shift
        for tap in itertools.product(range(taps), repeat=axes)
    ]
    center = half * sum(strides) + shift
    for r in range(rows):
        terms = [f"k{i} * a[x + {at + r * width}]" for i, at in enumerate(reads)]
        body.append(f"    sum{r} = {' + '.join(terms)}")
    body += [f"    b[x + {center + r * width}] = max(sum{r}, zero)" for r in range(rows)]
    return "\n".join(text + ["        " + line for line in body])


@functools.cache
def compiled(
    axes: int, taps: int, pixels: int, pad: int, rows: int, batch: bool, dtype: str
) -> tuple[Any, float]:
    """`run(k, first, a, b, layers)` and the seconds that Numba takes to compile it.

    k is (n, taps^axes), the buffers (n, padded field), with n = 1 unless `batch`; the last of the
    layers lies in a or b.
    """
    import numba

    names = {"prange": range if batch else numba.prange, "zero": np.dtype(dtype).type(0)}
    exec(source(axes, taps, pixels, pad, rows), names)
    layer = numba.njit(parallel=not batch, fastmath=True)(names["layer"])

    def one(k, first, a, b, layers):
        layer(k, first, a)
        for t in range(1, layers):
            if t % 2:
                layer(k, a, b)
            else:
                layer(k, b, a)

    one = numba.njit(one)

    def every(k, first, a, b, layers):
        for i in numba.prange(len(k)):
            one(k[i], first[i], a[i], b[i], layers)

    every = numba.njit(parallel=True)(every)

    def single(k, first, a, b, layers):
        one(k[0], first[0], a[0], b[0], layers)

    run = every if batch else single
    half = taps // 2
    empty = np.zeros((1, (pixels + 2 * half) ** (axes - 1) * (pixels + 2 * pad)), dtype)
    start = time.perf_counter()
    run(np.zeros((1, taps**axes), dtype), empty, empty, empty, 1)
    return run, time.perf_counter() - start


def build(case: Case, kernels: np.ndarray, fields: np.ndarray, *, rows: int = 1) -> Built | None:
    """The case by `compiled`, `rows` rows at a time; None where that can't be."""
    import numba

    if case.gradient or (rows > 1 and (case.axes == 1 or case.pixels % rows)):
        return None
    numba.set_num_threads(CORES)
    half, pad = case.taps // 2, LINE // np.dtype(case.dtype).itemsize
    padded = (*[case.pixels + 2 * half] * (case.axes - 1), case.pixels + 2 * pad)
    inside = (slice(None), *[slice(half, -half)] * (case.axes - 1), slice(pad, -pad))
    flat = np.flip(kernels, tuple(range(1, kernels.ndim))).reshape(case.fields, -1).copy()
    run, seconds = compiled(
        case.axes, case.taps, case.pixels, pad, rows, case.fields > 1, case.dtype
    )
    buffers = [_zeros(case.fields, padded, case.dtype) for _ in range(3)]
    shaped = [buffer.reshape(case.fields, *padded) for buffer in buffers]
    shaped[0][inside] = fields

    def forward() -> tuple[Any, ...]:
        run(flat, *buffers, case.layers)
        return (shaped[1 if case.layers % 2 else 2][inside],)

    return forward, seconds


def _zeros(fields: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Zeros (fields, size of the shape) whose first element begins a cache line."""
    size = fields * math.prod(shape)
    raw = np.zeros(size + LINE, dtype)
    skipped = -raw.ctypes.data % LINE // raw.itemsize
    return raw[skipped : skipped + size].reshape(fields, -1)
