"""Gradient-based design: kernels that do what a loss asks, and how far its gradient is right."""

from infomech.design import parametrizations
from infomech.design._diagnosis import Diagnosis, diagnose
from infomech.design._fitting import CONVERGED, REASONS, Result, fit, starts

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
