"""The speed of a pattern is linear in the ratio of odd to total kernel energy."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.ledger import Finding, Number, verdict
from infomech import plot, rates, survey
from infomech._core import files

STATEMENT = "The speed of a pattern is linear in the ratio of odd to total kernel energy."
SOURCE = "arXiv 2512.24338"
CLAIMS = (5,)
#: fixed before any run: a reading of the law is linear if R² is at least this
LINEAR = rates.LINEAR_R_SQUARED


def run(out: Path, *, quick: bool = False) -> Finding:
    """Test every reading of "ratio" on DC + gradient kernels of 2 and 3 taps.

    Args:
        out: output folder; created if missing.
        quick: 11 odd shares instead of 21, and 200 resamples.

    Returns:
        The readings with their R² and verdicts.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    config = survey.LawConfig(
        rectifier=("relu",), shares=11 if quick else 21, resamples=200 if quick else 1000
    )
    outcomes = survey.run(config)
    readings = [reading(law, outcomes) for law in rates.SYMBOLS]
    plot.save(plot.law(outcomes), out / "law.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "tolerance": LINEAR,
        "readings": readings,
        "config": asdict(config),
        "provenance": files.provenance(),
    }
    files.write_text(out / "law.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]", f"Linear means R² ≥ {LINEAR}, for 2×2 and 3×3 taps."]
    for row in readings:
        values = ", ".join(
            f"{taps}×{taps}: {rates.format_r_squared(row['all'][i], 3)} "
            f"({rates.format_r_squared(row['inactive'][i])})"
            for i, taps in enumerate(config.kernel_size)
        )
        lines.append(f"  {row['ratio']:<6} R² over 0 ≤ ε ≤ 1 (rectifier inactive)  {values}")
        lines.append(f"         {row['verdict']}")
    lines.append(f"figure {out / 'law.png'}, numbers {out / 'law.json'}")
    linear = {over: _linear(readings, over) for over in ("all", "inactive")}
    return Finding(
        verdict(bool(laws) for laws in linear.values()),
        f"Over the whole range of odd shares, speed is linear in {_or(linear['all'])}; while the "
        f"rectifier is inactive, it is linear in {_or(linear['inactive'])}.",
        f"Constant + gradient kernels of 2×2 and 3×3 taps at {config.shares} odd shares, a disk of "
        f"radius {config.radius:g}, {config.steps} layers with ReLU; speed from layer "
        f"{config.burn_in} on; bootstrap intervals over the shares.",
        tuple(_numbers(outcomes)),
        out / "law.png",
        "\n".join(lines),
    )


def _linear(readings, over):
    return [row["ratio"] for row in readings if min(row[over]) >= LINEAR]


def _or(names):
    return " and ".join(names) or f"none of {', '.join(rates.SYMBOLS.values())}"


def _numbers(outcomes):
    for law, symbol in rates.SYMBOLS.items():
        for outcome in outcomes:
            for over, words in (("all", "0 ≤ ε ≤ 1"), ("inactive", "rectifier inactive")):
                fit, size = outcome.fit(law, over), outcome.setting.kernel_size
                low, high = fit.r_squared_interval
                yield Number(
                    f"R² of v against {symbol}, {size}×{size} taps, {words}",
                    fit.r_squared,
                    low,
                    high,
                    wanted=f"at least {LINEAR}",
                    met=fit.r_squared >= LINEAR,
                )


def reading(law: str, outcomes: list[survey.Outcome]) -> dict[str, Any]:
    """R² of one candidate law per outcome, over both ranges, and the verdict on it."""
    everywhere = [o.fit(law, "all").r_squared for o in outcomes]
    inactive = [o.fit(law, "inactive").r_squared for o in outcomes]
    if min(everywhere) >= LINEAR:
        verdict = "holds"
    elif min(inactive) >= LINEAR:
        verdict = "holds while the rectifier is inactive, and only there"
    else:
        verdict = "fails"
    return {
        "ratio": rates.SYMBOLS[law],
        "all": everywhere,
        "inactive": inactive,
        "verdict": verdict,
    }
