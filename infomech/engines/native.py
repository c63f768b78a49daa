"""Layers as compiled C loops on the CPU: several layers per tile of the field while it is cached.

XLA calls the code in `csrc` through its typed foreign function interface. Reverse mode is compiled
too; all other derivatives come from the shifted sums.
"""

import ctypes
import functools
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech._core import extras
from infomech.dynamics import BOUNDARIES, Dynamics
from infomech.engines import build, derivatives, layers, shifts
from infomech.engines.stack import Engine, Stack

#: limit on the taps of a kernel
MAX_TAPS = 512

#: layers between two rescalings of a large field
_RESCALE_INTERVAL = 5

#: shapes of the fields that test a new library: row lengths with and without a partial vector
_TEST_SHAPES = ((9, 20), (13, 33), (12, 64))

#: each rectifier's slope below 0, and its derivative at 0
_SLOPES = {
    rectifiers.relu: (0.0, 0.0),
    rectifiers.modulus: (-1.0, 0.0),
    rectifiers.identity: (1.0, 1.0),
    rectifiers.leaky_relu: (0.01, 1.0),
}


def objection(stack: Stack, platform: str) -> str | None:
    """Reason why this engine can't execute these layers on this platform; None if it can."""
    if platform != "cpu":
        return f"supports only the CPU, not {platform}"
    if stack.rectifier not in _SLOPES:
        return f"does not support {stack.rectifier.name}"
    if stack.dtype not in ("float32", "float64"):
        return f"does not support {stack.dtype}"
    if int(np.prod(stack.kernel_size)) > MAX_TAPS:
        return f"supports at most {MAX_TAPS} taps"
    return _missing()


def reservation(stack: Stack, platform: str) -> str | None:
    """Reason not to choose this engine automatically: on a CPU, the extra is not installed."""
    if platform == "cpu" and not build.has_extra():
        return f"is not installed: {extras.command('native')}"
    return None


def run(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers, as values and e of values · 2ᵉ."""
    plain = functools.partial(layers.forward_at_exponent, shifts.convolution, stack)
    reverse = functools.partial(_reverse_function, stack)
    fast = functools.partial(_forward, stack)
    values, exponent = derivatives.call(derivatives.Function(fast, plain, reverse), kernels, values)
    return values, exponent


@functools.cache
def _missing() -> str | None:
    """Register the compiled library with XLA; the reason if there is none, else None."""
    try:
        _register(build.library())
        with jax.ensure_compile_time_eval():
            return build.verdict(_self_test) or None
    except build.UnavailableError as error:
        return str(error)


def _register(library: ctypes.CDLL) -> None:
    for name in ("infomech_forward", "infomech_reverse"):
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")


def _self_test() -> str:
    """Compare the compiled code with NumPy; the first error, "" if there is none.

    Runs one layer and its reverse for each kernel size with specialized code. With the identity on
    a periodic domain the expected results are sums of shifted fields.
    """
    random = np.random.default_rng(0)
    dynamics = Dynamics("identity", "periodic", "none")
    kernel_sizes = ((1, 3), (2, 2), (3, 3), (4, 4), (5, 5), (7, 7), (9, 9))
    for kernel_size, shape in product(kernel_sizes, _TEST_SHAPES):
        stack = Stack(shape, kernel_size, 1, False, dynamics, "float32")
        sizes = (kernel_size, shape, shape)
        kernel, u, g = (random.normal(size=n).astype("float32") for n in sizes)
        center = [(n - 1) // 2 for n in kernel_size]
        offsets = [np.subtract(i, center) for i in np.ndindex(*kernel_size)]
        shifted = [np.roll(u, r, (0, 1)) for r in offsets]
        shifted_back = [np.roll(g, -r, (0, 1)) for r in offsets]
        values, exponent = _forward(stack, jnp.asarray(kernel)[None], jnp.asarray(u))
        operands = jnp.asarray(kernel)[None], jnp.asarray(u), exponent, jnp.asarray(g)
        dk, du = _reverse(stack, (True, True), *operands)
        for name, got, expected in (
            ("layers", values, np.tensordot(kernel.ravel(), shifted, 1)),
            ("kernel gradients", dk[0], np.tensordot(shifted, g, 2).reshape(kernel_size)),
            ("field gradients", du, np.tensordot(kernel.ravel(), shifted_back, 1)),
        ):
            error = np.max(np.abs(np.asarray(got) - expected)) / np.max(np.abs(expected))
            if not error < 1e-4:
                taps = " x ".join(map(str, kernel_size))
                return f"computes {name} with errors of {error:.0e} on this machine ({taps} taps)"
    return ""


def _attributes(stack: Stack, needed: tuple[bool, ...] = ()) -> dict[str, np.ndarray]:
    boundary = BOUNDARIES.index(stack.boundary)
    interval = _RESCALE_INTERVAL if stack.rescale else 0
    numbers = [len(stack.shape), stack.steps, boundary, interval, stack.stacked, any(needed[:1])]
    slopes = _SLOPES[stack.rectifier]
    return {"numbers": np.array(numbers, np.int64), "slopes": np.array(slopes, np.float64)}


def _forward(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, ...]:
    results = (
        jax.ShapeDtypeStruct(values.shape, values.dtype),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    function = jax.ffi.ffi_call("infomech_forward", results, vmap_method="broadcast_all")
    return tuple(function(kernels, values, **_attributes(stack)))


def _reverse_function(stack: Stack, needed: tuple[bool, ...]) -> derivatives.Function:
    return derivatives.Function(
        functools.partial(_reverse, stack, needed),
        functools.partial(layers.reverse, shifts.convolution, stack, needed),
    )


def _reverse(stack, needed, kernels, values, exponent, cotangent):
    results = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (kernels, values))
    function = jax.ffi.ffi_call("infomech_reverse", results, vmap_method="broadcast_all")
    both = function(kernels, values, exponent, cotangent, **_attributes(stack, needed))
    return tuple(c for c, n in zip(both, needed, strict=True) if n)


ENGINE = Engine(
    "native",
    objection,
    run,
    plain=functools.partial(layers.forward, shifts.convolution),
    reservation=reservation,
    requirement=("ziglang", "native"),
)
