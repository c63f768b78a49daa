"""Sweeps from TOML files; errors name the key and the line."""

import dataclasses
import difflib
import functools
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from infomech._core import checks, files
from infomech.sweeps import _axes
from infomech.sweeps._axes import Axis
from infomech.sweeps._grid import Sweep


def load(path: str | os.PathLike[str]) -> Sweep:
    """The sweep described by a TOML file.

    Keys are the fields of `Sweep`; a setting may have a list of values. Each axis is a table:

        [axes.share]                         # equally spaced
        from = 0.0
        to = 1.0
        count = 21
        [axes.angle]                         # given values
        values = [0.0, 0.4, 0.8]
        [axes.seed]                          # 0, 1, 2, …; starting at `first`
        count = 1000
        [axes.pair]                          # several quantities that vary together
        share = [0.1, 0.2]
        noise = [0.0, 0.1]
        [axes.draw]                          # Sobol points; seed of the scrambling: `scramble`
        sobol = 1024
        share = [0.0, 1.0]
        angle = [0.0, 6.283]
        [axes.kernel]                        # arrays: a .npy file, relative to this one
        taps = "kernels.npy"

    Raises:
        ValueError: the file can't be read or has an invalid entry; names key and line.
    """
    path = files.local("spec", path)
    try:
        text = path.read_text(encoding="utf-8")
        spec = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise checks.error("spec", f"{path}, unreadable ({why})", "a TOML file") from error
    fields = {field.name for field in dataclasses.fields(Sweep)}
    tables = spec.pop("axes", {})
    for key in spec:
        _check_key(path, text, (key,), fields)
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise _at(path, text, ("axes",), checks.error("axes", "no tables", "[axes.NAME] tables"))
    axes = []
    for name, table in tables.items():
        try:
            check = functools.partial(_check_axis_key, path, text, name)
            axes.append(_axis(name, table, path.parent, check))
        except _LocatedError:
            raise
        except ValueError as error:
            raise _at(path, text, ("axes", name), error) from error
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()}
    try:
        return Sweep(axes=tuple(axes), **settings)
    except ValueError as error:
        argument = str(error).partition(":")[0]
        keys = ("axes", argument) if argument in tables else (argument,)
        raise _at(path, text, keys, error) from error


class _LocatedError(ValueError):
    """An error that already names its line."""


def _axis(name: str, table: dict[str, Any], folder: Path, check: Callable[..., None]) -> Axis:
    if "sobol" in table:
        ranges = {k: v for k, v in table.items() if k not in ("sobol", "scramble")}
        for key in ranges:
            check(key, ("share", "ratio", "angle", "noise", "scramble"))
        return _axes.sobol(name, table["sobol"], seed=table.get("scramble", 0), **ranges)
    if "from" in table or "to" in table:
        _require(table, ("from", "to", "count"), check)
        ends = (checks.floating(f"{name} {k}", table[k]) for k in ("from", "to"))
        low, high = (float(end) for end in ends)
        return _axes.linear(name, low, high, table["count"])
    if "values" in table:
        _require(table, ("values",), check)
        return _axes.values(name, **{name: _array(name, table["values"], folder)})
    if "count" in table and name == "seed":
        for key in table:
            check(key, ("count", "first"))
        return _axes.seeds(table["count"], table.get("first", 0))
    for key in table:
        # the other rules are listed for the hint only: such tables are handled above
        check(key, (*_axes.QUANTITIES, "values", "from", "to", "sobol"))
    return _axes.values(name, **{key: _array(key, value, folder) for key, value in table.items()})


def _require(table, keys, check):
    for key in table:
        check(key, keys)
    for key in keys:
        if key not in table:
            raise checks.error(key, "nothing", f"all of {', '.join(keys)}")


def _array(name, value, folder):
    if not isinstance(value, str):
        return value
    try:
        return np.load(folder / files.local(name, value), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise checks.error(name, f"{value!r}, unreadable ({error})", "a .npy file") from error


def _check_axis_key(path, text, name, key, known):
    _check_key(path, text, ("axes", name, key), known)


def _check_key(path, text, keys, known):
    """Raises ValueError for an unknown key and suggests the closest known one."""
    if keys[-1] in known:
        return
    matches = difflib.get_close_matches(keys[-1], known, 1)
    hint = f"; did you mean {matches[0]}?" if matches else ""
    expected = f"one of {', '.join(sorted(known))}{hint}"
    error = checks.error(".".join(keys), "an unknown key", expected)
    raise _at(path, text, keys, error)


def _at(path: Path, text: str, keys: tuple[str, ...], error: ValueError) -> ValueError:
    return _LocatedError(f"{path}, line {_line(text, keys)}: {error}")


def _line(text: str, keys: tuple[str, ...]) -> int:
    """Line of a key, else of its table, else 1."""
    table: tuple[str, ...] = ()
    best, depth, unclosed = 1, 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        inside = unclosed > 0
        bare = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", line)
        unclosed += bare.count("[") - bare.count("]")
        if inside:  # rows of a multiline list look like headers
            continue
        if header := re.match(r"\s*\[+([^\]]+)\]", line):
            current = table = _parts(header[1])
        elif entry := re.match(r"\s*([\w\s\"'.-]+?)\s*=", line):
            current = (*table, *_parts(entry[1]))
        else:
            continue
        same = sum(1 for a, b in zip(current, keys, strict=False) if a == b)
        if same == min(len(current), len(keys)) and same > depth:
            best, depth = number, same
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
