"""Layout of a sweep's points in arrays, and their division into blocks."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from infomech.sweeps._grid import STATIC, Sweep

#: target multiply-adds of a block: a few seconds on one CPU
_BLOCK_WORK = 2**36
#: limits on the points of a block
_MAX_POINTS, _MIN_POINTS = 2**16, 64


@dataclass(frozen=True)
class Block:
    """Points computed and stored together: one setting and a range on each axis.

    Attributes:
        number: index among all blocks.
        setting: index of the setting.
        at: position in the grid of blocks: varied settings, then axes.
        where: slices of the stored arrays.
    """

    number: int
    setting: int
    at: tuple[int, ...]
    where: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each stored axis."""
        return tuple(part.stop - part.start for part in self.where)

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The stored axes: settings with more than one value, then the axes of the sweep.

    Attributes:
        names: names of the stored axes.
        shape: points along each axis.
        block: points of a block along each axis; 1 for settings.
        varied: number of axes that are settings.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    block: tuple[int, ...]
    varied: int

    @property
    def grid(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def blocks(self) -> Iterator[Block]:
        """All blocks, setting by setting."""
        per_setting = math.prod(self.grid[self.varied :])
        for number, at in enumerate(itertools.product(*map(range, self.grid))):
            where = tuple(
                slice(i * b, min((i + 1) * b, n))
                for i, b, n in zip(at, self.block, self.shape, strict=True)
            )
            yield Block(number, number // per_setting, at, where)


def layout(sweep: Sweep) -> Layout:
    """The layout of a sweep, independent of devices and processes.

    A block has up to `sweep.block` points; if that is 0, about 2³⁶ multiply-adds, between 64 and
    2¹⁶ points. It extends along the last axes first.
    """
    varied = [name for name in STATIC if len(getattr(sweep, name)) > 1]
    work = max(setting.work for setting in sweep.settings())
    max_points = sweep.block or min(max(_BLOCK_WORK // work, _MIN_POINTS), _MAX_POINTS)
    block: list[int] = []
    for count in reversed(sweep.axis_lengths):
        block.insert(0, min(count, max(1, max_points // math.prod(block))))
    return Layout(
        (*varied, *(axis.name for axis in sweep.axes)),
        (*(len(getattr(sweep, name)) for name in varied), *sweep.axis_lengths),
        (*(1 for _ in varied), *block),
        len(varied),
    )


def columns(tables: Sequence[dict[str, np.ndarray]], block: Block) -> dict[str, np.ndarray]:
    """Values of each quantity at the points of a block, (points, …).

    Args:
        tables: `Axis.table` of each axis.
        block: the block.
    """
    ranges = block.where[len(block.where) - len(tables) :]
    indices = np.indices([part.stop - part.start for part in ranges]).reshape(len(ranges), -1)
    return {
        quantity: column[ranges[n].start + indices[n]]
        for n, table in enumerate(tables)
        for quantity, column in table.items()
    }
