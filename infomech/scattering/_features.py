"""Scattering features U[q] f * χ along labeled paths."""

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
    """Properties of paths: one row per path, padded with NaN after its last step.

    Attributes:
        order: length of the path, (paths,).
        scale: number of the scale of each step, (paths, longest).
        center: |center frequency| of each step, in radians per sample, (paths, longest).
        orientation: of each step in radians, (paths, longest); NaN in one dimension.
        part: part of the non-linearity at each step, from 0, (paths, longest).
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
    """List all paths of up to `depth` steps, shortest first, with one band of each mirrored pair.

    Args:
        frame, depth, nonlinearity: see `infomech.scattering.energies`.
        max_paths: maximum number of paths.

    Returns:
        Tuple of paths, each a tuple of steps band · parts + part.

    Raises:
        ValueError: more than `max_paths` paths.
    """
    layer_frames, layers = _transform.per_layer(frame, depth, nonlinearity)
    steps = [
        [band * kind.parts + part for band in bands for part in range(kind.parts)]
        for bands, kind in zip(
            (_transform.computed_bands(item, layers) for item in layer_frames[:-1]),
            layers[:-1],
            strict=True,
        )
    ]
    counts = itertools.accumulate(map(len, steps), lambda a, b: a * b, initial=1)
    if (count := sum(counts)) > max_paths:
        expected = (
            f"at most max_paths={max_paths}: reduce depth, or pass only the strongest paths, "
        )
        expected += "found by infomech.scattering.paths"
        raise checks.error("depth", f"{depth} layers with {count} paths", expected)
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
    """Features U[q] f * χ along paths q, each a signal: the outputs of the network [E].

    Supports jit, vmap over signals, grad and jvp. The sum of ‖U[q] f * χ‖² over all paths and their
    mirrors is Σ_n F_n of `energies`.

    Args:
        signal: f, real, with the frame's shape.
        frame: one for all layers, or one for each layer from 0 to the longest path.
        which: length of the longest paths, or the paths, as returned by `all_paths` or in
            `Paths.steps`; static.
        subsample: stride along each axis of the features; lossless up to
            `infomech.scattering.supports.subsampling`; static.
        oversampling: None samples every path like the signal, which is exact. A number o ≥ 0
            halves the axes of each path as long as its grid represents |f * g|² of its last band
            and the bands computed below, then makes the grid 2^o times finer along each axis. This
            is several times faster, but frequencies of ρ(f * g) beyond the grid alias: few for the
            modulus, more for halves. Features have the same samples in both cases. Requires
            concrete responses; static.
        nonlinearity: see `energies`; static.
        memory_mib: limit in MiB (2²⁰ bytes) for signals and features along the paths; static.

    Returns:
        Array (paths, *shape/subsample), in the order of the paths.

    Raises:
        ValueError: a signal of the wrong shape or not finite, a step that is not a band, a
            subsampling that doesn't divide every axis, a memory need above the limit, or
            oversampling with traced responses.
    """
    if isinstance(which, list | tuple):
        if not all(isinstance(path, list | tuple) for path in which):
            raise checks.error("which", repr(which)[:60], "a number of steps, or a list of paths")
        chosen = tuple(tuple(checks.integer("which", step, 0) for step in path) for path in which)
    else:
        depth = checks.integer("which", which, 0)
        chosen = all_paths(frame, depth, nonlinearity=nonlinearity)
    depth = max(map(len, chosen), default=0)
    values, stack, plan = _transform.prepare(signal, frame, depth, nonlinearity, 1, 2**42)
    subsample = checks.integer("subsample", subsample, 1)
    if any(n % subsample for n in plan.shape):
        raise checks.error("subsample", subsample, f"a divisor of every axis of {plan.shape}")
    levels = _cascade.levels(chosen, plan, stack)
    if oversampling is None:
        sampling = _sampling.full(levels, plan)
    else:
        oversampling = checks.integer("oversampling", oversampling, 0)
        layer_frames, _ = _transform.per_layer(frame, depth, nonlinearity)
        sampling = _sampling.by_bands(levels, chosen, plan, layer_frames, oversampling)
    feature_size = math.prod(plan.shape) / subsample ** len(plan.shape)
    samples = _sampling.count_samples(sampling) + len(chosen) * feature_size
    needed = math.ceil(samples * values.dtype.itemsize)
    if needed > _transform.in_bytes(memory_mib):
        got = f"{len(chosen)} paths of shape {plan.shape}, which need {needed / 2**20:.6g} MiB"
        expected = f"at most memory_mib={memory_mib:g}: fewer paths, or a larger memory_mib"
        raise checks.error("which", got, expected)
    return _cascade.run(
        values, stack, plan=plan, chosen=chosen, subsample=subsample, sampling=sampling
    )


def labels(
    frame: Frame | Sequence[Frame],
    which: Sequence[Sequence[int]],
    *,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
) -> Labels:
    """Describe paths: order, and scale, center frequency and orientation of each step.

    Args:
        frame, nonlinearity: see `features`.
        which: paths.

    Returns:
        `Labels`.

    Raises:
        ValueError: a step that is not a band.
    """
    depth = max(map(len, which), default=0)
    layer_frames, layers = _transform.per_layer(frame, depth, nonlinearity)
    table = np.full((4, len(which), depth), np.nan)
    for row, path in enumerate(which):
        for n, step in enumerate(path):
            number, part = divmod(int(step), layers[n].parts)
            if not 0 <= number < len(layer_frames[n].labels):
                raise _cascade.invalid_step(step, n, layer_frames[n], layers[n])
            band = layer_frames[n].labels[number]
            orientation = math.nan if band.orientation is None else band.orientation
            table[:, row, n] = band.scale, math.hypot(*band.center), orientation, part
    return Labels(np.array([len(path) for path in which], int), *table)
