"""Census against NumPy loops; null models against closed forms and brute force."""

import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from infomech import networks
from infomech.networks import _shares, nulls, slices
from infomech.weights import Layer

SHAPES = [(5, 3, 3), (4, 2, 3, 3), (3, 5, 2, 4), (2, 3, 3, 2, 3)]


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def layer(kernels, name="conv"):
    return Layer(name, kernels, "OIHW", "given")


def by_loops(kernels):
    """Energies by part, momenta and modes of each filter, from their definitions in loops."""
    outputs, inputs, *size = kernels.shape
    axes = tuple(range(len(size)))
    r = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"), -1)
    bases = []
    for n in size:
        rows = [[math.cos(math.pi * m * (i + 0.5) / n) for i in range(n)] for m in range(n)]
        bases.append(np.array([np.array(row) / np.linalg.norm(row) for row in rows]))
    filters = []
    for o, i in itertools.product(range(outputs), range(inputs)):
        k = kernels[o, i].astype(np.float64)
        odd = (k - np.flip(k, axes)) / 2
        modes = k
        for axis, basis in enumerate(bases):
            modes = np.moveaxis(np.tensordot(basis, modes, (1, axis)), 0, axis)
        gradients = [modes[tuple(int(a == axis) for a in axes)] for axis in axes]
        filters.append(
            {
                "energy": np.sum(k**2),
                "odd": np.sum(odd**2),
                "gain": np.sum(k),
                "momentum": np.sum(r * k[..., None], axes),
                "modes": modes**2,
                "dc": modes.flat[0] ** 2,
                "gradient": np.sum(np.square(gradients)),
                "ball": np.array([modes.flat[0], *(-g for g in gradients)]) / np.linalg.norm(k),
            }
        )
    return {name: np.array([row[name] for row in filters]) for name in filters[0]}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_measure_matches_loops(shape, dtype):
    kernels = normal(shape, dtype=dtype)
    expected = by_loops(kernels)
    filters, sums = slices.measure(kernels)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-12}
    for name in slices.Slices._fields:
        np.testing.assert_allclose(getattr(filters, name), expected[name], **close)
    expected["low"] = expected["dc"] + expected["gradient"]
    by_unit = {name: expected[name].reshape(shape[:2]).sum(1) for name in ("energy", *nulls.PARTS)}
    np.testing.assert_allclose(sums.energy, by_unit["energy"], **close)
    for part, energies in zip(nulls.PARTS, sums.parts, strict=True):
        np.testing.assert_allclose(energies, by_unit[part], **close)
    np.testing.assert_allclose(sums.modes, expected["modes"].sum(0), **close)
    np.testing.assert_allclose(sums.gradients.sum(0), by_unit["gradient"], **close)
    assert (sums.filters, sums.zero, sums.not_finite) == (math.prod(shape[:2]), 0, 0)


@pytest.mark.parametrize("shape", [(3, 7, 3, 3), (7, 1, 3, 3), (1, 9, 3, 3)], ids=str)
def test_result_is_independent_of_chunk_size(monkeypatch, shape):
    kernels = normal(shape, dtype="float64")
    expected = slices.measure(kernels)
    monkeypatch.setattr(slices, "CHUNK", 4 * 9)
    result = slices.measure(kernels)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_momentum_points_along_the_shift():
    kernels = np.zeros((1, 1, 3, 3), np.float32)
    kernels[0, 0, 1, 2] = 1
    filters, _ = slices.measure(kernels)
    np.testing.assert_allclose(filters.momentum, [[0, 1]], atol=1e-6)
    assert filters.ball[0, 2] > 0


@pytest.mark.parametrize("size", [(2,), (3,), (3, 3), (2, 3), (5, 1), (3, 3, 3), (7, 7)], ids=str)
def test_mode_counts(size):
    count = math.prod(size)
    identity = np.eye(count).reshape(count, *size)
    axes = tuple(range(1, len(size) + 1))
    odd = np.linalg.matrix_rank((identity - np.flip(identity, axes)).reshape(count, count))
    gradients = sum(n > 1 for n in size)
    np.testing.assert_array_equal(nulls.modes(size), [odd, 1 + gradients, 1, gradients])


@pytest.mark.parametrize("size", [(3, 3), (5,), (2, 3)], ids=str)
def test_random_shares_follow_their_distribution(size):
    """Mean and coverage over many small layers of Gaussian taps."""
    layers, filters = 4000, 6
    kernels = normal((layers, filters, *size), seed=1, dtype="float64")
    _, sums = slices.measure(kernels)
    shares = sums.parts / sums.energy
    mean, bounds = nulls.random_shares(size, filters, level=0.9)
    for share, middle, (low, high) in zip(shares, mean, bounds, strict=True):
        np.testing.assert_allclose(share.mean(), middle, atol=4 * share.std() / layers**0.5)
        inside = np.mean((low <= share) & (share <= high))
        assert abs(inside - 0.9) < 4 * math.sqrt(0.09 / layers)


def test_trivial_parts_have_no_spread():
    mean, bounds = nulls.random_shares((2,), 5)
    np.testing.assert_array_equal(mean, [0.5, 1, 0.5, 0.5])
    np.testing.assert_array_equal(bounds[1], [1, 1])
    mean, bounds = nulls.random_shares((1,), 5)
    np.testing.assert_array_equal(mean, [0, 1, 1, 0])
    np.testing.assert_array_equal(bounds, [[0, 0], [1, 1], [1, 1], [0, 0]])


@given(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6))
def test_shuffled_energies_match_all_permutations(taps):
    """Against all 720 permutations of the taps of one filter."""
    orders = np.array(list(itertools.permutations(taps)), np.float64).reshape(-1, 1, 2, 3)
    energy, gain = np.sum(np.square(taps)), np.sum(taps)
    expected = nulls.shuffled_energies(energy, gain, (2, 3))
    _, sums = slices.measure(orders)
    np.testing.assert_allclose(sums.parts.mean(1), expected, rtol=1e-9, atol=1e-9)


def test_census_of_one_layer():
    kernels = normal((6, 4, 3, 3), dtype="float64")
    result = networks.census([layer(kernels)]).isel(layer=0)
    expected = by_loops(kernels)
    energy = expected["energy"].sum()
    assert int(result.filters) == 24
    np.testing.assert_allclose(result.energy, energy)
    np.testing.assert_allclose(result.mass_squared, energy - 2 * expected["odd"].sum())
    np.testing.assert_allclose(result.share.sel(part="odd"), expected["odd"].sum() / energy)
    low = (expected["dc"] + expected["gradient"]).sum() / energy
    np.testing.assert_allclose(result.share.sel(part="low"), low)
    np.testing.assert_allclose(result.spectrum, expected["modes"].sum(0) / energy)
    np.testing.assert_allclose(
        result.share_quantiles.sel(quantity="odd"),
        np.quantile(expected["odd"] / expected["energy"], [0.05, 0.25, 0.5, 0.75, 0.95]),
    )
    modes = expected["modes"].sum(0)
    np.testing.assert_allclose(
        result.gradient_axis, np.array([modes[1, 0], modes[0, 1]]) / (modes[1, 0] + modes[0, 1])
    )
    low, high = result.gradient_axis_interval.values.T
    assert np.all(low < result.gradient_axis)
    np.testing.assert_allclose(low + high[::-1], 1)
    unit = expected["momentum"] / np.sqrt(expected["energy"])[:, None]
    np.testing.assert_allclose(result.momentum, unit.mean(0))
    np.testing.assert_allclose(result.ball, expected["ball"], atol=1e-12)
    np.testing.assert_array_equal(result.filter_output, np.repeat(np.arange(6), 4))
    np.testing.assert_allclose(result.filter_share, expected["odd"] / expected["energy"])
    low = (expected["dc"] + expected["gradient"]) / expected["energy"]
    np.testing.assert_allclose(result.filter_low, low)
    np.testing.assert_allclose(
        result.filter_mass_squared, expected["energy"] - 2 * expected["odd"], atol=1e-12
    )
    np.testing.assert_allclose(result.filter_momentum, expected["momentum"])
    length = np.linalg.norm(expected["momentum"], axis=1)
    np.testing.assert_allclose(result.filter_direction, expected["momentum"] / length[:, None])
    np.testing.assert_allclose(
        result.filter_spectrum, expected["modes"] / expected["energy"][:, None, None], atol=1e-12
    )


@pytest.mark.parametrize("units", [4, 40])
def test_intervals_have_nominal_coverage(units):
    """Many layers of output units with random strength and smoothness."""
    random = np.random.default_rng(2)
    smooth = np.ones((3, 3)) / 3

    def layer_of(count):
        mixing = random.uniform(0, 2, (count, 1, 1, 1))
        return slices.measure(random.normal(size=(count, 3, 3, 3)) * 0.5 + mixing * smooth)[1]

    large = layer_of(20_000)
    truth = large.parts[1].sum() / large.energy.sum()
    hits, runs = 0, 400
    for _ in range(runs):
        sums = layer_of(units)
        low, high = _shares.ratio(sums.parts, sums.energy, 0.9)[1][1]
        hits += low <= truth <= high
    assert abs(hits / runs - 0.9) < 0.05


def test_intervals_match_linearized_variance():
    """Shares, changes and excess against the explicit formula, down to two units."""
    a, b = (slices.measure(normal((c, 3, 3, 3), c, np.float64))[1] for c in (2, 5))
    linear = [
        (s.parts - np.outer(s.parts.sum(1) / s.energy.sum(), s.energy)) / s.energy.sum()
        for s in (a, b)
    ]
    variances = [len(x.T) / (len(x.T) - 1) * np.sum(x**2, 1) for x in linear]
    quantile = special.stdtrit(1, 0.975)
    interval = _shares.ratio(a.parts, a.energy, 0.95)[1]
    np.testing.assert_allclose(np.diff(interval)[:, 0], 2 * quantile * np.sqrt(variances[0]))
    interval = _shares.ratio_change(a, b, 0.95, paired=False)[2]
    np.testing.assert_allclose(
        np.diff(interval)[:, 0], 2 * quantile * np.sqrt(variances[0] + variances[1])
    )
    excess = networks.census([layer(normal((5, 3, 3, 3), 5, np.float64))]).excess_interval[0, 1]
    excess_low = (b.parts - b.shuffled)[1]
    residual = (excess_low - excess_low.sum() / b.energy.sum() * b.energy) / b.energy.sum()
    half = special.stdtrit(4, 0.975) * np.sqrt(5 / 4 * np.sum(residual**2))
    np.testing.assert_allclose(np.diff(excess)[0], 2 * half)


def change_of(first, second, **options):
    return networks.compare([layer(first)], [layer(second)], **options).isel(layer=0)


def test_compare_two_networks():
    a, b = normal((8, 3, 3, 3), 1, np.float64), normal((8, 3, 3, 3), 2, np.float64)
    result = change_of(a, b)
    first, second = (networks.census([layer(k)]).isel(layer=0) for k in (a, b))
    np.testing.assert_allclose(result.share[1], second.share)
    np.testing.assert_allclose(result.change, second.share - first.share)
    np.testing.assert_allclose(result.energy, [np.sum(a**2), np.sum(b**2)])
    cosine = np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))
    np.testing.assert_allclose(result.cosine, cosine)
    same = change_of(a, 2 * a)
    np.testing.assert_allclose(same.change_interval, 0, atol=1e-12)
    np.testing.assert_allclose(same.cosine, 1)


def test_pairing_narrows_the_intervals():
    a = normal((60, 2, 3, 3), 3, np.float64)
    b = a + 0.2
    paired = change_of(a, b).change_interval.sel(part="low").values
    unpaired = change_of(a[:, :1], b).change_interval
    assert paired[0] > 0
    assert np.diff(paired) < np.diff(unpaired.sel(part="low"))[0]


def test_unmatched_layers_are_listed():
    a, b = normal((2, 2, 3, 3)), normal((2, 2, 5, 5))
    result = networks.compare([layer(a, "a"), layer(a, "b")], [layer(b, "b"), layer(b, "c")])
    assert list(result.layer.values) == ["b"]
    assert result.unmatched == ["a", "c"]
    assert np.isnan(result.cosine[0])
    with pytest.raises(ValueError, match="others: got c, expected layers named as a"):
        networks.compare([layer(a, "a")], [layer(a, "c")])
    with pytest.raises(ValueError, match="layers: got a twice"):
        networks.compare([layer(a, "a"), layer(b, "a")], [layer(a, "a")])
    with pytest.raises(ValueError, match="others: got no layer with more than one tap"):
        networks.compare([layer(a, "a")], [layer(normal((2, 2, 1)), "a")])


def test_random_like_follows_the_null_model():
    a = normal((40, 20, 3, 3))
    (other,) = networks.random_like([layer(a)], seed=3)
    (another,) = networks.random_like([layer(a)], seed=4)
    assert not np.allclose(other.kernels, another.kernels)
    assert other.kernels.shape == a.shape
    np.testing.assert_allclose(np.var(other.kernels), 2 / 180, rtol=0.05)
    result = networks.census([other]).isel(layer=0)
    low, high = result.random_interval.sel(part="low").values
    assert low < result.share.sel(part="low") < high
    assert not networks.dominance(networks.census([other])).dominated[0]


def test_smooth_filters_are_dominated():
    ramp = np.arange(3) - 1.0
    strength = normal((30, 5, 3), 5, np.float64)
    basis = np.stack([np.ones((3, 3)) / 3, np.tile(ramp, (3, 1)), np.tile(ramp, (3, 1)).T])
    kernels = np.einsum("oim,myx->oiyx", strength, basis)
    result = networks.census([layer(kernels)])
    np.testing.assert_allclose(result.share.sel(part="low"), 1)
    np.testing.assert_allclose(np.sum(result.ball**2, 1), 1)
    verdict = networks.dominance(result).isel(layer=0)
    assert verdict.dominated
    assert verdict.above_random
    assert verdict.above_shuffled


def test_noise_in_small_kernels_is_undecided():
    result = networks.census([layer(normal((60, 9, 2, 2), 3)), layer(normal((60, 9, 3), 4))])
    verdict = networks.dominance(result)
    assert np.all(result.share.sel(part="low") > 0.6)
    assert not verdict.dominated.any()
    assert not verdict.not_dominated.any()


def test_shares_are_scale_invariant():
    kernels = normal((6, 4, 3, 3), 3, np.float64)
    expected = networks.census([layer(kernels)]).isel(layer=0)
    for scale in (1e-30, 1e30):
        result = networks.census([layer((scale * kernels).astype(np.float32))]).isel(layer=0)
        np.testing.assert_allclose(result.share, expected.share, rtol=1e-5)
        np.testing.assert_allclose(result.resultant, expected.resultant, rtol=1e-4)
        np.testing.assert_allclose(result.energy, expected.energy * scale**2, rtol=1e-5)
        assert (int(result.zero), int(result.not_finite)) == (0, 0)


def test_downward_direction_is_plus_y():
    down = np.zeros((2, 2, 3, 3), np.float32)
    down[..., 2, 1] = 1
    result = networks.census([layer(down)])
    assert abs(float(result.angle[int(result.rose[0].values.argmax())]) - np.pi / 2) < 0.1


def test_directions_ignore_axes_of_one_tap():
    result = networks.census([layer(k) for k in normal((200, 12, 12, 1, 5), 4)], keep=0)
    assert np.isnan(result.rose).all()
    rate = float(np.mean(result.resultant[:, 0] > result.resultant_random))
    assert abs(rate - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 200)


def test_resultants_detect_anisotropy():
    right = np.zeros((48, 4, 3, 3), np.float32)
    right[..., 1, 2] = 1
    both_sides = right.copy()
    both_sides[::2] = right[::2, :, :, ::-1]
    grid = both_sides.copy()
    grid[::4] = np.swapaxes(both_sides[::4], 2, 3)
    grid[1::4] = np.swapaxes(both_sides[1::4], 2, 3)
    result = networks.census(
        [
            layer(right, "r"),
            layer(both_sides, "s"),
            layer(grid, "g"),
            layer(normal((50, 4, 3, 3)), "n"),
        ]
    )
    np.testing.assert_allclose(result.resultant[0], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(result.resultant[1], [0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(result.resultant[2], [0, 0, 1], atol=1e-6)
    assert np.all(result.resultant[3] < 0.2)
    np.testing.assert_allclose(result.rose.sum("angle"), 1)
    assert abs(float(result.angle[int(result.rose[0].values.argmax())])) < 0.1


def test_resultant_threshold_is_exceeded_by_5_percent():
    exceeded = {}
    for size in ((3,), (3, 3), (3, 3, 3)):
        layers = [layer(k) for k in normal((200, 12, 12, *size), 4)]
        result = networks.census(layers, keep=0)
        exceeded[size] = float(np.mean(result.resultant[:, 0] > result.resultant_random))
    for rate in exceeded.values():
        assert abs(rate - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 200)


def test_layers_of_different_shapes_share_a_dataset():
    result = networks.census(
        [
            layer(normal((4, 2, 3)), "line"),
            layer(normal((4, 2, 5, 3)), "plane"),
            layer(normal((4, 2, 3, 3, 3)), "space"),
            layer(normal((4, 2, 1, 1)), "point"),
        ]
    )
    assert result.pointwise == ["point"]
    np.testing.assert_array_equal(result.kernel_size[0], [3, np.nan, np.nan])
    for n in range(3):
        np.testing.assert_allclose(np.nansum(result.spectrum[n]), 1, rtol=1e-6)
    assert np.isnan(result.momentum[0, 1])
    assert result.sizes["coordinate"] == 4
    assert np.isfinite(result.rose[1]).all()
    assert np.isnan(result.rose[[0, 2]]).all()


def test_individual_filters_are_evenly_spaced():
    result = networks.census([layer(normal((10, 10, 3, 3)))], keep=7)
    assert result.sizes["filter"] == 7
    number = result.filter_output.values * 10 + result.filter_input.values
    assert number[0] == 0
    assert number[-1] == 99
    assert networks.census([layer(normal((3, 3, 3, 3)))], keep=0).sizes["filter"] == 0


def test_nonfinite_filters_are_counted_and_optionally_skipped():
    kernels = normal((4, 3, 3, 3))
    kernels[1, 2, 0, 0] = np.nan
    kernels[3, 0] = 0
    kernels[3, 1, 1, 1] = np.inf
    default = networks.census([layer(kernels)]).isel(layer=0)
    assert (int(default.not_finite), int(default.zero), int(default.filters)) == (2, 1, 9)
    assert np.isnan(default.share).all()
    assert not networks.dominance(networks.census([layer(kernels)])).to_array().any()
    result = networks.census([layer(kernels)], skip_nan=True).isel(layer=0)
    finite = kernels.reshape(-1, 9)[np.isfinite(kernels).reshape(12, 9).all(1)]
    np.testing.assert_allclose(result.energy, np.sum(finite.astype(np.float64) ** 2), rtol=1e-5)
    assert np.isfinite(result.share).all()
    change = change_of(kernels, kernels, skip_nan=True)
    np.testing.assert_allclose(change.change, 0)
    np.testing.assert_allclose(change.cosine, 1)


def test_zero_layers_have_no_shares():
    result = networks.census([layer(np.zeros((2, 2, 3, 3), np.float32))]).isel(layer=0)
    assert int(result.zero) == 4
    assert np.isnan(result.share).all()
    assert np.isnan(result.resultant).all()


def test_single_output_has_no_interval():
    result = networks.census([layer(normal((1, 8, 3, 3)))]).isel(layer=0)
    assert np.isfinite(result.share).all()
    assert np.isnan(result.share_interval).all()


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([], {}, "layers: got none, expected at least one layer with more than one tap"),
        ([layer(normal((2, 2, 1, 1)), "p")], {}, "only layers with one tap: p"),
        ([], {"level": 1.0}, "level: got 1.0, expected a number between 0 and 1"),
        ([], {"level": "high"}, "level"),
        ([], {"keep": -1}, "keep: got -1"),
        ("model.npz", {}, "layers: got a str, expected layers from infomech.weights.layers"),
        ([np.ones((2, 2, 3))], {}, "layers: got an element of type ndarray"),
        ([layer(normal((0, 2, 3, 3)))], {}, r"kernels: got shape \(0, 2, 3, 3\)"),
    ],
)
def test_invalid_arguments_raise(layers, options, message):
    with pytest.raises(ValueError, match=message):
        networks.census(layers, **options)
