"""What differentiability makes possible: the worst signal for a frame, and the best frame."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from infomech import checks, guards
from infomech.scattering import frames, nonlinearities, transform
from infomech.scattering.frames import Frame
from infomech.scattering.nonlinearities import Nonlinearity

#: steps of a solver in one round
STEPS = 20


class Worst(NamedTuple):
    """Signals of unit energy that keep as much energy as can be found out of the features.

    Attributes:
        signal: one for each start, (starts, *grid).
        remaining: W_(N+1), the energy not in the features of layers 0 … N, (starts,).
        features: Σ_n F_n = 1 − W_(N+1) for a tight frame that conserves energy, (starts,). The
            smallest of them says how near the null set {0} is: a signal with 0 would be in it.
        history: remaining energy while climbing, (rounds + 1, starts).
    """

    signal: jax.Array
    remaining: jax.Array
    features: jax.Array
    history: jax.Array


def worst_signal(
    frame: Frame, depth: int, *, key: jax.Array, bandwidth: float | None = None, starts: int = 4,
    rounds: int = 10, rate: float = 0.02, prune: float = 0.0,
    nonlinearity: str | Nonlinearity = "modulus",
) -> Worst:  # fmt: skip
    """Climbs from random signals to such as keep their energy out of the features for longest.

    Maximises W_(N+1)(f) over ‖f‖ = 1 with f̂ = 0 for |ω| > bandwidth, by Adam on the coefficients
    of f in that band; all starts at once. A local search: more may be possible, never less.

    Args:
        frame: of all layers.
        depth: N.
        key: of `jax.random.key`.
        bandwidth: largest |ω| in radians per sample; the whole grid if None.
        starts: random signals to climb from.
        rounds: of 20 steps each.
        rate: of Adam, relative to the size of a coefficient.
        prune: as of `energies`.
        nonlinearity: of all layers.

    Returns:
        `Worst`.

    Raises:
        ValueError: a band without frequencies, or as of `energies`.
    """
    checks.key(key)
    starts, rounds = checks.integer("starts", starts, 1), checks.integer("rounds", rounds, 0)
    inside = frames.magnitudes(frame.grid) <= (np.inf if bandwidth is None else bandwidth)
    if bandwidth is not None and not inside[frames.magnitudes(frame.grid) > 0].any():
        raise checks.fail("bandwidth", bandwidth, "more than the grid's lowest frequency")
    nonlinearity = nonlinearities.get(nonlinearity)
    shape = (starts, *frame.grid)
    signal = jax.random.normal(key, shape, jnp.abs(frame.bands).dtype)
    signal = _within(signal, inside)
    solver = optax.adam(rate / math.sqrt(math.prod(frame.grid)))

    def height(signal, prune, frame):
        unit = _within(signal[None], inside)[0]
        return transform.energies(
            unit, frame, depth, prune=prune, nonlinearity=nonlinearity
        ).propagated[-1]

    climb = jax.jit(jax.vmap(_ascent(height, solver), in_axes=(0, 0, None, None)))
    state, history = jax.vmap(solver.init)(signal), []
    for _ in range(rounds):
        signal, state, heights = climb(signal, state, prune, frame)
        history.append(heights)
    signal = _within(signal, inside)
    found = jax.vmap(
        lambda f: transform.energies(f, frame, depth, prune=prune, nonlinearity=nonlinearity)
    )(signal)
    remaining = found.propagated[:, -1]
    return Worst(
        signal, remaining, jnp.sum(found.collected, -1), jnp.stack([*history, remaining])
    )  # fmt: skip


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
    frame: Frame, signals: Any, depth: int, *, rounds: int = 10, rate: float = 0.02,
    prune: float = 0.0, nonlinearity: str | Nonlinearity = "modulus",
) -> Best:  # fmt: skip
    """Learns band-passes whose features hold the most energy of a class of signals by layer N.

    Maximises the mean of Σ_{n ≤ N} F_n / ‖f‖² by Adam on the responses ĝ_λ, of which each mirrored
    pair has one, made tight at every step by `infomech.scattering.frames.tighten` with the low-pass
    as it is; otherwise a low-pass that lets everything through would be best.

    Args:
        frame: tight; what to start from.
        signals: (signals, *grid), real.
        depth: N.
        rounds: of 20 steps each.
        rate: of Adam.
        prune, nonlinearity: as of `energies`.

    Returns:
        `Best`. That it's better for other signals too is for the caller to see.

    Raises:
        ValueError: a frame that isn't tight, signals of the wrong shape, or as of `energies`.
    """
    frames.require_tight(frame)
    rounds = checks.integer("rounds", rounds, 0)
    batch = checks.floating("signals", signals)
    if batch.ndim != len(frame.grid) + 1 or batch.shape[1:] != frame.grid:
        raise checks.fail("signals", f"shape {batch.shape}", f"(signals, *{frame.grid})")
    checks.finite("signals", signals)
    nonlinearity = nonlinearities.get(nonlinearity)
    first = np.array([i for i, other in enumerate(frame.mirrors) if other < 0 or i <= other])

    def built(responses):
        bands = frame.bands.at[first].set(responses)
        image = frames.mirrored(bands)
        twins = [i for i, other in enumerate(frame.mirrors) if 0 <= other < i]
        if twins:
            others = np.array([frame.mirrors[i] for i in twins])
            bands = bands.at[np.array(twins)].set(image[others])
        return frames.tighten(dataclasses.replace(frame, bands=bands), keep_low=True)

    def share(responses, batch, prune):
        bank = built(responses)

        def one(signal):
            found = transform.energies(signal, bank, depth, prune=prune, nonlinearity=nonlinearity)
            return jnp.sum(found.collected) / found.energy

        return jnp.mean(jax.vmap(one)(batch))

    solver = optax.adam(rate)
    climb = jax.jit(_ascent(share, solver))
    responses = frame.bands[first]
    state, history = solver.init(responses), []
    for _ in range(rounds):
        responses, state, reached = climb(responses, state, batch, prune)
        history.append(reached)
    history.append(jax.jit(share)(responses, batch, prune))
    return Best(built(responses), jnp.stack(history))


def _ascent(height, solver):
    """Twenty steps of a solver up `height`; also returns where they began."""

    def run(place, state, *others):
        def step(carry, _):
            place, state = carry
            value, slope = jax.value_and_grad(height)(place, *others)
            down = jax.tree.map(lambda s: -jnp.conj(s), slope)
            # optax multiplies floats by counts
            with jax.numpy_dtype_promotion("standard"):
                updates, state = solver.update(down, state, place)
            return (optax.apply_updates(place, updates), state), value

        (place, state), values = jax.lax.scan(step, (place, state), length=STEPS)
        return place, state, values[0]

    return run


def _within(signal: jax.Array, inside: Any) -> jax.Array:
    """The part of signals in a band, of unit energy."""
    axes = tuple(range(1, signal.ndim))
    spectrum = jnp.fft.fftn(signal, axes=axes)
    kept = jnp.fft.ifftn(jnp.where(jnp.asarray(inside)[None], spectrum, 0), axes=axes).real
    return kept / guards.sqrt(jnp.sum(kept**2, axes, keepdims=True))
