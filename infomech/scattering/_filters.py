"""Filter banks for the transform, and operations on half spectra of real signals."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import safe_math
from infomech.scattering.frames import Frame, mirrored, square


class Bank(NamedTuple):
    """Filters of the distinct frames, padded to the same number of bands.

    Attributes:
        responses: ĝ_λ, (frames, bands, *shape), real or complex.
        weights: rows to multiply with the half spectrum |f̂|² of a real signal f. They give
            ‖f * g_λ‖² for each band, ‖f * χ‖² and ‖f‖², (frames, bands + 2, half).
    """

    responses: jax.Array
    weights: jax.Array


def bank(frames: tuple[Frame, ...], computed: tuple[tuple[int, ...], ...]) -> Bank:
    """Collect the computed bands of each frame for a walk."""
    shape = frames[0].shape
    half = (*shape[:-1], shape[-1] // 2 + 1)
    max_bands = max(map(len, computed))
    # frequencies of the half spectrum count twice, except 0 and Nyquist
    counts = np.full((1,) * len(half) + half[-1:], 2.0)
    counts[..., 0] = 1
    if shape[-1] % 2 == 0:
        counts[..., -1] = 1
    dtype = safe_math.wider(*(response.dtype for f in frames for response in (f.bands, f.low)))
    responses, weights = [], []
    for frame, numbers in zip(frames, computed, strict=True):
        bands = frame.bands[np.array(numbers)].astype(dtype)
        power = square(jnp.concatenate([bands, frame.low[None].astype(dtype)]))
        even = ((power + mirrored(power)) / 2)[..., : half[-1]]
        scale = jnp.broadcast_to(jnp.asarray(counts / np.prod(shape), power.dtype), (1, *half))
        padding = [(0, max_bands - len(numbers)), *((0, 0),) * len(half)]
        responses.append(jnp.pad(bands, padding))
        rows = jnp.concatenate([jnp.pad(even[:-1], padding), even[-1:], jnp.ones_like(scale)])
        weights.append(rows * scale)
    flat = jnp.stack(weights).reshape(len(frames), max_bands + 2, -1)
    return Bank(jnp.stack(responses), flat)


def full_spectrum(halves: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Expand half spectra (n, *half) of real signals to full spectra (n, *shape)."""
    rest = jnp.conj(jnp.flip(halves[..., 1 : (shape[-1] + 1) // 2], -1))
    if len(shape) == 2:
        rest = jnp.roll(jnp.flip(rest, 1), 1, 1)
    return jnp.concatenate([halves, rest], -1)


def resize(spectra: jax.Array, shape: tuple[int, ...], *, half: bool = True) -> jax.Array:
    """Crop or zero-pad spectra to the frequencies of another grid.

    Args:
        spectra: (n, *half), or (n, *shape) if `half` is False.
        shape: target shape of the signals.
        half: whether these are half spectra of real signals.
    """
    for axis, samples in enumerate(shape, 1):
        last = half and axis == len(shape)
        spectra = _resize_axis(spectra, axis, samples // 2 + 1 if last else samples, last)
    return spectra


def _resize_axis(spectra, axis, target, half):
    """Resize one axis; without `half` its negative frequencies come last."""
    current = spectra.shape[axis]
    if target == current:
        return spectra
    common = min(target, current)
    leading = common if half else (common + 1) // 2
    parts = [jax.lax.slice_in_dim(spectra, 0, leading, axis=axis)]
    if target > current:
        shape = (*spectra.shape[:axis], target - current, *spectra.shape[axis + 1 :])
        parts.append(jnp.zeros(shape, spectra.dtype))
    if leading < common:
        start = current - (common - leading)
        parts.append(jax.lax.slice_in_dim(spectra, start, current, axis=axis))
    return jnp.concatenate(parts, axis)


def fold(spectra: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Spectra of subsampled signals, by folding full spectra onto a coarser grid.

    Args:
        spectra: (n, *finer); the axes of `shape` divide those of `finer`.
        shape: coarser shape.
    """
    for axis, samples in enumerate(shape, 1):
        old = spectra.shape
        if old[axis] != samples:
            split = (*old[:axis], old[axis] // samples, samples, *old[axis + 1 :])
            spectra = spectra.reshape(split).mean(axis)
    return spectra


def subsample(halves: jax.Array, shape: tuple[int, ...], stride: int) -> jax.Array:
    """Subsampled real signals, by folding their half spectra.

    Args:
        halves: (n, *half).
        shape: of the signals.
        stride: divides each axis.

    Returns:
        Array (n, *shape/stride).
    """
    coarse = tuple(n // stride for n in shape)
    if len(shape) == 2:
        folded = halves.reshape(len(halves), stride, coarse[0], halves.shape[-1]).mean(1)
        signals = jnp.fft.irfftn(folded, (coarse[0], shape[1]), (1, 2))
        return signals[..., ::stride]
    folded = full_spectrum(halves, shape).reshape(len(halves), stride, coarse[0]).mean(1)
    return jnp.fft.irfft(folded[:, : coarse[0] // 2 + 1], coarse[0])


def low_pass(frame: Frame) -> jax.Array:
    """The part of χ̂ that maps real signals to real ones, on half spectra."""
    half = frame.shape[-1] // 2 + 1
    dtype = safe_math.wider(frame.low.dtype, jnp.complex64)
    return ((frame.low + mirrored(frame.low[None])[0]) / 2)[..., :half].astype(dtype)
