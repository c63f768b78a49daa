"""Compute the features of chosen paths, layer by layer, each path on its own sampling grid."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.scattering import _filters, _sampling, _transform


def invalid_step(step, n, frame, kind):
    """The error for a step in layer n that is not a band of its frame."""
    count = len(frame.labels) * kind.parts
    return checks.error("which", f"step {step} in layer {n}", f"a number from 0 to {count - 1}")


def levels(chosen, plan, stack):
    """All paths to compute, by length: the chosen paths and their prefixes."""
    result: list[dict[tuple[int, ...], None]] = [{} for _ in range(plan.depth + 1)]
    result[0][()] = None
    for path in chosen:
        for n, step in enumerate(path):
            frame, kind = stack[plan.which[n]], plan.layers[n]
            if not 0 <= step < len(frame.labels) * kind.parts:
                raise invalid_step(step, n, frame, kind)
            result[n + 1][path[: n + 1]] = None
    return [list(level) for level in result]


class _Block(NamedTuple):
    """Paths of one layer with the same shape, and their half spectra."""

    shape: _sampling.Shape
    paths: list[_sampling.Path]
    spectra: jax.Array


@functools.partial(jax.jit, static_argnames=("plan", "chosen", "subsample", "sampling"))
def run(values, stack, *, plan, chosen, subsample, sampling):
    """Features of the chosen paths, (paths, *shape/subsample), with the given sampling."""
    needed, requested = levels(chosen, plan, stack), set(chosen)
    # outside of the loops, which would recompute them for every path
    lows = [_filters.low_pass(stack[which])[None] for which in plan.which]

    def smoothing(n, shape):
        return _smoothing(lows[n], shape, sampling.lows[n], plan.shape, subsample)

    unit = safe_math.magnitude(values)
    spectra = jnp.fft.rfftn((values / unit)[None], axes=tuple(range(1, values.ndim + 1)))
    blocks = [_Block(plan.shape, [()], spectra)]
    features, order = [], []
    for n in range(plan.depth + 1):
        # the last layer returns features instead of spectra
        last = n == plan.depth > 0
        for block in blocks:
            rows = [i for i, path in enumerate(block.paths) if path in requested]
            order += [block.paths[row] for row in rows]
            result = block.spectra
            features.append(result if last else smoothing(n, block.shape)(_rows(result, rows)))
        if n < plan.depth:
            bands = stack[plan.which[n]].bands
            output = functools.partial(smoothing, n + 1) if n + 1 == plan.depth else _identity
            groups = _groups(needed[n + 1], sampling.windows[n + 1], sampling.shapes[n + 1])
            blocks = [
                _children(blocks, bands, paths, plan.layers[n], unit, window, shape, output)
                for (window, shape), paths in groups.items()
            ]
    position = {path: row for row, path in enumerate(order)}
    return unit * jnp.concatenate(features)[np.array([position[path] for path in chosen], int)]


def _groups(paths, windows, shapes):
    """Group paths by window and shape; each group runs in its own loop."""
    groups: dict[tuple[_sampling.Shape, _sampling.Shape], list[_sampling.Path]] = {}
    for path, window, shape in zip(paths, windows, shapes, strict=True):
        groups.setdefault((window, shape), []).append(path)
    return groups


def _identity(shape):
    return lambda spectra: spectra


def _rows(array, rows):
    """Select rows; all rows in order need no gather."""
    if rows == list(range(len(array))):
        return array
    return array[np.array(rows, int)]


def _smoothing(low, shape, low_shape, full_shape, stride):
    """Return the function from half spectra to features: low-pass, then subsample.

    Args:
        low: χ̂ on the full grid, (1, *half).
        shape: of the signals.
        low_shape: a shape that covers χ̂, no finer.
        full_shape: shape of the features before subsampling.
        stride: subsampling factor.
    """
    coarse = tuple(n // stride for n in full_shape)
    fits = all(m <= n for m, n in zip(low_shape, coarse, strict=True))
    target = coarse if fits else full_shape
    response = _filters.resize(low, low_shape) * (math.prod(target) / math.prod(shape))

    def smooth(spectra):
        product = _filters.resize(_filters.resize(spectra, low_shape) * response, target)
        if not fits:
            return _filters.subsample(product, full_shape, stride)
        return jnp.fft.irfftn(product, target, tuple(range(1, product.ndim)))

    return smooth


def _children(blocks, bands, paths, kind, unit, window, shape, output):
    """Compute paths below those of the blocks, a few at a time.

    Args:
        blocks: blocks of the layer above.
        bands: responses on the full grid.
        paths: paths to compute.
        kind: the non-linearity between the layers.
        unit: unit of the signals.
        window: shape on which the responses are applied.
        shape: of the paths.
        output: returns for a shape the function to apply to the half spectra of the paths.
    """
    axes, finish = tuple(range(1, len(shape) + 1)), output(shape)
    parents, index = _parents(blocks, {path[:-1] for path in paths}, window)
    spectra = _filters.full_spectrum(parents, window)
    responses = _filters.resize(bands, window, half=False)
    pairs = [(index[path[:-1]], path[-1] // kind.parts) for path in paths]
    distinct = list(dict.fromkeys(pairs))

    def child(pair):
        parent, band = pair
        product = spectra[parent] * responses[band].astype(spectra.dtype)
        signal = jnp.fft.ifftn(_filters.fold(product[None], shape)[0])
        return finish(jnp.fft.rfftn(kind.in_unit(unit, signal.real, signal.imag), axes=axes))

    batch = max(1, _transform.MAX_SAMPLES_PER_CHUNK // math.prod(shape))
    children = jax.lax.map(child, tuple(np.array(distinct).T), batch_size=min(batch, len(distinct)))
    children = children.reshape(-1, *children.shape[2:])
    start = {pair: i * kind.parts for i, pair in enumerate(distinct)}
    rows = [start[pair] + path[-1] % kind.parts for pair, path in zip(pairs, paths, strict=True)]
    return _Block(shape, paths, _rows(children, rows))


def _parents(blocks, paths, shape):
    """Half spectra of the given paths at one shape, and the index of each path."""
    spectra: list[jax.Array] = []
    index: dict[_sampling.Path, int] = {}
    for block in blocks:
        rows = [i for i, path in enumerate(block.paths) if path in paths]
        for row in rows:
            index[block.paths[row]] = len(index)
        scale = math.prod(shape) / math.prod(block.shape)
        if rows:
            resized = _filters.resize(_rows(block.spectra, rows), shape)
            spectra.append(resized if scale == 1 else resized * scale)
    return jnp.concatenate(spectra), index
