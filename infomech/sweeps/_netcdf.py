"""A store as one NetCDF file."""

import json
import os
from typing import Any

import numpy as np

from infomech._core import checks, extras, files
from infomech.sweeps import _store


def export(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> Any:
    """Writes a store as one NetCDF file; what isn't computed yet is NaN, and −1 in `status`.

    Blocks that are not what was written are left out, as if they weren't computed.

    Returns:
        The xarray Dataset that was written, also what `xarray.open_zarr` reads from an intact
        store.

    Raises:
        ValueError: `path` is no store, or one whose coordinates are harmed; `out` can't be
            written.
        ImportError: a package of the extra `sweeps` is not installed.
    """
    with extras.needed("sweeps", "a NetCDF file"):
        import h5netcdf  # noqa: F401  (what xarray writes with)
        import xarray
    out = files.local("out", out)
    opened = _store.read(path)
    if not opened.labeled():
        got = f"{path}, whose coordinates are not what was written"
        raise checks.error("store", got, "infomech sweep run once more, which writes them anew")
    if os.path.isdir(out):
        raise checks.error("out", f"{out}, a folder", "a file")
    found = xarray.open_zarr(path, chunks=None)
    whole = {name: np.full(a.shape, a.fill_value, a.dtype) for name, a in opened.arrays.items()}
    whole["done"] = np.zeros(opened.done.shape, opened.done.dtype)
    for block in opened.layout.blocks():
        noted, parts = opened.look(block)
        if parts:
            whole["done"][block.at] = noted
            for name, part in parts.items():
                whole[name][block.where] = part
    found = found.assign({name: found[name].copy(data=data) for name, data in whole.items()})
    said = {k: v if isinstance(v, str | int) else json.dumps(v) for k, v in found.attrs.items()}
    with files.replacing(out) as file:
        found.load().assign_attrs(said).to_netcdf(file, engine="h5netcdf")
    return found
