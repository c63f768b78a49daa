"""Labeled, resumable batch sweeps over kernels and settings, spread over devices and processes."""

from infomech.sweeps.axes import Axis, linear, seeds, sobol, values
from infomech.sweeps.explain import explain
from infomech.sweeps.grid import Setting, Sweep
from infomech.sweeps.netcdf import export
from infomech.sweeps.run import Done, Progress, run
from infomech.sweeps.spec import load
from infomech.sweeps.store import StoreError

__all__ = [
    "Axis",
    "Done",
    "Progress",
    "Setting",
    "StoreError",
    "Sweep",
    "explain",
    "export",
    "linear",
    "load",
    "run",
    "seeds",
    "sobol",
    "values",
]
