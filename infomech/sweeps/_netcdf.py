"""Export of a store to one NetCDF file."""

import json
import os
from typing import Any

import numpy as np

from infomech._core import checks, extras, files
from infomech.sweeps import _store


def export(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> Any:
    """Writes a store as one NetCDF file; missing points are NaN, and −1 in `status`.

    Blocks that fail their checksum count as missing.

    Returns:
        The xarray Dataset that was written; for an intact store, the same as `xarray.open_zarr`.

    Raises:
        ValueError: `path` is not a store, or its coordinates are damaged; `out` can't be written.
        ImportError: a package of the extra `sweeps` is not installed.
    """
    with extras.needed("sweeps", "a NetCDF file"):
        import h5netcdf  # noqa: F401  (backend of xarray)
        import xarray
    out = files.local("out", out)
    opened = _store.read(path)
    if not opened.labeled():
        got = f"{path}, whose coordinates failed their checksum"
        raise checks.error("store", got, "an intact store; infomech sweep run rewrites them")
    if os.path.isdir(out):
        raise checks.error("out", f"{out}, a folder", "a file")
    dataset = xarray.open_zarr(path, chunks=None)
    arrays = {name: np.full(a.shape, a.fill_value, a.dtype) for name, a in opened.arrays.items()}
    arrays["done"] = np.zeros(opened.done.shape, opened.done.dtype)
    for block in opened.layout.blocks():
        checksum, parts = opened.load(block)
        if parts:
            arrays["done"][block.at] = checksum
            for name, part in parts.items():
                arrays[name][block.where] = part
    dataset = dataset.assign({name: dataset[name].copy(data=a) for name, a in arrays.items()})
    attrs = {k: v if isinstance(v, str | int) else json.dumps(v) for k, v in dataset.attrs.items()}
    with files.replacing(out) as file:
        dataset.load().assign_attrs(attrs).to_netcdf(file, engine="h5netcdf")
    return dataset
