"""Results of a sweep on disk: an xarray Dataset on Zarr, each block of it complete or absent.

Arrays are made with all their places at the start. A block is a chunk of its own in each, so that
processes that write different blocks touch no file of each other. When all its chunks are written,
and only then, its place in `done` is set, to a checksum of them.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from infomech import rates
from infomech._core import checks, files
from infomech.sweeps import _arrays
from infomech.sweeps._arrays import Variable
from infomech.sweeps._blocks import Block, Layout
from infomech.sweeps._grid import Sweep


class StoreError(OSError):
    """A store that can't be written any more: the disk is full, or it may only be read."""


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        path: its folder.
        attributes: of the dataset: sweep, provenance, versions.
        layout: of its points.
        arrays: of Zarr, by name of the quantity.
        labels: the arrays of the coordinates, by name.
        done: array of checksums by place of the block, 0 where it is absent.
    """

    path: Path
    attributes: dict[str, Any]
    layout: Layout
    arrays: dict[str, Any]
    labels: dict[str, Any]
    done: Any

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each quantity at one point."""
        axes = len(self.layout.shape)
        return {name: tuple(array.shape[axes:]) for name, array in self.arrays.items()}

    def intact(self, block: Block) -> bool:
        """Whether a block is there and what was written."""
        return self.look(block)[1] is not None

    def look(self, block: Block) -> tuple[int, dict[str, np.ndarray] | None]:
        """A block's checksum, 0 if it isn't there, and its results if they are what was written."""
        # noted first: a block that another run writes meanwhile is absent, not damaged
        noted = self._noted(block)
        if noted == 0:
            return 0, None
        try:
            read = _together([a.async_array.getitem(block.where) for a in self.arrays.values()])
        except Exception:  # whatever a harmed chunk makes of the decoder
            return noted, None
        parts = dict(zip(self.arrays, map(np.asarray, read), strict=True))
        return noted, parts if noted == _checksum(list(parts.values())) else None

    def labeled(self) -> bool:
        """Whether the coordinates are what was written."""
        try:
            columns = {name: np.asarray(array[...]) for name, array in self.labels.items()}
        except Exception:
            return False
        return _arrays.digest(columns) == self.attributes.get("labels")

    def write(self, block: Block, found: Mapping[str, np.ndarray]) -> None:
        """Stores a block's results, (points, …) each, and says that they are there.

        Raises:
            StoreError: the disk is full, or may not be written.
        """
        parts = [
            found[name].astype(array.dtype).reshape(*block.shape, *found[name].shape[1:])
            for name, array in self.arrays.items()
        ]
        for part in parts:
            if part.dtype.kind == "f":
                # of the many NaN, the one that Zarr gives back for chunks of nothing else
                part[np.isnan(part)] = np.nan
        with _writing(self.path):
            written = zip(self.arrays.values(), parts, strict=True)
            _together([a.async_array.setitem(block.where, part) for a, part in written])
            self.done[_one(block)] = np.uint64(_checksum(parts))

    def _noted(self, block: Block) -> int:
        try:
            return int(np.asarray(self.done[_one(block)]).item())
        except Exception:  # a harmed mask says nothing
            return 0


def prepare(
    path: str | os.PathLike[str], sweep: Sweep, variables: Callable[[], Sequence[Variable]]
) -> Store:
    """The store of a sweep: the one there is, else a new one, for what `variables` says.

    A new one appears whole, so that of several runs that make it at the same time one does.

    Raises:
        ValueError: what is there is no store, or is one of another sweep or version.
        StoreError: the disk is full, or may not be written.
    """
    path = files.local("store", path)
    if not path.exists():
        measured = variables()
        with _writing(path):
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=path.absolute().parent))
            try:
                _arrays.make(part, sweep, measured)
                part.chmod(0o755)
                with contextlib.suppress(FileExistsError):
                    _appear(part, path)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    found = read(path, "r+")
    _compare(path, found.attributes, json.loads(json.dumps(sweep.describe())))
    if not found.labeled():
        with _writing(path):
            for name, (column, _) in _arrays.coordinates(sweep).items():
                found.labels[name][...] = column
    return found


def read(path: str | os.PathLike[str], mode: Literal["r", "r+"] = "r") -> Store:
    """The store of any sweep, to read or to go on with.

    Raises:
        ValueError: it is no store, or of another version.
    """
    path, zarr = files.local("store", path), _arrays.library()
    expected = "a folder made by infomech sweep run, or none"
    try:
        group = zarr.open_group(str(path), mode=mode, use_consolidated=False)
        said: dict[str, Any] = dict(group.attrs)
        there = {"format": said["format"], "infomech": said["infomech"]}
    except Exception as error:  # zarr has many for what is no store, or a harmed one
        raise checks.error("store", f"{path}, which is none ({_why(error)})", expected) from error
    own = {"format": _arrays.FORMAT, "infomech": _arrays.version()}
    if there != own:
        got = f"{path} of infomech {there['infomech']}, format {there['format']}"
        wanted = f"infomech {own['infomech']}, format {own['format']}"
        raise checks.error("store", got, f"{wanted}: another store, or that version")
    try:
        found: dict[str, Any] = dict(group.arrays())
        measured = {name: found[name] for name, *_ in said["sweep"]["measured"]}
        named: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in said["layout"].items()
        }
        labels = {k: v for k, v in found.items() if k not in {*measured, "done"}}
        return Store(path, said, Layout(**named), measured, labels, found["done"])
    except Exception as error:
        raise checks.error("store", f"{path}, harmed ({_why(error)})", expected) from error


@dataclass(frozen=True)
class Status:
    """How far a store is.

    Attributes:
        points, blocks: of the whole sweep.
        intact: points that are there and are what was written.
        damaged: points said to be there that are not.
        labeled: whether the coordinates are what was written.
        statuses: how many of the points there have each status of `infomech.rates.REASONS`; empty
            if something else was measured.
        infomech, created: version that made the store, and when.
    """

    points: int
    blocks: int
    intact: int
    damaged: int
    labeled: bool
    statuses: dict[str, int]
    infomech: str
    created: str


def status(
    path: str | os.PathLike[str], progress: Callable[[list[Block]], Iterable[Block]] = iter
) -> Status:
    """Reads the whole of a store and tells how far it is; may be asked while it is written.

    Args:
        path: folder of the store.
        progress: wraps the list of blocks while they are read, as `tqdm.tqdm` does.

    Raises:
        ValueError: it is no store, or of another version.
    """
    found = read(path)
    points, intact, damaged = 0, 0, 0
    counts: dict[str, int] = {}
    for block in progress(list(found.layout.blocks())):
        noted, parts = found.look(block)
        points += block.points
        intact += block.points if parts else 0
        damaged += block.points if noted and not parts else 0
        if parts and found.attributes["sweep"]["observe"] == "laws":
            codes, times = np.unique(parts["status"], return_counts=True)
            for code, count in zip(codes.tolist(), times.tolist(), strict=True):
                counts[rates.REASONS[code]] = counts.get(rates.REASONS[code], 0) + count
    return Status(
        points=points,
        blocks=math.prod(found.layout.grid),
        intact=intact,
        damaged=damaged,
        labeled=found.labeled(),
        statuses=counts,
        infomech=found.attributes["infomech"],
        created=found.attributes["provenance"]["created"],
    )


def _compare(path: Path, attributes: dict[str, Any], asked: dict[str, Any]) -> None:
    there = attributes["sweep"]
    for key in asked:
        if there.get(key) != asked[key]:
            got, wanted = (json.dumps(d.get(key)) for d in (there, asked))
            raise checks.error(
                "store", f"{path}, whose {key} is {_cut(got)}", f"{_cut(wanted)}, or another store"
            )


def _why(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _cut(text: str) -> str:
    return text if len(text) < 200 else text[:200] + "…"


def _appear(part: Path, path: Path) -> None:
    """Moves a folder to where none is yet."""
    try:
        os.rename(part, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            raise FileExistsError(str(path)) from error
        raise


def _together(tasks: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What each of Zarr's tasks returns, all done at once: half the time of one after the other.

    Raises:
        Exception: what the first that failed raised, when all have ended.
    """
    from zarr.core.sync import sync

    async def gathered():
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = sync(gathered())
    for value in found:
        if isinstance(value, BaseException):
            raise value
    return found


@contextlib.contextmanager
def _writing(path: Path):
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(error.errno, f"{path} can't be written: {why}") from error


def _one(block: Block) -> tuple[slice, ...]:
    return tuple(slice(i, i + 1) for i in block.at)


def _checksum(parts: Sequence[np.ndarray]) -> int:
    """64 bits, never 0."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    return int.from_bytes(found.digest(), "little") or 1
