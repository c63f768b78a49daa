"""Sweeps of the mixing ratio: speeds over sizes, patterns, directions and rectifiers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from experiments import motion
from infomech import theory

RECTIFIERS = ("relu", "modulus")


@dataclass(frozen=True)
class MixingRatioSettings:
    """Ranges of the sweep.

    Attributes:
        taps: on each axis.
        axes: of the patterns; `ratios`, `steps` and `burn_in` have one entry for each.
        ratios: number of mixing ratios, equally spaced from 0 to 1.
        steps: layers.
        burn_in: speed is fitted from this layer on.
        patterns: from `infomech.fields.patterns`.
        radius: of the patterns.
        degrees: directions in the plane, from the last axis towards the first.
    """

    taps: tuple[int, ...] = (2, 3, 4, 5)
    axes: tuple[int, ...] = (1, 2)
    ratios: tuple[int, ...] = (41, 21)
    steps: tuple[int, ...] = (192, 32)
    burn_in: tuple[int, ...] = (64, 12)
    patterns: tuple[str, ...] = ("impulse", "disk")
    radius: float = 3.0
    degrees: tuple[float, ...] = (0.0, 22.5, 45.0)


@dataclass(frozen=True)
class Case:
    """One pattern under kernels of one size and direction; arrays have one entry per ratio.

    Attributes:
        taps, axes, pattern, degrees: the case.
        ratio: β.
        theory: σ₁ β/(1 − β), the speed while the rectifier is inactive; inf at β = 1.
        inactive_ratio: largest β without a negative tap.
        speed, stderr, early, across: as in `motion.Motion`, by rectifier.
    """

    taps: int
    axes: int
    pattern: str
    degrees: float
    ratio: np.ndarray
    theory: np.ndarray
    inactive_ratio: float
    speed: dict[str, np.ndarray]
    stderr: dict[str, np.ndarray]
    early: dict[str, np.ndarray]
    across: dict[str, np.ndarray]

    @property
    def gain(self) -> np.ndarray:
        """Speed with the modulus minus speed with ReLU."""
        return self.speed["modulus"] - self.speed["relu"]

    @property
    def whole(self) -> np.ndarray:
        """All ratios."""
        return np.ones_like(self.ratio, bool)

    @property
    def inactive(self) -> np.ndarray:
        """Where the rectifier is inactive."""
        return self.ratio <= self.inactive_ratio + 1e-9

    @property
    def active(self) -> np.ndarray:
        """Where the rectifier is active."""
        return ~self.inactive

    @property
    def name(self) -> str:
        """Short description."""
        angle = f", {self.degrees:g}°" if self.axes == 2 else ""
        return f"{'×'.join([str(self.taps)] * self.axes)} taps, {self.pattern}{angle}"


def measure(setting: MixingRatioSettings) -> list[Case]:
    """All cases; one program per number of axes and rectifier."""
    bar = tqdm(total=len(setting.axes) * len(RECTIFIERS), desc="mixing_ratio", unit="program")
    with bar:
        return [case for i in range(len(setting.axes)) for case in _of_axes(setting, i, bar)]


def _of_axes(setting: MixingRatioSettings, i: int, bar: tqdm) -> Iterator[Case]:
    axes, steps = setting.axes[i], setting.steps[i]
    ratio, box = np.linspace(0, 1, setting.ratios[i]), max(setting.taps)
    degrees = setting.degrees if axes == 2 else (0.0,)
    directions = motion.units(degrees) if axes == 2 else np.ones((1, 1))
    places = [(n, j) for n in setting.taps for j in range(len(degrees))]
    mixed = [
        motion.boxed(motion.mixed((n,) * axes, ratio, directions[j], by="ratio"), box)
        for n, j in places
    ]
    stack = np.concatenate([kernel for kernel, _ in mixed])
    lag = np.repeat([correction for _, correction in mixed], len(ratio), axis=0)
    unit = np.repeat([directions[j] for _, j in places], len(ratio), axis=0)
    start = motion.starts(setting.patterns, setting.radius, (box,) * axes, steps)
    motions = {}
    for name in RECTIFIERS:
        result = motion.measure(
            stack, unit, start, steps, setting.burn_in[i], rectifier=name, lag=lag
        )
        shape = (len(setting.patterns), len(places), len(ratio))
        motions[name] = motion.Motion(*(values.reshape(shape) for values in result))
        bar.update()
    even = np.where(ratio < 1, 1 - ratio, np.nan)
    tangent = np.where(ratio < 1, ratio / even, np.inf)
    ends = [float(theory.inactive_range((n,) * axes, directions[j]).ratio) for n, j in places]
    for at in np.ndindex(len(setting.patterns), len(places)):
        n, j = places[at[1]]
        yield Case(
            n,
            axes,
            setting.patterns[at[0]],
            degrees[j],
            ratio,
            theory.step_spread(n) * tangent,
            ends[at[1]],
            **{
                quantity: {name: getattr(m, quantity)[at] for name, m in motions.items()}
                for quantity in ("speed", "stderr", "early", "across")
            },
        )
