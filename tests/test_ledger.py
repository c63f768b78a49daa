"""Runs of experiments: errors, resuming, and the report as HTML and JSON."""

import importlib.util
import json
import shutil
from importlib import metadata

import jax
import numpy as np
import pytest

import infomech as im
from experiments import (
    catalog,
    gaussian_spread,
    layers_needed,
    ledger,
    parity,
    records,
    report,
    runner,
)
from experiments.__main__ import main
from experiments.ledger import Number

GOOD = """
from pathlib import Path
from PIL import Image
from experiments.ledger import Finding, Number

STATEMENT, SOURCE, CLAIMS = "A < B & <b>C</b>", "arXiv 0000.00000", (5,)

def run(out, *, quick=False):
    ran = Path(__file__).with_suffix(".ran")
    ran.write_text(ran.read_text() + "x" if ran.exists() else "x")
    Image.new("RGB", (90, 40), "white").save(out / f"{Path(__file__).stem}.png")
    numbers = (
        Number("x < y", -1234.56789, -2000.0, 1e-12, "px", "at least <1>", False),
        Number("none", None, wanted="something", met=None),
        Number("fine", 1 / 3, met=True),
    )
    figure = out / f"{Path(__file__).stem}.png"
    return Finding("holds in a regime", "Only <i>here</i>.", "a \\" b", numbers, figure, "<text>")
"""
BAD = GOOD.replace(
    "    ran =",
    "    if not Path(__file__).with_suffix('.luck').exists(): raise RuntimeError('no <luck>')\n"
    "    ran =",
)
STOPPED = GOOD.replace("    ran =", "    raise KeyboardInterrupt\n    ran =")
FULL = GOOD.replace("quick=False)", "quick=False, full=False)").replace("(5,)", "()")


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """Replace all experiments by ones with the given sources; returns a counter of their runs."""
    before = dict(catalog.EXPERIMENTS)
    # other processes do not know these experiments
    monkeypatch.setattr(runner, "PROCESSES", 1)

    def install(**sources):
        modules = {}
        for name, source in sources.items():
            path = tmp_path / f"{name}.py"
            path.write_text(source)
            spec = importlib.util.spec_from_file_location(name, path)
            modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
        catalog.EXPERIMENTS.clear()
        catalog.EXPERIMENTS.update(modules)

        def ran():
            counts = {}
            for name in sources:
                path = tmp_path / f"{name}.ran"
                counts[name] = len(path.read_text()) if path.exists() else 0
            return counts

        return ran

    yield install
    catalog.EXPERIMENTS.clear()
    catalog.EXPERIMENTS.update(before)


def verdicts(out):
    content = json.loads((out / "claims.json").read_text())
    return {experiment["name"]: experiment["verdict"] for experiment in content["experiments"]}


def test_error_is_recorded_and_others_continue(experiments, tmp_path, capsys):
    ran = experiments(one=GOOD, two=BAD, three=GOOD)
    out = tmp_path / "report"
    assert main(["--out", str(out)]) == 1
    assert ran() == {"one": 1, "two": 0, "three": 1}
    expected = {"one": "holds in a regime", "two": "error", "three": "holds in a regime"}
    assert verdicts(out) == expected
    assert "errors in two" in capsys.readouterr().err
    assert "RuntimeError: no &lt;luck&gt;" in (out / "index.html").read_text()
    # an error is not kept: only this experiment runs, the others are stored
    (tmp_path / "two.luck").touch()
    assert main(["--out", str(out)]) == 0
    assert ran() == {"one": 1, "two": 1, "three": 1}
    assert set(verdicts(out).values()) == {"holds in a regime"}


def test_only_missing_or_stale_experiments_run(experiments, tmp_path):
    ran, out = experiments(one=GOOD, two=GOOD), tmp_path / "report"
    assert main(["--out", str(out), "--only", "one"]) == 0
    assert ran() == {"one": 1, "two": 0}
    assert list(verdicts(out)) == ["one"]
    assert main(["--out", str(out)]) == 0
    assert ran() == {"one": 1, "two": 1}
    ran = experiments(one=GOOD + "\n", two=GOOD)
    assert main(["--out", str(out)]) == 0
    assert ran() == {"one": 2, "two": 1}
    assert main(["--out", str(out), "--again", "--only", "two"]) == 0
    assert ran() == {"one": 2, "two": 2}
    assert list(verdicts(out)) == ["one", "two"]
    # a quick run does not affect other scales
    assert main(["--out", str(out), "--quick"]) == 0
    assert ran() == {"one": 3, "two": 3}
    assert main(["--out", str(out)]) == 0
    assert ran() == {"one": 3, "two": 3}
    # an unreadable record, or one without its figure, does not count
    (out / "default/one/record.json").write_text("{")
    (out / "default/two/two.png").unlink()
    assert main(["--out", str(out)]) == 0
    assert ran() == {"one": 4, "two": 4}


def test_interrupted_run_writes_report_and_resumes(experiments, tmp_path, capsys):
    ran, out = experiments(one=GOOD, two=STOPPED, three=GOOD), tmp_path / "report"
    assert main(["--out", str(out)]) == 130
    assert "rerun the command to resume" in capsys.readouterr().err
    assert list(verdicts(out)) == ["one"]
    ran = experiments(one=GOOD, two=GOOD, three=GOOD)
    assert main(["--out", str(out)]) == 0
    assert ran() == {"one": 1, "two": 1, "three": 1}


def test_full_scale_only_where_supported(experiments, tmp_path):
    experiments(one=GOOD, two=FULL)
    out = tmp_path / "report"
    assert main(["--out", str(out), "--full"]) == 0
    content = json.loads((out / "claims.json").read_text())
    assert [experiment["scale"] for experiment in content["experiments"]] == ["default", "full"]
    assert (out / "full/two/two.png").exists()


def test_version_covers_imported_experiments(monkeypatch):
    imported = records._imported(records._source(layers_needed))
    assert [path.name for path in imported] == ["energy_decay.py", "ledger.py"]
    assert records.version(layers_needed) != records.version(parity)
    version = records.version(layers_needed)
    assert records.version(layers_needed) == version
    monkeypatch.setattr(records, "_imported", lambda path: [])
    assert records.version(layers_needed) != version


@pytest.mark.parametrize("package", ["jax", "scipy", "optax", "optimistix"])
def test_version_depends_on_packages(package, monkeypatch):
    before, installed = records.version(parity), metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: installed(name) + ".1" * (name == package)
    )
    assert records.version(parity) != before


def test_version_works_without_optional_packages(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert records.version(parity) == records.version(parity)


@pytest.mark.parametrize("code", ["engines/csrc/layers.c", "engines/csrc/sweeps.h", "theory.py"])
def test_version_depends_on_code(code, tmp_path, monkeypatch):
    for folder in ("infomech", "experiments"):
        shutil.copytree(records.ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    before = records.version(parity)
    path = tmp_path / "infomech" / code
    path.write_text(path.read_text() + "\n")
    assert records.version(parity) != before


def test_experiments_have_statement_source_and_claims():
    assert list(catalog.CLAIMS) == list(range(1, 18))
    for module in catalog.EXPERIMENTS.values():
        assert module.STATEMENT
        assert module.SOURCE
        assert set(module.CLAIMS) <= set(catalog.CLAIMS)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([True, True], "holds"),
        ([True, False], "holds in a regime"),
        ([False], "fails"),
        ([], "fails"),
        (np.array([True]), "holds"),
    ],
)
def test_verdict_of_parts(parts, expected):
    assert ledger.verdict(parts) == expected


def test_proportion_intervals():
    # the ends of a Wilson interval solve |p − s| = z √(p (1 − p)/n)
    for hits, count in ((0, 5), (5, 5), (3, 10), (50, 100)):
        share, *ends = ledger.proportion(hits, count)
        assert share == hits / count
        for p in ends:
            off = abs(p - share) - 1.959964 * np.sqrt(p * (1 - p) / count)
            assert abs(off) < 1e-12


def test_distance_from_gaussian():
    distance = jax.jit(gaussian_spread.away_from_gaussian)
    gaussian = im.fields.gaussian((41, 41), sigma=4.0, dtype="float64")
    assert distance(gaussian) < 1e-3
    # radius R = 2 s against exp(−r²/2s²)/2πs²: the Gaussian is higher up to r² = 2 s² ln 2 and
    # beyond R
    disk = im.fields.disk((161, 161), radius=40.0, dtype="float64")
    expected = 0.5 - np.log(2.0) / 2 + np.exp(-2.0)
    np.testing.assert_allclose(distance(disk), expected, rtol=5e-3)


# --- the page -----------------------------------------------------------------------------------


def test_report_escapes_text_and_rounds_numbers(experiments, tmp_path):
    experiments(one=GOOD)
    assert main(["--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report/index.html").read_text()
    for raw in ("<b>C", "<i>here", "<text>", "x < y", "least <1>", 'a " b<'):
        assert raw not in text
    assert "A &lt; B &amp; &lt;b&gt;C&lt;/b&gt;" in text
    assert '<data value="-1234.56789">−1235</data> px' in text
    assert '<td data-label="Value">none</td>' in text
    assert "1 of 2 criteria met" in text
    assert text.count(">not run yet<") == 16


@pytest.mark.parametrize(
    ("value", "wanted", "shown"),
    [
        (0.98997, "at least 0.99", "0.98997"),
        (0.99, "at least 0.99", "0.99"),
        (0.98997, "at least 0.9", "0.99"),
        (0.899996, "interval above 0.9", "0.899996"),
        (1.00002e-6, "at most 1e-06 of the energy", "1.00002e-06"),
        (1 / 3, "", "0.3333"),
    ],
)
def test_rounding_never_shows_a_missed_bound(value, wanted, shown):
    assert ledger.shown(value, wanted) == shown
    line = ledger.line(Number("n", 1.5, value, 2.0, wanted=wanted, met=False))
    assert f"({shown} to 2)" in line
    assert f">{shown.replace('-', '−')}</data>" in report.number(value, wanted)


def test_number_without_value_is_undecided():
    assert ledger.line(Number("n", None, wanted="more", met=None)).endswith("[more: undecided]")


def test_long_tables_are_collapsed():
    few = [Number(f"n{i}", float(i)) for i in range(report.MAX_ROWS)]
    assert "<details>" not in report._numbers(few)
    assert "<details>" in report._numbers([*few, Number("one more", 1.0)])
