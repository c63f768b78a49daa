"""The arrays of a store, made with all their places at the start, and what identifies it."""

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infomech._core import extras, files
from infomech.sweeps import _observed
from infomech.sweeps._blocks import layout
from infomech.sweeps._grid import STATIC, Sweep

#: of the way results are stored; another one can't be read or gone on with
FORMAT = 2
#: what a place holds that was never written, by kind of dtype; others can't be stored
ABSENT = {"f": math.nan, "i": -1, "b": False, "u": 0}


@dataclass(frozen=True)
class Variable:
    """One measured quantity: its name, dtype and shape at one point."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


def library() -> Any:
    """Zarr, which only sweeps need.

    Raises:
        ImportError: it isn't installed.
    """
    with extras.needed("sweeps", "a store of a sweep"):
        import zarr
        import zarr.errors
    return zarr


def version() -> str:
    """Of this package, which wrote the store."""
    from infomech import __version__

    return __version__


def describe(variables: Sequence[Variable]) -> list[list[Any]]:
    """Name, dtype and shape of each, as JSON can hold them."""
    return [[v.name, v.dtype.name, list(v.shape)] for v in variables]


def make(path: Path, sweep: Sweep, variables: Sequence[Variable]) -> None:
    """Makes an empty store in an empty folder."""
    zarr = library()
    plan = layout(sweep)
    labels = coordinates(sweep)
    quantities = {_stored_as(quantity) for axis in sweep.axes for quantity in axis.quantities}
    extra = sorted({*quantities, *STATIC} - set(plan.names))
    attributes = {
        "title": "sweep of infomech",
        "format": FORMAT,
        "infomech": version(),
        "sweep": {**sweep.describe(), "measured": describe(variables)},
        "layout": dataclasses.asdict(plan),
        "provenance": files.provenance(),
        "coordinates": " ".join(extra),
        "labels": digest({name: column for name, (column, _) in labels.items()}),
    }
    group = zarr.create_group(str(path), attributes=attributes)
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
        attributes={"long_name": "checksum of a block, 0 while it isn't computed"},
    )
    with warnings.catch_warnings():
        # xarray opens it much faster; others may pass over it
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(str(path))


def coordinates(sweep: Sweep) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """Values of each coordinate, and the names of their axes; text as objects."""
    found: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}
    for name in STATIC:
        several = np.asarray(getattr(sweep, name))
        several = several.astype(object) if several.dtype.kind == "U" else several
        varied = len(several) > 1
        found[name] = (several, (name,)) if varied else (several.reshape(()), ())
    for axis in sweep.axes:
        for quantity, column in axis.table().items():
            inner = {"direction": ("component",), "taps": _tap_axes(sweep)}.get(quantity, ())
            found[_stored_as(quantity)] = column, (axis.name, *inner)
        if axis.name not in found:
            found[axis.name] = np.arange(axis.count), (axis.name,)
    return found


def digest(columns: Mapping[str, np.ndarray]) -> str:
    """Of coordinates by name."""
    found = hashlib.sha256()
    for name in sorted(columns):
        column = np.asarray(columns[name])
        text = "\0".join(map(str, column.ravel().tolist())).encode()
        found.update(name.encode() + (column.tobytes() if column.dtype.kind in "fi" else text))
    return found.hexdigest()


def _array(group, plan, variable, sweep):
    known = _observed.LAWS.get(variable.name) if sweep.observe == "laws" else None
    inner = (
        known.axes
        if known
        else tuple(f"{variable.name}_axis_{i}" for i in range(len(variable.shape)))
    )
    # as they are: compressed they would take half of the place, and storing them a third longer
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


def _stored_as(quantity):
    """Its name as a coordinate, which may not be that of an axis unless it is a number."""
    return f"{quantity}_value" if quantity in ("direction", "taps") else quantity


def _tap_axes(sweep):
    return ("row", "column", "slice")[: sweep.dimensions]
