"""Named axes of traced numbers: given values, equally spaced values, seeds, Sobol points."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infomech._core import checks

#: quantities an axis may hold
QUANTITIES = {
    "share": "odd share ε of the kernel's energy",
    "ratio": "mixing ratio β",
    "direction": "direction of the gradient, one number per axis of the field",
    "angle": "direction of the gradient in the plane, radians from +x (last axis) towards +y",
    "noise": "square root of the energy of white noise added to the taps of a unit-energy kernel",
    "seed": "seed of random kernels and noise",
    "taps": "the kernel itself",
}

#: JAX keys are made from 32-bit seeds
_SEED_LIMIT = 2**32


@dataclass(frozen=True)
class Axis:
    """One named axis of a sweep; made by `values`, `linear`, `seeds` or `sobol`.

    Attributes:
        name: name of the axis; for a single quantity usually the quantity's name.
        rule: "values" (several quantities may vary together), "linear" (equally spaced), "seeds"
            (consecutive integers) or "sobol" (scrambled Sobol points, quasi-random).
        count: points on the axis.
        columns: pairs of a quantity and its values, or the ends of its range.
        seed: seed of the scrambling.
    """

    name: str
    rule: str
    count: int
    columns: tuple[tuple[str, tuple[Any, ...]], ...]
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for an invalid name, count or quantity."""
        checks.one_of("rule", self.rule, ("values", "linear", "seeds", "sobol"))
        object.__setattr__(self, "count", checks.integer(self.name, self.count, 1))
        if not self.name.isidentifier():
            raise checks.error("axis", repr(self.name), "a name of letters, digits and _")
        if not self.columns:
            raise checks.error(self.name, "no quantity", f"some of {', '.join(QUANTITIES)}")
        for quantity, _ in self.columns:
            checks.one_of(self.name, quantity, tuple(QUANTITIES))

    @property
    def quantities(self) -> tuple[str, ...]:
        """Quantities on the axis."""
        return tuple(quantity for quantity, _ in self.columns)

    def table(self) -> dict[str, np.ndarray]:
        """Values of each quantity, (count, …), float64 or int64."""
        if self.rule == "values":
            return {name: np.asarray(column) for name, column in self.columns}
        if self.rule == "linear":
            return {name: np.linspace(low, high, self.count) for name, (low, high) in self.columns}
        if self.rule == "seeds":
            return {name: first + np.arange(self.count) for name, (first,) in self.columns}
        from scipy.stats import qmc  # slow to import

        low, high = (np.array([ends[i] for _, ends in self.columns], float) for i in (0, 1))
        # a power of two keeps the points balanced
        unit = qmc.Sobol(len(low), rng=self.seed).random_base2(math.ceil(math.log2(self.count)))
        points = low + (high - low) * unit[: self.count]
        return {name: points[:, i] for i, (name, _) in enumerate(self.columns)}

    def describe(self) -> dict[str, Any]:
        """JSON-serializable description of the axis; given values appear as digests."""
        spec = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.rule == "values":
            digests = {name: _digest(column) for name, column in self.table().items()}
            spec["columns"] = [[name, digests[name]] for name in self.quantities]
        return spec


def values(name: str, /, **columns: Any) -> Axis:
    """An axis of given values; several quantities vary together, one value of each per point.

    Args:
        name: name of the axis.
        columns: values by quantity (see `QUANTITIES`), equally many of each: numbers; vectors for
            "direction"; kernels for "taps".

    Raises:
        ValueError: columns of unequal length; a value that is not finite or out of range.
    """
    counts, pairs = set(), []
    for quantity, column in columns.items():
        array = _numbers(name, quantity, column)
        counts.add(len(array))
        pairs.append((quantity, _nested(array)))
    if len(counts) > 1:
        raise checks.error(name, f"{sorted(counts)} values", "equally many of each quantity")
    return Axis(name, "values", counts.pop() if counts else 0, tuple(pairs))


def linear(quantity: str, start: float, stop: float, count: int) -> Axis:
    """An axis of one quantity at `count` equally spaced values, both ends included.

    Raises:
        ValueError: an end out of range, or a quantity that is not a single real number.
    """
    return Axis(quantity, "linear", count, _ranges(quantity, {quantity: (start, stop)}))


def seeds(count: int, first: int = 0) -> Axis:
    """An axis of `count` consecutive seeds starting at `first`.

    Raises:
        ValueError: a seed that doesn't fit in 32 bits.
    """
    first, count = checks.integer("seed", first, 0), checks.integer("seed", count, 1)
    _check_range("seed", "seed", np.array([first + count - 1], object))
    return Axis("seed", "seeds", count, (("seed", (first,)),))


def sobol(name: str, count: int, /, *, seed: int = 0, **ranges: Any) -> Axis:
    """An axis of quasi-random points: scrambled Sobol points within the given ranges.

    Args:
        name: name of the axis.
        count: points; a power of two covers the ranges most evenly.
        seed: seed of the scrambling.
        ranges: (low, high) by quantity.

    Raises:
        ValueError: an end out of range, or a quantity that is not a single real number.
    """
    seed = checks.integer("seed", seed, 0)
    return Axis(name, "sobol", count, _ranges(name, ranges), seed)


def _numbers(name, quantity, column):
    checks.one_of(name, quantity, tuple(QUANTITIES))
    _check_unmasked(name, quantity, column)
    try:
        array = np.asarray(column)
        array = array.astype(np.int64 if quantity == "seed" else np.float64, casting="same_kind")
    except (TypeError, ValueError) as error:
        expected = "integers" if quantity == "seed" else "numbers"
        raise checks.error(name, f"{quantity} of {type(column).__name__}", expected) from error
    dimensions = {"direction": (2,), "taps": (2, 3, 4)}.get(quantity, (1,))
    if array.ndim not in dimensions or array.size == 0:
        raise checks.error(
            name, f"{quantity} of shape {array.shape}", "a list with one entry per point"
        )
    _check_range(name, quantity, array)
    return array


def _check_unmasked(name, quantity, column):
    checks.unmasked(name if name == quantity else f"{name}: {quantity}", column)


def _ranges(name: str, ranges: dict[str, Sequence[float]]) -> tuple[tuple[str, Any], ...]:
    for quantity, ends in ranges.items():
        checks.one_of(name, quantity, tuple(QUANTITIES))
        if quantity in ("direction", "taps", "seed"):
            expected = "a range of a real quantity; pass explicit values for this one"
            raise checks.error(name, f"a range of {quantity}", expected)
        _check_unmasked(name, quantity, ends)
        if np.shape(ends) != (2,):
            raise checks.error(name, f"{quantity} {ends!r}", "the two ends of a range")
        _check_range(name, quantity, _numbers(name, quantity, ends))
    return tuple((q, (float(ends[0]), float(ends[1]))) for q, ends in ranges.items())


def _check_range(name, quantity, array):
    if quantity == "seed" and np.any(array >= _SEED_LIMIT):
        # JAX would reduce it modulo this, and two points would share their random numbers
        raise checks.error(name, f"seed {np.max(array)}", "below 2³²")
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise checks.error(name, f"{quantity} with NaN or infinity", "finite numbers")
    outside = (array < 0) | (array > 1) if quantity in ("share", "ratio") else array < 0
    if quantity in ("share", "ratio", "noise", "seed") and np.any(outside):
        expected = "numbers in [0, 1]" if quantity in ("share", "ratio") else "at least 0"
        raise checks.error(name, f"{quantity} {array[outside][0]}", expected)


def _nested(array: np.ndarray) -> tuple[Any, ...]:
    return tuple(_nested(row) if array.ndim > 1 else row.item() for row in array)


def _digest(column: np.ndarray) -> str:
    return hashlib.sha256(str(column.shape).encode() + column.tobytes()).hexdigest()
