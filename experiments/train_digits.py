"""Train small CNNs on digits and patches of photographs, and watch modes of filters emerge.

Networks with 3×3, 5×5 and 7×7 filters learn scikit-learn's digits, and one with 3×3 filters
classifies photographs by a patch. All claims about trained filters use their weights.
"""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments import ledger, small_cnn
from experiments.ledger import Finding, Number
from experiments.small_cnn import DATA, NETWORKS, Trained, Training, trained
from infomech import networks, plot, weights
from infomech._core import files

STATEMENT = "Small CNNs reach a test accuracy of at least 98 % on digits."
SOURCE = "this project's networks"
CLAIMS = ()
#: fixed before any run: least test accuracy
ACCURACY = 0.98


def run(out: Path, *, quick: bool = False) -> Finding:
    """Train the missing networks, and measure the modes of their filters during training.

    Args:
        out: output folder; created if missing.
        quick: one small network for two epochs, kept in `out` instead of `DATA`.

    Returns:
        Test accuracy of each network and the verdict.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    trainings = (Training(channels=(8, 8, 8), epochs=2),) if quick else NETWORKS
    started = time.perf_counter()
    results = [trained(t, out / "data" if quick else DATA) for t in trainings]
    seconds = time.perf_counter() - started
    tables = [appearance(network) for network in results]
    plot.save(draw(results, tables), out / "train_digits.png")
    final = {
        network.training.name: network.accuracy[network.training.epochs] for network in results
    }
    on_digits = [
        final[network.training.name] for network in results if network.training.data == "digits"
    ]
    holds = min(on_digits) >= ACCURACY
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "tolerance": {"accuracy": ACCURACY},
        "accuracy": {network.training.name: network.accuracy for network in results},
        "seconds": seconds,
        "settings": [asdict(network.training) for network in results],
        "share_of_low_modes": tables,
        "provenance": files.provenance(),
    }
    files.write_text(out / "train_digits.json", files.to_json(record) + "\n")
    text = "\n".join(
        [
            f"Claim: {STATEMENT}",
            f"  {'holds' if holds else 'fails'}: test accuracy at least {min(on_digits):.1%} "
            "(n = 360)",
            *(f"    {name:<24}{score:.1%}" for name, score in final.items()),
            f"weights in {(out / 'data') if quick else DATA}, {seconds:.0f} s",
            f"figure {out / 'train_digits.png'}, numbers {out / 'train_digits.json'}",
        ]
    )
    reached = [score >= ACCURACY for score in on_digits]
    return Finding(
        ledger.verdict(reached),
        f"{sum(reached)} of {len(reached)} networks on digits reach a test accuracy of at least "
        f"{ACCURACY:.0%}; the criterion does not apply to the network on patches of photographs.",
        "Three layers of 3×3, 5×5 and 7×7 filters with ReLU, trained with Adam on scikit-learn's "
        "digits: 1,437 training and 360 test images."
        if not quick
        else "One small network after two epochs.",
        tuple(_number(network) for network in results),
        out / "train_digits.png",
        text,
    )


def _number(network):
    score, count = (
        network.accuracy[network.training.epochs],
        len(small_cnn.images(network.training).test),
    )
    interval = ledger.proportion(round(score * count), count)
    if network.training.data != "digits":
        return Number(f"accuracy, {network.training.name}", *interval)
    return Number(
        f"accuracy, {network.training.name}",
        *interval,
        wanted=f"at least {ACCURACY}",
        met=score >= ACCURACY,
    )


def appearance(network: Trained) -> dict[str, np.ndarray]:
    """Energy shares of DC and gradients, and of odd parts, (epochs, layers) each."""
    censuses = [networks.census(weights.layers(path), keep=0) for path in network.files.values()]
    return {
        part: np.stack([census.share.sel(part=part).values for census in censuses])
        for part in ("low", "odd")
    }


def draw(results: list[Trained], tables: list[dict[str, np.ndarray]]) -> Figure:
    """Test accuracy and share of low modes during training."""
    with plot.style():
        figure = Figure(figsize=(3.1 * (len(results) + 1), 3.2), layout="constrained")
        accuracies, *panels = figure.subplots(1, len(results) + 1, squeeze=False)[0]
        for network in results:
            epochs, scores = list(network.accuracy), list(network.accuracy.values())
            accuracies.plot(epochs, scores, "o-", markersize=3, label=network.training.name)
        accuracies.axhline(ACCURACY, color="black", linestyle="--", linewidth=1)
        accuracies.set(xscale="symlog", xlim=(0, None), xlabel="epoch", title="Test accuracy")
        accuracies.legend(fontsize=7)
        for panel, network, table in zip(panels, results, tables, strict=True):
            for n, shares in enumerate(table["low"].T):
                panel.plot(list(network.files), shares, "o-", markersize=3, label=f"layer {n + 1}")
            null = 3 / network.training.size**2
            panel.axhline(null, color="black", linestyle="--", linewidth=1, label="random taps")
            panel.set(xscale="symlog", xlim=(0, None), ylim=(0, 1), xlabel="epoch")
            panel.set_title(f"{network.training.name}:\nenergy in DC and gradients")
            panel.legend(fontsize=7)
    return figure
