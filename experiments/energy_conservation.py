"""Does a scattering network conserve energy layer by layer, and does only 0 have no features?

For a tight frame with the modulus, W_n = F_n + W_(n+1) at every layer n: energy that enters a layer
is collected in features or propagated. Filters of the same kind that are not tight show that this
can fail. Gradient ascent searches the null set for signals whose energy stays out of the features;
a signal without features would be a second element besides 0.
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

STATEMENT = (
    "Tight frames with the modulus conserve energy, and only the zero signal has no features."
)
SOURCE = "arXiv 1704.03636"
CLAIMS = (12,)
#: fixed before any run: tolerance of the energy balance, relative to the signal's energy
ACCOUNTS = 1e-12
#: fixed before any run: a signal is null if its features hold less than this share of its energy
NULL = 1e-6
#: filters that are not made tight, for comparison
LOOSE = "not tight"


@dataclass(frozen=True)
class EnergyConservationSettings:
    """Settings, in double precision.

    Attributes:
        signals: signals and frames of the energy balance.
        search: settings of the search for null signals.
        depths: last layers N whose features the search counts.
    """

    signals: energy_decay.EnergyDecaySettings
    search: worst_signal.WorstSignalSettings
    depths: tuple[int, ...] = (0, 1)


@dataclass(frozen=True)
class Account:
    """Energy balance of one signal in one frame, relative to the signal's energy.

    Attributes:
        frame, signal: names.
        propagated: W_0 … W_(N+1).
        collected: F_0 … F_N.
        gaps: W_n − F_n − W_(n+1), excluding pruned paths, (N + 1,).
    """

    frame: str
    signal: str
    propagated: np.ndarray
    collected: np.ndarray
    gaps: np.ndarray


@dataclass(frozen=True)
class Hidden:
    """Signal with the least energy found in the features of layers 0 … N.

    Attributes:
        frame: its name.
        depth: N.
        features: this energy, for a signal of unit energy.
    """

    frame: str
    depth: int
    features: float


def loosened(bank: Frame) -> Frame:
    """A frame that is not tight: its band-passes are attenuated unequally, by up to one half."""
    weights = np.linspace(0.5, 1, bank.bands.shape[0])
    weights = weights.reshape(-1, *[1] * (bank.bands.ndim - 1)).astype(bank.low.dtype)
    return frames.frame(bank.low, bank.bands * weights)


def account(
    setting: EnergyConservationSettings, frame: str, bank: Frame, signal: str, values: np.ndarray
) -> Account:
    """Energy balance of one signal; pruned paths are excluded on both sides."""
    signals, image = setting.signals, values.ndim == 2
    depth, prune = (
        (signals.image_depth, signals.image_prune) if image else (signals.depth, signals.prune)
    )
    energies = jax.tree.map(np.asarray, scattering.energies(values, bank, depth, prune=prune))
    followed = energies.propagated[:-1] - energies.pruned[:-1]
    gaps = followed - energies.collected - energies.propagated[1:]
    return Account(
        frame,
        signal,
        energies.propagated / energies.energy,
        energies.collected / energies.energy,
        gaps / energies.energy,
    )


def accounts(setting: EnergyConservationSettings) -> list[Account]:
    """Energy balances of all frames and signals, and of wavelets that are not tight."""
    result = []
    for case in tqdm(list(energy_decay.cases(setting.signals)), desc="energy_conservation"):
        result.append(account(setting, *case))
        title, bank, signal, values = case
        if title == energy_decay.WAVELETS:
            result.append(account(setting, LOOSE, loosened(bank), signal, values))
    return result


def find_hidden(setting: EnergyConservationSettings) -> list[Hidden]:
    """Signals of any bandwidth with the least energy in features, found by gradient ascent."""
    result = []
    for frame, bank in worst_signal.banks(setting.search).items():
        for depth in setting.depths:
            worst = worst_signal.search(frame, bank, np.inf, depth, setting=setting.search)
            result.append(Hidden(frame, depth, worst.features))
    return result


def run(out: Path, *, quick: bool = False) -> Finding:
    """Measure energy balances in tight and other frames, and search for a null signal.

    Args:
        out: output folder; created if missing.
        quick: short signals through wavelets only, no images, a short search.

    Returns:
        The largest energy gap, and the least energy in features.

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
        balances, hidden = accounts(setting), find_hidden(setting)
    plot.save(draw(balances, hidden), out / "energy_conservation.png")
    numbers = tuple(_numbers(balances, hidden))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    reading = _reading(balances, hidden)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "verdict": verdict,
        "tolerance": {"accounts": ACCOUNTS, "null": NULL},
        "accounts": [asdict(item) for item in balances],
        "hidden": [asdict(item) for item in hidden],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "energy_conservation.json", files.to_json(record) + "\n")
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {n.name:<64}{n.value:.2g}" for n in numbers),
        "  Gradient ascent is local: signals with less energy in features may exist.",
        f"figure {out / 'energy_conservation.png'}, numbers {out / 'energy_conservation.json'}",
    ]
    signals = setting.signals
    return Finding(
        verdict,
        reading,
        f"{signals.samples} samples, {signals.depth} layers ({signals.image_depth} for images), "
        "modulus, pruned paths excluded on both sides; search for null signals by gradient ascent "
        "from "
        f"{setting.search.starts} random signals of {setting.search.samples} samples; double "
        "precision.",
        numbers,
        out / "energy_conservation.png",
        "\n".join(lines),
    )


def _gap(balances, frame):
    return max(float(np.abs(balance.gaps).max()) for balance in balances if balance.frame == frame)


def _reading(balances, hidden):
    tight = max(
        _gap(balances, frame) for frame in {balance.frame for balance in balances} - {LOOSE}
    )
    least = min(hidden, key=lambda balance: balance.features)
    deepest = min(
        (signal for signal in hidden if signal.depth == max(other.depth for other in hidden)),
        key=_features,
    )
    deeper = "" if deepest == least else f", and {deepest.features:.2g} up to layer {deepest.depth}"
    return (
        f"Energy is {'' if tight <= ACCOUNTS else 'not '}conserved at every layer of every tight "
        f"frame; without tightness, the wavelets lose up to {_gap(balances, LOOSE):.2g} of it in a "
        f"layer. {'No' if least.features > NULL else 'A'} signal without features was found: the "
        f"smallest share in features is {least.features:.2g} up to layer {least.depth}{deeper}."
    )


def _features(signal):
    return signal.features


def _numbers(balances, hidden):
    for frame in dict.fromkeys(item.frame for item in balances):
        wanted = f"at most {ACCOUNTS:g}"
        gap = _gap(balances, frame)
        name = f"largest |W_n − F_n − W_(n+1)|/‖f‖², {frame}"
        if frame == LOOSE:
            yield Number(name, gap)
        else:
            yield Number(name, gap, wanted=wanted, met=gap <= ACCOUNTS)
    for item in hidden:
        layers = f"layers 0 to {item.depth}" if item.depth else "layer 0"
        name = f"least energy in features of {layers}, {item.frame}"
        # the low-pass alone misses all signals of high frequency
        if item.depth == 0:
            yield Number(name, item.features)
        else:
            yield Number(
                name, item.features, wanted=f"more than {NULL:g}", met=item.features > NULL
            )


def draw(balances: list[Account], hidden: list[Hidden]) -> Figure:
    """Energy by layer, energy gaps, and the least energy in features."""
    with plot.style():
        figure = Figure(figsize=(11.5, 3.9), layout="constrained")
        shares, gaps, least = figure.subplots(1, 3)
        _draw_shares(shares, balances[0])
        for i, frame in enumerate(dict.fromkeys(item.frame for item in balances)):
            frame_gaps = [np.abs(item.gaps) for item in balances if item.frame == frame]
            place = np.concatenate([np.flatnonzero(gap) + 0.12 * (i - 2) for gap in frame_gaps])
            values = np.concatenate([gap[gap > 0] for gap in frame_gaps])
            gaps.plot(place, values, "o^sDv"[i], color=f"C{i}", markersize=4, label=frame)
        gaps.axhline(ACCOUNTS, color="black", linestyle="--", linewidth=1, label="tolerance")
        gaps.set(
            yscale="log",
            ylim=(1e-18, 1e4),
            xlabel="layer n",
            title="Energy gaps",
            xticks=range(max(len(item.gaps) for item in balances)),
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
            xticks=sorted({item.depth for item in hidden}),
            title="Least energy found in features",
        )
        least.legend(loc="center right")
    return figure


def _draw_shares(panel, balance):
    """Collected and propagated energy after each layer."""
    layers, collected = np.arange(len(balance.collected)), np.cumsum(balance.collected)
    panel.bar(layers, collected, color="#0072B2", label="collected, F$_0$ + … + F$_n$")
    panel.bar(layers, balance.propagated[1:], bottom=collected, color="#E69F00", label="propagated")
    panel.axhline(1, color="black", linewidth=1)
    panel.set(
        xlabel="layer n",
        ylabel="share of ‖f‖²",
        ylim=(0, 1.28),
        xticks=layers,
        title=f"{balance.signal}, {balance.frame}",
    )
    panel.legend(loc="upper center", fontsize=8)
