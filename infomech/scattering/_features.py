"""Scattering features: U[q] f * χ along labeled paths."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from infomech._core import checks
from infomech.scattering import _cascade, _sampling, _transform
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity


class Labels(NamedTuple):
    """What paths are; arrays of one row each, with NaN behind the end of a path.

    Attributes:
        order: length, (paths,).
        scale: number of the scale of each step, (paths, longest).
        center: |center frequency| of each step, in radians per sample, (paths, longest).
        orientation: of each step in radians, (paths, longest); NaN in one dimension.
        part: number of the part of a non-linearity that has several, (paths, longest).
    """

    order: np.ndarray
    scale: np.ndarray
    center: np.ndarray
    orientation: np.ndarray
    part: np.ndarray


def all_paths(
    frame: Frame | Sequence[Frame],
    depth: int,
    *,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    max_paths: int = 10**5,
) -> tuple[tuple[int, ...], ...]:
    """All paths of up to `depth` steps, short ones first, one of each mirrored pair of bands.

    Args:
        frame, depth, nonlinearity: as of `infomech.scattering.energies`.
        max_paths: the most there may be.

    Returns:
        Tuple of paths, each a tuple of steps, band · parts + part.

    Raises:
        ValueError: more than `max_paths`.
    """
    every, layers = _transform.each_layer(frame, depth, nonlinearity)
    steps = [
        [i * kind.parts + part for i in _transform.kept(one, layers) for part in range(kind.parts)]
        for one, kind in zip(every[:-1], layers[:-1], strict=True)
    ]
    counts = itertools.accumulate(map(len, steps), lambda a, b: a * b, initial=1)
    if (count := sum(counts)) > max_paths:
        expected = f"at most max_paths={max_paths}: fewer layers, or the strongest paths only, "
        expected += "which infomech.scattering.paths finds"
        raise checks.error("depth", f"{depth} layers, which have {count} paths", expected)
    return tuple(path for n in range(depth + 1) for path in itertools.product(*steps[:n]))


def features(
    signal: Any,
    frame: Frame | Sequence[Frame],
    which: int | Sequence[Sequence[int]],
    *,
    subsample: int = 1,
    oversampling: int | None = None,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    memory_mib: float = 1024,
) -> jax.Array:
    """The features U[q] f * χ along paths q, each a signal, as a network hands them on [E].

    Works under jit, vmap over signals, grad and jvp. Σ over all paths and mirrors of ‖U[q] f * χ‖²
    is Σ_n F_n of `energies`.

    Args:
        signal: f, real, of the frame's grid.
        frame: one for all layers, or one for each layer from 0 to the longest path.
        which: longest path of all, or the paths themselves, as of `all_paths` or `Paths.steps`;
            static.
        subsample: keep every such sample on each axis; lossless up to
            `infomech.scattering.supports.subsampling`; static.
        oversampling: None keeps every path at the rate of the signal, which is exact. A number
            o ≥ 0 keeps it on the coarsest grid that holds |f * g|² of its last band and what is
            wanted below, made 2^o times finer on each axis: several times faster, but what ρ(f * g)
            has beyond that grid's frequencies folds back, little for the modulus, more for halves.
            Each axis of a grid is the signal's halved some times. Features come out on the same
            samples; responses must be known; static.
        nonlinearity: as of `energies`; static.
        memory_mib: MiB (2²⁰ bytes) that signals and features along the paths may take; static.

    Returns:
        Array (paths, *grid/subsample), in the order of the paths.

    Raises:
        ValueError: a signal of the wrong shape or not finite, a step that is no band, a subsampling
            that doesn't divide the grid, more memory needed than there may be, or oversampling with
            responses that are being traced.
    """
    if isinstance(which, list | tuple):
        if not all(isinstance(path, list | tuple) for path in which):
            raise checks.error("which", repr(which)[:60], "a number of steps, or paths of steps")
        chosen = tuple(tuple(checks.integer("which", s, 0) for s in path) for path in which)
    else:
        depth = checks.integer("which", which, 0)
        chosen = all_paths(frame, depth, nonlinearity=nonlinearity)
    depth = max(map(len, chosen), default=0)
    values, stack, plan = _transform.prepare(signal, frame, depth, nonlinearity, 1, 2**42)
    subsample = checks.integer("subsample", subsample, 1)
    if any(n % subsample for n in plan.grid):
        raise checks.error("subsample", subsample, f"a divisor of every axis of {plan.grid}")
    levels = _cascade.levels(chosen, plan, stack)
    if oversampling is None:
        kept = _sampling.full(levels, plan)
    else:
        oversampling = checks.integer("oversampling", oversampling, 0)
        every, _ = _transform.each_layer(frame, depth, nonlinearity)
        kept = _sampling.of_bands(levels, chosen, plan, every, oversampling)
    held = _sampling.samples(kept) + len(chosen) * math.prod(plan.grid) / subsample ** len(
        plan.grid
    )
    needed = math.ceil(held * values.dtype.itemsize)
    if needed > _transform.in_bytes(memory_mib):
        got = f"{len(chosen)} paths of {plan.grid}, which take {needed / 2**20:.6g} MiB"
        expected = f"at most memory_mib={memory_mib:g}: fewer paths, or more memory_mib"
        raise checks.error("which", got, expected)
    return _cascade.run(values, stack, plan=plan, chosen=chosen, subsample=subsample, kept=kept)


def labels(
    frame: Frame | Sequence[Frame],
    which: Sequence[Sequence[int]],
    *,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
) -> Labels:
    """What the bands along paths are: order, scales, center frequencies and orientations.

    Args:
        frame, nonlinearity: as of `features`.
        which: paths.

    Returns:
        `Labels`.

    Raises:
        ValueError: a step that is no band.
    """
    depth = max(map(len, which), default=0)
    every, layers = _transform.each_layer(frame, depth, nonlinearity)
    table = np.full((4, len(which), depth), np.nan)
    for row, path in enumerate(which):
        for n, step in enumerate(path):
            number, part = divmod(int(step), layers[n].parts)
            if not 0 <= number < len(every[n].labels):
                raise _cascade.no_band(step, n, every[n], layers[n])
            band = every[n].labels[number]
            turn = math.nan if band.orientation is None else band.orientation
            table[:, row, n] = band.scale, math.hypot(*band.center), turn, part
    return Labels(np.array([len(path) for path in which], int), *table)
