"""What a sweep's store must survive: kills, harm, other stores, full disks, several at once."""

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
from infomech.sweeps import _arrays, _program, _store

HERE = Path(__file__).parent
SWEEP = {"dimensions": 1, "pattern": "impulse", "steps": 4, "burn_in": 1, "block": 4}


def some(**changes):
    return sweeps.Sweep(axes=(sweeps.linear("share", 0, 1, 12),), **{**SWEEP, **changes})


def values(path):
    """All that is stored, the checksums too."""
    found = _store.read(path)
    return {name: np.asarray(a[...]) for name, a in {**found.arrays, "done": found.done}.items()}


def assert_same(path, other):
    for name, array in values(other).items():
        np.testing.assert_array_equal(values(path)[name], array, err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    sweeps.run(some(), path)
    return path


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it that may be harmed."""
    path = tmp_path / "s.zarr"
    subprocess.run(["cp", "-r", whole, path], check=True)
    return path


def script(name, folder, devices=1):
    """What a script beside this file prints, as JSON."""
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


def test_a_look_at_many_blocks_is_told(copy, monkeypatch):
    monkeypatch.setattr(sys.modules["infomech.sweeps.run"], "_MANY", 1)
    notes = []
    done = sweeps.run(some(), copy, on_progress=lambda progress: notes.append(progress.note))
    assert done.computed == 0
    assert re.fullmatch(r"looking which of \d+ blocks are there", notes[0])


# --- stopped ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path):
    found = script("killed_sweeps.py", tmp_path)
    assert found["first"] == found["last"] == 0
    runs = found["runs"]
    assert sum(run["died"] for run in runs) >= 20
    assert any(len(run["after"]) > len(run["before"]) for run in runs)
    for run in runs:
        # nothing stored is computed again, and what was begun is stored but for the last
        assert not set(run["started"]) & set(run["before"])
        assert set(run["started"][:-1]) <= set(run["after"])
        assert set(run["before"]) <= set(run["after"])
    assert found["blocks"] == 30
    assert_same(tmp_path / "killed.zarr", tmp_path / "whole.zarr")


def test_interrupted_it_says_how_to_go_on(tmp_path, capsys, monkeypatch):
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
    # whoever started the tests may ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert main(words) == 130
    signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err
    assert "interrupted; what is done is kept" in said
    assert "infomech " + " ".join(words) in said
    assert "Traceback" not in said
    assert np.count_nonzero(values(tmp_path / "s.zarr")["done"]) == 1
    assert main(words) == 0
    assert calls == [4, 4, 4, 4]
    # the same batch, since another one may round the last digit otherwise
    sweeps.run(some(), tmp_path / "whole.zarr", batch=2)
    assert_same(tmp_path / "s.zarr", tmp_path / "whole.zarr")


# --- harmed -------------------------------------------------------------------------------------


def chunk(path, name, number):
    return path / name / "c" / f"{number}" / ("0" if name in ("velocity", "momentum") else "")


HARM = {
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


@pytest.mark.parametrize("harm", thinned(HARM, 2))
def test_a_harmed_block_is_found_and_computed_again(copy, whole, harm):
    HARM[harm](copy)
    found = _store.status(copy)
    gone = harm in ("no checksum", "a truncated checksum")
    assert (found.intact, found.damaged) == (8, 0 if gone else 4)
    told = []
    done = sweeps.run(some(), copy, on_progress=lambda progress: told.append(progress.note))
    assert done.computed == 4
    assert done.damaged == (0 if gone else 4)
    assert any("not what was written" in note for note in told) != gone
    assert_same(copy, whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 5}, r"whose steps is \[4\], expected \[5\], or another store"),
        ({"radius": 2.0}, "whose radius is"),
        ({"block": 3}, "whose block is 4"),
        ({"observe": "infomech.sweeps.observed:measure"}, "whose observe is"),
    ],
)
def test_a_store_of_another_sweep_is_left_alone(copy, whole, changes, message):
    with pytest.raises(ValueError, match=message):
        sweeps.run(some(**changes), copy)
    assert_same(copy, whole)


def test_long_lists_of_values_are_told_apart(tmp_path):
    taps = np.ones((5, 3))
    given = [sweeps.values("k", taps=taps), sweeps.values("k", taps=taps * [1, 1, 2])]
    first, second = (sweeps.Sweep(axes=(a,), family="taps", **SWEEP) for a in given)
    sweeps.run(first, tmp_path / "s.zarr")
    with pytest.raises(ValueError, match="whose axes is"):
        sweeps.run(second, tmp_path / "s.zarr")


def test_a_store_of_another_version_is_left_alone(copy, whole, monkeypatch):
    monkeypatch.setattr(_arrays, "FORMAT", 9)
    with pytest.raises(ValueError, match=r"of infomech .*format 2, expected infomech .*format 9"):
        sweeps.run(some(), copy)
    monkeypatch.undo()
    monkeypatch.setattr("infomech.__version__", "9.9")
    with pytest.raises(ValueError, match=r"expected infomech 9\.9"):
        _store.status(copy)
    monkeypatch.undo()
    assert_same(copy, whole)


def test_what_is_no_store(tmp_path, copy, capsys):
    with pytest.raises(ValueError, match="which is none"):
        _store.status(tmp_path / "nothing")
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("text")
    zarr.create_group(tmp_path / "other.zarr")
    for name in ("file", "folder", "other.zarr"):
        with pytest.raises(ValueError, match="which is none"):
            sweeps.run(some(), tmp_path / name)
    assert (tmp_path / "folder" / "kept").read_text() == "text"
    (copy / "velocity" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="harmed"):
        sweeps.run(some(), copy)
    assert main(["sweep", "status", str(tmp_path / "folder")]) == 2
    assert "expected a folder made by infomech sweep run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(30, "Read-only")]
)
def test_a_disk_that_takes_no_more(tmp_path, whole, monkeypatch, capsys, error):
    path = tmp_path / "s.zarr"
    put, written = zarr.storage.LocalStore.set, []

    async def full(self, key, value, *rest):
        written.append(key)
        if "/c/" in key and len([k for k in written if "/c/" in k]) > 40:
            raise error
        await put(self, key, value, *rest)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", full)
    with pytest.raises(sweeps.StoreError, match=f"can't be written: {error.strerror}"):
        sweeps.run(some(), path)
    spec = tmp_path / "s.toml"
    spec.write_text(
        'dimensions = 1\npattern = "impulse"\nsteps = 4\nburn_in = 1\nblock = 4\n'
        "[axes.share]\nfrom = 0\nto = 1\ncount = 12\n"
    )
    assert main(["sweep", "run", str(spec), "--store", str(path)]) == 1
    said = capsys.readouterr().err
    assert error.strerror in said
    assert "what is done is kept. To go on:" in said
    before = np.count_nonzero(values(path)["done"])
    assert 0 < before < 3
    monkeypatch.undo()
    assert sweeps.run(some(), path).computed == 12 - 4 * before
    assert_same(path, whole)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(sweeps.StoreError, match="can't be written"):
        sweeps.run(some(), tmp_path / "file" / "s.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


# --- several at once ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Consolidated")  # held back, but not in threads
def test_two_runs_on_one_store_by_accident(tmp_path, whole):
    path, failed = tmp_path / "s.zarr", []

    def run():
        try:
            sweeps.run(some(), path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert_same(path, whole)
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_shards_make_one_store(tmp_path, whole):
    path = tmp_path / "s.zarr"
    counts = [sweeps.run(some(), path, shard=(i, 2)).computed for i in (1, 0)]
    assert counts == [4, 8]
    assert_same(path, whole)
    with pytest.raises(ValueError, match="shard: got 2 of 2"):
        sweeps.run(some(), path, shard=(2, 2))


@pytest.mark.slow
def test_processes_share_the_blocks(tmp_path, whole):
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
    ended = [process.communicate(timeout=300) for process in running]
    assert [p.returncode for p in running] == [0, 0], ended
    assert [json.loads(out)["computed"] for out, _ in ended] == [8, 4]
    assert _store.status(path).intact == 12
    for name, array in values(whole).items():
        if name != "done":  # of numbers that may differ in their last digit
            np.testing.assert_allclose(values(path)[name], array, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.optimized
def test_results_do_not_depend_on_devices_or_batches(tmp_path):
    found = script("many_devices_sweeps.py", tmp_path, devices=8)
    assert found["devices"] == 8
    for name, apart in found["apart"].items():
        # other instructions round otherwise
        assert max(apart.values()) < 1e-6, (name, apart)
    for count, text in found["texts"].items():
        assert text["talk"] == [], count
        # each device's part of the program is the same, however many there are
        assert text["shapes"] == found["texts"]["1"]["shapes"], count


# --- too large ----------------------------------------------------------------------------------


def test_a_batch_too_large_for_memory_is_halved_and_said(tmp_path, whole, monkeypatch):
    lowered = _program.lowered

    class Crowded:
        def __init__(self, sweep, setting, devices, batch):
            self.batch, self.real = batch, lowered(sweep, setting, devices, batch)
            self.out_info = self.real.out_info

        def compile(self):
            compiled = self.real.compile()

            def call(columns):
                if self.batch > 1:
                    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
                return compiled(columns)

            return call

    monkeypatch.setattr(_program, "lowered", Crowded)
    told = []
    done = sweeps.run(some(), tmp_path / "s.zarr", on_progress=lambda p: told.append(p.note))
    assert set(done.batch.values()) == {1}
    assert [note for note in told if note] == [
        "a batch of 4 is too large for memory: 2 points at a time",
        "a batch of 2 is too large for memory: 1 points at a time",
    ]
    for name, array in values(whole).items():
        if name != "done":
            np.testing.assert_allclose(values(tmp_path / "s.zarr")[name], array, atol=1e-6)


def test_a_point_too_large_for_memory_is_told(tmp_path, monkeypatch):
    def crowded(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(_program, "lowered", crowded)
    with pytest.raises(ValueError, match=r"batch: got 1, and 3 relu.*a smaller domain"):
        sweeps.run(some(), tmp_path / "s.zarr")


def test_other_errors_of_the_device_are_raised(tmp_path, monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    monkeypatch.setattr(_program, "lowered", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        sweeps.run(some(), tmp_path / "s.zarr")


def test_an_unfinished_store_reads_as_missing(tmp_path):
    sweeps.run(some(), tmp_path / "s.zarr", shard=(0, 3))
    with xarray.open_zarr(tmp_path / "s.zarr") as found:
        assert np.isfinite(found.velocity[:4]).all()
        assert np.isnan(found.velocity[4:]).all()
        np.testing.assert_array_equal(found.status, [0] * 4 + [-1] * 8)
        np.testing.assert_array_equal(found.done != 0, [True, False, False])
