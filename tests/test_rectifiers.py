"""Rectifiers: values, slopes, and flags, declared or probed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.test_util import check_grads

from infomech import rectifiers
from infomech.rectifiers import Rectifier

NAMES = rectifiers.names()
KEEPS_NONNEGATIVE = {"relu", "modulus", "identity", "leaky_relu"}
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
POINTS = np.array([-40.0, -1.5, -1e-3, -0.0, 0.0, 1e-3, 0.7, 40.0])


def assert_close(actual, expected, tolerance=1e-14):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# --- registered rectifiers ------------------------------------------------------------------


def test_names_match_the_reference():
    assert set(NAMES) == set(reference.RECTIFIERS)
    assert [rectifiers.get(name).name for name in NAMES] == list(NAMES)
    assert [getattr(rectifiers, name) for name in NAMES] == [rectifiers.get(name) for name in NAMES]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NAMES)
def test_values_match_the_reference(name, dtype):
    values = jax.jit(rectifiers.get(name))(POINTS.astype(dtype))
    assert values.dtype == dtype
    expected = reference.RECTIFIERS[name](POINTS.astype(dtype).astype(float))
    assert_close(values, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_vmap_matches_single_calls(name):
    rectifier, grid = rectifiers.get(name), POINTS.reshape(2, 4)
    assert_close(jax.vmap(rectifier)(grid), [rectifier(row) for row in grid])


@pytest.mark.parametrize("name", NAMES)
def test_slopes_match_finite_differences(name):
    points = np.array([-2.0, -0.3, 0.3, 2.0])  # away from the kink at 0
    check_grads(rectifiers.get(name), (points,), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_slope_of_relu_at_zero_is_zero(zero, dtype):
    relu, point = rectifiers.get("relu"), np.array([zero], dtype)
    slope = jax.jit(jax.vmap(jax.grad(relu)))(point)
    forward = jax.jvp(relu, (jnp.asarray(point),), (jnp.ones(1, dtype),))[1]
    np.testing.assert_array_equal([slope, forward], 0)


@pytest.mark.parametrize("name", NAMES)
def test_flags_describe_the_function(name):
    rectifier, nonnegative = rectifiers.get(name), POINTS[POINTS >= 0]
    assert rectifier.homogeneous == (name in reference.HOMOGENEOUS)
    assert rectifier.homogeneous == np.allclose(rectifier(3 * POINTS), 3 * rectifier(POINTS))
    assert rectifier.keeps_nonnegative == (name in KEEPS_NONNEGATIVE)
    assert rectifier.keeps_nonnegative == np.array_equal(rectifier(nonnegative), nonnegative)


# --- callables ------------------------------------------------------------------------------


class Leaky:
    def __init__(self, slope):
        self.slope = slope

    def __call__(self, values):
        return jnp.where(values > 0, values, self.slope * values)


CALLABLES = {  # function, homogeneous, keeps_nonnegative
    "doubled relu": (lambda u: jnp.maximum(u, 0) * 2, True, False),
    "relu by where": (lambda u: jnp.where(u > 0, u, 0), True, True),
    "clipped at 6": (jax.nn.relu6, False, False),
    "clipped at 1000": (lambda u: jnp.clip(u, 0, 1000), False, False),
    "dead zone": (lambda u: jnp.where(jnp.abs(u) > 1e-3, u, 0), False, False),
    "elu": (jax.nn.elu, False, True),
    "sine": (jnp.sin, False, False),
    "square": (jnp.square, False, False),
    "plus one": (lambda u: u + 1, False, False),
    "negative": (jnp.negative, True, False),
    "zero": (jnp.zeros_like, True, False),
    "sign": (jnp.sign, False, False),
    "square root": (jnp.sqrt, False, False),
    "NumPy": (np.abs, True, True),
    "compiled": (jax.jit(jnp.abs), True, True),
    "partial": (functools.partial(jax.nn.leaky_relu, negative_slope=0.3), True, True),
    "an object": (Leaky(0.1), True, True),
    "an odd object": (Leaky(-2.0), True, True),
}


@pytest.mark.parametrize(
    ("function", "homogeneous", "keeps_nonnegative"), CALLABLES.values(), ids=CALLABLES
)
def test_probe_classifies_callables(function, homogeneous, keeps_nonnegative):
    rectifier = rectifiers.get(function)
    assert (rectifier.homogeneous, rectifier.keeps_nonnegative) == (homogeneous, keeps_nonnegative)
    np.testing.assert_array_equal(rectifier(POINTS), function(POINTS))


@pytest.mark.parametrize("name", NAMES)
def test_probe_agrees_with_declared_flags(name):
    known = rectifiers.get(name)
    actual = rectifiers.get(known.function)
    assert (actual.homogeneous, actual.keeps_nonnegative) == (
        known.homogeneous,
        known.keeps_nonnegative,
    )


def test_callable_keeps_its_name():
    assert rectifiers.get(jnp.sin).name == "sin"
    assert rectifiers.get(Leaky(0.1)).name == "Leaky"


def test_rectifier_passes_through_unchanged():
    """Its declared flags are trusted."""
    custom = Rectifier("custom", jnp.sin, homogeneous=True, keeps_nonnegative=True)
    assert rectifiers.get(custom) is custom
    assert rectifiers.get("relu") is rectifiers.get("relu")
    assert_close(custom(POINTS), np.sin(POINTS))


TRANSFORMS = {
    "jit": jax.jit,
    "vmap": jax.vmap,
    "grad": lambda f: jax.vmap(jax.grad(f)),
    "jacfwd": lambda f: jax.vmap(jax.jacfwd(f)),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_probe_works_inside_transformations(transform):
    def use(u):
        rectifier = rectifiers.get(lambda v: 2 * jax.nn.relu(v))
        assert rectifier.homogeneous
        return rectifier(u)

    assert np.all(np.isfinite(transform(use)(POINTS)))


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.jacfwd, jax.vmap])
def test_callable_closing_over_traced_values_is_refused(transform):
    def use(slope):
        return jnp.sum(rectifiers.get(lambda u: slope * u)(jnp.ones(3)))

    with pytest.raises(ValueError, match=r"^rectifier: got <lambda>.*traced values.*Rectifier\("):
        transform(use)(jnp.ones(2) if transform is jax.vmap else 0.5)


def test_rectifier_may_close_over_traced_values():
    def use(slope):
        custom = Rectifier("custom", lambda u: slope * u, homogeneous=True, keeps_nonnegative=False)
        return jnp.sum(rectifiers.get(custom)(jnp.ones(3)))

    assert_close(jax.jit(jax.grad(use))(0.5), 3.0)


@pytest.mark.parametrize("name", ["ReLU", "", "abs"])
def test_unknown_name_lists_known_names(name):
    with pytest.raises(
        ValueError, match=f"^rectifier: got '{name}', expected one of relu, mod"
    ) as e:
        rectifiers.get(name)
    assert all(known in str(e.value) for known in NAMES)


NOT_POINTWISE = {
    "total": (jnp.sum, r"sum: \(83,\) to \(\), expected equal shapes"),
    "slice": (lambda u: u[1:], r"<lambda>: \(83,\) to \(82,\), expected equal shapes"),
    "nothing": (lambda u: None, "<lambda>"),
    "scalars only": (lambda u: float(u) if u > 0 else 0.0, "<lambda>.*TypeError|<lambda>.*Value"),
    "two arguments": (jnp.maximum, "maximum.*TypeError.*pointwise function"),
    "no array": (int, "int.*TypeError.*pointwise function"),
    "truth": (lambda u: u > 0, "<lambda>.*dtype"),
    "complex": (lambda u: jax.lax.complex(u, u), "<lambda>.*dtype"),
    "sorted": (jnp.sort, "sort.*pointwise"),
    "softmax": (jax.nn.softmax, "softmax.*pointwise"),
    "relative to the largest": (lambda u: u / jnp.max(u), "<lambda>.*pointwise"),
}


@pytest.mark.parametrize(("function", "message"), NOT_POINTWISE.values(), ids=NOT_POINTWISE)
def test_non_pointwise_callable_is_refused(function, message):
    with pytest.raises(ValueError, match=f"^rectifier: got .*({message})"):
        rectifiers.get(function)


def test_unhashable_callable_is_refused():
    """Compiled layers are cached by their rectifier."""

    class Unhashable(Leaky):
        __hash__ = None

    with pytest.raises(ValueError, match=r"^rectifier: got Unhashable, not hashable, expected a"):
        rectifiers.get(Unhashable(0.1))


@pytest.mark.parametrize("value", [None, 5, 0.1, [1.0]], ids=str)
def test_non_callable_is_refused(value):
    with pytest.raises(ValueError, match=r"^rectifier: got .*, expected a name, a Rectifier or a"):
        rectifiers.get(value)
