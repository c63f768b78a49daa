"""Is there a prototype filter for any factor of decay, and does energy decay by it?

Wavelets of dilation r contract by (r² + 1)/(r² − 1), uniform filters whose prototype is b wide and
starts at the gap δ by 1 + 2 δ/b. So r and b can be chosen for a factor a that is wanted; what is
bought with it is more bands. Built on a grid, such frames have factors of their own, and the energy
of signals passed through them falls layer by layer.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import plot, scattering
from infomech._core import files
from infomech.scattering import Frame, bounds, signals, supports

STATEMENT = "There is a prototype filter for any factor of decay, and energy decays at least by it."
SOURCE = "arXiv 1707.02711"
CLAIMS = (16,)
#: fixed before any run: a frame has the factor wanted if its own is within this share of it
DESIGNED = 0.02
#: fixed before any run: an energy exceeds its guarantee from this share on
EXCESS = 1e-9
WAVELETS, UNIFORM = "wavelets", "uniform filters"


@dataclass(frozen=True)
class TopologySettings:
    """What is designed and measured.

    Attributes:
        factors: a, that are wanted.
        samples: of the signals.
        octaves: of the wavelets above the gap, less one step r.
        bands: of the uniform filters on either side.
        depth: N; energies go up to W_(N+1).
        prune: bands with at most this share of the energy are not computed, but accounted for.
        signals: of `infomech.scattering.signals`.
    """

    factors: tuple[float, ...] = (1.25, 5 / 3, 2.0, 3.0, 5.0)
    samples: int = 1024
    octaves: int = 3
    bands: int = 8
    depth: int = 4
    prune: float = 1e-7
    signals: tuple[str, ...] = signals.SIGNALS


@dataclass(frozen=True)
class Case:
    """One design and one signal passed through it; energies are shares of the signal's.

    Attributes:
        kind, signal: which.
        wanted, own: factors a.
        bands: of the frame on either side.
        energies: W_0 … W_(N+1), as much as may be.
        last: layer whose energy is known to a factor of two in spite of pruning; 2 at least.
        guaranteed: bounds on them.
    """

    kind: str
    signal: str
    wanted: float
    own: float
    bands: int
    energies: np.ndarray
    last: int
    guaranteed: np.ndarray

    @property
    def excess(self) -> float:
        """By how much an energy exceeds its guarantee at most."""
        return float(np.max(self.energies[1:] - self.guaranteed[1:]))

    @property
    def measured(self) -> float:
        """By which energy falls from W_1 to the last layer known: a geometric mean, at least."""
        fall = self.energies[1] / self.energies[self.last]
        return float(fall ** (1 / (self.last - 1)))


def designs(setting: TopologySettings) -> Iterator[tuple[str, float, Frame]]:
    """A frame of either kind for each factor."""
    for factor in setting.factors:
        dilation = bounds.dilation_for(factor)
        yield (
            WAVELETS,
            factor,
            scattering.meyer(setting.samples, setting.octaves, dilation=dilation),
        )
        # a gap as wide as the factor leaves prototypes of more than two spacings
        width = bounds.width_for(factor, gap=factor)
        bank = scattering.weyl_heisenberg(setting.samples, setting.bands, width=width, gap=factor)
        yield UNIFORM, factor, bank


def measure(kind: str, factor: float, bank: Frame, name: str, setting: TopologySettings) -> Case:
    """Energies of one signal through one design."""
    values = signals.signal(name, shape=setting.samples, dtype="float64")
    found = scattering.energies(values, bank, setting.depth, prune=setting.prune)
    low, high = np.asarray(found.propagated_bounds).T
    limit = bounds.guaranteed(values, bank, setting.depth + 1)
    return Case(
        kind,
        name,
        factor,
        float(supports.factors(bank).min()),
        len(bank.bands) // 2,
        np.asarray(high / found.energy),
        max(2, int(np.flatnonzero(low > 0.5 * high)[-1])),
        np.asarray(limit / found.energy),
    )


def run(out: Path, *, quick: bool = False) -> Finding:
    """Designs wavelets and uniform filters for given factors and measures the decay.

    Args:
        out: folder to write to; made if need be.
        quick: one factor and one signal, three layers.

    Returns:
        The factors of the frames and of the decay beside those wanted.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = TopologySettings()
    if quick:
        setting = TopologySettings((3.0,), 512, depth=3, prune=1e-5, signals=("noise",))
    with jax.enable_x64(True):
        found = [
            measure(kind, factor, bank, name, setting)
            for kind, factor, bank in tqdm(list(designs(setting)), desc="topology", unit="frame")
            for name in setting.signals
        ]
    plot.save(draw(found), out / "topology.png")
    numbers = tuple(_numbers(found))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"designed": DESIGNED, "excess": EXCESS},
        "verdict": verdict,
        "cases": [asdict(c) for c in found],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "topology.json", files.to_json(record) + "\n")
    reading = _reading(found)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {_line(case)}" for case in found),
        f"figure {out / 'topology.png'}, numbers {out / 'topology.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"Factors {', '.join(f'{a:.3g}' for a in setting.factors)}; {', '.join(setting.signals)} "
        f"of {setting.samples} samples, modulus, {setting.depth} layers, pruned paths counted as "
        "energy that is left, double precision.",
        numbers,
        out / "topology.png",
        "\n".join(lines),
    )


def _firsts(found):
    """One case of each design."""
    return list({(case.kind, case.wanted): case for case in reversed(found)}.values())[::-1]


def _built(case):
    return abs(case.own / case.wanted - 1) <= DESIGNED


def _reading(found):
    frames = _firsts(found)
    most = max((f for f in frames if f.kind == WAVELETS), key=lambda case: case.bands)
    least: dict[float, list[float]] = {case.wanted: [] for case in found}
    for case in found:
        least[case.wanted].append(case.measured)
    slowest = ", ".join(f"{min(some):.3g} for {a:.3g}" for a, some in least.items())
    return (
        f"{sum(map(_built, frames))} of {len(frames)} frames have the factor that they were "
        f"designed for; {sum(c.excess <= EXCESS for c in found)} of {len(found)} signals keep to "
        f"the guarantee, and {sum(c.measured >= c.wanted for c in found)} fall by the factor "
        f"wanted or more. Least measured by wanted: {slowest}. "
        f"A factor of {most.wanted:.3g} takes {most.bands} wavelets on either side."
    )


def _numbers(found):
    for case in _firsts(found):
        yield Number(
            f"factor of the frame, {case.kind} for a = {case.wanted:.4g}",
            case.own,
            wanted=f"{case.wanted:.4g} to within {DESIGNED:.0%}",
            met=_built(case),
        )
    for case in found:
        name = f"{case.kind} for a = {case.wanted:.4g}, {case.signal}"
        yield Number(
            f"W_n above its guarantee, {name}",
            case.excess,
            wanted=f"at most {EXCESS:g} of the energy",
            met=case.excess <= EXCESS,
        )
        yield Number(
            f"mean factor from W_1 on, {name}",
            case.measured,
            wanted=f"at least {case.wanted:.4g}",
            met=case.measured >= case.wanted,
        )


def _line(case):
    return (
        f"{case.kind:<16}{case.signal:<9}wanted {case.wanted:.3f}, frame {case.own:.3f}, "
        f"{case.bands} bands; measured {case.measured:.3g}"
    )


def draw(found: list[Case]) -> Figure:
    """Factors of frames and of decay against those wanted, and energies of wavelets."""
    looks = {WAVELETS: ("#0072B2", "o"), UNIFORM: ("#D55E00", "^")}
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        built, energies, measured = figure.subplots(1, 3)
        for case in _firsts(found):
            built.plot(case.wanted, case.own, looks[case.kind][1], color=looks[case.kind][0])
        factors = sorted({case.wanted for case in found})
        for case in found:
            if case.kind == WAVELETS and case.signal == found[0].signal:
                color, n = f"C{factors.index(case.wanted)}", np.arange(len(case.energies))
                known = slice(case.last + 1)
                energies.plot(
                    n[known],
                    case.energies[known],
                    "o-",
                    markersize=4,
                    color=color,
                    label=f"a = {case.wanted:.3g}",
                )
                energies.plot(n[1:], case.guaranteed[1:], "--", linewidth=1, color=color)
            color, marker = looks[case.kind]
            measured.plot(case.wanted, case.measured, marker, color=color, markersize=4)
        for panel, words in (
            (built, "factor of the frame"),
            (measured, "mean factor from W$_1$ on"),
        ):
            panel.plot(factors, factors, "k--", linewidth=1, label="as wanted")
            for kind, (color, marker) in looks.items():
                panel.plot([], [], marker, color=color, label=kind)
            panel.set(xscale="log", yscale="log", xlabel="wanted factor a", ylabel=words)
            panel.legend()
        built.set_title("Designed frames")
        measured.set_title("Decay, all signals")
        energies.set(
            yscale="log",
            xlabel="layer n",
            ylabel="W$_n$ / ‖f‖²",
            title=f"Wavelets, {found[0].signal} (dashed: guaranteed)",
        )
        energies.legend()
    return figure
