"""`Dynamics`: one description of a layer for all entry points, and engines as objects."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import infomech as im
from infomech import dynamics
from infomech.cli import main
from infomech.engines import build, plan, shifts

KERNEL = np.array([0.2, 0.9, -0.4], np.float32)
FIELD = np.array([0.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 1.0], np.float32)
MODULUS = im.Dynamics("modulus", "periodic", "sum")


def test_dynamics_are_equal_and_hashable_by_content():
    same = im.Dynamics(im.rectifiers.modulus, boundary="periodic", normalize="sum")
    assert same == MODULUS
    assert hash(MODULUS) == hash(same)
    assert im.Dynamics() == im.Dynamics("relu", "zero", "l2") != MODULUS


def test_rollout_takes_dynamics_and_options_replace_its_entries():
    options = {"rectifier": "modulus", "boundary": "periodic", "normalize": "sum"}
    expected, trace = im.rollout(KERNEL, FIELD, 5, **options)
    final, same_trace = im.rollout(KERNEL, FIELD, 5, dynamics=MODULUS)
    np.testing.assert_array_equal(final.values, expected.values)
    np.testing.assert_array_equal(same_trace.center, trace.center)
    replaced, _ = im.rollout(KERNEL, FIELD, 5, dynamics=MODULUS, boundary="zero")
    zero, _ = im.rollout(KERNEL, FIELD, 5, **{**options, "boundary": "zero"})
    np.testing.assert_array_equal(replaced.values, zero.values)
    assert not np.array_equal(replaced.values, expected.values)


def test_layer_plan_and_design_take_dynamics():
    layer = im.layer(KERNEL, FIELD, dynamics=MODULUS)
    expected = im.layer(KERNEL, FIELD, rectifier="modulus", boundary="periodic")
    np.testing.assert_array_equal(layer.values, expected.values)
    linear = im.Dynamics("identity", "periodic")
    assert im.plan((3,), (64,), 10**4, dynamics=linear).engine == "spectral"
    assert im.plan((3,), (64,), 10**4).engine != "spectral"
    loss = im.losses.velocity((0.1,))
    settings = {"field": FIELD, "steps": 4, "iterations": 2, "solver": "lbfgs"}
    by_name = im.design.fit(loss, KERNEL, rectifier="modulus", boundary="periodic", **settings)
    by_object = im.design.fit(loss, KERNEL, dynamics=im.Dynamics("modulus", "periodic"), **settings)
    np.testing.assert_array_equal(by_object.kernel, by_name.kernel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boundary": "wrap"}, "boundary: got 'wrap', expected one of zero, periodic, reflect"),
        ({"normalize": "l1"}, "normalize: got 'l1', expected one of none, sum, l2, max"),
        ({"rectifier": "swish"}, "rectifier: got 'swish'"),
        ({"dynamics": "relu"}, "dynamics: got 'relu', expected an infomech.Dynamics, or None"),
    ],
)
def test_invalid_dynamics_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        im.rollout(KERNEL, FIELD, 2, **options)


def test_rescaling_and_norms_follow_from_the_rectifier():
    assert im.Dynamics("relu", normalize="max").rescale
    assert not im.Dynamics("relu", normalize="none").rescale
    assert im.Dynamics("tanh").norm_in_layer
    assert not im.Dynamics("tanh", normalize="none").norm_in_layer


def test_the_c_engine_numbers_boundaries_as_python_does():
    command, _ = build._target()
    for number, name in enumerate(dynamics.BOUNDARIES):
        assert f"-D{name.upper()}={number}" in command


def test_an_engine_from_outside_runs_a_rollout():
    calls = []

    def run(stack, kernels, values):
        calls.append(stack.steps)
        return shifts.run(stack, kernels, values)

    engine = dataclasses.replace(shifts.ENGINE, name="counted", run=run)
    expected, _ = im.rollout(KERNEL, FIELD, 6, every=3, engine="shifts")
    final, _ = im.rollout(KERNEL, FIELD, 6, every=3, engine=engine)
    assert set(calls) == {3}
    np.testing.assert_array_equal(final.values, expected.values)

    def energy(kernel, engine):
        final, _ = im.rollout(kernel, FIELD, 6, engine=engine, normalize="none")
        return jnp.sum(final.values**2)

    gradient = jax.grad(energy)(jnp.asarray(KERNEL), engine)
    np.testing.assert_allclose(gradient, jax.grad(energy)(jnp.asarray(KERNEL), "shifts"))


def test_an_engine_can_refuse_layers():
    engine = dataclasses.replace(
        shifts.ENGINE, name="none", objection=lambda stack, platform: "runs nothing"
    )
    with pytest.raises(ValueError, match="engine: got 'none', which runs nothing"):
        im.rollout(KERNEL, FIELD, 2, engine=engine)
    with pytest.raises(ValueError, match="engine: got 'fast', expected one of auto, spectral"):
        im.rollout(KERNEL, FIELD, 2, engine="fast")
    assert [e.name for e in plan.ENGINES][:2] == ["spectral", "native"]


@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_help_lists_the_known_names(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    words = capsys.readouterr().out.replace("│", " ").split()
    text = " ".join(words)
    engines = ["auto", *(engine.name for engine in plan.ENGINES)]
    for names in (im.rectifiers.names(), dynamics.BOUNDARIES, dynamics.NORMALIZATIONS, engines):
        assert f"{', '.join(names[:-1])} or {names[-1]}." in text
