"""Files are written whole or not at all, and results carry where they come from."""

import json
import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import experiments
from benchmarks import __main__ as rollouts
from benchmarks import design, scattering
from benchmarks import networks as network_benchmark
from benchmarks import sweeps as stores
from experiments import __main__ as claims
from infomech import fields, plot, sweeps, weights
from infomech._core import files
from infomech.engines import build
from infomech.scattering import signals


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path):
    path = tmp_path / "numbers.txt"
    files.write_text(path, "old")

    def fail_half_way():
        with files.replacing(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["numbers.txt"]


def test_a_new_file_has_the_usual_permissions(tmp_path):
    files.write_text(tmp_path / "made.txt", "")
    (tmp_path / "plain.txt").write_text("")
    assert (tmp_path / "made.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_folders_that_cannot_be_made_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out: got .*file, expected a folder to write to"):
        files.folder(tmp_path / "file")
    with pytest.raises(ValueError, match="out: got"):
        files.write_text(tmp_path / "missing" / "x.txt", "")
    assert files.folder(tmp_path / "a" / "b").is_dir()


def test_json_is_strict_and_keeps_arrays():
    value = {"a": np.array([1.5, np.nan]), "b": (np.float32(2), np.inf), "c": None, "d": "x"}
    assert json.loads(files.to_json(value)) == {
        "a": [1.5, None],
        "b": [2.0, None],
        "c": None,
        "d": "x",
    }


def test_provenance_names_versions_device_and_commit():
    record = files.provenance()
    assert {"infomech", "jax", "jaxlib", "numpy", "python", "device", "commit"} <= set(record)
    assert record["device"].startswith("cpu")
    assert record["x64"] is True
    with jax.enable_x64(False):
        assert files.provenance()["x64"] is False
        assert files.provenance(x64=True)["x64"] is True


def test_experiments_in_double_precision_record_it():
    """Their blocks of 64-bit types have ended by the time that results are written."""
    for path in Path(experiments.__file__).parent.glob("*.py"):
        text = path.read_text("utf-8")
        if "enable_x64(True)" in text:
            assert "provenance()" not in text, path.name


URL = "s3://bucket/law.zarr"
SWEEP = sweeps.Sweep(axes=(sweeps.linear("share", 0, 1, 2),), steps=(4,), burn_in=1)


@pytest.mark.parametrize("typed", [URL, "file:///law.zarr", "gs:/bucket/x", Path(URL), "a/b://c"])
@pytest.mark.parametrize(
    ("argument", "use"),
    [
        ("out", lambda path: files.write_text(path, "")),
        ("out", files.folder),
        ("out", lambda path: plot.save(Figure(), path)),
        ("out", lambda path: sweeps.export("law.zarr", path)),
        ("store", lambda path: sweeps.run(SWEEP, path)),
        ("store", lambda path: sweeps.store.status(path)),
        ("store", lambda path: sweeps.export(path, "law.nc")),
        ("spec", sweeps.load),
        ("source", lambda path: list(weights.layers(path))),
        ("source", fields.image),
        ("signal", lambda path: signals.signal(str(path))),
    ],
)
def test_a_url_is_refused_wherever_a_path_is_meant(tmp_path, monkeypatch, argument, use, typed):
    monkeypatch.chdir(tmp_path)
    expected = re.escape(f"{argument}: got {str(typed)!r}, expected a path on this machine, not a")
    with pytest.raises(ValueError, match=f"^{expected} URL"):
        use(typed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["out", "a:b/c", "C:/out", "./s3:/x", "/a//b"])
def test_other_paths_are_taken_as_they_are(path):
    assert files.local("out", path) == Path(path)


@pytest.mark.parametrize("variable", ["INFOMECH_CACHE", "XDG_CACHE_HOME"])
def test_compiled_code_is_not_kept_at_a_url(monkeypatch, variable):
    monkeypatch.delenv("INFOMECH_CACHE", raising=False)
    monkeypatch.setenv(variable, URL)
    with pytest.raises(ValueError, match=f"^{variable}: got '{URL}'"):
        build._cache()


@pytest.mark.parametrize(
    "module", [claims, rollouts, design, scattering, stores, network_benchmark]
)
def test_a_report_is_not_written_to_a_url(tmp_path, monkeypatch, capsys, module):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        module.main(["--quick", "--out", URL])
    said = f"argument --out: path: got '{URL}', expected a path on this machine, not a URL"
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
