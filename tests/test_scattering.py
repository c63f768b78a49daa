"""Scattering: energies of layers, paths and features against the recursion written out in NumPy."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scattering_reference as reference
from hypothesis import example, given
from hypothesis import strategies as st

from infomech import scattering
from infomech.scattering import nonlinearities, supports
from infomech.scattering.frames import Band, Frame

SAMPLES = 24
NAMELESS = Band(0, (0.0,), None, (0.0, math.pi))


def nameless(frame):
    """The frame with labels that are all alike, so that its kind share what's compiled."""
    return dataclasses.replace(frame, labels=(NAMELESS,) * len(frame.labels))


#: tight frames of three bands and their mirrors
FRAMES = [
    nameless(frame)
    for frame in (
        scattering.meyer(SAMPLES, 3 * math.log2(1.8), dilation=1.8),
        scattering.weyl_heisenberg(SAMPLES, 3),
        scattering.weyl_heisenberg(SAMPLES, 3, width=3.0, gap=1.5),
        scattering.meyer(SAMPLES, 3 * math.log2(1.5), dilation=1.5),
    )
]


def soft_np(z):
    return [1.3 * np.tanh(np.abs(z))]


def soft(z):
    return 1.3 * jnp.tanh(jnp.abs(z))


def shrunk_np(z):
    return [0.8 * np.maximum(z.real - 0.1, 0.0)]


def shrunk(z):
    return 0.8 * jax.nn.relu(z.real - 0.1)


def noise(seed, grid=(SAMPLES,), dtype="float64"):
    return np.random.default_rng(seed).normal(size=grid).astype(dtype)


def stretched(frame, seed):
    """Not tight: each pair of mirrored bands and the low-pass times a number in [0.5, 1.4]."""
    gains = np.random.default_rng(seed).uniform(0.5, 1.4, len(frame.bands) // 2 + 1)
    bands = frame.bands * np.tile(gains[1:], 2)[:, None]
    return dataclasses.replace(frame, low=frame.low * gains[0], bands=bands)


def one_sided(seed, grid, bands):
    """Random complex responses without mirrors; not tight."""
    rng = np.random.default_rng(seed)
    low = np.fft.fftn(rng.normal(size=grid)) / math.prod(grid)
    responses = rng.normal(size=(bands, *grid)) + 1j * rng.normal(size=(bands, *grid))
    responses *= 0.6 / np.sqrt(bands)
    return Frame(jnp.asarray(low), jnp.asarray(responses), (NAMELESS,) * bands, (-1,) * bands)


@functools.partial(jax.jit, static_argnames=("nonlinearity", "max_paths", "memory_mib"))
def _energies(signal, layer_frames, prune, **options):
    return scattering.energies(signal, layer_frames, len(layer_frames) - 1, prune=prune, **options)


def energies(
    signal, layer_frames, prune=0.0, *, nonlinearity="modulus", max_paths=10**6, memory_mib=0.25
):
    """Energies with a frame for each layer, all of them traced; compiled once for each kind."""
    options = {"nonlinearity": nonlinearity, "max_paths": max_paths, "memory_mib": memory_mib}
    return _energies(signal, tuple(layer_frames), prune, **options)


def expected(signal, layer_frames, functions):
    return reference.energies(signal, [reference.pair(f) for f in layer_frames], functions)


def assert_close(actual, expected, tolerance=1e-12, name=""):
    """Relative to the largest of the numbers wanted."""
    size = max(np.max(np.abs(expected)), 1e-300)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * size, err_msg=name)


def assert_inside(actual, propagated, collected):
    """The certified intervals hold what the whole tree gives, with no tolerance."""
    for interval, truth in (
        (actual.propagated_bounds, propagated),
        (actual.collected_bounds, collected),
        (actual.total_bounds[None], [np.sum(collected)]),
    ):
        low, high = np.asarray(interval).T
        assert np.all(low <= truth)
        assert np.all(truth <= high)


def assert_accounts(result, tolerance=1e-12):
    """W_n = F_n + W_(n+1), and the energy is that of all features and of what remains."""
    propagated, collected = np.asarray(result.propagated), np.asarray(result.collected)
    assert_close(propagated[:-1], collected + propagated[1:], tolerance)
    assert_close(propagated[0], result.energy, tolerance)
    assert_close(collected.sum() + propagated[-1], result.energy, tolerance)


# --- energies against the reference -----------------------------------------------------------


@pytest.mark.parametrize("names", [(0, 0, 0), (0, 1, 2), (2, 0, 1)], ids=str)
def test_energies_on_a_line_are_those_of_the_reference(names):
    signal, layer_frames = noise(0), [FRAMES[i] for i in names]
    actual = energies(signal, layer_frames)
    propagated, collected = expected(signal, layer_frames, [reference.modulus] * 3)
    assert_close(actual.propagated, propagated)
    assert_close(actual.collected, collected)
    assert_close(actual.passed, propagated[1:])
    assert_accounts(actual)
    assert_inside(actual, propagated, collected)
    assert_close(actual.pruned, [0, 0, 0, propagated[-1]])
    np.testing.assert_array_equal(actual.paths, [1, 6, 36])
    assert actual.complete
    for interval in (actual.propagated_bounds, actual.collected_bounds, actual.total_bounds[None]):
        assert np.all(interval[:, 1] - interval[:, 0] < 1e-11 * actual.energy)


def test_energies_of_frames_that_are_not_tight():
    signal, layer_frames = noise(1), [stretched(FRAMES[i], i) for i in range(3)]
    actual = energies(signal, layer_frames)
    propagated, collected = expected(signal, layer_frames, [reference.modulus] * 3)
    assert_close(actual.propagated, propagated)
    assert_close(actual.collected, collected)
    assert_inside(actual, propagated, collected)


def test_energies_in_a_plane_in_single_precision():
    """Complex responses too: every band moved by a few pixels of its own, its mirror with it."""
    grid = (8, 9)
    plain = scattering.oriented(grid, 1.0, 2, dtype="float32")
    rows, columns = reference.frequencies(grid)
    moves = np.exp(1j * (np.arange(4) % 2)[:, None, None] * (2 * rows - 3 * columns))
    bands = np.asarray(plain.bands) * moves.astype(np.complex64)
    frame = dataclasses.replace(plain, bands=jnp.asarray(bands))
    signal = noise(2, grid, "float32")
    actual = scattering.energies(signal, frame, 2, memory_mib=0.25)
    assert {x.dtype for x in (*actual.relative, *actual.absolute)} == {np.dtype("float32")}
    assert actual.propagated.dtype == actual.collected_bounds.dtype == np.float64
    propagated, collected = expected(signal, [frame] * 3, [reference.modulus] * 3)
    assert_close(actual.propagated, propagated, 1e-5)
    assert_close(actual.collected, collected, 1e-5)
    assert_accounts(actual, 1e-5)
    assert_inside(actual, propagated, collected)
    np.testing.assert_array_equal(actual.paths, [1, 4, 16])


def test_halves_in_a_plane_and_no_recompiling_as_the_tree_grows():
    traced = []

    def function(real, imaginary):
        traced.append(real.shape)
        return scattering.nonlinearities.halves.function(real, imaginary)

    counted = dataclasses.replace(nonlinearities.halves, function=function)
    frame = scattering.oriented((9, 8), 1.0, 2)
    sizes, once = [], []
    for prune in (0.5, 0.1, 0.007, 0.0):
        signal = noise(3, (9, 8))
        actual = scattering.energies(
            signal, frame, 2, prune=prune, nonlinearity=counted, memory_mib=0.25
        )
        sizes.append(int(np.sum(actual.paths)))
        once.append(len(traced))
    assert 0 < once[0] == once[-1]
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3] == 1 + 4 * 4 + 16 * 16
    propagated, collected = expected(signal, [frame] * 3, [reference.halves] * 3)
    assert_close(actual.propagated, propagated)
    assert_close(actual.collected, collected)
    assert_accounts(actual)


#: a function of one's own, then halves, then another; 1.3 and 0.8 are their Lipschitz constants
MIXED = (
    nonlinearities.lipschitz(soft, 1.3),
    nonlinearities.halves,
    nonlinearities.lipschitz(shrunk, 0.8),
)
MIXED_NP = [soft_np, reference.halves, shrunk_np]


def mixed_frames(seed):
    return [one_sided(seed + i, (15,), bands) for i, bands in enumerate((3, 2, 3))]


def test_energies_with_a_non_linearity_for_each_layer():
    """What the last layer hands on isn't computed, and known between bounds only."""
    signal, layer_frames = noise(4, (15,)), mixed_frames(5)
    actual = energies(signal, layer_frames, nonlinearity=MIXED)
    propagated, collected = expected(signal, layer_frames, MIXED_NP)
    assert_close(actual.propagated[:-1], propagated[:-1])
    assert_close(actual.collected, collected)
    assert_inside(actual, propagated, collected)
    np.testing.assert_array_equal(actual.paths, [1, 3, 24])


def test_a_function_of_ones_own_made_anew_is_the_same():
    again = nonlinearities.lipschitz(soft, 1.3)
    assert again == MIXED[0]
    assert hash(again) == hash(MIXED[0])
    assert (again.name, again.parts) == ("soft", 1)
    assert 1.3 <= again.lipschitz <= 1.3 * (1 + 1e-6)
    assert (again.conserves, again.symmetric, again.homogeneous) == (False,) * 3


# --- certified brackets -----------------------------------------------------------------------

SHARES = st.sampled_from([0.0, 1e-6, 1e-3, 1e-2, 0.05, 0.2, 0.9])
SEEDS = st.integers(0, 10**6)


@st.composite
def signals(draw, samples=SAMPLES):
    """Noise, an impulse, a wave, a step or nothing, of any size."""
    t, seed = np.arange(samples), draw(SEEDS)
    kind = draw(st.sampled_from(["noise", "noise", "impulse", "wave", "step", "nothing"]))
    size = draw(st.sampled_from([1.0, 1e-3, 300.0]))
    shapes = {
        "noise": np.random.default_rng(seed).normal(size=samples),
        "impulse": 1.0 * (t == seed % samples),
        "wave": np.cos(2 * np.pi * (seed % samples) * t / samples + seed),
        "step": 1.0 * (t < seed % samples),
        "nothing": 0.0 * t,
    }
    return size * shapes[kind]


@given(
    signals(),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    SHARES,
    SEEDS | st.none(),
    st.booleans(),
)
def test_brackets_hold_the_truth_however_much_is_pruned(signal, names, prune, seed, cut):
    """For tight frames and others, also where the number of paths runs out."""
    layer_frames = [FRAMES[i] for i in names]
    if seed is not None:
        layer_frames = [stretched(frame, seed + i) for i, frame in enumerate(layer_frames)]
    most = 7 if cut else 10**6
    actual = energies(signal, layer_frames, prune, max_paths=most)
    propagated, collected = expected(signal, layer_frames, [reference.modulus] * 3)
    assert_inside(actual, propagated, collected)
    uncut = energies(signal, layer_frames, prune)
    if cut and prune == 0 and signal.any():
        assert not actual.complete
    if not cut:
        assert actual.complete
    assert np.sum(actual.paths) <= 1 + 4 * (most - 1)
    if actual.complete:
        np.testing.assert_array_equal(actual.paths, uncut.paths)
    else:
        assert np.sum(actual.paths) < np.sum(uncut.paths)
    if seed is None:
        width = actual.propagated_bounds[:, 1] - actual.propagated_bounds[:, 0]
        assert np.all(width <= np.cumsum(actual.pruned) * (1 + 1e-9) + 1e-11 * actual.energy)
        total = actual.energy - np.sum(actual.pruned)
        assert_close(np.sum(actual.collected), total, 1e-11)


def test_what_is_pruned_may_grow_as_much_as_frames_allow():
    """Two layers pass everything on, 1.5 times as large, and the last one collects it all."""
    k = np.arange(SAMPLES)
    bands = np.zeros((6, SAMPLES))
    for band, some in enumerate(((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11, 12))):
        bands[band, some] = 1.5
    bands[:, [0, 12]] *= math.sqrt(0.5)  # which their mirrors let through too
    bands[3:] = [reference.mirror(band) for band in bands[:3]]
    layer_frames = [dataclasses.replace(FRAMES[0], low=0.0 * k, bands=bands)] * 2
    layer_frames.append(dataclasses.replace(FRAMES[0], low=1.5 + 0.0 * k, bands=0 * bands))
    signal = noise(6)
    for prune in (0.0, 0.1, 0.9):
        actual = energies(signal, layer_frames, prune)
        propagated, collected = expected(signal, layer_frames, [reference.modulus] * 3)
        assert_close(propagated / np.sum(signal**2), [1, 1.5**2, 1.5**4, 0])
        assert_inside(actual, propagated, collected)
        assert_close(actual.propagated_bounds[1:3, 1], propagated[1:3], 1e-10)
    assert actual.paths[1] == 0
    assert_close(actual.total_bounds[1], 1.5**6 * actual.energy, 1e-10)


@example(1e-3 * np.eye(15)[0], 0, 0.9)  # so small that soft is as steep as it gets
@given(signals(15), SEEDS, SHARES)
def test_brackets_hold_for_any_lipschitz_function_and_frame(signal, seed, prune):
    layer_frames = mixed_frames(seed)
    actual = energies(signal, layer_frames, prune, nonlinearity=MIXED)
    assert_inside(actual, *expected(signal, layer_frames, MIXED_NP))


@given(signals(), st.sampled_from([1e-3, 1e-2, 0.1]))
def test_what_is_pruned_is_what_falls_short_of_the_share(signal, prune):
    """The recursion written out, less every band with at most that share, and what follows it."""
    frame = FRAMES[0]
    low, bands = reference.pair(frame)
    energy = np.sum(signal**2)
    level, pruned, collected, paths = [signal], [0.0], [], []
    for layer in range(3):
        paths.append(len(level))
        collected.append(sum(np.sum(np.abs(reference.filtered(u, low)) ** 2) for u in level))
        outputs = [np.abs(reference.filtered(u, band)) for u in level for band in bands]
        last = layer == 2
        near = [abs(np.sum(u**2) - prune * energy) <= 1e-12 * energy for u in outputs]
        if any(near) and energy > 0 and not last:
            return  # rounding decides
        level = [u for u in outputs if np.sum(u**2) > prune * energy and not last]
        pruned.append(sum(np.sum(u**2) for u in outputs) - sum(np.sum(u**2) for u in level))
    actual = energies(signal, [frame] * 3, prune)
    np.testing.assert_array_equal(actual.paths, paths)
    np.testing.assert_allclose(actual.pruned, pruned, rtol=0, atol=1e-12 * max(energy, 1e-300))
    np.testing.assert_allclose(
        actual.collected, collected, rtol=0, atol=1e-12 * max(energy, 1e-300)
    )


@given(signals(), st.sampled_from([1e-100, 1e-3, 1e100]))
def test_the_unit_of_the_signal_is_squared(signal, unit):
    plain, scaled = (energies(u * signal, FRAMES[:3], 1e-3) for u in (1.0, unit))
    np.testing.assert_array_equal(plain.paths, scaled.paths)
    assert_close(scaled.propagated, plain.propagated * unit**2)


# --- cases with a closed form -----------------------------------------------------------------


@pytest.mark.parametrize("number", range(4))
def test_a_constant_is_collected_at_once(number):
    result = energies(np.full(SAMPLES, -1.5), [FRAMES[number]] * 3)
    assert_close(result.collected, [1.5**2 * SAMPLES, 0, 0])
    assert_close(result.propagated, [1.5**2 * SAMPLES, 0, 0, 0])


@pytest.mark.parametrize("k", [2, 5, 9])
@pytest.mark.parametrize("number", range(4))
def test_a_wave_is_collected_in_the_first_layer(number, k):
    """|f * g| is constant for analytic g."""
    wave = np.cos(2 * np.pi * k * np.arange(SAMPLES) / SAMPLES + 0.4)
    result = energies(wave, [FRAMES[number]] * 3)
    low = float(FRAMES[number].low[k]) ** 2
    assert_close(result.collected, SAMPLES / 2 * np.array([low, 1 - low, 0]))
    assert_close(result.propagated, SAMPLES / 2 * np.array([1, 1 - low, 0, 0]))


@pytest.mark.parametrize("number", range(4))
def test_an_impulse_shows_the_mean_of_the_responses(number):
    result = energies(np.eye(SAMPLES)[5], [FRAMES[number]] * 3)
    low = np.mean(np.asarray(FRAMES[number].low) ** 2)
    assert_close(result.propagated[:2], [1, 1 - low])
    assert_close(result.collected[0], low)


# --- derivatives and batches ------------------------------------------------------------------

#: frames of different kinds and sizes: mirrored, complex without mirrors, one band and its mirror
OWN = [
    nameless(scattering.meyer(16, 2.0)),
    one_sided(20, (16,), 3),
    nameless(scattering.weyl_heisenberg(16, 1)),
]
LAYERS = ("halves", "modulus", "halves")
LAYERS_NP = [reference.halves, reference.modulus, reference.halves]
WEIGHTS = np.random.default_rng(21).normal(size=10)


def least_memory():
    """The fewest MiB that do, with which one band is computed at a time."""
    with pytest.raises(ValueError, match="memory_mib: got 1e-06, expected at least") as caught:
        scattering.energies(np.ones(16), OWN, 2, nonlinearity=LAYERS, memory_mib=1e-6)
    return float(re.search(r"at least (\S+) for one band", str(caught.value))[1])


def height(signal, layer_frames, prune):
    """Some sum of all the energies."""
    result = energies(
        signal, layer_frames, prune, nonlinearity=LAYERS, memory_mib=2 * least_memory()
    )
    sums = jnp.concatenate([result.propagated, result.collected, result.passed])
    return jnp.sum(sums * WEIGHTS)


def expected_height(signal, layer_frames):
    propagated, collected = expected(signal, layer_frames, LAYERS_NP)
    return np.concatenate([propagated, collected, propagated[1:]]) @ WEIGHTS


#: signals and what of each is pruned: trees of different sizes in one batch
BATCH = np.stack([noise(22, (16,)), np.zeros(16), noise(23, (16,)), np.ones(16), noise(24, (16,))])
PRUNED = np.array([0.0, 0.0, 0.05, 0.0, 0.0])


@pytest.fixture(scope="module")
def climbed():
    """Values and slopes of a batch, for each signal and for the frames it goes through."""
    climb = jax.vmap(jax.value_and_grad(height, argnums=(0, 1)), (0, None, 0))
    return jax.tree.map(np.asarray, jax.jit(climb)(BATCH, OWN, PRUNED))


def direction(seed):
    """A change of the signal, and one of the frames that keeps mirrors mirrors."""
    rng = np.random.default_rng(seed)
    moved = []
    for frame in OWN:
        low = rng.normal(size=3) @ np.cos(np.arange(3)[:, None] * 2 * np.pi * np.arange(16) / 16)
        bands = rng.normal(size=frame.bands.shape).astype(frame.bands.dtype)
        if np.iscomplexobj(bands):
            bands = bands + 1j * rng.normal(size=bands.shape)
        for i, j in enumerate(frame.mirrors):
            if j >= 0:
                bands[j] = reference.mirror(bands[i])
        moved.append(dataclasses.replace(frame, low=low.astype(frame.low.dtype), bands=bands))
    return rng.normal(size=16), moved


def moved(point, change, step):
    return jax.tree.map(lambda x, t: np.asarray(x) + step * np.asarray(t), point, change)


def reverse(climbed, number, change):
    """What the slopes of one signal of the batch say of a change."""
    slopes = jax.tree.leaves(climbed[1])
    pairs = zip(slopes, jax.tree.leaves(change), strict=True)
    return sum(np.sum(slope[number] * t).real for slope, t in pairs)


@pytest.mark.parametrize("number", [0, 4])
def test_slopes_are_those_of_finite_differences_of_the_reference(climbed, number):
    """In chunks of two bands at a time, for the signal and for frames, in a batch."""
    point = BATCH[number], OWN
    assert_close(climbed[0][number], expected_height(*point), 1e-11)
    for seed in range(3):
        change, step = direction(30 + seed), 1e-5
        ahead, behind = (expected_height(*moved(point, change, s)) for s in (step, -step))
        expected = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(reverse(climbed, number, change), expected, rtol=1e-6)


def test_forward_mode_is_reverse_mode(climbed):
    pushed = jax.jit(lambda p, t: jax.jvp(lambda *a: height(*a, 0.0), p, t))
    for seed in range(2):
        change = direction(40 + seed)
        same, forward = pushed((BATCH[0], OWN), change)
        np.testing.assert_allclose(same, climbed[0][0], rtol=1e-12)
        np.testing.assert_allclose(forward, reverse(climbed, 0, change), rtol=1e-9)


@pytest.mark.parametrize("number", range(len(BATCH)))
def test_slopes_along_the_signal_are_twice_the_energy(climbed, number):
    """As of all that is homogeneous of degree 2; what is pruned is held fixed."""
    along = np.sum(climbed[1][0][number] * BATCH[number])
    np.testing.assert_allclose(along, 2 * climbed[0][number], rtol=1e-11)


def test_a_dead_signal_has_no_energy_and_no_slope(climbed):
    assert climbed[0][1] == 0
    for slope in jax.tree.leaves(climbed[1]):
        np.testing.assert_array_equal(slope[1], 0)
        assert np.all(np.isfinite(slope[3]))  # a constant, of which all bands are dead
        assert np.any(slope[0])
    result = energies(np.zeros(SAMPLES), FRAMES[:3])
    for name in scattering.Account._fields:
        np.testing.assert_array_equal(getattr(result, name), 0)
    assert result.complete


@pytest.mark.optimized
def test_memory_stays_below_what_is_granted():
    """In reverse mode too; the last layer alone would take sixty times as much."""
    samples, depth, memory_mib = 512, 4, 2
    frame = scattering.weyl_heisenberg(samples, 16, dtype="float32")
    assert 16**depth * samples * 4 > 60 * memory_mib * 2**20

    def remaining(signal, prune):
        result = scattering.energies(signal, frame, depth, prune=prune, memory_mib=memory_mib)
        return jnp.sum(result.propagated), result.paths

    signal = noise(25, (samples,), "float32")
    climb = jax.jit(jax.value_and_grad(remaining, has_aux=True)).lower(signal, 0.5).compile()
    filters = 16 * (samples // 2 + 1) * (8 + 8 + 4)
    assert climb.memory_analysis().temp_size_in_bytes <= memory_mib * 2**20 + 4 * filters
    (value, paths), slope = climb(signal, 1e-5)
    assert paths[2] > 0
    np.testing.assert_allclose(slope @ signal, 2 * value, rtol=1e-4)


# --- paths ------------------------------------------------------------------------------------

WALK = {"nonlinearity": LAYERS, "max_paths": 400, "memory_mib": 0.25}


@pytest.fixture(scope="module")
def walked():
    """All paths of a signal through frames of different kinds, and the levels of the reference."""
    signal = noise(40, (16,))
    actual = scattering.paths(signal, OWN, 2, prune=0.0, **WALK)
    layer_frames = [reference.pair(frame) for frame in OWN]
    return signal, actual, layer_frames, reference.levels(signal, layer_frames, LAYERS_NP)


def test_every_path_has_the_energy_of_the_reference(walked):
    _, actual, layer_frames, levels = walked
    assert len(set(actual.steps)) == len(actual.steps) == 1 + 2 * 4 + 2 * 4 * 3
    numbers = [
        {p: i for i, p in enumerate(reference.steps(layer_frames, (4, 1), n))} for n in range(3)
    ]
    for path, order, energy, collected in zip(
        actual.steps, actual.order, actual.energy, actual.collected, strict=True
    ):
        assert len(path) == order
        u = levels[order][numbers[order][path]]
        smooth = reference.filtered(u, layer_frames[order][0])
        np.testing.assert_allclose(energy, np.sum(u**2), rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(collected, np.sum(np.abs(smooth) ** 2), rtol=1e-10, atol=1e-13)


def test_paths_add_up_to_the_energies(walked):
    signal, actual, layer_frames, _ = walked
    propagated, collected = reference.energies(signal, layer_frames, LAYERS_NP)
    count = np.zeros(3, int)
    sums = np.zeros((2, 3))
    np.add.at(count, actual.order, actual.multiplicity)
    np.add.at(sums[0], actual.order, actual.multiplicity * actual.energy)
    np.add.at(sums[1], actual.order, actual.multiplicity * actual.collected)
    np.testing.assert_array_equal(count, [1, 4 * 4, 16 * 3])
    assert_close(sums[0], propagated[:3])
    assert_close(sums[1], collected)


def test_pruned_paths_are_some_of_all(walked):
    signal, layer_frames, _, _ = walked
    share = 0.01
    some = scattering.paths(signal, OWN, 2, prune=share, **WALK)
    known = dict(zip(layer_frames.steps, layer_frames.energy, strict=True))
    assert 1 < len(some.steps) < len(layer_frames.steps)
    for path, energy in zip(some.steps, some.energy, strict=True):
        np.testing.assert_allclose(energy, known[path], rtol=1e-12)
        assert path == () or path[:-1] in some.steps
        assert path == () or path[:-1] in known


# --- features ---------------------------------------------------------------------------------


def test_features_are_those_of_the_reference(walked):
    signal, actual, layer_frames, _ = walked
    features = scattering.features(signal, OWN, actual.steps, nonlinearity=LAYERS)
    assert features.shape == (len(actual.steps), 16)
    for path, feature, collected in zip(actual.steps, features, actual.collected, strict=True):
        _, smooth = reference.features(signal, layer_frames, LAYERS_NP, path)
        np.testing.assert_allclose(feature, smooth, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.sum(feature**2), collected, rtol=1e-10, atol=1e-13)


LINE = scattering.meyer(32, 3.0)
STRIDE = supports.subsampling(LINE)
of_line = jax.jit(lambda f: scattering.features(f, LINE, 2, subsample=STRIDE))
of_lines = jax.jit(jax.vmap(of_line))


def shares(frame, depth):
    """√ of how many paths each path of `all_paths` stands for."""
    paths = scattering.all_paths(frame, depth)
    return np.array([2.0 ** (len(path) / 2) for path in paths])[:, None]


def waves(seed=0, samples=32):
    """A wave under a window."""
    t = np.arange(samples)
    window = np.exp(-(((t - samples / 2) / 5) ** 2))
    return window * np.cos(1.9 * t + seed)


def test_features_move_along_with_the_signal():
    assert STRIDE == 8
    signal = noise(50, (32,))
    still, along = of_lines(np.stack([signal, np.roll(signal, 2 * STRIDE)]))
    np.testing.assert_allclose(along, np.roll(still, 2, -1), rtol=0, atol=1e-12)
    assert np.ptp(np.asarray(still), axis=-1).max() > 0.1


def test_subsampling_keeps_the_energy():
    """Summed over paths and mirrors, of features that keep every eighth sample."""
    signal = noise(51, (32,))
    few = of_lines(np.stack([signal, signal]))[0]
    pair = reference.pair(LINE)
    _, collected = reference.energies(signal, [pair] * 3, [reference.modulus] * 3)
    paths = scattering.all_paths(LINE, 2)
    for n in range(3):
        here = np.array([len(path) == n for path in paths])
        energy = STRIDE * 2.0**n * np.sum(np.asarray(few)[here] ** 2)
        np.testing.assert_allclose(energy, collected[n], rtol=1e-12)
    for path, feature in zip(paths, few, strict=True):
        _, smooth = reference.features(signal, [pair] * 3, [reference.modulus] * 3, path)
        np.testing.assert_allclose(feature, smooth[::STRIDE], rtol=0, atol=1e-12)


@given(SEEDS, SEEDS)
def test_features_never_part_signals(one, other):
    """‖Φf − Φg‖ ≤ ‖f − g‖, so 0 for equal signals (in a batch they may round differently)."""
    pair = [noise(seed, (32,)) for seed in (one, other)]
    first, second = (np.asarray(of_line(f)) * shares(LINE, 2) * np.sqrt(STRIDE) for f in pair)
    apart = np.linalg.norm(pair[0] - pair[1])
    assert np.linalg.norm(first - second) <= apart * (1 + 1e-12)


@pytest.mark.parametrize("amount", [0.2, 0.6])
def test_small_deformations_change_features_little(amount):
    """x → x − τ(x): the signal changes much, its features by a fraction of that."""
    t = np.arange(32)
    bent = t - amount * np.sin(2 * np.pi * t / 32 + 0.3)
    plain = waves()
    k = 2 * np.pi * np.fft.fftfreq(32)
    deformed = np.real(np.exp(1j * np.outer(bent, k)) @ np.fft.fft(plain)) / 32
    first, second = np.asarray(of_lines(np.stack([plain, deformed])))
    change = np.linalg.norm((first - second) * shares(LINE, 2)) * np.sqrt(STRIDE)
    apart = np.linalg.norm(plain - deformed)
    assert apart > 0.1 * np.linalg.norm(plain)
    assert change < 0.2 * apart


def test_features_of_images():
    frame = scattering.oriented((8, 12), 1.0, 2)
    run = jax.jit(lambda f: scattering.features(f, frame, 1))
    image = noise(52, (8, 12))
    actual = run(image)
    assert actual.shape == (1 + 2, 8, 12)
    for path, feature in zip(scattering.all_paths(frame, 1), actual, strict=True):
        _, smooth = reference.features(
            image, [reference.pair(frame)] * 2, [reference.modulus], path
        )
        np.testing.assert_allclose(feature, smooth, rtol=0, atol=1e-12)
    along = run(np.roll(image, (3, -2), (0, 1)))
    np.testing.assert_allclose(along, np.roll(actual, (3, -2), (1, 2)), rtol=0, atol=1e-12)


def test_features_of_a_few_paths_of_an_image_are_those_of_all():
    bank = scattering.oriented((12, 16), 1, 4)
    image = np.random.default_rng(5).normal(size=bank.shape)
    values, paths = scattering.features(image, bank, 2), scattering.all_paths(bank, 2)
    few = np.array([9, 2, 9])
    got = scattering.features(image, bank, [paths[i] for i in few])
    np.testing.assert_allclose(got, values[few], atol=1e-12)
    deep = scattering.features(image, bank, [paths[9]])
    np.testing.assert_allclose(deep[0], values[9], atol=1e-12)


def test_features_are_differentiable():
    """Both ways, against finite differences, for signal and frame; finite for a dead signal."""
    base = scattering.weyl_heisenberg(8, 2)
    paths = ((), (0,), (1, 0), (0, 1))
    weights = np.random.default_rng(53).normal(size=(4, 8))

    def total(signal, bands):
        frame = dataclasses.replace(base, bands=bands)
        return jnp.sum(scattering.features(signal, frame, paths) * weights)

    rng = np.random.default_rng(54)
    point = rng.normal(size=8), np.asarray(base.bands)
    change = rng.normal(size=8), rng.normal(size=base.bands.shape)
    slope = jax.jit(jax.grad(total, argnums=(0, 1)))
    reverse = sum(np.sum(s * t) for s, t in zip(slope(*point), change, strict=True))
    _, forward = jax.jit(lambda p, t: jax.jvp(total, p, t))(point, change)

    def expected_total(signal, bands):
        layer_frames = [(np.asarray(base.low), bands)] * 3
        actual = [
            reference.features(signal, layer_frames, [reference.modulus] * 2, p)[1] for p in paths
        ]
        return np.sum(np.array(actual) * weights)

    step = 1e-6
    ahead, behind = (expected_total(*moved(point, change, s)) for s in (step, -step))
    np.testing.assert_allclose(forward, reverse, rtol=1e-10)
    np.testing.assert_allclose(reverse, (ahead - behind) / (2 * step), rtol=1e-6)
    assert all(np.all(np.isfinite(s)) for s in slope(np.zeros(8), point[1]))


def test_all_paths_are_short_ones_first_and_one_of_each_mirrored_pair():
    frame = scattering.weyl_heisenberg(16, 2)
    assert scattering.all_paths(frame, 0) == ((),)
    assert scattering.all_paths(frame, 2) == ((), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1))
    with_parts = scattering.all_paths(frame, 1, nonlinearity="halves")
    assert with_parts == ((), *((i,) for i in range(8)))
    both_sides = scattering.all_paths(frame, 1, nonlinearity=MIXED[0])
    assert both_sides == ((), (0,), (1,), (2,), (3,))


def test_labels_name_the_bands_of_a_path():
    line, plane = scattering.meyer(32, 3.0), scattering.oriented((16, 16), 2.0, 2)
    result = scattering.labels(line, [(), (2,), (0, 5)])
    np.testing.assert_array_equal(result.order, [0, 1, 2])
    np.testing.assert_array_equal(result.scale, [[np.nan] * 2, [3, np.nan], [1, 3]])
    delta = np.pi / 16
    centers = [[np.nan] * 2, [8 * delta, np.nan], [2 * delta, 8 * delta]]
    np.testing.assert_allclose(result.center, centers)
    assert np.all(np.isnan(result.orientation))
    result = scattering.labels(
        plane, [(4 * 5 + 3, 6)], nonlinearity=["halves", "modulus", "modulus"]
    )
    np.testing.assert_array_equal(result.scale, [[2, 2]])
    np.testing.assert_allclose(result.orientation, [[np.pi / 2, np.pi]])
    np.testing.assert_array_equal(result.part, [[3, 0]])
    np.testing.assert_allclose(result.center, np.full((1, 2), np.pi / 2))


# --- bad input --------------------------------------------------------------------------------

F, X = FRAMES[0], np.ones(SAMPLES)
SMALL = nameless(scattering.meyer(16, 2.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scattering.energies(np.ones(23), F, 2), r"signal: got shape \(23,\), expected"),
        (lambda: scattering.energies(1j * X, F, 2), "signal: got dtype complex128"),
        (lambda: scattering.energies("abc", F, 2), "signal: got str"),
        (lambda: scattering.energies(X * np.nan, F, 2), "signal: got 24 of 24 values not finite"),
        (lambda: scattering.energies(X, F, -1), "depth: got -1"),
        (lambda: scattering.energies(X, F, 1.0), "depth: got 1.0"),
        (lambda: scattering.energies(X, [F, F], 2), "frame: got 2 of them, expected one, or one"),
        (lambda: scattering.energies(X, [], 2), "frame: got list"),
        (lambda: scattering.energies(X, "meyer", 2), "frame: got str"),
        (lambda: scattering.energies(X, [F, F, SMALL], 2), r"frame: got shapes \(24,\) and"),
        (lambda: scattering.energies(X, F, 2, prune=-0.1), "prune: got -0.1"),
        (lambda: scattering.energies(X, F, 2, prune=1.0), "prune: got 1.0"),
        (lambda: scattering.energies(X, F, 2, prune=np.nan), "prune: got nan"),
        (lambda: scattering.energies(X, F, 2, prune=[0.1]), "prune: got"),
        (lambda: scattering.energies(X, F, 2, nonlinearity="relu"), "nonlinearity: got 'relu'"),
        (lambda: scattering.energies(X, F, 2, nonlinearity=["modulus"]), "nonlinearity: got 1 of"),
        (lambda: scattering.energies(X, F, 2, nonlinearity=np.abs), "nonlinearity: got ufunc"),
        (lambda: scattering.energies(X, F, 2, max_paths=0), "max_paths: got 0"),
        (lambda: scattering.energies(X, F, 13), "depth: got 13 layers with 2391484 paths"),
        (lambda: scattering.energies(X, F, 2, max_paths=12), "depth: got 2 layers.* 13 paths"),
        (lambda: scattering.energies(X, F, 2, memory_mib=1e-4), "memory_mib: got 0.0001, expected"),
        (lambda: scattering.energies(X, F, 2, memory_mib=0), "memory_mib: got 0, expected a pos"),
        (lambda: scattering.paths(np.ones(23), F, 2), "signal: got shape"),
        (lambda: scattering.paths(X, F, 2, nonlinearity="relu"), "nonlinearity"),
        (lambda: scattering.features(X[1:], F, 2), "signal: got shape"),
        (lambda: scattering.features(X, F, 2, subsample=5), "subsample: got 5, expected a divisor"),
        (lambda: scattering.features(X, F, 2, subsample=0), "subsample: got 0"),
        (lambda: scattering.features(X, F, [(0,), (6,)]), "which: got step 6 in layer 0"),
        (lambda: scattering.features(X, F, [(0, -1)]), "which: got"),
        (lambda: scattering.features(X, F, -1), "(which|depth): got -1"),
        (lambda: scattering.features(X, F, 2, memory_mib=1e-3), "which: got 13 paths"),
        (lambda: scattering.all_paths(F, 3, max_paths=39), "depth: got 3 layers.* 40 paths"),
        (lambda: scattering.labels(F, [(0, 6)]), "which: got step 6 in layer 1"),
        (lambda: nonlinearities.lipschitz(jnp.abs, 0.0), "constant: got"),
        (lambda: nonlinearities.lipschitz(jnp.abs, np.inf), "constant: got"),
        (lambda: nonlinearities.lipschitz(jnp.abs, 0.9), "function: got"),
        (lambda: nonlinearities.lipschitz(jnp.cos, 1.0), "function: got"),
        (lambda: nonlinearities.lipschitz(lambda z: jnp.abs(z) + 1e-3, 2.0), "function: got"),
        (lambda: nonlinearities.lipschitz(lambda z: jnp.sum(jnp.abs(z)), 1.0), "function: got"),
        (lambda: nonlinearities.get("sigmoid"), "nonlinearity: got 'sigmoid', expected one of"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_paths_are_not_for_traced_signals():
    with pytest.raises(ValueError, match=r"signal: got .*traced array"):
        jax.jit(lambda f: scattering.paths(f, F, 1).energy)(X)


def test_very_many_chunks_lose_nothing_to_rounding():
    """W of equal real filters is known; each of 3,661 paths is a chunk of its own."""
    count, signal = 60, np.array([1, -0.7, 0.3, 0.2], np.float32)
    bands = np.full((count, 4), np.sqrt(0.99 / count), np.float32)
    bank = scattering.frames.frame(np.full(4, 0.1, np.float32), bands)
    with pytest.raises(ValueError, match="memory_mib: got 1e-06, expected at least") as refused:
        scattering.energies(signal, bank, 2, memory_mib=1e-6)
    least = float(re.search(r"at least (\S+)", str(refused.value))[1])
    result = scattering.energies(signal, bank, 2, memory_mib=least)
    assert np.sum(result.paths) == 1 + count + count**2
    share = np.sum(np.asarray(bank.bands, np.float64)[:, 0] ** 2)
    energy = np.sum(signal.astype(np.float64) ** 2)
    np.testing.assert_allclose(result.propagated, energy * share ** np.arange(4), rtol=3e-6)


def test_a_share_to_prune_is_one_number_also_when_traced():
    with pytest.raises(ValueError, match=r"prune: got shape \(3,\)"):
        jax.jit(lambda p: scattering.energies(noise(1), FRAMES[0], 1, prune=p))(np.ones(3) / 9)
    for prune in (np.nan, 1.0, -0.1):
        with pytest.raises(ValueError, match="prune: got"):
            scattering.paths(noise(1), FRAMES[0], 1, prune=prune)
