"""Definition of a sweep: axes of traced numbers, and settings that are compiled in."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from infomech import rectifiers
from infomech._core import checks
from infomech.dynamics import BOUNDARIES, NORMALIZATIONS
from infomech.fields import patterns
from infomech.sweeps import _observed
from infomech.sweeps._axes import Axis

#: kernel families: meaning, required quantities, further allowed quantities
FAMILIES = {
    "mix": ("the DC + gradient family", (), ("share", "ratio", "direction", "angle")),
    "random": ("uniform on the sphere, or with a given odd share", ("seed",), ("share",)),
    "taps": ("given taps", ("taps",), ()),
}
#: settings; each combination of values compiles one program
STATIC = ("kernel_size", "rectifier", "boundary", "normalize", "pattern", "steps", "dtype")
#: names used by the store itself
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
    """Configuration of one compiled program: one value per setting, and the shared options."""

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
        """Taps along each axis of a kernel."""
        return (self.kernel_size,) * self.dimensions

    @property
    def field_shape(self) -> tuple[int, ...]:
        """Pixels along each axis of the field."""
        if self.shape:
            return (self.shape,) * self.dimensions
        return patterns.padded_shape(
            self.pattern_shape, self.kernel_shape, self.steps, self.boundary
        )

    @property
    def pattern_shape(self) -> tuple[int, ...]:
        """Pixels along each axis of the pattern."""
        return patterns.pattern(self.pattern, self.radius, self.dimensions).shape

    @property
    def work(self) -> int:
        """Multiply-adds per point."""
        return self.steps * math.prod(self.field_shape) * math.prod(self.kernel_shape)

    def __str__(self) -> str:
        """One-line summary."""
        kernel, field = ("×".join(map(str, s)) for s in (self.kernel_shape, self.field_shape))
        return (
            f"{kernel} {self.rectifier}, {self.boundary} boundary, normalize {self.normalize}, "
            f"{self.pattern} on {field}, {self.steps} layers, {self.dtype}"
        )


@dataclass(frozen=True)
class Sweep:
    """Every combination of settings at every point of the product of the axes.

    Attributes:
        axes: axes of traced numbers, slowest first.
        family: kernel family: mix, random or taps; see `FAMILIES`.
        kernel_size: taps along each axis.
        rectifier, boundary, normalize: names, see `infomech.rollout`.
        pattern: disk, impulse, gaussian, box, an image file or a photograph such as camera.
        steps: number of layers.
        dtype: float32 or float64.
        dimensions: axes of the field, 1 to 3.
        shape: pixels along each axis of the field; 0: just large enough to keep the pattern off the
            boundary.
        radius: radius of the disk, half width of the box, or two sigma of the gaussian; in pixels.
        burn_in: first layer of the fits of velocity and diffusion.
        every: layers between observations.
        edge_tolerance: largest share of mass at the boundary for which rates are still fitted.
        block: points per stored block; 0: about a few seconds of work.
        observe: what to measure at each point: "rates", a function of (kernel, final, trace,
            setting), or its import path package.module:function; see
            `infomech.sweeps._observed.measure`. A store records only the name of a function; use a
            new store after changing it.
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
    observe: str | Callable[..., dict[str, Any]] = "rates"

    def __post_init__(self) -> None:
        """Raises ValueError naming the first invalid value."""
        for name in STATIC:
            value = getattr(self, name)
            choices = value if isinstance(value, tuple | list) or np.ndim(value) else (value,)
            object.__setattr__(self, name, tuple(_plain(choice) for choice in choices))
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
        """Points along each axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def points(self) -> int:
        """Number of points, over all settings."""
        return math.prod(self.axis_lengths) * math.prod(len(getattr(self, name)) for name in STATIC)

    def settings(self) -> Iterator[Setting]:
        """Every combination of settings; the last of `STATIC` varies fastest."""
        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(Setting)
            if field.name not in STATIC
        }
        for combination in itertools.product(*(getattr(self, name) for name in STATIC)):
            yield Setting(**dict(zip(STATIC, combination, strict=True)), **shared)

    def describe(self) -> dict[str, Any]:
        """JSON-serializable description that identifies the sweep."""
        spec = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        spec["axes"] = [axis.describe() for axis in self.axes]
        spec["observe"] = _observed.name_of(self.observe)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in spec.items()}


def _plain(value: Any) -> Any:
    """Python scalar of a NumPy or JAX scalar: hashable and JSON-serializable."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _check_settings(sweep: Sweep) -> None:
    for name, known in (
        ("rectifier", rectifiers.names()),
        ("boundary", BOUNDARIES),
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
            raise checks.error("pattern", repr(pattern), "a pattern name")
    for name in STATIC:
        choices = getattr(sweep, name)
        if not choices or len(set(choices)) < len(choices):
            raise checks.error(name, choices or "nothing", "at least one value, no duplicates")
    for name, minimum in (
        ("dimensions", 1),
        ("shape", 0),
        ("burn_in", 0),
        ("every", 1),
        ("block", 0),
    ):
        checks.integer(name, getattr(sweep, name), minimum)
    if sweep.observe == "rates" and sweep.burn_in + 2 * sweep.every > min(sweep.steps):
        expected = f"at most {min(sweep.steps) - 2 * sweep.every}, for three observations"
        raise checks.error("burn_in", sweep.burn_in, expected)
    if sweep.dimensions > 3:
        raise checks.error("dimensions", sweep.dimensions, "1, 2 or 3")
    checks.positive("radius", sweep.radius, "float32")
    checks.scalar("edge_tolerance", sweep.edge_tolerance, "float32")
    _observed.find(sweep.observe)
    for setting in sweep.settings():
        if any(n > m for n, m in zip(setting.pattern_shape, setting.field_shape, strict=True)):
            got = f"{sweep.shape}, but {setting.pattern} has shape {setting.pattern_shape}"
            raise checks.error("shape", got, "0, or at least the shape of the pattern")


def _check_axes(sweep: Sweep) -> None:
    for axis in sweep.axes:
        if not isinstance(axis, Axis):
            raise checks.error("axes", repr(axis), "axes made by values, linear, seeds or sobol")
    names = [axis.name for axis in sweep.axes]
    quantities = [quantity for axis in sweep.axes for quantity in axis.quantities]
    for words in (names, quantities):
        if len(set(words)) < len(words):
            raise checks.error("axes", ", ".join(words), "each name and quantity only once")
    taken = {*STATIC, *quantities, *RESERVED}
    for axis in sweep.axes:
        clashes = axis.name in taken and axis.quantities != (axis.name,)
        if clashes or axis.name.endswith("_block"):
            expected = "a name not used by a setting, another quantity or the store"
            raise checks.error("axes", axis.name, expected)
    meaning, required, allowed = FAMILIES[sweep.family]
    for quantity in required:
        if quantity not in quantities:
            raise checks.error(
                "axes", f"no {quantity}", f"one for family {sweep.family}: {meaning}"
            )
    for quantity in quantities:
        if quantity not in {*required, *allowed, "noise", "seed"}:
            raise checks.error("axes", quantity, f"none for family {sweep.family}: {meaning}")
    if sweep.family == "mix":
        if ("share" in quantities) == ("ratio" in quantities):
            raise checks.error("axes", ", ".join(quantities) or "none", "either share or ratio")
        if "direction" in quantities and "angle" in quantities:
            raise checks.error("axes", "direction and angle", "one of them")
    if "seed" in quantities and sweep.family != "random" and "noise" not in quantities:
        raise checks.error("axes", "seed", "noise as well, or family random")
    if "angle" in quantities and sweep.dimensions != 2:
        raise checks.error("axes", "angle", "direction, unless dimensions is 2")
    for axis in sweep.axes:
        if axis.rule == "values":
            _check_shapes(sweep, axis.name, axis.table())


def _check_shapes(sweep, name, table):
    if "direction" in table:
        shape = table["direction"].shape[1:]
        if shape != (sweep.dimensions,):
            raise checks.error(name, f"directions of shape {shape}", f"({sweep.dimensions},)")
        if not np.all(np.any(table["direction"], axis=1)):
            raise checks.error(name, "a direction of 0", "nonzero vectors")
    if "taps" in table:
        for kernel_size in sweep.kernel_size:
            shape = (kernel_size,) * sweep.dimensions
            if table["taps"].shape[1:] != shape:
                got = f"kernels of shape {table['taps'].shape[1:]}"
                raise checks.error(name, got, f"{shape}, from kernel_size")
