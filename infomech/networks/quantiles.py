"""Quantiles of distributions by SciPy, of which nothing is imported before they are asked for."""

from typing import Any

import numpy as np


def beta(a: Any, b: Any, probability: Any) -> np.ndarray:
    """The number that a variable of Beta(a, b) is below with this probability."""
    from scipy import special

    return special.betaincinv(a, b, probability)


def student(degrees: int, probability: Any) -> np.ndarray:
    """The number that a variable of Student's t of these degrees of freedom is below."""
    from scipy import special

    return special.stdtrit(degrees, probability)


def chi_squared_above(degrees: int, probability: float) -> float:
    """The number that a variable of χ² of these degrees of freedom is above."""
    from scipy import special

    return float(special.chdtri(degrees, probability))
