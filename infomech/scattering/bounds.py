"""What is guaranteed: how fast energy decays with depth, for any signal.

The argument of [E], on a periodic grid: a low-pass whose response is a cone (1 − |ω|/w)₊ has
non-negative taps φ, and then |u| * φ ≥ |u * (φ e^{iνx})| for every frequency ν of the grid. So all
features of layers 0 … n together hold at least Σ_ω |f̂|² (1 − |ω|/w_n)₊², where w_0 = δ is the
spectral gap of the last layer's frame, and each layer in front multiplies the width by its
contraction factor (`infomech.scattering.supports.factors`), or adds its own gap.
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

#: what a network can be known to do: contract by the factors of its frames, or by their gaps only
RULES = ("factors", "general")


def contraction(support: tuple[float, float]) -> float:
    """Contraction factor (B + A)/(B − A) of a band with spectrum on [A, B], 0 ≤ A ≤ B.

    The best demodulation frequency is ν = 2AB/(A + B), for which |ω − ν| ≤ |ω|/a on all of [A, B].

    Raises:
        ValueError: not 0 ≤ A ≤ B, B > 0.
    """
    low, high = support
    if not 0 <= low <= high or not high > 0:
        raise checks.error("support", support, "two frequencies 0 ≤ A ≤ B, B > 0")
    return math.inf if low == high else (high + low) / (high - low)


def widths(frame: Frame | Sequence[Frame], layers: int, *, rule: str = "factors") -> np.ndarray:
    """Widths w_1 … w_N of the cones that bound W_1 … W_N, in radians per sample.

    W_N is bounded with w_N = δ_N for one layer, and for more with δ of the last frame, widened by
    every frame in front of it: by "factors" w → max(a w, w + δ), by "general" w → w + δ, which for
    one frame is w_N = N δ. In two dimensions "general" is [E]'s w_N = N^α δ, α = log₂ √(4/3),
    proven for frequencies that aren't bound to a grid.

    Args:
        frame: one for all layers, or one for each of `layers` layers; tight.
        layers: N ≥ 1.
        rule: "factors" or "general".

    Returns:
        Array (N,).

    Raises:
        ValueError: a frame that isn't tight or is traced, another number of frames, an unknown
            rule; with the rule "general", bands that aren't analytic, in two dimensions bands that
            don't fit into a right angle.
    """
    layers = checks.integer("layers", layers, 1)
    checks.one_of("rule", rule, RULES)
    every = [frame] * layers if isinstance(frame, Frame) else frame
    if (
        not isinstance(every, list | tuple)
        or len(every) != layers
        or not all(isinstance(one, Frame) for one in every)
    ):
        got = f"{len(every)} of them" if isinstance(every, list | tuple) else type(frame).__name__
        raise checks.error("frame", got, f"one, or one for each of {layers} layers")
    if len({one.shape for one in every}) > 1:
        raise checks.error("frame", "frames of several grids", "frames of one grid")
    known = {id(one): _facts(one, rule) for one in every}
    facts = [known[id(one)] for one in every]
    if len(every[0].shape) == 2 and rule == "general":
        gap = min(gap for gap, _, _ in facts)
        return gap * np.arange(1, layers + 1) ** math.log2(math.sqrt(4 / 3))
    found = [facts[0][0]]
    for n in range(1, layers):
        # of one frame for all layers, each layer more is one more in front
        alike = len(known) == 1
        width = found[-1] if alike else facts[n][0]
        for _, factor, added in facts[:1] if alike else reversed(facts[:n]):
            width = max(factor * width, width + added)
        found.append(width)
    return np.array(found)


def guaranteed(
    signal: Any, frame: Frame | Sequence[Frame], layers: int, *, rule: str = "factors"
) -> Any:
    """Bounds on the propagated energy W_0 … W_N of a signal through frames with the modulus [E].

    W_n ≤ Σ_ω |f̂(ω)|² (1 − (1 − |ω|/w_n)₊^{2l}) / (number of samples), with l = 1 in one dimension
    and 2 in two, and w_n from `widths`. In units of the signal squared, as
    `infomech.scattering.energies` has it; differentiable with respect to the signal.

    In two dimensions w_n is cut off at the highest frequency at which a cone fits into the grid.

    Args:
        signal: f, real, of the frame's grid.
        frame, layers, rule: as of `widths`.

    Returns:
        Array (N + 1,); float64 on the host, in the signal's dtype while JAX traces, and rounded up
        where that can't hold it.

    Raises:
        ValueError: a signal of the wrong shape or not finite; as of `widths`.
    """
    every = widths(frame, layers, rule=rule)
    grid = frame.shape if isinstance(frame, Frame) else frame[0].shape
    values = checks.floating("signal", signal)
    if values.shape != grid:
        raise checks.error("signal", f"shape {values.shape}", f"the frame's grid {grid}")
    checks.finite("signal", signal)
    values = values.astype(safe_math.wider(values.dtype, jnp.float32))
    if len(grid) == 2:
        every = np.minimum(every, np.pi)
    cones = [np.ones(grid)] + [_outside(grid, width) for width in every]
    weights = jnp.asarray(np.array(cones).reshape(len(cones), -1), values.dtype)

    def weighed(scaled, _unit, weights, lost):
        power = jnp.abs(jnp.fft.fftn(scaled)) ** 2 / scaled.size
        found = jnp.matmul(weights, power.reshape(-1), precision="highest")
        return found + lost * (2 * safe_math.sqrt(jnp.sum(scaled**2)) + lost), ()

    unit = safe_math.magnitude(values)
    relative, absolute, _ = derivatives.with_squared_unit(
        weighed, values, unit, weights, safe_math.flushed(values) / unit
    )
    if checks.concrete(values) is None:
        return _accounts.upward(absolute, relative)
    return _accounts.upward(_accounts.true_values(relative, unit), np.asarray(relative))


def _outside(grid, width):
    """1 − (1 − |ω|/w)₊^{2l}; without a gap there is no cone, and nothing is known."""
    if width == 0:
        return np.ones(grid)
    return 1 - np.maximum(1 - frames.magnitudes(grid) / width, 0) ** (2 * len(grid))


def layers_needed(share: float, *, bandwidth: float = 1.0, factor: float | None = None) -> int:
    """Layers after which the features hold a share of the energy of any band-limited signal [E].

    N ≥ log_a(L / (1 − √share)) with a contraction factor a, and N ≥ L / (1 − √share) − 1 for
    general analytic high-pass filters: the smallest whole N ≥ 1.

    Args:
        share: of the energy, 0 ≤ share < 1.
        bandwidth: L, the highest frequency of the signal in units of the spectral gap δ, at least
            1.
        factor: a > 1, as 5/3 for dyadic wavelets; None for general filters.

    Returns:
        N.

    Raises:
        ValueError: a share, bandwidth or factor out of range.
    """
    if not 0 <= share < 1:
        raise checks.error("share", share, "a share of the energy, at least 0 and below 1")
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
    """Dilation r whose Meyer wavelets contract by `factor`: r = √((a + 1)/(a − 1)) [T].

    The inverse of a = (r² + 1)/(r² − 1); exact in the limit of many samples.

    Raises:
        ValueError: a factor of 1 or less.
    """
    _above_one(factor)
    return math.sqrt((factor + 1) / (factor - 1))


def width_for(factor: float, *, gap: float = 1.0) -> float:
    """Width of the Weyl-Heisenberg prototype that contracts by `factor`: 2 gap/(a − 1) [T].

    In spacings, for the `gap` in spacings; the inverse of a = 1 + 2 gap/width, exact in the limit
    of many samples. A bank's neighbors overlap only if it is more than 1: for large factors raise
    the gap.

    Raises:
        ValueError: a factor of 1 or less, or so large that prototypes wouldn't overlap.
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


def _facts(frame: Frame, rule: str) -> tuple[float, float, float]:
    """Gap, least contraction factor, and by how much a layer widens any cone."""
    frames.require_tight(frame)
    gap, opening = supports.gap(frame), supports.opening(frame)
    one = len(frame.shape) == 1
    if rule == "general" and opening > (math.pi / 2 if one else math.pi / 4) + 1e-9:
        got = f"bands that reach {math.degrees(opening):.4g}° away from their middle"
        raise checks.error("frame", got, "bands on one side of 0" if one else "at most 45°")
    factor = float(supports.factors(frame).min()) if rule == "factors" else 1.0
    return gap, factor, gap if one and opening < math.pi / 2 else 0.0
