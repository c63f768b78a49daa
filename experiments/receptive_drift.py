"""Do momenta predict where filters of trained networks move content, as measured by gradients?

Prediction: momenta add along all paths from the image to a channel. Each path is weighted by the
product of its gains ("signed") or of the energies of its filters ("energy"), with and without the
share of positions where the rectifier of each channel is open (gates). Measurement: center of the
effective receptive field of the middle unit of each channel, weighted by the mean gradient or the
mean squared gradient over test images.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from experiments import ledger, small_cnn
from experiments.ledger import Finding, Number
from experiments.small_cnn import DATA, NETWORKS, Trained, Training
from infomech import plot, rates
from infomech._core import files
from infomech.networks import chain, drift
from infomech.networks.chain import Displaced

STATEMENT = "Momenta of the filters predict where trained networks move content."
SOURCE = "arXiv 2512.24338, extended"
CLAIMS = ()
#: fixed before any run: the prediction holds in a layer if the interval of R² is above this. Layers
#: with fewer than `drift.MIN_UNITS` active channels are undecided; this was added later
HOLDS = 0.9


@dataclass(frozen=True)
class ReceptiveDriftSettings:
    """Networks and images.

    Attributes:
        networks: of `small_cnn`.
        images: number of test images for the gradients.
        samples: bootstrap resamples.
        seed: of the bootstrap.
    """

    networks: tuple[Training, ...] = NETWORKS
    images: int = 24
    samples: int = 1000
    seed: int = 0


class Case(NamedTuple):
    """A network before or after training, and the displacements by its layers."""

    network: str
    trained: bool
    layers: list[Displaced]


def canvas(training: Training, count: int) -> np.ndarray:
    """Test images, zero-padded until no receptive field is cut."""
    pixels = small_cnn.images(training).test[:count]
    short = np.maximum(np.array(chain.reach(training.spec)) + 6 - pixels.shape[2:], 0)
    return np.pad(pixels, ((0, 0), (0, 0), *((n // 2, n - n // 2) for n in short)))


def measure(network: Trained, trained: bool, setting: ReceptiveDriftSettings) -> Case:
    """Displacements by all layers of a network before or after training, by weighting."""
    path = network.files[max(network.files) if trained else min(network.files)]
    # double precision: the signed paths of deep layers cancel
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(np.float64), small_cnn.load(path))
        displaced = chain.displacements(
            params,
            canvas(network.training, setting.images).astype(np.float64),
            spec=network.training.spec,
            key=jax.random.key(setting.seed),
            resamples=setting.samples,
        )
    return Case(network.training.name, trained, jax.tree.map(np.asarray, displaced))


def run(out: Path, *, quick: bool = False) -> Finding:
    """Predict and measure the displacement of every channel, before and after training.

    Args:
        out: output folder; created if missing.
        quick: one small network, few images; kept in `out`.

    Returns:
        Slopes, R² and the verdict.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = ReceptiveDriftSettings()
    if quick:
        setting = ReceptiveDriftSettings(
            (Training(channels=(4, 6), epochs=1),), images=8, samples=100
        )
    data = out / "data" if quick else DATA
    cases = []
    for training in tqdm(setting.networks, desc="receptive_drift", unit="network"):
        network = small_cnn.trained(training, data)
        for trained in (False, True):
            cases.append(measure(network, trained, setting))
    after = {case.network: case.layers for case in cases if case.trained}
    plot.save(plot.drift(after), out / "receptive_drift.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"r_squared": HOLDS},
        "cases": [case._asdict() for case in cases],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "receptive_drift.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]"]
    for weighting in drift.WEIGHTINGS:
        for trained in (False, True):
            lines += _report([c for c in cases if c.trained is trained], weighting)
    lines.append(f"figure {out / 'receptive_drift.png'}, numbers {out / 'receptive_drift.json'}")
    numbers = tuple(_number(name, layer) for name, layers in after.items() for layer in layers)
    decided = [number for number in numbers if number.met is not None]
    agreeing = [number for number in decided if number.met]
    undecided = len(numbers) - len(decided)
    return Finding(
        ledger.verdict(number.met for number in decided),
        f"After training, displacements predicted with known gates agree with measured ones in "
        f"{len(agreeing)} of {len(decided)} pairs of layer and weighting"
        f"{f' ({undecided} more are undecided: too few channels)' if undecided else ''}: "
        f"{'; '.join(number.name.removeprefix('R², ') for number in agreeing) or 'none'}.",
        f"All channels of {len(after)} trained networks, gradients on {setting.images} test "
        "images, double precision; bootstrap intervals over channels.",
        numbers,
        out / "receptive_drift.png",
        "\n".join(lines),
    )


def _number(network, displaced):
    agreement, name = (
        displaced.agreement,
        f"R², {network}, layer {displaced.layer}, {displaced.weighting}",
    )
    verdict = agreement.verdict(HOLDS)
    if verdict in (drift.TOO_FEW, drift.ALIKE):
        return Number(name, None, wanted=f"interval above {HOLDS}; {verdict}")
    score, low, high = (
        float(s.r_squared) for s in (agreement.scores, agreement.low, agreement.high)
    )
    return Number(
        name, score, low, high, wanted=f"interval above {HOLDS}", met=verdict == drift.HOLDS
    )


def _report(cases: list[Case], weighting: str) -> list[str]:
    rows = [
        (c.network, displaced)
        for c in cases
        for displaced in c.layers
        if displaced.weighting == weighting
    ]
    verdicts = [displaced.agreement.verdict(HOLDS) for _, displaced in rows]
    holding = verdicts.count(drift.HOLDS)
    decided = holding + verdicts.count(drift.NOT_HELD)
    word = (
        "undecided, too few channels"
        if not decided
        else ({0: "fails", decided: "holds"}.get(holding, "holds in some layers"))
    )
    when = "after" if cases[0].trained else "before"
    rest = f", {len(rows) - decided} undecided (too few channels)" if decided < len(rows) else ""
    lines = [
        f"  {weighting}, {when} training: {word}; interval of R² above {HOLDS} in {holding} of "
        f"{decided} layers{rest}, with known gates (below: without, with gates)"
    ]
    for network, displaced in rows:
        a, b = displaced.ungated, displaced.agreement
        channels = f"{int(b.used)} of {len(displaced.measured.balance)} channels"
        words = b.reason or (
            f"R² {_shown(a.scores)}, {_shown(b.scores)} ({_shown(b.low)} to {_shown(b.high)})  "
            f"slope {a.scores.slope:.2f}, {b.scores.slope:.2f} ({b.low.slope:.2f} to "
            f"{b.high.slope:.2f})"
        )
        lines.append(f"    {network:<22}layer {displaced.layer}  {words}  {channels}")
    return lines


def _shown(scores: drift.Scores) -> str:
    return rates.format_r_squared(float(scores.r_squared), 2)
