"""Even and odd parts of a kernel, under point reflection and under mirroring of each axis."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infomech._core import checks


class Parts(NamedTuple):
    """Even and odd parts of a kernel, each of the kernel's shape."""

    even: jax.Array
    odd: jax.Array


def reflect(kernel: Any) -> jax.Array:
    """Point reflection, (R k)(r) = k(−r) ([M]); same shape as `kernel`.

    Converts between the cross-correlation weights of deep-learning libraries and the true
    convolution used here.
    """
    return jnp.flip(checks.kernel("kernel", kernel))


def split(kernel: Any) -> Parts:
    """Even and odd parts, k_e = (k + R k)/2 and k_o = (k − R k)/2, with ⟨k_e, k_o⟩ = 0 ([M]).

    Args:
        kernel: taps, 1 to 3 axes.

    Returns:
        `(even, odd)`, each of the kernel's shape; they add up to the kernel.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    kernel = checks.kernel("kernel", kernel)
    mirrored = jnp.flip(kernel)
    return Parts((kernel + mirrored) / 2, (kernel - mirrored) / 2)


def mirror_split(kernel: Any) -> jax.Array:
    """The 2^d orthogonal parts, each even or odd under mirroring of each single axis.

    In two dimensions: even-even, even-odd, odd-even and odd-odd, the parities of the DCT-II basis.
    Parts whose index has an even number of ones are even under point reflection.

    Args:
        kernel: taps, d = 1 to 3 axes.

    Returns:
        Array of shape (2,)*d + kernel.shape; index 0 is even and 1 is odd along an axis. The parts
        add up to the kernel.

    Raises:
        ValueError: `kernel` is empty, not finite or not of 1 to 3 axes.
    """
    parts = checks.kernel("kernel", kernel)
    dimensions = parts.ndim
    for axis in range(dimensions):
        mirrored = jnp.flip(parts, axis=2 * axis)
        halves = jnp.stack([(parts + mirrored) / 2, (parts - mirrored) / 2])
        parts = jnp.moveaxis(halves, 0, axis)
        # the parity axes come first; tap axis `axis + 1` is now at 2 * (axis + 1)
    return parts


def mirror_energies(kernel: Any) -> jax.Array:
    """Energy ‖·‖² of each part of `mirror_split`, shape (2,)*d; they add up to ‖k‖²."""
    parts = mirror_split(kernel)
    dimensions = parts.ndim // 2
    return jnp.sum(parts**2, axis=tuple(range(dimensions, 2 * dimensions)))
