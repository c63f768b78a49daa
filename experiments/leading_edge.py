"""Does a disk shed its core at β = 1, and is its leading edge fastest?

[M] shows a disk under kernels (1 − β) Σ̂ + β ∇̂ and does not define "core", "shed" and "fastest".
One fact is exact: a pure gradient maps constant regions to 0, hence at β = 1 the core is dark after
a single layer. The core can also be the mass left where the disk was, or the mass in the middle of
a disk that moves with the front. Fastest can mean faster than the rest of the pattern, or faster
than at other ratios.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from experiments import edges, leading_edge_figure, ledger
from experiments.ledger import Finding, Number
from infomech import plot
from infomech._core import files

STATEMENT = "At β = 1 a disk sheds its core, and its leading edge is fastest."
SOURCE = "arXiv 2512.24338"
CLAIMS = (8,)
#: fixed before any run: the core is dark if at most this share is left after one layer
DARK = 1e-9
#: fixed after a first look at paths, before any verdict: mass is shed if at most this share is left
SHED = 0.1
#: fixed at the same time: a speed is fastest if it is below the maximum by at most this fraction
FASTEST = 0.01
CASES = tuple((size, rectifier) for size in (2, 3) for rectifier in ("relu", "modulus"))


@dataclass(frozen=True)
class LeadingEdgeSettings:
    """Disks and kernels.

    Attributes:
        radii: of the disks, increasing.
        step: between ratios.
        last: largest ratio; beyond 1 the constant part is subtracted.
        steps: layers.
        every: layers between observations; the first is early, the last half of them late.
    """

    radii: tuple[float, ...] = (3.0, 5.0, 8.0, 12.0)
    step: float = 0.05
    last: float = 1.25
    steps: int = 48
    every: int = 8

    @property
    def ratios(self) -> np.ndarray:
        """Mixing ratios β from 0 on."""
        return np.linspace(0, self.last, round(self.last / self.step) + 1)

    @property
    def one(self) -> int:
        """Index of the ratio 1."""
        return round(1 / self.step)


def run(out: Path, *, quick: bool = False) -> Finding:
    """Move disks of several radii at many ratios with 2×2 and 3×3 kernels.

    Args:
        out: output folder; created if missing.
        quick: fewer ratios, radii and layers.

    Returns:
        Remaining cores and speeds of edges, by reading.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = LeadingEdgeSettings((3.0, 6.0), 0.25, steps=32) if quick else LeadingEdgeSettings()
    results = {}
    with jax.enable_x64(True):
        for size, rectifier in tqdm(CASES, desc="leading_edge", unit="sweep"):
            results[size, rectifier] = edges.measure(
                size,
                rectifier,
                np.array(setting.radii),
                setting.ratios,
                steps=setting.steps,
                every=setting.every,
            )
    plot.save(leading_edge_figure.draw(results, setting), out / "leading_edge.png")
    numbers = tuple(n for case, edge in results.items() for n in _numbers(case, edge, setting))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"dark": DARK, "shed": SHED, "fastest": FASTEST},
        "verdict": verdict,
        "numbers": numbers,
        "provenance": files.provenance(x64=True),
        "edges": {
            _name(case): {name: value for name, value in asdict(edge).items() if name != "fields"}
            for case, edge in results.items()
        },
    }
    files.write_text(out / "leading_edge.json", files.to_json(record) + "\n")
    reading = _reading(numbers)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {ledger.line(number)}" for number in numbers),
        f"figure {out / 'leading_edge.png'}, numbers {out / 'leading_edge.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"Disks of radius {', '.join(f'{r:g}' for r in setting.radii)}, gradient along an axis, "
        f"{len(setting.ratios)} ratios β from 0 to {setting.last:g}, {setting.steps} layers; early "
        f"means layers 0 to {setting.every}, late means from layer {setting.steps // 2} on; values "
        "of the worst radius, or medians and ranges over radii.",
        numbers,
        out / "leading_edge.png",
        "\n".join(lines),
    )


def speeds(places: np.ndarray, setting: LeadingEdgeSettings) -> dict[str, np.ndarray]:
    """Early and late speeds, (radii, ratios, …), from places (radii, ratios, observations, …)."""
    half = setting.steps // setting.every // 2
    late = (places[:, :, -1] - places[:, :, half]) / (setting.steps - half * setting.every)
    return {"early": (places[:, :, 1] - places[:, :, 0]) / setting.every, "late": late}


def ahead(quantiles: np.ndarray, setting: LeadingEdgeSettings) -> dict[str, float]:
    """Lead in speed of the leading quantile over the faster of the others at β = 1, worst radius.

    Relative to the fastest of the three.
    """
    leads = {}
    for when, speed in speeds(quantiles, setting).items():
        at_one = speed[:, setting.one]
        fastest = np.max(np.abs(at_one), -1)
        leads[when] = float(np.min((at_one[:, 2] - np.max(at_one[:, :2], -1)) / fastest))
    return leads


def over_ratios(places: np.ndarray, setting: LeadingEdgeSettings) -> dict[str, float]:
    """Speed at β = 1 over the largest speed at β ≤ 1, early and late, worst radius."""
    ratios = {}
    for when, speed in speeds(places, setting).items():
        upto = speed[:, : setting.one + 1]
        ratios[when] = float(np.min(upto[:, -1] / np.max(upto, 1)))
    return ratios


def _numbers(case, edge, setting):
    name, at = _name(case), setting.one
    dark = float(np.max(edge.first[:, at]))
    yield Number(
        f"core left after one layer, β = 1, {name}",
        dark,
        wanted=f"at most {DARK:g}",
        met=dark <= DARK,
    )
    dark_ratios = [b for n, b in enumerate(setting.ratios) if np.max(edge.first[:, n]) <= DARK]
    yield Number(
        f"ratios β at which it is dark, {name}",
        dark_ratios[0] if dark_ratios else None,
        *((dark_ratios[0], dark_ratios[-1]) if dark_ratios else ()),
    )
    for words, values in (
        ("mass left where the disk was, in the end", edge.left[:, at, -1]),
        ("core carried along, early", edge.carried[:, at, 1]),
        ("core carried along, in the end", edge.carried[:, at, -1]),
    ):
        yield Number(
            f"{words}, β = 1, {name}",
            float(np.median(values)),
            float(values.min()),
            float(values.max()),
            wanted=f"at most {SHED}",
            met=bool(values.max() <= SHED),
        )
    for when, lead in ahead(edge.quantiles, setting).items():
        yield Number(
            f"lead of the leading quantile, {when}, β = 1, {name}",
            lead,
            wanted=f"at least {-FASTEST}",
            met=lead >= -FASTEST,
        )
    for words, places in (
        ("leading quantile", edge.quantiles[..., 2]),
        ("front", edge.front),
        ("center", edge.center),
    ):
        for when, share in over_ratios(places, setting).items():
            yield Number(
                f"speed over the largest at β ≤ 1, {words}, {when}, {name}",
                share,
                wanted=f"at least {1 - FASTEST}",
                met=share >= 1 - FASTEST,
            )
    late = speeds(edge.front, setting)["late"][:, at]
    yield Number(
        f"speed of the front, late, β = 1, {name}",
        float(np.median(late)),
        float(late.min()),
        float(late.max()),
        unit="px/layer",
    )


def _name(case):
    size, rectifier = case
    return f"{size}×{size}, {rectifier}"


def _reading(numbers):
    def where(words, when=""):
        names = [n.name for n in numbers if n.name.startswith(words) and n.met]
        cases = [", ".join(name.split(", ")[-2:]) for name in names if f", {when}" in name]
        return "all" if len(cases) == len(CASES) else "; ".join(cases) or "none"

    over = "speed over the largest at β ≤ 1, "
    fastest = [
        f"{words}, {when}: {where(over + words, when)}"
        for words in ("leading quantile", "front", "center")
        for when in ("early", "late")
    ]
    return (
        f"Cases in which the core is dark after one layer at β = 1: {where('core left')}. Almost "
        f"no mass is left where the disk was at the end: {where('mass left')}. Almost no mass is "
        f"left in the moving core at any radius: {where('core carried', 'early')} (early), "
        f"{where('core carried', 'in the end')} (at the end). The leading quantile is no slower "
        f"than the others: {where('lead of', 'early')} (early), {where('lead of', 'late')} (late); "
        "with ReLU the others catch up at first, because the rear goes dark, and with the modulus "
        "they move the other way. β = 1 is the fastest ratio β ≤ 1 by the "
        f"{'; by the '.join(fastest)}."
    )
