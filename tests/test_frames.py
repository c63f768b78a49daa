"""Frames: families of tight ones, where their bands lie, and frames of filters of one's own."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scattering_reference as reference
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from infomech import scattering
from infomech.scattering import families, frames, supports
from infomech.scattering.frames import Band, Frame

OCTAVE = math.log2(1.5)
FAMILIES = {
    "meyer 2 even": lambda: families.meyer(96, 4.0),
    "meyer 2 odd": lambda: families.meyer(63, 3.0),
    "meyer 1.2": lambda: families.meyer(96, 8 * math.log2(1.2), dilation=1.2),
    "meyer 1.5 odd": lambda: families.meyer(75, 5 * OCTAVE, dilation=1.5),
    "meyer 3": lambda: families.meyer(64, 2.5, dilation=3.0),
    "meyer 4": lambda: families.meyer(40, 2.0, dilation=4.0),
    "uniform 2": lambda: families.weyl_heisenberg(64, 6),
    "uniform 1.5 odd": lambda: families.weyl_heisenberg(75, 5, width=1.5),
    "uniform 6": lambda: families.weyl_heisenberg(96, 7, width=6.0, gap=2.5),
    "uniform 3.3": lambda: families.weyl_heisenberg(61, 4, width=3.3, gap=0.7),
    "uniform, one band": lambda: families.weyl_heisenberg(24, 1),
    "oriented": lambda: families.oriented((16, 20), 2.0, 3),
    "oriented odd": lambda: families.oriented((15, 13), 1.35, 4, dilation=1.6),
    "curvelets": lambda: families.oriented((16, 15), 2.0, 2, dilation=2**0.5, growth=0.5),
    "ridgelets": lambda: families.oriented((16, 16), 2.0, 2, growth=1.0),
}
ON_A_LINE = [name for name in FAMILIES if name.startswith(("meyer", "uniform"))]
IN_A_PLANE = [name for name in FAMILIES if name not in ON_A_LINE]


@pytest.fixture(scope="module")
def family():
    """Frames by name, each made once."""
    return {name: make() for name, make in FAMILIES.items()}


def passed(band):
    """Where a response isn't 0, by its square relative to 1."""
    return np.abs(np.asarray(band)) ** 2 > 1e-24


@st.composite
def meyer_frames(draw):
    """With coarsest bands at least two spacings of the grid wide, and a gap of one."""
    samples = draw(st.integers(32, 96))
    dilation = draw(st.floats(1.2, 4.0))
    widest = min(samples / 2, samples * (dilation**2 - 1) / 4)
    most = math.floor(math.log(widest) / math.log(dilation) - 1 + 1e-9)
    count = draw(st.integers(1, most))
    return families.meyer(samples, count * math.log2(dilation), dilation=dilation)


@st.composite
def uniform_frames(draw):
    samples = draw(st.integers(48, 96))
    width, gap = draw(st.floats(1.5, 6.0)), draw(st.floats(0.3, 2.0))
    most = int(samples * min(gap, width / 2) / 2 + 1 - gap - width / 2)
    return families.weyl_heisenberg(
        samples, draw(st.integers(1, max(1, min(most, 8)))), width=width, gap=gap
    )


@st.composite
def oriented_frames(draw):
    shape = draw(st.integers(8, 16)), draw(st.integers(8, 16))
    dilation = draw(st.floats(1.3, 2.0))
    most = math.floor(math.log(min(shape) / 2) / math.log(dilation) - 1 + 1e-9)
    count = draw(st.integers(1, min(most, 4)))
    growth = draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    octaves, many = count * math.log2(dilation), draw(st.integers(2, 5))
    return families.oriented(shape, octaves, many, dilation=dilation, growth=growth)


def assert_tight(frame):
    np.testing.assert_allclose(reference.littlewood_paley(frame), 1, rtol=0, atol=1e-12)


def assert_mirrored(frame):
    bands = np.asarray(frame.bands)
    for i, j in enumerate(frame.mirrors):
        assert frame.mirrors[j] == i
        np.testing.assert_allclose(bands[j] ** 2, reference.mirror(bands[i]) ** 2, atol=1e-14)


def assert_gap(frame):
    """No band lets anything below the gap through; the low-pass is 1 there."""
    size, through = reference.size(frame.shape), passed(frame.bands).any(0)
    gap = supports.gap(frame)
    assert gap == size[through].min()
    np.testing.assert_allclose(np.abs(frame.low)[size < gap * (1 - 1e-12)], 1, rtol=0, atol=1e-12)
    return gap


# --- families -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_tight_with_mirrors_and_a_gap(family, name):
    frame = family[name]
    assert frame.low.dtype == frame.bands.dtype == np.float64
    assert frame.shape == frame.bands.shape[1:] == frame.low.shape
    assert len(frame.bands) == len(frame.labels) == len(frame.mirrors)
    assert all(i != j for i, j in enumerate(frame.mirrors))
    assert_tight(frame)
    assert_mirrored(frame)
    gap = assert_gap(frame)
    lowest = min(label.support[0] for label in frame.labels)
    assert lowest <= gap <= lowest + 2 * 2 * np.pi / min(frame.shape)
    if name in ("meyer 2 even", "oriented"):
        frames.require_tight(frame)
        np.testing.assert_allclose(frames.bounds(frame), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(frames.littlewood_paley(frame), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_mirrors_are_exact_and_found_again(family, name):
    frame = family[name]
    bands = np.asarray(frame.bands)
    for i, j in enumerate(frame.mirrors):
        np.testing.assert_array_equal(bands[j], reference.mirror(bands[i]))
    if name in ("uniform 2", "curvelets"):
        assert frames.frame(frame.low, bands).mirrors == frame.mirrors


def test_a_frame_of_many_orientations_is_taken_for_what_it_is():
    """Its bands are the mirrors of each other, however small the responses at their edges."""
    frame = families.oriented((8, 29), 1.0, 8)
    result = scattering.energies(np.ones((8, 29)), frame, 0)
    np.testing.assert_allclose(result.collected, [8 * 29], rtol=1e-12)


@given(meyer_frames() | uniform_frames() | oriented_frames())
def test_any_member_of_a_family_is_tight_with_mirrors_and_a_gap(frame):
    assert_tight(frame)
    assert_mirrored(frame)
    assert_gap(frame)


@pytest.mark.parametrize("name", FAMILIES)
def test_labels_say_where_a_band_lies(family, name):
    """Supports to a spacing or two of the grid; nothing outside; largest near the center."""
    frame = family[name]
    size = reference.size(frame.shape)
    spacing = 2 * np.pi / min(frame.shape)
    for band, label in zip(np.asarray(frame.bands), frame.labels, strict=True):
        actual = size[passed(band)]
        low, high = label.support
        assert low * (1 - 1e-12) <= actual.min()
        assert actual.max() <= high * (1 + 1e-12)
        assert low < math.hypot(*label.center) <= high * (1 + 1e-12)
        if len(frame.shape) == 1:
            assert actual.min() <= low + 2 * spacing
            assert actual.max() >= high - 2 * spacing
            near = np.abs(reference.frequencies(frame.shape)[0] - label.center[0]) <= spacing
            if label.scale < max(one.scale for one in frame.labels):
                assert band[near].max() >= band.max() - 1e-12
            assert label.orientation is None


@pytest.mark.parametrize("name", IN_A_PLANE)
def test_labels_say_where_a_band_points(family, name):
    frame = family[name]
    rows, columns = reference.frequencies(frame.shape)
    for scale in {label.scale for label in frame.labels}:
        here = [i for i, label in enumerate(frame.labels) if label.scale == scale]
        spacing = 2 * np.pi / len(here)
        for number, i in enumerate(here):
            label = frame.labels[i]
            assert label.orientation == pytest.approx(number * spacing)
            radius = math.hypot(*label.center)
            expected = radius * math.sin(label.orientation), radius * math.cos(label.orientation)
            np.testing.assert_allclose(label.center, expected, atol=1e-12)
            away = np.arctan2(rows, columns) - label.orientation
            away = np.abs((away + np.pi) % (2 * np.pi) - np.pi)
            edge = (np.abs(rows) > 3.1415) | (np.abs(columns) > 3.1415)
            assert away[passed(frame.bands[i]) & ~edge].max() <= spacing * (1 + 1e-12)


def test_orientations_grow_with_scale_as_said():
    def counts(growth):
        frame = families.oriented((64, 64), 4.0, 2, growth=growth)
        scales = [label.scale for label in frame.labels]
        return [scales.count(scale) // 2 for scale in range(1, 5)]

    assert counts(0.0) == [2, 2, 2, 2]
    assert counts(0.5) == [2, 2, 4, 4]
    assert counts(1.0) == [2, 4, 8, 16]


@pytest.mark.parametrize("name", ON_A_LINE)
def test_bands_of_a_line_lie_on_one_side_of_0(family, name):
    frame = family[name]
    omega = reference.frequencies(frame.shape)[0]
    inside = np.abs(omega) < 3.1415  # pi and -pi are one frequency
    count = len(frame.bands) // 2
    for i, band in enumerate(np.asarray(frame.bands)):
        side = np.sign(frame.labels[i].center[0])
        assert side == (1 if i < count else -1)
        assert np.all(band[inside & (omega * side <= 0)] == 0)
    assert supports.opening(frame) < 1e-6


@pytest.mark.parametrize("name", IN_A_PLANE)
def test_bands_of_a_plane_lie_in_half_planes(family, name):
    frame = family[name]
    rows, columns = reference.frequencies(frame.shape)
    inside = (np.abs(rows) < 3.1415) & (np.abs(columns) < 3.1415)
    for band, label in zip(np.asarray(frame.bands), frame.labels, strict=True):
        ahead = label.center[0] * rows + label.center[1] * columns
        assert np.all(ahead[passed(band) & inside] > -1e-12)
    assert supports.opening(frame) < np.pi / 2


def test_opening_is_the_angle_from_the_middle():
    """A wedge of three frequencies whose outer ones are 45 degrees from the middle one."""
    band = np.zeros((1, 8, 8))
    for k in ((0, 2), (2, 2), (2, 0)):
        band[(0, *k)] = 1
    opening = supports.opening(frames.frame(np.ones((8, 8)), band))
    assert opening == pytest.approx(np.pi / 4, abs=1e-7)


def test_a_band_on_both_sides_is_not_analytic():
    both = np.zeros((2, 16))
    both[0, [3, -3]] = 1
    both[1, 5] = 1
    assert supports.opening(frames.frame(np.ones(16), both)) == pytest.approx(np.pi)
    assert supports.opening(frames.frame(np.ones(16), both[1:])) < 1e-6


@given(meyer_frames() | uniform_frames())
def test_analytic_on_a_line(frame):
    assert supports.opening(frame) < 1e-6


# --- contraction factors --------------------------------------------------------------------


def brute_force(frame):
    return [reference.contraction(passed(band)) for band in np.asarray(frame.bands)]


@pytest.mark.parametrize("name", ON_A_LINE)
def test_contraction_factors_are_the_best_of_the_grid(family, name):
    np.testing.assert_allclose(supports.factors(family[name]), brute_force(family[name]))


@given(meyer_frames() | uniform_frames())
def test_contraction_factors_of_any_member_are_the_best_of_the_grid(frame):
    np.testing.assert_allclose(supports.factors(frame), brute_force(frame))


@pytest.mark.parametrize("samples", [24, 49, 64, 96, 512])
def test_dyadic_wavelets_contract_by_five_thirds_at_least(samples):
    octaves = math.floor(math.log2(samples / 2)) - 1
    assert np.all(supports.factors(families.meyer(samples, octaves)) >= 5 / 3)


@pytest.mark.parametrize("dilation", [1.5, 2.0, 4.0])
def test_wavelets_approach_the_formula(dilation):
    frame = families.meyer(2**14, 3 * math.log2(dilation), dilation=dilation)
    result = supports.factors(frame)[:2]
    np.testing.assert_allclose(result, (dilation**2 + 1) / (dilation**2 - 1), rtol=0.01)
    low, high = frame.labels[1].support
    np.testing.assert_allclose(result[1], (high + low) / (high - low), rtol=0.01)


@pytest.mark.parametrize(("width", "gap"), [(2.0, 1.0), (1.5, 2.0), (6.0, 1.0)])
def test_uniform_filters_approach_the_formula(width, gap):
    frame = families.weyl_heisenberg(2**13, 8, width=width, gap=gap)
    result = supports.factors(frame)
    assert np.argmin(result[:8]) == 0
    np.testing.assert_allclose(result[0], 1 + 2 * gap / width, rtol=0.01)


@pytest.mark.parametrize("name", IN_A_PLANE)
def test_contraction_factors_of_a_plane_are_attained(family, name):
    """Each is that of some frequency of the grid, so no more than the best of all; seldom less."""
    frame = family[name]
    axes = [np.arange(n) for n in frame.shape]
    k = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    n = np.array(frame.shape)
    away = np.abs((k[:, None] - k + n // 2) % n - n // 2) * 2 * np.pi / n
    away = np.minimum(away, 2 * np.pi - away)
    distance = np.linalg.norm(away, axis=-1)
    size = reference.size(frame.shape).reshape(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance > 1e-12, size / distance, np.inf)  # (nu, omega)
    best = np.array(
        [
            ratio[:, passed(band).reshape(-1)].min(1).max() if passed(band).any() else np.inf
            for band in frame.bands
        ]
    )
    actual = supports.factors(frame)
    assert np.all(actual <= best * (1 + 1e-9))
    assert np.all(actual >= 1)
    assert np.mean(actual >= best * (1 - 1e-9)) >= 0.5


def test_a_band_of_one_frequency_contracts_without_end():
    band = np.zeros((3, 16))
    band[0, 3] = 1
    band[1, [3, -3]] = 1
    band[2, [0, 1]] = 1
    result = supports.factors(frames.frame(np.ones(16), band))
    assert result[0] == np.inf
    np.testing.assert_allclose(result[1:], 1)


@pytest.mark.parametrize("samples", [48, 96])
def test_no_wavelet_falls_between_two_frequencies(samples):
    """Bands narrower than the grid's frequencies are refused; all others let something through."""
    dilation = 1.2
    with pytest.raises(ValueError, match="octaves: got"):  # noqa: PT012
        for count in range(1, 25):
            frame = families.meyer(samples, count * math.log2(dilation), dilation=dilation)
            assert passed(frame.bands).any(1).all(), f"{count} scales"


# --- subsampling ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_subsampling_is_lossless_and_the_most(family, name):
    frame = family[name]
    common = math.gcd(*frame.shape)
    best = supports.subsampling(frame)
    through = np.argwhere(passed(frame.low))

    def lossless(stride):
        """No two frequencies that the low-pass lets through become one."""
        kept = np.array(frame.shape) // stride
        return len(np.unique(through % kept, axis=0)) == len(through)

    assert common % best == 0
    assert lossless(best)
    larger = [s for s in range(best + 1, common + 1) if common % s == 0]
    assert not any(lossless(s) for s in larger)
    u = np.random.default_rng(0).normal(size=frame.shape)
    smooth = reference.filtered(u, np.asarray(frame.low)).real
    few = smooth[(slice(None, None, best),) * smooth.ndim]
    np.testing.assert_allclose(np.sum(few**2) * best**smooth.ndim, np.sum(smooth**2), rtol=1e-12)


def test_a_wide_gap_leaves_little_to_subsample():
    assert supports.subsampling(families.meyer(64, 4.0)) == 16
    assert supports.subsampling(families.meyer(64, OCTAVE, dilation=1.5)) == 1
    assert supports.subsampling(families.oriented((16, 24), 2.0)) == 4
    assert supports.subsampling(families.oriented((16, 15), 1.0)) == 1


# --- frames of one's own --------------------------------------------------------------------


def some_frame(seed, grid=(12,), bands=3, kind=complex):
    """Random responses, the low-pass that of real taps."""
    rng = np.random.default_rng(seed)
    low = np.fft.fftn(rng.normal(size=grid)) / math.prod(grid)
    responses = rng.normal(size=(bands, *grid)) + 0.2
    if kind is complex:
        responses = responses + 1j * rng.normal(size=(bands, *grid))
    return frames.frame(low, responses.astype(kind))


def test_taps_become_the_responses_of_their_convolution():
    """out(x) = sum_i g_i u(x - i + (n - 1)//2), as `rollout` has it, for real and complex taps."""
    rng = np.random.default_rng(1)
    for grid, taps in (((9,), (4,)), ((5, 4), (3, 4))):
        low = rng.normal(size=taps)
        bands = rng.normal(size=(2, *taps)) + 1j * rng.normal(size=(2, *taps))
        bank = frames.from_taps(low, bands, grid[0] if len(grid) == 1 else grid)
        u = rng.normal(size=grid)
        for g, response in zip([low, *bands], [bank.low, *bank.bands], strict=True):
            expected = np.zeros(grid, complex)
            for i in np.ndindex(*taps):
                shift = tuple(a - (n - 1) // 2 for a, n in zip(i, taps, strict=True))
                expected += g[i] * np.roll(u, shift, range(len(grid)))
            np.testing.assert_allclose(
                reference.filtered(u, np.asarray(response)), expected, atol=1e-12
            )


def test_real_taps_are_their_own_mirrors():
    taps = np.random.default_rng(2).normal(size=(2, 3))
    bank = frames.from_taps(taps[0], taps, 8)
    assert bank.mirrors == (0, 1)


@pytest.mark.parametrize("name", ["meyer 1.5 odd", "oriented"])
def test_mirrors_and_labels_of_known_responses_are_found(family, name):
    known = family[name]
    order = np.random.default_rng(3).permutation(len(known.bands))
    bands = np.concatenate([np.asarray(known.bands)[order], np.ones((1, *known.shape))])
    alone = np.asarray(known.bands)[:1] * 0.5
    actual = frames.frame(known.low, np.concatenate([bands, alone]))
    count = len(order)
    for i, j in enumerate(actual.mirrors[:count]):
        assert order[j] == known.mirrors[order[i]]
    assert actual.mirrors[count:] == (count, -1)
    size = reference.size(known.shape)
    axes = reference.frequencies(known.shape)
    for label, i in zip(actual.labels[:count], order, strict=True):
        band = np.asarray(known.bands[i])
        assert label.scale == 0
        inside = size[passed(band)]
        np.testing.assert_allclose(label.support, [inside.min(), inside.max()])
        power = band**2 / np.sum(band**2)
        np.testing.assert_allclose(label.center, [np.sum(power * a) for a in axes], atol=1e-12)
        if len(known.shape) == 2:
            assert label.orientation == pytest.approx(math.atan2(*label.center))
        else:
            assert label.orientation is None


def test_labels_of_ones_own_are_kept_and_traced_responses_have_none():
    bank = some_frame(4)
    mine = [Band(n, (1.0,), None, (0.5, 1.5)) for n in range(3)]
    assert frames.frame(bank.low, bank.bands, mine).labels == tuple(mine)

    def labels(bands):
        traced.append(frames.frame(bank.low, bands))
        return jnp.sum(jnp.abs(bands))

    traced = []
    jax.jit(labels)(bank.bands)
    assert traced[0].mirrors == (-1, -1, -1)


@given(st.integers(0, 10**6), st.sampled_from([(9,), (5, 6)]))
def test_bounds_hold_for_every_signal(seed, grid):
    bank = some_frame(seed, grid)
    total = reference.littlewood_paley(bank)
    below, above = frames.bounds(bank)
    np.testing.assert_allclose([below, above], [total.min(), total.max()], rtol=1e-12)
    f = np.random.default_rng(seed + 1).normal(size=grid)
    energy = sum(
        np.sum(np.abs(reference.filtered(f, g)) ** 2)
        for g in (np.asarray(bank.low), *np.asarray(bank.bands))
    )
    assert below * np.sum(f**2) * (1 - 1e-9) <= energy <= above * np.sum(f**2) * (1 + 1e-9)


# --- tightening -----------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([(9,), (5, 6)]), st.booleans())
def test_tightening_divides_by_the_root_of_the_sum(seed, grid, keep_low):
    bank = some_frame(seed, grid)
    tight = frames.tighten(bank, keep_low=keep_low)
    low, bands = reference.pair(bank)
    if keep_low:
        np.testing.assert_array_equal(tight.low, bank.low)
        through = reference.littlewood_paley(bank) - np.abs(low) ** 2
        gain = np.sqrt((1 - np.abs(low) ** 2) / through)
    else:
        gain = 1 / np.sqrt(reference.littlewood_paley(bank))
        np.testing.assert_allclose(tight.low, low * gain, rtol=1e-12)
    np.testing.assert_allclose(tight.bands, bands * gain, rtol=1e-12, atol=1e-14)
    assert_tight(tight)
    assert (tight.labels, tight.mirrors) == (bank.labels, bank.mirrors)
    again = frames.tighten(tight, keep_low=keep_low)
    np.testing.assert_allclose(again.low, tight.low, rtol=0, atol=1e-12)
    np.testing.assert_allclose(again.bands, tight.bands, rtol=0, atol=1e-12)


@pytest.mark.parametrize("keep_low", [False, True])
def test_tightening_is_differentiable(keep_low):
    bank = some_frame(5, (6,), 2)

    def tightened(low, bands):
        tight = frames.tighten(dataclasses.replace(bank, low=low, bands=bands), keep_low=keep_low)
        return tight.low * 1.0, tight.bands

    check_grads(jax.jit(tightened), (bank.low, bank.bands), order=1, modes=("fwd", "rev"))


def test_gradients_are_finite_where_nothing_has_to_pass():
    """Low-pass 1 at 0, and no band there."""
    low = np.array([1.0, 0.5, 0.0, 0.5])
    bands = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    mirrored = frames.frame(low, bands)

    def height(bands):
        bank = dataclasses.replace(mirrored, bands=bands)
        return jnp.sum(frames.tighten(bank, keep_low=True).bands ** 3)

    assert np.all(np.isfinite(jax.jit(jax.grad(height))(mirrored.bands)))
    assert_tight(frames.tighten(mirrored, keep_low=True))


def test_single_precision_is_kept():
    frame = families.meyer(48, 3.0, dtype="float32")
    assert frame.low.dtype == frame.bands.dtype == np.float32
    frames.require_tight(frame)
    bank = frames.frame(*(np.ones(n, np.complex64) for n in (8, (2, 8))))
    tight = frames.tighten(bank)
    assert tight.low.dtype == tight.bands.dtype == np.complex64
    frames.require_tight(tight)


@pytest.mark.parametrize(("dtype", "off"), [("float64", 1e-10), ("float32", 1e-3)])
def test_a_frame_that_is_not_tight_is_told_how_much_and_where(dtype, off):
    frame = families.meyer(48, 3.0, dtype=dtype)
    low = frame.low.at[1].multiply(0.5).at[0].multiply(1.1)
    frames.require_tight(frame)
    with pytest.raises(ValueError, match="frame: got Littlewood-Paley sum") as caught:
        frames.require_tight(dataclasses.replace(frame, low=low))
    total = reference.littlewood_paley(dataclasses.replace(frame, low=low))
    worst = np.argmax(np.abs(total - 1))
    assert worst == 1
    assert f"sum {total[worst]:.6g} at ω = ({2 * np.pi * worst / 48:.4g})" in str(caught.value)
    slightly = frame.low.at[1].multiply(1 + off)
    with pytest.raises(ValueError, match="frame"):
        frames.require_tight(dataclasses.replace(frame, low=slightly))
    jax.jit(lambda low: frames.require_tight(dataclasses.replace(frame, low=low)))(low)


def test_the_frequency_of_a_plane_is_named_on_both_axes():
    frame = families.oriented((10, 8), 1.0, 2)
    broken = dataclasses.replace(frame, bands=frame.bands.at[:, [3, 7], [2, 6]].multiply(3.0))
    with pytest.raises(ValueError, match=r"sum 9 at ω = \(1.885, 1.571\)"):
        frames.require_tight(broken)


# --- bad input ------------------------------------------------------------------------------

LOW, BANDS = np.ones(8), np.ones((2, 8))
SPOILT = np.where(np.arange(16).reshape(2, 8) == 3, np.nan, 1.0)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: families.meyer(3), "shape"),
        (lambda: families.meyer(64.0), "shape"),
        (lambda: families.meyer(64, 0.0), "octaves"),
        (lambda: families.meyer(64, np.nan), "octaves"),
        (lambda: families.meyer(64, 4.5), "octaves: got 4.5, expected at most 4 for 64"),
        (lambda: families.meyer(64, 3.0, dilation=1.0), "dilation"),
        (lambda: families.meyer(64, 3.0, dilation=np.inf), "dilation"),
        (lambda: families.meyer(64, 3.0, dtype=int), "dtype"),
        (lambda: families.weyl_heisenberg(3), "shape"),
        (lambda: families.weyl_heisenberg(64, 0), "bands"),
        (lambda: families.weyl_heisenberg(64, 32), "bands: got 32, expected at most 31"),
        (lambda: families.weyl_heisenberg(64, 4, width=1.0), "width"),
        (lambda: families.weyl_heisenberg(64, 4, gap=0.0), "gap"),
        (lambda: families.weyl_heisenberg(64, 4, gap=np.nan), "gap"),
        (lambda: families.oriented((16,)), "shape"),
        (lambda: families.oriented((16, 0)), "shape"),
        (lambda: families.oriented((16, 16), 2.0, 1), "orientations"),
        (lambda: families.oriented((16, 16), 2.5), "octaves"),
        (lambda: families.oriented((16, 16), 1.0, growth=1.5), "growth"),
        (lambda: families.oriented((16, 16), 1.0, dilation=0.5), "dilation"),
        (lambda: frames.frame(np.ones((2, 2, 2)), np.ones((1, 2, 2, 2))), "low"),
        (lambda: frames.frame(np.ones(0), np.ones((1, 0))), "low"),
        (lambda: frames.frame("abc", BANDS), "low"),
        (lambda: frames.frame(LOW * np.nan, BANDS), "low: got 8 of 8 values not finite"),
        (lambda: frames.frame(1j * LOW, BANDS), "low: got .* expected the response of real taps"),
        (lambda: frames.frame(LOW, BANDS[:, :7]), "bands"),
        (lambda: frames.frame(LOW, LOW), "bands"),
        (lambda: frames.frame(LOW, BANDS[:0]), "bands"),
        (lambda: frames.frame(LOW, SPOILT), "bands: got 1 of 16 values not finite"),
        (lambda: frames.frame(LOW, SPOILT * 1j), "bands: got 1 of 16 values not finite"),
        (lambda: frames.frame(LOW, BANDS, [Band(0, (0.0,), None, (0.0, 1.0))]), "labels"),
        (lambda: frames.from_taps(LOW, BANDS, 7), "low"),
        (lambda: frames.from_taps(LOW[:3], BANDS, 7), "bands"),
        (lambda: frames.from_taps(LOW, BANDS, (8, 8)), "low"),
        (lambda: frames.from_taps(LOW, BANDS, 0), "shape"),
        (lambda: frames.tighten(frames.frame(0 * LOW, 0 * BANDS)), "bank: got zero response"),
        (
            lambda: frames.tighten(frames.frame(LOW / 2, 0 * BANDS), keep_low=True),
            "bank: got zero response",
        ),
        (lambda: frames.tighten(frames.frame(2 * LOW, BANDS), keep_low=True), "bank.low"),
        (lambda: supports.gap(frames.frame(LOW, 0 * BANDS)), "frame"),
    ],
)
def test_bad_input_is_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=rf"^{argument}"):
        call()


@pytest.mark.parametrize(
    "question", [supports.gap, supports.factors, supports.opening, supports.subsampling]
)
def test_where_bands_lie_is_not_for_traced_responses(question):
    def ask(low, bands):
        question(Frame(low, bands, (), ()))
        return low

    with pytest.raises(ValueError, match="frame: got traced responses"):
        jax.jit(ask)(LOW, BANDS)


def test_learned_responses_keep_their_mirrors():
    frame = families.meyer(24, 2.0)
    first = frames.independent_bands(frame)
    assert first == (0, 1)
    random = np.random.default_rng(7)
    responses = random.normal(size=(2, 24)) + 1j * random.normal(size=(2, 24))
    learned = frames.with_bands(frame, responses)
    np.testing.assert_array_equal(learned.bands[:2], responses)
    k = np.arange(24)
    np.testing.assert_array_equal(learned.bands[2:], np.conj(responses[:, -k % 24]))
    frames.check(learned)
    frames.check(frames.tighten(learned, keep_low=True))
    with pytest.raises(ValueError, match=r"responses: got shape \(4, 24\)"):
        frames.with_bands(frame, frame.bands)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {"bands": f.bands.at[2:].set(0)}, "band 0 that differs from its mirror 2 by"),
        (lambda f: {"bands": f.bands[:1]}, "1 bands with 4 labels and mirrors"),
        (lambda f: {"mirrors": (2, 3, 0, 2)}, "4 bands with 4 labels and mirrors"),
        (lambda f: {"mirrors": (2, 9, 0, 1)}, "4 bands with 4 labels and mirrors"),
    ],
)
def test_mirrors_that_are_none_are_refused(change, message):
    frame = families.meyer(24, 2.0)
    changed = dataclasses.replace(frame, **change(frame))
    with pytest.raises(ValueError, match="frame: got " + message):
        frames.check(changed)
    with pytest.raises(ValueError, match="frame: got " + message):
        scattering.energies(np.ones(24), changed, 1)


def test_a_bank_with_some_mirrors_is_made_tight_for_real_signals():
    """Gains are alike at ω and −ω, or mirrors and the real low-pass would be none any more."""
    random = np.random.default_rng(8)
    pair, alone = random.uniform(size=(2, 24))
    bands = np.stack([pair, np.asarray(frames.mirrored(pair[None]))[0], alone])
    tight = frames.tighten(frames.frame(np.full(24, 0.5), bands))
    assert tight.mirrors == (1, 0, -1)
    frames.check(tight)
    np.testing.assert_allclose(frames.littlewood_paley(tight), 1, atol=1e-12)
    signal = random.normal(size=24)
    actual = scattering.energies(signal, tight, 1)
    propagated, collected = reference.energies(
        signal, [reference.pair(tight)] * 2, [reference.modulus] * 2
    )
    np.testing.assert_allclose(actual.propagated, propagated, rtol=1e-12)
    np.testing.assert_allclose(actual.collected, collected, rtol=1e-12)
    features = scattering.features(signal, tight, [()])
    np.testing.assert_allclose(np.sum(features**2), collected[0], rtol=1e-12)


def test_half_precision_is_widened():
    bands = np.array([[0, 1, 1, 0], [0, 0, 1, 0.92]], np.float16)
    frame = frames.frame(np.ones(4, np.float16), bands)
    assert frame.bands.dtype == frame.low.dtype == jnp.float32
    assert frame.mirrors == (-1, -1)
    assert families.meyer(16, 1.0, dtype="bfloat16").bands.dtype == jnp.float32


def test_a_band_at_pi_alone_lies_on_one_side():
    low, top = np.ones(8), np.zeros((1, 8))
    low[4], top[0, 4] = 0, 1
    assert supports.opening(frames.frame(low, top)) == 0
