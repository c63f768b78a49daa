"""Small CNNs learn digits and patches of photographs: how well, and how modes of filters appear.

Filters of 3×3, 5×5 and 7×7 learn scikit-learn's digits, and 3×3 filters to tell photographs apart
by a patch. Their weights serve all claims about trained filters.
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

STATEMENT = "Small CNNs learn digits to at least 98 % on images that they haven't seen."
SOURCE = "the project's own networks"
CLAIMS = ()
#: fixed before any run
ACCURACY = 0.98


def run(out: Path, *, quick: bool = False) -> Finding:
    """Trains the networks that aren't there yet and shows how the modes of their filters appear.

    Args:
        out: folder to write the figure and the numbers to; made if need be.
        quick: one small network for two epochs, kept in `out` instead of `DATA`.

    Returns:
        Accuracy of each network and the verdict.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    chosen = (Training(channels=(8, 8, 8), epochs=2),) if quick else NETWORKS
    started = time.perf_counter()
    found = [trained(t, out / "data" if quick else DATA) for t in chosen]
    seconds = time.perf_counter() - started
    tables = [appearance(one) for one in found]
    plot.save(draw(found, tables), out / "train_digits.png")
    ends = {one.training.name: one.accuracy[one.training.epochs] for one in found}
    on_digits = [ends[one.training.name] for one in found if one.training.data == "digits"]
    holds = min(on_digits) >= ACCURACY
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "tolerance": {"accuracy": ACCURACY},
        "accuracy": {one.training.name: one.accuracy for one in found},
        "seconds": seconds,
        "settings": [asdict(one.training) for one in found],
        "share_of_low_modes": tables,
        "provenance": files.provenance(),
    }
    files.write_text(out / "train_digits.json", files.to_json(record) + "\n")
    text = "\n".join(
        [
            f"Claim: {STATEMENT}",
            f"  {'holds' if holds else 'fails'}: {min(on_digits):.1%} at least on 360 held out",
            *(f"    {name:<24}{score:.1%}" for name, score in ends.items()),
            f"weights in {(out / 'data') if quick else DATA}, {seconds:.0f} s",
            f"figure {out / 'train_digits.png'}, numbers {out / 'train_digits.json'}",
        ]
    )
    good = [score >= ACCURACY for score in on_digits]
    return Finding(
        ledger.verdict(good),
        f"{sum(good)} of {len(good)} networks on digits tell at least {ACCURACY:.0%} of the images "
        "held out; the one on patches of photographs isn't held to that.",
        "Three layers of 3×3, 5×5 and 7×7 filters with ReLU, Adam, scikit-learn's digits: 1,437 "
        "to learn from, 360 held out."
        if not quick
        else "One small network after two epochs.",
        tuple(_number(one) for one in found),
        out / "train_digits.png",
        text,
    )


def _number(one):
    score, images = one.accuracy[one.training.epochs], len(small_cnn.images(one.training).test)
    interval = ledger.proportion(round(score * images), images)
    if one.training.data != "digits":
        return Number(f"accuracy, {one.training.name}", *interval)
    return Number(
        f"accuracy, {one.training.name}",
        *interval,
        wanted=f"at least {ACCURACY}",
        met=score >= ACCURACY,
    )


def appearance(one: Trained) -> dict[str, np.ndarray]:
    """Shares of the energy in DC and the gradients, and in odd parts, (epochs, layers) each."""
    every = [networks.census(weights.layers(path), keep=0) for path in one.files.values()]
    return {
        part: np.stack([found.share.sel(part=part).values for found in every])
        for part in ("low", "odd")
    }


def draw(found: list[Trained], tables: list[dict[str, np.ndarray]]) -> Figure:
    """Accuracy and the share of low modes while networks learn."""
    with plot.style():
        figure = Figure(figsize=(3.1 * (len(found) + 1), 3.2), layout="constrained")
        first, *panels = figure.subplots(1, len(found) + 1, squeeze=False)[0]
        for one in found:
            epochs, scores = list(one.accuracy), list(one.accuracy.values())
            first.plot(epochs, scores, "o-", markersize=3, label=one.training.name)
        first.axhline(ACCURACY, color="black", linestyle="--", linewidth=1)
        first.set(
            xscale="symlog", xlim=(0, None), xlabel="epoch", title="Accuracy, images held out"
        )
        first.legend(fontsize=7)
        for panel, one, table in zip(panels, found, tables, strict=True):
            for n, shares in enumerate(table["low"].T):
                panel.plot(list(one.files), shares, "o-", markersize=3, label=f"layer {n + 1}")
            null = 3 / one.training.size**2
            panel.axhline(null, color="black", linestyle="--", linewidth=1, label="random taps")
            panel.set(xscale="symlog", xlim=(0, None), ylim=(0, 1), xlabel="epoch")
            panel.set_title(f"{one.training.name}:\nenergy in DC and gradients")
            panel.legend(fontsize=7)
    return figure
