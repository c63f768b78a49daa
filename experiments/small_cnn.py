"""Small CNNs: data, training, and weight files.

Weights before, during and after training are saved as safetensors in PyTorch's layout. The
experiments read them like the file of any other network.
"""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special
from tqdm import tqdm

from infomech import fields, weights
from infomech._core import checks, files
from infomech.networks import sequential
from infomech.networks.sequential import Filters, Head, Layer, Parameters, Spec

#: default folder of the weights; ignored by git
DATA = Path("data")
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "china",
    "coffee",
    "coins",
    "flower",
    "grass",
    "gravel",
)


@dataclass(frozen=True)
class Training:
    """Training settings of one network; equal settings reproduce the network.

    Attributes:
        data: "digits" or "patches" (of photographs).
        size: taps of a filter on each axis.
        flipped: whether the images are mirrored left to right.
        seed: of the initial weights and of the order of the images.
        channels: of each layer.
        epochs: passes over the images.
        batch: images per step.
        rate: initial learning rate of Adam, with cosine decay to 0.
        stride: of the second layer.
    """

    data: str = "digits"
    size: int = 3
    flipped: bool = False
    seed: int = 0
    channels: tuple[int, ...] = (16, 32, 64)
    epochs: int = 32
    batch: int = 64
    rate: float = 4e-3
    stride: int = 2

    @property
    def name(self) -> str:
        """Name of the folder with its weights."""
        flipped = "-flipped" if self.flipped else ""
        return f"{self.data}{flipped}-{self.size}x{self.size}-seed{self.seed}"

    @property
    def spec(self) -> Spec:
        """Specification of the network."""
        taps = (self.size, self.size)
        strides = (1, self.stride, *(1,) * len(self.channels))
        layers = [Layer(n, taps, stride=s) for n, s in zip(self.channels, strides, strict=False)]
        return Spec(1, tuple(layers), 10)


@dataclass(frozen=True)
class Images:
    """Images in [0, 1] or of unit variance, (n, 1, rows, columns), and their labels, (n,)."""

    train: np.ndarray
    shown: np.ndarray
    test: np.ndarray
    test_shown: np.ndarray


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        training: its settings.
        files: weight files by epoch, in order.
        accuracy: test accuracy after the saved epochs.
    """

    training: Training
    files: dict[int, Path]
    accuracy: dict[int, float]


#: networks that most claims are tested on
NETWORKS = Training(), Training(size=5), Training(size=7, epochs=16), Training("patches")


@functools.cache
def digits() -> Images:
    """scikit-learn's digits of 8² pixels: 1,437 training and 360 test images."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    pixels = (bunch.images[order, None] / 16).astype(np.float32)
    shown = bunch.target[order].astype(np.int32)
    return Images(pixels[360:], shown[360:], pixels[:360], shown[:360])


@functools.cache
def patches(side: int = 16, train: int = 300, test: int = 100) -> Images:
    """Standardized patches of ten photographs; the label is the photograph.

    Training patches come from the left two thirds of each photograph, test patches from the rest.
    """
    random = np.random.default_rng(0)
    crops: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for name in PHOTOGRAPHS:
        image = np.asarray(fields.image(_photograph(name)).values, np.float32)
        border = 2 * image.shape[1] // 3
        for training, count in ((True, train), (False, test)):
            part = image[:, :border] if training else image[:, border:]
            corners = random.integers(0, np.array(part.shape) - side, (count, 2))
            crops[training] += [part[y : y + side, x : x + side] for y, x in corners]
    sets = {}
    for training, group in crops.items():
        stacked = np.stack(group)[:, None]
        spread = stacked.std((1, 2, 3), keepdims=True)
        sets[training] = (stacked - stacked.mean((1, 2, 3), keepdims=True)) / (spread + 1e-3)
    labels = [np.repeat(np.arange(10, dtype=np.int32), n) for n in (train, test)]
    order = random.permutation(len(labels[1]))
    return Images(sets[True], labels[0], sets[False][order], labels[1][order])


def _photograph(name: str) -> Any:
    if name in fields.PHOTOGRAPHS:
        return name
    from sklearn import datasets

    return datasets.load_sample_image(f"{name}.jpg")


def images(training: Training) -> Images:
    """Training and test images of a network."""
    checks.one_of("data", training.data, ("digits", "patches"))
    data = digits() if training.data == "digits" else patches()
    if training.flipped:
        return Images(data.train[..., ::-1], data.shown, data.test[..., ::-1], data.test_shown)
    return data


def train(
    training: Training,
    *,
    first: Parameters | None = None,
    keep: Callable[[int, Parameters, float], None] = lambda epoch, params, accuracy: None,
) -> Parameters:
    """Train a network with Adam on the cross-entropy.

    Args:
        training: its settings.
        first: initial weights; by default random, from its seed.
        keep: called with epoch, weights and test accuracy before the first epoch, after epochs
            1, 2, 4, 8, … and after the last.
    """
    data, spec = images(training), training.spec
    order = jax.random.key(training.seed + 2**20)
    params = beginning(training) if first is None else first
    steps = len(data.train) // training.batch
    options = {"spec": spec, "rate": training.rate, "steps": steps * training.epochs}
    state = _optimizer(training.rate, steps).init(params)
    pixels, labels = jnp.asarray(data.train), jnp.asarray(data.shown)
    keep(0, params, accuracy(params, data, spec))
    for epoch in range(1, training.epochs + 1):
        random = jax.random.permutation(jax.random.fold_in(order, epoch), len(pixels))
        for batch in random[: steps * training.batch].reshape(steps, -1):
            # optax's Adam mixes types
            with jax.numpy_dtype_promotion("standard"):
                params, state = _step(params, state, pixels[batch], labels[batch], **options)
        if epoch == training.epochs or math.log2(epoch).is_integer():
            keep(epoch, params, accuracy(params, data, spec))
    return params


def beginning(training: Training) -> Parameters:
    """Random initial weights of a network."""
    return sequential.init(training.spec, key=jax.random.key(training.seed), dtype=np.float32)


def _optimizer(rate, steps):
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


# no scan over steps: within a scan XLA runs convolutions on one core
@functools.partial(jax.jit, static_argnames=("spec", "rate", "steps"))
def _step(params, state, pixels, labels, *, spec, rate, steps):
    def loss(params):
        logits = _logits(params, pixels, spec=spec)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    updates, state = _optimizer(rate, steps).update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state


@functools.partial(jax.jit, static_argnames=("spec",))
def _logits(params, pixels, *, spec):
    return jax.vmap(lambda image: sequential.apply(params, image, spec=spec).logits)(pixels)


def accuracy(params: Parameters, data: Images, spec: Spec) -> float:
    """Test accuracy."""
    guess = np.argmax(np.asarray(_logits(params, data.test, spec=spec)), -1)
    return float(np.mean(guess == data.test_shown))


def save(params: Parameters, path: Path, about: dict[str, Any]) -> None:
    """Write weights in PyTorch's layout: cross-correlations (outputs, inputs, *taps)."""
    from safetensors.numpy import save_file

    tensors = {}
    for n, layer in enumerate(params.layers):
        kernels = np.asarray(layer.kernels)
        tensors[f"layers.{n}.weight"] = np.ascontiguousarray(kernels[:, :, ::-1, ::-1])
        tensors[f"layers.{n}.bias"] = np.asarray(layer.bias)
    tensors["head.weight"], tensors["head.bias"] = map(np.asarray, params.head)
    with files.replacing(path) as part:
        save_file(tensors, part, {"format": "pt", "infomech": files.to_json(about)})


def load(path: Path) -> Parameters:
    """Read weights written by `save`, with the kernels as from any other file."""
    from safetensors.numpy import load_file

    kernels = {layer.name: layer.kernels for layer in weights.layers(path)}
    tensors = load_file(path)
    layers = [
        Filters(jnp.asarray(taps), jnp.asarray(tensors[name.replace("weight", "bias")]))
        for name, taps in kernels.items()
    ]
    return Parameters(
        tuple(layers), Head(*(jnp.asarray(tensors[f"head.{n}"]) for n in ("weight", "bias")))
    )


def trained(training: Training, folder: Path = DATA) -> Trained:
    """The network of these settings; trained unless its weights are in the folder already."""
    directory = folder / training.name
    record = directory / "training.json"
    if record.exists():
        content = json.loads(record.read_text("utf-8"))
        if content["training"] == json.loads(files.to_json(training)):
            scores = {int(epoch): score for epoch, score in content["accuracy"].items()}
            return Trained(training, {epoch: _file(directory, epoch) for epoch in scores}, scores)
        record.unlink()
    files.folder(directory)
    scores = {}
    with tqdm(total=training.epochs, desc=training.name, unit="epoch") as bar:

        def keep(epoch: int, params: Parameters, score: float) -> None:
            about = {"training": training, "epoch": epoch, "accuracy": score}
            save(params, _file(directory, epoch), {**about, "provenance": files.provenance()})
            scores[epoch] = score
            bar.set_postfix(accuracy=f"{score:.1%}")
            bar.update(epoch - bar.n)

        train(training, keep=keep)
    # written last: marks the folder as complete
    files.write_text(record, files.to_json({"training": training, "accuracy": scores}))
    return Trained(training, {epoch: _file(directory, epoch) for epoch in scores}, scores)


def _file(place: Path, epoch: int) -> Path:
    return place / f"epoch-{epoch:03d}.safetensors"


def mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the first axis (networks or images), and half widths of their 95 % intervals."""
    count = len(values)
    quantile = special.stdtrit(count - 1, 0.975)
    return values.mean(0), quantile * values.std(0, ddof=1) / count**0.5
