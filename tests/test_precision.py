"""What a GPU would be given: programs for it, in which no product is rounded to fewer digits.

Accelerators multiply float32 with ten bits of its digits unless set otherwise. Programs are made
for one without there being one.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import infomech as im
from infomech import losses, networks, rates, scattering, spectrum, survey, sweeps
from infomech.networks import sequential
from infomech.sweeps import _program

KERNEL = im.kernels.mix((3, 3), share=0.2, dtype="float32")
LINE, PLANE = np.ones(24, np.float32), np.ones((12, 10), np.float32)
WAVELETS = scattering.meyer(24, 2.0, dtype="float32")
SWEEP = sweeps.Sweep(axes=(sweeps.values("share", share=[0.2]),), steps=6, burn_in=1)
SPEC = sequential.Spec(1, (sequential.Layer(2, (3, 3)), sequential.Layer(2, (3, 3), stride=2)), 3)


def change(function, x):
    """Value and gradient."""
    return jax.value_and_grad(function)(x)


def end(kernel, field=PLANE, **settings):
    """A number to which all of a trace adds."""
    final, trace = im.rollout(kernel, field, 6, **settings)
    floating = [x for x in jax.tree.leaves((final, trace)) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return sum(jnp.sum(x) for x in floating)


def slope(kernel, **settings):
    return change(lambda k: end(k, **settings), kernel)


def target(kernel):
    """All that may be target for."""
    final, trace = im.rollout(kernel, PLANE, 6)
    run = losses.Run(kernel, im.fields.as_field(PLANE), final, trace)
    objective = losses.velocity([0.0, 0.1]) + losses.diffusion(0.1) + losses.shape(PLANE)
    objective = objective + losses.arrival([1.0, 1.0], 6) + losses.energy() + losses.isotropy()
    return (objective + losses.odd_share() + losses.high_frequency_share())(run)


def passed(image):
    """An image through a network."""
    params = sequential.init(SPEC, key=jax.random.key(0), dtype=np.float32)
    return sequential.apply(params, image, spec=SPEC).logits


PROGRAMS = {
    **{
        " ".join(settings.values()): (functools.partial(slope, **settings), KERNEL)
        for settings in (
            {"engine": "shifts"},
            {"engine": "shifts", "boundary": "periodic", "normalize": "max"},
            {"engine": "shifts", "grad_mode": "forward"},
            {"engine": "convolution"},
            {"engine": "spectral", "rectifier": "identity", "boundary": "periodic"},
        )
    },
    "a line": (lambda k: end(k, LINE), KERNEL[1]),
    "made kernels": (
        lambda share: im.kernels.mix((2, 3), share=share, direction=jnp.stack([share, share])),
        np.float32(0.2),
    ),
    "random kernels": (
        lambda share: im.kernels.random((3, 3), key=jax.random.key(0), share=share),
        np.float32(0.2),
    ),
    "mechanics": (lambda k: (im.mechanics.energy_momentum(k), im.theory.predict(k)), KERNEL),
    "spectrum": (
        lambda k: (spectrum.energies(k), spectrum.coordinates(k), spectrum.transfer_function(
            k, [np.linspace(0, 3, 5, dtype=np.float32)] * 2
        )), KERNEL,
    ),
    "losses": (lambda k: change(target, k), KERNEL),
    "a survey": (
        lambda shares: survey._measure(
            shares, np.float32([0, 1]), im.fields.as_field(PLANE), 1, kernel_size=(3, 3), steps=6,
            rectifier="relu", boundary="zero", normalize="l2",
        ), np.linspace(0, 1, 3, dtype=np.float32),
    ),
    "intervals of a law": (
        lambda x: rates.bootstrap(x, x**2, key=jax.random.key(0), resamples=5),
        np.linspace(0, 1, 5, dtype=np.float32),
    ),
    "a sweep": (_program.point(SWEEP, *SWEEP.settings()), {"share": np.float32(0.2)}),
    "scattering": (
        lambda u: change(lambda u: jnp.sum(scattering.energies(u, WAVELETS, 2).collected), u), LINE,
    ),
    "features": (lambda u: scattering.features(u, WAVELETS, 2), LINE),
    "a network": (lambda u: change(lambda u: jnp.sum(passed(u)), u), PLANE[None]),
    "drift": (lambda k: networks.drift.predict([k, k]), np.ones((2, 2, 3, 3), np.float32)),
}  # fmt: skip


def rounded(text):
    """Lines of a program with a product of fewer digits than its operands have."""
    products = re.findall(r"^.*stablehlo\.(?:dot_general|convolution).*$", text, re.M)
    return [line for line in products if line.count("HIGHEST") < 2], len(products)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_product_is_rounded_to_fewer_digits_on_a_gpu(name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    function, operand = PROGRAMS[name]
    lowered = jax.jit(function).trace(operand).lower(lowering_platforms=("cuda",))
    wrong, _ = rounded(lowered.as_text())
    assert not wrong


def test_a_product_of_fewer_digits_would_be_seen():
    square = np.ones((3, 3), np.float32)
    for precision, expected in ((None, 1), ("highest", 0)):
        lowered = jax.jit(lambda a, p=precision: jnp.matmul(a, a, precision=p)).lower(square)
        wrong, count = rounded(lowered.as_text())
        assert (len(wrong), count) == (expected, 1)
    kernel = np.ones((1, 1, 3, 3), np.float32)
    lowered = jax.jit(lambda k: jax.lax.conv(kernel, k, (1, 1), "SAME")).lower(kernel)
    assert len(rounded(lowered.as_text())[0]) == 1
