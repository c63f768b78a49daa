"""Reading incomplete stores: coordinates, export, status during concurrent runs."""

import shutil

import jax
import numpy as np
import pytest
import xarray

from infomech import sweeps
from infomech.cli import main
from infomech.sweeps import _store


def observe(kernel, final, trace, setting):
    """A NaN with an unusual bit pattern, a value that identifies points, and a count."""
    nan = jax.lax.bitcast_convert_type(np.uint32(0xFFC00001), np.float32)
    return {"nothing": nan, "first": kernel[0], "count": np.int32(3)}


SWEEP = sweeps.Sweep(
    axes=(sweeps.linear("share", 0, 1, 12),),
    dimensions=1,
    pattern="impulse",
    steps=4,
    burn_in=1,
    kernel_size=(2, 3),
    rectifier="identity",
    block=4,
    observe=observe,
)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A store of 2 × 3 blocks of 4 points."""
    path = tmp_path_factory.mktemp("full") / "s.zarr"
    sweeps.run(SWEEP, path)
    return path


@pytest.fixture
def copy(full, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(full, tmp_path / "s.zarr")


def test_blocks_of_nan_are_intact(copy):
    status = _store.status(copy)
    assert (status.intact, status.damaged) == (24, 0)
    assert sweeps.run(SWEEP, copy).computed == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "share" / "c" / "0").unlink(),
        lambda path: (path / "kernel_size" / "c" / "0").write_bytes(b"x"),
    ],
)
def test_damaged_coordinates_are_reported_and_rewritten(copy, full, damage, capsys):
    damage(copy)
    assert not _store.status(copy).labeled
    assert main(["sweep", "status", str(copy)]) == 1
    assert "coordinates failed their checksum" in capsys.readouterr().out
    with pytest.raises(ValueError, match="whose coordinates failed their checksum"):
        sweeps.export(copy, copy.parent / "s.nc")
    assert sweeps.run(SWEEP, copy).computed == 0
    assert _store.status(copy).labeled
    with xarray.open_zarr(copy) as dataset, xarray.open_zarr(full) as expected:
        xarray.testing.assert_identical(dataset.load(), expected.load())


def test_missing_and_damaged_blocks_are_not_exported(copy, full):
    # one block killed before its checksum was written, one with an unreadable chunk
    (copy / "done" / "c" / "0" / "1").unlink()
    chunk = copy / "first" / "c" / "1" / "2"
    chunk.write_bytes(chunk.read_bytes()[:5])
    exported = sweeps.export(copy, copy.parent / "s.nc")
    with xarray.open_zarr(full) as expected, xarray.open_dataset(copy.parent / "s.nc") as written:
        intact = np.ones((2, 12), bool)
        intact[0, 4:8] = intact[1, 8:] = False
        np.testing.assert_array_equal(exported.first, np.where(intact, expected.first, np.nan))
        np.testing.assert_array_equal(exported["count"], np.where(intact, 3, -1))
        np.testing.assert_array_equal(exported.done != 0, intact[:, ::4])
        np.testing.assert_array_equal(written.first, exported.first)
        assert written.first.dims == expected.first.dims


def test_export_to_a_folder_raises(copy):
    with pytest.raises(ValueError, match=r"out: got .*s\.zarr, a folder, expected a file"):
        sweeps.export(copy, copy)


@pytest.mark.parametrize("read", [_store.status, lambda path: sweeps.run(SWEEP, path)])
def test_blocks_being_written_by_another_run_are_not_damaged(copy, monkeypatch, read):
    chunk = copy / "done" / "c" / "0" / "0"
    stored_checksum, content = _store.Store._stored_checksum, chunk.read_bytes()
    chunk.unlink()

    def concurrent(self, block):
        if block.number == 1:
            chunk.write_bytes(content)
        return stored_checksum(self, block)

    monkeypatch.setattr(_store.Store, "_stored_checksum", concurrent)
    assert read(copy).damaged == 0


def test_blocks_stored_by_a_concurrent_run_are_skipped(tmp_path):
    computed = []

    def run_again(progress):
        if progress.done == 4:
            computed.append(sweeps.run(SWEEP, tmp_path / "s.zarr").computed)

    computed.append(sweeps.run(SWEEP, tmp_path / "s.zarr", on_progress=run_again).computed)
    assert computed == [20, 4]
