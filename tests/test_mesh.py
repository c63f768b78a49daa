"""A field split over devices: everything as on one device, and how often the devices talk."""

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

#: permutations in the text of a program with 3 layers to a halo, and how many of them run
PERMUTATIONS = {
    "as many layers as a halo": (4, 4),
    "a trace": (4, 4),
    "a scan": (4, 16),
    "a scan of traces": (4, 16),
    "a trace of each layer": (4, 96),
    "each layer by itself": (4, 36),
    "a line": (2, 8),
    "rows": (2, 8),
    "space": (6, 24),
    "a rest": (4, 4),
    "2 taps": (1, 1),
}


#: what is found in one process, and what is too long for every change
PARTS, MORE = (
    ("line", "plane", "space", "text", "refusals"),
    ("more lines", "more planes", "more spaces", "ways"),
)


@functools.cache
def found_by(*parts):
    """What eight virtual devices and one find, in a process of its own, part by part."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        command = [sys.executable, str(SCRIPT), folder, *parts]
        finished = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert finished.returncode == 0, finished.stderr
        return {part: dict(np.load(f"{folder}/{part}.npz")) for part in parts}


def computed(part):
    return found_by(*PARTS)[part] if part in PARTS else found_by(part)[part]


@pytest.mark.parametrize(
    "part",
    [*PARTS[:3], *(pytest.param(part, marks=pytest.mark.deep) for part in MORE)],
)
def test_a_split_field_gives_what_one_device_gives(part):
    result = computed(part)
    pairs = {
        name[:-4]: (result[name], result[f"{name[:-3]}mesh"])
        for name in result
        if name[-4:] == "/one"
    }
    assert len(pairs) >= 8
    wrong = {}
    for name, (one, mesh) in pairs.items():
        assert np.all(np.isfinite(one)), name
        off = np.max(np.abs(mesh - one), initial=0)
        most = TOLERANCE.get(one.dtype.name, 0) * np.max(np.abs(one), initial=0)
        if one.dtype != mesh.dtype or one.shape != mesh.shape or not off <= most:
            wrong[name] = off
    assert not wrong


def test_neighbors_talk_twice_an_axis_for_as_many_layers_as_a_halo_lasts():
    result = computed("text")
    times = {name: (int(n[0]), int(n[-1])) for name, n in result.items()}
    # in reverse mode there, once more for the layers that are computed again, and back; compilers
    # may share the first two
    compiled, executed = times.pop("slopes")
    assert executed == 6
    assert compiled in (4, 6)
    assert times == PERMUTATIONS
    for name, (_, *gathers, _) in result.items():
        assert not any(gathers), name


def test_what_cannot_be_split_is_refused():
    said = computed("refusals")["said"].tolist()
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
    assert len(said) == len(expected)
    for message, start in zip(said, expected, strict=True):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("taps", "pixels", "steps", "mesh", "settings", "layers"),
    [
        ((3, 3), (128, 64), 32, (4, 2), {}, 1),  # 34² is 1.13 times 32², 36² 1.27 times
        ((3,), (8000,), 32, (8,), {}, 16),
        ((3,), (320,), 32, (8,), {}, 4),  # 48 pixels are 1.2 times 40
        ((3,), (320,), 30, (8,), {}, 3),  # so that no rest remains
        ((3,), (320,), 29, (8,), {}, 4),
        ((3,), (320,), 32, (8,), {"every": 2}, 2),
        ((3,), (8000,), 32, (8,), {"rectifier": "tanh"}, 1),
        ((3,), (8000,), 32, (8,), {"rectifier": "tanh", "normalize": "none"}, 16),
        ((3, 3), (64, 8), 32, (1, 1), {}, 16),
        ((3, 3), (64, 8), 32, (), {}, 0),
    ],
)
def test_halos_last_for_as_many_layers_as_cost_little(taps, pixels, steps, mesh, settings, layers):
    result = im.plan(taps, pixels, steps, mesh=mesh, **settings)
    assert result.exchange == layers
    assert (result.engine == "tiles") == bool(mesh)
    split = [*mesh, *[1] * (len(pixels) - len(mesh))]
    assert result.tile == tuple(n // p for n, p in zip(pixels, split, strict=True))
    assert result.bytes == 4 * np.prod(result.tile)
    assert ("halos exchanged" in str(result)) == bool(mesh)


def test_a_halo_fits_into_its_neighbor(monkeypatch):
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
def test_a_plan_names_a_mesh_that_cannot_split(mesh, message):
    with pytest.raises(ValueError, match=message):
        im.plan((7,), (64,), 8, mesh=mesh)
