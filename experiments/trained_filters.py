"""Are filters of trained networks dominated by DC and gradients?

The networks are those of `train_digits`, with several initial weights each. Each network is
compared before and after training and with Gaussian taps; mirrored images test the directions.
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
#: fixed before any run: largest error of mirrored weights, relative to the largest weight
MIRRORED = 1e-3


@dataclass(frozen=True)
class TrainedFiltersSettings:
    """Networks to analyze.

    Attributes:
        others: networks other than those with 3×3 filters on digits.
        seeds: number of networks on digits, and on mirrored digits.
        epochs: of training on digits.
        channels: of the layers of the networks on digits.
    """

    others: tuple[Training, ...] = NETWORKS[1:]
    seeds: int = 5
    epochs: int = 32
    channels: tuple[int, ...] = (16, 32, 64)

    @property
    def digits(self) -> list[Training]:
        """Networks on original digits."""
        base = Training(epochs=self.epochs, channels=self.channels)
        return [replace(base, seed=seed) for seed in range(self.seeds)]

    @property
    def flipped(self) -> list[Training]:
        """Networks on mirrored digits."""
        return [
            replace(training, flipped=True, seed=training.seed + self.seeds)
            for training in self.digits
        ]


@dataclass(frozen=True)
class Counted:
    """Census of one network after training, and its change by training.

    Attributes:
        name: of the network.
        found: census after training.
        change: difference from before training.
    """

    name: str
    found: Any
    change: Any


def count(trained: Trained) -> Counted:
    """Census of a network and its change by training."""
    first, last = min(trained.files), max(trained.files)
    census = networks.census(weights.layers(trained.files[last]))
    change = networks.compare(
        weights.layers(trained.files[first]), weights.layers(trained.files[last])
    )
    return Counted(trained.training.name, census, change)


def run(out: Path, *, quick: bool = False) -> Finding:
    """Train missing networks, take the census of their filters, and test four claims.

    Args:
        out: output folder; created if missing.
        quick: two small networks on digits and two on mirrored digits, one epoch, kept in `out`.

    Returns:
        Verdicts with numbers; the first verdict decides.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = TrainedFiltersSettings((), 2, 1, (4, 4, 4)) if quick else TrainedFiltersSettings()
    data = out / "data" if quick else DATA
    plain, mirrored, others = (
        [small_cnn.trained(t, data) for t in flags]
        for flags in (setting.digits, setting.flipped, setting.others)
    )
    counted = [count(network) for network in (*plain, *others)]
    momenta = {
        "digits": np.stack([momentum(network) for network in plain]),
        "mirrored digits": np.stack([momentum(network) for network in mirrored]),
    }
    error = mirrored_training(setting.digits[0])
    plot.save(draw(counted, momenta), out / "trained_filters.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"dominated": 0.5, "mirrored": MIRRORED},
        "networks": {network.name: readings(network) for network in counted},
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
    dominated = [networks.dominance(network.found).dominated.values for network in counted]
    held = np.concatenate(dominated)
    return Finding(
        ledger.verdict(held),
        f"DC and gradients hold more than half of the energy, by the 95 % interval, in "
        f"{held.sum()} of {held.size} layers; by network: "
        + ", ".join(
            f"{network.name} {flags.sum()} of {flags.size}"
            for network, flags in zip(counted, dominated, strict=True)
        )
        + ".",
        "Networks on digits and patches of photographs after training, layer by layer; bootstrap "
        "intervals over filters.",
        tuple(_numbers(counted, dominated, error)),
        out / "trained_filters.png",
        "\n".join(lines),
    )


def _numbers(counted, dominated, error):
    for network, flags in zip(counted, dominated, strict=True):
        low = network.found.sel(part="low")
        for n, (lower, upper) in enumerate(low.share_interval.values.tolist()):
            yield Number(
                f"energy in DC and gradients, {network.name}, layer {n + 1}",
                float(low.share[n]),
                lower,
                upper,
                wanted="interval above 0.5",
                met=bool(flags[n]),
            )
    yield Number(
        "weights not mirrored by mirrored training",
        error,
        unit="of the largest",
        wanted=f"less than {MIRRORED:g}",
        met=error < MIRRORED,
    )


def readings(network: Counted) -> dict[str, Any]:
    """Numbers behind the verdicts, layer by layer."""
    census, change = network.found, network.change
    return {
        "low": census.share.sel(part="low").values,
        "low_interval": census.share_interval.sel(part="low").values,
        "random": census.random.sel(part="low").values,
        "odd": census.share.sel(part="odd").values,
        "change": change.change.sel(part=["low", "odd"]).values,
        "change_interval": change.change_interval.sel(part=["low", "odd"]).values,
        "resultant": census.resultant.values,
        "resultant_random": census.resultant_random.values,
    }


def momentum(network: Trained) -> np.ndarray:
    """Mean p/‖k‖ over the filters of each layer after training, pixels, (layers, 2)."""
    return networks.census(
        weights.layers(network.files[max(network.files)]), keep=0
    ).momentum.values


def mirrored_training(training: Training) -> float:
    """Error of mirrored weights after one epoch on mirrored images from mirrored initial weights.

    Stride 2 keeps samples 0, 2, …, which is not mirror-symmetric for an even number of pixels; all
    strides are therefore 1 here.
    """
    plain = replace(training, epochs=1, stride=1)
    initial = small_cnn.beginning(plain)
    original = small_cnn.train(plain, first=initial)
    mirrored = small_cnn.train(replace(plain, flipped=True), first=_mirror(initial))
    pairs = zip(original.layers, _mirror(mirrored).layers, strict=True)
    errors = [
        float(jnp.max(jnp.abs(a.kernels - b.kernels)) / jnp.max(jnp.abs(a.kernels)))
        for a, b in pairs
    ]
    return max(errors)


def _mirror(params: Parameters) -> Parameters:
    layers = [Filters(jnp.flip(k, -1), bias) for k, bias in params.layers]
    return Parameters(tuple(layers), params.head)


def dominance(counted: list[Counted]) -> list[str]:
    """Layers in which DC and gradients hold more than half of the energy (95 % interval)."""
    verdicts, lines = [], []
    for network in counted:
        words = []
        low = network.found.sel(part="low")
        verdicts += networks.dominance(network.found).dominated.values.tolist()
        for n in range(network.found.sizes["layer"]):
            lower, upper = low.share_interval.values[n]
            words.append(f"{float(low.share[n]):.2f} ({lower:.2f} to {upper:.2f})")
        null = ", ".join(sorted({f"{x:.2f}" for x in low.random.values}))
        lines.append(f"    {network.name:<22}{'  '.join(words)}   random {null}")
    word = {0: "fails", len(verdicts): "holds"}.get(sum(verdicts), "holds in some layers")
    head = f"  {word}: DC and gradients hold more than half of the energy in {sum(verdicts)} of "
    return [f"{head}{len(verdicts)} layers (95 % intervals, first to last layer)", *lines]


def odd(counted: list[Counted]) -> list[str]:
    """Layers in which training raises or lowers the odd share (95 % interval)."""
    lines, count = [], {"up": 0, "down": 0, "neither": 0}
    for network in counted:
        words = []
        change = network.change.sel(part="odd")
        for n in range(network.change.sizes["layer"]):
            low, high = change.change_interval.values[n]
            count["up" if low > 0 else "down" if high < 0 else "neither"] += 1
            words.append(f"{float(change.change[n]):+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"    {network.name:<22}{'  '.join(words)}")
    return [
        f"Change of the odd share by training: it falls in {count['down']} layers, rises in "
        f"{count['up']}, undecided in {count['neither']} (95 % intervals)",
        *lines,
    ]


def _directions(counted: list[Counted]) -> list[str]:
    lines, beyond, uneven, total = [], 0, 0, 0
    for network in counted:
        words = []
        for n in range(network.found.sizes["layer"]):
            resultant, limit = (
                network.found.resultant.values[n],
                float(network.found.resultant_random[n]),
            )
            beyond += int(resultant[0] > limit)
            total += 1
            share = network.found.gradient_axis.values[n][0]
            low, high = network.found.gradient_axis_interval.values[n][0]
            uneven += int(low > 0.5 or high < 0.5)
            words.append(f"{resultant[0]:.2f} ({limit:.2f}), {share:.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"    {network.name:<22}{'  '.join(words)}")
    return [
        f"Isotropy of directions: in {beyond} of {total} layers momenta are more one-sided than in "
        f"19 of 20 isotropic layers of independent filters; energies of ∇y and ∇x differ in "
        f"{uneven} (95 % intervals); length of the mean direction (limit), share of ∇y (95 %)",
        *lines,
    ]


def _mirrors(momenta: dict[str, np.ndarray], error: float) -> list[str]:
    """Mean momenta over networks with Student's t intervals, and the exact statement."""
    lines = [
        f"Mirrored images and initial weights give mirrored weights: "
        f"{'holds' if error < MIRRORED else 'fails'}, error {error:.0e} of the largest weight "
        "after one epoch"
    ]
    plain, mirrored = momenta["digits"], momenta["mirrored digits"]
    opposite = 0
    for n in range(plain.shape[1]):
        words = []
        for axis, name in ((1, "x"), (0, "y")):
            values = [small_cnn.mean(group[:, n, axis]) for group in (plain, mirrored)]
            (mean, half), (mirrored_mean, mirrored_half) = values
            opposite += int(
                name == "x"
                and mean * mirrored_mean < 0
                and abs(mean - mirrored_mean) > np.hypot(half, mirrored_half)
            )
            words.append(f"{name}: " + " and ".join(f"{m:+.3f} ± {h:.3f}" for m, h in values))
        lines.append(f"    layer {n + 1}, mean p/‖k‖, plain and mirrored: {'; '.join(words)}")
    lines.insert(
        1,
        f"Networks with other initial weights show mirrored momenta on mirrored images in "
        f"{opposite} of {plain.shape[1]} layers (means over {len(plain)} networks each, 95 % "
        "intervals)",
    )
    return lines


def draw(counted: list[Counted], momenta: dict[str, np.ndarray]) -> Figure:
    """Low and odd shares before and after training, directions, and mean momenta."""
    with plot.style():
        figure = Figure(figsize=(12.5, 7), layout="constrained")
        (low, odd), (sides, mean) = figure.subplots(2, 2)
        for panel, part, title in (
            (low, "low", "Energy in DC and gradients"),
            (odd, "odd", "Odd share of the energy"),
        ):
            _draw_shares(panel, counted, part)
            panel.set_title(f"{title}, before (open) and after training")
        _draw_sides(sides, counted)
        _draw_momenta(mean, momenta)
    return figure


def _draw_shares(panel, counted, part):
    ticks, labels = [], []
    for n, network in enumerate(_shown(counted)):
        after, before = (
            network.found.sel(part=part),
            network.change.share.sel(part=part, network="first"),
        )
        x = n * 4 + np.arange(network.found.sizes["layer"])
        share, (lower, upper) = after.share.values, after.share_interval.values.T
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
        panel.plot(x, after.random, "_", color="black", markersize=12)
        ticks.append(x.mean())
        labels.append(network.name.replace("-seed", "\nseed "))
    panel.plot([], [], "_", color="black", markersize=12, label="Gaussian taps")
    panel.set_xticks(ticks, labels, fontsize=7)
    panel.set(ylim=(0, 1))
    panel.legend(fontsize=7)


def _shown(counted):
    """One network of each kind."""
    kinds = {network.name.rpartition("-seed")[0]: network for network in reversed(counted)}
    return list(reversed(kinds.values()))


def _draw_sides(panel, counted):
    for network in counted:
        ratio = network.found.resultant.values[:, 0] / network.found.resultant_random.values
        panel.plot(np.arange(1, len(ratio) + 1), ratio, "o-", markersize=3, label=network.name)
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
    panel.set_title("Mean momenta, one point per network")
    panel.legend(fontsize=6, ncols=2)
