"""Does a disk shed its core at β = 1, and is its leading edge fastest?

[M] shows a disk under kernels (1 − β) Σ̂ + β ∇̂ and leaves open what "core", "shed" and "fastest"
mean. One thing is exact: a pure gradient makes nothing of what is even, so that after a single
layer the core is dark at β = 1. The core may also be read as what is left where the disk was, or as
what is in the middle of the disk carried along by its front. Fastest may be read as faster than the
rest of the pattern, or as faster than at other ratios.
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

STATEMENT = "At β = 1 a disk sheds its core, and the leading edge is fastest."
SOURCE = "arXiv 2512.24338"
CLAIMS = (8,)
#: fixed before any run: the core is dark if this little of it is left after one layer
DARK = 1e-9
#: fixed after a first look at paths, before any was judged: what was at a place is shed if at most
#: this share of it is left there
SHED = 0.1
#: fixed likewise: fastest is what is at most this share slower than the fastest
FASTEST = 0.01
CASES = tuple((size, rectifier) for size in (2, 3) for rectifier in ("relu", "modulus"))


@dataclass(frozen=True)
class LeadingEdgeSettings:
    """What is moved.

    Attributes:
        radii: of the disks, rising.
        step: between ratios.
        last: largest ratio; beyond 1 the constant part is taken off.
        steps: layers.
        every: layers between looks; the first is early, the last half of them late.
    """

    radii: tuple[float, ...] = (3.0, 5.0, 8.0, 12.0)
    step: float = 0.05
    last: float = 1.25
    steps: int = 48
    every: int = 8

    @property
    def ratios(self) -> np.ndarray:
        """β from 0 on."""
        return np.linspace(0, self.last, round(self.last / self.step) + 1)

    @property
    def one(self) -> int:
        """Number of the ratio 1."""
        return round(1 / self.step)


def run(out: Path, *, quick: bool = False) -> Finding:
    """Moves disks of several radii at many ratios by 2×2 and 3×3 kernels.

    Args:
        out: folder to write to; made if need be.
        quick: fewer ratios, radii and layers.

    Returns:
        What is left of cores, and how fast edges are, by reading.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = LeadingEdgeSettings((3.0, 6.0), 0.25, steps=32) if quick else LeadingEdgeSettings()
    found = {}
    with jax.enable_x64(True):
        for size, rectifier in tqdm(CASES, desc="leading_edge", unit="sweep"):
            found[size, rectifier] = edges.measure(
                size,
                rectifier,
                np.array(setting.radii),
                setting.ratios,
                steps=setting.steps,
                every=setting.every,
            )
    plot.save(leading_edge_figure.draw(found, setting), out / "leading_edge.png")
    numbers = tuple(n for case, one in found.items() for n in _numbers(case, one, setting))
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
            _name(case): {name: value for name, value in asdict(one).items() if name != "fields"}
            for case, one in found.items()
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
        f"is from layer 0 to {setting.every}, late from {setting.steps // 2} on; the worst radius "
        "counts, or medians and ranges over radii are given.",
        numbers,
        out / "leading_edge.png",
        "\n".join(lines),
    )


def speeds(places: np.ndarray, setting: LeadingEdgeSettings) -> dict[str, np.ndarray]:
    """Pixels per layer early and late, (radii, ratios, …): places (radii, ratios, looks, …)."""
    half = setting.steps // setting.every // 2
    late = (places[:, :, -1] - places[:, :, half]) / (setting.steps - half * setting.every)
    return {"early": (places[:, :, 1] - places[:, :, 0]) / setting.every, "late": late}


def ahead(quantiles: np.ndarray, setting: LeadingEdgeSettings) -> dict[str, float]:
    """By how much the leading quantile outruns the faster of the others at β = 1, the worst radius.

    As a share of the fastest of the three.
    """
    found = {}
    for when, speed in speeds(quantiles, setting).items():
        some = speed[:, setting.one]
        most = np.max(np.abs(some), -1)
        found[when] = float(np.min((some[:, 2] - np.max(some[:, :2], -1)) / most))
    return found


def over_ratios(places: np.ndarray, setting: LeadingEdgeSettings) -> dict[str, float]:
    """Speed at β = 1 over the largest up to there, early and late, the worst radius."""
    found = {}
    for when, speed in speeds(places, setting).items():
        upto = speed[:, : setting.one + 1]
        found[when] = float(np.min(upto[:, -1] / np.max(upto, 1)))
    return found


def _numbers(case, one, setting):
    name, at = _name(case), setting.one
    dark = float(np.max(one.first[:, at]))
    yield Number(
        f"core left after one layer, β = 1, {name}",
        dark,
        wanted=f"at most {DARK:g}",
        met=dark <= DARK,
    )
    alone = [b for n, b in enumerate(setting.ratios) if np.max(one.first[:, n]) <= DARK]
    yield Number(
        f"ratios β at which it is dark, {name}",
        alone[0] if alone else None,
        *((alone[0], alone[-1]) if alone else ()),
    )
    for words, values in (
        ("mass left where the disk was, in the end", one.left[:, at, -1]),
        ("core carried along, early", one.carried[:, at, 1]),
        ("core carried along, in the end", one.carried[:, at, -1]),
    ):
        yield Number(
            f"{words}, β = 1, {name}",
            float(np.median(values)),
            float(values.min()),
            float(values.max()),
            wanted=f"at most {SHED}",
            met=bool(values.max() <= SHED),
        )
    for when, lead in ahead(one.quantiles, setting).items():
        yield Number(
            f"lead of the leading quantile, {when}, β = 1, {name}",
            lead,
            wanted=f"at least {-FASTEST}",
            met=lead >= -FASTEST,
        )
    for words, places in (
        ("leading quantile", one.quantiles[..., 2]),
        ("front", one.front),
        ("center", one.center),
    ):
        for when, share in over_ratios(places, setting).items():
            yield Number(
                f"speed over the largest at β ≤ 1, {words}, {when}, {name}",
                share,
                wanted=f"at least {1 - FASTEST}",
                met=share >= 1 - FASTEST,
            )
    late = speeds(one.front, setting)["late"][:, at]
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
        cases = [", ".join(one.split(", ")[-2:]) for one in names if f", {when}" in one]
        return "all" if len(cases) == len(CASES) else "; ".join(cases) or "none"

    over = "speed over the largest at β ≤ 1, "
    fastest = [
        f"{words}, {when}: {where(over + words, when)}"
        for words in ("leading quantile", "front", "center")
        for when in ("early", "late")
    ]
    return (
        f"The core is dark after one layer at β = 1: {where('core left')}. Where the disk was "
        f"nearly nothing is left in the end: {where('mass left')}. Of the core carried along "
        f"nearly nothing is left at any radius: {where('core carried', 'early')} early, "
        f"{where('core carried', 'in the end')} in the end. The leading quantile is no slower than "
        f"the others: {where('lead of', 'early')} early, {where('lead of', 'late')} late; with "
        "ReLU the others catch up first, since what lies behind goes dark, and with the modulus "
        "they go the other way. β = 1 is the fastest of all up to there by the "
        f"{'; by the '.join(fastest)}."
    )
