"""The sampling grid of each path: the signal's, or one at the rate of the path's last band.

If the frequencies of a band-passed signal z lie within an arc of D bins, |z|² lies within ±D and
more than 2D samples represent it. |z| extends slightly further, and that part aliases. A
non-linearity that depends on the phase of z oscillates with z, so z itself has to fit, too.
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

Shape = tuple[int, ...]
Path = tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """Shapes of the sampling grids of all paths, by layer and in the order of the paths; static.

    Attributes:
        shapes: shape of U[q] f.
        windows: shape on which the response of the last band multiplies the parent's spectrum. It
            covers the band and is at least as fine as the shape of the path.
        lows: for each layer a shape that covers its low-pass.
    """

    shapes: tuple[tuple[Shape, ...], ...]
    windows: tuple[tuple[Shape, ...], ...]
    lows: tuple[Shape, ...]


def full(levels: Sequence[Sequence[Path]], plan: Plan) -> Sampling:
    """Sample every path like the signal."""
    shapes = tuple((plan.shape,) * len(level) for level in levels)
    return Sampling(shapes, shapes, (plan.shape,) * len(levels))


def by_bands(
    levels: Sequence[Sequence[Path]],
    chosen: Collection[Path],
    plan: Plan,
    layer_frames: Sequence[Frame],
    oversampling: int,
) -> Sampling:
    """Coarsest sufficient grids, made 2^oversampling times finer along each axis.

    Each axis is that of the signal, halved any number of times. A grid has to represent |z|² of the
    path's last band, all computed bands below the path, and the low-pass if the path's features are
    requested.

    Args:
        levels: computed paths of each length.
        chosen: paths whose features are requested.
        plan: of the walk.
        layer_frames: the frame of each layer.
        oversampling: ≥ 0.

    Raises:
        ValueError: traced responses.
    """
    tables = {id(frame): _table(frame) for frame in layer_frames}
    chosen = set(chosen)
    shapes: list[tuple[Shape, ...]] = []
    windows: list[tuple[Shape, ...]] = []
    required_below: dict[Path, Shape] = {}
    for n in reversed(range(1, len(levels))):
        fields, squares = tables[id(layer_frames[n - 1])]
        low = tables[id(layer_frames[n])][0][-1]
        kind = plan.layers[n - 1]
        outputs = squares if _phase_invariant(kind) else list(map(_maximum, squares, fields))
        required: dict[tuple[Path, int], Shape] = {}
        required_above: dict[Path, Shape] = {}
        pairs = [(path[:-1], path[-1] // kind.parts) for path in levels[n]]
        for path, (parent, band) in zip(levels[n], pairs, strict=True):
            need = _maximum(outputs[band], required_below.get(path, outputs[band]))
            need = _maximum(need, low) if path in chosen else need
            # all parts of a non-linearity come from the same field
            required[parent, band] = _maximum(need, required.get((parent, band), need))
            previous = required_above.get(parent, fields[band])
            required_above[parent] = _maximum(fields[band], previous)
        required_below = required_above
        level_shapes = [_coarsest(required[pair], plan.shape, oversampling) for pair in pairs]
        band_shapes = [_coarsest(fields[band], plan.shape) for _, band in pairs]
        shapes.append(tuple(level_shapes))
        windows.append(tuple(map(_maximum, level_shapes, band_shapes)))
    first = ((plan.shape,),)
    lows = [_coarsest(tables[id(frame)][0][-1], plan.shape) for frame in layer_frames]
    return Sampling((*first, *reversed(shapes)), (*first, *reversed(windows)), tuple(lows))


def _table(frame: Frame) -> list[list[Shape]]:
    """`supports.required_samples` with one tuple per filter."""
    if any(checks.concrete(response) is None for response in (frame.low, frame.bands)):
        expected = "concrete ones for oversampling: jit a function of the signal only"
        raise checks.error("frame", "traced responses", expected)
    return [[tuple(row) for row in table.tolist()] for table in supports.required_samples(frame)]


def count_samples(sampling: Sampling) -> int:
    """Total number of samples of all paths."""
    return sum(int(np.prod(shape)) for shape in itertools.chain(*sampling.shapes))


def _maximum(*shapes: Shape) -> Shape:
    return tuple(map(max, *shapes))


def _coarsest(required: Shape, shape: Shape, finer: int = 0) -> Shape:
    """Halve each axis as often as `required` permits, then double it up to `finer` times."""
    result = []
    for need, samples in zip(required, shape, strict=True):
        halvings = 0
        while samples % 2 ** (halvings + 1) == 0 and samples >> (halvings + 1) >= need:
            halvings += 1
        result.append(samples >> max(halvings - finer, 0))
    return tuple(result)


@functools.lru_cache
def _phase_invariant(kind: Nonlinearity) -> bool:
    """Whether test values with different phases of z give equal results, as for the modulus."""
    phases = np.exp(2j * np.pi * np.arange(7) / 7)[:, None]
    with jax.ensure_compile_time_eval():
        rotated = jnp.asarray(phases * 2.0 ** np.arange(-10, 11), jnp.complex64)
        parts = [kind.function(z.real, z.imag) for z in rotated]
        values = np.asarray(jnp.stack(parts))
    return bool(np.all(np.abs(values - values[0]) <= 1e-5 * np.abs(values[0])))
