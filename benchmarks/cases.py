"""The benchmark cases, their kernels and fields, and the check that two results agree."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

#: a function that computes the final fields, or value and gradient; its compile time in seconds
Built = tuple[Callable[[], tuple[Any, ...]], float | None]


@dataclass(frozen=True)
class Case:
    """Layers u ← max(k * u, 0) with zeros outside, or Σ u_T² of one field and its gradient.

    Attributes:
        fields: number of fields, each with its own kernel for all layers.
        pixels: pixels of a field along each axis.
        axes: number of axes of a field, 1 to 3.
        kernel_size: taps of a kernel along each axis, odd.
        steps: number of layers T.
        dtype: "float32" or "float64".
        gradient: compute value and gradient with respect to the taps, for one field.
    """

    fields: int
    pixels: int
    axes: int
    kernel_size: int
    steps: int
    dtype: str = "float32"
    gradient: bool = False

    @property
    def title(self) -> str:
        """Short description of the case."""
        power = ("", "²", "³")[self.axes - 1]
        kernel = "x".join([str(self.kernel_size)] * self.axes)
        kind = ("" if self.dtype == "float32" else f", {self.dtype}") + (
            ", gradient" if self.gradient else ""
        )
        kernel += " taps" if self.axes == 1 else ""
        return f"{self.fields} x {self.pixels}{power}, {kernel}, {self.steps} layers{kind}"

    @property
    def field_bytes(self) -> int:
        """Size of one field in bytes."""
        return self.pixels**self.axes * np.dtype(self.dtype).itemsize

    @property
    def cell_steps(self) -> int:
        """Pixels of all fields times layers."""
        return self.fields * self.pixels**self.axes * self.steps

    @property
    def tap_count(self) -> int:
        """Taps of one kernel: multiply-adds per cell-step."""
        return self.kernel_size**self.axes


CASES = [
    Case(1, 1024, 2, 3, 50),
    Case(1, 4096, 2, 3, 10),
    Case(1, 512, 2, 5, 50),
    Case(64, 64, 2, 3, 200),
    Case(64, 64, 2, 5, 100),
    Case(4096, 32, 2, 3, 20),
    Case(1, 2**20, 1, 3, 50),
    Case(1, 64, 3, 3, 50),
    Case(1, 1024, 2, 3, 50, "float64"),
    Case(64, 64, 2, 3, 50, "float64"),
    Case(1, 256, 2, 3, 100, gradient=True),
    Case(1, 256, 2, 3, 1000, gradient=True),
]
#: one case of each kind, for a quick run
KINDS = [CASES[i] for i in (0, 6, 7, 9, 11)]


def small(case: Case) -> Case:
    """The same kind of case on small fields; runs within milliseconds."""
    pixels = min(case.pixels, {1: 1024, 2: 32, 3: 12}[case.axes])
    return replace(case, fields=min(case.fields, 4), pixels=pixels, steps=min(case.steps, 20))


def selection(quick: bool) -> list[Case]:
    """All cases, or a small one of each kind."""
    return [small(case) for case in KINDS] if quick else CASES


def inputs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Random kernels (fields, *kernel_size) and standard normal fields (fields, *shape).

    Kernels have positive taps and gain Σ k = 1. The taps differ by at most a factor of 3, so fields
    do not decay to subnormal numbers, which would slow every contender down.
    """
    rng = np.random.default_rng(0)
    kernels = rng.uniform(0.5, 1.5, (case.fields, *[case.kernel_size] * case.axes))
    kernels /= kernels.sum(tuple(range(1, kernels.ndim)), keepdims=True)
    fields = rng.standard_normal((case.fields, *[case.pixels] * case.axes), np.float32)
    return kernels.astype(case.dtype), fields.astype(case.dtype)


def difference(case: Case, name: str, got: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest relative difference between the arrays in `got` and those in `expected`.

    Raises:
        ArithmeticError: the difference exceeds the rounding error of all layers.
    """
    allowed, worst = case.steps * case.tap_count * float(np.finfo(case.dtype).eps), 0.0
    for pair in zip(got, expected, strict=False):
        a, b = (np.ravel(np.asarray(array, np.float64)) for array in pair)
        worst = max(worst, error := float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
        if not error <= allowed:  # NaN must not pass
            raise ArithmeticError(f"{case.title}: {name} is off by {error:.1e} > {allowed:.1e}")
    return worst
