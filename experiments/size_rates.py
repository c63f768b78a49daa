"""Speed and diffusion of kernels of two sizes: the DC + gradient family, and random pairs."""

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import infomech as im
from infomech import kernels, theory
from infomech.fields import patterns

SIZES = (2, 3)
#: kinds of random kernels, with their odd share if fixed
KINDS = {
    "≥ 0": None,
    "both signs": None,
    "both signs, ε = 0.25": 0.25,
    "both signs, ε = 0.5": 0.5,
}


class Rates(NamedTuple):
    """Rates of pairs of a pattern and a kernel; NaN where the field dies.

    Attributes:
        velocity: pixels per layer, (…, 2).
        diffusion: pixels² per layer, (…, 2, 2).
    """

    velocity: Any
    diffusion: Any


@dataclass(frozen=True)
class Along:
    """Rates of the DC + gradient family of one size, (directions, ratios, patterns).

    Attributes:
        speed: along the gradient.
        total: growth of the variance in all directions, tr D.
        along, across: growth of the variance along the gradient and across it.
        inactive: whether the rectifier is inactive, (directions, ratios, 1).
    """

    speed: np.ndarray
    total: np.ndarray
    along: np.ndarray
    across: np.ndarray
    inactive: np.ndarray


def measure(
    taps: jax.Array,
    starts: np.ndarray,
    which: np.ndarray,
    *,
    steps: int,
    burn_in: int,
    rectifier: str,
) -> Rates:
    """Slopes of center and covariance from layer `burn_in` on, (pairs, …).

    Args:
        taps: kernel of each pair, (pairs, rows, columns).
        starts: patterns, (patterns, rows, columns).
        which: index of the pattern of each pair, (pairs,).
        steps: layers.
        burn_in: first layer of the fits.
        rectifier: name.
    """
    fields = [patterns.padded(start, taps.shape[1:], steps) for start in starts]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *fields)

    # fields are an argument: XLA would spend minutes on folding constants
    def observe(kernel, n, stacked):
        field = jax.tree.map(lambda values: values[n], stacked)
        _, trace = im.rollout(kernel, field, steps, rectifier=rectifier, observe=place)
        return trace

    paths = jax.tree.map(np.asarray, jax.jit(jax.vmap(observe, (0, 0, None)))(taps, which, stacked))
    return Rates(*(slope(values[:, burn_in:]) for values in paths))


def place(field: im.fields.Field) -> tuple[jax.Array, jax.Array]:
    """Center and covariance by one product, without the guards of the library."""
    y, x = ((np.arange(n) - n / 2)[None] ** np.arange(3)[:, None] for n in field.values.shape)
    share = field.values / jnp.sum(field.values)
    m = jnp.einsum("ay,yx,bx->ab", y, share, x, precision="highest")
    center = jnp.stack([m[1, 0], m[0, 1]])
    square = jnp.stack([jnp.stack([m[2, 0], m[1, 1]]), jnp.stack([m[1, 1], m[0, 2]])])
    middle = field.origin + np.array(field.values.shape) / 2
    return middle + center, square - center[:, None] * center[None]


def slope(values: np.ndarray) -> np.ndarray:
    """Slopes of least-squares lines along the second axis, per layer."""
    layer = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    return np.einsum("t,nt...->n...", layer, values) / np.sum(layer**2)


def family(size: int, ratios: np.ndarray, angles: np.ndarray) -> jax.Array:
    """DC + gradient kernels, (directions · ratios, size, size)."""
    direction = np.stack([np.sin(angles), np.cos(angles)], -1)

    def kernel(ratio, direction):
        return kernels.mix((size, size), ratio=ratio, direction=direction, dtype="float64")

    stack = jax.vmap(jax.vmap(kernel, (0, None)), (None, 0))(jnp.asarray(ratios), direction)
    return stack.reshape(-1, size, size)


def along(rates: Rates, size: int, ratios: np.ndarray, angles: np.ndarray) -> Along:
    """Rates of `family` in the frame of the gradient."""
    shape = (len(angles), len(ratios), -1)
    n = np.stack([np.sin(angles), np.cos(angles)], -1)
    m = np.stack([n[:, 1], -n[:, 0]], -1)
    speed = rates.velocity.reshape(*shape, 2)
    spread = rates.diffusion.reshape(*shape, 2, 2)
    limits = [
        theory.inactive_range((size, size), direction, dtype="float64").ratio for direction in n
    ]
    # a zero tap may be rounded to either sign
    inactive = ratios[None] <= np.asarray(limits, float)[:, None] + 1e-12
    return Along(
        np.einsum("abpi,ai->abp", speed, n),
        np.trace(spread, axis1=-2, axis2=-1),
        np.einsum("abpij,ai,aj->abp", spread, n, n),
        np.einsum("abpij,ai,aj->abp", spread, m, m),
        inactive[..., None],
    )


def closed_form(size: int, ratios: np.ndarray) -> dict[str, np.ndarray]:
    """v = σ₁ tan θ, D = σ₁² − v² along and σ₁² across, with tan θ = β/(1 − β), (ratios,)."""
    sigma = theory.step_spread(size)
    tangent = ratios / np.where(ratios < 1, 1 - ratios, np.nan)
    v = sigma * tangent
    across = np.full(len(ratios), sigma**2)
    return {"speed": v, "total": 2 * across - v**2, "along": across - v**2, "across": across}


def random(kind: str, size: int, count: int, seed: int) -> jax.Array:
    """Random kernels of a kind in `KINDS`, (count, size, size)."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), size), count)
    share = KINDS[kind]
    shape = (size, size)
    stack = jax.vmap(lambda key: kernels.random(shape, key=key, share=share, dtype="float64"))(keys)
    return jnp.abs(stack) if kind == "≥ 0" else stack


def compare(
    size: int,
    grid: tuple[np.ndarray, np.ndarray],
    starts: np.ndarray,
    disk: np.ndarray,
    count: int,
    *,
    seed: int,
    steps: int,
    burn_in: int,
    rectifier: str,
) -> tuple[Along, dict[str, Rates]]:
    """Rates of the family, and of random kernels by kind, all in one program.

    Args:
        size: taps on each axis.
        grid: ratios and angles of the family.
        starts: patterns for the family, (patterns, rows, columns).
        disk: pattern for the random kernels.
        count: random kernels of each kind.
        seed: of the random kernels.
        steps: layers.
        burn_in: first layer of the fits.
        rectifier: name.
    """
    dc_gradient = family(size, *grid)
    parts = [jnp.repeat(dc_gradient, len(starts), 0)]
    parts += [random(kind, size, count, seed) for kind in KINDS]
    which = np.full(sum(map(len, parts)), len(starts))
    which[: len(parts[0])] = np.tile(np.arange(len(starts)), len(dc_gradient))
    rates = measure(
        jnp.concatenate(parts),
        np.stack([*starts, disk]),
        which,
        steps=steps,
        burn_in=burn_in,
        rectifier=rectifier,
    )
    ends = itertools.pairwise(np.cumsum([0, *map(len, parts)]))
    first, *others = [Rates(*(x[i:j] for x in rates)) for i, j in ends]
    return along(first, size, *grid), dict(zip(KINDS, others, strict=True))
