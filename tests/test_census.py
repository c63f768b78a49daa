"""The census against plain NumPy, its null models against closed forms and brute force."""

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


def drawn(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def layer(kernels, name="conv"):
    return Layer(name, kernels, "OIHW", "given")


def plain(kernels):
    """Energies by part, momenta and modes of each filter, by loops over the definitions."""
    outputs, inputs, *taps = kernels.shape
    axes = tuple(range(len(taps)))
    r = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in taps), indexing="ij"), -1)
    bases = []
    for n in taps:
        rows = [[math.cos(math.pi * m * (i + 0.5) / n) for i in range(n)] for m in range(n)]
        bases.append(np.array([np.array(row) / np.linalg.norm(row) for row in rows]))
    found = []
    for o, i in itertools.product(range(outputs), range(inputs)):
        k = kernels[o, i].astype(np.float64)
        odd = (k - np.flip(k, axes)) / 2
        modes = k
        for axis, basis in enumerate(bases):
            modes = np.moveaxis(np.tensordot(basis, modes, (1, axis)), 0, axis)
        gradients = [modes[tuple(int(a == axis) for a in axes)] for axis in axes]
        found.append(
            {
                "energy": np.sum(k**2),
                "odd": np.sum(odd**2),
                "gain": np.sum(k),
                "momentum": np.sum(r * k[..., None], axes),
                "modes": modes**2,
                "dc": modes.flat[0] ** 2,
                "gradient": np.sum(np.square(gradients)),
                "place": np.array([modes.flat[0], *(-g for g in gradients)]) / np.linalg.norm(k),
            }
        )
    return {name: np.array([row[name] for row in found]) for name in found[0]}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slices_are_those_of_the_definitions(shape, dtype):
    kernels = drawn(shape, dtype=dtype)
    expected = plain(kernels)
    every, sums = slices.measure(kernels)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-12}
    for name in slices.Slices._fields:
        np.testing.assert_allclose(getattr(every, name), expected[name], **close)
    expected["low"] = expected["dc"] + expected["gradient"]
    by_unit = {name: expected[name].reshape(shape[:2]).sum(1) for name in ("energy", *nulls.PARTS)}
    np.testing.assert_allclose(sums.whole, by_unit["energy"], **close)
    for part, got in zip(nulls.PARTS, sums.parts, strict=True):
        np.testing.assert_allclose(got, by_unit[part], **close)
    np.testing.assert_allclose(sums.modes, expected["modes"].sum(0), **close)
    np.testing.assert_allclose(sums.gradients.sum(0), by_unit["gradient"], **close)
    assert (sums.filters, sums.zero, sums.not_finite) == (math.prod(shape[:2]), 0, 0)


@pytest.mark.parametrize("shape", [(3, 7, 3, 3), (7, 1, 3, 3), (1, 9, 3, 3)], ids=str)
def test_chunks_change_nothing(monkeypatch, shape):
    kernels = drawn(shape, dtype="float64")
    whole = slices.measure(kernels)
    monkeypatch.setattr(slices, "CHUNK", 4 * 9)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(slices.measure(kernels)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_filter_moves_content_where_its_momentum_points():
    kernels = np.zeros((1, 1, 3, 3), np.float32)
    kernels[0, 0, 1, 2] = 1
    every, _ = slices.measure(kernels)
    np.testing.assert_allclose(every.momentum, [[0, 1]], atol=1e-6)
    assert every.place[0, 2] > 0


@pytest.mark.parametrize("taps", [(2,), (3,), (3, 3), (2, 3), (5, 1), (3, 3, 3), (7, 7)], ids=str)
def test_modes_are_counted(taps):
    count = math.prod(taps)
    identity = np.eye(count).reshape(count, *taps)
    axes = tuple(range(1, len(taps) + 1))
    odd = np.linalg.matrix_rank((identity - np.flip(identity, axes)).reshape(count, count))
    gradients = sum(n > 1 for n in taps)
    np.testing.assert_array_equal(nulls.modes(taps), [odd, 1 + gradients, 1, gradients])


@pytest.mark.parametrize("taps", [(3, 3), (5,), (2, 3)], ids=str)
def test_shares_of_random_filters_are_distributed_as_told(taps):
    """Many small layers of Gaussian taps: their mean, and how many lie between the bounds."""
    layers, filters = 4000, 6
    kernels = drawn((layers, filters, *taps), seed=1, dtype="float64")
    _, sums = slices.measure(kernels)
    found = sums.parts / sums.whole
    mean, bounds = nulls.random_shares(taps, filters, level=0.9)
    for share, middle, (low, high) in zip(found, mean, bounds, strict=True):
        np.testing.assert_allclose(share.mean(), middle, atol=4 * share.std() / layers**0.5)
        inside = np.mean((low <= share) & (share <= high))
        assert abs(inside - 0.9) < 4 * math.sqrt(0.09 / layers)


def test_a_part_that_is_everything_or_nothing_is_certain():
    mean, bounds = nulls.random_shares((2,), 5)
    np.testing.assert_array_equal(mean, [0.5, 1, 0.5, 0.5])
    np.testing.assert_array_equal(bounds[1], [1, 1])
    mean, bounds = nulls.random_shares((1,), 5)
    np.testing.assert_array_equal(mean, [0, 1, 1, 0])
    np.testing.assert_array_equal(bounds, [[0, 0], [1, 1], [1, 1], [0, 0]])


@given(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6))
def test_shuffles_are_averaged_in_closed_form(taps):
    """Against all 720 orders of the taps of one filter."""
    orders = np.array(list(itertools.permutations(taps)), np.float64).reshape(-1, 1, 2, 3)
    energy, gain = np.sum(np.square(taps)), np.sum(taps)
    expected = nulls.shuffled_energies(energy, gain, (2, 3))
    _, sums = slices.measure(orders)
    np.testing.assert_allclose(sums.parts.mean(1), expected, rtol=1e-9, atol=1e-9)


def test_a_layer_is_summed_up_by_energy():
    kernels = drawn((6, 4, 3, 3), dtype="float64")
    found = networks.census([layer(kernels)]).isel(layer=0)
    expected = plain(kernels)
    energy = expected["energy"].sum()
    assert int(found.filters) == 24
    np.testing.assert_allclose(found.energy, energy)
    np.testing.assert_allclose(found.mass_squared, energy - 2 * expected["odd"].sum())
    np.testing.assert_allclose(found.share.sel(part="odd"), expected["odd"].sum() / energy)
    low = (expected["dc"] + expected["gradient"]).sum() / energy
    np.testing.assert_allclose(found.share.sel(part="low"), low)
    np.testing.assert_allclose(found.spectrum, expected["modes"].sum(0) / energy)
    np.testing.assert_allclose(
        found.share_quantiles.sel(quantity="odd"),
        np.quantile(expected["odd"] / expected["energy"], [0.05, 0.25, 0.5, 0.75, 0.95]),
    )
    each = expected["modes"].sum(0)
    np.testing.assert_allclose(
        found.gradient_axis, np.array([each[1, 0], each[0, 1]]) / (each[1, 0] + each[0, 1])
    )
    low, high = found.gradient_axis_interval.values.T
    assert np.all(low < found.gradient_axis)
    np.testing.assert_allclose(low + high[::-1], 1)
    unit = expected["momentum"] / np.sqrt(expected["energy"])[:, None]
    np.testing.assert_allclose(found.momentum, unit.mean(0))
    np.testing.assert_allclose(found.ball, expected["place"], atol=1e-12)
    np.testing.assert_array_equal(found.filter_output, np.repeat(np.arange(6), 4))
    np.testing.assert_allclose(found.filter_share, expected["odd"] / expected["energy"])
    each = (expected["dc"] + expected["gradient"]) / expected["energy"]
    np.testing.assert_allclose(found.filter_low, each)
    np.testing.assert_allclose(
        found.filter_mass_squared, expected["energy"] - 2 * expected["odd"], atol=1e-12
    )
    np.testing.assert_allclose(found.filter_momentum, expected["momentum"])
    length = np.linalg.norm(expected["momentum"], axis=1)
    np.testing.assert_allclose(found.filter_direction, expected["momentum"] / length[:, None])
    np.testing.assert_allclose(
        found.filter_spectrum, expected["modes"] / expected["energy"][:, None, None], atol=1e-12
    )


@pytest.mark.parametrize("units", [4, 40])
def test_intervals_cover_as_often_as_they_say(units):
    """Output units of their own strength and character, drawn again and again."""
    random = np.random.default_rng(2)
    smooth = np.ones((3, 3)) / 3

    def layer_of(count):
        mixing = random.uniform(0, 2, (count, 1, 1, 1))
        return slices.measure(random.normal(size=(count, 3, 3, 3)) * 0.5 + mixing * smooth)[1]

    every = layer_of(20_000)
    truth = every.parts[1].sum() / every.whole.sum()
    hits, runs = 0, 400
    for _ in range(runs):
        sums = layer_of(units)
        low, high = _shares.ratio(sums.parts, sums.whole, 0.9)[1][1]
        hits += low <= truth <= high
    assert abs(hits / runs - 0.9) < 0.05


def test_intervals_are_those_of_the_linear_parts():
    """Against the formula written out, with two units too, and for what pairs of layers differ."""
    a, b = (slices.measure(drawn((c, 3, 3, 3), c, np.float64))[1] for c in (2, 5))
    linear = [
        (s.parts - np.outer(s.parts.sum(1) / s.whole.sum(), s.whole)) / s.whole.sum()
        for s in (a, b)
    ]
    variances = [len(x.T) / (len(x.T) - 1) * np.sum(x**2, 1) for x in linear]
    quantile = special.stdtrit(1, 0.975)
    interval = _shares.ratio(a.parts, a.whole, 0.95)[1]
    np.testing.assert_allclose(np.diff(interval)[:, 0], 2 * quantile * np.sqrt(variances[0]))
    interval = _shares.ratio_change(a, b, 0.95, paired=False)[2]
    np.testing.assert_allclose(
        np.diff(interval)[:, 0], 2 * quantile * np.sqrt(variances[0] + variances[1])
    )
    excess = networks.census([layer(drawn((5, 3, 3, 3), 5, np.float64))]).excess_interval[0, 1]
    less = (b.parts - b.shuffled)[1]
    residual = (less - less.sum() / b.whole.sum() * b.whole) / b.whole.sum()
    half = special.stdtrit(4, 0.975) * np.sqrt(5 / 4 * np.sum(residual**2))
    np.testing.assert_allclose(np.diff(excess)[0], 2 * half)


def change_of(first, second, **options):
    return networks.compare([layer(first)], [layer(second)], **options).isel(layer=0)


def test_two_networks_are_compared_layer_by_layer():
    a, b = drawn((8, 3, 3, 3), 1, np.float64), drawn((8, 3, 3, 3), 2, np.float64)
    found = change_of(a, b)
    each = [networks.census([layer(k)]).isel(layer=0) for k in (a, b)]
    np.testing.assert_allclose(found.share[1], each[1].share)
    np.testing.assert_allclose(found.change, each[1].share - each[0].share)
    np.testing.assert_allclose(found.energy, [np.sum(a**2), np.sum(b**2)])
    cosine = np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2))
    np.testing.assert_allclose(found.cosine, cosine)
    same = change_of(a, 2 * a)
    np.testing.assert_allclose(same.change_interval, 0, atol=1e-12)
    np.testing.assert_allclose(same.cosine, 1)


def test_pairs_tell_small_changes_that_independent_networks_hide():
    a = drawn((60, 2, 3, 3), 3, np.float64)
    b = a + 0.2
    paired = change_of(a, b).change_interval.sel(part="low").values
    apart = change_of(a[:, :1], b).change_interval
    assert paired[0] > 0
    assert np.diff(paired) < np.diff(apart.sel(part="low"))[0]


def test_layers_of_one_network_only_are_named():
    a, b = drawn((2, 2, 3, 3)), drawn((2, 2, 5, 5))
    found = networks.compare([layer(a, "a"), layer(a, "b")], [layer(b, "b"), layer(b, "c")])
    assert list(found.layer.values) == ["b"]
    assert found.unmatched == ["a", "c"]
    assert np.isnan(found.cosine[0])
    with pytest.raises(ValueError, match="others: got c, expected layers named as a"):
        networks.compare([layer(a, "a")], [layer(a, "c")])
    with pytest.raises(ValueError, match="layers: got a twice"):
        networks.compare([layer(a, "a"), layer(b, "a")], [layer(a, "a")])
    with pytest.raises(ValueError, match="others: got none of more than one tap"):
        networks.compare([layer(a, "a")], [layer(drawn((2, 2, 1)), "a")])


def test_random_networks_have_the_shapes_and_the_shares_of_the_null():
    a = drawn((40, 20, 3, 3))
    (other,) = networks.random_like([layer(a)], seed=3)
    (another,) = networks.random_like([layer(a)], seed=4)
    assert not np.allclose(other.kernels, another.kernels)
    assert other.kernels.shape == a.shape
    np.testing.assert_allclose(np.var(other.kernels), 2 / 180, rtol=0.05)
    found = networks.census([other]).isel(layer=0)
    low, high = found.random_interval.sel(part="low").values
    assert low < found.share.sel(part="low") < high
    assert not networks.dominance(networks.census([other])).dominated[0]


def test_smooth_filters_are_dominated_by_low_modes():
    ramp = np.arange(3) - 1.0
    strength = drawn((30, 5, 3), 5, np.float64)
    basis = np.stack([np.ones((3, 3)) / 3, np.tile(ramp, (3, 1)), np.tile(ramp, (3, 1)).T])
    kernels = np.einsum("oim,myx->oiyx", strength, basis)
    found = networks.census([layer(kernels)])
    np.testing.assert_allclose(found.share.sel(part="low"), 1)
    np.testing.assert_allclose(np.sum(found.ball**2, 1), 1)
    verdict = networks.dominance(found).isel(layer=0)
    assert verdict.dominated
    assert verdict.above_random
    assert verdict.above_shuffled


def test_noise_is_not_dominated_where_low_modes_are_most_of_all():
    found = networks.census([layer(drawn((60, 9, 2, 2), 3)), layer(drawn((60, 9, 3), 4))])
    verdict = networks.dominance(found)
    assert np.all(found.share.sel(part="low") > 0.6)
    assert not verdict.dominated.any()
    assert not verdict.not_dominated.any()


def test_weights_of_any_size_are_counted_alike():
    kernels = drawn((6, 4, 3, 3), 3, np.float64)
    expected = networks.census([layer(kernels)]).isel(layer=0)
    for scale in (1e-30, 1e30):
        some = networks.census([layer((scale * kernels).astype(np.float32))]).isel(layer=0)
        np.testing.assert_allclose(some.share, expected.share, rtol=1e-5)
        np.testing.assert_allclose(some.resultant, expected.resultant, rtol=1e-4)
        np.testing.assert_allclose(some.energy, expected.energy * scale**2, rtol=1e-5)
        assert (int(some.zero), int(some.not_finite)) == (0, 0)


def test_a_direction_down_the_rows_is_plus_y():
    down = np.zeros((2, 2, 3, 3), np.float32)
    down[..., 2, 1] = 1
    found = networks.census([layer(down)])
    assert abs(float(found.angle[int(found.rose[0].values.argmax())]) - np.pi / 2) < 0.1


def test_directions_of_flat_boxes_have_as_many_axes_as_they_are_wide():
    found = networks.census([layer(k) for k in drawn((200, 12, 12, 1, 5), 4)], keep=0)
    assert np.isnan(found.rose).all()
    rate = float(np.mean(found.resultant[:, 0] > found.resultant_random))
    assert abs(rate - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 200)


def test_directions_are_told_from_isotropic_ones():
    right = np.zeros((48, 4, 3, 3), np.float32)
    right[..., 1, 2] = 1
    sides = right.copy()
    sides[::2] = right[::2, :, :, ::-1]
    grid = sides.copy()
    grid[::4] = np.swapaxes(sides[::4], 2, 3)
    grid[1::4] = np.swapaxes(sides[1::4], 2, 3)
    found = networks.census(
        [layer(right, "r"), layer(sides, "s"), layer(grid, "g"), layer(drawn((50, 4, 3, 3)), "n")]
    )
    np.testing.assert_allclose(found.resultant[0], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found.resultant[1], [0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found.resultant[2], [0, 0, 1], atol=1e-6)
    assert np.all(found.resultant[3] < 0.2)
    np.testing.assert_allclose(found.rose.sum("angle"), 1)
    assert abs(float(found.angle[int(found.rose[0].values.argmax())])) < 0.1


def test_what_isotropic_directions_reach_is_exceeded_by_one_in_twenty():
    exceeded = {}
    for taps in ((3,), (3, 3), (3, 3, 3)):
        layers = [layer(k) for k in drawn((200, 12, 12, *taps), 4)]
        found = networks.census(layers, keep=0)
        exceeded[taps] = float(np.mean(found.resultant[:, 0] > found.resultant_random))
    for rate in exceeded.values():
        assert abs(rate - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 200)


def test_layers_of_other_shapes_share_one_dataset():
    found = networks.census(
        [
            layer(drawn((4, 2, 3)), "line"),
            layer(drawn((4, 2, 5, 3)), "plane"),
            layer(drawn((4, 2, 3, 3, 3)), "space"),
            layer(drawn((4, 2, 1, 1)), "point"),
        ]
    )
    assert found.pointwise == ["point"]
    np.testing.assert_array_equal(found.taps[0], [3, np.nan, np.nan])
    for n in range(3):
        np.testing.assert_allclose(np.nansum(found.spectrum[n]), 1, rtol=1e-6)
    assert np.isnan(found.momentum[0, 1])
    assert found.sizes["coordinate"] == 4
    assert np.isfinite(found.rose[1]).all()
    assert np.isnan(found.rose[[0, 2]]).all()


def test_filters_kept_are_evenly_spaced():
    found = networks.census([layer(drawn((10, 10, 3, 3)))], keep=7)
    assert found.sizes["filter"] == 7
    number = found.filter_output.values * 10 + found.filter_input.values
    assert number[0] == 0
    assert number[-1] == 99
    assert networks.census([layer(drawn((3, 3, 3, 3)))], keep=0).sizes["filter"] == 0


def test_nan_is_counted_and_left_out_only_if_asked():
    kernels = drawn((4, 3, 3, 3))
    kernels[1, 2, 0, 0] = np.nan
    kernels[3, 0] = 0
    kernels[3, 1, 1, 1] = np.inf
    poisoned = networks.census([layer(kernels)]).isel(layer=0)
    assert (int(poisoned.not_finite), int(poisoned.zero), int(poisoned.filters)) == (2, 1, 9)
    assert np.isnan(poisoned.share).all()
    assert not networks.dominance(networks.census([layer(kernels)])).to_array().any()
    found = networks.census([layer(kernels)], skip_nan=True).isel(layer=0)
    good = kernels.reshape(-1, 9)[np.isfinite(kernels).reshape(12, 9).all(1)]
    np.testing.assert_allclose(found.energy, np.sum(good.astype(np.float64) ** 2), rtol=1e-5)
    assert np.isfinite(found.share).all()
    change = change_of(kernels, kernels, skip_nan=True)
    np.testing.assert_allclose(change.change, 0)
    np.testing.assert_allclose(change.cosine, 1)


def test_layers_without_energy_have_no_shares():
    found = networks.census([layer(np.zeros((2, 2, 3, 3), np.float32))]).isel(layer=0)
    assert int(found.zero) == 4
    assert np.isnan(found.share).all()
    assert np.isnan(found.resultant).all()


def test_one_output_has_no_interval():
    found = networks.census([layer(drawn((1, 8, 3, 3)))]).isel(layer=0)
    assert np.isfinite(found.share).all()
    assert np.isnan(found.share_interval).all()


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([], {}, "layers: got none, expected at least one with more than one tap"),
        ([layer(drawn((2, 2, 1, 1)), "p")], {}, "only layers of one tap: p"),
        ([], {"level": 1.0}, "level: got 1.0, expected a number between 0 and 1"),
        ([], {"level": "high"}, "level"),
        ([], {"keep": -1}, "keep: got -1"),
        ("model.npz", {}, "layers: got a str, expected layers, as infomech.weights.layers"),
        ([np.ones((2, 2, 3))], {}, "layers: got an element of type ndarray"),
        ([layer(drawn((0, 2, 3, 3)))], {}, r"kernels: got shape \(0, 2, 3, 3\)"),
    ],
)
def test_mistakes_are_named(layers, options, message):
    with pytest.raises(ValueError, match=message):
        networks.census(layers, **options)
