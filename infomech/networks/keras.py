"""Keras's HDF5 files, of version 2 (.h5) and 3 (.weights.h5, .keras), and other HDF5 files."""

import contextlib
import functools
import importlib
import json
import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infomech import checks
from infomech.networks.layouts import KERAS
from infomech.networks.npz import ZIP_ERRORS, members
from infomech.networks.stored import Stored, bounded, broken, reading

#: what h5py raises on files that are broken
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, UnicodeDecodeError)


class _Model(NamedTuple):
    """What a file says of its model: the class of each layer by name, and the layers' order."""

    classes: dict[str, str]
    order: dict[str, int]


@contextlib.contextmanager
def zipped(path: Path) -> Iterator[list[Stored]]:
    """The arrays of a .keras archive, in the order of the model's layers.

    Raises:
        ValueError: it is broken, a zip bomb or has no model.weights.h5; h5py is not installed.
    """
    with tempfile.TemporaryFile() as unpacked:
        with reading(path, *ZIP_ERRORS), zipfile.ZipFile(path) as archive:
            names = {info.filename for info in members(path, archive)}
            if "model.weights.h5" not in names:
                raise broken(path, "no model.weights.h5 in it")
            config = archive.read("config.json") if "config.json" in names else b"{}"
            # a file on disk, as HDF5 reads here and there and the model may not fit into memory
            with archive.open("model.weights.h5") as weights:
                shutil.copyfileobj(weights, unpacked)
        with arrays(path, unpacked, _model(path, config)) as stored:
            yield stored


@contextlib.contextmanager
def arrays(path: Path, file: Any = None, model: _Model | None = None) -> Iterator[list[Stored]]:
    """The arrays of an HDF5 file; links to other files and references are not followed.

    Args:
        path: of the file.
        file: the file itself, where it is not at `path`.
        model: what is known of the model; what the file says of it if None.

    Returns:
        In the order of the model's layers if that is known, then by name, numbers as numbers.

    Raises:
        ValueError: it is broken, unpacks to too much, or h5py is not installed.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        got = f"{str(path)!r}, but h5py is not installed"
        raise checks.fail("source", got, "pip install 'infomech[networks]'") from error
    with reading(path, *H5_ERRORS):
        opened = h5py.File(path if file is None else file, "r")
    with opened:
        with reading(path, *H5_ERRORS):
            if model is None:
                model = _described(path, opened)
            placed = list(_walk(path, opened, h5py, model))
        yield [stored for _, stored in sorted(placed, key=lambda pair: pair[0])]


def _walk(path: Path, file: Any, h5py: Any, model: _Model) -> Iterator[tuple[tuple, Stored]]:
    """The arrays of a file, each behind what it is sorted by."""
    found: dict[str, Any] = {}
    links: dict[str, Any] = {}
    # each object once, by hard links only
    file.visititems(lambda name, item: found.update({name: item}))
    file.visititems_links(lambda name, link: links.update({name: link}))
    for name, item in found.items():
        if not isinstance(item, h5py.Dataset):
            continue
        elsewhere = item.is_virtual or item.external
        dtype = "data in other files" if elsewhere else _spelled(item.dtype)
        if not elsewhere:
            unpacked = math.prod(item.shape or ()) * item.dtype.itemsize
            bounded(path, repr(name), unpacked, item.id.get_storage_size())
        owner = _owner(name, item)
        read = functools.partial(_read, path, item)
        stored = Stored(name, item.shape or (), dtype, read, layer=_class(owner, model))
        yield _place(name, owner[0], model.order), stored
    for name, link in links.items():
        if not isinstance(link, h5py.HardLink):
            yield _place(name, "", model.order), Stored(name, (), "a link", bytes)


def _spelled(dtype: np.dtype) -> str:
    return dtype.newbyteorder("=").name


def _read(path: Path, item: Any) -> np.ndarray:
    with reading(path, *H5_ERRORS):
        return item[()]


def _owner(name: str, item: Any) -> tuple[str, str]:
    """Name of the layer that an array belongs to, and of its group in the file."""
    *_, outer, own, _ = ("", "", *name.split("/"))
    if own != "vars":
        return own, own
    label = item.parent.attrs.get("name")
    return (label if isinstance(label, str) else ""), outer


def _class(owner: tuple[str, str], model: _Model) -> str:
    """Class of a Keras layer, or ""."""
    label, group = owner
    # Keras 3 names groups after classes, Keras 2 the layers whose user has not named them
    return model.classes.get(label) or _SNAKES.get(re.sub(r"_\d+$", "", group), "")


def _snake(name: str) -> str:
    """conv2d_transpose of Conv2DTranspose, as Keras does it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_SNAKES = {_snake(name): name for name in KERAS}


def _described(path: Path, file: Any) -> _Model:
    """What attributes of a Keras 2 file say of the model."""
    config = file.attrs.get("model_config")
    if config is not None:
        return _model(path, config)
    names = map(_text, np.ravel(file.attrs.get("layer_names", ())))
    return _Model({}, {name: n for n, name in enumerate(names)})


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _model(path: Path, config: Any) -> _Model:
    try:
        found = list(_layers_of(json.loads(_text(config))))
    except (ValueError, RecursionError) as error:
        raise broken(path, f"a configuration that can't be read ({error})") from error
    classes: dict[str, str] = {}
    order: dict[str, int] = {}
    for n, (name, kind) in enumerate(found):
        # of two layers of one name and different classes, the file doesn't say which is which
        classes[name] = kind if classes.get(name, kind) == kind else ""
        order.setdefault(name, n)
    return _Model({name: kind for name, kind in classes.items() if kind}, order)


def _layers_of(config: Any) -> Iterator[tuple[str, str]]:
    """Name and class of all layers in the configuration of a model."""
    if isinstance(config, dict):
        kind, own = config.get("class_name"), config.get("config")
        if isinstance(kind, str) and isinstance(own, dict) and isinstance(own.get("name"), str):
            yield own["name"], kind
        for value in config.values():
            yield from _layers_of(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers_of(value)


def _place(name: str, label: str, order: dict[str, int]) -> tuple:
    """What arrays are sorted by: place of the layer in the model, then names."""
    group = name.split("/")[0]
    natural = [(int(number or -1), word) for number, word in re.findall(r"(\d*)(\D*)", name)]
    return order.get(label, order.get(group, len(order))), natural
