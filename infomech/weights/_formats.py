"""Opens a source of weights, a file or a pytree, and lists its arrays without reading them."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from infomech._core import checks, files
from infomech.weights import _keras, _npz, _safetensors
from infomech.weights._stored import Stored, reading

#: suffixes of pickle files, which can run arbitrary code when loaded
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")

#: converts a PyTorch state dict to safetensors
CONVERSION = """\
state = torch.load(path, weights_only=True);
safetensors.torch.save_file({k: v.contiguous().clone() for k, v in state.items()}, "new.safetensors")
"""  # noqa: E501

SUFFIXES = (".safetensors", ".npz", ".npy", ".keras", ".h5", ".hdf5")


@contextlib.contextmanager
def opened(source: Any) -> Iterator[list[Stored]]:
    """Lists the arrays of a source; read them inside the context, they stay valid outside it.

    Args:
        source: path of a file with one of `SUFFIXES`, or a pytree with arrays.

    Raises:
        ValueError: missing file, unknown suffix, pickle, corrupt file, or pytree without arrays.
    """
    if not isinstance(source, str | os.PathLike):
        yield _leaves(source)
        return
    path = files.local("source", source)
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        got = f"{str(path)!r}, a pickle, which can run arbitrary code when loaded"
        raise checks.error(
            "source",
            got,
            f"a safetensors file; convert with torch, safetensors.torch:\n{CONVERSION}",
        )
    if not path.is_file():
        problem = "not a file" if path.exists() else "no such file"
        raise checks.error("source", f"{str(path)!r}, {problem}", "a weight file or a pytree")
    if suffix not in SUFFIXES:
        raise checks.error("source", f"{str(path)!r}", f"one of {', '.join(SUFFIXES)}")
    if suffix in (".keras", ".h5", ".hdf5"):
        with (_keras.zipped if suffix == ".keras" else _keras.arrays)(path) as stored:
            yield stored
        return
    read = {".safetensors": _safetensors.arrays, ".npz": _npz.archived, ".npy": _npz.single}[suffix]
    with reading(path, OSError):
        stored = read(path)
    yield stored


def _leaves(tree: Any) -> list[Stored]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    stored = []
    for path, leaf in leaves:
        if isinstance(leaf, jax.core.Tracer):
            raise checks.error("source", "traced arrays", "concrete values")
        if isinstance(leaf, jax.Array | np.ndarray):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            checks.unmasked(f"source {name}".rstrip(), leaf)
            read = functools.partial(np.asarray, leaf)
            stored.append(Stored(name or "array", tuple(leaf.shape), str(leaf.dtype), read))
    if not stored:
        kinds = sorted({type(leaf).__name__ for _, leaf in leaves}) or ["none"]
        got = f"a {type(tree).__name__} without arrays, leaves: {', '.join(kinds[:5])}"
        raise checks.error("source", got, "a path or a pytree of NumPy or JAX arrays")
    return stored
