"""Options and helpers shared by several commands: dtype, kernel, timing, progress."""

import atexit
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infomech import kernels
from infomech._core import checks, extras, files
from infomech._core.progress import Progress


def use(dtype: str, compile_cache: Path | None = None) -> None:
    """Enables 64-bit types if `dtype` needs them, and JAX's compilation cache in a folder.

    Raises ValueError for an unknown dtype, or a folder that can't be created.
    """
    checks.one_of("dtype", dtype, ("float32", "float64"))
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if compile_cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(files.folder(compile_cache)))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        _suppress_xla_aot_warnings()


def _suppress_xla_aot_warnings() -> None:
    """Buffers what XLA writes to stderr, and drops its AOT loader warnings at exit.

    For every cached program XLA warns that the machine lacks features, which are in fact names of
    its own preferences: hundreds of long lines.
    """
    terminal, buffer = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    os.dup2(buffer.fileno(), 2)

    def flush() -> None:
        os.dup2(terminal, 2)
        buffer.seek(0)
        lines = buffer.read().splitlines(keepends=True)
        os.write(2, b"".join(line for line in lines if b"cpu_aot_loader" not in line))

    atexit.register(flush)


@contextlib.contextmanager
def command_line_names(command: Any, **words: str) -> Iterator[None]:
    """Rewrites argument names in error messages to the command-line spelling.

    An argument `strides` becomes --strides if `command` has that option; `words` adds other names.
    """
    words = {f.name: "--" + f.name.replace("_", "-") for f in fields(command)} | words
    try:
        yield
    except ValueError as error:
        text = str(error)
        for argument, word in words.items():
            # the leading argument name, and any `name=` hint
            text = re.sub(rf"^{argument}(?=[:\[])|\b{argument}=", word, text)
        raise ValueError(text) from error


def print_conversion(conversion: str, *, json: bool) -> None:
    """Prints how an image or sound was converted, if it was; to stderr when printing JSON."""
    if conversion:
        print(conversion, file=sys.stderr if json else sys.stdout)


@contextlib.contextmanager
def show_progress(
    description: str, unit: str, *, shown: bool = True
) -> Iterator[Callable[[Progress], None]]:
    """Shows a bar on a terminal's stderr, and notes anywhere; yields the `on_progress` for it."""
    with extras.needed("cli", "the progress bar"):
        from tqdm import tqdm
    with tqdm(
        desc=description, unit=unit, leave=False, disable=None if shown else True, file=sys.stderr
    ) as bar:

        def update(progress: Progress) -> None:
            if progress.note:
                tqdm.write(f"infomech: {progress.note}", file=sys.stderr)
            if progress.note or bar.disable:
                return
            if bar.total is None:
                # parts done by earlier runs don't count for the speed
                bar.initial = bar.n = progress.done
            bar.total = progress.total
            seconds = [f"{work} {s:.0f} s" for work, s in progress.seconds.items()]
            bar.set_postfix_str(", ".join(seconds), refresh=False)
            bar.update(progress.done - bar.n)
            # show a new task at once: it may take long
            if progress.task and not bar.desc.startswith(progress.task):
                bar.set_description(progress.task)

        yield update


class Clock:
    """Wall time since creation, with JAX compile time separated."""

    def __init__(self) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()
        self._compiling = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            self._compiling += duration_secs

    def seconds(self) -> dict[str, float]:
        """Seconds spent compiling and running so far."""
        total = time.perf_counter() - self._start
        compiling = min(self._compiling, total)
        return {"compile": compiling, "run": total - compiling}

    def __str__(self) -> str:
        """One-line summary."""
        seconds = self.seconds()
        return f"compiling {seconds['compile']:.1f} s, running {seconds['run']:.1f} s"


@dataclass(frozen=True)
class KernelChoice:
    """A kernel given by its taps, or a member of the DC + gradient family.

    Attributes:
        taps: numbers separated by spaces and rows by semicolons, such as "1 0 -1; 2 0 -2; 1 0 -1",
            or a .npy, .json, .csv or .txt file.
        kernel_size: taps along each axis, for the family.
        share: odd share of the energy, 0 to 1, for the family.
        ratio: mixing ratio beta, 0 to 1, for the family instead of the share.
        direction: direction of the gradient, one number per axis; empty: the last axis.
    """

    taps: str = ""
    kernel_size: tuple[int, ...] = (3, 3)
    share: float | None = None
    ratio: float | None = None
    direction: tuple[float, ...] = ()

    def build(self, dtype: str) -> jax.Array:
        """The kernel. Raises ValueError naming the invalid option."""
        if self.taps:
            if self.share is not None or self.ratio is not None:
                raise checks.error("taps", "a share or ratio as well", "only one of them")
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
    """A number or array on one line, to six digits; magnitudes below 1e-12 print as 0."""
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
        corrected = re.sub(" *, *", " ", text)
        expected = f'numbers separated by spaces: --taps "{corrected}"'
        raise checks.error("taps", repr(text), expected)
    try:
        rows = [row.split() for row in text.strip(" ;").split(";")]
        taps = np.array([[float(tap) for tap in row] for row in rows])
    except ValueError as error:
        expected = 'rows of equally many numbers such as "1 0 -1; 2 0 -2", or a file'
        raise checks.error("taps", repr(text), expected) from error
    return taps[0] if len(taps) == 1 else taps
