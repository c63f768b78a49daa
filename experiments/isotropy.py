"""Do even kernels keep the center of mass where it is, and spread a pattern isotropically?

While the rectifier is inactive the center stays for any pattern, and cumulants of a pattern grow by
those of the kernel at every layer. So its covariance D t is isotropic if the kernel's is, and never
otherwise, and the harmonic of fourth order |κ(z⁴)|/σ⁴ of an impulse falls as 1/t: of n×n equal taps
it is 2.4 (n² + 1)/((n² − 1) t). "Isotropic" may be read as equal spreads in all directions, as a
shape that is round up to the fourth order, or as a round outline.
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

STATEMENT = "Even kernels keep the center where it is and spread isotropically."
SOURCE = "arXiv 2512.24338"
CLAIMS = (2,)
#: the center stays if it is never further away than this, in pixels; before any run it was 1e-9,
#: but a working modulus amplifies rounding, to 2e-6 in 48 layers
STAYS = 1e-4
#: fixed before any run: spreads, and reaches of the outline, are equal if the least is no further
#: below the largest than this share: of variances, of half widths
EQUAL = 0.01
#: fixed before any run: the shape is round if |κ(z⁴)|/σ⁴ is at most this, so that around a circle
#: of radius 2σ it rises and falls by no more than 16/192 of it: by 1 % of its height there
ROUND = 0.12
#: fixed before any run: cumulants add if they are off by no more than this share of σ² and σ⁴
ADD = 1e-9
RECTIFIERS = ("relu", "modulus")


@dataclass(frozen=True)
class IsotropySettings:
    """What is filtered.

    Attributes:
        steps: layers.
        taps: of kernels, on each axis.
        kernels: random ones of each kind.
        side: of the patterns, in pixels.
        photograph: from whose middle a piece is cut.
        seed: of the kernels, and of the noise.
    """

    steps: int = 40
    taps: tuple[int, ...] = (2, 3, 5, 7)
    kernels: int = 16
    side: int = 17
    photograph: str = "camera"
    seed: int = 0


@dataclass(frozen=True)
class Family:
    """Kernels of one kind and what became of the patterns.

    Attributes:
        name: of the kind; random ones tell their signs.
        shapes: by rectifier: ReLU alone where it is inactive.
        own: cumulants of the kernels read as patterns.
    """

    name: str
    shapes: dict[str, Shapes]
    own: isotropy_shapes.Cumulants

    @property
    def inactive(self) -> bool:
        """Whether the rectifier is."""
        return SIGNED not in self.name

    def ratio(self) -> np.ndarray:
        """Least over largest eigenvalue of an impulse's spread with ReLU, (kernels, layers)."""
        return isotropy_shapes.eigenvalue_ratio(self.shapes["relu"].cumulants.covariance[:, 0, 1:])

    def fourfold(self) -> np.ndarray:
        """|κ(z⁴)|/σ⁴ of the same, (kernels, layers)."""
        found = self.shapes["relu"].cumulants
        return isotropy_shapes.fourfold(found.covariance[:, 0, 1:], found.fourth[:, 0, 1:])

    def outline(self) -> np.ndarray:
        """Shortest over longest half width of the same in the end, (kernels,)."""
        reach = self.shapes["relu"].outline[:, 0]
        return reach.min(-1) / reach.max(-1)


def measure(setting: IsotropySettings) -> list[Family]:
    """Passes all patterns through layers of all kernels, those of as many taps in one go."""
    starts = isotropy_shapes.starts(setting.photograph, setting.side, setting.seed)
    values = np.stack(list(starts.values()))
    families = isotropy_shapes.families(setting.taps, setting.kernels, setting.seed)
    shapes: dict[str, dict[str, Shapes]] = {name: {} for name in families}
    sizes = dict.fromkeys((stack.shape[1:], r) for stack in families.values() for r in RECTIFIERS)
    for taps, rectifier in tqdm(sizes, desc="isotropy", unit="size"):
        some = {
            name: stack
            for name, stack in families.items()
            if stack.shape[1:] == taps and (rectifier == "relu" or SIGNED in name)
        }
        if not some:
            continue
        every = jnp.concatenate(list(some.values()))
        whole = isotropy_shapes.measure(every, values, setting.steps, rectifier)
        ends = np.cumsum([0, *map(len, some.values())])
        for name, first, last in zip(some, ends, ends[1:], strict=False):
            part = slice(first, last)
            shapes[name][rectifier] = jax.tree.map(lambda x, part=part: x[part], whole)
    return [
        Family(name, shapes[name], isotropy_shapes.of_kernels(stack))
        for name, stack in families.items()
    ]


def run(out: Path, *, quick: bool = False, full: bool = False) -> Finding:
    """Filters an impulse, a disk, a piece of a photograph and noise by even kernels.

    Args:
        out: folder to write to; made if need be.
        quick: fewer layers and random kernels, at most 3×3 taps.
        full: 512 random kernels of each kind.

    Returns:
        How far centers drift, and how round patterns become.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = IsotropySettings(kernels=512) if full else IsotropySettings()
    if quick:
        setting = IsotropySettings(steps=12, taps=(2, 3), kernels=6)
    with jax.enable_x64(True):
        found = measure(setting)
    plot.save(isotropy_figure.draw(found, EQUAL, ROUND), out / "isotropy.png")
    numbers = (*_centers(found), *(n for one in found for n in _shapes(one)))
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
            one.name: {
                "eigenvalue_ratio": one.ratio(),
                "fourfold": one.fourfold(),
                "outline": one.outline(),
                "drift": {name: some.drift for name, some in one.shapes.items()},
            }
            for one in found
        },
    }
    files.write_text(out / "isotropy.json", files.to_json(record) + "\n")
    reading = _reading(found)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {ledger.line(number)}" for number in numbers),
        f"figure {out / 'isotropy.png'}, numbers {out / 'isotropy.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"An impulse, a disk of radius 3, {setting.side}² pixels of {setting.photograph!r} and of "
        f"noise, {setting.steps} layers; shapes are those of the impulse with ReLU; "
        f"{setting.kernels} random kernels of each kind, double precision; intervals of shares "
        "after Wilson, of medians by order.",
        numbers,
        out / "isotropy.png",
        "\n".join(lines),
    )


def _centers(found):
    """Drift of the center by what is known of the rectifier and of the pattern."""
    inactive = np.concatenate([one.shapes["relu"].drift for one in found if one.inactive])
    yield Number(
        "largest drift of the center, rectifier inactive, any pattern",
        float(inactive.max()),
        unit="px",
        wanted=f"at most {STAYS:g}",
        met=bool(inactive.max() <= STAYS),
    )
    for rectifier in RECTIFIERS:
        signed = np.concatenate([one.shapes[rectifier].drift for one in found if not one.inactive])
        alike, others = signed[:, :2], signed[:, 2:]
        largest = float(np.nanmax(alike))
        yield Number(
            f"largest drift, both signs, {rectifier}, symmetric patterns",
            largest,
            unit="px",
            wanted=f"at most {STAYS:g}",
            met=largest <= STAYS,
        )
        early = [one.shapes[rectifier].drifts[:, :2] for one in found if not one.inactive]
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
    off = max(cumulants_off(one) for one in found if one.inactive)
    yield Number(
        "cumulants of any pattern against those of theory, rectifier inactive",
        off,
        unit="of σ² and σ⁴",
        wanted=f"at most {ADD:g}",
        met=off <= ADD,
    )


def cumulants_off(one: Family) -> float:
    """Largest distance of second and fourth cumulants from C_0 + t D and κ_0 + t κ."""
    found = one.shapes["relu"].cumulants
    layer = np.arange(found.covariance.shape[2], dtype=float)
    second = found.covariance - found.covariance[:, :, :1]
    second = second - layer[:, None, None] * one.own.covariance[:, None, None]
    fourth = found.fourth - found.fourth[:, :, :1]
    fourth = fourth - layer[:, None] * one.own.fourth[:, None, None]
    square = np.trace(found.covariance, axis1=-2, axis2=-1)[..., 1:, None] / 2
    return float(
        max(
            np.max(np.abs(second[:, :, 1:]) / square[..., None]),
            np.max(np.abs(fourth[:, :, 1:]) / square**2),
        )
    )


def _shapes(one: Family):
    ratio, fourfold, outline = one.ratio(), one.fourfold(), one.outline()
    equal, round_ = ratio >= 1 - EQUAL, fourfold <= ROUND
    for measured, said, values, good, wanted in (
        ("least/largest σ²", "equal spreads", ratio[:, -1], equal[:, -1], f"at least {1 - EQUAL}"),
        ("|κ(z⁴)|/σ⁴", "a round shape", fourfold[:, -1], round_[:, -1], f"at most {ROUND}"),
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
            yield Number(f"{measured}, {one.name}", float(values[0]), wanted=wanted, met=met)
            continue
        alive = np.isfinite(values)
        share = ledger.proportion(int(good[alive].sum()), max(1, int(alive.sum())))
        met = bool(good[alive].all())
        yield Number(f"median {measured}, {one.name}", *ledger.median(values))
        yield Number(f"share with {said}, {one.name}", *share, wanted=f"all {wanted}", met=met)
    for words, good in (("equal spreads", equal), ("a round shape", round_)):
        layers = 1 + isotropy_shapes.settled(good)
        middle = ledger.median(layers)[: 1 if len(layers) == 1 else 3]
        ends: list[Any] = [None if np.isnan(n) else n for n in middle]
        which = "" if len(layers) == 1 else "median of those with it, "
        yield Number(f"layers until {words}, {which}{one.name}", *ends)


def _reading(found):
    def whole(good):
        return "; ".join(one.name for one in found if good(one)) or "none"

    def end(values):
        return values[np.isfinite(values)]

    equal = whole(lambda one: np.all(end(one.ratio()[:, -1]) >= 1 - EQUAL))
    shape = whole(lambda one: np.all(end(one.fourfold()[:, -1]) <= ROUND))
    outline = whole(lambda one: np.all(end(one.outline()) >= 1 - EQUAL))
    return (
        "The center stays for any pattern while the rectifier is inactive, and for kernels of both "
        "signs if the pattern is its own mirror image through its center, but for rounding, which "
        "some of them amplify from layer to layer; otherwise it moves. "
        f"Spreads are equal, as of all kernels that a quarter turn leaves alone, for {equal}. The "
        f"shape becomes round to the fourth order, as 1/t, for {shape}. The outline is round for "
        f"{outline}."
    )
