"""Features of paths kept at the rate of their bands: which grids they get, and what that costs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scattering_reference as reference
from thinned import thinned

from infomech import scattering
from infomech.scattering import frames, nonlinearities, supports
from infomech.scattering.nonlinearities import Nonlinearity


def noise(seed, grid, dtype="float64"):
    return np.random.default_rng(seed).normal(size=grid).astype(dtype)


def soft(z):
    return 1.3 * jnp.tanh(jnp.abs(z))


def soft_np(z):
    return [1.3 * np.tanh(np.abs(z))]


SOFT = nonlinearities.lipschitz(soft, 1.3)
#: |z|², whose spectrum ends where that of |z| goes on
POWER = Nonlinearity("power", lambda re, im: (re * re + im * im)[None], symmetric=True)
MEYER = scattering.meyer(64, 4)
UNIFORM = scattering.weyl_heisenberg(64, 5, width=1.6)
THIRDS = scattering.meyer(48, 3)
PLANE = scattering.oriented((20, 32), 2, 2)
#: a low-pass of frequencies up to the first, which every fourth sample holds on one axis only
NEAR = [np.abs(np.fft.fftfreq(n, 1 / n)) <= 1.0 for n in (8, 16)]
NARROW = frames.frame(1.0 * np.outer(*NEAR), 0.5 * np.outer(NEAR[0], np.roll(NEAR[1], 3))[None])
COARSER = [(i, j) for i in range(4) for j in range(i)]


@dataclasses.dataclass(frozen=True)
class Way:
    """Features at the rate of the bands, and how the reference knows the non-linearities."""

    every: tuple
    chosen: tuple
    subsample: int = 1
    oversampling: int = 0
    kinds: tuple = ("modulus", "modulus", "modulus")
    functions: tuple = (reference.modulus,) * 3
    blind: tuple = (True,) * 3

    def expected(self, signal):
        pairs = [reference.pair(frame) for frame in self.every]
        functions = self.functions[: len(pairs) - 1]
        kept = reference.strides(pairs, functions, self.blind, self.chosen, self.oversampling)
        return np.array(
            [
                reference.coarse_features(signal, pairs, functions, path, kept, self.subsample)
                for path in self.chosen
            ]
        )

    def found(self, signal, **options):
        options = {"oversampling": self.oversampling, "subsample": self.subsample, **options}
        kinds = self.kinds[: len(self.every)]
        return scattering.features(signal, self.every, self.chosen, nonlinearity=kinds, **options)


def every_path(frame, depth):
    return scattering.all_paths(frame, depth)


WAYS = {
    "wavelets, coarser and coarser": Way(
        (MEYER,) * 3, ((), (0,), (1,), (2,), (3,), *COARSER), supports.subsampling(MEYER)
    ),
    "every path, twice as fine": Way((MEYER,) * 3, every_path(MEYER, 2), oversampling=1),
    "bands of one width, of which parents are missing": Way(
        (UNIFORM,) * 3, ((3,), (4,), (4, 2), (4, 0), (3, 1), (2, 0)), 2
    ),
    "frames that differ": Way((UNIFORM, MEYER, UNIFORM), ((), (4, 0), (1,), (2, 3))),
    "grids of 3, features of a third": Way((THIRDS,) * 3, ((0,), (1, 0), (2,), (2, 0)), 3),
    "features that lose something": Way((THIRDS,) * 2, ((0,), (1,)), 16),
    "non-linearities": Way(
        (MEYER,) * 3,
        ((0,), (5, 3), (4,), (9, 0), (8, 2), (11, 0), (5, 1)),
        2,
        kinds=("halves", SOFT, "modulus"),
        functions=(reference.halves, soft_np),
        blind=(False, True),
    ),
    "images": Way((PLANE,) * 3, ((), (0,), (2,), (3,), (2, 0), (3, 1)), 2),
    "an image whose axes differ": Way((NARROW,) * 2, ((), (0,)), 4),
}


@pytest.mark.parametrize("name", thinned(WAYS))
def test_features_are_those_of_the_reference(name):
    way = WAYS[name]
    signal = noise(1, way.every[0].shape)
    expected = way.expected(signal)
    result = jax.jit(way.found)(signal)
    exact = way.found(signal, oversampling=None)
    assert result.shape == exact.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)
    assert 1e-7 < np.linalg.norm(result - exact) < 0.2 * np.linalg.norm(exact)


@pytest.mark.parametrize("frame", [MEYER, UNIFORM, THIRDS, PLANE], ids=["M", "U", "3", "2-D"])
def test_nothing_is_lost_where_the_spectrum_ends(frame):
    """|z|² of any signal, and of any |z|² in front of it, has nothing that could fold."""
    signal = noise(2, frame.shape)
    paths = ((), (0,), (1,), (1, 0), (2, 0))
    run = functools.partial(scattering.features, signal, frame, paths, nonlinearity=POWER)
    exact, coarse = run(), run(oversampling=0)
    size = np.abs(exact).max(tuple(range(1, exact.ndim)), keepdims=True)
    np.testing.assert_allclose(coarse / size, exact / size, rtol=0, atol=1e-10)


def test_a_wave_has_a_constant_modulus_on_any_grid():
    t, k = np.arange(64), 6
    wave = 2 * np.cos(2 * np.pi * k * t / 64 + 0.4)
    paths = [(band,) for band in range(4)]
    result = scattering.features(wave, MEYER, paths, oversampling=0, subsample=8)
    gains = np.abs(np.asarray(MEYER.bands))[:4, k]
    assert np.sum(gains > 0.1) == 2
    np.testing.assert_allclose(result, np.repeat(gains[:, None], 8, 1), atol=1e-13)


def test_finer_grids_come_nearer_up_to_what_is_exact():
    signal = noise(3, (64,))
    run = functools.partial(scattering.features, signal, MEYER, COARSER[:2])
    exact = np.asarray(run())
    off = [np.linalg.norm(run(oversampling=o) - exact) for o in (0, 1, 2)]
    assert off[0] > 2 * off[1] > 4 * off[2] > 0
    np.testing.assert_allclose(run(oversampling=99), exact, rtol=0, atol=1e-14)


def test_a_grid_that_cannot_be_halved_is_kept():
    bank, signal = scattering.meyer(45, 3), noise(4, (45,))
    exact, coarse = (scattering.features(signal, bank, 1, oversampling=o) for o in (None, 0))
    np.testing.assert_array_equal(coarse, exact)


def test_samples_that_hold_a_band_and_its_square():
    """Bands on 3 … 6, around π, on both sides of 0, and nowhere, of 24 frequencies."""
    bands = np.zeros((4, 24))
    bands[0, 3:7] = bands[1, 10:16] = bands[2, [2, 4, 20, 22]] = 1
    bank = frames.frame(np.where(np.arange(24) % 23 < 2, 1.0, 0.0), bands)
    fields, squares = supports.required_samples(bank)
    np.testing.assert_array_equal(fields, [[13], [25], [9], [1], [3]])
    np.testing.assert_array_equal(squares, [[7], [11], [17], [1], [5]])
    line = np.eye(1, 24)[0]
    plane = frames.frame(np.outer(line, line[:6]), np.outer(bands[0], np.roll(line[:6], 2))[None])
    fields, squares = supports.required_samples(plane)
    np.testing.assert_array_equal(fields, [[13, 5], [1, 1]])
    np.testing.assert_array_equal(squares, [[7, 1], [1, 1]])


def test_memory_counts_what_is_kept():
    """The signal of 64 samples, U on 4, 16, 32 and 64, and four features of 8."""
    signal, paths = noise(5, (64,)), [(band,) for band in range(4)]
    need = 8 * (64 + 4 + 16 + 32 + 64 + 4 * 8)
    run = functools.partial(scattering.features, signal, MEYER, paths, subsample=8, oversampling=0)
    run(memory_mib=need / 2**20)
    with pytest.raises(ValueError, match=f"which: got 4 paths .* need {need / 2**20:.6g} MiB"):
        run(memory_mib=(need - 1) / 2**20)


def test_single_precision_also_with_a_frame_of_double_precision():
    way = WAYS["wavelets, coarser and coarser"]
    signal = noise(1, (64,), "float32")
    result = jax.jit(way.found)(signal)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, way.expected(signal), rtol=0, atol=3e-6)


def test_many_signals_at_once_and_slopes():
    """vmap, and forward and reverse mode against finite differences of the reference."""
    way = WAYS["bands of one width, of which parents are missing"]
    batch = noise(6, (3, 64))
    result = jax.jit(jax.vmap(way.found))(batch)
    expected = np.array([way.expected(signal) for signal in batch])
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)
    weights, change = noise(7, result.shape[1:]), noise(8, (64,))

    def total(signal):
        return jnp.sum(way.found(signal) * weights)

    slope = np.sum(jax.jit(jax.grad(total))(batch[0]) * change)
    _, forward = jax.jit(lambda p, t: jax.jvp(total, (p,), (t,)))(batch[0], change)
    ahead, behind = (np.sum(way.expected(batch[0] + s * change) * weights) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(forward, slope, rtol=1e-10)
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("value", [-1, True, 0.5, "1"])
def test_bad_oversampling_is_refused(value):
    with pytest.raises(ValueError, match="oversampling: got"):
        scattering.features(noise(9, (64,)), MEYER, 1, oversampling=value)


def test_responses_must_be_known():
    def run(low):
        frame = dataclasses.replace(MEYER, low=low)
        return scattering.features(noise(9, (64,)), frame, 1, oversampling=0)

    with pytest.raises(ValueError, match=r"frame: got traced responses, .* oversampling"):
        jax.jit(run)(MEYER.low)
