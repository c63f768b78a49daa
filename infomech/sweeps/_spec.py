"""Sweeps written down as TOML, with errors that name the key and the line."""

import dataclasses
import difflib
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
    """The sweep that a TOML file describes.

    Its keys are the fields of `Sweep`; a setting may have a list of values. Each axis is a table:

        [axes.share]                         # equally spaced
        from = 0.0
        to = 1.0
        count = 21
        [axes.angle]                         # given values
        values = [0.0, 0.4, 0.8]
        [axes.seed]                          # 0, 1, 2, …; from `first` on
        count = 1000
        [axes.pair]                          # several quantities that go together
        share = [0.1, 0.2]
        noise = [0.0, 0.1]
        [axes.draw]                          # Sobol points in a box, scrambled by `scramble`
        sobol = 1024
        share = [0.0, 1.0]
        angle = [0.0, 6.283]
        [axes.kernel]                        # arrays: a .npy file, its name relative to this one
        taps = "kernels.npy"

    Raises:
        ValueError: it can't be read, or something in it makes no sense; with key and line.
    """
    path = files.local("spec", path)
    try:
        text = path.read_text(encoding="utf-8")
        said = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise checks.error("spec", f"{path}, unreadable ({why})", "a TOML file") from error
    fields = {field.name for field in dataclasses.fields(Sweep)}
    tables = said.pop("axes", {})
    for key in said:
        _known(path, text, (key,), fields)
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise _at(path, text, ("axes",), checks.error("axes", "no tables", "[axes.NAME] tables"))
    found = []
    for name, table in tables.items():
        try:
            found.append(
                _axis(
                    name,
                    table,
                    path.parent,
                    lambda key, known, name=name: _known(path, text, ("axes", name, key), known),
                )
            )
        except _LocatedError:
            raise
        except ValueError as error:
            raise _at(path, text, ("axes", name), error) from error
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
    try:
        return Sweep(axes=tuple(found), **settings)
    except ValueError as error:
        argument = str(error).partition(":")[0]
        keys = ("axes", argument) if argument in tables else (argument,)
        raise _at(path, text, keys, error) from error


class _LocatedError(ValueError):
    """An error that says where it is already."""


def _axis(name: str, table: dict[str, Any], folder: Path, known: Callable[..., None]) -> Axis:
    if "sobol" in table:
        ranges = {k: v for k, v in table.items() if k not in ("sobol", "scramble")}
        for key in ranges:
            known(key, ("share", "ratio", "angle", "noise", "scramble"))
        return _axes.sobol(name, table["sobol"], seed=table.get("scramble", 0), **ranges)
    if "from" in table or "to" in table:
        _all(table, ("from", "to", "count"), known)
        ends = (checks.floating(f"{name} {k}", table[k]) for k in ("from", "to"))
        low, high = (float(end) for end in ends)
        return _axes.linear(name, low, high, table["count"])
    if "values" in table:
        _all(table, ("values",), known)
        return _axes.values(name, **{name: _array(name, table["values"], folder)})
    if "count" in table and name == "seed":
        for key in table:
            known(key, ("count", "first"))
        return _axes.seeds(table["count"], table.get("first", 0))
    for key in table:
        # a table with these would have been read above
        known(key, (*_axes.QUANTITIES, "values", "from", "to", "sobol"))
    return _axes.values(name, **{key: _array(key, value, folder) for key, value in table.items()})


def _all(table, needed, known):
    for key in table:
        known(key, needed)
    for key in needed:
        if key not in table:
            raise checks.error(key, "nothing", f"all of {', '.join(needed)}")


def _array(name, given, folder):
    if not isinstance(given, str):
        return given
    try:
        return np.load(folder / files.local(name, given), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise checks.error(name, f"{given!r}, unreadable ({error})", "a .npy file") from error


def _known(path, text, keys, known):
    """Raises for a key that isn't among those known, with the one that may have been meant."""
    if keys[-1] in known:
        return
    near = difflib.get_close_matches(keys[-1], known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    error = checks.error(".".join(keys), "no such key", f"one of {', '.join(sorted(known))}{meant}")
    raise _at(path, text, keys, error)


def _at(path: Path, text: str, keys: tuple[str, ...], error: ValueError) -> ValueError:
    return _LocatedError(f"{path}, line {_line(text, keys)}: {error}")


def _line(text: str, keys: tuple[str, ...]) -> int:
    """Where a key stands, or else the table that it belongs to; 1 if neither does."""
    table: tuple[str, ...] = ()
    found, depth, unclosed = 1, 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        inside = unclosed > 0
        bare = re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", line)
        unclosed += bare.count("[") - bare.count("]")
        if inside:  # a list that goes on, whose rows look like headers
            continue
        if header := re.match(r"\s*\[+([^\]]+)\]", line):
            here = table = _parts(header[1])
        elif entry := re.match(r"\s*([\w\s\"'.-]+?)\s*=", line):
            here = (*table, *_parts(entry[1]))
        else:
            continue
        same = sum(1 for a, b in zip(here, keys, strict=False) if a == b)
        if same == min(len(here), len(keys)) and same > depth:
            found, depth = number, same
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
