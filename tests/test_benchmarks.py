"""Every contender of the benchmark computes what it says, and its report says what was measured."""

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
    memory,
    million,
    networks,
    peers,
    report,
    requirements,
    scaling,
    stencil,
    turns,
)
from benchmarks import design as solvers
from benchmarks import scattering as paths
from benchmarks import sweeps as swept
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


def quiet(total=None):
    return tqdm(total=total, disable=True)


def outcomes(name, case):
    """Results of all variants of a contender."""
    pytest.importorskip(peers.CONTENDERS[name].module)
    built = [
        build(case, *cases.samples(case)) for build in peers.CONTENDERS[name].variants.values()
    ]
    return [[np.asarray(array) for array in pair[0]()] for pair in built if pair is not None]


@pytest.mark.parametrize(
    ("name", "case"), thinned([(n, c) for c in FORWARD for n in peers.CONTENDERS])
)
def test_every_variant_of_every_contender_computes_the_same_fields(monkeypatch, name, case):
    case = FORWARD[case]
    monkeypatch.setattr(stencil, "CHUNK", 16)
    expected = []
    for kernel, u in zip(*cases.samples(case), strict=True):
        for _ in range(case.layers):
            u = np.maximum(reference.convolve(u, kernel, "zero"), 0)
        expected.append(u)
    for (got,) in outcomes(name, case):
        assert got.dtype == case.dtype
        atol = 1e-6 if case.dtype == "float32" else 1e-14
        np.testing.assert_allclose(got.reshape(np.shape(expected)), expected, rtol=0, atol=atol)


def test_who_takes_part_where():
    here = set(peers.available()[0])

    def taking_part(case):
        return {name for name in here if outcomes(name, case)}

    own = {"infomech, forward mode", "infomech, value only"}
    assert taking_part(FORWARD["batch"]) == here - own
    assert taking_part(FORWARD["3-D"]) == here - own - {"OpenCV"}
    assert taking_part(FORWARD["1-D"]) == here - own - {"Numba, rows blocked"}
    assert taking_part(GRADIENT) == here - {"Numba", "Numba, rows blocked", "OpenCV", "SciPy"}


@pytest.mark.parametrize(
    "name", ["infomech", "infomech, XLA", "infomech, forward mode", "PyTorch", "lax.conv"]
)
def test_every_gradient_obeys_euler_and_agrees_with_infomech(name):
    ((expected),) = outcomes("infomech", GRADIENT)
    kernels, _ = cases.samples(GRADIENT)
    for value, slope in outcomes(name, GRADIENT):
        # L is homogeneous in the taps, of degree 2 T
        np.testing.assert_allclose(
            np.sum(kernels[0] * slope.reshape(3, 3)), 2 * GRADIENT.layers * value, rtol=1e-5
        )
        cases.difference(GRADIENT, name, (value, slope), expected)


def test_a_disagreement_is_reported_even_when_it_is_nan():
    for wrong in (1.001, np.nan):
        with pytest.raises(ArithmeticError, match=r"1 x 11².*PyTorch"):
            cases.difference(FORWARD["2-D"], "PyTorch", [np.array([1.0, wrong])], [np.ones(2)])


def test_titles_and_sizes():
    assert [case.title for case in cases.CASES][:2] == [
        "1 x 1024², 3x3, 50 layers",
        "1 x 4096², 3x3, 10 layers",
    ]
    assert len({case.title for case in cases.CASES}) == len(cases.CASES)
    assert Case(2, 8, 3, 3, 7, "float64").title == "2 x 8³, 3x3x3, 7 layers, float64"
    assert Case(1, 8, 1, 5, 7, gradient=True).title == "1 x 8, 5 taps, 7 layers, gradient"
    case = Case(2, 8, 3, 3, 7, "float64")
    assert (case.field_bytes, case.cell_steps, case.tap_count) == (8**4, 2 * 8**3 * 7, 27)
    kernels, fields = cases.samples(case)
    np.testing.assert_allclose(kernels.sum((1, 2, 3)), 1)
    assert fields.shape == (2, 8, 8, 8)
    assert all(case.cell_steps < 2e5 for case in cases.selection(quick=True))


def test_shares_of_the_roof():
    shares = ROOF.shares(Case(1, 64, 2, 3, 10, "float64"), 1e9)
    assert shares == {"fma": 9e9 / 5e10, "sweep": 16e9 / 1e10}


def test_a_contender_too_slow_is_left_out_and_one_without_memory_too(monkeypatch):
    def greedy(case, kernels, fields):
        raise MemoryError("no room\nat all")

    monkeypatch.setitem(peers.CONTENDERS, "greedy", Contender("numpy", "numpy", {"": greedy}))
    names = ["infomech", "lax.conv", "greedy"]
    rows, notes = turns.compete(FORWARD["batch"], names, ROOF, quiet(), 1)
    assert [row["contender"] for row in rows] == ["infomech", "lax.conv"]
    assert notes == ["3 x 8², 3x3, 5 layers: greedy, MemoryError: no room"]
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] == rows[1]["seconds"][0] / rows[0]["seconds"][0]
    monkeypatch.setattr(turns, "LONGEST", 0.0)
    _, notes = turns.compete(FORWARD["batch"], names[:2], ROOF, quiet(), 1)
    assert "lax.conv, a run would take about" in notes[0]


def test_slow_contenders_run_less_often(monkeypatch):
    monkeypatch.setattr(turns, "RUNS", {2.0: 2, 1.0: 3, 0.0: 5})
    count = dict.fromkeys("abc", 0)

    def entry(name, seconds):
        def run():
            count[name] += 1
            return ()

        return turns.Entry(run, "", None, seconds, 0.0)

    taken = turns.in_turns({"a": entry("a", 0.1), "b": entry("b", 1.5), "c": entry("c", 9.0)}, None)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 5, "b": 3, "c": 2}
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
    least, aim = (1.5, 3.0) if larger else (5.0, 3.0)
    assert Requirement("", least, aim, measured, larger=larger).verdict == verdict


def made_up(contender, ratio, *, title="a", fields=1, gradient=False, layers=10, memory=None):
    return {
        "contender": contender,
        "ratio": ratio,
        "title": title,
        "fields": fields,
        "taps": 3,
        "axes": 2,
        "pixels": 256,
        "layers": layers,
        "gradient": gradient,
        "memory_fields": memory,
    }


def test_requirements_on_made_up_numbers():
    rows = [
        made_up("infomech", 1.0),
        made_up("OpenCV", 4.0),
        made_up("SciPy", 2.0, title="b"),
        made_up("Numba", 0.7),
        made_up("Numba", 1.9, fields=64, title="c"),
        made_up("Numba, rows blocked", 0.5),
        made_up("infomech", 1.0, gradient=True, layers=100, memory=1e9),
        made_up("infomech, value only", 0.5, gradient=True, layers=100),
        made_up("PyTorch", 60.0, gradient=True, layers=100),
        made_up("infomech", 1.0, gradient=True, layers=1000, memory=90.0),
        made_up("infomech, value only", 0.25, gradient=True, layers=1000),
        made_up("infomech, forward mode", 2.0, gradient=True, layers=1000, memory=32.0),
        made_up("PyTorch", 20.0, gradient=True, layers=1000, title="d"),
    ]
    growth = {"exponents": {"cells": 1.0, "layers": 1.1, "taps": 1.3, "memory": None}}
    survey = {"seconds": 10.0, "compile_s": 5.0, "kernels": 100_000}
    table = requirements.table(rows, survey, growth)
    found = [(line.measured, line.verdict) for line in table]
    assert found == [
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


def test_exponent_of_a_power_law():
    assert scaling.exponent([(1, 2.0), (10, 200.0), (100, 20000.0)]) == pytest.approx(2)
    assert scaling.exponent([(10, 3.0), (1000, 3.0)]) == pytest.approx(0)
    assert scaling.exponent([(10, 3.0)]) is None


def test_laws_of_many_kernels_do_not_depend_on_how_many_at_a_time():
    whole, parts = (million.run(10, chunk, quiet()) for chunk in (10, 4))
    assert whole["finite"] == parts["finite"] > 0.5
    assert whole["mean_speed"] == pytest.approx(parts["mean_speed"], rel=1e-4)
    assert 0 < whole["mean_speed"] < np.sqrt(2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_peak_memory_of_a_run():
    case = Case(1, 1024, 2, 3, 4)
    jobs = [(case, "lax.conv", "groups"), (case, "lax.conv", "no such variant")]
    (peak, nothing), size = memory.measure_all(jobs, quiet()), case.field_bytes
    assert 1.5 * size < peak < 8 * size
    assert nothing is None


@pytest.mark.deep
def test_a_quick_run_writes_what_it_prints_and_names_who_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it weren't installed
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


def test_a_contender_that_computes_something_else_ends_the_run(monkeypatch, tmp_path, capsys):
    def wrong(case, kernels, fields):
        return lambda: (fields,), None

    monkeypatch.setattr(cases, "KINDS", [FORWARD["batch"]])
    ours = peers.CONTENDERS[peers.OURS]
    both = {peers.OURS: ours, "SciPy": Contender("numpy", "numpy", {"": wrong})}
    monkeypatch.setattr(peers, "CONTENDERS", both)
    assert command.main(["--quick", "--only", "3 x 8²", "--out", str(tmp_path)]) == 1
    assert "3 x 8², 3x3, 5 layers: SciPy is off by" in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()


def test_one_line_about_a_bad_argument(tmp_path, capsys):
    for arguments in (["--only", "nothing"], ["--quick=3"], ["--kernel-size"]):
        with pytest.raises(SystemExit, match="2"):
            command.main(["--quick", *arguments])
        assert capsys.readouterr().err.count("\n") == 1
    file = tmp_path / "file"
    file.touch()
    assert command.main(["--quick", "--out", str(file)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_of_the_rates_of_adam_the_best_one_counts():
    shared = {"problem": "p", "starts": 4, "steps": 50, "compile_s": 1.0, "best": 1e-9}
    found = [("lbfgs", 4, 2.0), ("adam 0.01", 3, 0.1), ("adam 0.1", 4, 9.0), ("adam 0.3", 4, 8.0)]
    rows = [{**shared, "solver": n, "reached": r, "seconds": t} for n, r, t in found]
    rows[0]["steps"] = None
    assert [row["solver"] for row in solvers.tuned(rows)] == ["lbfgs", "adam 0.3"]
    lines = solvers.table(rows).splitlines()
    assert lines[0] == "## p"
    assert lines[-2:] == [
        "| lbfgs | 4 of 4 |  | 2 | 1 | 1.0e-09 |",
        "| adam 0.3 | 4 of 4 | ≤ 50 | 8 | 1 | 1.0e-09 |",
    ]


def test_paths_that_correspond_to_kymatio_s_get_coarser():
    frame = meyer(256, 3)  # scales 1 to 3, the finest last
    assert paths.corresponding(frame, [[], [0], [2], [0, 1]]) == ((), (2,), (0,), (2, 1))
    with pytest.raises(ValueError, match="kymatio has 2 wavelets, infomech 3"):
        paths.corresponding(frame, [[0], [1]])
    image = oriented((32, 32), 2, 3)
    which = [[n] for n in range(6)] + [[n, m] for n in range(3) for m in range(3, 6)]
    scales = [
        [image.labels[band].scale for band in path] for path in paths.corresponding(image, which)
    ]
    assert scales == [[2]] * 3 + [[1]] * 3 + [[2, 1]] * 9


def test_of_mirrored_paths_one_counts():
    assert paths.computed(np.array([1, 6, 12, 8])) == 1 + 3 + 3 + 1


def test_time_per_path_beside_kymatio_s_better_front_end():
    found = paths.summary(
        [
            {"title": "t", "dtype": "float32", "contender": name, "paths": n, "seconds": seconds}
            for name, n, seconds in (
                ("kymatio, numpy", 10, [0.2, 0.4, 0.6]),
                ("kymatio, torch, threads: 1", 10, [2.0, 4.0, 6.0]),
                (paths.OURS, 10, [0.1, 0.2, 0.2]),
                (paths.AT_RATE, 10, [0.05, 0.05, 0.2]),
                ("infomech, energies", 40, [0.1, 0.2, 0.2]),
            )
        ]
    )
    assert [row["ratio"] for row in found] == pytest.approx([2.0, 20.0, 1.0, 0.5, 0.25])
    assert found[0]["path_us"] == pytest.approx(40_000)
    assert paths.faster(found) == pytest.approx(2)
    assert paths.faster(found, "infomech, energies") == pytest.approx(8)
    assert paths.faster(found, paths.AT_RATE) == pytest.approx(4)
    assert paths.difference([1.0, 2.0], [1.0, 4.0]) == pytest.approx(2 / np.sqrt(17))
    found[3]["error"] = 0.00025
    lines = paths.case_table(found).splitlines()
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
    late = {**target, "title": "cut off", "complete": False, "memory_bytes": 3_000_000}
    text = paths.required([found], [target, late]).splitlines()
    assert len(text) == 7
    assert text[2].endswith("| ≥ 2 × | 2.00 × | reached |")
    assert text[3].startswith(f"| t: {paths.AT_RATE}, per path")
    assert text[3].endswith("| ≥ 2 × | 4.00 × | reached |")
    assert text[5] == "| deep, prune=1e-6, compiled | < 1 s | 0.25 s | reached |"
    assert text[6].endswith("| not reached |")
    lines = paths.target_table([target, late]).splitlines()
    assert lines[2] == "| deep | 7 | 0.500000 … 0.625000 | 2 |  |"
    assert lines[3].endswith("| 2 | 3 |")


def test_a_worker_answers_in_turn_and_its_end_is_told():
    echo = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)"
    worker = paths.Worker([sys.executable, "-c", echo])
    assert worker.ask(name="a", runs=3) == {"name": "a", "runs": 3}
    assert worker.ask(name="b") == {"name": "b"}
    worker.close()
    ended = paths.Worker([sys.executable, "-c", "input()\nraise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="ended: 3"):
        ended.ask(runs=1)
    ended.close()


@pytest.mark.deep
def test_a_quick_census_is_timed_and_imports_no_framework(tmp_path, capsys):
    assert networks.main(["--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "NETWORKS.md").read_text("utf-8") == out.rstrip("\n") + "\n"
    assert "| 4,000 filters |" in out
    assert "Frameworks imported: none." in out


@pytest.mark.deep
def test_quick_sweeps_are_timed_stored_and_bare(tmp_path, capsys):
    assert swept.main(["--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "SWEEPS.md").read_text("utf-8") == out.rstrip("\n") + "\n"
    assert re.search(r"5,000 3×3 kernels .* \| ≤ 1.2 × \| [\d.]+ × \|", out)
    for devices in (1, 2):
        assert re.search(rf"^\| {devices} \| \d+ \| {100 * devices} \| .* \| none \|$", out, re.M)


def test_verdicts_on_sweeps_follow_from_medians():
    many = [{"bare": 1.0, "stored": s} for s in (1.1, 1.3, 1.19)]
    law = [{"stored": s, "run": 1.0, "blocks": 2} for s in (1.04, 1.2, 1.06)]
    text = swept.required(True, many, law, {"points": 10, "seconds": 0.5}).splitlines()
    assert text[2].endswith("| ≤ 1.2 × | 1.190 × | reached |")
    assert "in 2 blocks of 0.5 s" in text[3]
    assert text[3].endswith("| < 5% | 6.0% | not reached |")
    assert text[4].endswith("| < 1 s | 0.5 s | reached |")
