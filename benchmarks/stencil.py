"""A hand-written Numba stencil: unrolled taps, with the rectifier in the same loop.

Padded buffers avoid bounds checks, and rows are aligned to cache lines. Threads split a single
field by rows, and a batch by fields.
"""

import functools
import itertools
import math
import time
from typing import Any

import numpy as np

from benchmarks.cases import CORES, Built, Case

#: bytes of a cache line; rows are aligned to it
LINE = 64
#: pixels of a one-dimensional field per thread and turn
CHUNK = 16384


def source(axes: int, kernel_size: int, pixels: int, pad: int, rows: int) -> str:
    """Python source of `layer(k, u, v)`: v ← max(k * u, 0), for flat buffers and reflected taps.

    Args:
        axes: number of axes of the field, 1 to 3.
        kernel_size: taps along each axis, odd.
        pixels: pixels along each axis.
        pad: zeros before and after each row; `kernel_size // 2` on the other axes.
        rows: rows computed together, to share reads; 1 for a one-dimensional field.
    """
    half = kernel_size // 2
    width, high = pixels + 2 * pad, pixels + 2 * half
    strides = (high * width, width, 1)[3 - axes :]
    text = ["def layer(k, u, v):", *[f"    k{i} = k[{i}]" for i in range(kernel_size**axes)]]
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
    shift = pad - half  # offset of the first tap from the start of the padding
    reads = [
        sum(i * s for i, s in zip(tap, strides, strict=True)) + shift
        for tap in itertools.product(range(kernel_size), repeat=axes)
    ]
    center = half * sum(strides) + shift
    for r in range(rows):
        terms = [f"k{i} * a[x + {at + r * width}]" for i, at in enumerate(reads)]
        body.append(f"    sum{r} = {' + '.join(terms)}")
    body += [f"    b[x + {center + r * width}] = max(sum{r}, zero)" for r in range(rows)]
    return "\n".join(text + ["        " + line for line in body])


@functools.cache
def compiled(
    axes: int, kernel_size: int, pixels: int, pad: int, rows: int, batch: bool, dtype: str
) -> tuple[Any, float]:
    """`run(k, first, a, b, steps)` and its compile time in seconds.

    k has shape (n, kernel_size^axes) and the buffers (n, padded field), with n = 1 unless `batch`.
    The last layer is in a or b.
    """
    import numba

    names = {"prange": range if batch else numba.prange, "zero": np.dtype(dtype).type(0)}
    exec(source(axes, kernel_size, pixels, pad, rows), names)
    layer = numba.njit(parallel=not batch, fastmath=True)(names["layer"])

    def one_field(k, first, a, b, steps):
        layer(k, first, a)
        for t in range(1, steps):
            if t % 2:
                layer(k, a, b)
            else:
                layer(k, b, a)

    one_field = numba.njit(one_field)

    def all_fields(k, first, a, b, steps):
        for i in numba.prange(len(k)):
            one_field(k[i], first[i], a[i], b[i], steps)

    all_fields = numba.njit(parallel=True)(all_fields)

    def first_field(k, first, a, b, steps):
        one_field(k[0], first[0], a[0], b[0], steps)

    run = all_fields if batch else first_field
    half = kernel_size // 2
    empty = np.zeros((1, (pixels + 2 * half) ** (axes - 1) * (pixels + 2 * pad)), dtype)
    start = time.perf_counter()
    run(np.zeros((1, kernel_size**axes), dtype), empty, empty, empty, 1)
    return run, time.perf_counter() - start


def build(case: Case, kernels: np.ndarray, fields: np.ndarray, *, rows: int = 1) -> Built | None:
    """Run the case with `compiled`, `rows` rows at a time; None if not supported."""
    import numba

    if case.gradient or (rows > 1 and (case.axes == 1 or case.pixels % rows)):
        return None
    numba.set_num_threads(CORES)
    half, pad = case.kernel_size // 2, LINE // np.dtype(case.dtype).itemsize
    padded = (*[case.pixels + 2 * half] * (case.axes - 1), case.pixels + 2 * pad)
    inside = (slice(None), *[slice(half, -half)] * (case.axes - 1), slice(pad, -pad))
    flat = np.flip(kernels, tuple(range(1, kernels.ndim))).reshape(case.fields, -1).copy()
    run, seconds = compiled(
        case.axes, case.kernel_size, case.pixels, pad, rows, case.fields > 1, case.dtype
    )
    buffers = [_zeros(case.fields, padded, case.dtype) for _ in range(3)]
    shaped = [buffer.reshape(case.fields, *padded) for buffer in buffers]
    shaped[0][inside] = fields

    def forward() -> tuple[Any, ...]:
        run(flat, *buffers, case.steps)
        return (shaped[1 if case.steps % 2 else 2][inside],)

    return forward, seconds


def _zeros(fields: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Zeros of shape (fields, prod(shape)), aligned to a cache line."""
    size = fields * math.prod(shape)
    raw = np.zeros(size + LINE, dtype)
    skipped = -raw.ctypes.data % LINE // raw.itemsize
    return raw[skipped : skipped + size].reshape(fields, -1)
