"""Tests that all benchmark contenders agree and that the reports show the measured values."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from thinned import thinned
from tqdm import tqdm

from benchmarks import __main__ as command
from benchmarks import (
    cases,
    design,
    memory,
    million,
    networks,
    peers,
    report,
    requirements,
    scaling,
    scattering,
    stencil,
    sweeps,
    turns,
)
from benchmarks.cases import Case
from benchmarks.peers import Contender
from benchmarks.requirements import Requirement
from benchmarks.roof import Roof
from infomech.scattering import meyer, oriented

FORWARD = {
    "1-D": Case(1, 41, 1, 3, 4),
    "2-D": Case(1, 11, 2, 5, 4),
    "3-D": Case(1, 6, 3, 3, 3),
    "batch": Case(3, 8, 2, 3, 5),
    "float64": Case(2, 8, 2, 5, 3, "float64"),
}
GRADIENT = Case(1, 9, 2, 3, 6, gradient=True)
ROOF = Roof(1e10, {"float32": 1e11, "float64": 5e10}, "copy", {"float32": "sum", "float64": "sum"})


def hidden_bar(total=None):
    return tqdm(total=total, disable=True)


def variant_results(name, case):
    """Results of all variants of a contender."""
    pytest.importorskip(peers.CONTENDERS[name].module)
    built = [build(case, *cases.inputs(case)) for build in peers.CONTENDERS[name].variants.values()]
    return [[np.asarray(array) for array in pair[0]()] for pair in built if pair is not None]


@pytest.mark.parametrize(
    ("name", "case"), thinned([(n, c) for c in FORWARD for n in peers.CONTENDERS])
)
def test_all_variants_compute_equal_fields(monkeypatch, name, case):
    case = FORWARD[case]
    monkeypatch.setattr(stencil, "CHUNK", 16)
    expected = []
    for kernel, u in zip(*cases.inputs(case), strict=True):
        for _ in range(case.steps):
            u = np.maximum(reference.convolve(u, kernel, "zero"), 0)
        expected.append(u)
    for (result,) in variant_results(name, case):
        assert result.dtype == case.dtype
        atol = 1e-6 if case.dtype == "float32" else 1e-14
        np.testing.assert_allclose(result.reshape(np.shape(expected)), expected, rtol=0, atol=atol)


def test_contenders_skip_unsupported_cases():
    installed = set(peers.available()[0])

    def contenders(case):
        return {name for name in installed if variant_results(name, case)}

    forward = installed - {"infomech, forward mode", "infomech, value only"}
    assert contenders(FORWARD["batch"]) == forward
    assert contenders(FORWARD["3-D"]) == forward - {"OpenCV"}
    assert contenders(FORWARD["1-D"]) == forward - {"Numba, rows blocked"}
    assert contenders(GRADIENT) == installed - {"Numba", "Numba, rows blocked", "OpenCV", "SciPy"}


@pytest.mark.parametrize(
    "name", ["infomech", "infomech, XLA", "infomech, forward mode", "PyTorch", "lax.conv"]
)
def test_gradients_obey_euler_and_agree_with_infomech(name):
    ((expected),) = variant_results("infomech", GRADIENT)
    kernels, _ = cases.inputs(GRADIENT)
    for value, slope in variant_results(name, GRADIENT):
        # the loss is homogeneous in the taps, of degree 2 T
        np.testing.assert_allclose(
            np.sum(kernels[0] * slope.reshape(3, 3)), 2 * GRADIENT.steps * value, rtol=1e-5
        )
        cases.difference(GRADIENT, name, (value, slope), expected)


def test_wrong_results_raise_even_if_nan():
    for wrong in (1.001, np.nan):
        with pytest.raises(ArithmeticError, match=r"1 x 11².*PyTorch"):
            cases.difference(FORWARD["2-D"], "PyTorch", [np.array([1.0, wrong])], [np.ones(2)])


def test_case_titles_and_sizes():
    assert [case.title for case in cases.CASES][:2] == [
        "1 x 1024², 3x3, 50 layers",
        "1 x 4096², 3x3, 10 layers",
    ]
    assert len({case.title for case in cases.CASES}) == len(cases.CASES)
    assert Case(2, 8, 3, 3, 7, "float64").title == "2 x 8³, 3x3x3, 7 layers, float64"
    assert Case(1, 8, 1, 5, 7, gradient=True).title == "1 x 8, 5 taps, 7 layers, gradient"
    case = Case(2, 8, 3, 3, 7, "float64")
    assert (case.field_bytes, case.cell_steps, case.tap_count) == (8**4, 2 * 8**3 * 7, 27)
    kernels, fields = cases.inputs(case)
    np.testing.assert_allclose(kernels.sum((1, 2, 3)), 1)
    assert fields.shape == (2, 8, 8, 8)
    assert all(case.cell_steps < 2e5 for case in cases.selection(quick=True))


def test_roof_shares():
    shares = ROOF.shares(Case(1, 64, 2, 3, 10, "float64"), 1e9)
    assert shares == {"fma": 9e9 / 5e10, "sweep": 16e9 / 1e10}


def test_slow_and_failing_contenders_are_left_out(monkeypatch):
    def greedy(case, kernels, fields):
        raise MemoryError("out of memory\nsecond line")

    monkeypatch.setitem(peers.CONTENDERS, "greedy", Contender("numpy", "numpy", {"": greedy}))
    names = ["infomech", "lax.conv", "greedy"]
    rows, notes = turns.compete(FORWARD["batch"], names, ROOF, hidden_bar(), 1)
    assert [row["contender"] for row in rows] == ["infomech", "lax.conv"]
    assert notes == ["3 x 8², 3x3, 5 layers: greedy, MemoryError: out of memory"]
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] == rows[1]["seconds"][0] / rows[0]["seconds"][0]
    monkeypatch.setattr(turns, "MAX_SECONDS", 0.0)
    _, notes = turns.compete(FORWARD["batch"], names[:2], ROOF, hidden_bar(), 1)
    assert "lax.conv, a run would take about" in notes[0]


def test_slow_contenders_run_less_often(monkeypatch):
    monkeypatch.setattr(turns, "RUNS", {2.0: 2, 1.0: 3, 0.0: 5})
    count = dict.fromkeys("abc", 0)

    def entry(name, seconds):
        def run():
            count[name] += 1
            return ()

        return turns.Entry(run, "", None, seconds, 0.0)

    entries = {"a": entry("a", 0.1), "b": entry("b", 1.5), "c": entry("c", 9.0)}
    seconds = turns.in_turns(entries, None)
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 5, "b": 3, "c": 2}
    assert count["a"] >= 10
    assert (count["b"], count["c"]) == (3, 2)


@pytest.mark.parametrize(
    ("measured", "larger", "verdict"),
    [
        (3.1, True, "aim reached"),
        (3.0, True, "aim reached"),
        (1.5, True, "reached"),
        (1.4, True, "not reached"),
        (None, True, "not measured"),
        (np.nan, True, "not measured"),
        (3.0, False, "aim reached"),
        (5.0, False, "reached"),
        (5.1, False, "not reached"),
    ],
)
def test_verdicts(measured, larger, verdict):
    bound, aim = (1.5, 3.0) if larger else (5.0, 3.0)
    assert Requirement("", bound, aim, measured, larger=larger).verdict == verdict


def sample_row(contender, ratio, *, title="a", fields=1, gradient=False, steps=10, memory=None):
    return {
        "contender": contender,
        "ratio": ratio,
        "title": title,
        "fields": fields,
        "kernel_size": 3,
        "axes": 2,
        "pixels": 256,
        "steps": steps,
        "gradient": gradient,
        "memory_fields": memory,
    }


def test_requirements_of_sample_rows():
    rows = [
        sample_row("infomech", 1.0),
        sample_row("OpenCV", 4.0),
        sample_row("SciPy", 2.0, title="b"),
        sample_row("Numba", 0.7),
        sample_row("Numba", 1.9, fields=64, title="c"),
        sample_row("Numba, rows blocked", 0.5),
        sample_row("infomech", 1.0, gradient=True, steps=100, memory=1e9),
        sample_row("infomech, value only", 0.5, gradient=True, steps=100),
        sample_row("PyTorch", 60.0, gradient=True, steps=100),
        sample_row("infomech", 1.0, gradient=True, steps=1000, memory=90.0),
        sample_row("infomech, value only", 0.25, gradient=True, steps=1000),
        sample_row("infomech, forward mode", 2.0, gradient=True, steps=1000, memory=32.0),
        sample_row("PyTorch", 20.0, gradient=True, steps=1000, title="d"),
    ]
    growth = {"exponents": {"cells": 1.0, "layers": 1.1, "taps": 1.3, "memory": None}}
    survey = {"seconds": 10.0, "compile_s": 5.0, "kernels": 100_000}
    table = requirements.table(rows, survey, growth)
    verdicts = [(line.measured, line.verdict) for line in table]
    assert verdicts == [
        (2.0, "reached"),
        (0.7, "reached"), (1.9, "not reached"), (0.5, "not reached"), (None, "not measured"),
        (4.0, "reached"), (90.0, "reached"), (32.0, "aim reached"), (20.0, "reached"),
        (105.0, "reached"),
        (1.0, "aim reached"), (1.1, "reached"), (1.3, "not reached"), (None, "not measured"),
    ]  # fmt: skip
    assert table[0].where == "b: SciPy"
    assert table[8].where == "d: PyTorch"
    text = report.requirement_table(table)
    assert text.count("\n") == len(table) + 1
    assert "| ≤ 94.9 fields | ≤ 33 fields | 90 fields | reached |" in text
    assert {line.verdict for line in requirements.table([], None, None)} == {"not measured"}


def test_power_law_exponent():
    assert scaling.exponent([(1, 2.0), (10, 200.0), (100, 20000.0)]) == pytest.approx(2)
    assert scaling.exponent([(10, 3.0), (1000, 3.0)]) == pytest.approx(0)
    assert scaling.exponent([(10, 3.0)]) is None


def test_million_kernels_do_not_depend_on_batch_size():
    one_batch, batches = (million.run(10, chunk, hidden_bar()) for chunk in (10, 4))
    assert one_batch["finite"] == batches["finite"] > 0.5
    assert one_batch["mean_speed"] == pytest.approx(batches["mean_speed"], rel=1e-4)
    assert 0 < one_batch["mean_speed"] < np.sqrt(2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_peak_memory_of_a_run():
    case = Case(1, 1024, 2, 3, 4)
    jobs = [(case, "lax.conv", "groups"), (case, "lax.conv", "no such variant")]
    (peak, missing), size = memory.measure_all(jobs, hidden_bar()), case.field_bytes
    assert 1.5 * size < peak < 8 * size
    assert missing is None


@pytest.mark.deep
def test_quick_run_writes_its_report(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)  # simulate a missing package
    monkeypatch.setattr(cases, "KINDS", [FORWARD["batch"], GRADIENT])
    monkeypatch.setattr(memory, "REPEATS", 1)
    out = tmp_path / "folder"
    assert command.main(["--quick", "--out", str(out), "--json", str(out / "all.json")]) == 0
    text = (out / "RESULTS.md").read_text("utf-8")
    assert capsys.readouterr().out == text + "\n"
    assert "OpenCV: not installed (`pip install opencv-python-headless`)" in text
    assert "A quick run on small fields" in text
    assert not any(str(path) in text for path in (tmp_path, Path.cwd(), Path.home(), sys.prefix))
    numbers = json.loads((out / "all.json").read_text("utf-8"))
    rows = numbers["results"]
    assert [row["contender"] for row in rows].count("infomech") == 2
    assert all(row["runs"] == len(row["seconds"]) == 3 for row in rows)
    assert all(row["contender"] in text for row in rows)
    assert rows[0]["ratio"] == 1
    assert rows[0]["share_of_fma"] > 0
    assert rows[0]["compile_s"] > 0
    assert numbers["million"]["kernels"] == 2000
    assert set(numbers["left_out"]) >= {"OpenCV"}
    assert len(numbers["requirements"]) == 14
    assert (out / "scaling.png").stat().st_size > 10_000


def test_wrong_contender_ends_the_run(monkeypatch, tmp_path, capsys):
    def wrong(case, kernels, fields):
        return lambda: (fields,), None

    monkeypatch.setattr(cases, "KINDS", [FORWARD["batch"]])
    ours = peers.CONTENDERS[peers.OURS]
    contenders = {peers.OURS: ours, "SciPy": Contender("numpy", "numpy", {"": wrong})}
    monkeypatch.setattr(peers, "CONTENDERS", contenders)
    assert command.main(["--quick", "--only", "3 x 8²", "--out", str(tmp_path)]) == 1
    assert "3 x 8², 3x3, 5 layers: SciPy is off by" in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()


def test_bad_arguments_print_one_line(tmp_path, capsys):
    for arguments in (["--only", "nothing"], ["--quick=3"], ["--kernel-size"]):
        with pytest.raises(SystemExit, match="2"):
            command.main(["--quick", *arguments])
        assert capsys.readouterr().err.count("\n") == 1
    file = tmp_path / "file"
    file.touch()
    assert command.main(["--quick", "--out", str(file)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_best_adam_rate_counts():
    shared = {"problem": "p", "starts": 4, "iterations": 50, "compile_s": 1.0, "best": 1e-9}
    runs = [("lbfgs", 4, 2.0), ("adam 0.01", 3, 0.1), ("adam 0.1", 4, 9.0), ("adam 0.3", 4, 8.0)]
    rows = [{**shared, "solver": n, "reached": r, "seconds": t} for n, r, t in runs]
    rows[0]["iterations"] = None
    assert [row["solver"] for row in design.tuned(rows)] == ["lbfgs", "adam 0.3"]
    lines = design.table(rows).splitlines()
    assert lines[0] == "## p"
    assert lines[-2:] == [
        "| lbfgs | 4 of 4 |  | 2 | 1 | 1.0e-09 |",
        "| adam 0.3 | 4 of 4 | ≤ 50 | 8 | 1 | 1.0e-09 |",
    ]


def test_corresponding_paths_get_coarser():
    frame = meyer(256, 3)  # scales 1 to 3, finest last
    assert scattering.corresponding(frame, [[], [0], [2], [0, 1]]) == (
        (),
        (2,),
        (0,),
        (2, 1),
    )
    with pytest.raises(ValueError, match="kymatio has 2 wavelets, infomech 3"):
        scattering.corresponding(frame, [[0], [1]])
    image = oriented((32, 32), 2, 3)
    which = [[n] for n in range(6)] + [[n, m] for n in range(3) for m in range(3, 6)]
    scales = [
        [image.labels[band].scale for band in path]
        for path in scattering.corresponding(image, which)
    ]
    assert scales == [[2]] * 3 + [[1]] * 3 + [[2, 1]] * 9


def test_mirrored_paths_count_once():
    assert scattering.computed(np.array([1, 6, 12, 8])) == 1 + 3 + 3 + 1


def test_speedup_over_faster_kymatio_front_end():
    rows = scattering.summary(
        [
            {"title": "t", "dtype": "float32", "contender": name, "paths": n, "seconds": seconds}
            for name, n, seconds in (
                ("kymatio, numpy", 10, [0.2, 0.4, 0.6]),
                ("kymatio, torch, threads: 1", 10, [2.0, 4.0, 6.0]),
                (scattering.OURS, 10, [0.1, 0.2, 0.2]),
                (scattering.AT_RATE, 10, [0.05, 0.05, 0.2]),
                ("infomech, energies", 40, [0.1, 0.2, 0.2]),
            )
        ]
    )
    assert [row["ratio"] for row in rows] == pytest.approx([2.0, 20.0, 1.0, 0.5, 0.25])
    assert rows[0]["path_us"] == pytest.approx(40_000)
    assert scattering.speedup(rows) == pytest.approx(2)
    assert scattering.speedup(rows, "infomech, energies") == pytest.approx(8)
    assert scattering.speedup(rows, scattering.AT_RATE) == pytest.approx(4)
    assert scattering.difference([1.0, 2.0], [1.0, 4.0]) == pytest.approx(2 / np.sqrt(17))
    rows[3]["error"] = 0.00025
    lines = scattering.case_table(rows).splitlines()
    assert lines[2] == "| kymatio, numpy | 10 | float32 | 400 | 40000 | 2.00 |  |  | 3 |"
    assert lines[5].endswith("| 10 | float32 | 50 | 5000 | 0.50 | 2.5e-04 |  | 3 |")
    target = {
        "title": "deep",
        "limit": 1.0,
        "seconds": 0.25,
        "compile_s": 2.0,
        "paths": 7,
        "low": 0.5,
        "high": 0.625,
        "complete": True,
        "memory_bytes": None,
    }
    cut_off = {**target, "title": "cut off", "complete": False, "memory_bytes": 3_000_000}
    text = scattering.required([rows], [target, cut_off]).splitlines()
    assert len(text) == 7
    assert text[2].endswith("| ≥ 2 × | 2.00 × | reached |")
    assert text[3].startswith(f"| t: {scattering.AT_RATE}, per path")
    assert text[3].endswith("| ≥ 2 × | 4.00 × | reached |")
    assert text[5] == "| deep, prune=1e-6, compiled | < 1 s | 0.25 s | reached |"
    assert text[6].endswith("| not reached |")
    lines = scattering.target_table([target, cut_off]).splitlines()
    assert lines[2] == "| deep | 7 | 0.500000 … 0.625000 | 2 |  |"
    assert lines[3].endswith("| 2 | 3 |")


def test_worker_answers_in_order_and_its_end_raises():
    echo = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)"
    worker = scattering.Worker([sys.executable, "-c", echo])
    assert worker.ask(name="a", runs=3) == {"name": "a", "runs": 3}
    assert worker.ask(name="b") == {"name": "b"}
    worker.close()
    ended = scattering.Worker([sys.executable, "-c", "input()\nraise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="ended: 3"):
        ended.ask(runs=1)
    ended.close()


@pytest.mark.deep
def test_quick_census_imports_no_framework(tmp_path, capsys):
    assert networks.main(["--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "NETWORKS.md").read_text("utf-8") == out.rstrip("\n") + "\n"
    assert "| 4,000 filters |" in out
    assert "Frameworks imported: none." in out


@pytest.mark.deep
def test_quick_sweeps_report_stored_and_bare_times(tmp_path, capsys):
    assert sweeps.main(["--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "SWEEPS.md").read_text("utf-8") == out.rstrip("\n") + "\n"
    assert re.search(r"5,000 3×3 kernels .* \| ≤ 1.2 × \| [\d.]+ × \|", out)
    for devices in (1, 2):
        assert re.search(rf"^\| {devices} \| \d+ \| {100 * devices} \| .* \| none \|$", out, re.M)


def test_sweep_verdicts_use_medians():
    many = [{"bare": 1.0, "stored": s} for s in (1.1, 1.3, 1.19)]
    law = [{"stored": s, "run": 1.0, "blocks": 2} for s in (1.04, 1.2, 1.06)]
    text = sweeps.required(True, many, law, {"points": 10, "seconds": 0.5}).splitlines()
    assert text[2].endswith("| ≤ 1.2 × | 1.190 × | reached |")
    assert "in 2 blocks of 0.5 s" in text[3]
    assert text[3].endswith("| < 5% | 6.0% | not reached |")
    assert text[4].endswith("| < 1 s | 0.5 s | reached |")
