"""`infomech drift`: displacement of content through the layers of a weight file."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from infomech import networks, plot, rates, weights
from infomech._core import checks, files
from infomech._core.progress import Progress
from infomech.cli.choices import RectifierName
from infomech.cli.options import Clock, command_line_names, print_conversion, show_progress, use
from infomech.fields import images
from infomech.networks import chain
from infomech.networks.chain import Displaced
from infomech.networks.drift import Agreement
from infomech.networks.sequential import Spec
from infomech.weights import Layer


@dataclass(frozen=True)
class Drift:
    """Predict the displacement of content from momenta, and measure it by gradients.

    The selected layers are stacked into one network with a rectifier after each; normalization,
    pooling and branches are ignored. Prints a table and writes a figure (drift.png) and the numbers
    (drift.json).
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Weight file: .safetensors, .npz, .npy, .keras or .h5."""
    layer: str = "*"
    """Layers to include (shell wildcard), in network order."""
    layout: str | None = None
    """Axis order of all layers, such as OIHW; inferred from names by default."""
    strides: tuple[int, ...] = ()
    """Stride of each layer; 1 by default."""
    dilations: tuple[int, ...] = ()
    """Dilation of each layer; 1 by default."""
    groups: tuple[int, ...] = ()
    """Groups of each layer; by default the channels of depthwise layers, 1 for others."""
    rectifier: RectifierName = "relu"
    images: str = "noise"
    """Images at which gradients are taken: noise, or crops of a photograph such as camera, the same
    for all channels."""
    count: int = 32
    """Number of these images."""
    seed: int = 0
    """Seed of the noise, the crops and the bootstrap."""
    dtype: str = "float64"
    """float32 or float64; in float32 the signed paths of deep networks cancel up to rounding."""
    out: Path = Path("out/drift")
    """Output folder; created if missing."""
    compile_cache: Path | None = None
    """Folder for compiled code, reused by later runs."""
    json: bool = False
    """Print the result as JSON instead of a table."""

    def run(self) -> int:
        """Predicts, measures, writes the files and prints the agreement."""
        with command_line_names(self, source="FILE", layers="--layer", pattern="--layer"):
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
        inputs, conversion = self._images(spec)
        print_conversion(conversion, json=self.json)
        # raise early if the folder can't be written
        out = files.folder(self.out)
        with _show_progress([layer.name for layer in layers]) as update:
            results = chain.displacements(
                params, inputs, spec=spec, key=jax.random.key(self.seed), on_progress=update
            )
        names = {kind: out / f"drift.{kind}" for kind in ("json", "png")}
        plot.save(plot.drift({self.file.name: results}), names["png"])
        result = files.to_json(
            {
                "config": asdict(self),
                "provenance": files.provenance(),
                "seconds": clock.seconds(),
                "files": names,
                "reach": chain.reach(spec),
                "conversion": conversion,
                "names": [layer.name for layer in layers],
                "layers": results,
                "reasons": [result.agreement.reason for result in results],
            }
        )
        files.write_text(names["json"], result + "\n")
        ending = f"figure   {names['png']}\nnumbers  {names['json']}\ntime     {clock}"
        print(result if self.json else f"{_report(results, layers, spec)}\n\n{ending}")
        return 0

    def _images(self, spec: Spec) -> tuple[np.ndarray, str]:
        """Images larger than any receptive field, and how they were converted to gray."""
        count = checks.integer("count", self.count, 1)
        # the central unit may lie up to half a spacing off center
        spacing = np.ceil(networks.sequential.lattices(spec)[-1].spacing).astype(int)
        shape = tuple(n + 4 + int(m) for n, m in zip(chain.reach(spec), spacing, strict=True))
        random = np.random.default_rng(checks.integer("seed", self.seed, 0))
        if self.images == "noise":
            return random.normal(size=(count, spec.channels, *shape)).astype(self.dtype), ""
        if len(shape) != 2:
            expected = f"noise for layers with {len(shape)} axes"
            raise checks.error("images", repr(self.images), expected)
        photograph, conversion = images.read(self.images)
        if any(n < m for n, m in zip(photograph.shape, shape, strict=True)):
            raise checks.error("images", f"{photograph.shape} pixels", f"at least {shape}")
        last = [n - m for n, m in zip(photograph.shape, shape, strict=True)]
        corners = random.integers(0, np.array(last) + 1, (count, 2))
        crops = np.stack([photograph[y : y + shape[0], x : x + shape[1]] for y, x in corners])
        crops = (crops - crops.mean()) / crops.std()
        return np.repeat(crops[:, None], spec.channels, 1).astype(self.dtype), conversion


@contextlib.contextmanager
def _show_progress(names: Sequence[str]) -> Iterator[Callable[[Progress], None]]:
    """Shows the name of the current layer; most of the time is spent compiling."""
    with show_progress("drift", "layer") as update:

        def update_named(progress: Progress) -> None:
            name = names[min(progress.done, len(names) - 1)]
            update(replace(progress, task=f"{name}: compiling, measuring"))

        yield update_named


def _report(results: Sequence[Displaced], layers: Sequence[Layer], spec: Spec) -> str:
    lines = [
        *(
            f"{n:5d}  {layer.name}, {'×'.join(map(str, layer.kernels.shape))}, stride {opts.stride}"
            for n, (layer, opts) in enumerate(zip(layers, spec.layers, strict=True), 1)
        ),
        "",
        "displacement and spread of content from the image to each layer, in pixels (medians over "
        "channels); R² and slope of measured against predicted displacements (95 %)",
        "",
        "layer  paths   predicted  measured  spread  R² (95 %)             slope (95 %)"
        "            equal gates  channels",
    ]
    for result in results:
        a = result.agreement
        sizes = [
            _median(np.linalg.norm(part.displacement, axis=-1))
            for part in (result.predicted, result.measured)
        ]
        lines.append(
            f"{result.layer:5d}  {result.weighting:<8}{sizes[0]:9.3f}  {sizes[1]:8.3f}"
            f"  {_spread(result.measured):6.2f}  {_scores(a):<46}{_ungated(result.ungated):<13}"
            f"{int(a.used)} of {len(result.measured.balance)}"
            + (f", {int(a.at_border)} at the border" if a.at_border else "")
        )
    reach = "×".join(map(str, chain.reach(spec)))
    return "\n".join([*lines, "", f"receptive field of the last layer: {reach} pixels"])


def _median(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _spread(measured: Any) -> float:
    """Root of the median variance over channels; NaN if signed weights make it negative."""
    variance = _median(np.trace(np.asarray(measured.covariance), axis1=-2, axis2=-1))
    return float(np.sqrt(variance)) if variance > 0 else np.nan


def _scores(a: Agreement) -> str:
    """R² and slope with intervals, or the reason why they are undefined."""
    if a.reason:
        return a.reason
    r_squared, low, high = (
        rates.format_r_squared(float(scores.r_squared), 2) for scores in (a.scores, a.low, a.high)
    )
    slopes = f"{a.scores.slope:.2f} ({a.low.slope:.2f} to {a.high.slope:.2f})"
    return f"{f'{r_squared} ({low} to {high})':<22}{slopes}"


def _ungated(a: Agreement) -> str:
    return "–" if a.reason else f"R² {rates.format_r_squared(float(a.scores.r_squared), 2)}"
