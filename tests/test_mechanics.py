"""Energy, odd share, momentum, mass and rapidity of kernels, and where each is undefined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from bad_input import BAD_KERNELS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from infomech.mechanics import EnergyMomentum, energy_momentum

# kernel sizes from 1 to 15 on one, two and three axes
SHAPES = [(1,), (2,), (15,), (3, 3), (1, 4), (6, 7), (13, 14), (8, 5, 9), (10, 11, 12)]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
NAN = np.nan

measure = jax.jit(energy_momentum)
slopes = jax.jit(jax.jacrev(energy_momentum))


def random_kernel(shape, dtype="float64"):
    sample = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (sample / np.sqrt(sample.size)).astype(dtype)


def some_kernel():
    """Kernels of 1 to 3 axes; only three shapes, to compile few programs."""
    values = st.integers(-1000, 1000).map(lambda n: n / 64)  # exact in binary
    shapes = st.sampled_from([(4,), (3, 2), (2, 1, 3)])
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=values))


def assert_close(actual, expected, tolerance=1e-12, name=""):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, "float64") for shape in SHAPES), ((15,), "float32"), ((3, 3), "float32")],
)
def test_quantities_match_the_reference(shape, dtype):
    kernel = random_kernel(shape, dtype)
    actual, expected = measure(kernel), reference.energy_momentum(kernel)
    assert set(expected) == set(EnergyMomentum._fields)
    assert {value.dtype for value in actual} == {jnp.dtype(dtype)}
    for name, value in expected.items():
        assert_close(getattr(actual, name), value, TOLERANCE[dtype], name)


root = np.sqrt(0.5)
BY_HAND = {
    "even pair": ([1, 1], (2, 2, 0, 0, 2, [0], 2, 0, [NAN])),
    "odd pair": ([-1, 1], (2, 0, 2, 1, 0, [1], -2, NAN, [1])),
    "single tap": ([3], (9, 9, 0, 0, 3, [0], 9, 0, [NAN])),
    "light": ([1, 0], (1, 0.5, 0.5, 0.5, 1, [-0.5], 0, NAN, [-1])),
    "slow": ([1, 0, 3], (10, 8, 2, 0.2, 4, [2], 6, np.arctanh(0.5), [1])),
    "odd without momentum": ([1, -2, 0, 2, -1], (10, 0, 10, 1, 0, [0], -10, NAN, [NAN])),
    "down and left": ([[0, 0], [1, 0]], (1, 0.5, 0.5, 0.5, 1, [0.5, -0.5], 0, NAN, [root, -root])),
    "zero": ([0, 0], (0, 0, 0, NAN, 0, [0], 0, NAN, [NAN])),
}


@pytest.mark.parametrize(("kernel", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_hand_computed_kernels(kernel, expected):
    actual = measure(np.array(kernel, float))
    for name, value, by_hand in zip(EnergyMomentum._fields, actual, expected, strict=True):
        assert_close(value, by_hand, 1e-14, name)


@given(some_kernel())
def test_energies_add_up(kernel):
    em = measure(kernel)
    assert_close(em.even + em.odd, em.energy)
    assert_close(em.energy, np.sum(kernel**2))
    assert_close(em.mass_squared, np.sum(kernel * np.flip(kernel)), 1e-11)


@given(some_kernel())
def test_reflection_flips_momentum_and_keeps_energy(kernel):
    em, mirrored = measure(kernel), measure(np.flip(kernel))
    for name in ("energy", "even", "odd", "share", "gain", "mass_squared", "rapidity"):
        assert_close(getattr(mirrored, name), getattr(em, name))
    assert_close(mirrored.momentum, -em.momentum)
    assert_close(mirrored.direction, -em.direction)


@given(some_kernel(), st.sampled_from([-2.0, 0.5, 8.0]))
def test_scaling_by_a_factor(kernel, factor):
    em, scaled = measure(kernel), measure(factor * kernel)
    assert_close(scaled.energy, factor**2 * em.energy)
    assert_close(scaled.momentum, factor * em.momentum)
    assert_close([scaled.share, scaled.rapidity], [em.share, em.rapidity])


@pytest.mark.parametrize("factor", [1e-25, 1e25])
def test_ratios_survive_extreme_scales(factor):
    """Weight decay can shrink filters to almost nothing without changing their shape."""
    kernel = np.array([1.0, 0.0, 3.0], np.float32)
    em = measure(kernel * np.float32(factor))
    assert_close([em.share, em.rapidity, em.direction[0]], [0.2, np.arctanh(0.5), 1], 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(dtype):
    em = measure(jnp.array([300, 100], dtype))
    assert em.energy.dtype == jnp.float32
    assert_close([em.energy, em.even, em.odd, em.share], [100_000, 80_000, 20_000, 0.2], 1e-6)


def test_integers_become_default_float():
    assert {value.dtype for value in energy_momentum([1, 2])} == {jnp.dtype("float64")}


# --- transformations ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 1, 3)], ids=str)
def test_vmap_matches_single_calls(shape):
    batch = random_kernel((5, *shape))
    batch[0] = 0
    batched, single = jax.vmap(measure)(batch), [measure(kernel) for kernel in batch]
    for name in EnergyMomentum._fields:
        assert_close(getattr(batched, name), [getattr(em, name) for em in single], 1e-14, name)


@pytest.mark.parametrize("kernel", [[1.0, 0.3, 2.5], [[1.0, 2.0], [0.5, 3.0], [1.5, 1.0]]])
def test_derivatives_match_finite_differences(kernel):
    assert np.isfinite(measure(np.array(kernel)).rapidity)
    check_grads(measure, (np.array(kernel),), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize(("kernel", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_gradients_are_finite_and_zero_where_undefined(kernel, expected):
    gradients = slopes(np.array(kernel, float))
    for name, value, slope in zip(EnergyMomentum._fields, expected, gradients, strict=True):
        assert np.all(np.isfinite(slope)), name
        if np.any(np.isnan(value)):
            assert not np.any(slope), name


def test_forward_mode_is_finite_at_a_zero_kernel():
    _, slope = jax.jvp(measure, (jnp.zeros((2, 2)),), (jnp.ones((2, 2)),))
    assert all(np.all(np.isfinite(value)) for value in slope)


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "message"), BAD_KERNELS.values(), ids=BAD_KERNELS)
def test_bad_kernel_is_refused(kernel, message):
    with pytest.raises(ValueError, match=f"^kernel: got .*{message}"):
        energy_momentum(kernel)
