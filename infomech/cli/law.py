"""`infomech law`: does speed follow the odd share of a kernel's energy?"""

import csv
import io
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from infomech import plot, rates, survey
from infomech._core import files
from infomech.cli.options import Clock, print_conversion, use
from infomech.fields import patterns


@dataclass(frozen=True)
class Law:
    """Sweep the odd share of a kernel's energy and fit the candidate speed laws.

    Prints a table and a verdict per setting, and writes a figure (law.png, law.pdf) and the
    numbers (law.json, law.csv).
    """

    config: survey.LawConfig = field(default_factory=survey.LawConfig)
    out: Path = Path("out/law")
    """Folder for the figure and the numbers; created if missing."""
    compile_cache: Path | None = None
    """Folder that caches compiled code for later runs."""
    json: bool = False
    """Print the result as JSON instead of tables."""

    def run(self) -> int:
        """Runs the survey, writes its files and prints the result."""
        use(self.config.dtype, self.compile_cache)
        clock = Clock()
        out = files.folder(self.out)
        outcomes = survey.run(self.config, _progress)
        conversions = {name: patterns.conversion(name) for name in self.config.pattern}
        for conversion in conversions.values():
            print_conversion(conversion, json=self.json)
        paths = {kind: out / f"law.{kind}" for kind in ("json", "csv", "png", "pdf")}
        result = files.to_json(
            {
                "config": asdict(self.config),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": paths,
                "conversions": conversions,
                "outcomes": [{**asdict(o), "top": o.top, "verdict": o.verdict} for o in outcomes],
            }
        )
        files.write_text(paths["json"], result + "\n")
        files.write_text(paths["csv"], _csv(outcomes))
        figure = plot.law(outcomes)
        plot.save(figure, paths["png"])
        plot.save(figure, paths["pdf"])
        print(result if self.json else _report(outcomes, paths, clock))
        return 0


def _progress(settings: list[survey.LawSetting]) -> Any:
    return tqdm(settings, desc="settings", unit="setting", file=sys.stderr)


def _report(outcomes: list[survey.Outcome], paths: dict[str, Path], clock: Clock) -> str:
    parts = [_table(outcome) for outcome in outcomes]
    parts.append(_overall(outcomes))
    parts.append(
        f"numbers  {paths['json']}, {paths['csv']}\nfigure   {paths['png']}, {paths['pdf']}\n"
        f"time     {clock}"
    )
    return "\n\n".join(parts)


def _table(outcome: survey.Outcome) -> str:
    setting, (speed, share) = outcome.setting, outcome.top
    pixels = "×".join(map(str, setting.shape))
    curved = (outcome.status == rates.Status.OK) & ~outcome.steady
    lines = [
        str(setting),
        f"  domain {pixels}: zero padding wide enough that nothing reaches the boundary",
        f"  top speed {speed:.3f} pixels per layer at ε = {share:.2f}; {_active_range(outcome)}",
        f"{'whole range, 0 ≤ ε ≤ 1':>35}{'rectifier inactive':>34}",
        "  linear in" + 2 * f"{' points     R²   slope  (95 % interval)':<41}",
    ]
    for law, symbol in rates.SYMBOLS.items():
        row = "".join(_cells(outcome.fit(law, over)) for over in ("all", "inactive"))
        lines.append(f"  {symbol:<9}{row}")
    if curved.any():
        lines.append(
            f"  WARNING: {curved.sum()} of {len(curved)} speeds change within the fit window, from "
            f"ε = {outcome.share[curved][0]:.3f} on; a larger --burn-in excludes more layers"
        )
    return "\n".join([*(line.rstrip() for line in lines), f"  {outcome.verdict}"])


def _active_range(outcome: survey.Outcome) -> str:
    if math.isnan(outcome.inactive_share):
        return "the rectifier is active at every ε"
    if outcome.inactive_share >= 1:
        return "the rectifier is never active"
    return f"the rectifier is active from ε = {outcome.inactive_share:.3f}"


def _cells(fit: rates.LawFit) -> str:
    if math.isnan(fit.slope):
        return f"{fit.points:7d}      –       –  (–)             "
    r_squared = (
        "      –" if math.isnan(fit.r_squared) else f"{rates.format_r_squared(fit.r_squared):>7}"
    )
    low, high = fit.slope_interval
    interval = f"({low:.3f} to {high:.3f})"
    return f"{fit.points:7d}{r_squared}{fit.slope:8.3f}  {interval:<17}"


def _overall(outcomes: list[survey.Outcome]) -> str:
    fits = [o.fit("share", "all").r_squared for o in outcomes]
    linear = sum(r >= rates.LINEAR_R_SQUARED for r in fits)
    inactive = [o.fit("tangent", "inactive").r_squared for o in outcomes]
    inactive = [r for r in inactive if not math.isnan(r)]
    text = (
        f"Verdict: speed is linear in the odd share ε over the whole range in {linear} of "
        f"{len(outcomes)} settings (R² ≥ {rates.LINEAR_R_SQUARED})"
    )
    if inactive:
        text += (
            "; while the rectifier is inactive it is linear in tan θ (smallest R² "
            f"{rates.format_r_squared(min(inactive))})"
        )
    return text + "."


def _csv(outcomes: list[survey.Outcome]) -> str:
    """One row per setting and odd share."""
    text = io.StringIO()
    dimensions = len(outcomes[0].setting.shape)
    velocity = [f"velocity_{axis}" for axis in range(dimensions)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "kernel_size",
            "rectifier",
            "boundary",
            "normalize",
            "direction",
            "pattern",
            "share",
            "tangent",
            "ratio",
            "speed",
            "stderr",
            "r_squared",
            "steady",
            *velocity,
            "contraction",
            "theory",
            "status",
        ]
    )
    for o in outcomes:
        s = o.setting
        curves = rates.candidates(o.share)
        direction = " ".join(f"{x:.9g}" for x in s.direction)
        columns = [s.kernel_size, s.rectifier, s.boundary, s.normalize, direction, s.pattern]
        for i, share in enumerate(o.share):
            numbers = [
                share,
                curves["tangent"][i],
                curves["ratio"][i],
                o.speed[i],
                o.stderr[i],
                o.r_squared[i],
                o.steady[i],
                *o.velocity[i],
                o.contraction[i],
                o.theory[i],
            ]
            status = rates.Status(o.status[i]).reason
            writer.writerow([*columns, *(f"{float(x):.9g}" for x in numbers), status])
    return text.getvalue()
