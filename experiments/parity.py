"""Even and odd parts of a kernel are orthogonal, and their energies add up to the kernel's.

Both are identities, so that only rounding may be in the way: k(r) + k(−r) is rounded once, and then
stands at r and at −r with the same value, as k(r) − k(−r) does with opposite signs. The same holds
for the 2^d parts by the mirror of each axis.
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

STATEMENT = "A kernel is the orthogonal sum of its even and odd part, and energies add."
SOURCE = "arXiv 2512.24338"
CLAIMS = (1,)
#: fixed before any run: parts are orthogonal, and energies add, to this many roundings of ‖k‖²
ROUNDINGS = 4
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class ParitySettings:
    """Which kernels are split.

    Attributes:
        sizes: taps on an axis go from 1 to this.
        mixed: whether axes of one kernel may have different numbers of taps: each mix in one
            order, of three axes with at most 4 taps.
        kernels: of each shape and dtype, of normal taps.
        seed: of them.
    """

    sizes: int = 7
    mixed: bool = True
    kernels: int = 32
    seed: int = 0

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of 1 to 3 axes."""
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
    """The worst of the kernels of one shape; all in roundings, relative to ‖k‖².

    Attributes:
        taps: of a kernel.
        axes: of a kernel.
        dtype: of the taps.
        inner: |⟨k_e, k_o⟩|.
        energy: |‖k‖² − ‖k_e‖² − ‖k_o‖²|.
        mirrors: |‖k‖² − Σ of the energies by the mirror of each axis|.
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
    """Splits random kernels of one shape; sums are taken at more than their precision."""
    draw = np.random.default_rng([setting.seed, *shape])
    kernels = draw.normal(size=(setting.kernels, *shape)).astype(dtype)
    parts, mirrors = jax.tree.map(
        lambda x: np.asarray(x).astype(np.longdouble).reshape(setting.kernels, -1, kernels[0].size),
        _parts(kernels),
    )
    energy = np.sum(kernels.astype(np.longdouble) ** 2, tuple(range(1, kernels.ndim)))
    even, odd = (np.sum(part**2, (1, 2)) for part in parts)
    unit = energy * np.finfo(dtype).eps
    inner = np.sum(parts.even * parts.odd, (1, 2))
    whole = np.sum(mirrors**2, (1, 2))

    def worst(gap):
        return float(np.max(np.abs(gap) / unit))

    return Split(
        kernels[0].size,
        len(shape),
        dtype,
        worst(inner),
        worst(energy - even - odd),
        worst(energy - whole),
        np.asarray(odd / energy, float),
    )


def run(out: Path, *, quick: bool = False) -> Finding:
    """Splits random kernels of 1 to 7 taps on each of 1 to 3 axes, in both precisions.

    Args:
        out: folder to write to; made if need be.
        quick: up to 4 taps, as many on all axes of a kernel, fewer kernels.

    Returns:
        The largest inner product, and the largest gap between energies.

    Raises:
        ValueError: `out` can't be written.
    """
    out = files.folder(out)
    setting = ParitySettings(sizes=4, mixed=False, kernels=8) if quick else ParitySettings()
    found = []
    with jax.enable_x64(True):
        for shape in tqdm(setting.shapes, desc="parity", unit="shape"):
            found += [measure(shape, dtype, setting) for dtype in DTYPES]
    plot.save(draw(found), out / "parity.png")
    numbers = [*_numbers(found), _odd_share(found)]
    met = [number.met for number in numbers if number.met is not None]
    verdict = ledger.verdict(met)
    record = {
        "statement": STATEMENT,
        "source": SOURCE,
        "setting": asdict(setting),
        "tolerance": {"roundings": ROUNDINGS},
        "verdict": verdict,
        "splits": [asdict(one) for one in found],
        "provenance": files.provenance(x64=True),
    }
    files.write_text(out / "parity.json", files.to_json(record) + "\n")
    reading = (
        f"{sum(met)} of {len(met)} identities hold to {ROUNDINGS} roundings for every one of "
        f"{len(found) * setting.kernels} random kernels, at single and at double precision."
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
        f"Kernels of normal taps, {len(setting.shapes)} shapes of 1 to {setting.sizes} taps on 1 "
        f"to 3 axes, {setting.kernels} kernels of each.",
        tuple(numbers),
        out / "parity.png",
        "\n".join(lines),
    )


def _numbers(found):
    for dtype in DTYPES:
        some = [one for one in found if one.dtype == dtype]
        for words, values in (
            ("|⟨k_e, k_o⟩|/‖k‖²", [one.inner for one in some]),
            ("|‖k‖² − ‖k_e‖² − ‖k_o‖²|/‖k‖²", [one.energy for one in some]),
            ("the same of the parts by the mirror of each axis", [one.mirrors for one in some]),
        ):
            yield Number(
                f"{words}, {dtype}",
                max(values),
                unit="roundings",
                wanted=f"at most {ROUNDINGS}",
                met=max(values) <= ROUNDINGS,
            )


def _odd_share(found):
    """Of 3×3 taps, nine parts of equal mean energy, four are odd."""
    (values,) = (one.odd for one in found if (one.taps, one.axes, one.dtype) == (9, 2, DTYPES[1]))
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    mean = float(values.mean())
    return Number("mean odd share of 3×3 kernels (4/9 expected)", mean, mean - half, mean + half)


def draw(found: list[Split]) -> Figure:
    """Both deviations in roundings against the number of taps, and odd shares."""
    with plot.style():
        figure = Figure(figsize=(11.5, 3.8), layout="constrained")
        panels = figure.subplots(1, 3)
        for panel, quantity, title in zip(
            panels,
            ("inner", "energy"),
            ("|⟨k$_e$, k$_o$⟩| / ‖k‖²", "Energies: gap / ‖k‖²"),
            strict=False,
        ):
            for dtype, color, marker in zip(DTYPES, ("#0072B2", "#D55E00"), "o^", strict=True):
                some = [one for one in found if one.dtype == dtype]
                values = [getattr(one, quantity) for one in some]
                panel.plot(
                    [one.taps for one in some],
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
        _draw_shares(panels[2], found)
    return figure


def _draw_shares(panel: Any, found: list[Split]) -> None:
    some = [one for one in found if one.dtype == DTYPES[1]]
    taps = np.concatenate([np.full(len(one.odd), one.taps) for one in some])
    panel.plot(
        taps,
        np.concatenate([one.odd for one in some]),
        "o",
        color="#009E73",
        markersize=2,
        alpha=0.3,
        label="one kernel",
    )
    panel.axhline(0.5, color="black", linestyle="--", linewidth=1)
    panel.set(xscale="log", xlabel="taps", ylabel="odd share ε", title="Odd shares of random taps")
    panel.legend()
