"""The results as a Markdown report; each number and verdict comes from the run itself."""

import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import CORES
from benchmarks.requirements import Requirement
from benchmarks.roof import Roof

#: heading, row key, factor and format of each column
COLUMNS = (
    ("median ms", "median_ms", 1.0, ".3g"),
    ("Gcell-steps/s", "gcell_steps_per_s", 1.0, ".3g"),
    ("ratio", "ratio", 1.0, ".3g"),
    ("of FMA roof", "share_of_fma", 100.0, ".0f"),
    ("of single-sweep roof", "share_of_sweep", 100.0, ".0f"),
    ("compile s", "compile_s", 1.0, ".2f"),
    ("memory MB", "memory_bytes", 1e-6, ".3g"),
    ("in fields", "memory_fields", 1.0, ".3g"),
    ("runs", "runs", 1.0, "d"),
)
LEGEND = """\
- A layer is u ← max(k * u, 0), a true convolution with zero padding. Kernels are random and
  positive with gain Σ k = 1; fields are standard normal. The run first checks that all contenders
  compute the same fields. Contenders run in turns in one process, each after an untimed warm-up.
- **Gcell-steps/s**: 10⁹ pixels through one layer, per second. **ratio**: the contender's time
  divided by infomech's in the same turn, median; above 1, infomech is faster.
- **of FMA roof**, %: taps × cell-steps/s divided by the multiply-adds/s of all cores. **of
  single-sweep roof**, %: 2 × itemsize × cell-steps/s divided by the memory bandwidth, as if each
  layer read the field from memory once and wrote it once; above 100 if several layers run in cache.
- **memory**: peak resident memory of one run in a separate process, without kernels, fields and
  compiled code, but with result and work space. **in fields**: the same in units of one field.
- **compile s** is not part of the time; it is blank if nothing is compiled.
- **runs**: timed turns; fewer for runs that take more than 2 s, which are timed singly.
- "Value only" is the rollout and Σ u_T² without the gradient. Of several variants, such as memory
  layouts, the fastest counts; its name is in brackets."""

BUSY = "The machine was busy: these numbers are unreliable."


def machine(load: float) -> dict[str, Any]:
    """CPU name, number of cores, system load and operating system."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return {"cpu": name, "cores": CORES, "load": load, "system": platform.system()}


def busy(machine: dict[str, Any]) -> bool:
    """Whether other processes were running when the benchmark began."""
    return machine["load"] > machine["cores"] / 4


def markdown(result: dict[str, Any], requirements: Sequence[Requirement]) -> str:
    """The whole report.

    Args:
        result: the result of `benchmarks.__main__.measure`.
        requirements: the rows of `requirements.table`.
    """
    parts = ["# Benchmark", "Written by `python -m benchmarks`, which repeats all measurements."]
    if result["quick"]:
        parts.append("**A quick run on small fields: it tests the benchmark, not the speed.**")
    if busy(result["machine"]):
        parts.append(f"**{BUSY}**")
    parts += [_source(result), "## Requirements", requirement_table(requirements)]
    if result["scaling"]:
        parts.append("![Time and memory against cells, layers and taps](scaling.png)")
    parts += ["## All cases", LEGEND]
    titles = dict.fromkeys(row["title"] for row in result["results"])
    for title in titles:
        parts += [f"### {title}", case_table([r for r in result["results"] if r["title"] == title])]
    if result["million"]:
        parts += ["## A million kernels", _million(result["million"])]
    missing = result["left_out"]
    omitted = [f"{name}: not installed (`{command}`)" for name, command in missing.items()]
    omitted += result["notes"]
    if omitted:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in omitted)]
    return "\n\n".join(parts) + "\n"


def requirement_table(requirements: Sequence[Requirement]) -> str:
    """Requirements with measured values and verdicts."""
    rows = []
    for r in requirements:
        sign = "≥" if r.larger else "≤"
        bounds = [f"{sign} {_number(bound, '.3g')} {r.unit}".strip() for bound in (r.bound, r.aim)]
        measured = "" if r.measured is None else f"{_number(r.measured, '.3g')} {r.unit}".strip()
        rows.append([r.title, *bounds, measured, r.verdict, r.where])
    heading = ["quantity", "required", "aim", "measured", "verdict", "worst case"]
    return _table(heading, rows, right=(1, 2, 3))


def case_table(rows: Sequence[dict[str, Any]]) -> str:
    """One case: a line for each contender; columns without any number are omitted."""
    shown = [c for c in COLUMNS if any(row[c[1]] is not None for row in rows)]
    lines = []
    for row in rows:
        name = row["contender"] + (f" ({row['variant']})" if row["variant"] else "")
        numbers = [
            ""
            if row[key] is None
            else _number(row[key] * factor if factor != 1 else row[key], form)
            for _, key, factor, form in shown
        ]
        lines.append([name, *numbers])
    heading = ["contender", *(column[0] for column in shown)]
    return _table(heading, lines, right=range(1, len(heading)))


def _source(result: dict[str, Any]) -> str:
    source, machine, roof = result["provenance"], result["machine"], result["roof"]
    versions = dict(jax=source["jax"], numpy=source["numpy"], python=source["python"])
    versions |= {name: text for name, text in result["versions"].items() if name != "lax.conv"}
    names = ", ".join(f"{name} {text}" for name, text in versions.items() if "," not in name)
    commit = f", commit {source['commit']}" if source["commit"] else ""
    lines = [
        f"{source['created']}{commit}.",
        f"{machine['cores']} cores of {machine['cpu']}, {machine['system']}, "
        f"load {machine['load']:.1f} at the start. {names}.",
        _roof(roof),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _roof(roof: Roof) -> str:
    rates = ", ".join(
        f"{rate / 1e9:.0f}·10⁹ multiply-adds/s in {dtype} ({roof.arithmetic[dtype]})"
        for dtype, rate in roof.fma.items()
    )
    return f"Roof: {roof.bandwidth / 1e9:.1f} GB/s to and from memory ({roof.stream}), {rates}."


def _million(million: dict[str, Any]) -> str:
    speed = million["mean_speed"]
    mean = "" if speed is None else f", {speed:.3f} pixels per layer on average"
    return (
        f"{million['kernels']} random kernels, {million['layers']} layers each on "
        f"{million['pixels']}², observed every {million['every']} layers, in batches of "
        f"{million['chunk']}: {million['seconds']:.1f} s, plus {million['compile_s']:.1f} s to "
        f"compile; {million['cell_steps_per_s'] / 1e9:.2f} Gcell-steps/s. "
        f"{million['finite']:.1%} of the kernels have a speed{mean}; the others die out, cancel or "
        "wrap around the periodic domain."
    )


def _number(value: float, form: str) -> str:
    if form == ".3g" and math.isfinite(value) and abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{0.0 if abs(value) < 1e-9 else value:{form}}" if form != "d" else str(value)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int]) -> str:
    rule = ["---:" if i in set(right) else "---" for i in range(len(heading))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, rule, *rows))
