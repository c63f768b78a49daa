"""Results of a sweep on disk: an xarray Dataset on Zarr whose blocks are complete or absent.

Arrays are allocated in full at creation. Each block is one chunk of each array, so processes that
write different blocks never touch the same file. The entry of a block in `done` is set to its
checksum only after all its chunks are written.
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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from infomech import _version, rates
from infomech._core import checks, files
from infomech._core.progress import Progress
from infomech.sweeps import _arrays
from infomech.sweeps._arrays import Variable
from infomech.sweeps._blocks import Block, Layout
from infomech.sweeps._grid import Sweep


class StoreError(OSError):
    """The store has become unwritable (disk full or read-only)."""


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        path: folder of the store.
        attributes: attributes of the dataset: sweep, provenance, versions.
        layout: layout of the points.
        arrays: Zarr arrays by quantity.
        labels: Zarr arrays of the coordinates by name.
        done: Zarr array of checksums, one per block; 0 if the block is absent.
    """

    path: Path
    attributes: dict[str, Any]
    layout: Layout
    arrays: dict[str, Any]
    labels: dict[str, Any]
    done: Any

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each quantity at one point."""
        axes = len(self.layout.shape)
        return {name: tuple(array.shape[axes:]) for name, array in self.arrays.items()}

    def intact(self, block: Block) -> bool:
        """Whether a block is stored and matches its checksum."""
        return self.load(block)[1] is not None

    def load(self, block: Block) -> tuple[int, dict[str, np.ndarray] | None]:
        """Stored checksum of a block (0: absent), and its results if they match it."""
        # checksum first: a block being written by another run is absent, not damaged
        checksum = self._stored_checksum(block)
        if checksum == 0:
            return 0, None
        try:
            chunks = _gather([a.async_array.getitem(block.where) for a in self.arrays.values()])
        except Exception:  # a damaged chunk can raise anything in the decoder
            return checksum, None
        parts = dict(zip(self.arrays, map(np.asarray, chunks), strict=True))
        return checksum, parts if checksum == _checksum(list(parts.values())) else None

    def labeled(self) -> bool:
        """Whether the coordinates match their checksum."""
        try:
            columns = {name: np.asarray(array[...]) for name, array in self.labels.items()}
        except Exception:
            return False
        return _arrays.digest(columns) == self.attributes.get("labels")

    def write(self, block: Block, results: Mapping[str, np.ndarray]) -> None:
        """Stores the results of a block, (points, …) each, then its checksum.

        Raises:
            StoreError: the disk is full or read-only.
        """
        parts = [
            results[name].astype(array.dtype).reshape(*block.shape, *results[name].shape[1:])
            for name, array in self.arrays.items()
        ]
        for part in parts:
            if part.dtype.kind == "f":
                # the NaN pattern that Zarr returns for chunks that are all fill value
                part[np.isnan(part)] = np.nan
        with _writing(self.path):
            pairs = zip(self.arrays.values(), parts, strict=True)
            _gather([a.async_array.setitem(block.where, part) for a, part in pairs])
            self.done[_index(block)] = np.uint64(_checksum(parts))

    def _stored_checksum(self, block: Block) -> int:
        try:
            return int(np.asarray(self.done[_index(block)]).item())
        except Exception:  # a damaged checksum counts as absent
            return 0


def prepare(
    path: str | os.PathLike[str], sweep: Sweep, variables: Callable[[], Sequence[Variable]]
) -> Store:
    """Opens the store of a sweep, or creates one with the arrays listed by `variables`.

    Creation is atomic: if several runs create the same store, exactly one succeeds.

    Raises:
        ValueError: the path exists and is no store, or a store of another sweep or version.
        StoreError: the disk is full or read-only.
    """
    path = files.local("store", path)
    if not path.exists():
        measured = variables()
        with _writing(path):
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=path.absolute().parent))
            try:
                _arrays.make(str(part), sweep, measured)
                part.chmod(0o755)
                with contextlib.suppress(FileExistsError):
                    _publish(part, path)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    store = read(path, "r+")
    _compare(path, store.attributes, json.loads(json.dumps(sweep.describe())))
    if not store.labeled():
        with _writing(path):
            for name, (column, _) in _arrays.coordinates(sweep).items():
                store.labels[name][...] = column
    return store


def read(path: str | os.PathLike[str], mode: Literal["r", "r+"] = "r") -> Store:
    """Opens the store of any sweep, for reading or for resuming.

    Raises:
        ValueError: it is not a store, or a store of another version.
    """
    path, zarr = files.local("store", path), _arrays.library()
    expected = "a folder written by infomech sweep run, or a new path"
    try:
        group = zarr.open_group(str(path), mode=mode, use_consolidated=False)
        attributes: dict[str, Any] = dict(group.attrs)
        stored = f"infomech {attributes['infomech']}, format {attributes['format']}"
    except Exception as error:  # zarr raises many types for missing and damaged stores
        got = f"{path}, which is not an infomech sweep store ({_first_line(error)})"
        raise checks.error("store", got, expected) from error
    current = f"infomech {_version.__version__}, format {_arrays.FORMAT}"
    if stored != current:
        raise checks.error("store", f"{path} of {stored}", f"{current}; try a new store")
    try:
        return _opened(path, group)
    except Exception as error:
        raise checks.error("store", f"{path}, damaged ({_first_line(error)})", expected) from error


def in_memory(sweep: Sweep, variables: Sequence[Variable]) -> tuple[Store, Any]:
    """An empty store in memory, and the Zarr store that holds it."""
    zarr = _arrays.library()
    memory = zarr.storage.MemoryStore()
    _arrays.make(memory, sweep, variables)
    return _opened(Path("memory"), zarr.open_group(memory, use_consolidated=False)), memory


def _opened(path: Path, group: Any) -> Store:
    """The store of a Zarr group; raises any exception if the group is damaged."""
    attributes: dict[str, Any] = dict(group.attrs)
    arrays: dict[str, Any] = dict(group.arrays())
    measured = {name: arrays[name] for name, *_ in attributes["sweep"]["measured"]}
    layout: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in attributes["layout"].items()
    }
    labels = {k: v for k, v in arrays.items() if k not in {*measured, "done"}}
    return Store(path, attributes, Layout(**layout), measured, labels, arrays["done"])


@dataclass(frozen=True)
class Status:
    """Completeness of a store.

    Attributes:
        points, blocks: totals of the sweep.
        intact: stored points that match their checksum.
        damaged: stored points that don't.
        labeled: whether the coordinates match their checksum.
        statuses: number of intact points by status (`infomech.rates.Status`); empty unless rates
            were measured.
        infomech, created: version that created the store, and when.
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
    path: str | os.PathLike[str], on_progress: Callable[[Progress], None] | None = None
) -> Status:
    """Reads a whole store and reports how much of it is complete; safe during a run.

    Args:
        path: folder of the store.
        on_progress: called with a `Progress` in blocks after each block.

    Raises:
        ValueError: it is not a store, or a store of another version.
    """
    store = read(path)
    points, intact, damaged = 0, 0, 0
    counts: dict[str, int] = {}
    blocks = math.prod(store.layout.grid)
    for block in store.layout.blocks():
        checksum, parts = store.load(block)
        points += block.points
        intact += block.points if parts else 0
        damaged += block.points if checksum and not parts else 0
        if on_progress:
            on_progress(Progress(block.number + 1, blocks))
        if parts and store.attributes["sweep"]["observe"] == "rates":
            codes, numbers = np.unique(parts["status"], return_counts=True)
            for code, count in zip(codes.tolist(), numbers.tolist(), strict=True):
                reason = rates.Status(code).reason
                counts[reason] = counts.get(reason, 0) + count
    return Status(
        points=points,
        blocks=blocks,
        intact=intact,
        damaged=damaged,
        labeled=store.labeled(),
        statuses=counts,
        infomech=store.attributes["infomech"],
        created=store.attributes["provenance"]["created"],
    )


def _compare(path: Path, attributes: dict[str, Any], sweep: dict[str, Any]) -> None:
    for key, value in sweep.items():
        if attributes["sweep"].get(key) != value:
            got, expected = (_shorten(json.dumps(v)) for v in (attributes["sweep"].get(key), value))
            raise checks.error(
                "store", f"{path} with {key} {got}", f"{key} {expected}; try a new store"
            )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _shorten(text: str) -> str:
    return text if len(text) < 200 else text[:200] + "…"


def _publish(part: Path, path: Path) -> None:
    """Renames a folder; raises FileExistsError if the new path is taken."""
    try:
        os.rename(part, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            raise FileExistsError(str(path)) from error
        raise


def _gather(tasks: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results of Zarr coroutines run concurrently, in half the time of running them in turn.

    Raises:
        Exception: the first failure, after all coroutines have ended.
    """
    from zarr.core.sync import sync

    async def gather():
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = sync(gather())
    for value in results:
        if isinstance(value, BaseException):
            raise value
    return results


@contextlib.contextmanager
def _writing(path: Path):
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(error.errno, f"{path} can't be written: {reason}") from error


def _index(block: Block) -> tuple[slice, ...]:
    return tuple(slice(i, i + 1) for i in block.at)


def _checksum(parts: Sequence[np.ndarray]) -> int:
    """64-bit checksum, never 0."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return int.from_bytes(digest.digest(), "little") or 1
