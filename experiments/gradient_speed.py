"""Do pure gradient kernels with ReLU move a pattern at constant speed, and how fast?

There is no closed form for an active rectifier. Two facts are exact: [1, −1] moves the front of a
pattern by half a pixel per layer, and [−1, 0, 1] by one pixel, once everything behind the front has
vanished.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import infomech as im
from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import plot
from infomech._core import files
from infomech.fields import patterns

STATEMENT = "Gradient kernels with ReLU move at constant speed, two taps at 0.5 pixels per layer."
SOURCE = "arXiv 2512.24338"
CLAIMS = (4,)
#: fixed before any run: speed is constant if its maximum and minimum over windows differ by at most
#: this fraction of the mean
CONSTANT = 0.01
#: fixed before any run: tolerance on the speed of two taps, 0.5 pixels per layer
TWO_TAPS = 1e-3


@dataclass(frozen=True)
class GradientSpeedSettings:
    """Kernels and patterns.

    Attributes:
        taps: on each axis.
        axes: of the patterns.
        patterns: from `infomech.fields.patterns`, of radius 5.
        steps: layers.
        burn_in: speed is measured from this layer on.
        window: layers per speed measurement.
    """

    taps: tuple[int, ...] = (2, 3, 4, 5, 6, 7)
    axes: tuple[int, ...] = (1, 2)
    patterns: tuple[str, ...] = ("disk", "gaussian")
    steps: int = 48
    burn_in: int = 16
    window: int = 8


@dataclass(frozen=True)
class Movement:
    """One pattern under one kernel.

    Attributes:
        taps, axes, pattern: the case.
        speed: along the gradient from `burn_in` on, pixels per layer.
        stderr: of the line fitted to the center.
        windows: speeds of successive windows.
        center: along the gradient in all layers, from 0.
        reason: "ok", or why there is no speed.
    """

    taps: int
    axes: int
    pattern: str
    speed: float
    stderr: float
    windows: np.ndarray
    center: np.ndarray
    reason: str

    @property
    def unevenness(self) -> float:
        """Range of the window speeds over their mean."""
        return float(np.ptp(self.windows) / np.mean(self.windows))

    @property
    def late(self) -> float:
        """Unevenness of the last three windows; added after a first run showed long transients."""
        return float(np.ptp(self.windows[-3:]) / np.mean(self.windows[-3:]))

    @property
    def name(self) -> str:
        """Kernel and pattern."""
        return f"{'×'.join([str(self.taps)] * self.axes)} taps, {self.pattern}"


def measure(taps: int, axes: int, pattern: str, setting: GradientSpeedSettings) -> Movement:
    """Center and speed of one pattern along the last axis."""
    shape = (taps,) * axes
    values = patterns.pattern(pattern, 5.0, axes, "float64")
    field = patterns.padded(values, shape, setting.steps)

    @jax.jit
    def move(field):
        kernel = im.kernels.gradient(shape, dtype="float64")
        _, trace = im.rollout(kernel, field, setting.steps)
        return trace.center[:, -1], im.rates.velocity(trace, setting.burn_in)

    center, speed = jax.tree.map(np.asarray, move(field))
    ends = center[setting.burn_in :: setting.window]
    return Movement(
        taps,
        axes,
        pattern,
        float(speed.value[-1]),
        float(speed.stderr[-1]),
        np.diff(ends) / setting.window,
        center - center[0],
        speed.reason,
    )


def run(out: Path, *, quick: bool = False) -> Finding:
    """Move patterns with gradient kernels of 2 to 7 taps, in one and two dimensions.

    Args:
        out: output folder; created if missing.
        quick: three sizes, one dimension and a disk only, fewer layers.

    Returns:
        Speeds and their constancy.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = GradientSpeedSettings()
    if quick:
        setting = GradientSpeedSettings((2, 3, 5), (1,), ("disk",), steps=40)
    cases = [(n, d, p) for d in setting.axes for p in setting.patterns for n in setting.taps]
    with jax.enable_x64(True):
        progress = tqdm(cases, desc="gradient_speed", unit="rollout")
        results = [measure(n, axes, pattern, setting) for n, axes, pattern in progress]
    plot.save(draw(results, setting), out / "gradient_speed.png")
    numbers = tuple(number for case in results for number in _numbers(case))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"constant": CONSTANT, "two_taps": TWO_TAPS},
        "verdict": verdict,
        "moved": [asdict(case) for case in results],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "gradient_speed.json", files.to_json(record) + "\n")
    reading = _reading(results)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {_line(case)}" for case in results),
        f"figure {out / 'gradient_speed.png'}, numbers {out / 'gradient_speed.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"Patterns of radius 5 ({', '.join(setting.patterns)}) on "
        f"{' and '.join(map(str, setting.axes))} axes, {setting.steps} layers with ReLU, speed "
        f"over windows of {setting.window} layers from layer {setting.burn_in} on.",
        numbers,
        out / "gradient_speed.png",
        "\n".join(lines),
    )


def _reading(results):
    steady = [case.name for case in results if case.unevenness <= CONSTANT]
    two_taps = [case for case in results if case.taps == 2]
    half = [case for case in two_taps if abs(case.speed - 0.5) <= TWO_TAPS]
    speeds = {
        n: [case.speed for case in results if case.taps == n]
        for n in {case.taps for case in results}
    }
    words = ", ".join(
        f"{n}: {min(s):.3f}" + ("" if np.ptp(s) < 5e-4 else f" to {max(s):.3f}")
        for n, s in sorted(speeds.items())
    )
    which = "all" if len(steady) == len(results) else "; ".join(steady) or "none"
    return (
        f"Speed is constant to {CONSTANT:.0%} in {len(steady)} of {len(results)} cases ({which}), "
        f"and over the last three windows in {sum(case.late <= CONSTANT for case in results)}. Two "
        f"taps move at 0.5 pixels per layer in {len(half)} of {len(two_taps)} cases. Speed by "
        f"number of taps: {words}."
    )


def _numbers(case):
    is_two = case.taps == 2
    yield Number(
        f"speed, {case.name}",
        case.speed,
        case.speed - 1.96 * case.stderr,
        case.speed + 1.96 * case.stderr,
        unit="px/layer",
        wanted=f"0.5 to within {TWO_TAPS:g}" if is_two else "",
        met=abs(case.speed - 0.5) <= TWO_TAPS if is_two else None,
    )
    yield Number(
        f"unevenness of the speed, {case.name}",
        case.unevenness,
        wanted=f"at most {CONSTANT}",
        met=case.unevenness <= CONSTANT,
    )


def _line(case):
    if case.reason != "ok":
        return f"{case.name:<24}no speed: {case.reason}"
    ends = f"{case.windows.min():.4f} to {case.windows.max():.4f}"
    return f"{case.name:<24}v = {case.speed:.4f} px/layer, window speeds {ends}"


def draw(results: list[Movement], setting: GradientSpeedSettings) -> Figure:
    """Centers against layers, window speeds, and speed against the number of taps."""
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        paths, windows, sizes = figure.subplots(1, 3)
        last = [case for case in results if case.axes == results[-1].axes]
        for case in (case for case in last if case.pattern == setting.patterns[0]):
            paths.plot(case.center, label=f"{case.taps} taps", linewidth=1.2)
        layer = setting.burn_in + setting.window * (np.arange(len(results[0].windows)) + 0.5)
        for case in results:
            color, style = f"C{case.taps - 2}", "-" if case.axes == 1 else "--"
            windows.plot(layer, case.windows / case.speed, style, color=color, linewidth=1)
            marker = "o" if case.pattern == setting.patterns[0] else "^"
            fill = color if case.axes == 1 else "none"
            sizes.plot(case.taps, case.speed, marker, color=color, markerfacecolor=fill)
        windows.axhspan(1 - CONSTANT / 2, 1 + CONSTANT / 2, color="black", alpha=0.12)
        paths.set(xlabel="layer", ylabel="center (pixels)", title="Path of a disk")
        paths.legend()
        windows.set(xlabel="layer", ylabel="speed over mean", title="Speed of each window")
        line = np.array([setting.taps[0], setting.taps[-1]])
        sizes.plot(
            line, (line - 1) / 2, "k--", linewidth=1, label="(n − 1)/2, a single outermost tap"
        )
        sizes.set(
            xlabel="taps n on an axis",
            ylabel="speed (pixels per layer)",
            title="One (filled) and two (open) dimensions",
        )
        sizes.legend()
    return figure
