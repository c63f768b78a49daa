"""Layers of rectified convolution, one after the other, observed on the way."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import checks, guards, observables, rectifiers, scans
from infomech.engines import plan
from infomech.fields import Field, as_field

#: what the field is divided by after each layer: 1, Σ|u|, √Σu² or max|u|
NORMALISATIONS = ("none", "sum", "l2", "max")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trace:
    """What a rollout observes by default, for n layers observed: 0, every, 2·every, …

    Attributes:
        layer: number of layers passed, shape (n,).
        centre: centre of mass in pixels, shape (n, d); on a periodic domain the circular mean,
            unwrapped over time.
        covariance: of the mass about its centre, in pixels², shape (n, d, d).
        log_mass: log of the true mass Σ u, shape (n,).
        log_energy: log of the true energy Σ u², shape (n,).
        edge: share of Σ |u| that feels the boundary before the next observation, shape (n,);
            above 0 the other numbers begin to depend on the domain.
        balance: |Σ u| / Σ |u|, shape (n,); 1 while the field has one sign. Near the rounding error
            of the dtype, centre and covariance are noise.
    """

    layer: jax.Array
    centre: jax.Array
    covariance: jax.Array
    log_mass: jax.Array
    log_energy: jax.Array
    edge: jax.Array
    balance: jax.Array

    @property
    def spread(self) -> jax.Array:
        """σ = √diag C on each axis, in pixels, shape (n, d)."""
        return guards.sqrt(jnp.diagonal(self.covariance, axis1=-2, axis2=-1))


def layer(kernel: Any, field: Any, *, rectifier: Any = "relu", boundary: str = "zero") -> Field:
    """One layer, u ← φ(k * u): a true convolution, then the rectifier ([M]).

    The output lies on the pixel grid, out[x] = Σ_i k[i] u[x − i + c] with c = (n − 1)//2; for an
    even number of taps the origin moves by half a pixel.

    Args:
        kernel: taps, d axes, none longer than the field's.
        field: `Field` or array of d axes.
        rectifier: a name, a `Rectifier` or a pointwise callable.
        boundary: "zero", "periodic", or "reflect" (mirror image, edge pixel not repeated).

    Returns:
        `Field` of the same shape. A non-homogeneous rectifier sees the true field, so log_gain is
        multiplied in first.

    Raises:
        ValueError: kernel and field don't fit, or an unknown name.
    """
    rectifier = rectifiers.get(rectifier)
    kernel, field = _prepared(kernel, field, None, rectifier, boundary)
    values = rectifier(plan.choose(kernel.shape)(kernel, field.values, boundary))
    return Field(values, field.origin + _origin_step(kernel.shape, field), field.log_gain)


def rollout(
    kernel: Any,
    field: Any,
    steps: int,
    *,
    rectifier: Any = "relu",
    boundary: str = "zero",
    normalize: str = "l2",
    observe: Callable[[Field], Any] | str | None = "trace",
    every: int = 1,
) -> tuple[Field, Any]:
    """Passes a field through `steps` layers and observes it on the way ([M]).

    u ← φ(k * u) / norm. For a homogeneous rectifier the norms are kept in the field's log_gain, so
    that true mass and energy stay known, and normalising changes nothing but the range of numbers;
    for any other rectifier it changes the dynamics, is part of the layer and leaves log_gain at 0.
    Reverse mode stores about 2√steps fields and recomputes the rest; forward mode works too.

    Args:
        kernel: taps, d axes; or (steps, *taps), one kernel per layer.
        field: `Field` or array of d axes; not normalised itself.
        steps: number of layers, at least 0.
        rectifier: a name, a `Rectifier` or a pointwise callable.
        boundary: "zero", "periodic", or "reflect" (mirror image, edge pixel not repeated).
        normalize: "none", "sum" (Σ|u|), "l2" (√Σu²) or "max" (max|u|). A norm of 0 is left alone.
        observe: "trace" for a `Trace`; any function of a `Field`, whose results are stacked; or
            None. A function is compiled once: pass the same one again, not a new lambda.
        every: layers between observations; the first is before layer 1.

    Returns:
        `(final, trace)`: the `Field` after the last layer, and what was observed, along a leading
        axis of steps // every + 1 entries (None if `observe` is None).

    Raises:
        ValueError: kernel and field don't fit, NaN in the kernel, steps < 0, a stack of another
            length than `steps`, an unknown name; on a periodic domain an `every` so large that a
            turn around the domain could pass unseen.
    """
    rectifier = rectifiers.get(rectifier)
    steps, every = checks.integer("steps", steps, 0), checks.integer("every", every, 1)
    checks.one_of("normalize", normalize, NORMALISATIONS)
    if not (observe is None or observe == "trace" or callable(observe)):
        raise checks.fail("observe", repr(observe), '"trace", a function of a Field, or None')
    checks.hashable("observe", observe)
    kernel, field = _prepared(kernel, field, steps, rectifier, boundary)
    taps = kernel.shape[-field.values.ndim :]
    if observe == "trace" and boundary == "periodic":
        for n, pixels in zip(taps, field.values.shape, strict=True):
            if every > 1 and every * (n // 2) >= pixels / 2:
                most = max(1, math.ceil(pixels / 2 / (n // 2)) - 1)
                raise checks.fail("every", every, f"at most {most} on {pixels} periodic pixels")
    return _run(
        kernel, field, steps=steps, rectifier=rectifier, boundary=boundary,
        normalize=normalize, observe=observe, every=every,
    )  # fmt: skip


@functools.partial(
    jax.jit, static_argnames=("steps", "rectifier", "boundary", "normalize", "observe", "every")
)
def _run(kernel, field, *, steps, rectifier, boundary, normalize, observe, every):
    stacked = kernel.ndim > field.values.ndim
    taps = kernel.shape[-field.values.ndim :]
    free = rectifier.homogeneous and normalize != "none"
    layers = _scaled_kernels(kernel, stacked, field.log_gain.dtype, free)
    advance = _layer_step(layers, taps, field, rectifier, boundary, normalize)
    measure = observe
    if observe == "trace":
        measure = functools.partial(_measure, taps=taps, every=every, boundary=boundary)

    def block(state, kernels):
        state, _ = scans.checkpointed(lambda s, k: (advance(s, k), None), state, kernels, every)
        return state, None if measure is None else measure(_as_seen(state, rectifier))

    scale = _first_scale(field.values) if free and steps else jnp.ones((), field.values.dtype)
    state = (field.values, field.origin, field.log_gain, scale)
    first = None if measure is None else measure(field)
    blocks = steps // every
    cut = blocks * every
    layers = layers if stacked else None
    head = jax.tree.map(lambda a: a[:cut].reshape(blocks, every, *a.shape[1:]), layers)
    tail = jax.tree.map(lambda a: a[cut:], layers)
    state, seen = scans.checkpointed(block, state, head, blocks)
    state, _ = scans.checkpointed(lambda s, k: (advance(s, k), None), state, tail, steps - cut)
    final = _as_seen(state, rectifier)
    if measure is None:
        return final, None
    seen = jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), first, seen)
    if observe == "trace":
        seen = _trace(seen, np.arange(blocks + 1) * every, field.values.shape, boundary)
    return final, seen


def _first_scale(values):
    """1 over the mean of |u|: brings a field of any scale to where its squares can be added up."""
    size = jnp.abs(jax.lax.stop_gradient(values)).astype(guards.wider(values.dtype, jnp.float32))
    return (1 / guards.magnitude(observables.total(size) / size.size)).astype(values.dtype)


def _scaled_kernels(kernel, stacked, dtype, free):
    """Each kernel over its largest tap, and the logarithm of that.

    So that no scale of the kernels can over- or underflow; only where scales are `free`.
    """

    def scaled(kernel):
        scale = guards.magnitude(kernel) if free else jnp.ones((), kernel.dtype)
        return kernel / scale, jnp.log(scale.astype(dtype))

    return jax.vmap(scaled)(kernel) if stacked else scaled(kernel)


def _layer_step(layers, taps, field, rectifier, boundary, normalize):
    """The function that takes the state one layer on: by `layers`, or by the layer's own kernel.

    The state is (values, origin, log_gain, scale): the normalised field is values · scale. The
    scale goes into the next layer's taps, which saves a pass over the field.
    """
    convolve = plan.choose(taps)
    step = _origin_step(taps, field)

    # recomputed in reverse mode: one saved field per layer instead of one per tap
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def apply(kernel, values):
        return rectifier(convolve(kernel, values, boundary)).astype(values.dtype)

    def advance(state, own):
        values, origin, log_gain, scale = state
        kernel, log_scale = layers if own is None else own
        values = apply(kernel * scale, values)
        if rectifier.homogeneous:
            log_gain = log_gain + log_scale - jnp.log(scale.astype(log_gain.dtype))
        return values, origin + step, log_gain, _inverse_norm(values, normalize)

    return advance


def _as_seen(state, rectifier):
    """The normalised field of a state."""
    values, origin, log_gain, scale = state
    if rectifier.homogeneous:
        log_gain = log_gain - jnp.log(scale.astype(log_gain.dtype))
    return Field(values * scale, origin, log_gain)


def _inverse_norm(values, normalize):
    if normalize == "none":
        return jnp.ones((), values.dtype)
    wide = values.astype(guards.wider(values.dtype, jnp.float32))
    size = jnp.abs(wide)
    if normalize == "sum":
        norm = observables.total(size)
    elif normalize == "max":
        norm = jnp.max(size)
    else:
        norm = guards.sqrt(observables.total(wide**2))
    return jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 1).astype(values.dtype)


def _origin_step(taps, field):
    shift = [(n - 1) // 2 - (n - 1) / 2 for n in taps]
    return jnp.asarray(shift, field.origin.dtype)


def _measure(field, *, taps, every, boundary):
    reach = observables.layer_reach(taps, every, boundary=boundary)
    return {
        "centre": observables.centre(field, boundary=boundary),
        "covariance": observables.covariance(field, boundary=boundary),
        "log_mass": observables.log_mass(field),
        "log_energy": observables.log_energy(field),
        "edge": observables.edge(field, reach, boundary=boundary),
        "balance": observables.balance(field),
    }


def _trace(seen, layers, shape, boundary):
    centre = seen["centre"]
    if boundary == "periodic":
        lengths = jnp.asarray(shape, centre.dtype)
        moved = observables.wrap(jnp.diff(centre, axis=0), lengths[None])
        centre = jnp.cumsum(jnp.concatenate([centre[:1], moved]), axis=0)
    return Trace(layer=jnp.asarray(layers), **{**seen, "centre": centre})


def _prepared(kernel, field, steps, rectifier, boundary):
    """Kernel and field checked against each other and brought to one dtype.

    `steps` is the length of a stack of kernels, or None where a stack makes no sense.
    """
    checks.one_of("boundary", boundary, observables.BOUNDARIES)
    field = as_field(field)
    d, pixels = field.values.ndim, field.values.shape
    array = checks.floating("kernel", kernel)
    taps = array.shape[-d:]
    stacked = steps is not None and array.ndim == d + 1
    if array.ndim != d and not stacked:
        per_layer = "" if steps is None else f", or {d + 1} with one kernel per layer"
        raise checks.fail("kernel", f"{array.ndim} axes for a field of {d}", f"{d}{per_layer}")
    if stacked and array.shape[0] != steps:
        raise checks.fail("steps", steps, f"{array.shape[0]}, the number of kernels in the stack")
    if 0 in taps:
        raise checks.fail("kernel", f"shape {array.shape}, which has no taps", "at least one tap")
    checks.finite("kernel", kernel)
    if any(n > most for n, most in zip(taps, pixels, strict=True)):
        raise checks.fail("kernel", f"{taps} taps", f"no more than the field's {pixels} pixels")
    dtype = guards.wider(array.dtype, field.values.dtype)
    exact = guards.wider(dtype, jnp.float32)
    values, log_gain = field.values.astype(dtype), field.log_gain.astype(exact)
    if not rectifier.homogeneous:
        values, log_gain = values * jnp.exp(log_gain).astype(dtype), jnp.zeros_like(log_gain)
    return array.astype(dtype), Field(values, field.origin.astype(exact), log_gain)
