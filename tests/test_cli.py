"""End-to-end tests of the commands, with files in a temporary folder."""

import ast
import csv
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from thinned import thinned

import infomech
from infomech.cli import COMMANDS, main, results

QUICK = ["--shares", "5", "--steps", "6", "--burn-in", "2", "--resamples", "20", "--radius", "2"]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of a command."""
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.deep
def test_law_prints_a_table_and_writes_files(capsys, tmp_path):
    code, out, _ = run(capsys, "law", *QUICK, "--kernel-size", 2, "--out", tmp_path)
    assert code == 0
    assert "Verdict: speed is linear in the odd share" in out
    assert "law.pdf" in out
    assert re.search(r"^time +compiling [\d.]+ s, running [\d.]+ s$", out, re.M)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "law.csv",
        "law.json",
        "law.pdf",
        "law.png",
    ]
    record = json.loads((tmp_path / "law.json").read_text())
    assert record["config"]["steps"] == 6
    assert {"jax", "device", "commit"} <= set(record["provenance"])
    assert set(record["seconds"]) == {"compile", "run"}
    with (tmp_path / "law.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 2 * 5
    speeds = [o["speed"] for o in record["outcomes"]]
    np.testing.assert_allclose([float(r["speed"]) for r in rows], np.ravel(speeds), rtol=1e-6)
    with Image.open(tmp_path / "law.png") as picture:
        assert picture.width > 1000


def test_law_pads_a_photograph(capsys, tmp_path):
    path = tmp_path / "dot.png"
    Image.fromarray(np.full((9, 7, 3), 200, np.uint8)).save(path)
    code, out, _ = run(
        capsys, "law", *QUICK, "--kernel-size", 3, "--rectifier", "relu", "--pattern", path,
        "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    assert "domain 27×25: zero padding wide enough" in out


NOTE = "x.png: RGB to gray with weights 0.299 R + 0.587 G + 0.114 B"
MONO = "x.wav: 2 channels averaged to mono with weights 0.5, 0.5"

#: options of a command, an input file, and the note on its conversion
CONVERTED = {
    "simulate": (["--share", "0.1", "--steps", "3", "--burn-in", "0", "--pattern"], "x.png", NOTE),
    "design": (
        ["--velocity", "0", "0.2", "--steps", "2", "--starts", "1", "--solver", "lbfgs",
         "--tolerance", "9", "--pattern"], "x.png", NOTE,
    ),
    "law": ([*QUICK, "--kernel-size", "3", "--rectifier", "relu", "--pattern"], "x.png", NOTE),
    "scatter": (["--depth", "1", "--octaves", "1", "--signal"], "x.png", NOTE),
    "scatter ": (["--depth", "1", "--octaves", "2", "--signal"], "x.wav", MONO),
}  # fmt: skip


@pytest.mark.parametrize("command", CONVERTED)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_conversion_note_is_printed_once(capsys, tmp_path, command, as_json):
    options, name, note = CONVERTED[command]
    Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(tmp_path / "x.png")
    wavfile.write(tmp_path / "x.wav", 8000, np.eye(64, 2, dtype=np.float32))
    command = command.strip()
    more = ["--json"] if as_json else []
    code, out, err = run(capsys, command, *options, tmp_path / name, "--out", tmp_path, *more)
    assert code == 0
    stream, other = (err, out) if as_json else (out, err)
    assert [line for line in stream.splitlines() if "weights" in line] == [note]
    record = json.loads((tmp_path / f"{command}.json").read_text())
    if as_json:
        assert json.loads(out) == record
    else:
        assert "weights" not in other
    notes = record["conversions"].values() if command == "law" else [record["conversion"]]
    assert list(notes) == [note]


def test_law_json_output_matches_the_file(capsys, tmp_path):
    arguments = (
        "law",
        *QUICK,
        "--kernel-size",
        2,
        "--rectifier",
        "relu",
        "--json",
        "--out",
        tmp_path,
    )
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "law.json").read_text())


def test_kernel_prints_mechanics_and_draws(capsys, tmp_path):
    figure = tmp_path / "kernel.png"
    code, out, _ = run(capsys, "kernel", "--taps", "1 0 -1; 2 0 -2; 1 0 -1", "--figure", figure)
    assert code == 0
    assert "momentum p = Σ r k      [0, -8] pixels" in out
    assert "odd share ε             1" in out
    assert "velocity v = p/s        not defined (gain is 0)" in out
    assert "diffusion D             not defined (gain is 0)" in out
    assert figure.stat().st_size > 1000


CAVEAT = "not known to hold: some taps are negative, so relu may be active"


@pytest.mark.parametrize(
    ("taps", "rectifier", "speed", "caveat"),
    [
        ("4.32 -3.6 0.6", "relu", "-2.81818", CAVEAT),
        ("0.25 0.25 0.5", "relu", "0.25", ""),
        ("4.32 -3.6 0.6", "identity", "-2.81818", ""),
        ("0.25 0.25 0.5", "tanh", "0.25", "not known to hold: tanh changes positive values"),
        ("-1 -1", "modulus", "0", CAVEAT.replace("relu", "modulus")),
    ],
)
def test_predicted_velocity_has_a_caveat_for_an_active_rectifier(
    capsys, tmp_path, taps, rectifier, speed, caveat
):
    options = ["--taps", taps, "--rectifier", rectifier]
    code, out, _ = run(capsys, "kernel", *options)
    expected = f"[{speed}] pixels per layer" + (f"; {caveat}" if caveat else "")
    assert code == 0
    assert f"velocity v = p/s        {expected}\n" in out
    code, out, _ = run(capsys, "kernel", *options, "--json")
    np.testing.assert_allclose(json.loads(out)["velocity"], [float(speed)], atol=1e-5)
    assert json.loads(out)["caveat"] == caveat.removeprefix("not known to hold: ")
    # simulate prints the same text
    options += ["--steps", 2, "--burn-in", 0, "--radius", 2, "--out", tmp_path]
    code, out, _ = run(capsys, "simulate", *options)
    assert code == 0
    assert f"  theory            {expected}\n" in out


@pytest.mark.parametrize("rectifier", ["relu", "identity", "tanh"])
def test_velocity_is_undefined_for_gain_0_up_to_rounding(capsys, rectifier):
    code, out, _ = run(capsys, "kernel", "--taps", "0.1 0.2 -0.3", "--rectifier", rectifier)
    assert code == 0
    assert "velocity v = p/s        not defined (gain is 0)" in out


@pytest.mark.parametrize("suffix", ["npy", "json", "csv", "txt"])
def test_kernel_is_read_from_a_file(capsys, tmp_path, suffix):
    taps = np.array([[1.0, 2.0], [3.0, 4.0]])
    path = tmp_path / f"k.{suffix}"
    if suffix == "npy":
        np.save(path, taps)
    elif suffix == "json":
        path.write_text(json.dumps(taps.tolist()))
    else:
        np.savetxt(path, taps, delimiter="," if suffix == "csv" else " ")
    code, out, _ = run(capsys, "kernel", "--taps", path, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["taps"] == taps.tolist()
    np.testing.assert_allclose(facts["velocity"], [0.2, 0.1])


def test_simulate_matches_theory_and_writes_an_animation(capsys, tmp_path):
    code, out, _ = run(
        capsys, "simulate", "--share", 0.2, "--direction", 0, -1, "--steps", 8, "--burn-in", 1,
        "--radius", 2, "--animation", "gif", "--dtype", "float64", "--json", "--out", tmp_path,
    )  # fmt: skip
    assert code == 0
    record = json.loads(out)
    np.testing.assert_allclose(record["result"]["velocity"], [0, -0.408248], atol=1e-6)
    np.testing.assert_allclose(record["result"]["theory_velocity"], [0, -0.408248], atol=1e-6)
    stored = np.load(tmp_path / "simulate.npz")
    np.testing.assert_allclose(stored["center"], record["trace"]["center"])
    with Image.open(tmp_path / "simulate.gif") as picture:
        assert picture.n_frames == 9
    assert (tmp_path / "simulate.png").stat().st_size > 1000


def gabor():
    """A 7×7 Gabor filter, as text."""
    y, x = np.mgrid[-3:4, -3:4]
    along, across = x * np.cos(0.5) + y * np.sin(0.5), y * np.cos(0.5) - x * np.sin(0.5)
    taps = np.exp(-(along**2 + across**2 / 4) / 8) * np.cos(np.pi / 2 * along + 0.9)
    return "; ".join(" ".join(f"{tap:.4f}" for tap in row) for row in taps)


def test_simulate_warns_of_a_curved_path_and_rounds_to_the_error(capsys, tmp_path):
    code, out, _ = run(
        capsys, "simulate", "--taps", gabor(), "--pattern", "camera", "--out", tmp_path
    )
    assert code == 0
    assert "velocity            [0.2019 ± 0.0009, -0.392 ± 0.006] pixels per layer\n" in out
    assert "  R² of the line    [0.9993, 0.9919]\n" in out
    assert (
        "  WARNING           the velocity changes within the fit window: [0.1930, -0.469] in its "
        "first\n                    half, [0.2001, -0.334] in its second"
    ) in out
    assert "  WARNING           the diffusion changes within the fit window" in out
    result = json.loads((tmp_path / "simulate.json").read_text())["result"]
    for name, shape in (("velocity", (2,)), ("diffusion", (2, 2))):
        for field in ("stderr", "r_squared", "steady"):
            assert np.shape(result[f"{name}_{field}"]) == shape
        assert np.shape(result[f"{name}_halves"]) == (2, *shape)
    assert result["velocity_steady"] == [True, False]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_simulate_of_a_resting_pattern_has_no_warning(capsys, tmp_path, dtype):
    arguments = ("--share", "0", "--steps", 12, "--burn-in", 2, "--dtype", dtype, "--radius", 2)
    code, out, _ = run(capsys, "simulate", *arguments, "--out", tmp_path)
    assert code == 0
    assert "velocity            [0, 0] pixels per layer\n" in out
    assert "  R² of the line    [constant, constant]\n" in out
    assert "  R² of the line    [[1.0000, constant], [constant, 1.0000]]\n" in out
    assert "WARNING" not in out
    assert "nan" not in out


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.408248, 3.2e-5, "0.40825 ± 0.00003"),
        (-0.391551, 0.0058, "-0.392 ± 0.006"),
        (0.408248290, 4e-16, "0.408248 ± 4e-16"),
        (0.408248290, 0.0, "0.408248"),
        (0.408248290, np.nan, "0.408248"),
        (1234.5678, 0.096, "1234.6 ± 0.1"),
        (1234.5678, 123.0, "1200 ± 100"),
        (1234567.8, 0.02, "1.23457e+06 ± 0.02"),
        (-0.0001, 0.02, "0.00 ± 0.02"),
        (3e-9, 5e-9, "3e-09 ± 5e-09"),
    ],
)
def test_values_are_rounded_to_their_error(value, error, shown):
    facts = {"v": value, "v_stderr": error, "v_r_squared": 0.5, "v_halves": [0, 0]}
    line, r_squared = results.lines("v", {**facts, "v_steady": True}, "px")
    assert line == f"v                   {shown} px"
    assert r_squared == "  R² of the line    0.5000"


@pytest.mark.parametrize("kernel_size", thinned([((2, 2, 2),), ((3,),)], 2))
def test_simulate_draws_one_and_three_dimensions(capsys, tmp_path, kernel_size):
    code, out, _ = run(
        capsys, "simulate", "--kernel-size", *kernel_size, "--ratio", 0.3, "--steps", 4,
        "--burn-in", 1, "--radius", 2, "--animation", "webp", "--out", tmp_path,
    )  # fmt: skip
    assert code == 0
    assert "simulate.webp" in out


def test_simulate_reports_boundary_contact(capsys, tmp_path):
    code, out, _ = run(
        capsys, "simulate", "--share", 0.4, "--radius", 2, "--shape", 9, 9, "--steps", 20,
        "--burn-in", 2, "--out", tmp_path,
    )  # fmt: skip
    assert code == 0
    assert "velocity            none: the pattern touched the boundary" in out


def test_doctor_passes(capsys, monkeypatch):
    """Doctor requests the batches known to fail; here the check runs on smaller ones."""
    from infomech.cli import canary

    calls, check = [], canary.check

    def smaller(minors, batches, dtypes):
        calls.append((minors, batches, dtypes))
        return check((3,), (64,), dtypes)

    monkeypatch.setattr(canary, "check", smaller)
    code, out, _ = run(capsys, "doctor", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["wrong"] == []
    assert facts["checks"] == 2 * canary.quantities()
    assert calls == [((3, 7), (40000,), ("float32", "float64"))]
    assert facts["x64"] is True  # set by conftest.py


def test_doctor_prints_the_default_precision_without_changing_it(capsys, monkeypatch):
    import jax

    from infomech.cli import canary

    monkeypatch.setattr(canary, "check", lambda *arguments: iter([]))
    with jax.enable_x64(False):
        _, out, _ = run(capsys, "doctor")
        assert re.search(r"^x64 +False$", out, re.M)
        assert not jax.config.jax_enable_x64


def test_doctor_fails_on_wrong_numbers(capsys, monkeypatch):
    from infomech.cli import canary

    finding = canary.Finding("mass", 3, 40000, "float32", 0.1, 1e-4)
    monkeypatch.setattr(canary, "check", lambda *arguments: iter([finding]))
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "WRONG     mass: off by 0.1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["design", "--velocity", "1", "--kernel-size", "3", "3"], "velocity: got 1 numbers"),
        (["design", "--velocity", "nan"], "velocity: got [nan], expected finite numbers"),
        (["design", "--velocity", "1e30"], "velocity: got (1e+30,), expected numbers whose"),
        (["design", "--velocity", "0", "0", "0", "0"], "velocity: got 4 numbers"),
        (["design", "--velocity", "1", "--diffusion", "inf"], "diffusion: got inf, expected fin"),
        (["design", "--velocity", "1", "--seed", "9" * 20], "seed: got 9"),
        (["design", "--velocity", "1", "--family", "f"], "family: got 'f', expected one of"),
        (["design", "--velocity", "1", "--solver", "s"], "solver: got 's', expected one of"),
        (["design", "--velocity", "1", "--steps", "0"], "steps: got 0"),
        (["design", "--velocity", "1", "--starts", "0"], "starts: got 0"),
        (["design", "--velocity", "1", "--tolerance", "0"], "tolerance: got 0"),
        (["kernel"], "taps: got no kernel"),
        (["kernel", "--taps", ""], "taps: got no kernel"),
        (["kernel", "--taps", ";"], "taps: got shape (0,), which has no taps"),
        (["kernel", "--taps", "1 nan"], "taps: got 1 of 2 values not finite"),
        (["kernel", "--taps", "1 2; 3"], "taps: got '1 2; 3', expected rows"),
        (["kernel", "--taps", "missing.npy"], "taps: got 'missing.npy', unreadable"),
        (["kernel", "--taps", "1 2", "--share", "0.1"], "taps: got a share or ratio as well"),
        (["kernel", "--share", "1.5"], "share: got 1.5, expected a number in [0, 1]"),
        (["kernel", "--ratio", "-1"], "ratio: got -1.0, expected a number in [0, 1]"),
        (["kernel", "--share", "0.1", "--kernel-size", "0"], "kernel_size: got (0,)"),
        (["kernel", "--share", "0.1", "--direction", "0", "0"], "direction: got [0. 0.]"),
        (
            ["kernel", "--share", "0.1", "--direction", "x"],
            "--direction: got 'x', expected numbers",
        ),
        (["kernel", "--share", "0.1", "--rectifier", "r"], "rectifier: got 'r', expected one of"),
        (["simulate", "--share", "0.1", "--steps", "-1"], "steps: got -1"),
        (["simulate", "--share", "0.1", "--boundary", "b"], "boundary: got 'b', expected one of"),
        (["simulate", "--share", "0.1", "--normalize", "n"], "normalize: got 'n'"),
        (["simulate", "--share", "0.1", "--rectifier", "r"], "rectifier: got 'r'"),
        (["simulate", "--share", "0.1", "--shape", "3", "3"], "shape: got (3, 3)"),
        (["simulate", "--share", "0.1", "--animation", "avi"], "animation: got 'avi'"),
        (["simulate", "--share", "0.1", "--radius", "-2"], "radius: got -2.0"),
        (["simulate", "--share", "0.1", "--pattern", "no.png"], "pattern: got 'no.png'"),
        (["simulate", "--share", "0.1", "--dtype", "int8"], "dtype: got 'int8'"),
        (["scatter", "--signal", "no.wav"], "signal: got 'no.wav', unreadable"),
        (["scatter", "--signal", "no.flac"], "signal: got 'no.flac'"),
        (["scatter", "--frame", "oriented"], "frame: got oriented, expected for signals with one"),
        (["scatter", "--frame", "gabor"], "frame: got 'gabor', expected one of"),
        (["scatter", "--octaves", "99"], "octaves: got 99.0, expected at most 10"),
        (["scatter", "--depth", "-1"], "depth: got -1"),
        (["scatter", "--depth", "8", "--prune", "0"], "depth: got 8 layers with 19173961"),
        (["scatter", "--prune", "1"], "prune: got 1.0, expected a fraction of the energy"),
        (["scatter", "--nonlinearity", "relu"], "nonlinearity: got 'relu', expected one of"),
        (["scatter", "--bandwidth", "4"], "bandwidth: got 4.0"),
        (["scatter", "--signal", "digits", "--number", "9999"], "number: got 9999"),
        (["scatter", "--signal", "digits", "--shape", "64"], "shape: got 64, expected at most"),
        (["scatter", "--memory-mib", "0"], "memory_mib: got 0"),
        (["law", "--rectifier", "rleu"], "rectifier: got 'rleu', expected one of relu"),
        (["law", "--boundary", "b"], "boundary: got 'b'"),
        (["law", "--steps", "-1"], "steps: got -1"),
        (["law", "--direction", "0", "0"], "direction: got (0.0, 0.0), expected nonzero vectors"),
        (["law", "--direction", "1"], "direction: got (1.0,), expected 2 numbers for each"),
        (["law", "--pattern", "no.png"], "pattern: got 'no.png'"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_code_2(
    capsys, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if not line.startswith("settings")]
    assert line.startswith(f"infomech: {message}")


def test_unreadable_image_is_named(capsys, tmp_path):
    path = tmp_path / "text.png"
    path.write_text("not an image")
    code, _, err = run(capsys, "law", "--pattern", path, "--out", tmp_path / "o")
    assert code == 2
    assert "pattern: got" in err
    assert "unreadable" in err


def test_unwritable_folder_is_named_before_the_run(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run(capsys, "law", "--out", tmp_path / "file" / "o")
    assert (code, out) == (2, "")
    assert err.startswith("infomech: out: got")


def test_import_loads_no_optional_packages():
    """Importing the library loads none of the packages behind the command line."""
    code = (
        "import sys; before = set(sys.modules); import infomech; "
        "heavy = {'matplotlib', 'PIL', 'skimage', 'tyro', 'tqdm', 'xarray', 'scipy.ndimage'}; "
        "heavy |= {'optax', 'scipy.special'}; "
        "sys.exit(str(heavy & set(sys.modules) - before) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    script = "from infomech.cli import main; raise SystemExit(main(['kernel', '--share', '2']))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr == "infomech: share: got 2.0, expected a number in [0, 1]\n"
    assert finished.stdout == ""


def test_imports_match_declared_dependencies():
    root = Path(infomech.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]

    def names(requirements):
        packages = {re.match(r"[\w.-]+", line)[0].lower() for line in requirements}
        return packages - {"infomech"}

    core, optional = names(project["dependencies"]), project["optional-dependencies"]
    runtime = core.union(*(names(optional[e]) for e in set(optional) - {"bench", "docs", "test"}))
    imported = {name for path in (root / "infomech").rglob("*.py") for name in imports(path)}
    distributions = metadata.packages_distributions()
    third_party = imported - sys.stdlib_module_names - {"infomech"}
    used = {name: {d.lower() for d in distributions.get(name, [name])} for name in third_party}
    assert not [name for name, packages in used.items() if not packages & runtime]
    assert core <= set().union(*used.values())


def imports(path):
    """Names of the packages that a file imports, at top level or in functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def test_command_imports_no_other_commands():
    script = (
        "import sys; from infomech.cli import main; main(['plan', '--json']); "
        "sys.exit(str({'matplotlib', 'infomech.cli.census', 'tqdm'} & set(sys.modules) or 0))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (1, "0\n")
    assert json.loads(finished.stdout)["engine"]


def listed(text):
    """Commands listed with a description in a help text."""
    return re.findall(r"^  ([\w-]+) +\w+ ", text, re.M)


def test_help_lists_every_command(capsys):
    for words, group in ((), COMMANDS), (("sweep",), COMMANDS["sweep"]):
        code, out, _ = run(capsys, *words, "--help")
        assert code == 0
        assert listed(out) == list(group)
    assert "sweep-status" not in COMMANDS


@pytest.mark.parametrize("words", [["sweep", "run"], ["sweep", "status"], ["kernel"]])
def test_help_of_a_command(capsys, words):
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--help"])
    assert f"usage: infomech {' '.join(words)} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", f"got no command, expected one of {', '.join(COMMANDS)}; see infomech --help"),
        ("simlate", "unrecognized command simlate (did you mean simulate?); see infomech --help"),
        ("sweep-status s", "unrecognized command sweep-status"),
        ("--setps 3", "unrecognized option --setps; see infomech --help"),
        ("sweep", "got no command, expected one of run, status, export; see infomech sweep --help"),
        ("sweep s.toml", "unrecognized command s.toml (did you mean infomech sweep run s.toml?)"),
        ("sweep run", "SPEC: got nothing, expected a path; see infomech sweep run --help"),
        ("sweep export s", "OUT: got nothing, expected a path; see infomech sweep export --help"),
        (
            "simulate --setps 3",
            "unrecognized option --setps (did you mean --steps?); see infomech simulate --help",
        ),
        ("simulate --burn_in x", "--burn-in: got 'x', expected an integer; see infomech sim"),
        ("simulate --steps", "--steps: got nothing, expected an integer; see infomech sim"),
        ("simulate 3", "unexpected argument '3'; see infomech simulate --help"),
        ("kernel --share a", "--share: got 'a', expected a number; see infomech kernel --help"),
        ("kernel --share=0.1 0.2", "--share: got 0.1 0.2, expected one value"),
        ("kernel --taps 1 0 -1", "--taps: got 1 0 -1, expected one value, in quotes"),
        ("kernel --json=3", "--json: got '3', expected no value; see infomech kernel --help"),
        ("design", "--velocity: got nothing, expected numbers; see infomech design --help"),
        (
            "plan --kernel-size",
            "--kernel-size: got nothing, expected integers; see infomech plan --help",
        ),
        (
            "plan --kernel-size --",
            "--kernel-size: got nothing, expected integers; see infomech plan --help",
        ),
        ("sweep run -- s.toml --store", "unexpected argument '--store'; see infomech sweep run"),
    ],
)
def test_parse_errors_point_to_the_help(capsys, words, message):
    code, out, err = run(capsys, *words.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"infomech: {message}")
    assert err.count("\n") == 1
    assert re.search(r"; see infomech.* --help$", err)


@pytest.mark.parametrize(
    ("words", "corrected"),
    [
        (["kernel", "--direction", "0,1"], "--direction 0 1"),
        (["kernel", "--direction", "0, -1"], "--direction 0 -1"),
        (["kernel", "--kernel-size=3,3"], "--kernel-size 3 3"),
        (["kernel", "--taps", "1,0,-1; 2, 0, -2"], '--taps "1 0 -1; 2 0 -2"'),
        (["simulate", "--shape", "9,", "9"], "--shape 9 9"),
        (["law", "--direction", "0,1", "1,1"], "--direction 0 1 1 1"),
        (["design", "--velocity", "-0.3,0.2"], "--velocity -0.3 0.2"),
        (["plan", "--mesh", "4,2"], "--mesh 4 2"),
        (["drift", "w.npz", "--strides", "1,2"], "--strides 1 2"),
    ],
)
def test_commas_between_numbers_get_a_hint(capsys, words, corrected):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"infomech: {corrected.split()[0]}: got".replace("--taps", "taps"))
    help_of_command = "" if "--taps" in corrected else f"; see infomech {words[0]} --help"
    hint = f" separated by spaces: {corrected}{help_of_command}\n"
    assert err.endswith(("numbers" + hint, "integers" + hint))
    assert err.count("\n") == 1


def test_negative_numbers_follow_an_option(capsys):
    code, out, _ = run(capsys, "kernel", "--share", 0.1, "--direction", -1, "-1e-300", "--json")
    assert code == 0
    assert json.loads(out)["momentum"][0] < 0
    code, _, err = run(capsys, "design", "--velocity", "-.3", "-2e-1", "--starts", 0)
    assert (code, err[:27]) == (2, "infomech: starts: got 0, ex")


URL = "s3://bucket/law.zarr"


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (["sweep", "run", "s.toml", "--store", URL], "--store"),
        (["sweep", "run", URL], "SPEC"),
        (["sweep", "status", URL], "STORE"),
        (["sweep", "export", URL, "law.nc"], "STORE"),
        (["sweep", "export", "law.zarr", URL], "OUT"),
        (["census", URL], "FILE"),
        (["census", "w.npz", "--against", URL], "--against"),
        (["drift", URL], "FILE"),
        (["drift", "w.npz", "--images", URL], "--images"),
        (["simulate", "--share", "0.1", "--pattern", URL], "--pattern"),
        (["simulate", "--share", "0.1", "--out", URL], "--out"),
        (["simulate", "--share", "0.1", "--compile-cache", URL], "--compile-cache"),
        (["scatter", "--signal", URL], "--signal"),
        (["kernel", "--taps", URL], "--taps"),
        (["kernel", "--share", "0.1", f"--figure={URL}"], "--figure"),
        (["law", "--pattern", "disk", URL], "--pattern"),
    ],
)
def test_urls_are_refused_and_nothing_is_created(capsys, tmp_path, monkeypatch, words, argument):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err == f"infomech: {argument}: got '{URL}', expected a path on this machine, not a URL\n"
    assert not list(tmp_path.iterdir())


def test_version_and_module(capsys):
    import infomech

    version = f"infomech {infomech.__version__}\n"
    assert run(capsys, "--version") == (0, version, "")
    command = [sys.executable, "-m", "infomech"]
    finished = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, version, "")
    finished = subprocess.run([*command, "nothing"], capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr == "infomech: unrecognized command nothing; see infomech --help\n"


def test_plan_explains_the_engine(capsys):
    code, out, _ = run(
        capsys, "plan", "--kernel-size", 3, 3, "--shape", 64, 64, "--platform", "gpu"
    )
    assert code == 0
    assert "engine     shifts" in out
    assert "not spectral     supports only the identity, not relu" in out
    assert "not native       supports only the CPU, not gpu" in out
    code, out, _ = run(
        capsys, "plan", "--kernel-size", 3, "--shape", 64, "--steps", 100, "--outputs", 9, "--json"
    )
    assert code == 0
    assert json.loads(out)["grad_mode"] == "forward"


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (["--engine", "spectral"], "engine"),
        (["--engine", "warp"], "engine"),
        (["--kernel-size", 3, "--shape", 8, 8], "kernel_size"),
        (["--kernel-size", 9, 9, "--shape", 8, 8], "kernel_size"),
        (["--steps", 0], "steps"),
        (["--batch", 0], "batch"),
        (["--outputs", 0], "outputs"),
        (["--every", -1], "every"),
        (["--boundary", "open"], "boundary"),
        (["--normalize", "l3"], "normalize"),
        (["--platform", "abacus"], "platform"),
        (["--dtype", "int8"], "dtype"),
    ],
)
def test_plan_names_an_invalid_argument_in_one_line(capsys, arguments, argument):
    code, out, err = run(capsys, "plan", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"infomech: {argument}: got ")
    assert err.count("\n") == 1


def test_simulate_follows_a_pattern(capsys, tmp_path):
    code, out, _ = run(
        capsys, "simulate", "--taps", "0 0 1", "--shape", 31, "--steps", 200, "--follow", 5,
        "--radius", 3, "--json", "--out", tmp_path,
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)["result"]
    np.testing.assert_allclose(result["velocity"], [1], atol=1e-6)
    assert result["cut"] == 0


@pytest.mark.slow
def test_compilation_cache_without_xla_warnings(tmp_path):
    script = "import sys; from infomech.cli import main; raise SystemExit(main(sys.argv[1:]))"
    command = [
        sys.executable, "-c", script, "simulate", "--share", "0.2", "--steps", "6", "--json",
        "--out", str(tmp_path / "out"), "--compile-cache", str(tmp_path / "cache"),
    ]  # fmt: skip
    runs = [subprocess.run(command, capture_output=True, text=True) for _ in range(2)]
    assert [r.returncode for r in runs] == [0, 0]
    first, second = (json.loads(r.stdout)["seconds"]["compile"] for r in runs)
    assert any((tmp_path / "cache").iterdir())
    assert second < first
    assert "cpu_aot_loader" not in runs[1].stderr


@pytest.mark.deep
def test_design_fits_a_kernel_and_writes_files(capsys, tmp_path):
    options = ["--kernel-size", "3", "--steps", "6", "--starts", "3", "--out", str(tmp_path)]
    target = ["--velocity", "0.3", "--diffusion", "0.5"]
    code, out, err = run(capsys, "design", *target, *options)
    assert code == 0, err
    assert out.startswith("achieved\n")
    assert "[0.3], target [0.3]" in out
    assert "odd share ε" in out
    taps = np.load(tmp_path / "design.npy")
    facts = json.loads((tmp_path / "design.json").read_text("utf-8"))
    np.testing.assert_allclose(facts["result"]["kernel"], taps)
    np.testing.assert_allclose(facts["result"]["measured"]["velocity"], [0.3], atol=1e-4)
    np.testing.assert_allclose(facts["result"]["measured"]["diffusion"], 0.5, atol=1e-4)
    assert "0.5, target 0.5" in out
    assert (tmp_path / "design.png").stat().st_size > 5000


def test_design_explains_an_unreachable_target(capsys, tmp_path):
    options = ["--kernel-size", "2", "--steps", "4", "--starts", "2", "--radius", "2"]
    code, out, _ = run(capsys, "design", "--velocity", "1.5", *options, "--out", str(tmp_path))
    assert code == 1
    reason = "a kernel of 2 taps moves at most (n − 1)/2 = 0.5 pixels per layer in the long run"
    assert out.startswith(f"not achieved: out of reach: {reason}; the target along axis 0 is 1.5\n")
    assert (tmp_path / "design.npy").exists()


def test_design_far_out_of_reach_prints_the_best(capsys, tmp_path):
    """The target lies beyond the domain, whose size the command chooses."""
    options = [
        "--velocity",
        "3",
        "--kernel-size",
        "3",
        "--starts",
        "2",
        "--steps",
        "8",
        "--radius",
        "2",
    ]
    code, out, err = run(capsys, "design", *options, "--out", str(tmp_path))
    assert code == 1, err
    reason = "a kernel of 3 taps moves at most (n − 1)/2 = 1 pixel per layer in the long run"
    assert out.startswith(f"not achieved: out of reach: {reason}")
    facts = json.loads((tmp_path / "design.json").read_text("utf-8"))["result"]
    assert not facts["achieved"]
    assert np.shape(facts["kernel"]) == (3,)
    assert 0 < facts["measured"]["velocity"][0] < 3


def test_scatter_conserves_energy(capsys, tmp_path):
    options = ["--signal", "noise", "--shape", "128", "--octaves", "3", "--depth", "2"]
    code, out, err = run(capsys, "scatter", *options, "--prune", "0", "--out", tmp_path)
    assert code == 0, err
    assert "128 samples of energy" in out
    record = json.loads((tmp_path / "scatter.json").read_text("utf-8"))
    facts = record["result"]
    assert facts["paths"] == [1, 6, 36]
    np.testing.assert_allclose(
        sum(facts["collected"]) + facts["propagated"][3], facts["energy"], rtol=1e-12
    )
    assert record["config"]["frame"]["octaves"] == 3
    assert (tmp_path / "scatter.png").stat().st_size > 5000
    rows = [line.split() for line in out.splitlines() if line[:5].strip().isdigit()]
    shares = [float(row[3]) for row in rows[:3]]
    expected = np.array(facts["propagated"][:3]) / facts["energy"]
    np.testing.assert_allclose(shares, expected, rtol=1e-3)


def test_scatter_takes_images_and_prints_json(capsys, tmp_path):
    options = ["--signal", "digits", "--octaves", "2", "--orientations", "4", "--depth", "1"]
    code, out, _ = run(
        capsys, "scatter", *options, "--frame", "curvelets", "--json", "--out", tmp_path
    )
    assert code == 0
    facts = json.loads(out)["result"]
    assert facts["shape"] == [32, 32]
    assert facts["bands"] == 16
    assert facts["propagated"][1] <= facts["guarantees"]["this frame"][1]
