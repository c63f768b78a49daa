"""Do rectified layers of random and trained CNNs obey the energy balance of scattering networks?

In a scattering network every layer conserves energy, ‖f * χ‖² + Σ_λ ‖f * g_λ‖² = ‖f‖², the modulus
preserves it, and the propagated energy decays. For layers of a CNN this experiment measures the
energy at the input, after the filters, after the rectifier and after the normalization, and the
frame bounds of the filters, which bound the second as a multiple of the first.
"""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import ledger, small_cnn
from experiments.ledger import Finding, Number
from experiments.small_cnn import DATA, NETWORKS, Training
from infomech import plot
from infomech._core import files
from infomech.scattering import layers

STATEMENT = (
    "Rectified layers of random and trained CNNs obey the energy balance of scattering networks."
)
SOURCE = "arXiv 1704.03636, extended"
CLAIMS = (17,)
#: fixed before any run: a layer conserves energy if input and output differ by at most this
#: fraction
CONSERVED = 0.01
#: fixed before any run: rounding error allowed on the bounds, in single precision
ROUNDING = 1e-4


@dataclass(frozen=True)
class LayerEnergiesSettings:
    """Networks and images.

    Attributes:
        networks: of `small_cnn`; strides are ignored, as in the energy balance.
        images: number of test images, on a periodic domain.
    """

    networks: tuple[Training, ...] = NETWORKS
    images: int = 64


@dataclass(frozen=True)
class Case:
    """Energy balance of one network; energies relative to the input of each layer.

    Attributes:
        network, trained, normalize: the case.
        lower, upper: frame bounds of the filters of each layer.
        filtered, rectified: energies after filters and rectifier, (images, layers).
        incoming: energy at the input of each layer relative to the image, (images, layers).
    """

    network: str
    trained: bool
    normalize: str
    lower: np.ndarray
    upper: np.ndarray
    filtered: np.ndarray
    rectified: np.ndarray
    incoming: np.ndarray


@functools.partial(jax.jit, static_argnames=("normalize",))
def _energies(kernels, images, *, normalize):
    each = functools.partial(layers.energies, normalize=normalize)
    return jax.vmap(lambda image: each(kernels, image))(images)


def measure(setting: LayerEnergiesSettings, data: Path) -> list[Case]:
    """Energy balance before and after training, without and with normalization per channel."""
    cases = []
    for training in tqdm(setting.networks, desc="layer_energies", unit="network"):
        network = small_cnn.trained(training, data)
        pixels = small_cnn.images(training).test[: setting.images]
        # constant patches have no energy
        pixels = pixels[np.any(pixels, (1, 2, 3))]
        for trained in (False, True):
            path = network.files[max(network.files) if trained else min(network.files)]
            kernels = [layer.kernels for layer in small_cnn.load(path).layers]
            for normalize in ("none", "channel"):
                energy = _energies(kernels, pixels, normalize=normalize)
                energy = jax.tree.map(lambda x: np.asarray(x, np.float64), energy)
                cases.append(
                    Case(
                        network.training.name,
                        trained,
                        normalize,
                        energy.lower[0],
                        energy.upper[0],
                        energy.filtered / energy.incoming,
                        energy.rectified / energy.incoming,
                        energy.incoming / energy.incoming[:, :1],
                    )
                )
    return cases


def run(out: Path, *, quick: bool = False) -> Finding:
    """Measure the energy balance of each network's layers on test images.

    Args:
        out: output folder; created if missing.
        quick: one small network after an epoch, few images; kept in `out`.

    Returns:
        Verdicts with numbers.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = (
        LayerEnergiesSettings((Training(channels=(3, 4), epochs=1),), 8)
        if quick
        else LayerEnergiesSettings()
    )
    cases = measure(setting, out / "data" if quick else DATA)
    plot.save(draw(cases), out / "layer_energies.png")
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"conserved": CONSERVED, "rounding": ROUNDING},
        "cases": [asdict(case) for case in cases],
        "provenance": files.provenance(),
    }
    files.write_text(out / "layer_energies.json", files.to_json(record) + "\n")
    readings = [reading(case) for case in cases]
    layers_ = sum(len(r["conserved"]) for r in readings)
    conserved = sum(sum(r["conserved"]) for r in readings)
    within = all(r["within"] for r in readings)
    word = {0: "fails", layers_: "holds"}.get(conserved, "holds in some layers")
    text = "\n".join(
        [
            f"Claim: {STATEMENT} [{SOURCE}]",
            f"  {word}: {conserved} of {layers_} layers conserve energy to {CONSERVED:.0%} "
            "(95 % interval of the mean over images)",
            f"  {'holds' if within else 'fails'}: for every image the energy after the filters "
            "lies between the frame bounds",
            "  by layer: frame bounds; energy after filters and after ReLU, relative to the input",
            *(f"    {r['words']}" for r in readings),
            f"figure {out / 'layer_energies.png'}, numbers {out / 'layer_energies.json'}",
        ]
    )
    return Finding(
        ledger.verdict(done for r in readings for done in r["conserved"]),
        f"{conserved} of {layers_} layers conserve energy as scattering networks do. "
        f"{'All' if within else 'Not all'} energies lie between the frame bounds of the filters, "
        "the weaker statement that holds for any filters.",
        f"{len(cases) // 4} networks before and after training, without and with normalization per "
        f"channel, {setting.images} test images; 95 % intervals of means over images.",
        tuple(n for case, r in zip(cases, readings, strict=True) for n in _numbers(case, r)),
        out / "layer_energies.png",
        text,
    )


def _numbers(case, result):
    mean, half = small_cnn.mean(case.filtered)
    when = "trained" if case.trained else "random"
    normalized = "" if case.normalize == "none" else ", normalized"
    for n, (value, margin) in enumerate(zip(mean.tolist(), half.tolist(), strict=True)):
        yield Number(
            f"energy handed on, {case.network}, {when}{normalized}, layer {n + 1}",
            value,
            value - margin,
            value + margin,
            wanted=f"interval within {CONSERVED:.0%} of 1",
            met=result["conserved"][n],
        )


def reading(case: Case) -> dict[str, Any]:
    """Which layers conserve energy, whether the bounds hold, and the numbers as text."""
    mean, half = small_cnn.mean(case.filtered)
    conserved = (mean - half > 1 - CONSERVED) & (mean + half < 1 + CONSERVED)
    within = (case.filtered > case.lower * (1 - ROUNDING) - ROUNDING) & (
        case.filtered < case.upper * (1 + ROUNDING) + ROUNDING
    )
    rectified, _ = small_cnn.mean(case.rectified)
    words = "  ".join(
        f"[{low:.2g}, {high:.3g}]: {m:.2f} ± {h:.2f}, {k:.2f}"
        for low, high, m, h, k in zip(case.lower, case.upper, mean, half, rectified, strict=True)
    )
    when = "trained" if case.trained else "random"
    normalized = "" if case.normalize == "none" else ", normalized"
    name = f"{case.network.rpartition('-seed')[0]} {when}{normalized}"
    return {
        "conserved": conserved.tolist(),
        "within": bool(within.all()),
        "words": f"{name:<33}{words}",
    }


def draw(cases: list[Case]) -> Figure:
    """Energy after filters and rectifiers within the frame bounds, one panel per network."""
    names = list(dict.fromkeys(case.network for case in cases))
    with plot.style():
        figure = Figure(figsize=(3.4 * max(len(names), 2), 3.4), layout="constrained")
        panels = figure.subplots(1, max(len(names), 2), squeeze=False, sharey=True)[0]
        for panel, name in zip(panels, names, strict=False):
            for shift, trained, color in ((-0.12, False, "0.45"), (0.12, True, "#0072B2")):
                (case,) = (
                    c
                    for c in cases
                    if (c.network, c.trained, c.normalize) == (name, trained, "none")
                )
                _draw_case(panel, case, shift, color)
            panel.axhline(1, color="black", linestyle="--", linewidth=1)
            panel.set(yscale="log", xlabel="layer", title=name)
            panel.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylim(0.02, 2 * max(case.upper.max() for case in cases))
        panels[0].set_ylabel("energy relative to the layer's input")
        panels[0].legend(fontsize=7)
        for panel in panels[len(names) :]:
            panel.set_axis_off()
    return figure


def _draw_case(panel, case, shift, color):
    n = np.arange(1, len(case.lower) + 1) + shift
    word = "trained" if case.trained else "random"
    ends = np.maximum(case.lower, 1e-3), case.upper
    panel.vlines(n, *ends, color=color, linewidth=4, alpha=0.25, label=f"{word}: frame bounds")
    panel.plot(n, case.filtered.mean(0), "o", color=color, markersize=4, label="after filters")
    panel.plot(
        n,
        case.rectified.mean(0),
        "o",
        color=color,
        markersize=4,
        markerfacecolor="white",
        label="after ReLU",
    )
