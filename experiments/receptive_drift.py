"""Where filters of trained networks move content: predicted by momenta, measured by gradients.

Prediction: momenta add along all paths from the image to a channel, each weighted by the product of
its gains ("signed"), or of the energies of its filters ("energy"), with and without the share of
positions where the rectifiers of each channel are open. Measurement: center of the effective
receptive field of one unit in the middle per channel, weighted by the mean gradient or by the
mean squared gradient over images that the network hasn't seen.
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

STATEMENT = "Momenta of the filters predict where trained networks move what they see."
SOURCE = "arXiv 2512.24338, taken further"
CLAIMS = ()
#: fixed before any run: the prediction holds in a layer if the lower end of R² is above this; that
#: layers of fewer than `drift.MIN_UNITS` channels in use can't be told was added later
HOLDS = 0.9


@dataclass(frozen=True)
class ReceptiveDriftSettings:
    """What is measured.

    Attributes:
        networks: of `small_cnn`.
        images: not seen in training, on which gradients are taken.
        samples: of the bootstrap.
        seed: of it.
    """

    networks: tuple[Training, ...] = NETWORKS
    images: int = 24
    samples: int = 1000
    seed: int = 0


class Case(NamedTuple):
    """A network before or after training, and what each of its layers does."""

    network: str
    trained: bool
    layers: list[Displaced]


def canvas(training: Training, count: int) -> np.ndarray:
    """Images held out, in the middle of zeros, so that no receptive field is cut."""
    pixels = small_cnn.images(training).test[:count]
    short = np.maximum(np.array(chain.reach(training.spec)) + 6 - pixels.shape[2:], 0)
    return np.pad(pixels, ((0, 0), (0, 0), *((n // 2, n - n // 2) for n in short)))


def measure(one: Trained, trained: bool, setting: ReceptiveDriftSettings) -> Case:
    """All layers of a network, before or after training, by each weighting."""
    path = one.files[max(one.files) if trained else min(one.files)]
    # in single precision the signed paths of deep layers cancel down to rounding
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(np.float64), small_cnn.load(path))
        found = chain.displacements(
            params,
            canvas(one.training, setting.images).astype(np.float64),
            spec=one.training.spec,
            key=jax.random.key(setting.seed),
            samples=setting.samples,
        )
    return Case(one.training.name, trained, jax.tree.map(np.asarray, found))


def run(out: Path, *, quick: bool = False) -> Finding:
    """Predicts and measures the displacement of every channel, before and after training.

    Args:
        out: folder to write to; made if need be.
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
    found = []
    for training in tqdm(setting.networks, desc="receptive_drift", unit="network"):
        one = small_cnn.trained(training, data)
        for trained in (False, True):
            found.append(measure(one, trained, setting))
    after = {case.network: case.layers for case in found if case.trained}
    plot.save(plot.drift(after), out / "receptive_drift.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"r_squared": HOLDS},
        "cases": [case._asdict() for case in found],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "receptive_drift.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]"]
    for weighting in drift.WEIGHTINGS:
        for trained in (False, True):
            lines += _report([c for c in found if c.trained is trained], weighting)
    lines.append(f"figure {out / 'receptive_drift.png'}, numbers {out / 'receptive_drift.json'}")
    numbers = tuple(_number(network, one) for network, every in after.items() for one in every)
    known = [number for number in numbers if number.met is not None]
    held = [number for number in known if number.met]
    more = len(numbers) - len(known)
    return Finding(
        ledger.verdict(number.met for number in known),
        f"After training, displacements predicted with gates known follow those measured in "
        f"{len(held)} of {len(known)} pairs of layer and weighting"
        f"{f', and {more} more have too few channels to tell' if more else ''}: "
        f"{'; '.join(number.name.removeprefix('R², ') for number in held) or 'none'}.",
        f"Every channel of {len(after)} trained networks, gradients on {setting.images} images "
        "not seen in training, double precision; intervals by bootstrap over channels.",
        numbers,
        out / "receptive_drift.png",
        "\n".join(lines),
    )


def _number(network, one):
    agreed, name = one.agreement, f"R², {network}, layer {one.layer}, {one.weighting}"
    verdict = agreed.verdict(HOLDS)
    if verdict in (drift.TOO_FEW, drift.ALIKE):
        return Number(name, None, wanted=f"interval above {HOLDS}; {verdict}")
    score, low, high = (float(s.r_squared) for s in (agreed.scores, agreed.low, agreed.high))
    return Number(
        name, score, low, high, wanted=f"interval above {HOLDS}", met=verdict == drift.HOLDS
    )


def _report(cases: list[Case], weighting: str) -> list[str]:
    rows = [(c.network, one) for c in cases for one in c.layers if one.weighting == weighting]
    verdicts = [one.agreement.verdict(HOLDS) for _, one in rows]
    held = verdicts.count(drift.HOLDS)
    known = held + verdicts.count(drift.NOT_HELD)
    word = (
        "too few channels to tell"
        if not known
        else ({0: "fails", known: "holds"}.get(held, "holds in some layers"))
    )
    when = "after" if cases[0].trained else "before"
    more = f", {len(rows) - known} have too few channels to tell" if known < len(rows) else ""
    lines = [
        f"  {weighting}, {when} training: {word}; R² is above {HOLDS} for sure in {held} of "
        f"{known} layers{more}, gates known (below: without, with gates)"
    ]
    for network, one in rows:
        a, b = one.ungated, one.agreement
        channels = f"{int(b.used)} of {len(one.measured.balance)} channels"
        words = b.reason or (
            f"R² {_shown(a.scores)}, {_shown(b.scores)} ({_shown(b.low)} to {_shown(b.high)})  "
            f"slope {a.scores.slope:.2f}, {b.scores.slope:.2f} ({b.low.slope:.2f} to "
            f"{b.high.slope:.2f})"
        )
        lines.append(f"    {network:<22}layer {one.layer}  {words}  {channels}")
    return lines


def _shown(scores: drift.Scores) -> str:
    return rates.format_r_squared(float(scores.r_squared), 2)
