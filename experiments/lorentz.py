"""Does filtering with ReLU behave like a Lorentz transform, and in which respects?

Some statements are exact, by moments and positive homogeneity. While no tap is negative,
covariances add: D = c² − v² = c²/γ², with c² that of the even part. Displacements of layers add,
without a relativistic correction. Tilting, k(r) → k(r) exp(η r), is a symmetry of layers for any
taps: tilted taps map a tilted field to the tilted result, because φ(au) = aφ(u) for a > 0. Tilts
preserve ⟨k, R k⟩ and add up, and they give 2 equal taps the speed c tanh(η/2): a boost. Everything
else is measured.
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
#: fixed before any run: tolerance of a reading that holds exactly
EXACT = 1e-9
#: fixed before any run: tolerance of a reading that nearly holds: 5 % of c, of c², or of the
#: quantity itself
NEARLY = 0.05
#: fixed before any run: tolerance on dc/dη, limited by the finite difference of centers
SLOPE = 1e-4


def run(out: Path, *, quick: bool = False) -> Finding:
    """Test contraction, invariants and the addition of velocities and rapidities.

    Args:
        out: output folder; created if missing.
        quick: 2 and 3 taps on one axis, few random kernels, 32 layers.

    Returns:
        Which readings hold exactly, nearly, or not.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = LorentzSettings()
    if quick:
        setting = LorentzSettings((2, 3), (), 11, draws=6, tilts=5, steps=32, burn_in=12)
    with jax.enable_x64(True):
        groups = lorentz_parts.on_a_line(setting)
        plane = lorentz_parts.in_the_plane(setting) if setting.plane else None
        numbers = (
            *_contraction(groups, plane, setting),
            *_invariants(groups, setting),
            *_compositions(groups),
            *_boosts(groups, setting),
        )
        plot.save(lorentz_figures.draw(groups, plane, setting), out / "lorentz.png")
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    reading = _reading(numbers)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"exact": EXACT, "nearly": NEARLY, "slope": SLOPE},
        "verdict": verdict,
        "numbers": numbers,
        "found": groups,
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
        f"A disk of radius 3 and an impulse in 1-D, {setting.steps} layers with ReLU; kernels of 2 "
        f"to {setting.box} taps: constant + gradient, random, tilted, and alternating pairs"
        + (f"; a disk in 2-D, {setting.plane_steps} layers" if plane else "")
        + "; double precision.",
        numbers,
        out / "lorentz.png",
        "\n".join(lines),
    )


def contracted(speed: np.ndarray, spread: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """D/c² − 1/γ² with 1/γ² = 1 − v²/c²; NaN where v > c (γ is undefined) and where c = 0."""
    defined = (speed**2 <= rest * (1 + 1e-12)) & (rest > 1e-9)
    rest = np.where(defined, rest, 1)
    return np.where(defined, spread / rest - 1 + speed**2 / rest, np.nan)


def _at_most(name: str, off: np.ndarray, limit: float = EXACT) -> Number:
    """Largest deviation, and whether it is within the tolerance."""
    value = float(np.max(np.abs(off)))
    return Number(name, value, wanted=f"at most {limit:g}", met=value <= limit)


def _contraction(
    groups: dict[str, Group], plane: Plane | None, setting: LorentzSettings
) -> Iterator[Number]:
    """Spread gained along the motion, compared with 1/γ."""
    inactive, active = [], []
    for taps in setting.taps:
        group, rest = groups[f"{taps} taps"], theory.step_spread(taps) ** 2
        gap = contracted(group.speed, group.spread, np.full_like(group.speed, rest))
        is_inactive = lorentz_parts.inactive(group.kernel)
        inactive.append(gap[is_inactive])
        active.append(gap[~is_inactive])
    yield _at_most("D/c² less 1/γ², family, inactive", np.concatenate(inactive))
    gap = np.concatenate(active)
    yield _at_most("D/c² less 1/γ², family, working, v < c", gap[np.isfinite(gap)], NEARLY)
    beyond = int(np.sum(np.isnan(gap)))
    yield Number(
        "kernels of the family faster than c = σ₁",
        beyond,
        unit=f"of {len(gap)} working",
        wanted="none",
        met=beyond == 0,
    )
    if plane:
        gap = contracted(plane.speed, plane.along, np.ones_like(plane.speed))
        yield _at_most("D/c² less 1/γ², plane, inactive", gap[plane.inactive])
        gap = gap[~plane.inactive]
        yield _at_most("D/c² less 1/γ², plane, working, v < c", gap[np.isfinite(gap)], NEARLY)
        yield _at_most(
            "D across the motion less c², plane, inactive", plane.across[plane.inactive] - 1
        )
        gap = plane.across[~plane.inactive] - 1
        yield _at_most("D across the motion less c², plane, working", gap, NEARLY)
    group = groups["non-negative"]
    rest_own = lorentz_parts.own_rest(group.kernel)
    gap = contracted(group.speed, group.spread, rest_own)
    yield _at_most("D/c² less 1/γ², random non-negative, c of the even part", gap)
    equal = np.full_like(rest_own, theory.step_spread(setting.box) ** 2)
    gap = contracted(group.speed, group.spread, equal)
    yield _within("D/c² near 1/γ², random non-negative, c = σ₁", gap)
    group, rest_own = groups["both signs"], groups["both signs, even part"].spread
    gap = contracted(group.speed, group.spread, rest_own)
    yield _within("D/c² near 1/γ², random of both signs, c of the even part", gap)


def _within(name: str, gap: np.ndarray) -> Number:
    """Share of random kernels for which a reading nearly holds."""
    hits = int(np.sum(np.abs(gap) <= NEARLY))
    share, low, high = ledger.proportion(hits, len(gap))
    words = f"all to {NEARLY:g}"
    return Number(name, share, low, high, f"of {len(gap)}", words, hits == len(gap))


def _invariants(groups: dict[str, Group], setting: LorentzSettings) -> Iterator[Number]:
    """Candidate invariants under tilts and layers."""
    signed = groups["both signs"].kernel
    mass, energy = lorentz_parts.mass_squared(signed), np.sum(signed**2, 1)
    tilts = [lorentz_parts.tilted(signed, eta) for eta in (-1.0, 0.5, 1.0)]
    change = [(lorentz_parts.mass_squared(kernel) - mass) / energy for kernel in tilts]
    yield _at_most("⟨k, R k⟩ under tilts, change over ‖k‖²", np.array(change))
    change = [lorentz_parts.mass_squared(k) / np.sum(k**2, 1) - mass / energy for k in tilts]
    yield _at_most("⟨k, R k⟩/‖k‖² under tilts, change", np.array(change), NEARLY)
    first, second = signed, np.roll(signed, 1, 0)
    both = lorentz_parts.composed(first, second)
    product = mass * np.roll(mass, 1)
    change = (lorentz_parts.mass_squared(both) - product) / (energy * np.roll(energy, 1))
    yield _at_most("⟨k, R k⟩ of two layers less the product, over ‖k₁‖²‖k₂‖²", change, NEARLY)
    shares = lorentz_parts.mass_squared(both) / np.sum(both**2, 1)
    change = shares - product / (energy * np.roll(energy, 1))
    yield _at_most("⟨k, R k⟩/‖k‖² of two layers less the product", change, NEARLY)
    moving = lorentz_parts.family(3, np.array([0.2]))[0]
    symmetry = lorentz_parts.field_symmetry(moving, 16)
    yield _at_most(
        "⟨u, R u⟩/‖u‖² of a field about its center, change", symmetry - symmetry[0], NEARLY
    )
    for name, rectify, wanted in (
        ("ReLU", lambda u: np.maximum(u, 0), EXACT),
        ("the modulus", np.abs, EXACT),
        ("tanh, which isn't homogeneous", np.tanh, NEARLY),
    ):
        change = [lorentz_parts.covariant(kernel, 0.3, rectify) for kernel in signed]
        yield _at_most(f"tilting before six layers or after, {name}", np.array(change), wanted)


def _compositions(groups: dict[str, Group]) -> Iterator[Number]:
    """Velocities and rapidities of alternating layers."""
    for words, *_ in lorentz_parts.PAIRS:
        pairs, first, second = (groups[f"{what}, {words}"] for what in ("pairs", "first", "second"))
        displacement = 2 * pairs.speed
        gap = displacement - (first.speed + second.speed)
        limit = EXACT if words == "inactive" else NEARLY
        yield _at_most(f"two layers in turn less v₁ + v₂, {words}", gap, limit)
        for name, c in (("the reach of the taps", 1.0), ("σ₁", theory.step_spread(3))):
            gap = displacement - lorentz_parts.added(first.speed, second.speed, c)
            yield _at_most(
                f"two layers in turn less the relativistic sum, c = {name}, {words}", gap, NEARLY
            )
    kernel = groups["pairs, inactive"].kernel
    both, total = lorentz_parts.rapidities_of_two(kernel)
    yield _at_most("artanh(tan θ) of two layers over the sum, less 1", both / total - 1, NEARLY)
    yield _at_most(
        "artanh(tan θ) of two layers over the mean, less 1", 2 * both / total - 1, NEARLY
    )


def _boosts(groups: dict[str, Group], setting: LorentzSettings) -> Iterator[Number]:
    """Tilting as a boost: tanh of the rapidity, and the response of the center."""
    tilts = np.linspace(-3, 3, setting.tilts)
    for name, kernel in lorentz_parts.boosted(setting).items():
        group, limit = groups[f"boosted {name}"], (len(kernel) - 1) / 2
        gap = group.speed / limit - np.tanh(lorentz_parts.boosts(group.speed / limit, tilts))
        if name == "2 equal taps":
            adds = lorentz_parts.rapidity(group.kernel[tilts >= 0]) - tilts[tilts >= 0] / 2
            yield _at_most("artanh(tan θ) of tilted 2 taps less η/2", adds)
        exact = name in ("2 equal taps", "1, 2, 1", "1, 4, 6, 4, 1")
        yield _at_most(
            f"v/c less tanh of the rapidity, tilted {name}", gap, EXACT if exact else NEARLY
        )
    signed, less, more = (groups[n] for n in ("both signs", "tilted by -1", "tilted by 1"))
    slope = (more.center - less.center) / (2 * lorentz_parts.TILT_STEP)
    valid = np.isfinite(slope) & (signed.variance > 0)
    yield _at_most(
        "dc/dη over the variance less 1, impulse, taps of both signs",
        slope[valid] / signed.variance[valid] - 1,
        SLOPE,
    )


def _reading(numbers: tuple[Number, ...]) -> str:
    judged = [n for n in numbers if n.met is not None]
    within = {
        limit: [n.name for n in judged if n.met and n.wanted == f"at most {limit:g}"]
        for limit in (EXACT, SLOPE, NEARLY)
    }
    exact = within[EXACT] + within[SLOPE]
    return (
        f"Of {len(judged)} readings, {len(exact)} hold exactly: {'; '.join(exact)}. "
        f"Readings that nearly hold: {'; '.join(within[NEARLY]) or 'none'}. While the rectifier is "
        "inactive, velocities of layers add as in Galilean relativity; tilts of the taps, not "
        "layers, act as boosts."
    )
