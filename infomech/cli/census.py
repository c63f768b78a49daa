"""`infomech census`: the mechanics of the filters in a file of weights."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from infomech import networks, plot, weights
from infomech._core import checks, files
from infomech.cli.options import Clock, typed
from infomech.weights import Layer


@dataclass(frozen=True)
class Census:
    """Count what the filters of a network are: energy, odd share, momentum, low frequencies.

    Prints a table by layer and whether DC and gradients dominate, and writes a figure (census.png),
    the numbers (census.json) and the labeled dataset (census.nc).
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Weights: .safetensors, .npz, .npy, .keras or .h5."""
    against: str = ""
    """A second file, such as the network before training, whose layers are paired by name; or
    random: Gaussian taps of the same shapes."""
    layer: str = "*"
    """Names of the layers to count, as a shell writes patterns."""
    layout: str | None = None
    """Order of the axes of all of them, such as OIHW; by the framework's names if not given."""
    describe: bool = False
    """Only list what the file holds."""
    skip_nan: bool = False
    """Leave out filters that hold NaN or infinity; otherwise their layers have no shares."""
    seed: int = 0
    """Of the random filters."""
    out: Path = Path("out/census")
    """Folder for the files written; made if need be."""
    json: bool = False
    """Print the whole result as JSON instead of a table."""

    def run(self) -> int:
        """Counts, writes the files and prints table and verdict."""
        with typed(self, source="FILE", layers="FILE", pattern="--layer"):
            return self._run()

    def _run(self) -> int:
        if self.describe:
            held = weights.describe(self.file)
            print(files.to_json([e._asdict() for e in held]) if self.json else _listing(held))
            return 0
        clock = Clock()
        # mistakes in either file are told before anything is done
        layers, other = self._layers(), self._other()
        out = files.folder(self.out)
        watched = _watched(layers, self.file.name)
        found = networks.census(watched, skip_nan=self.skip_nan)
        verdict = networks.dominance(found)
        change = other and self._change(other)
        names = {kind: out / f"census.{kind}" for kind in ("json", "nc", "png")}
        plot.save(plot.census(found, change, other=Path(self.against).name), names["png"])
        with files.replacing(names["nc"]) as part:
            # by SciPy: a file of one kind, whatever else is installed
            found.assign_attrs(pointwise=", ".join(found.pointwise)).to_netcdf(part, engine="scipy")
        some = found.drop_dims("filter")
        result = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": names,
                "result": _plain(some),
                "dominance": _plain(verdict),
                "change": None if change is None else _plain(change),
            }
        )
        files.write_text(names["json"], result + "\n")
        text = "\n".join(
            [
                *_table(found),
                "",
                *_verdict(found, verdict, self.skip_nan),
                *_changes(change, self.against),
                "",
                f"figure   {names['png']}",
                f"numbers  {names['json']}, {names['nc']}",
                f"time     {clock}",
            ]
        )
        print(result if self.json else text)
        return 0

    def _layers(self) -> Iterator[Layer]:
        return weights.layers(self.file, layout=self.layout, pattern=self.layer)

    def _other(self) -> Iterator[Layer] | None:
        """The network before, or one of random taps."""
        if self.against == "random":
            seed = checks.integer("seed", self.seed, 0)
            return networks.random_like(self._layers(), seed=seed)
        if not self.against:
            return None
        words = {"source": "--against", "pattern": "--layer"}
        with typed(self, **words):
            found = weights.layers(Path(self.against), layout=self.layout, pattern=self.layer)
        return self._told(found, words)

    def _told(self, layers: Iterable[Layer], words: dict[str, str]) -> Iterator[Layer]:
        """The layers, read one by one: what is wrong with one is told by these words too."""
        with typed(self, **words):
            yield from layers

    def _change(self, other: Iterable[Layer]) -> Any:
        with typed(self, layers="--against", others="FILE"):
            return networks.compare(other, self._layers(), skip_nan=self.skip_nan)


def _watched(layers: Iterable[Layer], title: str) -> Iterator[Layer]:
    with tqdm(desc=title, unit=" filters", delay=2, leave=False, disable=None) as bar:
        for layer in layers:
            yield layer
            bar.update(int(np.prod(layer.kernels.shape[:2])))


def _plain(dataset: Any) -> dict[str, Any]:
    """Coordinates and variables as arrays, each with the names of its axes."""
    return {
        name: {"axes": list(array.dims), "values": array.values}
        for name, array in {**dataset.coords, **dataset.data_vars}.items()
    }


def _listing(held: list[weights.Entry]) -> str:
    wide = min(max(len(e.name) for e in held), 60) if held else 0
    shapes = ["×".join(map(str, e.shape)) or "scalar" for e in held]
    lines = [
        f"{e.name:<{wide}}  {shape:<18}{e.dtype:<10}{e.layout or ('?' if e.undecided else '–'):<8}"
        f"{e.rule}"
        for e, shape in zip(held, shapes, strict=True)
    ]
    convolutions = [e for e in held if e.layout]
    return "\n".join([*lines, f"{len(held)} arrays, {len(convolutions)} of them convolutions"])


def _table(found: Any) -> list[str]:
    names = [_cut(str(name), 28) for name in found.layer.values]
    wide = max(5, *map(len, names))
    lines = [
        f"{'layer':<{wide}}  {'filters':>9}  {'taps':<7}DC + gradients (95 %)    random shuffled"
        "   odd share (95 %)         random   one-sided (random)"
    ]
    for n, name in enumerate(names):
        row = found.isel(layer=n)
        taps = "×".join(str(int(t)) for t in row.taps.values if np.isfinite(t))
        low, odd = (_share(row.sel(part=part)) for part in ("low", "odd"))
        null = row.sel(part="low")
        lines.append(
            f"{name:<{wide}}  {int(row.filters):>9,}  {taps:<7}{low:<25}{float(null.random):5.3f}"
            f"  {float(null.shuffled):5.3f}      {odd:<25}{float(row.sel(part='odd').random):5.3f}"
            f"    {float(row.resultant[0]):5.3f} ({float(row.resultant_random):.3f})"
        )
    return lines


def _share(row: Any) -> str:
    low, high = row.share_interval.values
    return f"{float(row.share):.3f} ({low:.3f} to {high:.3f})"


def _verdict(found: Any, verdict: Any, skip_nan: bool) -> list[str]:
    left = ", left out" if skip_nan else ": no shares; --skip-nan leaves them out"
    skipped = {"zero": "", "not_finite": left}
    count = found.sizes["layer"]
    yes, no = int(verdict.dominated.sum()), int(verdict.not_dominated.sum())
    said = {
        "dominated": "more than half of their energy in DC and gradients, and more than random",
        "above_random": "more of it there than Gaussian taps",
        "above_shuffled": "more of it there than the same taps in another order",
    }
    lines = [
        f"{int(verdict[name].sum())} of {count} layers have {words}" for name, words in said.items()
    ]
    word = "not known" if not yes + no else "holds" if yes == count else "fails" if not yes else ""
    lines.append(
        "Small filters are dominated by DC and gradients [arXiv 2512.24338]: "
        f"{word or 'holds in some layers'}"
        f" ({yes} layers are, {no} aren't, of {count - yes - no} it can't be told; 95 % intervals)"
    )
    for name, words in (("zero", "all zeros"), ("not_finite", "NaN or infinite")):
        for row in np.flatnonzero(found[name].values):
            layer, number = found.layer.values[row], int(found[name][row])
            lines.append(f"{layer}: {number:,} filters are {words}{skipped[name]}")
    if found.pointwise:
        lines.append(f"left out, of one tap each: {', '.join(found.pointwise[:8])}")
    return lines


def _changes(change: Any, against: str) -> list[str]:
    if change is None:
        return []
    lines = ["", f"change from {against} to this file, and its 95 % interval"]
    for name in change.layer.values:
        row = change.sel(layer=name)
        parts = []
        for part, words in (("low", "DC + gradients"), ("odd", "odd share")):
            low, high = row.change_interval.sel(part=part).values
            value = float(row.change.sel(part=part))
            parts.append(f"{words} {value:+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(f"{_cut(str(name), 28)}  {'  '.join(parts)}  cosine {float(row.cosine):.3f}")
    if change.unmatched:
        lines.append(f"in one of them only: {', '.join(change.unmatched[:8])}")
    return lines


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]
