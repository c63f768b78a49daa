"""`python -m experiments NAME [--out DIR] [--quick]` runs one claim; without a name, lists them."""

import argparse
import sys
from pathlib import Path

from experiments import (
    atlas,
    energy_decay,
    frontier,
    law,
    layer_energies,
    layers_needed,
    quick,
    receptive_drift,
    slow_decay,
    targets,
    train_digits,
    trained_filters,
    worst_signal,
)

CLAIMS = {
    "law": law,
    "atlas": atlas,
    "frontier": frontier,
    "targets": targets,
    "energy_decay": energy_decay,
    "layers_needed": layers_needed,
    "worst_signal": worst_signal,
    "slow_decay": slow_decay,
    "train_digits": train_digits,
    "trained_filters": trained_filters,
    "receptive_drift": receptive_drift,
    "layer_energies": layer_energies,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the claim named on the command line; returns 0, or 2 after a line on a bad argument."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("name", nargs="?", choices=CLAIMS, help="claim to run")
    parser.add_argument("--out", type=Path, default=Path("out/experiments"), help="folder to write")
    parser.add_argument("--quick", action="store_true", help="a coarse run of a few seconds")
    options = parser.parse_args(arguments)
    if options.name is None:
        for name, claim in CLAIMS.items():
            print(f"{name:<{2 + max(map(len, CLAIMS))}}{claim.STATEMENT}  [{claim.SOURCE}]")
        return 0
    try:
        said = CLAIMS[options.name].run(options.out, quick=options.quick)
        if options.quick:
            quick.mark(options.out / f"{options.name}.png")
            said = f"{quick.MARK}\n{said}"
        print(said)
    except ValueError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
