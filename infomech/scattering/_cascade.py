"""Layer after layer down the paths that are wanted, each on its own grid, to their features."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.scattering import _filters, _sampling, _transform


def no_band(step, n, frame, kind):
    """The error for a step in layer n that is no band."""
    count = len(frame.labels) * kind.parts
    return checks.error("which", f"step {step} in layer {n}", f"a number from 0 to {count - 1}")


def levels(chosen, plan, stack):
    """The paths that have to be computed, by length: those chosen and what leads to them."""
    found: list[dict[tuple[int, ...], None]] = [{} for _ in range(plan.depth + 1)]
    found[0][()] = None
    for path in chosen:
        for n, step in enumerate(path):
            frame, kind = stack[plan.which[n]], plan.layers[n]
            if not 0 <= step < len(frame.labels) * kind.parts:
                raise no_band(step, n, frame, kind)
            found[n + 1][path[: n + 1]] = None
    return [list(level) for level in found]


class _Block(NamedTuple):
    """Paths of one layer that are kept on one grid, and half spectra of theirs."""

    grid: _sampling.Grid
    paths: list[_sampling.Path]
    spectra: jax.Array


@functools.partial(jax.jit, static_argnames=("plan", "chosen", "subsample", "kept"))
def run(values, stack, *, plan, chosen, subsample, kept):
    """Features of the paths chosen, (paths, *grid/subsample), of which `kept` says the grids."""
    needed, wanted = levels(chosen, plan, stack), set(chosen)
    # outside of loops, in which they would be made again for every path
    lows = [_filters.low_pass(stack[which])[None] for which in plan.which]

    def smoothing(n, grid):
        return _smoothing(lows[n], grid, kept.lows[n], plan.grid, subsample)

    unit = safe_math.magnitude(values)
    spectra = jnp.fft.rfftn((values / unit)[None], axes=tuple(range(1, values.ndim + 1)))
    blocks = [_Block(plan.grid, [()], spectra)]
    found, order = [], []
    for n in range(plan.depth + 1):
        # of the last layer nothing but features is needed: they are all that comes out of it
        last = n == plan.depth > 0
        for block in blocks:
            rows = [i for i, path in enumerate(block.paths) if path in wanted]
            order += [block.paths[row] for row in rows]
            some = block.spectra
            found.append(some if last else smoothing(n, block.grid)(_rows(some, rows)))
        if n < plan.depth:
            bands = stack[plan.which[n]].bands
            behind = functools.partial(smoothing, n + 1) if n + 1 == plan.depth else _unchanged
            groups = _groups(needed[n + 1], kept.windows[n + 1], kept.grids[n + 1])
            blocks = [
                _below(blocks, bands, paths, plan.layers[n], unit, window, grid, behind)
                for (window, grid), paths in groups.items()
            ]
    places = {path: place for place, path in enumerate(order)}
    return unit * jnp.concatenate(found)[np.array([places[path] for path in chosen], int)]


def _groups(paths, windows, grids):
    """The paths by window and grid: each group is a loop of its own."""
    found: dict[tuple[_sampling.Grid, _sampling.Grid], list[_sampling.Path]] = {}
    for path, window, grid in zip(paths, windows, grids, strict=True):
        found.setdefault((window, grid), []).append(path)
    return found


def _unchanged(grid):
    return lambda spectra: spectra


def _rows(array, rows):
    """Some rows, which often are all of them, as they are."""
    if rows == list(range(len(array))):
        return array
    return array[np.array(rows, int)]


def _smoothing(low, grid, held, whole, every):
    """What makes features of half spectra of signals on a grid: low-pass, every such sample.

    Args:
        low: χ̂ on the whole grid, (1, *half).
        grid: of the signals.
        held: a grid that holds χ̂, no finer.
        whole: the grid that features are on before every such sample is kept.
    """
    coarse = tuple(n // every for n in whole)
    fits = all(m <= n for m, n in zip(held, coarse, strict=True))
    onto = coarse if fits else whole
    response = _filters.fitted(low, held) * (math.prod(onto) / math.prod(grid))

    def smooth(spectra):
        passed = _filters.fitted(_filters.fitted(spectra, held) * response, onto)
        if not fits:
            return _filters.subsampled(passed, whole, every)
        return jnp.fft.irfftn(passed, onto, tuple(range(1, passed.ndim)))

    return smooth


def _below(blocks, bands, paths, kind, unit, window, grid, behind):
    """What is `behind` half spectra of paths below those of the blocks, a few at a time.

    Args:
        blocks: of the layer above.
        bands: responses on the whole grid.
        paths: below.
        kind: the non-linearity between.
        unit: that signals are held in.
        window: the grid on which responses are applied.
        grid: of the paths.
        behind: of a grid, the function of half spectra on it.
    """
    axes, after = tuple(range(1, len(grid) + 1)), behind(grid)
    parents, at = _parents(blocks, {path[:-1] for path in paths}, window)
    whole = _filters.whole(parents, window)
    responses = _filters.fitted(bands, window, half=False)
    pairs = [(at[path[:-1]], path[-1] // kind.parts) for path in paths]
    different = list(dict.fromkeys(pairs))

    def child(pair):
        parent, band = pair
        passed = whole[parent] * responses[band].astype(whole.dtype)
        answer = jnp.fft.ifftn(_filters.folded(passed[None], grid)[0])
        return after(jnp.fft.rfftn(kind.in_unit(unit, answer.real, answer.imag), axes=axes))

    block = max(1, _transform.SAMPLES_AT_ONCE // math.prod(grid))
    children = jax.lax.map(
        child, tuple(np.array(different).T), batch_size=min(block, len(different))
    )
    children = children.reshape(-1, *children.shape[2:])
    place = {pair: i * kind.parts for i, pair in enumerate(different)}
    every = [place[pair] + path[-1] % kind.parts for pair, path in zip(pairs, paths, strict=True)]
    return _Block(grid, paths, _rows(children, every))


def _parents(blocks, wanted, grid):
    """Half spectra on a grid of the paths wanted of these blocks, and where each one is."""
    spectra: list[jax.Array] = []
    at: dict[_sampling.Path, int] = {}
    for block in blocks:
        rows = [i for i, path in enumerate(block.paths) if path in wanted]
        for row in rows:
            at[block.paths[row]] = len(at)
        finer = math.prod(grid) / math.prod(block.grid)
        if rows:
            some = _filters.fitted(_rows(block.spectra, rows), grid)
            spectra.append(some if finer == 1 else some * finer)
    return jnp.concatenate(spectra), at
