"""Every contender of the benchmark computes what it says, and the benchmark runs."""

import json
import sys

import numpy as np
import pytest
import reference

from benchmarks import rollout
from benchmarks.rollout import Case

ONE, MANY, GRADIENT = Case(1, 11, 5, 4), Case(3, 8, 3, 5), Case(1, 9, 3, 6, gradient=True)


def outcome(name, case):
    module, _, build = rollout.CONTENDERS[name]
    pytest.importorskip(module)
    built = build(case, *rollout.samples(case))
    return None if built is None else [np.asarray(array) for array in built[0]()]


@pytest.mark.parametrize("case", [ONE, MANY], ids=["one", "many"])
@pytest.mark.parametrize("name", rollout.CONTENDERS)
def test_every_contender_computes_the_same_fields(name, case):
    (got,) = outcome(name, case)
    assert got.dtype == np.float32
    expected = []
    for kernel, u in zip(*rollout.samples(case), strict=True):
        for _ in range(case.layers):
            u = np.maximum(reference.convolve(u, kernel, "zero"), 0)
        expected.append(u)
    np.testing.assert_allclose(got.reshape(np.shape(expected)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["infomech", "PyTorch", "lax.conv"])
def test_every_gradient_obeys_euler_and_agrees_with_infomech(name):
    value, slope = outcome(name, GRADIENT)
    kernels, _ = rollout.samples(GRADIENT)
    # L is homogeneous in the taps, of degree 2 T
    np.testing.assert_allclose(
        np.sum(kernels[0] * slope.reshape(3, 3)), 2 * GRADIENT.layers * value, rtol=1e-5
    )
    rollout.difference(GRADIENT, name, (value, slope), outcome("infomech", GRADIENT))


def test_a_disagreement_is_reported_even_when_it_is_nan():
    for wrong in (1.001, np.nan):
        with pytest.raises(ArithmeticError, match=r"1 x 11².*PyTorch"):
            rollout.difference(ONE, "PyTorch", [np.array([1.0, wrong])], [np.ones(2)])


def test_a_quick_run_writes_its_numbers_and_names_who_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it weren't installed
    monkeypatch.setattr(rollout, "CASES", [MANY])
    assert rollout.main(["--quick", "--json", str(tmp_path / "numbers.json")]) == 0
    printed = capsys.readouterr().out
    assert "pip install opencv-python-headless" in printed
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert set(numbers["left_out"]) >= {"OpenCV", "OpenCV + NumPy"}
    assert numbers["results"][0]["contender"] == "infomech"
    assert numbers["results"][0]["ratio"] == 1
    assert all(row["contender"] in printed for row in numbers["results"])
