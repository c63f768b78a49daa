"""`python -m benchmarks.rollout`: the rollout beside OpenCV, PyTorch and lax.conv, on the CPU.

Every contender passes the same float32 fields through the same layers, u ← max(k * u, 0) with zeros
outside, in one process and with all the threads it can use. What they compute is compared first;
then they take turns, so that whatever else the machine does meets all of them alike.
"""

import argparse
import functools
import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import infomech as im
from infomech import files


@dataclass(frozen=True)
class Case:
    """`fields` square fields of `pixels`², each with its own `taps`² (odd) for all `layers`.

    With `gradient`, what is computed is the sum of squares of the final field, and its gradient.
    """

    fields: int
    pixels: int
    taps: int
    layers: int
    gradient: bool = False

    def __str__(self) -> str:
        what = f"{self.fields} x {self.pixels}², {self.taps}x{self.taps}, {self.layers} layers"
        return what + (", gradient" if self.gradient else "")


@dataclass(frozen=True)
class Result:
    """What a contender needed for a case; `ratio` is its median over that of infomech."""

    case: Case
    contender: str
    seconds: list[float]
    median_seconds: float
    gcell_steps_per_second: float
    ratio: float
    compile_seconds: float | None
    difference: float


CASES = (Case(1, 1024, 3, 20), Case(1, 512, 5, 20), Case(64, 64, 3, 50), Case(1, 256, 3, 100, True))

#: a function that computes the final fields, or value and gradient, and its seconds to compile
Built = tuple[Callable[[], tuple[Any, ...]], float | None]


def build_infomech(case: Case, kernels: np.ndarray, fields: np.ndarray) -> Built:
    """`infomech.rollout` that observes nothing; `vmap` over several fields."""

    def final(kernel, field):
        return im.rollout(kernel, field, case.layers, normalize="none", observe=None)[0].values

    if case.fields == 1:
        return _compiled(case, final, kernels[0], fields[0])
    return _compiled(case, jax.vmap(final), kernels, fields)


def build_lax(case: Case, kernels: np.ndarray, fields: np.ndarray) -> Built:
    """`lax.conv_general_dilated` in `lax.scan`, NCHW, with one group per field."""

    def final(kernels, fields):
        reflected = kernels[:, None, ::-1, ::-1]

        def layer(u, _):
            u = jax.lax.conv_general_dilated(
                u, reflected, (1, 1), [(case.taps // 2,) * 2] * 2,
                feature_group_count=case.fields, precision=jax.lax.Precision.HIGHEST,
            )  # fmt: skip
            return jax.nn.relu(u), None

        return jax.lax.scan(layer, fields, None, length=case.layers)[0]

    return _compiled(case, final, kernels, fields[None])


def _compiled(case: Case, final: Callable, *arrays: np.ndarray) -> Built:
    def forward(kernels, fields):
        return (final(kernels, fields),)

    def energy(kernels, fields):
        return jnp.sum(final(kernels, fields) ** 2)

    on_device = [jnp.asarray(array) for array in arrays]
    start = time.perf_counter()
    function = jax.jit(jax.value_and_grad(energy) if case.gradient else forward)
    compiled = function.lower(*on_device).compile()
    seconds = time.perf_counter() - start
    return lambda: jax.block_until_ready(compiled(*on_device)), seconds


def build_torch(case: Case, kernels: np.ndarray, fields: np.ndarray) -> Built:
    """PyTorch's `conv2d` and `relu_`, in inference mode or, for the gradient, with autograd."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    initial, taps = torch.from_numpy(fields[None]), torch.from_numpy(kernels[:, None])

    def final(taps):
        u, reflected = initial, taps.flip(2, 3)
        for _ in range(case.layers):
            u = torch.conv2d(u, reflected, padding=case.taps // 2, groups=case.fields).relu_()
        return u

    def forward():
        with torch.inference_mode():
            return (final(taps),)

    def value_and_gradient():
        leaf = taps.clone().requires_grad_()
        value = (final(leaf) ** 2).sum()
        return value.detach(), *torch.autograd.grad(value, leaf)

    return value_and_gradient if case.gradient else forward, None


def build_opencv(
    case: Case, kernels: np.ndarray, fields: np.ndarray, *, threshold: bool = False
) -> Built | None:
    """OpenCV's `filter2D`, field by field; ReLU in place by NumPy, or by OpenCV's `threshold`."""
    import cv2

    if case.gradient:
        return None
    cv2.setNumThreads(os.cpu_count() or 1)
    # filter2D is a cross-correlation, as conv2d and lax.conv are
    reflected, anchor = np.ascontiguousarray(kernels[:, ::-1, ::-1]), (case.taps // 2,) * 2
    buffers = np.empty_like(fields), np.empty_like(fields)

    def forward():
        for kernel, u, *pair in zip(reflected, fields, *buffers, strict=True):
            for layer in range(case.layers):
                out = pair[layer % 2]
                cv2.filter2D(u, -1, kernel, out, anchor, 0, cv2.BORDER_CONSTANT)
                if threshold:
                    cv2.threshold(out, 0, 0, cv2.THRESH_TOZERO, out)
                else:
                    np.maximum(out, 0, out=out)
                u = out
        return (buffers[(case.layers - 1) % 2],)

    return forward, None


#: module, package and builder of each contender
CONTENDERS: dict[str, tuple[str, str, Callable[..., Built | None]]] = {
    "infomech": ("infomech", "infomech", build_infomech),
    "OpenCV + NumPy": ("cv2", "opencv-python-headless", build_opencv),
    "OpenCV": ("cv2", "opencv-python-headless", functools.partial(build_opencv, threshold=True)),
    "PyTorch": ("torch", "torch", build_torch),
    "lax.conv": ("jax", "jax", build_lax),
}


def missing() -> dict[str, str]:
    """The contenders that can't be imported, each with the command that installs it."""
    found = {}
    for name, (module, package, _) in CONTENDERS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            found[name] = f"pip install {package}"
    return found


def samples(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (n, taps, taps) of gain Σ k = 1 and fields (n, pixels, pixels) of both signs."""
    rng = np.random.default_rng(0)
    kernels = rng.random((case.fields, case.taps, case.taps), np.float32)
    fields = rng.standard_normal((case.fields, case.pixels, case.pixels), np.float32)
    return kernels / kernels.sum((1, 2), keepdims=True), fields


def difference(case: Case, name: str, got: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest difference of two outcomes, as a share of the largest number.

    Raises:
        ArithmeticError: it is more than float32 rounding can explain, or not a number.
    """
    allowed = case.layers * case.taps**2 * float(np.finfo(np.float32).eps)
    worst = 0.0
    for pair in zip(got, expected, strict=True):
        a, b = (np.ravel(np.asarray(array, np.float64)) for array in pair)
        worst = max(worst, float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
        if not worst <= allowed:  # so that NaN doesn't pass
            raise ArithmeticError(f"{case}: {name} differs by {worst:.1e}, at most {allowed:.1e}")
    return worst


def compete(case: Case, names: Sequence[str], rounds: int, bar: Any) -> list[Result]:
    """Compares, then times the contenders in turns; `bar` is a `tqdm.tqdm`.

    Raises:
        ArithmeticError: two contenders disagree.
    """
    bar.set_description(str(case))
    arrays = samples(case)
    found = {name: CONTENDERS[name][2](case, *arrays) for name in names}
    built = {name: pair for name, pair in found.items() if pair is not None}
    expected = built["infomech"][0]()
    apart = {name: difference(case, name, run(), expected) for name, (run, _) in built.items()}
    seconds: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(rounds):
        for name, (run, _) in built.items():
            run()  # untimed: caches and spinning threads are still those of the last contender
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
        bar.update()
    median = {name: statistics.median(seconds[name]) for name in built}
    cell_steps = case.fields * case.pixels**2 * case.layers
    return [
        Result(
            case, name, seconds[name], median[name], cell_steps / median[name] / 1e9,
            median[name] / median["infomech"], built[name][1], apart[name],
        )
        for name in built
    ]  # fmt: skip


def table(results: Sequence[Result]) -> str:
    """The results for people; above 1, the ratio says that infomech is faster."""
    head = ("case", "contender", "median ms", "Gcell-steps/s", "ratio", "compile s")
    lines = ["{:<36}{:<16}{:>11}{:>15}{:>8}{:>11}".format(*head)]
    for r in results:
        compiling = "" if r.compile_seconds is None else f"{r.compile_seconds:.2f}"
        lines.append(
            f"{r.case!s:<36}{r.contender:<16}{r.median_seconds * 1e3:>11.3f}"
            f"{r.gcell_steps_per_second:>15.3f}{r.ratio:>8.2f}{compiling:>11}"
        )
    return "\n".join(lines)


def machine() -> str:
    """Cores, load and versions, in one line."""
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    packages = ("infomech", "jax", "jaxlib", "numpy", "opencv-python-headless", "torch")
    present = {d.name for d in metadata.distributions()}
    versions = [f"{p} {metadata.version(p)}" for p in packages if p in present]
    cores = f"{os.cpu_count()} cores ({platform.machine()}{load})"
    return ", ".join([cores, f"Python {platform.python_version()}", *versions])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all cases; returns 0, 1 if contenders disagree, 2 after a line on a bad argument."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small fields, for a few seconds")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")  # where all the contenders can meet
    cases, rounds = CASES, 7
    if options.quick:
        small = [replace(c, pixels=max(16, c.pixels // 16), layers=c.layers // 5) for c in CASES]
        cases, rounds = tuple(small), 3
    out = missing()
    names, results, where = [name for name in CONTENDERS if name not in out], [], machine()
    try:
        if options.json:
            files.folder(options.json.parent)
        with tqdm(total=len(cases) * rounds, unit="round", file=sys.stderr) as bar:
            for case in cases:
                results += compete(case, names, rounds, bar)
        if options.json:
            record = {"machine": where, "left_out": out, "results": results}
            files.write_text(options.json, files.to_json(files.provenance() | record))
    except (ArithmeticError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1 if isinstance(error, ArithmeticError) else 2
    print(f"{where}\n\n{table(results)}")
    for name, command in out.items():
        print(f"left out: {name}, not installed; {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
