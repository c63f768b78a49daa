"""What the README shows runs, and gives the numbers that it says."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from infomech import sweeps

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def shown():
    """All names that the README's Python blocks define, run in order."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(block, names)
    return names


def test_python_blocks_give_the_numbers_they_show(shown):
    im, trace, kernel = shown["im"], shown["trace"], shown["k"]
    text = (ROOT / "README.md").read_text("utf-8")
    said_speed = [float(x) for x in re.search(r"# \[(.*?)\] pixels per layer", text)[1].split(",")]
    said_slope = float(re.search(r"# ([\d.]+), as theory has it", text)[1])
    measured = im.laws.speed(trace, burn_in=16).value
    np.testing.assert_allclose(measured, said_speed, atol=5e-4)
    np.testing.assert_allclose(im.theory.predict(kernel).speed, measured, atol=1e-6)
    np.testing.assert_allclose(shown["slope"], said_slope, atol=5e-4)
    assert shown["speeds"].shape == (21,)


def test_the_sweep_is_read_back_as_shown(shown):
    text = (ROOT / "README.md").read_text("utf-8")
    said = [float(x) for x in re.search(r"table\.speed\..*# \[(.*?)\]", text)[1].split(",")]
    points = int(re.search(r"sweeps\.run\(.*# (\d+) points", text)[1])
    with shown["xarray"].open_zarr(shown["store"]) as found:
        some = found.speed.sel(rectifier="relu", share=0.2).isel(pair=0)
        np.testing.assert_allclose(some, said, atol=5e-4)
        assert found.status.size == points
        assert (found.status == 0).all()


def test_the_sweep_written_down_is_one(tmp_path):
    text = (ROOT / "README.md").read_text("utf-8")
    (tmp_path / "sweep.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1])
    assert sweeps.load(tmp_path / "sweep.toml").points == 2 * 2 * 21 * 3


def test_the_domain_that_follows_gives_the_numbers_shown(shown):
    im, far = shown["im"], shown["far"]
    text = (ROOT / "README.md").read_text("utf-8")
    said = [float(x) for x in re.search(r"# \[(.*?)\] pixels\n", text)[1].split(",")]
    np.testing.assert_allclose(far.centre[-1] - far.centre[0], said, atol=0.5)
    speed = im.laws.speed(far).value
    np.testing.assert_allclose(speed, im.theory.predict(shown["swift"]).speed, atol=1e-5)
    assert float(re.search(r"less than ([\de-]+)", text)[1]) > far.cut[-1] >= 0


def test_a_split_field_gives_what_one_device_gives(shown):
    whole, seen = shown["im"].rollout(shown["k"], shown["wide"], 48, every=8)
    np.testing.assert_allclose(shown["split"].values, whole.values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(shown["seen"].centre, seen.centre, rtol=1e-5)


def test_the_census_gives_the_shares_shown(shown):
    counted = shown["counted"]
    text = (ROOT / "README.md").read_text("utf-8")
    said = float(re.search(r"in DC and gradients: ([\d.]+)", text)[1])
    np.testing.assert_allclose(counted.share.sel(part="low").item(), said, atol=5e-4)
    random = float(re.search(r"of Gaussian taps: ([\d.]+)", text)[1])
    np.testing.assert_allclose(counted.random.sel(part="low").item(), random, atol=5e-4)


def test_commands_and_files_that_are_named_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", text, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (ROOT / link).exists()


@pytest.mark.skipif(importlib.util.find_spec("optimistix") is None, reason="infomech[design]")
def test_the_design_gives_what_it_says(shown):
    found = shown["found"]
    text = (ROOT / "README.md").read_text("utf-8")
    said = [float(x) for x in re.search(r"found\.best\]  # \[(.*?)\]", text)[1].split(",")]
    np.testing.assert_allclose(found.achieved["velocity"][found.best], said, atol=1e-3)
    assert found.reason[found.best] == "converged"
