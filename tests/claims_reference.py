"""Reference results of quick runs of the experiments: claims_quick.json.

`python tests/claims_reference.py` runs all experiments and rewrites the file; with NAME ... it
updates only these. Review the changes before committing them.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "claims_quick.json"
#: relative and absolute; rounding differs between processors and compilers
TOLERANCE = (1e-3, 1e-6)
#: optimizers and trained weights amplify rounding
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
    """Assert that verdict, names, values and met criteria equal the reference."""
    reference = json.loads(FILE.read_text("utf-8"))[record.name]
    actual = content(record)
    assert actual["verdict"] == reference["verdict"]
    assert actual["met"] == reference["met"]
    relative, absolute = LOOSER.get(record.name, TOLERANCE)
    for name, value in reference["numbers"].items():
        result = actual["numbers"][name]
        # None becomes NaN
        a, b = (np.array(x, float) for x in (result, value))
        np.testing.assert_allclose(a, b, relative, absolute, err_msg=f"{record.name}: {name}")


def content(record):
    """The part of a record that is compared."""
    numbers = record.finding.numbers
    return {
        "verdict": record.verdict,
        "numbers": {n.name: None if n.value is None else float(n.value) for n in numbers},
        "met": {n.name: n.met if n.met is None else bool(n.met) for n in numbers},
    }


def write(names):
    """Rewrite the file with the settings of the tests."""
    from experiments import records
    from experiments.catalog import EXPERIMENTS

    references = json.loads(FILE.read_text("utf-8")) if FILE.exists() and names else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or EXPERIMENTS:
            record = records.recorded(name, EXPERIMENTS[name], Path(folder), scale="quick")
            references[name] = content(record)
    ordered = {name: references[name] for name in EXPERIMENTS if name in references}
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    # as in conftest.py
    os.environ.update(JAX_PLATFORMS="cpu", MPLBACKEND="agg", JAX_ENABLE_X64="1")
    sys.path.insert(0, str(FILE.parent.parent))
    write(sys.argv[1:])
