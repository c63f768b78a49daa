"""Energy in scattering networks: tight frames, the transform to any depth, guaranteed bounds."""

from infomech.scattering import (
    analysis,
    bounds,
    extremes,
    families,
    frames,
    layers,
    nonlinearities,
    signals,
    supports,
)
from infomech.scattering._accounts import Account, Energies
from infomech.scattering._features import all_paths, features, labels
from infomech.scattering._transform import Paths, energies, paths
from infomech.scattering.families import meyer, oriented, weyl_heisenberg
from infomech.scattering.frames import Band, Frame
from infomech.scattering.nonlinearities import Nonlinearity

__all__ = [
    "Account",
    "Band",
    "Energies",
    "Frame",
    "Nonlinearity",
    "Paths",
    "all_paths",
    "analysis",
    "bounds",
    "energies",
    "extremes",
    "families",
    "features",
    "frames",
    "labels",
    "layers",
    "meyer",
    "nonlinearities",
    "oriented",
    "paths",
    "signals",
    "supports",
    "weyl_heisenberg",
]
