"""Both convolution engines against the reference, and their gradients against exact ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from infomech.engines import convolution, plan, shifts

ENGINES = {"convolution": convolution.convolve, "shifts": shifts.convolve}
BOUNDARIES = ("periodic", "reflect", "zero")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}

ON_A_LINE = [((n,), (17,)) for n in (1, 2, 3, 4, 5, 6, 7, 15)]
IN_A_PLANE = [
    ((2, 2), (5, 8)),
    ((3, 3), (8, 5)),
    ((4, 3), (6, 9)),
    ((1, 6), (7, 6)),
    ((7, 5), (9, 7)),
]
IN_SPACE = [((2, 2, 2), (4, 5, 3)), ((3, 3, 3), (5, 4, 6)), ((2, 3, 1), (5, 3, 4))]
CASES = [(*case, "float64") for case in ON_A_LINE + IN_A_PLANE + IN_SPACE] + [
    (*case, "float32") for case in ON_A_LINE[3:5] + IN_A_PLANE[:1] + IN_SPACE[2:]
]


def sample(taps, pixels, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=taps).astype(dtype), rng.normal(size=pixels).astype(dtype)


@jax.jit
def all_ways(kernel, values):
    """Every engine with every boundary, compiled together."""
    return {
        (name, boundary): convolve(kernel, values, boundary)
        for name, convolve in ENGINES.items()
        for boundary in BOUNDARIES
    }


@pytest.mark.parametrize(("taps", "pixels", "dtype"), CASES)
def test_engines_compute_the_true_convolution(taps, pixels, dtype):
    kernel, values = sample(taps, pixels, dtype)
    for (name, boundary), out in all_ways(kernel, values).items():
        assert out.dtype == dtype
        expected = reference.convolve(values, kernel, boundary)
        atol = TOLERANCE[dtype] * np.abs(kernel).sum() * np.abs(values).max()
        np.testing.assert_allclose(out, expected, rtol=0, atol=atol, err_msg=f"{name} {boundary}")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_many_taps_are_left_to_the_convolution_operator(boundary):
    kernel, values = sample((9, 9), (13, 11), "float64")
    convolve = plan.choose(kernel.shape)
    assert convolve is convolution.convolve
    expected = reference.convolve(values, kernel, boundary)
    np.testing.assert_allclose(convolve(kernel, values, boundary), expected, atol=1e-12)


@pytest.mark.parametrize("taps", [(1,), (7,), (3, 3), (7, 7), (3, 3, 3)])
def test_few_taps_are_unrolled(taps):
    assert plan.choose(taps) is shifts.convolve


@pytest.mark.parametrize("engine", ENGINES)
def test_the_response_to_an_impulse_is_the_kernel_in_its_own_order(engine):
    impulse = np.zeros(9)
    impulse[4] = 1.0
    odd = ENGINES[engine](jnp.array([1.0, 2.0, 3.0]), jnp.asarray(impulse), "zero")
    np.testing.assert_array_equal(odd, [0, 0, 0, 1, 2, 3, 0, 0, 0])
    even = ENGINES[engine](jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.asarray(impulse), "zero")
    np.testing.assert_array_equal(even, [0, 0, 0, 1, 2, 3, 4, 0, 0])


def unit(shape, index):
    one = np.zeros(shape)
    one[index] = 1.0
    return one


@functools.partial(jax.jit, static_argnames="boundary")
def gradients(kernel, values, weights, boundary):
    def overlap(convolve, kernel, values):
        return jnp.sum(weights * convolve(kernel, values, boundary))

    by_both = jax.grad(overlap, argnums=(1, 2))
    return {name: by_both(convolve, kernel, values) for name, convolve in ENGINES.items()}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    ("taps", "pixels"), [((4,), (7,)), ((3, 2), (4, 5)), ((2, 1, 3), (3, 2, 4))]
)
def test_gradients_are_those_of_a_bilinear_form(taps, pixels, boundary):
    kernel, values = sample(taps, pixels, "float64")
    weights, _ = sample(pixels, (1,), "float64", seed=1)
    by_kernel = np.zeros(taps)
    for i in np.ndindex(*taps):
        by_kernel[i] = np.sum(weights * reference.convolve(values, unit(taps, i), boundary))
    by_values = np.zeros(pixels)
    for x in np.ndindex(*pixels):
        by_values[x] = np.sum(weights * reference.convolve(unit(pixels, x), kernel, boundary))
    for engine, found in gradients(kernel, values, weights, boundary).items():
        np.testing.assert_allclose(found[0], by_kernel, atol=1e-13, err_msg=engine)
        np.testing.assert_allclose(found[1], by_values, atol=1e-13, err_msg=engine)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("engine", ENGINES)
def test_batched_kernels_and_fields_give_what_single_ones_give(engine, boundary):
    kernels, fields = sample((4, 2, 3), (4, 6, 5), "float64")
    convolve = functools.partial(ENGINES[engine], boundary=boundary)
    together = jax.jit(jax.vmap(convolve))(kernels, fields)
    for kernel, field, out in zip(kernels, fields, together, strict=True):
        expected = reference.convolve(field, kernel, boundary)
        np.testing.assert_allclose(out, expected, atol=1e-13)
