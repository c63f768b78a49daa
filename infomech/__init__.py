"""Differentiable mechanics of CNN filtering: how kernels move and blur images, layer by layer.

Docstrings cite as [M]: Frija-Altrac and Toews, The Mechanics of CNN Filtering with Rectification,
arXiv 2512.24338. Results without a citation are derived in the docstring and tested numerically.
"""

from infomech import (
    design,
    dynamics,
    fields,
    kernels,
    losses,
    mechanics,
    networks,
    observables,
    parity,
    rates,
    rectifiers,
    scattering,
    spectrum,
    survey,
    sweeps,
    theory,
    weights,
)
from infomech._core.progress import Progress
from infomech._rollout import Trace, layer, rollout
from infomech._version import __version__ as __version__
from infomech.dynamics import Dynamics
from infomech.engines.plan import plan
from infomech.fields import Field
from infomech.rectifiers import Rectifier

__all__ = [
    "Dynamics",
    "Field",
    "Progress",
    "Rectifier",
    "Trace",
    "design",
    "dynamics",
    "fields",
    "kernels",
    "layer",
    "losses",
    "mechanics",
    "networks",
    "observables",
    "parity",
    "plan",
    "rates",
    "rectifiers",
    "rollout",
    "scattering",
    "spectrum",
    "survey",
    "sweeps",
    "theory",
    "weights",
]
