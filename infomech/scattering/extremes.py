"""Gradient searches: the worst signal for a frame, and the best frame for given signals."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infomech._core import checks, safe_math
from infomech.scattering import _transform, frames, nonlinearities
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity

#: steps of Adam in one iteration
STEPS_PER_ITERATION = 20


class Worst(NamedTuple):
    """Signals of unit energy that keep as much energy as possible out of the features.

    Attributes:
        signal: one signal per start, (starts, *shape).
        remaining: energy outside the features, 1 − Σ_n F_n, (starts,): W_(N+1) without pruning.
        features: Σ_n F_n, (starts,). A value near 0 means a signal near the null set of the
            network; the only signal with Σ_n F_n = 0 is 0.
        history: remaining energy during the search, (iterations + 1, starts).
    """

    signal: jax.Array
    remaining: jax.Array
    features: jax.Array
    history: jax.Array


def worst_signal(
    frame: Frame,
    depth: int,
    *,
    key: jax.Array,
    bandwidth: float | None = None,
    starts: int = 4,
    iterations: int = 10,
    rate: float = 0.02,
    prune: float = 0.0,
    nonlinearity: str | Nonlinearity = "modulus",
) -> Worst:
    """Search for signals whose energy stays out of the features, by gradient ascent.

    Maximizes 1 − Σ_{n ≤ N} F_n(f) = W_(N+1)(f) over ‖f‖ = 1 with f̂ = 0 for |ω| > bandwidth, with
    Adam on the samples of f, from several random starts in parallel. The search is local, so its
    result is a lower bound on the maximum.

    Args:
        frame: frame of all layers.
        depth: N.
        key: typed key from `jax.random.key`.
        bandwidth: largest |ω| in radians per sample; no limit if None.
        starts: number of random initial signals.
        iterations: iterations of 20 Adam steps each.
        rate: learning rate of Adam, relative to the root mean square of the samples.
        prune: see `energies`; pruned energy counts as remaining.
        nonlinearity: non-linearity of all layers; must conserve energy.

    Returns:
        `Worst`.

    Raises:
        ValueError: a frame that isn't tight, a non-linearity that doesn't conserve energy, a
            bandwidth without frequencies, or invalid arguments to `energies`.
    """
    checks.key(key)
    starts = checks.integer("starts", starts, 1)
    iterations = checks.integer("iterations", iterations, 0)
    in_band = frames.magnitudes(frame.shape) <= (np.inf if bandwidth is None else bandwidth)
    if bandwidth is not None and not in_band[frames.magnitudes(frame.shape) > 0].any():
        raise checks.error("bandwidth", bandwidth, "more than the grid's lowest frequency")
    frames.require_tight(frame)
    nonlinearity = _conserving(nonlinearity)
    _check(np.zeros(frame.shape), frame, depth, prune, nonlinearity)
    batch_shape = (starts, *frame.shape)
    signal = jax.random.normal(key, batch_shape, jnp.abs(frame.bands).dtype)
    mask = jnp.asarray(in_band)
    signal = _project(signal, mask)
    options: dict[str, Any] = {"depth": depth, "nonlinearity": nonlinearity}
    step_size = jnp.asarray(rate / math.sqrt(math.prod(frame.shape)), signal.dtype)
    threshold = jnp.asarray(prune, signal.dtype)
    state, history = jax.vmap(_adam(0.0).init)(signal), []
    for _ in range(iterations):
        signal, state, values = _worsen(signal, state, frame, mask, threshold, step_size, **options)
        history.append(values)
    signal = _project(signal, mask)
    remaining = _batch_remaining(signal, frame, threshold, **options)
    return Worst(signal, remaining, 1 - remaining, jnp.stack([*history, remaining]))


def _check(signal, frame, depth, prune, nonlinearity):
    """Raise the errors of `energies` without compiling it."""

    def energies(signal):
        return _transform.energies(signal, frame, depth, prune=prune, nonlinearity=nonlinearity)

    jax.eval_shape(energies, signal)


def _conserving(nonlinearity):
    kind = nonlinearities.get(nonlinearity)
    if not kind.conserves:
        raise checks.error("nonlinearity", kind.name, "one that conserves energy")
    return kind


def _remaining(signal, frame, prune, *, depth, nonlinearity):
    """Fraction of the energy outside the features."""
    result = _transform.energies(signal, frame, depth, prune=prune, nonlinearity=nonlinearity)
    return 1 - safe_math.divide(jnp.sum(result.relative.collected), result.relative.energy)


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _batch_remaining(signals, frame, prune, *, depth, nonlinearity):
    def remaining(signal):
        return _remaining(signal, frame, prune, depth=depth, nonlinearity=nonlinearity)

    return jax.vmap(remaining)(signals)


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _worsen(signals, states, frame, mask, prune, rate, *, depth, nonlinearity):
    def objective(signal):
        feasible = _project(signal[None], mask)[0]
        return _remaining(feasible, frame, prune, depth=depth, nonlinearity=nonlinearity)

    return jax.vmap(lambda signal, state: _ascend(objective, signal, state, rate))(signals, states)


class Best(NamedTuple):
    """A tight frame learned for a class of signals.

    Attributes:
        frame: the learned frame; its low-pass is that of the initial frame.
        share: mean fraction of the energy in the features of layers 0 … N during learning,
            (iterations + 1,).
    """

    frame: Frame
    share: jax.Array


def best_frame(
    frame: Frame,
    signals: Any,
    depth: int,
    *,
    iterations: int = 10,
    rate: float = 0.02,
    prune: float = 0.0,
    nonlinearity: str | Nonlinearity = "modulus",
) -> Best:
    """Learn band-passes whose features up to layer N capture the most energy of given signals.

    Maximizes the mean of Σ_{n ≤ N} F_n / ‖f‖² with Adam on the responses ĝ_λ, one per mirrored
    pair. `infomech.scattering.frames.tighten` makes the frame tight at every step. The low-pass
    stays fixed, since an all-pass would be the trivial optimum.

    Args:
        frame: initial frame, tight.
        signals: (signals, *shape), real.
        depth: N.
        iterations: iterations of 20 Adam steps each.
        rate: learning rate of Adam.
        prune, nonlinearity: see `worst_signal`.

    Returns:
        `Best`. Check on held-out signals that the frame generalizes.

    Raises:
        ValueError: a frame that isn't tight, signals of the wrong shape or without energy, a
            non-linearity that doesn't conserve energy, or invalid arguments to `energies`.
    """
    frames.require_tight(frame)
    iterations = checks.integer("iterations", iterations, 0)
    batch = checks.floating("signals", signals)
    if batch.ndim != len(frame.shape) + 1 or batch.shape[1:] != frame.shape:
        raise checks.error("signals", f"shape {batch.shape}", f"(signals, *{frame.shape})")
    checks.finite("signals", signals)
    known = checks.concrete(batch)
    if known is not None and not known.reshape(len(known), -1).any(1).all():
        raise checks.error("signals", "one that is 0 everywhere", "nonzero signals")
    nonlinearity = _conserving(nonlinearity)
    _check(batch[0], frame, depth, prune, nonlinearity)
    responses, history = frame.bands[np.array(frames.independent_bands(frame))], []
    state = _adam(0.0).init(responses)
    step_size, threshold = (jnp.asarray(x, batch.dtype) for x in (rate, prune))
    options: dict[str, Any] = {"depth": depth, "nonlinearity": nonlinearity}
    for _ in range(iterations):
        responses, state, value = _improve(
            responses, state, frame, batch, threshold, step_size, **options
        )
        history.append(value)
    history.append(_captured(responses, frame, batch, threshold, **options))
    return Best(_build(responses, frame), jnp.stack(history))


def _build(responses, frame):
    return frames.tighten(frames.with_bands(frame, responses), keep_low=True)


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _captured(responses, frame, batch, prune, *, depth, nonlinearity):
    """Mean fraction of the energy in the features."""
    bank = _build(responses, frame)

    def remaining(signal):
        return _remaining(signal, bank, prune, depth=depth, nonlinearity=nonlinearity)

    return 1 - jnp.mean(jax.vmap(remaining)(batch))


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _improve(responses, state, frame, batch, prune, rate, *, depth, nonlinearity):
    def objective(responses):
        return _captured(responses, frame, batch, prune, depth=depth, nonlinearity=nonlinearity)

    return _ascend(objective, responses, state, rate)


def _ascend(objective, point, state, rate):
    """One iteration of Adam steps that increase `objective`; also returns its initial value."""

    def step(carry, _):
        point, state = carry
        value, gradient = jax.value_and_grad(objective)(point)
        # optax multiplies floats by counts
        with jax.numpy_dtype_promotion("standard"):
            updates, state = _adam(rate).update(-jnp.conj(gradient), state, point)
        return (point + updates, state), value

    (point, state), values = jax.lax.scan(step, (point, state), length=STEPS_PER_ITERATION)
    return point, state, values[0]


def _adam(rate):
    import optax  # slow import, needed only here

    return optax.adam(rate)


def _project(signal: jax.Array, mask: Any) -> jax.Array:
    """Restrict signals to the frequencies of a mask and scale them to unit energy."""
    axes = tuple(range(1, signal.ndim))
    spectrum = jnp.where(mask[None], jnp.fft.fftn(signal, axes=axes), 0)
    limited = jnp.fft.ifftn(spectrum, axes=axes).real
    return limited / safe_math.sqrt(jnp.sum(limited**2, axes, keepdims=True))
