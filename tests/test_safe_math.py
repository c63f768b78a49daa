"""Guarded division, root and logarithm: plain values, and finite slopes where there is no value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from infomech._core import safe_math

TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
NAN, INF = np.nan, np.inf

CASES = {  # function, point, value, slope
    "sqrt at 4": (safe_math.sqrt, 4.0, 2.0, 0.25),
    "sqrt at 0": (safe_math.sqrt, 0.0, 0.0, 0.0),
    "sqrt at -0": (safe_math.sqrt, -0.0, 0.0, 0.0),
    "sqrt at -4": (safe_math.sqrt, -4.0, NAN, 0.0),
    "log at 4": (safe_math.log, 4.0, np.log(4), 0.25),
    "log at 0": (safe_math.log, 0.0, -INF, 0.0),
    "log at -4": (safe_math.log, -4.0, NAN, 0.0),
    "1/x at 4": (lambda x: safe_math.divide(jnp.ones_like(x), x), 4.0, 0.25, -1 / 16),
    "1/x at 0": (lambda x: safe_math.divide(jnp.ones_like(x), x), 0.0, NAN, 0.0),
    "x/4 at 3": (lambda x: safe_math.divide(x, jnp.full_like(x, 4)), 3.0, 0.75, 0.25),
    "x/0 at 3": (lambda x: safe_math.divide(x, jnp.zeros_like(x)), 3.0, NAN, 0.0),
    "x/x at 0": (lambda x: safe_math.divide(x, x), 0.0, NAN, 0.0),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("function", "point", "value", "slope"), CASES.values(), ids=CASES)
def test_values_and_slopes(function, point, value, slope, dtype):
    """In forward and reverse mode, under jit and vmap."""
    points = np.full(2, point, dtype)
    results = (
        jax.jit(function)(points),
        jax.jit(jax.vmap(jax.grad(function)))(points),
        jax.jvp(function, (jnp.asarray(points),), (jnp.ones(2, dtype),))[1],
    )
    for result, expected in zip(results, (value, slope, slope), strict=True):
        assert result.dtype == dtype
        np.testing.assert_allclose(result, [expected] * 2, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("function", [safe_math.sqrt, safe_math.log])
def test_curvature_is_finite_at_zero(function):
    assert jax.grad(jax.grad(function))(0.0) == 0


def test_divide_broadcasts():
    """And the elements where the number is 0 do not spoil the slope of the others."""
    np.testing.assert_array_equal(
        safe_math.divide(jnp.array([1.0, 3.0]), jnp.array(2.0)), [0.5, 1.5]
    )
    slope = jax.grad(lambda b: jnp.nansum(safe_math.divide(jnp.ones(2), b)))(jnp.array([0.0, 2.0]))
    np.testing.assert_array_equal(slope, [0, -0.25])


@given(st.floats(1e-3, 1e3), st.floats(-1e3, -1e-3))
def test_values_away_from_guards_are_plain(x, y):
    result = (
        safe_math.sqrt(jnp.array(x)),
        safe_math.log(jnp.array(x)),
        safe_math.divide(y, jnp.array(x)),
    )
    np.testing.assert_allclose(result, [np.sqrt(x), np.log(x), y / x], rtol=1e-14)


def test_derivatives_match_finite_differences():
    points = jnp.array([0.5, 3.0])
    for function in (safe_math.sqrt, safe_math.log, lambda x: safe_math.divide(x + 1, x)):
        check_grads(function, (points,), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("float32",), "float32"),
        (("float32", "float64"), "float64"),
        (("float16", "float32"), "float32"),
        (("bfloat16", "float16"), "float32"),
        (("float64", "bfloat16", "float32"), "float64"),
    ],
)
def test_wider_promotes(dtypes, expected):
    assert safe_math.wider(*map(jnp.dtype, dtypes)) == jnp.dtype(expected)
