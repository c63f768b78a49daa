"""Does a scattering network keep all energy, layer by layer, and is 0 the only signal it misses?

For a tight frame with the modulus W_n = F_n + W_(n+1) at every layer n: what enters a layer is
collected as features or goes on. Filters of the same kind that aren't made tight show that this can
fail. The null set is looked for by gradient ascent to signals whose energy stays out of the
features; one with none of it there would be a second element beside 0.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import energy_decay, ledger, worst_signal
from experiments.ledger import Finding, Number
from infomech import plot, scattering
from infomech._core import files
from infomech.scattering import Frame, frames

STATEMENT = "Tight frames with the modulus conserve energy, and only 0 has no features."
SOURCE = "arXiv 1704.03636"
CLAIMS = (12,)
#: fixed before any run: accounts close if they do to this share of the signal's energy
ACCOUNTS = 1e-12
#: fixed before any run: a signal with less than this share of its energy in features is a null one
NULL = 1e-6
#: filters that are not made tight, for comparison
LOOSE = "not tight"


@dataclass(frozen=True)
class EnergyConservationSettings:
    """What is measured, at double precision.

    Attributes:
        signals: signals and frames of the accounts.
        search: how signals without features are looked for.
        depths: last layers N up to which the search counts features.
    """

    signals: energy_decay.EnergyDecaySettings
    search: worst_signal.WorstSignalSettings
    depths: tuple[int, ...] = (0, 1)


@dataclass(frozen=True)
class Account:
    """The energy of one signal in one frame, as shares of the signal's.

    Attributes:
        frame, signal: names.
        propagated: W_0 … W_(N+1).
        collected: F_0 … F_N.
        gaps: W_n − F_n − W_(n+1) without what was pruned, (N + 1,).
    """

    frame: str
    signal: str
    propagated: np.ndarray
    collected: np.ndarray
    gaps: np.ndarray


@dataclass(frozen=True)
class Hidden:
    """The signal found with the least energy in the features of layers 0 … N.

    Attributes:
        frame: its name.
        depth: N.
        features: that energy, of unit energy.
    """

    frame: str
    depth: int
    features: float


def loosened(bank: Frame) -> Frame:
    """A frame whose band-passes are weaker by up to one half, unequally, so that it isn't tight."""
    weights = np.linspace(0.5, 1, bank.bands.shape[0])
    weights = weights.reshape(-1, *[1] * (bank.bands.ndim - 1)).astype(bank.low.dtype)
    return frames.frame(bank.low, bank.bands * weights)


def account(
    setting: EnergyConservationSettings, frame: str, bank: Frame, signal: str, values: np.ndarray
) -> Account:
    """Passes one signal on; what was pruned is left out on both sides."""
    about, image = setting.signals, values.ndim == 2
    depth, prune = (about.image_depth, about.image_prune) if image else (about.depth, about.prune)
    found = jax.tree.map(np.asarray, scattering.energies(values, bank, depth, prune=prune))
    followed = found.propagated[:-1] - found.pruned[:-1]
    gaps = followed - found.collected - found.propagated[1:]
    return Account(
        frame,
        signal,
        found.propagated / found.energy,
        found.collected / found.energy,
        gaps / found.energy,
    )


def accounts(setting: EnergyConservationSettings) -> list[Account]:
    """All frames and signals, and the wavelets once more, not tight."""
    found = []
    for case in tqdm(list(energy_decay.cases(setting.signals)), desc="energy_conservation"):
        found.append(account(setting, *case))
        title, bank, signal, values = case
        if title == energy_decay.WAVELETS:
            found.append(account(setting, LOOSE, loosened(bank), signal, values))
    return found


def hide(setting: EnergyConservationSettings) -> list[Hidden]:
    """The signals of any bandwidth that ascent finds with the least energy in features."""
    found = []
    for frame, bank in worst_signal.banks(setting.search).items():
        for depth in setting.depths:
            worst = worst_signal.search(frame, bank, np.inf, depth, setting=setting.search)
            found.append(Hidden(frame, depth, worst.features))
    return found


def run(out: Path, *, quick: bool = False) -> Finding:
    """Keeps the accounts of signals in tight and other frames, and looks for a null signal.

    Args:
        out: folder to write to; made if need be.
        quick: short signals through wavelets only, no images, a short search.

    Returns:
        The largest gap in the accounts, and the least energy in features.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = EnergyConservationSettings(
        energy_decay.EnergyDecaySettings(samples=256, depth=4, image_depth=3),
        worst_signal.WorstSignalSettings(starts=2),
    )
    if quick:
        setting = EnergyConservationSettings(
            energy_decay.EnergyDecaySettings(
                samples=32, octaves=2, depth=2, images=(), others=False
            ),
            worst_signal.WorstSignalSettings(16, 2, 0, rounds=1, starts=2),
            depths=(1,),
        )
    with jax.enable_x64(True):
        kept, hidden = accounts(setting), hide(setting)
    plot.save(draw(kept, hidden), out / "energy_conservation.png")
    numbers = tuple(_numbers(kept, hidden))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    reading = _reading(kept, hidden)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "verdict": verdict,
        "tolerance": {"accounts": ACCOUNTS, "null": NULL},
        "accounts": [asdict(one) for one in kept],
        "hidden": [asdict(one) for one in hidden],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "energy_conservation.json", files.to_json(record) + "\n")
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {n.name:<64}{n.value:.2g}" for n in numbers),
        "  Ascent is local: a signal with less may exist.",
        f"figure {out / 'energy_conservation.png'}, numbers {out / 'energy_conservation.json'}",
    ]
    about = setting.signals
    return Finding(
        verdict,
        reading,
        f"{about.samples} samples, {about.depth} layers ({about.image_depth} for images), modulus, "
        f"pruned paths left out on both sides; null signals by gradient ascent from "
        f"{setting.search.starts} random ones of {setting.search.samples} samples; double "
        "precision.",
        numbers,
        out / "energy_conservation.png",
        "\n".join(lines),
    )


def _gap(kept, frame):
    return max(float(np.abs(one.gaps).max()) for one in kept if one.frame == frame)


def _reading(kept, hidden):
    tight = max(_gap(kept, frame) for frame in {one.frame for one in kept} - {LOOSE})
    least = min(hidden, key=lambda one: one.features)
    deepest = min((h for h in hidden if h.depth == max(x.depth for x in hidden)), key=_features)
    return (
        f"Energy is {'' if tight <= ACCOUNTS else 'not '}conserved at every layer of every tight "
        f"frame; where the same wavelets aren't tight up to {_gap(kept, LOOSE):.2g} of it is lost "
        f"in a layer. {'No' if least.features > NULL else 'A'} signal without features was found: "
        f"the least has {least.features:.2g} of its energy there by layer {least.depth}"
        f"{'' if deepest == least else f', and {deepest.features:.2g} by layer {deepest.depth}'}."
    )


def _features(one):
    return one.features


def _numbers(kept, hidden):
    for frame in dict.fromkeys(one.frame for one in kept):
        wanted = f"at most {ACCOUNTS:g}"
        gap = _gap(kept, frame)
        name = f"largest |W_n − F_n − W_(n+1)|/‖f‖², {frame}"
        if frame == LOOSE:
            yield Number(name, gap)
        else:
            yield Number(name, gap, wanted=wanted, met=gap <= ACCOUNTS)
    for one in hidden:
        layers = f"layers 0 to {one.depth}" if one.depth else "layer 0"
        name = f"least energy in features of {layers}, {one.frame}"
        # with the low-pass alone every signal of high frequencies is missed
        if one.depth == 0:
            yield Number(name, one.features)
        else:
            yield Number(name, one.features, wanted=f"more than {NULL:g}", met=one.features > NULL)


def draw(kept: list[Account], hidden: list[Hidden]) -> Figure:
    """Where the energy is, layer by layer; gaps in the accounts; the least energy in features."""
    with plot.style():
        figure = Figure(figsize=(11.5, 3.9), layout="constrained")
        shares, gaps, least = figure.subplots(1, 3)
        _draw_shares(shares, kept[0])
        for i, frame in enumerate(dict.fromkeys(one.frame for one in kept)):
            mine = [np.abs(one.gaps) for one in kept if one.frame == frame]
            place = np.concatenate([np.flatnonzero(gap) + 0.12 * (i - 2) for gap in mine])
            values = np.concatenate([gap[gap > 0] for gap in mine])
            gaps.plot(place, values, "o^sDv"[i], color=f"C{i}", markersize=4, label=frame)
        gaps.axhline(ACCOUNTS, color="black", linestyle="--", linewidth=1, label="tolerance")
        gaps.set(
            yscale="log",
            ylim=(1e-18, 1e4),
            xlabel="layer n",
            title="Gaps in the accounts",
            xticks=range(max(len(one.gaps) for one in kept)),
            ylabel="|W$_n$ − F$_n$ − W$_{n+1}$| / ‖f‖²",
        )
        gaps.legend(loc="upper center", ncols=2, fontsize=7)
        for frame, (color, marker) in worst_signal.LOOKS.items():
            worst = [signal for signal in hidden if signal.frame == frame]
            if worst:
                least.plot(
                    [signal.depth for signal in worst],
                    [max(signal.features, 1e-18) for signal in worst],
                    marker + "-",
                    color=color,
                    label=frame,
                )
        least.axhline(NULL, color="black", linestyle="--", linewidth=1, label="null below")
        least.set(
            yscale="log",
            ylim=(NULL / 30, 3),
            xlabel="last layer N",
            ylabel="Σ$_{n ≤ N}$ F$_n$ / ‖f‖²",
            xticks=sorted({one.depth for one in hidden}),
            title="Least energy in features found",
        )
        least.legend(loc="center right")
    return figure


def _draw_shares(panel, one):
    """Collected so far, and going on, after each layer."""
    layers, collected = np.arange(len(one.collected)), np.cumsum(one.collected)
    panel.bar(layers, collected, color="#0072B2", label="collected, F$_0$ + … + F$_n$")
    panel.bar(layers, one.propagated[1:], bottom=collected, color="#E69F00", label="goes on")
    panel.axhline(1, color="black", linewidth=1)
    panel.set(
        xlabel="layer n",
        ylabel="share of ‖f‖²",
        ylim=(0, 1.28),
        xticks=layers,
        title=f"{one.signal}, {one.frame}",
    )
    panel.legend(loc="upper center", fontsize=8)
