"""Theory compared with reference and simulation; rates and fits compared with least squares."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import infomech as im
from infomech import rates, theory

SHAPES = [(2,), (5,), (3, 3), (2, 4), (1, 3), (2, 3, 2)]
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}

predict, fit = jax.jit(theory.predict), jax.jit(rates.fit_line)
velocity, diffusion, growth = (
    jax.jit(rate) for rate in (rates.velocity, rates.diffusion, rates.growth)
)


def taps(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(dtype)


# --- theory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_prediction_matches_the_reference(shape, dtype):
    kernel = taps(shape, dtype)
    actual, expected = predict(kernel), reference.predict(kernel)
    assert actual.inactive
    assert actual.velocity.dtype == actual.diffusion.dtype == dtype
    np.testing.assert_allclose(actual.velocity, expected[0], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(actual.diffusion, expected[1], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("rectifier", ["relu", "modulus", "identity", "leaky_relu", jax.nn.relu6])
def test_predict_depends_on_the_rectifier(rectifier):
    actual = theory.predict(taps((3, 3)), rectifier=rectifier)
    known = rectifier is not jax.nn.relu6
    assert actual.inactive == known
    assert np.all(np.isnan(actual.velocity)) != known
    assert np.all(np.isnan(actual.diffusion)) != known


@pytest.mark.parametrize(
    ("kernel", "rectifier"),
    [
        ([0.5, -0.1, 0.4], "relu"),
        ([0.5, -0.1, 0.4], "modulus"),
        ([0.5, -0.1, 0.4], "leaky_relu"),
        ([-0.5, -0.1], "relu"),
        ([0.5, 0.1, 0.4], "softplus"),
        ([0.5, 0.1, 0.4], "gelu"),
        ([0.5, 0.1, 0.4], "tanh"),
        ([0.0, 0.0], "relu"),
        ([0.0, 0.0], "identity"),
        ([-1.0, 0.0, 1.0], "identity"),
    ],
)
def test_predict_is_nan_without_closed_form(kernel, rectifier):
    result = theory.predict(kernel, rectifier=rectifier)
    assert np.all(np.isnan(result.velocity))
    assert np.all(np.isnan(result.diffusion))
    assert not result.inactive


@pytest.mark.parametrize(
    ("kernel", "rectifier", "inactive"),
    [
        (taps((3,)), "relu", True),
        (taps((2,), seed=1), "modulus", True),
        ([0.9, -0.4, 0.6], "identity", True),
        ([-0.9, 0.1, -0.3, 0.2], "identity", True),
    ],
)
def test_prediction_matches_the_simulation(kernel, rectifier, inactive):
    kernel = np.asarray(kernel)
    pattern = im.fields.disk((31,) * kernel.ndim, 2.5)
    _, trace = im.rollout(kernel, pattern, 5, rectifier=rectifier)
    result = theory.predict(kernel, rectifier=rectifier)
    assert result.inactive == inactive
    np.testing.assert_allclose(velocity(trace).value, result.velocity, atol=1e-9)
    np.testing.assert_allclose(diffusion(trace).value, result.diffusion, atol=1e-9)


RANGES = [
    ((2,), None),
    ((3,), (-2.0,)),
    ((7,), None),
    ((3, 3), (0.0, 1.0)),
    ((2, 5), (1.0, 2.0)),
    ((1, 4), (3.0, 1.0)),
    ((4, 3), (1.0, -1.0)),
    ((2, 3, 4), (1.0, 0.5, -2.0)),
]


@pytest.mark.parametrize(("shape", "direction"), RANGES)
def test_inactive_range_ends_at_the_first_negative_tap(shape, direction):
    actual = theory.inactive_range(shape, direction)
    along = np.eye(len(shape))[-1] if direction is None else direction
    shares, step = np.linspace(0, 1, 501), 0.002
    smallest = [reference.mix_share(shape, share, along).min() for share in shares]
    first_negative = shares[np.flatnonzero(np.array(smallest) < -1e-12)[0]]
    assert first_negative - step <= actual.share + 1e-12 < first_negative + 1e-12
    assert predict(reference.mix_share(shape, 0.999 * float(actual.share), along)).inactive
    assert not predict(reference.mix_share(shape, 1.001 * float(actual.share), along)).inactive
    by_ratio = reference.mix_ratio(shape, float(actual.ratio), along)
    by_share = reference.mix_share(shape, float(actual.share), along)
    np.testing.assert_allclose(by_ratio, by_share, atol=1e-13)
    np.testing.assert_allclose(
        actual.tangent, np.sqrt(actual.share / (1 - actual.share)), rtol=1e-12
    )


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_inactive_range_on_one_axis_is_spread_over_reach(n):
    step_spread = np.sqrt((n**2 - 1) / 12)
    np.testing.assert_allclose(theory.step_spread(n), step_spread, rtol=1e-14)
    tangent = step_spread / ((n - 1) / 2)
    for shape in [(n,), (n, n), (3, n)]:
        np.testing.assert_allclose(theory.inactive_range(shape).tangent, tangent, rtol=1e-13)
    fastest = step_spread * theory.inactive_range((n,)).tangent
    np.testing.assert_allclose(fastest, step_spread**2 / ((n - 1) / 2), rtol=1e-13)


def test_contraction_is_the_lorentz_factor():
    np.testing.assert_allclose(theory.contraction(0.6, 1.0), 0.8, rtol=1e-14)
    assert theory.contraction(2.0, 2.0) == 0.0
    assert np.isnan(theory.contraction(2.1, 2.0))


# --- rates ----------------------------------------------------------------------------------


def synthetic_trace(seed=0, n=20, d=2, dtype="float64"):
    """A noisy straight path and a noisy growing covariance, far from any boundary."""
    rng = np.random.default_rng(seed)
    layer = np.arange(n)
    center = 50.0 + layer[:, None] * rng.normal(size=d) + 0.1 * rng.normal(size=(n, d))
    noise = 0.1 * rng.normal(size=(n, d, d))
    covariance = 1.0 + layer[:, None, None] * rng.uniform(0.5, 1.0, size=(d, d)) + noise
    covariance[0] = 0.3
    zero = jnp.zeros(n, dtype)
    return im.Trace(
        jnp.asarray(layer),
        jnp.asarray(center, dtype),
        jnp.asarray(covariance, dtype),
        log_mass=zero,
        log_energy=zero,
        edge=zero,
        balance=zero + 1,
        cut=zero,
    )


@pytest.mark.parametrize("burn_in", [0, 7, 17])
def test_rates_are_slopes_of_least_squares_lines(burn_in):
    trace = synthetic_trace()
    window = slice(burn_in, None)
    pairs = [
        (velocity(trace, burn_in), trace.center),
        (diffusion(trace, burn_in), trace.covariance),
    ]
    for rate, path in pairs:
        assert rate.status == 0
        assert rate.reason == "ok"
        for i in np.ndindex(*path.shape[1:]):
            slope, _, r2, error = reference.linear_fit(trace.layer[window], path[(window, *i)])
            np.testing.assert_allclose(rate.value[i], slope, rtol=1e-10)
            np.testing.assert_allclose(rate.stderr[i], error, rtol=1e-8)
            np.testing.assert_allclose(rate.r_squared[i], r2, rtol=1e-10)


@pytest.mark.parametrize("burn_in", [0, 7])
def test_growth_is_a_line_in_logarithms(burn_in):
    trace = synthetic_trace()
    window = slice(max(burn_in, 1), None)
    actual = growth(trace, burn_in)
    assert actual.exponent.status == 0
    for axis in range(2):
        variance_gain = trace.covariance[:, axis, axis] - trace.covariance[0, axis, axis]
        log_t = np.log(np.asarray(trace.layer[window]))
        slope, start, r2, error = reference.linear_fit(log_t, 0.5 * np.log(variance_gain[window]))
        for part in actual:
            np.testing.assert_allclose(part.r_squared[axis], r2, rtol=1e-9)
        np.testing.assert_allclose(actual.exponent.value[axis], slope, rtol=1e-9)
        np.testing.assert_allclose(actual.exponent.stderr[axis], error, rtol=1e-8)
        np.testing.assert_allclose(actual.prefactor.value[axis], np.exp(start), rtol=1e-9)
        start_error = error * np.sqrt(np.mean(log_t**2))
        np.testing.assert_allclose(
            actual.prefactor.stderr[axis], np.exp(start) * start_error, rtol=1e-8
        )


def test_float32_keeps_slopes_far_from_pixel_0():
    layer = np.arange(40)
    trace = dataclasses.replace(
        synthetic_trace(n=40, d=1, dtype="float32"),
        center=jnp.asarray(1e5 + 0.25 * layer[:, None], jnp.float32),
    )
    np.testing.assert_allclose(velocity(trace).value, 0.25, rtol=1e-5)


def test_burn_in_may_be_traced():
    trace = synthetic_trace()
    burn_ins = jnp.array([2, 5])
    velocities = jax.vmap(lambda burn_in: velocity(trace, burn_in).value)(burn_ins)
    np.testing.assert_allclose(velocities[1], velocity(trace, 5).value, rtol=1e-12)
    exponents = jax.vmap(lambda burn_in: growth(trace, burn_in).exponent.value)(burn_ins)
    np.testing.assert_allclose(exponents[1], growth(trace, 5).exponent.value, rtol=1e-12)


# --- steadiness of rates ---------------------------------------------------------------------


def path_trace(path, dtype="float64", covariance=None):
    """A trace along a given path (n,) or (n, d)."""
    path = np.asarray(path).reshape(len(path), -1)
    trace = synthetic_trace(n=len(path), d=path.shape[1], dtype=dtype)
    covariance = trace.covariance if covariance is None else jnp.asarray(covariance, dtype)
    return dataclasses.replace(trace, center=jnp.asarray(path, dtype), covariance=covariance)


@pytest.mark.parametrize("burn_in", [0, 7, 14])
def test_halves_are_fits_of_half_windows(burn_in):
    trace = synthetic_trace()
    layers = np.arange(burn_in, 20)
    parts = np.split(layers, [len(layers) // 2])
    for rate, path in [(velocity, trace.center), (diffusion, trace.covariance)]:
        actual = rate(trace, burn_in)
        for half, part in zip(actual.halves, parts, strict=True):
            for i in np.ndindex(*path.shape[1:]):
                slope = reference.linear_fit(part, path[(part, *i)])[0]
                np.testing.assert_allclose(half[i], slope, rtol=1e-10)
    actual = growth(trace, max(burn_in, 1))
    for half, part in enumerate(np.split(layers[layers > 0], [np.sum(layers > 0) // 2])):
        variance_gain = trace.covariance[part, 0, 0] - trace.covariance[0, 0, 0]
        slope, start, _, _ = reference.linear_fit(np.log(part), 0.5 * np.log(variance_gain))
        np.testing.assert_allclose(actual.exponent.halves[half, 0], slope, rtol=1e-9)
        np.testing.assert_allclose(actual.prefactor.halves[half, 0], np.exp(start), rtol=1e-9)


@pytest.mark.parametrize("n", [6, 13, 33, 400])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_curved_path_is_unsteady(n, dtype):
    t = np.arange(n)
    straight, curved = 90 + 0.4 * t, 90 + 0.4 * t + 0.1 * n * (t / n) ** 2
    result = velocity(path_trace(np.stack([straight, curved], -1), dtype))
    np.testing.assert_array_equal(result.steady, [True, False])
    # R² does not detect the curvature
    assert result.r_squared[1] > 0.98
    np.testing.assert_allclose(result.halves[1] - result.halves[0], [0, 0.1], atol=1e-2)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_small_curvature_is_steady(dtype):
    t = np.arange(40)
    bends = [
        velocity(path_trace(0.4 * t + 0.4 * share * t**2 / 40, dtype)).steady
        for share in (5e-4, 5e-3)
    ]
    assert [bool(bend[0]) for bend in bends] == [True, False]


def test_rounding_is_steady_without_r_squared():
    """The path is constant except for the last digit of its largest coordinate."""
    t = np.arange(40)
    wobble = np.where(t < 20, 0, 3e-5) * (t - 20)
    result = velocity(path_trace(np.stack([300 + wobble / 20, np.full(40, 300.0)], -1), "float32"))
    np.testing.assert_array_equal(result.steady, [True, True])
    assert np.isnan(result.r_squared).all()
    np.testing.assert_allclose(result.value, 0, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.35])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_inactive_rollouts_are_steady(share, dtype):
    kernel = im.kernels.mix((3, 3), share=share, dtype=dtype)
    field = im.fields.disk((120, 160), 5.0, dtype=dtype)
    _, trace = im.rollout(kernel, field, 48)
    steady_velocity, spread = velocity(trace, 16), diffusion(trace, 16)
    assert steady_velocity.steady.all()
    assert spread.steady.all()
    np.testing.assert_array_equal(np.isnan(steady_velocity.r_squared), [True, share == 0])
    np.testing.assert_array_equal(np.isnan(spread.r_squared), 1 - np.eye(2))
    np.testing.assert_allclose(np.diag(spread.r_squared), 1, atol=1e-5)


def test_noisy_straight_path_is_steady():
    t = np.arange(33)
    noise = np.random.default_rng(0).normal(size=(33, 500))
    traces = [path_trace(0.4 * t + 0.3 * column) for column in noise.T]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *traces)
    steady = jax.vmap(velocity)(batch).steady
    assert np.sum(~steady) <= 3  # 0.04 % of normal noise exceeds four standard errors


def test_few_observations_have_no_halves():
    result = velocity(path_trace(np.arange(5.0) ** 2))
    assert np.isnan(result.halves).all()
    assert result.steady.all()
    refused = velocity(damaged(synthetic_trace(), "touched"))
    assert np.isnan([*refused.r_squared, *refused.halves.ravel()]).all()
    assert not refused.steady.any()


def test_gradients_of_halves_and_r_squared_are_finite():
    def summed(slope):
        path = jnp.stack([slope * jnp.arange(12.0), jnp.zeros(12)], -1)
        result = velocity(dataclasses.replace(synthetic_trace(n=12), center=path))
        return jnp.nansum(result.r_squared) + jnp.sum(result.halves) + jnp.sum(result.stderr)

    np.testing.assert_allclose(jax.grad(summed)(0.3), 2, atol=1e-6)


# --- refusals -------------------------------------------------------------------------------


def test_float32_errors_are_small_far_from_position_0():
    """A mean of large float32 numbers is rounded, so the fit subtracts the first number."""
    trace = synthetic_trace(n=40, dtype="float32")
    layer = np.arange(40.0)
    center = jnp.asarray(np.stack([1e6 + 0.5 * layer, 3e5 - 0.25 * layer], -1), jnp.float32)
    velocity = rates.velocity(dataclasses.replace(trace, center=center))
    np.testing.assert_allclose(velocity.value, [0.5, -0.25], rtol=1e-6)
    np.testing.assert_allclose(velocity.stderr, 0, atol=1e-6)


REFUSED = {
    "short": "fewer than three observations",
    "dead": "the field died",
    "touched": "touched the boundary",
    "cut": "touched the boundary",
    "overflow": "overflowed",
    "canceled": "cancel",
    "canceled exactly": "cancel",
}


def damaged(trace, how, layers=slice(8, None)):
    """The trace with one kind of trouble at the given layers."""
    undefined = {"center": np.nan, "covariance": np.nan, "log_mass": -np.inf}
    trouble = {
        "short": {},
        "dead": {**undefined, "log_energy": -np.inf, "balance": np.nan},
        "touched": {"edge": 1e-3},
        "cut": {"cut": 1e-3},
        "overflow": {"center": np.nan, "log_energy": np.inf},
        "canceled": {"balance": 1e-14},
        "canceled exactly": {**undefined, "balance": 0.0},
    }
    changed = {name: getattr(trace, name).at[layers].set(x) for name, x in trouble[how].items()}
    return dataclasses.replace(trace, **changed)


@pytest.mark.parametrize("rate", [velocity, diffusion, lambda *a: growth(*a).prefactor])
@pytest.mark.parametrize("how", REFUSED)
def test_refused_rate_is_nan_with_reason(rate, how):
    result = rate(damaged(synthetic_trace(), how), 18 if how == "short" else 3)
    assert np.all(np.isnan(result.value))
    assert np.all(np.isnan(result.stderr))
    assert REFUSED[how] in result.reason


def test_only_boundary_contact_before_the_window_matters():
    for how in ("overflow", "canceled", "canceled exactly"):
        early = damaged(synthetic_trace(), how, slice(3))
        np.testing.assert_array_equal(
            velocity(early, 3).value, velocity(synthetic_trace(), 3).value
        )
        assert np.all(np.isnan(velocity(early, 2).value))
    assert "touched" in velocity(damaged(synthetic_trace(), "touched", slice(3)), 3).reason


def test_contact_within_tolerance_is_accepted():
    trace = damaged(synthetic_trace(), "touched")
    assert velocity(trace, edge_tolerance=1e-2).reason == "ok"


def test_growth_without_spreading_is_refused():
    _, trace = im.rollout(np.array([0.0, 0.0, 1.0]), im.fields.disk(31, 2.0), 6)
    np.testing.assert_allclose(velocity(trace).value, 1.0, rtol=1e-12)
    np.testing.assert_allclose(diffusion(trace).value, 0.0, atol=1e-12)
    refused = growth(trace).exponent
    assert "no growth" in refused.reason
    assert np.all(np.isnan(refused.value))


def test_bad_rollout_does_not_affect_the_batch():
    pattern = im.fields.impulse(17, dtype="float32")
    kernels = [[0.01, 0.97, 0.02], [-1, -1, -1], [0, 0, 1], [0.02, 0.9, 0.02], [1e8, 1e8, 1e8]]

    def rate(kernel):
        return velocity(im.rollout(kernel, pattern, 8, normalize="none")[1])

    batch = jax.jit(jax.vmap(rate))(np.array(kernels, np.float32))
    reasons = ["ok", "the field died", "touched the boundary", "ok", "overflowed"]
    for actual, expected in zip(batch.reason, reasons, strict=True):
        assert expected in actual
    np.testing.assert_allclose(batch.value[0], 0.01, rtol=1e-3)
    np.testing.assert_allclose(batch.value[3], 0.0, atol=1e-5)
    assert np.all(np.isnan(batch.value[jnp.array([1, 2, 4])]))


@pytest.mark.parametrize("kernel", [[1.0, -1.0], [0.25, 0.5, 0.25]])
def test_cancellation_has_its_own_reason(kernel):
    pattern = np.zeros(41)
    pattern[19:22] = (0.3, 0.4, 0.3) if len(kernel) == 2 else (1.0, 0.0, -1.0)
    _, trace = im.rollout(np.array(kernel), pattern, 5, rectifier="identity")
    assert "cancel" in velocity(trace, 1).reason


def test_gradients_of_a_refused_rate_are_finite():
    pattern = im.fields.impulse(31)

    def rate(kernel):
        return jnp.nansum(velocity(im.rollout(kernel, pattern, 5)[1]).value)

    assert np.all(np.isfinite(jax.jit(jax.grad(rate))(-jnp.ones(3))))


# --- candidate laws and fits ----------------------------------------------------------------


def test_candidates_match_their_formulas():
    share = np.array([0.0, 0.1, 0.5, 0.9])
    result = rates.candidates(share)
    even, odd = np.sqrt(1 - share), np.sqrt(share)
    formulas = {"share": share, "sqrt_share": odd}
    formulas |= {"tangent": odd / even, "ratio": odd / (odd + even)}
    assert result.keys() == formulas.keys()
    for name, formula in formulas.items():
        np.testing.assert_allclose(result[name], formula, rtol=1e-14)
    ratio = result["ratio"]
    np.testing.assert_allclose(ratio**2 / ((1 - ratio) ** 2 + ratio**2), share, rtol=1e-13)
    at_one = rates.candidates(1)
    assert [float(at_one[name]) for name in formulas] == [1.0, 1.0, np.inf, 1.0]


def noisy_line(seed=0, n=30, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 3.0, size=n)
    return x, 2.0 * x - 0.7 + noise * rng.normal(size=n)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-4), ("float64", 1e-11)])
def test_fit_is_least_squares_over_points_in_use(dtype, rtol):
    x, y = noisy_line()
    y[3], x[5] = np.nan, np.inf
    where = np.arange(30) != 9
    used = where & np.isfinite(x) & np.isfinite(y)
    actual = fit(x.astype(dtype), y.astype(dtype), where)
    slope, intercept, r_squared, _ = reference.linear_fit(x[used], y[used])
    assert actual.slope.dtype == dtype
    np.testing.assert_allclose(actual.slope, slope, rtol=rtol)
    np.testing.assert_allclose(actual.intercept, intercept, rtol=rtol)
    np.testing.assert_allclose(actual.r_squared, r_squared, rtol=rtol)
    residuals = np.where(used, y - slope * np.where(used, x, 0) - intercept, 0)
    np.testing.assert_allclose(actual.residuals, residuals, atol=10 * rtol)


@pytest.mark.parametrize("x", [[0.1, 0.1, 0.1], [2.0, 2.0, 2.0], [1.0, np.nan, np.nan]])
def test_line_through_a_single_x_is_nan(x):
    result = fit(np.array(x), np.array([1.0, 2.0, 4.0]))
    assert np.isnan(result.slope)
    assert np.isnan(result.intercept)
    assert np.isnan(result.r_squared)


@pytest.mark.parametrize("y", [2.0, 0.1])
def test_constant_has_slope_0_and_no_r_squared(y):
    result = fit(np.array([1.0, 2.0, 4.0]), np.full(3, y))
    np.testing.assert_allclose(result.slope, 0.0, atol=1e-15)
    np.testing.assert_allclose(result.intercept, y, rtol=1e-14)
    assert np.isnan(result.r_squared)


interval = jax.jit(rates.bootstrap, static_argnames=("resamples", "level"))


def test_bootstrap_intervals_have_nominal_coverage():
    lines = [noisy_line(seed) for seed in range(100)]
    x, y = (np.stack(column) for column in zip(*lines, strict=True))
    keys = jax.random.split(jax.random.key(0), 100)
    actual = jax.vmap(lambda x, y, key: interval(x, y, key=key, resamples=100, level=0.9))(
        x, y, keys
    )
    for low_high, truth in [(actual.slope, 2.0), (actual.intercept, -0.7)]:
        covered = np.mean((low_high[:, 0] < truth) & (truth < low_high[:, 1]))
        assert 0.8 < covered < 0.97
    assert np.all(actual.r_squared[:, 0] < actual.r_squared[:, 1])
    assert actual.residuals.shape == (100, 2, 30)


def test_bootstrap_is_reproducible_and_draws_points_in_use():
    x, y = noisy_line()
    where = np.arange(30) != 4
    key, other = jax.random.split(jax.random.key(1))
    first = interval(x, y, where, key=key, resamples=50).slope
    assert np.all(interval(x, y, where, key=other, resamples=50).slope != first)
    y[4] = 1e6
    np.testing.assert_array_equal(interval(x, y, where, key=key, resamples=50).slope, first)


# --- invalid arguments ----------------------------------------------------------------------

KEY, THREE = jax.random.key(0), [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rates.velocity(np.ones(3)), "trace: got .*ndarray.*expected the Trace"),
        (lambda: rates.diffusion(None), "trace: got NoneType, expected the Trace"),
        (lambda: rates.growth(3), "trace: got int, expected the Trace"),
        (lambda: rates.candidates(1.2), r"share: got 1.2, expected a number in \[0, 1\]"),
        (lambda: rates.candidates(np.nan), "share: got nan, expected"),
        (
            lambda: rates.fit_line(THREE, [1.0, 2.0]),
            r"x, y: got shapes \(3,\) and \(2,\), expected two",
        ),
        (lambda: rates.fit_line([THREE], [THREE]), "x, y: got shapes .*, expected two vectors"),
        (lambda: rates.fit_line(THREE, THREE, [True]), r"where: got shape \(1,\), expected \(3,\)"),
        (
            lambda: rates.bootstrap(THREE, THREE, key=KEY, resamples=0),
            "resamples: got 0, expected .* 1",
        ),
        (lambda: rates.bootstrap(THREE, THREE, key=KEY, level=1), "level: got 1, .* 0 and 1"),
        (lambda: theory.predict(np.zeros(0)), "kernel: got shape .*, expected at least one tap"),
        (lambda: theory.predict([1.0, np.inf]), "kernel: got 1 of 2 values not finite"),
        (lambda: theory.predict(THREE, rectifier="rely"), "rectifier: got 'rely', .* relu, "),
        (
            lambda: theory.inactive_range((3, 3), (0, 0)),
            "direction: got .*, expected a nonzero vector",
        ),
        (lambda: theory.inactive_range((1, 3), (1, 0)), "direction: got .*, expected .* one tap"),
        (lambda: theory.inactive_range((3, 0)), r"kernel_size: got \(3, 0\), expected .* positive"),
        (
            lambda: theory.step_spread(0),
            "kernel_size: got 0, expected an integer of at least 1",
        ),
    ],
)
def test_invalid_arguments_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call()
