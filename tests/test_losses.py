"""Losses against their definitions, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import infomech as im
from infomech import losses

STEPS = 6
KERNEL = np.array([[0.1, 0.2, 0.05], [0.0, 0.3, 0.2], [0.05, 0.0, 0.1]])


def run_of(kernel, dtype="float64", **settings):
    first = im.fields.disk((25, 27), radius=3.0, dtype=dtype)
    final, trace = im.rollout(jnp.asarray(kernel, dtype), first, STEPS, **settings)
    return losses.Run(jnp.asarray(kernel, dtype), first, final, trace)


@pytest.fixture(scope="module")
def run():
    return run_of(KERNEL)


PATH = np.linspace([12.0, 13.0], [13.0, 15.0], STEPS + 1)
SQUARE = np.zeros((25, 27))
SQUARE[3:8, 4:10] = 1.0
ALL = {
    "velocity": losses.velocity(np.array([0.1, -0.2])),
    "velocity late": losses.velocity(np.array([0.1, -0.2]), burn_in=3),
    "mean diffusion": losses.diffusion(0.3),
    "diffusion per axis": losses.diffusion(np.array([0.3, 0.2])),
    "diffusion tensor": losses.diffusion(np.array([[0.3, 0.1], [0.1, 0.2]])),
    "trajectory": losses.trajectory(PATH),
    "arrival": losses.arrival(np.array([12.0, 14.0]), 4),
    "shape": losses.shape(SQUARE),
    "energy": losses.energy(-0.5),
    "isotropy": losses.isotropy(),
    "odd share": losses.odd_share(),
    "high-frequency share": losses.high_frequency_share(),
    "any": losses.observable("gain", lambda run: jnp.sum(run.kernel), 0.7),
    "a sum": 0.3 * losses.velocity(np.array([0.1, 0.0])) + losses.odd_share() * 2.0,
}


def test_losses_vanish_at_predicted_values(run):
    theory = jax.tree.map(np.asarray, im.theory.predict(KERNEL))
    for loss in (
        losses.velocity(theory.velocity),
        losses.velocity(theory.velocity, burn_in=4),
        losses.diffusion(theory.diffusion),
        losses.diffusion(np.diagonal(theory.diffusion)),
        losses.diffusion(np.trace(theory.diffusion) / 2),
        losses.trajectory(np.array([12.0, 13.0]) + np.arange(7)[:, None] * theory.velocity),
        losses.arrival(np.array([12.0, 13.0]) + 5 * theory.velocity, 5),
    ):
        assert 0 <= loss(run) < 1e-18, loss.names


def test_losses_match_their_definitions(run):
    trace, theory = run.trace, im.theory.predict(KERNEL)
    value = {name: float(loss(run)) for name, loss in ALL.items()}
    velocity, diffusion = np.asarray(theory.velocity), np.asarray(theory.diffusion)
    covariance = np.asarray(trace.covariance[-1])
    mean = np.trace(covariance) / 2
    expected = {
        "velocity": np.sum((velocity - [0.1, -0.2]) ** 2),
        "velocity late": np.sum((velocity - [0.1, -0.2]) ** 2),
        "mean diffusion": (np.trace(diffusion) / 2 - 0.3) ** 2,
        "diffusion per axis": np.sum((np.diagonal(diffusion) - [0.3, 0.2]) ** 2),
        "diffusion tensor": np.sum((diffusion - [[0.3, 0.1], [0.1, 0.2]]) ** 2),
        "trajectory": np.mean(np.sum((np.asarray(trace.center) - PATH) ** 2, 1)),
        "arrival": np.sum((np.array([12.0, 13.0]) + 4 * velocity - [12.0, 14.0]) ** 2),
        "energy": (float(trace.log_energy[-1] - trace.log_energy[0]) + 0.5) ** 2,
        "isotropy": np.sum((covariance / mean - np.eye(2)) ** 2),
        "odd share": float(im.mechanics.energy_momentum(KERNEL).share),
        "high-frequency share": 1 - float(im.spectrum.low_frequency_share(KERNEL)),
        "any": (KERNEL.sum() - 0.7) ** 2,
    }
    expected["a sum"] = 0.3 * np.sum((velocity - [0.1, 0.0]) ** 2) + 2 * expected["odd share"]
    for name, number in expected.items():
        np.testing.assert_allclose(value[name], number, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("shift", [(0, 0), (3, -4)])
def test_shape_loss_ignores_position(run, shift):
    values = np.asarray(run.final.values)
    assert losses.shape(np.roll(5.0 * values, shift, (0, 1)))(run) < 1e-12
    assert losses.shape(SQUARE)(run) > 0.05
    np.testing.assert_allclose(losses.shape(SQUARE[2:12, 1:13])(run), losses.shape(SQUARE)(run))


def test_losses_are_squared_residuals_under_jit_and_vmap():
    kernels = np.stack([KERNEL, KERNEL.T, np.flip(KERNEL), 2 * KERNEL])

    @jax.jit
    @jax.vmap
    def evaluate(kernel):
        run = run_of(kernel)
        return {n: (loss(run), loss.residuals(run)) for n, loss in ALL.items()}

    for name, (value, residuals) in evaluate(kernels).items():
        np.testing.assert_allclose(value, np.sum(residuals**2, -1), rtol=1e-12, err_msg=name)
        single = [ALL[name](run_of(kernel)) for kernel in kernels]
        np.testing.assert_allclose(value, single, rtol=1e-9, atol=1e-14, err_msg=name)


def test_gradients_match_finite_differences():
    direction = np.random.default_rng(0).normal(size=KERNEL.shape)

    @jax.jit
    def values(t):
        run = run_of(jnp.asarray(KERNEL + 0.01) + t * direction)
        return {name: loss(run) for name, loss in ALL.items()}

    h = 1e-6
    up, down, gradient = values(h), values(-h), jax.jacobian(values)(0.0)
    for name in ALL:
        expected = (up[name] - down[name]) / (2 * h)
        np.testing.assert_allclose(gradient[name], expected, rtol=2e-6, atol=1e-9, err_msg=name)


def test_targets_can_be_batched():
    velocities = np.array([[0.0, 0.1], [0.2, 0.3], [-0.1, 0.0]])
    run = run_of(KERNEL)
    batch = losses.velocity(velocities) + 2.0 * losses.odd_share()
    values = jax.vmap(lambda loss: loss(run), (losses.batch_axes(batch),))(batch)
    expected = [(losses.velocity(v) + 2.0 * losses.odd_share())(run) for v in velocities]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_kernel_losses_average_over_layers():
    stack = np.stack([KERNEL, np.flip(KERNEL)] * 3)
    run = run_of(stack)
    share = im.mechanics.energy_momentum(KERNEL).share
    np.testing.assert_allclose(losses.odd_share()(run), share, rtol=1e-12)
    assert losses.high_frequency_share()(run) > 0


def test_float32_stays_float32():
    run = run_of(KERNEL, "float32")
    for name, loss in ALL.items():
        assert loss(run).dtype == jnp.float32, name


def test_dead_field_gives_nan_with_finite_gradient():
    def value(kernel):
        return losses.velocity(np.array([0.1, 0.1]))(run_of(kernel))

    gradient = jax.grad(value)(-jnp.asarray(KERNEL))
    assert np.isnan(value(-KERNEL))
    assert np.isfinite(gradient).all()


def test_repeated_names_are_numbered():
    loss = losses.odd_share() + losses.velocity(np.zeros(2)) + losses.odd_share()
    assert loss.names == ["odd share", "velocity", "odd share #2"]
    assert list(loss.targets) == loss.names == list(loss.measured(run_of(KERNEL)))


def test_invalid_arguments_raise(run):
    for loss, argument in (
        (losses.velocity(np.zeros(3)), "velocity target"),
        (losses.diffusion(np.zeros((3, 3))), "diffusion target"),
        (losses.trajectory(PATH[:-1]), "trajectory target"),
        (losses.arrival(np.zeros(3), 2), "center after layer 2 target"),
        (losses.energy(np.zeros(2)), "log energy target"),
        (losses.shape(np.ones((40, 40))), "shape pattern"),
    ):
        with pytest.raises(ValueError, match=f"^{argument}: got "):
            loss(run)
    assert np.isnan(losses.arrival(np.zeros(2), 99)(run))
    with pytest.raises(ValueError, match=r"^weight: got "):
        -1.0 * losses.odd_share()
    with pytest.raises(ValueError, match=r"^weight: got "):
        losses.odd_share() * np.nan
    with pytest.raises(ValueError, match=r"^loss: got "):
        losses.odd_share() + 3.0
    with pytest.raises(ValueError, match=r"^measure: got "):
        losses.observable("gain", 3.0, 1.0)
    with pytest.raises(ValueError, match=r"^burn_in: got "):
        losses.velocity(np.zeros(2), burn_in=-1)


NONFINITE = {
    "velocity target": lambda bad: losses.velocity([0.1, bad]),
    "diffusion target": lambda bad: losses.diffusion(jnp.full((2, 2), bad, float)),
    "trajectory target": lambda bad: losses.trajectory(PATH + jnp.full((), bad, float)),
    "arrival position": lambda bad: losses.arrival([bad, 1.0], 2),
    "shape pattern": lambda bad: losses.shape(im.Field(SQUARE + bad, jnp.zeros(2), jnp.zeros(()))),
    "log energy target": lambda bad: losses.energy(bad),
    "gain target": lambda bad: losses.observable("gain", _gain, bad),
    "weight": lambda bad: bad * losses.odd_share(),
}


def _gain(run):
    return jnp.sum(run.kernel)


@pytest.mark.parametrize("argument", NONFINITE)
def test_nonfinite_targets_and_weights_raise(argument):
    for bad in (np.nan, np.inf, -np.inf, np.float32(np.nan), jnp.asarray(jnp.nan)):
        with pytest.raises(ValueError, match=f"^{argument}: got .*, expected finite numbers only"):
            NONFINITE[argument](bad)
    jax.jit(NONFINITE[argument])(0.5)  # traced values are not checked
    with pytest.raises(ValueError, match=r"^weight: got .*, expected a number of at least 0"):
        losses.odd_share() * np.ones(2)
    with pytest.raises(ValueError, match=r"^odd share weight: got inf"):
        1e200 * (1e200 * losses.odd_share())
    with pytest.raises(ValueError, match=r"^velocity target: got str, expected an array of real"):
        losses.velocity("fast")


def test_list_of_targets_is_one_batched_leaf():
    axes = losses.batch_axes(losses.velocity([[0.1, 0.2], [0.3, 0.4]]))
    assert jax.tree.leaves(axes) == [0]
