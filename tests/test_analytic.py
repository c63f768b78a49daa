"""Closed forms of the mechanics: velocity, spread and shape of patterns."""

import jax
import numpy as np
import pytest
import reference

import infomech as im
from infomech import kernels, observables, rates, theory

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}


def cluster(shape, dtype="float64", seed=0):
    """A random non-negative pattern, 3 pixels wide, in the middle of an empty field."""
    u = np.zeros(shape, dtype)
    middle = tuple(slice(n // 2 - 1, n // 2 + 2) for n in shape)
    u[middle] = np.random.default_rng(seed).uniform(0.1, 1.0, size=(3,) * len(shape))
    return u


# --- inactive rectifier -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel_size", "steps", "dtype"),
    [
        ((2,), 8, "float64"),
        ((3,), 8, "float32"),
        ((6,), 8, "float64"),
        ((3, 2), 6, "float64"),
        ((2, 3, 2), 4, "float64"),
        ((3, 2, 2), 4, "float32"),
    ],
)
def test_center_and_covariance_follow_the_prediction(kernel_size, steps, dtype):
    rng = np.random.default_rng(7)
    kernel = rng.uniform(size=kernel_size).astype(dtype)
    u = cluster([(steps + 1) * n + 3 for n in kernel_size], dtype)
    _, trace = im.rollout(kernel, u, steps)
    velocity, diffusion = reference.predict(kernel)
    t = np.arange(steps + 1)
    center = reference.center(u, np.zeros(len(kernel_size))) + t[:, None] * velocity
    covariance = reference.covariance(u) + t[:, None, None] * diffusion
    log_mass = np.log(reference.mass(u)) + t * np.log(reference.mass(kernel))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_array_equal(trace.edge, 0.0)
    np.testing.assert_allclose(trace.center, center, atol=tolerance)
    np.testing.assert_allclose(trace.covariance, covariance, atol=10 * tolerance)
    np.testing.assert_allclose(trace.log_mass, log_mass, atol=tolerance)


@pytest.mark.parametrize(("shape", "direction"), [((2,), (1.0,)), ((3, 2), (-1.0, 0.0))])
def test_spread_along_the_motion_contracts_by_the_lorentz_factor(shape, direction):
    steps, limit = 8, theory.step_spread(shape[0])
    pattern = im.fields.impulse([steps * n + 3 for n in shape])
    tangents = np.array([0.0, 0.3, 0.8]) * float(theory.inactive_range(shape, direction).tangent)

    def run(tangent):
        share = tangent**2 / (1 + tangent**2)
        return im.rollout(kernels.mix(shape, share=share, direction=direction), pattern, steps)[1]

    trace = jax.jit(jax.vmap(run))(tangents)
    velocity = (trace.center[:, -1, 0] - trace.center[:, 0, 0]) / steps
    np.testing.assert_allclose(velocity, direction[0] * limit * tangents, atol=1e-12)
    contraction = trace.spread[:, -1, 0] / trace.spread[0, -1, 0]
    np.testing.assert_allclose(contraction, theory.contraction(velocity, limit), rtol=1e-10)
    np.testing.assert_allclose(contraction, np.sqrt(1 - tangents**2), rtol=1e-10)
    across = trace.spread[..., 1:]
    np.testing.assert_allclose(across, np.broadcast_to(across[:1], across.shape), rtol=1e-10)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_speed_is_the_tangent_times_two_cosines(n):
    kernel = np.random.default_rng(n).uniform(size=n)
    even, odd = reference.split(kernel)
    straight, flat = reference.gradient((n,), [1.0]), reference.constant((n,))
    of_odd = np.sum(odd * straight) / np.sqrt(np.sum(odd**2))
    of_even = np.sum(even * flat) / np.sqrt(np.sum(even**2))
    mechanics = reference.energy_momentum(kernel)
    tangent = np.sqrt(mechanics["odd"] / mechanics["even"])
    velocity = theory.step_spread(n) * tangent * of_odd / of_even
    np.testing.assert_allclose(jax.jit(theory.predict)(kernel).velocity, [velocity], rtol=1e-12)


# --- the Gaussian limit ---------------------------------------------------------------------


fit_growth = jax.jit(rates.growth)


@pytest.mark.parametrize(
    ("kernel", "prefactor"), [([1, 1], 0.5), ([1, 1, 1], np.sqrt(2 / 3)), ([1, 0, 1], 1.0)]
)
def test_even_kernels_spread_as_square_root_of_layers(kernel, prefactor):
    _, trace = im.rollout(np.array(kernel, float), im.fields.impulse(99), 48, every=6)
    t = np.arange(0, 49, 6)
    np.testing.assert_allclose(trace.center, 49.0, rtol=1e-12)
    np.testing.assert_allclose(trace.spread[:, 0], prefactor * np.sqrt(t), atol=1e-9)
    growth = fit_growth(trace)
    np.testing.assert_allclose(growth.exponent.value, 0.5, rtol=1e-9)
    np.testing.assert_allclose(growth.prefactor.value, prefactor, rtol=1e-9)


def shape_of(field):
    return observables.skewness(field), observables.excess_kurtosis(field)


def test_patterns_tend_to_a_gaussian():
    kernel = np.array([0.6, 0.1, 0.3])
    _, (skewness, kurtosis) = im.rollout(kernel, im.fields.impulse(133), 64, observe=shape_of)
    t = np.arange(1, 65)
    padded = np.pad(kernel, 1)  # after one layer the field is the kernel
    np.testing.assert_allclose(
        skewness[1:, 0], reference.skewness(padded) / np.sqrt(t), rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(
        kurtosis[1:, 0], reference.excess_kurtosis(padded) / t, rtol=1e-7, atol=1e-9
    )
    assert np.isnan(skewness[0, 0])


# --- active rectifier -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "velocity"), [([1, -1], -0.5), ([-1, 1], 0.5), ([-1, 0, 1], 1.0)]
)
def test_pure_gradients_move_an_impulse_at_their_reach(kernel, velocity):
    _, trace = im.rollout(np.array(kernel, float), im.fields.impulse(31), 8)
    np.testing.assert_array_equal(trace.center[:, 0], 15 + velocity * np.arange(9))
    np.testing.assert_array_equal(trace.covariance, 0.0)


@pytest.mark.parametrize(("kernel", "velocity"), [([1, -1], -0.5), ([-1, 0, 1], 1.0)])
def test_pure_gradients_reduce_an_interval_to_its_moving_edge(kernel, velocity):
    _, trace = im.rollout(np.array(kernel, float), im.fields.box(31, 9.0), 8)
    np.testing.assert_allclose(np.diff(trace.center[1:, 0]), velocity, rtol=1e-12)
    np.testing.assert_allclose(np.diff(trace.spread[1:, 0]), 0.0, atol=1e-12)


@pytest.mark.parametrize(("kernel", "reach"), [([1, -1], 0.5), ([-1, 0, 1], 1.0)])
def test_modulus_splits_an_impulse_in_two(kernel, reach):
    kernel, layers = np.array(kernel, float), np.array([1, 2, 4, 8])
    final, trace = im.rollout(kernel, im.fields.impulse(31), 8, rectifier="modulus")
    np.testing.assert_allclose(trace.center, 15.0, rtol=1e-13)
    # only at powers of two: in between, each part has split again
    np.testing.assert_allclose(trace.spread[layers, 0], reach * layers, rtol=1e-12)
    nonzero = np.flatnonzero(np.asarray(final.values)) + float(final.origin[0])
    np.testing.assert_array_equal(nonzero, [15 - 8 * reach, 15 + 8 * reach])


@pytest.mark.parametrize("rectifier", ["relu", "modulus", "tanh"])
def test_even_kernels_keep_the_center_of_a_symmetric_pattern(rectifier):
    kernel = im.parity.split(np.random.default_rng(2).normal(size=(3, 2))).even
    kernel = kernel + 0.2
    pattern = im.fields.disk((25, 20), 3.0)
    _, center = im.rollout(kernel, pattern, 4, rectifier=rectifier, observe=observables.center)
    np.testing.assert_allclose(center, np.tile([12.0, 9.5], (5, 1)), atol=1e-10)


# --- periodic domain ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel_size", "shape", "every", "dtype"),
    [
        ((3,), (12,), 5, "float64"),
        ((4,), (11,), 2, "float64"),
        ((4,), (11,), 1, "float32"),
        ((2, 3), (7, 8), 3, "float64"),
    ],
)
def test_circular_center_moves_by_the_transfer_phase(kernel_size, shape, every, dtype):
    rng = np.random.default_rng(5)
    kernel = (
        np.sort(rng.uniform(size=kernel_size) ** 3, axis=None).reshape(kernel_size).astype(dtype)
    )
    u = rng.uniform(size=shape).astype(dtype)
    u[(slice(-2, None),) * len(kernel_size)] += 4.0  # just before the seam
    settings = {"boundary": "periodic", "normalize": "sum"}
    _, trace = im.rollout(kernel, u, 8 * every, every=every, **settings)
    start = reference.circular_center(u, np.zeros(len(shape)))
    for axis, length in enumerate(shape):
        frequency = [[2 * np.pi / length if a == axis else 0.0] for a in range(len(shape))]
        phase = np.angle(reference.transfer_function(kernel, frequency).item())
        path = start[axis] - phase * length / (2 * np.pi) * np.asarray(trace.layer)
        assert path[-1] > length  # the path crosses the seam
        np.testing.assert_allclose(trace.center[:, axis], path, atol=TOLERANCE[dtype])
