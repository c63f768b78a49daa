"""What a sweep will take, before anything is compiled or run."""

import math
import os
from dataclasses import dataclass

import jax
import numpy as np

from infomech._core import checks
from infomech.sweeps import _blocks, _program
from infomech.sweeps._grid import Sweep

#: seconds on one core of a CPU for each cell and layer, for each time that one is observed, and for
#: each tap of one; and seconds to compile a setting: about, as `python -m benchmarks.sweeps` finds
_CELL_S, _OBSERVED_S, _TAP_S, _COMPILE_S = 1.3e-9, 3e-9, 1e-10, 4.0


@dataclass(frozen=True)
class Explanation:
    """What a sweep will take.

    Attributes:
        points: of all settings.
        compilations: programs, one for each setting.
        blocks: stored one at a time.
        block_points: points of a block.
        batch: points computed at once on all devices, by setting.
        memory: bytes of the fields of the largest batch, on all devices.
        stored: bytes of the results.
        cell_steps: cells times layers, of all points.
        seconds: to run, about, on the CPU; None for other devices, of which nothing is known.
        compile_s: to compile, about, one program after the other.
        devices: how many, and of which kind.
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
        """All of it in lines for people."""
        time = "not known for this device" if self.seconds is None else _time(self.seconds)
        lines = [
            f"points        {self.points:,}, {self.cell_steps:.3g} cell-steps",
            f"compilations  {self.compilations}, one per setting, about {_time(self.compile_s)}",
            f"blocks        {self.blocks:,} of {self.block_points:,} points",
            f"devices       {self.devices}",
            f"memory        {_bytes(self.memory)} of fields at a time",
            f"stored        {_bytes(self.stored)}",
            f"time          about {time}" if self.seconds is not None else f"time          {time}",
            "settings, and points at a time",
        ]
        return "\n".join(lines + [f"  {name}: {batch:,}" for name, batch in self.batch.items()])


def explain(
    sweep: Sweep, *, batch: int = 0, devices: list[jax.Device] | None = None
) -> Explanation:
    """Points, compilations, memory and an estimate of the time of a sweep; compiles nothing.

    Args:
        sweep, batch, devices: as of `infomech.sweeps.run`.

    Returns:
        `Explanation`, which prints as text.

    Raises:
        ValueError: `observe` gives no arrays; float64 without 64-bit types.
    """
    checks.integer("batch", batch, 0)
    _program.wide_types(sweep)
    devices = devices or jax.local_devices()
    layout = _blocks.layout(sweep)
    settings = list(sweep.settings())
    whole, each = math.prod(layout.block), math.prod(sweep.axis_lengths)
    batches = {s: _program.batch_size(s, whole, devices, batch) for s in settings}
    cells = {s: float(s.steps * math.prod(s.field_shape)) for s in settings}
    fields = [
        _program.COPIES * math.prod(s.field_shape) * np.dtype(s.dtype).itemsize * b
        for s, b in batches.items()
    ]
    bytes_each = sum(v.dtype.itemsize * math.prod(v.shape) for v in _program.variables(sweep))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    seconds = sum(
        each * (c * (_CELL_S + _OBSERVED_S / s.every) + s.work * _TAP_S) for s, c in cells.items()
    )
    on_cpu = devices[0].platform == "cpu"
    return Explanation(
        points=sweep.points,
        compilations=len(settings),
        blocks=math.prod(layout.grid),
        block_points=whole,
        batch={str(s): b for s, b in batches.items()},
        memory=max(fields),
        stored=sweep.points * bytes_each,
        cell_steps=each * sum(cells.values()),
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
