"""`python -m experiments` runs every claim and writes a report; with a NAME, only that claim.

Claims already in the report are not recomputed: rerun the command to resume an interrupted run.
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
    """Run the command line.

    Returns:
        0 on success; 1 if an experiment of the report raised an error; 2 for a bad argument; 130 if
        interrupted.
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
        hint = "" if options.name else "; finished claims are kept, rerun the command to resume"
        print(f"experiments: interrupted{hint}", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    add = parser.add_argument
    add("name", nargs="?", choices=EXPERIMENTS, help="claim to run and print; default: all")
    add("--list", action="store_true", help="list the claims and exit")
    add(
        "--out",
        type=files.argument,
        help="output folder; default: report, or out/experiments for one claim",
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_true", help="small and coarse, for testing")
    scale.add_argument("--full", action="store_true", help="larger scale, for accelerators")
    add("--only", nargs="+", choices=EXPERIMENTS, metavar="NAME", help="report: run only these")
    add("--again", action="store_true", help="report: recompute claims that are already there")
    return parser


def _alone(name: str, out: Path, scale: str) -> int:
    experiment = EXPERIMENTS[name]
    finding = records.run(name, experiment, out, scale=records.scale_of(experiment, scale))
    print(finding.text)
    return 0


def _all(names: Sequence[str], out: Path, scale: str, *, again: bool) -> int:
    """Run the claims that are not stored and write the report, even if interrupted."""
    files.folder(out)
    scales = {name: records.scale_of(module, scale) for name, module in EXPERIMENTS.items()}
    results: dict[str, Record] = {}
    for name, module in EXPERIMENTS.items():
        stored = records.stored(name, module, out, scale=scales[name])
        if stored is not None:
            results[name] = stored
    finished = {name for name, record in results.items() if not (again or record.error)}
    waiting = [name for name in names if name not in finished]
    try:
        with tqdm(total=len(names), initial=len(names) - len(waiting), unit="claim") as bar:
            for name in waiting:
                results.pop(name, None)
            for record in runner.each({name: scales[name] for name in waiting}, out):
                results[record.name] = record
                bar.update()
                bar.write(f"{record.name:<20} {record.verdict}, {record.seconds:.0f} s")
    finally:
        ordered = [results[name] for name in EXPERIMENTS if name in results]
        report.write(ordered, out, catalog.CLAIMS, scale=scale)
    print(f"report {out / 'index.html'}, numbers {out / 'claims.json'}")
    failed = [record.name for record in results.values() if record.error]
    if failed:
        print(f"experiments: errors in {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
