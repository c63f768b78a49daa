"""A domain that follows the pattern by whole pixels equals a sufficiently large domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from thinned import thinned

import infomech as im
from infomech.engines import native

TOLERANCE = {"float32": 2e-4, "float64": 1e-10}


def kernel_1d(*taps, dtype="float64"):
    return jnp.asarray(np.array(taps, dtype))


@pytest.mark.parametrize("dtype", thinned(["float64", "float32"], 2))
@pytest.mark.parametrize(
    ("kernel", "large", "small"),
    [
        ([0.1, 0.3, 0.6], (400,), (121,)),
        ([0.2, 0.8], (400,), (121,)),
        ([[0.02, 0.1], [0.03, 0.85]], (240, 240), (90, 90)),
    ],
)
def test_following_equals_large_domain(kernel, large, small, dtype):
    kernel, steps = np.array(kernel, dtype), 150
    pattern = im.fields.gaussian((21,) * kernel.ndim, 2.0, dtype=dtype).values
    large_field, small_field = (
        im.fields.as_field(np.pad(pattern, [(30, n - 51)] * kernel.ndim))
        for n in (large[0], small[0])
    )
    final, trace = im.rollout(kernel, large_field, steps)
    followed, followed_trace = im.rollout(kernel, small_field, steps, follow=7)
    tolerance = TOLERANCE[dtype]
    for name in ("center", "covariance", "log_mass", "log_energy"):
        expected = getattr(trace, name)
        np.testing.assert_allclose(
            getattr(followed_trace, name),
            expected,
            atol=tolerance * np.max(np.abs(expected)),
            err_msg=name,
        )
    shift = np.asarray(followed.origin - final.origin)
    np.testing.assert_array_equal(shift, np.round(shift))
    assert np.all(shift > 20)
    window = tuple(slice(int(m), int(m) + n) for m, n in zip(shift, small, strict=True))
    values = np.asarray(final.values)
    values = np.pad(values, [(0, max(0, w.stop - n)) for w, n in zip(window, large, strict=True)])
    np.testing.assert_allclose(followed.values, values[window], atol=tolerance * values.max())


def test_small_domain_follows_distant_pattern():
    kernel, field = kernel_1d(0.0, 0.002, 0.998), im.fields.disk((81,), 3.0, dtype="float64")
    _, trace = im.rollout(kernel, field, 5000, follow=8, every=8)
    speed = im.rates.velocity(trace)
    np.testing.assert_allclose(trace.center[-1] - trace.center[0], 0.998 * 5000, rtol=1e-9)
    np.testing.assert_allclose(speed.value, 0.998, rtol=1e-9)
    np.testing.assert_allclose(im.rates.diffusion(trace).value, 0.002 * 0.998, rtol=1e-6)


def test_narrow_pattern_is_not_cut():
    _, trace = im.rollout(kernel_1d(0.0, 0.0, 1.0), im.fields.disk((31,), 3.0), 60, follow=4)
    np.testing.assert_array_equal(trace.cut, 0)
    np.testing.assert_array_equal(np.diff(np.asarray(trace.center)[:, 0]), 1)


def test_cut_mass_is_measured_and_invalidates_speed():
    values = np.zeros(41)
    values[[2, 30, 31, 32]] = [0.5, 1, 1, 1]
    _, trace = im.rollout(kernel_1d(0.0, 1.0, 0.0), values, 16, follow=4, every=4)
    # the center at 27 should move to 20, but a move is at most the reach of the layers: 4
    np.testing.assert_allclose(trace.cut, [0, *[0.5 / 3.5] * 4], atol=1e-12)
    assert "boundary" in im.rates.velocity(trace).reason
    assert np.all(np.isnan(im.rates.velocity(trace).value))


def test_batch_follows_each_pattern():
    kernels = jnp.stack(
        [kernel_1d(0.0, 0.1, 0.9), kernel_1d(0.8, 0.2, 0.0), kernel_1d(0.2, 0.6, 0.2)]
    )
    field = im.fields.disk((61,), 3.0, dtype="float64")

    def final(kernel):
        return im.rollout(kernel, field, 100, follow=5)

    ends, traces = jax.jit(jax.vmap(final))(kernels)
    np.testing.assert_allclose(ends.origin[:, 0], [90, -80, 0], atol=2)
    for i, kernel in enumerate(kernels):
        alone, trace = final(kernel)
        np.testing.assert_array_equal(ends.origin[i], alone.origin)
        np.testing.assert_allclose(ends.values[i], alone.values, atol=1e-14)
        np.testing.assert_allclose(traces.center[i], trace.center, rtol=1e-12)


@pytest.mark.parametrize("engine", thinned(["native", "shifts"], 2))
def test_gradient_of_distance_matches_theory(engine):
    field = im.fields.disk((101,), 4.0, dtype="float64")

    def distance(share):
        kernel = im.kernels.mix((3,), share=share, dtype="float64")
        _, trace = im.rollout(kernel, field, 200, follow=6, engine=engine)
        return trace.center[-1, 0] - trace.center[0, 0]

    def speed(share):
        return im.theory.predict(im.kernels.mix((3,), share=share, dtype="float64")).velocity[0]

    # the domain still cuts a little: σ reaches 9 pixels
    np.testing.assert_allclose(jax.grad(distance)(0.3), 200 * jax.grad(speed)(0.3), rtol=1e-4)
    step = 1e-6
    slope = (distance(0.3 + step) - distance(0.3 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(distance)(0.3), slope, rtol=1e-6)
    forward = jax.jvp(distance, (0.3,), (1.0,))[1]
    np.testing.assert_allclose(jax.grad(distance)(0.3), forward, rtol=1e-10)


def test_dead_field_does_not_move():
    final, trace = im.rollout(-kernel_1d(0.1, 0.2, 0.7), im.fields.disk((21,), 3.0), 20, follow=4)
    np.testing.assert_array_equal(final.origin, 0)
    assert np.all(trace.cut == 0)
    assert np.all(np.isnan(trace.center[1:]))


def reference_layers(kernels, values, steps, follow):
    """True values, origin and kept share after each layer, by a loop over pixels."""
    values, origin, kept_share = np.array(values, float), np.zeros(values.ndim), 1.0
    layers = [(values, origin, kept_share)]
    for layer in range(steps):
        kernel = kernels[layer % len(kernels)]
        values = reference.relu(reference.convolve(values, kernel, "zero"))
        origin = origin + [(n - 1) // 2 - (n - 1) / 2 for n in kernel.shape]
        if (layer + 1) % follow == 0 or layer + 1 == steps:
            middle = [(n - 1) / 2 for n in values.shape]
            shift = np.round(reference.center(values, np.zeros(values.ndim)) - middle).astype(int)
            max_shift = np.array([(layer % follow + 1) * (n // 2) for n in kernel.shape])
            shift = np.clip(shift, -max_shift, max_shift)
            before, shifted = np.sum(np.abs(values)), np.zeros(values.shape)
            for x in np.ndindex(*values.shape):
                y = tuple(a + m for a, m in zip(x, shift, strict=True))
                if all(0 <= b < n for b, n in zip(y, values.shape, strict=True)):
                    shifted[x] = values[y]
            values, origin = shifted, origin + shift
            kept_share *= np.sum(np.abs(values)) / before
        layers.append((values, origin, kept_share))
    return layers


@pytest.mark.parametrize(
    ("kernel_size", "shape", "stacked"),
    [((3,), (31,), False), ((4,), (30,), True), ((2, 3), (17, 14), False)],
)
def test_moves_and_cuts_match_reference(kernel_size, shape, stacked):
    """The domain is too small for the pattern, and loses more of it with each move."""
    rng = np.random.default_rng(0)
    follow, steps = 4, 26
    kernel = rng.uniform(-0.05, 1.0, size=((steps, *kernel_size) if stacked else kernel_size))
    values = rng.uniform(size=shape)
    final, trace = im.rollout(kernel, values, steps, follow=follow, every=follow)
    layers = reference_layers(kernel if stacked else kernel[None], values, steps, follow)
    for i, (u, origin, kept) in enumerate(layers[::follow]):
        np.testing.assert_allclose(trace.cut[i], 1 - kept, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(trace.center[i], reference.center(u, origin), rtol=1e-10)
        np.testing.assert_allclose(trace.covariance[i], reference.covariance(u), rtol=1e-10)
        np.testing.assert_allclose(trace.log_mass[i], np.log(reference.mass(u)), rtol=1e-10)
    u, origin, _ = layers[-1]  # the domain also follows after the last, shorter interval
    true = final.values * np.exp(final.log_gain)
    np.testing.assert_allclose(true, u, rtol=1e-9, atol=1e-12 * u.max())
    np.testing.assert_array_equal(final.origin, origin)
    assert trace.cut[0] == 0
    assert np.all(np.diff(trace.cut) >= 0)
    assert trace.cut[-1] > 1e-4
    assert im.rates.velocity(trace).reason.startswith("the pattern touched the boundary")


@pytest.mark.parametrize(
    ("engine", "grad_mode"),
    thinned([("native", "checkpointed"), ("native", "forward"), ("shifts", "full")]),
)
def test_engines_and_grad_modes_agree(engine, grad_mode):
    if engine == "native" and native._missing() is not None:
        pytest.skip("no C compiler")
    kernel, field = kernel_1d(-0.05, 0.1, 0.3, 0.7), im.fields.disk((61,), 3.0, dtype="float64")

    def ends(engine, grad_mode):
        def observed(kernel):
            final, trace = im.rollout(
                kernel, field, 60, follow=7, every=20, engine=engine, grad_mode=grad_mode
            )
            return trace.center[-1, 0] + trace.log_energy[-1] + trace.cut[-1], (final, trace)

        return jax.jit(jax.value_and_grad(observed, has_aux=True))(kernel)

    expected = ends("shifts", "checkpointed")
    assert float(expected[0][1][0].origin[0]) > 10
    for a, b in zip(
        jax.tree.leaves(ends(engine, grad_mode)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_field_gradient_passes_moves():
    kernel, rng = kernel_1d(0.1, 0.2, 0.7), np.random.default_rng(1)
    values = np.pad(rng.uniform(0.5, 1.0, size=5), 40)

    def end(values):
        _, trace = im.rollout(kernel, values, 30, follow=5, every=10, rectifier="identity")
        return trace.center[-1, 0] + trace.log_mass[-1] + trace.covariance[-1, 0, 0]

    slope = jax.jit(jax.grad(end))(values)
    x = np.arange(85)
    mass, center = np.sum(values), np.sum(x * values) / np.sum(values)
    spread = np.sum((x - center) ** 2 * values) / mass
    # the layers add constants to center and covariance and a factor to the mass
    expected = ((x - center) + 1 + (x - center) ** 2 - spread) / mass
    np.testing.assert_allclose(slope[32:-32], expected[32:-32], rtol=1e-7)


def test_dead_batch_element_does_not_affect_others():
    kernels = jnp.stack([kernel_1d(0.0, 0.1, 0.9), kernel_1d(-0.1, -0.1, -0.1)])
    fields = jnp.stack([im.fields.disk((41,), 3.0, dtype="float64").values, jnp.zeros(41)])

    def run(kernel, values):
        final, trace = im.rollout(kernel, values, 40, follow=5)
        return final, trace.cut

    finals, cuts = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(kernels, fields)
    alone, _ = run(kernels[0], fields[0])
    np.testing.assert_allclose(finals.values[0, 0], alone.values, atol=1e-14)
    np.testing.assert_array_equal(finals.origin[0, 0], alone.origin)
    assert alone.origin[0] > 30
    for i, j in [(0, 1), (1, 0), (1, 1)]:
        np.testing.assert_array_equal(finals.origin[i, j], 0.0)
        np.testing.assert_array_equal(finals.values[i, j], 0.0)
        np.testing.assert_array_equal(cuts[i, j], 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_even_kernels_keep_half_pixel_origin(dtype):
    """Two equal taps have zero velocity: the domain follows their half-pixel origin shifts."""
    kernel, field = kernel_1d(0.5, 0.5, dtype=dtype), im.fields.disk((101,), 2.0, dtype=dtype)
    for steps in (64, 63):
        final, trace = im.rollout(kernel, field, steps, follow=4)
        np.testing.assert_array_equal(2 * final.origin % 2, steps % 2)
        np.testing.assert_allclose(final.origin, 0, atol=0.5)
        np.testing.assert_allclose(trace.center[:, 0], 50, atol=1e-4)


@pytest.mark.parametrize("follow", [1, 3, 50])
def test_follow_of_any_interval(follow):
    kernel, field = kernel_1d(0.05, 0.15, 0.8), im.fields.disk((121,), 3.0, dtype="float64")
    _, trace = im.rollout(kernel, field, 50, every=5, follow=follow)
    speed = im.theory.predict(kernel).velocity[0]
    np.testing.assert_allclose(
        trace.center[:, 0], 60 + speed * np.arange(0.0, 51.0, 5.0), rtol=1e-9
    )
    np.testing.assert_allclose(trace.cut, 0, atol=1e-12)


@pytest.mark.optimized
def test_reverse_mode_memory_grows_as_square_root():
    kernel, u = jnp.ones(2, jnp.float32), jnp.ones(8192, jnp.float32)

    def memory(steps):
        def loss(kernel):
            return im.rollout(kernel, u, steps, follow=8, engine="shifts")[1].center[-1, 0]

        compiled = jax.jit(jax.grad(loss)).lower(kernel).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    shallow = memory(64)
    assert shallow > 8 * u.nbytes
    assert memory(1024) < 6 * shallow


@pytest.mark.parametrize(
    "options",
    [
        {"follow": 4, "boundary": "periodic"},
        {"follow": 4, "boundary": "reflect"},
        {"follow": 4, "observe": None},
        {"follow": -1},
        {"follow": 1.5},
    ],
)
def test_invalid_follow_raises(options):
    with pytest.raises(ValueError, match="follow: got"):
        im.rollout(np.ones(3), np.ones(9), 4, **options)
