"""The arrays of a store, allocated in full at creation, and the attributes that identify it."""

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infomech import _version
from infomech._core import extras, files
from infomech.sweeps import _observed
from infomech.sweeps._blocks import layout
from infomech.sweeps._grid import STATIC, Sweep

#: storage format version; stores of another version can be neither read nor resumed
FORMAT = 3
#: fill value of points not computed yet, by kind of dtype; other kinds can't be stored
ABSENT = {"f": math.nan, "i": -1, "b": False, "u": 0}


@dataclass(frozen=True)
class Variable:
    """One measured quantity: its name, dtype and shape at one point."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


def library() -> Any:
    """The module `zarr`, imported only here.

    Raises:
        ImportError: zarr is not installed.
    """
    with extras.needed("sweeps", "a store of a sweep"):
        import zarr
        import zarr.errors
    return zarr


def describe(variables: Sequence[Variable]) -> list[list[Any]]:
    """Name, dtype and shape of each variable, JSON-serializable."""
    return [[v.name, v.dtype.name, list(v.shape)] for v in variables]


def make(target: Any, sweep: Sweep, variables: Sequence[Variable]) -> None:
    """Creates an empty store in an empty folder, given as text, or in a Zarr store."""
    zarr = library()
    plan = layout(sweep)
    labels = coordinates(sweep)
    quantities = {_coordinate_name(quantity) for axis in sweep.axes for quantity in axis.quantities}
    extra = sorted({*quantities, *STATIC} - set(plan.names))
    attributes = {
        "title": "sweep of infomech",
        "format": FORMAT,
        "infomech": _version.__version__,
        "sweep": {**sweep.describe(), "measured": describe(variables)},
        "layout": dataclasses.asdict(plan),
        "provenance": files.provenance(),
        "coordinates": " ".join(extra),
        "labels": digest({name: column for name, (column, _) in labels.items()}),
    }
    group = zarr.create_group(target, attributes=attributes)
    for name, (column, axes) in labels.items():
        group.create_array(
            name,
            shape=column.shape,
            chunks=column.shape,
            dimension_names=axes,
            dtype="string" if column.dtype.kind == "O" else column.dtype,
        )[...] = column
    for variable in variables:
        _array(group, plan, variable, sweep)
    group.create_array(
        "done",
        shape=plan.grid,
        chunks=(1,) * len(plan.grid),
        dtype="uint64",
        fill_value=0,
        dimension_names=[n if i < plan.varied else f"{n}_block" for i, n in enumerate(plan.names)],
        attributes={"long_name": "checksum of a block, 0 until it is computed"},
    )
    with warnings.catch_warnings():
        # xarray opens consolidated metadata much faster
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(target)


def coordinates(sweep: Sweep) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """Values of each coordinate and the names of its axes; text has dtype object."""
    labels: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}
    for name in STATIC:
        column = np.asarray(getattr(sweep, name))
        column = column.astype(object) if column.dtype.kind == "U" else column
        labels[name] = (column, (name,)) if len(column) > 1 else (column.reshape(()), ())
    for axis in sweep.axes:
        for quantity, column in axis.table().items():
            inner = {"direction": ("component",), "taps": _tap_axes(sweep)}.get(quantity, ())
            labels[_coordinate_name(quantity)] = column, (axis.name, *inner)
        if axis.name not in labels:
            labels[axis.name] = np.arange(axis.count), (axis.name,)
    return labels


def digest(columns: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of coordinates by name."""
    result = hashlib.sha256()
    for name in sorted(columns):
        column = np.asarray(columns[name])
        text = "\0".join(map(str, column.ravel().tolist())).encode()
        result.update(name.encode() + (column.tobytes() if column.dtype.kind in "fi" else text))
    return result.hexdigest()


def _array(group, plan, variable, sweep):
    known = _observed.RATES.get(variable.name) if sweep.observe == "rates" else None
    inner = (
        known.axes
        if known
        else tuple(f"{variable.name}_axis_{i}" for i in range(len(variable.shape)))
    )
    # uncompressed: compression halves the size, but writing takes a third longer
    group.create_array(
        variable.name,
        compressors=None,
        shape=(*plan.shape, *variable.shape),
        dtype=variable.dtype,
        chunks=(*plan.block, *variable.shape),
        fill_value=ABSENT[variable.dtype.kind],
        dimension_names=(*plan.names, *inner),
        attributes={"long_name": known.meaning, "units": known.units} if known else {},
    )


def _coordinate_name(quantity):
    """Coordinate name of a quantity; vectors and kernels can't share the name of their axis."""
    return f"{quantity}_value" if quantity in ("direction", "taps") else quantity


def _tap_axes(sweep):
    return ("row", "column", "slice")[: sweep.dimensions]
