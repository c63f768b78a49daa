"""Single experiments on the command line, and their measurements."""

import importlib.util

import jax
import numpy as np
import pytest
from PIL import Image
from reference import least_distance

import infomech as im
from experiments import (
    atlas,
    energy_decay,
    frontier,
    layers_needed,
    lorentz,
    lorentz_parts,
    mixing_ratio,
    motion,
    quick,
    slow_decay,
    straight,
)
from experiments.__main__ import EXPERIMENTS, main
from experiments.atlas_sweeps import Case
from experiments.ledger import Finding
from infomech.scattering import bounds, frames, supports


def test_only_quick_figures_are_marked(capsys, tmp_path, monkeypatch):
    class Claim:
        @staticmethod
        def run(out, *, quick=False):
            Image.new("RGBA", (900, 300), "white").save(out / "law.png", dpi=(200, 200))
            return Finding("holds", "", "", (), out / "law.png", "said")

    monkeypatch.setitem(EXPERIMENTS, "law", Claim)
    path = tmp_path / "law.png"
    assert main(["law", "--out", str(tmp_path)]) == 0
    with Image.open(path) as plain:
        assert plain.size == (900, 300)
    assert main(["law", "--quick", "--out", str(tmp_path)]) == 0
    with Image.open(path) as marked:
        strip = np.asarray(marked.convert("RGB"))[: marked.height - 300]
        inked = np.nonzero((strip != 255).any((0, 2)))[0]
    assert 0 < inked.min() < inked.max() < 899
    assert capsys.readouterr().out == f"said\n{quick.MARK}\nsaid\n"


def test_list_prints_all_claims(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("parity ")
    for name in (
        "energy_conservation",
        "energy_decay",
        "worst_signal",
        "slow_decay",
        "trained_filters",
        "receptive_drift",
    ):
        assert f"\n{name} " in out


def test_unwritable_folder_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["law", "--out", str(tmp_path / "file")]) == 2
    assert "out: got" in capsys.readouterr().err


# --- the frontier of odd shares -----------------------------------------------------------------


def brute_force(taps, speed, points=601):
    """Smallest and largest odd share of non-negative kernels of sum 1 with this first moment."""
    offsets = np.arange(taps) - (taps - 1) / 2
    inner = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * (taps - 2), indexing="ij"), -1)
    inner = inner.reshape(-1, taps - 2)
    left, moment = 1 - inner.sum(1), speed - inner @ offsets[1:-1]
    last = (left + moment / offsets[-1]) / 2
    kernels = np.concatenate([(left - last)[:, None], inner, last[:, None]], axis=1)
    kernels = kernels[kernels.min(1) >= -1e-12]
    odd = (kernels - kernels[:, ::-1]) / 2
    share = np.sum(odd**2, 1) / np.sum(kernels**2, 1)
    return share.min(), share.max()


def test_closed_form_equals_brute_force():
    speeds = np.array([0.0, 0.1, 1 / 3, 0.5, 2 / 3, 0.9, 1.0])
    shares = np.array([brute_force(3, v, 20001) for v in speeds]).T
    np.testing.assert_allclose(shares, frontier.closed_form(speeds), atol=1e-4)


@pytest.mark.parametrize("dark", [10.0, 1e3, 1e6])
def test_dark_middle_does_not_change_speed(dark):
    """(a, -B, c) with ReLU moves at (c - a)/(c + a), with arbitrarily small odd share."""
    blob = im.fields.gaussian((9,), sigma=1.5, dtype="float64").values
    field = im.fields.patterns.padded(np.asarray(blob), (3,), 24)
    kernel = np.array([0.3, -dark, 0.7])
    _, trace = im.rollout(kernel, field, 24)
    speed = np.diff(np.asarray(trace.center)[[8, 16, 24], 0]) / 8
    np.testing.assert_allclose(speed, 0.4, atol=1e-9)
    assert im.mechanics.energy_momentum(kernel).share < 0.1 / dark


@pytest.mark.deep
@pytest.mark.skipif(importlib.util.find_spec("optimistix") is None, reason="needs optimistix")
def test_optimizer_finds_frontier_of_four_taps():
    setting = frontier.FrontierSettings((4,), "non-negative", "relu", speeds=3, starts=5)
    result = frontier.trace_out(setting)
    expected = np.array([brute_force(4, v) for v in result.speed]).T
    np.testing.assert_allclose(result.share, expected, atol=1e-3)
    share = jax.vmap(jax.vmap(lambda k: im.mechanics.energy_momentum(k).share))(result.kernel)
    np.testing.assert_allclose(share, result.share, atol=1e-6)
    assert frontier.reading(setting, result)["verdict"] == "fails"
    assert len(frontier.draw({setting: result}, {}).axes) == 1


@pytest.mark.deep
def test_family_curve_equals_mean_while_inactive():
    share, speed = frontier.family_curve(frontier.FrontierSettings((3,), "any", "relu", steps=8))
    kernels = np.array([im.kernels.mix((3,), share=float(x), direction=(1.0,)) for x in share])
    inactive = kernels.min(1) >= 0
    assert 2 < inactive.sum() < len(share)
    chosen = kernels[inactive]
    np.testing.assert_allclose(
        speed[inactive], (chosen[:, 2] - chosen[:, 0]) / chosen.sum(1), atol=1e-5
    )


# --- the mixing ratio, and what is like a Lorentz transform -------------------------------------


def test_rises_to_first_decrease():
    ratio = np.linspace(0, 1, 6)
    for speed, end in (
        (ratio**2, 1),
        ([0, 1, 2, 2, 3, 4], 0.4),
        ([0, 1, 2, 3, 1, 9], 0.6),
        ([0, 1, np.nan] * 2, 0.2),
    ):
        np.testing.assert_allclose(mixing_ratio.rises_to(ratio, np.array(speed)), end)
    np.testing.assert_allclose(mixing_ratio.r_squared(ratio, 2 - 3 * ratio), 1)
    # y = |x| on points around 0 has R² = 0
    np.testing.assert_allclose(mixing_ratio.r_squared(ratio - 0.5, abs(ratio - 0.5)), 0, atol=1e-9)


@pytest.mark.parametrize(("taps", "box"), [(2, 4), (2, 5), (3, 4), (4, 5), (5, 5)])
def test_padding_keeps_taps_and_moments(taps, box):
    kernel = np.random.default_rng(taps).uniform(0, 1, (2, taps, taps))
    larger, lag = motion.boxed(kernel, box)
    assert larger.shape == (2, box, box)
    for original, padded_kernel in zip(kernel, np.asarray(larger), strict=True):
        expected = np.tensordot(original / original.sum(), im.kernels.offsets(original.shape), 2)
        moment = np.tensordot(
            padded_kernel / original.sum(), im.kernels.offsets(padded_kernel.shape), 2
        )
        np.testing.assert_allclose(moment + lag, expected, atol=1e-12)


def test_tilts_boost_two_taps_and_keep_invariant():
    # (e^−a, e^a)/… at rapidity a: ‖k_o‖/‖k_e‖ = tanh a, and ⟨k, R k⟩ = 2
    for a in (-0.7, 0.0, 1.2):
        kernel = lorentz_parts.tilted(np.ones(2), 2 * a)
        np.testing.assert_allclose(kernel, np.exp([-a, a]))
        np.testing.assert_allclose(lorentz_parts.mass_squared(kernel), 2)
        np.testing.assert_allclose(lorentz_parts.rapidity(kernel), abs(a), atol=1e-12)
        # c² − v² with v = c tanh a
        speed, spread = np.tanh(a) / 2, 1 / (2 * np.cosh(a)) ** 2
        difference = lorentz.contracted(*map(np.atleast_1d, (speed, spread, 0.25)))
        np.testing.assert_allclose(difference, 0, atol=1e-12)
    assert np.isnan(lorentz.contracted(*map(np.atleast_1d, (0.6, 0.1, 0.25))))
    # rapidities add: tanh(a + b)
    np.testing.assert_allclose(lorentz_parts.added(*2 * np.tanh([0.4, 1.1]), 2.0), 2 * np.tanh(1.5))
    for n in (2, 3, 5):
        rest = lorentz_parts.own_rest(np.ones((1, n)))
        np.testing.assert_allclose(rest, im.theory.step_spread(n) ** 2)


def test_tilts_commute_with_homogeneous_rectifiers_only():
    kernel = np.array([1.0, -0.4, 0.3, -0.2])
    for rectify in (lambda u: np.maximum(u, 0), np.abs, lambda u: u):
        assert lorentz_parts.covariant(kernel, 0.5, rectify) < 1e-12
    assert lorentz_parts.covariant(kernel, 0.5, np.tanh) > 0.1
    # even filtering tends to a Gaussian, which is mirror-symmetric
    symmetry = lorentz_parts.field_symmetry(np.array([1.0, 2, 1]), 60)
    assert symmetry[0] < 0.95 < 0.999 < symmetry[-1] <= 1


# --- the atlas of the speed law -----------------------------------------------------------------


@pytest.mark.parametrize("through_zero", [False, True])
def test_deviation_equals_brute_force_line(through_zero):
    x, y = np.linspace(0, 1, 8), np.random.default_rng(1).normal(size=8).cumsum()
    ranges = straight.ranges(x, y, through_zero=through_zero)
    for i in range(6):
        for j in range(i + 2, 8):
            part = slice(i, j + 1)
            expected = least_distance(x[part], y[part], through_zero) / np.ptp(y[part])
            np.testing.assert_allclose(ranges.deviation[i, j], expected, atol=1e-9)
            assert ranges.grows[i, j] == (y[j] > y[i])
    assert np.all(np.isinf(ranges.deviation[np.tri(8, k=1, dtype=bool)]))


def test_deviation_of_root_and_curves_with_gaps():
    x = np.linspace(0, 1, 101)
    np.testing.assert_allclose(straight.ranges(x, np.sqrt(x)).deviation[0, -1], 1 / 8)
    rooted = straight.ranges(x, np.sqrt(x), through_zero=True).deviation[0, -1]
    np.testing.assert_allclose(rooted, (np.sqrt(2) - 1) / 2, atol=1e-4)
    gap = np.where(np.arange(101) == 20, np.nan, x)
    np.testing.assert_allclose(straight.widest(x, [straight.ranges(x, gap)], 0.01), (0.21, 1))
    # two curves: the range where both grow linearly; falling or constant curves have none
    bent = straight.ranges(x, np.where(x < 0.7, x, 0.7))
    both = straight.widest(x, [bent, straight.ranges(x, gap)], 1e-9)
    np.testing.assert_allclose(both, (0.21, 0.7))
    for y in (-x, np.ones(101)):
        assert straight.widest(x, [straight.ranges(x, y)], 0.1) is None


def atlas_case(speed, part="sizes", **changed):
    share = np.linspace(0, 1, len(speed))
    options = {
        "dimensions": 2,
        "kernel_size": 3,
        "rectifier": "relu",
        "boundary": "zero",
        "normalize": "l2",
    }
    options |= {"pattern": "disk", "direction": 0.0, **changed}
    status = np.where(np.isfinite(speed), 0, 3)
    return Case(
        part,
        **options,
        share=share,
        speed=speed,
        aside=0 * speed,
        status=status,
        inactive_share=0.4,
    )


@pytest.mark.parametrize(
    ("bend", "words"), [(1.0, "holds"), (0.6, "holds in a regime"), (0.4, "fails")]
)
def test_atlas_verdict_uses_widest_common_range(bend, words):
    share = np.linspace(0, 1, 11)
    lines = [atlas_case(2 * share), atlas_case(np.minimum(share, bend), kernel_size=2)]
    verdict = atlas.judge("all", [atlas.reading(case, 5) for case in lines])
    for line in atlas.LINES:
        assert verdict[line]["at"][0]["verdict"] == words
    np.testing.assert_allclose(verdict["linear"]["at"][0]["common"], (0, bend))


def test_atlas_detects_disagreeing_settings():
    share = np.linspace(0, 1, 5)
    cases = [
        atlas_case(share),
        atlas_case(share + 5e-4, "boundaries", boundary="periodic"),
        atlas_case(share + 5e-4, "boundaries", boundary="reflect"),
        atlas_case(np.where(share == 0.5, np.nan, share), "normalizations", normalize="none"),
        atlas_case(share + 0.1, "leaky", rectifier="leaky_relu"),
    ]
    agrees = {check["name"]: check.get("agrees") for check in atlas.checks(cases)}
    assert agrees == {"periodic": True, "reflect": False, "none": False, "leaky_relu": None}


# --- energy in scattering networks --------------------------------------------------------------


def test_general_frame_is_bounded_by_its_gap():
    low = im.scattering.meyer(64, 3).low
    bank = energy_decay.general_frame(low, 2, seed=0)
    np.testing.assert_allclose(frames.littlewood_paley(bank), 1, atol=1e-5)
    expected = supports.gap(bank) * np.arange(1, 5)
    np.testing.assert_allclose(bounds.widths(bank, 4, rule="general"), expected)


def test_bounds_reproduce_published_table():
    for kind, layers in layers_needed.PUBLISHED.items():
        factor = layers_needed.FACTORS[kind]
        computed = [bounds.layers_needed(share, factor=factor) for share in layers_needed.SHARES]
        assert tuple(computed) == layers
    # on a fine grid a frame is nearly ideal: layers differ by at most one
    on_grid = layers_needed.guaranteed(im.scattering.meyer(1024, 3), 1)
    assert np.abs(np.subtract(on_grid, layers_needed.PUBLISHED["wavelets"])).max() <= 1


def test_random_signals_are_band_limited():
    values = layers_needed.random_signals(128, 0.5, 40, seed=0)
    np.testing.assert_allclose(np.sum(values**2, 1), 1)
    above = frames.magnitudes((128,)) > 0.5
    np.testing.assert_allclose(np.fft.fft(values)[:, above], 0, atol=1e-12)


def test_half_life_and_composed_pulses():
    assert slow_decay.half_life(np.array([1.0, 0.75, 0.25, 0.0])) == 1.5
    # two pulses that never interact: one is lost at once, the other one layer later
    pulses = list(np.eye(8)[[0, 0]])
    target = np.array([1.0, 0.3, 0.0])
    values = slow_decay.composed(pulses, np.array([[1.0, 0, 0], [1.0, 1, 0]]), target)
    np.testing.assert_allclose(values[[0, 4]] ** 2, [0.7, 0.3], atol=1e-6)
    with pytest.raises(ValueError, match="target: got"):
        slow_decay.composed(pulses, np.array([[1.0, 0, 0], [1.0, 1, 0]]), np.ones(3))
