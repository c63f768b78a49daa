"""Filter frames on periodic grids: a low-pass and band-passes, stored as frequency responses.

References in this package. [E]: Wiatowski, Grohs and Bölcskei, Energy Propagation in Deep
Convolutional Neural Networks, arXiv 1704.03636. [T]: the same authors, Topology Reduction in Deep
Convolutional Feature Extraction Networks, arXiv 1707.02711.
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

#: a response counts as 0 where its power is below this fraction of the largest, or within rounding
MIN_POWER = 1e-24


@dataclass(frozen=True)
class Band:
    """Description of a band-pass filter.

    Attributes:
        scale: number of the scale; 1 is the coarsest, 0 means no scale.
        center: center frequency on each axis, in radians per sample.
        orientation: angle of the center from axis 1 towards axis 0, in radians; None in one
            dimension.
        support: smallest and largest |ω| with a nonzero response, in radians per sample.
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
        low: χ̂, shape (*shape), real or complex, in the order of `jnp.fft.fftn`.
        bands: ĝ_λ, shape (bands, *shape).
        labels: one `Band` per band; static.
        mirrors: for each band the index of its mirror ĝ(ω) = conj ĝ_λ(−ω), whose output for a real
            signal is the complex conjugate. A real filter is its own mirror; −1 means no mirror.
            Static, and not verified while responses are traced: see `with_bands`.
    """

    low: jax.Array
    bands: jax.Array
    labels: tuple[Band, ...] = dataclasses.field(metadata={"static": True})
    mirrors: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples along each axis."""
        return tuple(self.low.shape)


def frame(low: Any, bands: Any, labels: Sequence[Band] | None = None) -> Frame:
    """Build a frame from arbitrary responses, tight or not; see `bounds`.

    Args:
        low: response of the low-pass, shape (*shape) with one or two axes, real or complex.
        bands: responses of the band-passes, shape (bands, *shape).
        labels: one `Band` per band; derived from the responses if None, with scale 0.

    Returns:
        `Frame`. Labels and mirrors are derived only from concrete responses, outside of jit and
        grad. For traced responses the labels are placeholders and no band has a mirror.

    Raises:
        ValueError: incompatible shapes, NaN or infinity, no band, more than two axes, or a number
            of labels that differs from the number of bands.
    """
    low, bands = _responses("low", low), _responses("bands", bands)
    if low.ndim not in (1, 2) or 0 in low.shape:
        raise checks.error("low", f"shape {low.shape}", "one or two nonempty axes")
    if (known := checks.concrete(low)) is not None:
        deviation = np.abs(mirrored(known[None])[0] - known).max()
        if deviation > 1e2 * np.finfo(known.dtype).eps * np.abs(known).max():
            got = f"χ̂(−ω) that differs from conj χ̂(ω) by up to {deviation:.3g}"
            raise checks.error("low", got, "the response of real taps")
    if bands.shape[1:] != low.shape or not len(bands):
        raise checks.error("bands", f"shape {bands.shape}", f"(bands, *{low.shape})")
    if labels is not None and len(labels) != len(bands):
        raise checks.error("labels", f"{len(labels)}", f"one for each of {len(bands)} bands")
    known = checks.concrete(bands)
    if known is None:
        placeholder = Band(0, (0.0,) * low.ndim, None, (0.0, math.pi))
        derived, mirrors = [placeholder] * len(bands), [-1] * len(bands)
    else:
        derived, mirrors = [_label(band) for band in known], _mirrors(known)
    return Frame(low, bands, tuple(labels or derived), tuple(mirrors))


def from_taps(low: Any, bands: Any, shape: int | Sequence[int]) -> Frame:
    """Build a frame on a periodic grid from filter taps.

    Tap i of n is at position i − (n − 1)//2, as in `infomech.rollout`.

    Args:
        low: taps of the low-pass, real or complex, one or two axes.
        bands: taps of the band-passes, shape (bands, *kernel_size).
        shape: samples along each axis; at least as many as taps.

    Returns:
        `Frame`, in general not tight: see `tighten`.

    Raises:
        ValueError: more taps than samples along an axis, or invalid input to `frame`.
    """
    shape = checks.shape("shape", shape)
    low, bands = _responses("low", low), _responses("bands", bands)
    for name, taps in (("low", low.shape), ("bands", bands.shape[1:])):
        if len(taps) != len(shape) or any(n > m for n, m in zip(taps, shape, strict=True)):
            raise checks.error(name, f"taps {taps}", f"taps that fit into {shape}")
    return frame(transfer(low, shape), transfer(bands, shape))


def tighten(bank: Frame, *, keep_low: bool = False) -> Frame:
    """Make a frame tight: divide it by the square root of its Littlewood-Paley sum.

    ĝ_λ / √(|χ̂|² + Σ_μ |ĝ_μ|²), and the same for χ̂; or, with an unchanged low-pass,
    ĝ_λ √((1 − |χ̂|²) / Σ_μ |ĝ_μ|²). Differentiable, so tight frames can be learned.

    Args:
        bank: any frame.
        keep_low: change the band-passes only; requires |χ̂| ≤ 1.

    Returns:
        `Frame` with Littlewood-Paley sum 1 to rounding.

    Raises:
        ValueError: concrete responses where no filter (with `keep_low`: no band-pass) passes some
            frequency, or where |χ̂| > 1 with `keep_low`.
    """
    largest = [jnp.max(jnp.abs(x)) for x in (bank.bands, bank.low)[: 1 if keep_low else 2]]
    kind = safe_math.wider(*(x.dtype for x in largest))
    unit = safe_math.magnitude(jnp.stack([x.astype(kind) for x in largest]))
    low_unit = jnp.ones_like(unit) if keep_low else unit
    low_power = _even(square(_divided(bank.low, low_unit)))
    band_power = _even(jnp.sum(square(_divided(bank.bands, unit)), 0))
    total = band_power if keep_low else low_power + band_power
    target = jnp.maximum(1 - low_power, 0) if keep_low else jnp.ones_like(total)
    known = [checks.concrete(x) for x in (low_power, total, target)]
    if not any(x is None for x in known):
        _check_coverage(*known, keep_low=keep_low)
    covered = total > 0
    gain = safe_math.sqrt(jnp.where(covered, target / jnp.where(covered, total, 1), 0)) / unit
    scaled = bank.low if keep_low else bank.low * gain.astype(bank.low.dtype)
    bands = bank.bands * gain[None].astype(bank.bands.dtype)
    return dataclasses.replace(bank, low=scaled, bands=bands)


def with_bands(bank: Frame, responses: Any) -> Frame:
    """Replace the responses of a frame and rebuild each mirrored band from its partner.

    Use it to learn frames: the parameters are the responses of the independent bands, and the
    declared mirrors stay valid. Differentiable.

    Args:
        bank: any frame.
        responses: real or complex, one of shape (*shape) for each of `independent_bands(bank)`.

    Returns:
        `Frame`, in general not tight: see `tighten`.

    Raises:
        ValueError: responses of a different shape, NaN or infinity.
    """
    first, responses = independent_bands(bank), _responses("responses", responses)
    if responses.shape != (len(first), *bank.shape):
        expected = f"({len(first)}, *{bank.shape}), one for each of the independent bands"
        raise checks.error("responses", f"shape {responses.shape}", expected)
    images, rows = mirrored(responses), {i: row for row, i in enumerate(first)}
    bands = [
        responses[rows[i]] if i in rows else images[rows[mirror]]
        for i, mirror in enumerate(bank.mirrors)
    ]
    return dataclasses.replace(bank, bands=jnp.stack(bands))


def independent_bands(bank: Frame) -> tuple[int, ...]:
    """Indices of all bands except the second of each mirrored pair."""
    return tuple(i for i, mirror in enumerate(bank.mirrors) if mirror < 0 or i <= mirror)


def check(bank: Frame) -> None:
    """Raise ValueError if labels or mirrors contradict the responses, where these are concrete."""
    count = len(bank.bands)
    pairs = all(
        m == -1 or (0 <= m < count and bank.mirrors[m] == i) for i, m in enumerate(bank.mirrors)
    )
    if len(bank.labels) != count or len(bank.mirrors) != count or not pairs:
        got = f"{count} bands with {len(bank.labels)} labels and mirrors {bank.mirrors}"
        raise checks.error("frame", got, "a label and a mirror for each; see frames.frame")
    bands = checks.concrete(bank.bands)
    paired = [i for i, m in enumerate(bank.mirrors) if m >= 0]
    if bands is None or not paired:
        return
    images = mirrored(bands)[np.array(bank.mirrors)[paired]]
    deviations = np.abs(bands[paired] - images).reshape(len(paired), -1).max(1)
    worst = int(np.argmax(deviations))
    if not deviations[worst] <= 1e3 * np.finfo(bands.dtype).eps * np.abs(bands).max():
        i = paired[worst]
        got = f"band {i} that differs from its mirror {bank.mirrors[i]} by {deviations[worst]:.3g}"
        raise checks.error(
            "frame", got, "mirrors as declared; see frames.with_bands and frames.frame"
        )


def littlewood_paley(bank: Frame) -> jax.Array:
    """Littlewood-Paley sum |χ̂|² + Σ_λ |ĝ_λ|², shape (*shape): 1 everywhere for a tight frame.

    Averaged over ω and −ω, where the power spectra of real signals are equal.
    """
    return _even(square(bank.low) + jnp.sum(square(bank.bands), 0))


def bounds(bank: Frame) -> tuple[jax.Array, jax.Array]:
    """Frame bounds A and B: smallest and largest value of the Littlewood-Paley sum.

    A ‖f‖² ≤ ‖f * χ‖² + Σ_λ ‖f * g_λ‖² ≤ B ‖f‖² for every real signal f.
    """
    total = littlewood_paley(bank)
    return jnp.min(total), jnp.max(total)


def require_tight(bank: Frame) -> None:
    """Raise ValueError unless the frame is tight; name the deviation and its frequency.

    The Littlewood-Paley sum may deviate by 1e-12 in float64 and by 1e-5 in float32. Traced
    responses are not checked.
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


def nonzero(responses: np.ndarray) -> np.ndarray:
    """Mask of nonzero responses, up to rounding relative to the largest of them."""
    size = np.abs(responses)
    power = (size / (size.max() or 1)) ** 2
    return power > max(MIN_POWER, (64 * np.finfo(size.dtype).eps) ** 2)


def frequencies(shape: Sequence[int]) -> tuple[np.ndarray, ...]:
    """ω along each axis, each of shape (*shape), in radians per sample, in the order of `fftn`."""
    axes = (2 * np.pi * np.fft.fftfreq(n) for n in shape)
    return tuple(np.meshgrid(*axes, indexing="ij"))


def magnitudes(shape: Sequence[int]) -> np.ndarray:
    """|ω|, shape (*shape), in radians per sample."""
    return np.sqrt(sum(axis**2 for axis in frequencies(shape)))


def mirrored(bands: Any) -> Any:
    """Responses conj ĝ(−ω) of the mirrored filters, for responses ĝ of shape (bands, *shape)."""
    xp = jnp if isinstance(bands, jax.Array) else np
    axes = tuple(range(1, bands.ndim))
    return xp.conj(xp.roll(xp.flip(bands, axes), 1, axes))


def square(response: jax.Array) -> jax.Array:
    """Power |ĝ|² of real or complex responses."""
    return response.real**2 + response.imag**2 if jnp.iscomplexobj(response) else response**2


def _divided(response, unit):
    return response / unit.astype(response.dtype)


def _even(values):
    """Mean of a function at ω and −ω."""
    return (values + mirrored(values[None])[0]) / 2


def _label(band: np.ndarray) -> Band:
    size = np.abs(band)
    power = (size / (size.max() or 1)) ** 2
    total = power.sum() or 1
    axes = frequencies(band.shape)
    center = tuple(float(np.sum(axis * power) / total) for axis in axes)
    passed = magnitudes(band.shape)[nonzero(band)]
    support = (float(passed.min()), float(passed.max())) if passed.size else (0.0, 0.0)
    return Band(0, center, math.atan2(*center) if len(center) == 2 else None, support)


def _mirrors(bands: np.ndarray) -> list[int]:
    """Index of each band's mirror, by brute force over the bands not yet paired."""
    images, mirrors = mirrored(bands), [-1] * len(bands)
    for i, image in enumerate(images):
        tolerance = 1e2 * np.finfo(image.dtype).eps * np.abs(image).max()
        for j in [i, *range(i + 1, len(bands))]:
            if mirrors[i] < 0 and mirrors[j] < 0 and np.abs(bands[j] - image).max() <= tolerance:
                mirrors[i], mirrors[j] = j, i
    return mirrors


def _check_coverage(low, total, target, *, keep_low):
    if keep_low and low.max() > 1 + 1e-6:
        raise checks.error("bank.low", f"|χ̂|² = {low.max():.6g} at most", "at most 1 to keep it")
    blocked = (total <= MIN_POWER * total.max()) & (target > 1e-6)
    if blocked.any():
        where = np.unravel_index(np.argmax(blocked), blocked.shape)
        omega = ", ".join(f"{axis[where]:.4g}" for axis in frequencies(low.shape))
        expected = "a band that passes it" if keep_low else "a filter that passes it"
        raise checks.error("bank", f"zero response at ω = ({omega}) radians per sample", expected)


def transfer(taps: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Responses (…, *shape) of taps along the last axes; tap i of n is at i − (n − 1)//2."""
    kernel_size = taps.shape[-len(shape) :]
    axes = tuple(range(taps.ndim - len(shape), taps.ndim))
    padding = [(0, 0)] * axes[0] + [(0, m - n) for n, m in zip(kernel_size, shape, strict=True)]
    shift = tuple(-((n - 1) // 2) for n in kernel_size)
    return jnp.fft.fftn(jnp.roll(jnp.pad(taps, padding), shift, axes), axes=axes)


def _responses(argument: str, value: Any) -> jax.Array:
    """Convert to a real or complex array of at least single precision."""
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
