"""Sequential CNN: values against loops, positions of units, invalid input, training."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import networks_reference as reference
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infomech.networks.sequential import (
    Filters,
    Layer,
    Parameters,
    Spec,
    apply,
    convolve,
    gates,
    init,
    lattices,
)

RECTIFIERS = {
    "relu": lambda u: np.maximum(u, 0),
    "modulus": np.abs,
    "tanh": np.tanh,
    "identity": lambda u: u,
}
SPECS = {
    "a line": Spec(2, (Layer(3, (3,), stride=2), Layer(4, (4,), dilation=3, rectifier="tanh")), 3),
    "a plane": Spec(
        2,
        (
            Layer(4, (3, 2), stride=(2, 1), groups=2, rectifier="modulus"),
            Layer(6, (1, 3), dilation=(1, 2), groups=2),
            Layer(2, (2, 2), stride=2, rectifier="identity"),
        ),
        4,
    ),
    "groups in space": Spec(2, (Layer(2, (2, 1, 3), stride=(1, 2, 1), groups=2),), 2),
    "a ring": Spec(1, (Layer(2, (5,), stride=3), Layer(2, (2,))), 1, boundary="periodic"),
    "mirrors": Spec(1, (Layer(2, (4, 3), dilation=2), Layer(1, (2, 1))), 1, boundary="reflect"),
}
SHAPES_BY_DIMENSION = {1: (11,), 2: (7, 8), 3: (3, 5, 4)}
run = jax.jit(apply, static_argnames="spec")
start = jax.jit(init, static_argnames=("spec", "dtype"))


def tuples(layer):
    d = len(layer.kernel_size)
    return [x if isinstance(x, tuple) else (x,) * d for x in (layer.stride, layer.dilation)]


def random_network(spec, seed, dtype="float64"):
    """Random parameters, including biases, and an image."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: init(spec, key=jax.random.key(0)))
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(dtype), shapes)
    shape = SHAPES_BY_DIMENSION[len(spec.layers[0].kernel_size)]
    return params, rng.normal(size=(spec.channels, *shape)).astype(dtype)


def by_loops(params, image, spec):
    activations, values = [], image
    for (kernels, bias), layer in zip(params.layers, spec.layers, strict=True):
        before = reference.convolve(
            np.asarray(kernels, float), values, *tuples(layer), layer.groups, spec.boundary
        )
        before = before + np.asarray(bias).reshape(-1, *[1] * len(layer.kernel_size))
        values = RECTIFIERS[layer.rectifier](before)
        activations.append((before, values))
    pooled = values.reshape(len(values), -1).mean(axis=1)
    return activations, np.asarray(params.head.weights) @ pooled + np.asarray(params.head.bias)


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in SPECS), ("a plane", "float32")]
)
def test_activations_match_loops(name, dtype):
    spec = SPECS[name]
    params, image = random_network(spec, 1, dtype)
    response = run(params, image, spec=spec)
    layers, logits = by_loops(params, image, spec)
    close = functools.partial(
        np.testing.assert_allclose, rtol=0, atol=1e-12 if dtype == "float64" else 3e-5
    )
    for layer, (before, after) in zip(response.layers, layers, strict=True):
        assert layer.before.dtype == layer.after.dtype == dtype
        close(layer.before, before)
        close(layer.after, after)
    close(response.logits, logits)


@settings(max_examples=12)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(0, 99)
)
def test_convolve_matches_loops(size, stride, dilation, length, seed):
    rng = np.random.default_rng(seed)
    kernels, values = rng.normal(size=(2, 1, size)), rng.normal(size=(2, length))
    result = convolve(
        jnp.asarray(kernels), jnp.asarray(values), stride=stride, dilation=dilation, groups=2
    )
    expected = reference.convolve(kernels, values, (stride,), (dilation,), 2)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


def test_impulse_response_is_the_kernel():
    kernels = jnp.arange(1.0, 4.0)[None, None]
    result = convolve(kernels, jnp.array([[0.0, 0, 1, 0, 0]]))
    np.testing.assert_array_equal(result, [[0, 1, 2, 3, 0]])


def test_stride_keeps_the_first_pixel():
    image = jnp.arange(7.0)[None]
    result = convolve(jnp.ones((1, 1, 1)), image, stride=3)
    np.testing.assert_array_equal(result, [[0, 3, 6]])


# --- positions of units ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a line", "a plane", "groups in space"])
def test_lattices_match_gradients_of_symmetric_kernels(name):
    """With all taps 1, the gradient of a unit is centered on it by symmetry."""
    spec = SPECS[name]
    linear = tuple(replace(layer, rectifier="identity") for layer in spec.layers)
    spec = replace(spec, layers=linear)
    d = len(spec.layers[0].kernel_size)
    shapes = jax.eval_shape(lambda: init(spec, key=jax.random.key(0)))
    params = jax.tree.map(lambda x: np.ones(x.shape), shapes)
    # large enough that no receptive field reaches the border
    shape = {1: (33,), 2: (29, 27), 3: (7, 7, 7)}[d]
    pixels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, d)

    @jax.jit
    def slopes(image):
        result = []
        for n in range(len(spec.layers)):
            after, back = jax.vjp(lambda u, n=n: apply(params, u, spec=spec).layers[n].after, image)
            middle = tuple(m // 2 for m in after.shape[1:])
            (slope,) = back(jnp.zeros_like(after).at[0, *middle].set(1))
            result.append((slope, np.array(middle)))
        return result

    image = jnp.zeros((spec.channels, *shape))
    for lattice, (slope, middle) in zip(lattices(spec), slopes(image), strict=True):
        weights = np.asarray(slope).sum(axis=0).ravel()
        center = weights @ pixels / weights.sum()
        np.testing.assert_allclose(center, lattice.at(middle), atol=1e-12)


def test_lattices_by_hand():
    """An even span shifts the output by half a pixel of its input."""
    layers = (
        Layer(1, (2,), stride=2),
        Layer(1, (3,), stride=3),
        Layer(1, (4,)),
        Layer(1, (2,), dilation=2),
        Layer(1, (2,), dilation=3),
    )
    result = lattices(Spec(1, layers, 1))
    assert [float(x.spacing[0]) for x in result] == [2, 6, 6, 6, 6]
    assert [float(x.origin[0]) for x in result] == [-0.5, -0.5, -3.5, -3.5, -6.5]
    np.testing.assert_array_equal(result[1].at([[0], [2]]), [[-0.5], [11.5]])


# --- parameters, gates, training ------------------------------------------------------------


def test_init_has_he_variance():
    spec = Spec(8, (Layer(200, (5, 3), groups=2),), 50)
    params = start(spec, key=jax.random.key(3), dtype=jnp.float32)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    kernels = np.asarray(params.layers[0].kernels, float)
    assert kernels.shape == (200, 4, 5, 3)
    # relative standard error of a variance of n numbers: √(2/n)
    assert kernels.var() * 60 / 2 == pytest.approx(1, abs=4 * np.sqrt(2 / kernels.size))
    weights = np.asarray(params.head.weights, float)
    assert weights.var() * 200 == pytest.approx(1, abs=4 * np.sqrt(2 / weights.size))
    assert not np.any(params.layers[0].bias)
    other = start(spec, key=jax.random.key(4), dtype=jnp.float32)
    assert not np.any(other.layers[0].kernels == params.layers[0].kernels)


@pytest.mark.parametrize("weighting", ["signed", "energy"])
def test_gates_are_mean_slopes(weighting):
    spec = SPECS["a plane"]
    params, image = random_network(spec, 5)
    images = np.stack([image, 0.3 * image[:, ::-1], -image])
    result = jax.jit(gates, static_argnames=("spec", "weighting", "batch"))(
        params, images, spec=spec, weighting=weighting, batch=2
    )
    activations = [by_loops(params, image, spec)[0] for image in images]
    slopes = [np.sign, lambda u: 1.0 * (u > 0), np.ones_like]
    for n, (slope, gate) in enumerate(zip(slopes, result, strict=True)):
        all_before = np.stack([layers[n][0] for layers in activations])
        expected = (slope(all_before) ** (1 if weighting == "signed" else 2)).mean(axis=(0, 2, 3))
        np.testing.assert_allclose(gate, expected, atol=1e-14)


def test_vmap_matches_loop():
    spec = SPECS["a line"]
    params, image = random_network(spec, 2)
    images = jnp.stack([image, 2 * image, image[:, ::-1]])
    batched = jax.vmap(lambda u: run(params, u, spec=spec).logits)(images)
    expected = [run(params, u, spec=spec).logits for u in images]
    np.testing.assert_allclose(batched, expected, rtol=1e-13)


def test_training_classifies_ramps():
    spec = Spec(1, (Layer(4, (3,)), Layer(4, (3,), stride=2)), 2)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    ramps = np.where(labels, 1, -1)[:, None] * np.linspace(-1, 1, 12)
    images = jnp.asarray((ramps + 0.2 * rng.normal(size=ramps.shape))[:, None], jnp.float32)
    params = jax.tree.map(lambda x: 0.5 * x, random_network(spec, 1, "float32")[0])
    optimizer = optax.sgd(0.1, momentum=0.9)

    def cost(params):
        logits = jax.vmap(lambda u: apply(params, u, spec=spec).logits)(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, jnp.argmax(logits, axis=1)

    @jax.jit
    def step(params, state):
        (loss, answers), slope = jax.value_and_grad(cost, has_aux=True)(params)
        change, state = optimizer.update(slope, state)
        return optax.apply_updates(params, change), state, loss, answers

    state, losses = jax.jit(optimizer.init)(params), []
    for _ in range(60):
        params, state, loss, answers = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]
    assert np.all(answers == labels)


# --- bad input ------------------------------------------------------------------------------

LAYER = Layer(4, (3, 3))
SPEC = Spec(2, (LAYER,), 1)
SHAPES = jax.eval_shape(lambda: init(SPEC, key=jax.random.key(0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": 0}, "outputs: got 0, expected an integer of at least 1"),
        ({"kernel_size": (3, 0)}, "kernel_size: got"),
        ({"kernel_size": [3, 3]}, "kernel_size: got .*a tuple"),
        ({"kernel_size": 3}, "kernel_size: got 3, expected a tuple"),
        ({"stride": 0}, "stride: got 0"),
        ({"stride": (1, 1, 1)}, "stride: got .*expected one integer, or 2"),
        ({"dilation": 1.5}, "dilation: got 1.5"),
        ({"groups": 3}, "groups: got 3, expected a divisor of 4 outputs"),
        ({"rectifier": "step"}, "rectifier: got 'step', expected one of relu"),
    ],
)
def test_invalid_layer_raises(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(LAYER, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels: got 0"),
        ({"classes": 2.0}, "classes: got 2.0"),
        ({"layers": ()}, "layers: got .*one or more Layers"),
        ({"layers": [LAYER]}, "layers: got .*a tuple"),
        ({"layers": (LAYER, Layer(1, (3,)))}, "layers: got .*same number of axes"),
        ({"layers": (replace(LAYER, groups=4),)}, r"layers\[0\].groups: got 4, .*of 2 inputs"),
        ({"boundary": "same"}, "boundary: got 'same'"),
    ],
)
def test_invalid_spec_raises(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(SPEC, **options)


def test_mismatched_arguments_raise():
    params = jax.tree.map(lambda x: np.ones(x.shape), SHAPES)
    with pytest.raises(ValueError, match=r"^image: got shape \(1, 5, 5\), expected \(2, \*shape\)"):
        apply(params, np.zeros((1, 5, 5)), spec=SPEC)
    with pytest.raises(ValueError, match=r"^image: got shape \(2, 5\)"):
        apply(params, np.zeros((2, 5)), spec=SPEC)
    other = Parameters((Filters(np.ones((4, 2, 3, 2)), np.ones(4)),), params.head)
    with pytest.raises(ValueError, match=r"^params: got .*expected kernels \[\(4, 2, 3, 3\)\]"):
        apply(other, np.zeros((2, 5, 5)), spec=SPEC)
    with pytest.raises(
        ValueError, match=r"^kernels: got shape \(4, 2, 3, 3\), expected .*inputs/2"
    ):
        convolve(params.layers[0].kernels, jnp.zeros((2, 5, 5)), groups=2)
    with pytest.raises(ValueError, match=r"^key: got 0"):
        init(SPEC, key=0)
    with pytest.raises(ValueError, match=r"^weighting: got 'absolute'"):
        gates(params, np.zeros((1, 2, 5, 5)), spec=SPEC, weighting="absolute")
    with pytest.raises(ValueError, match=r"^images: got shape \(0, 2, 5, 5\)"):
        gates(params, np.zeros((0, 2, 5, 5)), spec=SPEC)
