"""Atlas of the speed law: where speed is linear in the odd share, and how closely.

Over a range of odd shares from ε₁ to ε₂, speed is "linear to p %" if it grows from ε₁ to ε₂ and
some line lies within p % of the speed gained, max v − min v, of all measured speeds. Distances are
used instead of R², which tolerates a bend if enough points lie elsewhere. The line is the one with
the smallest largest distance, hence no other does better. The scale is the speed gained, not the
top speed; otherwise a range of constant speed would pass. Two kinds of lines are tested: linear,
v = a + bε, which is what the claim states; and the stricter proportional, v = bε, which must hold
where the line starts at rest (even kernels do not move patterns).

The law holds to p % if it does so over the whole range from 0 to 1 in every setting. It holds in a
regime if it does so in all settings over one common range of at least half of all shares; any
smooth curve is nearly straight over short ranges. Otherwise it fails.
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
    "The speed of a pattern is linear in the ratio of odd to total kernel energy for all kernel "
    "sizes, rectifiers, patterns and directions."
)
SOURCE = "arXiv 2512.24338"
CLAIMS = (5,)
#: fixed before any run: least width of a regime, as a fraction of all odd shares
REGIME = 0.5
#: fixed before any run: largest difference of speeds for settings that agree, in pixels per layer;
#: single precision, and a circular mean is only approximate for a skewed pattern
AGREE = {"periodic": 1e-3, "reflect": 1e-5, "none": 1e-5}


def run(out: Path, *, quick: bool = False) -> Finding:
    """Map R² of every reading, and the ranges where the law holds, over the settings.

    Speeds are stored under `out`/atlas; a rerun computes the missing ones and repeats the fits.

    Args:
        out: output folder; created if missing.
        quick: 2×2 taps with ReLU, 11 odd shares, 16 layers, 200 resamples.

    Returns:
        Verdicts, best fitting laws, and checks.

    Raises:
        ValueError: `out` can't be written, or holds stores of another atlas.
    """
    out = files.folder(out)
    folder = files.folder(out / "atlas")
    sweeps = parts(quick=quick)
    stores = {part: measure(part, s, folder / f"{part}.zarr") for part, s in sweeps.items()}
    cases = [case for store in stores.values() for case in store.cases]
    readings = [reading(case, 200 if quick else 1000) for case in cases]
    mapped = [r for r in readings if r.case.part in MAPPED]
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
        "readings": [recorded(r) for r in readings],
        "stores": {part: store._replace(cases=[]) for part, store in stores.items()},
        "provenance": files.provenance(),
    }
    files.write_text(out / "atlas.json", files.to_json(record) + "\n")
    points, computed = (sum(getattr(s, n) for s in stores.values()) for n in ("points", "computed"))
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        "Linear to p %: all speeds lie within p % of the speed gained of one line. Deviation over "
        "the whole range of ε, and widest range in which the law holds in all settings:",
        *(summary(verdict, line) for line in LINES for verdict in verdicts),
        *fitted(mapped),
        *explained(mapped),
        *(f"  {check['words']}" for check in checked),
        f"stores {folder}: {computed:,} of {points:,} points computed now",
        f"figures {out / 'atlas.png'}, {out / 'atlas_regions.png'}, numbers {out / 'atlas.json'}",
    ]
    return Finding(
        _overall(verdicts[0]["linear"]),
        _words(verdicts[0]["linear"]),
        f"{len(mapped)} settings: kernels of {_list(r.case.taps for r in mapped)} taps with "
        f"{_list(r.case.rectifier for r in mapped)}; patterns: "
        f"{_list(r.case.pattern for r in mapped)}; directions at "
        f"{_list(f'{r.case.direction:g}°' for r in mapped)} to the last axis.",
        (*_numbers(verdicts, checked), *_readings(mapped)),
        out / "atlas_regions.png",
        "\n".join(lines),
    )


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


def _overall(linear: dict[str, Any]) -> str:
    """Overall verdict: holds if it holds to every tolerance, in a regime if to any."""
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
        f"In all settings, speed is linear in ε {', '.join(ranges)}. Over the whole range, the "
        "largest deviation from a line is {:.0%} to {:.0%} of the speed gained, depending on the "
        "setting.".format(*linear["deviation"])
    )


def _numbers(verdicts: list[dict[str, Any]], checked: list[dict[str, Any]]) -> Iterator[Number]:
    """Deviations from lines, widths of common ranges, and agreement of settings."""
    for verdict in verdicts:
        for line in LINES:
            label = f"{line}, {verdict['settings']}"
            low, high = verdict[line]["deviation"]
            yield Number(
                f"largest miss over 0 to 1, {label}", high, low, high, "of the speed gained"
            )
            for at in verdict[line]["at"]:
                a, b = at["common"] or (0.0, 0.0)
                yield Number(
                    f"common range to {at['tolerance']:.0%}, {label}",
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


def _readings(readings: list[Reading]) -> Iterator[Number]:
    """Smallest R² of every reading of the ratio."""
    for law, symbol in rates.SYMBOLS.items():
        for over, words in (("all", "all shares"), ("inactive", "inactive")):
            for name, chosen in (groups(readings) | by_dimensions(readings)).items():
                values = np.array([r.r_squared(law, over) for r in chosen])
                smallest = float(np.nanmin(values))
                where = "ε < 1" if (law, over) == ("tangent", "all") else words
                yield Number(
                    f"least R² of v against {symbol}, {where}, {name}",
                    smallest,
                    wanted=f"at least {rates.LINEAR_R_SQUARED}",
                    met=smallest >= rates.LINEAR_R_SQUARED,
                )


def by_dimensions(readings: list[Reading]) -> dict[str, list[Reading]]:
    """Readings by dimension of the field, if there are several."""
    dimensions = sorted({r.case.dimensions for r in readings})
    chosen = {d: [r for r in readings if r.case.dimensions == d] for d in dimensions}
    return {f"{d}-D": group for d, group in chosen.items()} if len(dimensions) > 1 else {}


def groups(readings: list[Reading]) -> dict[str, list[Reading]]:
    """All readings, and those of each rectifier, if there are several."""
    names = dict.fromkeys(r.case.rectifier for r in readings)
    everything = {"all": readings} if len(names) > 1 else {}
    return everything | {n: [r for r in readings if r.case.rectifier == n] for n in names}


def judge(name: str, readings: list[Reading]) -> dict[str, Any]:
    """Verdict on a group of settings, for both kinds of lines and each tolerance."""
    verdict: dict[str, Any] = {"settings": name, "count": len(readings)}
    for line in LINES:
        ranges_list = [r.ranges[line] for r in readings]
        deviations = [float(ranges.deviation[0, -1]) for ranges in ranges_list]
        widths = [[b - a for a, b in (w or (0.0, 0.0) for w in r.widest[line])] for r in readings]
        verdict[line] = {
            "deviation": [min(deviations), max(deviations)],
            "at": [
                {
                    "width": [min(group), max(group)],
                    **_judged(readings[0].case.share, ranges_list, p),
                }
                for p, group in zip(TOLERANCES, zip(*widths, strict=True), strict=True)
            ],
        }
    return verdict


def _judged(share: np.ndarray, curves: Sequence[straight.Ranges], p: float) -> dict[str, Any]:
    holding = sum(bool(r.grows[0, -1] and r.deviation[0, -1] <= p) for r in curves)
    common = straight.widest(share, curves, p)
    words = "fails"
    if holding == len(curves):
        words = "holds"
    elif common and common[1] - common[0] >= REGIME - 1e-9:
        words = "holds in a regime"
    return {"tolerance": p, "verdict": words, "holding": holding, "common": common}


def summary(verdict: dict[str, Any], line: str) -> str:
    """A verdict as one line of text."""
    low, high = verdict[line]["deviation"]
    words = (
        f"  {line:<13}{verdict['settings']:<8} ({verdict['count']})  "
        f"deviation {low:.0%} to {high:.0%}"
    )
    for at in verdict[line]["at"]:
        where = "{:.2f} to {:.2f}".format(*at["common"]) if at["common"] else "nowhere"
        words += f"; to {at['tolerance']:.0%} {at['verdict']}, {where}"
    return words


def fitted(readings: list[Reading]) -> list[str]:
    """R² of every reading of the ratio, and the best fitting laws."""
    lines = []
    for name, chosen in (groups(readings) | by_dimensions(readings)).items():
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
            f"  {name} ({len(chosen)}): R² over all shares of {', '.join(words)}; best law among "
            f"those finite there: {', '.join(f'{law} in {count}' for law, count in leading)}"
        )
    return lines


def explained(readings: list[Reading]) -> list[str]:
    """Fit of tan θ while the rectifier is inactive; settings where the center outruns all taps."""
    inactive = [f for r in readings for f in r.fits if (f.law, f.over) == ("tangent", "inactive")]
    known = [f.r_squared for f in inactive if np.isfinite(f.r_squared)]
    limits = [theory.step_spread(r.case.kernel_size) for r in readings]
    error = np.nanmax([abs(f.slope / limit - 1) for f, limit in zip(inactive, limits, strict=True)])
    fast = [r.case for r in readings if np.nanmax(np.abs(r.case.speed)) > r.case.reach * (1 + 1e-3)]
    patterns = ", ".join(dict.fromkeys(case.pattern for case in fast)) or "none"
    return [
        "  while the rectifier is inactive, R² of tan θ is at least "
        f"{rates.format_r_squared(min(known), 6)} in {len(known)} settings, and its slope is σ₁ "
        f"to {error:.0e}",
        f"  in {len(fast)} of {len(readings)} settings ({patterns}) the center moves faster than "
        "any tap reaches: the pattern changes its shape rather than its place",
    ]


def checks(cases: list[Case]) -> list[dict[str, Any]]:
    """Settings that should not affect the speed, each compared with its counterpart of the map.

    In a large enough domain no pattern meets the boundary, and normalization does not affect
    homogeneous layers. Leaky ReLU is compared with ReLU for information only.
    """
    mapped = {
        (c.dimensions, c.kernel_size, c.rectifier, c.pattern, c.direction): c
        for c in cases
        if c.part in MAPPED
    }
    differences: dict[str, float] = {}
    for case in cases:
        if case.part in MAPPED:
            continue
        names = {"boundaries": case.boundary, "normalizations": case.normalize}
        name = names.get(case.part, case.rectifier)
        counterpart = mapped[
            case.dimensions, case.kernel_size, "relu", case.pattern, case.direction
        ]
        # refused speeds never agree
        difference = np.nan_to_num(np.abs(case.speed - counterpart.speed), nan=np.inf)
        differences[name] = max(differences.get(name, 0.0), float(np.max(difference)))
    return [_checked(name, difference) for name, difference in differences.items()]


def _checked(name: str, difference: float) -> dict[str, Any]:
    tolerance = AGREE.get(name)
    if tolerance is None:
        words = f"{name} against relu: speeds differ by at most {difference:.2g} pixels per layer"
        return {"name": name, "off": difference, "words": words}
    agrees = difference <= tolerance
    verb = "agrees" if agrees else "differs"
    words = f"{name} {verb}: speeds differ by at most {difference:.1e}, tolerance {tolerance:g}"
    return {
        "name": name,
        "off": difference,
        "tolerance": tolerance,
        "agrees": agrees,
        "words": words,
    }
