"""The survey of the speed law, against published reference values and its own promises."""

import re

import numpy as np
import pytest
from thinned import thinned

from infomech import rates, survey
from infomech.fields import patterns


@pytest.fixture(scope="module")
def outcomes():
    config = survey.LawConfig(rectifier=("relu",), resamples=200)
    return {o.setting.kernel_size: o for o in survey.run(config)}


@pytest.mark.parametrize(
    ("kernel_size", "root", "share"), [(2, 0.896, 0.747), (3, 0.976, 0.899)], ids=["2x2", "3x3"]
)
def test_reference_values_of_the_law(outcomes, kernel_size, root, share):
    outcome = outcomes[kernel_size]
    assert abs(outcome.fit("sqrt_share", "all").r_squared - root) < 0.01
    assert abs(outcome.fit("share", "all").r_squared - share) < 0.01
    assert outcome.fit("tangent", "inactive").r_squared > 0.99995


def test_speed_matches_theory_while_inactive(outcomes):
    for size, outcome in outcomes.items():
        inactive = outcome.share <= outcome.inactive_share * (1 + 1e-6)
        np.testing.assert_allclose(outcome.speed[inactive], outcome.theory[inactive], atol=2e-6)
        assert np.all(np.isnan(outcome.theory[~inactive])), size
        np.testing.assert_allclose(
            outcome.fit("tangent", "inactive").slope, np.sqrt((size**2 - 1) / 12), rtol=1e-5
        )


def test_spread_contracts_by_the_lorentz_factor(outcomes):
    for size, outcome in outcomes.items():
        inactive = outcome.share < 0.99 * outcome.inactive_share
        v = outcome.speed[inactive] / np.sqrt((size**2 - 1) / 12)
        np.testing.assert_allclose(outcome.contraction[inactive], np.sqrt(1 - v**2), rtol=1e-4)


def test_all_speeds_are_measured(outcomes):
    for outcome in outcomes.values():
        assert np.all(outcome.status == 0)
        assert "speed is not linear in ε" in outcome.verdict
        assert "speed is linear in tan θ (R² 1.0000)" in outcome.verdict


@pytest.mark.parametrize(
    ("r_squared", "digits", "shown"),
    [
        (0.98996, 3, "0.989"),
        (0.98996, 4, "0.9899"),
        (0.99, 2, "0.99"),
        (0.29, 2, "0.29"),
        (0.99999, 4, "0.9999"),
        (1 - 1e-9, 4, "1.0000"),
        (1.0, 2, "1.00"),
        (-0.001, 2, "-0.01"),
        (np.nan, 2, "nan"),
    ],
)
def test_format_r_squared_rounds_down(r_squared, digits, shown):
    assert rates.format_r_squared(r_squared, digits) == shown


def test_active_speeds_are_unsteady(outcomes):
    for outcome in outcomes.values():
        inactive = outcome.share <= outcome.inactive_share * (1 + 1e-6)
        assert outcome.steady[inactive].all()
        assert not outcome.steady[~inactive].all()
        assert np.isnan(outcome.r_squared[0])  # ε = 0 doesn't move
        assert np.all(outcome.r_squared[1:] > 0.99)


def test_intervals_contain_estimates_and_are_reproducible(outcomes):
    fit = outcomes[3].fit("sqrt_share", "all")
    assert fit.slope_interval[0] < fit.slope < fit.slope_interval[1]
    again = survey.run(survey.LawConfig(kernel_size=(3,), rectifier=("relu",), resamples=200))
    assert again[0].fits == outcomes[3].fits


@pytest.mark.parametrize("boundary", ["periodic", "reflect"])
def test_boundary_is_irrelevant_in_a_wide_domain(outcomes, boundary):
    config = survey.LawConfig(
        kernel_size=(2,), rectifier=("relu",), boundary=(boundary,), shares=5, resamples=10
    )
    (outcome,) = survey.run(config)
    assert np.all(outcome.status == 0)
    # a circular mean follows a skewed pattern only up to (2π/L)² of its third cumulant
    np.testing.assert_allclose(outcome.speed, outcomes[2].speed[::5], atol=1e-3)


@pytest.mark.parametrize(
    ("dimensions", "direction"), thinned([(2, (1, 1)), (1, (-1,)), (3, (0, 0, 2))])
)
def test_speed_is_measured_along_the_direction(dimensions, direction):
    config = survey.LawConfig(
        kernel_size=(2,),
        rectifier=("relu",),
        dimensions=dimensions,
        direction=direction,
        shares=3,
        radius=2.0,
        steps=8,
        burn_in=2,
        resamples=10,
        dtype="float64",
    )
    (outcome,) = survey.run(config)
    unit = np.array(outcome.setting.direction)
    np.testing.assert_allclose(np.linalg.norm(unit), 1)
    np.testing.assert_allclose(outcome.velocity @ unit, outcome.speed, atol=1e-12)
    # at share 0 nothing moves; the first working share moves along the direction
    np.testing.assert_allclose(outcome.speed[0], 0, atol=1e-12)
    assert outcome.speed[1] > 0.3


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_directions_are_concatenated(kind):
    config = survey.LawConfig(kernel_size=(2,), rectifier=("relu",), direction=kind([0, 2, -3, 4]))
    result = [setting.direction for setting in survey.settings(config)]
    np.testing.assert_allclose(result, [(0, 1), (-0.6, 0.8)])


def test_identity_refuses_canceling_values():
    config = survey.LawConfig(kernel_size=(3,), rectifier=("identity",), shares=11, resamples=10)
    (outcome,) = survey.run(config)
    refused = outcome.status != 0
    assert refused[-1]
    assert not refused[0]
    assert np.all(np.isnan(outcome.speed[refused]))
    np.testing.assert_allclose(outcome.speed[~refused], outcome.theory[~refused], atol=1e-3)
    assert "refused" in outcome.verdict
    assert "cancel" in rates.Status(outcome.status[-1]).reason


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kernel_size": (0,)}, "kernel_size: got 0"),
        ({"kernel_size": (1,)}, "kernel_size: got 1"),
        ({"kernel_size": (16,)}, "kernel_size: got 16"),
        ({"kernel_size": ()}, "kernel_size: got nothing"),
        ({"rectifier": ("rleu",)}, "rectifier: got 'rleu', expected one of relu, modulus"),
        ({"boundary": ("wrap",)}, "boundary: got 'wrap', expected one of zero, periodic"),
        ({"normalize": ("l1",)}, "normalize: got 'l1', expected one of none, sum"),
        ({"direction": (0, 1, 0, 0)}, "direction: got (0, 1, 0, 0), expected nonzero vectors"),
        ({"direction": (1,)}, "direction: got (1,), expected 2 numbers for each direction"),
        ({"direction": (1, float("nan"))}, "direction: got 1 of 2 values not finite"),
        ({"direction": ("0,1",)}, "direction: got tuple, expected an array of real numbers"),
        ({"dimensions": 4}, "dimensions: got '4'"),
        ({"shares": 2}, "shares: got 2"),
        ({"steps": -1}, "steps: got -1"),
        ({"burn_in": 47}, "burn_in: got 47, expected 0 to 46"),
        ({"dtype": "float16"}, "dtype: got 'float16'"),
        ({"radius": 0.0}, "radius: got 0"),
        ({"resamples": 0}, "resamples: got 0"),
        ({"pattern": ("dsk",)}, "pattern: got 'dsk', no such file"),
        ({"pattern": ("camera",), "dimensions": 3}, "pattern: got 'camera'"),
    ],
)
def test_bad_configuration_is_refused(changed, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        survey.run(survey.LawConfig(**changed))


@pytest.mark.parametrize("taps", [(2, 3), (5, 4)])
def test_padding_is_just_enough_for_any_kernel(taps):
    from infomech import rollout

    values = patterns.pattern("disk", 2.0, 2, "float64")
    field = patterns.padded(values, taps, 6)
    for corner in [(0, 0), (-1, -1)]:
        kernel = np.zeros(taps)
        kernel[corner] = 1
        final, trace = rollout(kernel, field, 6)
        assert float(np.max(trace.edge)) == 0
        np.testing.assert_allclose(np.sort(final.values[final.values > 0]), values.sum() ** -0.5)


def test_positions_count_from_the_pattern():
    from infomech import observables

    values = patterns.pattern("box", 3.0, 2)
    field = patterns.padded(values, (4, 3), 5, "zero")
    np.testing.assert_allclose(observables.center(field), [3, 3], atol=1e-5)
