"""Experiments run alone, from the command line, and state their verdict."""

import importlib.util
import json

import jax
import numpy as np
import pytest

import infomech as im
from experiments import frontier
from experiments.__main__ import main


def test_law_states_a_verdict_on_every_reading(capsys, tmp_path):
    assert main(["law", "--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("fails") == 3
    assert "holds while the rectifier is idle, and only there" in out
    record = json.loads((tmp_path / "law.json").read_text())
    tangent = next(r for r in record["readings"] if r["ratio"] == "tan θ")
    assert min(tangent["idle"]) > 0.9999
    assert (tmp_path / "law.png").exists()


def test_without_a_name_the_claims_are_listed(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("law ")


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


def test_targets_are_reached_and_drawn(capsys, tmp_path):
    assert main(["targets", "--quick", "--out", str(tmp_path)]) == 0
    assert "holds: 16 of 16" in capsys.readouterr().out
    record = json.loads((tmp_path / "targets.json").read_text())
    error = np.subtract(record["achieved"], record["wished"])
    assert np.linalg.norm(error, axis=1).max() <= record["tolerance"]["velocity"]
    assert (tmp_path / "targets.png").exists()
