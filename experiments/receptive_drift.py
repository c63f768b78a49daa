"""Where filters of trained networks move content: predicted by momenta, measured by gradients.

Prediction: momenta add along all paths from the image to a channel, each weighted by the product of
its gains ("signed"), or of the energies of its filters ("energy"), with and without the share of
positions where the rectifiers of each channel are open. Measurement: centre of the effective
receptive field of one unit in the middle per channel, weighted by the mean gradient or by the
mean squared gradient over images that the network hasn't seen.
"""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import train_digits
from experiments.train_digits import DATA, Trained, Training
from infomech import files, plot
from infomech.networks import drift, receptive, sequential
from infomech.networks.drift import Agreement
from infomech.networks.receptive import Shape

STATEMENT = "Momenta of the filters predict where trained networks move what they see."
SOURCE = "arXiv 2512.24338, taken further"
#: fixed before any run: the prediction holds in a layer if the lower end of R² is above this
HOLDS = 0.9
WEIGHTINGS = ("signed", "energy")


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        networks: of `train_digits`.
        images: not seen in training, on which gradients are taken.
        samples: of the bootstrap.
        seed: of it.
    """

    networks: tuple[Training, ...] = (
        Training(), Training(size=5), Training(size=7, epochs=16), Training("patches"),
    )  # fmt: skip
    images: int = 64
    samples: int = 1000
    seed: int = 0


class Case(NamedTuple):
    """One layer of one network by one weighting.

    Attributes:
        network, trained, layer, weighting, gated: which; layers count from 1.
        predicted, measured: displacements of its channels, pixels, (channels, 2).
        agreement: of the two.
    """

    network: str
    trained: bool
    layer: int
    weighting: str
    gated: bool
    predicted: np.ndarray
    measured: np.ndarray
    agreement: Agreement


def canvas(training: Training, count: int) -> np.ndarray:
    """Images held out, in the middle of zeros, so that no receptive field is cut."""
    pixels = train_digits.images(training).test[:count]
    room = 2 * (training.size // 2) * (2 + training.stride)
    return np.pad(pixels, ((0, 0), (0, 0), (room, room), (room, room)))


def measure(one: Trained, trained: bool, setting: Setting) -> list[Case]:
    """All layers of a network, before or after training, by each weighting."""
    path = one.files[max(one.files) if trained else min(one.files)]
    params, spec = train_digits.load(path), one.training.spec
    images = jnp.asarray(canvas(one.training, setting.images))
    kernels = [layer.kernels for layer in params.layers]
    strides = [layer.stride for layer in spec.layers]
    found = []
    for n, lattice in enumerate(sequential.lattices(spec)):
        for weighting in WEIGHTINGS:
            shape = _measured(params, images, spec, n, lattice, weighting)
            gates = sequential.gates(params, images, spec=spec, weighting=weighting)
            ones = [jnp.ones_like(gate) for gate in gates]
            for gated in (False, True):
                predicted, agreement = _compared(
                    kernels[: n + 1], (gates if gated else ones)[: n + 1], shape,
                    jax.random.key(setting.seed), strides=tuple(strides[: n + 1]),
                    weighting=weighting, samples=setting.samples,
                )  # fmt: skip
                found.append(
                    Case(
                        one.training.name, trained, n + 1, weighting, gated,
                        np.asarray(predicted.displacement), np.asarray(shape.displacement),
                        jax.tree.map(np.asarray, agreement),
                    )
                )  # fmt: skip
    return found


def _measured(params, images, spec, layer, lattice, weighting) -> Shape:
    """Receptive field of the unit nearest to the middle of each channel."""
    middle = (np.array(images.shape[2:]) - 1) / 2
    index = np.rint((middle - lattice.origin) / lattice.spacing).astype(int)
    channels = spec.layers[layer].outputs
    units = np.column_stack([np.arange(channels), np.tile(index, (channels, 1))])
    positions = np.tile(lattice.at(index), (channels, 1))
    return _receptive(params, images, units, positions, spec=spec, layer=layer, weighting=weighting)


@functools.partial(jax.jit, static_argnames=("spec", "layer", "weighting"))
def _receptive(params, images, units, positions, *, spec, layer, weighting):
    def function(image):
        return sequential.apply(params, image, spec=spec).layers[layer].before

    positions = positions.astype(images.dtype)
    return receptive.measure(function, images, units, positions, weighting=weighting)


@functools.partial(jax.jit, static_argnames=("strides", "weighting", "samples"))
def _compared(kernels, gates, measured, key, *, strides, weighting, samples):
    predicted = drift.predict(kernels, gates, strides=strides, weighting=weighting)
    return predicted, drift.agreement(predicted, measured, key=key, samples=samples)


def run(out: Path, *, quick: bool = False) -> str:
    """Predicts and measures the displacement of every channel, before and after training.

    Args:
        out: folder to write to; made if need be.
        quick: one small network, few images; kept in `out`.

    Returns:
        Slopes, R² and the verdict, as text.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = Setting()
    if quick:
        setting = Setting((Training(channels=(4, 6), epochs=1),), images=8, samples=100)
    data = out / "data" if quick else DATA
    found = []
    for training in tqdm(setting.networks, desc="receptive_drift", unit="network"):
        one = train_digits.trained(training, data)
        for trained in (False, True):
            found += measure(one, trained, setting)
    plot.save(draw(found), out / "receptive_drift.png")
    record = {
        "statement": STATEMENT, "source": SOURCE, "setting": asdict(setting),
        "tolerance": {"r_squared": HOLDS},
        "cases": [c._asdict() | {"agreement": _numbers(c.agreement)} for c in found],
        "provenance": files.provenance(),
    }  # fmt: skip
    files.write_text(out / "receptive_drift.json", files.to_json(record) + "\n")
    lines = [f"Claim: {STATEMENT} [{SOURCE}]"]
    for weighting in WEIGHTINGS:
        for trained in (False, True):
            some = [c for c in found if (c.weighting, c.trained) == (weighting, trained)]
            lines += _report(some, weighting, trained)
    lines.append(f"figure {out / 'receptive_drift.png'}, numbers {out / 'receptive_drift.json'}")
    return "\n".join(lines)


def _numbers(agreement: Agreement) -> dict[str, Any]:
    return {
        name: part._asdict() if hasattr(part, "_asdict") else part
        for name, part in agreement._asdict().items()
    }


def _report(cases: list[Case], weighting: str, trained: bool) -> list[str]:
    held = [bool(c.agreement.low.r_squared > HOLDS) for c in cases if c.gated]
    word = {0: "fails", len(held): "holds"}.get(sum(held), "holds in some layers")
    when = "after" if trained else "before"
    lines = [
        f"  {weighting}, {when} training: {word}; R² is above {HOLDS} for sure in {sum(held)} of "
        f"{len(held)} layers, gates known (below: without, with gates)"
    ]
    for plain, gated in zip(cases[::2], cases[1::2], strict=True):
        a, b = plain.agreement, gated.agreement
        lines.append(
            f"    {plain.network:<22}layer {plain.layer}  R² {a.scores.r_squared:.2f}, "
            f"{b.scores.r_squared:.2f} ({b.low.r_squared:.2f} to {b.high.r_squared:.2f})  slope "
            f"{a.scores.slope:.2f}, {b.scores.slope:.2f} ({b.low.slope:.2f} to "
            f"{b.high.slope:.2f})  {int(b.used)} of {len(gated.measured)} channels"
        )
    return lines


def draw(found: list[Case]) -> Figure:
    """Measured against predicted displacements, one row per weighting, gates known."""
    names = list(dict.fromkeys(case.network for case in found))
    with plot.style():
        figure = Figure(figsize=(3.1 * max(len(names), 2), 6.4), layout="constrained")
        panels = figure.subplots(2, max(len(names), 2), squeeze=False)
        for row, weighting in zip(panels, WEIGHTINGS, strict=True):
            for panel, name in zip(row, names, strict=False):
                some = [
                    c for c in found
                    if (c.network, c.weighting) == (name, weighting) and c.gated and c.trained
                ]  # fmt: skip
                _draw_case(panel, some)
                panel.set_title(f"{name}, {weighting}", fontsize=9)
            for panel in row[len(names) :]:
                panel.set_axis_off()
    return figure


def _draw_case(panel, cases):
    for n, case in enumerate(cases):
        score = case.agreement.scores.r_squared
        panel.plot(
            case.predicted.ravel(), case.measured.ravel(), "o", markersize=2.5, alpha=0.5,
            color=f"C{n}", markeredgewidth=0, label=f"layer {case.layer}, R² {score:.2f}",
        )  # fmt: skip
    seen = [np.abs(c.measured[np.isfinite(c.measured)]) for c in cases]
    edge = 1.2 * max(np.quantile(v, 0.98) if len(v) else 1.0 for v in seen)
    panel.plot([-edge, edge], [-edge, edge], "k--", linewidth=0.8)
    panel.set(xlim=(-edge, edge), ylim=(-edge, edge))
    panel.set(xlabel="predicted displacement (pixels)", ylabel="measured (pixels)")
    panel.legend(fontsize=7)
