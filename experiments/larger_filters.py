"""What do larger filters add to DC and gradients, and do the laws of motion still hold?

The theory of v = p/s and D does not depend on size. Of the n² modes of a filter, only (a, 0) and
(0, a) with odd a carry momentum, which falls about as 1/a². Higher modes can thus hold much of the
energy, and of ε, but almost none of the momentum: laws in ε then fail, unless ε is computed from
the low modes alone.
"""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import infomech as im
from experiments import (
    isotropy_shapes,
    larger_filters_figure,
    ledger,
    mode_momenta,
    size_rates,
    small_cnn,
)
from experiments.ledger import Finding, Number
from experiments.mode_momenta import Parts
from experiments.size_rates import Rates
from experiments.small_cnn import DATA, NETWORKS, Training
from infomech import plot, rates, weights
from infomech._core import files
from infomech.networks import _shares

STATEMENT = "Larger filters add further modes, which carry energy but almost no momentum."
SOURCE = "arXiv 2512.24338"
CLAIMS = (11,)
NAME = "larger_filters"
#: fixed before any run: largest error of rates and momenta against theory
THEORY = 1e-9
#: fixed before any run: higher modes are added if the interval of their energy share is above this
ADDED = 0.1
#: fixed before any run: higher modes carry almost no momentum if the interval of their share of the
#: squared momenta is below this
MAX_MOMENTUM = 0.05
#: least R² of a linear law
LINEAR = rates.LINEAR_R_SQUARED


@dataclass(frozen=True)
class LargerFiltersSettings:
    """Kernels and rollouts.

    Attributes:
        trained: networks whose filters are used.
        shares: of the energy in higher modes, for constructed kernels.
        kernels: number of each kind.
        steps: layers.
        burn_in: rates are fitted from this layer on.
        samples: bootstrap resamples.
        seed: of the kernels.
    """

    trained: tuple[Training, ...] = NETWORKS[1:3]
    shares: tuple[float, ...] = (0.1, 0.5)
    kernels: int = 96
    steps: int = 24
    burn_in: int = 8
    samples: int = 300
    seed: int = 0


@dataclass(frozen=True)
class Layered:
    """Shares of higher modes in one layer of a network, with intervals over its output units.

    Attributes:
        name: network, time and layer.
        energy: share of higher modes in the energy, with its interval.
        momentum: share of higher modes in the squared momenta, with its interval.
    """

    name: str
    energy: tuple[float, float, float]
    momentum: tuple[float, float, float]


@dataclass(frozen=True)
class Moved:
    """Kernels of one kind and size, and the motion of a disk under them.

    Attributes:
        name: kind and size.
        kernels: (kernels, taps, taps).
        rates: of each kernel.
    """

    name: str
    kernels: np.ndarray
    rates: Rates

    @property
    def speed(self) -> np.ndarray:
        """|v|, NaN where the field dies."""
        return np.linalg.norm(self.rates.velocity, axis=-1)


def run(out: Path, *, quick: bool = False) -> Finding:
    """Measure modes of filters of 5×5 and 7×7 taps, and the motion of a disk under them.

    Args:
        out: output folder; created if missing.
        quick: one small network of 5×5 filters after an epoch, kept in `out`; fewer kernels.

    Returns:
        Shares of higher modes in energy and momentum, and R² of the candidate laws.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = LargerFiltersSettings()
    if quick:
        small = Training(size=5, channels=(4, 4), epochs=1)
        setting = LargerFiltersSettings(
            (small,), (0.5,), kernels=16, steps=12, burn_in=4, samples=100
        )
    data = out / "data" if quick else DATA
    trained = {item.size: small_cnn.trained(item, data).files for item in setting.trained}
    layers = [item for size, paths in trained.items() for item in _layers(size, paths)]
    with jax.enable_x64(True):
        modes = {n: (mode_momenta.of_modes(n), mode_momenta.closed_form(n)) for n in trained}
        progress = tqdm(trained.items(), desc="larger_filters", unit="size")
        moved = [item for size, paths in progress for item in measure(size, paths, setting)]
        fits = {(item.name, law): fit for item in moved for law, fit in _fits(item, setting)}
        numbers = (*_modes(modes), *_theory(moved), *_layer_shares(layers), *_laws(fits))
        plot.save(larger_filters_figure.draw(modes, layers, moved, fits), out / f"{NAME}.png")
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"theory": THEORY, "added": ADDED, "nothing": MAX_MOMENTUM, "linear": LINEAR},
        "verdict": verdict,
        "numbers": numbers,
        "layers": layers,
        "moved": {item.name: {"speed": item.speed, "rates": item.rates} for item in moved},
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / f"{NAME}.json", files.to_json(record) + "\n")
    reading = _reading(layers, fits)
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {ledger.line(number)}" for number in numbers),
        f"figure {out / NAME}.png, numbers {out / NAME}.json",
    ]
    return Finding(
        verdict,
        reading,
        f"Filters of {' and '.join(item.name for item in setting.trained)}, layer by layer, "
        f"intervals over output units; {setting.kernels} kernels of each kind on a disk of "
        f"radius 3, {setting.steps} layers with ReLU, speed from layer {setting.burn_in} on; "
        "bootstrap intervals of R² over kernels.",
        numbers,
        out / f"{NAME}.png",
        "\n".join(lines),
    )


def measure(size: int, paths: dict[int, Path], setting: LargerFiltersSettings) -> list[Moved]:
    """Rates of a disk under kernels of each kind, all in one program."""
    count, seed = setting.kernels, setting.seed
    stacks = {f"taps ≥ 0, {size}×{size}": mode_momenta.non_negative(size, count, seed)}
    for share in setting.shares:
        name = f"{share:.0%} in higher modes, {size}×{size}"
        stacks[name] = mode_momenta.with_higher_modes(size, count, share, seed)
    stacks[f"trained, {size}×{size}"] = filters_of(paths[max(paths)], count)
    disk = isotropy_shapes.starts("camera", 17, seed)["disk"]
    taps = np.concatenate(list(stacks.values()))
    result = size_rates.measure(
        jnp.asarray(taps),
        disk[None],
        np.zeros(len(taps), int),
        steps=setting.steps,
        burn_in=setting.burn_in,
        rectifier="relu",
    )
    ends = np.cumsum([0, *map(len, stacks.values())])
    return [
        Moved(name, stack, Rates(*(x[start : start + len(stack)] for x in result)))
        for (name, stack), start in zip(stacks.items(), ends, strict=False)
    ]


def filters_of(path: Path, count: int) -> np.ndarray:
    """Filters of all layers of a network, evenly spaced, of unit energy, (count, taps, taps)."""
    filters = np.concatenate(
        [layer.kernels.reshape(-1, *layer.kernels.shape[2:]) for layer in weights.layers(path)]
    ).astype(np.float64)
    chosen = filters[np.linspace(0, len(filters) - 1, min(count, len(filters))).astype(int)]
    return chosen / np.sqrt(np.sum(chosen**2, (1, 2), keepdims=True))


def _layers(size: int, paths: dict[int, Path]):
    for words, epoch in (("before", min(paths)), ("after", max(paths))):
        for n, layer in enumerate(weights.layers(paths[epoch])):
            outputs, inputs, *taps = layer.kernels.shape
            flat = layer.kernels.reshape(-1, *taps).astype(np.float64)
            sums = Parts(*(x.reshape(outputs, inputs).sum(1) for x in mode_momenta.parts(flat)))
            yield Layered(
                f"{size}×{size} {words} training, layer {n + 1}",
                _ratio(sums.higher, sums.energy),
                _ratio(sums.higher_momentum, sums.momentum + sums.higher_momentum),
            )


def _ratio(part, whole):
    value, (low, high) = _shares.ratio(part, whole, 0.95)
    return float(value), max(0.0, float(low)), min(1.0, float(high))


def _fits(moved: Moved, setting: LargerFiltersSettings):
    key = jax.random.key(setting.seed)
    for law, x in mode_momenta.candidates(moved.kernels).items():
        value, ends = _linear(x, moved.speed, key, samples=setting.samples)
        yield law, (float(value), *map(float, ends))


@functools.partial(jax.jit, static_argnames=("samples",))
def _linear(x, y, key, *, samples):
    """R² of the least-squares line, and its interval."""
    resampled = im.rates.bootstrap(x, y, key=key, resamples=samples)
    return im.rates.fit_line(x, y).r_squared, resampled.r_squared


def _modes(modes):
    for taps, (measured, theory) in modes.items():
        error = float(np.max(np.abs(np.abs(measured) - np.abs(theory))))
        yield Number(
            f"momenta of all modes against theory, {taps}×{taps}",
            error,
            unit="px",
            wanted=f"at most {THEORY:g}",
            met=error <= THEORY,
        )
        largest = float(np.max(np.abs(measured[theory == 0])))
        yield Number(
            f"largest of those that carry none, {taps}×{taps}",
            largest,
            unit="px",
            wanted=f"at most {THEORY:g}",
            met=largest <= THEORY,
        )
        along = theory[1::2, 0, 0]
        for a, p in zip(range(3, taps, 2), along[1:], strict=False):
            yield Number(
                f"momentum of mode ({a}, 0) times {a}²/that of (1, 0), {taps}×{taps}",
                float(p * a**2 / along[0]),
            )
        yield Number(
            f"share of higher modes in the energy of Gaussian taps, {taps}×{taps}",
            1 - len(mode_momenta.LOW) / taps**2,
        )
        yield Number(
            f"share of higher modes in squared momenta of Gaussian taps, {taps}×{taps}",
            float(np.sum(along[1:] ** 2) / np.sum(along**2)),
        )


def _theory(moved):
    for kind in moved:
        if not kind.name.startswith("taps ≥ 0"):
            continue
        theory = jax.vmap(im.theory.predict)(jnp.asarray(kind.kernels))
        error = max(
            float(np.max(np.abs(kind.rates.velocity - theory.velocity))),
            float(np.max(np.abs(kind.rates.diffusion - theory.diffusion))),
        )
        yield Number(
            f"v and D against p/s and Σ r rᵀ k/s − v vᵀ, {kind.name}",
            error,
            unit="px, px² per layer",
            wanted=f"at most {THEORY:g}",
            met=error <= THEORY,
        )


def _layer_shares(layers):
    for layer in layers:
        after = "after" in layer.name
        value, low, high = layer.energy
        yield Number(
            f"share of higher modes in the energy, {layer.name}",
            value,
            low,
            high,
            wanted=f"interval above {ADDED}" if after else "",
            met=low > ADDED if after else None,
        )
        value, low, high = layer.momentum
        yield Number(
            f"share of higher modes in squared momenta, {layer.name}",
            value,
            low,
            high,
            wanted=f"interval below {MAX_MOMENTUM}" if after else "",
            met=high < MAX_MOMENTUM if after else None,
        )


def _laws(fits):
    for (name, law), (value, low, high) in fits.items():
        yield Number(
            f"R² of |v| against {law}, {name}",
            value,
            low,
            high,
            wanted=f"at least {LINEAR}",
            met=value >= LINEAR,
        )


def _reading(layers, fits):
    after = [layer for layer in layers if "after" in layer.name]
    energy, momentum = ([getattr(layer, n)[0] for layer in after] for n in ("energy", "momentum"))
    best: dict[str, tuple[str, float]] = {}
    for (name, law), (value, *_) in fits.items():
        if name not in best or value > best[name][1]:
            best[name] = law, value
    words = "; ".join(
        f"{name}: {law} ({rates.format_r_squared(value, 3)})" for name, (law, value) in best.items()
    )
    return (
        "v = p/s and D hold for all sizes, and only the modes (a, 0) and (0, a) with odd a carry "
        f"momentum. In trained filters, higher modes hold {min(energy):.0%} to {max(energy):.0%} "
        f"of the energy of a layer and {min(momentum):.1%} to {max(momentum):.1%} of the squared "
        f"momenta. Best candidate law, with its R², by kind of kernel: {words}."
    )
