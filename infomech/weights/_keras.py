"""Keras's HDF5 files, of version 2 (.h5) and 3 (.weights.h5, .keras), and other HDF5 files."""

import contextlib
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

from infomech._core import extras
from infomech.weights._npz import ZIP_ERRORS, members
from infomech.weights._stored import Stored, bounded, broken, natural, reading
from infomech.weights.layouts import KERAS

#: what h5py raises on files that are broken
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError, SystemError)


class _Model(NamedTuple):
    """What a file says of its model: the class of each layer by name, and the layers' order."""

    classes: dict[str, str]
    order: dict[str, int]

    def place(self, found: "_Found") -> tuple:
        """What arrays are sorted by: place of the layer in the model, then names."""
        outermost = self.order.get(found.name.split("/")[0], len(self.order))
        return self.order.get(found.owner, outermost), natural(found.name)


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
        ValueError: it is broken, or unpacks to too much.
        ImportError: h5py is not installed.
    """
    with extras.needed("networks", f"source {str(path)!r}"):
        import h5py
    with reading(path, *H5_ERRORS):
        opened = h5py.File(path if file is None else file, "r")
    with opened:
        with reading(path, *H5_ERRORS):
            config = opened.attrs.get("model_config")
            names = np.ravel(opened.attrs.get("layer_names", ()))
            found = _found(opened, h5py)
        if model is None and config is not None:
            model = _model(path, config)
        elif model is None:
            model = _Model({}, {_text(name): n for n, name in enumerate(names)})
        yield [_stored(path, item, model) for item in sorted(found, key=model.place)]


class _Found(NamedTuple):
    """A dataset or link of an HDF5 file; `owner` is the layer it belongs to, `group` its group."""

    name: str
    owner: str
    group: str
    shape: tuple[int, ...]
    dtype: str
    unpacked: int
    packed: int
    dataset: Any


def _found(file: Any, h5py: Any) -> list[_Found]:
    items: dict[str, Any] = {}
    links: dict[str, Any] = {}
    # each object once, by hard links only
    file.visititems(lambda name, item: items.update({name: item}))
    file.visititems_links(lambda name, link: links.update({name: link}))
    found = [_dataset(name, item) for name, item in items.items() if hasattr(item, "dtype")]
    for name, link in links.items():
        if not isinstance(link, h5py.HardLink):
            found.append(_Found(name, "", "", (), "a link", 0, 0, None))
    return found


def _dataset(name: str, item: Any) -> _Found:
    *_, outer, own, _ = ("", "", *name.split("/"))
    # Keras 3 keeps the name of the layer beside its numbered arrays
    owner = _text(item.parent.attrs.get("name", "")) if own == "vars" else own
    group = outer if own == "vars" else own
    shape = item.shape or ()
    if item.is_virtual or item.external:
        return _Found(name, owner, group, shape, "data in other files", 0, 0, None)
    unpacked, packed = math.prod(shape) * item.dtype.itemsize, item.id.get_storage_size()
    dtype = item.dtype.newbyteorder("=").name
    return _Found(name, owner, group, shape, dtype, unpacked, packed, item)


def _stored(path: Path, found: _Found, model: _Model) -> Stored:
    bounded(path, repr(found.name), found.unpacked, found.packed)
    # Keras 3 names groups after classes; Keras 2 after layers, whose own names come from classes
    by_group = _SNAKES.get(re.sub(r"_\d+$", "", found.group), "")
    layer = model.classes.get(found.owner, by_group)

    def read() -> np.ndarray:
        with reading(path, *H5_ERRORS):
            return found.dataset[()]

    return Stored(found.name, found.shape, found.dtype, read, layer=layer)


def _snake(name: str) -> str:
    """conv2d_transpose of Conv2DTranspose, as Keras does it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_SNAKES = {_snake(name): name for name in KERAS}


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
