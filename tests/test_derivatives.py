"""Compare derivatives of all engines and modes with plain JAX and the reference."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.extend.core import jaxpr_as_fun
from stacks import ENGINES, RECTIFIERS, SPECTRAL, execute, make_stack, needs_native
from thinned import thinned

import infomech as im
from infomech.engines import derivatives

BOUNDARIES = ("zero", "periodic", "reflect")
MODES = ("checkpointed", "forward", "full")


def pull_back(engine, stack, kernels, values, weights):
    """dL/dkernels and dL/dvalues of L = Σ weights · values, and the exponent of the values."""

    def out(kernels, values):
        out, exponent = execute(engine, stack, kernels, values)
        return out, exponent

    _, pull, exponent = jax.vjp(out, kernels, values, has_aux=True)
    return *pull(weights), exponent


def operands(stack, seed=0):
    """Kernels of largest tap 1, a field, and weights of its pixels, of both signs."""
    rng = np.random.default_rng(seed)
    kernels = rng.uniform(-0.3, 1.0, size=(stack.steps if stack.stacked else 1, *stack.kernel_size))
    values, weights = rng.uniform(-0.2, 1.0, stack.shape), rng.normal(size=stack.shape)
    return [jnp.asarray(a, stack.dtype) for a in (kernels / np.abs(kernels).max(), values, weights)]


def assert_gradients(stack, inputs, result, tolerance):
    dk, du, exponent = result
    name = stack.rectifier.name
    expected = reference.pullback(*inputs[:2], stack.steps, name, stack.boundary, inputs[2])
    for a, b in zip((dk, du), expected, strict=True):
        assert a.dtype == stack.dtype
        b = np.ldexp(b, -int(exponent))
        atol = tolerance * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=str(stack))


# --- reverse mode of engines against the reference ---

CASES = [
    ((1,), (9,)),
    ((2,), (17,)),
    ((3,), (40,)),
    ((4,), (4,)),
    ((5,), (16,)),
    ((7,), (33,)),
    ((40,), (47,)),
    ((2, 2), (5, 8)),
    ((3, 3), (8, 17)),
    ((4, 4), (9, 7)),
    ((5, 5), (6, 18)),
    ((7, 7), (8, 9)),
    ((1, 3), (7, 9)),
    ((3, 1), (9, 7)),
    ((2, 5), (6, 9)),
    ((9, 9), (11, 10)),
    ((1, 1, 3), (3, 4, 9)),
    ((2, 2, 2), (4, 5, 3)),
    ((3, 2, 3), (3, 5, 7)),
    ((3, 3, 3), (5, 4, 6)),
    ((2, 5, 5), (2, 6, 5)),
]


@needs_native
@pytest.mark.parametrize(("kernel_size", "shape"), thinned(CASES))
def test_native_gradients_match_reference(kernel_size, shape):
    for i, boundary in enumerate(BOUNDARIES):
        for j, rectifier in enumerate(RECTIFIERS):
            bits = (5 * sum(kernel_size) + 3 * i + j) % 4
            stack = make_stack(
                kernel_size,
                shape,
                7 if math.prod(kernel_size) < 30 else 3,
                stacked=bool(bits & 1),
                rectifier=rectifier,
                boundary=boundary,
                rescale=bool(bits >> 1),
            )
            inputs = operands(stack, seed=i)
            assert_gradients(stack, inputs, pull_back("native", stack, *inputs), 1e-11)


@needs_native
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_native_gradients_in_float32(boundary):
    for kernel_size, shape in [((3,), (40,)), ((3, 3), (9, 21)), ((2, 3, 2), (4, 5, 18))]:
        stack = make_stack(
            kernel_size, shape, rectifier="identity", boundary=boundary, dtype="float32"
        )
        inputs = operands(stack)
        assert_gradients(stack, inputs, pull_back("native", stack, *inputs), 1e-4)


@needs_native
@pytest.mark.parametrize(
    "kernel_size", thinned([((3, 3),), ((2, 2),), ((4, 4),), ((5, 5),), ((1, 3),)], 5)
)
def test_native_gradients_at_all_row_lengths(kernel_size):
    """Rows end within a vector, and the last block of rows is incomplete."""
    for width in [*range(kernel_size[1], 22), 31, 32, 33, 36]:
        height = kernel_size[0] + width % 4
        stack = make_stack(
            kernel_size,
            (height, width),
            1,
            rectifier="identity",
            boundary="periodic",
            dtype="float32",
        )
        inputs = operands(stack, seed=width)
        assert_gradients(stack, inputs, pull_back("native", stack, *inputs), 1e-5)


@pytest.mark.parametrize(
    ("engine", "kernel_size", "shape"),
    thinned([("shifts", *case) for case in CASES[1::4]], 5)
    + thinned([("convolution", *case) for case in CASES[3::4]], 5),
)
def test_jax_gradients_match_reference(engine, kernel_size, shape):
    index = CASES.index((kernel_size, shape))
    stacks = [
        make_stack(
            kernel_size,
            shape,
            3,
            stacked=index // 4 % 2 == 0,
            rectifier=RECTIFIERS[(index // 4 + i) % 4],
            boundary=boundary,
        )
        for i, boundary in enumerate(BOUNDARIES)
    ]
    inputs = [operands(s) for s in stacks]
    run = jax.jit(
        lambda inputs: [pull_back(engine, s, *x) for s, x in zip(stacks, inputs, strict=True)]
    )
    for stack, stack_inputs, result in zip(stacks, inputs, run(inputs), strict=True):
        assert_gradients(stack, stack_inputs, result, 1e-11)


@needs_native
@pytest.mark.parametrize(("kernel_size", "shape"), [((3, 3), (60, 2100)), ((3,), (70000,))])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_native_tiles_have_no_data_races(kernel_size, shape, boundary):
    for rectifier in ("relu", "modulus"):
        stack = make_stack(kernel_size, shape, 3, rectifier=rectifier, boundary=boundary)
        inputs = operands(stack)
        for _ in range(4):
            assert_gradients(stack, inputs, pull_back("native", stack, *inputs), 1e-11)


@needs_native
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_native_gradients_of_large_fields_match_reference(boundary):
    for kernel_size, shape in [((4, 3), (300, 301)), ((3, 2, 3), (40, 21, 22)), ((5,), (9000,))]:
        stack = make_stack(kernel_size, shape, 3, rectifier="leaky_relu", boundary=boundary)
        inputs = operands(stack)
        assert_gradients(stack, inputs, pull_back("native", stack, *inputs), 1e-11)


@needs_native
@pytest.mark.parametrize("stacked", [False, True])
def test_native_gradients_of_rescaled_deep_stacks(stacked):
    """Reverse mode passes layers after which the field was rescaled."""
    for dtype, steps in [("float32", 17), ("float64", 60)]:
        stack = make_stack(
            (3, 3), (12, 20), steps, stacked=stacked, rectifier="identity", dtype=dtype
        )
        inputs = operands(stack)
        tolerance = {"float32": 1e-3, "float64": 1e-10}[dtype]
        assert_gradients(stack, inputs, pull_back("native", stack, *inputs), tolerance)


@needs_native
@pytest.mark.parametrize("batch", [2, 3, 40])
def test_native_batched_gradients_match_reference(batch):
    stack = make_stack((3, 2), (30, 31), 6, boundary="reflect")
    kernels, fields, weights = (
        jnp.stack(a) for a in zip(*(operands(stack, seed) for seed in range(batch)), strict=True)
    )
    results = jax.vmap(functools.partial(pull_back, "native", stack))(kernels, fields, weights)
    for i in {0, 1, batch - 1}:
        single = [result[i] for result in results]
        assert_gradients(stack, (kernels[i], fields[i], weights[i]), single, 1e-11)


@st.composite
def stacks(draw):
    d = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (40, 12, 6)[d - 1])) for _ in range(d))
    kernel_size = tuple(draw(st.integers(1, min(n, 9 if d == 1 else 4))) for n in shape)
    return make_stack(
        kernel_size,
        shape,
        draw(st.integers(1, 6)),
        stacked=draw(st.booleans()),
        rectifier=draw(st.sampled_from(RECTIFIERS)),
        boundary=draw(st.sampled_from(BOUNDARIES)),
        rescale=draw(st.booleans()),
    )


@needs_native
@hypothesis.settings(max_examples=60)
@hypothesis.given(stack=stacks(), seed=st.integers(0, 2**32 - 1))
def test_native_gradients_match_reference_for_any_stack(stack, seed):
    inputs = operands(stack, seed)
    assert_gradients(stack, inputs, pull_back("native", stack, *inputs), 1e-10)


# --- rollouts against plain JAX ------------------------------------------------------------------

PHI = {
    "relu": jax.nn.relu,
    "modulus": jnp.abs,
    "identity": lambda x: x,
    "leaky_relu": jax.nn.leaky_relu,
}
PAD = {"zero": "constant", "periodic": "wrap", "reflect": "reflect"}


def plain_layers(kernels, u, steps, rectifier="relu", boundary="zero"):
    """All fields of a rollout without rescaling, from shifted slices only."""
    kernel_size, fields = kernels.shape[kernels.ndim - u.ndim :], [u]
    for t in range(steps):
        k = kernels if kernels.ndim == u.ndim else kernels[t]
        padded = jnp.pad(
            fields[-1], [(n // 2, (n - 1) // 2) for n in kernel_size], mode=PAD[boundary]
        )
        z = jnp.zeros(u.shape)
        for i in np.ndindex(*kernel_size):
            start = [n - 1 - j for n, j in zip(kernel_size, i, strict=True)]
            window = tuple(slice(a, a + m) for a, m in zip(start, u.shape, strict=True))
            z = z + k[i] * padded[window]
        fields.append(PHI[rectifier](z))
    return fields


def plain_end(kernels, u, steps, *, rectifier="relu", boundary="zero"):
    """Values of unit norm, and the logarithm of the true norm."""
    last = plain_layers(kernels, u, steps, rectifier, boundary)[-1]
    norm = jnp.sqrt(jnp.sum(last**2))
    return last / norm, jnp.log(norm)


def plain_trace(kernels, u, steps, every, *, rectifier="relu", boundary="zero"):
    """Center without the origin, second moments, log mass and log energy of observed layers."""
    observed = []
    for u_t in plain_layers(kernels, u, steps, rectifier, boundary)[::every]:
        x = jnp.stack(jnp.meshgrid(*(jnp.arange(1.0 * n) for n in u.shape), indexing="ij"))
        mass, axes = jnp.sum(u_t), tuple(range(1, u.ndim + 1))
        center = jnp.sum(x * u_t[None], axes) / mass
        offset = x - center.reshape(-1, *(1,) * u.ndim)
        moments = jnp.sum(
            offset[:, None] * offset[None] * u_t[None, None], tuple(a + 1 for a in axes)
        )
        observed.append((center, moments / mass, jnp.log(mass), jnp.log(jnp.sum(u_t**2))))
    return tuple(jnp.stack(a) for a in zip(*observed, strict=True))


def random_weights(like, seed=9):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=a.shape)) for a in like]


def overlap(weights, numbers):
    return sum(jnp.sum(w.astype(a.dtype) * a) for w, a in zip(weights, numbers, strict=True))


def make_operands(kernel_size, shape, stacked, steps, seed=0):
    """A kernel with one negative tap, to activate the rectifier, and a field."""
    rng = np.random.default_rng(seed)
    kernel = rng.uniform(0.2, 1.0, size=(steps if stacked else 1, math.prod(kernel_size)))
    kernel[:, 0] *= -0.4
    kernel = kernel.reshape((steps, *kernel_size) if stacked else kernel_size)
    return jnp.asarray(kernel), jnp.asarray(rng.uniform(0.1, 1.5, size=shape))


ENDS = [
    ("native", "checkpointed", (3,), (14,), "relu", "zero", False),
    ("native", "checkpointed", (2, 3), (5, 7), "modulus", "reflect", True),
    ("native", "forward", (4,), (13,), "leaky_relu", "periodic", False),
    ("native", "forward", (2,), (9,), "relu", "reflect", True),
    ("native", "full", (2, 2, 2), (3, 4, 3), "relu", "periodic", False),
    ("shifts", "checkpointed", (3, 2), (6, 5), "leaky_relu", "reflect", False),
    ("shifts", "checkpointed", (5,), (12,), "identity", "periodic", True),
    ("shifts", "forward", (3,), (12,), "modulus", "zero", False),
    ("shifts", "full", (4,), (12,), "relu", "reflect", True),
    ("convolution", "checkpointed", (3, 3), (5, 6), "relu", "reflect", False),
    ("convolution", "checkpointed", (2,), (11,), "modulus", "periodic", True),
    ("convolution", "forward", (3,), (11,), "relu", "zero", False),
    ("convolution", "full", (2, 1, 3), (3, 3, 4), "identity", "zero", False),
    ("spectral", "checkpointed", (3, 2), (6, 5), "identity", "periodic", False),
    ("spectral", "checkpointed", (4,), (9,), "identity", "periodic", True),
    ("spectral", "forward", (3,), (10,), "identity", "periodic", False),
    ("spectral", "full", (3,), (10,), "identity", "periodic", False),
]


@pytest.mark.parametrize(
    ("engine", "grad_mode", "kernel_size", "shape", "rectifier", "boundary", "stacked"),
    thinned([pytest.param(*row, marks=needs_native if row[0] == "native" else ()) for row in ENDS]),
    ids=["-".join(map(str, (*row[:3], *row[4:]))) for row in ENDS],
)
def test_gradients_of_final_field_match_plain_jax(
    engine, grad_mode, kernel_size, shape, rectifier, boundary, stacked
):
    steps, settings = 4, {"rectifier": rectifier, "boundary": boundary}
    point = make_operands(kernel_size, shape, stacked, steps)

    def end(kernel, u):
        final, _ = im.rollout(
            kernel, u, steps, engine=engine, grad_mode=grad_mode, observe=None, **settings
        )
        return final.values, final.log_gain

    plain = functools.partial(plain_end, steps=steps, **settings)
    weights = random_weights(jax.eval_shape(plain, *point))

    along = tuple(random_weights(point))

    @jax.jit
    def gradients(kernel, u):
        def weighted(kernel, u):
            return overlap(weights, end(kernel, u))

        pushed = jax.jvp(weighted, (kernel, u), along)[1]
        return pushed, jax.grad(weighted, argnums=(0, 1))(kernel, u)

    expected = jax.jit(jax.jacfwd(lambda *a: overlap(weights, plain(*a)), argnums=(0, 1)))(*point)
    pushed, reverse = gradients(*point)
    for a, b in zip(reverse, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(pushed, overlap(along, expected), rtol=1e-9, atol=1e-10)
    h = 1e-6
    above, below = (
        overlap(weights, end(*(a + s * h * b for a, b in zip(point, along, strict=True))))
        for s in (1, -1)
    )
    np.testing.assert_allclose(overlap(along, reverse), (above - below) / (2 * h), 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("engine", "grad_mode", "stacked", "every", "dtype", "kernel_size", "shape"),
    [
        pytest.param(
            "native", "checkpointed", False, 1, "float64", (2, 3), (9, 8), marks=needs_native
        ),
        pytest.param(
            "native",
            "checkpointed",
            False,
            3,
            "float32",
            (4,),
            (19,),
            marks=[needs_native, pytest.mark.deep],
        ),
        pytest.param("native", "forward", False, 3, "float64", (3,), (18,), marks=needs_native),
        ("shifts", "checkpointed", True, 1, "float32", (3,), (18,)),
    ],
)
def test_gradients_of_trace_match_plain_jax(
    engine, grad_mode, stacked, every, dtype, kernel_size, shape
):
    steps = 7
    kernel, u = make_operands(kernel_size, shape, stacked, steps)
    names = ("center", "covariance", "log_mass", "log_energy")

    def observed(kernel, u):
        _, trace = im.rollout(kernel, u, steps, every=every, engine=engine, grad_mode=grad_mode)
        return tuple(getattr(trace, name) for name in names)

    plain = functools.partial(plain_trace, steps=steps, every=every)
    weights = random_weights(jax.eval_shape(plain, kernel, u))

    def gradient(of):
        return jax.jit(jax.grad(lambda *a: overlap(weights, of(*a)), argnums=(0, 1)))

    expected = gradient(plain)(kernel, u)
    result = gradient(observed)(kernel.astype(dtype), u.astype(dtype))
    rtol = {"float32": 2e-4, "float64": 1e-9}[dtype]
    for a, b in zip(result, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


# --- higher orders and transformations ---


@pytest.mark.parametrize("engine", thinned([*ENGINES, "spectral"], 2))
def test_second_derivatives_match_plain_jax(engine):
    settings = {**SPECTRAL} if engine == "spectral" else {"boundary": "reflect"}
    stack = make_stack((3,), (6,), 3, rescale=False, **settings)
    kernel, u = make_operands((3,), (6,), False, 3)
    weights = random_weights([u])

    def end(point):
        values, _ = execute(engine, stack, point[None, :3], point[3:])
        return overlap(weights, (values,))

    def plain(point):
        return overlap(weights, (plain_layers(point[:3], point[3:], 3, **settings)[-1],))

    @jax.jit
    def curvatures(point, along):
        return {
            "forward over reverse": jax.jacfwd(jax.grad(end))(point),
            "reverse over reverse": jax.jacrev(jax.grad(end))(point),
            "reverse over forward": jax.jacrev(jax.jacfwd(end))(point),
            "forward over forward": jax.jacfwd(jax.jacfwd(end))(point),
            "product": jax.jvp(jax.grad(end), (point,), (along,))[1],
        }

    point, along = jnp.concatenate([kernel, u]), random_weights([jnp.zeros(9)])[0]
    exact = np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(plain)))(point))
    assert np.abs(exact).max() > 0.1
    for name, result in curvatures(point, along).items():
        expected = exact @ along if name == "product" else exact
        np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("grad_mode", thinned(MODES))
def test_second_derivatives_match_for_all_grad_modes(grad_mode):
    kernel, u = make_operands((2,), (7,), False, 3)
    weights = random_weights([u, u[0]])

    def end(kernel):
        final, _ = im.rollout(kernel, u, 3, grad_mode=grad_mode, observe=None)
        return overlap(weights, (final.values, final.log_gain))

    exact = jax.jit(jax.jacfwd(jax.jacfwd(lambda k: overlap(weights, plain_end(k, u, 3)))))(kernel)
    results = jax.jit(lambda k: (jax.hessian(end)(k), jax.jacrev(jax.jacrev(end))(k)))(kernel)
    for result in results:
        np.testing.assert_allclose(result, exact, rtol=1e-8, atol=1e-9)


@needs_native
def test_third_derivative_matches_plain_jax():
    kernel, u = make_operands((2,), (6,), False, 3)
    weights = random_weights([u])
    stack = make_stack((2,), (6,), 3, rescale=False)

    def end(k):
        return overlap(weights, execute("native", stack, k[None], u)[:1])

    def plain(k):
        return overlap(weights, plain_layers(k, u, 3)[-1:])

    result = jax.jit(jax.jacfwd(jax.jacrev(jax.grad(end))))(kernel)
    expected = jax.jit(jax.jacfwd(jax.jacfwd(jax.jacfwd(plain))))(kernel)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("engine", "grad_mode"),
    [
        pytest.param("native", "checkpointed", marks=needs_native),
        pytest.param("native", "forward", marks=[needs_native, pytest.mark.deep]),
        ("shifts", "checkpointed"),
    ],
)
def test_batched_gradients_equal_single_ones(engine, grad_mode):
    rng = np.random.default_rng(1)
    kernels = jnp.asarray(rng.uniform(-0.2, 1.0, size=(3, 2)))
    fields = jnp.asarray(rng.uniform(0.1, 1.0, size=(3, 6)))
    weights = random_weights([fields[0], jnp.zeros(())])

    def end(kernel, u):
        final, _ = im.rollout(
            kernel, u, 4, engine=engine, grad_mode=grad_mode, boundary="reflect", observe=None
        )
        return overlap(weights, (final.values, final.log_gain))

    gradient = jax.grad(end, argnums=(0, 1))

    @jax.jit
    def all_ways(kernels, fields):
        def shared_kernel(k, fields):
            return jnp.sum(jax.vmap(end, (None, 0))(k, fields))

        def shared_field(kernels, u):
            return jnp.sum(jax.vmap(end, (0, None))(kernels, u))

        def pairs(kernels, fields):
            return jnp.sum(jax.vmap(end)(kernels, fields))

        def square(kernels, fields):
            return jnp.sum(jax.vmap(lambda k: jax.vmap(lambda u: end(k, u))(fields))(kernels))

        return {
            "gradients of pairs": jax.vmap(gradient)(kernels, fields),
            "gradients at one kernel": jax.vmap(gradient, (None, 0))(kernels[0], fields),
            "one kernel": jax.grad(shared_kernel, argnums=(0, 1))(kernels[0], fields),
            "one field": jax.grad(shared_field, argnums=(0, 1))(kernels, fields[0]),
            "pairs": jax.grad(pairs, argnums=(0, 1))(kernels, fields),
            "square": jax.grad(square, argnums=(0, 1))(kernels, fields),
            "rows": jax.jacrev(jax.vmap(end, (None, 0)))(kernels[0], fields),
            "columns": jax.jacfwd(jax.vmap(end, (None, 0)))(kernels[0], fields),
            "pushed": jax.jvp(jax.vmap(end), (kernels, fields), (kernels, fields))[1],
        }

    results, compiled = all_ways(kernels, fields), jax.jit(gradient)
    single = [[compiled(k, u) for u in fields] for k in kernels]
    k, u = (np.array([[pair[a] for pair in row] for row in single]) for a in (0, 1))
    pairs = (np.arange(3), np.arange(3))
    expected = {
        "gradients of pairs": (k[pairs], u[pairs]),
        "gradients at one kernel": (k[0], u[0]),
        "one kernel": (k[0].sum(0), u[0]),
        "one field": (k[:, 0], u[:, 0].sum(0)),
        "pairs": (k[pairs], u[pairs]),
        "square": (k.sum(1), u.sum(0)),
        "rows": k[0],
        "columns": k[0],
        "pushed": np.sum(k[pairs] * kernels, 1) + np.sum(u[pairs] * fields, 1),
    }
    for name, numbers in expected.items():
        for a, b in zip(jax.tree.leaves(results[name]), jax.tree.leaves(numbers), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("grad_mode", MODES)
@pytest.mark.parametrize("stacked", [False, True])
def test_euler_identity_per_layer(grad_mode, stacked):
    """Σ k ∂L/∂k = ⟨u_T, ∂L/∂u_T⟩ for each layer's kernel, as u_T is homogeneous in each."""
    steps = 19
    kernel, u = make_operands((3,), (12,), stacked, steps)
    kernel = kernel / jnp.sum(kernel, -1, keepdims=True)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=12))

    def loss(last):
        return jnp.sum(jnp.sin(weights * last))

    @jax.jit
    def both(kernel):
        def last(kernel):
            return im.rollout(
                kernel, u, steps, grad_mode=grad_mode, normalize="none", observe=None
            )[0].values

        end = last(kernel)
        return jnp.sum(end * jax.grad(loss)(end)), jax.grad(lambda k: loss(last(k)))(kernel)

    along_field, gradient = both(kernel)
    along_kernel = np.sum(kernel * gradient, axis=-1)
    assert abs(along_field) > 1e-3
    factor = 1 if stacked else steps
    np.testing.assert_allclose(along_kernel, factor * along_field, rtol=1e-9)


def test_deep_gradient_is_accurate_at_any_scale():
    """The log gain has derivative 1 per layer in the log of the kernel's scale, at any scale."""
    kernel, u = np.array([0.2, 0.5, 0.4], np.float32), np.ones(32, np.float32)
    for grad_mode in MODES:

        def gain(log_size, kernel, grad_mode=grad_mode):
            return im.rollout(
                kernel * jnp.exp(log_size),
                u,
                300,
                boundary="periodic",
                observe=None,
                grad_mode=grad_mode,
            )[0].log_gain

        gradient = jax.jit(jax.grad(gain))
        for size in (1e-20, 1.0, 1e20):
            result = gradient(jnp.zeros((), np.float32), kernel * np.float32(size))
            np.testing.assert_allclose(result, 300, rtol=1e-4)


# --- memory ---


def gradient_memory(steps, grad_mode, observe=None, engine="shifts"):
    kernel, u = jnp.ones(2, jnp.float32), jnp.ones(8192, jnp.float32)

    def loss(kernel):
        final, trace = im.rollout(
            kernel, u, steps, engine=engine, grad_mode=grad_mode, observe=observe
        )
        return final.log_gain if trace is None else jnp.sum(trace.center)

    compiled = jax.jit(jax.grad(loss)).lower(kernel).compile()
    return compiled.memory_analysis().temp_size_in_bytes / u.nbytes


@pytest.mark.optimized
@pytest.mark.parametrize("observe", [None, "trace"])
def test_reverse_mode_memory_grows_as_square_root(observe):
    shallow, deep = (gradient_memory(steps, "checkpointed", observe) for steps in (256, 4096))
    assert 16 < shallow < 100
    assert 2.5 * shallow < deep < 6 * shallow


@pytest.mark.optimized
@needs_native
def test_native_reverse_mode_memory_grows_as_square_root():
    shallow, deep = (gradient_memory(n, "checkpointed", engine="native") for n in (256, 4096))
    assert 8 < shallow < 60
    assert deep < 6 * shallow


@pytest.mark.optimized
def test_forward_mode_memory_does_not_grow():
    shallow, deep = (gradient_memory(steps, "forward") for steps in (256, 4096))
    assert shallow < 30
    assert deep < 1.1 * shallow
    assert gradient_memory(256, "full") > 256


# --- functions in two forms ---


class Toy:
    """x sin(y) / 2ⁿ and n = ⌊x⌋ of scalars, in forms that record their use."""

    def __init__(self, own_reverse=True):
        self.used = []
        reverse = self.reverse if own_reverse else None
        self.function = derivatives.Function(self.fast, self.plain, reverse)

    def fast(self, x, y):
        self.used.append("fast")

        def compute(x, y):
            n = np.floor(x)
            return (x * np.sin(y) / 2**n).astype(x.dtype), n.astype(np.int32)

        shapes = jax.ShapeDtypeStruct((), x.dtype), jax.ShapeDtypeStruct((), jnp.int32)
        return jax.pure_callback(compute, shapes, x, y, vmap_method="broadcast_all")

    def plain(self, x, y, n):
        self.used.append("plain")
        return (x * jnp.sin(y) * jnp.exp2(-n.astype(x.dtype)),)

    def reverse(self, needed):
        self.used.append(("reverse", needed))

        def by_hand(x, y, n, g):
            scale = g * jnp.exp2(-n.astype(x.dtype))
            both = scale * jnp.sin(y), scale * x * jnp.cos(y)
            return tuple(c for c, n in zip(both, needed, strict=True) if n)

        def fast(*operands):
            self.used.append("fast reverse")
            return by_hand(*operands)

        return derivatives.Function(fast, by_hand)

    def __call__(self, x, y):
        return derivatives.call(self.function, x, y)


def exact(x, y):
    """The floating output where n is 2."""
    return x * jnp.sin(y) / 4


X, Y = jnp.array(2.3), jnp.array(0.7)


def test_values_come_from_fast_form():
    toy = Toy()
    value, n = toy(X, Y)
    np.testing.assert_allclose(value, exact(X, Y), rtol=1e-14)
    assert n == 2
    assert n.dtype == jnp.int32
    value, n = jax.jit(toy)(X, Y)
    np.testing.assert_allclose(value, exact(X, Y), rtol=1e-14)
    assert "plain" not in toy.used


def test_reverse_mode_uses_own_reverse_of_needed_args():
    for argnums, needed in [(0, (True, False)), (1, (False, True)), ((0, 1), (True, True))]:
        toy = Toy()
        result = jax.grad(lambda x, y, toy=toy: toy(x, y)[0], argnums=argnums)(X, Y)
        expected = jax.grad(exact, argnums=argnums)(X, Y)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-14), result, expected)
        assert ("reverse", needed) in toy.used
        assert "fast reverse" in toy.used


def test_forward_mode_uses_plain_form():
    toy = Toy()
    (value, n), (gradient, none) = jax.jvp(toy, (X, Y), (jnp.array(0.3), jnp.array(-2.0)))
    expected = jax.jvp(exact, (X, Y), (jnp.array(0.3), jnp.array(-2.0)))
    np.testing.assert_allclose((value, gradient), expected, rtol=1e-14)
    assert (n, none.dtype) == (2, jax.dtypes.float0)
    assert "plain" in toy.used
    assert "fast reverse" not in toy.used


@pytest.mark.parametrize("own_reverse", [False, True])
def test_nested_derivatives_are_exact(own_reverse):
    toy = Toy(own_reverse)

    def of(f):
        return {
            "reverse": jax.grad(f, (0, 1))(X, Y),
            "forward": jax.jacfwd(f, (0, 1))(X, Y),
            "hessian": jax.hessian(f, (0, 1))(X, Y),
            "reverse twice": jax.jacrev(jax.jacrev(f, (0, 1)), (0, 1))(X, Y),
            "forward twice": jax.jacfwd(jax.jacfwd(f, (0, 1)), (0, 1))(X, Y),
            "mixed": jax.jacrev(jax.jacfwd(f, 1), 0)(X, Y),
            "third": jax.jacfwd(jax.jacrev(jax.jacrev(f, 1), 1), 1)(X, Y),
            "fourth": jax.grad(jax.grad(jax.grad(jax.grad(f, 1), 1), 1), 1)(X, Y),
            "linearized": jax.linearize(f, X, Y)[1](jnp.array(1.0), jnp.array(2.0)),
        }

    run = jax.jit(of, static_argnums=0)
    results, expected = run(lambda x, y: toy(x, y)[0]), run(exact)
    for name, numbers in expected.items():
        for a, b in zip(jax.tree.leaves(results[name]), jax.tree.leaves(numbers), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("own_reverse", [False, True])
def test_batched_derivatives_are_exact(own_reverse):
    toy = Toy(own_reverse)
    xs, ys = jnp.linspace(2.1, 2.9, 3), jnp.linspace(-1, 1, 4)

    def of(f):
        def square(xs, ys):
            return jax.vmap(jax.vmap(f, (None, 0)), (0, None))(xs, ys)

        def total(xs, ys):
            return jnp.sum(square(xs, ys) ** 2)

        return {
            "values": square(xs, ys),
            "row": jax.vmap(f, (0, None))(xs, Y),
            "gradients": jax.vmap(jax.vmap(jax.grad(f, (0, 1)), (None, 0)), (0, None))(xs, ys),
            "shared": jax.grad(lambda y: jnp.sum(jax.vmap(f, (0, None))(xs, y)))(Y),
            "total": jax.grad(total, (0, 1))(xs, ys),
            "curvature": jax.hessian(total, (0, 1))(xs, ys),
            "pushed": jax.vmap(lambda x: jax.jvp(f, (x, Y), (x, Y)))(xs),
            "gradient of pushed": jax.grad(
                lambda y: jnp.sum(jax.vmap(lambda x: jax.jvp(f, (x, y), (x, y))[1])(xs))
            )(Y),
            "tangents": jax.vmap(jax.linearize(f, X, Y)[1])(xs, xs),
            "cotangents": jax.vmap(jax.vjp(f, X, Y)[1])(xs),
        }

    run = jax.jit(of, static_argnums=0)
    results, expected = run(lambda x, y: toy(x, y)[0]), run(exact)
    for name, numbers in expected.items():
        for a, b in zip(jax.tree.leaves(results[name]), jax.tree.leaves(numbers), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(jax.vmap(toy, (0, None))(xs + jnp.arange(3.0), Y)[1], [2, 3, 4])


def test_function_inside_loops_branches_and_checkpoints():
    toy = Toy()

    def of(f):
        def looped(x, y):
            def step(x, _):
                x = 2 + f(x, y) ** 2
                return x, x

            return jnp.sum(jax.lax.scan(jax.checkpoint(step), x, length=5)[1])

        def branched(x, y):
            return jax.lax.cond(x > 1, lambda: f(x, y), lambda: x)

        loops = jax.grad(looped, (0, 1)), jax.jacfwd(looped, (0, 1)), jax.grad(branched, (0, 1))
        return [loop(X, Y) for loop in loops]

    run = jax.jit(of, static_argnums=0)
    results, expected = run(lambda x, y: toy(x, y)[0]), run(exact)
    for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_integer_args_have_no_derivative():
    def power(x, n):
        return (jnp.prod(jnp.where(jnp.arange(9) < n, x, 1.0)),)

    function = derivatives.Function(power, power)
    n = jnp.array(3)

    def f(x):
        return derivatives.call(function, x, n)[0]

    np.testing.assert_allclose(jax.grad(f)(X), 3 * X**2, rtol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(jax.grad(f))(X), 6 * X, rtol=1e-12)
    _, gradient = jax.jvp(
        lambda *a: derivatives.call(function, *a)[0],
        (X, n),
        (jnp.ones(()), np.zeros((), jax.dtypes.float0)),
    )
    np.testing.assert_allclose(gradient, 3 * X**2, rtol=1e-12)
    batched = jax.vmap(lambda n: jax.grad(lambda x: derivatives.call(function, x, n)[0])(X))
    np.testing.assert_allclose(batched(jnp.arange(4)), [0, 1, 2 * X, 3 * X**2], rtol=1e-12)


def test_integer_output_has_no_derivative():
    toy = Toy()
    gradient = jax.grad(lambda x: toy(x, Y)[1].astype(float) * x)(X)
    np.testing.assert_allclose(gradient, 2.0)


def test_several_outputs_have_ordered_cotangents():
    def both(x, y):
        return x * y, x - math.pi * y, jnp.floor(x).astype(jnp.int32)

    def plain(x, y, n):
        return both(x, y)[:2]

    function = derivatives.Function(both, plain)

    def f(x, y):
        a, b, _ = derivatives.call(function, x, y)
        return 2 * a + 3 * b

    np.testing.assert_allclose(
        jax.grad(f, (0, 1))(X, Y), (2 * Y + 3, 2 * X - 3 * math.pi), rtol=1e-12
    )
    only_second = jax.grad(lambda x, y: derivatives.call(function, x, y)[1], (0, 1))(X, Y)
    np.testing.assert_allclose(only_second, (1, -math.pi), rtol=1e-12)


def test_fast_form_is_traced_once():
    traced = []

    def fast(x):
        traced.append(x.shape)
        return (jnp.sin(x),)

    def loss(x):
        return derivatives.call(derivatives.Function(fast, lambda x: (jnp.sin(x),)), x)[0].sum()

    gradients = jax.make_jaxpr(jax.vmap(jax.value_and_grad(loss)))(jnp.ones((3, 4)))
    jax.make_jaxpr(jax.vmap(jaxpr_as_fun(gradients)))(jnp.ones((2, 3, 4)))
    assert traced == [(4,)]
