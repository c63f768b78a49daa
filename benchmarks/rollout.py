"""`python -m benchmarks.rollout`: the rollout beside OpenCV, PyTorch and lax.conv, on the CPU.

Every contender passes the same float32 fields through the same layers, u ← max(k * u, 0) with zeros
outside, in one process and with all the threads it can use. What they compute is compared first;
then they take turns, so that whatever else the machine does meets all of them alike.
"""

import argparse
import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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
    """Fields of `pixels`², each with its own odd `taps`² for all layers; or ∂(Σ u²)/∂k of one."""

    fields: int
    pixels: int
    taps: int
    layers: int
    gradient: bool = False

    @property
    def title(self) -> str:
        """The case in a few words."""
        what = f"{self.fields} x {self.pixels}², {self.taps}x{self.taps}, {self.layers} layers"
        return what + (", gradient" if self.gradient else "")


CASES = [Case(1, 1024, 3, 20), Case(1, 512, 5, 20), Case(64, 64, 3, 50), Case(1, 256, 3, 100, True)]

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

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
    energy = jax.value_and_grad(lambda k, u: jnp.sum(final(k, u) ** 2))
    function = energy if case.gradient else lambda k, u: (final(k, u),)
    on_device = [jnp.asarray(array) for array in arrays]
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*on_device).compile()
    seconds = time.perf_counter() - start
    return lambda: jax.block_until_ready(compiled(*on_device)), seconds


def build_torch(case: Case, kernels: np.ndarray, fields: np.ndarray) -> Built:
    """PyTorch's `conv2d` and `relu_`, in inference mode or, for the gradient, with autograd."""
    import torch

    torch.set_num_threads(CORES)
    layout = torch.channels_last  # several times faster here than the default
    initial = torch.from_numpy(fields[None]).to(memory_format=layout)
    taps = torch.from_numpy(kernels[:, None]).requires_grad_(case.gradient)

    def final(taps):
        u, reflected = initial, taps.flip(2, 3).to(memory_format=layout)
        for _ in range(case.layers):
            u = torch.conv2d(u, reflected, padding=case.taps // 2, groups=case.fields).relu_()
        return u

    def run():
        with torch.inference_mode(not case.gradient):
            if not case.gradient:
                return (final(taps),)
            value = (final(taps) ** 2).sum()
            return value.detach(), *torch.autograd.grad(value, taps)

    return run, None


def build_opencv(
    case: Case, kernels: np.ndarray, fields: np.ndarray, *, threshold: bool = False
) -> Built | None:
    """OpenCV's `filter2D`, field by field; ReLU in place by NumPy, or by OpenCV's `threshold`."""
    import cv2

    if case.gradient:
        return None
    cv2.setNumThreads(CORES)
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


#: module, package and builder of each contender; a builder gives None for what it can't compute
CONTENDERS: dict[str, tuple[str, str, Callable[..., Built | None]]] = {
    "infomech": ("infomech", "infomech", build_infomech),
    "OpenCV + NumPy": ("cv2", "opencv-python-headless", build_opencv),
    "OpenCV": ("cv2", "opencv-python-headless", functools.partial(build_opencv, threshold=True)),
    "PyTorch": ("torch", "torch", build_torch),
    "lax.conv": ("jax", "jax", build_lax),
}


def available() -> tuple[dict[str, str], dict[str, str]]:
    """Version of each contender's module, and the command that installs it for those without."""
    versions, left_out = {}, {}
    for name, (module, package, _) in CONTENDERS.items():
        try:
            versions[name] = importlib.import_module(module).__version__
        except ImportError:
            left_out[name] = f"pip install {package}"
    return versions, left_out


def samples(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (n, taps, taps) of gain Σ k = 1 and fields (n, pixels, pixels) of both signs."""
    rng = np.random.default_rng(0)
    kernels = rng.random((case.fields, case.taps, case.taps), np.float32)
    fields = rng.standard_normal((case.fields, case.pixels, case.pixels), np.float32)
    return kernels / kernels.sum((1, 2), keepdims=True), fields


def difference(case: Case, name: str, got: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest relative difference; raises ArithmeticError beyond what float32 rounding explains."""
    allowed, worst = case.layers * case.taps**2 * float(np.finfo(np.float32).eps), 0.0
    for pair in zip(got, expected, strict=True):
        a, b = (np.ravel(np.asarray(array, np.float64)) for array in pair)
        worst = max(worst, error := float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
        if not error <= allowed:  # NaN must not pass
            raise ArithmeticError(f"{case.title}: {name} is off by {error:.1e} > {allowed:.1e}")
    return worst


def compete(case: Case, names: Sequence[str], rounds: int, bar: tqdm) -> list[dict[str, Any]]:
    """Compares, then times the contenders in turns; one row of numbers for each."""
    bar.set_description(case.title)
    kernels, fields = samples(case)
    found = {name: CONTENDERS[name][2](case, kernels, fields) for name in names}
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
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    return [
        {
            "title": case.title, **asdict(case), "contender": name,
            "seconds": seconds[name], "median_ms": median[name] * 1e3,
            "gcell_steps_per_s": case.layers * fields.size / median[name] / 1e9,
            "ratio": median[name] / median["infomech"],
            "compile_s": built[name][1], "difference": apart[name],
        }
        for name in built
    ]  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The numbers for people; a ratio above 1 means that infomech is faster."""
    form = "{:<36}{:<16}{:>11}{:>15}{:>8}{:>11}".format
    lines = [form("case", "contender", "median ms", "Gcell-steps/s", "ratio", "compile s")]
    for row in rows:
        numbers = [row[c] for c in ("median_ms", "gcell_steps_per_s", "ratio", "compile_s")]
        cells = ["" if number is None else f"{number:.3g}" for number in numbers]
        lines.append(form(row["title"], row["contender"], *cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all cases; returns 0, 1 if contenders disagree, 2 after a line on a bad argument."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small fields, for a few seconds")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")  # where all of them can run
    jax.jit(jnp.sum)(jnp.ones(3))  # what only the first compilation costs is nobody's
    cases, rounds = CASES, 7
    if options.quick:
        cases, rounds = [replace(case, pixels=16, layers=10) for case in CASES], 3
    versions, left_out = available()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    rows: list[dict[str, Any]] = []
    try:
        if options.json:
            files.folder(options.json.parent)
        with tqdm(total=len(cases) * rounds, unit="round", file=sys.stderr) as bar:
            for case in cases:
                rows += compete(case, list(versions), rounds, bar)
        source = files.provenance()
        if options.json:
            machine = {"cores": CORES, "load": load, "versions": versions, "left_out": left_out}
            files.write_text(options.json, files.to_json({**source, **machine, "results": rows}))
    except (ArithmeticError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1 if isinstance(error, ArithmeticError) else 2
    known = ", ".join(f"{name} {version}" for name, version in versions.items())
    if load > CORES / 4:
        print(
            "the machine is busy: figures can't be trusted, PyTorch's least of all", file=sys.stderr
        )
    print(f"{CORES} cores, load {load:.1f} at the start; {source['platform']}; {known}\n")
    print(table(rows))
    for name, command in left_out.items():
        print(f"left out: {name}, which is not installed ({command})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
