"""Kernel families: taps, unit energy, odd share, and refused arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from bad_input import BAD_SHAPES
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from infomech import kernels

# kernel sizes from 1 to 15 on one, two and three axes
SHAPES = [(2,), (15,), (3, 3), (1, 4), (6, 7), (13, 14), (8, 5, 9), (10, 11, 12)]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
KEY = jax.random.key(0)


def arguments_of(d):
    """Three sets of arguments for kernels of d axes."""
    return {
        "share": np.array([0.1, 0.5, 0.9]),
        "ratio": np.array([0.2, 0.5, 0.8]),
        "direction": np.array([[0.6, -0.8, 1.0], [-2.0, 0.1, 0.7], [1.0, 1.0, -3.0]])[:, :d],
        "sigma": np.array([[0.7, 1.3, 0.9], [1.9, 0.8, 1.0], [1.0, 5.0, 2.0]])[:, :d],
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def families(shape, dtype, share, ratio, direction, sigma):
    return {
        "constant": kernels.constant(shape, dtype=dtype),
        "gradient": kernels.gradient(shape, direction, dtype=dtype),
        "last axis": kernels.gradient(shape, dtype=dtype),
        "share": kernels.mix(shape, share=share, direction=direction, dtype=dtype),
        "ratio": kernels.mix(shape, ratio=ratio, direction=direction, dtype=dtype),
        "gaussian": kernels.gaussian(shape, sigma, dtype=dtype),
        "round gaussian": kernels.gaussian(shape, sigma[0], dtype=dtype),
    }


def reference_families(shape, share, ratio, direction, sigma):
    return {
        "constant": reference.constant(shape),
        "gradient": reference.gradient(shape, direction),
        "last axis": reference.gradient(shape, np.eye(len(shape))[-1]),
        "share": reference.mix_share(shape, share, direction),
        "ratio": reference.mix_ratio(shape, ratio, direction),
        "gaussian": gaussian(shape, sigma),
        "round gaussian": gaussian(shape, sigma[0]),
    }


def gaussian(shape, sigma):
    k = np.exp(-0.5 * np.sum((reference.offsets(shape) / sigma) ** 2, axis=-1))
    return k / np.sqrt(np.sum(k**2))


def odd_share(kernel):
    return reference.energy_momentum(kernel)["share"]


def assert_close(actual, expected, tolerance=1e-12, name=""):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)


@functools.partial(jax.jit, static_argnums=0)
def mix(shape, share, direction):
    return kernels.mix(shape, share=share, direction=direction)


@functools.partial(jax.jit, static_argnums=0)
def random(shape, key, share):
    return kernels.random(shape, key=key, share=share)


# --- taps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), *SHAPES], ids=str)
def test_offsets_are_centered(shape):
    assert_close(kernels.offsets(shape), reference.offsets(shape))
    if len(shape) == 1:
        assert_close(kernels.offsets(shape[0])[:, 0], kernels.axis_offsets(shape[0]))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, "float64") for shape in SHAPES), ((15,), "float32"), ((3, 3), "float32")],
)
def test_families_match_the_reference(shape, dtype):
    arguments = {name: value[0] for name, value in arguments_of(len(shape)).items()}
    built = families(shape, dtype, **arguments)
    assert {kernel.dtype for kernel in built.values()} == {jnp.dtype(dtype)}
    for name, expected in reference_families(shape, **arguments).items():
        assert_close(built[name], expected, TOLERANCE[dtype], name)


def test_single_tap_is_one():
    assert_close(kernels.constant(1), [1])
    assert_close(kernels.gaussian((1, 1), 2.0), [[1]])
    assert_close(jnp.abs(random((1,), KEY, 0.0)), [1])


def test_dtype_defaults_to_float():
    for requested, expected in (
        (None, "float64"),
        ("float32", "float32"),
        (jnp.float32, "float32"),
    ):
        for build in (kernels.mix, functools.partial(kernels.random, key=KEY)):
            kernel = jax.eval_shape(functools.partial(build, 3, share=0.2, dtype=requested))
            assert kernel.dtype == expected


@pytest.mark.parametrize("sigma", [1e-3, 1e6])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(4,), (3, 2)], ids=str)
def test_gaussian_of_extreme_width_reaches_its_limit(shape, dtype, sigma):
    """A narrow Gaussian is constant on the central taps, a wide one on all taps."""
    square = np.sum(reference.offsets(shape) ** 2, axis=-1)
    limit = (square == square.min()) | (sigma > 1)
    kernel = kernels.gaussian(shape, sigma, dtype=dtype)
    assert_close(kernel, limit / np.sqrt(limit.sum()), TOLERANCE[dtype])


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_length_of_direction_is_ignored(length, dtype):
    kernel = kernels.gradient((3, 3), (0.6 * length, -0.8 * length), dtype=dtype)
    assert_close(kernel, reference.gradient((3, 3), (0.6, -0.8)), TOLERANCE[dtype])


# --- odd share ------------------------------------------------------------------------------


@given(st.sampled_from([(2,), (3, 3), (1, 4)]), st.floats(0, 1), st.floats(-3.1, 3.1))
def test_mix_has_unit_energy_and_requested_share(shape, share, angle):
    kernel = mix(shape, share, np.array([np.cos(angle), np.sin(angle)])[-len(shape) :])
    assert_close(np.sum(kernel**2), 1)
    assert_close(odd_share(kernel), share)


@given(st.floats(0, 1))
def test_ratio_gives_its_share(ratio):
    expected = ratio**2 / ((1 - ratio) ** 2 + ratio**2)
    assert_close(odd_share(kernels.mix((3, 2), ratio=ratio)), expected)


@given(st.sampled_from([(1, 4), (3, 3)]), st.floats(0, 1), st.integers(0, 2**31))
def test_random_has_unit_energy_and_requested_share(shape, share, seed):
    kernel = random(shape, jax.random.key(seed), share)
    assert_close(np.sum(kernel**2), 1)
    assert_close(odd_share(kernel), share)


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.5, 1.0])
def test_float32_keeps_requested_share(share):
    mix = kernels.mix((3, 3), share=share, dtype="float32")
    sample = kernels.random((3, 3), key=KEY, share=share, dtype="float32")
    assert_close([odd_share(mix), odd_share(sample)], share, 1e-6)


# --- random kernels -------------------------------------------------------------------------


def test_random_depends_on_key():
    first, second = random((3, 3), KEY, 0.5), random((3, 3), KEY, 0.5)
    np.testing.assert_array_equal(first, second)
    assert np.max(np.abs(first - random((3, 3), jax.random.key(1), 0.5))) > 0.1


def test_random_is_uniform_on_the_sphere():
    """Moments of a uniform unit vector in n dimensions: 0, 1/n, and 3/(n(n + 2)) for the fourth."""
    keys = jax.random.split(KEY, 20_000)
    sample = np.asarray(jax.vmap(lambda key: kernels.random((2, 3), key=key))(keys)).reshape(-1, 6)
    assert_close(np.sum(sample**2, axis=1), 1)
    np.testing.assert_allclose(sample.mean(0), 0, atol=0.012)
    np.testing.assert_allclose(sample.T @ sample / len(sample), np.eye(6) / 6, atol=0.007)
    np.testing.assert_allclose((sample**4).mean(0), 3 / (6 * 8), atol=0.004)


def test_random_with_share_is_uniform_on_both_spheres():
    """In orthonormal coordinates, 5 for the even and 4 for the odd kernels of 3 × 3 taps."""
    keys = jax.random.split(KEY, 20_000)
    batch = jax.vmap(random, (None, 0, None))((3, 3), keys, 0.3)
    assert_close(batch[:2], [random((3, 3), key, 0.3) for key in keys[:2]], 1e-14)
    sample, half = np.asarray(batch).reshape(-1, 9), np.eye(9)[:4]
    even = np.vstack([(half + half[:, ::-1]) / np.sqrt(2), np.eye(9)[4]])
    odd = (half - half[:, ::-1]) / np.sqrt(2)
    for share, basis in ((0.7, even), (0.3, odd)):
        unit, n = sample @ basis.T / np.sqrt(share), len(basis)
        np.testing.assert_allclose(unit.mean(0), 0, atol=0.015)
        np.testing.assert_allclose(unit.T @ unit / len(unit), np.eye(n) / n, atol=0.01)
        np.testing.assert_allclose(np.mean(unit**4), 3 / (n * (n + 2)), rtol=0.015)


# --- transformations ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (3, 3)], ids=str)
def test_vmap_matches_single_calls(shape):
    build = functools.partial(families, shape, "float64")
    values = arguments_of(len(shape))
    batch = jax.vmap(build)(**values)
    for i in range(3):
        single = build(**{name: value[i] for name, value in values.items()})
        for name, kernel in single.items():
            assert_close(batch[name][i], kernel, 1e-14, name)


def test_derivatives_match_finite_differences():
    def build(values):
        return families((3, 3), "float64", **values)

    arguments = {name: value[0] for name, value in arguments_of(2).items()}
    check_grads(build, (arguments,), order=1, modes=("fwd", "rev"))


def test_random_derivative_by_share_matches_finite_differences():
    check_grads(lambda share: random((3, 3), KEY, share), (0.3,), order=1, modes=("fwd", "rev"))


def test_ratio_is_differentiable_at_its_ends():
    """By share, k has infinite slopes at 0 and 1; by ratio, it turns at unit angular speed."""
    even, odd = reference.constant((2, 3)), reference.gradient((2, 3), (0, 1))
    slope = jax.jacfwd(jax.jit(lambda ratio: kernels.mix((2, 3), ratio=ratio)))
    assert_close([slope(0.0), slope(1.0)], [odd, -even])


def test_infinite_slopes_at_ends_of_share_are_zero():
    even, odd = reference.constant((2, 3)), reference.gradient((2, 3), (0, 1))
    slope = jax.jacrev(jax.jit(lambda share: kernels.mix((2, 3), share=share)))
    assert_close([slope(0.0), slope(1.0)], [-even / 2, odd / 2])
    assert np.all(np.isfinite([jax.jacrev(random, 2)((3, 3), KEY, end) for end in (0.0, 1.0)]))


TRACED_IN_A_TUPLE = {
    "direction": lambda a: kernels.gradient((3, 3), (jnp.cos(a), jnp.sin(a))),
    "sigma": lambda a: kernels.gaussian((3, 3), (a, 1.0)),
}


@pytest.mark.parametrize("build", TRACED_IN_A_TUPLE.values(), ids=TRACED_IN_A_TUPLE)
def test_tuples_of_traced_numbers_are_accepted(build):
    assert_close(jax.jit(build)(0.3), build(0.3))


# --- bad input ------------------------------------------------------------------------------

TAKE_SHAPE = {
    "offsets": kernels.offsets,
    "constant": kernels.constant,
    "gradient": kernels.gradient,
    "mix": functools.partial(kernels.mix, share=0.5),
    "gaussian": functools.partial(kernels.gaussian, sigma=1.0),
    "random": functools.partial(kernels.random, key=KEY),
}


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=str)
@pytest.mark.parametrize("function", TAKE_SHAPE.values(), ids=TAKE_SHAPE)
def test_bad_kernel_size_is_refused(function, shape):
    with pytest.raises(
        ValueError, match=r"^kernel_size: got .*, expected one to three positive integers"
    ):
        function(shape)


@pytest.mark.parametrize("kernel_size", [0, -1, True, 2.5, "3"], ids=str)
def test_axis_offsets_refuses_invalid_size(kernel_size):
    with pytest.raises(
        ValueError, match=r"^kernel_size: got .*, expected an integer of at least 1"
    ):
        kernels.axis_offsets(kernel_size)


@pytest.mark.parametrize("dtype", [int, "complex64", bool, "nonsense"], ids=str)
@pytest.mark.parametrize("function", list(TAKE_SHAPE.values())[1:], ids=list(TAKE_SHAPE)[1:])
def test_bad_dtype_is_refused(function, dtype):
    with pytest.raises(ValueError, match=r"^dtype: got .*, expected a floating dtype"):
        function((3, 3), dtype=dtype)


TAKE_SHARE = {
    "share": lambda x: kernels.mix((3, 3), share=x),
    "ratio": lambda x: kernels.mix((3, 3), ratio=x),
    "random": lambda x: kernels.random((3, 3), key=KEY, share=x),
}


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf, "half", 0.5j, [0.1, 0.2]], ids=str)
@pytest.mark.parametrize("name", TAKE_SHARE)
def test_bad_share_or_ratio_is_refused(name, value):
    argument = "ratio" if name == "ratio" else "share"
    with pytest.raises(ValueError, match=f"^{argument}: got .*, expected .*(number)"):
        TAKE_SHARE[name](value)


BAD_DIRECTIONS = {
    "zero": ((0.0, 0.0), "a nonzero vector"),
    "too short": ((1.0,), "one number per axis"),
    "too long": ((1.0, 0.0, 0.0), "one number per axis"),
    "a number": (1.0, "one number per axis"),
    "NaN": ((np.nan, 1.0), "finite numbers only"),
    "infinite": ((np.inf, 1.0), "finite numbers only"),
    "complex": ((1j, 1.0), "real numbers"),
    "a word": ("up", "real numbers"),
}


@pytest.mark.parametrize(("direction", "expected"), BAD_DIRECTIONS.values(), ids=BAD_DIRECTIONS)
def test_bad_direction_is_refused(direction, expected):
    for build in (kernels.gradient, functools.partial(kernels.mix, ratio=0.5)):
        with pytest.raises(ValueError, match=f"^direction: got .*, expected .*{expected}"):
            build((3, 3), direction=direction)


BAD_SIGMAS = {
    "zero": (0.0, "positive"),
    "negative": (-1.0, "positive"),
    "NaN": (np.nan, "positive"),
    "infinite": (np.inf, "positive"),
    "one zero": ((1.0, 0.0), "positive"),
    "too many": ((1.0, 1.0, 1.0), r"one number, or shape \(2,\)"),
    "complex": (1j, "number"),
    "a word": ("wide", "number"),
    "None": (None, "number"),
}


@pytest.mark.parametrize(("sigma", "expected"), BAD_SIGMAS.values(), ids=BAD_SIGMAS)
def test_bad_sigma_is_refused(sigma, expected):
    with pytest.raises(ValueError, match=f"^sigma: got .*, expected .*{expected}"):
        kernels.gaussian((3, 3), sigma)


BAD_CALLS = {
    "both": (lambda: kernels.mix(3, share=0.1, ratio=0.1), "share, ratio: got both"),
    "neither": (lambda: kernels.mix(3), "share, ratio: got neither"),
    "one-tap axis": (lambda: kernels.gradient((3, 1), (0.0, 1.0)), "direction: .* more than one"),
    "last axis of one tap": (lambda: kernels.mix((3, 1), share=0.1), "direction: .* more than one"),
    "single tap": (lambda: kernels.mix(1, share=0.1), "direction: .* more than one"),
    "odd single tap": (lambda: kernels.random(1, key=KEY, share=0.1), "share: .* no odd part"),
    "a seed": (lambda: kernels.random(3, key=0), "key: got 0, expected .*jax.random.key"),
    "no key": (lambda: kernels.random(3, key=None), "key: got None, expected .*jax.random.key"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_call_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


STATIC_MISTAKES = {
    "zero direction": lambda s: kernels.mix((3, 3), share=s, direction=(0.0, 0.0)),
    "one-tap axis": lambda s: kernels.mix((3, 1), share=s),
    "odd single tap": lambda s: s * kernels.random(1, key=KEY, share=0.5),
}


@pytest.mark.parametrize("build", STATIC_MISTAKES.values(), ids=STATIC_MISTAKES)
def test_static_mistakes_raise_under_jit(build):
    with pytest.raises(ValueError, match=r"^(direction|share): got .*, expected"):
        jax.jit(build)(0.2)
