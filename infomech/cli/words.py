"""Checks of command-line words before tyro parses them; each mistake is reported on one line.

Several numbers are separated by spaces (--kernel-size 3 3); paths are local.
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

#: description of option values by type: singular, plural
_EXPECTED = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    Path: ("a path", "paths"),
    str: ("a value", "values"),
}


@dataclass(frozen=True)
class Option:
    """One option of a command, or one of its positional arguments.

    Attributes:
        name: as typed: --burn-in, or FILE.
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
        """Description of its values."""
        return _EXPECTED.get(self.kind, _EXPECTED[str])[self.many]


def usage_error(prog: str, message: str) -> ValueError:
    """The error for words that can't be parsed; points to the help of `prog`."""
    return ValueError(f"{message}; see {prog} --help")


def suggestion(word: str, known: Collection[str]) -> str:
    """A "did you mean" hint with the closest known word, or ""."""
    matches = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def check(command: type, prog: str, words: Sequence[str]) -> None:
    """Checks the words typed for a command (a dataclass parsed by tyro).

    Raises:
        ValueError: an unknown option; a missing, surplus or mistyped value; numbers separated by
            commas; or a URL.
    """
    if {"-h", "--help"} & {*words}:
        return
    options = _options(command)
    named = {o.name: o for o in options if o.name.startswith("--")}
    positional = [o for o in options if o.name not in named]
    free: list[str] = []
    values: dict[str, list[str]] = {}
    last, rest = "", deque(words)
    while rest:
        word = rest.popleft()
        if word == "--":
            free += rest
            if len(free) > len(positional):
                raise usage_error(prog, f"unexpected argument {free[len(positional)]!r}")
            break
        if not _is_option(word):
            free.append(word)
            if len(free) > len(positional):
                extra = [word, *itertools.takewhile(lambda w: not _is_option(w), rest)]
                raise _too_many(prog, last, [*values.get(last, []), *extra])
            continue
        name, equals, value = word.partition("=")
        last = re.sub("(?<=.)_", "-", name)
        if last not in named:
            raise usage_error(prog, f"unrecognized option {name}{suggestion(last, named)}")
        reserved = max(len(positional) - len(free), 0)
        values[last] = [value] if equals else []
        values[last] += _take_values(named[last], rest, reserved, len(values[last]))
        _check_values(prog, named[last], values[last])
    for option, value in zip(positional, free, strict=False):
        _check_values(prog, option, [value])
    missing = [*positional[len(free) :], *(o for o in named.values() if o.name not in values)]
    for option in missing:
        if option.required:
            raise usage_error(prog, f"{option.name}: got nothing, expected {option.expected}")


def _options(command: Any) -> list[Option]:
    """Options of a command, including those of nested dataclasses."""
    hints = typing.get_type_hints(command, include_extras=True)
    options: list[Option] = []
    for field in dataclasses.fields(command):
        kind: Any = hints[field.name]
        marks: list[Any] = []
        if typing.get_origin(kind) is typing.Annotated:
            kind, *marks = typing.get_args(kind)
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            (kind,) = (k for k in typing.get_args(kind) if k is not types.NoneType)
        if dataclasses.is_dataclass(kind):
            options += _options(kind)
            continue
        many = typing.get_origin(kind) is tuple
        positional = tyro.conf.Positional in marks
        name = field.name.upper() if positional else "--" + field.name.replace("_", "-")
        required = {field.default, field.default_factory} == {dataclasses.MISSING}
        value_type = typing.get_args(kind)[0] if many else kind
        options.append(Option(name, value_type, many, required))
    return options


def _is_option(word: str) -> bool:
    return re.match(r"--?[A-Za-z]", word) is not None and not _parses(float, word)


def _take_values(option: Option, rest: deque[str], reserved: int, count: int) -> list[str]:
    """Takes the values of an option from `rest`, leaving `reserved` words for positionals."""
    values: list[str] = []
    limit = 0 if option.kind is bool else len(rest) if option.many else 1
    while rest and len(values) + count < limit and not _is_option(rest[0]):
        if rest[0] == "--":
            break
        if option.many and len(rest) <= reserved:
            break
        values.append(rest.popleft())
    return values


def _check_values(prog: str, option: Option, values: list[str]) -> None:
    if option.kind is bool:
        if values:
            raise usage_error(prog, f"{option.name}: got {values[0]!r}, expected no value")
        return
    if not values:
        raise usage_error(prog, f"{option.name}: got nothing, expected {option.expected}")
    if option.kind in (Path, str):
        for value in values:
            files.local(option.name, value)
        return
    if all(_parses(option.kind, value) for value in values):
        return
    parts = [part for value in values for part in re.split(r"[,;\s]+", value) if part]
    if option.many and parts and all(_parses(option.kind, part) for part in parts):
        expected = f"{option.expected} separated by spaces: {option.name} {' '.join(parts)}"
        raise usage_error(prog, f"{option.name}: got {shlex.join(values)}, expected {expected}")
    wrong = next(value for value in values if not _parses(option.kind, value))
    raise usage_error(prog, f"{option.name}: got {wrong!r}, expected {option.expected}")


def _too_many(prog: str, last: str, values: list[str]) -> ValueError:
    if not last:
        return usage_error(prog, f"unexpected argument {values[-1]!r}")
    got = " ".join(values)
    return usage_error(prog, f"{last}: got {got}, expected one value, in quotes if it has spaces")


def _parses(kind: Any, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
