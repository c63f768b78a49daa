"""Filters of trained networks: low modes, directions, odd shares, and what mirrored images do.

The networks are those of `train_digits`, of several first weights each; what is compared is the
same network before and after training, and Gaussian taps.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import ledger, small_cnn
from experiments.ledger import Finding, Number
from experiments.small_cnn import DATA, NETWORKS, Trained, Training
from infomech import networks, plot, weights
from infomech._core import files
from infomech.networks.sequential import Filters, Parameters

STATEMENT = "Small filters of trained CNNs are dominated by DC and gradients, the modes of motion."
SOURCE = "arXiv 2512.24338"
CLAIMS = (10,)
#: fixed before any run: mirrored weights are mirrored to this share of the largest one
MIRRORED = 1e-3


@dataclass(frozen=True)
class TrainedFiltersSettings:
    """Which networks are looked at.

    Attributes:
        others: networks besides those of 3×3 filters on digits.
        seeds: first weights of those on digits, and of as many on mirrored digits.
        epochs: of training on digits.
        channels: of the layers of those on digits.
    """

    others: tuple[Training, ...] = NETWORKS[1:]
    seeds: int = 5
    epochs: int = 32
    channels: tuple[int, ...] = (16, 32, 64)

    @property
    def digits(self) -> list[Training]:
        """On digits as they are."""
        base = Training(epochs=self.epochs, channels=self.channels)
        return [replace(base, seed=seed) for seed in range(self.seeds)]

    @property
    def flipped(self) -> list[Training]:
        """On mirrored digits."""
        return [replace(one, flipped=True, seed=one.seed + self.seeds) for one in self.digits]


@dataclass(frozen=True)
class Counted:
    """Census of one network after training, and its change from before.

    Attributes:
        name: of the network.
        found: after training.
        change: from before training.
    """

    name: str
    found: Any
    change: Any


def count(one: Trained) -> Counted:
    """The census of a network and its change by training."""
    first, last = min(one.files), max(one.files)
    found = networks.census(weights.layers(one.files[last]))
    change = networks.compare(weights.layers(one.files[first]), weights.layers(one.files[last]))
    return Counted(one.training.name, found, change)


def run(out: Path, *, quick: bool = False) -> Finding:
    """Trains what isn't there yet, counts the filters and settles four claims.

    Args:
        out: folder to write to; made if need be.
        quick: two small networks on digits and two on mirrored ones, of one epoch, kept in `out`.

    Returns:
        Verdicts with numbers; the first one counts.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = TrainedFiltersSettings((), 2, 1, (4, 4, 4)) if quick else TrainedFiltersSettings()
    data = out / "data" if quick else DATA
    plain, mirrored, others = (
        [small_cnn.trained(t, data) for t in some]
        for some in (setting.digits, setting.flipped, setting.others)
    )
    counted = [count(one) for one in (*plain, *others)]
    momenta = {
        "digits": np.stack([momentum(one) for one in plain]),
        "mirrored digits": np.stack([momentum(one) for one in mirrored]),
    }
    error = mirrored_training(setting.digits[0])
    plot.save(draw(counted, momenta), out / "trained_filters.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"dominated": 0.5, "mirrored": MIRRORED},
        "networks": {one.name: readings(one) for one in counted},
        "momenta": momenta,
        "mirrored_error": error,
        "provenance": files.provenance(),
    }
    files.write_text(out / "trained_filters.json", files.to_json(record) + "\n")
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        *dominance(counted),
        *odd(counted),
        *_directions(counted),
        *_mirrors(momenta, error),
        f"figure {out / 'trained_filters.png'}, numbers {out / 'trained_filters.json'}",
    ]
    sure = [networks.dominance(one.found).dominated.values for one in counted]
    held = np.concatenate(sure)
    return Finding(
        ledger.verdict(held),
        f"For sure, DC and gradients have more than half of the energy in {held.sum()} of "
        f"{held.size} layers; by network: "
        + ", ".join(
            f"{one.name} {some.sum()} of {some.size}"
            for one, some in zip(counted, sure, strict=True)
        )
        + ".",
        "Networks on digits and patches of photographs after training, layer by layer; intervals "
        "by bootstrap over filters.",
        tuple(_numbers(counted, sure, error)),
        out / "trained_filters.png",
        "\n".join(lines),
    )


def _numbers(counted, sure, error):
    for one, dominated in zip(counted, sure, strict=True):
        low = one.found.sel(part="low")
        for n, (least, most) in enumerate(low.share_interval.values.tolist()):
            yield Number(
                f"energy in DC and gradients, {one.name}, layer {n + 1}",
                float(low.share[n]),
                least,
                most,
                wanted="more than 0.5, for sure",
                met=bool(dominated[n]),
            )
    yield Number(
        "weights not mirrored by mirrored training",
        error,
        unit="of the largest",
        wanted=f"less than {MIRRORED:g}",
        met=error < MIRRORED,
    )


def readings(one: Counted) -> dict[str, Any]:
    """The numbers behind the verdicts, layer by layer."""
    found, change = one.found, one.change
    return {
        "low": found.share.sel(part="low").values,
        "low_interval": found.share_interval.sel(part="low").values,
        "random": found.random.sel(part="low").values,
        "odd": found.share.sel(part="odd").values,
        "change": change.change.sel(part=["low", "odd"]).values,
        "change_interval": change.change_interval.sel(part=["low", "odd"]).values,
        "resultant": found.resultant.values,
        "resultant_random": found.resultant_random.values,
    }


def momentum(one: Trained) -> np.ndarray:
    """Mean of p/‖k‖ over the filters of each layer after training, pixels, (layers, 2)."""
    return networks.census(weights.layers(one.files[max(one.files)]), keep=0).momentum.values


def mirrored_training(training: Training) -> float:
    """How far mirrored images and first weights lead from mirrored weights, after one epoch.

    Stride 2 keeps samples 0, 2, …, which aren't mirror images of themselves on an even number of
    pixels: for this all strides are 1.
    """
    plain = replace(training, epochs=1, stride=1)
    first = small_cnn.beginning(plain)
    one = small_cnn.train(plain, first=first)
    other = small_cnn.train(replace(plain, flipped=True), first=_mirror(first))
    pairs = zip(one.layers, _mirror(other).layers, strict=True)
    errors = [
        float(jnp.max(jnp.abs(a.kernels - b.kernels)) / jnp.max(jnp.abs(a.kernels)))
        for a, b in pairs
    ]
    return max(errors)


def _mirror(params: Parameters) -> Parameters:
    layers = [Filters(jnp.flip(k, -1), bias) for k, bias in params.layers]
    return Parameters(tuple(layers), params.head)


def dominance(counted: list[Counted]) -> list[str]:
    """In how many layers DC and gradients have more than half of the energy, for sure."""
    verdicts, lines = [], []
    for one in counted:
        words = []
        low = one.found.sel(part="low")
        verdicts += networks.dominance(one.found).dominated.values.tolist()
        for n in range(one.found.sizes["layer"]):
            least, most = low.share_interval.values[n]
            words.append(f"{float(low.share[n]):.2f} ({least:.2f} to {most:.2f})")
        null = ", ".join(sorted({f"{x:.2f}" for x in low.random.values}))
        lines.append(f"    {one.name:<22}{'  '.join(words)}   random {null}")
    word = {0: "fails", len(verdicts): "holds"}.get(sum(verdicts), "holds in some layers")
    head = f"  {word}: DC and gradients have more than half of the energy in {sum(verdicts)} of "
    return [f"{head}{len(verdicts)} layers (95 % intervals, first layer to last)", *lines]


def odd(counted: list[Counted]) -> list[str]:
    """In how many layers training raises or lowers the odd share, for sure."""
    lines, count = [], {"up": 0, "down": 0, "neither": 0}
    for one in counted:
        words = []
        change = one.change.sel(part="odd")
        for n in range(one.change.sizes["layer"]):
            low, high = change.change_interval.values[n]
            count["up" if low > 0 else "down" if high < 0 else "neither"] += 1
            words.append(f"{float(change.change[n]):+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"    {one.name:<22}{'  '.join(words)}")
    return [
        f"Training changes the odd share: it falls in {count['down']} layers, rises in "
        f"{count['up']}, neither for sure in {count['neither']} (95 % intervals)",
        *lines,
    ]


def _directions(counted: list[Counted]) -> list[str]:
    lines, beyond, uneven, total = [], 0, 0, 0
    for one in counted:
        words = []
        for n in range(one.found.sizes["layer"]):
            r, limit = one.found.resultant.values[n], float(one.found.resultant_random[n])
            beyond += int(r[0] > limit)
            total += 1
            share = one.found.gradient_axis.values[n][0]
            low, high = one.found.gradient_axis_interval.values[n][0]
            uneven += int(low > 0.5 or high < 0.5)
            words.append(f"{r[0]:.2f} ({limit:.2f}), {share:.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"    {one.name:<22}{'  '.join(words)}")
    return [
        f"Directions are isotropic: momenta are one-sided beyond what 1 in 20 isotropic layers of "
        f"independent filters show in {beyond} of {total} layers; ∇y and ∇x differ in energy for "
        f"sure in {uneven}; length of the mean direction (limit), share of ∇y (95 %)",
        *lines,
    ]


def _mirrors(momenta: dict[str, np.ndarray], error: float) -> list[str]:
    """Mean momenta over networks with Student's intervals, and the exact statement."""
    lines = [
        f"Mirrored images and first weights give mirrored weights: "
        f"{'holds' if error < MIRRORED else 'fails'}, off by {error:.0e} of the largest weight "
        "after an epoch"
    ]
    plain, mirrored = momenta["digits"], momenta["mirrored digits"]
    turned = 0
    for n in range(plain.shape[1]):
        words = []
        for axis, name in ((1, "x"), (0, "y")):
            values = [small_cnn.mean(some[:, n, axis]) for some in (plain, mirrored)]
            (one, half), (other, rest) = values
            turned += int(
                name == "x" and one * other < 0 and abs(one - other) > np.hypot(half, rest)
            )
            words.append(f"{name}: " + " and ".join(f"{m:+.3f} ± {h:.3f}" for m, h in values))
        lines.append(f"    layer {n + 1}, mean p/‖k‖, plain and mirrored: {'; '.join(words)}")
    lines.insert(
        1,
        f"Networks of other first weights show mirrored momenta on mirrored images: for sure in "
        f"{turned} of {plain.shape[1]} layers (means over {len(plain)} networks each, 95 %)",
    )
    return lines


def draw(counted: list[Counted], momenta: dict[str, np.ndarray]) -> Figure:
    """Low and odd shares before and after training, directions, mean momenta."""
    with plot.style():
        figure = Figure(figsize=(12.5, 7), layout="constrained")
        (low, odd), (sides, mean) = figure.subplots(2, 2)
        for panel, part, title in (
            (low, "low", "Energy in DC and gradients"),
            (odd, "odd", "Odd share of the energy"),
        ):
            _draw_shares(panel, counted, part)
            panel.set_title(f"{title}: before (open) and after training")
        _draw_sides(sides, counted)
        _draw_momenta(mean, momenta)
    return figure


def _draw_shares(panel, counted, part):
    ticks, labels = [], []
    for n, one in enumerate(_shown(counted)):
        some, before = one.found.sel(part=part), one.change.share.sel(part=part, network="first")
        x = n * 4 + np.arange(one.found.sizes["layer"])
        share, (lower, upper) = some.share.values, some.share_interval.values.T
        panel.errorbar(
            x,
            share,
            np.maximum([share - lower, upper - share], 0),
            fmt="o",
            color="#0072B2",
            markersize=4,
            capsize=2,
            linewidth=1,
        )
        panel.plot(x, before, "o", markerfacecolor="none", color="0.4", markersize=4)
        panel.plot(x, some.random, "_", color="black", markersize=12)
        ticks.append(x.mean())
        labels.append(one.name.replace("-seed", "\nseed "))
    panel.plot([], [], "_", color="black", markersize=12, label="Gaussian taps")
    panel.set_xticks(ticks, labels, fontsize=7)
    panel.set(ylim=(0, 1))
    panel.legend(fontsize=7)


def _shown(counted):
    """One network of each kind."""
    kinds = {one.name.rpartition("-seed")[0]: one for one in reversed(counted)}
    return list(reversed(kinds.values()))


def _draw_sides(panel, counted):
    for one in counted:
        ratio = one.found.resultant.values[:, 0] / one.found.resultant_random.values
        panel.plot(np.arange(1, len(ratio) + 1), ratio, "o-", markersize=3, label=one.name)
    panel.axhline(1, color="black", linestyle="--", linewidth=1)
    panel.set(xlabel="layer", ylabel="|mean direction| / 1-in-20 limit", ylim=(0, None))
    panel.set_title("One-sidedness of momenta (dashed: isotropic limit)")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(fontsize=6, ncols=2)


def _draw_momenta(panel, momenta):
    for (name, values), marker in zip(momenta.items(), "o^", strict=True):
        for n in range(values.shape[1]):
            panel.plot(
                values[:, n, 1],
                values[:, n, 0],
                marker,
                color=f"C{n}",
                markersize=5,
                alpha=0.7,
                label=f"{name}, layer {n + 1}",
                markerfacecolor="none" if marker == "^" else None,
            )
    panel.axvline(0, color="black", linewidth=0.7)
    panel.axhline(0, color="black", linewidth=0.7)
    panel.invert_yaxis()
    panel.set(xlabel="mean $p_x$/‖k‖ (pixels)", ylabel="mean $p_y$/‖k‖ (pixels), down")
    panel.set_title("Mean momenta of networks, a point each")
    panel.legend(fontsize=6, ncols=2)
