"""Labeled, resumable sweeps over kernels and settings, on many devices and processes."""

from infomech.sweeps._axes import Axis, linear, seeds, sobol, values
from infomech.sweeps._explain import explain
from infomech.sweeps._grid import Setting, Sweep
from infomech.sweeps._netcdf import export
from infomech.sweeps._run import RunReport, compute, run
from infomech.sweeps._spec import load
from infomech.sweeps._store import StoreError

__all__ = [
    "Axis",
    "RunReport",
    "Setting",
    "StoreError",
    "Sweep",
    "compute",
    "explain",
    "export",
    "linear",
    "load",
    "run",
    "seeds",
    "sobol",
    "values",
]
