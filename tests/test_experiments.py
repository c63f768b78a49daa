"""Experiments run alone, from the command line, and state their verdict."""

import importlib.util
import json

import claims_reference
import jax
import numpy as np
import pytest
from PIL import Image

import infomech as im
from experiments import energy_decay, frontier, layers_needed, slow_decay
from experiments import quick as quick_runs
from experiments.__main__ import EXPERIMENTS, main
from experiments.ledger import Finding
from infomech.scattering import bounds, frames, supports


def quick(name, tmp_path):
    """Text and numbers of a quick run, whose finding is as it was."""
    out, place = claims_reference.finds_what_it_did(name, tmp_path)
    assert (place / f"{name}.png").exists()
    record = json.loads((place / f"{name}.json").read_text())
    assert record["provenance"]
    return out, record


def test_law_states_a_verdict_on_every_reading(tmp_path):
    out, record = quick("law", tmp_path)
    assert out.startswith("quick run: ")
    assert out.count("fails") == 3
    assert "holds while the rectifier is idle, and only there" in out
    tangent = next(r for r in record["readings"] if r["ratio"] == "tan θ")
    assert min(tangent["idle"]) > 0.9999


def test_quick_figures_carry_a_mark_and_others_do_not(capsys, tmp_path, monkeypatch):
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
    assert capsys.readouterr().out == f"said\n{quick_runs.MARK}\nsaid\n"


def test_the_claims_are_listed(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("parity ")
    for name in (
        "energy_decay",
        "worst_signal",
        "slow_decay",
        "trained_filters",
        "receptive_drift",
    ):
        assert f"\n{name} " in out


def test_a_folder_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["law", "--out", str(tmp_path / "file")]) == 2
    assert "out: got" in capsys.readouterr().err


# --- the frontier of odd shares -----------------------------------------------------------------


def brute_force(taps, speed, points=601):
    """Least and greatest odd share of non-negative kernels of sum 1 and this first moment."""
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


def test_the_closed_form_is_what_brute_force_finds():
    speeds = np.array([0.0, 0.1, 1 / 3, 0.5, 2 / 3, 0.9, 1.0])
    found = np.array([brute_force(3, v, 20001) for v in speeds]).T
    np.testing.assert_allclose(found, frontier.closed_form(speeds), atol=1e-4)


@pytest.mark.parametrize("dark", [10.0, 1e3, 1e6])
def test_a_dark_middle_does_no_work(dark):
    """(a, -B, c) under ReLU moves at (c - a)/(c + a), with as small an odd share as one likes."""
    blob = im.fields.gaussian((9,), sigma=1.5, dtype="float64").values
    field = im.patterns.with_room(np.asarray(blob), (3,), 24)
    kernel = np.array([0.3, -dark, 0.7])
    _, trace = im.rollout(kernel, field, 24)
    moved = np.diff(np.asarray(trace.centre)[[8, 16, 24], 0]) / 8
    np.testing.assert_allclose(moved, 0.4, atol=1e-9)
    assert im.mechanics.energy_momentum(kernel).share < 0.1 / dark


@pytest.mark.skipif(importlib.util.find_spec("optimistix") is None, reason="infomech[design]")
@pytest.mark.parametrize("taps", [3, 4])
def test_the_optimiser_finds_the_frontier(taps):
    setting = frontier.Setting((taps,), "non-negative", "relu", speeds=3, starts=5)
    found = frontier.trace_out(setting)
    expected = np.array([brute_force(taps, v, 2001 if taps == 3 else 601) for v in found.speed]).T
    np.testing.assert_allclose(found.share, expected, atol=1e-3)
    share = jax.vmap(jax.vmap(lambda k: im.mechanics.energy_momentum(k).share))(found.kernel)
    np.testing.assert_allclose(share, found.share, atol=1e-6)
    assert frontier.reading(setting, found)["verdict"] == "fails"
    assert len(frontier.draw({setting: found}, {}).axes) == 1


def test_targets_are_reached_and_drawn(tmp_path):
    out, record = quick("targets", tmp_path)
    assert "holds: 16 of 16" in out
    error = np.subtract(record["achieved"], record["wished"])
    assert np.linalg.norm(error, axis=1).max() <= record["tolerance"]["velocity"]


# --- energy in scattering networks --------------------------------------------------------------


@pytest.mark.slow
def test_energy_is_conserved_and_decays_as_guaranteed(tmp_path):
    out, record = quick("energy_decay", tmp_path)
    assert out.count("  holds: ") == 2
    for case in record["cases"]:
        np.testing.assert_allclose(case["accounts"], 0, atol=1e-12)
        assert np.all(np.array(case["propagated"]) <= np.array(case["guaranteed"]) + 1e-9)


def test_nothing_but_its_gap_is_known_of_a_general_frame():
    low = im.scattering.meyer(64, 3).low
    bank = energy_decay.general_frame(low, 2, seed=0)
    np.testing.assert_allclose(frames.littlewood_paley(bank), 1, atol=1e-5)
    expected = supports.gap(bank) * np.arange(1, 5)
    np.testing.assert_allclose(bounds.widths(bank, 4, rule="general"), expected)


@pytest.mark.slow
def test_fewer_layers_are_needed_than_guaranteed(tmp_path):
    out, record = quick("layers_needed", tmp_path)
    assert "published table reproduced" in out
    for row in record["rows"]:
        assert np.all(np.array(row["worst"]) <= row["guaranteed"])
        assert np.all(np.array(row["median"]) <= row["worst"])


def test_the_published_table_is_that_of_the_bounds():
    for kind, layers in layers_needed.PUBLISHED.items():
        factor = layers_needed.FACTORS[kind]
        found = [bounds.layers_needed(share, factor=factor) for share in layers_needed.SHARES]
        assert tuple(found) == layers
    # on a fine grid a frame is nearly ideal: layers differ by one at most
    own = layers_needed.guaranteed(im.scattering.meyer(1024, 3), 1)
    assert np.abs(np.subtract(own, layers_needed.PUBLISHED["wavelets"])).max() <= 1


def test_random_signals_are_limited_to_their_band():
    values = layers_needed.random_signals(128, 0.5, 40, seed=0)
    np.testing.assert_allclose(np.sum(values**2, 1), 1)
    above = frames.magnitudes((128,)) > 0.5
    np.testing.assert_allclose(np.fft.fft(values)[:, above], 0, atol=1e-12)


@pytest.mark.slow
def test_pulses_live_for_longer_the_more_octaves_they_have(tmp_path):
    out, record = quick("slow_decay", tmp_path)
    assert "holds as far as the octaves of a grid go" in out
    lives = record["reading"]["half_life"]
    assert np.all(np.diff(lives["wavelets"]) > 0.1)
    np.testing.assert_allclose(lives["Weyl–Heisenberg"], 1.5, atol=0.1)


def test_half_lives_and_sums_of_pulses():
    assert slow_decay.half_life(np.array([1.0, 0.75, 0.25, 0.0])) == 1.5
    # two pulses that never meet: one is lost at once, the other one layer later
    pulses = list(np.eye(8)[[0, 0]])
    target = np.array([1.0, 0.3, 0.0])
    values = slow_decay.composed(pulses, np.array([[1.0, 0, 0], [1.0, 1, 0]]), target)
    np.testing.assert_allclose(values[[0, 4]] ** 2, [0.7, 0.3], atol=1e-6)
    with pytest.raises(ValueError, match="target: got"):
        slow_decay.composed(pulses, np.array([[1.0, 0, 0], [1.0, 1, 0]]), np.ones(3))


@pytest.mark.slow
def test_no_signal_found_misses_more_than_guaranteed(tmp_path):
    out, record = quick("worst_signal", tmp_path)
    assert "  fails: the worst found" in out
    for found in record["found"]:
        assert max(found["random"]) < found["worst"] <= found["guaranteed"]
        np.testing.assert_allclose(found["worst"] + found["features"], 1, atol=1e-5)
