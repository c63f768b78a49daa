"""Files are written whole or not at all, and results carry where they come from."""

import json
import os

import numpy as np
import pytest

from infomech import files


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
        "a": [1.5, None], "b": [2.0, None], "c": None, "d": "x"
    }  # fmt: skip


def test_provenance_names_versions_device_and_commit():
    record = files.provenance()
    assert {"infomech", "jax", "jaxlib", "numpy", "python", "device", "commit"} <= set(record)
    assert record["device"].startswith("cpu")
    assert record["x64"] is True
