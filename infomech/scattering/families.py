"""Families of tight frames: Meyer wavelets, Weyl-Heisenberg filters, oriented filters in 2-D.

All are built from smooth windows whose squares telescope, which makes the Littlewood-Paley sum 1 to
rounding. The band-passes are analytic, each with its mirror on the other side of 0.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.scattering import frames
from infomech.scattering.frames import Band, Frame


def meyer(shape: int, octaves: float = 8.0, *, dilation: float = 2.0, dtype: Any = None) -> Frame:
    """Frame of analytic Meyer-type wavelets in one dimension, with any dilation.

    With x = log_r(|ω|/δ), |ĝ_j|² = h(x − j + 1) − h(x − j) and |χ̂|² = 1 − h(x), where h rises
    smoothly from 0 at 0 to 1 at 1. Band j = 1 … K is supported on [r^(j−1), r^(j+1)] δ; the last
    band does not fall off before π = r^(K+1) δ. Every band has contraction factor
    (r² + 1)/(r² − 1) in the limit of many samples: 5/3 for r = 2.

    Args:
        shape: length of the signals.
        octaves: octaves from the spectral gap δ to π, minus one dilation step r; there are
            K = ⌈octaves / log₂ r⌉ bands on each side.
        dilation: r > 1.
        dtype: floating dtype of the responses; JAX's default float if None.

    Returns:
        `Frame` of 2K bands, positive frequencies first.

    Raises:
        ValueError: a dilation of 1 or less, or octaves or a dilation for which some band contains
            no frequency of the grid.
    """
    shape = checks.integer("shape", shape, 4)
    count, delta = _scales("octaves", octaves, dilation, shape)

    def squares(omega):
        return _radial(np.abs(omega), delta, dilation, count)

    labels = [_radial_band(j, delta, dilation, count) for j in range(1, count + 1)]
    return _two_sided("octaves", (shape,), squares, labels, dtype)


def weyl_heisenberg(
    shape: int, bands: int = 16, *, width: float = 2.0, gap: float = 1.0, dtype: Any = None
) -> Frame:
    """Frame of uniform filters in one dimension: frequency translates of one prototype.

    With spacing s, prototype j = 0 … K − 1 is centered at (gap + width/2 + j) s and its support is
    `width` spacings wide. Squares are divided by the sum over all translates. Translates below
    j = 0 form the low-pass; those above belong to the last band, which is centered at π. The
    spectral gap is δ = gap · s. With more than one band, band 0 has the smallest contraction
    factor, 1 + 2 gap/width in the limit of many samples.

    Args:
        shape: length of the signals.
        bands: K bands on each side, at least 1.
        width: support of a prototype in spacings; above 1, or neighbors would not overlap.
        gap: spectral gap in spacings, positive.
        dtype: floating dtype of the responses; JAX's default float if None.

    Returns:
        `Frame` of 2K bands, positive frequencies first.

    Raises:
        ValueError: an argument outside its range, or a gap or half width smaller than the frequency
            spacing of the grid.
    """
    shape, bands = checks.integer("shape", shape, 4), checks.integer("bands", bands, 1)
    if not (math.isfinite(width) and width > 1):
        raise checks.error("width", width, "a number above 1, or neighbors don't overlap")
    if not (math.isfinite(gap) and gap > 0):
        raise checks.error("gap", gap, "a positive number of spacings")
    spacing = math.pi / (gap + bands - 1 + width / 2)
    if min(gap, width / 2) * spacing < 2 * math.pi / shape:
        limit = int(shape * min(gap, width / 2) / 2 + 1 - gap - width / 2)
        raise checks.error("bands", bands, f"at most {limit} for {shape} samples and this width")
    first, reach = gap + width / 2, math.ceil(width) + 1

    def squares(omega):
        x = np.abs(omega) / spacing - first
        translates = range(-reach, bands + reach)
        bumps = np.array([1 - _rise(2 * np.abs(x - j) / width) for j in translates])
        total = bumps.sum(0)
        share = np.where(total > 0, bumps / np.where(total > 0, total, 1), 0)
        low = np.where(total > 0, share[:reach].sum(0), 1.0 * (x < 0))
        last = share[reach + bands - 1 :].sum(0)
        return np.array([low, *share[reach : reach + bands - 1], last])

    labels = [
        Band(
            j + 1,
            ((first + j) * spacing,),
            None,
            ((gap + j) * spacing, min((gap + j + width) * spacing, math.pi)),
        )
        for j in range(bands)
    ]
    return _two_sided("bands", (shape,), squares, labels, dtype)


def oriented(
    shape: Sequence[int],
    octaves: float = 3.0,
    orientations: int = 6,
    *,
    dilation: float = 2.0,
    growth: float = 0.0,
    dtype: Any = None,
) -> Frame:
    """Frame of oriented filters in two dimensions: wavelets, curvelets or ridgelets.

    Each band is analytic in a half plane: a Meyer-type window of |ω|, as in `meyer`, times an
    angular window. L angular windows cover a half turn, each two spacings π/L wide. With growth g,
    L is multiplied by 2^⌊g · octaves above the coarsest scale⌋. g = 0 keeps L constant (wavelets),
    g = ½ doubles it every other octave (curvelets, with parabolic scaling), and g = 1 every octave
    (ridgelets).

    Args:
        shape: rows and columns of the images.
        octaves: octaves from the spectral gap δ to π, minus one dilation step r.
        orientations: L at the coarsest scale over a half turn, at least 2; mirrors are separate
            bands.
        dilation: r > 1.
        growth: g in [0, 1].
        dtype: floating dtype of the responses; JAX's default float if None.

    Returns:
        `Frame`; bands are ordered by scale from coarse to fine, then by orientation over a turn.

    Raises:
        ValueError: an argument outside its range, a shape without exactly two axes, or too many
            octaves for the shape.
    """
    shape = checks.shape("shape", shape)
    if len(shape) != 2:
        raise checks.error("shape", shape, "rows and columns")
    checks.in_unit_interval("growth", growth)
    orientations = checks.integer("orientations", orientations, 2)
    count, delta = _scales("octaves", octaves, dilation, min(shape))
    step = math.log2(dilation)
    counts = [
        orientations * 2 ** math.floor(growth * step * (j - 1) + 1e-9) for j in range(1, count + 1)
    ]

    def squares(rows, columns):
        radial = _radial(np.hypot(rows, columns), delta, dilation, count)
        angle = np.arctan2(rows, columns)
        parts = [radial[:1]]
        for window, n in zip(radial[1:], counts, strict=True):
            distance = angle[None] * n / np.pi - np.arange(2 * n)[:, None, None]
            distance = np.abs((distance + n) % (2 * n) - n)
            parts.append(window * (1 - _rise(distance)))
        return np.concatenate(parts)

    labels: list[Band] = []
    mirrors: list[int] = []
    for j, n in enumerate(counts, 1):
        ring = _radial_band(j, delta, dilation, count, math.pi * math.sqrt(2))
        mirrors += [len(labels) + (i + n) % (2 * n) for i in range(2 * n)]
        for i in range(2 * n):
            theta = math.pi * i / n
            center = (ring.center[0] * math.sin(theta), ring.center[0] * math.cos(theta))
            labels.append(Band(j, center, theta, ring.support))
    return _build("octaves", shape, squares, labels, mirrors, dtype)


def _scales(argument, octaves, dilation, samples):
    if not (math.isfinite(dilation) and dilation > 1):
        raise checks.error("dilation", dilation, "a number above 1")
    if not (math.isfinite(octaves) and octaves > 0):
        raise checks.error(argument, octaves, "a positive number")
    step = math.log2(dilation)
    count = math.ceil(octaves / step - 1e-9)
    delta = math.pi * dilation ** -(count + 1)
    if delta < 2 * math.pi / samples * (1 - 1e-9):
        limit = math.floor(math.log2(samples / 2) / step - 1 + 1e-9) * step
        raise checks.error(argument, octaves, f"at most {limit:.4g} for {samples} samples")
    return count, delta


def _rise(x):
    """sin²(π ν(x)/2), smooth from 0 at x ≤ 0 to 1 at x ≥ 1, with rise(1 − x) = 1 − rise(x)."""
    x = np.clip(x, 0, 1)
    return np.sin(np.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)) ** 2


def _radial(size, delta, dilation, count):
    """|χ̂|² and |ĝ_j|² as functions of |ω| = size, shape (count + 1, *size.shape)."""
    x = np.log(np.maximum(size, delta / 2) / delta) / math.log(dilation)
    rises = [np.ones_like(x), *(_rise(x - j) for j in range(count)), np.zeros_like(x)]
    return np.array([a - b for a, b in itertools.pairwise(rises)])


def _radial_band(scale, delta, dilation, count, highest=math.pi):
    low, center, high = (delta * dilation ** (scale + k) for k in (-1, 0, 1))
    return Band(scale, (center,), None, (low, highest if scale == count else high))


def _two_sided(argument, shape, squares, labels, dtype):
    def both(omega):
        low, *bands = squares(omega)
        return np.array([low, *(b * (omega > 0) for b in bands), *(b * (omega < 0) for b in bands)])

    count = len(labels)
    mirrored = [Band(b.scale, (-b.center[0],), None, b.support) for b in labels]
    mirrors = [(i + count) % (2 * count) for i in range(2 * count)]
    return _build(argument, shape, both, [*labels, *mirrored], mirrors, dtype)


def _build(
    argument: str,
    shape: tuple[int, ...],
    squares: Callable,
    labels: list[Band],
    mirrors: list[int],
    dtype: Any,
) -> Frame:
    """Build a frame from squared responses.

    ω = π and −π are the same frequency of the grid. The squares are averaged there, so mirroring a
    band gives a band.
    """
    omega = frames.frequencies(shape)
    total: Any = 0
    for signs in np.ndindex(*(2,) * len(shape)):
        signed = [
            np.where(np.abs(axis) > np.pi * (1 - 1e-9), np.pi * (1 - 2 * sign), axis)
            for axis, sign in zip(omega, signs, strict=True)
        ]
        total = total + squares(*signed)
    roots = np.sqrt(np.maximum(total / 2 ** len(shape), 0))
    images = frames.mirrored(roots)
    low, bands = (roots[0] + images[0]) / 2, roots[1:]
    for i, mirror in enumerate(mirrors):
        if i < mirror:
            bands[mirror] = images[i + 1]
    empty = ~bands.reshape(len(bands), -1).any(1)
    if empty.any():
        got = f"{empty.sum()} bands without a frequency of the grid {shape}"
        raise checks.error(argument, got, "fewer octaves or a larger dilation")
    dtype = safe_math.wider(checks.floating_dtype(dtype), jnp.float32)
    return Frame(jnp.asarray(low, dtype), jnp.asarray(bands, dtype), tuple(labels), tuple(mirrors))
