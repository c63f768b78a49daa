"""Even, odd and mirror parts add up, are orthogonal, and contain DCT modes of equal parity."""

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

from infomech import parity

# kernel sizes from 1 to 15 on one, two and three axes
SHAPES = [(1,), (2,), (15,), (3, 3), (1, 4), (6, 7), (13, 14), (8, 5, 9), (10, 11, 12)]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


@jax.jit
def all_parts(kernel):
    return {
        "reflect": parity.reflect(kernel),
        "split": parity.split(kernel),
        "mirror_split": parity.mirror_split(kernel),
        "mirror_energies": parity.mirror_energies(kernel),
    }


def reference_parts(kernel):
    mirrored = reference.mirror_split(kernel)
    return {
        "reflect": reference.reflect(kernel),
        "split": reference.split(kernel),
        "mirror_split": mirrored,
        "mirror_energies": np.sum(mirrored**2, axis=tuple(range(-kernel.ndim, 0))),
    }


def random_kernel(shape, dtype="float64"):
    sample = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (sample / np.sqrt(sample.size)).astype(dtype)


def some_kernel():
    """Kernels of 1 to 3 axes; only three shapes, to compile few programs."""
    values = st.floats(-1e3, 1e3, allow_subnormal=False)
    return st.sampled_from([(4,), (3, 2), (2, 1, 3)]).flatmap(
        lambda n: arrays(float, n, elements=values)
    )


def assert_close(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, "float64") for shape in SHAPES), ((15,), "float32"), ((3, 3), "float32")],
)
def test_parts_match_the_reference(shape, dtype):
    kernel = random_kernel(shape, dtype)
    actual, expected = all_parts(kernel), reference_parts(kernel)
    for name in expected:
        parts = np.stack(actual[name])
        assert parts.dtype == dtype
        assert_close(parts, np.stack(expected[name]), TOLERANCE[dtype])


@given(some_kernel())
def test_parts_add_up_and_are_orthogonal(kernel):
    even, odd = all_parts(kernel)["split"]
    energy = np.sum(kernel**2)
    assert_close(even + odd, kernel)
    np.testing.assert_allclose(np.sum(even * odd), 0, atol=1e-14 * energy)
    assert_close(np.sum(even**2) + np.sum(odd**2), energy)
    np.testing.assert_array_equal(np.flip(even), even)
    np.testing.assert_array_equal(np.flip(odd), -odd)


@given(some_kernel())
def test_mirror_parts_add_up_and_are_orthogonal(kernel):
    result, d = all_parts(kernel), kernel.ndim
    parts, energies = result["mirror_split"].reshape(2**d, -1), result["mirror_energies"].ravel()
    energy = np.sum(kernel**2)
    assert_close(parts.sum(0), kernel.ravel())
    np.testing.assert_allclose(parts @ parts.T, np.diag(energies), rtol=0, atol=1e-14 * energy)
    assert_close(energies.sum(), energy)
    is_even = np.indices((2,) * d).sum(0).ravel() % 2 == 0
    even = result["split"].even.ravel()
    assert_close(parts[is_even].sum(0), even)


@pytest.mark.parametrize("shape", [(2,), (15,), (3, 3), (6, 7), (8, 5, 9)], ids=str)
def test_mirror_parts_contain_dct_modes_of_same_parity(shape):
    """The part of parity (a, b) has only the coefficients with index (a, b) mod 2."""
    kernel = random_kernel(shape)
    parts, coefficients = all_parts(kernel)["mirror_split"], reference.dct(kernel)
    for parities in np.ndindex(*(2,) * len(shape)):
        index = np.moveaxis(np.indices(shape), 0, -1)
        same_parity = np.all(index % 2 == parities, axis=-1)
        actual = reference.dct(parts[parities])
        assert_close(actual, np.where(same_parity, coefficients, 0))


@given(some_kernel())
def test_reflect_is_its_own_inverse(kernel):
    np.testing.assert_array_equal(parity.reflect(parity.reflect(kernel)), kernel)


def test_integers_become_default_float():
    even, odd = parity.split([1, 2])
    assert even.dtype == odd.dtype == jnp.float64
    np.testing.assert_array_equal([even, odd], [[1.5, 1.5], [-0.5, 0.5]])


# --- transformations ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 1, 3)], ids=str)
def test_vmap_matches_single_calls(shape):
    batch = random_kernel((5, *shape))
    result = jax.vmap(all_parts)(batch)
    for i, kernel in enumerate(batch):
        for name, parts in all_parts(kernel).items():
            for single, batched in zip(
                jax.tree.leaves(parts), jax.tree.leaves(result[name]), strict=True
            ):
                assert_close(batched[i], single, 1e-14)


def test_derivatives_match_finite_differences():
    check_grads(all_parts, (random_kernel((3, 2)),), order=1, modes=("fwd", "rev"))


def test_lists_of_traced_taps_are_accepted():
    slope = jax.grad(lambda tap: jnp.sum(parity.split([tap, 1.0]).odd ** 2))(3.0)
    assert_close(slope, 2.0)  # d/da (a − 1)²/2


# --- bad input ------------------------------------------------------------------------------

FUNCTIONS = [parity.reflect, parity.split, parity.mirror_split, parity.mirror_energies]


@pytest.mark.parametrize(("kernel", "message"), BAD_KERNELS.values(), ids=BAD_KERNELS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_bad_kernel_is_refused(function, kernel, message):
    with pytest.raises(ValueError, match=f"^kernel: got .*{message}"):
        function(kernel)
