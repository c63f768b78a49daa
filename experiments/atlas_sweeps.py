"""Sweeps of the atlas over odd share and direction, kept in stores.

Programs take seconds to compile. Kernels of all sizes and directions therefore share one: smaller
kernels are zero-padded to the largest size.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import infomech as im
from experiments import motion
from infomech import rates, sweeps
from infomech.sweeps._grid import STATIC

#: gradient directions by number of axes and angle to the last axis in degrees; in three dimensions
#: along an axis, a face diagonal, and a space diagonal
DIRECTIONS: dict[int, dict[float, tuple[float, ...]]] = {
    1: {0.0: (1.0,)},
    2: {0.0: (0.0, 1.0), 22.5: (np.sin(np.pi / 8), np.cos(np.pi / 8)), 45.0: (0.5**0.5, 0.5**0.5)},
    3: {0.0: (0.0, 0.0, 1.0), 45.0: (0.0, 0.5**0.5, 0.5**0.5), 54.7: (3**-0.5, 3**-0.5, 3**-0.5)},
}
#: options that distinguish the settings of a sweep
KEPT = ("rectifier", "boundary", "normalize", "pattern")
#: stored parts of a trace: the input of the speed fit
STORED = ("center", "log_energy", "edge", "balance")
#: sweeps on the map; the others vary options that should not matter
MAPPED = ("line", "sizes", "patterns", "space", "quick")


@dataclass(frozen=True)
class Case:
    """One setting and direction; arrays have one entry per odd share.

    Attributes:
        part: name of its sweep.
        dimensions: of the field.
        kernel_size: taps on each axis.
        rectifier, boundary, normalize, pattern: as in `infomech.sweeps.Sweep`.
        direction: of the gradient, see `DIRECTIONS`.
        share: odd share ε.
        speed: along the direction, pixels per layer; NaN where refused.
        aside: magnitude of the velocity perpendicular to the direction.
        status: of the speed, an `infomech.rates.Status`.
        inactive_share: the rectifier is inactive up to this share; NaN if it never is.
    """

    part: str
    dimensions: int
    kernel_size: int
    rectifier: str
    boundary: str
    normalize: str
    pattern: str
    direction: float
    share: np.ndarray
    speed: np.ndarray
    aside: np.ndarray
    status: np.ndarray
    inactive_share: float

    @property
    def refused(self) -> list[str]:
        """Distinct reasons for refused speeds."""
        return [rates.Status(i).reason for i in np.unique(self.status) if i != rates.Status.OK]

    @property
    def reach(self) -> float:
        """Offset of the outermost tap along the direction: no content moves faster."""
        unit = DIRECTIONS[self.dimensions][self.direction]
        return (self.kernel_size - 1) / 2 * float(np.sum(np.abs(unit)))

    @property
    def taps(self) -> str:
        """Kernel size as text, such as 3×3."""
        return "×".join([str(self.kernel_size)] * self.dimensions)


class Part(NamedTuple):
    """A sweep over sizes, directions and odd shares, in this order, and its kernels.

    Attributes:
        sweep: of kernels padded to one size.
        places: size and direction (degrees) of each row of shares.
        share: odd shares.
        lag: of each row, added to the velocities.
    """

    sweep: sweeps.Sweep
    places: list[tuple[int, float]]
    share: np.ndarray
    lag: np.ndarray


def path(kernel: Any, final: Any, trace: im.Trace, setting: Any) -> dict[str, jax.Array]:
    """Stored parts of a trace."""
    return {name: getattr(trace, name) for name in STORED}


def part(sizes: Sequence[int], *, shares: int = 21, dimensions: int = 2, **settings: Any) -> Part:
    """Constant + gradient kernels of several sizes in all directions at equally spaced shares."""
    share = np.linspace(0, 1, shares)
    places = [(size, angle) for size in sizes for angle in DIRECTIONS[dimensions]]
    stacks, lags = [], []
    # double precision, because stores identify kernels by all digits of single precision
    with jax.enable_x64(True):
        for size, angle in places:
            mixed = motion.mixed((size,) * dimensions, share, DIRECTIONS[dimensions][angle])
            stack, lag = motion.boxed(mixed, max(sizes))
            stacks.append(np.asarray(stack).astype("float32"))
            lags.append(lag)
    axis = sweeps.values("kernel", taps=np.concatenate(stacks))
    sweep = sweeps.Sweep(
        (axis,),
        family="taps",
        kernel_size=(max(sizes),),
        dimensions=dimensions,
        observe=path,
        **settings,
    )
    return Part(sweep, places, share, np.array(lags))


def parts(*, quick: bool = False) -> dict[str, Part]:
    """Sweeps of the atlas by name: the map, and checks that vary a single option.

    Boundaries are varied where the domain is smallest, and patterns other than disk and impulse at
    one size only. Three dimensions use smaller patterns and fewer layers.
    """
    if quick:
        return {"quick": part((2,), shares=11, steps=(16,), burn_in=6, radius=3.0)}
    mapped: dict[str, Any] = {"rectifier": ("relu", "modulus"), "pattern": ("disk", "impulse")}
    others = {**mapped, "pattern": ("gaussian", "box", "camera")}
    sizes = (2, 3, 4, 5, 6, 7)
    return {
        "line": part(sizes, dimensions=1, **mapped),
        "sizes": part(sizes, **mapped),
        "patterns": part((3,), **others),
        "space": part((2, 3), dimensions=3, steps=(16,), burn_in=6, radius=3.0, **mapped),
        "boundaries": part((2,), boundary=("periodic", "reflect")),
        "normalizations": part((2,), normalize=("none",)),
        "leaky": part((3,), rectifier=("leaky_relu",)),
    }


class Measured(NamedTuple):
    """Content of a store.

    Attributes:
        cases: one for each setting, size and direction.
        points: number in the store.
        computed: number computed in this run.
        provenance: of the store: versions, device, commit and creation time.
    """

    cases: list[Case]
    points: int
    computed: int
    provenance: dict[str, Any]


def measure(name: str, part: Part, store: Path) -> Measured:
    """Compute the missing points of a store and read all of it.

    Raises:
        ValueError: the store belongs to another sweep, or can't be read.
        StoreError: it can't be written.
    """
    with tqdm(total=part.sweep.points, desc=name, unit="point") as bar:
        report = sweeps.run(part.sweep, store, on_progress=lambda p: bar.update(p.done - bar.n))
    import xarray

    dataset = xarray.open_zarr(store, chunks=None).load()
    provenance = dataset.attrs["provenance"]
    return Measured(list(_cases(name, part, dataset)), report.points, report.computed, provenance)


def _cases(name: str, part: Part, dataset: Any) -> Iterator[Case]:
    """Speeds of each setting in turn, fitted by one program."""
    directions = DIRECTIONS[part.sweep.dimensions]
    shape = (len(part.places), len(part.share))
    for setting in part.sweep.settings():
        options = {key: getattr(setting, key) for key in STATIC}
        selected = dataset.sel(
            {key: value for key, value in options.items() if key in dataset.dims}
        )
        trace = {key: jnp.asarray(selected[key].values) for key in STORED}
        lag = np.repeat(part.lag, shape[1], axis=0).astype("float32")
        speed = _speeds(trace, jnp.asarray(lag), setting.burn_in)
        velocity = np.asarray(speed.value).reshape(*shape, -1)
        status = np.asarray(speed.status).reshape(shape)
        for row, (size, angle) in enumerate(part.places):
            unit = np.array(directions[angle], velocity.dtype)
            along = velocity[row] @ unit
            aside = np.linalg.norm(velocity[row] - along[:, None] * unit, axis=1)
            yield Case(
                name,
                setting.dimensions,
                size,
                **{key: options[key] for key in KEPT},
                direction=angle,
                share=part.share,
                speed=along,
                aside=aside,
                status=status[row],
                inactive_share=_inactive(size, setting.dimensions, angle, setting.rectifier),
            )


@functools.cache
def _inactive(size: int, dimensions: int, angle: float, rectifier: str) -> float:
    unit = DIRECTIONS[dimensions][angle]
    return rates.inactive_share((size,) * dimensions, unit, rectifier, dtype="float32")


@jax.jit
def _speeds(stored, lags, burn_in):
    def fit(stored, lag):
        layer, zeros = jnp.arange(len(stored["edge"])), jnp.zeros_like(stored["edge"])
        center = stored["center"] + layer[:, None].astype(lag.dtype) * lag[None]
        trace = im.Trace(
            **{**stored, "center": center},
            layer=layer,
            covariance=zeros[:, None, None],
            log_mass=zeros,
            cut=zeros,
        )
        return rates.velocity(trace, burn_in)

    return jax.vmap(fit)(stored, lags)
