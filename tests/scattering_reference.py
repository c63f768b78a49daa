"""Independent reference for scattering networks, in plain NumPy.

An oracle for the tests: the recursion U[q] f = rho(... rho(f * g_1) ... * g_n), written out with
full complex spectra, every band on both sides of 0, layer after layer, nothing left out. It shares
no code with the package. A frame is a pair (low, bands) of responses; a non-linearity is a
function of a complex array that returns the list of its real parts.
"""

import numpy as np

# --- non-linearities ------------------------------------------------------------------------


def modulus(z):
    """|z|."""
    return [np.abs(z)]


def halves(z):
    """max(Re z, 0), max(-Re z, 0), max(Im z, 0), max(-Im z, 0)."""
    return [np.maximum(x, 0.0) for x in (z.real, -z.real, z.imag, -z.imag)]


# --- filters and frames ---------------------------------------------------------------------


def pair(frame):
    """(low, bands) of an object that has them, in double precision."""
    wide = [np.asarray(x) for x in (frame.low, frame.bands)]
    return tuple(x.astype(complex if np.iscomplexobj(x) else float) for x in wide)


def filtered(u, response, dimensions=None):
    """f * g of signals u (..., *grid), from the responses (..., *grid) on the whole grid."""
    axes = tuple(range(-(dimensions or response.ndim), 0))
    return np.fft.ifftn(np.fft.fftn(u, axes=axes) * response, axes=axes)


def frequencies(grid):
    """omega on each axis in radians per sample, each of shape (*grid)."""
    axes = [2 * np.pi * np.fft.fftfreq(n) for n in grid]
    return np.meshgrid(*axes, indexing="ij")


def size(grid):
    """|omega|, shape (*grid)."""
    return np.sqrt(sum(axis**2 for axis in frequencies(grid)))


def littlewood_paley(frame):
    """|chi|^2 + sum_lambda |g_lambda|^2, the mean of omega and -omega, shape (*grid)."""
    low, bands = pair(frame)
    total = np.abs(low) ** 2 + np.sum(np.abs(bands) ** 2, axis=0)
    return (total + mirror(total)) / 2


def mirror(response):
    """conj g(-omega), the frequency -k of an axis of n being n - k."""
    return np.conj(response[np.ix_(*(-np.arange(n) % n for n in response.shape))])


def contraction(support):
    """max over nu of the grid of min over omega in the support of |omega|/|omega - nu|, in 1-D.

    The distance is that on the circle; a band of one frequency has an infinite factor.
    """
    n = len(support)
    omega = 2 * np.pi * np.fft.fftfreq(n)
    best = 0.0
    for nu in omega:
        away = np.abs(omega[support] - nu)
        away = np.minimum(away, 2 * np.pi - away)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(away > 1e-12, np.abs(omega[support]) / away, np.inf)
        best = max(best, ratio.min())
    return best


# --- the tree -------------------------------------------------------------------------------


def levels(signal, frames, functions):
    """U[q] f of all paths of 0, 1, ..., N + 1 steps, each level of shape (paths, *grid).

    The paths of a level are in lexicographic order of their steps, band * parts + part.
    """
    result = [np.asarray(signal, float)[None]]
    for (_, bands), function in zip(frames, functions, strict=True):
        z = filtered(result[-1][:, None], bands, np.ndim(signal))  # (paths, bands, *grid)
        parts = np.stack(function(z), axis=2)  # (paths, bands, parts, *grid)
        result.append(parts.reshape(-1, *bands.shape[1:]))
    return result


def steps(frames, parts, length):
    """All paths of one length, in the order of `levels`."""
    paths = [()]
    for (_, bands), many in zip(frames[:length], parts[:length], strict=True):
        paths = [(*path, step) for path in paths for step in range(len(bands) * many)]
    return paths


def energies(signal, frames, functions):
    """W_0 ... W_(N+1) and F_0 ... F_N."""
    result = levels(signal, frames, functions)
    propagated = [np.sum(u**2) for u in result]
    collected = [
        np.sum(np.abs(filtered(u, low)) ** 2)
        for u, (low, _) in zip(result[:-1], frames, strict=True)
    ]
    return np.array(propagated), np.array(collected)


def features(signal, frames, functions, path):
    """U[q] f and U[q] f * chi along one path of steps band * parts + part."""
    u = np.asarray(signal, float)
    for step, (_, bands), function in zip(path, frames, functions, strict=False):
        parts = len(function(np.zeros(1, complex)))
        u = function(filtered(u, bands[step // parts]))[step % parts]
    return u, filtered(u, frames[len(path)][0]).real


# --- at the rate of the bands ---------------------------------------------------------------


def reach(response, square=False):
    """The highest frequency (a whole number) on each axis that a filter lets through.

    With `square`, that of |f * g|^2 for an f that has every frequency.
    """
    shape = response.shape
    if square:
        rng = np.random.default_rng(0)
        spectrum = response * np.exp(2j * np.pi * rng.random(shape))
        response = np.fft.fftn(np.abs(np.fft.ifftn(spectrum)) ** 2)
    on = np.abs(response) > 1e-11 * np.abs(response).max()
    numbers = np.meshgrid(*(np.abs(np.fft.fftfreq(n, 1 / n)) for n in shape), indexing="ij")
    return [int(np.max(k, where=on, initial=0)) for k in numbers]


def stride(reaches, grid, finer):
    """Largest powers of 2 that leave all of these frequencies below Nyquist's, less `finer`."""
    result = []
    for axis, n in enumerate(grid):
        fits = [
            2**j
            for j in range(20)
            if n % 2**j == 0 and all(2 * r[axis] < n // 2**j for r in reaches)
        ]
        result.append(max(max(fits, default=1) // 2**finer, 1))
    return tuple(result)


def strides(frames, functions, blind, chosen, finer):
    """Every how many samples U[q] f is kept on each axis, for each field on the way: a field is
    (parent path, band), the signal itself (None, None)."""
    grid = frames[0][0].shape
    parts = [len(function(np.zeros(1, complex))) for function in functions]
    expected = {path[:n] for path in chosen for n in range(len(path) + 1)}
    reaches = {}
    for path in expected - {()}:
        n = len(path)
        response = frames[n - 1][1][path[-1] // parts[n - 1]]
        mine = reaches.setdefault((path[:-1], path[-1] // parts[n - 1]), [])
        mine.append(reach(response, square=True))
        if not blind[n - 1]:
            mine.append(reach(response))
        if path in chosen:
            mine.append(reach(frames[n][0]))
        for below in expected:
            if below[:-1] == path and below:
                mine.append(reach(frames[n][1][below[-1] // parts[n]]))
    return {field: stride(some, grid, finer) for field, some in reaches.items()}


def samples_of(u, grid, response, every):
    """Samples of the signal whose samples on a grid of its own are u, filtered.

    Its spectrum, up to the Nyquist frequency of its own grid, is put into that of the whole grid.
    """
    own = np.fft.fftn(u) * np.prod(grid) / u.size
    spectrum = np.zeros(grid, complex)
    numbers = [np.fft.fftfreq(n, 1 / n).astype(int) for n in u.shape]
    spectrum[np.ix_(*numbers)] = own
    return np.fft.ifftn(spectrum * response)[tuple(slice(None, None, s) for s in every)]


def coarse_features(signal, frames, functions, path, kept, every):
    """`features`, every such sample of them, with fields kept on coarser grids: see `strides`."""
    u, grid = np.asarray(signal, float), np.shape(signal)
    for n, (step, (_, bands), function) in enumerate(zip(path, frames, functions, strict=False)):
        band, part = divmod(step, len(function(np.zeros(1, complex))))
        u = function(samples_of(u, grid, bands[band], kept[path[:n], band]))[part]
    return samples_of(u, grid, frames[len(path)][0], (every,) * len(grid)).real
