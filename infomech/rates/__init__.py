"""Velocity, diffusion and growth fitted to a trace, and candidate laws fitted to speeds."""

from infomech.rates._estimates import (
    MIN_BALANCE,
    Estimate,
    Growth,
    Line,
    Status,
    bootstrap,
    candidates,
    diffusion,
    fit_line,
    growth,
    velocity,
)
from infomech.rates._law_fits import (
    LINEAR_R_SQUARED,
    SYMBOLS,
    LawFit,
    fit_laws,
    format_r_squared,
    inactive_share,
)

__all__ = [
    "LINEAR_R_SQUARED",
    "MIN_BALANCE",
    "SYMBOLS",
    "Estimate",
    "Growth",
    "LawFit",
    "Line",
    "Status",
    "bootstrap",
    "candidates",
    "diffusion",
    "fit_laws",
    "fit_line",
    "format_r_squared",
    "growth",
    "inactive_share",
    "velocity",
]
