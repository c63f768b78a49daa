"""Readers for Keras 2 (.h5) and Keras 3 (.weights.h5, .keras) files, and other HDF5 files."""

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

#: exceptions that h5py raises on corrupt files
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError, SystemError)


class _Model(NamedTuple):
    """Class and position of each layer by name, as the file's model configuration states them."""

    classes: dict[str, str]
    order: dict[str, int]

    def sort_key(self, item: "_Item") -> tuple:
        """Position of the array's layer in the model, then the name of the array."""
        outermost = self.order.get(item.name.split("/")[0], len(self.order))
        return self.order.get(item.owner, outermost), natural(item.name)


@contextlib.contextmanager
def zipped(path: Path) -> Iterator[list[Stored]]:
    """Lists the arrays of a .keras archive, in the order of the model's layers.

    Raises:
        ValueError: corrupt archive, zip bomb, or no model.weights.h5; h5py is not installed.
    """
    with tempfile.TemporaryFile() as unpacked:
        with reading(path, *ZIP_ERRORS), zipfile.ZipFile(path) as archive:
            names = {info.filename for info in members(path, archive)}
            if "model.weights.h5" not in names:
                raise broken(path, "no model.weights.h5 in the archive")
            config = archive.read("config.json") if "config.json" in names else b"{}"
            # a file on disk: HDF5 needs random access, and the model may not fit into memory
            with archive.open("model.weights.h5") as weights:
                shutil.copyfileobj(weights, unpacked)
        with arrays(path, unpacked, _model(path, config)) as stored:
            yield stored


@contextlib.contextmanager
def arrays(path: Path, file: Any = None, model: _Model | None = None) -> Iterator[list[Stored]]:
    """Lists the arrays of an HDF5 file; external links and references are not followed.

    Args:
        path: of the file.
        file: open file to read instead of `path`; `path` then only appears in messages.
        model: classes and order of the layers; read from the file if None.

    Returns:
        In the order of the model's layers if known, then by name in natural order.

    Raises:
        ValueError: corrupt file, or suspiciously high compression.
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
            items = _items(opened, h5py)
        if model is None and config is not None:
            model = _model(path, config)
        elif model is None:
            model = _Model({}, {_text(name): n for n, name in enumerate(names)})
        yield [_stored(path, item, model) for item in sorted(items, key=model.sort_key)]


class _Item(NamedTuple):
    """A dataset or link of an HDF5 file; `owner` names its layer, `group` its group."""

    name: str
    owner: str
    group: str
    shape: tuple[int, ...]
    dtype: str
    unpacked: int
    packed: int
    dataset: Any


def _items(file: Any, h5py: Any) -> list[_Item]:
    objects: dict[str, Any] = {}
    links: dict[str, Any] = {}
    # visits each object once, by hard links only
    file.visititems(lambda name, item: objects.update({name: item}))
    file.visititems_links(lambda name, link: links.update({name: link}))
    items = [_dataset(name, item) for name, item in objects.items() if hasattr(item, "dtype")]
    for name, link in links.items():
        if not isinstance(link, h5py.HardLink):
            items.append(_Item(name, "", "", (), "a link", 0, 0, None))
    return items


def _dataset(name: str, dataset: Any) -> _Item:
    *_, outer, inner, _ = ("", "", *name.split("/"))
    # Keras 3 stores the layer's name as an attribute of the group of its numbered arrays
    owner = _text(dataset.parent.attrs.get("name", "")) if inner == "vars" else inner
    group = outer if inner == "vars" else inner
    shape = dataset.shape or ()
    if dataset.is_virtual or dataset.external:
        return _Item(name, owner, group, shape, "data in other files", 0, 0, None)
    unpacked, packed = math.prod(shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    dtype = dataset.dtype.newbyteorder("=").name
    return _Item(name, owner, group, shape, dtype, unpacked, packed, dataset)


def _stored(path: Path, item: _Item, model: _Model) -> Stored:
    bounded(path, repr(item.name), item.unpacked, item.packed)
    # Keras 3 names groups after classes; Keras 2 after layers, whose names derive from classes
    by_group = _CLASS_OF_GROUP.get(re.sub(r"_\d+$", "", item.group), "")
    layer = model.classes.get(item.owner, by_group)

    def read() -> np.ndarray:
        with reading(path, *H5_ERRORS):
            return item.dataset[()]

    return Stored(item.name, item.shape, item.dtype, read, layer=layer)


def _snake(name: str) -> str:
    """Snake case as Keras writes it: Conv2DTranspose → conv2d_transpose."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_CLASS_OF_GROUP = {_snake(name): name for name in KERAS}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _model(path: Path, config: Any) -> _Model:
    try:
        layers = list(_layers_of(json.loads(_text(config))))
    except (ValueError, RecursionError) as error:
        raise broken(path, f"unreadable model configuration ({error})") from error
    classes: dict[str, str] = {}
    order: dict[str, int] = {}
    for n, (name, kind) in enumerate(layers):
        # if two layers share a name but not a class, the class is ambiguous
        classes[name] = kind if classes.get(name, kind) == kind else ""
        order.setdefault(name, n)
    return _Model({name: kind for name, kind in classes.items() if kind}, order)


def _layers_of(config: Any) -> Iterator[tuple[str, str]]:
    """Name and class of every layer in a model configuration."""
    if isinstance(config, dict):
        kind, options = config.get("class_name"), config.get("config")
        name = options.get("name") if isinstance(options, dict) else None
        if isinstance(kind, str) and isinstance(name, str):
            yield name, kind
        for value in config.values():
            yield from _layers_of(value)
    elif isinstance(config, list):
        for value in config:
            yield from _layers_of(value)
