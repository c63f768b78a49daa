"""Gradient-based design: fit kernels to a loss, and diagnose its gradient."""

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
