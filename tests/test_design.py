"""Kernel design: recovery, statuses, families, solvers, and gradient diagnosis."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from thinned import thinned

import infomech as im
from infomech import design, losses
from infomech.design import parametrizations, solvers

STEPS = 8
needs_optimistix = pytest.mark.skipif(
    importlib.util.find_spec("optimistix") is None, reason="needs optimistix"
)
SETTINGS = {"steps": STEPS}


def line(pixels=48, dtype="float64"):
    return im.fields.box((pixels,), 5, dtype=dtype)


def random_starts(count, shape=(3,), seed=0, dtype="float64"):
    return design.starts(shape, count, key=jax.random.key(seed), dtype=dtype)


def of_optimistix(name):
    return getattr(pytest.importorskip("optimistix"), name)(rtol=1e-7, atol=1e-9)


# --- families of kernels ----------------------------------------------------------------------

KERNEL = np.random.default_rng(0).uniform(0.1, 1.0, (3, 4))
FAMILIES = {
    "taps": (parametrizations.taps, KERNEL),
    "unit energy": (parametrizations.unit_energy, KERNEL / np.linalg.norm(KERNEL)),
    "non-negative": (parametrizations.non_negative, KERNEL),
    "odd share": (
        parametrizations.odd_share(0.3),
        np.asarray(im.kernels.mix((3, 4), share=0.3)),
    ),
    "all odd": (parametrizations.odd_share(1.0), np.asarray(im.kernels.gradient((3, 4)))),
    "low order": (
        parametrizations.low_order((3, 4), 1),
        np.asarray(im.spectrum.from_dct(np.array([[1.0, 0.3, 0, 0], [0.2] + 3 * [0], 4 * [0]]))),
    ),
    "mirror": (parametrizations.mirror_symmetric((1,)), KERNEL + KERNEL[:, ::-1]),
    "stack": (
        parametrizations.per_layer(parametrizations.non_negative),
        np.stack([KERNEL, KERNEL**2]),
    ),
}


@pytest.mark.parametrize("name", thinned(FAMILIES, 2))
def test_family_round_trip(name):
    family, kernel = FAMILIES[name]
    result = family.kernel(family.free(jnp.asarray(kernel)))
    np.testing.assert_allclose(result, kernel, rtol=1e-9, atol=1e-12)
    assert not family.bound(jnp.asarray(kernel))
    jacobian = jax.jacobian(family.kernel)(family.free(jnp.asarray(kernel)))
    assert np.isfinite(jacobian).all()


def test_any_parameters_give_a_kernel_of_the_family():
    free = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)) * 3)
    np.testing.assert_allclose(jnp.sum(parametrizations.unit_energy.kernel(free) ** 2), 1)
    assert (parametrizations.non_negative.kernel(free) > 0).all()
    for share in (0.0, 0.4, 1.0):
        em = im.mechanics.energy_momentum(parametrizations.odd_share(share).kernel(free))
        np.testing.assert_allclose([em.share, em.energy], [share, 1], atol=1e-12)
    kernel = parametrizations.mirror_symmetric((0, 1)).kernel(free)
    np.testing.assert_allclose(im.mechanics.energy_momentum(kernel).momentum, 0, atol=1e-12)
    low = parametrizations.low_order((3, 4), 2)
    modes = np.asarray(im.spectrum.dct(low.kernel(jnp.arange(1.0, 7.0))))
    indices = np.indices((3, 4)).sum(0)
    np.testing.assert_allclose(modes[indices > 2], 0, atol=1e-12)
    np.testing.assert_allclose(modes[indices <= 2], np.arange(1, 7))
    assert parametrizations.non_negative.bound(jnp.asarray([1.0, 1e-9]))


# --- fits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "iterations"),
    [
        pytest.param("least squares", 50, marks=needs_optimistix),
        pytest.param("dogleg", 50, marks=[needs_optimistix, pytest.mark.deep]),
        pytest.param("lbfgs", 50, marks=pytest.mark.deep),
        ("adam", 1000),
        (optax.sgd(0.3, momentum=0.9), 1000),
        pytest.param(optax.lbfgs(), 150, marks=pytest.mark.deep),
        pytest.param(
            optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
            1000,
            marks=pytest.mark.deep,
        ),
        pytest.param("GaussNewton", 50, marks=needs_optimistix),
        pytest.param("IndirectLevenbergMarquardt", 50, marks=[needs_optimistix, pytest.mark.deep]),
        pytest.param("BFGS", 50, marks=needs_optimistix),
        pytest.param("NelderMead", 90, marks=needs_optimistix),
        pytest.param("NonlinearCG", 90, marks=[needs_optimistix, pytest.mark.deep]),
    ],
)
def test_solvers_reach_a_velocity(solver, iterations):
    if isinstance(solver, str) and solver not in solvers.SOLVERS:
        solver = of_optimistix(solver)
    result = design.fit(
        losses.velocity(np.array([0.3])),
        random_starts(3),
        field=line(),
        solver=solver,
        iterations=iterations,
        tolerance=1e-8,
        **SETTINGS,
    )
    achieved = result.achieved["velocity"]
    assert result.reason == ["converged"] * 3
    np.testing.assert_allclose(achieved, np.full((3, 1), 0.3), atol=1e-4)
    np.testing.assert_allclose(result.loss, np.sum((achieved - 0.3) ** 2, 1))
    measured = [im.rates.velocity(im.rollout(k, line(), STEPS)[1]).value for k in result.kernel]
    np.testing.assert_allclose(measured, achieved, atol=1e-9)
    assert result.history.shape[1] == 3
    assert (result.history[-1] <= result.history[0]).all()


def rosenbrock(run):
    """Rosenbrock residuals of the taps; minimum at 1."""
    k = run.kernel
    return jnp.concatenate([10 * (k[1:] - k[:-1] ** 2), 1 - k[:-1]])


@needs_optimistix
@pytest.mark.parametrize("solver", ["least squares", "dogleg", "BFGS", "NelderMead"])
def test_chunks_match_uninterrupted_iterations(solver):
    """The whole solver state, such as the damping, survives from chunk to chunk."""
    import optimistix

    names = {"least squares": "LevenbergMarquardt", "dogleg": "Dogleg"}
    library_solver = of_optimistix(names.get(solver, solver))
    start = np.array([-1.2, 1.0, 0.5])
    counts = []
    result = design.fit(
        losses.observable("rosenbrock", rosenbrock, np.zeros(4)),
        start,
        solver=solver if solver in names else library_solver,
        field=line(),
        steps=1,
        iterations=25,
        on_progress=lambda progress: counts.append((progress.done, progress.total)),
    )
    assert counts == [(0, 25), (10, 25), (20, 25), (25, 25)]

    def residuals(kernel, _=None):
        return jnp.concatenate([10 * (kernel[1:] - kernel[:-1] ** 2), 1 - kernel[:-1]])

    def squares(kernel, _):
        return jnp.sum(residuals(kernel) ** 2)

    for (iterations, _), value in zip(counts[1:], result.history[1:, 0], strict=True):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            if solver in names:
                solution = optimistix.least_squares(
                    residuals, library_solver, start, max_steps=iterations, throw=False
                )
            else:
                solution = optimistix.minimise(
                    squares, library_solver, start, max_steps=iterations, throw=False
                )
        np.testing.assert_allclose(value, squares(solution.value, None), rtol=1e-6)


def test_known_kernel_is_recovered():
    """Velocity, diffusion and unit gain determine three non-negative taps."""
    known = np.array([0.5, 0.3, 0.2])
    theory = im.theory.predict(known)
    loss = losses.velocity(theory.velocity) + losses.diffusion(theory.diffusion)
    loss = loss + losses.observable("gain", lambda run: jnp.sum(run.kernel), 1.0)
    result = design.fit(
        loss,
        random_starts(2),
        field=line(),
        family=parametrizations.non_negative,
        iterations=100,
        tolerance=1e-14,
        **SETTINGS,
    )
    assert result.reason == ["converged"] * 2
    np.testing.assert_allclose(result.kernel, [known, known], atol=1e-6)


def test_bad_start_does_not_affect_others():
    good = random_starts(2)
    dead = -jnp.ones((1, 3))
    loss = losses.velocity(np.array([-0.2]))
    alone = design.fit(loss, good, field=line(), solver="lbfgs", iterations=40, **SETTINGS)
    mixed = design.fit(
        loss,
        jnp.concatenate([good[:1], dead, good[1:]]),
        field=line(),
        solver="lbfgs",
        iterations=40,
        **SETTINGS,
    )
    np.testing.assert_allclose(mixed.kernel[[0, 2]], alone.kernel, rtol=1e-9)
    assert mixed.reason == ["converged", "the field died", "converged"]
    assert mixed.best in (0, 2)


def test_unreachable_velocity_hits_bound_of_non_negative_kernels():
    result = design.fit(
        losses.velocity(np.array([1.2])),
        random_starts(2),
        field=line(96),
        solver="lbfgs",
        family=parametrizations.non_negative,
        iterations=200,
        **SETTINGS,
    )
    assert all(status != design.Status.CONVERGED for status in result.status)
    assert "hit a bound of the kernel family" in result.reason
    assert (result.achieved["velocity"] <= 1.0 + 1e-12).all()


def test_pattern_leaving_the_domain_is_reported():
    field = im.fields.box((20,), 5, dtype="float64")
    result = design.fit(
        losses.velocity(np.array([0.9])),
        random_starts(1),
        field=field,
        solver="lbfgs",
        iterations=60,
        **SETTINGS,
    )
    assert result.reason == ["the pattern left the domain"]


@pytest.mark.deep
def test_single_precision_fit_is_verified_in_double_precision():
    result = design.fit(
        losses.velocity(np.array([0.25], np.float32)),
        random_starts(2, dtype="float32"),
        field=line(dtype="float32"),
        solver="lbfgs",
        iterations=60,
        **SETTINGS,
    )
    assert result.kernel.dtype == np.float32
    assert result.loss.dtype == np.float64
    exact = [im.theory.predict(k.astype(np.float64)).velocity for k in result.kernel]
    inactive = [im.theory.predict(k).inactive for k in result.kernel]
    np.testing.assert_allclose(
        result.achieved["velocity"][inactive], np.asarray(exact)[inactive], atol=1e-12
    )
    assert result.reason == ["converged"] * 2


def test_verification_uses_the_true_scale_of_the_field():
    field = im.fields.as_field(0.01 * line().values)
    scaled = im.Field(line().values, field.origin, field.log_gain + np.log(0.01))
    loss = losses.energy(-0.5)
    settings = dict(
        rectifier="tanh", normalize="none", solver=optax.sgd(0.0), iterations=50, **SETTINGS
    )
    plain, by_gain = (
        design.fit(loss, 20.0 * random_starts(1), field=f, **settings) for f in (field, scaled)
    )
    np.testing.assert_allclose(by_gain.loss, plain.loss, rtol=1e-6)


@pytest.mark.deep
def test_each_start_can_have_its_own_target():
    targets = np.linspace(-0.6, 0.6, 5)[:, None]
    result = design.fit(
        losses.velocity(targets),
        random_starts(5),
        field=line(),
        solver="lbfgs",
        iterations=60,
        batched_loss=True,
        **SETTINGS,
    )
    assert result.reason == ["converged"] * 5
    np.testing.assert_allclose(result.achieved["velocity"], targets, atol=1e-4)


@pytest.mark.deep
def test_stack_follows_a_trajectory():
    path = np.array([24.0, 24.5, 25.0, 24.8, 24.2])[:, None]
    stack = random_starts(8).reshape(2, 4, 3)
    result = design.fit(
        losses.trajectory(path),
        stack,
        field=im.fields.box((49,), 5, dtype="float64"),
        steps=4,
        solver="lbfgs",
        family=parametrizations.per_layer(parametrizations.taps),
        iterations=80,
    )
    assert result.kernel.shape == (2, 4, 3)
    assert result.reason == ["converged"] * 2
    np.testing.assert_allclose(result.achieved["trajectory"], [path, path], atol=1e-4)


def test_starts_are_reproducible():
    one, other = random_starts(4, seed=3), random_starts(4, seed=3)
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, random_starts(4, seed=4))
    np.testing.assert_allclose(np.sum(one, 1), 1)
    assert (np.asarray(one) >= 0).all()


@pytest.mark.deep
def test_stop_at_first():
    settings = dict(field=line(), solver="lbfgs", iterations=90, tolerance=1e-3, **SETTINGS)
    result = design.fit(
        losses.velocity(np.array([0.1])), random_starts(6), stop_at_first=True, **settings
    )
    assert len(result.history) <= 3
    assert design.Status.CONVERGED in result.status


def test_invalid_arguments_raise(monkeypatch):
    loss, field = losses.velocity(np.array([0.1])), line()
    cases = [
        ("start", lambda: design.fit(loss, -jnp.ones((2, 3)), field=field, **SETTINGS)),
        ("start", lambda: design.fit(loss, jnp.ones((1, 1, 1, 3)), field=field, **SETTINGS)),
        ("start", lambda: design.fit(loss, jnp.full(3, jnp.nan), field=field, **SETTINGS)),
        ("solver", lambda: design.fit(loss, jnp.ones(3), field=field, solver="sgd", **SETTINGS)),
        ("steps", lambda: design.fit(loss, jnp.ones(3), field=field, steps=0)),
        (
            "iterations",
            lambda: design.fit(loss, jnp.ones(3), field=field, iterations=0, **SETTINGS),
        ),
        (
            "velocity",
            lambda: design.fit(losses.velocity(np.zeros(2)), jnp.ones(3), field=field, **SETTINGS),
        ),
        (
            "velocity",
            lambda: design.fit(losses.velocity(0.1), jnp.ones(3), field=field, **SETTINGS),
        ),
        (
            "field",
            lambda: design.fit(
                losses.trajectory(np.full((9, 1), 48.0)), jnp.ones(9), field=field, **SETTINGS
            ),
        ),
        (
            "field",
            lambda: design.fit(losses.arrival([-1.0], 8), jnp.ones(9), field=field, **SETTINGS),
        ),
        (
            "field",
            lambda: design.fit(
                losses.velocity(np.array([9.0])), jnp.ones(9), field=field, **SETTINGS
            ),
        ),
        (
            "loss",
            lambda: design.fit(
                losses.velocity(np.zeros((3, 1))),
                jnp.ones((2, 3)),
                field=field,
                batched_loss=True,
                **SETTINGS,
            ),
        ),
        ("share", lambda: parametrizations.odd_share(1.5)),
        ("order", lambda: parametrizations.low_order((3,), -1)),
    ]
    for argument, call in cases:
        with pytest.raises(ValueError, match=f"^{argument}: got "):
            call()
    with pytest.raises(ValueError, match=r"at least .*145"):
        design.fit(losses.velocity(np.array([9.0])), jnp.ones(9), field=field, **SETTINGS)
    monkeypatch.setattr(solvers.importlib.util, "find_spec", lambda name: True)
    assert solvers.choose("auto").name == "least squares"
    monkeypatch.setattr(solvers.importlib.util, "find_spec", lambda name: None)
    assert solvers.choose("auto").name == "lbfgs"
    with pytest.raises(
        ImportError, match=r"^solver 'least squares' needs optimistix, .*'\.\[design\]'"
    ):
        solvers.choose("least squares")


def test_unsupported_solvers_raise():
    settings = dict(field=line(), **SETTINGS)
    loss = losses.velocity(np.array([0.1]))
    for solver in (3, None, [optax.sgd(0.1)], optax.sgd):
        with pytest.raises(ValueError, match=r"^solver: got .*, expected one of auto, least squ"):
            design.fit(loss, jnp.ones(3), solver=solver, **settings)
    for name in ("Newton", "GoldenSearch"):
        with pytest.raises(ValueError, match=r"^solver: got (Newton|GoldenSearch, which needs)"):
            design.fit(loss, jnp.ones(3), solver=of_optimistix(name), **settings)
    with pytest.raises(ValueError, match=r"^family: got str, expected a Parametrization"):
        design.fit(loss, jnp.ones(3), family="taps", **settings)
    with pytest.raises(ValueError, match=r"^loss: got function, expected a Loss"):
        design.fit(rosenbrock, jnp.ones(3), **settings)
    broken = losses.Loss((losses.Term("gain", rosenbrock, jnp.subtract, np.nan, 1.0),))
    with pytest.raises(ValueError, match=r"^gain target: got nan"):
        design.fit(broken, jnp.ones(3), **settings)


def test_unreachable_target_is_accepted_on_a_large_domain():
    """More pixels would change nothing: three taps can't reach the target."""
    field = im.fields.patterns.padded(np.ones(5), (3,), STEPS)
    settings = dict(field=field, solver=optax.sgd(0.1), iterations=50, **SETTINGS)
    result = design.fit(losses.velocity(np.array([9.0])), jnp.ones(3), **settings)
    assert result.status != design.Status.CONVERGED


def test_domain_check_includes_the_origin_of_even_kernels():
    """Two taps never move a pattern to lower pixels, but its position decreases."""
    field = im.fields.box((16,), 2, dtype="float64")
    for speed, steps in ((-0.5, 20), (-0.25, 30)):
        design.fit(
            losses.velocity(np.array([speed])),
            jnp.ones(2),
            field=field,
            steps=steps,
            solver=optax.sgd(0.1),
            iterations=50,
        )
    with pytest.raises(ValueError, match=r"^field: got shape \(16,\)"):
        design.fit(losses.velocity(np.array([0.45])), jnp.ones(2), field=field, steps=30)


# --- equality of options ------------------------------------------------------------------------


def family_of(make):
    return lambda: dict(family=make(), solver="adam")


SAME = {
    "odd share": family_of(lambda: parametrizations.odd_share(0.2)),
    "low order": family_of(lambda: parametrizations.low_order((3,), 1)),
    "mirror": family_of(lambda: parametrizations.mirror_symmetric((0,))),
    "per layer": family_of(lambda: parametrizations.per_layer(parametrizations.odd_share(0.2))),
    "optax": lambda: dict(solver=optax.adam(0.1)),
    "optax, scheduled": lambda: dict(
        solver=optax.chain(optax.clip(1.0), optax.sgd(optax.linear_schedule(0.1, 0.0, 9)))
    ),
    "optimistix": lambda: dict(solver=of_optimistix("LevenbergMarquardt")),
    "optimistix of optax": lambda: dict(
        solver=pytest.importorskip("optimistix").OptaxMinimiser(optax.adam(0.1), 1e-6, 1e-6)
    ),
}
OTHERS = {
    "odd share": family_of(lambda: parametrizations.odd_share(0.3)),
    "low order": family_of(lambda: parametrizations.low_order((3,), 2)),
    "mirror": family_of(lambda: parametrizations.mirror_symmetric(())),
    "per layer": family_of(lambda: parametrizations.per_layer(parametrizations.taps)),
    "optax": lambda: dict(solver=optax.adam(0.2)),
    "optax, scheduled": lambda: dict(
        solver=optax.chain(optax.clip(1.0), optax.sgd(optax.linear_schedule(0.2, 0.0, 9)))
    ),
    "optimistix": lambda: dict(
        solver=pytest.importorskip("optimistix").LevenbergMarquardt(rtol=1e-3, atol=1e-9)
    ),
    "optimistix of optax": lambda: dict(
        solver=pytest.importorskip("optimistix").OptaxMinimiser(optax.adam(0.2), 1e-6, 1e-6)
    ),
}


@pytest.fixture
def compiled():
    """Compilations by XLA since the start of the test."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("name", SAME)
def test_equal_options_do_not_recompile(name, compiled):
    def option(options):
        return options.get("family") or solvers.choose(options["solver"])

    first, second, other = (option(make()) for make in (SAME[name], SAME[name], OTHERS[name]))
    assert first == second
    assert hash(first) == hash(second)
    assert first != other
    start = random_starts(1)
    if name == "per layer":
        start = jnp.stack([start, start], 1)
    for _ in range(2):
        before = len(compiled)
        loss = losses.velocity(np.array([0.1]))
        design.fit(loss, start, field=line(), steps=2, iterations=10, **SAME[name]())
    assert before > 0
    assert len(compiled) == before


def test_diagnosis_compiles_once(compiled):
    for _ in range(2):
        before = len(compiled)
        design.diagnose(
            losses.velocity(np.array([0.1])),
            np.ones(3),
            field=line(),
            steps=2,
            family=parametrizations.odd_share(0.2),
        )
    assert before > 0
    assert len(compiled) == before


# --- gradient diagnosis -----------------------------------------------------------------------


@pytest.mark.deep
def test_gradient_is_accurate_for_an_inactive_rectifier():
    diagnosis = design.diagnose(
        losses.velocity(np.array([0.3])), np.array([0.2, 0.5, 0.3]), field=line(), steps=12
    )
    assert diagnosis.horizon == 12
    assert diagnosis.error.min() < 1e-7
    assert diagnosis.error[0] > diagnosis.error.min()
    assert not diagnosis.unreached.any()
    assert not diagnosis.kinked.any()
    assert "12 of 12 layers" in str(diagnosis)


def test_unreached_parameters_and_kinks_are_reported():
    def measure(run):
        return jnp.abs(run.kernel[0] - 0.2)

    diagnosis = design.diagnose(
        losses.observable("kink", measure, -1.0), np.array([0.2, 0.5, 0.3]), field=line(), steps=2
    )
    np.testing.assert_array_equal(diagnosis.unreached, [False, True, True])
    np.testing.assert_array_equal(diagnosis.kinked, [True, False, False])
    assert "the loss does not depend on (1), (2)" in str(diagnosis).replace(",)", ")")


def test_dead_field_has_horizon_0():
    diagnosis = design.diagnose(
        losses.velocity(np.array([0.1])), -np.ones(3), field=line(), steps=4
    )
    assert diagnosis.horizon == 0
