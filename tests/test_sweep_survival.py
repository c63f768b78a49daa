"""Robustness of stores: kills, damage, other stores, full disks, concurrent runs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
import zarr.storage
from thinned import thinned

from infomech import sweeps
from infomech.cli import main
from infomech.sweeps import _arrays, _program, _run, _store

HERE = Path(__file__).parent
SWEEP = {"dimensions": 1, "pattern": "impulse", "steps": 4, "burn_in": 1, "block": 4}


def small_sweep(**changes):
    return sweeps.Sweep(axes=(sweeps.linear("share", 0, 1, 12),), **{**SWEEP, **changes})


def values(path):
    """All stored arrays, including the checksums."""
    store = _store.read(path)
    return {name: np.asarray(a[...]) for name, a in {**store.arrays, "done": store.done}.items()}


def assert_same(path, other):
    for name, array in values(other).items():
        np.testing.assert_array_equal(values(path)[name], array, err_msg=name)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The store of an uninterrupted run."""
    path = tmp_path_factory.mktemp("full") / "s.zarr"
    sweeps.run(small_sweep(), path)
    return path


@pytest.fixture
def copy(full, tmp_path):
    """A copy that may be damaged."""
    path = tmp_path / "s.zarr"
    subprocess.run(["cp", "-r", full, path], check=True)
    return path


def run_script(name, folder, devices=1):
    """JSON printed by a script in this folder."""
    flags = re.sub(
        r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", "")
    )
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]),
    }
    finished = subprocess.run(
        [sys.executable, HERE / name, folder], capture_output=True, text=True, env=environment
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


def test_scan_of_many_blocks_is_announced(copy, monkeypatch):
    monkeypatch.setattr(_run, "_MIN_ANNOUNCED_BLOCKS", 1)
    notes = []
    done = sweeps.run(small_sweep(), copy, on_progress=lambda progress: notes.append(progress.note))
    assert done.computed == 0
    assert re.fullmatch(r"scanning \d+ blocks for finished ones", notes[0])


# --- stopped ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_runs_resume(tmp_path):
    output = run_script("killed_sweeps.py", tmp_path)
    assert output["first"] == output["last"] == 0
    runs = output["runs"]
    assert sum(run["died"] for run in runs) >= 20
    assert any(len(run["after"]) > len(run["before"]) for run in runs)
    for run in runs:
        # stored blocks are not recomputed; all started blocks but the last are stored
        assert not set(run["started"]) & set(run["before"])
        assert set(run["started"][:-1]) <= set(run["after"])
        assert set(run["before"]) <= set(run["after"])
    assert output["blocks"] == 30
    assert_same(tmp_path / "killed.zarr", tmp_path / "full.zarr")


def test_interrupted_run_prints_resume_command(tmp_path, capsys, monkeypatch):
    path = tmp_path / "s.toml"
    path.write_text(
        'dimensions = 1\npattern = "impulse"\nsteps = 4\nburn_in = 1\nblock = 4\n'
        "[axes.share]\nfrom = 0\nto = 1\ncount = 12\n"
    )
    compute, calls = _program.Program.__call__, []

    def interrupted(self, columns, points):
        calls.append(points)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return compute(self, columns, points)

    monkeypatch.setattr(_program.Program, "__call__", interrupted)
    words = ["sweep", "run", str(path), "--store", str(tmp_path / "s.zarr"), "--batch", "2"]
    # the parent process may have disabled SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert main(words) == 130
    signal.signal(signal.SIGINT, before)
    err = capsys.readouterr().err
    assert "interrupted; finished blocks are kept. Resume with:" in err
    assert "infomech " + " ".join(words) in err
    assert "Traceback" not in err
    assert np.count_nonzero(values(tmp_path / "s.zarr")["done"]) == 1
    assert main(words) == 0
    assert calls == [4, 4, 4, 4]
    # the same batch size: the last digit may depend on it
    sweeps.run(small_sweep(), tmp_path / "full.zarr", batch=2)
    assert_same(tmp_path / "s.zarr", tmp_path / "full.zarr")


# --- damaged ------------------------------------------------------------------------------------


def chunk(path, name, number):
    return path / name / "c" / f"{number}" / ("0" if name in ("velocity", "momentum") else "")


DAMAGE = {
    "a truncated chunk": lambda path: _edit(chunk(path, "velocity", 1), lambda b: b[: len(b) // 2]),
    "an empty chunk": lambda path: _edit(chunk(path, "velocity", 1), lambda b: b""),
    "other bytes": lambda path: _edit(chunk(path, "momentum", 1), lambda b: bytes(len(b))),
    "no chunk": lambda path: chunk(path, "velocity", 1).unlink(),
    "one number": lambda path: _set(path, "energy", 5, 2.0),
    "another checksum": lambda path: _set(path, "done", 1, 7),
    "a truncated checksum": lambda path: _edit(path / "done" / "c" / "1", lambda b: b[:3]),
    "no checksum": lambda path: (path / "done" / "c" / "1").unlink(),
}


def _edit(path, change):
    before = path.read_bytes()
    assert change(before) != before
    path.write_bytes(change(before))


def _set(path, name, place, value):
    zarr.open_array(path / name, mode="r+")[place] = value


@pytest.mark.parametrize("damage", thinned(DAMAGE, 2))
def test_damaged_blocks_are_recomputed(copy, full, damage):
    DAMAGE[damage](copy)
    status = _store.status(copy)
    absent = damage in ("no checksum", "a truncated checksum")
    assert (status.intact, status.damaged) == (8, 0 if absent else 4)
    notes = []
    done = sweeps.run(small_sweep(), copy, on_progress=lambda progress: notes.append(progress.note))
    assert done.computed == 4
    assert done.damaged == (0 if absent else 4)
    assert any("failed their checksum" in note for note in notes) != absent
    assert_same(copy, full)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 5}, r"with steps \[4\], expected steps \[5\]; try a new store"),
        ({"radius": 2.0}, "with radius"),
        ({"block": 3}, "with block 4"),
        ({"observe": "infomech.sweeps._observed:measure"}, "with observe"),
    ],
)
def test_store_of_another_sweep_is_refused(copy, full, changes, message):
    with pytest.raises(ValueError, match=message):
        sweeps.run(small_sweep(**changes), copy)
    assert_same(copy, full)


def test_long_lists_of_values_are_compared(tmp_path):
    taps = np.ones((5, 3))
    axes = [sweeps.values("k", taps=taps), sweeps.values("k", taps=taps * [1, 1, 2])]
    first, second = (sweeps.Sweep(axes=(a,), family="taps", **SWEEP) for a in axes)
    sweeps.run(first, tmp_path / "s.zarr")
    with pytest.raises(ValueError, match="with axes"):
        sweeps.run(second, tmp_path / "s.zarr")


def test_store_of_another_version_is_refused(copy, full, monkeypatch):
    monkeypatch.setattr(_arrays, "FORMAT", 9)
    with pytest.raises(ValueError, match=r"of infomech .*format 3, expected infomech .*format 9"):
        sweeps.run(small_sweep(), copy)
    monkeypatch.undo()
    monkeypatch.setattr("infomech._version.__version__", "9.9")
    with pytest.raises(ValueError, match=r"expected infomech 9\.9"):
        _store.status(copy)
    monkeypatch.undo()
    assert_same(copy, full)


def test_other_files_and_folders_are_refused(tmp_path, copy, capsys):
    with pytest.raises(ValueError, match="not an infomech sweep store"):
        _store.status(tmp_path / "missing")
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("text")
    zarr.create_group(tmp_path / "other.zarr")
    for name in ("file", "folder", "other.zarr"):
        with pytest.raises(ValueError, match="not an infomech sweep store"):
            sweeps.run(small_sweep(), tmp_path / name)
    assert (tmp_path / "folder" / "kept").read_text() == "text"
    (copy / "velocity" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        sweeps.run(small_sweep(), copy)
    assert main(["sweep", "status", str(tmp_path / "folder")]) == 2
    assert "expected a folder written by infomech sweep run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(30, "Read-only")]
)
def test_full_disk_raises_store_error(tmp_path, full, monkeypatch, capsys, error):
    path = tmp_path / "s.zarr"
    put, written = zarr.storage.LocalStore.set, []

    async def set_until_full(self, key, value, *rest):
        written.append(key)
        if "/c/" in key and len([k for k in written if "/c/" in k]) > 40:
            raise error
        await put(self, key, value, *rest)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", set_until_full)
    with pytest.raises(sweeps.StoreError, match=f"can't be written: {error.strerror}"):
        sweeps.run(small_sweep(), path)
    spec = tmp_path / "s.toml"
    spec.write_text(
        'dimensions = 1\npattern = "impulse"\nsteps = 4\nburn_in = 1\nblock = 4\n'
        "[axes.share]\nfrom = 0\nto = 1\ncount = 12\n"
    )
    assert main(["sweep", "run", str(spec), "--store", str(path)]) == 1
    err = capsys.readouterr().err
    assert error.strerror in err
    assert "finished blocks are kept. Resume with:" in err
    before = np.count_nonzero(values(path)["done"])
    assert 0 < before < 3
    monkeypatch.undo()
    assert sweeps.run(small_sweep(), path).computed == 12 - 4 * before
    assert_same(path, full)


def test_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(sweeps.StoreError, match="can't be written"):
        sweeps.run(small_sweep(), tmp_path / "file" / "s.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


# --- concurrent runs ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Consolidated")  # the filter in _arrays doesn't reach threads
def test_concurrent_runs_share_a_store(tmp_path, full):
    path, failed = tmp_path / "s.zarr", []

    def run():
        try:
            sweeps.run(small_sweep(), path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert_same(path, full)
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_shards_fill_one_store(tmp_path, full):
    path = tmp_path / "s.zarr"
    counts = [sweeps.run(small_sweep(), path, shard=(i, 2)).computed for i in (1, 0)]
    assert counts == [4, 8]
    assert_same(path, full)
    with pytest.raises(ValueError, match="shard: got 2 of 2"):
        sweeps.run(small_sweep(), path, shard=(2, 2))


@pytest.mark.slow
def test_processes_share_the_blocks(tmp_path, full):
    """Two processes of two devices each, joined by jax.distributed."""
    spec, path = tmp_path / "s.toml", tmp_path / "s.zarr"
    spec.write_text(
        'dimensions = 1\npattern = "impulse"\nsteps = 4\nburn_in = 1\nblock = 4\n'
        "[axes.share]\nfrom = 0\nto = 1\ncount = 12\n"
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    code = "import sys; from infomech.cli import main; sys.exit(main())"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, "sweep", "run", spec, "--store", path, "--json",
             "--distributed", f"localhost:{port}", "2", str(i)],
            env={**os.environ, "XLA_FLAGS": flags,
                 "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in running]
    assert [p.returncode for p in running] == [0, 0], outputs
    assert [json.loads(out)["computed"] for out, _ in outputs] == [8, 4]
    assert _store.status(path).intact == 12
    for name, array in values(full).items():
        if name != "done":  # checksums of values whose last digits may differ
            np.testing.assert_allclose(values(path)[name], array, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.optimized
def test_results_do_not_depend_on_devices_or_batches(tmp_path):
    output = run_script("many_devices_sweeps.py", tmp_path, devices=8)
    assert output["devices"] == 8
    for name, differences in output["differences"].items():
        # different instructions round differently
        assert max(differences.values()) < 1e-6, (name, differences)
    for count, text in output["texts"].items():
        assert text["collectives"] == [], count
        # the per-device program does not depend on the number of devices
        assert text["shapes"] == output["texts"]["1"]["shapes"], count


# --- too large ----------------------------------------------------------------------------------


def test_batch_exceeding_memory_is_halved(tmp_path, full, monkeypatch):
    lowered = _program.lowered

    class LimitedMemory:
        def __init__(self, sweep, setting, devices, batch):
            self.batch, self.program = batch, lowered(sweep, setting, devices, batch)
            self.out_info = self.program.out_info

        def compile(self):
            compiled = self.program.compile()

            def call(columns):
                if self.batch > 1:
                    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
                return compiled(columns)

            return call

    monkeypatch.setattr(_program, "lowered", LimitedMemory)
    notes = []
    done = sweeps.run(
        small_sweep(), tmp_path / "s.zarr", on_progress=lambda p: notes.append(p.note)
    )
    assert set(done.batch.values()) == {1}
    assert [note for note in notes if note] == [
        "a batch of 4 exceeds the memory; continuing with 2",
        "a batch of 2 exceeds the memory; continuing with 1",
    ]
    for name, array in values(full).items():
        if name != "done":
            np.testing.assert_allclose(values(tmp_path / "s.zarr")[name], array, atol=1e-6)


def test_point_exceeding_memory_raises(tmp_path, monkeypatch):
    def out_of_memory(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(_program, "lowered", out_of_memory)
    with pytest.raises(ValueError, match=r"batch: got 1, but one point of 3 relu.*a smaller field"):
        sweeps.run(small_sweep(), tmp_path / "s.zarr")


def test_other_device_errors_are_raised(tmp_path, monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    monkeypatch.setattr(_program, "lowered", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        sweeps.run(small_sweep(), tmp_path / "s.zarr")


def test_missing_blocks_read_as_fill_values(tmp_path):
    sweeps.run(small_sweep(), tmp_path / "s.zarr", shard=(0, 3))
    with xarray.open_zarr(tmp_path / "s.zarr") as dataset:
        assert np.isfinite(dataset.velocity[:4]).all()
        assert np.isnan(dataset.velocity[4:]).all()
        np.testing.assert_array_equal(dataset.status, [0] * 4 + [-1] * 8)
        np.testing.assert_array_equal(dataset.done != 0, [True, False, False])
