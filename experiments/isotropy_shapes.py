"""Shapes of patterns, layer by layer: cumulants up to fourth order, and outlines.

Cumulants add under convolution. While the rectifier is inactive, each layer therefore adds the
cumulants of the kernel, its taps read as a pattern, to those of the pattern.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import infomech as im
from infomech import kernels, observables
from infomech.fields import patterns

#: number of equally spaced directions in which outlines are measured
DIRECTIONS = 64
#: part of the name of kernels under which the rectifier is active
SIGNED = "both signs"


class Cumulants(NamedTuple):
    """Cumulants of a two-dimensional pattern; see `cumulants`.

    Attributes:
        center: pixels, (2,).
        covariance: pixels², (2, 2).
        fourth: κ_yyyy, κ_yyyx, κ_yyxx, κ_yxxx, κ_xxxx in pixels⁴, (5,).
    """

    center: Any
    covariance: Any
    fourth: Any


class Shapes(NamedTuple):
    """Shapes of each pattern under each kernel, leading axes (kernels, patterns).

    Attributes:
        cumulants: of all layers from 0 on, (…, layers + 1, …).
        outline: half widths of the final support in each of `DIRECTIONS`, pixels.
    """

    cumulants: Cumulants
    outline: Any

    @property
    def drift(self) -> np.ndarray:
        """Largest drift over all layers; NaN if the field dies."""
        return np.max(self.drifts, -1)

    @property
    def drifts(self) -> np.ndarray:
        """Distance of the center from its start, pixels, (…, layers + 1)."""
        away = self.cumulants.center - self.cumulants.center[..., :1, :]
        return np.linalg.norm(away, axis=-1)


def cumulants(field: im.fields.Field) -> Cumulants:
    """Center, covariance and fourth cumulants of a pattern.

    κ_aaaa = μ_aaaa − 3 μ_aa², κ_aaab = μ_aaab − 3 μ_aa μ_ab,
    κ_aabb = μ_aabb − μ_aa μ_bb − 2 μ_ab², with μ the moments about the center.
    """
    center = observables.center(field)
    from_corner = center - field.origin
    powers = [
        (jnp.arange(n, dtype=from_corner.dtype)[None] - from_corner[axis])
        ** np.arange(5.0)[:, None]
        for axis, n in enumerate(field.values.shape)
    ]
    share = field.values / jnp.sum(field.values)
    moments = jnp.einsum("ay,yx,bx->ab", powers[0], share, powers[1], precision="highest")
    yy, yx, xx = moments[2, 0], moments[1, 1], moments[0, 2]
    fourth = [
        moments[4, 0] - 3 * yy**2,
        moments[3, 1] - 3 * yy * yx,
        moments[2, 2] - yy * xx - 2 * yx**2,
        moments[1, 3] - 3 * xx * yx,
        moments[0, 4] - 3 * xx**2,
    ]
    covariance = jnp.stack([jnp.stack([yy, yx]), jnp.stack([yx, xx])])
    return Cumulants(center, covariance, jnp.stack(fourth))


def eigenvalue_ratio(covariance: np.ndarray) -> np.ndarray:
    """Smallest over largest eigenvalue, (…); NaN where the spread is zero or unknown."""
    known = np.isfinite(covariance).all((-2, -1))
    values = np.linalg.eigvalsh(np.where(known[..., None, None], covariance, 0))
    smallest, largest = np.moveaxis(values, -1, 0)
    return np.where(known & (largest > 0), smallest / np.where(largest > 0, largest, 1), np.nan)


def fourfold(covariance: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    """Fourth-order harmonic |κ(z, z, z, z)|/σ⁴ with z = x + iy and σ² = (σ_x² + σ_y²)/2.

    κ(z⁴) = κ_xxxx − 6 κ_xxyy + κ_yyyy + 4i (κ_xxxy − κ_xyyy) is 0 for round shapes, where
    κ_xxxx = κ_yyyy = 3 κ_xxyy. It modulates a Gaussian by a fraction (r/σ)⁴ |κ(z⁴)|/192 σ⁴ that
    varies as cos 4φ.
    """
    yyyy, yyyx, yyxx, yxxx, xxxx = np.moveaxis(np.asarray(fourth), -1, 0)
    square = (covariance[..., 0, 0] + covariance[..., 1, 1]) / 2
    size = np.abs(xxxx - 6 * yyxx + yyyy + 4j * (yxxx - yyyx))
    return np.where(square > 0, size / np.where(square > 0, square, 1) ** 2, np.nan)


def outline(field: im.fields.Field) -> jax.Array:
    """Reach of the support from the center in each of `DIRECTIONS`, pixels."""
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    y, x = (
        np.arange(float(n))[:, None] - (observables.center(field) - field.origin)[axis]
        for axis, n in enumerate(field.values.shape)
    )
    lit = field.values > 0
    # the furthest lit pixel of each row, which avoids an array over pixels and directions
    right = jnp.max(jnp.where(lit, x.T, -jnp.inf), 1, keepdims=True)
    left = jnp.min(jnp.where(lit, x.T, jnp.inf), 1, keepdims=True)
    furthest = jnp.where(np.cos(angle)[None] > 0, right, left)
    return jnp.max(y * np.sin(angle)[None] + furthest * np.cos(angle)[None], 0)


def measure(stack: jax.Array, starts: np.ndarray, steps: int, rectifier: str) -> Shapes:
    """Pass each pattern (patterns, rows, columns) through layers of each kernel."""
    fields = [patterns.padded(start, stack.shape[1:], steps) for start in starts]
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *fields)

    def observe(kernel, field):
        final, trace = im.rollout(kernel, field, steps, rectifier=rectifier, observe=cumulants)
        return Shapes(trace, outline(final))

    all_pairs = jax.jit(jax.vmap(jax.vmap(observe, (None, 0)), (0, None)))
    return jax.tree.map(np.asarray, all_pairs(stack, stacked))


@jax.jit
@jax.vmap
def _of_kernel(kernel):
    return cumulants(im.fields.as_field(kernel))


def of_kernels(stack: jax.Array) -> Cumulants:
    """Cumulants of kernels read as patterns, (kernels, …)."""
    return jax.tree.map(np.asarray, _of_kernel(stack))


def disk_taps(taps: int) -> np.ndarray:
    """Equal taps within taps/2 pixels of the middle, of unit energy, (taps, taps)."""
    inside = np.sum(kernels.offsets((taps, taps)) ** 2, -1) <= (taps / 2) ** 2
    return inside / np.sqrt(inside.sum())


def quarter_turned(stack: jax.Array) -> jax.Array:
    """Part of each kernel that is invariant under quarter turns."""
    turned = [jnp.rot90(stack, n, (1, 2)) for n in range(4)]
    return jnp.mean(jnp.stack(turned), 0)


def settled(good: np.ndarray) -> np.ndarray:
    """First index from which all entries are true along the last axis, float; NaN if none."""
    late = np.flip(np.logical_and.accumulate(np.flip(good, -1), -1), -1)
    return np.where(late.any(-1), late.argmax(-1).astype(float), np.nan)


def starts(photograph: str, side: int, seed: int) -> dict[str, np.ndarray]:
    """Patterns of `side`² pixels: an impulse, a disk, a crop of a photograph, and noise."""
    middle, margin = side // 2, (side - 7) // 2
    impulse = np.zeros((side, side))
    impulse[middle, middle] = 1
    disk = np.pad(patterns.pattern("disk", 3.0, 2, "float64"), margin)
    picture = np.asarray(im.fields.image(photograph).values, np.float64)
    row, column = (n // 2 - side for n in picture.shape)
    noise = np.random.default_rng(seed).uniform(size=(side, side))
    crop = picture[row : row + side, column : column + side]
    return {"impulse": impulse, "disk": disk, "photograph": crop, "noise": noise}


def families(taps: tuple[int, ...], count: int, seed: int) -> dict[str, jax.Array]:
    """Even kernels by name, (kernels, *taps), of (nearly) unit energy."""
    fixed = {f"constant {n}×{n}": kernels.constant((n, n), dtype="float64") for n in (2, 3, 5)}
    fixed["Gaussian 5×5, σ = 1"] = kernels.gaussian((5, 5), 1.0, dtype="float64")
    fixed |= {f"disk of taps {n}×{n}": jnp.asarray(disk_taps(n)) for n in (5, 7)}
    stacks = {name: kernel[None] for name, kernel in fixed.items() if len(kernel) in taps}
    keys = jax.random.split(jax.random.key(seed), count)
    for n in (m for m in (3, 5) if m in taps):
        draw = functools.partial(kernels.random, (n, n), share=0.0, dtype="float64")
        drawn = jax.vmap(lambda key, draw=draw: draw(key=key))(keys)
        name = f"random {n}×{n}"
        if n == 5:
            drawn, name = quarter_turned(drawn), f"{name}, quarter turns"
        stacks |= {f"{name}, ≥ 0": jnp.abs(drawn), f"{name}, {SIGNED}": drawn}
    return stacks
