"""Experiments run alone, from the command line, and state their verdict."""

import json

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
