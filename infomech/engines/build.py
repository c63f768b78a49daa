"""Compiles the native engine's C source for this very machine, once, and loads it."""

import ctypes
import functools
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jaxlib

from infomech._core import extras, files

_SOURCE = Path(__file__).parent / "csrc"
_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
#: why there is no compiled library where the extra is missing and the machine has no compiler
NO_COMPILER = f"there is no C compiler: {extras.command('native')}"
_log = logging.getLogger("infomech")


class UnavailableError(Exception):
    """Why there is no compiled library: no compiler, or one that failed."""


def has_extra() -> bool:
    """Whether the compiler of the extra `native` is installed."""
    return importlib.util.find_spec("ziglang") is not None


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled library, from the cache if it was compiled before.

    Compiled by the C compiler of the extra `native`, else by the one named in CC, else by `cc`. The
    cache is the folder named in INFOMECH_CACHE, else infomech in the user's cache folder.

    Raises:
        UnavailableError: no compiler is found, or it fails.
    """
    command, target = _target()
    try:
        if not target.exists():
            _compile(command, target)
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise UnavailableError(
            f"the compiled library can't be written or loaded ({error})"
        ) from error


def verdict(examine: Callable[[], str]) -> str:
    """What is wrong with the compiled library, "" if nothing: found by `examine` once, and kept.

    Compilers have been seen to get vectors wrong for one processor and not for another.
    """
    path = _target()[1].with_suffix(".verdict")
    try:
        if not path.exists():
            files.write_text(path, examine())
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"its verdict can't be written or read ({error})") from error


def _target() -> tuple[list[str], Path]:
    """The command that compiles, and the file it makes."""
    command = [*_compiler(), *_FLAGS, f"-I{jax.ffi.include_dir()}", str(_SOURCE / "layers.c")]
    return command, _cache() / f"native-{_fingerprint(command)}.so"


def _compiler() -> list[str]:
    if sys.platform not in ("linux", "darwin"):
        raise UnavailableError(f"it is for Linux and macOS, not {sys.platform}")
    if has_extra():
        return [sys.executable, "-m", "ziglang", "cc", "-mcpu=native"]
    found = os.environ.get("CC") or shutil.which("cc")
    if not found:
        raise UnavailableError(NO_COMPILER)
    arm = platform.machine() in ("arm64", "aarch64")
    return [*found.split(), "-mcpu=native" if arm else "-march=native"]


def _cache() -> Path:
    if folder := os.environ.get("INFOMECH_CACHE"):
        return files.local("INFOMECH_CACHE", folder)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return files.local("XDG_CACHE_HOME", home) / "infomech"


def _fingerprint(command: list[str]) -> str:
    """Of everything that the compiled code depends on, the processor's abilities included."""
    parts = [*command, jaxlib.__version__, sysconfig.get_platform(), platform.processor()]
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = cpu.read_text(encoding="utf-8", errors="replace").splitlines()
        parts += sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))})
    sources = sorted(_SOURCE.glob("*.[ch]"))
    text = "\n".join(parts + [path.read_text(encoding="utf-8") for path in sources])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _compile(command: list[str], target: Path) -> None:
    _log.warning("compiling the native engine for this machine, once")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        result = subprocess.run([*command, "-o", str(made), "-lm"], capture_output=True, text=True)
        if result.returncode or not made.exists():
            raise UnavailableError(f"{command[0]} failed: {result.stderr.strip()[-500:]}")
        made.replace(target)
