"""Layers by a compiled loop on the CPU: tiles of the field pass several layers while in the cache.

Reached through XLA's typed foreign functions, with a reverse mode of its own; the source is in
`csrc`. Everything that this engine can't do is done by the shifted sums.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rectifiers
from infomech.engines import build, derivatives, layers, shifts
from infomech.engines.stack import Stack

#: the most taps of a kernel
MOST_TAPS = 512

#: layers that tiles of a large field pass between scales
_DEPTH = 5

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
    if int(np.prod(stack.taps)) > MOST_TAPS:
        return f"a kernel may have {MOST_TAPS} taps"
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
        library = build.library()
    except build.UnavailableError as error:
        return str(error)
    for name in ("infomech_forward", "infomech_reverse"):
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return None


def _attributes(stack: Stack, wanted: tuple[bool, ...] = ()) -> dict[str, np.ndarray]:
    boundary = ("zero", "periodic", "reflect").index(stack.boundary)
    renew = _DEPTH if stack.rescale else 0
    numbers = [len(stack.pixels), stack.layers, boundary, renew, stack.stacked, any(wanted[:1])]
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
