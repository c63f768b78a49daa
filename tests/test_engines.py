"""Compare engines with the reference and with each other; test the plan that chooses one."""

import dataclasses
import functools
import logging
import math
import os
import re

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from stacks import ENGINES, RECTIFIERS, SPECTRAL, execute, make_stack, needs_native
from thinned import thinned

import infomech as im
from infomech._core import extras
from infomech.engines import build, native, plan

BOUNDARIES = ("zero", "periodic", "reflect")
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}

CASES_1D = [((n,), (17,)) for n in range(1, 9)]
CASES_2D = [
    ((1, 1), (5, 3)),
    ((2, 2), (5, 8)),
    ((3, 3), (8, 5)),
    ((4, 4), (9, 21)),
    ((5, 5), (7, 18)),
    ((6, 6), (9, 8)),
    ((7, 7), (11, 34)),
    ((1, 3), (7, 19)),
    ((3, 1), (19, 7)),
    ((2, 5), (6, 9)),
    ((4, 3), (4, 3)),
]
CASES_3D = [
    ((1, 1, 3), (3, 4, 17)),
    ((1, 3, 3), (4, 6, 9)),
    ((2, 2, 2), (4, 5, 3)),
    ((3, 3, 3), (5, 4, 6)),
    ((3, 2, 3), (3, 5, 7)),
    ((2, 4, 4), (3, 9, 6)),
    ((3, 1, 2), (5, 3, 18)),
    ((2, 5, 5), (2, 6, 5)),
]
LARGE = [((9, 9), (13, 11)), ((100,), (131,)), ((5, 4, 5), (6, 7, 8))]
CASES = CASES_1D + CASES_2D + CASES_3D + LARGE


def operands(stack, batch=(), seed=0):
    """Kernels of largest tap 1 and a field, of both signs but with a gain well above 0."""
    rng = np.random.default_rng(seed)
    kernels = rng.uniform(-0.3, 1.0, size=(stack.steps if stack.stacked else 1, *stack.kernel_size))
    values = rng.uniform(-0.2, 1.0, size=(*batch, *stack.shape))
    return (kernels / np.abs(kernels).max()).astype(stack.dtype), values.astype(stack.dtype)


def assert_matches(stack, kernels, values, result, tolerance=1.0):
    out, exponent = result
    assert out.dtype == stack.dtype
    name = stack.rectifier.name
    expected, e = reference.layers(kernels, values, stack.steps, name, stack.boundary)
    assert stack.rescale or exponent == 0
    expected = np.ldexp(expected, e - int(exponent))
    atol = tolerance * TOLERANCE[stack.dtype] * np.abs(expected).max()
    atol = max(atol, np.finfo(stack.dtype).tiny)  # XLA flushes subnormal numbers to 0
    np.testing.assert_allclose(out, expected, rtol=0, atol=atol, err_msg=str(stack))


# --- engines against the reference ------------------------------------------------------------


@needs_native
@pytest.mark.parametrize(("kernel_size", "shape"), thinned(CASES))
def test_native_matches_reference(kernel_size, shape):
    for i, boundary in enumerate(BOUNDARIES):
        for j, rectifier in enumerate(RECTIFIERS):
            bits = (7 * sum(kernel_size) + 4 * i + j) % 8
            stack = make_stack(
                kernel_size,
                shape,
                stacked=bool(bits & 1),
                rectifier=rectifier,
                boundary=boundary,
                dtype=("float32", "float64")[bits >> 1 & 1],
                rescale=bool(bits >> 2),
            )
            kernels, values = operands(stack, seed=i)
            assert_matches(stack, kernels, values, execute("native", stack, kernels, values))


@pytest.mark.parametrize(
    ("engine", "kernel_size", "shape"),
    thinned([("shifts", *case) for case in CASES if math.prod(case[0]) <= 64])
    + thinned(
        [("convolution", *c) for c in CASES_1D[::3] + CASES_2D[1::3] + CASES_3D[::3] + LARGE]
    ),
)
def test_jax_engines_match_reference(engine, kernel_size, shape):
    index = CASES.index((kernel_size, shape))
    stacks, data = [], []
    for i, boundary in enumerate(BOUNDARIES):
        stacks.append(
            make_stack(
                kernel_size,
                shape,
                stacked=index % 2 == 0,
                rectifier=RECTIFIERS[(index + i) % 4],
                boundary=boundary,
                dtype=("float32", "float64")[index // 2 % 2],
                rescale=index // 4 % 2 == 0,
            )
        )
        data.append(operands(stacks[-1], seed=i))
    run = jax.jit(lambda data: [execute(engine, s, *d) for s, d in zip(stacks, data, strict=True)])
    for stack, (kernels, values), result in zip(stacks, data, run(data), strict=True):
        assert_matches(stack, kernels, values, result)


@pytest.mark.parametrize("engine", ["shifts", "convolution"])
def test_nonhomogeneous_rectifier_matches_reference(engine):
    stack = make_stack((2, 3), (6, 7), 3, rectifier="softplus", boundary="periodic", rescale=False)
    kernels, values = operands(stack)
    run = jax.jit(functools.partial(execute, engine, stack))
    assert_matches(stack, kernels, values, run(kernels, values))


@pytest.mark.parametrize("engine", ENGINES)
def test_impulse_response_is_kernel(engine):
    impulse = np.zeros(9)
    impulse[4] = 1.0
    for n, expected in [(3, [0, 0, 0, 1, 2, 3, 0, 0, 0]), (4, [0, 0, 0, 1, 2, 3, 4, 0, 0])]:
        stack = make_stack((n,), (9,), 1, rescale=False)
        out, _ = execute(engine, stack, np.arange(1.0, n + 1)[None], impulse)
        np.testing.assert_array_equal(out, expected)


ROLLOUT_ENGINES = [*ENGINES, "spectral"]


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
@pytest.mark.parametrize("stacked", [False, True])
def test_rollout_matches_reference(engine, stacked):
    spectral = engine == "spectral"
    rectifier, boundary = ("identity", "periodic") if spectral else ("relu", "reflect")
    settings = {"rectifier": rectifier, "boundary": boundary, "normalize": "sum"}
    steps, rng = 23, np.random.default_rng(5)
    kernel = rng.uniform(-0.3, 1.0, size=((steps, 4) if stacked else (4,)))
    values = rng.uniform(size=20)
    layers = reference.rollout(kernel, values, steps, **settings)
    for every in (1, 5, None):
        observe = None if every is None else im.observables.log_energy
        final, observed = im.rollout(
            kernel, values, steps, engine=engine, observe=observe, every=every or 1, **settings
        )
        np.testing.assert_allclose(final.values, layers[-1][0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(final.log_gain, layers[-1][2], rtol=1e-12)
        np.testing.assert_allclose(final.origin, layers[-1][1])
        if every is not None:
            energies = [2 * gain + np.log(np.sum(u**2)) for u, _, gain in layers[::every]]
            np.testing.assert_allclose(observed, energies, rtol=1e-12, atol=1e-12)


# --- code paths of the native engine ----------------------------------------------------------


@needs_native
@pytest.mark.parametrize(
    ("kernel_size", "shape"),
    [
        ((3,), (3,)),
        ((2,), (5,)),
        ((7,), (15,)),
        ((3,), (16,)),
        ((5,), (33,)),
        ((2, 2), (2, 2)),
        ((3, 3), (3, 7)),
        ((5, 3), (5, 16)),
        ((3, 3), (6, 31)),
        ((7, 7), (9, 65)),
        ((1, 4), (1, 40)),
        ((4, 1), (41, 1)),
        ((3, 3, 3), (3, 3, 3)),
        ((2, 3, 2), (3, 5, 15)),
        ((3, 1, 1), (17, 1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", thinned(["float64", "float32"], 2))
def test_native_deep_stacks_on_small_fields(kernel_size, shape, dtype):
    for i, boundary in enumerate(BOUNDARIES):
        stack = make_stack(
            kernel_size,
            shape,
            43,
            boundary=boundary,
            dtype=dtype,
            rectifier=RECTIFIERS[i],
            stacked=i == 1,
        )
        kernels, values = operands(stack, seed=i)
        assert_matches(stack, kernels, values, execute("native", stack, kernels, values), 10)


TILED_CASES = [
    ((3, 3), (300, 300)),
    ((4, 5), (301, 299)),
    ((3, 3), (70, 2100)),
    ((2, 3), (70, 1100)),
    ((3,), (70000,)),
    ((8,), (20001,)),
    ((3, 3, 3), (40, 40, 40)),
    ((5, 2, 3), (45, 20, 43)),
    ((2, 2, 2), (33, 5, 1100)),
]


@needs_native
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("kernel_size", "shape"), thinned(TILED_CASES, 2))
def test_native_tiles_match_reference(kernel_size, shape, boundary):
    cost = math.prod(kernel_size) * math.prod(shape)
    # depths of 5 and 19 with rescaling, of 2, 8 and 16 without
    for dtype, rescale, steps in [("float32", True, 12), ("float64", False, 17)]:
        stack = make_stack(
            kernel_size,
            shape,
            steps if cost < 6e5 else steps // 3 + 1,
            boundary=boundary,
            dtype=dtype,
            rescale=rescale,
            rectifier="relu" if rescale else "modulus",
            stacked=not rescale,
        )
        kernels, values = operands(stack)
        assert_matches(stack, kernels, values, execute("native", stack, kernels, values), 10)


@needs_native
@pytest.mark.slow
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("kernel_size", "shape"), [((3, 3), (300, 300)), ((3,), (70000,))])
def test_native_tiles_match_reference_for_deep_stacks(kernel_size, shape, boundary):
    for rescale, steps in [(True, 45), (False, 40)]:
        stack = make_stack(kernel_size, shape, steps, boundary=boundary, rescale=rescale)
        kernels, values = operands(stack)
        assert_matches(stack, kernels, values, execute("native", stack, kernels, values), 100)


@needs_native
@pytest.mark.parametrize(
    ("kernel_size", "shape", "steps"),
    [((3, 3), (60, 61), 9), ((5,), (3000,), 21), ((3, 2, 3), (21, 10, 9), 7)],
)
@pytest.mark.parametrize("dtype", thinned(["float32", "float64"], 2))
def test_native_batch_equals_single_fields_bitwise(kernel_size, shape, steps, dtype):
    threads = os.cpu_count() or 1
    stack = make_stack(kernel_size, shape, steps, boundary="reflect", dtype=dtype)
    kernels, fields = operands(stack, (2 * threads + 3,))
    fields[1] = 2.0**20 * fields[0]
    run = functools.partial(execute, "native", stack, kernels)

    def unscaled(values, exponent):  # up to a power of 2, which keeps all bits
        return np.ldexp(np.asarray(values, float), int(exponent) - 64)

    alone = [unscaled(*run(u)) for u in fields[:4]]
    assert np.all(np.isfinite(alone))
    for batch in (1, 2, 3, 2 * threads, 2 * threads + 3):
        values, exponents = jax.vmap(run)(fields[:batch])
        for i, single in enumerate(alone[:batch]):
            np.testing.assert_array_equal(unscaled(values[i], exponents[i]), single)
    np.testing.assert_array_equal(alone[1], 2.0**20 * alone[0])


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_native_reused_memory_does_not_leak_values(dtype):
    """Calls reuse memory, and read rows in it beyond their end."""

    def finite(stack, kernels, values):
        out, pull = jax.vjp(lambda *a: execute("native", stack, *a)[0], kernels, values)
        return [bool(np.all(np.isfinite(a))) for a in (out, *pull(out))]

    line = make_stack((3,), (5000,), 4, dtype=dtype)
    kernels, values = operands(line)
    for shape, kernel_size in [((20, 37), (5, 3)), ((9, 7, 6), (3, 3, 2)), ((50,), (4,))]:
        for boundary in BOUNDARIES:
            for rectifier in ("relu", "modulus"):
                stack = make_stack(
                    kernel_size, shape, 4, boundary=boundary, dtype=dtype, rectifier=rectifier
                )
                assert not any(finite(line, kernels, np.full_like(values, np.nan)))
                assert all(finite(stack, *operands(stack))), stack


@st.composite
def stacks(draw, max_length=40):
    d = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (max_length, 14, 7)[d - 1])) for _ in range(d))
    kernel_size = tuple(draw(st.integers(1, min(n, 9 if d == 1 else 5))) for n in shape)
    return make_stack(
        kernel_size,
        shape,
        draw(st.integers(1, 30)),
        stacked=draw(st.booleans()),
        rectifier=draw(st.sampled_from(RECTIFIERS)),
        boundary=draw(st.sampled_from(BOUNDARIES)),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        rescale=draw(st.booleans()),
    )


@needs_native
@hypothesis.settings(max_examples=100)
@hypothesis.given(stack=stacks(), seed=st.integers(0, 2**32 - 1))
def test_native_matches_reference_for_any_stack(stack, seed):
    kernels, values = operands(stack, seed=seed)
    if stack.dtype == "float32":
        kernels = kernels / np.abs(kernels).sum() * np.float32(2)  # avoids overflow
    assert_matches(stack, kernels, values, execute("native", stack, kernels, values), 10)


@hypothesis.settings(max_examples=12)
@hypothesis.given(stack=stacks(16), seed=st.integers(0, 2**32 - 1))
def test_shifts_match_reference_for_any_stack(stack, seed):
    hypothesis.assume(math.prod(stack.kernel_size) <= 64)
    kernels, values = operands(stack, seed=seed)
    if stack.dtype == "float32":
        taps = tuple(range(1, kernels.ndim))  # each kernel by itself: no overflow, no underflow
        kernels = kernels / np.abs(kernels).sum(taps, keepdims=True) * np.float32(2)
    run = jax.jit(functools.partial(execute, "shifts", stack))
    assert_matches(stack, kernels, values, run(kernels, values), 10)


# --- transformations --------------------------------------------------------------------------


@functools.cache
def make_end(engine):
    """A short rollout as a function of kernel and field, cached to compile only once."""
    settings = SPECTRAL if engine == "spectral" else {"boundary": "reflect"}

    def end(kernel, values):
        final, _ = im.rollout(kernel, values, 5, engine=engine, observe=None, **settings)
        return jnp.concatenate([final.values.ravel(), final.log_gain[None]])

    return end


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
def test_jit_and_vmap_equal_eager(engine):
    rng = np.random.default_rng(2)
    kernels, fields = rng.uniform(-0.2, 1.0, size=(2, 2, 3)), rng.uniform(size=(3, 5, 6))
    end = make_end(engine)
    single = np.array([[end(k, u) for u in fields] for k in kernels])
    assert len(np.unique(single)) > 50

    @jax.jit
    def batches(kernels, fields):
        return {
            "jit": end(kernels[0], fields[0]),
            "kernels": jax.vmap(end, (0, None))(kernels, fields[0]),
            "fields": jax.vmap(end, (None, 0))(kernels[0], fields),
            "both": jax.vmap(end)(kernels, fields[:2]),
            "nested": jax.vmap(lambda k: jax.vmap(lambda u: end(k, u))(fields))(kernels),
            "last axis": jax.vmap(end, (None, 2), 1)(kernels[0], jnp.moveaxis(fields, 0, 2)),
        }

    results = batches(kernels, fields)
    expected = {
        "jit": single[0, 0],
        "kernels": single[:, 0],
        "fields": single[0],
        "both": single[[0, 1], [0, 1]],
        "nested": single,
        "last axis": single[0].T,
    }
    for name, numbers in expected.items():
        np.testing.assert_allclose(results[name], numbers, 1e-12, 1e-13, err_msg=name)


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
def test_derivatives_match_finite_differences(engine):
    rng = np.random.default_rng(3)
    kernel, values = rng.uniform(-0.2, 1.0, size=(2, 3)), rng.uniform(size=(5, 6))
    along, weights = (rng.normal(size=(2, 3)), rng.normal(size=(5, 6))), rng.normal(size=31)

    @jax.jit
    def modes(kernel, values):
        slope = jax.jvp(make_end(engine), (kernel, values), along)[1]
        return slope, jax.vjp(make_end(engine), kernel, values)[1](jnp.asarray(weights))

    slope, back = modes(kernel, values)
    h = 1e-6
    above, below = (
        make_end(engine)(kernel + s * h * along[0], values + s * h * along[1]) for s in (1, -1)
    )
    np.testing.assert_allclose(slope, (above - below) / (2 * h), rtol=1e-6, atol=1e-8)
    overlap = sum(np.sum(a * b) for a, b in zip(back, along, strict=True))
    np.testing.assert_allclose(overlap, np.sum(weights * slope), rtol=1e-11)


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
def test_new_values_do_not_recompile(engine):
    traced = []

    def observe(field):
        traced.append(field.values.shape)
        return im.observables.mass(field)

    settings = {"engine": engine, "observe": observe, **SPECTRAL}
    im.rollout(np.ones(3), np.ones(9), 5, **settings)
    traces = len(traced)
    im.rollout(np.arange(3.0), im.fields.impulse(9), 5, **settings)
    assert len(traced) == traces
    im.rollout(np.ones(4), np.ones(9), 5, **settings)
    assert len(traced) > traces


# --- extreme scales and nonfinite values ------------------------------------------------------


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_deep_rollouts_support_any_kernel_scale(engine, size):
    settings = SPECTRAL if engine == "spectral" else {"boundary": "periodic"}
    rng = np.random.default_rng(6)
    kernel, values = rng.uniform(0.2, 1.0, size=3), rng.uniform(size=33)
    steps = 2000
    run = functools.partial(im.rollout, steps=steps, observe=None, **settings)
    scaled = np.float32(size) * kernel.astype(np.float32)
    final, _ = run(scaled, values.astype(np.float32), engine=engine)
    exact, _ = run(scaled.astype(np.float64), values, engine="shifts")
    assert final.values.dtype == np.float32
    np.testing.assert_allclose(final.log_gain, exact.log_gain, rtol=1e-5)
    np.testing.assert_allclose(final.values, exact.values, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("engine", "kernel_size", "shape"),
    [
        ("shifts", (2,), (8,)),
        ("convolution", (2,), (8,)),
        pytest.param("native", (2,), (8,), marks=needs_native),
        pytest.param("native", (2,), (40000,), marks=needs_native),
        pytest.param("native", (1, 2), (200, 201), marks=needs_native),
        pytest.param("native", (1, 1, 2), (40, 9, 100), marks=needs_native),
    ],
)
def test_rapidly_fading_pattern_survives(engine, kernel_size, shape):
    """Each layer shrinks the field to a millionth, though the taps are of order 1."""
    kernel = np.array([1.0, -1.0 + 1e-6], np.float32)
    final, _ = im.rollout(
        kernel.reshape(kernel_size),
        np.ones(shape, np.float32),
        300,
        boundary="periodic",
        engine=engine,
        observe=None,
    )
    norm = np.sqrt(math.prod(shape))
    np.testing.assert_allclose(final.values, 1 / norm, rtol=1e-4)
    gain = float(kernel[0]) + float(kernel[1])
    expected = 300 * np.log(gain) + np.log(norm)
    # the taps nearly cancel: float32 keeps only two digits of the gain
    np.testing.assert_allclose(final.log_gain, expected, rtol=5e-3)


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e30, 1e37])
def test_field_scale_does_not_change_pattern(engine, size):
    settings = SPECTRAL if engine == "spectral" else {"boundary": "periodic"}
    values = (1 + np.random.default_rng(7).uniform(size=400)).astype(np.float32)
    kernel = np.array([0.25, 0.5, 1.0], np.float32)
    run = functools.partial(im.rollout, kernel, steps=9, engine=engine, observe=None, **settings)
    plain, _ = run(values)
    scaled, _ = run(values * np.float32(size))
    np.testing.assert_allclose(scaled.values, plain.values, rtol=1e-4)
    np.testing.assert_allclose(scaled.log_gain, float(plain.log_gain) + np.log(size), rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "kernel_size", "shape", "steps"),
    thinned(
        [
            ("float32", (8, 8), (32, 32), 40),
            ("bfloat16", (3, 3), (32, 32), 40),
            ("bfloat16", (5, 5), (32, 32), 16),
            ("bfloat16", (8, 8), (32, 32), 18),
            ("float16", (3, 3), (32, 32), 40),
            ("float16", (8, 8), (32, 32), 16),
            ("float16", (3, 3), (512, 512), 16),
        ]
    ),
)
def test_box_kernel_does_not_overflow(dtype, kernel_size, shape, steps):
    ones = jnp.ones(shape, dtype)
    kernel = jnp.ones(kernel_size, dtype)
    final, _ = im.rollout(kernel, ones, steps, boundary="periodic", observe=None)
    norm = np.sqrt(math.prod(shape))
    np.testing.assert_allclose(final.values.astype(float), 1 / norm, rtol=0.05)
    expected = steps * np.log(math.prod(kernel_size)) + np.log(norm)
    np.testing.assert_allclose(final.log_gain, expected, rtol=0.01)


@pytest.mark.parametrize("engine", ROLLOUT_ENGINES)
@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_nonfinite_values_propagate(engine, normalize):
    settings = SPECTRAL if engine == "spectral" else {"boundary": "zero"}

    @jax.jit
    def run(values):  # traced, so no argument check sees the values
        return im.rollout(
            np.ones(3), values, 7, engine=engine, normalize=normalize, observe=None, **settings
        )[0].values

    for bad in (np.nan, np.inf):
        values = np.ones(40)
        values[3] = bad
        assert not np.all(np.isfinite(run(values)))


@pytest.mark.parametrize("engine", ENGINES)
def test_dead_field_stays_zero(engine):
    final, trace = im.rollout(-np.ones(3), np.ones(20), 40, engine=engine)
    assert np.all(final.values == 0)
    assert np.isfinite(final.log_gain)
    assert np.all(np.isneginf(trace.log_energy[1:]))


# --- spectral engine --------------------------------------------------------------------------


def spectral_and_shifts(kernel, values, steps, **settings):
    return [
        im.rollout(kernel, values, steps, engine=engine, observe=None, **SPECTRAL, **settings)[0]
        for engine in ("spectral", "shifts")
    ]


@pytest.mark.parametrize(
    ("steps", "kernel_size", "shape", "dtype", "normalize"),
    thinned(
        [
            (1, (3,), (17,), "float32", "l2"),
            (1, (2, 3), (6, 9), "float64", "none"),
            (2, (4,), (16,), "float64", "l2"),
            (2, (3, 2, 2), (4, 5, 6), "float32", "max"),
            (7, (2, 3), (6, 9), "float32", "none"),
            (7, (8,), (8,), "float64", "sum"),
            (100, (4,), (17,), "float32", "l2"),
            (100, (3, 2, 2), (4, 5, 6), "float64", "l2"),
            (100, (2, 3), (6, 9), "float64", "none"),
        ],
        2,
    ),
)
def test_spectral_equals_layer_by_layer(steps, kernel_size, shape, dtype, normalize):
    rng = np.random.default_rng(steps)
    kernel = rng.normal(size=kernel_size).astype(dtype)
    values = rng.normal(size=shape).astype(dtype)
    fast, slow = spectral_and_shifts(kernel, values, steps, normalize=normalize)
    atol = {"float32": 2e-6, "float64": 1e-14}[dtype] * (20 + 5 * steps)
    size = np.abs(slow.values).max()
    np.testing.assert_allclose(fast.values, slow.values, rtol=0, atol=atol * size)
    np.testing.assert_allclose(fast.log_gain, slow.log_gain, rtol=atol, atol=atol)
    np.testing.assert_array_equal(fast.origin, slow.origin)


def test_spectral_supports_one_kernel_per_layer():
    rng = np.random.default_rng(0)
    for kernel_size, shape in [((3,), (17,)), ((2, 3), (6, 9))]:
        kernels, values = 1e3 * rng.normal(size=(120, *kernel_size)), rng.normal(size=shape)
        fast, slow = spectral_and_shifts(kernels, values, 120)
        np.testing.assert_allclose(fast.values, slow.values, rtol=0, atol=1e-11)
        np.testing.assert_allclose(fast.log_gain, slow.log_gain, rtol=1e-12)


ZERO_CASES = [
    ("gradient", np.array([1.0, -1.0])),
    ("central", np.array([1.0, 0.0, -1.0])),
    ("box of 2", np.ones(2)),
    ("box of 3", np.ones(3)),
    ("box in a plane", np.ones((2, 3))),
    ("gradient in a plane", np.outer([1.0, 1.0], [1.0, 0.0, -1.0])),
]


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def overlap_and_gradients(kernel, values, weights, steps, engine, rescale):
    stack = make_stack(kernel.shape, values.shape, steps, rescale=rescale, **SPECTRAL)

    def overlap(kernel, values):
        out, exponent = execute(engine, stack, kernel[None], values)
        return jnp.sum(weights * out) * 2.0 ** exponent.astype(float)

    return jax.value_and_grad(overlap, argnums=(0, 1))(kernel, values)


@pytest.mark.parametrize(
    ("name", "kernel"), thinned(ZERO_CASES), ids=[name for name, _ in ZERO_CASES]
)
def test_spectral_gradients_at_transfer_function_zeros(name, kernel):
    shape = (8, 12)[-kernel.ndim :]
    rng = np.random.default_rng(1)
    values, weights = 1 + rng.normal(size=shape), rng.normal(size=shape)
    for steps, rescale in [(1, True), (2, False), (2, True), (31, True)]:
        result = overlap_and_gradients(kernel, values, weights, steps, "spectral", rescale)
        expected = overlap_and_gradients(kernel, values, weights, steps, "shifts", rescale)
        for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
            size = max(1, np.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * size, err_msg=f"{steps} layers")


@pytest.mark.parametrize("steps", thinned([2, 3, 4]))
def test_spectral_hessian_at_transfer_function_zeros(steps):
    values, weights = 1 + np.random.default_rng(2).normal(size=(2, 8))

    @functools.partial(jax.jit, static_argnums=1)
    def curvature(kernel, engine):
        def loss(kernel):
            final, _ = im.rollout(
                kernel, values, steps, engine=engine, observe=None, normalize="none", **SPECTRAL
            )
            return jnp.sum(weights * final.values)

        return jax.hessian(loss)(kernel)

    kernel = np.array([1.0, -1.0])
    expected = curvature(kernel, "shifts")
    np.testing.assert_allclose(curvature(kernel, "spectral"), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [10**5, 10**5 + 1])
@pytest.mark.parametrize("kernel", [[1.0, 0.0, -1.0], [2.5, 0.25, -2.5], [1e200, 0.0, -0.5e200]])
def test_spectral_cosine_matches_closed_form(kernel, steps):
    shape, modes = 64, np.arange(33)
    kernel, x = np.array(kernel), np.arange(shape)
    with np.errstate(over="ignore"):
        transfer = reference.transfer_function(kernel, [2 * np.pi * modes / shape])
    size = np.hypot(transfer.real, transfer.imag)
    m = int(np.argmax(size))  # rounding errors of this mode exceed all other modes
    omega = 2 * np.pi * m / shape
    final, _ = im.rollout(
        kernel, np.cos(omega * x + 0.3), steps, engine="spectral", observe=None, **SPECTRAL
    )
    expected = np.cos(omega * x + 0.3 + steps * np.angle(transfer[m]))
    expected, norm = expected / np.linalg.norm(expected), np.linalg.norm(np.cos(omega * x + 0.3))
    np.testing.assert_allclose(final.values, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(final.log_gain, steps * np.log(size[m]) + np.log(norm), rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 1000, 99_991])
def test_spectral_uses_two_transforms(steps):
    def final(kernel, values):
        return im.rollout(kernel, values, steps, engine="spectral", observe=None, **SPECTRAL)[0]

    text = str(jax.make_jaxpr(final)(jnp.ones((3, 3)), jnp.ones((8, 8))))
    assert text.count(" fft[") == 2
    assert set(re.findall(r"length=(\d+)", text)) <= {"1"}


# --- unsupported stacks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "kernel_size", "settings", "reason"),
    [
        ("spectral", (3,), {"boundary": "periodic"}, "identity, not relu"),
        ("spectral", (3,), {"rectifier": "identity"}, "periodic boundary, not zero"),
        ("spectral", (3,), {**SPECTRAL, "dtype": "float16"}, "Fourier transform of float16"),
        ("native", (3,), {"rectifier": "gelu"}, "does not support gelu"),
        ("native", (3,), {"dtype": "float16"}, "does not support float16"),
        ("native", (3,), {"dtype": "bfloat16"}, "does not support bfloat16"),
        ("native", (513,), {}, "512 taps"),
        ("native", (23, 23), {}, "512 taps"),
        ("shifts", (201,), {}, "201 taps"),
        ("fast", (3,), {}, "one of auto, spectral, native, shifts, convolution"),
        (None, (3,), {}, "one of auto"),
    ],
)
def test_unsupported_engine_raises(engine, kernel_size, settings, reason):
    settings = {**settings}
    dtype = settings.pop("dtype", "float32")
    kernel, values = jnp.ones(kernel_size, dtype), jnp.ones((600, 30)[: len(kernel_size)], dtype)
    with pytest.raises(ValueError, match=f"^engine: got {engine!r}") as error:
        im.rollout(kernel, values, 3, engine=engine, **settings)
    assert reason in str(error.value)
    with pytest.raises(ValueError, match=f"^engine: got {engine!r}"):
        im.plan(kernel_size, values.shape, 3, engine=engine, dtype=dtype, **settings)


@needs_native
def test_native_self_test_rejects_wrong_library(monkeypatch, tmp_path):
    """A new library is compared with NumPy once, and the result is cached with it."""
    assert native._self_test() == ""
    reverse = native._reverse

    def wrong(stack, needed, *operands):
        dk, du = reverse(stack, needed, *operands)
        return dk.at[0, -1, 0].add(0.1 * (stack.kernel_size == (5, 5))), du

    monkeypatch.setattr(native, "_reverse", wrong)
    message = r"computes kernel gradients with errors of .* \(5 x 5 taps\)"
    assert re.fullmatch(message, native._self_test())
    monkeypatch.setattr(build, "_target", lambda: ([], tmp_path / "native.so"))
    monkeypatch.setattr(build, "library", lambda: None)
    monkeypatch.setattr(native, "_register", lambda library: None)
    for _ in range(2):
        assert "kernel gradients" in native._missing.__wrapped__()
        monkeypatch.setattr(native, "_self_test", pytest.fail)  # the result is cached


@needs_native
def test_native_supports_max_taps():
    stack = make_stack((16, 32), (20, 40), 3, boundary="periodic")
    kernels, values = operands(stack)
    assert_matches(stack, kernels, values, execute("native", stack, kernels, values))


# --- the plan ---------------------------------------------------------------------------------


@pytest.fixture
def extra_installed(monkeypatch):
    """Pretend that the extra `native` is installed."""
    monkeypatch.setattr(build, "has_extra", lambda: True)
    monkeypatch.setattr(native, "_missing", lambda: None)


@pytest.mark.usefixtures("extra_installed")
@pytest.mark.parametrize(
    ("kernel_size", "shape", "steps", "settings", "chosen", "objections"),
    [
        ((3, 3), (64, 64), 100, {}, "native", {"spectral": "identity, not relu"}),
        ((3,), (64,), 100, {"dtype": "float64"}, "native", {"spectral": "identity"}),
        ((16, 32), (64, 64), 9, {}, "native", {"shifts": "512 taps"}),
        ((3, 3), (64, 64), 200, SPECTRAL, "spectral", {}),
        ((3, 3), (64, 64), 1, SPECTRAL, "native", {"spectral": "layer by layer"}),
        ((3, 3), (64, 64), 100, {**SPECTRAL, "every": 1}, "native", {"spectral": "layer by layer"}),
        ((3, 3), (64, 64), 99, {**SPECTRAL, "stacked": True}, "native", {"spectral": "layer by"}),
        ((3, 3), (64, 64), 100, {"rectifier": "gelu"}, "shifts", {"native": "support gelu"}),
        ((3, 3), (64, 64), 100, {"dtype": "bfloat16"}, "shifts", {"native": "support bfloat16"}),
        ((15, 15), (64, 64), 9, {"rectifier": "tanh"}, "convolution", {"shifts": "225 taps"}),
        ((3, 3), (64, 64), 100, {"platform": "gpu"}, "shifts", {"native": "the CPU, not gpu"}),
        ((15, 15), (64, 64), 9, {"platform": "tpu"}, "convolution", {"native": "CPU, not tpu"}),
        ((3, 3), (64, 64), 100, {**SPECTRAL, "platform": "gpu"}, "spectral", {"native": "CPU"}),
        ((3, 3), (64, 64), 100, {"engine": "convolution"}, "convolution", {"spectral": "identity"}),
    ],
)
def test_plan_chooses_engine(kernel_size, shape, steps, settings, chosen, objections):
    result = im.plan(kernel_size, shape, steps, **{"platform": "cpu", **settings})
    assert result.engine == chosen
    assert chosen not in result.objections
    for name, reason in objections.items():
        assert reason in result.objections[name]
        assert reason in str(result)
    assert str(result).startswith(f"engine     {chosen}\n")


def test_plan_uses_default_backend():
    result = im.plan((3,), (9,), 2)
    assert result == im.plan((3,), (9,), 2, platform=jax.default_backend())


@pytest.mark.parametrize(
    ("arguments", "settings", "argument"),
    [
        (((3,), (2,), 5), {}, "kernel_size"),
        (((3,), (9, 9), 5), {}, "kernel_size"),
        (((3,), (9,), 0), {}, "steps"),
        (((3,), (9,), 5), {"every": -1}, "every"),
        (((3,), (9,), 5), {"batch": 0}, "batch"),
        (((3,), (9,), 5), {"outputs": 0}, "outputs"),
        (((3,), (9,), 5), {"boundary": "wrap"}, "boundary"),
        (((3,), (9,), 5), {"normalize": "l1"}, "normalize"),
        (((3,), (9,), 5), {"rectifier": "rely"}, "rectifier"),
        (((3,), (9,), 5), {"dtype": "int32"}, "dtype"),
        (((3,), (9,), 5), {"platform": "npu"}, "platform"),
        (((3, 0), (9, 9), 5), {}, "kernel_size"),
        (((3,), (9.0,), 5), {}, "shape"),
    ],
)
def test_plan_rejects_invalid_arguments(arguments, settings, argument):
    with pytest.raises(ValueError, match=f"^{argument}: got "):
        im.plan(*arguments, **settings)


def test_plan_without_native_extra(monkeypatch):
    monkeypatch.setattr(build, "has_extra", lambda: False)
    result = im.plan((3, 3), (64, 64), 100, platform="cpu")
    assert result.engine == "shifts"
    assert result.objections["native"] == f"is not installed: {extras.command('native')}"
    assert im.plan((8, 8), (64, 64), 100, platform="cpu").engine == "shifts"
    assert im.plan((15, 15), (64, 64), 100, platform="cpu").engine == "convolution"
    assert im.plan((3,), (64,), 900, platform="cpu", **SPECTRAL).engine == "spectral"
    monkeypatch.setattr(native, "_missing", lambda: None)  # the machine has a compiler
    assert im.plan((3,), (64,), 100, engine="native", platform="cpu").engine == "native"


@pytest.mark.usefixtures("extra_installed")
def test_low_memory_selects_forward_mode(monkeypatch):
    stack = make_stack((3, 3), (256, 256), 100, dtype="float32")
    size = 4 * 256 * 256
    monkeypatch.setattr(plan, "_memory", lambda: 1e12)
    assert plan.choose_grad_mode(stack, native.ENGINE) == "checkpointed"
    assert im.plan((3, 3), (256, 256), 100).grad_mode == "checkpointed"
    need = im.plan((3, 3), (256, 256), 100).fields["checkpointed"]
    assert need < 50
    for share, mode in [(2.1, "checkpointed"), (1.9, "forward")]:
        monkeypatch.setattr(plan, "_memory", lambda share=share: share * need * size)
        assert plan.choose_grad_mode(stack, native.ENGINE) == mode
        result = im.plan((3, 3), (256, 256), 100)
        assert (result.grad_mode, result.memory) == (mode, share * need * size)
        # twice the fields or a wider dtype need twice the memory
        assert im.plan((3, 3), (256, 256), 100, batch=2).grad_mode == "forward"
        assert im.plan((3, 3), (256, 256), 100, dtype="float64").grad_mode == "forward"
        # one kernel per layer has too many taps for forward mode
        assert (
            plan.choose_grad_mode(dataclasses.replace(stack, stacked=True), native.ENGINE)
            == "checkpointed"
        )
    monkeypatch.setattr(plan, "_memory", lambda: 1e12)
    assert im.plan((3,), (64,), 100, outputs=100).grad_mode == "forward"
    assert im.plan((3,), (64,), 100, outputs=100, stacked=True).grad_mode == "checkpointed"


def test_plan_counts_stored_fields():
    short, long = (im.plan((3,), (64,), steps, platform="gpu") for steps in (100, 10000))
    assert short.bytes == long.bytes == 4 * 64
    assert short.fields["forward"] == long.fields["forward"]
    assert long.fields["full"] == 100 * short.fields["full"]
    assert 5 < long.fields["checkpointed"] / short.fields["checkpointed"] < 11
    assert im.plan((3,), (64,), 100, batch=7, dtype="float64").bytes == 7 * 8 * 64
    assert im.plan((3,), (64,), 9999, engine="spectral", **SPECTRAL).fields["checkpointed"] < 9


# --- without a compiler -----------------------------------------------------------------------


@pytest.fixture
def no_compiler(monkeypatch):
    def missing():
        raise build.UnavailableError(build.NO_COMPILER)

    monkeypatch.setattr(build, "_compiler", missing)
    caches = [native._missing, build.library]
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_rollout_without_compiler_uses_shifts():
    assert im.plan((3,), (43,), 9, platform="cpu").engine == "shifts"
    rng = np.random.default_rng(8)
    # no other test compiles this shape
    kernel, values = rng.uniform(size=3), rng.uniform(size=43)
    final, _ = im.rollout(kernel, values, 9)
    expected = reference.rollout(kernel, values, 9, "relu", "zero", "l2")[-1]
    np.testing.assert_allclose(final.values, expected[0], rtol=1e-12)
    gradient = jax.grad(lambda k: im.rollout(k, values, 9, observe=None)[0].log_gain)(kernel)
    np.testing.assert_allclose(np.sum(kernel * gradient), 9.0, rtol=1e-12)
    text = "^engine 'native' needs ziglang, .* 'native': run pip install '.\\[native\\]' in a"
    with pytest.raises(ImportError, match=text):
        im.rollout(kernel, values, 9, engine="native")


@needs_native
def test_native_available_again_after_missing_compiler():
    assert native._missing() is None
    test_native_supports_max_taps()


@pytest.mark.parametrize("failure", ["exit 1", "true"])
def test_failing_compiler_falls_back_to_shifts(failure, no_compiler, monkeypatch, tmp_path, caplog):
    script = tmp_path / "broken-cc"
    script.write_text(f"#!/bin/sh\necho no such option >&2\n{failure}\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(build, "_compiler", lambda: [str(script)])
    monkeypatch.setenv("INFOMECH_CACHE", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING, "infomech"):
        result = im.plan((3,), (43,), 9, platform="cpu")
    assert "compiling" in caplog.text
    assert result.engine == "shifts"
    with pytest.raises(ValueError, match=r"^engine: got 'native', which .*failed: no such option"):
        im.plan((3,), (43,), 9, engine="native", platform="cpu")
    assert list((tmp_path / "cache").iterdir()) == []


def test_unwritable_cache_falls_back_to_shifts(no_compiler, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setattr(build, "_compiler", lambda: ["cc"])
    monkeypatch.setenv("INFOMECH_CACHE", str(blocked / "cache"))
    assert im.plan((3,), (43,), 9, platform="cpu").engine == "shifts"
    with pytest.raises(ValueError, match=r"^engine: got 'native', which can't write"):
        im.plan((3,), (43,), 9, engine="native", platform="cpu")


@needs_native
@pytest.mark.slow
def test_library_is_compiled_once_into_cache_folder(no_compiler, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("INFOMECH_CACHE", str(tmp_path))
    build.library()
    (library,) = tmp_path.iterdir()
    stamp = library.stat().st_mtime_ns
    build.library.cache_clear()
    build.library()
    assert [(p, p.stat().st_mtime_ns) for p in tmp_path.iterdir()] == [(library, stamp)]
