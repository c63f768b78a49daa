"""Do pure gradient kernels with ReLU move a pattern at constant speed, and at which?

Where the rectifier is active there is no closed form. Two facts are exact: [1, −1] moves the front
of a pattern by half a pixel a layer, [−1, 0, 1] by a pixel, once all behind the front has gone.
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

STATEMENT = "Gradient kernels with ReLU move at constant speed, two taps by 0.5 pixels a layer."
SOURCE = "arXiv 2512.24338"
CLAIMS = (4,)
#: fixed before any run: speed is constant if its largest and least over windows differ by no more
#: than this share of the mean
CONSTANT = 0.01
#: fixed before any run: two taps move by 0.5 pixels a layer if within this
TWO_TAPS = 1e-3


@dataclass(frozen=True)
class GradientSpeedSettings:
    """What is moved.

    Attributes:
        taps: on each axis.
        axes: of the patterns.
        patterns: of `infomech.fields.patterns`, of radius 5.
        steps: layers.
        burn_in: speed is measured from this layer on.
        window: layers over which each speed is taken.
    """

    taps: tuple[int, ...] = (2, 3, 4, 5, 6, 7)
    axes: tuple[int, ...] = (1, 2)
    patterns: tuple[str, ...] = ("disk", "gaussian")
    steps: int = 48
    burn_in: int = 16
    window: int = 8


@dataclass(frozen=True)
class Moved:
    """One pattern under one kernel.

    Attributes:
        taps, axes, pattern: which.
        speed: along the gradient from `burn_in` on, pixels per layer.
        stderr: of the line through the center.
        windows: speeds of one window after the other.
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
        """Largest less least speed, over the mean."""
        return float(np.ptp(self.windows) / np.mean(self.windows))

    @property
    def late(self) -> float:
        """The same of the last three windows; added after a first run showed long transients."""
        return float(np.ptp(self.windows[-3:]) / np.mean(self.windows[-3:]))

    @property
    def name(self) -> str:
        """Kernel and pattern."""
        return f"{'×'.join([str(self.taps)] * self.axes)} taps, {self.pattern}"


def measure(taps: int, axes: int, pattern: str, setting: GradientSpeedSettings) -> Moved:
    """Center and speed of one pattern along the last axis."""
    shape = (taps,) * axes
    values = patterns.pattern(pattern, 5.0, axes, "float64")
    field = patterns.with_room(values, shape, setting.steps)

    @jax.jit
    def move(field):
        kernel = im.kernels.gradient(shape, dtype="float64")
        _, trace = im.rollout(kernel, field, setting.steps)
        return trace.center[:, -1], im.rates.velocity(trace, setting.burn_in)

    center, speed = jax.tree.map(np.asarray, move(field))
    ends = center[setting.burn_in :: setting.window]
    return Moved(
        taps,
        axes,
        pattern,
        float(speed.value[-1]),
        float(speed.stderr[-1]),
        np.diff(ends) / setting.window,
        center - center[0],
        im.rates.REASONS[int(speed.status)],
    )


def run(out: Path, *, quick: bool = False) -> Finding:
    """Moves patterns by gradient kernels of 2 to 7 taps, in one and two dimensions.

    Args:
        out: folder to write to; made if need be.
        quick: three sizes, one dimension and a disk only, fewer layers.

    Returns:
        Speeds and how constant they are.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = GradientSpeedSettings()
    if quick:
        setting = GradientSpeedSettings((2, 3, 5), (1,), ("disk",), steps=40)
    cases = [(n, d, p) for d in setting.axes for p in setting.patterns for n in setting.taps]
    with jax.enable_x64(True):
        every = tqdm(cases, desc="gradient_speed", unit="rollout")
        found = [measure(n, axes, pattern, setting) for n, axes, pattern in every]
    plot.save(draw(found, setting), out / "gradient_speed.png")
    numbers = tuple(number for one in found for number in _numbers(one))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"constant": CONSTANT, "two_taps": TWO_TAPS},
        "verdict": verdict,
        "moved": [asdict(one) for one in found],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "gradient_speed.json", files.to_json(record) + "\n")
    reading = _reading(found)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {_line(one)}" for one in found),
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


def _reading(found):
    steady = [one.name for one in found if one.unevenness <= CONSTANT]
    exact = [one for one in found if one.taps == 2]
    half = [one for one in exact if abs(one.speed - 0.5) <= TWO_TAPS]
    speeds = {n: [one.speed for one in found if one.taps == n] for n in {o.taps for o in found}}
    words = ", ".join(
        f"{n}: {min(s):.3f}" + ("" if np.ptp(s) < 5e-4 else f" to {max(s):.3f}")
        for n, s in sorted(speeds.items())
    )
    which = "all" if len(steady) == len(found) else "; ".join(steady) or "none"
    return (
        f"Speed is constant to {CONSTANT:.0%} in {len(steady)} of {len(found)} cases ({which}), "
        f"over the last three windows in {sum(one.late <= CONSTANT for one in found)}. Two taps "
        f"move by 0.5 pixels a layer in {len(half)} of {len(exact)}. Speed by number of taps: "
        f"{words}."
    )


def _numbers(one):
    two = one.taps == 2
    yield Number(
        f"speed, {one.name}",
        one.speed,
        one.speed - 1.96 * one.stderr,
        one.speed + 1.96 * one.stderr,
        unit="px/layer",
        wanted=f"0.5 to within {TWO_TAPS:g}" if two else "",
        met=abs(one.speed - 0.5) <= TWO_TAPS if two else None,
    )
    yield Number(
        f"unevenness of the speed, {one.name}",
        one.unevenness,
        wanted=f"at most {CONSTANT}",
        met=one.unevenness <= CONSTANT,
    )


def _line(one):
    if one.reason != "ok":
        return f"{one.name:<24}no speed: {one.reason}"
    ends = f"{one.windows.min():.4f} to {one.windows.max():.4f}"
    return f"{one.name:<24}v = {one.speed:.4f} px/layer, over windows {ends}"


def draw(found: list[Moved], setting: GradientSpeedSettings) -> Figure:
    """Centers against layers, speeds of all windows, and speed against the number of taps."""
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        paths, windows, sizes = figure.subplots(1, 3)
        last = [one for one in found if one.axes == found[-1].axes]
        for one in (o for o in last if o.pattern == setting.patterns[0]):
            paths.plot(one.center, label=f"{one.taps} taps", linewidth=1.2)
        layer = setting.burn_in + setting.window * (np.arange(len(found[0].windows)) + 0.5)
        for one in found:
            color, style = f"C{one.taps - 2}", "-" if one.axes == 1 else "--"
            windows.plot(layer, one.windows / one.speed, style, color=color, linewidth=1)
            marker = "o" if one.pattern == setting.patterns[0] else "^"
            fill = color if one.axes == 1 else "none"
            sizes.plot(one.taps, one.speed, marker, color=color, markerfacecolor=fill)
        windows.axhspan(1 - CONSTANT / 2, 1 + CONSTANT / 2, color="black", alpha=0.12)
        paths.set(xlabel="layer", ylabel="center (pixels)", title="Path of a disk")
        paths.legend()
        windows.set(xlabel="layer", ylabel="speed over mean", title="Speed of each window")
        line = np.array([setting.taps[0], setting.taps[-1]])
        sizes.plot(
            line, (line - 1) / 2, "k--", linewidth=1, label="(n − 1)/2, that of a single tap"
        )
        sizes.set(
            xlabel="taps n on an axis",
            ylabel="speed (pixels per layer)",
            title="One (full) and two dimensions (open)",
        )
        sizes.legend()
    return figure
