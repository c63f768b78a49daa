"""Test signals by name, and signals from WAV, npy and image files."""

import math
import os
import struct
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from infomech._core import checks, extras, files
from infomech.fields import images

#: names of the one-dimensional test signals
SIGNALS = ("impulse", "step", "noise", "chirp")


class Signal(NamedTuple):
    """A signal and a note on the conversion of its colors or channels.

    Attributes:
        values: array with one or two axes.
        conversion: one line of text; empty if nothing was converted.
    """

    values: np.ndarray
    conversion: str


def signal(
    source: str,
    *,
    shape: int | None = None,
    bandwidth: float = math.pi,
    number: int = 0,
    seed: int = 0,
    dtype: str = "float32",
) -> np.ndarray:
    """Read a signal like `read` and return its values only."""
    return read(
        source, shape=shape, bandwidth=bandwidth, number=number, seed=seed, dtype=dtype
    ).values


def read(
    source: str,
    *,
    shape: int | None = None,
    bandwidth: float = math.pi,
    number: int = 0,
    seed: int = 0,
    dtype: str = "float32",
) -> Signal:
    """Generate a signal by name, or read a signal or image from a file.

    impulse: 1 in the middle, 0 elsewhere. step: 0 in the first half, 1 in the second. noise:
    Gaussian with frequencies up to `bandwidth`, mean 0 and variance 1. chirp: a cosine whose
    frequency rises linearly from 0 to `bandwidth`. digits: an 8×8 handwritten digit from
    scikit-learn, centered in 32×32. Photographs: see `infomech.fields.PHOTOGRAPHS`.
    Files: .wav (channels are averaged; integers divided by their largest value), .npy (one or two
    axes), and images (see `infomech.fields.image`).

    Args:
        source: name or path.
        shape: length of the signal, or side of the square for images; longer ones are cropped
            around their center. If None, the full length, and 4096 for the test signals.
        bandwidth: in radians per sample, at most π.
        number: index of the digit.
        seed: random seed of the noise.
        dtype: floating dtype.

    Returns:
        `Signal`.

    Raises:
        ValueError: an unknown name, a missing, truncated or unreadable file, an empty or non-finite
            signal, fewer samples than requested, or an option out of range.
        ImportError: a package of the extra `cli` is not installed.
    """
    if shape is not None:
        shape = checks.integer("shape", shape, 4)
    dtype = checks.floating_dtype(dtype)
    if not 0 < bandwidth <= math.pi:
        raise checks.error("bandwidth", bandwidth, "a number above 0 and up to π")
    conversion = ""
    if source in SIGNALS:
        values = _generate(source, shape or 4096, bandwidth, seed)
    elif source == "digits":
        values = _digit(number)
    else:
        values, conversion = _file(source)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise checks.error("signal", f"shape {values.shape}", "one or two nonempty axes")
    checks.finite("signal", values)
    if shape is not None:
        if min(values.shape) < shape:
            raise checks.error("shape", shape, f"at most {min(values.shape)}, the signal's size")
        starts = [(n - shape) // 2 for n in values.shape]
        values = values[tuple(slice(start, start + shape) for start in starts)]
    return Signal(np.asarray(values).astype(dtype), conversion)


def _generate(name: str, shape: int, bandwidth: float, seed: int) -> np.ndarray:
    t = np.arange(shape)
    if name == "impulse":
        return np.where(t == shape // 2, 1.0, 0.0)
    if name == "step":
        return np.where(t >= shape // 2, 1.0, 0.0)
    if name == "chirp":
        return np.cos(bandwidth * t**2 / (2 * shape))
    white = np.asarray(jax.random.normal(jax.random.key(seed), (shape,), "float32"), np.float64)
    spectrum = np.fft.rfft(white)
    in_band = 2 * np.pi * np.fft.rfftfreq(shape) <= bandwidth
    if not in_band[1:].any():
        raise checks.error("bandwidth", bandwidth, f"at least 2π/{shape}, the lowest frequency")
    spectrum[~in_band] = spectrum[0] = 0
    noise = np.fft.irfft(spectrum, shape)
    return noise / noise.std()


def _digit(number: int) -> np.ndarray:
    with extras.needed("cli", "signal 'digits'"):
        from sklearn import datasets
    digits = datasets.load_digits().images
    number = checks.integer("number", number, 0)
    if number >= len(digits):
        raise checks.error("number", number, f"less than {len(digits)}")
    return np.pad(digits[number] / 16, 12)


def _file(source: str) -> tuple[np.ndarray, str]:
    suffix = files.local("signal", source).suffix.lower()
    if suffix not in (".wav", ".npy"):
        try:
            return images.read(source)
        except ValueError as error:
            text = str(error).replace("source:", "signal:")
            raise ValueError(f"{text}, .wav or .npy, or one of {', '.join(SIGNALS)}") from error
    try:
        if suffix == ".npy":
            return np.asarray(checks.floating("signal", np.load(source, allow_pickle=False))), ""
        return _wave(source)
    except (OSError, EOFError, struct.error) as error:
        raise checks.error("signal", f"{source!r}, unreadable ({error})", "a file") from error
    except ValueError as error:
        got = f"{source!r}, unreadable ({error})"
        raise checks.error("signal", got, f"a {suffix} file of real numbers") from error


def _wave(source: str) -> tuple[np.ndarray, str]:
    from scipy.io import wavfile

    with warnings.catch_warnings():
        # a truncated file is an error; unknown chunks between the samples are not
        warnings.simplefilter("error", wavfile.WavFileWarning)
        warnings.filterwarnings("ignore", ".*not understood", wavfile.WavFileWarning)
        try:
            _, sound = wavfile.read(source)
        except wavfile.WavFileWarning as warning:
            raise ValueError(str(warning)) from warning
    largest: Any = 1.0
    if sound.dtype == np.uint8:
        sound = sound.astype(np.float64) - 128
        largest = 128.0
    elif np.issubdtype(sound.dtype, np.integer):
        largest = -float(np.iinfo(sound.dtype).min)
    if sound.ndim == 1:
        return sound / largest, ""
    channels = sound.shape[1]
    weights = ", ".join([f"{1 / channels:.4g}"] * channels)
    name = os.path.basename(source)
    conversion = f"{name}: {channels} channels averaged to mono with weights {weights}"
    return sound.astype(np.float64).mean(1) / largest, conversion
