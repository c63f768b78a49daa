"""What the atlas of the speed law measures: sweeps of odd share and direction, kept in stores."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from infomech import laws, survey, sweeps
from infomech.sweeps.grid import STATIC

#: of the gradient, in degrees from the last axis towards the first
DIRECTIONS = (0.0, 22.5, 45.0)
#: what tells the settings of the atlas apart
KEPT = ("size", "rectifier", "boundary", "normalize", "pattern")
#: sweeps that are mapped; the others check that what they vary changes nothing
MAPPED = ("sizes", "patterns", "quick")


@dataclass(frozen=True)
class Case:
    """One setting and direction; arrays have one entry per odd share.

    Attributes:
        part: name of the sweep that it belongs to.
        size, rectifier, boundary, normalize, pattern: as of `infomech.sweeps.Sweep`.
        direction: of the gradient, degrees.
        share: odd share ε.
        speed: along the direction, pixels per layer; NaN where it was refused.
        aside: across the direction.
        status: of the speed, index into `infomech.laws.REASONS`.
        idle_share: the rectifier is idle up to this share; NaN if it never is.
    """

    part: str
    size: int
    rectifier: str
    boundary: str
    normalize: str
    pattern: str
    direction: float
    share: np.ndarray
    speed: np.ndarray
    aside: np.ndarray
    status: np.ndarray
    idle_share: float

    @property
    def refused(self) -> list[str]:
        """Why speeds were refused, each reason once."""
        return [laws.REASONS[i] for i in np.unique(self.status) if i != 0]

    @property
    def reach(self) -> float:
        """How far along the direction the outermost tap lies: no content moves faster."""
        angle = np.deg2rad(self.direction)
        return (self.size - 1) / 2 * float(abs(np.cos(angle)) + abs(np.sin(angle)))


def parts(*, quick: bool = False) -> dict[str, sweeps.Sweep]:
    """The sweeps of the atlas by name: a map, and checks that leave all but one setting alone.

    Boundaries are varied where the domain is smallest, and the patterns beside disk and impulse
    at one size only: each setting is a program that takes seconds to compile.
    """
    angle = sweeps.values("angle", angle=np.deg2rad(DIRECTIONS))
    if quick:
        axes = (angle, sweeps.linear("share", 0, 1, 11))
        few: dict[str, Any] = {"steps": (16,), "burn_in": 6, "radius": 3.0}
        return {"quick": sweeps.Sweep(axes, size=(2,), **few)}
    axes = (angle, sweeps.linear("share", 0, 1, 21))
    both, sizes, patterns = ("relu", "modulus"), (2, 3, 5, 7), ("gaussian", "box", "camera")
    return {
        "sizes": sweeps.Sweep(axes, size=sizes, rectifier=both, pattern=("disk", "impulse")),
        "patterns": sweeps.Sweep(axes, size=(3,), rectifier=both, pattern=patterns),
        "boundaries": sweeps.Sweep(axes, size=(2,), boundary=("periodic", "reflect")),
        "normalisations": sweeps.Sweep(axes, size=(2,), normalize=("none",)),
        "leaky": sweeps.Sweep(axes, size=(3,), rectifier=("leaky_relu",)),
    }


class Measured(NamedTuple):
    """What a store holds: its cases, how many points were computed now, and where they come from.

    Attributes:
        cases: one for each setting and direction.
        points: in the store.
        computed: of these, now.
        provenance: of the store: versions, device, commit and time at which it was made.
    """

    cases: list[Case]
    points: int
    computed: int
    provenance: dict[str, Any]


def measure(part: str, sweep: sweeps.Sweep, store: Path) -> Measured:
    """Computes what a store lacks and reads all of it.

    Raises:
        ValueError: the store is one of another sweep, or can't be read.
        StoreError: it can't be written.
    """
    with tqdm(total=sweep.points, desc=part, unit="point") as bar:
        done = sweeps.run(sweep, store, watch=lambda p: bar.update(p.done - bar.n))
    import xarray

    found = xarray.open_zarr(store, chunks=None).load()
    provenance = found.attrs["provenance"]
    return Measured(list(_cases(part, sweep, found)), done.points, done.computed, provenance)


def _cases(part: str, sweep: sweeps.Sweep, found: Any) -> Iterator[Case]:
    for setting in sweep.settings():
        named = {name: getattr(setting, name) for name in STATIC}
        there = found.sel({name: value for name, value in named.items() if name in found.dims})
        for degrees, angle in zip(DIRECTIONS, found.angle.values, strict=True):
            at = there.sel(angle=angle)
            velocity = at.speed.values
            unit = np.array([np.sin(angle), np.cos(angle)], velocity.dtype)
            taps, dtype = setting.taps, setting.dtype
            yield Case(
                part=part, direction=degrees, share=found.share.values,
                speed=velocity @ unit, aside=velocity @ np.array([unit[1], -unit[0]]),
                status=at.status.values,
                idle_share=survey.idle_share(taps, unit, setting.rectifier, dtype=dtype),
                **{name: named[name] for name in KEPT},
            )  # fmt: skip
