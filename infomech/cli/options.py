"""What the options of several commands spell: a number type and a kernel."""

import atexit
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infomech import kernels
from infomech._core import checks, files


def use(dtype: str, compile_cache: Path | None = None) -> None:
    """Enables 64-bit types if `dtype` needs them, and a folder that keeps compiled code.

    Raises ValueError for an unknown dtype, or a folder that can't be made.
    """
    checks.one_of("dtype", dtype, ("float32", "float64"))
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if compile_cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(files.folder(compile_cache)))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        _leave_out_false_alarms()


def _leave_out_false_alarms() -> None:
    """Holds back what XLA itself writes, until the end, and then leaves out its false alarms.

    For each piece of cached code it finds features missing on this machine that are names of its
    own for preferences: hundreds of long lines.
    """
    terminal, held = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    os.dup2(held.fileno(), 2)

    def tell() -> None:
        os.dup2(terminal, 2)
        held.seek(0)
        lines = held.read().splitlines(keepends=True)
        os.write(2, b"".join(line for line in lines if b"cpu_aot_loader" not in line))

    atexit.register(tell)


@contextlib.contextmanager
def typed(command: Any, **words: str) -> Iterator[None]:
    """Within it, mistakes in arguments are told by the words that were typed for them.

    These are `words`, and of a `command` its options: an argument `strides` was typed --strides.
    """
    words = {f.name: "--" + f.name.replace("_", "-") for f in fields(command)} | words
    try:
        yield
    except ValueError as error:
        text = str(error)
        for argument, word in words.items():
            # who is at fault, at the beginning, and what is advised, such as layout=
            text = re.sub(rf"^{argument}(?=[:\[])|\b{argument}=", word, text)
        raise ValueError(text) from error


def tell(conversion: str, *, json: bool) -> None:
    """Prints what was done to an image or sound, if anything; to stderr beside printed JSON."""
    if conversion:
        print(conversion, file=sys.stderr if json else sys.stdout)


class Clock:
    """Wall time since it was made, with what JAX spent on compiling told apart."""

    def __init__(self) -> None:
        """Starts now."""
        self._start = time.perf_counter()
        self._compiling = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            self._compiling += duration_secs

    def seconds(self) -> dict[str, float]:
        """Seconds spent compiling and running until now."""
        total = time.perf_counter() - self._start
        compiling = min(self._compiling, total)
        return {"compile": compiling, "run": total - compiling}

    def __str__(self) -> str:
        """The same in words."""
        seconds = self.seconds()
        return f"compiling {seconds['compile']:.1f} s, running {seconds['run']:.1f} s"


@dataclass(frozen=True)
class KernelChoice:
    """A kernel given by its taps, or one of the DC + gradient family.

    Attributes:
        taps: numbers separated by spaces and rows by semicolons, such as "1 0 -1; 2 0 -2; 1 0 -1",
            or a .npy, .json, .csv or .txt file.
        kernel_size: taps on each axis, for the family.
        share: odd share of the energy, 0 to 1, for the family.
        ratio: mixing ratio beta, 0 to 1, for the family instead of the share.
        direction: of the gradient, one number per axis; empty: the last axis.
    """

    taps: str = ""
    kernel_size: tuple[int, ...] = (3, 3)
    share: float | None = None
    ratio: float | None = None
    direction: tuple[float, ...] = ()

    def build(self, dtype: str) -> jax.Array:
        """The kernel. Raises ValueError naming the option that is wrong."""
        if self.taps:
            if self.share is not None or self.ratio is not None:
                raise checks.error("taps", "a share or ratio as well", "one or the other")
            return checks.kernel("taps", np.asarray(_read_taps(self.taps), dtype))
        if self.share is None and self.ratio is None:
            raise checks.error(
                "taps", "no kernel", "--taps, or --share or --ratio with --kernel-size"
            )
        direction = np.array(self.direction) if self.direction else None
        return kernels.mix(
            self.kernel_size, share=self.share, ratio=self.ratio, direction=direction, dtype=dtype
        )


def numbers_in_line(value: np.ndarray) -> str:
    """A number or an array in one line, to six digits, with what is only rounding shown as 0."""
    if value.ndim:
        return f"[{', '.join(numbers_in_line(part) for part in value)}]"
    return f"{float(value) if abs(value) > 1e-12 else 0.0:.6g}"


def _read_taps(text: str) -> np.ndarray:
    path = files.local("taps", text)
    if path.suffix in (".npy", ".json", ".csv", ".txt"):
        try:
            if path.suffix == ".npy":
                return np.load(path, allow_pickle=False)
            if path.suffix == ".json":
                return np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float64)
            text = ";".join(path.read_text(encoding="utf-8").strip().splitlines())
            text = text.replace(",", " ")
        except (OSError, ValueError, TypeError) as error:
            raise checks.error(
                "taps", f"{text!r}, unreadable ({error})", "a file of numbers"
            ) from error
    if "," in text:
        spaced = re.sub(" *, *", " ", text)
        expected = f'numbers separated by spaces: --taps "{spaced}"'
        raise checks.error("taps", repr(text), expected)
    try:
        rows = [row.split() for row in text.strip(" ;").split(";")]
        taps = np.array([[float(tap) for tap in row] for row in rows])
    except ValueError as error:
        expected = 'rows of equally many numbers such as "1 0 -1; 2 0 -2", or a file'
        raise checks.error("taps", repr(text), expected) from error
    return taps[0] if len(taps) == 1 else taps
