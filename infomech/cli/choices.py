"""Types of options whose values are names; their help lists what the package knows."""

from collections.abc import Sequence
from typing import Annotated

import tyro

from infomech import dynamics, rectifiers
from infomech.engines import plan


def _name(meaning: str, names: Sequence[str]) -> object:
    """An option's help: what its value is, and "a, b or c."."""
    return tyro.conf.arg(help=f"{meaning}: {', '.join(names[:-1])} or {names[-1]}.")


RectifierName = Annotated[str, _name("Rectifier of each layer", rectifiers.names())]
BoundaryName = Annotated[str, _name("Pixels beyond the domain", dynamics.BOUNDARIES)]
NormalizationName = Annotated[
    str, _name("Norm that divides the field after each layer", dynamics.NORMALIZATIONS)
]
EngineName = Annotated[
    str, _name("How layers are executed", ["auto", *(engine.name for engine in plan.ENGINES)])
]
