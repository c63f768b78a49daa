"""The compiler matches NumPy on batches of small arrays."""

import itertools

import numpy as np
import pytest

from infomech.cli import canary

pytestmark = pytest.mark.optimized

#: the case that miscompiling releases of jax fail first; runs within seconds
FIRST = (3, "float32", 40000)


def cases():
    """All minor axes, dtypes and batches; those that fail most often run by default."""
    for minor, dtype, batch in itertools.product(
        canary.MINORS, ("float32", "float64"), canary.BATCHES
    ):
        by_default = batch == max(canary.BATCHES) and minor < 10 and dtype == "float32"
        marks = [] if (minor, dtype, batch) == FIRST else [pytest.mark.slow]
        yield pytest.param(
            minor, dtype, batch, marks=marks + ([] if by_default else [pytest.mark.deep])
        )


@pytest.mark.parametrize(("minor", "dtype", "batch"), list(cases()))
def test_compiled_numbers_match_numpy(minor, dtype, batch):
    """By default only the largest batch in single precision, where compilers have failed."""
    findings = list(canary.check((minor,), (batch,), (dtype,)))
    assert len(findings) == canary.quantities()
    assert not [f for f in findings if not f.right]


def test_wrong_numbers_are_detected(monkeypatch):
    compiled, plain = canary._QUANTITIES["mass"]
    monkeypatch.setitem(canary._QUANTITIES, "mass", (lambda u: compiled(u) * 1.001, plain))
    monkeypatch.setitem(canary._QUANTITIES, "energy", (lambda u: compiled(u) * np.nan, plain))
    wrong = {f.quantity for f in canary.check((3,), (64,)) if not f.right}
    assert wrong == {"mass", "energy"}
