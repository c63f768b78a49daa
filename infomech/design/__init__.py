"""Gradient-based design: fit kernels to a loss, and diagnose its gradient."""

from infomech.design import parametrizations
from infomech.design._diagnosis import Diagnosis, diagnose
from infomech.design._fitting import Result, Status, fit, starts

__all__ = [
    "Diagnosis",
    "Result",
    "Status",
    "diagnose",
    "fit",
    "parametrizations",
    "starts",
]
