"""For the API reference: arguments that a docstring explains together are listed one by one."""

import re
from typing import Any

from griffe import Extension, Object

_TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+):((?: .*)?(?:\n\1 +.*)*)", re.M)


class JointNames(Extension):
    """Reads `x, y: numbers.` in a docstring as `x: numbers.` and `y: numbers.`."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Takes the entries of one docstring apart."""
        if obj.docstring is not None:
            obj.docstring.value = _TOGETHER.sub(_apart, obj.docstring.value)


def _apart(entry: re.Match[str]) -> str:
    margin, names, words = entry.groups()
    return "\n".join(f"{margin}{name}:{words}" for name in names.split(", "))
