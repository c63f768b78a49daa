"""What differentiability makes possible: the worst signal for a frame, and the best frame."""

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

#: steps of a solver in one round
STEPS = 20


class Worst(NamedTuple):
    """Signals of unit energy that keep as much energy as can be found out of the features.

    Attributes:
        signal: one for each start, (starts, *grid).
        remaining: energy that isn't in the features, 1 − Σ_n F_n, (starts,): W_(N+1) if nothing is
            pruned.
        features: Σ_n F_n, (starts,). The smallest of them says how near the null set {0} is: a
            signal with 0 would be in it.
        history: remaining energy while climbing, (rounds + 1, starts).
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
    """Climbs from random signals to such as keep their energy out of the features for longest.

    Maximizes 1 − Σ_{n ≤ N} F_n(f) = W_(N+1)(f) over ‖f‖ = 1 with f̂ = 0 for |ω| > bandwidth, by
    Adam on the samples of f; all starts at once. A local search: more may be possible, never less.

    Args:
        frame: of all layers.
        depth: N.
        key: of `jax.random.key`.
        bandwidth: largest |ω| in radians per sample; the whole grid if None.
        starts: random signals to climb from.
        iterations: of 20 steps each.
        rate: of Adam, relative to the mean size of a sample.
        prune: as of `energies`; what is pruned counts as remaining.
        nonlinearity: of all layers; one that conserves energy.

    Returns:
        `Worst`.

    Raises:
        ValueError: a frame that isn't tight, a non-linearity that doesn't conserve energy, a band
            without frequencies, or as of `energies`.
    """
    checks.key(key)
    starts, iterations = (
        checks.integer("starts", starts, 1),
        checks.integer("iterations", iterations, 0),
    )
    inside = frames.magnitudes(frame.shape) <= (np.inf if bandwidth is None else bandwidth)
    if bandwidth is not None and not inside[frames.magnitudes(frame.shape) > 0].any():
        raise checks.error("bandwidth", bandwidth, "more than the grid's lowest frequency")
    frames.require_tight(frame)
    nonlinearity = _conserving(nonlinearity)
    _check(np.zeros(frame.shape), frame, depth, prune, nonlinearity)
    shape = (starts, *frame.shape)
    signal = jax.random.normal(key, shape, jnp.abs(frame.bands).dtype)
    signal = _within(signal, jnp.asarray(inside))
    settings: dict[str, Any] = {"depth": depth, "nonlinearity": nonlinearity}
    places = jnp.asarray(inside)
    size = jnp.asarray(rate / math.sqrt(math.prod(frame.shape)), signal.dtype)
    share = jnp.asarray(prune, signal.dtype)
    state, history = jax.vmap(_adam(0.0).init)(signal), []
    for _ in range(iterations):
        signal, state, heights = _worsen(signal, state, frame, places, share, size, **settings)
        history.append(heights)
    signal = _within(signal, places)
    remaining = _remainders(signal, frame, share, **settings)
    return Worst(signal, remaining, 1 - remaining, jnp.stack([*history, remaining]))


def _check(signal, frame, depth, prune, nonlinearity):
    """Raises what `energies` would, without compiling it."""

    def energies(signal):
        return _transform.energies(signal, frame, depth, prune=prune, nonlinearity=nonlinearity)

    jax.eval_shape(energies, signal)


def _conserving(nonlinearity):
    kind = nonlinearities.get(nonlinearity)
    if not kind.conserves:
        raise checks.error("nonlinearity", kind.name, "one that conserves energy")
    return kind


def _remaining(signal, frame, prune, *, depth, nonlinearity):
    """Share of the energy that isn't in the features."""
    found = _transform.energies(signal, frame, depth, prune=prune, nonlinearity=nonlinearity)
    return 1 - safe_math.divide(jnp.sum(found.relative.collected), found.relative.energy)


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _remainders(signals, frame, prune, *, depth, nonlinearity):
    def height(signal):
        return _remaining(signal, frame, prune, depth=depth, nonlinearity=nonlinearity)

    return jax.vmap(height)(signals)


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _worsen(signals, states, frame, inside, prune, rate, *, depth, nonlinearity):
    def height(signal):
        unit = _within(signal[None], inside)[0]
        return _remaining(unit, frame, prune, depth=depth, nonlinearity=nonlinearity)

    return jax.vmap(lambda signal, state: _ascent(height, signal, state, rate))(signals, states)


class Best(NamedTuple):
    """A tight frame learned for a class of signals.

    Attributes:
        frame: with the low-pass of the frame it was learned from.
        share: mean share of the energy in the features of layers 0 … N, while learning,
            (rounds + 1,).
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
    """Learns band-passes whose features hold the most energy of a class of signals by layer N.

    Maximizes the mean of Σ_{n ≤ N} F_n / ‖f‖² by Adam on the responses ĝ_λ, of which each mirrored
    pair has one, made tight at every step by `infomech.scattering.frames.tighten` with the low-pass
    as it is; otherwise a low-pass that lets everything through would be best.

    Args:
        frame: tight; what to start from.
        signals: (signals, *grid), real.
        depth: N.
        iterations: of 20 steps each.
        rate: of Adam.
        prune, nonlinearity: as of `worst_signal`.

    Returns:
        `Best`. That it's better for other signals too is for the caller to see.

    Raises:
        ValueError: a frame that isn't tight, signals of the wrong shape or without energy, a
            non-linearity that doesn't conserve energy, or as of `energies`.
    """
    frames.require_tight(frame)
    iterations = checks.integer("iterations", iterations, 0)
    batch = checks.floating("signals", signals)
    if batch.ndim != len(frame.shape) + 1 or batch.shape[1:] != frame.shape:
        raise checks.error("signals", f"shape {batch.shape}", f"(signals, *{frame.shape})")
    checks.finite("signals", signals)
    known = checks.concrete(batch)
    if known is not None and not known.reshape(len(known), -1).any(1).all():
        raise checks.error("signals", "one that is 0 everywhere", "signals with energy")
    nonlinearity = _conserving(nonlinearity)
    _check(batch[0], frame, depth, prune, nonlinearity)
    responses, history = frame.bands[np.array(frames.firsts(frame))], []
    state = _adam(0.0).init(responses)
    size, share = (jnp.asarray(x, batch.dtype) for x in (rate, prune))
    settings: dict[str, Any] = {"depth": depth, "nonlinearity": nonlinearity}
    for _ in range(iterations):
        responses, state, reached = _improve(
            responses, state, frame, batch, share, size, **settings
        )
        history.append(reached)
    history.append(_held(responses, frame, batch, share, **settings))
    return Best(_built(responses, frame), jnp.stack(history))


def _built(responses, frame):
    return frames.tighten(frames.with_bands(frame, responses), keep_low=True)


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _held(responses, frame, batch, prune, *, depth, nonlinearity):
    """Mean share of the energy that the features hold."""
    bank = _built(responses, frame)

    def remaining(signal):
        return _remaining(signal, bank, prune, depth=depth, nonlinearity=nonlinearity)

    return 1 - jnp.mean(jax.vmap(remaining)(batch))


@functools.partial(jax.jit, static_argnames=("depth", "nonlinearity"))
def _improve(responses, state, frame, batch, prune, rate, *, depth, nonlinearity):
    def height(responses):
        return _held(responses, frame, batch, prune, depth=depth, nonlinearity=nonlinearity)

    return _ascent(height, responses, state, rate)


def _ascent(height, place, state, rate):
    """Twenty steps of Adam up `height`; also returns how high they began."""

    def step(carry, _):
        place, state = carry
        value, slope = jax.value_and_grad(height)(place)
        # optax multiplies floats by counts
        with jax.numpy_dtype_promotion("standard"):
            updates, state = _adam(rate).update(-jnp.conj(slope), state, place)
        return (place + updates, state), value

    (place, state), values = jax.lax.scan(step, (place, state), length=STEPS)
    return place, state, values[0]


def _adam(rate):
    import optax  # here, or everyone who imports infomech would wait for it

    return optax.adam(rate)


def _within(signal: jax.Array, inside: Any) -> jax.Array:
    """The part of signals in a band, of unit energy."""
    axes = tuple(range(1, signal.ndim))
    spectrum = jnp.where(inside[None], jnp.fft.fftn(signal, axes=axes), 0)
    kept = jnp.fft.ifftn(spectrum, axes=axes).real
    return kept / safe_math.sqrt(jnp.sum(kept**2, axes, keepdims=True))
