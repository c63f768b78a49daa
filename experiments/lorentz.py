"""Does filtering with ReLU behave like a Lorentz transform, and which part of it?

What is exact comes from moments and from positive homogeneity. While no tap is negative,
covariances add: D = c² − v² = c²/γ² with c² that of the even part. Displacements of layers add
plainly. And tilting, k(r) → k(r) exp(η r), is a symmetry of layers: tilted taps make of a tilted
field the tilted result, whatever the taps, since φ(au) = aφ(u) for a > 0. It keeps ⟨k, R k⟩, tilts
add up, and 2 equal taps get the speed c tanh(η/2): a boost. All else is measured.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np

from experiments import ledger, lorentz_figures, lorentz_parts
from experiments.ledger import Finding, Number
from experiments.lorentz_parts import Group, LorentzSettings, Plane
from infomech import plot, theory
from infomech._core import files

STATEMENT = "ReLU acts on patterns like a Lorentz transform."
SOURCE = "arXiv 2512.24338"
CLAIMS = (9,)
#: fixed before any run: a reading holds exactly to this
EXACT = 1e-9
#: fixed before any run: a reading holds nearly to this: 5 % of c, of c², or of the quantity itself
NEARLY = 0.05
#: fixed before any run: dc/dη is a difference of centers, and is as exact as that
SLOPE = 1e-4


def run(out: Path, *, quick: bool = False) -> Finding:
    """Tests contraction, invariants and the addition of velocities and rapidities.

    Args:
        out: folder to write to; made if need be.
        quick: 2 and 3 taps on one axis, few random kernels, 32 layers.

    Returns:
        Which readings hold exactly, nearly, and not.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = LorentzSettings()
    if quick:
        setting = LorentzSettings((2, 3), (), 11, draws=6, tilts=5, steps=32, burn_in=12)
    with jax.enable_x64(True):
        found = lorentz_parts.on_a_line(setting)
        plane = lorentz_parts.in_the_plane(setting) if setting.plane else None
        numbers = (
            *_contraction(found, plane, setting),
            *_invariants(found, setting),
            *_compositions(found),
            *_boosts(found, setting),
        )
        plot.save(lorentz_figures.draw(found, plane, setting), out / "lorentz.png")
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    reading = _reading(numbers)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"exact": EXACT, "nearly": NEARLY, "slope": SLOPE},
        "verdict": verdict,
        "numbers": numbers,
        "found": found,
        "plane": plane,
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "lorentz.json", files.to_json(record) + "\n")
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {ledger.line(number)}" for number in numbers),
        f"figure {out / 'lorentz.png'}, numbers {out / 'lorentz.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"A disk of radius 3 and an impulse on one axis, {setting.steps} layers with ReLU, kernels "
        f"of 2 to {setting.box} taps, constant + gradient, random, tilted and two in turn"
        + (f"; a disk in the plane, {setting.plane_steps} layers" if plane else "")
        + "; double precision.",
        numbers,
        out / "lorentz.png",
        "\n".join(lines),
    )


def contracted(speed: np.ndarray, spread: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """D/c² less 1/γ² = 1 − v²/c²; NaN where v > c, since there is no γ, and where c = 0."""
    there = (speed**2 <= rest * (1 + 1e-12)) & (rest > 1e-9)
    rest = np.where(there, rest, 1)
    return np.where(there, spread / rest - 1 + speed**2 / rest, np.nan)


def _asked(name: str, off: np.ndarray, limit: float = EXACT) -> Number:
    """The largest of deviations, and whether it is within what is allowed."""
    value = float(np.max(np.abs(off)))
    return Number(name, value, wanted=f"at most {limit:g}", met=value <= limit)


def _contraction(
    found: dict[str, Group], plane: Plane | None, setting: LorentzSettings
) -> Iterator[Number]:
    """The spread gained along the motion against 1/γ."""
    inactive, working = [], []
    for taps in setting.taps:
        group, rest = found[f"{taps} taps"], theory.step_spread(taps) ** 2
        off = contracted(group.speed, group.spread, np.full_like(group.speed, rest))
        rests = lorentz_parts.inactive(group.kernel)
        inactive.append(off[rests])
        working.append(off[~rests])
    yield _asked("D/c² less 1/γ², family, inactive", np.concatenate(inactive))
    off = np.concatenate(working)
    yield _asked("D/c² less 1/γ², family, working, v < c", off[np.isfinite(off)], NEARLY)
    beyond = int(np.sum(np.isnan(off)))
    yield Number(
        "kernels of the family faster than c = σ₁",
        beyond,
        unit=f"of {len(off)} working",
        wanted="none",
        met=beyond == 0,
    )
    if plane:
        off = contracted(plane.speed, plane.along, np.ones_like(plane.speed))
        yield _asked("D/c² less 1/γ², plane, inactive", off[plane.inactive])
        off = off[~plane.inactive]
        yield _asked("D/c² less 1/γ², plane, working, v < c", off[np.isfinite(off)], NEARLY)
        yield _asked(
            "D across the motion less c², plane, inactive", plane.across[plane.inactive] - 1
        )
        off = plane.across[~plane.inactive] - 1
        yield _asked("D across the motion less c², plane, working", off, NEARLY)
    group = found["non-negative"]
    own = lorentz_parts.own_rest(group.kernel)
    off = contracted(group.speed, group.spread, own)
    yield _asked("D/c² less 1/γ², random non-negative, c of the even part", off)
    equal = np.full_like(own, theory.step_spread(setting.box) ** 2)
    off = contracted(group.speed, group.spread, equal)
    yield _within("D/c² near 1/γ², random non-negative, c = σ₁", off)
    group, own = found["both signs"], found["both signs, even part"].spread
    off = contracted(group.speed, group.spread, own)
    yield _within("D/c² near 1/γ², random of both signs, c of the even part", off)


def _within(name: str, off: np.ndarray) -> Number:
    """The share of random kernels for which a reading holds nearly."""
    hits = int(np.sum(np.abs(off) <= NEARLY))
    share, low, high = ledger.proportion(hits, len(off))
    words = f"all to {NEARLY:g}"
    return Number(name, share, low, high, f"of {len(off)}", words, hits == len(off))


def _invariants(found: dict[str, Group], setting: LorentzSettings) -> Iterator[Number]:
    """What is invariant, and under what."""
    signed = found["both signs"].kernel
    mass, energy = lorentz_parts.mass_squared(signed), np.sum(signed**2, 1)
    tilts = [lorentz_parts.tilted(signed, eta) for eta in (-1.0, 0.5, 1.0)]
    off = [(lorentz_parts.mass_squared(kernel) - mass) / energy for kernel in tilts]
    yield _asked("⟨k, R k⟩ under tilts, change over ‖k‖²", np.array(off))
    off = [lorentz_parts.mass_squared(k) / np.sum(k**2, 1) - mass / energy for k in tilts]
    yield _asked("⟨k, R k⟩/‖k‖² under tilts, change", np.array(off), NEARLY)
    first, second = signed, np.roll(signed, 1, 0)
    both = lorentz_parts.composed(first, second)
    product = mass * np.roll(mass, 1)
    off = (lorentz_parts.mass_squared(both) - product) / (energy * np.roll(energy, 1))
    yield _asked("⟨k, R k⟩ of two layers less the product, over ‖k₁‖²‖k₂‖²", off, NEARLY)
    shares = lorentz_parts.mass_squared(both) / np.sum(both**2, 1)
    off = shares - product / (energy * np.roll(energy, 1))
    yield _asked("⟨k, R k⟩/‖k‖² of two layers less the product", off, NEARLY)
    moving = lorentz_parts.family(3, np.array([0.2]))[0]
    seen = lorentz_parts.field_symmetry(moving, 16)
    yield _asked("⟨u, R u⟩/‖u‖² of a field about its center, change", seen - seen[0], NEARLY)
    for name, rectify, wanted in (
        ("ReLU", lambda u: np.maximum(u, 0), EXACT),
        ("the modulus", np.abs, EXACT),
        ("tanh, which isn't homogeneous", np.tanh, NEARLY),
    ):
        off = [lorentz_parts.covariant(kernel, 0.3, rectify) for kernel in signed]
        yield _asked(f"tilting before six layers or after, {name}", np.array(off), wanted)


def _compositions(found: dict[str, Group]) -> Iterator[Number]:
    """Layers that differ: their velocities, their rapidities."""
    for words, *_ in lorentz_parts.PAIRS:
        pairs, first, second = (found[f"{what}, {words}"] for what in ("pairs", "first", "second"))
        gone = 2 * pairs.speed
        off = gone - (first.speed + second.speed)
        limit = EXACT if words == "inactive" else NEARLY
        yield _asked(f"two layers in turn less v₁ + v₂, {words}", off, limit)
        for name, c in (("the reach of the taps", 1.0), ("σ₁", theory.step_spread(3))):
            off = gone - lorentz_parts.added(first.speed, second.speed, c)
            yield _asked(
                f"two layers in turn less the relativistic sum, c = {name}, {words}", off, NEARLY
            )
    kernel = found["pairs, inactive"].kernel
    both, each = lorentz_parts.rapidities_of_two(kernel)
    yield _asked("artanh(tan θ) of two layers over the sum, less 1", both / each - 1, NEARLY)
    yield _asked("artanh(tan θ) of two layers over the mean, less 1", 2 * both / each - 1, NEARLY)


def _boosts(found: dict[str, Group], setting: LorentzSettings) -> Iterator[Number]:
    """Tilting as a boost: tanh of the rapidity, and how the center answers."""
    tilts = np.linspace(-3, 3, setting.tilts)
    for name, kernel in lorentz_parts.boosted(setting).items():
        group, limit = found[f"boosted {name}"], (len(kernel) - 1) / 2
        off = group.speed / limit - np.tanh(lorentz_parts.boosts(group.speed / limit, tilts))
        if name == "2 equal taps":
            adds = lorentz_parts.rapidity(group.kernel[tilts >= 0]) - tilts[tilts >= 0] / 2
            yield _asked("artanh(tan θ) of tilted 2 taps less η/2", adds)
        exact = name in ("2 equal taps", "1, 2, 1", "1, 4, 6, 4, 1")
        yield _asked(
            f"v/c less tanh of the rapidity, tilted {name}", off, EXACT if exact else NEARLY
        )
    signed, less, more = (found[n] for n in ("both signs", "tilted by -1", "tilted by 1"))
    slope = (more.center - less.center) / (2 * lorentz_parts.SMALL)
    good = np.isfinite(slope) & (signed.variance > 0)
    yield _asked(
        "dc/dη over the variance less 1, impulse, taps of both signs",
        slope[good] / signed.variance[good] - 1,
        SLOPE,
    )


def _reading(numbers: tuple[Number, ...]) -> str:
    asked = [n for n in numbers if n.met is not None]
    kept = {
        limit: [n.name for n in asked if n.met and n.wanted == f"at most {limit:g}"]
        for limit in (EXACT, SLOPE, NEARLY)
    }
    exact = kept[EXACT] + kept[SLOPE]
    return (
        f"Of {len(asked)} readings {len(exact)} hold exactly: {'; '.join(exact)}. "
        f"Nearly hold: {'; '.join(kept[NEARLY]) or 'none'}. Layers add velocities plainly while "
        "the rectifier is inactive, as Galilei has it; boosts are tilts of the taps, not layers."
    )
