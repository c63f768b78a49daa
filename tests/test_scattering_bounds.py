"""What is guaranteed about scattering, what energies say, extremes, layers of networks, signals."""

import functools
import math
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference as mechanics
import scattering_reference as reference
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

import infomech as im
from infomech import scattering
from infomech.scattering import (
    analysis,
    bounds,
    extremes,
    frames,
    layers,
    signals,
    supports,
)

LINE, PLANE = (24,), (8, 9)
WAVELETS = scattering.meyer(24, 3 * math.log2(1.8), dilation=1.8)
DYADIC = scattering.meyer(24, 2.0)
UNIFORM = scattering.weyl_heisenberg(24, 3)
WIDE = scattering.weyl_heisenberg(24, 2, width=4.0, gap=1.5)
WIDEST = scattering.meyer(64, 3 * math.log2(1.5), dilation=1.5)
ON_A_LINE = {"wavelets": WAVELETS, "dyadic": DYADIC, "uniform": UNIFORM, "wide": WIDE}
IN_A_PLANE = {
    "half planes": scattering.oriented(PLANE, 1.0, 2),
    "narrow": scattering.oriented((9, 9), 1.0, 4, dilation=1.5),
    "narrower": scattering.oriented((9, 9), 1.0, 5),
}
REAL = frames.tighten(
    frames.from_taps([0.25, 0.5, 0.25], [[-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]], LINE)
)


def drawn(seed, grid, size=1.0):
    """Noise of one of several kinds: white, of the lowest frequencies, a wave, an impulse."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=grid)
    cut = rng.uniform(0.2, np.pi)
    low = reference.filtered(white, 1.0 * (reference.size(grid) <= cut)).real
    point = np.zeros(grid)
    point.flat[seed % point.size] = 1
    wave = np.cos(
        sum(
            i * 2 * np.pi * rng.integers(n) / n
            for i, n in zip(np.meshgrid(*map(np.arange, grid), indexing="ij"), grid, strict=True)
        )
    )
    return size * (white, low, low, wave, point)[seed % 5]


def measured(signal, layer_frames):
    """W_0 … W_N through these frames with the modulus."""
    pairs = [reference.pair(frame) for frame in layer_frames]
    return reference.energies(signal, pairs, [reference.modulus] * len(layer_frames))[0]


# --- table and formulas -----------------------------------------------------------------------

SHARES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


@pytest.mark.parametrize(
    ("factor", "table"), [(5 / 3, (2, 3, 4, 6, 8, 11)), (3 / 2, (2, 4, 5, 8, 10, 14))]
)
def test_layers_needed_are_those_of_the_paper(factor, table):
    assert tuple(bounds.layers_needed(share, factor=factor) for share in SHARES) == table


def test_general_filters_need_many_layers():
    assert bounds.layers_needed(0.99) == 199
    assert bounds.layers_needed(0.75) == 7
    assert bounds.layers_needed(0.75, bandwidth=3.0) == 22


@given(st.floats(0, 0.999), st.floats(1, 50), st.none() | st.floats(1.1, 10))
def test_layers_needed_are_the_fewest_that_the_bound_allows(share, bandwidth, factor):
    """1 − L/w ≥ √share, with w = a^N or N + 1, after N layers and not after one less."""
    result = bounds.layers_needed(share, bandwidth=bandwidth, factor=factor)
    width = (lambda n: n + 1) if factor is None else (lambda n: factor**n)
    assert 1 - bandwidth / width(result) >= math.sqrt(share) - 1e-6
    assert result == 1 or 1 - bandwidth / width(result - 1) <= math.sqrt(share) + 1e-6


@pytest.mark.parametrize("support", [(0.5, 2.0), (1.0, 3.0), (0.0, 1.0), (2.0, 2.1)])
def test_contraction_is_that_of_the_best_demodulation(support):
    """a = min |ω|/|ω − ν| over [A, B], largest at ν = 2AB/(A + B)."""
    low, high = support
    omega = np.linspace(low, high, 1001)

    def worst(nu):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.min(np.where(omega == nu, np.inf, omega / np.abs(omega - nu)))

    result = bounds.contraction(support)
    tried = max(worst(nu) for nu in np.linspace(low, high, 501)[1:-1])
    assert result >= tried * (1 - 1e-12) or low == 0
    if low > 0:
        assert result == pytest.approx(worst(2 * low * high / (low + high)))
    assert result == pytest.approx((high + low) / (high - low))


def test_contraction_of_one_frequency_is_infinite():
    assert bounds.contraction((1.5, 1.5)) == math.inf
    assert bounds.contraction((0.0, 1.5)) == 1


@pytest.mark.parametrize("factor", [1.3, 5 / 3, 2.5])
def test_dilation_for_builds_wavelets_of_that_factor(factor):
    dilation = bounds.dilation_for(factor)
    frame = scattering.meyer(2**13, 3 * math.log2(dilation), dilation=dilation)
    result = supports.factors(frame)
    assert result.min() == pytest.approx(factor, rel=0.01)
    assert result.min() >= factor * (1 - 1e-9)


@pytest.mark.parametrize(("factor", "gap"), [(1.5, 1.0), (2.5, 1.0), (4.0, 2.0)])
def test_width_for_builds_uniform_filters_of_that_factor(factor, gap):
    frame = scattering.weyl_heisenberg(2**12, 6, width=bounds.width_for(factor, gap=gap), gap=gap)
    result = supports.factors(frame)
    assert result.min() == pytest.approx(factor, rel=0.01)
    assert result.min() >= factor * (1 - 1e-9)


# --- guarantees -------------------------------------------------------------------------------


def test_widths_of_one_frame():
    """δ, a δ, a² δ … and δ, 2δ, 3δ …"""
    gap, factor = supports.gap(WIDEST), supports.factors(WIDEST).min()
    assert factor > 2
    np.testing.assert_allclose(bounds.widths(WIDEST, 4), gap * factor ** np.arange(4))
    np.testing.assert_allclose(bounds.widths(WIDEST, 4, rule="general"), gap * np.arange(1, 5))
    narrow = scattering.weyl_heisenberg(96, 4, width=6.0)
    gap, factor = supports.gap(narrow), supports.factors(narrow).min()
    assert factor * gap < 2 * gap  # so the gap is added at first
    expected = [gap]
    for _ in range(5):
        expected.append(max(factor * expected[-1], expected[-1] + gap))
    np.testing.assert_allclose(bounds.widths(narrow, 6), expected)
    plane = IN_A_PLANE["narrower"]
    power = math.log2(math.sqrt(4 / 3))
    np.testing.assert_allclose(
        bounds.widths(plane, 3, rule="general"),
        supports.gap(plane) * np.arange(1.0, 4.0) ** power,
    )


def test_widths_of_different_frames_go_from_the_last_layer_to_the_first():
    layer_frames = [WAVELETS, WIDE, DYADIC]
    gaps = [supports.gap(frame) for frame in layer_frames]
    factors = [supports.factors(frame).min() for frame in layer_frames]
    second = max(gaps[1] * factors[0], gaps[1] + gaps[0])
    inner = max(gaps[2] * factors[1], gaps[2] + gaps[1])
    third = max(inner * factors[0], inner + gaps[0])
    np.testing.assert_allclose(bounds.widths(layer_frames, 3), [gaps[0], second, third])
    sums = [gaps[0], gaps[1] + gaps[0], gaps[2] + gaps[1] + gaps[0]]
    np.testing.assert_allclose(bounds.widths(layer_frames, 3, rule="general"), sums)


@pytest.mark.parametrize(("frame", "power"), [(DYADIC, 2), (IN_A_PLANE["narrow"], 4)])
@pytest.mark.parametrize("rule", bounds.RULES)
def test_guarantee_is_its_formula(frame, power, rule):
    """Σ |f̂|² (1 − (1 − |ω|/w)₊^{2l}) / samples."""
    signal = drawn(5, frame.shape)
    spectrum = np.abs(np.fft.fftn(signal)) ** 2 / signal.size
    expected = [np.sum(signal**2)]
    for width in bounds.widths(frame, 3, rule=rule):
        width = width if power == 2 else min(width, np.pi)
        cone = np.maximum(1 - reference.size(frame.shape) / width, 0)
        expected.append(np.sum(spectrum * (1 - cone**power)))
    np.testing.assert_allclose(bounds.guaranteed(signal, frame, 3, rule=rule), expected)


def assert_guaranteed(signal, layer_frames, rule):
    result = np.asarray(bounds.guaranteed(signal, layer_frames, len(layer_frames), rule=rule))
    energy = np.sum(signal**2)
    assert np.all(measured(signal, layer_frames) <= result + 1e-12 * energy)
    np.testing.assert_allclose(result[0], energy, rtol=1e-12)
    return result


@given(
    st.integers(0, 10**6),
    st.lists(st.sampled_from(list(ON_A_LINE)), min_size=3, max_size=3),
    st.sampled_from(bounds.RULES),
    st.sampled_from([1.0, 1e-3, 50.0]),
)
def test_guarantee_holds_on_a_line(seed, names, rule, size):
    assert_guaranteed(drawn(seed, LINE, size), [ON_A_LINE[name] for name in names], rule)


@given(st.integers(0, 10**6), st.sampled_from(list(ON_A_LINE)), st.sampled_from(bounds.RULES))
def test_guarantee_of_one_frame_falls_with_every_layer(seed, name, rule):
    frame = ON_A_LINE[name]
    signal = drawn(seed, LINE)
    result = assert_guaranteed(signal, [frame] * 3, rule)
    assert np.all(np.diff(result) <= 1e-12 * result[0])
    more = np.asarray(bounds.guaranteed(signal, frame, 3, rule=rule))
    np.testing.assert_allclose(more, result, rtol=1e-12)


@given(st.integers(0, 10**6), st.sampled_from(["half planes", "narrow", "narrower"]))
def test_guarantee_holds_in_a_plane(seed, name):
    frame = IN_A_PLANE[name]
    signal = drawn(seed, frame.shape)
    for rule in bounds.RULES[: 1 if name == "half planes" else 2]:
        result = assert_guaranteed(signal, [frame] * 2, rule)
        assert np.all(np.diff(result) <= 1e-12 * result[0])


@given(st.integers(0, 10**6))
def test_guarantee_holds_for_real_filters(seed):
    """Which let ω and −ω through, so that layers don't help: a = 1."""
    assert np.all(supports.factors(REAL) == 1)
    assert_guaranteed(drawn(seed, LINE), [REAL] * 3, "factors")


def test_a_guarantee_isn_t_empty():
    """Most of a slow signal is in the features."""
    slow = np.cos(2 * np.pi * np.arange(24) / 24) + 1.0
    result = np.asarray(bounds.guaranteed(slow, DYADIC, 4))
    assert result[1] < 0.5 * result[0]
    assert result[4] < 0.1 * result[0]


def test_the_guarantee_is_differentiable():
    """W ≤ ⟨f, M f⟩ for some M: slopes along f are twice the value, and finite for f = 0."""

    @jax.jit
    def slope(f):
        return jax.jacrev(lambda f: bounds.guaranteed(f, DYADIC, 3))(f)

    f = drawn(0, LINE)
    result = np.asarray(bounds.guaranteed(f, DYADIC, 3))
    np.testing.assert_allclose(slope(f) @ f, 2 * result, rtol=1e-12)
    other, step = drawn(5, LINE), 1e-5
    ahead, behind = (bounds.guaranteed(f + s * other, DYADIC, 3) for s in (step, -step))
    np.testing.assert_allclose(slope(f) @ other, (ahead - behind) / (2 * step), rtol=1e-6)
    np.testing.assert_array_equal(slope(np.zeros(24)), 0)


# --- analysis ---------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.2, 5 / 3, 4.0])
def test_exponential_decay_is_recovered(factor):
    result = analysis.decay(3.0 * factor ** -np.arange(12.0), floor=0.0)
    assert result.law == "exponential"
    assert result.log_ratio > 10
    np.testing.assert_allclose([result.factor, *result.factor_interval], factor, rtol=1e-6)
    np.testing.assert_array_equal(result.layers, range(1, 12))


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_polynomial_decay_is_recovered(power):
    n = np.arange(16.0)
    result = analysis.decay(np.concatenate([[5.0], 2.0 * n[1:] ** -power]), first=2)
    assert result.law == "polynomial"
    assert result.log_ratio < -10
    np.testing.assert_allclose([result.power, *result.power_interval], power, rtol=1e-6)
    np.testing.assert_array_equal(result.layers, range(2, 16))


@pytest.mark.parametrize("law", analysis.LAWS)
def test_the_right_law_is_told_through_noise(law):
    n = np.arange(20.0)
    pure = 1.4**-n if law == "exponential" else np.maximum(n, 1.0) ** -3
    inside = 0
    for seed in range(20):
        noise = np.exp(0.05 * np.random.default_rng(seed).normal(size=20))
        actual = analysis.decay(pure * noise, floor=0.0)
        assert actual.law == law
        interval, truth = (
            (actual.factor_interval, 1.4) if law == "exponential" else (actual.power_interval, 3)
        )
        assert interval[0] < (actual.factor if law == "exponential" else actual.power) < interval[1]
        inside += interval[0] <= truth <= interval[1]
    assert inside >= 16  # 95 %


def test_layers_below_the_floor_are_left_out():
    energy = np.array([1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-9, 1e-9, 0.0])
    result = analysis.decay(energy)
    np.testing.assert_array_equal(result.layers, [1, 2, 3, 4, 5])
    assert result.factor == pytest.approx(10)
    assert len(analysis.decay(energy, floor=1e-10).layers) == 7
    assert analysis.decay(np.zeros(9)).law == "none"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_than_five_layers_are_too_few_to_tell(count):
    energy = 10.0 ** -np.arange(count + 1)
    few = analysis.decay(energy)
    assert few.law == "none"
    np.testing.assert_array_equal(few.layers, range(1, count + 1))
    numbers = [few.factor, *few.factor_interval, few.power, *few.power_interval, few.log_ratio]
    assert np.all(np.isnan(numbers))
    assert analysis.decay(10.0 ** -np.arange(6)).law == "exponential"


def test_layers_that_pruning_leaves_uncertain_are_left_out():
    n = np.arange(9.0)
    pure = 2.0**-n
    reach = np.where(n < 6, 1e-3, 0.2) * pure
    account = scattering.Account(
        1.0,
        pure,
        pure[:-1],
        pure[:-1],
        0 * pure,
        np.stack([pure - reach, pure + reach], -1),
        None,
        None,
    )
    result = scattering.Energies(account, account, 1.0, None, True)
    np.testing.assert_array_equal(analysis.decay(result).layers, [1, 2, 3, 4, 5])
    assert analysis.decay(result).factor == pytest.approx(2)


def some_paths():
    """Paths of made-up energies: 1, then 0.5, 0.3, 0.2 (of mirrored pairs), then equal ones."""
    steps = ((), (0,), (1,), (4,), (0, 1), (1, 0), (4, 4))
    energy = np.array([3.0, 0.5, 0.3, 0.2, 0.125, 0.125, 0.125])
    order = np.array([len(path) for path in steps])
    return scattering.Paths(steps, order, energy, energy / 2, np.array([1, 1, 2, 2, 4, 4, 2]))


@pytest.mark.parametrize(
    ("share", "counts"), [(0.99, [1, 5, 10]), (0.5, [1, 2, 5]), (0.7, [1, 3, 7]), (1.0, [1, 5, 10])]
)
def test_significant_paths_are_the_fewest_that_hold_the_share(share, counts):
    np.testing.assert_array_equal(analysis.significant(some_paths(), share), counts)


def test_energy_by_scale_of_the_last_step():
    """Scales 1, 2, 3 of the bands 0, 1, 2 and again of their mirrors 3, 4, 5."""
    frame = scattering.meyer(64, 3.0)
    table = analysis.by_scale(some_paths(), frame)
    expected = [[3, 0, 0, 0], [0, 0.5, 0.6 + 0.4, 0], [0, 0.5, 0.5 + 0.25, 0]]
    np.testing.assert_allclose(table, expected)
    np.testing.assert_allclose(analysis.by_scale(some_paths(), frame, parts=4)[1], [0, 1.1, 0.4, 0])


# --- extremes ---------------------------------------------------------------------------------

TINY = scattering.meyer(16, 2.0)


@pytest.fixture(scope="module")
def worst():
    return extremes.worst_signal(
        TINY, 1, key=jax.random.key(0), bandwidth=1.3, starts=2, iterations=1, rate=0.5
    )


@pytest.mark.slow
def test_worst_signals_hold_back_more_than_those_they_started_from(worst):
    history = np.asarray(worst.history)
    assert history.shape == (2, 2)
    assert np.all(history[1] > history[0] + 1e-3)
    np.testing.assert_array_equal(history[-1], worst.remaining)
    np.testing.assert_allclose(worst.features, 1 - worst.remaining, atol=1e-12)


@pytest.mark.slow
def test_worst_signals_are_what_they_are_said_to_be(worst):
    outside = reference.size((16,)) > 1.3
    for signal, remaining in zip(np.asarray(worst.signal), worst.remaining, strict=True):
        np.testing.assert_allclose(np.sum(signal**2), 1, rtol=1e-12)
        assert np.max(np.abs(np.fft.fft(signal)[outside])) < 1e-12
        np.testing.assert_allclose(remaining, measured(signal, [TINY] * 2)[-1], rtol=1e-10)
        for rule in bounds.RULES:
            assert remaining <= bounds.guaranteed(signal, TINY, 2, rule=rule)[-1] + 1e-12


@pytest.mark.deep
def test_the_best_frame_is_tight_and_better():
    batch = np.stack([drawn(seed, (16,)) for seed in (0, 5, 10)])
    actual = extremes.best_frame(TINY, batch, 1, iterations=1, rate=0.05)
    frames.require_tight(actual.frame)
    np.testing.assert_array_equal(actual.frame.low, TINY.low)
    assert actual.frame.mirrors == TINY.mirrors
    for i, j in enumerate(TINY.mirrors):
        np.testing.assert_allclose(
            actual.frame.bands[j], reference.mirror(np.asarray(actual.frame.bands[i])), atol=1e-14
        )

    def share(frame):
        pair = reference.pair(frame)
        both = [reference.energies(f, [pair] * 2, [reference.modulus] * 2) for f in batch]
        return np.mean([np.sum(collected) / propagated[0] for propagated, collected in both])

    assert actual.share.shape == (2,)
    np.testing.assert_allclose(actual.share[0], share(TINY), rtol=1e-10)
    np.testing.assert_allclose(actual.share[-1], share(actual.frame), rtol=1e-10)
    assert actual.share[-1] > actual.share[0] + 0.005


# --- layers of networks -----------------------------------------------------------------------


def normalized(u, how):
    if how == "none":
        return u
    axes = tuple(range(how == "channel", u.ndim))
    centered = u - u.mean(axes, keepdims=True)
    spread = np.sqrt((centered**2).mean(axes, keepdims=True))
    return np.divide(centered, spread, out=np.zeros_like(u), where=spread > 0)


@pytest.mark.parametrize(
    ("grid", "taps", "rectifier", "normalize"),
    [
        ((12,), ((3,), (4,)), "relu", "none"),
        ((6, 5), ((3, 2), (2, 3)), "modulus", "channel"),
        ((6, 5), ((3, 2), (1, 5)), "leaky_relu", "layer"),
    ],
    ids=["1-D", "2-D channel", "2-D layer"],
)
def test_layers_are_those_of_direct_convolution(grid, taps, rectifier, normalize):
    """Two inputs, three channels, two outputs; bounds by the singular values of circulants."""
    rng = np.random.default_rng(6)
    channels = (2, 3, 2)
    weights = [
        rng.normal(size=(after, before, *box))
        for before, after, box in zip(channels[:-1], channels[1:], taps, strict=True)
    ]
    u = rng.normal(size=(2, *grid))
    result = layers.energies(weights, u, rectifier=rectifier, normalize=normalize)
    size = math.prod(grid)
    for n, kernel in enumerate(weights):
        np.testing.assert_allclose(result.incoming[n], np.sum(u**2))

        def apply(u, kernel=kernel):
            return np.array(
                [
                    sum(mechanics.convolve(x, k, "periodic") for x, k in zip(u, row, strict=True))
                    for row in kernel
                ]
            )

        passed = apply(u)
        np.testing.assert_allclose(result.filtered[n], np.sum(passed**2))
        rectified = mechanics.RECTIFIERS[rectifier](passed)
        np.testing.assert_allclose(result.rectified[n], np.sum(rectified**2))
        units = np.eye(len(u) * size).reshape(-1, len(u), *grid)
        matrix = np.array([apply(unit).ravel() for unit in units]).T
        strengths = np.linalg.svd(matrix, compute_uv=False) ** 2
        np.testing.assert_allclose(result.upper[n], strengths.max())
        lowest = strengths.min() if len(kernel) >= len(u) else 0
        np.testing.assert_allclose(result.lower[n], lowest, atol=1e-12)
        ratio = result.filtered[n] / result.incoming[n]
        assert result.lower[n] * (1 - 1e-9) <= ratio <= result.upper[n] * (1 + 1e-9)
        u = normalized(rectified, normalize)
        np.testing.assert_allclose(result.normalized[n], np.sum(u**2), atol=1e-12)


def test_a_channel_without_spread_is_left_at_zero():
    result = layers.energies([np.ones((1, 1, 1))], np.ones((1, 6)), normalize="channel")
    np.testing.assert_array_equal(result.rectified, 6)
    np.testing.assert_array_equal(result.normalized, 0)

    def height(u):
        return jnp.sum(layers.energies([np.ones((1, 1, 1))], u, normalize="channel").normalized)

    assert np.all(np.isfinite(jax.jit(jax.grad(height))(np.ones((1, 6)))))


def test_a_path_of_real_filters_is_a_rollout_and_a_stack_of_layers():
    """The three wings of the package meet: one path, by scattering, as a rollout and as layers."""
    rng = np.random.default_rng(7)
    low, taps = np.ones(4) / 4, rng.normal(size=(3, 4)) / 2
    bank = frames.from_taps(low, taps, 20)
    signal = rng.normal(size=20)
    path = (2, 0, 1)
    _, trace = im.rollout(
        taps[list(path)],
        signal,
        3,
        rectifier="modulus",
        boundary="periodic",
        normalize="l2",
        engine="shifts",
    )
    stack = layers.energies([taps[i][None, None] for i in path], signal[None], rectifier="modulus")
    pair = reference.pair(bank)
    functions = [reference.modulus] * 3
    for n in range(4):
        u, _ = reference.features(signal, [pair] * 4, functions, path[:n])
        energy = np.sum(u**2)
        np.testing.assert_allclose(np.exp(trace.log_energy[n]), energy, rtol=1e-10)
        inside = stack.rectified[n - 1] if n else stack.incoming[0]
        np.testing.assert_allclose(inside, energy, rtol=1e-10)
    smooth = np.asarray(scattering.features(signal, bank, (path,)))[0]
    np.testing.assert_allclose(smooth, mechanics.convolve(u, low, "periodic"), atol=1e-12)


def test_random_weights_keep_the_mean_energy_through_relu():
    weights = layers.random_weights((40, 40, 40), (3,), key=jax.random.key(1), dtype="float32")
    for w in weights:
        assert w.shape == (40, 40, 3)
        assert w.dtype == np.float32
        spread = math.sqrt(2 / (40 * 3))
        assert np.std(w) == pytest.approx(spread, rel=0.05)
        assert abs(np.mean(w)) < 0.1 * spread
    assert np.any(weights[0] != weights[1])


# --- signals ----------------------------------------------------------------------------------


def test_signals_by_name():
    impulse = signals.signal("impulse", shape=9)
    np.testing.assert_array_equal(impulse, np.arange(9) == 4)
    assert impulse.dtype == np.float32
    np.testing.assert_array_equal(signals.signal("step", shape=8), np.arange(8) >= 4)
    assert signals.signal("step").shape == (4096,)
    t = np.arange(64)
    chirp = signals.signal("chirp", shape=64, bandwidth=2.0, dtype="float64")
    np.testing.assert_allclose(chirp, np.cos(2.0 * t**2 / 128), rtol=1e-12)
    noise = signals.signal("noise", shape=500, bandwidth=0.7, seed=3, dtype="float64")
    assert np.var(noise) == pytest.approx(1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    omega = 2 * np.pi * np.fft.rfftfreq(500)
    assert np.all(power[omega > 0.7] < 1e-20)
    assert np.all(power[(omega > 0) & (omega < 0.7)] > 0)
    again = signals.signal("noise", shape=500, bandwidth=0.7, seed=3, dtype="float64")
    np.testing.assert_array_equal(noise, again)
    assert np.any(noise != signals.signal("noise", shape=500, bandwidth=0.7, seed=4))


def test_digits_lie_in_the_middle():
    from sklearn import datasets

    digit = signals.signal("digits", number=7)
    assert digit.shape == (32, 32)
    np.testing.assert_array_equal(digit[12:20, 12:20], datasets.load_digits().images[7] / 16)
    assert np.sum(digit) == np.sum(digit[12:20, 12:20])
    assert signals.signal("digits", shape=16).shape == (16, 16)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("int16", [-32768, 0, 16384, 32767], [-1, 0, 0.5, 32767 / 32768]),
        ("int32", [-(2**31), 0, 2**30, 1], [-1, 0, 0.5, 2.0**-31]),
        ("uint8", [0, 128, 192, 255], [-1, 0, 0.5, 127 / 128]),
        ("float32", [-1.5, 0.0, 0.25, 1.0], [-1.5, 0.0, 0.25, 1.0]),
    ],
)
def test_sound_files_are_read_in_units_of_full_scale(tmp_path, dtype, values, expected):
    file = str(tmp_path / "sound.wav")
    wavfile.write(file, 8000, np.array(values, dtype))
    np.testing.assert_array_equal(signals.signal(file, dtype="float64"), expected)
    wavfile.write(file, 8000, np.stack([np.array(values, dtype), np.array(values[::-1], dtype)], 1))
    mean = (np.array(expected) + np.array(expected)[::-1]) / 2
    np.testing.assert_array_equal(signals.signal(file, dtype="float64"), mean)


def wave(samples, code, bits, *, channels=1, extensible=False, more=b""):
    """A WAV file of these bytes."""
    step = channels * bits // 8
    form = struct.pack(
        "<HHLLHH", 0xFFFE if extensible else code, channels, 8000, 8000 * step, step, bits
    )
    if extensible:
        guid = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        form += struct.pack("<HHLH", 22, bits, 0, code) + guid
    body = b"WAVEfmt " + struct.pack("<L", len(form)) + form + more
    body += b"data" + struct.pack("<L", len(samples)) + samples
    return b"RIFF" + struct.pack("<L", len(body)) + body


HALF = (-(2**22)).to_bytes(3, "little", signed=True) + (1).to_bytes(3, "little")
SOUNDS = {
    "24 bits": (wave(HALF, 1, 24), [-0.5, 2.0**-23]),
    "24 bits, extensible": (wave(HALF, 1, 24, extensible=True), [-0.5, 2.0**-23]),
    "doubles": (wave(struct.pack("<2d", 0.1, -2), 3, 64), [0.1, -2]),
    "floats, extensible": (
        wave(struct.pack("<2f", 0.5, -2), 3, 32, extensible=True),
        [0.5, -2],
    ),
    "notes between": (
        wave(struct.pack("<2h", 2**14, -1), 1, 16, more=b"abcd\x02\0\0\0xy"),
        [0.5, -(2.0**-15)],
    ),
}


@pytest.mark.parametrize(("content", "expected"), SOUNDS.values(), ids=SOUNDS)
def test_sound_files_of_every_sample(tmp_path, content, expected):
    (tmp_path / "x.wav").write_bytes(content)
    actual = signals.read(str(tmp_path / "x.wav"), dtype="float64")
    np.testing.assert_array_equal(actual.values, expected)
    assert actual.conversion == ""


def test_sound_of_several_channels_says_its_weights(tmp_path):
    samples = np.array([[0.5, -0.25, 0.75], [1, 0, 0]], "<f4")
    (tmp_path / "x.wav").write_bytes(wave(samples.tobytes(), 3, 32, channels=3))
    result = signals.read(str(tmp_path / "x.wav"), dtype="float64")
    np.testing.assert_allclose(result.values, [1 / 3, 1 / 3], rtol=1e-15)
    weights = "0.3333, 0.3333, 0.3333"
    assert result.conversion == f"x.wav: 3 channels averaged to mono with weights {weights}"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_sound_cut_off_is_refused(tmp_path, dtype):
    file = tmp_path / "x.wav"
    wavfile.write(file, 8000, np.ones((100, 2), dtype))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 // 8 * 8 + 4])
    with pytest.raises(ValueError, match=r"^signal: got '.*x\.wav', unreadable \(Reached EOF"):
        signals.signal(str(file))


@pytest.mark.parametrize("code", [2, 6, 7])
def test_compressed_sound_is_refused(tmp_path, code):
    (tmp_path / "x.wav").write_bytes(wave(bytes(64), code, 8))
    with pytest.raises(ValueError, match=r"^signal: got .*x\.wav', unreadable \(Unknown wave"):
        signals.signal(str(tmp_path / "x.wav"))


def test_arrays_and_images_are_read_and_cut_in_their_middle(tmp_path):
    from PIL import Image

    file = str(tmp_path / "array.npy")
    np.save(file, np.arange(10))
    np.testing.assert_array_equal(signals.signal(file), np.arange(10.0))
    np.testing.assert_array_equal(signals.signal(file, shape=5), [2, 3, 4, 5, 6])
    np.save(file, np.arange(42.0).reshape(6, 7))
    cut = signals.signal(file, shape=4)
    np.testing.assert_array_equal(cut, np.arange(42.0).reshape(6, 7)[1:5, 1:5])
    picture = str(tmp_path / "picture.png")
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5) * 10).save(picture)
    expected = np.arange(20).reshape(4, 5) * 10 / 255
    np.testing.assert_allclose(signals.signal(picture), expected, rtol=1e-6)


# --- bad input --------------------------------------------------------------------------------

LOOSE = frames.from_taps([0.5, 0.5], [[0.5, -0.4]], LINE)
F, ONE, TAPS = np.ones(24), np.ones((1, 8)), np.ones((1, 1, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.contraction((2.0, 1.0)), "support"),
        (lambda: bounds.contraction((-1.0, 1.0)), "support"),
        (lambda: bounds.contraction((0.0, 0.0)), "support"),
        (lambda: bounds.widths(DYADIC, 0), "depth: got 0"),
        (lambda: bounds.widths(DYADIC, 2, rule="best"), "rule: got 'best'"),
        (lambda: bounds.widths([DYADIC], 2), "frame: got 1 of them"),
        (lambda: bounds.widths([DYADIC, 3], 2), "frame: got 2 of them"),
        (lambda: bounds.widths(LOOSE, 2), "frame: got Littlewood-Paley sum"),
        (lambda: bounds.widths(REAL, 2, rule="general"), "frame: got bands that extend 180°"),
        (
            lambda: bounds.widths(IN_A_PLANE["half planes"], 2, rule="general"),
            "frame: got bands that extend .* expected at most 45°",
        ),
        (lambda: bounds.guaranteed(np.ones(23), DYADIC, 2), "signal: got shape"),
        (lambda: bounds.guaranteed(F * np.nan, DYADIC, 2), "signal: got 24 of 24"),
        (lambda: bounds.guaranteed(1j * F, DYADIC, 2), "signal: got dtype"),
        (lambda: bounds.layers_needed(1.0), "share: got 1.0"),
        (lambda: bounds.layers_needed(-0.1), "share"),
        (lambda: bounds.layers_needed(0.5, bandwidth=0.9), "bandwidth"),
        (lambda: bounds.layers_needed(0.5, bandwidth=np.inf), "bandwidth"),
        (lambda: bounds.layers_needed(0.5, factor=1.0), "factor"),
        (lambda: bounds.dilation_for(1.0), "factor"),
        (lambda: bounds.dilation_for(np.inf), "factor"),
        (lambda: bounds.width_for(0.5), "factor"),
        (lambda: bounds.width_for(3.0), "factor: got 3.0, expected less than 3"),
        (lambda: analysis.decay([1.0]), "energies"),
        (lambda: analysis.decay([[1.0, 0.5]]), "energies"),
        (lambda: analysis.decay([1.0, -0.5]), "energies"),
        (lambda: analysis.decay([1.0, np.nan]), "energies"),
        (lambda: analysis.decay([1.0, np.inf, 0.5, 0.2]), "energies"),
        (lambda: analysis.decay([1.0, 0.5], first=0), "first"),
        (lambda: analysis.significant(some_paths(), 0.0), "share"),
        (lambda: analysis.significant(some_paths(), 1.1), "share"),
        (lambda: extremes.worst_signal(TINY, 1, key=0), "key"),
        (
            lambda: extremes.worst_signal(TINY, 1, key=jax.random.key(0), bandwidth=0.1),
            "bandwidth: got 0.1",
        ),
        (lambda: extremes.worst_signal(TINY, 1, key=jax.random.key(0), starts=0), "starts"),
        (lambda: extremes.best_frame(TINY, np.ones((2, 15)), 1), "signals: got shape"),
        (lambda: extremes.best_frame(TINY, np.ones(16), 1), "signals: got shape"),
        (lambda: extremes.best_frame(TINY, np.full((1, 16), np.nan), 1), "signals: got 16 of 16"),
        (lambda: extremes.best_frame(LOOSE, np.ones((1, 24)), 1), "frame: got Littlewood"),
        (lambda: layers.energies([], ONE), "weights: got no layer"),
        (lambda: layers.energies([np.ones((1, 2, 3))], ONE), r"weights\[0\]: got shape"),
        (lambda: layers.energies([np.ones((1, 1, 9))], ONE), r"weights\[0\]: got shape"),
        (lambda: layers.energies([np.ones((0, 1, 3))], ONE), r"weights\[0\]: got shape"),
        (
            lambda: layers.energies([TAPS, np.full((1, 1, 3), np.inf)], ONE),
            r"weights\[1\]: got 3 of 3",
        ),
        (lambda: layers.energies([TAPS], np.ones(8)), "values: got shape"),
        (lambda: layers.energies([TAPS], np.full((1, 8), np.nan)), "values: got 8"),
        (
            lambda: layers.energies([TAPS], ONE, rectifier="square"),
            "rectifier",
        ),
        (
            lambda: layers.energies([TAPS], ONE, normalize="l2"),
            "normalize: got 'l2'",
        ),
        (lambda: layers.random_weights((0, 2), 3, key=jax.random.key(0)), "channels"),
        (lambda: layers.random_weights((1, 2), 3, key=5), "key"),
        (lambda: signals.signal("noise", shape=3), "shape: got 3"),
        (lambda: signals.signal("noise", bandwidth=0.0), "bandwidth"),
        (lambda: signals.signal("noise", bandwidth=4.0), "bandwidth"),
        (lambda: signals.signal("digits", number=5000), "number: got 5000"),
        (lambda: signals.signal("digits", shape=33), "shape: got 33, expected at most 32"),
        (lambda: signals.signal("nothing"), "signal: got 'nothing'"),
        (lambda: signals.signal("missing.wav"), "signal: got 'missing.wav', unreadable"),
        (lambda: signals.signal("missing.npy"), "signal: got 'missing.npy', unreadable"),
        (lambda: signals.signal("missing.png"), "signal: got 'missing.png'"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("words.npy", np.array(["a"]), "signal: got .*, unreadable"),
        ("cube.npy", np.ones((2, 2, 2)), r"signal: got shape \(2, 2, 2\)"),
        ("empty.npy", np.ones(0), r"signal: got shape \(0,\)"),
        ("nan.npy", np.array([1.0, np.nan]), "signal: got 1 of 2 values not finite"),
        ("complex.npy", np.array([1j]), "signal: got .*, unreadable"),
        ("short.npy", b"\x93NUMPY", "signal: got .*, unreadable"),
        ("noise.wav", b"RIFF", "signal: got .*, unreadable"),
        ("other.wav", b"what is this", "signal: got .*, unreadable"),
        ("picture.png", b"what is this", "signal: got"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, message):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    with pytest.raises(ValueError, match=f"^{message}"):
        signals.signal(str(file))


@pytest.mark.parametrize("question", [bounds.widths, functools.partial(bounds.guaranteed, F)])
def test_guarantees_are_not_for_traced_frames(question):
    def ask(bands):
        question(frames.Frame(DYADIC.low, bands, DYADIC.labels, DYADIC.mirrors), 2)
        return bands

    with pytest.raises(ValueError, match="frame: got traced responses"):
        jax.jit(ask)(DYADIC.bands)


def test_a_frame_without_a_gap_guarantees_what_is_trivial():
    frame = scattering.frames.frame(np.full(16, 0.6), np.full((1, 16), 0.8))
    signal = np.random.default_rng(2).normal(size=16)
    np.testing.assert_allclose(bounds.guaranteed(signal, frame, 3), np.sum(signal**2))


def test_extremes_are_for_networks_that_lose_nothing():
    frame, key = scattering.meyer(16, 1.0), jax.random.key(0)
    lossy = scattering.nonlinearities.lipschitz(jnp.abs, 1.0)
    with pytest.raises(ValueError, match="expected one that conserves energy"):
        extremes.worst_signal(frame, 1, key=key, nonlinearity=lossy)
    with pytest.raises(ValueError, match="signals: got one that is 0 everywhere"):
        extremes.best_frame(frame, np.eye(3, 16) * [[1], [0], [1]], 1)
    loose = scattering.frames.frame(frame.low, 0.5 * frame.bands)
    with pytest.raises(ValueError, match="frame: got Littlewood-Paley sum"):
        extremes.worst_signal(loose, 1, key=key)


def test_noise_without_a_frequency_is_refused():
    with pytest.raises(ValueError, match="expected at least 2π/64"):
        signals.signal("noise", shape=64, bandwidth=1e-3)
