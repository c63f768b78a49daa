"""Kernels that do what is asked: recovery, statuses, families, and the trust in gradients."""

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
SETTINGS = {"steps": STEPS, "progress": False}


def line(pixels=48, dtype="float64"):
    return im.fields.box((pixels,), 5, dtype=dtype)


def first_starts(count, shape=(3,), seed=0, dtype="float64"):
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
def test_a_family_holds_its_own_kernels(name):
    family, kernel = FAMILIES[name]
    found = family.kernel(family.free(jnp.asarray(kernel)))
    np.testing.assert_allclose(found, kernel, rtol=1e-9, atol=1e-12)
    assert not family.bound(jnp.asarray(kernel))
    slope = jax.jacobian(family.kernel)(family.free(jnp.asarray(kernel)))
    assert np.isfinite(slope).all()


def test_whatever_the_numbers_are_the_kernel_is_of_the_family():
    free = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)) * 3)
    np.testing.assert_allclose(jnp.sum(parametrizations.unit_energy.kernel(free) ** 2), 1)
    assert (parametrizations.non_negative.kernel(free) > 0).all()
    for share in (0.0, 0.4, 1.0):
        em = im.mechanics.energy_momentum(parametrizations.odd_share(share).kernel(free))
        np.testing.assert_allclose([em.share, em.energy], [share, 1], atol=1e-12)
    kernel = parametrizations.mirror_symmetric((0, 1)).kernel(free)
    np.testing.assert_allclose(im.mechanics.energy_momentum(kernel).momentum, 0, atol=1e-12)
    few = parametrizations.low_order((3, 4), 2)
    modes = np.asarray(im.spectrum.dct(few.kernel(jnp.arange(1.0, 7.0))))
    indices = np.indices((3, 4)).sum(0)
    np.testing.assert_allclose(modes[indices > 2], 0, atol=1e-12)
    np.testing.assert_allclose(modes[indices <= 2], np.arange(1, 7))
    assert parametrizations.non_negative.bound(jnp.asarray([1.0, 1e-9]))


# --- fits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "rounds"),
    [
        pytest.param("least squares", 5, marks=needs_optimistix),
        pytest.param("dogleg", 5, marks=[needs_optimistix, pytest.mark.deep]),
        pytest.param("lbfgs", 5, marks=pytest.mark.deep),
        ("adam", 20),
        (optax.sgd(0.3, momentum=0.9), 20),
        pytest.param(optax.lbfgs(), 3, marks=pytest.mark.deep),
        pytest.param(
            optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
            20,
            marks=pytest.mark.deep,
        ),
        pytest.param("GaussNewton", 5, marks=needs_optimistix),
        pytest.param("IndirectLevenbergMarquardt", 5, marks=[needs_optimistix, pytest.mark.deep]),
        pytest.param("BFGS", 5, marks=needs_optimistix),
        pytest.param("NelderMead", 9, marks=needs_optimistix),
        pytest.param("NonlinearCG", 9, marks=[needs_optimistix, pytest.mark.deep]),
    ],
)
def test_every_solver_finds_a_velocity(solver, rounds):
    if isinstance(solver, str) and solver not in solvers.SOLVERS:
        solver = of_optimistix(solver)
    wish = losses.velocity(np.array([0.3]))
    found = design.fit(
        wish,
        first_starts(3),
        field=line(),
        solver=solver,
        iterations=rounds,
        tolerance=1e-8,
        **SETTINGS,
    )
    assert found.reason == ["converged"] * 3
    np.testing.assert_allclose(found.achieved["velocity"], np.full((3, 1), 0.3), atol=1e-4)
    np.testing.assert_allclose(found.loss, np.sum((found.achieved["velocity"] - 0.3) ** 2, 1))
    speeds = [im.rates.velocity(im.rollout(k, line(), STEPS)[1]).value for k in found.kernel]
    np.testing.assert_allclose(speeds, found.achieved["velocity"], atol=1e-9)
    assert found.history.shape[1] == 3
    assert (found.history[-1] <= found.history[0]).all()


def bent(run):
    """Rosenbrock's residuals of the taps: a long bent valley with its floor at 1."""
    k = run.kernel
    return jnp.concatenate([10 * (k[1:] - k[:-1] ** 2), 1 - k[:-1]])


@needs_optimistix
@pytest.mark.parametrize("solver", ["least squares", "dogleg", "BFGS", "NelderMead"])
def test_three_rounds_of_ten_steps_are_thirty_steps_of_the_library(solver):
    """Nothing of a solver's state is lost between two rounds, the damping least of all."""
    import optimistix

    names = {"least squares": "LevenbergMarquardt", "dogleg": "Dogleg"}
    known = of_optimistix(names.get(solver, solver))
    start = np.array([-1.2, 1.0, 0.5])
    settings = dict(field=line(), steps=1, rounds=3, progress=False)
    wish = losses.observable("bent", bent, np.zeros(4))
    found = design.fit(wish, start, solver=solver if solver in names else known, **settings)

    def residuals(kernel, _=None):
        return jnp.concatenate([10 * (kernel[1:] - kernel[:-1] ** 2), 1 - kernel[:-1]])

    def squares(kernel, _):
        return jnp.sum(residuals(kernel) ** 2)

    for steps, value in zip((10, 20, 30), found.history[1:, 0], strict=False):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            if solver in names:
                there = optimistix.least_squares(
                    residuals, known, start, max_steps=steps, throw=False
                )
            else:
                there = optimistix.minimise(squares, known, start, max_steps=steps, throw=False)
        np.testing.assert_allclose(value, squares(there.value, None), rtol=1e-6)
    assert len(found.history) == 4


def test_a_known_kernel_is_recovered():
    """Speed and diffusion of three non-negative taps of unit sum leave one kernel only."""
    known = np.array([0.5, 0.3, 0.2])
    theory = im.theory.predict(known)
    wish = losses.velocity(theory.velocity) + losses.diffusion(theory.diffusion)
    wish = wish + losses.observable("gain", lambda run: jnp.sum(run.kernel), 1.0)
    found = design.fit(
        wish,
        first_starts(2),
        field=line(),
        family=parametrizations.non_negative,
        iterations=10,
        tolerance=1e-14,
        **SETTINGS,
    )
    assert found.reason == ["converged"] * 2
    np.testing.assert_allclose(found.kernel, [known, known], atol=1e-6)


def test_a_bad_start_spoils_no_other_and_each_says_what_became_of_it():
    good = first_starts(2)
    dead = -jnp.ones((1, 3))
    wish = losses.velocity(np.array([-0.2]))
    alone = design.fit(wish, good, field=line(), solver="lbfgs", iterations=4, **SETTINGS)
    mixed = design.fit(
        wish,
        jnp.concatenate([good[:1], dead, good[1:]]),
        field=line(),
        solver="lbfgs",
        iterations=4,
        **SETTINGS,
    )
    np.testing.assert_allclose(mixed.kernel[[0, 2]], alone.kernel, rtol=1e-9)
    assert mixed.reason == ["converged", "the field died", "converged"]
    assert mixed.best in (0, 2)


def test_a_speed_out_of_reach_hits_the_bound_of_non_negative_kernels():
    found = design.fit(
        losses.velocity(np.array([1.2])),
        first_starts(2),
        field=line(96),
        solver="lbfgs",
        family=parametrizations.non_negative,
        iterations=20,
        **SETTINGS,
    )
    assert all(status != design.CONVERGED for status in found.status)
    assert "hit a bound of the family of kernels" in found.reason
    assert (found.achieved["velocity"] <= 1.0 + 1e-12).all()


def test_a_pattern_that_left_is_told_and_measured_where_it_fits():
    field = im.fields.box((20,), 5, dtype="float64")
    found = design.fit(
        losses.velocity(np.array([0.9])),
        first_starts(1),
        field=field,
        solver="lbfgs",
        iterations=6,
        **SETTINGS,
    )
    assert found.reason == ["the pattern left the domain"]


@pytest.mark.deep
def test_what_single_precision_found_is_measured_at_double():
    found = design.fit(
        losses.velocity(np.array([0.25], np.float32)),
        first_starts(2, dtype="float32"),
        field=line(dtype="float32"),
        solver="lbfgs",
        iterations=6,
        **SETTINGS,
    )
    assert found.kernel.dtype == np.float32
    assert found.loss.dtype == np.float64
    exact = [im.theory.predict(k.astype(np.float64)).velocity for k in found.kernel]
    inactive = [im.theory.predict(k).inactive for k in found.kernel]
    np.testing.assert_allclose(
        found.achieved["velocity"][inactive], np.asarray(exact)[inactive], atol=1e-12
    )
    assert found.reason == ["converged"] * 2


def test_the_true_field_is_measured_again_for_a_rectifier_that_sees_its_size():
    field = im.fields.as_field(0.01 * line().values)
    scaled = im.Field(line().values, field.origin, field.log_gain + np.log(0.01))
    wish = losses.energy(-0.5)
    settings = dict(rectifier="tanh", normalize="none", solver=optax.sgd(0.0), rounds=1, **SETTINGS)
    plain, by_gain = (
        design.fit(wish, 20.0 * first_starts(1), field=f, **settings) for f in (field, scaled)
    )
    np.testing.assert_allclose(by_gain.loss, plain.loss, rtol=1e-6)


@pytest.mark.deep
def test_each_start_may_have_a_wish_of_its_own():
    targets = np.linspace(-0.6, 0.6, 5)[:, None]
    found = design.fit(
        losses.velocity(targets),
        first_starts(5),
        field=line(),
        solver="lbfgs",
        iterations=6,
        batched_loss=True,
        **SETTINGS,
    )
    assert found.reason == ["converged"] * 5
    np.testing.assert_allclose(found.achieved["velocity"], targets, atol=1e-4)


@pytest.mark.deep
def test_a_stack_carries_a_pattern_along_a_path():
    path = np.array([24.0, 24.5, 25.0, 24.8, 24.2])[:, None]
    stack = first_starts(8).reshape(2, 4, 3)
    found = design.fit(
        losses.trajectory(path),
        stack,
        field=im.fields.box((49,), 5, dtype="float64"),
        steps=4,
        solver="lbfgs",
        family=parametrizations.per_layer(parametrizations.taps),
        iterations=8,
        progress=False,
    )
    assert found.kernel.shape == (2, 4, 3)
    assert found.reason == ["converged"] * 2
    np.testing.assert_allclose(found.achieved["trajectory"], [path, path], atol=1e-4)


def test_the_same_seed_gives_the_same_kernels():
    one, other = first_starts(4, seed=3), first_starts(4, seed=3)
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, first_starts(4, seed=4))
    np.testing.assert_allclose(np.sum(one, 1), 1)
    assert (np.asarray(one) >= 0).all()


@pytest.mark.deep
def test_it_stops_at_the_first_that_is_close_enough_if_asked():
    settings = dict(field=line(), solver="lbfgs", rounds=9, tolerance=1e-3, **SETTINGS)
    found = design.fit(
        losses.velocity(np.array([0.1])), first_starts(6), stop_at_first=True, **settings
    )
    assert len(found.history) <= 3
    assert design.CONVERGED in found.status


def test_mistakes_are_named(monkeypatch):
    wish, field = losses.velocity(np.array([0.1])), line()
    cases = [
        ("start", lambda: design.fit(wish, -jnp.ones((2, 3)), field=field, **SETTINGS)),
        ("start", lambda: design.fit(wish, jnp.ones((1, 1, 1, 3)), field=field, **SETTINGS)),
        ("start", lambda: design.fit(wish, jnp.full(3, jnp.nan), field=field, **SETTINGS)),
        ("solver", lambda: design.fit(wish, jnp.ones(3), field=field, solver="sgd", **SETTINGS)),
        ("steps", lambda: design.fit(wish, jnp.ones(3), field=field, steps=0)),
        ("rounds", lambda: design.fit(wish, jnp.ones(3), field=field, iterations=0, **SETTINGS)),
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


def test_a_solver_that_needs_more_than_it_gets_is_refused_by_name():
    settings = dict(field=line(), **SETTINGS)
    wish = losses.velocity(np.array([0.1]))
    for solver in (3, None, [optax.sgd(0.1)], optax.sgd):
        with pytest.raises(ValueError, match=r"^solver: got .*, expected one of auto, least squ"):
            design.fit(wish, jnp.ones(3), solver=solver, **settings)
    for name in ("Newton", "GoldenSearch"):
        with pytest.raises(ValueError, match=r"^solver: got (Newton|GoldenSearch, which needs)"):
            design.fit(wish, jnp.ones(3), solver=of_optimistix(name), **settings)
    with pytest.raises(ValueError, match=r"^family: got str, expected a Parametrization"):
        design.fit(wish, jnp.ones(3), family="taps", **settings)
    with pytest.raises(ValueError, match=r"^loss: got function, expected a Loss"):
        design.fit(bent, jnp.ones(3), **settings)
    broken = losses.Loss((losses.Term("gain", bent, jnp.subtract, np.nan, 1.0),))
    with pytest.raises(ValueError, match=r"^gain target: got nan"):
        design.fit(broken, jnp.ones(3), **settings)


def test_a_domain_that_no_kernel_could_leave_is_large_enough_for_any_wish():
    """More pixels would change nothing: what is asked for is out of reach of three taps."""
    field = im.fields.patterns.with_room(np.ones(5), (3,), STEPS)
    settings = dict(field=field, solver=optax.sgd(0.1), rounds=1, **SETTINGS)
    found = design.fit(losses.velocity(np.array([9.0])), jnp.ones(3), **settings)
    assert found.status != design.CONVERGED


def test_an_even_kernel_moves_left_as_far_as_its_origin_does():
    """Two taps never move a pattern to lower pixels; its position falls all the same."""
    field = im.fields.box((16,), 2, dtype="float64")
    for speed, steps in ((-0.5, 20), (-0.25, 30)):
        design.fit(
            losses.velocity(np.array([speed])),
            jnp.ones(2),
            field=field,
            steps=steps,
            solver=optax.sgd(0.1),
            iterations=1,
            progress=False,
        )
    with pytest.raises(ValueError, match=r"^field: got \(16,\) pixels"):
        design.fit(losses.velocity(np.array([0.45])), jnp.ones(2), field=field, steps=30)


# --- what is made anew of the same is the same --------------------------------------------------


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
    """How often XLA has been called since the test began."""
    count = []

    def hear(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            count.append(event)

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield count
    jax.monitoring.unregister_event_duration_listener(hear)


@pytest.mark.parametrize("name", SAME)
def test_options_made_anew_are_equal_and_compile_nothing(name, compiled):
    def option(options):
        return options.get("family") or solvers.choose(options["solver"])

    first, again, other = (option(make()) for make in (SAME[name], SAME[name], OTHERS[name]))
    assert first == again
    assert hash(first) == hash(again)
    assert first != other
    start = first_starts(1)
    if name == "per layer":
        start = jnp.stack([start, start], 1)
    for _ in range(2):
        before = len(compiled)
        wish = losses.velocity(np.array([0.1]))
        design.fit(wish, start, field=line(), steps=2, iterations=1, progress=False, **SAME[name]())
    assert before > 0
    assert len(compiled) == before


def test_a_diagnosis_compiles_once(compiled):
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


# --- trust in gradients -----------------------------------------------------------------------


@pytest.mark.deep
def test_an_inactive_rectifier_has_a_gradient_to_trust():
    found = design.diagnose(
        losses.velocity(np.array([0.3])), np.array([0.2, 0.5, 0.3]), field=line(), steps=12
    )
    assert found.horizon == 12
    assert found.error.min() < 1e-7
    assert found.error[0] > found.error.min()
    assert not found.unreached.any()
    assert not found.kinked.any()
    assert "12 of 12 layers" in str(found)


def test_parameters_that_nothing_reaches_and_kinks_are_named():
    def measure(run):
        return jnp.abs(run.kernel[0] - 0.2)

    found = design.diagnose(
        losses.observable("kink", measure, -1.0), np.array([0.2, 0.5, 0.3]), field=line(), steps=2
    )
    np.testing.assert_array_equal(found.unreached, [False, True, True])
    np.testing.assert_array_equal(found.kinked, [True, False, False])
    assert "no derivative reaches (1), (2)" in str(found).replace(",)", ")")


def test_a_dead_field_has_no_horizon():
    found = design.diagnose(losses.velocity(np.array([0.1])), -np.ones(3), field=line(), steps=4)
    assert found.horizon == 0
