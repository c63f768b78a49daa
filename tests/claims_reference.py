"""What quick runs of the experiments found when it was last looked at: claims_quick.json.

`python tests/claims_reference.py` runs all of them and writes the file anew; `python
tests/claims_reference.py NAME ...` only these. Look at what has changed before you commit it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "claims_quick.json"
#: relative and absolute; numbers are rounded differently by other processors and compilers
TOLERANCE = (1e-3, 1e-6)
#: what is found by many steps of an optimizer, or by weights trained by it, carries rounding on
LOOSER = {
    "frontier": (1e-2, 1e-2),
    "targets": (1e-2, 1e-3),
    "worst_signal": (1e-2, 1e-4),
    "energy_conservation": (1e-2, 1e-6),
    "train_digits": (1e-2, 2e-2),
    "trained_filters": (2e-2, 1e-2),
    "layer_energies": (2e-2, 1e-2),
    "receptive_drift": (5e-2, 5e-2),
    "larger_filters": (5e-2, 2e-2),
}


def compare(record):
    """Verdict, names, values and whether they meet their tolerance are as they were."""
    known = json.loads(FILE.read_text("utf-8"))[record.name]
    found = content(record)
    assert found["verdict"] == known["verdict"]
    assert found["met"] == known["met"]
    relative, absolute = LOOSER.get(record.name, TOLERANCE)
    for name, value in known["numbers"].items():
        got = found["numbers"][name]
        # None for a number that doesn't exist
        a, b = (np.array(x, float) for x in (got, value))
        np.testing.assert_allclose(a, b, relative, absolute, err_msg=f"{record.name}: {name}")


def content(record):
    """What is kept of a record."""
    numbers = record.finding.numbers
    return {
        "verdict": record.verdict,
        "numbers": {n.name: None if n.value is None else float(n.value) for n in numbers},
        "met": {n.name: n.met if n.met is None else bool(n.met) for n in numbers},
    }


def write(names):
    """Writes the file anew, at the settings that tests run with."""
    from experiments import records
    from experiments.catalog import EXPERIMENTS

    known = json.loads(FILE.read_text("utf-8")) if FILE.exists() and names else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or EXPERIMENTS:
            record = records.recorded(name, EXPERIMENTS[name], Path(folder), scale="quick")
            known[name] = content(record)
    ordered = {name: known[name] for name in EXPERIMENTS if name in known}
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    # as in conftest.py
    os.environ.update(JAX_PLATFORMS="cpu", MPLBACKEND="agg", JAX_ENABLE_X64="1")
    sys.path.insert(0, str(FILE.parent.parent))
    write(sys.argv[1:])
