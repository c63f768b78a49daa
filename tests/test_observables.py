"""Observables: values, exact gradients, dead fields and accuracy far from pixel 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import infomech as im
from infomech import observables
from infomech.dynamics import BOUNDARIES

pytestmark = pytest.mark.optimized

CASES = [
    ((23,), (4,), "zero", "float64"),
    ((22,), (3,), "periodic", "float64"),
    ((23,), (2,), "periodic", "float32"),
    ((9, 14), (3, 5), "reflect", "float32"),
    ((9, 14), (2, 4), "zero", "float64"),
    ((10, 13), (4, 1), "periodic", "float64"),
    ((6, 5, 7), (2, 3, 1), "periodic", "float64"),
    ((6, 5, 7), (3, 4, 2), "zero", "float32"),
]
IDS = ["x".join(map(str, shape)) + f"-{b}-{dtype}" for shape, _, b, dtype in CASES]
SHIFT, GAIN = 2.5, -1.25


@functools.partial(jax.jit, static_argnames=("kernel_size", "boundary"))
def all_observables(field, kernel_size, boundary):
    located = ("center", "covariance", "spread", "skewness", "excess_kurtosis")
    result = {name: getattr(observables, name)(field, boundary=boundary) for name in located}
    for name in ("mass", "log_mass", "energy", "log_energy", "balance"):
        result[name] = getattr(observables, name)(field)
    reach = observables.layer_reach(kernel_size, boundary=boundary)
    result["edge"] = observables.edge(field, reach, boundary=boundary)
    return result


def standardized_on_the_ring(u, order):
    moments = []
    for axis, d in enumerate(reference.wrapped_displacements(u)):
        share = reference.marginal(u, axis) / reference.mass(u)
        moments.append(np.sum(d**order * share) / np.sum(d**2 * share) ** (order / 2))
    return np.array(moments)


def expected(u, origin, log_gain, kernel_size, boundary):
    circular = boundary == "periodic"
    covariance = reference.circular_covariance(u) if circular else reference.covariance(u)
    moment = standardized_on_the_ring if circular else reference.standardized_moment
    gain = np.exp(log_gain)
    return {
        "center": (reference.circular_center if circular else reference.center)(u, origin),
        "covariance": covariance,
        "spread": np.sqrt(np.diag(covariance)),
        "skewness": moment(u, 3),
        "excess_kurtosis": moment(u, 4) - 3,
        "mass": gain * reference.mass(u),
        "log_mass": log_gain + np.log(reference.mass(u)),
        "energy": gain**2 * reference.energy(u),
        "log_energy": 2 * log_gain + np.log(reference.energy(u)),
        "balance": reference.mass(u) / np.sum(np.abs(u)),
        "edge": reference.edge(u, kernel_size, boundary),
    }


def blob(shape, signed, seed):
    """A random pattern, brightest near the last corner and thus across a periodic seam."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(-0.1 if signed else 0.0, 1.0, size=shape)
    for axis, n in enumerate(shape):
        broadcast = [-1 if a == axis else 1 for a in range(len(shape))]
        ring = reference.wrapped(np.arange(n) - (n - 1.3), n)
        u *= np.exp(-((ring / (0.15 * n)) ** 2)).reshape(broadcast) + 0.05
    return u


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("shape", "kernel_size", "boundary", "dtype"), CASES, ids=IDS)
def test_observables_match_the_reference(shape, kernel_size, boundary, dtype, signed):
    u = blob(shape, signed, seed=len(shape)).astype(dtype)
    origin = SHIFT * np.arange(len(shape), dtype=dtype)
    field = im.Field(jnp.asarray(u), jnp.asarray(origin), jnp.asarray(GAIN, dtype))
    rtol = {"float32": 2e-4, "float64": 1e-10}[dtype]
    numbers = expected(u, origin, GAIN, kernel_size, boundary)
    for name, actual in all_observables(field, kernel_size, boundary).items():
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, numbers[name], rtol, rtol, err_msg=name)


def test_edge_covers_pixels_affected_within_one_layer():
    cases = [(n, boundary) for n in (1, 2, 3, 6, 7) for boundary in BOUNDARIES]

    @jax.jit
    @jax.vmap
    def shares(u):
        reach = [observables.layer_reach((n,), boundary=boundary) for n, boundary in cases]
        return [observables.edge(u, r, boundary=b) for r, (_, b) in zip(reach, cases, strict=True)]

    impulses = np.eye(23)
    for (n, boundary), actual in zip(cases, shares(impulses), strict=True):
        expected = [reference.edge(u, (n,), boundary) for u in impulses]
        np.testing.assert_array_equal(actual, expected, err_msg=f"{n} taps, {boundary}")


def test_mass_at_the_antipode_counts_as_edge():
    u = np.zeros(24)
    u[[5, 6, 7]] = 3.0
    u[18] = 1.0  # the antipode
    share = observables.edge(u, observables.layer_reach((3,)), boundary="periodic")
    np.testing.assert_allclose(share, 0.1, rtol=1e-12)


@pytest.mark.parametrize("boundary", ["zero", "reflect"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_layer_reach_covers_pixels_that_differ_from_an_infinite_line(n, boundary):
    layers, pixels, margin = 3, 31, 30
    differs = []
    for x in range(pixels):
        inside, infinite = np.zeros(pixels), np.zeros(pixels + 2 * margin)
        inside[x] = infinite[margin + x] = 1.0
        for _ in range(layers):
            inside = reference.convolve(inside, np.ones(n), boundary)
            infinite = reference.convolve(infinite, np.ones(n), "zero")
        cropped = infinite[margin:-margin]
        same = np.array_equal(inside, cropped) and inside.sum() == infinite.sum()
        differs.append(not same)
    touched = np.flatnonzero(differs)
    ((low, high),) = observables.layer_reach((n,), layers, boundary=boundary)
    assert low == max(touched[touched < pixels // 2], default=-1) + 1
    assert high == pixels - min(touched[touched > pixels // 2], default=pixels)


def test_circular_center_follows_rolls():
    u = blob((24,), False, seed=1)
    start = observables.center(u, boundary="periodic")
    for shift in (1, 7, 23):
        rolled = np.roll(u, shift)
        displacement = observables.center(rolled, boundary="periodic") - start
        np.testing.assert_allclose(reference.wrapped(displacement - shift, 24), 0.0, atol=1e-12)
        actual = observables.covariance(rolled, boundary="periodic")
        expected = observables.covariance(u, boundary="periodic")
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_logarithms_do_not_overflow():
    values, zero = jnp.full(8, 1e-30, jnp.float32), jnp.zeros(1, jnp.float32)
    field = im.Field(values, zero, jnp.asarray(500.0, jnp.float32))
    log_value = 500.0 + np.log(1e-30)
    np.testing.assert_allclose(observables.log_mass(field), np.log(8) + log_value, rtol=1e-6)
    np.testing.assert_allclose(observables.log_energy(field), np.log(8) + 2 * log_value, rtol=1e-6)
    large = im.fields.as_field(jnp.full(8, 1e30, jnp.float32))
    np.testing.assert_allclose(
        observables.log_energy(large), np.log(8) + 60 * np.log(10), rtol=1e-6
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_negative_mass_has_center_but_no_logarithm(sign):
    u = sign * blob((23,), False, seed=0)
    for boundary in ("zero", "periodic"):
        np.testing.assert_allclose(
            observables.center(u, boundary=boundary),
            observables.center(abs(u), boundary=boundary),
            rtol=1e-12,
        )
    assert np.isnan(observables.log_mass(u)) == (sign < 0)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_dead_field_has_nan_center_and_zero_gradient(boundary):
    dead = jnp.zeros(5)
    result = all_observables(im.fields.as_field(dead), (3,), boundary)
    for name in ("center", "covariance", "spread", "skewness", "excess_kurtosis", "balance"):
        assert np.all(np.isnan(result[name])), name
    for name in ("log_mass", "log_energy"):
        assert result[name] == -np.inf
    for name in ("mass", "energy", "edge"):
        assert result[name] == 0.0

    def undefined(u):
        result = all_observables(im.fields.as_field(u), (3,), boundary)
        return {name: result[name] for name in result if name not in ("mass", "energy")}

    _, forward = jax.jvp(undefined, (dead,), (jnp.ones(5),))
    for name, slope in forward.items():
        np.testing.assert_array_equal(slope, 0.0, err_msg=name)
    values, backward = jax.vjp(undefined, dead)
    (slope,) = backward(jax.tree.map(jnp.ones_like, values))
    np.testing.assert_array_equal(slope, 0.0)


def test_canceled_mass_has_no_center():
    u = np.zeros(12)
    u[:2] = 1.0, -1.0
    for boundary in ("zero", "periodic"):
        assert np.all(np.isnan(observables.center(u, boundary=boundary)))
        assert np.all(np.isnan(observables.covariance(u, boundary=boundary)))
    assert observables.balance(u) == 0.0
    reach = observables.layer_reach((3,))
    assert observables.edge(u, reach, boundary="zero") == reference.edge(u, (3,), "zero")
    assert np.isnan(reference.edge(u, (3,), "periodic"))
    assert np.isnan(observables.edge(u, reach, boundary="periodic"))


def test_single_pixel_has_zero_spread_and_nan_moments():
    for pixel, height in [(3, 1.0), (7, 0.3), (22, 1 / 3)]:
        u = np.zeros(24)
        u[pixel] = height
        np.testing.assert_array_equal(observables.covariance(u), 0.0)
        assert np.all(np.isnan(observables.skewness(u)))
        assert np.all(np.isnan(observables.excess_kurtosis(u)))
    slope = jax.grad(lambda u: jnp.sum(observables.spread(u)))(u)
    np.testing.assert_array_equal(slope, 0.0)  # the true slope is infinite


def test_float32_is_accurate_far_from_pixel_0():
    sigma, center, pixels = 5.0, 100_000.25, 2**17
    u = im.fields.gaussian(pixels, sigma, center=(center,), dtype="float32")
    x = np.arange(pixels)
    exact = np.exp(-0.5 * ((x - center) / sigma) ** 2)
    np.testing.assert_allclose(observables.center(u), reference.center(exact, [0.0]), atol=0.01)
    np.testing.assert_allclose(observables.covariance(u), sigma**2, rtol=1e-3)
    np.testing.assert_allclose(observables.skewness(u), 0.0, atol=0.01)
    np.testing.assert_allclose(observables.excess_kurtosis(u), 0.0, atol=0.01)


def test_half_precision_fields_are_summed_in_float32():
    u = jnp.ones((60, 70), jnp.float16)
    assert observables.mass(u) == 4200.0  # float16 counts to 2048
    assert observables.energy(u).dtype == jnp.float32
    np.testing.assert_allclose(observables.center(u), [29.5, 34.5], rtol=1e-6)


def exact_slopes(u, kernel_size):
    """Derivatives with respect to each pixel, from formulas for the plain observables."""
    mass, energy, size = u.sum(), (u**2).sum(), np.abs(u).sum()
    c, covariance = reference.center(u, np.zeros(u.ndim)), reference.covariance(u)
    offsets = np.stack(np.meshgrid(*map(np.arange, u.shape), indexing="ij")) - c[:, None, None]
    share = reference.edge(u, kernel_size, "zero")
    touched = np.zeros(u.shape)
    for x in np.ndindex(*u.shape):
        impulse = np.zeros(u.shape)
        impulse[x] = 1.0
        touched[x] = reference.edge(impulse, kernel_size, "zero")
    return {
        "mass": np.ones(u.shape),
        "log_mass": np.ones(u.shape) / mass,
        "energy": 2 * u,
        "log_energy": 2 * u / energy,
        "center": offsets / mass,
        "covariance": (offsets[:, None] * offsets[None] - covariance[..., None, None]) / mass,
        "edge": (touched - share) * np.sign(u) / size,
        "balance": (1 - mass / size * np.sign(u)) / size,
    }


def test_gradients_are_exact_in_both_modes():
    u, kernel_size = blob((6, 7), True, seed=2), (3, 2)
    slopes = exact_slopes(u, kernel_size)

    def observed(values):
        result = all_observables(im.fields.as_field(values), kernel_size, "zero")
        return {name: result[name] for name in slopes}

    for differentiate in (jax.jacrev, jax.jacfwd):
        for name, result in jax.jit(differentiate(observed))(u).items():
            np.testing.assert_allclose(result, slopes[name], rtol=1e-10, atol=1e-12)


def test_periodic_gradients_match_finite_differences():
    u, direction = blob((12,), False, seed=3), np.random.default_rng(0).normal(size=12)

    def observed(values):
        return all_observables(im.fields.as_field(values), (3,), "periodic")

    h = 1e-6
    above, below = observed(u + h * direction), observed(u - h * direction)
    _, forward = jax.jvp(observed, (u,), (direction,))
    backward = jax.jit(jax.jacrev(observed))(u)
    for name, slope in forward.items():
        np.testing.assert_allclose(slope, (above[name] - below[name]) / (2 * h), 1e-5, 1e-7)
        np.testing.assert_allclose(slope, backward[name] @ direction, rtol=1e-9, atol=1e-12)


def test_vmap_matches_single_calls():
    fields = np.stack([blob((9, 14), False, seed) for seed in range(3)] + [np.zeros((9, 14))])

    def observed(values):
        return all_observables(im.fields.as_field(values), (2, 3), "periodic")

    batched = jax.vmap(observed)(fields)
    for b, u in enumerate(fields):
        for name, single in observed(u).items():
            np.testing.assert_allclose(batched[name][b], single, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: observables.center(np.ones(5), boundary="torus"), "boundary: got 'torus', .*zero"),
        (lambda: observables.edge(np.ones(5), ((1, 1),) * 2), "reach: .*expected 1 pair"),
        (lambda: observables.edge(np.ones(5), 3), "reach: got 3, expected 1 pair"),
        (lambda: observables.mass(np.ones((2, 2, 2, 2))), "field: got shape .*, expected .* axes"),
        (lambda: observables.mass([1.0, np.nan]), "field: got 1 of 2 values not finite"),
    ],
)
def test_invalid_arguments_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call()
