"""Predict the displacement of content through a network from the mechanics of its filters.

A path leads from a pixel through one tap of each layer to a unit. Along it, displacements add and
weights multiply. So drift and diffusion add up over layers, and paths of large gain dominate.
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

#: weighting of paths: signed, or squared as if signs were random
WEIGHTINGS = ("signed", "energy")
#: units required for a line fit: one or two are fitted exactly, and every other bootstrap resample
#: of two units repeats one of them, so there is no interval either
MIN_UNITS = 3
#: results of `Agreement.verdict`
HOLDS, NOT_HELD = "holds", "not held"
TOO_FEW = "too few channels to tell"
ALIKE = "all channels alike, R² undefined"


class Drift(NamedTuple):
    """Displacement and spread of content at each channel of the last layer; see `predict`.

    Attributes:
        displacement: mean over all paths, pixels of the image, (outputs, d).
        covariance: of the displacement over all paths, pixels², (outputs, d, d).
        weight: Σ w over all paths, (outputs,).
        balance: |Σ w|/Σ |w| over all paths, in [0, 1], (outputs,). Where it is small, paths
            nearly cancel, and closing a few of them moves the center far.
    """

    displacement: jax.Array
    covariance: jax.Array
    weight: jax.Array
    balance: jax.Array


class Scores(NamedTuple):
    """Scores of predictions p against measurements m; shape () each.

    Attributes:
        slope, intercept, r_squared: of the least-squares line m = slope · p + intercept.
        proportion: slope Σ p m/Σ p² of the least-squares line through the origin.
        skill: 1 − Σ (m − p)²/Σ (m − m̄)² without any fit: 1 is perfect, values below 0 are worse
            than predicting the mean.
    """

    slope: jax.Array
    intercept: jax.Array
    r_squared: jax.Array
    proportion: jax.Array
    skill: jax.Array


class Agreement(NamedTuple):
    """`Scores`, the bounds of their intervals, and the number of units; see `agreement`.

    Attributes:
        scores, low, high: `Scores` each.
        used: number of units in the scores.
        canceled: number of units excluded because weights cancel or values are not finite.
        at_border: number of other units excluded because the border cuts their receptive field.
    """

    scores: Scores
    low: Scores
    high: Scores
    used: jax.Array
    canceled: jax.Array
    at_border: jax.Array

    @property
    def reason(self) -> str:
        """Why R² is undefined: `TOO_FEW` (below `MIN_UNITS` units) or `ALIKE`; else empty.

        For a single comparison outside jit.
        """
        if int(self.used) < MIN_UNITS:
            return TOO_FEW
        return "" if np.isfinite(self.scores.r_squared) else ALIKE

    def verdict(self, limit: float) -> str:
        """Whether the lower bound of the interval of R² exceeds `limit`.

        Returns:
            `HOLDS`, `NOT_HELD`, or the `reason` why R² is undefined.
        """
        return self.reason or (HOLDS if self.low.r_squared > limit else NOT_HELD)


def predict(
    kernels: Sequence[Any],
    gates: Sequence[Any] | None = None,
    *,
    strides: Sequence[Any] | None = None,
    dilations: Sequence[Any] | None = None,
    groups: Sequence[int] | None = None,
    weighting: str = "signed",
) -> Drift:
    """Displacement and spread from the mass, momentum and second moment of the kernels alone.

    A path passes tap r_l of each layer l. Its displacement is r = Σ_l D_l r_l, where D_l is the
    dilation of layer l times all strides before it. Its weight is w = Π_l g_l k_l(r_l). Over all
    paths from all channels of the image, the displacement is v = Σ r w/Σ w and the covariance
    Σ r rᵀ w/Σ w − v vᵀ.

    "signed" gives the moments of the gradient. It is exact for linear networks, and under ReLU for
    non-negative kernels and images. "energy" replaces k by k² and gives the moments of the squared
    gradient. It is exact in expectation over independent random signs of the taps of linear
    networks. Both model a rectifier as one gate per channel, the same for all paths through it.

    Args:
        kernels: (outputs, inputs/groups, *kernel_size) per layer, true convolutions.
        gates: g, (outputs,) per layer, the mean slope of the rectifier, or the mean squared slope
            for "energy", from `infomech.networks.sequential.gates`. 1 if None; a factor common to
            all channels of a layer, such as ½, changes only the weight.
        strides, dilations: one number per layer, or one per axis for each layer; 1 if None; static.
        groups: of each layer; 1 if None; static.
        weighting: one of `WEIGHTINGS`; static.

    Returns:
        `Drift`; displacement and covariance are NaN where paths cancel up to rounding, `balance`
        < `infomech.rates.MIN_BALANCE` rounding errors.

    Raises:
        ValueError: no layers, kernels with mismatched channels, options not one per layer.
    """
    checks.one_of("weighting", weighting, WEIGHTINGS)
    arrays, groups = _layers(kernels, groups)
    d, dtype = arrays[0].ndim - 2, arrays[0].dtype
    strides, dilations = (
        [per_axis(name, x, d) for x in _per_layer(name, values, len(arrays))]
        for name, values in (("strides", strides), ("dilations", dilations))
    )
    gates = _gates(gates, arrays)
    inputs = arrays[0].shape[1] * groups[0]
    origin = np.zeros((d + 1, d + 1))
    origin[0, 0] = 1
    paths = _Paths(
        jnp.broadcast_to(jnp.asarray(origin, dtype), (inputs, d + 1, d + 1)),
        jnp.ones(inputs, dtype),
        jnp.zeros((), dtype),
    )
    spacing = np.ones(d)
    for kernel, gate, stride, dilation, split in zip(
        arrays, gates, strides, dilations, groups, strict=True
    ):
        r = offsets(kernel.shape[2:]).reshape(-1, d) * spacing * dilation
        paths = _extend(paths, kernel, gate, r, split, 2 if weighting == "energy" else 1)
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
    """Agreement of predictions with measurements, axes pooled, with bootstrap intervals.

    Intervals are bootstrap percentiles over units and assume independent units. Units of the same
    channel are not independent: measure one per channel, or the intervals are too narrow.

    Args:
        predicted: for the same units: `jax.tree.map(lambda x: x[units[:, 0]], predict(…))`.
        measured: from `infomech.networks.receptive.measure`.
        key: from `jax.random.key`.
        quantity: "displacement", or "variance" on each axis; static.
        min_balance: minimum predicted and measured balance; other units are excluded.
        max_edge: maximum share of the receptive field at the border; other units are excluded.
        resamples: bootstrap resamples; static.
        level: confidence level of the intervals, in (0, 1).

    Returns:
        `Agreement`; scores are NaN with fewer than `MIN_UNITS` units.

    Raises:
        ValueError: unknown quantity, not one prediction per unit, `resamples` < 1, `level` outside
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
    valid = jnp.all(jnp.isfinite(p) & jnp.isfinite(m), axis=1)
    for balance, minimum in zip((predicted.balance, measured.balance), min_balance, strict=True):
        valid = valid & (balance >= minimum)
    inside = measured.edge <= max_edge
    used = valid & inside
    # used units come first; each resample draws as many as there are
    count, order = jnp.sum(used), jnp.argsort(~used)
    drawn = jax.random.randint(checks.key(key), (resamples, len(p)), 0, jnp.maximum(count, 1))
    mask = jnp.arange(len(p)) < count
    resampled = jax.vmap(lambda i: _scores(p[i], m[i], mask))(order[drawn])
    tails = jnp.asarray([(1 - level) / 2, (1 + level) / 2], dtype)
    low, high = jnp.nanquantile(jnp.stack(resampled), tails, axis=1)
    counts = (jnp.sum(group) for group in (used, ~valid, valid & ~inside))
    return Agreement(_scores(p, m, used), Scores(*low), Scores(*high), *counts)


class _Paths(NamedTuple):
    """Path sums per channel: Σ w x xᵀ with x = (1, r), and Σ |w|, both over exp(log_scale)."""

    moments: jax.Array
    size: jax.Array
    log_scale: jax.Array


def _extend(paths, kernel, gate, r, groups, power):
    """Extends the paths to the inputs of a layer to its outputs."""
    scale = safe_math.magnitude(kernel)
    taps = (kernel / scale).reshape(groups, -1, kernel.shape[1], len(r)) ** power
    outputs, (n, d) = len(kernel), r.shape
    # translation of a path by r: (1, x + r) = translation · (1, x)
    translations = np.broadcast_to(np.eye(d + 1), (n, d + 1, d + 1)).copy()
    translations[:, 1:, 0] = r
    t = jnp.asarray(translations, kernel.dtype)
    moments = paths.moments.reshape(groups, -1, d + 1, d + 1)
    shifted = jnp.einsum("nab,gibc,ndc->ginad", t, moments, t, precision="highest")
    moments = jnp.einsum("goin,ginad->goad", taps, shifted, precision="highest")
    size = jnp.einsum(
        "goin,gi->go", jnp.abs(taps), paths.size.reshape(groups, -1), precision="highest"
    )
    moments = moments.reshape(outputs, d + 1, d + 1) * gate[:, None, None]
    size = size.reshape(outputs) * jnp.abs(gate)
    # rescaled, so the weights of many layers neither overflow nor underflow
    largest = safe_math.magnitude(size)
    log_scale = paths.log_scale + power * jnp.log(scale) + jnp.log(largest)
    return _Paths(moments / largest, size / largest, log_scale)


def _drift(paths: _Paths) -> Drift:
    mass = paths.moments[:, 0, 0]
    balance = safe_math.divide(jnp.abs(mass), paths.size)
    defined = balance >= rates.MIN_BALANCE * jnp.finfo(mass.dtype).eps
    mean = paths.moments / jnp.where(defined, mass, 1)[:, None, None]
    v = mean[:, 1:, 0]
    covariance = mean[:, 1:, 1:] - v[:, :, None] * v[:, None, :]
    return Drift(
        jnp.where(defined[:, None], v, jnp.nan),
        jnp.where(defined[:, None, None], covariance, jnp.nan),
        jnp.exp(paths.log_scale) * mass,
        balance,
    )


def _layers(kernels, groups):
    """Validated kernels of a common dtype, and the groups of each layer."""
    kernels = list(kernels)
    arrays = [checks.floating(f"kernels[{n}]", kernel) for n, kernel in enumerate(kernels)]
    if not arrays or not 3 <= arrays[0].ndim <= 5:
        got = f"first shape {arrays[0].shape}" if arrays else "no layers"
        raise checks.error("kernels", got, "(outputs, inputs/groups, *kernel_size) per layer")
    groups = [checks.integer("groups", g, 1) for g in _per_layer("groups", groups, len(arrays))]
    inputs = arrays[0].shape[1] * groups[0]
    for n, (kernel, split) in enumerate(zip(arrays, groups, strict=True)):
        fits = kernel.ndim == arrays[0].ndim and kernel.size and len(kernel) % split == 0
        if not fits or kernel.shape[1] * split != inputs:
            expected = f"(outputs, {inputs}/{split}, *kernel_size) of {arrays[0].ndim} axes"
            raise checks.error(f"kernels[{n}]", f"shape {kernel.shape}", expected)
        checks.finite(f"kernels[{n}]", kernels[n])
        inputs = len(kernel)
    dtype = safe_math.wider(jnp.float32, *(kernel.dtype for kernel in arrays))
    return [kernel.astype(dtype) for kernel in arrays], groups


def _gates(gates, arrays):
    if gates is None:
        return [jnp.ones(len(kernel), kernel.dtype) for kernel in arrays]
    gates = _per_layer("gates", gates, len(arrays))
    return [
        checks.vector(f"gates[{n}]", gate, len(kernel), kernel.dtype)
        for n, (gate, kernel) in enumerate(zip(gates, arrays, strict=True))
    ]


def _per_layer(argument, values, layers):
    if values is not None and not isinstance(values, list | tuple):
        raise checks.error(argument, repr(values), f"one for each of {layers} layers")
    values = [1] * layers if values is None else list(values)
    if len(values) != layers:
        raise checks.error(argument, f"{len(values)} values", f"one for each of {layers} layers")
    return values


def _quantity(source: Drift | Shape, name: str) -> jax.Array:
    if name == "displacement":
        return source.displacement
    return jnp.diagonal(source.covariance, axis1=-2, axis2=-1)


def _scores(p: jax.Array, m: jax.Array, used: jax.Array) -> Scores:
    """Scores of the used units; p and m are (units, d)."""
    used = used & (jnp.sum(used) >= MIN_UNITS)
    p, m = (jnp.where(used[:, None], x, 0) for x in (p, m))
    pooled = jnp.broadcast_to(used[:, None], p.shape)
    line = rates.fit_line(p.ravel(), m.ravel(), pooled.ravel())
    mean = safe_math.divide(jnp.sum(m), jnp.sum(pooled, dtype=m.dtype))
    deviation = jnp.where(pooled, m - mean, 0)
    skill = 1 - safe_math.divide(jnp.sum((m - p) ** 2), jnp.sum(deviation**2))
    proportion = safe_math.divide(jnp.sum(p * m), jnp.sum(p**2))
    return Scores(line.slope, line.intercept, line.r_squared, proportion, skill)
