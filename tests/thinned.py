"""Long lists of cases: some are tested with every change, and all of them by `make deep`."""

import pytest


def thinned(cases, every=3):
    """The cases for `parametrize`, all but every so manieth of them marked deep."""
    return [_deep(case) if i % every else case for i, case in enumerate(cases)]


def _deep(case):
    if isinstance(case, type(pytest.param())):
        return pytest.param(*case.values, marks=[*case.marks, pytest.mark.deep], id=case.id)
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.deep)
