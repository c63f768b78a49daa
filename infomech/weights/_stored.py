"""What a source of weights holds before any of it is read, and how much may come out of it."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from infomech._core import checks

#: bytes that any file may unpack to; above, at most `RATIO` times the bytes that are stored
MIN_CHECKED_BYTES, MAX_RATIO = 2**28, 100


class Stored(NamedTuple):
    """An array of a source that has not been read yet.

    Attributes:
        name: as the source spells it.
        shape: of the array as stored.
        dtype: its NumPy name, or the source's own for types that NumPy lacks.
        read: gives the array; of no use for what is none.
        maker: the framework that the file says it comes from, such as pt, flax, tf or mlx, or "".
        layer: class of the Keras layer that the array belongs to, or "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Any]
    maker: str = ""
    layer: str = ""


def natural(name: str) -> list[tuple[int, str]]:
    """What names are sorted by so that numbers in them count as numbers: 2 before 10."""
    return [(int(n or -1), word) for n, word in re.findall(r"(\d*)(\D*)", name)]


def broken(path: Path, what: object) -> ValueError:
    """The error for a file that is not what its name says, or not whole."""
    return checks.error("source", f"{str(path)!r}, {what}", "a whole, unharmed file")


@contextlib.contextmanager
def reading(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turns `errors` of the library that reads `path` into a ValueError that names the file."""
    try:
        yield
    except errors as error:
        raise broken(path, f"unreadable ({type(error).__name__}: {error})") from error


def bounded(path: Path, what: str, unpacked: int, packed: int) -> None:
    """Raises ValueError if `packed` bytes unpack to more than weights of a network ever do."""
    if unpacked > MIN_CHECKED_BYTES and unpacked > MAX_RATIO * packed:
        got = f"{str(path)!r}, {what} of {packed} bytes that unpacks to {unpacked}"
        raise checks.error(
            "source", got, f"at most {MAX_RATIO} times as many bytes: weights are noisy"
        )
