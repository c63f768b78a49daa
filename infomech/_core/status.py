"""Status codes: integers that stay valid under `jit` and `vmap`, each with its meaning in words."""

import enum
from typing import Any, Self

import numpy as np


class Code(enum.IntEnum):
    """Base of an enumeration whose members are declared as `NAME = number, "meaning"`."""

    reason: str

    def __new__(cls, number: int, reason: str = "") -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.reason = reason
        return member


def reason(codes: type[Code], status: Any) -> str | list[str]:
    """Meaning of a status: a string, or a list of strings for a batch. Not for use under jit."""
    reasons = [codes(number).reason for number in np.ravel(status).tolist()]
    return reasons if np.ndim(status) else reasons[0]
