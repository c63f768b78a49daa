"""Does the mixing ratio β control the speed, and is the center faster with the modulus?

The kernels are (1 − β) Σ̂ + β ∇̂, scaled to unit energy: tan θ = β/(1 − β). While no tap is negative
both rectifiers are inactive, and v = σ₁ β/(1 − β). Beyond, ReLU removes what the modulus flips, and
there is no closed form. At β = 1 the modulus does not distinguish a gradient from its mirror image,
because |−u| = |u|; a mirror-symmetric pattern therefore stays.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np

from experiments import ledger, mixing_ratio_figures
from experiments.ledger import Finding, Number
from experiments.mixing_ratio_sweeps import RECTIFIERS, Case, MixingRatioSettings, measure
from infomech import plot
from infomech._core import files

STATEMENT = (
    "The mixing ratio β controls the speed, and with the modulus the center can move faster than "
    "with ReLU."
)
SOURCE = "arXiv 2512.24338"
CLAIMS = (6,)
#: fixed before any run: speed is linear in β if R² is at least this
LINEAR = 0.99
#: fixed before any run: tolerance on the closed form of the inactive rectifier, and on the
#: difference between rectifiers there, in pixels per layer
EXACT = 1e-9
#: fixed before any run: one rectifier is faster if its speed is larger by more, in pixels per layer
FASTER = 1e-3


def run(out: Path, *, quick: bool = False) -> Finding:
    """Sweep β for both rectifiers over sizes, patterns and directions, in one and two dimensions.

    Args:
        out: output folder; created if missing.
        quick: 2 and 3 taps in one dimension, 11 mixing ratios, 24 layers.

    Returns:
        Which readings of "controls" hold, and where the modulus is faster.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = MixingRatioSettings()
    if quick:
        setting = MixingRatioSettings(
            taps=(2, 3), axes=(1,), ratios=(11,), steps=(24,), burn_in=(8,)
        )
    with jax.enable_x64(True):
        cases = measure(setting)
    plot.save(mixing_ratio_figures.draw(cases, FASTER), out / "mixing_ratio.png")
    numbers = (*_controls(cases), *_faster(cases))
    # the primary reading of the statement; linearity and closed forms are stricter readings
    primary = [n.met for n in numbers if n.name.startswith(("strictly", "settings where"))]
    verdict, reading = ledger.verdict(bool(met) for met in primary), _reading(cases)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"linear": LINEAR, "exact": EXACT, "faster": FASTER},
        "verdict": verdict,
        "cases": [asdict(case) for case in cases],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "mixing_ratio.json", files.to_json(record) + "\n")
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {_line(case)}" for case in cases),
        f"figure {out / 'mixing_ratio.png'}, numbers {out / 'mixing_ratio.json'}",
    ]
    layers = " and ".join(
        f"{n} layers in {d}-D" for n, d in zip(setting.steps, setting.axes, strict=True)
    )
    return Finding(
        verdict,
        reading,
        f"Constant + gradient kernels of {', '.join(map(str, setting.taps))} taps on each axis; "
        f"{' and '.join(setting.patterns)} of radius {setting.radius:g}, directions of "
        f"{', '.join(f'{x:g}°' for x in setting.degrees)} in the plane; {layers}; double "
        "precision; intervals from the standard errors of the lines fitted to the centers.",
        numbers,
        out / "mixing_ratio.png",
        "\n".join(lines),
    )


def rises_to(ratio: np.ndarray, speed: np.ndarray) -> float:
    """Largest β up to which speed grows from each sample to the next by more than EXACT."""
    falls = np.flatnonzero(~(np.diff(speed) > EXACT))
    return float(ratio[falls[0]] if len(falls) else ratio[-1])


def r_squared(x: np.ndarray, y: np.ndarray) -> float:
    """R² of the least-squares line."""
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _controls(cases: list[Case]) -> Iterator[Number]:
    """All readings of "β controls the speed"."""
    count = len(cases)
    for name in RECTIFIERS:
        speeds = [case.speed[name] for case in cases]
        ends = [rises_to(c.ratio, v) for c, v in zip(cases, speeds, strict=True)]
        inactive = sum(e >= c.ratio[c.inactive][-1] for c, e in zip(cases, ends, strict=True))
        for over, number in (("inactive", inactive), ("0 ≤ β ≤ 1", sum(end == 1 for end in ends))):
            yield Number(
                f"strictly increasing in β, {over}, {name}",
                number,
                unit=f"of {count} settings",
                wanted="all",
                met=number == count,
            )
        yield Number(f"β up to which speed increases in all settings, {name}", min(ends))
        drop = max(float(np.max(-np.diff(v), initial=0)) for v in speeds)
        yield Number(f"largest fall from one β to the next, {name}", drop, unit="px/layer")
        for over, used in (("0 ≤ β ≤ 1", "whole"), ("inactive", "inactive")):
            fits = [
                r_squared(c.ratio[s], v[s])
                for c, v in zip(cases, speeds, strict=True)
                for s in [getattr(c, used)]
            ]
            yield Number(
                f"least R² of v against β, {over}, {name}",
                min(fits),
                wanted=f"at least {LINEAR}",
                met=min(fits) >= LINEAR,
            )
        error = max(float(np.max(np.abs(c.speed[name] - c.theory)[c.inactive])) for c in cases)
        yield Number(
            f"v − σ₁ β/(1 − β) while inactive, {name}",
            error,
            unit="px/layer",
            wanted=f"at most {EXACT:g}",
            met=error <= EXACT,
        )
        change = max(float(np.max(np.abs(c.early[name] - c.speed[name]))) for c in cases)
        yield Number(
            f"speed of the first half of the layers less v, {name}", change, unit="px/layer"
        )
        aside = max(float(np.max(c.across[name])) for c in cases)
        yield Number(f"largest speed across the direction, {name}", aside, unit="px/layer")


def _faster(cases: list[Case]) -> Iterator[Number]:
    """Speed difference, modulus minus ReLU: where and by how much the modulus is faster."""
    count = len(cases)
    inactive = max(float(np.max(np.abs(c.gain[c.inactive]))) for c in cases)
    yield Number(
        "modulus less ReLU while inactive",
        inactive,
        unit="px/layer",
        wanted=f"at most {EXACT:g}",
        met=inactive <= EXACT,
    )
    faster = sum(bool(np.any(c.gain > FASTER)) for c in cases)
    yield Number(
        "settings where the modulus is faster at some β",
        faster,
        unit=f"of {count}",
        wanted="all",
        met=faster == count,
    )
    always = sum(bool(np.all(c.gain[c.active] > FASTER)) for c in cases)
    yield Number(
        "settings where it is faster wherever the rectifier works",
        always,
        unit=f"of {count}",
        wanted="all",
        met=always == count,
    )
    for words, mask in (("faster", lambda g: g > FASTER), ("slower", lambda g: g < -FASTER)):
        share = [float(np.mean(mask(c.gain[c.active]))) for c in cases]
        yield Number(
            f"share of β beyond inactive with the modulus {words}, mean and range of settings",
            float(np.mean(share)),
            min(share),
            max(share),
        )
    tops = [np.max(c.speed["modulus"]) - np.max(c.speed["relu"]) for c in cases]
    yield Number(
        "top speed over β, modulus less ReLU, median and range of settings",
        float(np.median(tops)),
        float(min(tops)),
        float(max(tops)),
        "px/layer",
    )
    best = max(cases, key=lambda c: np.max(c.gain))
    at = int(np.argmax(best.gain))
    half = 1.96 * float(np.hypot(*(best.stderr[name][at] for name in RECTIFIERS)))
    top = float(best.gain[at])
    yield Number("largest gain by the modulus", top, top - half, top + half, "px/layer")
    yield Number("β of the largest gain", float(best.ratio[at]))
    loss = float(min(c.gain[-1] for c in cases))
    yield Number("modulus less ReLU at β = 1, most", loss, unit="px/layer")
    stays = max(abs(float(c.speed["modulus"][-1])) for c in cases)
    yield Number("speed with the modulus at β = 1, largest", stays, unit="px/layer")


def _reading(cases: list[Case]) -> str:
    count = len(cases)
    ends = {name: [rises_to(case.ratio, case.speed[name]) for case in cases] for name in RECTIFIERS}
    throughout = {name: sum(end == 1 for end in betas) for name, betas in ends.items()}
    faster = sum(bool(np.any(case.gain > FASTER)) for case in cases)
    gains = [float(np.max(c.gain)) for c in cases if np.any(c.gain > FASTER)]
    where = [c.ratio[np.argmax(c.gain)] for c in cases if np.any(c.gain > FASTER)]
    return (
        "While the rectifier is inactive, speed is σ₁ β/(1 − β): it increases, is not linear, and "
        f"is equal for both rectifiers. It increases up to β = 1 in {throughout['relu']} of "
        f"{count} settings with ReLU and in {throughout['modulus']} with the modulus; in all "
        f"settings, up to β = {min(ends['relu']):.2f} (ReLU) and {min(ends['modulus']):.2f} "
        "(modulus). The modulus is faster at "
        f"some β in {faster} of {count} settings. The largest gain is {min(gains, default=0):.3f} "
        f"to {max(gains, default=0):.3f} pixels per layer, at β = {min(where, default=0):.2f} to "
        f"{max(where, default=0):.2f}. At β = 1 the center stays with the modulus, because the two "
        "halves of the pattern move apart."
    )


def _line(case: Case) -> str:
    at = int(np.argmax(case.gain))
    slower = case.ratio[case.gain < -FASTER]
    words = f", slower from {slower[0]:.2f} on" if len(slower) else ""
    return (
        f"{case.name:<34}top speed {np.max(case.speed['relu']):.3f} (relu), "
        f"{np.max(case.speed['modulus']):.3f} (modulus); modulus faster by {case.gain[at]:.3f} at "
        f"β = {case.ratio[at]:.2f}{words}"
    )
