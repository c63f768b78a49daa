"""Energy in the layers of a scattering network: does it decay as guaranteed?

Of every layer n the energy W_n on all paths is measured. The guarantee for each signal is that of
its own spectrum, by the contraction factors of the frame, or of general filters by their gap alone.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import plot, scattering
from infomech._core import files
from infomech.scattering import Frame, analysis, bounds, frames, signals, supports

STATEMENT = "Energy decays at least exponentially, for general filters at least polynomially."
SOURCE = "arXiv 1704.03636"
CLAIMS = (13,)
#: fixed before any run: an energy exceeds its guarantee from this share on
EXCESS = 1e-9
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
#: names of frames; general ones are held to a law of their own
WAVELETS, GENERAL = "Meyer wavelets", "general"


@dataclass(frozen=True)
class EnergyDecaySettings:
    """What is measured, at double precision.

    Attributes:
        samples: of the signals of one axis.
        octaves: from the spectral gap δ to π, less one; the same δ for all frames.
        depth: N; energies go up to W_(N+1).
        bandwidth: of the noise, in radians per sample; the chirp goes up to π.
        images: name and side of each, passed through curvelets.
        image_depth: N of the images.
        others: whether Weyl-Heisenberg and general filters are measured too.
        prune, image_prune: bands with at most this share of the energy are not computed, but
            accounted for.
        seed: of the general frame and of the noise.
    """

    samples: int = 512
    octaves: int = 5
    depth: int = 7
    bandwidth: float = np.pi / 4
    images: tuple[tuple[str, int], ...] = (("camera", 64), ("digits", 32))
    image_depth: int = 4
    others: bool = True
    prune: float = 1e-10
    image_prune: float = 1e-9
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """One signal through one frame; energies are shares of the signal's.

    Attributes:
        frame, signal: names.
        propagated: W_0 … W_(N+1), pruned paths included.
        bracket: the true ones lie in between, (N + 2, 2).
        guaranteed: bounds on W_0 … W_(N+1), by the rule of the frame.
        factor: the frame's own contraction factor.
        decay: the law fitted.
    """

    frame: str
    signal: str
    propagated: np.ndarray
    bracket: np.ndarray
    guaranteed: np.ndarray
    factor: float
    decay: analysis.Decay


def general_frame(low: Any, bands: int, *, seed: int, taps: int = 8) -> Frame:
    """A tight frame of random analytic band-passes around a given low-pass.

    Each is a random complex filter of `taps` taps, its negative frequencies cut off, so that it
    spans all frequencies from the low-pass to π: nothing but its gap is known of it.
    """
    (omega,) = frames.frequencies(np.shape(low))
    draw = np.random.default_rng(seed).normal(size=(2, bands, taps))
    responses = (draw[0] + 1j * draw[1]) @ np.exp(1j * np.arange(taps)[:, None] * omega)
    # ω = −π is π too
    ahead = (omega > 0) | (omega < -np.pi * (1 - 1e-9))
    responses *= ahead * np.sqrt(1 - np.minimum(np.abs(low), 1) ** 2)
    both = np.concatenate([responses, frames.mirrored(responses)])
    return frames.tighten(frames.frame(low, jnp.asarray(both)), keep_low=True)


def cases(setting: EnergyDecaySettings) -> Iterator[tuple[str, Frame, str, np.ndarray]]:
    """Name and frame, name and signal of all that is measured."""
    wavelets = scattering.meyer(setting.samples, setting.octaves)
    banks = {WAVELETS: wavelets}
    if setting.others:
        spacings = 2 ** (setting.octaves + 1) - 1
        banks["Weyl–Heisenberg"] = scattering.weyl_heisenberg(setting.samples, spacings)
        banks[GENERAL] = general_frame(wavelets.low, 2, seed=setting.seed)
    for title, bank in banks.items():
        for name in signals.SIGNALS:
            band = setting.bandwidth if name == "noise" else np.pi
            values = signals.signal(
                name, shape=setting.samples, bandwidth=band, seed=setting.seed, dtype="float64"
            )
            yield title, bank, name, values
    for name, side in setting.images:
        bank = scattering.oriented((side, side), 3, 6, growth=0.5)
        yield "curvelets", bank, name, signals.signal(name, shape=side, dtype="float64")


def measure(
    title: str, bank: Frame, name: str, values: np.ndarray, *, setting: EnergyDecaySettings
) -> Case:
    """The energies of one signal, its guarantee and the law of decay."""
    depth, prune = setting.depth, setting.prune
    if values.ndim == 2:
        depth, prune = setting.image_depth, setting.image_prune
    found = jax.tree.map(np.asarray, scattering.energies(values, bank, depth, prune=prune))
    if not found.complete:
        raise ValueError(f"{name}: got more paths than are computed, expected a larger prune")
    rule = "general" if title == GENERAL else "factors"
    limit = bounds.guaranteed(values, bank, depth + 1, rule=rule)
    return Case(
        title,
        name,
        found.propagated / found.energy,
        found.propagated_bounds / found.energy,
        np.asarray(limit) / found.energy,
        float(supports.factors(bank).min()),
        analysis.decay(found.propagated[known(found.propagated_bounds)], floor=1e-9),
    )


def known(bracket: np.ndarray) -> np.ndarray:
    """Which layers' energies are certain to a factor of two, in spite of what was pruned."""
    return bracket[:, 0] > 0.5 * bracket[:, 1]


def run(out: Path, *, quick: bool = False) -> Finding:
    """Measures wavelets, Weyl-Heisenberg and general filters on signals, and curvelets on images.

    Args:
        out: folder to write to; made if need be.
        quick: short signals through wavelets only, no images.

    Returns:
        Whether guarantees are kept, and which laws decay follows.

    Raises:
        ValueError: `out` can't be written, or a signal has too many paths.
    """
    out = files.folder(out)
    setting = EnergyDecaySettings()
    if quick:
        setting = EnergyDecaySettings(samples=128, octaves=3, depth=5, images=(), others=False)
    with jax.enable_x64(True):
        every = tqdm(cases(setting), desc="energy_decay", unit="signal")
        found = [measure(*case, setting=setting) for case in every]
    plot.save(draw(found), out / "energy_decay.png")
    readings = [reading(case) for case in found]
    kept = all(r["kept"] and r["fast"] is not False for r in readings)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"excess": EXCESS},
        "readings": readings,
        "cases": [{**asdict(c), "decay": c.decay._asdict()} for c in found],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "energy_decay.json", files.to_json(record) + "\n")
    told = [r["fast"] for r in readings if r["fast"] is not None]
    law = (
        f"decay is exponential, for general filters that or at least 1/n, in {sum(told)} of the "
        f"{len(told)} cases of {len(readings)} that have layers enough to tell"
    )
    slowest = min(readings, key=lambda r: r["least_ratio"])
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {'holds' if kept else 'fails'}: no W_n exceeds its guarantee; {law}",
        *(f"    {r['frame']:<16}{r['signal']:<9}{r['words']}" for r in readings),
        f"  A guarantee by a factor a is one of all layers together: from one layer to the next "
        f"energy may fall by less than a. Least: by {slowest['least_ratio']:.2f}, "
        f"{slowest['signal']}, {slowest['frame']} (a = {slowest['factor']:.2f}).",
        f"figure {out / 'energy_decay.png'}, numbers {out / 'energy_decay.json'}",
    ]
    features = 1 - max(float(case.bracket[-1, 1]) for case in found)
    numbers = tuple(_numbers(readings))
    return Finding(
        ledger.verdict(number.met for number in numbers),
        f"{'Every' if kept else 'Not every'} signal keeps to its guarantee; {law}. All signals "
        f"have at least {features:.4g} of their energy in features.",
        f"{setting.samples} samples, gap δ of {setting.octaves} octaves below π/2, "
        f"{', '.join(dict.fromkeys(c.frame for c in found))}; modulus, {setting.depth} layers "
        f"({setting.image_depth} for images), pruned paths accounted for, double precision.",
        numbers,
        out / "energy_decay.png",
        "\n".join(lines),
    )


def _numbers(readings):
    for r in readings:
        what = f"{r['frame']}, {r['signal']}"
        yield Number(
            f"W_n above its guarantee, {what}",
            r["excess"],
            wanted=f"at most {EXCESS:g} of the energy",
            met=r["kept"],
        )
        if r["rate"] is not None:
            value, low, high, least = r["rate"]
            name = "factor a of a⁻ⁿ" if r["law"] == "exponential" else "power p of n⁻ᵖ"
            yield Number(
                f"{name}, {what}", value, low, high, wanted=f"at least {least:.3g}", met=r["fast"]
            )


def reading(case: Case) -> dict[str, Any]:
    """Whether one signal's guarantee is kept and its decay fast enough.

    Fast enough is an estimate of at least the frame's own factor, or power 1 for general filters.
    At first the whole interval had to be, and three layers were enough for a fit: its interval was
    too wide to tell (digits). With fewer than `analysis.MIN_LAYERS` there is now neither law nor
    rate, and only the guarantee is judged.
    """
    excess = float((case.bracket[1:, 1] - case.guaranteed[1:]).max())
    law, energy = case.decay, case.propagated
    if law.law == "none":
        after = min(len(law.layers) + 1, len(energy) - 1)
        fast, rate = None, None
        words = f"{energy[after]:.0e} after {after} layers: too few layers to tell the law"
    else:
        exponential = law.law == "exponential"
        value, (low, high) = (
            (law.factor, law.factor_interval) if exponential else (law.power, law.power_interval)
        )
        least = case.factor if exponential else 1.0
        rate = (value, low, high, least)
        fast = value >= least and (exponential or case.frame == GENERAL)
        sign = "a⁻ⁿ, a" if exponential else "n⁻ᵖ, p"
        words = f"{sign} = {value:.3g} ({low:.3g} to {high:.3g}, 95 %)"
        if fast and low < least:
            words += f", which doesn't exclude less than {least:.3g}"
    there = energy[1:][energy[1:] > 1e-6]
    ratios = there[:-1] / there[1:]
    last = int(np.flatnonzero(known(case.bracket))[-1])
    words += f"; W_{last} = {energy[last]:.0e}, guaranteed {case.guaranteed[last]:.2g}"
    return {
        "frame": case.frame,
        "signal": case.signal,
        "excess": excess,
        "kept": excess <= EXCESS,
        "fast": None if fast is None else bool(fast),
        "law": law.law,
        "rate": rate,
        "factor": case.factor,
        "words": words,
        "least_ratio": float(ratios.min(initial=np.inf)),
    }


def draw(found: list[Case]) -> Figure:
    """Energies with their guarantees for each kind of frame, and the factors fitted."""
    titles = list(dict.fromkeys(case.frame for case in found))
    names = list(dict.fromkeys(case.signal for case in found))
    looks = {
        name: {"color": COLORS[i % len(COLORS)], "marker": "o^sDPX"[i], "markersize": 3.5}
        for i, name in enumerate(names)
    }
    with plot.style():
        figure = Figure(figsize=(11.5, 6.8), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        for panel, title in zip(panels, titles, strict=False):
            for case in found:
                if case.frame == title:
                    _draw_case(panel, case, looks[case.signal])
            panel.set(yscale="log", ylim=(1e-8, 3), xlabel="layer n", ylabel="W$_n$ / ‖f‖²")
            panel.set_title({GENERAL: "general filters"}.get(title, title))
            panel.plot([], [], "k--", linewidth=1, label="guaranteed")
            panel.legend(loc="best")
        factors, *rest = panels[len(titles) :]
        _draw_factors(factors, found, looks)
        for panel in rest:
            panel.set_axis_off()
    return figure


def _draw_case(panel, case, look):
    n = np.arange(len(case.propagated))
    seen = known(case.bracket)
    ends = np.maximum(case.bracket[seen].T, 1e-12)
    panel.fill_between(n[seen], *ends, color=look["color"], alpha=0.2, linewidth=0)
    panel.plot(n[seen], case.propagated[seen], label=case.signal, linewidth=1.1, **look)
    panel.plot(n[1:], case.guaranteed[1:], "--", linewidth=1, color=look["color"])


def _draw_factors(panel, found, looks):
    fitted = [case for case in found if case.decay.law != "none"]
    for row, case in enumerate(fitted):
        low, high = case.decay.factor_interval
        look = looks[case.signal]
        panel.plot([low, high], [row, row], color=look["color"], linewidth=1.5, alpha=0.5)
        panel.plot(case.decay.factor, row, **look)
        own = panel.plot(case.factor, row, "k|", markersize=8)
    if fitted:
        own[0].set_label("guaranteed in the long run")
    panel.set_yticks(range(len(fitted)), [f"{c.frame}, {c.signal}" for c in fitted], fontsize=7)
    panel.set_ylim(len(fitted) + 0.8, -0.7)
    panel.set(xscale="log", xlim=(0.9, None), xlabel="factor a of W$_n$ ∝ a⁻ⁿ, with 95 % interval")
    panel.set_title("Fitted factors")
    panel.legend(loc="lower right")
