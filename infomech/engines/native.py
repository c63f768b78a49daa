"""Layers by a compiled loop on the CPU: tiles of the field pass several layers while in the cache.

Reached through XLA's typed foreign functions, with a reverse mode of its own; the source is in
`csrc`. Everything that this engine can't do is done by the shifted sums.
"""

import ctypes
import functools
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech.engines import build, derivatives, layers, shifts
from infomech.engines.stack import Stack

#: the most taps of a kernel
MAX_TAPS = 512

#: layers that tiles of a large field pass between scales
_DEPTH = 5

#: fields on which a new library is examined: with and without a rest beyond whole vectors
_EXAMINED = ((9, 20), (13, 33), (12, 64))

#: each rectifier's slope below 0, and its derivative at 0
_SLOPES = {
    rectifiers.relu: (0.0, 0.0),
    rectifiers.modulus: (-1.0, 0.0),
    rectifiers.identity: (1.0, 1.0),
    rectifiers.leaky_relu: (0.01, 1.0),
}


def objection(stack: Stack, platform: str) -> str | None:
    """Why this engine can't execute these layers on this platform; None if it can."""
    if platform != "cpu":
        return f"it is for the CPU, not {platform}"
    if stack.rectifier not in _SLOPES:
        return f"it has no {stack.rectifier.name}"
    if stack.dtype not in ("float32", "float64"):
        return f"it has no {stack.dtype}"
    if int(np.prod(stack.kernel_size)) > MAX_TAPS:
        return f"a kernel may have {MAX_TAPS} taps"
    return _missing()


def run(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The field after all layers, as values and e of values · 2ᵉ."""
    plain = functools.partial(layers.rescaled, shifts.convolution, stack)
    reverse = functools.partial(_reverse_of, stack)
    fast = functools.partial(_forward, stack)
    values, exponent = derivatives.call(derivatives.Function(fast, plain, reverse), kernels, values)
    return values, exponent


@functools.cache
def _missing() -> str | None:
    """Why there is no compiled library; None, with its functions known to XLA, if there is."""
    try:
        _register(build.library())
        with jax.ensure_compile_time_eval():
            return build.verdict(_examine) or None
    except build.UnavailableError as error:
        return str(error)


def _register(library: ctypes.CDLL) -> None:
    for name in ("infomech_forward", "infomech_reverse"):
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")


def _examine() -> str:
    """One layer of each size that has code of its own, and its reverse, beside NumPy: what is off.

    The identity on a periodic domain, so that all there is to compute are sums of shifted fields.
    """
    random = np.random.default_rng(0)
    for taps, pixels in product(
        ((1, 3), (2, 2), (3, 3), (4, 4), (5, 5), (7, 7), (9, 9)), _EXAMINED
    ):
        stack = Stack(pixels, taps, 1, False, rectifiers.identity, "periodic", "float32", False)
        kernel, u, g = (random.normal(size=n).astype("float32") for n in (taps, pixels, pixels))
        away = [np.subtract(i, [(n - 1) // 2 for n in taps]) for i in np.ndindex(*taps)]
        moved = [np.roll(u, a, (0, 1)) for a in away]
        back = [np.roll(g, -a, (0, 1)) for a in away]
        found, exponent = _forward(stack, jnp.asarray(kernel)[None], jnp.asarray(u))
        operands = jnp.asarray(kernel)[None], jnp.asarray(u), exponent, jnp.asarray(g)
        by_taps, by_field = _reverse(stack, (True, True), *operands)
        for name, got, expected in (
            ("layers", found, np.tensordot(kernel.ravel(), moved, 1)),
            ("slopes for the taps", by_taps[0], np.tensordot(moved, g, 2).reshape(taps)),
            ("slopes for the field", by_field, np.tensordot(kernel.ravel(), back, 1)),
        ):
            error = np.max(np.abs(np.asarray(got) - expected)) / np.max(np.abs(expected))
            if not error < 1e-4:
                size = " x ".join(map(str, taps))
                return f"compiled on this machine its {name} are wrong by {error:.0e} ({size} taps)"
    return ""


def _attributes(stack: Stack, wanted: tuple[bool, ...] = ()) -> dict[str, np.ndarray]:
    boundary = ("zero", "periodic", "reflect").index(stack.boundary)
    renew = _DEPTH if stack.rescale else 0
    numbers = [len(stack.shape), stack.steps, boundary, renew, stack.stacked, any(wanted[:1])]
    slopes = _SLOPES[stack.rectifier]
    return {"numbers": np.array(numbers, np.int64), "slopes": np.array(slopes, np.float64)}


def _forward(stack: Stack, kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, ...]:
    results = (
        jax.ShapeDtypeStruct(values.shape, values.dtype),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    function = jax.ffi.ffi_call("infomech_forward", results, vmap_method="broadcast_all")
    return tuple(function(kernels, values, **_attributes(stack)))


def _reverse_of(stack: Stack, wanted: tuple[bool, ...]) -> derivatives.Function:
    return derivatives.Function(
        functools.partial(_reverse, stack, wanted),
        functools.partial(layers.reverse, shifts.convolution, stack, wanted),
    )


def _reverse(stack, wanted, kernels, values, exponent, cotangent):
    results = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (kernels, values))
    function = jax.ffi.ffi_call("infomech_reverse", results, vmap_method="broadcast_all")
    both = function(kernels, values, exponent, cotangent, **_attributes(stack, wanted))
    return tuple(c for c, w in zip(both, wanted, strict=True) if w)
