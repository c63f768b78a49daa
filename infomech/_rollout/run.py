"""Iterate convolution and rectifier, and observe the field between layers."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infomech import observables
from infomech._core import checks, safe_math, scans
from infomech._rollout import step
from infomech.dynamics import Dynamics, resolve
from infomech.engines import derivatives, devices, plan
from infomech.engines.stack import Engine, Stack
from infomech.fields import Field, as_field
from infomech.rectifiers import RectifierLike


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trace:
    """Default observations of a rollout at n layers: 0, every, 2·every, …

    Attributes:
        layer: number of layers before the observation, shape (n,).
        center: center of mass in pixels, shape (n, d); on a periodic domain the circular mean,
            unwrapped over time.
        covariance: covariance of the mass about its center, in pixels², shape (n, d, d).
        log_mass: log of the true mass Σ u, shape (n,).
        log_energy: log of the true energy Σ u², shape (n,).
        edge: share of Σ |u| that reaches the boundary before the next observation, shape (n,);
            above 0 the other numbers start to depend on the domain.
        balance: |Σ u| / Σ |u|, shape (n,); 1 if the field has one sign. Near the rounding error of
            the dtype, center and covariance are noise.
        cut: share of Σ |u| cut off so far by moves of a domain that follows the pattern, shape
            (n,); 0 for a fixed domain. Losses at the boundary between two moves are not included,
            but show in `edge`.
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
        """Standard deviation σ = √diag C on each axis, in pixels, shape (n, d)."""
        return safe_math.sqrt(jnp.diagonal(self.covariance, axis1=-2, axis2=-1))


def layer(
    kernel: Any,
    field: Any,
    *,
    dynamics: Dynamics | None = None,
    rectifier: RectifierLike | None = None,
    boundary: str | None = None,
) -> Field:
    """One layer, u ← φ(k * u): a true convolution, then the rectifier ([M]).

    The output lies on the pixel grid, out[x] = Σ_i k[i] u[x − i + c] with c = (n − 1)//2; for an
    even number of taps the origin moves by half a pixel.

    Args:
        kernel: taps with d axes, none longer than the field's.
        field: `Field` or array of d axes.
        dynamics, rectifier, boundary: as for `rollout`; a single layer does not normalize.

    Returns:
        `Field` of the same shape. For a non-homogeneous rectifier, log_gain is multiplied in first:
        it acts on the true field.

    Raises:
        ValueError: kernel and field don't match, or a name is unknown.
    """
    dynamics = resolve(dynamics, rectifier=rectifier, boundary=boundary, normalize="none")
    kernel, field, stack = _prepare(kernel, field, None, dynamics, None)
    config = step.RolloutConfig(stack, None, 1, "auto", "checkpointed")
    return _run(kernel, field, config=config)[0]


def rollout(
    kernel: Any,
    field: Any,
    steps: int,
    *,
    dynamics: Dynamics | None = None,
    rectifier: RectifierLike | None = None,
    boundary: str | None = None,
    normalize: str | None = None,
    observe: Callable[[Field], Any] | str | None = "trace",
    every: int = 1,
    follow: int = 0,
    engine: str | Engine = "auto",
    grad_mode: str = "auto",
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[Field, Any]:
    """Run `steps` layers u ← φ(k * u) / norm on a field and observe it between layers ([M]).

    For a homogeneous rectifier, log_gain accumulates the norms: true mass and energy stay known,
    and normalization changes only the range of numbers. For any other rectifier, normalization is
    part of the layer: it changes the dynamics and leaves log_gain at 0. Derivatives of any order
    work in reverse and forward mode; see `grad_mode`.

    Args:
        kernel: taps with d axes, or (steps, *kernel_size) with one kernel per layer.
        field: `Field` or array of d axes; the initial field is not normalized.
        steps: number of layers, at least 0.
        dynamics: `Dynamics` of each layer; the default is relu, zero, l2. The next three arguments
            replace its entries.
        rectifier: a name, a `Rectifier` or a pointwise callable.
        boundary: "zero", "periodic", or "reflect" (mirror image, edge pixel not repeated).
        normalize: "none", "sum" (Σ|u|), "l2" (√Σu²) or "max" (max|u|). A field of norm 0 is not
            normalized.
        observe: "trace" for a `Trace`; any function of a `Field`, whose results are stacked; or
            None. Each new function object is compiled: pass the same one again, not a new lambda.
        every: layers between observations; the first observation is before layer 1.
        follow: maximum number of layers between moves of the domain. Each move shifts it by whole
            pixels to bring the center of mass back to its middle; the domain also moves before
            each observation. 0 for a fixed domain. Requires the "zero" boundary and the default
            trace, whose `cut` measures the loss.
        engine: "auto", the name of an engine in `infomech.engines.plan.ENGINES`, or an `Engine`.
        grad_mode: "checkpointed": reverse mode stores about 2√steps fields and recomputes the
            others. "full": reverse mode of plain JAX, which stores all fields. "forward":
            derivatives in the taps use forward mode, whose memory doesn't grow with the steps.
            "auto": checkpointed if there is enough memory, else forward.
        mesh: devices that split a field too large for one device. The axes of the mesh split those
            of the field, from the first on, into tiles of equal size, no narrower than the kernel's
            reach. Neighbors exchange halos of up to 16 layers' reach between two observations.
            Final field and trace equal those of one device; the field stays split.

    Returns:
        `(final, trace)`: the `Field` after the last layer, and the observations along a leading
        axis of steps // every + 1 entries (None if `observe` is None).

    Raises:
        ValueError: kernel and field don't match, the kernel contains NaN, steps < 0, a stack has
            another length than `steps`, a name is unknown, the engine can't run this, or the mesh
            can't split the field; on a periodic domain, an `every` large enough to miss a turn
            around the domain.
    """
    dynamics = resolve(dynamics, rectifier=rectifier, boundary=boundary, normalize=normalize)
    steps, every = checks.integer("steps", steps, 0), checks.integer("every", every, 1)
    checks.one_of("grad_mode", grad_mode, ("auto", *plan.GRAD_MODES))
    follow = checks.integer("follow", follow, 0)
    mesh = devices.mesh(mesh)
    kernel, field, stack = _prepare(kernel, field, steps, dynamics, mesh)
    _check_observations(observe, every, follow, stack)
    if observe is None:
        every = max(steps, 1)
    # plan the whole rollout as one segment, to raise early if no engine can run it
    whole = replace(stack, steps=max(steps, 1))
    devices.check(whole)
    chosen = plan.choose(whole, engine)
    if grad_mode == "auto":
        grad_mode = plan.choose_grad_mode(whole, chosen)
    config = step.RolloutConfig(stack, observe, every, engine, grad_mode, follow)
    return _run(*devices.distribute(mesh, kernel, field), config=config)


@functools.partial(jax.jit, static_argnames=("config",))
def _run(kernel, field, *, config):
    if config.grad_mode != "forward":
        return _scan(kernel, field, config)

    def scan(kernel, *parts):
        return _scan(kernel, Field(*parts), config)

    return derivatives.forward_mode_in_first(scan, kernel, *dataclasses.astuple(field))


def _scan(kernel, field, config):
    """The rollout. Kernels per layer are inputs of the scans; a shared kernel is a constant."""
    stack, dynamics = config.stack, config.dynamics
    kernels = step.scale_kernels(kernel, stack.stacked, field.log_gain.dtype, dynamics.rescale)
    layer_kernels, shared = (kernels, None) if stack.stacked else (None, kernels)
    advance = functools.partial(step.advance, config, shared)

    def block(state, block_kernels):
        state = advance(state, block_kernels, config.every)
        return state, _measure(config, step.normalized_field(state, dynamics), state.log_kept)

    state = step.initial_state(field, dynamics.rescale and stack.steps > 0)
    first = _measure(config, field, state.log_kept)
    blocks = stack.steps // config.every
    cut = blocks * config.every
    head = jax.tree.map(
        lambda a: a[:cut].reshape(blocks, config.every, *a.shape[1:]), layer_kernels
    )
    state, observed = scans.checkpointed(block, state, head, blocks)
    if stack.steps > cut:
        tail = jax.tree.map(lambda a: a[cut:], layer_kernels)
        state = advance(state, tail, stack.steps - cut)
    final = devices.constrain(stack.mesh, step.normalized_field(state, dynamics))
    if config.observe is None:
        return final, None
    observed = jax.tree.map(
        lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), first, observed
    )
    if config.observe == "trace":
        layers = np.arange(blocks + 1) * config.every
        observed = _trace(observed, layers, stack.shape, dynamics.boundary)
    return final, observed


def _measure(config, field, log_kept):
    """The observation of one field."""
    if config.observe != "trace":
        return None if config.observe is None else config.observe(field)
    boundary = config.dynamics.boundary
    reach = observables.layer_reach(config.stack.kernel_size, config.every, boundary=boundary)
    return {
        "center": observables.center(field, boundary=boundary),
        "covariance": observables.covariance(field, boundary=boundary),
        "log_mass": observables.log_mass(field),
        "log_energy": observables.log_energy(field),
        "edge": observables.edge(field, reach, boundary=boundary),
        "balance": observables.balance(field),
        "cut": 0 - jnp.expm1(log_kept),
    }


def _trace(observed, layers, shape, boundary):
    center = observed["center"]
    if boundary == "periodic":
        periods = jnp.asarray(shape, center.dtype)
        displacements = observables.wrap(jnp.diff(center, axis=0), periods[None])
        center = jnp.cumsum(jnp.concatenate([center[:1], displacements]), axis=0)
    return Trace(layer=jnp.asarray(layers), **{**observed, "center": center})


def _prepare(kernel, field, steps, dynamics, mesh):
    """Check kernel and field, convert them to one dtype, and describe the layers.

    `steps` is the required length of a stack of kernels; None allows no stack and is one layer.
    """
    field = as_field(field)
    d, shape = field.values.ndim, field.values.shape
    array = checks.floating("kernel", kernel)
    kernel_size = array.shape[-d:]
    stacked = steps is not None and array.ndim == d + 1
    if array.ndim != d and not stacked:
        per_layer = "" if steps is None else f", or {d + 1} with one kernel per layer"
        raise checks.error("kernel", f"{array.ndim} axes for a field of {d}", f"{d}{per_layer}")
    if stacked and array.shape[0] != steps:
        raise checks.error("steps", steps, f"{array.shape[0]}, the number of kernels in the stack")
    if 0 in kernel_size:
        raise checks.error("kernel", f"shape {array.shape}, which has no taps", "at least one tap")
    checks.finite("kernel", kernel)
    if any(n > m for n, m in zip(kernel_size, shape, strict=True)):
        raise checks.error("kernel", f"{kernel_size} taps", f"at most the field's {shape} pixels")
    dtype = safe_math.wider(array.dtype, field.values.dtype)
    exact = safe_math.wider(dtype, jnp.float32)
    values, log_gain = field.values.astype(dtype), field.log_gain.astype(exact)
    if not dynamics.phi.homogeneous:
        values, log_gain = values * jnp.exp(log_gain).astype(dtype), jnp.zeros_like(log_gain)
    field = Field(values, field.origin.astype(exact), log_gain)
    stack = Stack(
        shape, kernel_size, 1 if steps is None else steps, stacked, dynamics, dtype.name, mesh
    )
    return array.astype(dtype), field, stack


def _check_observations(observe, every, follow, stack):
    """Raise ValueError if these observations or moves of the domain are impossible."""
    boundary = stack.boundary
    if not (observe is None or observe == "trace" or callable(observe)):
        raise checks.error("observe", repr(observe), '"trace", a function of a Field, or None')
    checks.hashable("observe", observe)
    if observe == "trace" and boundary == "periodic":
        for n, pixels in zip(stack.kernel_size, stack.shape, strict=True):
            if every > 1 and every * (n // 2) >= pixels / 2:
                limit = max(1, math.ceil(pixels / 2 / (n // 2)) - 1)
                raise checks.error("every", every, f"at most {limit} on {pixels} periodic pixels")
    if follow and (boundary != "zero" or observe != "trace" or stack.mesh is not None):
        got = f"{follow} with boundary={boundary!r}, observe={observe!r}, mesh={stack.mesh!r}"
        raise checks.error("follow", got, "0, or boundary='zero', observe='trace' and no mesh")
