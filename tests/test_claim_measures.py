"""Measurements of the experiments against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import infomech as im
from experiments import (
    edges,
    isotropy_shapes,
    kernel_sizes,
    leading_edge,
    ledger,
    mode_momenta,
    size_rates,
)

# --- shapes -------------------------------------------------------------------------------------

cumulants = jax.jit(isotropy_shapes.cumulants)


def centered(values):
    return im.fields.as_field(np.pad(np.asarray(values, float), ((3, 1), (0, 2))))


def test_cumulants():
    result = cumulants(centered(np.ones((4, 7))))
    np.testing.assert_allclose(result.center, [4.5, 3])
    np.testing.assert_allclose(result.covariance, np.diag([15 / 12, 48 / 12]), atol=1e-12)
    expected = [-(4**4 - 1) / 120, 0, 0, 0, -(7**4 - 1) / 120]
    np.testing.assert_allclose(result.fourth, expected, atol=1e-11)
    # κ(z⁴) = E z⁴ − 3 (E z²)², z the place in the complex plane
    values = np.random.default_rng(0).uniform(size=(6, 5))
    random_cumulants = cumulants(centered(values))
    y, x = np.indices(values.shape)
    share, z = values / values.sum(), x + 1j * y
    z = z - np.sum(share * z)
    square, power = np.sum(share * abs(z) ** 2) / 2, np.sum(share * z**4)
    expected = abs(power - 3 * np.sum(share * z**2) ** 2) / square**2
    np.testing.assert_allclose(isotropy_shapes.fourfold(*random_cumulants[1:]), expected)


def test_fourfold_harmonic_and_eigenvalue_ratio():
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    for values in (cross, np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]])):
        np.testing.assert_allclose(isotropy_shapes.fourfold(*cumulants(centered(values))[1:]), 4)
    gaussian = im.fields.gaussian((61, 41), sigma=(6.0, 4.0), dtype="float64")
    result = cumulants(gaussian)
    assert isotropy_shapes.fourfold(*result[1:]) < 1e-3
    np.testing.assert_allclose(
        isotropy_shapes.eigenvalue_ratio(result.covariance), 4 / 9, rtol=1e-4
    )
    stretched = np.array([[[3.0, 1.0], [1.0, 3.0]], [[np.nan] * 2] * 2])
    np.testing.assert_allclose(isotropy_shapes.eigenvalue_ratio(stretched), [0.5, np.nan])


def test_outline_equals_hull():
    angle = 2 * np.pi * np.arange(isotropy_shapes.DIRECTIONS) / isotropy_shapes.DIRECTIONS
    outline = jax.jit(isotropy_shapes.outline)(centered(np.ones((3, 9))))
    np.testing.assert_allclose(outline, 4 * abs(np.cos(angle)) + abs(np.sin(angle)), atol=1e-12)


def test_symmetric_kernels():
    taps = isotropy_shapes.disk_taps(5)
    np.testing.assert_array_equal(taps[0] > 0, [False, True, True, True, False])
    np.testing.assert_allclose(np.sum(taps**2), 1)
    turned = isotropy_shapes.quarter_turned(np.arange(18.0).reshape(2, 3, 3))
    np.testing.assert_allclose(np.rot90(turned, 1, (1, 2)), turned)
    np.testing.assert_allclose(turned[0], [[4, 4, 4]] * 3)


def test_settled():
    good = np.array([[True, False, True, True], [True] * 4, [True, True, True, False]])
    np.testing.assert_array_equal(isotropy_shapes.settled(good), [2, 0, np.nan])


def test_median_interval():
    # of 11 fair coins fewer than 2 show heads in 0.6 %, fewer than 3 in 3.3 %
    values = np.random.default_rng(0).permutation(np.arange(11.0))
    assert ledger.median(np.append(values, np.nan)) == (5, 1, 9)
    assert ledger.median(np.array([3.0, 1.0])) == (2, 1, 3)
    assert np.isnan(ledger.median(np.array([np.nan]))).all()


# --- rates of two sizes -------------------------------------------------------------------------


def test_place_and_slope():
    field = centered(np.random.default_rng(0).uniform(size=(6, 5)))
    for actual, expected in zip(size_rates.place(field), cumulants(field)[:2], strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-12)
    layer = np.arange(7.0)
    paths = np.stack([2 - 3 * layer, layer**2])
    np.testing.assert_allclose(size_rates.slope(paths), [-3, 6])
    fits = [np.polyfit(layer, np.sin(layer * n), 1)[0] for n in (1, 2)]
    np.testing.assert_allclose(size_rates.slope(np.sin(np.outer([1, 2], layer))), fits)


def test_rates_in_gradient_frame():
    ratios, angles = np.array([0.0, 0.5, 0.51, 1.0]), np.deg2rad([0, 30, 45])
    shape = (len(angles), len(ratios), 2)
    speed, along, across = np.random.default_rng(0).uniform(size=(3, *shape))
    n = np.stack([np.sin(angles), np.cos(angles)], -1)[:, None, None]
    m = np.stack([-np.cos(angles), np.sin(angles)], -1)[:, None, None]
    spread = sum(
        x[..., None, None] * a[..., None] * a[..., None, :] for x, a in ((along, n), (across, m))
    )
    rates = size_rates.Rates((speed[..., None] * n).reshape(-1, 2), spread.reshape(-1, 2, 2))
    result = size_rates.along(rates, 2, ratios, angles)
    np.testing.assert_allclose(result.speed, speed)
    np.testing.assert_allclose(result.along, along)
    np.testing.assert_allclose(result.across, across)
    np.testing.assert_allclose(result.total, along + across)
    # tan θ = β/(1 − β) up to 1/(|cos| + |sin|): 1, 0.73 and 0.71
    first, rest = [True, True, False, False], [True, False, False, False]
    np.testing.assert_array_equal(result.inactive[..., 0], [first, rest, rest])


def test_more_needs_margin_and_known_values():
    large, small = np.array([1.02, 1.005, -0.98, np.nan]), np.array([1.0, 1.0, -1.0, 1.0])
    np.testing.assert_array_equal(kernel_sizes.more(large, small), [True, False, True, False])


# --- edges --------------------------------------------------------------------------------------


def test_quantiles_and_fronts():
    begin = np.array([-2.0, 10.0])
    # equal columns from 0.5 to 20.5; and a single column
    mass = np.stack([np.r_[np.zeros(3), np.full(20, 0.05)], np.eye(23)[4]])
    positions = edges.quantiles(mass, begin)
    np.testing.assert_allclose(positions[0], 0.5 + 20 * np.array(edges.QUANTILES))
    np.testing.assert_allclose(positions[1], 13.5 + np.array(edges.QUANTILES))
    # interpolated beyond the last column above a tenth of the largest
    rows = np.array([[1, 0.5, 0.3, 0.01, 0.2, 0], [1, 0.5, 0.05, 0, 0, 0]])
    positions = edges.front(rows / rows.sum(1, keepdims=True), begin)
    np.testing.assert_allclose(positions, [-2 + 4.5, 10 + 1 + 0.4 / 0.45])
    assert np.isnan(edges.quantiles(np.full((1, 5), np.nan), np.zeros(1))).all()


@pytest.mark.parametrize("error", [-1e-16, 0.0, 1e-16])
def test_quantile_in_gap_is_its_middle(error):
    # two pulses as after a modulus: rounding must not decide which contains the median
    mass = np.zeros(21)
    mass[[3, 17]] = 0.5 + error, 0.5 - error
    low, middle, high = edges.quantiles(mass[None], np.array([-10.0]))[0]
    np.testing.assert_allclose([low, middle, high], [-7.4, 0, 7.4], atol=1e-9)


def test_mass_within_a_radius():
    values = np.full((1, 21, 31), 1 / (21 * 31))
    share = edges.within(values, np.array([-9.0]), np.array([-4.0]), np.array([6.5]), 1.6)
    # two columns at ±0.5 with rows −1 to 1, two at ±1.5 with row 0
    np.testing.assert_allclose(share, (2 * 3 + 2) / (21 * 31))


def test_core_left():
    values = jnp.asarray([[0.0, 2.0, 2.0, 0.0], [0.0, 2.0, 6.0, 0.0]])
    core = jnp.asarray([[False, True, False, True], [False, False, False, False]])
    np.testing.assert_allclose(edges.core_left(values, core), (2 / 2) / (12 / 4))


def test_edge_speeds():
    kernel = im.kernels.mix((3, 3), ratio=0.5, dtype="float64")
    np.testing.assert_allclose(edges.mixed(3, np.array([0.5]))[0], kernel, atol=1e-12)
    setting = leading_edge.LeadingEdgeSettings((3.0,), 1.0, 1.0, steps=8, every=4)
    places = np.array([0.0, 3.0, 6.0])[None, None] * np.array([1.0, 2.0])[None, :, None]
    assert leading_edge.over_ratios(places, setting) == {"early": 1, "late": 1}
    assert leading_edge.over_ratios(places[:, ::-1], setting) == {"early": 0.5, "late": 0.5}
    three = np.stack([0 * places, places, places + 1], -1)
    assert leading_edge.ahead(three, setting) == {"early": 0, "late": 0}
    three[..., 2] *= 2
    assert leading_edge.ahead(three, setting) == {"early": 0.5, "late": 0.5}


# --- momenta of modes ---------------------------------------------------------------------------


def test_mode_momenta():
    for taps in (2, 5):
        expected = mode_momenta.closed_form(taps)
        np.testing.assert_allclose(mode_momenta.of_modes(taps), expected, atol=1e-12)
        carrying = np.argwhere(np.any(expected != 0, -1)).tolist()
        odd = list(range(1, taps, 2))
        assert carrying == [[0, b] for b in odd] + [[a, 0] for a in odd]


def test_parts_of_low_and_higher_modes():
    filters = np.random.default_rng(0).normal(size=(3, 5, 5))
    parts = mode_momenta.parts(filters)
    np.testing.assert_allclose(parts.energy, np.sum(filters**2, (1, 2)))
    # each mode by its own taps
    low = np.zeros_like(filters)
    for a, b in mode_momenta.LOW:
        i = np.cos(np.pi * a * (np.arange(5) + 0.5) / 5)
        j = np.cos(np.pi * b * (np.arange(5) + 0.5) / 5)
        mode = np.outer(i, j) / np.linalg.norm(np.outer(i, j))
        low += np.sum(filters * mode, (1, 2), keepdims=True) * mode
    offsets = im.kernels.offsets((5, 5))
    for part, momentum in ((low, parts.momentum), (filters - low, parts.higher_momentum)):
        p = np.einsum("nab,abi->ni", part, offsets)
        np.testing.assert_allclose(momentum, np.sum(p**2, 1))
    np.testing.assert_allclose(parts.higher, np.sum((filters - low) ** 2, (1, 2)))


def test_constructed_kernels_have_given_shares():
    kernels = mode_momenta.with_higher_modes(5, 5, 0.25, seed=0)
    parts = mode_momenta.parts(kernels)
    np.testing.assert_allclose(parts.energy, 1)
    np.testing.assert_allclose(parts.higher, 0.25)
    laws = mode_momenta.candidates(kernels)
    share = np.linspace(0, 1, 5)
    np.testing.assert_allclose(laws["ε of low modes"], share, atol=1e-12)
    np.testing.assert_allclose(laws["√ε of low modes"] ** 2, share, atol=1e-12)
    tangent = laws["tan θ ≤ 1 of low modes"][[0, 1, 3]]
    np.testing.assert_allclose(tangent, [0, 1 / 3**0.5, np.nan], atol=1e-7)
    odd = [im.mechanics.energy_momentum(kernel).share for kernel in kernels[:2]]
    np.testing.assert_allclose(laws["ε of all modes"][:2], odd)
    assert np.all(mode_momenta.non_negative(3, 4, seed=0) > 0)
