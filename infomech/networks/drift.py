"""What a network's filters do together, predicted from their mechanics, and how well that holds.

Along a path from a pixel through one tap of each layer to a unit, displacements add and weights
multiply: drifts and diffusions add up, and the paths of large gain have the say.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech import rates
from infomech._core import checks, safe_math
from infomech.kernels import offsets
from infomech.networks.receptive import Shape
from infomech.networks.sequential import per_axis

#: how paths are summed: signs and all, or squared as if their signs were random
WEIGHTINGS = ("signed", "energy")
#: units that a line needs: through the axes of one or two it fits whatever was measured, and two
#: drawn again at random are one and the same every other time, so there is no interval either
MIN_UNITS = 3
#: what `Agreement.verdict` says
HOLDS, NOT_HELD = "holds", "not held"
TOO_FEW = "too few channels to tell"
ALIKE = "all channels alike, nothing to tell"


class Drift(NamedTuple):
    """What layers do to content on its way to each channel of the last one; see `predict`.

    Attributes:
        displacement: of content, mean over all paths, pixels of the image, (outputs, d).
        covariance: of the displacement over all paths, pixels², (outputs, d, d).
        weight: Σ w over all paths, (outputs,).
        balance: |Σ w|/Σ |w| over all paths, in [0, 1], (outputs,). Where it is small, paths all but
            cancel, and whatever shuts some of them moves the center far.
    """

    displacement: jax.Array
    covariance: jax.Array
    weight: jax.Array
    balance: jax.Array


class Scores(NamedTuple):
    """How what was measured, m, follows what was predicted, p; shape () each.

    Attributes:
        slope, intercept, r_squared: of the least-squares line m = slope · p + intercept.
        proportion: slope Σ p m/Σ p² of the least-squares line through the origin.
        skill: 1 − Σ (m − p)²/Σ (m − m̄)² of the prediction as it stands, nothing fitted: 1 is
            perfect, below 0 is worse than saying the mean.
    """

    slope: jax.Array
    intercept: jax.Array
    r_squared: jax.Array
    proportion: jax.Array
    skill: jax.Array


class Agreement(NamedTuple):
    """`Scores`, the ends of their intervals, and how many units they rest on; see `agreement`.

    Attributes:
        scores, low, high: `Scores` each.
        used: number of units in them.
        canceled: number left out since their weights cancel or there is nothing to compare.
        at_border: number of the others left out since the border cuts their receptive field.
    """

    scores: Scores
    low: Scores
    high: Scores
    used: jax.Array
    canceled: jax.Array
    at_border: jax.Array

    @property
    def reason(self) -> str:
        """Why there is no R²: `TOO_FEW`, fewer than `MIN_UNITS` units, or `ALIKE`; else empty.

        For one comparison, not for use under jit.
        """
        if int(self.used) < MIN_UNITS:
            return TOO_FEW
        return "" if np.isfinite(self.scores.r_squared) else ALIKE

    def verdict(self, least: float) -> str:
        """Whether R² is above `least` for sure, at the lower end of its interval.

        Returns:
            `HOLDS`, `NOT_HELD`, or the `reason` why it can't be told.
        """
        return self.reason or (HOLDS if self.low.r_squared > least else NOT_HELD)


def predict(
    kernels: Sequence[Any],
    gates: Sequence[Any] | None = None,
    *,
    strides: Sequence[Any] | None = None,
    dilations: Sequence[Any] | None = None,
    groups: Sequence[int] | None = None,
    weighting: str = "signed",
) -> Drift:
    """Displacement and spread from mass, momentum and second moment of the kernels alone.

    A path takes tap r_l of each layer l. Its displacement is r = Σ_l D_l r_l, with D_l the dilation
    of layer l times all strides before it, and its weight w = Π_l g_l k_l(r_l). Over all paths from
    any channel of the image, displacement v = Σ r w/Σ w and covariance Σ r rᵀ w/Σ w − v vᵀ.

    "signed" gives the moments of the gradient, exact for linear networks, and under ReLU for
    non-negative kernels and images. "energy" has k² for k and gives those of the squared
    gradient, exact in expectation over independent random signs of the taps of linear networks.
    Both take what a rectifier does to be the same for all paths through a channel, its gate.

    Args:
        kernels: (outputs, inputs/groups, *taps) per layer, true convolutions.
        gates: g, (outputs,) per layer, the mean slope of the rectifier, or the mean of its square
            for "energy": `infomech.networks.sequential.gates`. 1 if None: what all channels of a
            layer share, such as ½, changes nothing but the weight.
        strides, dilations: for each layer one number, or one per axis; 1 if None; static.
        groups: for each layer; 1 if None; static.
        weighting: one of `WEIGHTINGS`; static.

    Returns:
        `Drift`; displacement and covariance are NaN where paths cancel but for rounding, `balance`
        < `infomech.rates.MIN_BALANCE` rounding errors.

    Raises:
        ValueError: no layer, kernels that don't follow each other, options not one per layer.
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    arrays, groups = _layers(kernels, groups)
    d, dtype = arrays[0].ndim - 2, arrays[0].dtype
    strides, dilations = (
        [per_axis(name, x, d) for x in _each(name, values, len(arrays))]
        for name, values in (("strides", strides), ("dilations", dilations))
    )
    open_ = _gates(gates, arrays)
    inputs = arrays[0].shape[1] * groups[0]
    unmoved = np.zeros((d + 1, d + 1))
    unmoved[0, 0] = 1
    paths = _Paths(
        jnp.broadcast_to(jnp.asarray(unmoved, dtype), (inputs, d + 1, d + 1)),
        jnp.ones(inputs, dtype),
        jnp.zeros((), dtype),
    )
    spacing = np.ones(d)
    for kernel, gate, stride, dilation, split in zip(
        arrays, open_, strides, dilations, groups, strict=True
    ):
        r = offsets(kernel.shape[2:]).reshape(-1, d) * spacing * dilation
        paths = _through(paths, kernel, gate, r, split, 2 if weighting == "energy" else 1)
        spacing = spacing * stride
    return _drift(paths)


def agreement(
    predicted: Drift,
    measured: Shape,
    *,
    key: jax.Array,
    quantity: str = "displacement",
    min_balance: tuple[float, float] = (0.0, 0.1),
    max_edge: float = 0.01,
    resamples: int = 1000,
    level: float = 0.95,
) -> Agreement:
    """How well a prediction tells what was measured, all axes pooled, with bootstrap intervals.

    Intervals are percentiles when units are drawn again at random, which takes them to be
    independent. Units of one channel are not: measure one each, or the intervals are too narrow.

    Args:
        predicted: for the same units: `jax.tree.map(lambda x: x[units[:, 0]], predict(…))`.
        measured: as of `infomech.networks.receptive.measure`.
        key: of `jax.random.key`.
        quantity: displacement, or variance on each axis; static.
        min_balance: units of a smaller predicted or a smaller measured balance are left out.
        max_edge: so are those with a larger share of their receptive field at the border.
        resamples: of the bootstrap; static.
        level: probability that an interval covers, in (0, 1).

    Returns:
        `Agreement`; scores are NaN if fewer than `MIN_UNITS` units are left, too few to tell.

    Raises:
        ValueError: unknown quantity, not one prediction per unit, `resamples` < 1, a level outside
            (0, 1).
    """
    checks.one_of("quantity", quantity, ("displacement", "variance"))
    checks.integer("resamples", resamples, 1)
    if not 0 < level < 1:
        raise checks.error("level", level, "a number between 0 and 1")
    p, m = _quantity(predicted, quantity), _quantity(measured, quantity)
    if p.shape != m.shape or p.ndim != 2:
        raise checks.error("predicted", f"{quantity} {p.shape}", f"one per unit, {m.shape}")
    dtype = safe_math.wider(p.dtype, m.dtype)
    p, m = p.astype(dtype), m.astype(dtype)
    sound = jnp.all(jnp.isfinite(p) & jnp.isfinite(m), axis=1)
    for balance, least in zip((predicted.balance, measured.balance), min_balance, strict=True):
        sound = sound & (balance >= least)
    inside = measured.edge <= max_edge
    used = sound & inside
    # units in use come first, and each time as many are drawn as there are
    count, order = jnp.sum(used), jnp.argsort(~used)
    drawn = jax.random.randint(checks.key(key), (resamples, len(p)), 0, jnp.maximum(count, 1))
    taken = jnp.arange(len(p)) < count
    again = jax.vmap(lambda i: _scores(p[i], m[i], taken))(order[drawn])
    tails = jnp.asarray([(1 - level) / 2, (1 + level) / 2], dtype)
    low, high = jnp.nanquantile(jnp.stack(again), tails, axis=1)
    counts = (jnp.sum(mask) for mask in (used, ~sound, sound & ~inside))
    return Agreement(_scores(p, m, used), Scores(*low), Scores(*high), *counts)


class _Paths(NamedTuple):
    """All paths to each channel: Σ w x xᵀ with x = (1, r), and Σ |w|, both over exp(log_scale)."""

    moments: jax.Array
    size: jax.Array
    log_scale: jax.Array


def _through(paths, kernel, gate, r, groups, power):
    """The paths to the outputs of a layer, from those to its inputs."""
    scale = safe_math.magnitude(kernel)
    taps = (kernel / scale).reshape(groups, -1, kernel.shape[1], len(r)) ** power
    outputs, (n, d) = len(kernel), r.shape
    # a path moved by r: (1, x + r) = move · (1, x)
    moves = np.broadcast_to(np.eye(d + 1), (n, d + 1, d + 1)).copy()
    moves[:, 1:, 0] = r
    move = jnp.asarray(moves, kernel.dtype)
    moments = paths.moments.reshape(groups, -1, d + 1, d + 1)
    moved = jnp.einsum("nab,gibc,ndc->ginad", move, moments, move, precision="highest")
    moments = jnp.einsum("goin,ginad->goad", taps, moved, precision="highest")
    size = jnp.einsum(
        "goin,gi->go", jnp.abs(taps), paths.size.reshape(groups, -1), precision="highest"
    )
    moments = moments.reshape(outputs, d + 1, d + 1) * gate[:, None, None]
    size = size.reshape(outputs) * jnp.abs(gate)
    # the weights of many layers neither overflow nor underflow
    largest = safe_math.magnitude(size)
    log_scale = paths.log_scale + power * jnp.log(scale) + jnp.log(largest)
    return _Paths(moments / largest, size / largest, log_scale)


def _drift(paths: _Paths) -> Drift:
    mass = paths.moments[:, 0, 0]
    balance = safe_math.divide(jnp.abs(mass), paths.size)
    known = balance >= rates.MIN_BALANCE * jnp.finfo(mass.dtype).eps
    share = paths.moments / jnp.where(known, mass, 1)[:, None, None]
    v = share[:, 1:, 0]
    covariance = share[:, 1:, 1:] - v[:, :, None] * v[:, None, :]
    return Drift(
        jnp.where(known[:, None], v, jnp.nan),
        jnp.where(known[:, None, None], covariance, jnp.nan),
        jnp.exp(paths.log_scale) * mass,
        balance,
    )


def _layers(kernels, groups):
    """Kernels of one dtype that follow each other, and the groups of each."""
    kernels = list(kernels)
    arrays = [checks.floating(f"kernels[{n}]", kernel) for n, kernel in enumerate(kernels)]
    if not arrays or not 3 <= arrays[0].ndim <= 5:
        got = f"shape {arrays[0].shape} first" if arrays else "no layer"
        raise checks.error("kernels", got, "(outputs, inputs/groups, *taps) per layer")
    groups = [checks.integer("groups", g, 1) for g in _each("groups", groups, len(arrays))]
    inputs = arrays[0].shape[1] * groups[0]
    for n, (kernel, split) in enumerate(zip(arrays, groups, strict=True)):
        fits = kernel.ndim == arrays[0].ndim and kernel.size and len(kernel) % split == 0
        if not fits or kernel.shape[1] * split != inputs:
            expected = f"(outputs, {inputs}/{split}, *taps), {arrays[0].ndim - 2} axes of taps"
            raise checks.error(f"kernels[{n}]", f"shape {kernel.shape}", expected)
        checks.finite(f"kernels[{n}]", kernels[n])
        inputs = len(kernel)
    dtype = safe_math.wider(jnp.float32, *(kernel.dtype for kernel in arrays))
    return [kernel.astype(dtype) for kernel in arrays], groups


def _gates(gates, arrays):
    if gates is None:
        return [jnp.ones(len(kernel), kernel.dtype) for kernel in arrays]
    gates = _each("gates", gates, len(arrays))
    return [
        checks.vector(f"gates[{n}]", gate, len(kernel), kernel.dtype)
        for n, (gate, kernel) in enumerate(zip(gates, arrays, strict=True))
    ]


def _each(argument, values, layers):
    if values is not None and not isinstance(values, list | tuple):
        raise checks.error(argument, repr(values), f"one for each of {layers} layers")
    values = [1] * layers if values is None else list(values)
    if len(values) != layers:
        raise checks.error(argument, f"{len(values)} of them", f"one for each of {layers} layers")
    return values


def _quantity(of: Drift | Shape, name: str) -> jax.Array:
    if name == "displacement":
        return of.displacement
    return jnp.diagonal(of.covariance, axis1=-2, axis2=-1)


def _scores(p: jax.Array, m: jax.Array, used: jax.Array) -> Scores:
    """Scores of the units in use; p and m are (units, d)."""
    used = used & (jnp.sum(used) >= MIN_UNITS)
    p, m = (jnp.where(used[:, None], x, 0) for x in (p, m))
    pooled = jnp.broadcast_to(used[:, None], p.shape)
    line = rates.fit_line(p.ravel(), m.ravel(), pooled.ravel())
    mean = safe_math.divide(jnp.sum(m), jnp.sum(pooled, dtype=m.dtype))
    about = jnp.where(pooled, m - mean, 0)
    skill = 1 - safe_math.divide(jnp.sum((m - p) ** 2), jnp.sum(about**2))
    proportion = safe_math.divide(jnp.sum(p * m), jnp.sum(p**2))
    return Scores(line.slope, line.intercept, line.r_squared, proportion, skill)
