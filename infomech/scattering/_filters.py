"""The filters of frames as the transform uses them, and halves of the spectra of real signals."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import safe_math
from infomech.scattering.frames import Frame, mirrored, square


class Bank(NamedTuple):
    """Filters of the different frames, padded to one number of bands.

    Attributes:
        responses: ĝ_λ, (frames, bands, *grid), real or complex.
        weights: rows whose products with |f̂|² on half the frequencies are ‖f * g_λ‖² for each band
            and a real signal f, ‖f * χ‖² and ‖f‖², (frames, bands + 2, half).
    """

    responses: jax.Array
    weights: jax.Array


def bank(frames: tuple[Frame, ...], kept: tuple[tuple[int, ...], ...]) -> Bank:
    """These bands of the frames, as a walk wants them."""
    grid = frames[0].shape
    half = (*grid[:-1], grid[-1] // 2 + 1)
    most = max(map(len, kept))
    twice = np.full((1,) * len(half) + half[-1:], 2.0)
    twice[..., 0] = 1
    if grid[-1] % 2 == 0:
        twice[..., -1] = 1
    kind = safe_math.wider(*(response.dtype for f in frames for response in (f.bands, f.low)))
    responses, weights = [], []
    for frame, numbers in zip(frames, kept, strict=True):
        bands = frame.bands[np.array(numbers)].astype(kind)
        power = square(jnp.concatenate([bands, frame.low[None].astype(kind)]))
        both = ((power + mirrored(power)) / 2)[..., : half[-1]]
        scale = jnp.broadcast_to(jnp.asarray(twice / np.prod(grid), power.dtype), (1, *half))
        room = [(0, most - len(numbers)), *((0, 0),) * len(half)]
        responses.append(jnp.pad(bands, room))
        both = jnp.concatenate([jnp.pad(both[:-1], room), both[-1:], jnp.ones_like(scale)])
        weights.append(both * scale)
    flat = jnp.stack(weights).reshape(len(frames), most + 2, -1)
    return Bank(jnp.stack(responses), flat)


def whole(halves: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """Spectra (n, *grid) of real signals, of their halves (n, *half)."""
    rest = jnp.conj(jnp.flip(halves[..., 1 : (grid[-1] + 1) // 2], -1))
    if len(grid) == 2:
        rest = jnp.roll(jnp.flip(rest, 1), 1, 1)
    return jnp.concatenate([halves, rest], -1)


def fitted(spectra: jax.Array, grid: tuple[int, ...], *, half: bool = True) -> jax.Array:
    """The same spectra on another grid: what it doesn't hold is left out, what it adds is 0.

    Args:
        spectra: (n, *half), or (n, *grid) where not `half`.
        grid: to fit them to.
        half: whether they are halves, of real signals.
    """
    for axis, samples in enumerate(grid, 1):
        last = half and axis == len(grid)
        spectra = _fitted(spectra, axis, samples // 2 + 1 if last else samples, last)
    return spectra


def _fitted(spectra, axis, wanted, half):
    """One axis with another number of frequencies, of which negative ones come last if not half."""
    there = spectra.shape[axis]
    if wanted == there:
        return spectra
    fewer = min(wanted, there)
    ahead = fewer if half else (fewer + 1) // 2
    parts = [jax.lax.slice_in_dim(spectra, 0, ahead, axis=axis)]
    if wanted > there:
        shape = (*spectra.shape[:axis], wanted - there, *spectra.shape[axis + 1 :])
        parts.append(jnp.zeros(shape, spectra.dtype))
    if ahead < fewer:
        parts.append(jax.lax.slice_in_dim(spectra, there - (fewer - ahead), there, axis=axis))
    return jnp.concatenate(parts, axis)


def folded(spectra: jax.Array, grid: tuple[int, ...]) -> jax.Array:
    """Spectra on a coarser grid of as many samples of the same signals, by folding.

    Args:
        spectra: (n, *finer), whose axes those of `grid` divide.
        grid: coarser.
    """
    for axis, samples in enumerate(grid, 1):
        shape = spectra.shape
        if shape[axis] != samples:
            several = (*shape[:axis], shape[axis] // samples, samples, *shape[axis + 1 :])
            spectra = spectra.reshape(several).mean(axis)
    return spectra


def subsampled(halves: jax.Array, grid: tuple[int, ...], every: int) -> jax.Array:
    """Every such sample of real signals, of the halves of their spectra, by folding these.

    Args:
        halves: (n, *half).
        grid: of the signals.
        every: divides each axis.

    Returns:
        Array (n, *grid/every).
    """
    coarse = tuple(n // every for n in grid)
    if len(grid) == 2:
        folded = halves.reshape(len(halves), every, coarse[0], halves.shape[-1]).mean(1)
        signals = jnp.fft.irfftn(folded, (coarse[0], grid[1]), (1, 2))
        return signals[..., ::every]
    folded = whole(halves, grid).reshape(len(halves), every, coarse[0]).mean(1)
    return jnp.fft.irfft(folded[:, : coarse[0] // 2 + 1], coarse[0])


def low_pass(frame: Frame) -> jax.Array:
    """The part of χ̂ that answers real signals with real ones, on their half spectra."""
    half = frame.shape[-1] // 2 + 1
    kind = safe_math.wider(frame.low.dtype, jnp.complex64)
    return ((frame.low + mirrored(frame.low[None])[0]) / 2)[..., :half].astype(kind)
