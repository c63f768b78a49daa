"""DCT-II spectrum of a kernel, its DC and gradient modes, and its transfer function."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.kernels import axis_offsets


def basis(kernel_size: int) -> np.ndarray:
    """Orthonormal DCT-II basis of one axis, B[m, i] = c_m cos(π m (i + ½)/n).

    c_0 = √(1/n) and c_m = √(2/n). Mode m is even about the middle of the axis for even m, else odd.

    Args:
        kernel_size: n, taps on the axis.

    Returns:
        Array (n, n), float64: one mode per row, dimensionless.

    Raises:
        ValueError: `kernel_size` is not a positive integer.
    """
    n = checks.integer("kernel_size", kernel_size, 1)
    modes = np.cos(np.pi * np.arange(n)[:, None] * (np.arange(n) + 0.5) / n) * np.sqrt(2 / n)
    modes[0] = np.sqrt(1 / n)
    return modes


def dct(kernel: Any) -> jax.Array:
    """DCT-II coefficients of a kernel in the orthonormal basis, one per tap.

    The transform preserves energy: Σ dct(k)² = ‖k‖².

    Args:
        kernel: taps, 1 to 3 axes.

    Returns:
        Coefficients of the kernel's shape; index (0, …, 0) is DC.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    kernel = checks.kernel("kernel", kernel)
    return _along_each_axis(kernel, [basis(n) for n in kernel.shape])


def from_dct(coefficients: Any) -> jax.Array:
    """Kernel with the given DCT-II coefficients, of the same shape: the inverse of `dct`."""
    coefficients = checks.kernel("coefficients", coefficients)
    return _along_each_axis(coefficients, [basis(n).T for n in coefficients.shape])


def energies(kernel: Any) -> jax.Array:
    """Energy of each DCT-II mode, dct(k)², of the kernel's shape; they add up to ‖k‖²."""
    return dct(kernel) ** 2


def low_frequency_share(kernel: Any) -> jax.Array:
    """Share of the energy in DC and the d gradient modes, in [0, 1] ([M]).

    The gradient modes are the DCT-II modes with index 1 on one axis and 0 on the others.

    Args:
        kernel: taps, d = 1 to 3 axes.

    Returns:
        Scalar; NaN for a zero kernel.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    return jnp.sum(coordinates(kernel) ** 2)


def coordinates(kernel: Any) -> jax.Array:
    """Coefficients of a kernel on the DC and gradient modes, over its norm: (DC, ∇ axis 0, 1, …).

    A kernel that grows along +axis, and so moves content that way, has a positive coordinate there.
    In two dimensions axis 0 runs down the rows (y) and axis 1 along them (x). Source: [M].

    Args:
        kernel: taps, d = 1 to 3 axes.

    Returns:
        Vector (d + 1,) of length at most 1, dimensionless; NaN for a zero kernel.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    modes = dct(kernel)
    modes = modes / safe_math.magnitude(modes)
    dc = (0,) * modes.ndim
    components = [modes[dc]]
    for axis, n in enumerate(modes.shape):
        first = (*dc[:axis], 1, *dc[axis + 1 :])
        # the first DCT mode decreases along its axis: its negative is the gradient
        components.append(-modes[first] if n > 1 else jnp.zeros((), modes.dtype))
    return safe_math.divide(jnp.stack(components), safe_math.sqrt(jnp.sum(modes**2)))


def transfer_function(kernel: Any, frequencies: Sequence[Any]) -> jax.Array:
    """Frequency response of one layer, k̂(ω) = Σ_r k(r) exp(−i ω·r), on a grid of frequencies.

    Offsets r are exact, so a kernel of an even number of taps has no spurious phase. At ω = 0 the
    response is the gain s. Near 0 its phase is −ω·p/s, a shift by p/s.

    Args:
        kernel: taps, d = 1 to 3 axes.
        frequencies: d vectors of angular frequencies in radians per pixel, one per axis. Those of
            a periodic domain of N pixels are `2 * np.pi * np.fft.fftfreq(N)`.

    Returns:
        Complex array whose axis a has the length of `frequencies[a]`.

    Raises:
        ValueError: a bad kernel, or not one vector per axis.
    """
    kernel = checks.kernel("kernel", kernel)
    # complex numbers of half precision don't exist
    kernel = kernel.astype(safe_math.wider(kernel.dtype, jnp.float32))
    vectors = list(frequencies) if np.iterable(frequencies) else []
    if len(vectors) != kernel.ndim:
        raise checks.error("frequencies", f"{len(vectors)} vectors", f"{kernel.ndim}, one per axis")
    waves = []
    for n, omega in zip(kernel.shape, vectors, strict=True):
        vector = checks.floating("frequencies", omega, kernel.dtype)
        if vector.ndim != 1:
            raise checks.error("frequencies", f"shape {vector.shape}", "a vector per axis")
        checks.finite("frequencies", omega)
        phase = jnp.outer(vector, jnp.asarray(axis_offsets(n), kernel.dtype))
        waves.append(jax.lax.complex(jnp.cos(phase), -jnp.sin(phase)))
    return _along_each_axis(jax.lax.complex(kernel, jnp.zeros_like(kernel)), waves)


def _along_each_axis(array: jax.Array, matrices: Sequence[Any]) -> jax.Array:
    for axis, matrix in enumerate(matrices):
        matrix = jnp.asarray(matrix, array.dtype)
        product = jnp.tensordot(matrix, array, axes=(1, axis), precision="highest")
        array = jnp.moveaxis(product, 0, axis)
    return array
