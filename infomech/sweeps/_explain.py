"""Cost estimate of a sweep, made without compiling or running anything."""

import math
import os
from dataclasses import dataclass

import jax
import numpy as np

from infomech._core import checks
from infomech.sweeps import _blocks, _program
from infomech.sweeps._grid import Sweep

#: approximate seconds on one CPU core per cell and layer, per observed cell, and per tap of a cell;
#: and to compile one setting (measured by `python -m benchmarks.sweeps`)
_CELL_S, _OBSERVED_S, _TAP_S, _COMPILE_S = 1.3e-9, 3e-9, 1e-10, 4.0


@dataclass(frozen=True)
class Explanation:
    """Estimated cost of a sweep.

    Attributes:
        points: points of all settings.
        compilations: number of programs, one per setting.
        blocks: number of blocks.
        block_points: points of a full block.
        batch: points computed at once on all devices, by setting.
        memory: bytes of the fields of the largest batch, on all devices.
        stored: bytes of the results.
        cell_steps: cells times layers, summed over all points.
        seconds: estimated run time on the CPU; None for other devices.
        compile_s: estimated compile time of all programs.
        devices: number and kind.
    """

    points: int
    compilations: int
    blocks: int
    block_points: int
    batch: dict[str, int]
    memory: int
    stored: int
    cell_steps: float
    seconds: float | None
    compile_s: float
    devices: str

    def __str__(self) -> str:
        """Readable summary, one line per entry."""
        time = "not known for this device" if self.seconds is None else _time(self.seconds)
        lines = [
            f"points        {self.points:,}, {self.cell_steps:.3g} cell-steps",
            f"compilations  {self.compilations}, one per setting, about {_time(self.compile_s)}",
            f"blocks        {self.blocks:,} of {self.block_points:,} points",
            f"devices       {self.devices}",
            f"memory        {_bytes(self.memory)} of fields per batch",
            f"stored        {_bytes(self.stored)}",
            f"time          about {time}" if self.seconds is not None else f"time          {time}",
            "settings and batch sizes",
        ]
        return "\n".join(lines + [f"  {name}: {batch:,}" for name, batch in self.batch.items()])


def explain(
    sweep: Sweep, *, batch: int = 0, devices: list[jax.Device] | None = None
) -> Explanation:
    """Points, compilations, memory and estimated time of a sweep; compiles nothing.

    Args:
        sweep, batch, devices: see `infomech.sweeps.run`.

    Returns:
        `Explanation`, which prints as text.

    Raises:
        ValueError: `observe` returns no arrays; dtype float64 without `jax_enable_x64`.
    """
    checks.integer("batch", batch, 0)
    _program.check_dtype(sweep)
    devices = devices or jax.local_devices()
    layout = _blocks.layout(sweep)
    settings = list(sweep.settings())
    block_points, per_setting = math.prod(layout.block), math.prod(sweep.axis_lengths)
    batches = {s: _program.batch_size(s, block_points, devices, batch) for s in settings}
    cells = {s: float(s.steps * math.prod(s.field_shape)) for s in settings}
    fields = [
        _program.FIELD_COPIES * math.prod(s.field_shape) * np.dtype(s.dtype).itemsize * b
        for s, b in batches.items()
    ]
    point_bytes = sum(v.dtype.itemsize * math.prod(v.shape) for v in _program.variables(sweep))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    seconds = sum(
        per_setting * (c * (_CELL_S + _OBSERVED_S / s.every) + s.work * _TAP_S)
        for s, c in cells.items()
    )
    on_cpu = devices[0].platform == "cpu"
    return Explanation(
        points=sweep.points,
        compilations=len(settings),
        blocks=math.prod(layout.grid),
        block_points=block_points,
        batch={str(s): b for s, b in batches.items()},
        memory=max(fields),
        stored=sweep.points * point_bytes,
        cell_steps=per_setting * sum(cells.values()),
        seconds=seconds / (cores or 1) if on_cpu else None,
        compile_s=_COMPILE_S * len(settings),
        devices=f"{len(devices)} × {devices[0].device_kind}",
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"
