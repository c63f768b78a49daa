"""One quick run of all experiments: their results, and the report."""

import base64
import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import claims_reference
import numpy as np
import pytest
from PIL import Image
from reference import least_distance

from experiments import catalog, frontier, records, small_cnn
from experiments.__main__ import main
from infomech import networks, weights

ROOT = Path(records.__file__).parent.parent


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of a quick report whose experiments ran in parallel."""
    out = tmp_path_factory.mktemp("report")
    strict = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    words = [sys.executable, "-m", "experiments", "--quick", "--out", out]
    subprocess.run(words, cwd=ROOT, env={**os.environ, **strict}, check=False)
    return out


def recorded(written, name):
    """Record of an experiment, which must not be an error."""
    record = records.stored(name, catalog.EXPERIMENTS[name], written, scale="quick")
    assert record is not None
    assert not record.error
    return record


@pytest.fixture
def quick(written):
    """Function that returns text, numbers and folder of an experiment."""

    def result(name):
        folder = written / "quick" / name
        numbers = json.loads((folder / f"{name}.json").read_text())
        return recorded(written, name).finding.text, numbers, folder

    return result


@pytest.mark.parametrize("name", catalog.EXPERIMENTS)
def test_findings_equal_reference(name, written):
    """The reference is claims_quick.json, which `python tests/claims_reference.py` writes."""
    record = recorded(written, name)
    claims_reference.compare(record)
    assert record.finding.text.startswith("quick run: ")
    place = written / "quick" / name
    assert json.loads((place / f"{name}.json").read_text())["provenance"]
    with Image.open(place / f"{name}.png") as figure:
        assert figure.width > 600


# --- the page -----------------------------------------------------------------------------------


class Page(HTMLParser):
    """Links, sources, tags and numbers of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.tags, self.values = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []
        self.sources += [attrs[key] for key in ("src", "srcset", "poster") if key in attrs]
        self.values += [float(attrs["value"])] if tag == "data" else []
        assert not any(key.startswith("on") for key in attrs)


def test_page_is_self_contained(written):
    text = (written / "index.html").read_text()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    local = [link for link in page.links if link.startswith("#")]
    assert {link[1:] for link in local} <= set(page.ids)
    assert {urlsplit(link).scheme for link in page.links} <= {"", "data"}
    assert len(page.sources) == len(catalog.EXPERIMENTS)
    for source in page.sources:
        head, _, data = source.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not {"script", "iframe", "object", "embed"} & set(page.tags)
    for forbidden in ("http://", "https://", "@import", "url("):
        assert forbidden not in text
    assert "not run yet" not in text
    assert "quick run" in text


def test_page_shows_numbers_of_json(written):
    content = json.loads((written / "claims.json").read_text())
    expected = []
    for experiment in content["experiments"]:
        assert (written / experiment["finding"]["figure"]).exists()
        for number in experiment["finding"]["numbers"]:
            shown = [number[key] for key in ("value", "low", "high")]
            expected += [x for x in shown if x is not None]
    page = Page((written / "index.html").read_text())
    assert page.values == expected
    first = content["claims"][0]
    assert (first["number"], first["verdicts"]) == (1, {"parity": "holds"})
    assert content["scale"] == "quick"
    assert content["provenance"]["jax"]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FRAME = """<!doctype html><title>waiting</title>
<iframe src="index.html" style="width:{width}px;height:900px;border:0"></iframe><script>
document.querySelector("iframe").onload = (event) => {{
  const root = event.target.contentDocument.documentElement;
  const pictures = [...root.querySelectorAll("img")];
  document.title = `${{root.scrollWidth <= root.clientWidth}} ${{root.clientWidth > {width} - 30}} `
    + pictures.every((one) => one.complete && one.naturalWidth > 0);
}};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [390, 1440])
def test_browser_shows_page_without_errors_or_overflow(written, tmp_path, width):
    shutil.copy(written / "index.html", tmp_path)
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    run = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--allow-file-access-from-files", "--enable-logging=stderr", "--window-size=1600,1000",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<title>true true true</title>" in run.stdout
    assert "CONSOLE" not in run.stderr


# --- results --------------------------------------------------------------------------------------


def test_law_has_verdict_for_every_reading(quick):
    out, record, _ = quick("law")
    assert out.startswith("quick run: ")
    assert out.count("fails") == 3
    assert "holds while the rectifier is inactive, and only there" in out
    tangent = next(r for r in record["readings"] if r["ratio"] == "tan θ")
    assert min(tangent["inactive"]) > 0.9999


def test_frontier_equals_closed_form(quick):
    out, record, _ = quick("frontier")
    assert "fails: at v" in out
    (result,) = record["frontiers"]
    np.testing.assert_allclose(result["share"], frontier.closed_form(result["speed"]), atol=1e-3)
    kernels = np.array(result["kernel"])
    odd = (kernels - kernels[..., ::-1]) / 2
    share = np.sum(odd**2, -1) / np.sum(kernels**2, -1)
    np.testing.assert_allclose(share, result["share"], atol=1e-6)


def test_targets_are_reached(quick):
    out, record, _ = quick("targets")
    assert "holds: 16 of 16" in out
    error = np.subtract(record["achieved"], record["target"])
    assert np.linalg.norm(error, axis=1).max() <= record["tolerance"]["velocity"]


def test_atlas_equals_closed_form_while_inactive(quick, capsys, tmp_path):
    out, record, place = quick("atlas")
    assert "33 of 33 points computed now" in out
    share = np.linspace(0, 1, 11)
    tangent = np.sqrt(share[:10] / (1 - share[:10]))
    for reading in record["readings"]:
        # the steepest tap of the gradient, by hand: tan θ = 1/(|cos| + |sin|) where it is 0
        angle = np.deg2rad(reading["direction"])
        limit = 1 / (np.cos(angle) + np.sin(angle))
        np.testing.assert_allclose(reading["inactive_share"], limit**2 / (1 + limit**2), rtol=1e-5)
        inactive = np.flatnonzero(tangent <= limit + 1e-6)
        np.testing.assert_allclose(
            np.take(reading["speed"], inactive), tangent[inactive] / 2, atol=1e-5
        )
        np.testing.assert_allclose(np.take(reading["aside"], inactive), 0, atol=1e-5)
        fit = next(f for f in reading["fits"] if (f["law"], f["over"]) == ("tangent", "inactive"))
        np.testing.assert_allclose([fit["r_squared"], fit["slope"]], [1, 0.5], atol=1e-4)
    # along an axis the widest range to 1 % lies where the rectifier is inactive: that of tan θ
    within = [
        (i, j)
        for i in range(4)
        for j in range(i + 2, 6)
        if least_distance(share[i : j + 1], tangent[i : j + 1], False)
        <= 0.01 * np.ptp(tangent[i : j + 1])
    ]
    widest = max(within, key=lambda pair: pair[1] - pair[0])
    linear = record["readings"][0]["widest"]["linear"][0]
    np.testing.assert_allclose(linear, share[list(widest)])
    copy = shutil.copytree(place, tmp_path / "copy")
    assert main(["atlas", "--quick", "--out", str(copy)]) == 0
    again = capsys.readouterr().out.replace(str(copy), str(place))
    assert again.replace(" 0 of 33 points", " 33 of 33 points") == out + "\n"


def test_only_tight_frames_conserve_energy(quick):
    out, record, _ = quick("energy_conservation")
    assert "No signal without features was found" in out
    for balance in record["accounts"]:
        lost = (
            np.array(balance["propagated"])[:-1] - balance["collected"] - balance["propagated"][1:]
        )
        np.testing.assert_allclose(lost, balance["gaps"], atol=1e-9)
        assert (np.abs(balance["gaps"]).max() > 1e-3) == (balance["frame"] == "not tight")


def test_energy_decay_meets_guarantee(quick):
    out, record, _ = quick("energy_decay")
    assert out.count("  holds: ") == 1
    for case in record["cases"]:
        assert np.all(np.array(case["propagated"]) <= np.array(case["guaranteed"]) + 1e-9)


def test_layers_needed_are_within_guarantee(quick):
    out, record, _ = quick("layers_needed")
    assert "published table reproduced" in out
    for row in record["rows"]:
        assert np.all(np.array(row["worst"]) <= row["guaranteed"])
        assert np.all(np.array(row["median"]) <= row["worst"])


def test_half_life_of_pulses_grows_with_octaves(quick):
    out, record, _ = quick("slow_decay")
    assert "holds for as many octaves as the grid has" in out
    lives = record["reading"]["half_life"]
    assert np.all(np.diff(lives["wavelets"]) > 0.1)
    np.testing.assert_allclose(lives["Weyl–Heisenberg"], 1.5, atol=0.1)


def test_worst_signal_is_within_guarantee(quick):
    out, record, _ = quick("worst_signal")
    assert "  fails: the worst signals" in out
    for search in record["found"]:
        assert max(search["random"]) < search["worst"] <= search["guaranteed"]
        np.testing.assert_allclose(search["worst"] + search["features"], 1, atol=1e-5)


def test_quick_training_fails_claim(quick):
    out, record, place = quick("train_digits")
    assert "\n  fails: " in out
    name = "digits-3x3-seed0"
    assert list(record["accuracy"][name]) == ["0", "1", "2"]
    last = place / "data" / name / "epoch-002.safetensors"
    low = networks.census(weights.layers(last)).share.sel(part="low")
    np.testing.assert_allclose(record["share_of_low_modes"][0]["low"][2], low)


def test_trained_filters_equal_census(quick):
    out, record, place = quick("trained_filters")
    assert "Mirrored images and initial weights give mirrored weights: holds" in out
    recorded_network = record["networks"]["digits-3x3-seed0"]
    last = weights.layers(place / "data" / "digits-3x3-seed0" / "epoch-001.safetensors")
    direct = networks.census(last)
    np.testing.assert_allclose(recorded_network["low"], direct.share.sel(part="low"))


def test_receptive_drift_covers_both_states(quick):
    out, record, _ = quick("receptive_drift")
    assert "layer 1  R² 1.00, 1.00" in out
    assert [case["trained"] for case in record["cases"]] == [False, True]


def test_layer_energies_lie_within_frame_bounds(quick):
    out, record, place = quick("layer_energies")
    assert "holds: for every image the energy after the filters lies between the frame" in out
    assert len(record["cases"]) == 4
    images = small_cnn.digits().test[:8]
    (first, _) = weights.layers(place / "data" / "digits-3x3-seed0" / "epoch-000.safetensors")
    responses = np.abs(np.fft.fft2(first.kernels[:, 0], (8, 8))) ** 2
    np.testing.assert_allclose(record["cases"][0]["upper"][0], responses.sum(0).max(), rtol=1e-5)
    power = np.abs(np.fft.fft2(images[:, 0])) ** 2
    filtered = np.sum(power * responses.sum(0), (1, 2)) / np.sum(power, (1, 2))
    np.testing.assert_allclose(np.array(record["cases"][0]["filtered"])[:, 0], filtered, rtol=1e-4)
