"""Guaranteed decay of energy with depth, for any signal.

The argument of [E], on a periodic grid: a low-pass with the cone (1 − |ω|/w)₊ as its response has
non-negative taps φ, hence |u| * φ ≥ |u * (φ e^{iνx})| for every frequency ν of the grid. So the
features of layers 0 … n together hold at least Σ_ω |f̂|² (1 − |ω|/w_n)₊². Here w_0 = δ is the
spectral gap of the last layer's frame, and each preceding layer multiplies the width by its
contraction factor (`infomech.scattering.supports.factors`) or adds its own gap.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.engines import derivatives
from infomech.scattering import _accounts, frames, supports
from infomech.scattering.frames import Frame

#: rules for the widths: use contraction factors of the frames, or spectral gaps only
RULES = ("factors", "general")


def contraction(support: tuple[float, float]) -> float:
    """Contraction factor a = (B + A)/(B − A) of a band with support [A, B], 0 ≤ A ≤ B.

    The best demodulation frequency ν = 2AB/(A + B) gives |ω − ν| ≤ |ω|/a on all of [A, B].

    Raises:
        ValueError: unless 0 ≤ A ≤ B and B > 0.
    """
    low, high = support
    if not 0 <= low <= high or not high > 0:
        raise checks.error("support", support, "two frequencies 0 ≤ A ≤ B, B > 0")
    return math.inf if low == high else (high + low) / (high - low)


def widths(frame: Frame | Sequence[Frame], depth: int, *, rule: str = "factors") -> np.ndarray:
    """Widths w_1 … w_N of the cones that bound W_1 … W_N, in radians per sample.

    The width for W_N starts with the gap δ of frame N; each preceding frame widens it. The rule
    "factors" applies w → max(a w, w + δ), "general" applies w → w + δ, which gives w_N = N δ for
    one frame. In two dimensions "general" is w_N = N^α δ, α = log₂ √(4/3) from [E], proven for
    frequencies that aren't restricted to a grid.

    Args:
        frame: one for all layers, or one per layer; tight.
        depth: number of layers N ≥ 1.
        rule: "factors" or "general".

    Returns:
        Array (N,).

    Raises:
        ValueError: a frame that isn't tight or is traced, a wrong number of frames, or an unknown
            rule; with the rule "general", bands that aren't analytic, or in two dimensions bands
            that don't fit into a right angle.
    """
    depth = checks.integer("depth", depth, 1)
    checks.one_of("rule", rule, RULES)
    stack = [frame] * depth if isinstance(frame, Frame) else frame
    if (
        not isinstance(stack, list | tuple)
        or len(stack) != depth
        or not all(isinstance(item, Frame) for item in stack)
    ):
        got = f"{len(stack)} of them" if isinstance(stack, list | tuple) else type(frame).__name__
        raise checks.error("frame", got, f"one, or one for each of {depth} layers")
    if len({item.shape for item in stack}) > 1:
        raise checks.error("frame", "frames of different shapes", "frames of equal shape")
    by_id = {id(item): _properties(item, rule) for item in stack}
    properties = [by_id[id(item)] for item in stack]
    if len(stack[0].shape) == 2 and rule == "general":
        gap = min(gap for gap, _, _ in properties)
        return gap * np.arange(1, depth + 1) ** math.log2(math.sqrt(4 / 3))
    result = [properties[0][0]]
    for n in range(1, depth):
        # a single frame: one more layer widens the previous result once more
        single = len(by_id) == 1
        width = result[-1] if single else properties[n][0]
        for _, factor, increment in properties[:1] if single else reversed(properties[:n]):
            width = max(factor * width, width + increment)
        result.append(width)
    return np.array(result)


def guaranteed(
    signal: Any, frame: Frame | Sequence[Frame], depth: int, *, rule: str = "factors"
) -> Any:
    """Upper bounds on the propagated energies W_0 … W_N of a signal, for modulus networks [E].

    W_n ≤ Σ_ω |f̂(ω)|² (1 − (1 − |ω|/w_n)₊^{2l}) / (number of samples), with l = 1 in one dimension,
    l = 2 in two, and w_n from `widths`. In units of the signal squared, like
    `infomech.scattering.energies`. Differentiable with respect to the signal.

    In two dimensions w_n is limited to π, where the cone still fits into the grid.

    Args:
        signal: f, real, with the frame's shape.
        frame, depth, rule: see `widths`.

    Returns:
        Array (N + 1,): float64 on the host, the signal's dtype under jit. Values that the dtype
        can't represent are rounded up.

    Raises:
        ValueError: a signal of the wrong shape or not finite; invalid arguments to `widths`.
    """
    cone_widths = widths(frame, depth, rule=rule)
    shape = frame.shape if isinstance(frame, Frame) else frame[0].shape
    values = checks.floating("signal", signal)
    if values.shape != shape:
        raise checks.error("signal", f"shape {values.shape}", f"the frame's shape {shape}")
    checks.finite("signal", signal)
    values = values.astype(safe_math.wider(values.dtype, jnp.float32))
    if len(shape) == 2:
        cone_widths = np.minimum(cone_widths, np.pi)
    rows = [np.ones(shape)] + [_outside_cone(shape, width) for width in cone_widths]
    weights = jnp.asarray(np.array(rows).reshape(len(rows), -1), values.dtype)

    def weighted_energy(scaled, _unit, weights, flushed):
        power = jnp.abs(jnp.fft.fftn(scaled)) ** 2 / scaled.size
        bound = jnp.matmul(weights, power.reshape(-1), precision="highest")
        return bound + flushed * (2 * safe_math.sqrt(jnp.sum(scaled**2)) + flushed), ()

    unit = safe_math.magnitude(values)
    relative, absolute, _ = derivatives.with_squared_unit(
        weighted_energy, values, unit, weights, safe_math.flushed(values) / unit
    )
    if checks.concrete(values) is None:
        return _accounts.upward(absolute, relative)
    return _accounts.upward(_accounts.absolute_values(relative, unit), np.asarray(relative))


def _outside_cone(shape, width):
    """1 − (1 − |ω|/w)₊^{2l}; without a gap there is no cone and the bound is trivial."""
    if width == 0:
        return np.ones(shape)
    return 1 - np.maximum(1 - frames.magnitudes(shape) / width, 0) ** (2 * len(shape))


def layers_needed(share: float, *, bandwidth: float = 1.0, factor: float | None = None) -> int:
    """Number of layers that capture a share of the energy of any band-limited signal [E].

    The smallest integer N ≥ 1 with N ≥ log_a(L / (1 − √share)) for contraction factor a, or
    N ≥ L / (1 − √share) − 1 for general analytic high-pass filters.

    Args:
        share: fraction of the energy in the features, 0 ≤ share < 1.
        bandwidth: L ≥ 1, the highest frequency of the signal in units of the spectral gap δ.
        factor: a > 1, for example 5/3 for dyadic wavelets; None for general filters.

    Returns:
        N.

    Raises:
        ValueError: a share, bandwidth or factor out of range.
    """
    if not 0 <= share < 1:
        raise checks.error("share", share, "a fraction of the energy, at least 0 and below 1")
    if not (math.isfinite(bandwidth) and bandwidth >= 1):
        raise checks.error("bandwidth", bandwidth, "a number of spectral gaps, at least 1")
    needed = bandwidth / (1 - math.sqrt(share))
    if factor is None:
        layers = needed - 1
    elif factor > 1:
        layers = math.log(needed) / math.log(factor)
    else:
        raise checks.error("factor", factor, "a number above 1, or None")
    return max(1, math.ceil(layers - 1e-9))


def dilation_for(factor: float) -> float:
    """Dilation r of Meyer wavelets with contraction factor a: r = √((a + 1)/(a − 1)) [T].

    Inverse of a = (r² + 1)/(r² − 1); exact in the limit of many samples.

    Raises:
        ValueError: a factor of 1 or less.
    """
    _above_one(factor)
    return math.sqrt((factor + 1) / (factor - 1))


def width_for(factor: float, *, gap: float = 1.0) -> float:
    """Width of the Weyl-Heisenberg prototype with contraction factor a: 2 gap/(a − 1) [T].

    Width and gap are in spacings. Inverse of a = 1 + 2 gap/width, exact in the limit of many
    samples. Neighbors overlap only for widths above 1, so large factors need a larger gap.

    Raises:
        ValueError: a factor of 1 or less, or too large for neighbors to overlap.
    """
    _above_one(factor)
    checks.positive("gap", gap, np.float32)
    width = 2 * gap / (factor - 1)
    if not width > 1:
        raise checks.error("factor", factor, f"less than {1 + 2 * gap:.6g} for gap={gap:g}")
    return width


def _above_one(factor):
    if not (math.isfinite(factor) and factor > 1):
        raise checks.error("factor", factor, "a number above 1")


def _properties(frame: Frame, rule: str) -> tuple[float, float, float]:
    """Gap, smallest contraction factor, and the increment that a layer adds to any width."""
    frames.require_tight(frame)
    gap, opening = supports.gap(frame), supports.opening(frame)
    line = len(frame.shape) == 1
    if rule == "general" and opening > (math.pi / 2 if line else math.pi / 4) + 1e-9:
        got = f"bands that extend {math.degrees(opening):.4g}° from their center"
        raise checks.error("frame", got, "bands on one side of 0" if line else "at most 45°")
    factor = float(supports.factors(frame).min()) if rule == "factors" else 1.0
    return gap, factor, gap if line and opening < math.pi / 2 else 0.0
