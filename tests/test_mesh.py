"""A field split over devices: same results as on one device, and the number of communications."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import infomech as im
from infomech.engines import tiles

SCRIPT = Path(__file__).parent / "on_eight_devices.py"
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}

#: permutations in the compiled text of programs with 3 layers per exchange, and number executed
PERMUTATIONS = {
    "a single exchange": (4, 4),
    "a trace": (4, 4),
    "a scan": (4, 16),
    "a scan of traces": (4, 16),
    "a trace of each layer": (4, 96),
    "an exchange per layer": (4, 36),
    "a line": (2, 8),
    "rows": (2, 8),
    "space": (6, 24),
    "a remainder": (4, 4),
    "2 taps": (1, 1),
}


#: parts that run in one process by default, and longer ones that run as deep tests
PARTS, DEEP_PARTS = (
    ("line", "plane", "space", "text", "refusals"),
    ("more lines", "more planes", "more spaces", "options"),
)


@functools.cache
def run_script(*parts):
    """Results of eight virtual devices and of one, by part, computed in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        command = [sys.executable, str(SCRIPT), folder, *parts]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert finished.returncode == 0, finished.stderr
        return {part: dict(np.load(f"{folder}/{part}.npz")) for part in parts}


def computed(part):
    return run_script(*PARTS)[part] if part in PARTS else run_script(part)[part]


@pytest.mark.parametrize(
    "part",
    [*PARTS[:3], *(pytest.param(part, marks=pytest.mark.deep) for part in DEEP_PARTS)],
)
def test_split_field_matches_one_device(part):
    results = computed(part)
    names = [name.removesuffix("/single") for name in results if name.endswith("/single")]
    assert len(names) >= 8
    wrong = {}
    for name in names:
        single, mesh = results[f"{name}/single"], results[f"{name}/mesh"]
        assert np.all(np.isfinite(single)), name
        error = np.max(np.abs(mesh - single), initial=0)
        limit = TOLERANCE.get(single.dtype.name, 0) * np.max(np.abs(single), initial=0)
        if single.dtype != mesh.dtype or single.shape != mesh.shape or not error <= limit:
            wrong[name] = error
    assert not wrong


def test_each_exchange_takes_two_permutations_per_axis():
    result = computed("text")
    times = {name: (int(n[0]), int(n[-1])) for name, n in result.items()}
    # reverse mode exchanges forward, again for recomputed layers, and backward; compilers may
    # merge the first two
    compiled, executed = times.pop("slopes")
    assert executed == 6
    assert compiled in (4, 6)
    assert times == PERMUTATIONS
    for name, (_, *gathers, _) in result.items():
        assert not any(gathers), name


def test_invalid_splits_are_refused():
    messages = computed("refusals")["messages"].tolist()
    expected = [
        "mesh: got axes of (8,) devices, expected sizes that divide the field's (60,) pixels",
        "mesh: got tiles of (8,) pixels, expected at least 10, ",
        "mesh: got tiles of (8,) pixels, expected at least 9, ",
        "mesh: got 2 axes, expected at most the field's 1",
        "mesh: got 'x', expected a jax.sharding.Mesh",
        "engine: got 'shifts', which supports only a field on one device",
        "engine: got 'native', which supports only a field on one device",
        "engine: got 'spectral', which supports only a field on one device",
        "engine: got 'tiles', which supports only a field split over a mesh of devices",
        "follow: got 1 with boundary='zero', observe='trace', mesh=Mesh(",
        "mesh: got a call within jax.set_mesh of a mesh with explicit axes",
    ]
    assert len(messages) == len(expected)
    for message, start in zip(messages, expected, strict=True):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("kernel_size", "shape", "steps", "mesh", "settings", "layers"),
    [
        ((3, 3), (128, 64), 32, (4, 2), {}, 1),  # 34² is 1.13 times 32², 36² 1.27 times
        ((3,), (8000,), 32, (8,), {}, 16),
        ((3,), (320,), 32, (8,), {}, 4),  # 48 pixels are 1.2 times 40
        ((3,), (320,), 30, (8,), {}, 3),  # no remainder
        ((3,), (320,), 29, (8,), {}, 4),
        ((3,), (320,), 32, (8,), {"every": 2}, 2),
        ((3,), (8000,), 32, (8,), {"rectifier": "tanh"}, 1),
        ((3,), (8000,), 32, (8,), {"rectifier": "tanh", "normalize": "none"}, 16),
        ((3, 3), (64, 8), 32, (1, 1), {}, 16),
        ((3, 3), (64, 8), 32, (), {}, 0),
    ],
)
def test_exchange_interval_limits_extra_work(kernel_size, shape, steps, mesh, settings, layers):
    result = im.plan(kernel_size, shape, steps, mesh=mesh, **settings)
    assert result.exchange == layers
    assert (result.engine == "tiles") == bool(mesh)
    split = [*mesh, *[1] * (len(shape) - len(mesh))]
    assert result.tile == tuple(n // p for n, p in zip(shape, split, strict=True))
    assert result.bytes == 4 * np.prod(result.tile)
    assert ("halos exchanged" in str(result)) == bool(mesh)


def test_halo_fits_into_its_neighbor(monkeypatch):
    monkeypatch.setattr(tiles, "MAX_EXTRA_SHARE", 100.0)
    for boundary, layers in (("zero", 8), ("periodic", 8), ("reflect", 7)):
        assert im.plan((3,), (64,), 13, boundary=boundary, mesh=(8,)).exchange == layers


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ((3,), "mesh: got axes of \\(3,\\) devices, expected sizes that divide"),
        ((2, 2), "mesh: got 2 axes, expected at most the field's 1"),
        ((32,), "mesh: got tiles of \\(2,\\) pixels, expected at least 3"),
        ((0,), "mesh: got \\(0,\\)"),
    ],
)
def test_plan_refuses_invalid_meshes(mesh, message):
    with pytest.raises(ValueError, match=message):
        im.plan((7,), (64,), 8, mesh=mesh)
