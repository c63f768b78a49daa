"""Safetensors files: a JSON header and raw arrays, each mapped into memory by itself.

Read here and not by the library of that name because its NumPy side takes the last of two tensors
of one name, copies each tensor, and in older releases has no bfloat16.
"""

import functools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from infomech.weights._stored import Stored, broken, natural

#: bytes; what the reference implementation allows
MAX_HEADER_BYTES = 100_000_000

#: those that hold weights
FLOATS = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}

#: bits of an element
BITS = {
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


def arrays(path: Path) -> list[Stored]:
    """What a safetensors file holds, in the order of its header.

    Raises:
        ValueError: the header is longer than the file, is no JSON or names a tensor twice; tensors
            of an unknown dtype, that overlap, leave gaps or don't fill the file.
    """
    with path.open("rb") as file:
        prefix = file.read(8)
        length, size = int.from_bytes(prefix, "little"), path.stat().st_size - 8
        if len(prefix) < 8 or length > size:
            raise broken(path, f"a header of {length} bytes in a file of {size + 8}")
        if length > MAX_HEADER_BYTES:
            raise broken(path, f"a header of {length} bytes")
        raw = file.read(length)
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise broken(path, f"a header that can't be read ({error})") from error
    if not isinstance(header, dict):
        raise broken(path, "a header that is no table")
    metadata = header.pop("__metadata__", {})
    maker = metadata.get("format", "") if isinstance(metadata, dict) else ""
    return _tensors(path, header, 8 + length, size - length, maker if maker in MAKERS else "")


#: values of "format" in the metadata
MAKERS = ("pt", "tf", "flax", "np", "mlx")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        (name, count), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name!r} {count} times")
    return table


def _tensors(path: Path, header: dict[str, Any], start: int, size: int, maker: str) -> list[Stored]:
    stored, spans = [], []
    for name, entry in header.items():
        problem = _problem(entry)
        if problem:
            raise broken(path, f"tensor {name!r}: {problem}")
        shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
        spans.append((begin, end, name))
        dtype = FLOATS.get(entry["dtype"])
        read = functools.partial(_map, path, dtype, start + begin, shape)
        stored.append(Stored(name, shape, dtype.name if dtype else entry["dtype"], read, maker))
    filled = 0
    for begin, end, name in sorted(spans):
        if begin != filled or end > size:
            got = f"bytes {begin} to {end}, where the last tensor ends at {filled} of {size}"
            raise broken(path, f"tensor {name!r} at {got}")
        filled = end
    if filled != size:
        raise broken(path, f"{size - filled} bytes that belong to no tensor")
    names: dict[str, list[str]] = {}
    for array in stored:
        names.setdefault(array.dtype, []).append(array.name)
    # sorted by the library that wrote it, in which order 10 comes before 2
    by_alphabet = all(some == sorted(some) for some in names.values())
    return sorted(stored, key=lambda array: natural(array.name)) if by_alphabet else stored


def _problem(entry: Any) -> str:
    """What is wrong with the description of a tensor, taken by itself."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        return "no dtype, shape and data_offsets"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        return f"unknown dtype {dtype!r}"
    if not _whole(shape) or len(shape) > 64:
        return "a shape that is no list of at most 64 whole numbers from 0"
    if not _whole(offsets) or len(offsets) != 2:
        return "data_offsets that are no two whole numbers from 0"
    if math.prod(shape) * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        return f"{offsets[1] - offsets[0]} bytes for shape {tuple(shape)} of {dtype}"
    return ""


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers)


def _map(path: Path, dtype: Any, begin: int, shape: tuple[int, ...]) -> np.ndarray:
    # a mapping of its own, so that its pages are given back with the array
    return np.memmap(path, dtype, "r", begin, shape).view(np.ndarray)
