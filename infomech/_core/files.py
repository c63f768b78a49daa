"""Atomic file writes, strict JSON, and the provenance stored with results."""

import argparse
import contextlib
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infomech._core import checks

#: matches URLs, also after pathlib has shortened "//" to "/"; a Windows drive has one letter
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|.*://", re.S)


def local(argument: str, path: str | os.PathLike[str]) -> Path:
    """`path` as a `Path` on this machine.

    Raises:
        ValueError: it is a URL, which pathlib would turn into a folder such as `s3:`.
    """
    if _URL.match(os.fspath(path)):
        raise checks.error(argument, repr(str(path)), "a path on this machine, not a URL")
    return Path(path)


def argument(text: str) -> Path:
    """A command-line path, as an argparse type. Raises ArgumentTypeError if it is a URL."""
    try:
        return local("path", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` when the block ends without an error.

    Raises:
        ValueError: the folder of `path` can't be written, or `path` is a URL.
    """
    path = local("out", path)
    try:
        handle, name = tempfile.mkstemp(suffix=path.suffix, prefix=".part-", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise checks.error(
            "out", str(path.parent), f"a folder to write to ({error.strerror})"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def folder(path: str | os.PathLike[str]) -> Path:
    """`path` as a writable folder, created if missing.

    Raises:
        ValueError: it can't be created or written, or is a URL.
    """
    path = local("out", path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise checks.error("out", str(path), f"a folder to write to ({error.strerror})") from error
    with replacing(path / ".writable") as probe:
        probe.write_bytes(b"")
    (path / ".writable").unlink()
    return path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file atomically. Raises ValueError if the folder can't be written."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def to_json(value: Any) -> str:
    """Serializes dataclasses, arrays and paths as strict JSON; NaN and infinities become null."""
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def provenance(*, x64: bool | None = None) -> dict[str, Any]:
    """Versions, platform, device, precision, commit and time, stored next to a result.

    Args:
        x64: whether 64-bit types were enabled during the computation; the current setting if
            None. Pass it if the results were computed in a block of `jax.enable_x64` that has
            ended.
    """
    device = jax.devices()[0]
    packages = ("infomech", "jax", "jaxlib", "numpy")
    return {
        **{name: _version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.platform}: {device.device_kind} x {jax.device_count()}",
        "x64": bool(jax.numpy.result_type(float) == np.float64) if x64 is None else x64,
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of this package's checkout, with a + if tracked files have changed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
