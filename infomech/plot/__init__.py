"""Figures and animations, drawn with matplotlib and Pillow."""

from infomech._core import extras

with extras.needed("plot", "infomech.plot"):
    import matplotlib as matplotlib

from infomech.plot._mechanics import animation, kernel, law, simulation
from infomech.plot._networks import census, drift
from infomech.plot._scattering import scattering
from infomech.plot._style import save, style

__all__ = [
    "animation",
    "census",
    "drift",
    "kernel",
    "law",
    "save",
    "scattering",
    "simulation",
    "style",
]
