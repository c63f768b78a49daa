"""Long lists of cases: some are tested with every change, and all of them by `make deep`."""

import pytest


def thinned(cases, every=3):
    """The cases for `parametrize`, all but every so manieth of them marked deep."""
    return [_case(case, deep=i % every > 0) for i, case in enumerate(cases)]


def _case(case, *, deep):
    if not isinstance(case, type(pytest.param())):
        case = pytest.param(*(case if isinstance(case, tuple) else (case,)))
    marks = [*case.marks, pytest.mark.deep] if deep else case.marks
    return pytest.param(*case.values, marks=marks, id=case.id)
