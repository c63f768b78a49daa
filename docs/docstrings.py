"""Griffe extension for the API reference: list jointly documented arguments one by one."""

import re
from typing import Any

from griffe import Extension, Object

_JOINT_ENTRY = re.compile(r"^( +)(\w+(?:, \w+)+):((?: .*)?(?:\n\1 +.*)*)", re.M)


class JointNames(Extension):
    """Reads `x, y: numbers.` in a docstring as `x: numbers.` and `y: numbers.`."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Split the joint entries of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _JOINT_ENTRY.sub(_split, obj.docstring.value)


def _split(entry: re.Match[str]) -> str:
    margin, names, text = entry.groups()
    return "\n".join(f"{margin}{name}:{text}" for name in names.split(", "))
