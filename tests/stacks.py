"""Stacks of layers shared by the tests of engines and of their derivatives."""

import jax.numpy as jnp
import pytest

from infomech.dynamics import Dynamics
from infomech.engines import native, plan
from infomech.engines.stack import Stack

RECTIFIERS = ("relu", "modulus", "identity", "leaky_relu")
SPECTRAL = {"rectifier": "identity", "boundary": "periodic"}


def make_stack(
    kernel_size,
    shape,
    steps=7,  # more than float32 fields run between two rescalings
    *,
    stacked=False,
    rectifier="relu",
    boundary="zero",
    dtype="float64",
    rescale=True,
):
    dynamics = Dynamics(rectifier, boundary, "l2" if rescale else "none")
    return Stack(shape, kernel_size, steps, stacked, dynamics, dtype)


needs_native = pytest.mark.skipif(
    native.objection(make_stack((3,), (9,)), "cpu") is not None, reason="no C compiler"
)
ENGINES = [pytest.param("native", marks=needs_native), "shifts", "convolution"]


def execute(engine, stack, kernels, values):
    chosen = plan.choose(stack, engine, "cpu")
    assert chosen.name == engine
    return chosen.run(stack, jnp.asarray(kernels), jnp.asarray(values))
