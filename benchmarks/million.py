"""A million random 3×3 kernels, each passed through 32 layers on 32², with the laws of each."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import infomech as im

KERNELS, CHUNK = 1_000_000, 1000
PIXELS, LAYERS, EVERY = 32, 32, 4
#: share of the mass near the antipode that is let pass: by the last layers a pattern is several
#: pixels wide on 32, and its circular center is none the worse for it
TOLERANCE = 0.05
FITS = (im.rates.velocity, im.rates.diffusion)


def laws(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Speed (n, 2) in pixels per layer and diffusion (n, 2, 2) in pixels² per layer.

    Of kernels that are uniform on the unit sphere, one for each key (n,); NaN where a law is
    refused, as where the field dies.
    """
    start = im.fields.gaussian((PIXELS, PIXELS), sigma=1.5, dtype=jnp.float32)

    def one(key):
        kernel = im.kernels.random((3, 3), key=key, dtype=jnp.float32)
        _, trace = im.rollout(
            kernel, start, LAYERS, boundary="periodic", normalize="l2", every=EVERY
        )
        fits = (law(trace, 2 * EVERY, edge_tolerance=TOLERANCE) for law in FITS)
        return tuple(fit.value for fit in fits)

    return jax.vmap(one)(keys)


def run(kernels: int, chunk: int, bar: tqdm) -> dict[str, Any]:
    """Laws of `kernels` random kernels, `chunk` at a time.

    Returns:
        seconds and, apart, compile_s; cell_steps_per_s; finite, the share of kernels that have a
        speed; mean_speed of those, in pixels per layer; and the settings.
    """
    chunk = min(chunk, kernels)
    keys = jax.random.split(jax.random.key(0), kernels)
    start = time.perf_counter()
    compiled = jax.jit(laws).lower(keys[:chunk]).compile()
    compile_s = time.perf_counter() - start
    speeds = []
    start = time.perf_counter()
    for first in range(0, kernels, chunk):
        # the last chunk is as long as the others, so that nothing is compiled again
        begin = min(first, kernels - chunk)
        speed, _ = jax.block_until_ready(compiled(keys[begin : begin + chunk]))
        speeds.append(np.linalg.norm(np.asarray(speed)[first - begin :], axis=1))
        bar.update(chunk - (first - begin))
    seconds = time.perf_counter() - start
    size = np.concatenate(speeds)
    finite = np.isfinite(size)
    return {
        "kernels": kernels,
        "pixels": PIXELS,
        "layers": LAYERS,
        "every": EVERY,
        "chunk": chunk,
        "seconds": seconds,
        "compile_s": compile_s,
        "cell_steps_per_s": kernels * PIXELS**2 * LAYERS / seconds,
        "finite": float(np.mean(finite)),
        "mean_speed": float(np.mean(size[finite])) if finite.any() else None,
    }
