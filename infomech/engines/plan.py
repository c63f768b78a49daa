"""Which engine executes a layer."""

import math
from collections.abc import Callable

import jax

from infomech.engines import convolution, shifts

#: beyond this many taps an unrolled sum takes too long to compile
MOST_UNROLLED_TAPS = 64


def choose(taps: tuple[int, ...]) -> Callable[[jax.Array, jax.Array, str], jax.Array]:
    """The `convolve(kernel, values, boundary)` of the engine for a kernel of shape `taps`."""
    return shifts.convolve if math.prod(taps) <= MOST_UNROLLED_TAPS else convolution.convolve
