"""Families of kernels: their taps, their unit energy, their odd share, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from infomech import kernels

# all sizes from 1 to 15, and one, two and three axes
MOVING = [(2,), (3,), (14,), (15,), (1, 4), (3, 3), (6, 7), (13, 5), (8, 9), (10, 2, 11), (1, 3, 12)]
DIRECTIONS = {1: (-2.0,), 2: (0.6, -0.8), 3: (1.0, -2.0, 0.5)}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
KEY = jax.random.key(0)


def assert_close(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def gaussian(shape, sigma):
    k = np.exp(-0.5 * np.sum((reference.offsets(shape) / sigma) ** 2, axis=-1))
    return k / np.sqrt(np.sum(k**2))


def odd_share(kernel):
    return reference.energy_momentum(kernel)["share"]


@functools.cache
def jitted_mix(shape, dtype="float64"):
    def build(share, direction):
        return kernels.mix(shape, share=share, direction=direction, dtype=dtype)

    return jax.jit(build)


@functools.cache
def jitted_random(shape, dtype="float64"):
    return jax.jit(lambda key, share: kernels.random(shape, key=key, share=share, dtype=dtype))


# --- taps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), *MOVING], ids=str)
def test_offsets_are_centred_on_the_middle(shape):
    assert_close(kernels.offsets(shape), reference.offsets(shape))
    if len(shape) == 1:
        assert_close(kernels.offsets(shape[0])[:, 0], kernels.axis_offsets(shape[0]))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", MOVING, ids=str)
def test_families_match_the_reference(shape, dtype):
    direction, sigma = DIRECTIONS[len(shape)], np.linspace(0.7, 1.9, len(shape))

    @jax.jit
    def families(share, ratio, direction, sigma):
        return {
            "constant": kernels.constant(shape, dtype=dtype),
            "gradient": kernels.gradient(shape, direction, dtype=dtype),
            "last axis": kernels.gradient(shape, dtype=dtype),
            "share": kernels.mix(shape, share=share, direction=direction, dtype=dtype),
            "ratio": kernels.mix(shape, ratio=ratio, direction=direction, dtype=dtype),
            "gaussian": kernels.gaussian(shape, sigma, dtype=dtype),
        }

    expected = {
        "constant": reference.constant(shape),
        "gradient": reference.gradient(shape, direction),
        "last axis": reference.gradient(shape, np.eye(len(shape))[-1]),
        "share": reference.mix_share(shape, 0.3, direction),
        "ratio": reference.mix_ratio(shape, 0.3, direction),
        "gaussian": gaussian(shape, sigma),
    }
    for name, kernel in families(0.3, 0.3, np.array(direction), sigma).items():
        assert kernel.dtype == dtype, name
        np.testing.assert_allclose(kernel, expected[name], atol=TOLERANCE[dtype], err_msg=name)


@pytest.mark.parametrize("shape", [1, (1, 1), (1, 1, 1)], ids=str)
def test_a_single_tap_is_one(shape):
    assert_close(kernels.constant(shape), 1)
    assert_close(kernels.gaussian(shape, 2.0), 1)
    assert_close(jnp.abs(kernels.random(shape, key=KEY, share=0.0)), 1)


def test_dtype_is_the_default_float_unless_asked_for():
    assert kernels.mix(3, share=0.2).dtype == jnp.float64
    assert kernels.mix(3, share=np.float64(0.2), dtype="float32").dtype == jnp.float32
    assert kernels.random(3, key=KEY, dtype=jnp.float32).dtype == jnp.float32


@pytest.mark.parametrize("sigma", [1e-3, 1e6])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(3,), (4,), (3, 2)], ids=str)
def test_gaussian_of_extreme_width_is_its_limit(shape, dtype, sigma):
    """The taps nearest the middle, equally, or all taps equally: never a kernel of zeros or NaN."""
    square = np.sum(reference.offsets(shape) ** 2, axis=-1)
    limit = (square == square.min()) | (sigma > 1)
    kernel = kernels.gaussian(shape, sigma, dtype=dtype)
    assert_close(kernel, limit / np.sqrt(limit.sum()), TOLERANCE[dtype])


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_length_of_the_direction_does_not_matter(length, dtype):
    kernel = kernels.gradient((3, 3), (0.6 * length, -0.8 * length), dtype=dtype)
    assert_close(kernel, reference.gradient((3, 3), (0.6, -0.8)), TOLERANCE[dtype])


# --- odd share ------------------------------------------------------------------------------


@given(st.sampled_from([(2,), (3, 3), (1, 4), (2, 3, 4)]), st.floats(0, 1), st.lists(st.floats(-1, 1), min_size=3))
def test_mix_has_unit_energy_and_the_share_asked_for(shape, share, numbers):
    direction = np.array(numbers[: len(shape)]) + 1.5  # anywhere but 0
    kernel = jitted_mix(shape)(share, direction)
    assert_close(np.sum(kernel**2), 1)
    assert_close(odd_share(kernel), share)


@given(st.floats(0, 1))
def test_ratio_gives_its_share(ratio):
    expected = ratio**2 / ((1 - ratio) ** 2 + ratio**2)
    assert_close(odd_share(kernels.mix((3, 2), ratio=ratio)), expected)


@given(st.sampled_from([(2,), (3, 3), (1, 4), (2, 3, 4)]), st.floats(0, 1), st.integers(0, 2**31))
def test_random_has_unit_energy_and_the_share_asked_for(shape, share, seed):
    kernel = jitted_random(shape)(jax.random.key(seed), share)
    assert_close(np.sum(kernel**2), 1)
    assert_close(odd_share(kernel), share)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4)], ids=str)
def test_float32_keeps_the_share_asked_for(shape):
    for share in (0.0, 1e-4, 0.5, 1.0):
        mix = jitted_mix(shape, "float32")(share, np.array(DIRECTIONS[len(shape)]))
        sample = jitted_random(shape, "float32")(KEY, share)
        assert mix.dtype == sample.dtype == jnp.float32
        assert_close([odd_share(mix), odd_share(sample)], [share, share], 1e-6)


# --- random kernels -------------------------------------------------------------------------


def test_random_is_a_function_of_the_key():
    first, again = kernels.random((3, 3), key=KEY), kernels.random((3, 3), key=KEY)
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == kernels.random((3, 3), key=jax.random.key(1)))


def test_random_is_uniform_on_the_sphere():
    """Moments of a uniform unit vector in n dimensions: 0, 1/n, and 3/(n(n + 2)) for the fourth."""
    keys = jax.random.split(KEY, 20_000)
    sample = np.asarray(jax.vmap(lambda key: kernels.random((2, 3), key=key))(keys)).reshape(-1, 6)
    np.testing.assert_allclose(np.sum(sample**2, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(sample.mean(0), 0, atol=0.012)
    np.testing.assert_allclose(sample.T @ sample / len(sample), np.eye(6) / 6, atol=0.007)
    np.testing.assert_allclose((sample**4).mean(0), 3 / (6 * 8), atol=0.004)


def test_random_of_given_share_is_uniform_on_both_spheres():
    """Second moments are (1 − ε)/dim times the projector on even kernels, ε/dim times that on odd."""
    share, keys = 0.3, jax.random.split(KEY, 20_000)
    sample = np.asarray(jax.vmap(lambda key: kernels.random(5, key=key, share=share))(keys))
    even, odd = (np.eye(5) + np.eye(5)[::-1]) / 2, (np.eye(5) - np.eye(5)[::-1]) / 2
    expected = (1 - share) / 3 * even + share / 2 * odd
    np.testing.assert_allclose(sample.mean(0), 0, atol=0.015)
    np.testing.assert_allclose(sample.T @ sample / len(sample), expected, atol=0.008)


# --- transformations ------------------------------------------------------------------------

ARGUMENTS = {
    "share": (lambda x: kernels.mix((2, 3), share=x), np.array([0.1, 0.5, 0.9])),
    "ratio": (lambda x: kernels.mix((2, 3), ratio=x), np.array([0.0, 0.5, 1.0])),
    "direction": (
        lambda x: kernels.mix((2, 3), share=0.4, direction=x),
        np.array([[0.6, -0.8], [1.0, 0.0], [-2.0, 3.0]]),
    ),
    "sigma": (lambda x: kernels.gaussian((4, 3), x), np.array([[0.5, 1.0], [2.0, 0.8]])),
    "one sigma": (lambda x: kernels.gaussian((4, 3), x), np.array([0.5, 2.0])),
    "random share": (
        lambda x: kernels.random((2, 3), key=KEY, share=x),
        np.array([0.2, 0.5]),
    ),
}


@pytest.mark.parametrize("build, values", ARGUMENTS.values(), ids=ARGUMENTS)
def test_vmap_equals_one_by_one(build, values):
    assert_close(jax.jit(jax.vmap(build))(values), [build(value) for value in values], 1e-14)


def test_vmap_over_keys_equals_one_by_one():
    keys = jax.random.split(KEY, 3)
    batch = jax.vmap(lambda key: kernels.random((3, 3), key=key))(keys)
    assert_close(batch, [kernels.random((3, 3), key=key) for key in keys], 1e-14)


@pytest.mark.parametrize("build, values", ARGUMENTS.values(), ids=ARGUMENTS)
def test_derivatives_match_finite_differences(build, values):
    check_grads(jax.jit(build), (values[1],), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_ratio_is_differentiable_at_its_ends(ratio):
    build = functools.partial(kernels.mix, (2, 3))
    step = 1e-6 if ratio == 0 else -1e-6  # one-sided: the other side is refused
    slope = (build(ratio=ratio + step) - build(ratio=ratio)) / step
    assert_close(jax.jacfwd(lambda b: build(ratio=b))(ratio), slope, 1e-5)


def test_infinite_slopes_at_the_ends_of_share_count_as_zero():
    def slope(share):
        return jax.jacrev(lambda e: kernels.mix((2, 3), share=e))(share)

    assert_close(slope(0.0), -0.5 * reference.constant((2, 3)))
    assert_close(slope(1.0), 0.5 * reference.gradient((2, 3), (0, 1)))
    for share in (0.0, 1.0):
        random = jax.jacrev(lambda e: kernels.random((2, 3), key=KEY, share=e))(share)
        assert np.all(np.isfinite(random))


TRACED_IN_A_TUPLE = {
    "direction": lambda a: kernels.gradient((3, 3), (jnp.cos(a), jnp.sin(a))),
    "sigma": lambda a: kernels.gaussian((3, 3), (a, 1.0)),
}


@pytest.mark.parametrize("build", TRACED_IN_A_TUPLE.values(), ids=TRACED_IN_A_TUPLE)
def test_traced_numbers_may_come_in_a_tuple(build):
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
BAD_SHAPES = [0, -1, True, 2.5, None, "3", (), (3, 0), (3, -1), (3, True), (3, 2.0), (2, 2, 2, 2)]


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=str)
@pytest.mark.parametrize("function", TAKE_SHAPE.values(), ids=TAKE_SHAPE)
def test_bad_shape_is_refused(function, shape):
    with pytest.raises(ValueError, match="^shape: got .*, expected one to three positive whole"):
        function(shape)


@pytest.mark.parametrize("taps", [0, -1, True, 2.5, "3"], ids=str)
def test_axis_offsets_refuses_what_is_no_number_of_taps(taps):
    with pytest.raises(ValueError, match="^taps: got .*, expected a whole number of at least 1"):
        kernels.axis_offsets(taps)


@pytest.mark.parametrize("dtype", [int, "complex64", bool, "nonsense"], ids=str)
@pytest.mark.parametrize("function", list(TAKE_SHAPE.values())[1:], ids=list(TAKE_SHAPE)[1:])
def test_bad_dtype_is_refused(function, dtype):
    with pytest.raises(ValueError, match="^dtype: got .*, expected a floating dtype"):
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
    "zero": ((0.0, 0.0), "a vector of length above 0"),
    "too short": ((1.0,), "one number per axis"),
    "too long": ((1.0, 0.0, 0.0), "one number per axis"),
    "a number": (1.0, "one number per axis"),
    "NaN": ((np.nan, 1.0), "finite numbers only"),
    "infinite": ((np.inf, 1.0), "finite numbers only"),
    "complex": ((1j, 1.0), "real numbers"),
    "a word": ("up", "real numbers"),
}


@pytest.mark.parametrize("direction, expected", BAD_DIRECTIONS.values(), ids=BAD_DIRECTIONS)
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


@pytest.mark.parametrize("sigma, expected", BAD_SIGMAS.values(), ids=BAD_SIGMAS)
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


@pytest.mark.parametrize("call, message", BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_call_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


STATIC_MISTAKES = {
    "zero direction": lambda s: kernels.mix((3, 3), share=s, direction=(0.0, 0.0)),
    "one-tap axis": lambda s: kernels.mix((3, 1), share=s),
    "odd single tap": lambda s: s * kernels.random(1, key=KEY, share=0.5),
}


@pytest.mark.parametrize("build", STATIC_MISTAKES.values(), ids=STATIC_MISTAKES)
def test_static_mistakes_are_refused_under_jit_too(build):
    with pytest.raises(ValueError, match=r"^(direction|share): got .*, expected"):
        jax.jit(build)(0.2)
