"""Gradient-based design: kernels that do what a loss asks, and how far its gradient is right."""

from infomech.design import parametrizations
from infomech.design.diagnosis import Diagnosis, diagnose
from infomech.design.fitting import CONVERGED, REASONS, Result, fit, starts

__all__ = [
    "CONVERGED",
    "REASONS",
    "Diagnosis",
    "Result",
    "diagnose",
    "fit",
    "parametrizations",
    "starts",
]
