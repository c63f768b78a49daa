"""Are even and odd parts of a kernel orthogonal, and do their energies add?

Both are identities, violated only by rounding: k(r) + k(−r) is rounded once and has the same value
at r and −r; k(r) − k(−r) has opposite signs there. The same holds for the 2^d parts that mirror
symmetry of each axis defines.
"""

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import infomech as im
from experiments import ledger
from experiments.ledger import Finding, Number
from infomech import plot
from infomech._core import files

STATEMENT = "A kernel is the orthogonal sum of its even and odd parts, and their energies add."
SOURCE = "arXiv 2512.24338"
CLAIMS = (1,)
#: fixed before any run: largest error of both identities, in units of eps ‖k‖²
ROUNDINGS = 4
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class ParitySettings:
    """Which kernels are split.

    Attributes:
        sizes: largest number of taps on an axis.
        mixed: whether axes of one kernel may differ in their number of taps; each combination in
            one order, on three axes with at most 4 taps.
        kernels: number per shape and dtype; taps are normal.
        seed: of the kernels.
    """

    sizes: int = 7
    mixed: bool = True
    kernels: int = 32
    seed: int = 0

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Kernel shapes with 1 to 3 axes."""
        sizes = range(1, self.sizes + 1)
        if self.mixed:
            return [
                shape
                for d, some in ((1, sizes), (2, sizes), (3, sizes[:4]))
                for shape in itertools.combinations_with_replacement(some, d)
            ]
        return [(n,) * d for d in (1, 2, 3) for n in sizes]


@dataclass(frozen=True)
class Split:
    """Largest errors among kernels of one shape, in units of eps ‖k‖².

    Attributes:
        taps: number of taps of a kernel.
        axes: number of axes.
        dtype: of the taps.
        inner: |⟨k_e, k_o⟩|.
        energy: |‖k‖² − ‖k_e‖² − ‖k_o‖²|.
        mirrors: |‖k‖² − Σ energies of the 2^d mirror parts|.
        odd: odd shares of all kernels.
    """

    taps: int
    axes: int
    dtype: str
    inner: float
    energy: float
    mirrors: float
    odd: np.ndarray


@jax.jit
def _parts(kernels):
    return jax.vmap(im.parity.split)(kernels), jax.vmap(im.parity.mirror_split)(kernels)


def measure(shape: tuple[int, ...], dtype: str, setting: ParitySettings) -> Split:
    """Split random kernels of one shape; sums use extended precision."""
    generator = np.random.default_rng([setting.seed, *shape])
    kernels = generator.normal(size=(setting.kernels, *shape)).astype(dtype)
    parts, mirrors = jax.tree.map(
        lambda x: np.asarray(x).astype(np.longdouble).reshape(setting.kernels, -1, kernels[0].size),
        _parts(kernels),
    )
    energy = np.sum(kernels.astype(np.longdouble) ** 2, tuple(range(1, kernels.ndim)))
    even, odd = (np.sum(part**2, (1, 2)) for part in parts)
    unit = energy * np.finfo(dtype).eps
    inner = np.sum(parts.even * parts.odd, (1, 2))
    mirrored = np.sum(mirrors**2, (1, 2))

    def worst(error):
        return float(np.max(np.abs(error) / unit))

    return Split(
        kernels[0].size,
        len(shape),
        dtype,
        worst(inner),
        worst(energy - even - odd),
        worst(energy - mirrored),
        np.asarray(odd / energy, float),
    )


def run(out: Path, *, quick: bool = False) -> Finding:
    """Split random kernels of 1 to 7 taps on each of 1 to 3 axes, in both precisions.

    Args:
        out: output folder; created if missing.
        quick: up to 4 taps, equally many on all axes of a kernel, fewer kernels.

    Returns:
        The largest inner product and the largest energy error.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = ParitySettings(sizes=4, mixed=False, kernels=8) if quick else ParitySettings()
    splits = []
    with jax.enable_x64(True):
        for shape in tqdm(setting.shapes, desc="parity", unit="shape"):
            splits += [measure(shape, dtype, setting) for dtype in DTYPES]
    plot.save(draw(splits), out / "parity.png")
    numbers = [*_numbers(splits), _odd_share(splits)]
    met = [number.met for number in numbers if number.met is not None]
    verdict = ledger.verdict(met)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"roundings": ROUNDINGS},
        "verdict": verdict,
        "splits": [asdict(split) for split in splits],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "parity.json", files.to_json(record) + "\n")
    reading = (
        f"{sum(met)} of {len(met)} identities hold to {ROUNDINGS} roundings for all "
        f"{len(splits) * setting.kernels} random kernels, in single and double precision."
    )
    lines = [
        f"Claim: {STATEMENT} [{SOURCE}]",
        f"  {verdict}: {reading}",
        *(f"    {n.name:<62}{n.value:.3g} {n.unit}" for n in numbers),
        f"figure {out / 'parity.png'}, numbers {out / 'parity.json'}",
    ]
    return Finding(
        verdict,
        reading,
        f"Kernels with normal taps: {len(setting.shapes)} shapes with 1 to {setting.sizes} taps on "
        f"1 to 3 axes, {setting.kernels} kernels each.",
        tuple(numbers),
        out / "parity.png",
        "\n".join(lines),
    )


def _numbers(splits):
    for dtype in DTYPES:
        group = [split for split in splits if split.dtype == dtype]
        for words, values in (
            ("|⟨k_e, k_o⟩|/‖k‖²", [split.inner for split in group]),
            ("|‖k‖² − ‖k_e‖² − ‖k_o‖²|/‖k‖²", [split.energy for split in group]),
            (
                "the same of the parts by the mirror of each axis",
                [split.mirrors for split in group],
            ),
        ):
            yield Number(
                f"{words}, {dtype}",
                max(values),
                unit="roundings",
                wanted=f"at most {ROUNDINGS}",
                met=max(values) <= ROUNDINGS,
            )


def _odd_share(splits):
    """Mean odd share of 3×3 kernels: four of nine DCT modes of equal mean energy are odd."""
    (values,) = (
        split.odd for split in splits if (split.taps, split.axes, split.dtype) == (9, 2, DTYPES[1])
    )
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    mean = float(values.mean())
    return Number("mean odd share of 3×3 kernels (4/9 expected)", mean, mean - half, mean + half)


def draw(splits: list[Split]) -> Figure:
    """Both errors in roundings against the number of taps, and odd shares."""
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        panels = figure.subplots(1, 3)
        for panel, quantity, title in zip(
            panels,
            ("inner", "energy"),
            ("|⟨k$_e$, k$_o$⟩| / ‖k‖²", "Energy error / ‖k‖²"),
            strict=False,
        ):
            for dtype, color, marker in zip(DTYPES, ("#0072B2", "#D55E00"), "o^", strict=True):
                group = [split for split in splits if split.dtype == dtype]
                values = [getattr(split, quantity) for split in group]
                panel.plot(
                    [split.taps for split in group],
                    values,
                    marker,
                    color=color,
                    markersize=4,
                    alpha=0.6,
                    label=dtype,
                )
            panel.axhline(ROUNDINGS, color="black", linestyle="--", linewidth=1, label="tolerance")
            panel.set(xscale="log", xlabel="taps", ylabel="roundings, worst kernel", title=title)
            panel.legend()
        _draw_shares(panels[2], splits)
    return figure


def _draw_shares(panel: Any, splits: list[Split]) -> None:
    group = [split for split in splits if split.dtype == DTYPES[1]]
    taps = np.concatenate([np.full(len(split.odd), split.taps) for split in group])
    panel.plot(
        taps,
        np.concatenate([split.odd for split in group]),
        "o",
        color="#009E73",
        markersize=2,
        alpha=0.3,
        label="single kernels",
    )
    panel.axhline(0.5, color="black", linestyle="--", linewidth=1)
    panel.set(xscale="log", xlabel="taps", ylabel="odd share ε", title="Odd shares of random taps")
    panel.legend()
