"""Drift through networks: predictions against all paths, measurements, and their agreement."""

import functools

import jax
import jax.numpy as jnp
import networks_reference as reference
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infomech.networks import drift, receptive, sequential
from infomech.networks.sequential import Filters, Head, Layer, Parameters, Spec

# channels of the image, a shape that contains every path from its center, options of the layers
NETWORKS = {
    "a line": (1, (40,), (Layer(2, (3,), 2), Layer(3, (4,), dilation=2))),
    "groups": (
        2,
        (32,),
        (Layer(4, (2,), dilation=3, groups=2), Layer(2, (3,), 2, groups=2), Layer(2, (2,))),
    ),
    "a plane": (
        2,
        (24, 17),
        (Layer(2, (3, 2), (2, 1)), Layer(2, (2, 3), (1, 2), (2, 1), groups=2)),
    ),
    "space": (1, (9, 7, 11), (Layer(2, (2, 1, 3), (1, 1, 2)), Layer(1, (2, 2, 1)))),
}
LEFT, RIGHT = [1.0, 0, 0], [0.0, 0, 1]


def spec_of(name, rectifier="identity"):
    channels, _, layers = NETWORKS[name]
    layers = (
        Layer(x.outputs, x.kernel_size, x.stride, x.dilation, x.groups, rectifier) for x in layers
    )
    return Spec(channels, tuple(layers), 1)


def normal_kernels(name, seed, shift=0.3):
    """Random kernels."""
    rng = np.random.default_rng(seed)
    spec = spec_of(name)
    inputs = (spec.channels, *(layer.outputs for layer in spec.layers))
    return [
        rng.normal(shift, 1, (x.outputs, n // x.groups, *x.kernel_size))
        for x, n in zip(spec.layers, inputs, strict=False)
    ]


def by_paths(name, kernels, output, weighting):
    stack = [
        (
            k,
            *(
                x if isinstance(x, tuple) else (x,) * len(layer.kernel_size)
                for x in (layer.stride, layer.dilation)
            ),
            layer.groups,
        )
        for k, layer in zip(kernels, NETWORKS[name][2], strict=True)
    ]
    power = 2 if weighting == "energy" else 1
    return reference.moments(*reference.paths(stack, output, power))


@functools.cache
def predictor(name, weighting="signed"):
    layers = NETWORKS[name][2]
    options = {
        "strides": [x.stride for x in layers],
        "dilations": [x.dilation for x in layers],
        "groups": [x.groups for x in layers],
    }
    return jax.jit(functools.partial(drift.predict, **options, weighting=weighting))


@functools.cache
def receptive_fields(name, rectifier="identity"):
    """Function for the fields of the central units of the last layer, and their position."""
    spec = spec_of(name, rectifier)
    image = jax.ShapeDtypeStruct((spec.channels, *NETWORKS[name][1]), float)

    def function(kernels, image):
        layers = tuple(Filters(k, np.full(len(k), 0.1)) for k in kernels)
        head = Head(np.zeros((1, len(kernels[-1]))), np.zeros(1))
        return sequential.apply(Parameters(layers, head), image, spec=spec).layers[-1].after

    shape = jax.eval_shape(function, normal_kernels(name, 0), image).shape
    units = np.array([[o, *[n // 2 for n in shape[1:]]] for o in range(shape[0])])

    @jax.jit
    def run(kernels, images):
        return receptive.receptive_fields(functools.partial(function, kernels), images, units)

    return run, sequential.lattices(spec)[-1].at(units[0, 1:])


def measured_by_sums(weights, position):
    """Moments of pixel weights (channels, *shape) about the position of their unit."""
    w = np.asarray(weights).sum(axis=0)
    x = np.stack(np.meshgrid(*map(np.arange, w.shape), indexing="ij"), axis=-1)
    return reference.moments((position - x).reshape(-1, w.ndim), w.ravel())


def images_of(name, count=2):
    channels, shape, _ = NETWORKS[name]
    return np.random.default_rng(0).uniform(0.1, 1, (count, channels, *shape))


def close(actual, expected, tolerance=1e-10, name=""):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


# --- prediction -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weighting"),
    [*((name, "signed") for name in NETWORKS), ("a line", "energy"), ("groups", "energy")],
)
def test_prediction_matches_sum_over_paths(name, weighting):
    kernels = normal_kernels(name, 1)
    result = predictor(name, weighting)(kernels)
    for o in range(len(kernels[-1])):
        weight, v, covariance, balance = by_paths(name, kernels, o, weighting)
        close(result.weight[o], weight)
        close(result.displacement[o], v)
        close(result.covariance[o], covariance)
        close(result.balance[o], balance)


def test_shifts_add_with_stride_and_dilation():
    shift = {-1: LEFT, 0: [0.0, 1, 0], 1: RIGHT}
    plain = jax.jit(functools.partial(drift.predict, strides=(2, 1)))
    dilated = jax.jit(functools.partial(drift.predict, strides=(2, 3), dilations=(3, 2)))
    for first, second in ((1, -1), (-1, 0), (1, 1)):
        kernels = [np.array(shift[first])[None, None], np.array(shift[second])[None, None]]
        close(plain(kernels).displacement, [[first + 2 * second]])
        close(plain(kernels).covariance, [[[0]]])
        close(dilated(kernels).displacement, [[3 * first + 4 * second]])


TWO_PATHS = [np.array([[RIGHT], [LEFT]]), np.array([[[3.0], [1.0]]])]
by_hand = jax.jit(drift.predict, static_argnames="weighting")
by_hand_slopes = jax.jit(jax.jacrev(lambda kernels: drift.predict(kernels)[:2]))


def test_two_paths_by_hand():
    """One path moves by +1 with weight 3, the other by −1 with weight 1."""
    result = by_hand(TWO_PATHS)
    close(result.displacement, [[0.5]])
    close(result.covariance, [[[0.75]]])
    close([result.weight[0], result.balance[0]], [4, 1])
    opposed = [TWO_PATHS[0], TWO_PATHS[1] * np.array([1, -1])[None, :, None]]
    result = by_hand(opposed)
    close(result.displacement, [[2]])
    close([result.weight[0], result.balance[0]], [2, 0.5])
    result = by_hand(opposed, weighting="energy")
    close(result.displacement, [[0.8]])
    close([result.weight[0], result.balance[0]], [10, 1])


def test_gates_weight_the_paths():
    gates = [np.array([0.25, 1.0]), np.array([0.5])]
    for weighting, v, weight in (("signed", -1 / 7, 7 / 8), ("energy", 5 / 13, 13 / 8)):
        result = by_hand(TWO_PATHS, gates, weighting=weighting)
        close([result.displacement[0, 0], result.weight[0]], [v, weight])
        shut = by_hand(TWO_PATHS, [np.array([0.0, 1.0]), np.ones(1)], weighting=weighting)
        close(shut.displacement, [[-1]])


@pytest.mark.parametrize("change", [-3.0, -3 - 1e-14])
def test_canceling_paths_give_nan_and_zero_gradient(change):
    kernels = [TWO_PATHS[0], np.array([[[3.0], [change]]])]
    result = by_hand(kernels)
    assert result.balance[0] < 1e-14
    assert np.isnan(result.displacement).all()
    assert np.isnan(result.covariance).all()
    slope = by_hand_slopes(kernels)
    assert not any(np.any(x) for x in jax.tree.leaves(slope))


def test_closed_channel_gives_nan():
    result = by_hand(TWO_PATHS, [np.zeros(2), np.ones(1)])
    assert result.weight[0] == 0
    assert np.isnan([result.balance[0], result.displacement[0, 0]]).all()


@pytest.mark.parametrize("weighting", drift.WEIGHTINGS)
@pytest.mark.parametrize("size", [1e-18, 1e18])
def test_many_layers_stay_in_range(size, weighting):
    layer = np.full((1, 1, 3), size, np.float32)
    gates = [np.full(1, size, np.float32)] * 4
    result = by_hand([layer] * 4, gates, weighting=weighting)
    close(result.covariance, [[[4 * 2 / 3]]], 1e-5)
    assert result.covariance.dtype == np.float32


def test_float32_matches_float64():
    kernels = normal_kernels("a plane", 1)
    result = predictor("a plane")([k.astype(np.float32) for k in kernels])
    assert {x.dtype for x in result} == {jnp.dtype("float32")}
    for value, expected in zip(result, predictor("a plane")(kernels), strict=True):
        close(value, expected, 1e-4)


def test_vmap_matches_loop():
    networks = [[k + seed for k in TWO_PATHS] for seed in range(3)]
    batched = jax.vmap(by_hand)([np.stack(k) for k in zip(*networks, strict=True)])
    for n, kernels in enumerate(networks):
        for values, expected in zip(batched, by_hand(kernels), strict=True):
            close(values[n], expected)


def test_derivatives_match_finite_differences():
    rng = np.random.default_rng(0)
    point = normal_kernels("a line", 2, 1.0), [np.array([0.3, 0.9]), np.array([0.2, 0.7, 0.4])]
    tangent = jax.tree.map(lambda x: rng.normal(size=x.shape), point)
    cotangent = jax.tree.map(lambda x: rng.normal(size=x.shape), predictor("a line")(*point))

    def f(t):
        shifted = jax.tree.map(lambda x, dx: x + t * dx, point, tangent)
        result = predictor("a line")(*shifted)
        return sum((x * g).sum() for x, g in zip(result, cotangent, strict=True))

    reverse, forward = jax.jit(lambda t: (jax.grad(f)(t), jax.jvp(f, (t,), (1.0,))[1]))(0.0)
    close([reverse, forward], [(f(1e-5) - f(-1e-5)) / 2e-5] * 2, 1e-7)


# --- measurement ----------------------------------------------------------------------------


def test_receptive_field_matches_finite_differences():
    kernels, images = normal_kernels("a line", 4), images_of("a line") - 0.5
    run, _ = receptive_fields("a line", "relu")
    fields = run(kernels, images)

    def unit(image):
        for k, (s, e) in zip(kernels, ((2, 1), (1, 2)), strict=True):
            image = np.maximum(reference.convolve(k, image, (s,), (e,), 1) + 0.1, 0)
        return image[:, 10]

    slopes = np.zeros((2, 3, 1, 40))
    for n, pixel in np.ndindex(2, 40):
        up, down = images[n].copy(), images[n].copy()
        up[0, pixel] += 1e-6
        down[0, pixel] -= 1e-6
        slopes[n, :, 0, pixel] = (unit(up) - unit(down)) / 2e-6
    assert np.any(slopes[0] != slopes[1])
    close(fields.mean, slopes.mean(axis=0), 1e-8)
    close(fields.square, (slopes**2).mean(axis=0), 1e-8)


def test_displacement_is_opposite_to_receptive_field():
    """k = δ(r − 1): an impulse at 5 arrives at 6, and the unit at 6 looks at 5."""
    kernel = np.array(RIGHT)[None, None]
    units = np.array([[0, 6]])

    @jax.jit
    def run(image):
        convolve = functools.partial(sequential.convolve, kernel)
        result = receptive.measure(convolve, image[None], units, units[:, 1:])
        return convolve(image), result, drift.predict([kernel])

    output, result, predicted = run(np.eye(12)[5:6])
    assert np.argmax(output) == 6
    close([result.center, result.displacement, predicted.displacement], [[[5]], [[1]], [[1]]])


moments = jax.jit(receptive.moments, static_argnames=("weighting", "border"))


@pytest.mark.parametrize("weighting", receptive.WEIGHTINGS)
def test_moments_match_formulas(weighting):
    rng = np.random.default_rng(3)
    mean, square = rng.normal(0.4, 1, (2, 5, 6)), rng.uniform(0, 1, (2, 5, 6))
    w = {"signed": mean, "absolute": abs(mean), "energy": square}[weighting].sum(axis=0)
    x = np.stack(np.meshgrid(np.arange(5), np.arange(6), indexing="ij"), axis=-1)
    c = np.einsum("ij,ija->a", w, x) / w.sum()
    covariance = np.einsum("ij,ija,ijb->ab", w, x - c, x - c) / w.sum()
    fourth = np.einsum("ij,ija->a", w, (x - c) ** 4) / w.sum()
    position = np.array([2.5, 1.0])
    field = receptive.ReceptiveField(mean, square)
    result = moments(field, position, weighting=weighting, border=2)
    close(result.center, c)
    close(result.displacement, position - c)
    close(result.covariance, covariance)
    close(result.excess_kurtosis, fourth / np.diag(covariance) ** 2 - 3)
    low, high = np.linalg.eigvalsh(covariance)
    close(result.anisotropy, (high - low) / (high + low))
    close(result.weight, w.sum())
    close(result.balance, abs(w.sum()) / abs(w).sum())
    close(result.edge, 1 - abs(w[2:-2, 2:-2]).sum() / abs(w).sum())


def test_anisotropy_of_round_elongated_and_indefinite_fields():
    def anisotropy(w):
        field = receptive.ReceptiveField(w[None], np.zeros((1, 3, 3)))
        return moments(field, np.ones(2)).anisotropy

    assert anisotropy(np.ones((3, 3))) == pytest.approx(0, abs=1e-14)
    assert anisotropy(np.eye(3)) == pytest.approx(1)
    assert np.isnan(anisotropy(np.array([[0, -1.0, 0], [2, 5, 2], [0, -1, 0]])))


def test_canceling_and_empty_fields_have_no_center():
    for w, balance in (([[1.0, -1, 0]], 0), ([[1.0, 1e-14 - 1, 0]], 0), ([[0.0, 0, 0]], np.nan)):
        field = receptive.ReceptiveField(np.array(w), np.square(w))
        result = moments(field, np.zeros(1))
        close(result.balance, balance, 1e-13)
        for value in (
            result.center,
            result.displacement,
            result.covariance,
            result.excess_kurtosis,
        ):
            assert np.isnan(value).all()
        assert np.isnan(result.anisotropy)


def test_product_units_look_at_both_pixels():
    """u_c(2j) u_{1−c}(2j + 1): the gradient with respect to either pixel is the other pixel."""
    images = np.random.default_rng(1).normal(size=(3, 2, 8)).astype(np.float32)
    units = np.array([[0, 1], [1, 3], [1, 0]])

    @jax.jit
    def run(images):
        def function(image):
            return image[:, ::2] * image[::-1, 1::2]

        positions = 2 * units[:, 1:]
        return receptive.measure(
            function, images, units, positions, weighting="energy", border=2, batch=2
        )

    result = run(images)
    assert result.center.dtype == jnp.float32
    near, far = (
        np.array([(images[:, c, 2 * j + 1] ** 2).mean() for c, j in ((1, 1), (0, 3), (0, 0))]),
        np.array([(images[:, c, 2 * j] ** 2).mean() for c, j in ((0, 1), (1, 3), (1, 0))]),
    )
    share = far / (near + far)
    close(result.displacement[:, 0], -share, 1e-5)
    close(result.covariance[:, 0, 0], share * (1 - share), 1e-5)
    close(result.weight, near + far, 1e-5)
    close(result.edge, [0, 1, 1], 1e-6)


# --- prediction against measurement ---------------------------------------------------------


def assert_exact(predicted, fields, position, tolerance):
    for o, weights in enumerate(fields.mean):
        weight, v, covariance, _ = measured_by_sums(weights, position)
        close(predicted.weight[o], weight, tolerance)
        close(predicted.displacement[o], v, tolerance)
        close(predicted.covariance[o], covariance, tolerance)


@given(st.sampled_from(["a line", "groups", "a plane"]), st.integers(0, 10**6))
def test_signed_prediction_is_exact_for_linear_networks(name, seed):
    kernels = normal_kernels(name, seed)
    predicted = predictor(name)(kernels)
    # rounding errors grow as 1/balance
    assume(np.min(predicted.balance) > 1e-2)
    run, position = receptive_fields(name)
    assert_exact(predicted, run(kernels, images_of(name)), position, 1e-10)


def test_prediction_is_exact_with_inactive_rectifier():
    kernels = [abs(k) for k in normal_kernels("a line", 5)]
    run, position = receptive_fields("a line", "relu")
    fields = run(kernels, images_of("a line"))
    assert_exact(predictor("a line")(kernels), fields, position, 1e-12)


def test_energy_prediction_is_exact_for_random_signs():
    """Means of Σ w, Σ r w and Σ (r − v)² w over networks, within 4 standard errors."""
    count, rng = 500, np.random.default_rng(7)
    kernels = normal_kernels("a line", 6)
    signed = [k * rng.choice([-1.0, 1.0], (count, *k.shape)) for k in kernels]
    run, position = receptive_fields("a line")
    fields = jax.vmap(lambda k: run(k, images_of("a line")))(signed)
    w, r = np.asarray(fields.square)[:, :, 0], position - np.arange(40.0)
    predicted = predictor("a line", "energy")(kernels)
    for o, (v, covariance, weight, _) in enumerate(zip(*predicted, strict=True)):
        moments = np.stack([r**0, r, (r - float(v[0])) ** 2]) @ w[:, o].T
        error = moments.std(axis=1) / np.sqrt(count)
        expected = weight * np.array([1, v[0], covariance[0, 0]])
        assert np.all(abs(moments.mean(axis=1) - expected) < 4 * error)
        assert np.all(error < 0.06 * abs(moments).mean(axis=1))


# --- agreement ------------------------------------------------------------------------------

compiled = jax.jit(functools.partial(drift.agreement, resamples=200, level=0.9))


def agree(predicted, measured, seed=0, min_balance=(0.0, 0.1)):
    return compiled(predicted, measured, key=jax.random.key(seed), min_balance=min_balance)


def pair(predicted, measured, balance=1.0, edge=0.0):
    """A prediction and a measurement with the given displacements."""
    n, d = predicted.shape
    covariance = np.zeros((n, d, d))
    covariance[:, range(d), range(d)] = predicted**2
    ones = np.ones(n)
    other = {name: ones for name in ("weight", "center", "excess_kurtosis", "anisotropy")}
    return drift.Drift(predicted, covariance, ones, ones), receptive.Shape(
        displacement=measured,
        covariance=2 * covariance,
        balance=balance * ones,
        edge=edge * ones,
        **other,
    )


def random_units(seed=0, n=30, noise=0.4):
    rng = np.random.default_rng(seed)
    p = rng.normal(0.5, 1, (n, 2))
    return p, 0.7 * p + 0.2 + noise * rng.normal(size=p.shape)


def scores(p, m):
    slope, intercept = np.polyfit(p.ravel(), m.ravel(), 1)
    total = ((m - m.mean()) ** 2).sum()
    return (
        slope,
        intercept,
        1 - ((m - slope * p - intercept) ** 2).sum() / total,
        (p * m).sum() / (p * p).sum(),
        1 - ((m - p) ** 2).sum() / total,
    )


def test_scores_match_formulas():
    p, m = random_units()
    result = agree(*pair(p, m))
    close(result.scores, scores(p, m))
    assert [int(x) for x in result[3:]] == [30, 0, 0]


def test_two_units_have_no_scores():
    p, m = (x[:2] for x in random_units())
    result = agree(*pair(p, m))
    assert np.isnan(result.scores).all()
    assert int(result.used) == 2


@pytest.mark.parametrize(
    ("units", "noise", "verdict"),
    [
        (1, 0.0, drift.TOO_FEW),
        (2, 0.0, drift.TOO_FEW),
        (3, 0.0, drift.HOLDS),
        (30, 0.01, drift.HOLDS),
        (30, 2.0, drift.NOT_HELD),
    ],
)
def test_verdicts(units, noise, verdict):
    p, _ = random_units(n=units)
    m = 0.7 * p + noise * np.random.default_rng(1).normal(size=p.shape)
    result = agree(*pair(p, m))
    assert result.verdict(0.9) == verdict
    assert result.reason == (verdict if verdict == drift.TOO_FEW else "")


def test_equal_channels_have_no_r_squared():
    zeros = np.zeros((5, 2))
    result = agree(*pair(zeros, zeros))
    assert result.reason == result.verdict(0.9) == drift.ALIKE


def test_scores_of_variances_under_vmap():
    sets = [random_units(seed)[0] for seed in range(2)]
    both = jax.tree.map(lambda *x: np.stack(x), *[pair(p, p) for p in sets])
    result = jax.jit(
        jax.vmap(
            functools.partial(
                drift.agreement, key=jax.random.key(0), quantity="variance", resamples=5
            )
        )
    )(*both)
    for n, p in enumerate(sets):
        close([x[n] for x in result.scores], scores(p**2, 2 * p**2))


def test_independent_prediction_has_negative_skill():
    p, m = np.random.default_rng(1).normal(size=(2, 30, 2))
    result = agree(*pair(p, m))
    assert result.low.r_squared < 0.05
    assert result.high.skill < 0


def test_excluded_units_are_counted():
    p, m = random_units()
    balance, edge = np.ones(30), np.zeros(30)
    balance[0], balance[1], edge[1:4] = 0.05, np.nan, 0.5
    m[4, 1], m[2] = np.nan, 1e6
    predicted, measured = pair(p, m, balance, edge)
    result = agree(predicted, measured)
    close(result.scores, scores(p[5:], m[5:]))
    assert [int(x) for x in result[3:]] == [25, 3, 2]
    assert all(
        a < b < c < 2 for a, b, c in zip(result.low, result.scores, result.high, strict=True)
    )
    result = agree(predicted._replace(balance=np.arange(30) / 30), measured, 0, (0.3, 0.0))
    close(result.scores, scores(p[9:], m[9:]))
    assert [int(x) for x in result[3:]] == [21, 9, 0]
    none = agree(*pair(p, m, 0.0))
    assert np.isnan([*none.scores, *none.low, *none.high]).all()
    assert [int(x) for x in none[3:]] == [0, 30, 0]


def test_intervals_have_nominal_coverage():
    """In 200 random sets of units, 90 % intervals miss the true slope about 20 times."""
    results = [agree(*pair(*random_units(seed)), seed) for seed in range(200)]
    for score, truth in (("slope", 0.7), ("intercept", 0.2)):
        value, low, high = (
            np.array([getattr(getattr(result, part), score) for result in results])
            for part in ("scores", "low", "high")
        )
        assert 8 <= np.sum((truth < low) | (truth > high)) <= 36
        # 5 % of a normal distribution lie beyond 1.645 standard deviations on either side
        widths = np.mean([value - low, high - value], axis=1) / value.std()
        np.testing.assert_allclose(widths, 1.645, rtol=0.12)


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernels": []}, "kernels: got no layers"),
        ({"kernels": [np.ones((2, 3))]}, r"kernels: got first shape \(2, 3\)"),
        ({"kernels": [np.ones((2, 1, 0))]}, r"kernels\[0\]: got shape \(2, 1, 0\)"),
        (
            {"kernels": [np.ones((2, 1, 3)), np.ones((1, 3, 3))]},
            r"kernels\[1\]: got shape \(1, 3, 3\), expected \(outputs, 2/1, \*kernel_size\)",
        ),
        ({"kernels": [np.full((1, 1, 1), np.nan)]}, r"kernels\[0\]: got 1 of 1 values not finite"),
        ({"kernels": [np.ones((1, 1, 1), complex)]}, r"kernels\[0\]: got dtype complex128"),
        ({"groups": [2]}, r"kernels\[0\]: got shape \(3, 1, 3\), expected \(outputs, 2/2"),
        ({"groups": [1, 1]}, "groups: got 2 values, expected one for each of 1 layers"),
        ({"strides": [0]}, "strides: got 0"),
        ({"dilations": [(1, 1)]}, "dilations: got .*one integer"),
        ({"gates": [np.ones(2)]}, r"gates\[0\]: got shape \(2,\)"),
        ({"gates": []}, "gates: got 0 values"),
        ({"weighting": "absolute"}, "weighting: got 'absolute', expected one of signed, energy"),
    ],
)
def test_invalid_prediction_arguments_raise(arguments, message):
    arguments = {"kernels": [np.ones((3, 1, 3))], **arguments}
    with pytest.raises(ValueError, match=f"^{message}"):
        drift.predict(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": np.ones((2, 5))}, r"images: got shape \(2, 5\)"),
        ({"images": np.ones((0, 1, 5))}, r"images: got shape \(0, 1, 5\)"),
        ({"units": np.array([0, 1])}, r"units: got shape \(2,\) of int"),
        ({"units": np.array([[0.0, 1]])}, r"units: got shape \(1, 2\) of float64"),
        ({"units": np.array([[0, 5]])}, r"units: got \[\[0, 5\]\], .*shape \(1, 5\)"),
        ({"units": np.array([[-1, 0]])}, r"units: got \[\[-1, 0\]\]"),
        ({"function": jnp.sum}, r"function: got activations of shape \(\)"),
        ({"positions": np.zeros((2, 1))}, r"positions: got shape \(2, 1\), expected .*\(1, 1\)"),
        ({"weighting": "mass"}, "weighting: got 'mass'"),
        ({"border": -1}, "border: got -1"),
        ({"batch": 0}, "batch: got 0"),
    ],
)
def test_invalid_measurement_arguments_raise(arguments, message):
    arguments = {
        "function": lambda u: u,
        "images": np.ones((2, 1, 5)),
        "units": np.array([[0, 1]]),
        "positions": np.zeros((1, 1)),
        **arguments,
    }
    with pytest.raises(ValueError, match=f"^{message}"):
        receptive.measure(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantity": "weight"}, "quantity: got 'weight'"),
        ({"resamples": 0}, "resamples: got 0"),
        ({"level": 1.0}, "level: got 1.0"),
        ({"key": 0}, "key: got 0"),
    ],
)
def test_invalid_agreement_arguments_raise(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        drift.agreement(*pair(*random_units()), **{"key": jax.random.key(0), **options})


def test_mismatched_units_raise():
    predicted, _ = pair(*random_units(n=3))
    _, measured = pair(*random_units(n=4))
    with pytest.raises(ValueError, match=r"^predicted: got displacement \(3, 2\), .*\(4, 2\)"):
        drift.agreement(predicted, measured, key=jax.random.key(0))
