"""The walk through the tree of paths, deepest first, in chunks of fixed capacity.

A path (λ_1, …, λ_n) carries U[q] f = ρ(… ρ(f * g_λ1) … * g_λn). Paths are held as half spectra, in
chunks of one size, one chunk for each layer; the children of the deepest chunk that still has some
are computed next. So nothing recompiles as the tree grows, and memory is that of depth + 1 chunks,
however many paths there are. A band's energy is known from its parent's spectrum before it is
computed, which is when paths are pruned. Reverse mode walks the same way and gathers what each
chunk owes to its parents when its children are done.
"""

import jax
import jax.numpy as jnp

from infomech.engines import derivatives
from infomech.scattering import _steps
from infomech.scattering._filters import Bank
from infomech.scattering._steps import Notes, Plan, Totals


def walk(plan: Plan, spectrum: jax.Array, threshold: jax.Array, unit: jax.Array, filters: Bank):
    """Totals and Notes over the tree below one signal.

    Args:
        plan: what to walk.
        spectrum: `rfftn` of the signal, in its unit.
        threshold: bands with no more energy than this are pruned.
        unit: of the signal, for non-linearities that aren't homogeneous; held fixed.
        filters: of the frames.

    Returns:
        `Totals` and `Notes`, and for each path noted its energy and its collected energy,
        (most,) each. Differentiable by forward and reverse mode with respect to spectrum and
        filters, the choice of paths held fixed.
    """

    def forward(spectrum, threshold, unit, *filters):
        totals, notes, noted = _forward(plan, spectrum, threshold, unit, Bank(*filters))
        return (*totals, *noted, *notes)

    def reverse(wanted):
        def back(spectrum, threshold, unit, *rest):
            cotangents = Totals(*rest[-6:-2])
            found = _backward(plan, spectrum, threshold, unit, Bank(*rest[:2]), cotangents)
            return tuple(f for f, w in zip(found, wanted, strict=True) if w)

        return derivatives.Function(back, back)

    def plain(spectrum, threshold, unit, *rest):
        return forward(spectrum, threshold, unit, *rest[:2])[:6]

    function = derivatives.Function(forward, plain, reverse)
    fixed = jax.lax.stop_gradient((threshold, unit))
    out = derivatives.call(function, spectrum, *fixed, *filters)
    return Totals(*out[:4]), Notes(*out[6:]), (out[4], out[5])


def _forward(plan, spectrum, threshold, unit, filters):
    last = plan.depth

    def visit(state):
        layer = last - jnp.argmax(state.left[::-1] > 0).astype(jnp.int32)
        return _steps.visit(plan, state, filters, threshold, unit, layer)[0]

    state = _steps.start(plan, spectrum, threshold, filters)
    state = jax.lax.while_loop(lambda state: jnp.any(state.left > 0), visit, state)
    return jax.tree.map(jnp.add, state.totals, state.lost), state.notes, state.noted


def _backward(plan, spectrum, threshold, unit, filters, cotangents):
    """Derivatives with respect to spectrum, threshold (0), unit (0) and filters."""
    state = _steps.start(plan, spectrum, threshold, filters)

    def descend(carry):
        state, layer, debts, picked, gathered = carry
        state, picks = _steps.visit(plan, state, filters, threshold, unit, layer)
        of_filters, debt = _owed(plan, state, filters, cotangents, layer + 1)
        gathered = jax.tree.map(jnp.add, gathered, of_filters)
        below = layer + 1
        debts, picked = _steps.put(debts, debt, below), _steps.put(picked, picks, below)
        return state, below, debts, picked, gathered

    def ascend(carry):
        state, layer, debts, picked, gathered = carry
        above = layer - 1
        _, pull = jax.vjp(
            lambda f, s: _steps.children(plan, f, s, unit, above, picked[layer]),
            filters,
            state.spectra[above],
        )
        of_filters, debt = pull(debts[layer])
        gathered = jax.tree.map(jnp.add, gathered, of_filters)
        return state, above, _steps.put(debts, debts[above] + debt, above), picked, gathered

    of_filters, debt = _owed(plan, state, filters, cotangents, 0)
    debts = _steps.put(jnp.zeros_like(state.spectra), debt, 0)
    picked = jnp.zeros((plan.depth + 1, plan.chunk // plan.parts), jnp.int32)
    *_, debts, _, gathered = jax.lax.while_loop(
        lambda carry: (carry[1] > 0) | (carry[0].left[0] > 0),
        lambda carry: jax.lax.cond(carry[0].left[carry[1]] > 0, descend, ascend, carry),
        (state, jnp.int32(0), debts, picked, of_filters),
    )
    return debts[0, 0], jnp.zeros_like(threshold), jnp.zeros_like(unit), *gathered


def _owed(plan, state, filters, cotangents, layer):
    """What the sums of a layer's chunk owe to the filters and to its spectra."""
    weight, keep = state.weight[layer], state.todo[layer].reshape(plan.chunk, -1)

    def sums(filters, spectra):
        table = _steps.energies(plan, filters, spectra, layer)
        return _steps.sums(plan, table, weight, keep, layer)

    _, pull = jax.vjp(sums, filters, state.spectra[layer])
    return pull(tuple(c[layer] for c in cotangents))
