"""Is there a prototype filter for any decay factor, and does energy decay by that factor?

Wavelets of dilation r contract by (r² + 1)/(r² − 1); uniform filters whose prototype has width b
and starts at the gap δ contract by 1 + 2 δ/b. Choosing r and b gives any desired factor a, at the
cost of more bands. This experiment measures the factors of such frames on a grid, and the energy of
signals passed through them.
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

STATEMENT = (
    "For any decay factor there is a prototype filter, and energy decays at least by that factor."
)
SOURCE = "arXiv 1707.02711"
CLAIMS = (16,)
#: fixed before any run: largest relative error of the factor of a frame
DESIGNED = 0.02
#: fixed before any run: tolerance on the guarantee, relative to the signal's energy
EXCESS = 1e-9
WAVELETS, UNIFORM = "wavelets", "uniform filters"


@dataclass(frozen=True)
class TopologySettings:
    """Designs and signals.

    Attributes:
        factors: target factors a.
        samples: of the signals.
        octaves: of the wavelets above the gap, minus one step r.
        bands: of the uniform filters on either side.
        depth: N; energies go up to W_(N+1).
        prune: bands with at most this share of the energy are not computed but included in the
            bounds.
        signals: from `infomech.scattering.signals`.
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
    """One design and one signal; energies relative to the signal's energy.

    Attributes:
        kind, signal: the case.
        wanted, own: factors a, of the target and of the frame.
        bands: of the frame on either side.
        energies: upper bounds on W_0 … W_(N+1).
        last: last layer whose energy is known to a factor of two despite pruning; at least 2.
        guaranteed: guarantees for these energies.
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
        """Largest excess of an energy over its guarantee."""
        return float(np.max(self.energies[1:] - self.guaranteed[1:]))

    @property
    def measured(self) -> float:
        """Mean (geometric) decay factor from W_1 to the last known layer, a lower bound."""
        fall = self.energies[1] / self.energies[self.last]
        return float(fall ** (1 / (self.last - 1)))


def designs(setting: TopologySettings) -> Iterator[tuple[str, float, Frame]]:
    """One frame of each kind for each factor."""
    for factor in setting.factors:
        dilation = bounds.dilation_for(factor)
        yield (
            WAVELETS,
            factor,
            scattering.meyer(setting.samples, setting.octaves, dilation=dilation),
        )
        # with a gap equal to the factor, prototypes are wider than two spacings
        width = bounds.width_for(factor, gap=factor)
        bank = scattering.weyl_heisenberg(setting.samples, setting.bands, width=width, gap=factor)
        yield UNIFORM, factor, bank


def measure(kind: str, factor: float, bank: Frame, name: str, setting: TopologySettings) -> Case:
    """Energies of one signal through one design."""
    values = signals.signal(name, shape=setting.samples, dtype="float64")
    result = scattering.energies(values, bank, setting.depth, prune=setting.prune)
    low, high = np.asarray(result.propagated_bounds).T
    limit = bounds.guaranteed(values, bank, setting.depth + 1)
    return Case(
        kind,
        name,
        factor,
        float(supports.factors(bank).min()),
        len(bank.bands) // 2,
        np.asarray(high / result.energy),
        max(2, int(np.flatnonzero(low > 0.5 * high)[-1])),
        np.asarray(limit / result.energy),
    )


def run(out: Path, *, quick: bool = False) -> Finding:
    """Design wavelets and uniform filters for given factors, and measure the decay.

    Args:
        out: output folder; created if missing.
        quick: one factor and one signal, three layers.

    Returns:
        Factors of the frames and of the decay, compared with their targets.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = TopologySettings()
    if quick:
        setting = TopologySettings((3.0,), 512, depth=3, prune=1e-5, signals=("noise",))
    with jax.enable_x64(True):
        cases = [
            measure(kind, factor, bank, name, setting)
            for kind, factor, bank in tqdm(list(designs(setting)), desc="topology", unit="frame")
            for name in setting.signals
        ]
    plot.save(draw(cases), out / "topology.png")
    numbers = tuple(_numbers(cases))
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"designed": DESIGNED, "excess": EXCESS},
        "verdict": verdict,
        "cases": [asdict(c) for c in cases],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "topology.json", files.to_json(record) + "\n")
    reading = _reading(cases)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {_line(case)}" for case in cases),
        f"figure {out / 'topology.png'}, numbers {out / 'topology.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"Factors {', '.join(f'{a:.3g}' for a in setting.factors)}; {', '.join(setting.signals)} "
        f"of {setting.samples} samples, modulus, {setting.depth} layers, pruned paths counted as "
        "remaining energy, double precision.",
        numbers,
        out / "topology.png",
        "\n".join(lines),
    )


def _firsts(cases):
    """First case of each design."""
    return list({(case.kind, case.wanted): case for case in reversed(cases)}.values())[::-1]


def _built(case):
    return abs(case.own / case.wanted - 1) <= DESIGNED


def _reading(cases):
    frames = _firsts(cases)
    largest = max((f for f in frames if f.kind == WAVELETS), key=lambda case: case.bands)
    measured: dict[float, list[float]] = {case.wanted: [] for case in cases}
    for case in cases:
        measured[case.wanted].append(case.measured)
    slowest = ", ".join(f"{min(values):.3g} for {a:.3g}" for a, values in measured.items())
    return (
        f"{sum(map(_built, frames))} of {len(frames)} frames have their target factor. The "
        f"guarantee holds for {sum(c.excess <= EXCESS for c in cases)} of {len(cases)} signals, "
        f"and {sum(c.measured >= c.wanted for c in cases)} decay at least by the target factor. "
        f"Smallest measured factor by target: {slowest}. "
        f"A factor of {largest.wanted:.3g} takes {largest.bands} wavelets on either side."
    )


def _numbers(cases):
    for case in _firsts(cases):
        yield Number(
            f"factor of the frame, {case.kind} for a = {case.wanted:.4g}",
            case.own,
            wanted=f"{case.wanted:.4g} to within {DESIGNED:.0%}",
            met=_built(case),
        )
    for case in cases:
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
        f"{case.kind:<16}{case.signal:<9}target {case.wanted:.3f}, frame {case.own:.3f}, "
        f"{case.bands} bands; measured {case.measured:.3g}"
    )


def draw(cases: list[Case]) -> Figure:
    """Factors of frames and of decay against their targets, and energies of wavelets."""
    styles = {WAVELETS: ("#0072B2", "o"), UNIFORM: ("#D55E00", "^")}
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        built, energies, measured = figure.subplots(1, 3)
        for case in _firsts(cases):
            built.plot(case.wanted, case.own, styles[case.kind][1], color=styles[case.kind][0])
        factors = sorted({case.wanted for case in cases})
        for case in cases:
            if case.kind == WAVELETS and case.signal == cases[0].signal:
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
            color, marker = styles[case.kind]
            measured.plot(case.wanted, case.measured, marker, color=color, markersize=4)
        for panel, words in (
            (built, "factor of the frame"),
            (measured, "mean factor from W$_1$ on"),
        ):
            panel.plot(factors, factors, "k--", linewidth=1, label="target")
            for kind, (color, marker) in styles.items():
                panel.plot([], [], marker, color=color, label=kind)
            panel.set(xscale="log", yscale="log", xlabel="target factor a", ylabel=words)
            panel.legend()
        built.set_title("Designed frames")
        measured.set_title("Decay, all signals")
        energies.set(
            yscale="log",
            xlabel="layer n",
            ylabel="W$_n$ / ‖f‖²",
            title=f"Wavelets, {cases[0].signal} (dashed: guaranteed)",
        )
        energies.legend()
    return figure
