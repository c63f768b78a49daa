"""Gradients of rollouts: against finite differences, against each other, and their memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import infomech as im
from infomech import rates
from infomech.dynamics import NORMALIZATIONS

CASES = [
    ((3,), (14,), "relu", "zero", "l2"),
    ((4,), (13,), "modulus", "periodic", "sum"),
    ((2,), (13,), "softplus", "reflect", "max"),
    ((2, 3), (8, 9), "relu", "zero", "none"),
    ((2, 2), (6, 7), "tanh", "periodic", "l2"),
]
IDS = ["-".join(map(str, (*case[0], *case[2:]))) for case in CASES]
STEPS = 4


def sample(taps, pixels, seed=0):
    """A kernel with a negative tap, so that the rectifier works, and a pattern without zeros."""
    rng = np.random.default_rng(seed)
    kernel = rng.uniform(0.2, 1.0, size=taps)
    kernel.flat[0] *= -0.7
    return kernel, rng.uniform(0.1, 1.5, size=pixels)


def outputs(kernel, u, rectifier, boundary, normalize):
    """What is differentiated: the final field, its gain, and what is observed of it."""
    final, _ = im.rollout(
        kernel, u, STEPS, rectifier=rectifier, boundary=boundary, normalize=normalize, observe=None
    )
    return {
        "values": final.values,
        "log_gain": final.log_gain,
        "center": im.observables.center(final, boundary=boundary),
        "covariance": im.observables.covariance(final, boundary=boundary),
        "log_energy": im.observables.log_energy(final),
    }


@pytest.mark.parametrize(("taps", "pixels", "rectifier", "boundary", "normalize"), CASES, ids=IDS)
def test_forward_reverse_and_finite_differences_agree(taps, pixels, rectifier, boundary, normalize):
    settings = {"rectifier": rectifier, "boundary": boundary, "normalize": normalize}
    run = jax.jit(functools.partial(outputs, **settings))
    push = jax.jit(lambda point, along: jax.jvp(run, point, along)[1])
    pull = jax.jit(lambda point, weights: jax.vjp(run, *point)[1](weights))
    point, h = sample(taps, pixels), 1e-6
    rng = np.random.default_rng(1)
    by_taps, by_field = (rng.normal(size=a.shape) for a in point)
    for along in [(by_taps, 0 * by_field), (0 * by_taps, by_field)]:
        forward = push(point, along)
        above = run(*(a + h * way for a, way in zip(point, along, strict=True)))
        below = run(*(a - h * way for a, way in zip(point, along, strict=True)))
        weights = {name: rng.normal(size=slope.shape) for name, slope in forward.items()}
        for name, slope in forward.items():
            difference = (above[name] - below[name]) / (2 * h)
            np.testing.assert_allclose(slope, difference, 1e-6, 1e-6, err_msg=name)
        overlap = sum(np.sum(weights[name] * forward[name]) for name in forward)
        backward = sum(
            np.sum(slope * way) for slope, way in zip(pull(point, weights), along, strict=True)
        )
        np.testing.assert_allclose(backward, overlap, rtol=1e-9)


def test_gradients_flow_through_a_stack_of_kernels_to_each_layer():
    rng = np.random.default_rng(0)
    kernels, u = rng.uniform(0.1, 1.0, size=(11, 3)), im.fields.disk(41, 3.0)

    def end(kernels):
        return im.rollout(kernels, u, 11, every=11)[1].center[-1, 0]

    # inactive layers: the end is the start plus the sum of each layer's p/s
    r = np.array([-1.0, 0.0, 1.0])
    gains = kernels.sum(axis=1, keepdims=True)
    expected = (r - (kernels @ r)[:, None] / gains) / gains
    np.testing.assert_allclose(jax.jit(jax.grad(end))(kernels), expected, atol=1e-11)


def test_the_gradient_of_a_fitted_speed_is_that_of_the_closed_form():
    kernel, pattern = np.array([0.2, 0.5, 0.4]), im.fields.impulse(31)

    def speed(kernel):
        return rates.velocity(im.rollout(kernel, pattern, 8)[1]).value[0]

    r, gain = np.array([-1.0, 0.0, 1.0]), kernel.sum()
    expected = (r - reference.predict(kernel)[0]) / gain
    np.testing.assert_allclose(jax.jit(jax.grad(speed))(kernel), expected, atol=1e-11)


@pytest.mark.parametrize(
    ("taps", "pixels", "steps", "rectifier"),
    [
        ((3,), (12,), 13, "relu"),
        ((4,), (12,), 6, "modulus"),
        ((3,), (12,), 6, "leaky_relu"),
        ((2, 3), (7, 6), 5, "relu"),
    ],
)
def test_eulers_identity_of_homogeneous_layers(taps, pixels, steps, rectifier):
    kernel, u = sample(taps, pixels)
    weights = np.random.default_rng(2).normal(size=pixels)

    def loss(values):
        return jnp.sum(jnp.sin(weights * values))

    def end(kernel, u):
        final, _ = im.rollout(kernel, u, steps, rectifier=rectifier, normalize="none", observe=None)
        return final.values

    final = end(kernel, u)
    along_final = np.sum(final * jax.grad(loss)(final))
    by_taps, by_field = jax.jit(jax.grad(lambda *a: loss(end(*a)), argnums=(0, 1)))(kernel, u)
    np.testing.assert_allclose(np.sum(kernel * by_taps), steps * along_final, rtol=1e-10)
    np.testing.assert_allclose(np.sum(u * by_field), along_final, rtol=1e-10)


def test_gradients_are_finite_where_the_field_dies():
    kernel, u, black = -np.ones(2), np.ones(9), np.zeros(9)

    def end(kernel, u, **settings):
        final, _ = im.rollout(kernel, u, 2, observe=None, **settings)
        return jnp.sum(final.values) + final.log_gain

    def seen(kernel, u):
        _, trace = im.rollout(kernel, u, 2)
        numbers = (trace.center, trace.covariance, trace.spread, trace.edge, trace.balance)
        return sum(jnp.nansum(a) for a in numbers) + trace.log_energy[-1] + trace.log_mass[-1]

    @jax.jit
    def slopes(kernel, u, black):
        result = [jax.grad(seen, argnums=(0, 1))(kernel, u)]
        for normalize in NORMALIZATIONS:
            for rectifier, field in [("relu", u), ("modulus", black)]:
                loss = functools.partial(end, normalize=normalize, rectifier=rectifier)
                result.append(jax.grad(loss, argnums=(0, 1))(kernel, field))
        return result

    for slope in jax.tree.leaves(slopes(kernel, u, black)):
        assert np.all(np.isfinite(slope))


def test_relu_has_no_slope_at_zero():
    def total(u):
        return jnp.sum(im.rollout(np.ones(1), u, 3, observe=None, normalize="none")[0].values)

    np.testing.assert_array_equal(jax.grad(total)(jnp.array([-1.0, 0.0, 1.0])), [0.0, 0.0, 1.0])


def test_second_derivatives_agree_with_finite_differences():
    kernel, u = sample((3,), (14,))
    along = np.random.default_rng(3).normal(size=3)

    def loss(kernel):
        final, _ = im.rollout(kernel, u, STEPS, observe=None)
        return jnp.sum(im.observables.center(final))

    slope = jax.jit(jax.grad(loss))
    _, curvature = jax.jit(lambda k: jax.jvp(jax.grad(loss), (k,), (along,)))(kernel)
    h = 1e-6
    difference = (slope(kernel + h * along) - slope(kernel - h * along)) / (2 * h)
    np.testing.assert_allclose(curvature, difference, rtol=1e-5, atol=1e-7)


def test_gradients_of_a_batch_are_those_of_single_ones():
    kernels, u = np.stack([sample((3,), (14,), seed)[0] for seed in range(3)]), np.ones(14)

    def loss(kernel):
        return jnp.sum(im.rollout(kernel, u, STEPS, observe=None)[0].values)

    slope = jax.jit(jax.grad(loss))
    together = jax.jit(jax.vmap(jax.grad(loss)))(kernels)
    for kernel, result in zip(kernels, together, strict=True):
        np.testing.assert_allclose(result, slope(kernel), rtol=1e-10)


@pytest.mark.optimized
@pytest.mark.parametrize(("observe", "many"), [("trace", 1024), (None, 1031)])
def test_reverse_mode_memory_grows_as_the_square_root_of_the_layers(observe, many):
    kernel, u = jnp.ones(2, jnp.float32), jnp.ones(8192, jnp.float32)

    def memory(steps):
        def loss(kernel):
            final, trace = im.rollout(kernel, u, steps, observe=observe)
            return final.log_gain if trace is None else jnp.sum(trace.center)

        return jax.jit(jax.grad(loss)).lower(kernel).compile().memory_analysis().temp_size_in_bytes

    few = memory(64)
    assert few > 8 * u.nbytes  # it is fields that are stored
    assert memory(many) < 6 * few
