"""Does repeated even filtering with ReLU tend to a Gaussian whose spread grows as √t?

For non-negative kernels the rectifier is inactive, covariances add, and the spread gained along an
axis is σ₁ √t with σ₁² = Σ r² k / Σ k. The central limit theorem gives the Gaussian, unless the taps
never mix adjacent pixels, as with taps on either side of an empty middle. Under even kernels of
both signs the rectifier is active, and theory predicts nothing.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import infomech as im
from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import kernels, observables, plot
from infomech._core import files
from infomech.fields import patterns

STATEMENT = "Repeated even filtering tends to a Gaussian whose spread grows as √t."
SOURCE = "arXiv 2512.24338"
CLAIMS = (3,)
#: fixed before any run: the exponent is ½ if within this on both axes
EXPONENT = 0.02
#: fixed before any run: a pattern is a Gaussian if at most this share of its mass lies outside the
#: Gaussian of the same mass, center and covariance (total variation distance)
GAUSSIAN = 0.02
#: fixed before any run: the prefactor is 1, that is σ = √t, if within this on both axes
ONE = 0.01
POSITIVE, SIGNED = "random, non-negative", "random, both signs"


@dataclass(frozen=True)
class GaussianSpreadSettings:
    """Settings; the pattern is a disk of radius 3.

    Attributes:
        steps: layers.
        burn_in: growth is fitted from this layer on.
        every: layers between two observations of the shape.
        kernels: number of random 3×3 kernels of each kind.
        widest: largest number of taps on an axis.
        seed: of the random kernels.
    """

    steps: int = 64
    burn_in: int = 16
    every: int = 8
    kernels: int = 48
    widest: int = 5
    seed: int = 0


class Spread(NamedTuple):
    """Spread of the pattern under each kernel of a family, (kernels, …).

    Attributes:
        exponent, prefactor: of the spread along each axis, (kernels, 2); NaN if refused.
        away: share of the mass outside the Gaussian, (kernels, observations).
    """

    exponent: Any
    prefactor: Any
    away: Any

    @property
    def grows(self) -> np.ndarray:
        """Kernels whose spread grows as √t."""
        return np.all(np.abs(self.exponent - 0.5) <= EXPONENT, axis=1)

    @property
    def gaussian(self) -> np.ndarray:
        """Kernels whose pattern ends as a Gaussian."""
        return self.away[:, -1] <= GAUSSIAN

    @property
    def one(self) -> np.ndarray:
        """Kernels with prefactor 1."""
        return np.all(np.abs(self.prefactor - 1) <= ONE, axis=1)


def families(setting: GaussianSpreadSettings) -> dict[str, jax.Array]:
    """Even kernels of each family, (kernels, *taps)."""
    gap, row = np.array([1.0, 0, 1]), np.array([1.0, 4, 6, 4, 1])
    fixed = {f"constant {n}×{n}": kernels.constant((n, n), dtype="float64") for n in (2, 3, 5)}
    fixed["Gaussian 5×5, σ = 1"] = kernels.gaussian((5, 5), 1.0, dtype="float64")
    fixed["binomial 5×5"] = jnp.asarray(np.outer(row, row) / 70)
    fixed["corners of 3×3"] = jnp.asarray(np.outer(gap, gap) / 2)
    stacks = {n: kernel[None] for n, kernel in fixed.items() if len(kernel) <= setting.widest}
    keys = jax.random.split(jax.random.key(setting.seed), setting.kernels)
    drawn = jax.vmap(lambda key: kernels.random((3, 3), key=key, share=0.0, dtype="float64"))(keys)
    return {**stacks, POSITIVE: jnp.abs(drawn), SIGNED: drawn}


def away_from_gaussian(field: im.fields.Field) -> jax.Array:
    """½ Σ |u/M − g| with g the sampled Gaussian of the same center and covariance; shape ()."""
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, field.values.shape), indexing="ij"), axis=-1)
    shift = field.origin - observables.center(field)
    offset = grid.astype(field.values.dtype) + shift[None, None]
    inverse = jnp.linalg.inv(observables.covariance(field))
    gaussian = jnp.exp(-0.5 * jnp.einsum("xya,ab,xyb->xy", offset, inverse, offset))
    return 0.5 * jnp.sum(
        jnp.abs(field.values / jnp.sum(field.values) - gaussian / jnp.sum(gaussian))
    )


def measure(stack: jax.Array, setting: GaussianSpreadSettings) -> Spread:
    """Pass the disk through layers of each kernel of a family."""
    values = patterns.pattern("disk", 3.0, 2, "float64")
    field = patterns.padded(values, stack.shape[1:], setting.steps)

    def spread(kernel):
        _, trace = im.rollout(kernel, field, setting.steps)
        _, away = im.rollout(
            kernel, field, setting.steps, observe=away_from_gaussian, every=setting.every
        )
        growth = im.rates.growth(trace, setting.burn_in)
        return Spread(growth.exponent.value, growth.prefactor.value, away)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(spread))(stack))


def spreads(families: dict[str, jax.Array], setting: GaussianSpreadSettings) -> dict[str, Spread]:
    """`Spread` of all families, one program per kernel size."""
    results: dict[str, Spread] = {}
    sizes = dict.fromkeys(stack.shape[1:] for stack in families.values())
    for taps in tqdm(sizes, desc="gaussian_spread", unit="size"):
        group = {name: stack for name, stack in families.items() if stack.shape[1:] == taps}
        stacked = measure(jnp.concatenate(list(group.values())), setting)
        ends = np.cumsum([len(stack) for stack in group.values()])[:-1]
        parts = zip(*(np.split(values, ends) for values in stacked), strict=True)
        results |= {name: Spread(*part) for name, part in zip(group, parts, strict=True)}
    return {name: results[name] for name in families}


def run(out: Path, *, quick: bool = False) -> Finding:
    """Filter a disk with constant, Gaussian and random even kernels.

    Args:
        out: output folder; created if missing.
        quick: fewer layers and random kernels, at most 3×3 taps.

    Returns:
        Exponents, prefactors and distances from a Gaussian.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = (
        GaussianSpreadSettings(steps=24, burn_in=8, kernels=6, widest=3)
        if quick
        else GaussianSpreadSettings()
    )
    with jax.enable_x64(True):
        results = spreads(families(setting), setting)
    plot.save(draw(results, setting), out / "gaussian_spread.png")
    numbers = tuple(n for name, spread in results.items() for n in _numbers(name, spread))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"exponent": EXPONENT, "gaussian": GAUSSIAN, "one": ONE},
        "verdict": verdict,
        "found": results,
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "gaussian_spread.json", files.to_json(record) + "\n")
    reading = _reading(results)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {_line(name, spread)}" for name, spread in results.items()),
        f"figure {out / 'gaussian_spread.png'}, numbers {out / 'gaussian_spread.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"A disk of radius 3, {setting.steps} layers with ReLU, spread fitted from layer "
        f"{setting.burn_in} on, {setting.kernels} random 3×3 kernels of each kind, double "
        "precision; Wilson intervals of shares.",
        numbers,
        out / "gaussian_spread.png",
        "\n".join(lines),
    )


def _reading(results):
    both = {name: int(np.sum(s.grows & s.gaussian)) for name, s in results.items()}
    complete = [name for name, count in both.items() if count == len(results[name].grows)]
    rest = [f"{name} ({both[name]} of {len(results[name].grows)})" for name in both]
    rest = [text for text, name in zip(rest, both, strict=True) if name not in complete]
    ones = [
        f"{name}" + ("" if spread.one.all() else f" ({spread.one.sum()} of {len(spread.one)})")
        for name, spread in results.items()
        if spread.one.any()
    ]
    return (
        f"Growth and shape are as claimed for {'; '.join(complete) or 'none'}; not for all of "
        f"{'; '.join(rest) or 'none'}. The prefactor is 1, that is σ = √t, for "
        f"{'; '.join(ones) or 'none'}."
    )


def _numbers(name, spread):
    if len(spread.exponent) > 1:
        for words, good in (
            ("exponent ½", spread.grows),
            ("a Gaussian at the end", spread.gaussian),
        ):
            yield Number(
                f"share with {words}, {name}",
                *ledger.proportion(int(good.sum()), len(good)),
                wanted="all",
                met=bool(good.all()),
            )
        yield Number(
            f"share with prefactor 1, {name}",
            *ledger.proportion(int(spread.one.sum()), len(spread.one)),
        )
        return
    yield Number(
        f"exponent, {name}",
        float(spread.exponent[0, 0]),
        wanted=f"0.5 to within {EXPONENT}",
        met=bool(spread.grows[0]),
    )
    yield Number(
        f"mass elsewhere than in a Gaussian, {name}",
        float(spread.away[0, -1]),
        wanted=f"at most {GAUSSIAN}",
        met=bool(spread.gaussian[0]),
    )
    yield Number(f"prefactor, {name}", float(spread.prefactor[0, 0]), unit="px/√layer")


def _line(name, spread):
    count = len(spread.exponent)
    if count > 1:
        return (
            f"{name:<22}exponent ½ in {spread.grows.sum()} of {count}, a Gaussian in "
            f"{spread.gaussian.sum()}, prefactor 1 in {spread.one.sum()}"
        )
    return (
        f"{name:<22}exponent {spread.exponent[0, 0]:.4f}, prefactor {spread.prefactor[0, 0]:.4f}, "
        f"{spread.away[0, -1]:.4f} of the mass outside the Gaussian"
    )


def draw(results: dict[str, Spread], setting: GaussianSpreadSettings) -> Figure:
    """Distance from a Gaussian over layers, and exponents against prefactors."""
    with plot.style():
        figure = Figure(figsize=(11.5, 4.2), layout="constrained")
        shapes, growth = figure.subplots(1, 2)
        for i, (name, spread) in enumerate(results.items()):
            color, several = f"C{i}", len(spread.exponent) > 1
            layers = setting.every * np.arange(spread.away.shape[1])
            lines = np.maximum(spread.away, 1e-6).T
            shapes.plot(layers, lines, color=color, linewidth=0.6 if several else 1.6, alpha=0.8)
            growth.plot(
                spread.prefactor.ravel(),
                spread.exponent.ravel(),
                "." if several else "D",
                color=color,
                markersize=5,
                alpha=0.7,
                label=name,
            )
        shapes.axhline(GAUSSIAN, color="black", linestyle="--", linewidth=1)
        shapes.set(
            yscale="log",
            xlabel="layer",
            ylabel="share of the mass outside the Gaussian",
            title="Shape (dashed: tolerance)",
        )
        growth.axhspan(0.5 - EXPONENT, 0.5 + EXPONENT, color="black", alpha=0.12)
        growth.axvline(1, color="black", linestyle=":", linewidth=1)
        growth.set(
            xlabel="prefactor (pixels per layer^exponent)",
            ylabel="exponent",
            title="Growth of the spread, both axes",
        )
        growth.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
