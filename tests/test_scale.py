"""Scale: f(c·x) = cᵖ f(x) for all c in single precision, where the square of 1e-21 is 0.

One table holds all functions and degrees p. Double precision at c = 1 gives the references.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import infomech as im
from infomech import (
    design,
    losses,
    mechanics,
    networks,
    observables,
    parity,
    rates,
    scattering,
    spectrum,
    theory,
)
from infomech.dynamics import BOUNDARIES
from infomech.losses import Run, _terms
from infomech.scattering import analysis, bounds, extremes, frames, layers, supports
from infomech.weights import Layer

SCALES = (1e-30, 1e-21, 1e19, 1e30)
RNG = np.random.default_rng(0)
SIGNAL = RNG.normal(size=64)
WAVELETS = scattering.meyer(64, 3.0)
SINGLE = scattering.meyer(64, 3.0, dtype="float32")
IMAGE = RNG.uniform(0.1, 1, size=(9, 8))
KERNEL = RNG.normal(size=(3, 3)) + 0.5
BANK = np.fft.fft(RNG.normal(size=(5, 24)))
FILTERS = RNG.normal(size=(4, 3, 3, 3)) + 0.3
SECOND = RNG.normal(size=(2, 4, 3, 3))
SPEC = networks.sequential.Spec(1, (networks.sequential.Layer(2, (3,)),), 2)


class Log:
    """Degree of a logarithm, which grows by p log c."""

    def __init__(self, power):
        self.power = power


def frame_for(x):
    return WAVELETS if x.dtype == np.float64 else SINGLE


def scattering_energies(x):
    result = scattering.energies(x, frame_for(x), 2, prune=1e-3)
    return {name: getattr(result, name) for name in scattering.Account._fields}


@jax.jit
def shares(x):
    result = scattering.energies(x, frame_for(x), 2, prune=1e-3).relative
    return {name: value / result.energy for name, value in result._asdict().items()}


def soft(z):
    return jnp.tanh(jnp.abs(z))


def scattering_paths(x):
    result = scattering.paths(x, frame_for(x), 2, prune=1e-3)
    return {
        "energy": result.energy,
        "collected": result.collected,
        "significant": analysis.significant(result),
        "scales": analysis.by_scale(result, WAVELETS),
    }


def decay(x):
    # many octaves, because the fit of a law needs five layers
    frame = scattering.meyer(x.size, octaves=8, dtype=x.dtype)
    result = scattering.energies(x, frame, 5, prune=1e-6)
    return {"factor": analysis.decay(result, floor=1e-4).factor}


def guarantees(x):
    return {"bounds": bounds.guaranteed(x, frame_for(x), 2)}


def scattering_features(x):
    chosen = scattering.all_paths(frame_for(x), 1)
    return {
        "exact": scattering.features(x, frame_for(x), chosen),
        "coarse": scattering.features(x, frame_for(x), chosen, oversampling=1),
    }


def best_frame(x):
    best = extremes.best_frame(frame_for(x), x[None], 1, iterations=1, rate=1e-3)
    return {"share": best.share}


def layer_energies(x):
    """Energies through layers for an input of this scale and weights of scale 1."""
    weights = [np.asarray(FILTERS[:, :1], x.dtype), np.asarray(SECOND, x.dtype)]
    result = layers.energies(weights, x[None])
    normal = layers.energies(weights, x[None], normalize="layer")
    return {
        "incoming": result.incoming,
        "filtered": result.filtered,
        "rectified": result.rectified,
        "upper": result.upper,
        "normalized": normal.normalized,
    }


def weight_energies(x):
    """Energies through one layer whose weights have this scale."""
    result = layers.energies([x[:, :1]], np.asarray(IMAGE[None], x.dtype))
    return {name: getattr(result, name) for name in ("filtered", "rectified", "lower", "upper")}


def tight_frame(x):
    bank = frames.frame(x[0], x[1:])
    tight = frames.tighten(bank)
    label = bank.labels[0]
    return {
        "bands": tight.bands,
        "bound": frames.bounds(bank)[1],
        "center": np.array(label.center),
        "support": np.array(label.support),
        "gap": supports.gap(bank),
    }


def observed(x):
    field = im.fields.as_field(x)
    reach = ((1, 1), (2, 1))
    return {
        name: getattr(observables, name)(field)
        for name in ("mass", "log_mass", "energy", "log_energy", "center", "covariance", "spread",
                     "skewness", "excess_kurtosis", "balance")
    } | {
        f"{boundary} {name}": function(field, boundary)
        for boundary in BOUNDARIES
        for name, function in (
            ("edge", lambda u, b: observables.edge(u, reach, boundary=b)),
            ("center", lambda u, b: observables.center(u, boundary=b)),
            ("skewness", lambda u, b: observables.skewness(u, boundary=b)),
        )
    }  # fmt: skip


def rollout_of_field(x, normalize="l2", rectifier="relu"):
    kernel = np.asarray(np.abs(KERNEL), x.dtype)
    final, trace = im.rollout(kernel, x, 3, normalize=normalize, rectifier=rectifier)
    return {
        "log_energy": trace.log_energy,
        "log_mass": trace.log_mass,
        "center": trace.center,
        "covariance": trace.covariance,
        "log_final": observables.log_energy(final),
    }


def rollout_by_kernel(x, normalize="sum"):
    field = np.asarray(IMAGE, x.dtype)
    final, trace = im.rollout(x, field, 3, normalize=normalize)
    return {
        "growth": trace.log_energy[1:] - trace.log_energy[:-1],
        "center": trace.center,
        "values": final.values,
        "speed": rates.velocity(trace, edge_tolerance=2.0).value,
    }


def kernel_quantities(x):
    modes = spectrum.dct(x)
    return {
        **mechanics.energy_momentum(x)._asdict(),
        "modes": modes,
        "mode energies": spectrum.energies(x),
        "low": spectrum.low_frequency_share(x),
        "ball": spectrum.coordinates(x),
        "mirrors": parity.mirror_energies(x),
        "speed": theory.predict(jnp.abs(x)).velocity,
        "diffusion": theory.predict(jnp.abs(x)).diffusion,
        "unit": design.parametrizations.unit_energy.kernel(x),
    }


def loss_values(x):
    """Losses on a run whose fields and kernel have this scale."""
    field = im.fields.as_field(x)
    final, trace = im.rollout(np.asarray(np.abs(KERNEL), x.dtype), field, 2, normalize="none")
    run = Run(jnp.asarray(x[:3, :3]), field, final, trace)
    objectives = {
        "shape": _terms.shape(x[:4, :4]),
        "energy": losses.energy(0.5),
        "isotropy": losses.isotropy(),
        "odd": losses.odd_share(),
        "high": losses.high_frequency_share(),
        "velocity": losses.velocity(np.ones(2)),
        "diffusion": losses.diffusion(1.0),
    }
    return {name: loss(run) for name, loss in objectives.items()}


def census(x):
    layer = Layer("conv1", np.asarray(x), "OIHW", "given")
    result = networks.census([layer])
    other = Layer("conv1", np.asarray(np.abs(x)), "OIHW", "given")
    compared = networks.compare([layer], [other])
    names = (
        "share", "share_interval", "momentum", "energy", "odd", "spectrum", "resultant", "excess",
        "filter_share", "filter_direction", "filter_low", "ball", "filters",
    )  # fmt: skip
    return {name: result[name].values for name in names} | {
        "cosine": compared.cosine.values,
        "change": compared.change.values,
        "compared energy": compared.energy.values,
    }


def predicted_drift(x, weighting="signed"):
    result = networks.drift.predict([x], weighting=weighting)
    return {
        "displacement": result.displacement,
        "covariance": result.covariance,
        "balance": result.balance,
        "weight": result.weight,
    }


def receptive_fields(x):
    """Receptive fields of a linear unit whose weights have this scale."""

    def function(image):
        return jax.lax.conv_general_dilated(
            image[None], jnp.asarray(x[:, :1]), (1, 1), "SAME", precision="highest"
        )[0]

    images, units = np.asarray(IMAGE[None, None], x.dtype), np.array([[0, 4, 4], [1, 3, 4]])
    result = {}
    for weighting in ("signed", "energy", "absolute"):
        shape = networks.receptive.measure(
            function, images, units, np.asarray(units[:, 1:], x.dtype), weighting=weighting
        )
        result |= {f"{weighting} {name}": value for name, value in shape._asdict().items()}
    return result


def network(x):
    layer = networks.sequential.Filters(jnp.asarray(x[:2, :1, 0]), jnp.zeros(2, x.dtype))
    head = networks.sequential.Head(jnp.ones((2, 2), x.dtype), jnp.zeros(2, x.dtype))
    params = networks.sequential.Parameters((layer,), head)
    images = np.asarray(IMAGE[:2, None], x.dtype)
    (gate,) = networks.sequential.gates(params, images, spec=SPEC)
    logits = networks.sequential.apply(params, images[0], spec=SPEC).logits
    return {"gates": gate, "logits": logits}


def line_fits(x):
    other = np.asarray(np.arange(64) + SIGNAL, x.dtype)
    line, steep = rates.fit_line(other, x), rates.fit_line(x, other)
    again = rates.bootstrap(other, x, key=jax.random.key(0), resamples=3)
    return {
        "slope": line.slope,
        "intercept": line.intercept,
        "residuals": line.residuals,
        "r_squared": line.r_squared,
        "steep": steep.slope,
        "steep r_squared": steep.r_squared,
        "spread": again.r_squared,
    }


INVARIANT = {}
SQUARE_DEGREES = dict.fromkeys(scattering.Account._fields, 2)
FIELD_DEGREES = {"mass": 1, "log_mass": Log(1), "energy": 2, "log_energy": Log(2)}
KERNEL_DEGREES = {"energy": 2, "even": 2, "odd": 2, "gain": 1, "momentum": 1, "mass_squared": 2,
            "modes": 1, "mode energies": 2, "mirrors": 2}  # fmt: skip

#: name: function, operand, and the nonzero degrees of its outputs
CASES = {
    "energies": (scattering_energies, SIGNAL, SQUARE_DEGREES),
    "energies of a spike": (
        scattering_energies,
        np.where(np.arange(64) == 9, 1e6, SIGNAL),
        SQUARE_DEGREES,
    ),
    "shares of energies under jit": (shares, SIGNAL, INVARIANT),
    "paths": (scattering_paths, SIGNAL, {"energy": 2, "collected": 2, "scales": 2}),
    "decay": (decay, np.eye(1, 1024, 512)[0], INVARIANT),
    "guarantees": (guarantees, SIGNAL, {"bounds": 2}),
    "features": (scattering_features, SIGNAL, {"exact": 1, "coarse": 1}),
    "best frame": (best_frame, SIGNAL, INVARIANT),
    "layers": (layer_energies, IMAGE, {"incoming": 2, "filtered": 2, "rectified": 2}),
    "weights of layers": (
        weight_energies,
        FILTERS,
        {"filtered": 2, "rectified": 2, "lower": 2, "upper": 2},
    ),
    "frames": (tight_frame, BANK, {"bound": 2}),
    "observables": (observed, IMAGE, FIELD_DEGREES),
    "rollout": (
        rollout_of_field,
        IMAGE,
        {"log_energy": Log(2), "log_mass": Log(1), "log_final": Log(2)},
    ),
    "rollout without norms": (
        lambda x: rollout_of_field(x, "none"),
        IMAGE,
        {"log_energy": Log(2), "log_mass": Log(1), "log_final": Log(2)},
    ),
    **{
        f"rollout of kernels, {name}": (
            lambda x, n=name: rollout_by_kernel(x, n),
            np.abs(KERNEL),
            {"growth": Log(2)},
        )
        for name in ("sum", "l2", "max")
    },
    "kernels": (kernel_quantities, KERNEL, KERNEL_DEGREES),
    "losses": (loss_values, IMAGE, INVARIANT),
    "census": (census, FILTERS, {"energy": 2, "odd": 2, "compared energy": 2}),
    "drift": (predicted_drift, FILTERS, {"weight": 1}),
    "drift by energy": (lambda x: predicted_drift(x, "energy"), FILTERS, {"weight": 2}),
    "receptive fields": (
        receptive_fields,
        FILTERS,
        {"signed weight": 1, "absolute weight": 1, "energy weight": 2},
    ),
    "fits": (line_fits, SIGNAL, {"slope": 1, "intercept": 1, "residuals": 1, "steep": -1}),
    "a network": (network, FILTERS, {"logits": 1}),
}


def scaled(x, c, dtype):
    kind = np.result_type(dtype, np.complex64) if np.iscomplexobj(x) else dtype
    return (c * x).astype(kind)


def rescaled(reference, degree, c):
    """Expected output at scale c, in double precision."""
    reference = np.asarray(reference)
    if isinstance(degree, Log):
        return reference + degree.power * np.log(c)
    return reference * float(c) ** degree


def assert_rescaled(result, expected, tolerance, name):
    """Compare relative to the largest; values out of the range of the dtype are 0 or infinite."""
    result, expected = np.asarray(result), np.asarray(expected)
    limits = np.finfo(result.dtype) if result.dtype.kind in "fc" else np.finfo(np.float64)
    size = np.nanmax(np.abs(expected), initial=0)
    small, large = np.abs(expected) < limits.tiny, np.abs(expected) > limits.max
    assert np.all(np.abs(result[small]) <= limits.tiny + tolerance * size), name
    assert np.all(np.abs(result[large]) >= limits.max), name
    in_range = ~small & ~large
    size = np.nanmax(np.abs(expected[in_range]), initial=0)
    np.testing.assert_allclose(
        result[in_range].astype(np.complex128) / (size or 1),
        expected[in_range] / (size or 1),
        rtol=0,
        atol=tolerance,
        err_msg=name,
    )


@pytest.mark.parametrize("name", CASES)
def test_results_scale_by_their_degree(name):
    function, x, degrees = CASES[name]
    reference = function(scaled(x, 1.0, np.float64))
    for scale in SCALES:
        for output, value in function(scaled(x, scale, np.float32)).items():
            expected = rescaled(reference[output], degrees.get(output, 0), scale)
            assert_rescaled(value, expected, 2e-3, f"{name} at {scale}: {output}")


def energy_of(x, name="propagated"):
    return jnp.sum(getattr(scattering.energies(x, frame_for(x), 2, prune=1e-3), name)[:2])


def share_of(x):
    result = scattering.energies(x, frame_for(x), 2, prune=1e-3).relative
    return result.collected[1] / result.energy


#: name: scalar function, operand, degree
SLOPES = {
    "energies": (energy_of, SIGNAL, 2),
    "shares": (share_of, SIGNAL, 0),
    "brackets": (lambda x: energy_of(x, "propagated_bounds"), SIGNAL, 2),
    "guarantees": (lambda x: bounds.guaranteed(x, frame_for(x), 2)[1], SIGNAL, 2),
    "features": (
        lambda x: jnp.sum(scattering.features(x, frame_for(x), ((2,), (3, 1)))),
        SIGNAL,
        1,
    ),
    "energy of layers": (
        lambda x: jnp.sum(layers.energies([SECOND[:, :1].astype(x.dtype)], x[None]).rectified),
        IMAGE,
        2,
    ),
    "normalized layers": (lambda x: jnp.sum(layers._normalized(x[None], "layer") ** 3), IMAGE, 0),
    "energy of a kernel": (lambda x: mechanics.energy_momentum(x).energy, KERNEL, 2),
    "mass of a kernel": (lambda x: mechanics.energy_momentum(x).mass_squared, KERNEL, 2),
    "odd share": (lambda x: mechanics.energy_momentum(x).share, KERNEL, 0),
    "low share": (spectrum.low_frequency_share, KERNEL, 0),
    "speed": (lambda x: jnp.sum(theory.predict(jnp.abs(x)).velocity), KERNEL, 0),
    "energy of a field": (observables.energy, IMAGE, 2),
    "log energy": (observables.log_energy, IMAGE, 0),
    "center": (lambda x: jnp.sum(observables.center(x)), IMAGE, 0),
    "circular center": (lambda x: jnp.sum(observables.center(x, boundary="periodic")), IMAGE, 0),
    "covariance": (lambda x: jnp.sum(observables.covariance(x)), IMAGE, 0),
    "skewness": (lambda x: jnp.sum(observables.skewness(x)), IMAGE, 0),
    "edge": (lambda x: observables.edge(x, ((1, 1), (0, 0))), IMAGE, 0),
    "balance": (lambda x: observables.balance(x - 0.3 * jnp.max(x)), IMAGE, 0),
    "shape": (lambda x: jnp.sum(_terms._misfit(x, x[:4, :4]) ** 2), IMAGE, 0),
    "drift": (lambda x: jnp.sum(networks.drift.predict([x]).displacement), FILTERS, 0),
    "line": (lambda x: rates.fit_line(x[:9], x[9:18]).r_squared, SIGNAL, 0),
}


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_scale_by_their_degree(name):
    """The slope of a function of degree p has degree p − 1, in reverse and forward mode."""
    function, x, degree = SLOPES[name]
    slope = jax.jit(jax.grad(function))
    reference = np.asarray(slope(x))
    for scale in SCALES:
        point = scaled(x, scale, np.float32)
        expected = rescaled(reference, degree - 1, scale)
        assert_rescaled(slope(point), expected, 2e-3, f"{name} at {scale}")
        along = scaled(RNG.normal(size=x.shape), scale, np.float32)
        _, forward = jax.jvp(function, (jnp.asarray(point),), (jnp.asarray(along),))
        parts = expected * along.astype(np.float64)
        smallest = np.finfo(np.float32).tiny / 2e-3
        if smallest < np.max(np.abs(parts)) < np.finfo(np.float32).max / x.size:
            size = np.sum(np.abs(parts))
            np.testing.assert_allclose(float(forward) / size, np.sum(parts) / size, atol=2e-3)


# --- certified brackets -----------------------------------------------------------------------

CLASSIC = np.random.default_rng(0).normal(size=256)
OCTAVES = scattering.meyer(256, octaves=4)
PROPAGATED = [1, 0.9757, 0.1359, 0.0114]


def brackets(result):
    return [result.propagated_bounds, result.collected_bounds, result.total_bounds[None]]


def truth():
    """Energies at scale 1 in double precision, with nothing pruned."""
    result = scattering.energies(CLASSIC, OCTAVES, 2)
    return result, [result.propagated, result.collected, np.sum(result.collected, keepdims=True)]


@pytest.mark.parametrize("scale", [1e-35, 1e-30, 1e-21, 1.0, 1e19, 1e30, 1e36])
def test_float32_brackets_contain_the_truth(scale):
    """With and without jit, also where energies are out of the range of the dtype."""
    exact, true = truth()
    signal, frame = (scale * CLASSIC).astype(np.float32), scattering.meyer(256, 4, dtype="float32")
    squared = float(np.float32(scale)) ** 2

    def energies(signal):
        return scattering.energies(signal, frame, 2, prune=1e-6)

    actual = energies(signal)
    np.testing.assert_allclose(actual.propagated / actual.energy, PROPAGATED, atol=5e-5)
    np.testing.assert_allclose(actual.energy, exact.energy * squared, rtol=1e-6)
    if scale == 1e-21:
        assert f"{actual.energy:.3g}" == "2.62e-40"
    inside = jax.jit(lambda signal: brackets(energies(signal)))(signal)
    assert {interval.dtype for interval in inside} == {jnp.dtype("float32")}
    for interval, traced, values in zip(brackets(actual), inside, true, strict=True):
        for low, high in (interval.T, np.asarray(traced, np.float64).T):
            assert np.all(low <= values * squared)
            assert np.all(values * squared <= high)
        assert np.all(interval[:, 1] - interval[:, 0] < 2e-3 * actual.energy)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_float64_brackets_contain_unrepresentable_energies(scale):
    exact, _ = truth()
    actual = scattering.energies(scale * CLASSIC, OCTAVES, 2)
    np.testing.assert_allclose(
        actual.relative.propagated / actual.relative.energy,
        exact.propagated / exact.energy,
        rtol=1e-9,
    )
    tiny, largest = np.finfo(float).tiny, np.finfo(float).max
    low, high = (0, tiny) if scale < 1 else (largest, np.inf)
    for interval in brackets(actual):
        assert np.all(interval == [low, high])
    assert bounds.guaranteed(scale * CLASSIC, OCTAVES, 1)[1] == high
    with pytest.raises(
        ValueError, match=r"signal: got numbers of up to .*e[-+]200, expected 1e-140"
    ):
        scattering.paths(scale * CLASSIC, OCTAVES, 1)


def test_guarantees_under_jit_are_rounded_up():
    guarantee = jax.jit(lambda x: bounds.guaranteed(x, SINGLE, 1))
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda x, frame: bounds.guaranteed(x, frame, 1))(SIGNAL, WAVELETS)
    tiny = np.finfo(np.float32).tiny
    np.testing.assert_array_equal(guarantee(np.float32(1e-30 * SIGNAL)), tiny)
    np.testing.assert_array_equal(guarantee(np.float32(1e30 * SIGNAL)), np.inf)
    np.testing.assert_array_equal(guarantee(np.zeros(64, np.float32)), 0)


@pytest.mark.parametrize("scale", [1e-21, 1e19])
def test_custom_function_receives_the_unscaled_signal(scale):
    """ρ(z) = c tanh(|z|/c) bends where |z| is about c, at any scale c."""
    shares = []
    for c, dtype in ((1.0, np.float64), (scale, np.float32)):
        bent = scattering.nonlinearities.lipschitz(
            lambda z, c=c: jnp.asarray(c, z.real.dtype) * jnp.tanh(jnp.abs(z) / c), 1.0
        )
        signal = (c * SIGNAL).astype(dtype)
        result = scattering.energies(signal, frame_for(signal), 1, nonlinearity=bent)
        features = scattering.features(signal, frame_for(signal), ((2,),), nonlinearity=bent)
        shares.append((result.collected / result.energy, np.asarray(features, np.float64) / c))
    for expected, actual in zip(*shares, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4)
    assert shares[0][0].sum() < 0.95


def test_overflowing_frames_give_unbounded_brackets():
    strong = frames.Frame(SINGLE.low, SINGLE.bands * 1e25, SINGLE.labels, SINGLE.mirrors)
    actual = scattering.energies(np.float32(SIGNAL), strong, 1)
    energy = np.sum(SIGNAL**2)
    low, high = actual.propagated_bounds.T
    truth = [energy, 1e50 * energy, 1e100 * energy]
    assert np.all(low <= truth)
    assert np.all((truth <= high) | np.isinf(high))


def test_zeros_have_no_energy_and_subnormal_signals_are_refused():
    result = scattering.energies(np.zeros(64, np.float32), SINGLE, 1)
    for interval in brackets(result):
        np.testing.assert_array_equal(interval, 0)
    with pytest.raises(ValueError, match=r"signal: got numbers of up to 1e-40, expected at least"):
        scattering.energies(np.full(64, 1e-40, np.float32), SINGLE, 1)


def test_batched_gradients_match_single_gradients():
    """Reverse mode through a batch, with respect to the signals and their shared frame."""
    batch = np.float32([1e-21, 1.0, 1e19])[:, None] * SIGNAL[None].astype(np.float32)

    def share(signal, bands):
        bank = frames.Frame(SINGLE.low, bands, SINGLE.labels, SINGLE.mirrors)
        result = scattering.energies(signal, bank, 1).relative
        return result.collected[1] / result.energy

    def batched(batch, bands):
        return jnp.sum(jax.vmap(lambda signal: share(signal, bands))(batch))

    slopes = jax.jit(jax.grad(batched, argnums=(0, 1)))(batch, SINGLE.bands)
    single = [jax.jit(jax.grad(share, argnums=(0, 1)))(x, SINGLE.bands) for x in batch]
    for actual, (expected, _) in zip(slopes[0], single, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(slopes[1], sum(slope for _, slope in single), atol=1e-5)


# --- other functions --------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["sum", "l2", "max"])
@pytest.mark.parametrize("scale", [1e-30, 1e-25])
def test_norms_of_small_fields_are_accurate(normalize, scale):
    """tanh accepts any scale; only the norm of the first layer is this small."""
    finals = [
        im.rollout(
            np.abs(KERNEL).astype(dtype),
            (scale * IMAGE).astype(dtype),
            3,
            rectifier="tanh",
            normalize=normalize,
        )[0].values
        for dtype in (np.float32, np.float64)
    ]
    np.testing.assert_allclose(*finals, rtol=1e-4)


def test_weights_with_overflowing_squares_are_refused():
    layer = Layer("conv1", 1e200 * FILTERS, "OIHW", "given")
    with pytest.raises(
        ValueError, match=r"kernels: got weights of up to .*e\+200, expected 1e-140"
    ):
        networks.census([layer])


@pytest.mark.parametrize("scale", [1e-5, 1e3])
def test_census_of_float16_matches_float64(scale):
    half = (scale * FILTERS).astype(np.float16)
    expected = census(half.astype(np.float64))
    for name, value in census(half).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_energy_of_a_field_with_large_gain():
    field = im.Field(
        jnp.full(4, 1e-30, jnp.float32), jnp.zeros(1, jnp.float32), jnp.float32(40 * np.log(10))
    )
    np.testing.assert_allclose(observables.energy(field), 4e20, rtol=1e-4)


def test_brackets_include_flushed_subnormals():
    """XLA flushes subnormals to zero, so brackets include the energy they may hold."""
    frame = scattering.meyer(64, 3.0, dtype="float32")
    signal = np.full(64, 1e-38, np.float32)
    signal[0] = 2e-38
    true = np.sum(signal.astype(float) ** 2)
    low, high = scattering.energies(signal, frame, 2).propagated_bounds[0]
    assert low <= true <= high
    relative = jax.jit(lambda x: scattering.energies(x, frame, 2).relative.propagated_bounds[0])
    low, high = np.asarray(relative(signal), float) * float(signal.max()) ** 2
    assert low <= true <= high
    assert bounds.guaranteed(signal, frame, 1)[0] >= true
