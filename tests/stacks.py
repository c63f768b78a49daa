"""Stacks of layers that the tests of engines and of their derivatives share."""

import jax.numpy as jnp
import pytest

from infomech import rectifiers
from infomech.engines import native, plan
from infomech.engines.stack import Stack

RECTIFIERS = ("relu", "modulus", "identity", "leaky_relu")
SPECTRAL = {"rectifier": "identity", "boundary": "periodic"}


def stack_of(
    taps,
    pixels,
    layers=7,  # more than a float32 field may pass between two scales
    *,
    stacked=False,
    rectifier="relu",
    boundary="zero",
    dtype="float64",
    rescale=True,
):
    rectifier = rectifiers.get(rectifier)
    return Stack(pixels, taps, layers, stacked, rectifier, boundary, dtype, rescale)


needs_native = pytest.mark.skipif(
    native.objection(stack_of((3,), (9,)), "cpu") is not None, reason="no C compiler"
)
EVERY_ENGINE = [pytest.param("native", marks=needs_native), "shifts", "convolution"]


def execute(engine, stack, kernels, values):
    assert plan.choose(stack, engine, "cpu") == engine
    return plan.ENGINES[engine].run(stack, jnp.asarray(kernels), jnp.asarray(values))
