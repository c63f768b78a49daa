"""The filters of frames on the half spectra of real signals, as the transform uses them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import guards
from infomech.scattering.frames import Frame, mirrored


class Bank(NamedTuple):
    """Filters of the different frames on the half spectra of real signals, padded to one number.

    Attributes:
        real, imaginary: filters whose answers are Re(f * g_λ) and Im(f * g_λ), (frames, bands,
            *half), complex.
        weights: rows whose products with |f̂|² are ‖f * g_λ‖² for each band, ‖f * χ‖² and ‖f‖²,
            (frames, bands + 2, half).
    """

    real: jax.Array
    imaginary: jax.Array
    weights: jax.Array


def bank(frames: tuple[Frame, ...], kept: tuple[tuple[int, ...], ...]) -> Bank:
    """Filters of these bands of the frames, as a walk wants them."""
    grid = frames[0].grid
    half = (*grid[:-1], grid[-1] // 2 + 1)
    most = max(map(len, kept))
    twice = np.full(half[-1], 2.0)
    twice[0] = 1
    if grid[-1] % 2 == 0:
        twice[-1] = 1
    real, imaginary, weights = [], [], []
    for frame, numbers in zip(frames, kept, strict=True):
        kind = guards.wider(frame.bands.dtype, frame.low.dtype)
        every = jnp.concatenate(
            [frame.bands[np.array(numbers)].astype(kind), frame.low[None].astype(kind)]
        )
        image = mirrored(every)
        parts = [(f / 2)[..., : half[-1]] for f in (every + image, every - image)]
        scale = jnp.asarray(twice / np.prod(grid), jnp.abs(every).dtype)
        plain = jnp.broadcast_to(scale.reshape(*(1,) * len(half), -1), (1, *half))
        power = (jnp.abs(parts[0]) ** 2 + jnp.abs(parts[1]) ** 2) * plain
        room = [(0, most - len(numbers)), *((0, 0),) * len(half)]
        kind = guards.wider(kind, jnp.complex64)
        real.append(jnp.pad(parts[0][:-1].astype(kind), room))
        imaginary.append(jnp.pad(parts[1][:-1].astype(kind) * kind.type(-1j), room))
        weights.append(jnp.concatenate([jnp.pad(power[:-1], room), power[-1:], plain]))
    flat = jnp.stack(weights).reshape(len(frames), most + 2, -1)
    return Bank(jnp.stack(real), jnp.stack(imaginary), flat)


def low_pass(frame: Frame) -> jax.Array:
    """The part of χ̂ that answers real signals with real ones, on their half spectra."""
    half = frame.grid[-1] // 2 + 1
    kind = guards.wider(frame.low.dtype, jnp.complex64)
    return ((frame.low + mirrored(frame.low[None])[0]) / 2)[..., :half].astype(kind)
