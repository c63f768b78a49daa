"""Depth-first walk through the tree of paths, in chunks of fixed size.

A path (λ_1, …, λ_n) carries U[q] f = ρ(… ρ(f * g_λ1) … * g_λn). Paths are stored as half spectra in
chunks of equal size, one chunk per layer. Each step computes children of the deepest chunk that has
pending ones. Nothing recompiles as the tree grows, and the memory is that of depth + 1 chunks for
any number of paths. The energy of a band follows from its parent's spectrum, so paths are pruned
before they are computed. Reverse mode repeats the same walk and adds the cotangents of each chunk's
children to those of the chunk.
"""

import jax
import jax.numpy as jnp

from infomech.engines import derivatives
from infomech.scattering import _steps
from infomech.scattering._filters import Bank
from infomech.scattering._steps import Plan, Records, Totals


def walk(plan: Plan, spectrum: jax.Array, threshold: jax.Array, unit: jax.Array, filters: Bank):
    """Walk the tree of paths below one signal and sum up energies.

    Args:
        plan: configuration of the walk.
        spectrum: `rfftn` of the signal, in its unit.
        threshold: bands with at most this energy are pruned.
        unit: of the signal, for non-linearities that aren't homogeneous; held fixed.
        filters: of the frames.

    Returns:
        `Totals`, `Records`, and for each recorded path its energy and collected energy,
        (max_paths,) each. Differentiable in forward and reverse mode with respect to spectrum and
        filters, for a fixed choice of paths.
    """

    def forward(spectrum, threshold, unit, *filters):
        totals, records, energies = _forward(plan, spectrum, threshold, unit, Bank(*filters))
        return (*totals, *energies, *records)

    def reverse(needed):
        def backward(spectrum, threshold, unit, *rest):
            cotangents = Totals(*rest[-6:-2])
            gradients = _backward(plan, spectrum, threshold, unit, Bank(*rest[:2]), cotangents)
            return tuple(g for g, use in zip(gradients, needed, strict=True) if use)

        return derivatives.Function(backward, backward)

    def plain(spectrum, threshold, unit, *rest):
        return forward(spectrum, threshold, unit, *rest[:2])[:6]

    function = derivatives.Function(forward, plain, reverse)
    fixed = jax.lax.stop_gradient((threshold, unit))
    out = derivatives.call(function, spectrum, *fixed, *filters)
    return Totals(*out[:4]), Records(*out[6:]), (out[4], out[5])


def _forward(plan, spectrum, threshold, unit, filters):

    def visit(state):
        layer = plan.depth - jnp.argmax(state.remaining[::-1] > 0).astype(jnp.int32)
        return _steps.visit(plan, state, filters, threshold, unit, layer)[0]

    state = _steps.start(plan, spectrum, threshold, filters)
    state = jax.lax.while_loop(lambda state: jnp.any(state.remaining > 0), visit, state)
    totals = jax.tree.map(jnp.add, state.totals, state.compensation)
    return totals, state.records, state.recorded_energies


def _backward(plan, spectrum, threshold, unit, filters, cotangents):
    """Gradients with respect to spectrum, threshold (0), unit (0) and filters."""
    state = _steps.start(plan, spectrum, threshold, filters)

    def descend(carry):
        state, layer, adjoints, picked, gradient = carry
        state, picks = _steps.visit(plan, state, filters, threshold, unit, layer)
        below = layer + 1
        increment, adjoint = _sums_vjp(plan, state, filters, cotangents, below)
        gradient = jax.tree.map(jnp.add, gradient, increment)
        adjoints, picked = _steps.put(adjoints, adjoint, below), _steps.put(picked, picks, below)
        return state, below, adjoints, picked, gradient

    def ascend(carry):
        state, layer, adjoints, picked, gradient = carry
        above = layer - 1
        _, pull = jax.vjp(
            lambda f, s: _steps.children(plan, f, s, unit, above, picked[layer]),
            filters,
            state.spectra[above],
        )
        increment, adjoint = pull(adjoints[layer])
        gradient = jax.tree.map(jnp.add, gradient, increment)
        adjoints = _steps.put(adjoints, adjoints[above] + adjoint, above)
        return state, above, adjoints, picked, gradient

    gradient, adjoint = _sums_vjp(plan, state, filters, cotangents, 0)
    adjoints = _steps.put(jnp.zeros_like(state.spectra), adjoint, 0)
    picked = jnp.zeros((plan.depth + 1, plan.chunk // plan.parts), jnp.int32)
    *_, adjoints, _, gradient = jax.lax.while_loop(
        lambda carry: (carry[1] > 0) | (carry[0].remaining[0] > 0),
        lambda carry: jax.lax.cond(carry[0].remaining[carry[1]] > 0, descend, ascend, carry),
        (state, jnp.int32(0), adjoints, picked, gradient),
    )
    return adjoints[0, 0], jnp.zeros_like(threshold), jnp.zeros_like(unit), *gradient


def _sums_vjp(plan, state, filters, cotangents, layer):
    """Pull the cotangents of a layer's sums back to the filters and the chunk's spectra."""
    weight, keep = state.weight[layer], state.pending[layer].reshape(plan.chunk, -1)

    def sums(filters, spectra):
        table = _steps.energies(plan, filters, spectra, layer)
        return _steps.sums(plan, table, weight, keep, layer)

    _, pull = jax.vjp(sums, filters, state.spectra[layer])
    return pull(tuple(c[layer] for c in cotangents))
