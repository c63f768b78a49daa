"""Arrays of a source that are not read yet, and limits on how far they may unpack."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infomech._core import checks

#: files that unpack to more bytes than this may have at most `MAX_RATIO` times their stored size
MIN_CHECKED_BYTES, MAX_RATIO = 2**28, 100


class Stored(NamedTuple):
    """An array of a source that has not been read yet.

    Attributes:
        name: as the source spells it.
        shape: of the array as stored.
        dtype: its NumPy name, or the source's own for types that NumPy lacks.
        read: returns the array; undefined for entries that are no arrays.
        maker: framework named in the file, such as pt, flax, tf or mlx, or "".
        layer: class of the Keras layer that owns the array, or "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Any]
    maker: str = ""
    layer: str = ""


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key for natural order: conv2 comes before conv10."""
    return [(int(n or -1), word) for n, word in re.findall(r"(\d*)(\D*)", name)]


def broken(path: Path, problem: object) -> ValueError:
    """The error for a corrupt, incomplete or mislabeled file."""
    return checks.error("source", f"{str(path)!r}, {problem}", "an intact file")


@contextlib.contextmanager
def reading(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Converts `errors` of the reading library into a ValueError that names the file."""
    try:
        yield
    except errors as error:
        raise broken(path, f"unreadable ({type(error).__name__}: {error})") from error


def bounded(path: Path, part: str, unpacked: int, packed: int) -> None:
    """Raises ValueError if `packed` bytes unpack to more than network weights ever would."""
    if unpacked > MIN_CHECKED_BYTES and unpacked > MAX_RATIO * packed:
        got = f"{str(path)!r}, {part} of {packed} bytes that unpacks to {unpacked}"
        raise checks.error("source", got, f"at most {MAX_RATIO} times the stored bytes")
