"""Compile the native engine's C source once for this machine's CPU, and load it."""

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
from infomech.dynamics import BOUNDARIES

_SOURCE = Path(__file__).parent / "csrc"
_FLAGS = ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
#: the objection on a machine with neither the extra nor a compiler of its own
NO_COMPILER = f"needs a C compiler: {extras.command('native')}"
_log = logging.getLogger("infomech")


class UnavailableError(Exception):
    """The compiled library is unavailable; the message is the engine's objection."""


def has_extra() -> bool:
    """Whether the compiler from the extra `native` is installed."""
    return importlib.util.find_spec("ziglang") is not None


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled library, loaded from the cache or compiled first.

    The compiler is that of the extra `native`, else the one named in CC, else `cc`. The cache is
    the folder named in INFOMECH_CACHE, else infomech in the user's cache folder.

    Raises:
        UnavailableError: no compiler was found, or it failed.
    """
    command, target = _target()
    try:
        if not target.exists():
            _compile(command, target)
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise UnavailableError(f"can't write or load its compiled library ({error})") from error


def verdict(examine: Callable[[], str]) -> str:
    """The cached result of `examine()`: an error in the compiled library, or "" if there is none.

    Some compilers generate wrong vector code for one processor and not for another.
    """
    path = _target()[1].with_suffix(".verdict")
    try:
        if not path.exists():
            files.write_text(path, examine())
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"can't write or read its self-test result ({error})") from error


def _target() -> tuple[list[str], Path]:
    """The compiler command and the path of the library."""
    boundaries = (f"-D{name.upper()}={number}" for number, name in enumerate(BOUNDARIES))
    command = [
        *_compiler(),
        *_FLAGS,
        *boundaries,
        f"-I{jax.ffi.include_dir()}",
        str(_SOURCE / "layers.c"),
    ]
    return command, _cache() / f"native-{_fingerprint(command)}.so"


def _compiler() -> list[str]:
    if sys.platform not in ("linux", "darwin"):
        raise UnavailableError(f"supports only Linux and macOS, not {sys.platform}")
    if has_extra():
        return [sys.executable, "-m", "ziglang", "cc", "-mcpu=native"]
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not compiler:
        raise UnavailableError(NO_COMPILER)
    arm = platform.machine() in ("arm64", "aarch64")
    return [*compiler.split(), "-mcpu=native" if arm else "-march=native"]


def _cache() -> Path:
    if folder := os.environ.get("INFOMECH_CACHE"):
        return files.local("INFOMECH_CACHE", folder)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return files.local("XDG_CACHE_HOME", home) / "infomech"


def _fingerprint(command: list[str]) -> str:
    """Hash of everything the compiled code depends on, including the CPU's features."""
    parts = [*command, jaxlib.__version__, sysconfig.get_platform(), platform.processor()]
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = cpu.read_text(encoding="utf-8", errors="replace").splitlines()
        parts += sorted({s for s in lines if s.startswith(("model name", "flags", "Features"))})
    sources = sorted(_SOURCE.glob("*.[ch]"))
    text = "\n".join(parts + [path.read_text(encoding="utf-8") for path in sources])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _compile(command: list[str], target: Path) -> None:
    _log.warning("compiling the native engine for this machine (only once)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        output = Path(folder) / target.name
        result = subprocess.run(
            [*command, "-o", str(output), "-lm"], capture_output=True, text=True
        )
        if result.returncode or not output.exists():
            message = result.stderr.strip()[-500:]
            raise UnavailableError(f"does not compile, {command[0]} failed: {message}")
        output.replace(target)
