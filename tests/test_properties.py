"""Symmetries and conservation laws that hold for every kernel and every pattern.

Taps and pixels are multiples of 1/8, so that sums of layers without normalization are exact and a
field that cancels is 0 rather than a rounding error.
"""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import infomech as im

STEPS = 3
# taps, pixels and rectifier: few, so that hypothesis reuses what is compiled
INSIDE = {
    "3 taps, relu": ((3,), (25,), "relu"),
    "4 taps, modulus": ((4,), (25,), "modulus"),
    "2x3 taps, relu": ((2, 3), (17, 16), "relu"),
}
every_case = pytest.mark.parametrize(("taps", "pixels", "rectifier"), INSIDE.values(), ids=INSIDE)


def eighths(shape, least=-8):
    return arrays(np.int8, shape, elements=st.integers(least, 8)).map(lambda a: a / 8.0)


def inside(pixels, pattern, shift=0):
    """A 4-pixel pattern in the middle of a field, where 3 layers don't take it to the boundary."""
    u = np.zeros(pixels)
    u[tuple(slice(n // 2 - 2 + shift, n // 2 + 2 + shift) for n in pixels)] = pattern
    return u


@functools.partial(jax.jit, static_argnames=("rectifier", "boundary", "normalize"))
def run(kernel, u, rectifier, boundary="zero", normalize="none"):
    return im.rollout(kernel, u, STEPS, rectifier=rectifier, boundary=boundary, normalize=normalize)


def assert_same(trace, other, names=("center", "covariance", "log_mass", "log_energy")):
    for name in names:
        np.testing.assert_allclose(
            getattr(trace, name), getattr(other, name), rtol=1e-9, atol=1e-9, err_msg=name
        )


def draw_kernel_and_pattern(data, taps, least=-8):
    return data.draw(eighths(taps, least)), data.draw(eighths((4,) * len(taps), 0))


@every_case
@given(data=st.data())
def test_a_reflected_kernel_moves_a_reflected_pattern_the_other_way(taps, pixels, rectifier, data):
    kernel, pattern = draw_kernel_and_pattern(data, taps)
    u = inside(pixels, pattern)
    _, trace = run(kernel, u, rectifier)
    _, mirrored = run(np.flip(kernel), np.flip(u), rectifier)
    far_end = np.array(pixels) - 1.0
    np.testing.assert_allclose(mirrored.center, far_end - np.asarray(trace.center), atol=1e-9)
    assert_same(mirrored, trace, ("covariance", "log_mass", "log_energy"))


@every_case
@given(data=st.data(), shift=st.integers(-2, 2))
def test_a_shifted_pattern_behaves_the_same_elsewhere(taps, pixels, rectifier, data, shift):
    kernel, pattern = draw_kernel_and_pattern(data, taps)
    _, trace = run(kernel, inside(pixels, pattern), rectifier)
    _, shifted = run(kernel, inside(pixels, pattern, shift), rectifier)
    np.testing.assert_allclose(shifted.center, trace.center + shift, atol=1e-9)
    assert_same(shifted, trace, ("covariance", "log_mass", "log_energy"))


@given(kernel=eighths((4,)), u=eighths((11,)), shift=st.integers(-11, 11))
def test_a_ring_has_no_preferred_pixel(kernel, u, shift):
    final, trace = run(kernel, u, "relu", "periodic")
    turned, same = run(kernel, np.roll(u, shift), "relu", "periodic")
    np.testing.assert_array_equal(turned.values, np.roll(final.values, shift))
    assert_same(same, trace, ("log_energy",))


@every_case
@pytest.mark.parametrize("normalize", ["none", "l2"])
@given(data=st.data(), doublings=st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
def test_scale_of_kernel_and_field_is_only_a_factor(
    taps, pixels, rectifier, normalize, data, doublings
):
    kernel, pattern = draw_kernel_and_pattern(data, taps)
    u, (of_kernel, of_field) = inside(pixels, pattern), doublings
    final, trace = run(kernel, u, rectifier, normalize=normalize)
    scaled, same = run(2.0**of_kernel * kernel, 2.0**of_field * u, rectifier, normalize=normalize)
    log_factor = np.log(2) * (of_field + of_kernel * np.arange(STEPS + 1))
    np.testing.assert_allclose(same.log_mass, trace.log_mass + log_factor, atol=1e-9)
    np.testing.assert_allclose(same.log_energy, trace.log_energy + 2 * log_factor, atol=1e-9)
    assert_same(same, trace, ("center", "covariance"))
    if normalize == "l2":
        np.testing.assert_allclose(scaled.values, final.values, rtol=1e-12)


@every_case
@given(data=st.data())
def test_an_inactive_layer_multiplies_the_mass_by_the_gain(taps, pixels, rectifier, data):
    kernel, pattern = draw_kernel_and_pattern(data, taps, least=0)
    _, trace = run(kernel, inside(pixels, pattern), rectifier)
    mass = pattern.sum() * kernel.sum() ** np.arange(STEPS + 1)
    np.testing.assert_allclose(np.exp(trace.log_mass), mass, rtol=1e-12)


mass_of = functools.partial(
    im.rollout, steps=STEPS, boundary="periodic", normalize="none", observe=im.observables.mass
)


@pytest.mark.parametrize(("taps", "pixels"), [((4,), (11,)), ((2, 3), (5, 4))])
@given(data=st.data())
def test_on_a_ring_the_identity_multiplies_the_mass_by_any_gain(taps, pixels, data):
    kernel, u = data.draw(eighths(taps)), data.draw(eighths(pixels))
    _, mass = mass_of(kernel, u, rectifier="identity")
    np.testing.assert_allclose(mass, u.sum() * kernel.sum() ** np.arange(STEPS + 1), atol=1e-12)


@given(kernel=eighths((4,)), u=eighths((11,), 0))
def test_on_a_ring_relu_and_modulus_add_mass_never_less_than_the_gain(kernel, u):
    for rectifier in ("relu", "modulus"):
        _, mass = mass_of(kernel, u, rectifier=rectifier)
        assert np.all(mass[1:] >= kernel.sum() * mass[:-1] - 1e-12)


@pytest.mark.parametrize(
    ("taps", "pixels", "rectifier", "normalize"),
    [(*case, norm) for case, norm in zip(INSIDE.values(), ("sum", "max", "l2"), strict=True)],
)
@given(data=st.data())
def test_normalization_changes_no_trace_of_a_homogeneous_rectifier(
    taps, pixels, rectifier, normalize, data
):
    kernel, pattern = draw_kernel_and_pattern(data, taps)
    u = inside(pixels, pattern)
    plain, trace = run(kernel, u, rectifier)
    final, same = run(kernel, u, rectifier, normalize=normalize)
    largest = pattern.max() * np.abs(kernel).sum() ** np.arange(STEPS + 1)
    true = np.exp(final.log_gain) * final.values
    np.testing.assert_allclose(true, plain.values, atol=1e-13 * largest[-1])
    # where all but nothing has canceled, what is left is a rounding error
    alive = np.exp(trace.log_mass) > 1e-4 * largest
    assert_same(jax.tree.map(lambda a: a[alive], same), jax.tree.map(lambda a: a[alive], trace))
