"""Scattering features: U[q] f * χ along labelled paths."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks
from infomech.scattering import filters, transform
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity


class Labels(NamedTuple):
    """What paths are; arrays of one row each, with NaN behind the end of a path.

    Attributes:
        order: length, (paths,).
        scale: number of the scale of each step, (paths, longest).
        centre: |centre frequency| of each step, in radians per sample, (paths, longest).
        orientation: of each step in radians, (paths, longest); NaN in one dimension.
        part: number of the part of a non-linearity that has several, (paths, longest).
    """

    order: np.ndarray
    scale: np.ndarray
    centre: np.ndarray
    orientation: np.ndarray
    part: np.ndarray


def all_paths(
    frame: Frame | Sequence[Frame], depth: int, *,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    max_paths: int = 10**5,
) -> tuple[tuple[int, ...], ...]:  # fmt: skip
    """All paths of up to `depth` steps, short ones first, one of each mirrored pair of bands.

    Args:
        frame, depth, nonlinearity: as of `infomech.scattering.energies`.
        max_paths: the most there may be.

    Returns:
        Tuple of paths, each a tuple of steps, band · parts + part.

    Raises:
        ValueError: more than `max_paths`.
    """
    every, layers = transform.each_layer(frame, depth, nonlinearity)
    steps = [
        [i * kind.parts + part for i in transform.kept(one, layers) for part in range(kind.parts)]
        for one, kind in zip(every[:-1], layers[:-1], strict=True)
    ]
    counts = itertools.accumulate(map(len, steps), lambda a, b: a * b, initial=1)
    if (count := sum(counts)) > max_paths:
        expected = f"at most max_paths={max_paths}: fewer layers, or the strongest paths only, "
        expected += "which infomech.scattering.paths finds"
        raise checks.fail("depth", f"{depth} layers, which have {count} paths", expected)
    return tuple(path for n in range(depth + 1) for path in itertools.product(*steps[:n]))


def features(
    signal: Any, frame: Frame | Sequence[Frame], which: int | Sequence[Sequence[int]], *,
    subsample: int = 1,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
    memory: int = 2**30,
) -> jax.Array:  # fmt: skip
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
        nonlinearity: as of `energies`; static.
        memory: bytes that signals and features along the paths may take; static.

    Returns:
        Array (paths, *grid/subsample), in the order of the paths.

    Raises:
        ValueError: a signal of the wrong shape or not finite, a step that is no band, a subsampling
            that doesn't divide the grid, or more memory needed than there may be.
    """
    if isinstance(which, list | tuple):
        if not all(isinstance(path, list | tuple) for path in which):
            raise checks.fail("which", repr(which)[:60], "a number of steps, or paths of steps")
        chosen = tuple(tuple(checks.integer("which", s, 0) for s in path) for path in which)
    else:
        depth = checks.integer("which", which, 0)
        chosen = all_paths(frame, depth, nonlinearity=nonlinearity)
    depth = max(map(len, chosen), default=0)
    values, stack, plan = transform.prepare(signal, frame, depth, nonlinearity, 1, 2**62)
    subsample = checks.integer("subsample", subsample, 1)
    if any(n % subsample for n in plan.grid):
        raise checks.fail("subsample", subsample, f"a divisor of every axis of {plan.grid}")
    levels = _levels(chosen, plan, stack)
    held = sum(map(len, levels)) + len(chosen) / subsample ** len(plan.grid)
    needed = math.ceil(held * math.prod(plan.grid) * values.dtype.itemsize)
    if needed > checks.integer("memory", memory, 1):
        got = f"{len(chosen)} paths of {plan.grid}, which take {needed} bytes"
        expected = f"at most memory={memory}: fewer paths, or a larger memory"
        raise checks.fail("which", got, expected)
    return _features(values, stack, plan=plan, chosen=chosen, subsample=subsample)


def labels(
    frame: Frame | Sequence[Frame], which: Sequence[Sequence[int]], *,
    nonlinearity: str | Nonlinearity | Sequence[str | Nonlinearity] = "modulus",
) -> Labels:  # fmt: skip
    """What the bands along paths are: order, scales, centre frequencies and orientations.

    Args:
        frame, nonlinearity: as of `features`.
        which: paths.

    Returns:
        `Labels`.

    Raises:
        ValueError: a step that is no band.
    """
    depth = max(map(len, which), default=0)
    every, layers = transform.each_layer(frame, depth, nonlinearity)
    table = np.full((4, len(which), depth), np.nan)
    for row, path in enumerate(which):
        for n, step in enumerate(path):
            number, part = divmod(int(step), layers[n].parts)
            if not 0 <= number < len(every[n].labels):
                raise _no_band(step, n, every[n], layers[n])
            band = every[n].labels[number]
            turn = math.nan if band.orientation is None else band.orientation
            table[:, row, n] = band.scale, math.hypot(*band.centre), turn, part
    return Labels(np.array([len(path) for path in which], int), *table)


def _no_band(step, n, frame, kind):
    count = len(frame.labels) * kind.parts
    return checks.fail("which", f"step {step} in layer {n}", f"a number from 0 to {count - 1}")


def _levels(chosen, plan, stack):
    """The paths that have to be computed, by length: those chosen and what leads to them."""
    found: list[dict[tuple[int, ...], None]] = [{} for _ in range(plan.depth + 1)]
    found[0][()] = None
    for path in chosen:
        for n, step in enumerate(path):
            frame, kind = stack[plan.which[n]], plan.layers[n]
            if not 0 <= step < len(frame.labels) * kind.parts:
                raise _no_band(step, n, frame, kind)
            found[n + 1][path[: n + 1]] = None
    return [list(level) for level in found]


@functools.partial(jax.jit, static_argnames=("plan", "chosen", "subsample"))
def _features(values, stack, *, plan, chosen, subsample):
    """Layer after layer: spectra of all paths that are needed, features of those chosen."""
    levels = _levels(chosen, plan, stack)
    rows = {path: row for row, path in enumerate(chosen)}

    def smooth(spectra, low):
        return filters.subsampled(spectra * low, plan.grid, subsample)

    # outside of loops, in which they would be made again for every path
    lows = [filters.low_pass(stack[which])[None] for which in plan.which]
    spectra = jnp.fft.rfftn(values[None], axes=tuple(range(1, values.ndim + 1)))
    found, order = [], []
    for n, level in enumerate(levels):
        wanted = [i for i, path in enumerate(level) if path in rows]
        # of the last layer nothing but features is needed: they are all that comes out of it
        last = n == plan.depth > 0
        found.append(spectra if last else smooth(spectra[np.array(wanted, int)], lows[n]))
        order += [rows[level[i]] for i in wanted]
        if n < plan.depth:
            behind = functools.partial(smooth, low=lows[n + 1]) if n + 1 == plan.depth else None
            bands = stack[plan.which[n]].bands
            spectra = _below(spectra, bands, level, levels[n + 1], n, plan, behind)
    features = jnp.concatenate(found)
    places = {row: place for place, row in enumerate(order)}
    return features[np.array([places[rows[path]] for path in chosen], int)]


def _below(spectra, bands, level, paths, n, plan, behind):
    """Spectra of the paths of layer n + 1, or what is `behind` them, a few at a time."""
    axes = tuple(range(1, len(plan.grid) + 1))
    kind = plan.layers[n]
    at = {path: i for i, path in enumerate(level)}
    pairs = [(at[path[:-1]], path[-1] // kind.parts) for path in paths]
    different = list(dict.fromkeys(pairs))
    whole = filters.whole(spectra, plan.grid)

    def child(pair):
        parent, band = pair
        answer = jnp.fft.ifftn(whole[parent] * bands[band].astype(whole.dtype))
        found = jnp.fft.rfftn(kind.function(answer.real, answer.imag), axes=axes)
        return found if behind is None else behind(found)

    block = max(1, transform.SAMPLES_AT_ONCE // math.prod(plan.grid))
    children = jax.lax.map(
        child, tuple(np.array(different).T), batch_size=min(block, len(different))
    )
    children = children.reshape(-1, *children.shape[2:])
    number = {pair: i for i, pair in enumerate(different)}
    parts = [path[-1] % kind.parts for path in paths]
    every = [number[pair] * kind.parts + part for pair, part in zip(pairs, parts, strict=True)]
    return children if every == list(range(len(children))) else children[np.array(every)]
