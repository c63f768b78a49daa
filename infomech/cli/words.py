"""The words typed for a command, checked before tyro parses them: each mistake is told in a line.

Several numbers are separated by spaces (--kernel-size 3 3), and a path is one on this machine.
"""

import dataclasses
import difflib
import itertools
import re
import shlex
import types
import typing
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from infomech._core import files

#: what the values of an option are, by type: one of them, several of them
_EXPECTED = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    Path: ("a path", "paths"),
    str: ("a value", "values"),
}


@dataclass(frozen=True)
class Option:
    """One option of a command, or one of its positional arguments.

    Attributes:
        name: as it is typed: --burn-in, or FILE.
        kind: type of a value.
        many: whether it takes several values.
        required: whether it has no default.
    """

    name: str
    kind: type
    many: bool
    required: bool

    @property
    def expected(self) -> str:
        """What its values are, in words."""
        return _EXPECTED.get(self.kind, _EXPECTED[str])[self.many]


def misuse(prog: str, what: str) -> ValueError:
    """The error for words that can't be parsed; it points to the help of `prog`."""
    return ValueError(f"{what}; see {prog} --help")


def meant(word: str, known: Collection[str]) -> str:
    """A question whether the closest of the known words was meant, or nothing."""
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def check(command: type, prog: str, words: Sequence[str]) -> None:
    """Checks the words typed for a command, a dataclass that tyro makes of them.

    Raises:
        ValueError: an unknown option, a value that is missing, too many or of another type, numbers
            separated by commas, or a URL.
    """
    if {"-h", "--help"} & {*words}:
        return
    options = _options(command)
    named = {o.name: o for o in options if o.name.startswith("--")}
    placed = [o for o in options if o.name not in named]
    free: list[str] = []
    given: dict[str, list[str]] = {}
    last, waiting = "", deque(words)
    while waiting:
        word = waiting.popleft()
        if word == "--":
            free += waiting
            if len(free) > len(placed):
                raise misuse(prog, f"unexpected argument {free[len(placed)]!r}")
            break
        if not _is_option(word):
            free.append(word)
            if len(free) > len(placed):
                extra = [word, *itertools.takewhile(lambda w: not _is_option(w), waiting)]
                raise _too_many(prog, last, [*given.get(last, []), *extra])
            continue
        name, equals, value = word.partition("=")
        last = re.sub("(?<=.)_", "-", name)
        if last not in named:
            raise misuse(prog, f"unrecognized option {name}{meant(last, named)}")
        needed = max(len(placed) - len(free), 0)
        given[last] = [value] if equals else []
        given[last] += _values(named[last], waiting, needed, len(given[last]))
        _check_values(prog, named[last], given[last])
    for option, value in zip(placed, free, strict=False):
        _check_values(prog, option, [value])
    missing = [*placed[len(free) :], *(o for o in named.values() if o.name not in given)]
    for option in missing:
        if option.required:
            raise misuse(prog, f"{option.name}: got nothing, expected {option.expected}")


def _options(command: Any) -> list[Option]:
    """The options of a command and of the dataclasses within it."""
    hints = typing.get_type_hints(command, include_extras=True)
    found: list[Option] = []
    for field in dataclasses.fields(command):
        kind: Any = hints[field.name]
        marks: list[Any] = []
        if typing.get_origin(kind) is typing.Annotated:
            kind, *marks = typing.get_args(kind)
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            (kind,) = (k for k in typing.get_args(kind) if k is not types.NoneType)
        if dataclasses.is_dataclass(kind):
            found += _options(kind)
            continue
        many = typing.get_origin(kind) is tuple
        placed = tyro.conf.Positional in marks
        name = field.name.upper() if placed else "--" + field.name.replace("_", "-")
        bare = {field.default, field.default_factory} == {dataclasses.MISSING}
        found.append(Option(name, typing.get_args(kind)[0] if many else kind, many, bare))
    return found


def _is_option(word: str) -> bool:
    return re.match(r"--?[A-Za-z]", word) is not None and not _is(float, word)


def _values(option: Option, waiting: deque[str], needed: int, count: int) -> list[str]:
    """Takes the values of an option from the words waiting, of which some are needed after it."""
    found: list[str] = []
    most = 0 if option.kind is bool else len(waiting) if option.many else 1
    while waiting and len(found) + count < most and not _is_option(waiting[0]):
        if waiting[0] == "--":
            break
        if option.many and len(waiting) <= needed:
            break
        found.append(waiting.popleft())
    return found


def _check_values(prog: str, option: Option, values: list[str]) -> None:
    if option.kind is bool:
        if values:
            raise misuse(prog, f"{option.name}: got {values[0]!r}, expected no value")
        return
    if not values:
        raise misuse(prog, f"{option.name}: got nothing, expected {option.expected}")
    if option.kind in (Path, str):
        for value in values:
            files.local(option.name, value)
        return
    if all(_is(option.kind, value) for value in values):
        return
    parts = [part for value in values for part in re.split(r"[,;\s]+", value) if part]
    if option.many and parts and all(_is(option.kind, part) for part in parts):
        expected = f"{option.expected} separated by spaces: {option.name} {' '.join(parts)}"
        raise misuse(prog, f"{option.name}: got {shlex.join(values)}, expected {expected}")
    wrong = next(value for value in values if not _is(option.kind, value))
    raise misuse(prog, f"{option.name}: got {wrong!r}, expected {option.expected}")


def _too_many(prog: str, last: str, values: list[str]) -> ValueError:
    if not last:
        return misuse(prog, f"unexpected argument {values[-1]!r}")
    got = " ".join(values)
    return misuse(prog, f"{last}: got {got}, expected one value, in quotes if it has spaces")


def _is(kind: Any, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
