"""What is computed: the cases, their kernels and fields, and how far two answers may differ."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

#: a function that computes the final fields, or value and gradient, and its seconds to compile
Built = tuple[Callable[[], tuple[Any, ...]], float | None]


@dataclass(frozen=True)
class Case:
    """Layers u ← max(k * u, 0) with zeros outside, or Σ u_T² of one field and its gradient.

    Attributes:
        fields: number of fields, each with its own kernel for all layers.
        pixels: of a field on each axis.
        axes: of a field, 1 to 3.
        taps: of a kernel on each axis, odd.
        layers: T.
        dtype: "float32" or "float64".
        gradient: whether value and gradient for the taps are asked for, of one field.
    """

    fields: int
    pixels: int
    axes: int
    taps: int
    layers: int
    dtype: str = "float32"
    gradient: bool = False

    @property
    def title(self) -> str:
        """The case in a few words."""
        power, taps = ("", "²", "³")[self.axes - 1], "x".join([str(self.taps)] * self.axes)
        kind = ("" if self.dtype == "float32" else f", {self.dtype}") + (
            ", gradient" if self.gradient else ""
        )
        box = f"{taps} taps" if self.axes == 1 else taps
        return f"{self.fields} x {self.pixels}{power}, {box}, {self.layers} layers{kind}"

    @property
    def field_bytes(self) -> int:
        """Size of one field."""
        return self.pixels**self.axes * np.dtype(self.dtype).itemsize

    @property
    def cell_steps(self) -> int:
        """Pixels of all fields times layers."""
        return self.fields * self.pixels**self.axes * self.layers

    @property
    def tap_count(self) -> int:
        """Taps of one kernel: multiply-adds per cell-step."""
        return self.taps**self.axes


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


#: one of every kind, for a quick run
KINDS = [CASES[i] for i in (0, 6, 7, 9, 11)]


def small(case: Case) -> Case:
    """The same kind of case, on small fields, in some milliseconds."""
    pixels = min(case.pixels, {1: 1024, 2: 32, 3: 12}[case.axes])
    return replace(case, fields=min(case.fields, 4), pixels=pixels, layers=min(case.layers, 20))


def selection(quick: bool) -> list[Case]:
    """All cases, or small ones of every kind."""
    return [small(case) for case in KINDS] if quick else CASES


def samples(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (fields, *taps) of positive taps and gain Σ k = 1, standard normal fields.

    The taps lie within a factor of 3 of each other, so that what fills the field stays in it and
    nobody is slowed down by subnormal numbers.
    """
    rng = np.random.default_rng(0)
    kernels = rng.uniform(0.5, 1.5, (case.fields, *[case.taps] * case.axes))
    kernels /= kernels.sum(tuple(range(1, kernels.ndim)), keepdims=True)
    fields = rng.standard_normal((case.fields, *[case.pixels] * case.axes), np.float32)
    return kernels.astype(case.dtype), fields.astype(case.dtype)


def difference(case: Case, name: str, got: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest relative difference of the arrays that `got` has.

    Raises:
        ArithmeticError: it is larger than what rounding in every layer explains.
    """
    allowed, worst = case.layers * case.tap_count * float(np.finfo(case.dtype).eps), 0.0
    for pair in zip(got, expected, strict=False):
        a, b = (np.ravel(np.asarray(array, np.float64)) for array in pair)
        worst = max(worst, error := float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
        if not error <= allowed:  # NaN must not pass
            raise ArithmeticError(f"{case.title}: {name} is off by {error:.1e} > {allowed:.1e}")
    return worst
