"""What the options of several commands spell: a number type and a kernel."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from infomech import checks, kernels


def use(dtype: str) -> None:
    """Enables 64-bit types if `dtype` needs them. Raises ValueError for an unknown dtype."""
    checks.one_of("dtype", dtype, ("float32", "float64"))
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)


@dataclass(frozen=True)
class KernelChoice:
    """A kernel given by its taps, or one of the DC + gradient family.

    Attributes:
        taps: numbers with spaces or commas between and rows apart by semicolons, such as
            "1 0 -1; 2 0 -2; 1 0 -1", or a .npy, .json, .csv or .txt file.
        size: taps on each axis, for the family.
        share: odd share of the energy, 0 to 1, for the family.
        ratio: mixing ratio beta, 0 to 1, for the family instead of the share.
        direction: of the gradient, one number per axis with commas between; empty: the last axis.
    """

    taps: str = ""
    size: tuple[int, ...] = (3, 3)
    share: float | None = None
    ratio: float | None = None
    direction: str = ""

    def build(self, dtype: str) -> jax.Array:
        """The kernel. Raises ValueError naming the option that is wrong."""
        if self.taps:
            if self.share is not None or self.ratio is not None:
                raise checks.fail("taps", "a share or ratio as well", "one or the other")
            return checks.taps("taps", np.asarray(_read_taps(self.taps), dtype))
        if self.share is None and self.ratio is None:
            raise checks.fail("taps", "no kernel", "--taps, or --share or --ratio with --size")
        direction = parse_direction(self.direction) if self.direction else None
        return kernels.mix(
            self.size, share=self.share, ratio=self.ratio, direction=direction, dtype=dtype
        )


def parse_direction(text: str) -> np.ndarray:
    """Numbers with commas between, as a vector. Raises ValueError for anything else."""
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError as error:
        raise checks.fail("direction", repr(text), "numbers with commas between") from error


def numbers_in_line(value: np.ndarray) -> str:
    """A number or an array in one line, to six digits, with what is only rounding shown as 0."""
    if value.ndim:
        return f"[{', '.join(numbers_in_line(part) for part in value)}]"
    return f"{float(value) if abs(value) > 1e-12 else 0.0:.6g}"


def _read_taps(text: str) -> np.ndarray:
    path = Path(text)
    if path.suffix in (".npy", ".json", ".csv", ".txt"):
        try:
            if path.suffix == ".npy":
                return np.load(path, allow_pickle=False)
            if path.suffix == ".json":
                return np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float64)
            text = ";".join(path.read_text(encoding="utf-8").strip().splitlines())
        except (OSError, ValueError, TypeError) as error:
            raise checks.fail(
                "taps", f"{text!r}, unreadable ({error})", "a file of numbers"
            ) from error
    try:
        rows = [row.replace(",", " ").split() for row in text.strip(" ;").split(";")]
        taps = np.array([[float(tap) for tap in row] for row in rows])
    except ValueError as error:
        expected = 'rows of equally many numbers such as "1 0 -1; 2 0 -2", or a file'
        raise checks.fail("taps", repr(text), expected) from error
    return taps[0] if len(taps) == 1 else taps
