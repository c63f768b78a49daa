"""`python -m experiments` runs every claim and writes a report; with a NAME, that claim alone.

What is in the report already isn't computed again: a run that was stopped goes on where it was.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from experiments import catalog, records, report, runner
from experiments.catalog import EXPERIMENTS
from experiments.records import Record
from infomech._core import files


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line says.

    Returns:
        0; 1 if an experiment of the report raised an error; 2 after a line on a bad argument; 130
        if it was interrupted.
    """
    options = _parser().parse_args(arguments)
    if options.list:
        for name, claim in EXPERIMENTS.items():
            print(f"{name:<{2 + max(map(len, EXPERIMENTS))}}{claim.STATEMENT}  [{claim.SOURCE}]")
        return 0
    scale = "quick" if options.quick else "full" if options.full else "default"
    try:
        if options.name is not None:
            return _alone(options.name, options.out or Path("out/experiments"), scale)
        names = options.only or list(EXPERIMENTS)
        return _all(names, options.out or Path("report"), scale, again=options.again)
    except ValueError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "" if options.name else "; what is done is kept, and the same command goes on"
        print(f"experiments: interrupted{kept}", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    add = parser.add_argument
    add("name", nargs="?", choices=EXPERIMENTS, help="one claim to run and print; all if left out")
    add("--list", action="store_true", help="list the claims and run none")
    add(
        "--out",
        type=files.argument,
        help="folder to write: report, or out/experiments for one claim",
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_true", help="small and coarse, settles nothing")
    scale.add_argument("--full", action="store_true", help="at the scale of an accelerator")
    add("--only", nargs="+", choices=EXPERIMENTS, metavar="NAME", help="report: run only these")
    add("--again", action="store_true", help="report: compute even what is there already")
    return parser


def _alone(name: str, out: Path, scale: str) -> int:
    experiment = EXPERIMENTS[name]
    found = records.run(name, experiment, out, scale=records.scale_of(experiment, scale))
    print(found.text)
    return 0


def _all(names: Sequence[str], out: Path, scale: str, *, again: bool) -> int:
    """Runs what isn't stored, writes the report even if stopped, and tells of errors."""
    files.folder(out)
    scales = {name: records.scale_of(module, scale) for name, module in EXPERIMENTS.items()}
    found: dict[str, Record] = {}
    for name, module in EXPERIMENTS.items():
        known = records.stored(name, module, out, scale=scales[name])
        if known is not None:
            found[name] = known
    done = {name for name, record in found.items() if not (again or record.error)}
    waiting = [name for name in names if name not in done]
    try:
        with tqdm(total=len(names), initial=len(names) - len(waiting), unit="claim") as bar:
            for name in waiting:
                found.pop(name, None)
            for record in runner.each({name: scales[name] for name in waiting}, out):
                found[record.name] = record
                bar.update()
                bar.write(f"{record.name:<20} {record.verdict}, {record.seconds:.0f} s")
    finally:
        ordered = [found[name] for name in EXPERIMENTS if name in found]
        report.write(ordered, out, catalog.CLAIMS, scale=scale)
    print(f"report {out / 'index.html'}, numbers {out / 'claims.json'}")
    failed = [record.name for record in found.values() if record.error]
    if failed:
        print(f"experiments: errors in {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
