"""How the points of a sweep lie in arrays, and which of them are computed and stored together."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from infomech.sweeps._grid import STATIC, Sweep

#: multiply-adds worth a block of their own: some seconds of a processor
_WORK = 2**36
#: points of a block at most, and at least where there are as many
_MAX_POINTS, _MIN_POINTS = 2**16, 64


@dataclass(frozen=True)
class Block:
    """Points computed and stored together: one setting, and a box on the axes.

    Attributes:
        number: among all blocks.
        setting: number of the setting.
        at: place in the grid of blocks: varied settings, then axes.
        where: slices of the stored arrays.
    """

    number: int
    setting: int
    at: tuple[int, ...]
    where: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points on each stored axis."""
        return tuple(part.stop - part.start for part in self.where)

    @property
    def points(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The stored axes: settings of more than one value, then the axes of the sweep.

    Attributes:
        names: of the stored axes.
        shape: points on each.
        block: points of a block on each; 1 on the settings'.
        varied: how many of the axes are settings.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    block: tuple[int, ...]
    varied: int

    @property
    def grid(self) -> tuple[int, ...]:
        """Blocks on each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def blocks(self) -> Iterator[Block]:
        """All of them, one setting after the other."""
        per_setting = math.prod(self.grid[self.varied :])
        for number, at in enumerate(itertools.product(*map(range, self.grid))):
            where = tuple(
                slice(i * b, min((i + 1) * b, n))
                for i, b, n in zip(at, self.block, self.shape, strict=True)
            )
            yield Block(number, number // per_setting, at, where)


def layout(sweep: Sweep) -> Layout:
    """The layout of a sweep, the same wherever it is run.

    A block has `sweep.block` points, or as many as make some 2³⁶ multiply-adds, within 64 and 2¹⁶;
    it holds whole rows of the last axes as far as they fit.
    """
    varied = [name for name in STATIC if len(getattr(sweep, name)) > 1]
    work = max(setting.work for setting in sweep.settings())
    most = sweep.block or min(max(_WORK // work, _MIN_POINTS), _MAX_POINTS)
    block: list[int] = []
    for count in reversed(sweep.axis_lengths):
        block.insert(0, min(count, max(1, most // math.prod(block))))
    return Layout(
        (*varied, *(axis.name for axis in sweep.axes)),
        (*(len(getattr(sweep, name)) for name in varied), *sweep.axis_lengths),
        (*(1 for _ in varied), *block),
        len(varied),
    )


def columns(tables: Sequence[dict[str, np.ndarray]], block: Block) -> dict[str, np.ndarray]:
    """The values of each quantity at the points of a block, (points, …).

    Args:
        tables: `Axis.table` of each axis.
        block: which points.
    """
    on_axes = block.where[len(block.where) - len(tables) :]
    places = np.indices([part.stop - part.start for part in on_axes]).reshape(len(on_axes), -1)
    return {
        quantity: column[on_axes[n].start + places[n]]
        for n, table in enumerate(tables)
        for quantity, column in table.items()
    }
