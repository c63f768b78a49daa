"""What do larger filters add to DC and gradients, and do the laws of motion stay the same?

v = p/s and D of theory know no size. Of the n² modes of a filter only (a, 0) and (0, a) with odd a
carry momentum, falling about as 1/a², so that higher modes may hold much of the energy, and of ε,
and next to nothing of the momentum: laws in ε then fail unless ε is that of the low modes alone.
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

STATEMENT = "Larger filters add further modes, which carry energy and next to no momentum."
SOURCE = "arXiv 2512.24338"
CLAIMS = (11,)
NAME = "larger_filters"
#: fixed before any run: rates and momenta are those of theory if within this
THEORY = 1e-9
#: fixed before any run: higher modes are added if for sure they hold more than this share of the
#: energy
ADDED = 0.1
#: fixed before any run: they carry next to nothing if for sure it is less than this share of the
#: momenta, squared
NOTHING = 0.05
#: of published laws
LINEAR = rates.LINEAR_R_SQUARED


@dataclass(frozen=True)
class LargerFiltersSettings:
    """Which kernels are tried.

    Attributes:
        trained: networks whose filters are.
        shares: of the energy in higher modes, of kernels made for it.
        kernels: of each kind.
        steps: layers.
        burn_in: rates are fitted from this layer on.
        samples: of the bootstrap.
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
        name: of network, time and layer.
        energy: share of higher modes in the energy, with both ends.
        momentum: of their squared momenta in those of low and of higher modes, with both ends.
    """

    name: str
    energy: tuple[float, float, float]
    momentum: tuple[float, float, float]


@dataclass(frozen=True)
class Moved:
    """Kernels of one kind and size, and how they move a disk.

    Attributes:
        name: of kind and size.
        kernels: (kernels, taps, taps).
        rates: of each.
    """

    name: str
    kernels: np.ndarray
    rates: Rates

    @property
    def speed(self) -> np.ndarray:
        """|v|, NaN where the field dies."""
        return np.linalg.norm(self.rates.velocity, axis=-1)


def run(out: Path, *, quick: bool = False) -> Finding:
    """Looks at modes of filters of 5×5 and 7×7 taps, and at how such filters move a disk.

    Args:
        out: folder to write to; made if need be.
        quick: one small network of 5×5 filters after an epoch, kept in `out`; fewer kernels.

    Returns:
        Shares of higher modes in energy and momentum, and how linear each candidate law is.

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
    trained = {one.size: small_cnn.trained(one, data).files for one in setting.trained}
    layers = [one for size, paths in trained.items() for one in _layers(size, paths)]
    with jax.enable_x64(True):
        modes = {n: (mode_momenta.of_modes(n), mode_momenta.closed_form(n)) for n in trained}
        every = tqdm(trained.items(), desc="larger_filters", unit="size")
        moved = [one for size, paths in every for one in measure(size, paths, setting)]
        fits = {(one.name, law): fit for one in moved for law, fit in _fits(one, setting)}
        numbers = (*_modes(modes), *_theory(moved), *_layer_shares(layers), *_laws(fits))
        plot.save(larger_filters_figure.draw(modes, layers, moved, fits), out / f"{NAME}.png")
    verdict = ledger.verdict(number.met for number in numbers if number.met is not None)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"theory": THEORY, "added": ADDED, "nothing": NOTHING, "linear": LINEAR},
        "verdict": verdict,
        "numbers": numbers,
        "layers": layers,
        "moved": {one.name: {"speed": one.speed, "rates": one.rates} for one in moved},
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
        f"Filters of {' and '.join(one.name for one in setting.trained)}, layer by layer, "
        f"intervals over output units; {setting.kernels} kernels of each kind on a disk of "
        f"radius 3, {setting.steps} layers with ReLU, speed from layer {setting.burn_in} on, R² "
        "by bootstrap over kernels.",
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
    stacks[f"trained, {size}×{size}"] = some_filters(paths[max(paths)], count)
    disk = isotropy_shapes.starts("camera", 17, seed)["disk"]
    taps = np.concatenate(list(stacks.values()))
    rates = size_rates.measure(
        jnp.asarray(taps),
        disk[None],
        np.zeros(len(taps), int),
        steps=setting.steps,
        burn_in=setting.burn_in,
        rectifier="relu",
    )
    ends = np.cumsum([0, *map(len, stacks.values())])
    return [
        Moved(name, stack, Rates(*(x[first : first + len(stack)] for x in rates)))
        for (name, stack), first in zip(stacks.items(), ends, strict=False)
    ]


def some_filters(path: Path, count: int) -> np.ndarray:
    """Filters of all layers of a network, evenly spaced, of unit energy, (count, taps, taps)."""
    every = np.concatenate(
        [layer.kernels.reshape(-1, *layer.kernels.shape[2:]) for layer in weights.layers(path)]
    ).astype(np.float64)
    some = every[np.linspace(0, len(every) - 1, min(count, len(every))).astype(int)]
    return some / np.sqrt(np.sum(some**2, (1, 2), keepdims=True))


def _layers(size: int, paths: dict[int, Path]):
    for words, epoch in (("before", min(paths)), ("after", max(paths))):
        for n, layer in enumerate(weights.layers(paths[epoch])):
            outputs, inputs, *taps = layer.kernels.shape
            flat = layer.kernels.reshape(-1, *taps).astype(np.float64)
            found = Parts(*(x.reshape(outputs, inputs).sum(1) for x in mode_momenta.parts(flat)))
            yield Layered(
                f"{size}×{size} {words} training, layer {n + 1}",
                _ratio(found.higher, found.energy),
                _ratio(found.higher_momentum, found.momentum + found.higher_momentum),
            )


def _ratio(part, whole):
    value, (low, high) = _shares.ratio(part, whole, 0.95)
    return float(value), max(0.0, float(low)), min(1.0, float(high))


def _fits(one: Moved, setting: LargerFiltersSettings):
    key = jax.random.key(setting.seed)
    for law, x in mode_momenta.candidates(one.kernels).items():
        value, ends = _linear(x, one.speed, key, samples=setting.samples)
        yield law, (float(value), *map(float, ends))


@functools.partial(jax.jit, static_argnames=("samples",))
def _linear(x, y, key, *, samples):
    """R² of the best line, and its interval."""
    resampled = im.rates.bootstrap(x, y, key=key, resamples=samples)
    return im.rates.fit_line(x, y).r_squared, resampled.r_squared


def _modes(modes):
    for taps, (found, theory) in modes.items():
        off = float(np.max(np.abs(np.abs(found) - np.abs(theory))))
        yield Number(
            f"momenta of all modes against theory, {taps}×{taps}",
            off,
            unit="px",
            wanted=f"at most {THEORY:g}",
            met=off <= THEORY,
        )
        still = float(np.max(np.abs(found[theory == 0])))
        yield Number(
            f"largest of those that carry none, {taps}×{taps}",
            still,
            unit="px",
            wanted=f"at most {THEORY:g}",
            met=still <= THEORY,
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
    for one in moved:
        if not one.name.startswith("taps ≥ 0"):
            continue
        theory = jax.vmap(im.theory.predict)(jnp.asarray(one.kernels))
        off = max(
            float(np.max(np.abs(one.rates.velocity - theory.velocity))),
            float(np.max(np.abs(one.rates.diffusion - theory.diffusion))),
        )
        yield Number(
            f"v and D against p/s and Σ r rᵀ k/s − v vᵀ, {one.name}",
            off,
            unit="px, px² per layer",
            wanted=f"at most {THEORY:g}",
            met=off <= THEORY,
        )


def _layer_shares(layers):
    for one in layers:
        after = "after" in one.name
        value, low, high = one.energy
        yield Number(
            f"share of higher modes in the energy, {one.name}",
            value,
            low,
            high,
            wanted=f"more than {ADDED}, for sure" if after else "",
            met=low > ADDED if after else None,
        )
        value, low, high = one.momentum
        yield Number(
            f"share of higher modes in squared momenta, {one.name}",
            value,
            low,
            high,
            wanted=f"less than {NOTHING}, for sure" if after else "",
            met=high < NOTHING if after else None,
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
    after = [one for one in layers if "after" in one.name]
    energy, momentum = ([getattr(one, n)[0] for one in after] for n in ("energy", "momentum"))
    best: dict[str, tuple[str, float]] = {}
    for (name, law), (value, *_) in fits.items():
        if name not in best or value > best[name][1]:
            best[name] = law, value
    words = "; ".join(
        f"{name}: {law} ({rates.format_r_squared(value, 3)})" for name, (law, value) in best.items()
    )
    return (
        "v = p/s and D hold for any size, and all modes but (a, 0) and (0, a) with odd a carry no "
        f"momentum. In trained filters higher modes hold {min(energy):.0%} to {max(energy):.0%} of "
        f"the energy of a layer and {min(momentum):.1%} to {max(momentum):.1%} of the squared "
        f"momenta. The candidate nearest to linear, with its R², by kind of kernel: {words}."
    )
