"""What is read from a store that isn't whole: coordinates, export, status while others write."""

import shutil

import jax
import numpy as np
import pytest
import xarray

from infomech import sweeps
from infomech.cli import main
from infomech.sweeps import _store


def observe(kernel, final, trace, setting):
    """A NaN that is not the usual one, something to know points by, and a count."""
    odd = jax.lax.bitcast_convert_type(np.uint32(0xFFC00001), np.float32)
    return {"nothing": odd, "first": kernel[0], "count": np.int32(3)}


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
def whole(tmp_path_factory):
    """A store of 2 × 3 blocks of 4 points."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    sweeps.run(SWEEP, path)
    return path


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it that may be harmed."""
    return shutil.copytree(whole, tmp_path / "s.zarr")


def test_a_block_of_any_nan_is_what_was_written(copy):
    found = _store.status(copy)
    assert (found.intact, found.damaged) == (24, 0)
    assert sweeps.run(SWEEP, copy).computed == 0


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path / "share" / "c" / "0").unlink(),
        lambda path: (path / "kernel_size" / "c" / "0").write_bytes(b"x"),
    ],
)
def test_harmed_coordinates_are_told_and_written_anew(copy, whole, harm, capsys):
    harm(copy)
    assert not _store.status(copy).labeled
    assert main(["sweep", "status", str(copy)]) == 1
    assert "coordinates are not what was written" in capsys.readouterr().out
    with pytest.raises(ValueError, match="whose coordinates are not what was written"):
        sweeps.export(copy, copy.parent / "s.nc")
    assert sweeps.run(SWEEP, copy).computed == 0
    assert _store.status(copy).labeled
    with xarray.open_zarr(copy) as found, xarray.open_zarr(whole) as expected:
        xarray.testing.assert_identical(found.load(), expected.load())


def test_blocks_that_are_not_there_or_harmed_are_not_exported(copy, whole):
    # killed before it was noted, though its numbers are there; and a chunk that can't be read
    (copy / "done" / "c" / "0" / "1").unlink()
    chunk = copy / "first" / "c" / "1" / "2"
    chunk.write_bytes(chunk.read_bytes()[:5])
    found = sweeps.export(copy, copy.parent / "s.nc")
    with xarray.open_zarr(whole) as expected, xarray.open_dataset(copy.parent / "s.nc") as written:
        there = np.ones((2, 12), bool)
        there[0, 4:8] = there[1, 8:] = False
        np.testing.assert_array_equal(found.first, np.where(there, expected.first, np.nan))
        np.testing.assert_array_equal(found["count"], np.where(there, 3, -1))
        np.testing.assert_array_equal(found.done != 0, there[:, ::4])
        np.testing.assert_array_equal(written.first, found.first)
        assert written.first.dims == expected.first.dims


def test_a_file_in_place_of_a_folder_is_not_written(copy):
    with pytest.raises(ValueError, match=r"out: got .*s\.zarr, a folder, expected a file"):
        sweeps.export(copy, copy)


@pytest.mark.parametrize("ask", [_store.status, lambda path: sweeps.run(SWEEP, path)])
def test_a_block_that_another_run_writes_meanwhile_is_not_called_damaged(copy, monkeypatch, ask):
    chunk = copy / "done" / "c" / "0" / "0"
    noted, kept = _store.Store._noted, chunk.read_bytes()
    chunk.unlink()

    def meanwhile(self, block):
        if block.number == 1:
            chunk.write_bytes(kept)
        return noted(self, block)

    monkeypatch.setattr(_store.Store, "_noted", meanwhile)
    assert ask(copy).damaged == 0


def test_what_another_run_has_stored_meanwhile_is_not_computed_again(tmp_path):
    computed = []

    def other(progress):
        if progress.done == 4:
            computed.append(sweeps.run(SWEEP, tmp_path / "s.zarr").computed)

    computed.append(sweeps.run(SWEEP, tmp_path / "s.zarr", on_progress=other).computed)
    assert computed == [20, 4]
