"""JAX drops the masks of masked arrays, so all functions refuse arrays with masked values."""

import dataclasses
import re

import jax
import numpy as np
import pytest

import infomech as im
from infomech.networks import chain, drift, nulls, receptive, sequential
from infomech.scattering import analysis, extremes, frames, layers
from infomech.weights._layers import Layer

MASKED = np.ma.masked_invalid([1, np.nan, 3, 4, 5.0])
FLAT = np.ma.masked_equal([0.0, 1.0, 0.0], 1.0)
SQUARE = np.ma.masked_equal([[0.0, 1.0], [2.0, 3.0]], 2.0)
WEIGHTS = np.ma.masked_equal(np.arange(18.0).reshape(1, 2, 3, 3), 4.0)
KEY = jax.random.key(0)
LINE = np.ones(9)
SPEC = sequential.Spec(1, (sequential.Layer(2, (3,)),), 2)
PARAMS = sequential.init(SPEC, key=KEY)
TRACE = im.rollout(np.array([0.0, 1.0, 1.0]), LINE, 4)[1]
BAND = np.ma.masked_equal(np.arange(16.0) + 0j, 3)
WIDE = np.ma.masked_equal(np.arange(64.0) % 7, 3)
VELOCITY = np.ma.masked_equal([0.5], 0.5)
ALONG = np.ma.masked_equal([0, 1], 0)
SHARES = np.ma.masked_equal([0.1, 0.2, 0.3], 0.2)
UNITS = np.ma.masked_equal([[0, 1], [0, 2]], 2)


def meyer():
    return im.scattering.meyer(64, 3.0)


def masked_params():
    kernels = np.ma.masked_less(np.asarray(PARAMS.layers[0].kernels), np.inf)
    return PARAMS._replace(layers=(PARAMS.layers[0]._replace(kernels=kernels),))


def fit(target):
    return im.design.fit(im.losses.velocity(target), np.ones((1, 3)), field=LINE, steps=2)


def layer(kernels, bias=None):
    return [Layer("conv1", kernels, "OIHW", "given", bias)]


#: argument named in the message, and a call with a masked array for it
CALLS = {
    "rollout": ("field", lambda: im.rollout(np.array([0.0, 1, 0]), MASKED, 1)),
    "rollout, kernel": ("kernel", lambda: im.rollout(FLAT, LINE, 1)),
    "rollout, kernels": ("kernel", lambda: im.rollout([FLAT, FLAT], LINE, 2)),
    "layer": ("kernel", lambda: im.layer(FLAT, LINE)),
    "as_field": ("field", lambda: im.fields.as_field(np.ma.masked_equal([1.0, -9999], -9999))),
    "Field": (
        "field",
        lambda: im.fields.as_field(im.Field(MASKED, np.zeros(1), np.zeros(()))),
    ),
    "origin": (
        "field.origin",
        lambda: im.fields.as_field(im.Field(LINE, np.ma.masked_equal([0.0], 0), np.zeros(()))),
    ),
    "index": ("index", lambda: im.fields.impulse((5,), index=np.ma.masked_equal([2], 2))),
    "center": ("center", lambda: im.fields.disk((9,), 2.0, center=np.ma.masked_equal([4.0], 4))),
    "radius": ("radius", lambda: im.fields.disk((9,), np.ma.masked)),
    "sigma": ("sigma", lambda: im.fields.gaussian((9, 9), np.ma.masked_equal([1.0, 2], 2))),
    "width": ("width", lambda: im.fields.box((9, 9), np.ma.masked_equal([1.0, 2], 2))),
    "image": ("source", lambda: im.fields.image(SQUARE)),
    "padded": ("values", lambda: im.fields.patterns.padded(SQUARE, (3, 3), 2)),
    "share": ("share", lambda: im.kernels.mix((3,), share=np.ma.masked)),
    "ratio": ("ratio", lambda: im.kernels.mix((3,), ratio=np.ma.masked)),
    "random share": ("share", lambda: im.kernels.random((3,), key=KEY, share=np.ma.masked)),
    "direction": ("direction", lambda: im.kernels.gradient((3, 3), np.ma.masked_equal([0, 1], 0))),
    "kernel sigma": ("sigma", lambda: im.kernels.gaussian((3,), np.ma.masked)),
    "split": ("kernel", lambda: im.parity.split(FLAT)),
    "energy_momentum": ("kernel", lambda: im.mechanics.energy_momentum(FLAT)),
    "dct": ("kernel", lambda: im.spectrum.dct(FLAT)),
    "from_dct": ("coefficients", lambda: im.spectrum.from_dct(FLAT)),
    "frequencies": ("frequencies", lambda: im.spectrum.transfer_function(np.ones(3), [FLAT])),
    "predict": ("kernel", lambda: im.theory.predict(FLAT)),
    "inactive_range": ("direction", lambda: im.theory.inactive_range((3, 3), ALONG)),
    "contraction": ("speed", lambda: im.theory.contraction(FLAT, 1.0)),
    "limit": ("limit", lambda: im.theory.contraction(0.5, FLAT)),
    "mass": ("field", lambda: im.observables.mass(MASKED)),
    "candidates": ("share", lambda: im.rates.candidates(SHARES)),
    "fit x": ("x", lambda: im.rates.fit_line(SHARES, np.ones(3))),
    "fit y": ("y", lambda: im.rates.fit_line(np.arange(3.0), SHARES)),
    "fit where": ("where", lambda: im.rates.fit_line(np.arange(3.0), np.arange(3.0), FLAT > 0)),
    "bootstrap": ("y", lambda: im.rates.bootstrap(np.arange(3.0), SHARES, key=KEY)),
    "trace": (
        "trace",
        lambda: im.rates.velocity(
            dataclasses.replace(TRACE, edge=np.ma.masked_equal(np.zeros(5), 0))
        ),
    ),
    "burn_in": ("burn_in", lambda: im.rates.velocity(TRACE, np.ma.masked)),
    "linearity share": ("share", lambda: im.rates.fit_laws(SHARES, np.ones(3), 0.2, key=KEY)),
    "linearity speed": (
        "speed",
        lambda: im.rates.fit_laws(np.arange(3) / 4, SHARES, 0.2, key=KEY),
    ),
    "target": ("target", lambda: fit(VELOCITY)),
    "loss weight": ("weight", lambda: im.losses.isotropy() * np.ma.masked),
    "pattern of a loss": ("field", lambda: im.losses.shape(MASKED)),
    "start": (
        "start",
        lambda: im.design.fit(im.losses.isotropy(), FLAT[None], field=LINE, steps=2),
    ),
    "design field": (
        "field",
        lambda: im.design.fit(im.losses.isotropy(), np.ones((1, 3)), field=MASKED, steps=2),
    ),
    "diagnose": (
        "kernel",
        lambda: im.design.diagnose(im.losses.isotropy(), FLAT, field=LINE, steps=2),
    ),
    "signal": ("signal", lambda: im.scattering.energies(WIDE, meyer(), 1)),
    "paths": ("signal", lambda: im.scattering.paths(WIDE, meyer(), 1)),
    "prune": (
        "prune",
        lambda: im.scattering.energies(np.ones(64), meyer(), 1, prune=np.ma.masked),
    ),
    "features": ("signal", lambda: im.scattering.features(WIDE, meyer(), 1)),
    "guaranteed": ("signal", lambda: im.scattering.bounds.guaranteed(WIDE, meyer(), 2)),
    "low": ("low", lambda: frames.frame(BAND, np.ones((1, 16)))),
    "bands": ("bands", lambda: frames.frame(np.ones(16), BAND[None])),
    "taps of a frame": ("low", lambda: frames.from_taps(FLAT, np.ones((1, 3)), 16)),
    "responses": ("responses", lambda: frames.with_bands(meyer(), WIDE[None])),
    "signals": ("signals", lambda: extremes.best_frame(meyer(), WIDE[None], 1)),
    "energies": ("energies", lambda: analysis.decay(np.ma.masked_equal([4.0, 2, 1], 2))),
    "energies of a CNN": ("values", lambda: layers.energies([np.ones((1, 1, 3))], MASKED[None])),
    "weights of a CNN": ("weights[0]", lambda: layers.energies([FLAT[None, None]], LINE[None])),
    "tree of weights": ("source a/w", lambda: list(im.weights.layers({"a": {"w": WEIGHTS}}))),
    "array of weights": ("source", lambda: list(im.weights.layers(WEIGHTS))),
    "layers": ("source 1", lambda: list(im.weights.layers([WEIGHTS.data, WEIGHTS]))),
    "chain": ("conv1", lambda: chain.chain(layer(WEIGHTS))),
    "bias": ("conv1 bias", lambda: chain.chain(layer(WEIGHTS.data, np.ma.masked_equal([0.0], 0)))),
    "nulls": ("energy", lambda: nulls.shuffled_energies(FLAT, np.ones(3), (3,))),
    "gain": ("gain", lambda: nulls.shuffled_energies(np.ones(3), FLAT, (3,))),
    "drift": ("kernels[0]", lambda: drift.predict([FLAT[None, None]])),
    "gates": (
        "gates[0]",
        lambda: drift.predict([np.ones((1, 1, 3))], gates=[np.ma.masked_equal([0.5], 0.5)]),
    ),
    "params": ("params", lambda: sequential.apply(masked_params(), LINE[None], spec=SPEC)),
    "image of a CNN": ("image", lambda: sequential.apply(PARAMS, MASKED[None], spec=SPEC)),
    "units": (
        "units",
        lambda: receptive.receptive_fields(lambda image: image, np.ones((1, 1, 9)), UNITS),
    ),
    "images": (
        "images",
        lambda: receptive.receptive_fields(lambda image: image, MASKED[None, None], UNITS.data),
    ),
    "axis": ("share", lambda: im.sweeps.values("share", share=SHARES)),
    "axis of two": ("pair: ratio", lambda: im.sweeps.values("pair", share=[0.1] * 3, ratio=SHARES)),
    "range": ("a: share", lambda: im.sweeps.sobol("a", 4, share=np.ma.masked_equal([0, 1], 1))),
    "linear": ("share", lambda: im.sweeps.linear("share", 0.0, np.ma.masked, 3)),
}

FIGURES = {
    "kernel": ("taps", lambda plot: plot.kernel(FLAT)),
    "animation": ("frames", lambda plot: plot.animation(SQUARE, "a.gif")),
    "scattering": ("signal", lambda plot: plot.scattering(WIDE, meyer(), None, {})),
}


@pytest.mark.parametrize(("argument", "call"), CALLS.values(), ids=CALLS)
def test_masked_array_is_refused(argument, call):
    pattern = rf"^{re.escape(argument)}: got \d+ of \d+ values masked, expected no masked values"
    with pytest.raises(ValueError, match=pattern):
        call()


@pytest.mark.parametrize(("argument", "call"), FIGURES.values(), ids=FIGURES)
def test_figures_refuse_masked_arrays(argument, call):
    plot = pytest.importorskip("infomech.plot")
    with pytest.raises(ValueError, match=rf"^{argument}: got \d+ of \d+ values masked"):
        call(plot)


def test_message_counts_masked_values():
    with pytest.raises(ValueError, match=r"^field: got 1 of 5 values masked, expected"):
        im.fields.as_field(MASKED)


def test_empty_mask_is_accepted():
    values = np.ma.array([1.0, 2.0, 4.0])
    for plain in (values, np.ma.array([1.0, 2.0, 4.0], mask=[False] * 3)):
        np.testing.assert_array_equal(im.fields.as_field(plain).values, [1, 2, 4])
        axis = im.sweeps.values("noise", noise=plain)
        assert axis.columns == (("noise", (1.0, 2.0, 4.0)),)
