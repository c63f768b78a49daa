"""One sweep on 1 to 8 devices with several batch sizes: script, prints JSON."""

import json
import re
import sys
from pathlib import Path

import jax
import numpy as np

from infomech import sweeps
from infomech.sweeps import _program, _store

SWEEP = sweeps.Sweep(
    axes=(sweeps.seeds(30), sweeps.linear("share", 0, 1, 4)),
    family="random",
    rectifier="relu",
    pattern="box",
    radius=2.0,
    steps=5,
    burn_in=1,
    block=64,
)
#: devices and batch sizes
CASES = ((1, 64), (2, 64), (8, 64), (2, 16), (1, 7))


def main(folder):
    """Results of each case, and the collectives in its compiled program."""
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    results, texts = {}, {}
    (setting,) = SWEEP.settings()
    for devices, batch in CASES:
        name = f"{devices} devices, batch {batch}"
        path = folder / f"{devices}-{batch}.zarr"
        subset = jax.devices()[:devices]
        sweeps.run(SWEEP, path, devices=subset, batch=batch)
        results[name] = {n: np.asarray(a[...]) for n, a in _store.read(path).arrays.items()}
        if batch != 64 or devices == 2:
            continue
        text = _program.lowered(SWEEP, setting, subset, 8 * devices).compile().as_text()
        collectives = sorted(
            set(re.findall(r"all-gather|all-reduce|all-to-all|collective|send", text))
        )
        shapes = sorted(set(re.findall(r"(?:f32|u32)\[[\d,]+\]", text.split("ENTRY")[-1])))
        texts[devices] = {"collectives": collectives, "shapes": shapes}
    first = next(iter(results.values()))
    differences = {
        name: {
            n: float(np.nanmax(np.abs(a.astype(float) - first[n]), initial=0.0))
            for n, a in arrays.items()
        }
        for name, arrays in results.items()
    }
    output = {"devices": jax.device_count(), "differences": differences, "texts": texts}
    print(json.dumps(output))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
