"""The atlas of the speed law: where speed is linear in the odd share, and how nearly.

How "linear to p %" is meant, over a range of odd shares from ε₁ to ε₂: speed grows from ε₁ to ε₂,
and there is a line from which no measured speed of the range is farther than p % of the speed
gained in it, max v − min v. Distances rather than R², which forgives a bend if enough points lie
elsewhere; the line whose largest distance is least, so that no other would do better; the speed
gained rather than the top speed, or a range where speed no longer depends on the share would pass.
Two kinds of lines are tried: linear, v = a + bε, which is all that the claim says; and the stricter
proportional, v = bε, as it must be where the line starts at rest (an even kernel moves nothing).

The law holds to p % if it does over the whole range from 0 to 1 in every setting. If not, it holds
in a regime if there is one range, of at least half of all shares, over which it does in every
setting at once: any smooth curve is nearly straight over short ranges. Else it fails.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import atlas_figures, ledger, straight
from experiments.atlas_readings import LINES, TOLERANCES, Reading, reading, recorded
from experiments.atlas_sweeps import MAPPED, Case, measure, parts
from experiments.ledger import Finding, Number
from infomech import plot, rates, theory
from infomech._core import files

STATEMENT = (
    "The speed of a pattern is linear in the ratio of odd to total kernel energy, for kernels, "
    "rectifiers, patterns and directions of all kinds."
)
SOURCE = "arXiv 2512.24338"
CLAIMS = (5,)
#: fixed before any run: a range of at least so much of all odd shares is a regime
REGIME = 0.5
#: fixed before any run: settings agree if no speeds differ by more, in pixels per layer; numbers
#: are of single precision, and a circular mean follows a skewed pattern only nearly
AGREE = {"periodic": 1e-3, "reflect": 1e-5, "none": 1e-5}


def run(out: Path, *, quick: bool = False) -> Finding:
    """Maps R² of every reading, and the ranges where the law holds, over the settings.

    Speeds are kept in stores under `out`/atlas: another run computes what they lack, and fits.

    Args:
        out: folder to write to; made if need be.
        quick: 2×2 taps under ReLU, 11 odd shares, 16 layers, 200 resamplings.

    Returns:
        Verdicts, the laws that fit best, and the checks.

    Raises:
        ValueError: `out` can't be written, or holds stores of another atlas.
    """
    out = files.folder(out)
    folder = files.folder(out / "atlas")
    sweeps = parts(quick=quick)
    stores = {part: measure(part, s, folder / f"{part}.zarr") for part, s in sweeps.items()}
    cases = [case for store in stores.values() for case in store.cases]
    found = [reading(case, 200 if quick else 1000) for case in cases]
    mapped = [r for r in found if r.case.part in MAPPED]
    verdicts = [judge(name, chosen) for name, chosen in groups(mapped).items()]
    checked = checks(cases)
    plot.save(atlas_figures.laws(mapped), out / "atlas.png")
    plot.save(atlas_figures.regions(mapped, verdicts), out / "atlas_regions.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "tolerance": {"deviation": TOLERANCES, "regime": REGIME, "agree": AGREE},
        "verdicts": verdicts,
        "checks": checked,
        "readings": [recorded(r) for r in found],
        "stores": {part: store._replace(cases=[]) for part, store in stores.items()},
        "provenance": files.provenance(),
    }
    files.write_text(out / "atlas.json", files.to_json(record) + "\n")
    points, now = (sum(getattr(s, n) for s in stores.values()) for n in ("points", "computed"))
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        "Linear to p %: no speed is farther from a line than p % of the speed gained. How far it "
        "is over the whole range of ε, and in which widest range it holds in all settings at once:",
        *(told(verdict, line) for line in LINES for verdict in verdicts),
        *fitted(mapped),
        *explained(mapped),
        *(f"  {check['words']}" for check in checked),
        f"stores {folder}: {now:,} of {points:,} points computed now",
        f"figures {out / 'atlas.png'}, {out / 'atlas_regions.png'}, numbers {out / 'atlas.json'}",
    ]
    return Finding(
        _overall(verdicts[0]["linear"]),
        _words(verdicts[0]["linear"]),
        f"{len(mapped)} settings: kernels of {_several(r.case.taps for r in mapped)} taps under "
        f"{_several(r.case.rectifier for r in mapped)}, "
        f"{_several(r.case.pattern for r in mapped)}, directions at "
        f"{_several(f'{r.case.direction:g}°' for r in mapped)} to the last axis.",
        (*_numbers(verdicts, checked), *_readings(mapped)),
        out / "atlas_regions.png",
        "\n".join(lines),
    )


def _several(values: Iterable[Any]) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


def _overall(linear: dict[str, Any]) -> str:
    """Of all settings: holds if it does to every tolerance, in a regime if it does to any."""
    words = {at["verdict"] for at in linear["at"]}
    if words == {ledger.HOLDS}:
        return ledger.HOLDS
    return ledger.IN_A_REGIME if words & {ledger.HOLDS, ledger.IN_A_REGIME} else ledger.FAILS


def _words(linear: dict[str, Any]) -> str:
    ranges = [
        f"to {at['tolerance']:.0%} "
        + ("for ε from {:.2f} to {:.2f}".format(*at["common"]) if at["common"] else "nowhere")
        for at in linear["at"]
    ]
    return (
        f"In all settings at once speed is linear in ε {', '.join(ranges)}. Over the whole range "
        "some speed is off the nearest line by {:.0%} to {:.0%} of the speed gained, depending on "
        "the setting.".format(*linear["deviation"])
    )


def _numbers(verdicts: list[dict[str, Any]], checked: list[dict[str, Any]]) -> Iterator[Number]:
    """How straight speeds are, how wide the common ranges, how well settings agree."""
    for verdict in verdicts:
        for line in LINES:
            of = f"{line}, {verdict['settings']}"
            low, high = verdict[line]["deviation"]
            yield Number(f"largest miss over 0 to 1, {of}", high, low, high, "of the speed gained")
            for at in verdict[line]["at"]:
                a, b = at["common"] or (0.0, 0.0)
                yield Number(
                    f"common range to {at['tolerance']:.0%}, {of}",
                    b - a,
                    unit="of all odd shares",
                    wanted=f"at least {REGIME}",
                    met=bool(b - a >= REGIME - 1e-9),
                )
    for check in checked:
        if "tolerance" in check:
            yield Number(
                f"{check['name']} beside the map, difference of speeds",
                check["off"],
                unit="pixels per layer",
                wanted=f"at most {check['tolerance']:g}",
                met=bool(check["agrees"]),
            )


def _readings(found: list[Reading]) -> Iterator[Number]:
    """R² of every reading of the ratio: the least, and in how many settings it is linear."""
    for law, symbol in rates.SYMBOLS.items():
        for over, words in (("all", "all shares"), ("inactive", "inactive")):
            for name, chosen in (groups(found) | by_dimensions(found)).items():
                values = np.array([r.r_squared(law, over) for r in chosen])
                least = float(np.nanmin(values))
                where = "ε < 1" if (law, over) == ("tangent", "all") else words
                yield Number(
                    f"least R² of v against {symbol}, {where}, {name}",
                    least,
                    wanted=f"at least {rates.LINEAR_R_SQUARED}",
                    met=least >= rates.LINEAR_R_SQUARED,
                )


def by_dimensions(found: list[Reading]) -> dict[str, list[Reading]]:
    """The readings of fields of one, two and three dimensions, if there are several."""
    known = sorted({r.case.dimensions for r in found})
    chosen = {d: [r for r in found if r.case.dimensions == d] for d in known}
    return {f"{d}-D": some for d, some in chosen.items()} if len(known) > 1 else {}


def groups(found: list[Reading]) -> dict[str, list[Reading]]:
    """All readings, and those of each rectifier if there are several."""
    names = dict.fromkeys(r.case.rectifier for r in found)
    several = {"all": found} if len(names) > 1 else {}
    return several | {n: [r for r in found if r.case.rectifier == n] for n in names}


def judge(name: str, found: list[Reading]) -> dict[str, Any]:
    """Whether the law holds in a group of settings, for both kinds of lines and each tolerance."""
    verdict: dict[str, Any] = {"settings": name, "count": len(found)}
    for line in LINES:
        every = [r.ranges[line] for r in found]
        off = [float(ranges.deviation[0, -1]) for ranges in every]
        widths = [[b - a for a, b in (w or (0.0, 0.0) for w in r.widest[line])] for r in found]
        verdict[line] = {
            "deviation": [min(off), max(off)],
            "at": [
                {"width": [min(some), max(some)], **_judged(found[0].case.share, every, p)}
                for p, some in zip(TOLERANCES, zip(*widths, strict=True), strict=True)
            ],
        }
    return verdict


def _judged(share: np.ndarray, every: Sequence[straight.Ranges], p: float) -> dict[str, Any]:
    holding = sum(bool(r.grows[0, -1] and r.deviation[0, -1] <= p) for r in every)
    common = straight.widest(share, every, p)
    words = "fails"
    if holding == len(every):
        words = "holds"
    elif common and common[1] - common[0] >= REGIME - 1e-9:
        words = "holds in a regime"
    return {"tolerance": p, "verdict": words, "holding": holding, "common": common}


def told(verdict: dict[str, Any], line: str) -> str:
    """A verdict in a line for people."""
    low, high = verdict[line]["deviation"]
    words = (
        f"  {line:<13}{verdict['settings']:<8} ({verdict['count']})  off by {low:.0%} to {high:.0%}"
    )
    for at in verdict[line]["at"]:
        where = "{:.2f} to {:.2f}".format(*at["common"]) if at["common"] else "nowhere"
        words += f"; to {at['tolerance']:.0%} {at['verdict']}, {where}"
    return words


def fitted(found: list[Reading]) -> list[str]:
    """R² of every reading of the ratio, and the laws that fit best."""
    lines = []
    for name, chosen in (groups(found) | by_dimensions(found)).items():
        words = []
        for law, symbol in rates.SYMBOLS.items():
            values = [r.r_squared(law) for r in chosen]
            linear = sum(value >= rates.LINEAR_R_SQUARED for value in values)
            words.append(
                f"{symbol} {rates.format_r_squared(np.nanmin(values), 3)} to "
                f"{rates.format_r_squared(np.nanmax(values), 3)} (linear in {linear})"
            )
        leading = Counter(rates.SYMBOLS[r.best] if r.best else "none" for r in chosen).most_common()
        lines.append(
            f"  {name} ({len(chosen)}): R² over all shares of {', '.join(words)}; best of those "
            f"finite there: {', '.join(f'{law} in {count}' for law, count in leading)}"
        )
    return lines


def explained(found: list[Reading]) -> list[str]:
    """How well tan θ fits while the rectifier is inactive; speeds without motion of content."""
    inactive = [f for r in found for f in r.fits if (f.law, f.over) == ("tangent", "inactive")]
    known = [f.r_squared for f in inactive if np.isfinite(f.r_squared)]
    limits = [theory.step_spread(r.case.kernel_size) for r in found]
    off = np.nanmax([abs(f.slope / limit - 1) for f, limit in zip(inactive, limits, strict=True)])
    swift = [r.case for r in found if np.nanmax(np.abs(r.case.speed)) > r.case.reach * (1 + 1e-3)]
    patterns = ", ".join(dict.fromkeys(case.pattern for case in swift)) or "none"
    return [
        "  while the rectifier is inactive, R² of tan θ is at least "
        f"{rates.format_r_squared(min(known), 6)} in {len(known)} settings, and its slope is σ₁ "
        f"to {off:.0e}",
        f"  the center moves faster than any tap reaches in {len(swift)} of {len(found)} settings "
        f"({patterns}): there the pattern changes its shape rather than its place",
    ]


def checks(cases: list[Case]) -> list[dict[str, Any]]:
    """Settings that theory says change nothing, each beside the one of the map that it is alike.

    With room enough no pattern meets the boundary, and norms are taken out of homogeneous layers.
    Leaky ReLU is set beside ReLU for comparison only.
    """
    mapped = {
        (c.dimensions, c.kernel_size, c.rectifier, c.pattern, c.direction): c
        for c in cases
        if c.part in MAPPED
    }
    found: dict[str, float] = {}
    for case in cases:
        if case.part in MAPPED:
            continue
        names = {"boundaries": case.boundary, "normalizations": case.normalize}
        name = names.get(case.part, case.rectifier)
        like = mapped[case.dimensions, case.kernel_size, "relu", case.pattern, case.direction]
        # a speed that was refused agrees with nothing
        off = np.nan_to_num(np.abs(case.speed - like.speed), nan=np.inf)
        found[name] = max(found.get(name, 0.0), float(np.max(off)))
    return [_checked(name, off) for name, off in found.items()]


def _checked(name: str, off: float) -> dict[str, Any]:
    tolerance = AGREE.get(name)
    if tolerance is None:
        words = f"{name} beside relu: speeds differ by {off:.2g} pixels per layer at most"
        return {"name": name, "off": off, "words": words}
    agrees = off <= tolerance
    verb = "agrees" if agrees else "differs"
    words = f"{name} {verb}: speeds differ by {off:.1e} at most, {tolerance:g} allowed"
    return {"name": name, "off": off, "tolerance": tolerance, "agrees": agrees, "words": words}
