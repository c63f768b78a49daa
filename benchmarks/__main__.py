"""`python -m benchmarks`: compare infomech with other libraries in one process.

Prints time, ratios, shares of the hardware limits, memory and compile time of each case, writes
them to RESULTS.md with scaling.png, and decides whether the requirements are met.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from tqdm import tqdm

import infomech as im
from benchmarks import cases, memory, million, peers, report, requirements, roof, scaling, turns
from infomech._core import files

MILLION, SCALING = "a million kernels", "scaling"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of the usage, and exit."""
        self.exit(2, f"benchmarks: {message}\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = _Parser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="use small fields; takes seconds")
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help=f'run only cases whose title contains this; also "{MILLION}" and "{SCALING}"',
    )
    parser.add_argument(
        "--json", type=files.argument, metavar="PATH", help="write all numbers to this file"
    )
    parser.add_argument(
        "--out",
        type=files.argument,
        metavar="FOLDER",
        help="folder for RESULTS.md and scaling.png; default for a complete run: benchmarks",
    )
    options = parser.parse_args(arguments)
    titles = [case.title for case in cases.selection(options.quick)]
    if not any(options.only in title for title in [*titles, MILLION, SCALING]):
        parser.error(f"--only {options.only!r} matches no title; titles are: {'; '.join(titles)}")
    if options.out is None and not options.quick and not options.only:
        options.out = Path(__file__).parent
    return options


def measure(only: str, quick: bool) -> dict[str, Any]:
    """Run every case that `only` selects.

    Returns:
        "provenance", "machine", "roof", "versions", "results" (a row for each case and contender),
        "million", "scaling" (None if not selected), "left_out" and "notes" (contenders that did not
        run, and why), "quick".

    Raises:
        ArithmeticError: the results of two contenders differ.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    machine = report.machine(load)
    im.rollout(jnp.ones((3, 3)), jnp.ones((8, 8)), 2)  # pay the startup cost
    versions, left_out = peers.available()
    ceiling = roof.measure(stream_bytes=1 << 24 if quick else roof.STREAM_BYTES)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    selected = [case for case in cases.selection(quick) if only in case.title]
    with _bar(len(selected), "case") as bar:
        for case in selected:
            timed, left = turns.compete(case, list(versions), ceiling, bar, 3 if quick else None)
            rows, notes = rows + timed, notes + left
    _add_memory(rows, quick)
    survey, growth = None, None
    if only in MILLION:
        kernels, chunk = (2000, 1000) if quick else (million.KERNELS, million.CHUNK)
        with _bar(kernels, "kernel") as bar:
            survey = million.run(kernels, chunk, bar)
    if only in SCALING:
        with _bar(scaling.points(quick), "point") as bar:
            growth = scaling.measure(quick, bar)
    return {
        "provenance": files.provenance(),
        "machine": machine,
        "roof": ceiling,
        "versions": versions,
        "results": rows,
        "million": survey,
        "scaling": growth,
        "left_out": left_out,
        "notes": notes,
        "quick": quick,
    }


def _add_memory(rows: list[dict[str, Any]], quick: bool) -> None:
    """Add the peak memory of each row; in a quick run only infomech's first and gradient rows."""
    names = {field.name for field in cases.Case.__dataclass_fields__.values()}
    selected = [
        row
        for row in rows
        if not quick or (row["contender"] == peers.OURS and (row["gradient"] or row is rows[0]))
    ]
    row_cases = [cases.Case(**{key: row[key] for key in names}) for row in selected]
    jobs = [
        (case, row["contender"], row["variant"])
        for case, row in zip(row_cases, selected, strict=True)
    ]
    with _bar(len(jobs), "run") as bar:
        bar.set_description("peak memory")
        peaks = memory.measure_all(jobs, bar)
    for case, row, peak in zip(row_cases, selected, peaks, strict=True):
        row["memory_bytes"] = peak
        row["memory_fields"] = None if peak is None else peak / case.field_bytes


def _bar(total: int, unit: str) -> tqdm:
    return tqdm(total=total, unit=unit, file=sys.stderr, disable=not total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 if results differ, or 2 for a bad argument."""
    options = parse(arguments)
    jax.config.update("jax_platforms", "cpu")  # the only platform that all contenders support
    try:
        for folder in (options.out, options.json and options.json.parent):
            if folder is not None:
                files.folder(folder)
        result = measure(options.only, options.quick)
        required = requirements.table(result["results"], result["million"], result["scaling"])
        text = report.markdown(result, required)
        verdicts = [{**asdict(line), "verdict": line.verdict} for line in required]
        if options.json:
            files.write_text(options.json, files.to_json({**result, "requirements": verdicts}))
        if options.out:
            if result["scaling"]:
                scaling.draw(result["scaling"], options.out / "scaling.png")
            files.write_text(options.out / "RESULTS.md", text)
    except (ArithmeticError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1 if isinstance(error, ArithmeticError) else 2
    print(text)
    if report.busy(result["machine"]):
        print(report.BUSY, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
