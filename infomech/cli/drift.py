"""`infomech drift`: where the filters in a file of weights move content, layer after layer."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from tqdm import tqdm

from infomech import networks, plot, rates, weights
from infomech._core import checks, files
from infomech.cli.options import Clock, tell, typed, use
from infomech.fields import images
from infomech.networks import chain
from infomech.networks.chain import Displaced
from infomech.networks.drift import Agreement
from infomech.networks.sequential import Spec
from infomech.weights import Layer


@dataclass(frozen=True)
class Drift:
    """Predict from momenta where layers move content, and measure it by gradients.

    The layers chosen are taken as one network, one after the other with a rectifier behind each;
    normalization, pooling and branches aren't in it. Prints a table and writes a figure (drift.png)
    and the numbers (drift.json).
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Weights: .safetensors, .npz, .npy, .keras or .h5."""
    layer: str = "*"
    """Names of the layers, as a shell writes patterns; they must follow each other."""
    layout: str | None = None
    """Order of the axes of all of them, such as OIHW; by the framework's names if not given."""
    strides: tuple[int, ...] = ()
    """Of each layer; all 1 if not given."""
    dilations: tuple[int, ...] = ()
    """Of each layer; all 1 if not given."""
    groups: tuple[int, ...] = ()
    """Of each layer; if not given, as many as channels for depthwise layers and 1 for others."""
    rectifier: str = "relu"
    """Behind each layer."""
    images: str = "noise"
    """On which gradients are taken: noise, or pieces of a photograph such as camera, the same for
    all channels."""
    count: int = 32
    """Of these images."""
    seed: int = 0
    """Of the noise, of where pieces are taken, and of the bootstrap."""
    dtype: str = "float64"
    """float32 or float64; in float32 the signed paths of deep networks cancel down to rounding."""
    out: Path = Path("out/drift")
    """Folder for the figure and the numbers; made if need be."""
    compile_cache: Path | None = None
    """Folder that keeps compiled code, so that the next time it need not be compiled again."""
    json: bool = False
    """Print the whole result as JSON instead of a table."""

    def run(self) -> int:
        """Predicts, measures, writes the files and prints how well they agree."""
        with typed(self, source="FILE", layers="--layer", pattern="--layer"):
            return self._run()

    def _run(self) -> int:
        use(self.dtype, self.compile_cache)
        clock = Clock()
        layers = list(weights.layers(self.file, layout=self.layout, pattern=self.layer))
        params, spec = chain.chain(
            layers,
            strides=self.strides,
            dilations=self.dilations,
            groups=self.groups,
            rectifier=self.rectifier,
        )
        params = jax.tree.map(lambda x: x.astype(self.dtype), params)
        pixels, conversion = self._images(spec)
        tell(conversion, json=self.json)
        # mistakes are told before anything is done
        out = files.folder(self.out)
        found = chain.displacements(
            params,
            pixels,
            spec=spec,
            key=jax.random.key(self.seed),
            progress=lambda some: _watched(some, [layer.name for layer in layers]),
        )
        names = {kind: out / f"drift.{kind}" for kind in ("json", "png")}
        plot.save(plot.drift({self.file.name: found}), names["png"])
        result = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": names,
                "reach": chain.reach(spec),
                "conversion": conversion,
                "names": [layer.name for layer in layers],
                "layers": found,
                "reasons": [one.agreement.reason for one in found],
            }
        )
        files.write_text(names["json"], result + "\n")
        ending = f"figure   {names['png']}\nnumbers  {names['json']}\ntime     {clock}"
        print(result if self.json else f"{_report(found, layers, spec)}\n\n{ending}")
        return 0

    def _images(self, spec: Spec) -> tuple[np.ndarray, str]:
        """Images that no receptive field leaves, and how they became gray."""
        count = checks.integer("count", self.count, 1)
        # the unit in the middle may lie half a spacing off it
        spacing = np.ceil(networks.sequential.lattices(spec)[-1].spacing).astype(int)
        grid = tuple(n + 4 + int(m) for n, m in zip(chain.reach(spec), spacing, strict=True))
        random = np.random.default_rng(checks.integer("seed", self.seed, 0))
        if self.images == "noise":
            return random.normal(size=(count, spec.channels, *grid)).astype(self.dtype), ""
        if len(grid) != 2:
            expected = f"noise for layers of {len(grid)} axes"
            raise checks.error("images", repr(self.images), expected)
        photograph, conversion = images.read(self.images)
        if any(n < m for n, m in zip(photograph.shape, grid, strict=True)):
            raise checks.error("images", f"{photograph.shape} pixels", f"at least {grid}")
        last = [n - m for n, m in zip(photograph.shape, grid, strict=True)]
        corners = random.integers(0, np.array(last) + 1, (count, 2))
        pieces = np.stack([photograph[y : y + grid[0], x : x + grid[1]] for y, x in corners])
        pieces = (pieces - pieces.mean()) / pieces.std()
        return np.repeat(pieces[:, None], spec.channels, 1).astype(self.dtype), conversion


def _watched(layers: Sequence[Any], names: Sequence[str]) -> Iterator[Any]:
    """Says on a terminal which layer has its turn: most of the time goes into compiling."""
    with tqdm(total=len(layers), unit="layer", leave=False, disable=None, file=sys.stderr) as bar:
        for layer, name in zip(layers, names, strict=True):
            bar.set_description(f"{name}: compiling, measuring")
            yield layer
            bar.update()


def _report(found: Sequence[Displaced], layers: Sequence[Layer], spec: Spec) -> str:
    lines = [
        *(
            f"{n:5d}  {layer.name}, {'×'.join(map(str, layer.kernels.shape))}, stride {one.stride}"
            for n, (layer, one) in enumerate(zip(layers, spec.layers, strict=True), 1)
        ),
        "",
        "how far content has moved and spread from the image to each layer, in pixels, medians "
        "over channels; R² and slope of the measured against the predicted displacements (95 %)",
        "",
        "layer  paths   predicted  measured  spread  R² (95 %)             slope (95 %)"
        "            gates alike  channels",
    ]
    for one in found:
        a, plain = one.agreement, one.ungated
        sizes = [
            _median(np.linalg.norm(part.displacement, axis=-1))
            for part in (one.predicted, one.measured)
        ]
        lines.append(
            f"{one.layer:5d}  {one.weighting:<8}{sizes[0]:9.3f}  {sizes[1]:8.3f}"
            f"  {_spread(one.measured):6.2f}  {_scores(a):<46}{_ungated(plain):<13}"
            f"{int(a.used)} of {len(one.measured.balance)}"
            + (f", {int(a.at_border)} at the border" if a.at_border else "")
        )
    reach = "×".join(map(str, chain.reach(spec)))
    return "\n".join([*lines, "", f"a unit of the last layer sees {reach} pixels"])


def _median(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def _spread(measured: Any) -> float:
    """Root of the median variance over channels; signed weights may have a negative one."""
    variance = _median(np.trace(np.asarray(measured.covariance), axis1=-2, axis2=-1))
    return float(np.sqrt(variance)) if variance > 0 else np.nan


def _scores(a: Agreement) -> str:
    """R² and slope with their intervals, or why there are none."""
    if a.reason:
        return a.reason
    r_squared, low, high = (
        rates.format_r_squared(float(one.r_squared), 2) for one in (a.scores, a.low, a.high)
    )
    slopes = f"{a.scores.slope:.2f} ({a.low.slope:.2f} to {a.high.slope:.2f})"
    return f"{f'{r_squared} ({low} to {high})':<22}{slopes}"


def _ungated(a: Agreement) -> str:
    return "–" if a.reason else f"R² {rates.format_r_squared(float(a.scores.r_squared), 2)}"
