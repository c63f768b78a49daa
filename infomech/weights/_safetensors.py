"""Reader for safetensors files: a JSON header and raw arrays, each memory-mapped separately.

The safetensors package is not used: its NumPy interface keeps only the last of two tensors with the
same name, copies each tensor, and in older releases lacks bfloat16.
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

#: limit of the reference implementation
MAX_HEADER_BYTES = 100_000_000

#: dtypes of weights
FLOATS = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}

#: bits per element
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
    """Lists the tensors of a safetensors file, in the order of its header.

    Raises:
        ValueError: the header is longer than the file, invalid JSON or names a tensor twice; a
            dtype is unknown; tensors overlap, leave gaps or don't fill the file.
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
        raise broken(path, f"unreadable header ({error})") from error
    if not isinstance(header, dict):
        raise broken(path, "a header that is not an object")
    metadata = header.pop("__metadata__", {})
    maker = metadata.get("format", "") if isinstance(metadata, dict) else ""
    return _tensors(path, header, 8 + length, size - length, maker if maker in MAKERS else "")


#: accepted values of "format" in the metadata
MAKERS = ("pt", "tf", "flax", "np", "mlx")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        (name, count), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name!r} occurs {count} times")
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
            got = f"bytes {begin} to {end}, previous tensor ends at {filled} of {size}"
            raise broken(path, f"tensor {name!r} at {got}")
        filled = end
    if filled != size:
        raise broken(path, f"{size - filled} bytes belong to no tensor")
    names: dict[str, list[str]] = {}
    for array in stored:
        names.setdefault(array.dtype, []).append(array.name)
    # the library that wrote the file sorted names as text, which puts 10 before 2
    alphabetical = all(group == sorted(group) for group in names.values())
    return sorted(stored, key=lambda array: natural(array.name)) if alphabetical else stored


def _problem(entry: Any) -> str:
    """The first problem in the header entry of a tensor, or an empty string."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        return "dtype, shape or data_offsets missing"
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        return f"unknown dtype {dtype!r}"
    if not _naturals(shape) or len(shape) > 64:
        return "shape is not a list of at most 64 nonnegative integers"
    if not _naturals(offsets) or len(offsets) != 2:
        return "data_offsets are not two nonnegative integers"
    if math.prod(shape) * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        return f"{offsets[1] - offsets[0]} bytes for shape {tuple(shape)} of {dtype}"
    return ""


def _naturals(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers)


def _map(path: Path, dtype: Any, begin: int, shape: tuple[int, ...]) -> np.ndarray:
    # one mapping per array: its pages are freed together with the array
    return np.memmap(path, dtype, "r", begin, shape).view(np.ndarray)
