"""Differentiable mechanics of CNN filtering: what kernels do to images, layer after layer.

Docstrings cite as [M]: Frija-Altrac and Toews, The Mechanics of CNN Filtering with Rectification,
arXiv 2512.24338. What carries no citation is derived in the docstring and tested numerically.
"""

from infomech import (
    design,
    fields,
    images,
    kernels,
    laws,
    losses,
    mechanics,
    networks,
    observables,
    parity,
    patterns,
    rectifiers,
    scattering,
    spectrum,
    survey,
    sweeps,
    theory,
)
from infomech.engines.plan import plan
from infomech.fields import Field
from infomech.rectifiers import Rectifier
from infomech.rollout import Trace, layer, rollout

__version__ = "0.1.0"

__all__ = [
    "Field",
    "Rectifier",
    "Trace",
    "design",
    "fields",
    "images",
    "kernels",
    "laws",
    "layer",
    "losses",
    "mechanics",
    "networks",
    "observables",
    "parity",
    "patterns",
    "plan",
    "rectifiers",
    "rollout",
    "scattering",
    "spectrum",
    "survey",
    "sweeps",
    "theory",
]
