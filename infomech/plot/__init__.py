"""Figures and animations, drawn with matplotlib and Pillow."""

from infomech.plot.looks import save, style
from infomech.plot.mechanics import animation, kernel, law, simulation
from infomech.plot.networks import census, drift
from infomech.plot.scattering import scattering

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
