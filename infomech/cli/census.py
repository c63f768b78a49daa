"""`infomech census`: mechanics of the filters in a weight file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from infomech import networks, plot, weights
from infomech._core import checks, files
from infomech._core.progress import Progress
from infomech.cli.options import Clock, command_line_names, show_progress
from infomech.weights import Layer


@dataclass(frozen=True)
class Census:
    """Summarize a network's filters: energy, odd share, momentum, low frequencies.

    Prints a table by layer and whether DC and gradients dominate. Writes a figure (census.png), the
    numbers (census.json) and a labeled dataset (census.nc).
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Weight file: .safetensors, .npz, .npy, .keras or .h5."""
    against: str = ""
    """Second file to compare with, such as the network before training; layers are paired by name.
    Or random: Gaussian taps of the same shapes."""
    layer: str = "*"
    """Layers to include (shell wildcard)."""
    layout: str | None = None
    """Axis order of all layers, such as OIHW; inferred from names by default."""
    describe: bool = False
    """List the arrays of the file and exit."""
    skip_nan: bool = False
    """Skip filters that contain NaN or infinity; otherwise their layers have no shares."""
    seed: int = 0
    """Seed of the random filters."""
    out: Path = Path("out/census")
    """Output folder; created if missing."""
    json: bool = False
    """Print the result as JSON instead of a table."""

    def run(self) -> int:
        """Computes the census, writes the files, prints table and verdict."""
        with command_line_names(self, source="FILE", layers="FILE", pattern="--layer"):
            return self._run()

    def _run(self) -> int:
        if self.describe:
            entries = weights.describe(self.file)
            print(files.to_json([e._asdict() for e in entries]) if self.json else _listing(entries))
            return 0
        clock = Clock()
        # raise early if either file is invalid
        layers, other = self._layers(), self._other()
        out = files.folder(self.out)
        with show_progress(self.file.name, " filters") as update:
            dataset = networks.census(_counted(layers, update), skip_nan=self.skip_nan)
        verdict = networks.dominance(dataset)
        change = other and self._change(other)
        names = {kind: out / f"census.{kind}" for kind in ("json", "nc", "png")}
        plot.save(plot.census(dataset, change, other=Path(self.against).name), names["png"])
        with files.replacing(names["nc"]) as part:
            # fixed engine: the format must not depend on installed packages
            attributes = {"pointwise": ", ".join(dataset.pointwise)}
            dataset.assign_attrs(attributes).to_netcdf(part, engine="scipy")
        result = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": names,
                "result": _plain(dataset.drop_dims("filter")),
                "dominance": _plain(verdict),
                "change": None if change is None else _plain(change),
            }
        )
        files.write_text(names["json"], result + "\n")
        text = "\n".join(
            [
                *_table(dataset),
                "",
                *_verdict(dataset, verdict, self.skip_nan),
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
        """Layers of the network to compare with."""
        if self.against == "random":
            seed = checks.integer("seed", self.seed, 0)
            return networks.random_like(self._layers(), seed=seed)
        if not self.against:
            return None
        words = {"source": "--against", "pattern": "--layer"}
        with command_line_names(self, **words):
            layers = weights.layers(Path(self.against), layout=self.layout, pattern=self.layer)
        return self._typed(layers, words)

    def _typed(self, layers: Iterable[Layer], words: dict[str, str]) -> Iterator[Layer]:
        """Yields the layers; errors raised on reading name the options in `words`."""
        with command_line_names(self, **words):
            yield from layers

    def _change(self, other: Iterable[Layer]) -> Any:
        with command_line_names(self, layers="--against", others="FILE"):
            return networks.compare(other, self._layers(), skip_nan=self.skip_nan)


def _counted(layers: Iterable[Layer], on_progress: Callable[[Progress], None]) -> Iterator[Layer]:
    """Yields the layers, and reports the number of their filters."""
    done = 0
    on_progress(Progress(done))
    for layer in layers:
        yield layer
        done += int(np.prod(layer.kernels.shape[:2]))
        on_progress(Progress(done))


def _plain(dataset: Any) -> dict[str, Any]:
    """Coordinates and variables as arrays with the names of their axes."""
    return {
        name: {"axes": list(array.dims), "values": array.values}
        for name, array in {**dataset.coords, **dataset.data_vars}.items()
    }


def _listing(entries: list[weights.Entry]) -> str:
    width = min(max(len(e.name) for e in entries), 60) if entries else 0
    shapes = ["×".join(map(str, e.shape)) or "scalar" for e in entries]
    lines = [
        f"{e.name:<{width}}  {shape:<18}{e.dtype:<10}{e.layout or ('?' if e.undecided else '–'):<8}"
        f"{e.rule}"
        for e, shape in zip(entries, shapes, strict=True)
    ]
    convolutions = [e for e in entries if e.layout]
    return "\n".join([*lines, f"{len(entries)} arrays, {len(convolutions)} convolutions"])


def _table(dataset: Any) -> list[str]:
    names = [_truncate(str(name), 28) for name in dataset.layer.values]
    width = max(5, *map(len, names))
    lines = [
        f"{'layer':<{width}}  {'filters':>9}  {'kernel':<7}DC + gradients (95 %)    random shuffled"
        "   odd share (95 %)         random   one-sided (random)"
    ]
    for n, name in enumerate(names):
        row = dataset.isel(layer=n)
        size = "×".join(str(int(m)) for m in row.kernel_size.values if np.isfinite(m))
        low, odd = (_share(row.sel(part=part)) for part in ("low", "odd"))
        null = row.sel(part="low")
        lines.append(
            f"{name:<{width}}  {int(row.filters):>9,}  {size:<7}{low:<25}{float(null.random):5.3f}"
            f"  {float(null.shuffled):5.3f}      {odd:<25}{float(row.sel(part='odd').random):5.3f}"
            f"    {float(row.resultant[0]):5.3f} ({float(row.resultant_random):.3f})"
        )
    return lines


def _share(row: Any) -> str:
    low, high = row.share_interval.values
    return f"{float(row.share):.3f} ({low:.3f} to {high:.3f})"


def _verdict(dataset: Any, verdict: Any, skip_nan: bool) -> list[str]:
    skipped = ", skipped" if skip_nan else ": no shares; use --skip-nan to skip them"
    consequence = {"zero": "", "not_finite": skipped}
    count = dataset.sizes["layer"]
    yes, no = int(verdict.dominated.sum()), int(verdict.not_dominated.sum())
    descriptions = {
        "dominated": "more than half of their energy in DC and gradients, and more than random",
        "above_random": "a larger share there than Gaussian taps",
        "above_shuffled": "a larger share there than the same taps shuffled",
    }
    lines = [
        f"{int(verdict[name].sum())} of {count} layers have {text}"
        for name, text in descriptions.items()
    ]
    word = "undecided" if not yes + no else "holds" if yes == count else "fails" if not yes else ""
    lines.append(
        "Small filters are dominated by DC and gradients [arXiv 2512.24338]: "
        f"{word or 'holds in some layers'}"
        f" (yes in {yes} layers, no in {no}, undecided in {count - yes - no}; 95 % intervals)"
    )
    for name, text in (("zero", "all zeros"), ("not_finite", "NaN or infinite")):
        for row in np.flatnonzero(dataset[name].values):
            layer, number = dataset.layer.values[row], int(dataset[name][row])
            lines.append(f"{layer}: {number:,} filters are {text}{consequence[name]}")
    if dataset.pointwise:
        lines.append(f"skipped, only one tap: {', '.join(dataset.pointwise[:8])}")
    return lines


def _changes(change: Any, against: str) -> list[str]:
    if change is None:
        return []
    lines = ["", f"change from {against} to this file (95 % interval)"]
    for name in change.layer.values:
        row = change.sel(layer=name)
        parts = []
        for part, text in (("low", "DC + gradients"), ("odd", "odd share")):
            low, high = row.change_interval.sel(part=part).values
            value = float(row.change.sel(part=part))
            parts.append(f"{text} {value:+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append(
            f"{_truncate(str(name), 28)}  {'  '.join(parts)}  cosine {float(row.cosine):.3f}"
        )
    if change.unmatched:
        lines.append(f"only in one of the two: {', '.join(change.unmatched[:8])}")
    return lines


def _truncate(name: str, length: int) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]
