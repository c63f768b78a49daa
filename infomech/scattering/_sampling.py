"""The grid that each path is kept on: the signal's, or one at the rate of its last band.

Of a band-passed signal z whose frequencies lie within an arc of D bins, |z|² lies within ±D, and a
grid of more than 2D samples holds it. |z| goes on a little beyond, and that part folds back. What
isn't blind to the phase of z oscillates with z, whose own frequencies have to fit in, too.
"""

import functools
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks
from infomech.scattering import supports
from infomech.scattering._steps import Plan
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity

Grid = tuple[int, ...]
Path = tuple[int, ...]


@dataclass(frozen=True)
class Rates:
    """The grids of the paths of each layer, in their order; static.

    Attributes:
        grids: what U[q] f is kept on.
        windows: the grid on which the response of the last band is applied to the spectrum of what
            is above: it holds the band and is at least as fine as the path's own.
        lows: for each layer a grid that holds its low-pass.
    """

    grids: tuple[tuple[Grid, ...], ...]
    windows: tuple[tuple[Grid, ...], ...]
    lows: tuple[Grid, ...]


def full(levels: Sequence[Sequence[Path]], plan: Plan) -> Rates:
    """Every path on the grid of the signal."""
    grids = tuple((plan.grid,) * len(level) for level in levels)
    return Rates(grids, grids, (plan.grid,) * len(levels))


def of_bands(
    levels: Sequence[Sequence[Path]],
    chosen: Collection[Path],
    plan: Plan,
    every: Sequence[Frame],
    oversampling: int,
) -> Rates:
    """The coarsest grids that hold what is wanted, and 2^oversampling times finer on each axis.

    A grid is that of the signal, each axis halved any number of times. It holds |z|² of the path's
    last band, the bands wanted below the path, and the low-pass if the path's features are wanted.

    Args:
        levels: the paths of each length, with all that lead to them.
        chosen: the paths whose features are wanted.
        plan: of the walk.
        every: the frame of each layer.
        oversampling: ≥ 0.

    Raises:
        ValueError: responses that are being traced.
    """
    tables = {id(frame): _table(frame) for frame in every}
    chosen = set(chosen)
    grids: list[tuple[Grid, ...]] = []
    windows: list[tuple[Grid, ...]] = []
    below: dict[Path, Grid] = {}
    for n in reversed(range(1, len(levels))):
        fields, squares = tables[id(every[n - 1])]
        low = tables[id(every[n])][0][-1]
        kind = plan.layers[n - 1]
        own = squares if _blind(kind) else list(map(_most, squares, fields))
        needs: dict[tuple[Path, int], Grid] = {}
        above: dict[Path, Grid] = {}
        pairs = [(path[:-1], path[-1] // kind.parts) for path in levels[n]]
        for path, (parent, band) in zip(levels[n], pairs, strict=True):
            need = _most(own[band], below.get(path, own[band]))
            need = _most(need, low) if path in chosen else need
            # all parts of a non-linearity are of one field
            needs[parent, band] = _most(need, needs.get((parent, band), need))
            above[parent] = _most(fields[band], above.get(parent, fields[band]))
        below = above
        kept = [_coarsest(needs[pair], plan.grid, oversampling) for pair in pairs]
        holding = [_coarsest(fields[band], plan.grid) for _, band in pairs]
        grids.append(tuple(kept))
        windows.append(tuple(map(_most, kept, holding)))
    first = ((plan.grid,),)
    lows = [_coarsest(tables[id(frame)][0][-1], plan.grid) for frame in every]
    return Rates((*first, *reversed(grids)), (*first, *reversed(windows)), tuple(lows))


def _table(frame: Frame) -> list[list[Grid]]:
    """`supports.samples` as tuples, one for each filter."""
    if any(checks.concrete(response) is None for response in (frame.low, frame.bands)):
        expected = "known ones for oversampling: jit a function of the signal only"
        raise checks.error("frame", "traced responses", expected)
    return [[tuple(row) for row in table.tolist()] for table in supports.samples(frame)]


def samples(rates: Rates) -> int:
    """Samples of all paths together."""
    return sum(int(np.prod(grid)) for grid in itertools.chain(*rates.grids))


def _most(*grids: Grid) -> Grid:
    return tuple(map(max, *grids))


def _coarsest(need: Grid, grid: Grid, finer: int = 0) -> Grid:
    """The grid halved as often as `need` allows on each axis, then doubled up to `finer` times."""
    found = []
    for least, most in zip(need, grid, strict=True):
        halved = 0
        while most % 2 ** (halved + 1) == 0 and most >> (halved + 1) >= least:
            halved += 1
        found.append(most >> max(halved - finer, 0))
    return tuple(found)


@functools.lru_cache
def _blind(kind: Nonlinearity) -> bool:
    """Whether, on a trial, the phase of z makes no difference, as for the modulus."""
    turns = np.exp(2j * np.pi * np.arange(7) / 7)[:, None]
    with jax.ensure_compile_time_eval():
        z = jnp.asarray(turns * 2.0 ** np.arange(-10, 11), jnp.complex64)
        parts = [kind.function(turned.real, turned.imag) for turned in z]
        found = np.asarray(jnp.stack(parts))
    return bool(np.all(np.abs(found - found[0]) <= 1e-5 * np.abs(found[0])))
