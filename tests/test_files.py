"""Atomic writes, local paths, and provenance of results."""

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


def test_writes_are_atomic(tmp_path):
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


def test_new_files_have_default_permissions(tmp_path):
    files.write_text(tmp_path / "made.txt", "")
    (tmp_path / "plain.txt").write_text("")
    assert (tmp_path / "made.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_unwritable_folders_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out: got .*file, expected a folder to write to"):
        files.folder(tmp_path / "file")
    with pytest.raises(ValueError, match="out: got"):
        files.write_text(tmp_path / "missing" / "x.txt", "")
    assert files.folder(tmp_path / "a" / "b").is_dir()


def test_json_is_strict_and_converts_arrays():
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
    """Their `enable_x64` blocks end before results are written."""
    for path in Path(experiments.__file__).parent.glob("*.py"):
        text = path.read_text("utf-8")
        if "enable_x64(True)" in text:
            assert "provenance()" not in text, path.name


URL = "s3://bucket/law.zarr"
SWEEP = sweeps.Sweep(axes=(sweeps.linear("share", 0, 1, 2),), steps=(4,), burn_in=1)


@pytest.mark.parametrize("url", [URL, "file:///law.zarr", "gs:/bucket/x", Path(URL), "a/b://c"])
@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("out", lambda path: files.write_text(path, "")),
        ("out", files.folder),
        ("out", lambda path: plot.save(Figure(), path)),
        ("out", lambda path: sweeps.export("law.zarr", path)),
        ("store", lambda path: sweeps.run(SWEEP, path)),
        ("store", lambda path: sweeps._store.status(path)),
        ("store", lambda path: sweeps.export(path, "law.nc")),
        ("spec", sweeps.load),
        ("source", lambda path: list(weights.layers(path))),
        ("source", fields.image),
        ("signal", lambda path: signals.signal(str(path))),
    ],
)
def test_urls_are_refused(tmp_path, monkeypatch, argument, call, url):
    monkeypatch.chdir(tmp_path)
    expected = re.escape(f"{argument}: got {str(url)!r}, expected a path on this machine, not a")
    with pytest.raises(ValueError, match=f"^{expected} URL"):
        call(url)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["out", "a:b/c", "C:/out", "./s3:/x", "/a//b"])
def test_other_paths_are_accepted(path):
    assert files.local("out", path) == Path(path)


@pytest.mark.parametrize("variable", ["INFOMECH_CACHE", "XDG_CACHE_HOME"])
def test_cache_folder_is_not_a_url(monkeypatch, variable):
    monkeypatch.delenv("INFOMECH_CACHE", raising=False)
    monkeypatch.setenv(variable, URL)
    with pytest.raises(ValueError, match=f"^{variable}: got '{URL}'"):
        build._cache()


@pytest.mark.parametrize(
    "module", [claims, rollouts, design, scattering, stores, network_benchmark]
)
def test_report_folder_is_not_a_url(tmp_path, monkeypatch, capsys, module):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        module.main(["--quick", "--out", URL])
    message = f"argument --out: path: got '{URL}', expected a path on this machine, not a URL"
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
