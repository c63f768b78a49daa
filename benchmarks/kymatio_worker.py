"""kymatio in a separate interpreter: reads jobs as JSON lines and answers each with one line.

`benchmarks.scattering` starts it. It needs kymatio, NumPy and PyTorch, and sleeps between jobs.
"""

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

#: packages whose versions are reported
PACKAGES = ("kymatio", "numpy", "scipy", "torch")
#: transforms by the name in their job
TRANSFORMS: dict[str, Callable[[], Any]] = {}


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Set up a transform; return its paths and the Littlewood-Paley sum of its filters.

    Args:
        job: "name"; "front", numpy or torch; "signal", a .npy file; "settings" of kymatio's class;
            "threads" of torch, or None.
    """
    signal: Any = np.load(job["signal"])
    kind = f"Scattering{signal.ndim}D"
    module = importlib.import_module(f"kymatio.{job['front']}")
    transform = getattr(module, kind)(shape=signal.shape, **job["settings"])
    listed = getattr(importlib.import_module("kymatio.numpy"), kind)(
        shape=signal.shape, out_type="list", **job["settings"]
    )
    if job["front"] == "torch":
        import torch

        torch.set_grad_enabled(False)
        values, threads = torch.from_numpy(signal), job["threads"]

        def run() -> Any:
            torch.set_num_threads(threads)
            return transform(values)
    else:

        def run() -> Any:
            return transform(signal)

    TRANSFORMS[job["name"]] = run
    total = littlewood_paley(listed)
    power = np.abs(np.fft.fftn(signal)) ** 2
    at = np.ix_(*(_nearest(n, m) for n, m in zip(signal.shape, total.shape, strict=True)))
    return {
        "paths": [list(path["n"]) for path in listed(signal)],
        "dtype": str(run().dtype).removeprefix("torch."),
        "smallest": float(total.min()),
        "largest": float(total.max()),
        "mean": float(total.mean()),
        "kept": float(np.sum(power * total[at]) / np.sum(power)),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def littlewood_paley(transform: Any) -> np.ndarray:
    """|φ̂(ω)|² + Σ (|ψ̂(ω)|² + |ψ̂(−ω)|²)/2: the share of a real signal's energy at ω that one layer
    passes on or collects as a feature."""
    one_dimensional = hasattr(transform, "phi_f")
    low = transform.phi_f if one_dimensional else transform.phi
    bands = transform.psi1_f if one_dimensional else transform.psi
    total = np.abs(np.asarray(low["levels"][0], np.float64)) ** 2
    axes = tuple(range(total.ndim))
    for band in bands:
        power = np.abs(np.asarray(band["levels"][0], np.float64)) ** 2
        total = total + (power + np.roll(np.flip(power, axes), 1, axes)) / 2
    return total


def _nearest(shape: int, padded: int) -> np.ndarray:
    """Indices of the nearest frequencies of the padded signal."""
    return np.rint(np.fft.fftfreq(shape) * padded).astype(int) % padded


def timed(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds per call over "runs" calls of the transform "name", after as many untimed ones."""
    run, runs = TRANSFORMS[job["name"]], job["runs"]
    for _ in range(2):
        start = time.perf_counter()
        for _ in range(runs):
            run()
        seconds = (time.perf_counter() - start) / runs
    return {"seconds": seconds}


def main() -> None:
    """Answer jobs until the input ends."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(build(job) if "front" in job else timed(job)), flush=True)


if __name__ == "__main__":
    main()
