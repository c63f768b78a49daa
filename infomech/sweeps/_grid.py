"""What is swept: axes of numbers that are traced, and settings that are compiled for."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from infomech import observables, rectifiers
from infomech._core import checks
from infomech._rollout import NORMALIZATIONS
from infomech.fields import patterns
from infomech.sweeps import _observed
from infomech.sweeps._axes import Axis

#: families of kernels, and the quantities that each must and may have
FAMILIES = {
    "mix": ("the DC + gradient family", (), ("share", "ratio", "direction", "angle")),
    "random": ("uniform on the sphere, or of one odd share", ("seed",), ("share",)),
    "taps": ("given taps", ("taps",), ()),
}
#: settings, each value of which is compiled for
STATIC = ("kernel_size", "rectifier", "boundary", "normalize", "pattern", "steps", "dtype")
#: names that a store needs for itself
RESERVED = (
    "block",
    "done",
    "component",
    "component_2",
    "row",
    "column",
    "slice",
    "direction_value",
    "taps_value",
)


@dataclass(frozen=True)
class Setting:
    """What one compiled program is for: one value of each setting, and what they share."""

    kernel_size: int
    rectifier: str
    boundary: str
    normalize: str
    pattern: str
    steps: int
    dtype: str
    family: str
    dimensions: int
    shape: int
    radius: float
    burn_in: int
    every: int
    edge_tolerance: float

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Taps of the kernels on each axis."""
        return (self.kernel_size,) * self.dimensions

    @property
    def field_shape(self) -> tuple[int, ...]:
        """Pixels of the field on each axis."""
        if self.shape:
            return (self.shape,) * self.dimensions
        extent = self.extent
        return patterns.domain(extent, self.kernel_shape, self.steps, self.boundary)

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels of the pattern on each axis."""
        return patterns.pattern(self.pattern, self.radius, self.dimensions).shape

    @property
    def work(self) -> int:
        """Multiply-adds of one point."""
        return self.steps * math.prod(self.field_shape) * math.prod(self.kernel_shape)

    def __str__(self) -> str:
        """All of it in one line, for people."""
        taps, pixels = (
            "×".join(map(str, shape)) for shape in (self.kernel_shape, self.field_shape)
        )
        return (
            f"{taps} {self.rectifier}, {self.boundary} boundary, normalize {self.normalize}, "
            f"{self.pattern} on {pixels}, {self.steps} layers, {self.dtype}"
        )


@dataclass(frozen=True)
class Sweep:
    """Every combination of the settings, each at every point of the axes' product.

    Attributes:
        axes: of the numbers that are traced, from the slowest to the fastest.
        family: of the kernels: mix, random or taps; see `FAMILIES`.
        kernel_size: taps on each axis.
        rectifier, boundary, normalize: names, as of `infomech.rollout`.
        pattern: disk, impulse, gaussian, box, an image file or a photograph such as camera.
        steps: layers.
        dtype: float32 or float64.
        dimensions: of the field, 1 to 3.
        shape: of the field on each axis; 0: as many as keep the pattern off the boundary.
        radius: of the disk, half width of the box, two sigma of the gaussian; in pixels.
        burn_in: speed and diffusion are fitted from this layer on.
        every: layers between observations.
        edge_tolerance: largest share of mass at the boundary with which a rate is still fitted.
        block: points that are stored at a time; 0: as many as are worth a few seconds.
        observe: what is measured of each point: "laws", or a function of (kernel, final, trace,
            setting), or where it can be imported from, as package.module:function; see
            `infomech.sweeps.observed.measure`. A store knows a function by its name only: after a
            change to it, take another store.
    """

    axes: tuple[Axis, ...]
    family: str = "mix"
    kernel_size: tuple[int, ...] = (3,)
    rectifier: tuple[str, ...] = ("relu",)
    boundary: tuple[str, ...] = ("zero",)
    normalize: tuple[str, ...] = ("l2",)
    pattern: tuple[str, ...] = ("disk",)
    steps: tuple[int, ...] = (48,)
    dtype: tuple[str, ...] = ("float32",)
    dimensions: int = 2
    shape: int = 0
    radius: float = 5.0
    burn_in: int = 16
    every: int = 1
    edge_tolerance: float = 1e-6
    block: int = 0
    observe: str | Callable[..., dict[str, Any]] = "laws"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first value that makes no sense."""
        for name in STATIC:
            given = getattr(self, name)
            several = given if isinstance(given, tuple | list) or np.ndim(given) else (given,)
            object.__setattr__(self, name, tuple(_plain(value) for value in several))
        for name in (
            "dimensions",
            "shape",
            "radius",
            "burn_in",
            "every",
            "edge_tolerance",
            "block",
        ):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        axes = (self.axes,) if isinstance(self.axes, Axis) else tuple(self.axes)
        object.__setattr__(self, "axes", axes)
        _check_settings(self)
        _check_axes(self)

    @property
    def axis_lengths(self) -> tuple[int, ...]:
        """Points on each axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def points(self) -> int:
        """Of all settings."""
        return math.prod(self.axis_lengths) * math.prod(len(getattr(self, name)) for name in STATIC)

    def settings(self) -> Iterator[Setting]:
        """Each combination of the settings, the last of `STATIC` fastest."""
        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(Setting)
            if field.name not in STATIC
        }
        for chosen in itertools.product(*(getattr(self, name) for name in STATIC)):
            yield Setting(**dict(zip(STATIC, chosen, strict=True)), **shared)

    def describe(self) -> dict[str, Any]:
        """What identifies the sweep, as JSON can hold it."""
        said = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        said["axes"] = [axis.describe() for axis in self.axes]
        said["observe"] = _observed.name_of(self.observe)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in said.items()}


def _plain(value: Any) -> Any:
    """Numbers of NumPy and JAX as Python's own, which can be hashed and written as JSON."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _check_settings(sweep: Sweep) -> None:
    for name, known in (
        ("rectifier", rectifiers.names()),
        ("boundary", observables.BOUNDARIES),
        ("normalize", NORMALIZATIONS),
        ("dtype", ("float32", "float64")),
    ):
        for value in getattr(sweep, name):
            checks.one_of(name, value, known)
    checks.one_of("family", sweep.family, tuple(FAMILIES))
    for kernel_size in sweep.kernel_size:
        checks.integer("kernel_size", kernel_size, 1)
    for steps in sweep.steps:
        checks.integer("steps", steps, 1)
    for pattern in sweep.pattern:
        if not isinstance(pattern, str):
            raise checks.error("pattern", repr(pattern), "the name of a pattern")
    for name in STATIC:
        given = getattr(sweep, name)
        if not given or len(set(given)) < len(given):
            raise checks.error(name, given or "nothing", "at least one value, each once")
    for name, least in (("dimensions", 1), ("shape", 0), ("burn_in", 0), ("every", 1)):
        checks.integer(name, getattr(sweep, name), least)
    checks.integer("block", sweep.block, 0)
    if sweep.observe == "laws" and sweep.burn_in + 2 * sweep.every > min(sweep.steps):
        expected = f"at most {min(sweep.steps) - 2 * sweep.every}, for three observations"
        raise checks.error("burn_in", sweep.burn_in, expected)
    if sweep.dimensions > 3:
        raise checks.error("dimensions", sweep.dimensions, "1, 2 or 3")
    checks.positive("radius", sweep.radius, "float32")
    checks.scalar("edge_tolerance", sweep.edge_tolerance, "float32")
    _observed.find(sweep.observe)
    for setting in sweep.settings():
        if any(n > m for n, m in zip(setting.extent, setting.field_shape, strict=True)):
            got = f"{sweep.shape}, and {setting.pattern} takes {setting.extent}"
            raise checks.error("shape", got, "0, or room for the pattern")


def _check_axes(sweep: Sweep) -> None:
    for axis in sweep.axes:
        if not isinstance(axis, Axis):
            raise checks.error("axes", repr(axis), "axes made by values, linear, seeds or sobol")
    names = [axis.name for axis in sweep.axes]
    held = [quantity for axis in sweep.axes for quantity in axis.quantities]
    for what in (names, held):
        if len(set(what)) < len(what):
            raise checks.error("axes", ", ".join(what), "each name and quantity once")
    taken = {*STATIC, *held, *RESERVED}
    for axis in sweep.axes:
        own = axis.name in taken and axis.quantities != (axis.name,)
        if own or axis.name.endswith("_block"):
            expected = "a name that is no setting, other quantity or word of the store's own"
            raise checks.error("axes", axis.name, expected)
    meaning, needed, allowed = FAMILIES[sweep.family]
    for quantity in needed:
        if quantity not in held:
            raise checks.error(
                "axes", f"no {quantity}", f"one for family {sweep.family}: {meaning}"
            )
    for quantity in held:
        if quantity not in {*needed, *allowed, "noise", "seed"}:
            raise checks.error("axes", quantity, f"none for family {sweep.family}: {meaning}")
    if sweep.family == "mix":
        if ("share" in held) == ("ratio" in held):
            raise checks.error("axes", ", ".join(held) or "none", "either share or ratio")
        if "direction" in held and "angle" in held:
            raise checks.error("axes", "direction and angle", "one of them")
    if "seed" in held and sweep.family != "random" and "noise" not in held:
        raise checks.error("axes", "seed", "noise as well, or family random")
    if "angle" in held and sweep.dimensions != 2:
        raise checks.error("axes", "angle", "direction, unless dimensions is 2")
    for axis in sweep.axes:
        table = axis.table() if axis.rule == "values" else {}
        _check_shapes(sweep, axis.name, table)


def _check_shapes(sweep, name, table):
    if "direction" in table:
        got = table["direction"].shape[1:]
        if got != (sweep.dimensions,):
            raise checks.error(name, f"directions of shape {got}", f"({sweep.dimensions},)")
        if not np.all(np.any(table["direction"], axis=1)):
            raise checks.error(name, "a direction of 0", "vectors of length above 0")
    if "taps" in table:
        for kernel_size in sweep.kernel_size:
            if table["taps"].shape[1:] != (kernel_size,) * sweep.dimensions:
                got = f"kernels of shape {table['taps'].shape[1:]}"
                raise checks.error(
                    name, got, f"{(kernel_size,) * sweep.dimensions}, as kernel_size says"
                )
