"""Compare rollouts and their observations with the reference; test invalid arguments."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from thinned import thinned

import infomech as im

BOUNDARIES = ("zero", "periodic", "reflect")
NORMALIZATIONS = ("none", "sum", "l2", "max")
RECTIFIERS = ("relu", "modulus", "identity", "leaky_relu", "softplus", "gelu", "tanh")
SHAPES = {1: (19,), 2: (9, 12), 3: (5, 4, 6)}
KERNEL_SIZES = {
    (1, "even"): [(2,), (6,), (4,)],
    (1, "odd"): [(3,), (5,), (7,)],
    (2, "even"): [(2, 2), (4, 2), (2, 6)],
    (2, "odd"): [(3, 3), (5, 3), (7, 1)],
    (3, "even"): [(2, 2, 2), (2, 2, 4), (2, 4, 2)],
    (3, "odd"): [(3, 3, 3), (1, 3, 3), (3, 1, 5)],
}
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


def pairwise_table():
    """Settings that cover all pairs of values of any two factors, but not the full product."""
    table = []
    for r, n in itertools.product(range(7), range(4)):
        d = (r + 2 * n) % 3 + 1
        parity = ("even", "odd")[(r + n) % 2]
        kernel_size = KERNEL_SIZES[d, parity][r % 3]
        dtype = ("float32", "float64")[(r + r // 3 + n // 2) % 2]
        stacked = (r // 2 + n) % 2 == 0
        boundary = BOUNDARIES[(r + n) % 3]
        table.append(
            (boundary, NORMALIZATIONS[n], RECTIFIERS[r], dtype, d, parity, stacked, kernel_size)
        )
    return table


TABLE = pairwise_table()


def random_kernel(rng, shape, dtype="float64"):
    """Random taps of both signs, with a gain well above 0 to survive ReLU."""
    return ((rng.normal(size=shape) + 0.4) / np.sqrt(np.prod(shape[-2:]))).astype(dtype)


def identity(field):
    return field


def test_table_covers_all_pairs():
    factors = list(zip(*TABLE, strict=True))[:-1]
    for a, b in itertools.combinations(factors, 2):
        assert set(zip(a, b, strict=True)) == set(itertools.product(a, b))


@pytest.mark.parametrize(
    ("boundary", "normalize", "rectifier", "dtype", "d", "parity", "stacked", "kernel_size"),
    thinned(TABLE, 2),
    ids=["-".join(map(str, row)) for row in TABLE],
)
def test_layers_match_reference(
    boundary, normalize, rectifier, dtype, d, parity, stacked, kernel_size
):
    steps, gain = 4, 0.3
    rng = np.random.default_rng(3)
    kernel = random_kernel(rng, (steps, *kernel_size) if stacked else kernel_size, dtype)
    values = rng.normal(size=SHAPES[d]).astype(dtype)
    origin = np.arange(1.0, d + 1).astype(dtype)
    field = im.Field(jnp.asarray(values), jnp.asarray(origin), jnp.asarray(gain, dtype))
    settings = {"rectifier": rectifier, "boundary": boundary, "normalize": normalize}
    final, observed = im.rollout(kernel, field, steps, observe=identity, **settings)

    initial_gain = gain if rectifier in reference.HOMOGENEOUS else 0.0
    start = values * np.exp(gain - initial_gain)
    expected = reference.rollout(kernel, start, steps, **settings)
    tolerance = TOLERANCE[dtype]
    assert final.values.dtype == dtype
    for t, (layer, shift, log_gain) in enumerate(expected):
        size = np.abs(layer).max()
        np.testing.assert_allclose(observed.values[t], layer, rtol=0, atol=tolerance * size)
        np.testing.assert_allclose(observed.origin[t], origin + shift, rtol=tolerance)
        np.testing.assert_allclose(observed.log_gain[t], log_gain + initial_gain, atol=tolerance)
    for last, all_layers in zip(jax.tree.leaves(final), jax.tree.leaves(observed), strict=True):
        np.testing.assert_allclose(last, all_layers[-1], rtol=tolerance)


def expected_trace(layers, kernel_size, boundary, log_gain=0.0):
    """The default trace, computed from the layers of the reference."""
    circular = boundary == "periodic"
    center = reference.circular_center if circular else reference.center
    covariance = reference.circular_covariance if circular else reference.covariance
    path = np.stack([center(u, origin) for u, origin, _ in layers])
    gains = np.array([g for _, _, g in layers]) + log_gain
    return {
        "center": reference.unwrap(path, layers[0][0].shape) if circular else path,
        "covariance": np.stack([covariance(u) for u, _, _ in layers]),
        "log_mass": gains + np.log([reference.mass(u) for u, _, _ in layers]),
        "log_energy": 2 * gains + np.log([reference.energy(u) for u, _, _ in layers]),
        "edge": np.array([reference.edge(u, kernel_size, boundary) for u, _, _ in layers]),
    }


def assert_trace_matches(trace, expected, rtol):
    for name, numbers in expected.items():
        np.testing.assert_allclose(getattr(trace, name), numbers, rtol, rtol, err_msg=name)


@pytest.mark.parametrize(
    ("boundary", "kernel_size", "dtype"),
    [
        ("zero", (4,), "float64"),
        ("reflect", (7,), "float32"),
        ("periodic", (2,), "float64"),
        ("periodic", (2, 3), "float32"),
        ("periodic", (3, 2, 2), "float64"),
    ],
)
def test_trace_matches_reference(boundary, kernel_size, dtype):
    rng = np.random.default_rng(4)
    shape = SHAPES[len(kernel_size)]
    kernel = random_kernel(rng, kernel_size, dtype)
    values = rng.uniform(size=shape).astype(dtype)
    values[(slice(2, 4),) * len(kernel_size)] += 4.0
    _, trace = im.rollout(kernel, values, 6, boundary=boundary)
    layers = reference.rollout(kernel, values, 6, "relu", boundary, "l2")
    np.testing.assert_array_equal(trace.layer, np.arange(7))
    np.testing.assert_allclose(trace.balance, 1.0, rtol=1e-6)
    assert_trace_matches(
        trace,
        expected_trace(layers, kernel_size, boundary),
        {"float32": 2e-4, "float64": 1e-9}[dtype],
    )


KERNEL, PATTERN = np.array([0.2, 0.5, 0.4]), im.fields.disk(31, 3.0)


def test_every_thins_observations():
    final, trace = im.rollout(KERNEL, PATTERN, 8)
    same, thinned_trace = im.rollout(KERNEL, PATTERN, 8, every=3)
    np.testing.assert_array_equal(thinned_trace.layer, [0, 3, 6])
    for name in ("center", "covariance", "log_mass", "log_energy", "balance"):
        np.testing.assert_allclose(
            getattr(thinned_trace, name), getattr(trace, name)[::3], rtol=1e-12
        )
    np.testing.assert_allclose(same.values, final.values, rtol=1e-12)
    np.testing.assert_allclose(same.log_gain, final.log_gain, rtol=1e-12)


def test_every_widens_edge_margin():
    shift, near_boundary = np.array([0.0, 0.0, 1.0]), im.fields.impulse(20, index=17)
    assert im.rollout(shift, near_boundary, 2)[1].edge.tolist() == [0.0, 0.0, 1.0]
    assert im.rollout(shift, near_boundary, 3, every=3)[1].edge[0] == 1.0


def test_every_beyond_last_layer_observes_only_first_field():
    final, trace = im.rollout(np.ones(3), im.fields.impulse(20), 4, every=9)
    np.testing.assert_array_equal(trace.layer, [0])
    assert int(np.sum(np.asarray(final.values) > 0)) == 9


def test_observer_may_return_pytree():
    def observe(field):
        return {"center": im.observables.center(field), "peaks": (jnp.max(field.values),)}

    _, observed = im.rollout(KERNEL, PATTERN, 8, observe=observe)
    expected = im.rollout(KERNEL, PATTERN, 8)[1].center
    np.testing.assert_allclose(observed["center"], expected, rtol=1e-12)
    assert observed["peaks"][0].shape == (9,)


def test_observer_may_return_python_numbers():
    _, sizes = im.rollout(np.ones(3), np.ones(9), 4, observe=lambda field: field.values.size)
    np.testing.assert_array_equal(sizes, [9] * 5)


def test_no_observer_returns_no_trace():
    final, trace = im.rollout(KERNEL, PATTERN, 8, observe=None)
    assert trace is None
    np.testing.assert_allclose(final.values, im.rollout(KERNEL, PATTERN, 8)[0].values, rtol=1e-12)


@pytest.mark.parametrize("kernel", [np.ones(3), np.ones((0, 3))])
def test_zero_steps_return_the_field(kernel):
    final, trace = im.rollout(kernel, PATTERN, 0)
    np.testing.assert_array_equal(final.values, PATTERN.values)
    np.testing.assert_allclose(trace.center, [[15.0]], rtol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_layer_equals_one_step(boundary):
    rng = np.random.default_rng(0)
    kernel, values = rng.normal(size=(2, 3)), rng.uniform(size=(6, 7))
    field = im.Field(jnp.asarray(values), jnp.array([3.0, -1.0]), jnp.asarray(2.0))
    for rectifier in ("relu", "tanh"):
        settings = {"rectifier": rectifier, "boundary": boundary}
        single = im.layer(kernel, field, **settings)
        final, _ = im.rollout(kernel, field, 1, normalize="none", observe=None, **settings)
        for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(final), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(single.origin, [2.5, -1.0])


def test_normalization_preserves_true_field():
    plain, _ = im.rollout(KERNEL, PATTERN, 8, normalize="none", observe=None)
    assert plain.log_gain == 0.0
    norms = {"sum": np.sum, "l2": lambda u: np.sqrt(np.sum(u**2)), "max": np.max}
    for normalize, norm in norms.items():
        final, _ = im.rollout(KERNEL, PATTERN, 8, normalize=normalize, observe=None)
        np.testing.assert_allclose(norm(final.values), 1.0, rtol=1e-12)
        true = final.values * np.exp(final.log_gain)
        np.testing.assert_allclose(true, plain.values, rtol=1e-12)


def test_callable_rectifier_homogeneity_is_detected():
    custom, _ = im.rollout(KERNEL, PATTERN, 8, rectifier=jax.nn.relu, observe=None)
    named, _ = im.rollout(KERNEL, PATTERN, 8, observe=None)
    np.testing.assert_array_equal(custom.values, named.values)
    np.testing.assert_array_equal(custom.log_gain, named.log_gain)
    assert im.rollout(KERNEL, PATTERN, 8, rectifier=jnp.sin, observe=None)[0].log_gain == 0.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_observes_in_float32(dtype):
    field = im.fields.disk(31, 3.0, dtype=dtype)
    final, trace = im.rollout(KERNEL.astype(dtype), field, 8)
    assert final.values.dtype == dtype
    assert final.origin.dtype == final.log_gain.dtype == jnp.float32
    assert {a.dtype for a in jax.tree.leaves(trace)[1:]} == {jnp.dtype("float32")}
    _, exact = im.rollout(KERNEL, PATTERN, 8)
    np.testing.assert_allclose(trace.center, exact.center, atol=0.1)
    np.testing.assert_allclose(trace.covariance, exact.covariance, rtol=0.05)
    np.testing.assert_allclose(trace.log_energy, exact.log_energy, atol=0.1)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_deep_rollouts_do_not_overflow(dtype, scale):
    steps, pixels = 3000, 16
    kernel = (scale * np.array([0.5, 0.1, 0.7, 0.2])).astype(dtype)
    ring, observe = np.ones(pixels, dtype), im.observables.log_energy
    final, log_energy = im.rollout(kernel, ring, steps, boundary="periodic", observe=observe)
    layers = np.arange(steps + 1)
    closed_form = np.log(pixels) + 2 * layers * np.log(1.5 * scale)
    rtol = {"float32": 2e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(log_energy, closed_form, rtol, rtol)
    np.testing.assert_allclose(final.values, 0.25, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_large_half_precision_field_keeps_energy(dtype):
    """The mass exceeds the range of float16."""
    ones = jnp.ones((512, 512), dtype)
    _, trace = im.rollout(jnp.ones((1, 1), dtype), ones, 2, boundary="periodic")
    np.testing.assert_allclose(trace.log_energy, 2 * np.log(512), rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("normalize", ["sum", "l2", "max"])
def test_normalized_layers_support_any_kernel_scale(normalize, scale):
    kernel, pattern = KERNEL.astype(np.float32), im.fields.disk(31, 3.0, dtype="float32")
    plain, trace = im.rollout(kernel, pattern, 8, normalize=normalize)
    scaled, scaled_trace = im.rollout(np.float32(scale) * kernel, pattern, 8, normalize=normalize)
    np.testing.assert_allclose(scaled.values, plain.values, rtol=1e-4)
    np.testing.assert_allclose(scaled_trace.center, trace.center, rtol=1e-5)
    log_energy = np.asarray(trace.log_energy) + 2 * np.log(scale) * np.arange(9)
    np.testing.assert_allclose(scaled_trace.log_energy, log_energy, rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "every"), [(1, 1), (8, 1), (11, 1), (13, 2), (23, 1), (37, 3), (64, 1), (97, 1)]
)
def test_any_number_of_steps_matches_reference(steps, every):
    rng = np.random.default_rng(steps)
    kernels, values = random_kernel(rng, (steps, 3)), rng.uniform(size=9)
    expected = reference.rollout(kernels, values, steps, "modulus", "periodic", "l2")
    final, observed = im.rollout(
        kernels,
        values,
        steps,
        rectifier="modulus",
        boundary="periodic",
        observe=identity,
        every=every,
    )
    np.testing.assert_allclose(observed.values, [u for u, _, _ in expected[::every]], atol=1e-9)
    np.testing.assert_allclose(observed.log_gain, [g for _, _, g in expected[::every]], atol=1e-9)
    np.testing.assert_allclose(final.values, expected[-1][0], atol=1e-9)


def test_vmap_equals_loop():
    rng = np.random.default_rng(1)
    kernels, fields = random_kernel(rng, (3, 2, 3)), rng.uniform(size=(3, 7, 6))

    def run(kernel, field):
        return im.rollout(kernel, field, 4, boundary="reflect", observe=im.observables.center)

    for axes in [(0, None), (None, 0), (0, 0)]:
        k, u = (a if axis == 0 else a[0] for a, axis in zip((kernels, fields), axes, strict=True))
        batch = jax.vmap(run, axes)(k, u)
        for b in range(3):
            single = run(kernels[b * (axes[0] == 0)], fields[b * (axes[1] == 0)])
            for x, y in zip(jax.tree.leaves(batch), jax.tree.leaves(single), strict=True):
                np.testing.assert_allclose(x[b], y, rtol=1e-10, atol=1e-12)


def test_jit_equals_eager():
    compiled = jax.jit(im.rollout, static_argnums=2)(KERNEL, PATTERN, 8)
    plain = im.rollout(KERNEL, PATTERN, 8)
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_jitted_batch_is_traced_once():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def centers(kernels):
        return jax.vmap(lambda k: im.rollout(k, PATTERN, 8)[1].center)(kernels)

    for seed in range(3):
        kernels = np.random.default_rng(seed).random((4, *KERNEL.shape))
        assert np.all(np.isfinite(centers(kernels)))


def test_new_values_do_not_recompile():
    traced = []

    def observe(field):
        traced.append(field.values.shape)
        return im.observables.mass(field)

    im.rollout(np.ones(3), np.ones(9), 5, observe=observe)
    traces = len(traced)
    im.rollout(np.arange(3.0), im.fields.impulse(9), 5, observe=observe)
    assert len(traced) == traces
    im.rollout(np.ones(3), np.ones(9), 6, observe=observe)
    assert len(traced) > traces


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray, list, lambda u: u.astype(int)])
def test_arrays_are_accepted_as_fields(convert):
    values = np.array(PATTERN.values)
    final, trace = im.rollout([1, 1, 1], convert(values), 8)
    expected, _ = im.rollout(np.ones(3), PATTERN, 8)
    np.testing.assert_allclose(final.values, expected.values, rtol=1e-12)
    np.testing.assert_allclose(trace.center, 15.0, rtol=1e-12)


LINE, PLANE = np.ones(24), np.ones((6, 7))
FIELD_4D = im.Field(jnp.ones((2, 2, 2, 2)), jnp.zeros(4), jnp.zeros(()))


@pytest.mark.parametrize(
    ("kernel", "field", "steps", "settings", "argument", "got", "expected"),
    [
        (np.zeros(0), LINE, 3, {}, "kernel", "shape (0,)", "at least one tap"),
        (np.zeros((3, 0)), LINE, 3, {}, "kernel", "shape (3, 0)", "at least one tap"),
        ([1.0, np.nan, 2.0], LINE, 3, {}, "kernel", "1 of 3 values not finite", "finite"),
        ([1.0, np.inf, -np.inf], LINE, 3, {}, "kernel", "2 of 3 values not finite", "finite"),
        (np.ones((2, 3, 3)), LINE, 3, {}, "kernel", "3 axes for a field of 1", "1, or 2"),
        (np.ones(3), PLANE, 3, {}, "kernel", "1 axes for a field of 2", "2, or 3"),
        (1.0, LINE, 3, {}, "kernel", "0 axes", "1, or 2"),
        ("abc", LINE, 3, {}, "kernel", "str", "real numbers"),
        (np.ones(3) * 1j, LINE, 3, {}, "kernel", "complex", "real numbers"),
        (np.ones(25), LINE, 3, {}, "kernel", "(25,) taps", "(24,)"),
        (np.ones((3, 8)), PLANE, 3, {}, "kernel", "(3, 8) taps", "(6, 7)"),
        (np.ones((4, 3)), LINE, 3, {}, "steps", "3", "4, the number of kernels"),
        (np.ones(3), LINE, -1, {}, "steps", "-1", "at least 0"),
        (np.ones(3), LINE, 3.0, {}, "steps", "3.0", "an integer"),
        (np.ones(3), LINE, True, {}, "steps", "True", "an integer"),
        (np.ones(3), LINE, 3, {"every": 0}, "every", "0", "at least 1"),
        (np.ones(3), LINE, 3, {"every": 1.5}, "every", "1.5", "an integer"),
        (np.ones(3), LINE, 30, {"every": 12, "boundary": "periodic"}, "every", "12", "at most 11"),
        (np.ones(3), LINE, 3, {"rectifier": "rely"}, "rectifier", "'rely'", ", ".join(RECTIFIERS)),
        (np.ones(3), LINE, 3, {"rectifier": 3}, "rectifier", "3", "callable"),
        (np.ones(3), LINE, 3, {"rectifier": jnp.sum}, "rectifier", "sum", "shape"),
        (np.ones(3), LINE, 3, {"boundary": "wrap"}, "boundary", "'wrap'", ", ".join(BOUNDARIES)),
        (np.ones(3), LINE, 3, {"normalize": 2}, "normalize", "2", ", ".join(NORMALIZATIONS)),
        (np.ones(3), LINE, 3, {"observe": "center"}, "observe", "'center'", '"trace"'),
        (np.ones(3), [1.0, np.nan, 2.0, 0.0], 3, {}, "field", "1 of 4 values not finite", "finite"),
        (np.ones(3), np.zeros((0,)), 3, {}, "field", "shape (0,)", "at least one pixel"),
        (np.ones(3), np.ones((2, 2, 2, 2)), 3, {}, "field", "(2, 2, 2, 2)", "1, 2 or 3 axes"),
        (np.ones((1, 1, 1, 1)), FIELD_4D, 3, {}, "field", "(2, 2, 2, 2)", "1, 2 or 3 axes"),
        (np.ones(3), np.ones(24) * 1j, 3, {}, "field", "complex", "real numbers"),
        (np.ones(3), "moon", 3, {}, "field", "str", "real numbers"),
        (np.ones(3), [[1.0, 2.0], [3.0]], 3, {}, "field", "list", "real numbers"),
    ],
)
def test_invalid_arguments_raise(kernel, field, steps, settings, argument, got, expected):
    with pytest.raises(ValueError, match=f"^{argument}: got ") as error:
        im.rollout(kernel, field, steps, **settings)
    message_got, message_expected = str(error.value).split(", expected ")
    assert got in message_got
    assert expected in message_expected


def test_layer_rejects_stack_of_kernels():
    with pytest.raises(ValueError, match=r"^kernel: got 2 axes for a field of 1, expected 1$"):
        im.layer(np.ones((4, 3)), LINE)


@pytest.mark.parametrize("n", [2, 4, 5])
def test_kernel_may_fill_periodic_domain(n):
    kernel = np.random.default_rng(n).uniform(size=n)
    _, trace = im.rollout(kernel, im.fields.impulse(n), 3, boundary="periodic")
    layers = reference.rollout(kernel, im.fields.impulse(n).values, 3, "relu", "periodic", "l2")
    expected = expected_trace(layers, (n,), "periodic")
    np.testing.assert_allclose(trace.center, expected["center"], rtol=1e-10)
