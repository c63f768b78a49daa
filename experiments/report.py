"""All findings as one self-contained HTML page, and as JSON."""

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments import ledger, quick
from experiments.ledger import Number
from experiments.records import Record
from infomech._core import files

TITLE = "Tests of claims about CNN filtering"
INTRODUCTION = (
    "This report tests the claims of the papers on the mechanics of CNN filtering and on energy in "
    "scattering networks, and some claims of this project. One command runs each claim, and "
    "criteria fixed in its file decide the verdict. “Holds in a regime” means that the numbers "
    "meet only some of the criteria; the reading says which."
)
NOT_RUN = "not run yet"
#: CSS classes of verdicts
LOOKS = {
    ledger.HOLDS: "holds",
    ledger.IN_A_REGIME: "regime",
    ledger.FAILS: "fails",
    "error": "error",
    NOT_RUN: "none",
}
#: longer tables are collapsed
MAX_ROWS = 16
OPTIONS = {"quick": " --quick", "default": "", "full": " --full"}


def write(
    records: Sequence[Record], out: Path, claims: Mapping[int, tuple[str, str]], *, scale: str
) -> None:
    """Write index.html and claims.json.

    Args:
        records: of the experiments, in the order of the report.
        out: output folder.
        claims: statement and source by number.
        scale: requested scale: quick, default or full.

    Raises:
        ValueError: `out` can't be written.
    """
    # each experiment records its own precision
    provenance = {key: value for key, value in files.provenance().items() if key != "x64"}
    page = html(records, claims, scale=scale, provenance=provenance)
    files.write_text(out / "index.html", page)
    content = {
        "title": TITLE,
        "scale": scale,
        "provenance": provenance,
        "claims": [
            {
                "number": number,
                "statement": statement,
                "source": source,
                "verdicts": {r.name: r.verdict for r in records if number in r.claims},
            }
            for number, (statement, source) in claims.items()
        ],
        "experiments": [_content(record, out) for record in records],
    }
    files.write_text(out / "claims.json", files.to_json(content) + "\n")


def html(
    records: Sequence[Record],
    claims: Mapping[int, tuple[str, str]],
    *,
    scale: str,
    provenance: Mapping[str, Any],
) -> str:
    """HTML page: claims with verdicts, a section for each experiment, provenance."""
    style = Path(__file__).with_suffix(".css").read_text("utf-8")
    mark = f'<p class="mark">This is a {escape(quick.MARK)}.</p>' if scale == "quick" else ""
    sections = "\n".join(_section(record) for record in records)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(TITLE)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(TITLE)}</h1>
<p>{escape(INTRODUCTION)}</p>
{mark}
</header>
<main>
<section aria-labelledby="claims">
<h2 id="claims">Claims</h2>
{_claims(records, claims)}
</section>
<section aria-labelledby="findings">
<h2 id="findings">Findings</h2>
{sections}
</section>
</main>
<footer>
<h2>Provenance</h2>
{_pairs((key, "unknown" if value is None else str(value)) for key, value in provenance.items())}
{_runs(records)}
</footer>
</body>
</html>
"""


def number(value: float | None, wanted: str = "") -> str:
    """A number as `ledger.shown`, with its exact value as an attribute; "none" for None."""
    if value is None:
        return "none"
    # the same text for numbers from JSON and from NumPy
    exact = float(value)
    return f'<data value="{exact!r}">{ledger.shown(exact, wanted).replace("-", "−")}</data>'


def badge(verdict: str) -> str:
    """A colored verdict."""
    return f'<span class="badge {LOOKS[verdict]}">{escape(verdict)}</span>'


def _claims(records: Sequence[Record], claims: Mapping[int, tuple[str, str]]) -> str:
    rows = []
    for n, (statement, source) in claims.items():
        rows.append(_claim(str(n), statement, source, [r for r in records if n in r.claims]))
    rows += [_claim("own", r.statement, r.source, [r]) for r in records if not r.claims]
    return f"""<table class="claims">
<thead><tr><th scope="col">No.</th><th scope="col">Claim</th>
<th scope="col">Verdict</th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>"""


def _claim(label, statement, source, records):
    verdicts = "".join(
        f'<li>{badge(record.verdict)} <a href="#{escape(record.name)}">'
        f"{escape(record.name.replace('_', ' '))}</a></li>"
        for record in records
    )
    return (
        f'<tr><td class="nowrap" data-label="Claim">{escape(label)}</td><th scope="row">'
        f'{escape(statement)} <span class="source">{escape(source)}</span></th>'
        f'<td><ul class="verdicts">{verdicts or f"<li>{badge(NOT_RUN)}</li>"}</ul></td></tr>'
    )


def _section(record: Record) -> str:
    name, finding = escape(record.name), record.finding
    numbers = ", ".join(map(str, record.claims)) or "of this project"
    facts = [("Claim", numbers), ("Source", record.source)]
    command = f"python -m experiments {record.name}{OPTIONS[record.scale]}"
    if finding is None:
        body = f"{_pairs(facts)}\n<pre><code>{escape(record.error)}</code></pre>"
    else:
        facts += [("Setting", finding.setting), ("Reading", finding.reading)]
        body = "\n".join([_pairs(facts), _numbers(finding.numbers), _figure(record), _text(record)])
    return f"""<article id="{name}" aria-labelledby="{name}-title">
<h3 id="{name}-title">{escape(record.statement)}</h3>
<p>{badge(record.verdict)}</p>
{body}
<p class="note">Run this claim: <code>{escape(command)}</code></p>
<p class="note"><a href="#claims">All claims</a></p>
</article>"""


def _numbers(numbers: Sequence[Number]) -> str:
    judged = [n for n in numbers if n.met is not None]
    words = f"{sum(bool(n.met) for n in judged)} of {len(judged)} criteria met"
    rows = "\n".join(_number(n) for n in numbers)
    table = f"""<table class="figures">
<caption>{words}</caption>
<thead><tr><th scope="col">Quantity</th><th scope="col">Value</th><th scope="col">Interval</th>
<th scope="col">Criterion</th><th scope="col">Met</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
    if len(numbers) <= MAX_ROWS:
        return table
    return f"<details><summary>{len(numbers)} numbers, {words}</summary>\n{table}\n</details>"


def _number(n: Number) -> str:
    interval = ""
    if n.low is not None and n.high is not None:
        interval = f"{number(n.low, n.wanted)} to {number(n.high, n.wanted)}"
    met = "" if n.met is None else "yes" if n.met else "no"
    style = "" if n.met is None else f' class="{"holds" if n.met else "fails"}"'
    value = f"{number(n.value, n.wanted)} {escape(n.unit)}".strip()
    return (
        f'<tr><th scope="row">{escape(n.name)}</th><td data-label="Value">{value}</td>'
        f'<td data-label="Interval">{interval}</td>'
        f'<td data-label="Criterion">{escape(n.wanted)}</td>'
        f'<td data-label="Met"{style}>{met}</td></tr>'
    )


def _figure(record: Record) -> str:
    if record.finding is None or record.finding.figure is None:
        return ""
    data = base64.b64encode(record.finding.figure.read_bytes()).decode()
    words = escape(f"Figure of {record.name.replace('_', ' ')}: {record.statement}")
    return f'<figure>\n<img alt="{words}" src="data:image/png;base64,{data}">\n</figure>'


def _text(record: Record) -> str:
    text = "" if record.finding is None else record.finding.text
    return (
        '<details class="text"><summary>Output of the command</summary>\n'
        f"<pre><code>{escape(text)}</code></pre>\n</details>"
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "\n".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in pairs)
    return f"<dl>\n{rows}\n</dl>"


def _runs(records: Sequence[Record]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row"><a href="#{escape(r.name)}">{escape(r.name)}</a></th>'
        f'<td data-label="Scale">{escape(r.scale)}</td>'
        f'<td data-label="Seconds">{r.seconds:.0f}</td>'
        f'<td data-label="Code"><code>{escape(r.version)}</code></td>'
        f'<td data-label="Commit"><code>{escape(str(r.provenance.get("commit"))[:12])}</code></td>'
        f'<td data-label="Run">{escape(str(r.provenance.get("created")))}</td></tr>'
        for r in records
    )
    return f"""<table>
<caption>Runs; “code” is a digest of the code behind the numbers</caption>
<thead><tr><th scope="col">Experiment</th><th scope="col">Scale</th><th scope="col">Seconds</th>
<th scope="col">Code</th><th scope="col">Commit</th><th scope="col">Run</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _content(record: Record, out: Path) -> dict[str, Any]:
    """A record, with the path of its figure relative to the report."""
    content = {**record.__dict__, "verdict": record.verdict}
    if record.finding is not None:
        figure = record.finding.figure
        path = None if figure is None else Path(os.path.relpath(figure, out)).as_posix()
        content["finding"] = {**record.finding.__dict__, "figure": path}
    return content
