"""Does this compiler compute the numbers of NumPy on batches of small arrays?"""

import numpy as np
import pytest

from infomech import canary


def test_compiler_is_right_where_it_has_been_wrong():
    assert not [f for f in canary.check((3,), (40000,), ("float32",)) if not f.right]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "batches"),
    [
        ("float32", canary.BATCHES),
        ("float64", canary.BATCHES[-1:]),
        pytest.param("float64", canary.BATCHES[:-1], marks=pytest.mark.deep),
    ],
)
@pytest.mark.parametrize("minor", canary.MINORS)
def test_compiler_is_right_everywhere(minor, dtype, batches):
    findings = list(canary.check((minor,), batches, (dtype,)))
    assert len(findings) == len(batches) * canary.quantities()
    assert not [f for f in findings if not f.right]


def test_a_wrong_number_would_be_seen(monkeypatch):
    compiled, plain = canary._QUANTITIES["mass"]
    monkeypatch.setitem(canary._QUANTITIES, "mass", (lambda u: compiled(u) * 1.001, plain))
    monkeypatch.setitem(canary._QUANTITIES, "energy", (lambda u: compiled(u) * np.nan, plain))
    wrong = {f.quantity for f in canary.check((3,), (64,)) if not f.right}
    assert wrong == {"mass", "energy"}
