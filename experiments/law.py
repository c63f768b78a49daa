"""The speed of a pattern is linear in the ratio of odd to total kernel energy."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from infomech import files, plot, survey

STATEMENT = "The speed of a pattern is linear in the ratio of odd to total kernel energy."
SOURCE = "arXiv 2512.24338"
#: fixed before any run: from this R² on, a reading of the law counts as linear
LINEAR = survey.LINEAR


def run(out: Path, *, quick: bool = False) -> str:
    """Tests every reading of "ratio" on DC + gradient kernels of 2 and 3 taps.

    Args:
        out: folder to write to; made if need be.
        quick: 11 odd shares instead of 21, and 200 resamplings.

    Returns:
        The readings with their R² and verdicts, as text.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    config = survey.LawConfig(
        rectifier=("relu",), shares=11 if quick else 21, resamples=200 if quick else 1000
    )
    outcomes = survey.run(config)
    readings = [reading(law, outcomes) for law in survey.SYMBOLS]
    plot.save(plot.law(outcomes), out / "law.png")
    record = {
        "statement": STATEMENT, "source": SOURCE, "tolerance": LINEAR, "readings": readings,
        "config": asdict(config), "provenance": files.provenance(),
    }  # fmt: skip
    files.write_text(out / "law.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]", f"Linear means R² ≥ {LINEAR}, for 2×2 and 3×3 taps."]
    for found in readings:
        values = ", ".join(
            f"{taps}×{taps}: {found['all'][i]:.3f} ({found['idle'][i]:.4f})"
            for i, taps in enumerate(config.size)
        )
        lines.append(f"  {found['ratio']:<6} R² over 0 ≤ ε ≤ 1 (rectifier idle)  {values}")
        lines.append(f"         {found['verdict']}")
    return "\n".join([*lines, f"figure {out / 'law.png'}, numbers {out / 'law.json'}"])


def reading(law: str, outcomes: list[survey.Outcome]) -> dict[str, Any]:
    """R² of one candidate law per outcome, over both ranges, and the verdict on it."""
    everywhere = [o.fit(law, "all").r_squared for o in outcomes]
    idle = [o.fit(law, "idle").r_squared for o in outcomes]
    if min(everywhere) >= LINEAR:
        verdict = "holds"
    elif min(idle) >= LINEAR:
        verdict = "holds while the rectifier is idle, and only there"
    else:
        verdict = "fails"
    return {"ratio": survey.SYMBOLS[law], "all": everywhere, "idle": idle, "verdict": verdict}
