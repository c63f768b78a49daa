"""Frames of filters on periodic grids: one low-pass and many band-passes, as frequency responses.

Docstrings of this package cite as [E]: Wiatowski, Grohs and Bölcskei, Energy Propagation in Deep
Convolutional Neural Networks, arXiv 1704.03636; as [T]: the same authors, Topology Reduction in
Deep Convolutional Feature Extraction Networks, arXiv 1707.02711.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math

#: a response counts as 0 where its square is below this share of the largest, or within rounding
MIN_POWER = 1e-24


@dataclass(frozen=True)
class Band:
    """What a band-pass filter is.

    Attributes:
        scale: number of its scale, counted from the coarsest, which is 1; 0 if it has none.
        center: frequency on each axis, in radians per sample.
        orientation: angle of the center from axis 1 towards axis 0, in radians; None in one
            dimension.
        support: smallest and largest |ω| where the response isn't 0, in radians per sample.
    """

    scale: int
    center: tuple[float, ...]
    orientation: float | None
    support: tuple[float, float]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frame:
    """A low-pass χ and band-passes g_λ on a periodic grid of one or two axes.

    Attributes:
        low: χ̂, shape (*grid), real or complex, in the order of `jnp.fft.fftn`.
        bands: ĝ_λ, shape (bands, *grid).
        labels: a `Band` for each band; static.
        mirrors: for each band the number of the one with ĝ(ω) = conj ĝ_λ(−ω), which answers a real
            signal with the conjugate; its own number if the filter is real; −1 if there is none.
            Static, and taken at its word where responses are traced: see `with_bands`.
    """

    low: jax.Array
    bands: jax.Array
    labels: tuple[Band, ...] = dataclasses.field(metadata={"static": True})
    mirrors: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples on each axis."""
        return tuple(self.low.shape)


def frame(low: Any, bands: Any, labels: Sequence[Band] | None = None) -> Frame:
    """A frame of any responses; tight or not, see `bounds`.

    Args:
        low: response of the low-pass, shape (*grid) of one or two axes, real or complex.
        bands: responses of the band-passes, shape (bands, *grid).
        labels: what each band is; found from the responses if None, with scale 0.

    Returns:
        `Frame`. Labels and mirrors are found where the responses are known, that is outside of jit
        and grad; elsewhere labels say nothing.

    Raises:
        ValueError: shapes that don't go together, NaN or infinity, no band, a grid of three axes,
            or another number of labels than of bands.
    """
    low, bands = _responses("low", low), _responses("bands", bands)
    if low.ndim not in (1, 2) or 0 in low.shape:
        raise checks.error("low", f"shape {low.shape}", "a grid of one or two axes")
    if (known := checks.concrete(low)) is not None:
        off = np.abs(mirrored(known[None])[0] - known).max()
        if off > 1e2 * np.finfo(known.dtype).eps * np.abs(known).max():
            got = f"χ̂(−ω) that differs from conj χ̂(ω) by up to {off:.3g}"
            raise checks.error("low", got, "the response of real taps")
    if bands.shape[1:] != low.shape or not len(bands):
        raise checks.error("bands", f"shape {bands.shape}", f"(bands, *{low.shape})")
    if labels is not None and len(labels) != len(bands):
        raise checks.error("labels", f"{len(labels)}", f"one for each of {len(bands)} bands")
    known = checks.concrete(bands)
    if known is None:
        nothing = Band(0, (0.0,) * low.ndim, None, (0.0, math.pi))
        found, mirrors = [nothing] * len(bands), [-1] * len(bands)
    else:
        found, mirrors = [_label(band) for band in known], _mirrors(known)
    return Frame(low, bands, tuple(labels or found), tuple(mirrors))


def from_taps(low: Any, bands: Any, shape: int | Sequence[int]) -> Frame:
    """The frame of filters given by their taps, on a periodic grid.

    Tap i of n lies at i − (n − 1)//2, as in `infomech.rollout`.

    Args:
        low: taps of the low-pass, real or complex, of one or two axes.
        bands: taps of the band-passes, shape (bands, *taps).
        shape: of the grid; no axis shorter than the taps.

    Returns:
        `Frame`, in general not tight: see `tighten`.

    Raises:
        ValueError: taps that don't fit into the grid, or as `frame` says.
    """
    grid = checks.shape("shape", shape)
    low, bands = _responses("low", low), _responses("bands", bands)
    for name, taps in (("low", low.shape), ("bands", bands.shape[1:])):
        if len(taps) != len(grid) or any(n > m for n, m in zip(taps, grid, strict=True)):
            raise checks.error(name, f"taps {taps}", f"taps that fit into {grid}")
    return frame(transfer(low, grid), transfer(bands, grid))


def tighten(bank: Frame, *, keep_low: bool = False) -> Frame:
    """The frame divided by the root of its Littlewood-Paley sum, which makes it tight.

    ĝ_λ / √(|χ̂|² + Σ_μ |ĝ_μ|²), and the same for χ̂; or, with the low-pass as it is,
    ĝ_λ √((1 − |χ̂|²) / Σ_μ |ĝ_μ|²). Differentiable, so that tight frames can be learned.

    Args:
        bank: any frame.
        keep_low: change the band-passes only; |χ̂| must be 1 at most.

    Returns:
        `Frame` with Littlewood-Paley sum 1 to rounding.

    Raises:
        ValueError: a frequency that no filter (with `keep_low`: no band-pass) lets through, or
            |χ̂| > 1 with `keep_low`; where the responses are known.
    """
    largest = [jnp.max(jnp.abs(x)) for x in (bank.bands, bank.low)[: 1 if keep_low else 2]]
    kind = safe_math.wider(*(x.dtype for x in largest))
    unit = safe_math.magnitude(jnp.stack([x.astype(kind) for x in largest]))
    own = jnp.ones_like(unit) if keep_low else unit
    low = _even(square(_divided(bank.low, own)))
    through = _even(jnp.sum(square(_divided(bank.bands, unit)), 0))
    total = through if keep_low else low + through
    wanted = jnp.maximum(1 - low, 0) if keep_low else jnp.ones_like(total)
    known = [checks.concrete(x) for x in (low, total, wanted)]
    if not any(x is None for x in known):
        _check_lets_through(*known, keep_low=keep_low)
    exists = total > 0
    gain = safe_math.sqrt(jnp.where(exists, wanted / jnp.where(exists, total, 1), 0)) / unit
    scaled = bank.low if keep_low else bank.low * gain.astype(bank.low.dtype)
    bands = bank.bands * gain[None].astype(bank.bands.dtype)
    return dataclasses.replace(bank, low=scaled, bands=bands)


def with_bands(bank: Frame, responses: Any) -> Frame:
    """The frame with other responses, each mirrored band made anew as the mirror of its twin.

    For learning: parameters are the responses at `firsts`, and the frame stays one whose mirrors
    are as stated. Differentiable.

    Args:
        bank: any frame.
        responses: of the bands at `firsts(bank)`, (len(firsts), *grid), real or complex.

    Returns:
        `Frame`, in general not tight: see `tighten`.

    Raises:
        ValueError: responses of another shape, NaN or infinity.
    """
    first, responses = firsts(bank), _responses("responses", responses)
    if responses.shape != (len(first), *bank.shape):
        expected = f"({len(first)}, *{bank.shape}), one for each band of firsts"
        raise checks.error("responses", f"shape {responses.shape}", expected)
    images, place = mirrored(responses), {i: n for n, i in enumerate(first)}
    bands = [
        responses[place[i]] if i in place else images[place[other]]
        for i, other in enumerate(bank.mirrors)
    ]
    return dataclasses.replace(bank, bands=jnp.stack(bands))


def firsts(bank: Frame) -> tuple[int, ...]:
    """Numbers of the bands less the second of each mirrored pair."""
    return tuple(i for i, other in enumerate(bank.mirrors) if other < 0 or i <= other)


def check(bank: Frame) -> None:
    """Raises ValueError unless labels and mirrors fit the responses, as far as these are known."""
    count = len(bank.bands)
    pairs = all(
        m == -1 or (0 <= m < count and bank.mirrors[m] == i) for i, m in enumerate(bank.mirrors)
    )
    if len(bank.labels) != count or len(bank.mirrors) != count or not pairs:
        got = f"{count} bands with {len(bank.labels)} labels and mirrors {bank.mirrors}"
        raise checks.error("frame", got, "a label and a mirror for each; see frames.frame")
    bands = checks.concrete(bank.bands)
    there = [i for i, m in enumerate(bank.mirrors) if m >= 0]
    if bands is None or not there:
        return
    twins = mirrored(bands)[np.array(bank.mirrors)[there]]
    off = np.abs(bands[there] - twins).reshape(len(there), -1).max(1)
    worst = int(np.argmax(off))
    if not off[worst] <= 1e3 * np.finfo(bands.dtype).eps * np.abs(bands).max():
        i = there[worst]
        got = f"band {i} that is off its mirror {bank.mirrors[i]} by {off[worst]:.3g}"
        raise checks.error(
            "frame", got, "mirrors as stated; see frames.with_bands and frames.frame"
        )


def littlewood_paley(bank: Frame) -> jax.Array:
    """|χ̂|² + Σ_λ |ĝ_λ|², the mean of ω and −ω, shape (*grid): 1 everywhere for a tight frame.

    The spectrum of a real signal is as large at −ω as at ω, so the mean is what it meets.
    """
    return _even(square(bank.low) + jnp.sum(square(bank.bands), 0))


def bounds(bank: Frame) -> tuple[jax.Array, jax.Array]:
    """Frame bounds A, B: smallest and largest value of the Littlewood-Paley sum.

    A ‖f‖² ≤ ‖f * χ‖² + Σ_λ ‖f * g_λ‖² ≤ B ‖f‖² for every real signal f.
    """
    total = littlewood_paley(bank)
    return jnp.min(total), jnp.max(total)


def require_tight(bank: Frame) -> None:
    """Raises ValueError unless the frame is tight to rounding, saying by how much and where not.

    The Littlewood-Paley sum may be off by 1e-12 in float64 and by 1e-5 in float32. Responses that
    are being traced are taken at their word.
    """
    total = checks.concrete(littlewood_paley(bank))
    if total is None:
        return
    tolerance = 1e-12 if total.dtype == np.float64 else 1e-5
    worst = np.unravel_index(np.argmax(np.abs(total - 1)), total.shape)
    if not abs(total[worst] - 1) <= tolerance:
        where = ", ".join(f"{axis[worst]:.4g}" for axis in frequencies(bank.shape))
        got = f"Littlewood-Paley sum {total[worst]:.6g} at ω = ({where}) radians per sample"
        raise checks.error("frame", got, f"1 within {tolerance:g} everywhere; see frames.tighten")


def lets_through(responses: np.ndarray) -> np.ndarray:
    """Where responses aren't 0 but for what rounding leaves of the largest of them."""
    size = np.abs(responses)
    power = (size / (size.max() or 1)) ** 2
    return power > max(MIN_POWER, (64 * np.finfo(size.dtype).eps) ** 2)


def frequencies(grid: Sequence[int]) -> tuple[np.ndarray, ...]:
    """ω on each axis, each of shape (*grid), in radians per sample, in the order of `fftn`."""
    axes = (2 * np.pi * np.fft.fftfreq(n) for n in grid)
    return tuple(np.meshgrid(*axes, indexing="ij"))


def magnitudes(grid: Sequence[int]) -> np.ndarray:
    """|ω|, shape (*grid), in radians per sample."""
    return np.sqrt(sum(axis**2 for axis in frequencies(grid)))


def mirrored(bands: Any) -> Any:
    """conj ĝ(−ω) for responses (bands, *grid): what a filter's mirror responds."""
    xp = jnp if isinstance(bands, jax.Array) else np
    axes = tuple(range(1, bands.ndim))
    return xp.conj(xp.roll(xp.flip(bands, axes), 1, axes))


def square(response: jax.Array) -> jax.Array:
    """|ĝ|² of real or complex responses."""
    return response.real**2 + response.imag**2 if jnp.iscomplexobj(response) else response**2


def _divided(response, unit):
    return response / unit.astype(response.dtype)


def _even(values):
    """The mean of a function at ω and −ω."""
    return (values + mirrored(values[None])[0]) / 2


def _label(band: np.ndarray) -> Band:
    size = np.abs(band)
    power = (size / (size.max() or 1)) ** 2
    total = power.sum() or 1
    axes = frequencies(band.shape)
    center = tuple(float(np.sum(axis * power) / total) for axis in axes)
    there = magnitudes(band.shape)[lets_through(band)]
    support = (float(there.min()), float(there.max())) if there.size else (0.0, 0.0)
    return Band(0, center, math.atan2(*center) if len(center) == 2 else None, support)


def _mirrors(bands: np.ndarray) -> list[int]:
    """For each band the number of its mirror, by brute force over the bands not yet paired."""
    images, found = mirrored(bands), [-1] * len(bands)
    for i, image in enumerate(images):
        tolerance = 1e2 * np.finfo(image.dtype).eps * np.abs(image).max()
        for j in [i, *range(i + 1, len(bands))]:
            if found[i] < 0 and found[j] < 0 and np.abs(bands[j] - image).max() <= tolerance:
                found[i], found[j] = j, i
    return found


def _check_lets_through(low, total, wanted, *, keep_low):
    if keep_low and low.max() > 1 + 1e-6:
        raise checks.error("bank.low", f"|χ̂|² = {low.max():.6g} at most", "at most 1 to keep it")
    shut = (total <= MIN_POWER * total.max()) & (wanted > 1e-6)
    if shut.any():
        where = np.unravel_index(np.argmax(shut), shut.shape)
        omega = ", ".join(f"{axis[where]:.4g}" for axis in frequencies(low.shape))
        expected = "a band that lets it through" if keep_low else "a filter that lets it through"
        raise checks.error("bank", f"nothing passing ω = ({omega}) radians per sample", expected)


def transfer(taps: jax.Array, grid: Sequence[int]) -> jax.Array:
    """Responses (…, *grid) of taps on the last axes, tap i of n lying at i − (n − 1)//2."""
    sizes = taps.shape[-len(grid) :]
    axes = tuple(range(taps.ndim - len(grid), taps.ndim))
    room = [(0, 0)] * axes[0] + [(0, m - n) for n, m in zip(sizes, grid, strict=True)]
    shift = tuple(-((n - 1) // 2) for n in sizes)
    return jnp.fft.fftn(jnp.roll(jnp.pad(taps, room), shift, axes), axes=axes)


def _responses(argument: str, value: Any) -> jax.Array:
    """Real or complex numbers of at least single precision."""
    if not isinstance(value, jax.Array) and not hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except (TypeError, ValueError):
            raise checks.error(argument, type(value).__name__, "an array of numbers") from None
    if not jnp.issubdtype(value.dtype, jnp.complexfloating):
        value = checks.floating(argument, value)
    checks.finite(argument, value)
    array = jnp.asarray(value)
    return array.astype(safe_math.wider(array.dtype, jnp.float32))
