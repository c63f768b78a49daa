"""Layers of rectified convolution, one after the other, observed on the way."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import observables, rectifiers
from infomech._core import checks, safe_math, scans
from infomech._rollout import step
from infomech.engines import derivatives, devices, plan
from infomech.fields import Field, as_field

#: what the field is divided by after each layer: 1, Σ|u|, √Σu² or max|u|
NORMALIZATIONS = ("none", "sum", "l2", "max")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trace:
    """What a rollout observes by default, for n layers observed: 0, every, 2·every, …

    Attributes:
        layer: number of layers passed, shape (n,).
        center: center of mass in pixels, shape (n, d); on a periodic domain the circular mean,
            unwrapped over time.
        covariance: of the mass about its center, in pixels², shape (n, d, d).
        log_mass: log of the true mass Σ u, shape (n,).
        log_energy: log of the true energy Σ u², shape (n,).
        edge: share of Σ |u| that feels the boundary before the next observation, shape (n,);
            above 0 the other numbers begin to depend on the domain.
        balance: |Σ u| / Σ |u|, shape (n,); 1 while the field has one sign. Near the rounding error
            of the dtype, center and covariance are noise.
        cut: share of Σ |u| that was cut off up to here when the domain followed the pattern,
            shape (n,); 0 for a domain that stays. What is lost at the boundary between two moves
            is not in it, but felt by `edge`.
    """

    layer: jax.Array
    center: jax.Array
    covariance: jax.Array
    log_mass: jax.Array
    log_energy: jax.Array
    edge: jax.Array
    balance: jax.Array
    cut: jax.Array

    @property
    def spread(self) -> jax.Array:
        """σ = √diag C on each axis, in pixels, shape (n, d)."""
        return safe_math.sqrt(jnp.diagonal(self.covariance, axis1=-2, axis2=-1))


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
    how = step.How(1, rectifier, boundary, "none", None, 1, "auto", "checkpointed", 0, None)
    return _run(kernel, field, how=how)[0]


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
    follow: int = 0,
    engine: str = "auto",
    grad_mode: str = "auto",
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[Field, Any]:
    """Passes a field through `steps` layers and observes it on the way ([M]).

    u ← φ(k * u) / norm. For a homogeneous rectifier the norms are kept in the field's log_gain, so
    that true mass and energy stay known, and normalizing changes nothing but the range of numbers;
    for any other rectifier it changes the dynamics, is part of the layer and leaves log_gain at 0.
    Derivatives of any order can be taken, in reverse and forward, by what `grad_mode` says.

    Args:
        kernel: taps, d axes; or (steps, *taps), one kernel per layer.
        field: `Field` or array of d axes; not normalized itself.
        steps: number of layers, at least 0.
        rectifier: a name, a `Rectifier` or a pointwise callable.
        boundary: "zero", "periodic", or "reflect" (mirror image, edge pixel not repeated).
        normalize: "none", "sum" (Σ|u|), "l2" (√Σu²) or "max" (max|u|). A norm of 0 is left alone.
        observe: "trace" for a `Trace`; any function of a `Field`, whose results are stacked; or
            None. A function is compiled once: pass the same one again, not a new lambda.
        every: layers between observations; the first is before layer 1.
        follow: most layers after which the domain is moved by whole pixels so that the center of
            mass lies in its middle again, as it is before each observation; 0 for a domain that
            stays. For a boundary of "zero" and the default trace, whose `cut` says what was lost.
        engine: how layers are executed: "auto" or a name in `infomech.engines.plan.ENGINES`.
        grad_mode: "checkpointed": reverse mode remembers about 2√steps fields and computes the
            others again; "full": remembers all of them, in plain JAX; "forward": derivatives for
            the taps are carried along, in memory that doesn't grow with the steps; "auto":
            checkpointed if there is memory for it, else forward.
        mesh: devices that split a field too large for one of them: the mesh's axes split the
            field's, from the first on, into tiles of one size, no narrower than the kernel's reach.
            Neighbors exchange halos, of up to 16 layers' reach between two observations. Final
            field and trace equal those of one device; the field stays split.

    Returns:
        `(final, trace)`: the `Field` after the last layer, and what was observed, along a leading
        axis of steps // every + 1 entries (None if `observe` is None).

    Raises:
        ValueError: kernel and field don't fit, NaN in the kernel, steps < 0, a stack of another
            length than `steps`, an unknown name, an engine that can't do this, a mesh that can't
            split the field; on a periodic domain an `every` so large that a turn around the domain
            could pass unseen.
    """
    rectifier = rectifiers.get(rectifier)
    steps, every = checks.integer("steps", steps, 0), checks.integer("every", every, 1)
    checks.one_of("normalize", normalize, NORMALIZATIONS)
    if not (observe is None or observe == "trace" or callable(observe)):
        raise checks.error("observe", repr(observe), '"trace", a function of a Field, or None')
    checks.hashable("observe", observe)
    kernel, field = _prepared(kernel, field, steps, rectifier, boundary)
    taps = kernel.shape[-field.values.ndim :]
    if observe == "trace" and boundary == "periodic":
        for n, pixels in zip(taps, field.values.shape, strict=True):
            if every > 1 and every * (n // 2) >= pixels / 2:
                most = max(1, math.ceil(pixels / 2 / (n // 2)) - 1)
                raise checks.error("every", every, f"at most {most} on {pixels} periodic pixels")
    if observe is None:
        every = max(steps, 1)
    checks.one_of("grad_mode", grad_mode, ("auto", *plan.GRAD_MODES))
    follow = checks.integer("follow", follow, 0)
    if follow and (boundary != "zero" or observe != "trace" or mesh is not None):
        got = f"{follow} with boundary={boundary!r}, observe={observe!r}, mesh={mesh!r}"
        raise checks.error("follow", got, "0, or boundary='zero', observe='trace' and no mesh")
    stacked = kernel.ndim > len(taps)
    mesh = devices.mesh(mesh)
    how = step.How(
        steps, rectifier, boundary, normalize, observe, every, engine, grad_mode, follow, mesh
    )
    stack = step.stack_of(how, taps, field, max(steps, 1), stacked)
    devices.check(stack)
    chosen = plan.choose(stack, engine)  # says now what is wrong
    if grad_mode == "auto":
        how = dataclasses.replace(how, grad_mode=plan.choose_grad_mode(stack, chosen))
    return _run(*devices.placed(mesh, kernel, field), how=how)


@functools.partial(jax.jit, static_argnames=("how",))
def _run(kernel, field, *, how):
    if how.grad_mode != "forward":
        return _passed(kernel, field, how)

    def passed(kernel, *parts):
        return _passed(kernel, Field(*parts), how)

    return derivatives.forward_in_first(passed, kernel, *dataclasses.astuple(field))


def _passed(kernel, field, how):
    """The rollout; kernels of their own per layer go through the scans, a shared one doesn't."""
    taps = kernel.shape[-field.values.ndim :]
    stacked = kernel.ndim > field.values.ndim
    free = how.rectifier.homogeneous and how.normalize != "none"
    kernels = step.scaled_kernels(kernel, stacked, field.log_gain.dtype, free)
    own = kernels if stacked else None
    advance = functools.partial(step.advance, how, taps, None if stacked else kernels)
    measure = functools.partial(_measure, how, taps)

    def block(state, own):
        state = advance(state, own, how.every)
        return state, measure(step.as_seen(state, how.rectifier), state.log_kept)

    state = step.start(field, free and how.steps > 0)
    first = measure(field, state.log_kept)
    blocks = how.steps // how.every
    cut = blocks * how.every
    head = jax.tree.map(lambda a: a[:cut].reshape(blocks, how.every, *a.shape[1:]), own)
    state, seen = scans.checkpointed(block, state, head, blocks)
    if how.steps > cut:
        state = advance(state, jax.tree.map(lambda a: a[cut:], own), how.steps - cut)
    final = devices.kept_split(how.mesh, step.as_seen(state, how.rectifier))
    if how.observe is None:
        return final, None
    seen = jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), first, seen)
    if how.observe == "trace":
        layers = np.arange(blocks + 1) * how.every
        seen = _trace(seen, layers, field.values.shape, how.boundary)
    return final, seen


def _measure(how, taps, field, log_kept):
    if how.observe != "trace":
        return None if how.observe is None else how.observe(field)
    reach = observables.layer_reach(taps, how.every, boundary=how.boundary)
    return {
        "center": observables.center(field, boundary=how.boundary),
        "covariance": observables.covariance(field, boundary=how.boundary),
        "log_mass": observables.log_mass(field),
        "log_energy": observables.log_energy(field),
        "edge": observables.edge(field, reach, boundary=how.boundary),
        "balance": observables.balance(field),
        "cut": 0 - jnp.expm1(log_kept),
    }


def _trace(seen, layers, shape, boundary):
    center = seen["center"]
    if boundary == "periodic":
        lengths = jnp.asarray(shape, center.dtype)
        moved = observables.wrap(jnp.diff(center, axis=0), lengths[None])
        center = jnp.cumsum(jnp.concatenate([center[:1], moved]), axis=0)
    return Trace(layer=jnp.asarray(layers), **{**seen, "center": center})


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
        raise checks.error("kernel", f"{array.ndim} axes for a field of {d}", f"{d}{per_layer}")
    if stacked and array.shape[0] != steps:
        raise checks.error("steps", steps, f"{array.shape[0]}, the number of kernels in the stack")
    if 0 in taps:
        raise checks.error("kernel", f"shape {array.shape}, which has no taps", "at least one tap")
    checks.finite("kernel", kernel)
    if any(n > most for n, most in zip(taps, pixels, strict=True)):
        raise checks.error("kernel", f"{taps} taps", f"no more than the field's {pixels} pixels")
    dtype = safe_math.wider(array.dtype, field.values.dtype)
    exact = safe_math.wider(dtype, jnp.float32)
    values, log_gain = field.values.astype(dtype), field.log_gain.astype(exact)
    if not rectifier.homogeneous:
        values, log_gain = values * jnp.exp(log_gain).astype(dtype), jnp.zeros_like(log_gain)
    return array.astype(dtype), Field(values, field.origin.astype(exact), log_gain)
