"""Objectives for rollouts as differentiable losses that can be summed: see `Loss`."""

from infomech.losses._loss import Loss, Run, Term, batch_axes, observable
from infomech.losses._terms import (
    arrival,
    diffusion,
    energy,
    high_frequency_share,
    isotropy,
    odd_share,
    shape,
    trajectory,
    velocity,
)

__all__ = [
    "Loss",
    "Run",
    "Term",
    "arrival",
    "batch_axes",
    "diffusion",
    "energy",
    "high_frequency_share",
    "isotropy",
    "observable",
    "odd_share",
    "shape",
    "trajectory",
    "velocity",
]
