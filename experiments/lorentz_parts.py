"""Measurements of kernels as moving bodies: contraction, boosts, composition, invariants."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import motion
from infomech import kernels, theory

#: half the difference of tilts for the derivative of the center, per pixel
TILT_STEP = 1e-4
#: ranges of the odd shares of two kernels of 3 taps; the rectifier is inactive up to 0.4
PAIRS = (
    ("inactive", (0, 0.4), (0, 0.4)),
    ("working", (0.4, 1), (0.4, 1)),
    ("mixed", (0, 0.4), (0.4, 1)),
)


@dataclass(frozen=True)
class LorentzSettings:
    """Kernels and rollouts.

    Attributes:
        taps: of the constant + gradient kernels.
        plane: the same in two dimensions; empty for none.
        shares: number of odd shares of each, equally spaced from 0 to 1.
        draws: number of random kernels of each kind, and of random pairs.
        tilts: number per boosted kernel, equally spaced from −3 to 3 per pixel.
        steps, burn_in: layers, and the first layer of the fits, in one dimension.
        plane_steps, plane_burn_in: the same in two dimensions.
        degrees: directions in the plane.
        seed: of random kernels.
    """

    taps: tuple[int, ...] = (2, 3, 4, 5)
    plane: tuple[int, ...] = (2, 3)
    shares: int = 21
    draws: int = 24
    tilts: int = 13
    steps: int = 96
    burn_in: int = 32
    plane_steps: int = 32
    plane_burn_in: int = 12
    degrees: tuple[float, ...] = (0.0, 22.5, 45.0)
    seed: int = 0

    @property
    def box(self) -> int:
        """Number of taps that all one-dimensional kernels are padded to."""
        return max(self.taps)


class Group(NamedTuple):
    """One-dimensional kernels of one kind and their effect, arrays (kernels, …).

    Attributes:
        kernel: taps; (n, 2, taps) for pairs of alternating layers.
        speed, spread: v and D of the disk.
        impulse: speed of an impulse.
        center, variance: of the impulse after the last layer.
    """

    kernel: np.ndarray
    speed: np.ndarray
    spread: np.ndarray
    impulse: np.ndarray
    center: np.ndarray
    variance: np.ndarray


def tilted(values: Any, tilt: Any) -> Any:
    """Taps or pixels times exp(η r) along the last axis, r from the middle; η per pixel.

    A layer of tilted taps maps a tilted field to the tilted result, for every rectifier with
    φ(au) = aφ(u) for a > 0. Tilts add up and leave ⟨k, R k⟩ = Σ k(r) k(−r) unchanged.
    """
    return values * np.exp(tilt * kernels.axis_offsets(np.shape(values)[-1]))


def mass_squared(kernel: Any) -> Any:
    """⟨k, R k⟩ = ‖k_e‖² − ‖k_o‖² over the last axis."""
    return np.sum(kernel * np.flip(kernel, -1), axis=-1)


def tangent(kernel: Any) -> Any:
    """tan θ = ‖k_o‖/‖k_e‖ over the last axis."""
    even, odd = kernel + np.flip(kernel, -1), kernel - np.flip(kernel, -1)
    return np.linalg.norm(odd, axis=-1) / np.linalg.norm(even, axis=-1)


def composed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kernels of two layers without a rectifier, first * second, row by row."""
    return np.stack([np.convolve(a, b) for a, b in zip(first, second, strict=True)])


def family(taps: int, share: np.ndarray) -> np.ndarray:
    """One-dimensional constant + gradient kernels, (shares, taps)."""
    return np.asarray(motion.mixed((taps,), share, (1.0,)))


def drawn(count: int, taps: tuple[int, ...], seed: int) -> np.ndarray:
    """Random kernels of both signs."""
    return np.asarray(_drawn(jax.random.split(jax.random.key(seed), count), taps))


@functools.partial(jax.jit, static_argnums=1)
def _drawn(keys, taps):
    return jax.vmap(lambda key: kernels.random(taps, key=key, dtype="float64"))(keys)


def added(first: np.ndarray, second: np.ndarray, limit: float) -> np.ndarray:
    """Relativistic sum of velocities, (v₁ + v₂)/(1 + v₁ v₂/c²)."""
    return (first + second) / (1 + first * second / limit**2)


def boosts(speed: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """Rapidities if a tilt η adds η/2 to the rapidity of the untilted taps; speed over c."""
    return np.arctanh(float(np.interp(0, tilts, speed))) + tilts / 2


def rapidities_of_two(kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rapidity of the composed kernel, and the sum of both; kernels (n, 2, taps)."""
    first, second = kernels[:, 0], kernels[:, 1]
    return rapidity(composed(first, second)), rapidity(first) + rapidity(second)


def boosted(setting: LorentzSettings) -> dict[str, np.ndarray]:
    """Kernels to be tilted, by name, each at rest or nearly so."""
    result = {"2 equal taps": np.ones(2), "3 equal taps": np.ones(3)}
    result["1, 2, 1"] = np.array([1.0, 2, 1])
    if setting.box >= 5:
        result["1, 4, 6, 4, 1"] = np.array([1.0, 4, 6, 4, 1])
        result["5 equal taps"] = np.ones(5)
        result["random, non-negative"] = np.abs(drawn(1, (5,), setting.seed + 5)[0])
    return result


def stacks(setting: LorentzSettings) -> dict[str, np.ndarray]:
    """All one-dimensional kernels by kind: (n, taps), or (n, 2, taps) for pairs."""
    n, box, seed = setting.draws, setting.box, setting.seed
    share = np.linspace(0, 1, setting.shares)
    result = {f"{taps} taps": family(taps, share) for taps in setting.taps}
    signed = drawn(n, (box,), seed + 1)
    result["non-negative"] = np.abs(drawn(n, (box,), seed + 2))
    result["both signs"] = signed
    result["both signs, even part"] = (signed + np.flip(signed, -1)) / 2
    tilts = np.linspace(-3, 3, setting.tilts)
    for name, kernel in boosted(setting).items():
        result[f"boosted {name}"] = np.stack([tilted(kernel, eta) for eta in tilts])
    for sign in (-1, 1):
        result[f"tilted by {sign}"] = tilted(signed, sign * TILT_STEP)
    for i, (words, *ranges) in enumerate(PAIRS):
        random = np.random.default_rng(seed + 3 + i)
        first, second = (family(3, random.uniform(*limits, n)) for limits in ranges)
        result[f"pairs, {words}"] = np.stack([first, second], 1)
        result[f"first, {words}"], result[f"second, {words}"] = first, second
    return result


def on_a_line(setting: LorentzSettings) -> dict[str, Group]:
    """Pass a disk and an impulse through all one-dimensional kernels, in one program."""
    stacked = stacks(setting)
    layers, lags = [], []
    for kernel in stacked.values():
        flat, lag = motion.boxed(kernel.reshape(-1, kernel.shape[-1]), setting.box)
        # one kernel per layer, which lets pairs and single kernels share one program
        per_layer = flat.reshape(len(kernel), -1, setting.box)
        repeats = -(-setting.steps // per_layer.shape[1])
        layers.append(np.tile(per_layer, (1, repeats, 1))[:, : setting.steps])
        lags.append(np.tile(lag, (len(kernel), 1)))
    lag = np.concatenate(lags)
    start = motion.starts(("disk", "impulse"), 3.0, (setting.box,), setting.steps)
    trace = motion.passed(np.concatenate(layers), start, steps=setting.steps)
    rates = motion.rates(trace, np.ones_like(lag), setting.burn_in, lag)
    path, variance = np.asarray(trace.center)[1, :, :, 0], np.asarray(trace.covariance)[1, :, -1]
    center = path[:, -1] - path[:, 0]
    columns = (
        rates.speed[0],
        rates.diffusion[0],
        rates.speed[1],
        center + setting.steps * lag[:, 0],
        variance[:, 0, 0],
    )
    ends = np.cumsum([len(kernel) for kernel in stacked.values()])[:-1]
    parts = zip(*(np.split(column, ends) for column in columns), strict=True)
    return {
        name: Group(kernel, *part)
        for (name, kernel), part in zip(stacked.items(), parts, strict=True)
    }


class Plane(NamedTuple):
    """Constant + gradient kernels in the plane, arrays (kernels,); D relative to σ₁², D at rest.

    Attributes:
        speed: over σ₁.
        along, across: D along and across the motion.
        inactive: whether no tap is negative.
    """

    speed: np.ndarray
    along: np.ndarray
    across: np.ndarray
    inactive: np.ndarray


def in_the_plane(setting: LorentzSettings) -> Plane:
    """Move a disk in two dimensions in several directions."""
    share, directions = np.linspace(0, 1, setting.shares), motion.units(setting.degrees)
    box, steps = max(setting.plane), setting.plane_steps
    stack, lags, sizes = [], [], []
    for taps in setting.plane:
        for unit in directions:
            kernel, lag = motion.boxed(motion.mixed((taps, taps), share, unit), box)
            stack.append(kernel)
            lags += [lag] * len(share)
            sizes += [theory.step_spread(taps)] * len(share)
    units = np.tile(np.repeat(directions, len(share), 0), (len(setting.plane), 1))
    kernel, rest = np.concatenate(stack), np.array(sizes)
    start = motion.starts(("disk",), 3.0, (box, box), steps)
    rates = motion.measure(kernel, units, start, steps, setting.plane_burn_in, lag=np.array(lags))
    inactive = np.min(kernel, (1, 2)) >= -1e-12
    return Plane(
        rates.speed[0] / rest, rates.diffusion[0] / rest**2, rates.breadth[0] / rest**2, inactive
    )


def inactive(kernel: np.ndarray) -> np.ndarray:
    """Whether no tap is negative."""
    return np.min(kernel, axis=-1) >= -1e-12


def own_rest(kernel: np.ndarray) -> np.ndarray:
    """c² of the even part of a kernel, Σ r² k/Σ k: D at rest while the rectifier is inactive."""
    r = kernels.axis_offsets(kernel.shape[-1])
    return (kernel @ r**2) / kernel.sum(-1)


def layers(kernel: np.ndarray, field: np.ndarray, count: int, rectify: Any) -> np.ndarray:
    """Layers in one dimension, in full convolution mode: nothing leaves the domain."""
    for _ in range(count):
        field = rectify(np.convolve(kernel, field))
    return field


def covariant(kernel: np.ndarray, tilt: float, rectify: Any) -> float:
    """Difference between tilting before and after six layers, relative to the largest value."""
    field = np.random.default_rng(7).uniform(0, 1, 9)
    after = tilted(layers(kernel, field, 6, rectify), tilt)
    before = layers(tilted(kernel, tilt), tilted(field, tilt), 6, rectify)
    # a dead field is dead both ways
    return float(np.max(np.abs(before - after)) / (np.max(np.abs(after)) or 1))


def field_symmetry(kernel: np.ndarray, count: int) -> np.ndarray:
    """⟨u, R u⟩/‖u‖² about the half pixel nearest to the center, before and after each layer."""
    field, symmetry = np.random.default_rng(7).uniform(0, 1, 9), []
    for _ in range(count + 1):
        twice_center = float(2 * (field @ np.arange(len(field))) / field.sum())
        symmetry.append(np.convolve(field, field)[round(twice_center)] / (field @ field))
        field = layers(kernel, field, 1, lambda u: np.maximum(u, 0))
    return np.array(symmetry)


def rapidity(kernel: np.ndarray) -> np.ndarray:
    """artanh(tan θ) over the last axis."""
    return np.arctanh(tangent(kernel))
