"""Readers for NumPy files: .npy is memory-mapped, .npz read by member. Nothing is unpickled."""

import functools
import math
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np

from infomech.weights._stored import Stored, bounded, broken, reading

#: exceptions that `zipfile` raises on corrupt, encrypted or unsupported archives
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeError,
)

#: exceptions that NumPy raises on malformed headers
HEADER_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    MemoryError,
    RecursionError,
)


def members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Members of a zip archive. Raises ValueError on duplicate names and on zip bombs.

    Sizes are those stated in the archive; `zipfile` never reads beyond them.
    """
    infos = archive.infolist()
    for name, count in Counter(info.filename for info in infos).most_common(1):
        if count > 1:
            raise broken(path, f"{count} members {name!r}")
    bounded(path, "an archive", sum(info.file_size for info in infos), path.stat().st_size)
    return infos


def archived(path: Path) -> list[Stored]:
    """Lists the arrays of an .npz in its order. Raises ValueError if corrupt or a zip bomb."""
    stored = []
    with reading(path, *ZIP_ERRORS), zipfile.ZipFile(path) as archive:
        for info in members(path, archive):
            if not info.filename.endswith(".npy"):
                stored.append(Stored(info.filename, (), "bytes", bytes))
                continue
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as stream:
                shape, _, dtype = _header(path, name, stream, info.file_size)
            read = functools.partial(_unpack, path, info.filename)
            stored.append(Stored(name, shape, _dtype_name(dtype), read))
    return stored


def single(path: Path) -> list[Stored]:
    """The array of an .npy, named after the file. Raises ValueError if the file is corrupt."""
    with path.open("rb") as stream:
        shape, fortran, dtype = _header(path, path.stem, stream, path.stat().st_size)
        begin = stream.tell()
    order = "F" if fortran else "C"

    def read() -> np.ndarray:
        return np.memmap(path, dtype, "r", begin, shape, order).view(np.ndarray)  # type: ignore[call-overload]

    return [Stored(path.stem, shape, _dtype_name(dtype), read)]


def _dtype_name(dtype: np.dtype) -> str:
    return "void16" if dtype.str == "|V2" else dtype.name


def _header(
    path: Path, name: str, stream: IO[bytes], size: int
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype; leaves the stream at the start of the data."""
    with reading(path, *HEADER_ERRORS):
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format {version} of array {name!r}")
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream)
    required, available = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if any(n < 0 for n in shape) or (not dtype.hasobject and required != available):
        raise broken(path, f"{available} bytes for {name!r}, {shape} of {dtype}")
    return tuple(map(int, shape)), fortran, dtype


def _unpack(path: Path, member: str) -> np.ndarray:
    with (
        reading(path, *ZIP_ERRORS, KeyError, ValueError),
        zipfile.ZipFile(path) as archive,
        archive.open(member) as stream,
    ):
        return np.lib.format.read_array(stream, allow_pickle=False)
