"""Sweeps: axes, settings, blocks, measurements, stores and TOML files."""

import dataclasses
import itertools
import json
import math

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import reference
import xarray
from hypothesis import given, settings
from thinned import thinned

from infomech import kernels, rates, sweeps, theory
from infomech._rollout import rollout
from infomech.cli import main
from infomech.sweeps import _blocks, _observed, _program, _spec

SMALL = {"dimensions": 1, "pattern": "impulse", "steps": 6, "burn_in": 1}
SHARE = sweeps.linear("share", 0, 1, 5)


def taps_of(kernel, final, trace, setting):
    """Measures the kernel itself."""
    return {"kernel": kernel}


def swept(tmp_path, **changes):
    """Runs a sweep and reads its store with xarray."""
    path = tmp_path / "s.zarr"
    sweeps.run(sweeps.Sweep(**{**SMALL, **changes}), path)
    return xarray.open_zarr(path, chunks=None).load()


# --- axes ---------------------------------------------------------------------------------------


def test_axis_values():
    np.testing.assert_array_equal(SHARE.table()["share"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(sweeps.seeds(3, 5).table()["seed"], [5, 6, 7])
    pair = sweeps.values("pair", share=[0.1, 0.2], noise=[0.0, 1.0])
    assert pair.quantities == ("share", "noise")
    np.testing.assert_array_equal(pair.table()["noise"], [0, 1])
    kernel = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(sweeps.values("k", taps=kernel).table()["taps"], kernel)


def test_sobol_points_are_evenly_distributed_and_reproducible():
    axis = sweeps.sobol("draw", 64, seed=3, share=(0.5, 1), angle=(-1, 3))
    share, angle = axis.table().values()
    # a scrambled Sobol sequence has one point in each of 64 slices of either axis
    assert sorted(((share - 0.5) * 128).astype(int)) == list(range(64))
    assert sorted(((angle + 1) * 16).astype(int)) == list(range(64))
    again = sweeps.sobol("draw", 50, seed=3, share=(0.5, 1), angle=(-1, 3)).table()
    np.testing.assert_array_equal(again["share"], share[:50])
    other = sweeps.sobol("draw", 64, seed=4, share=(0.5, 1), angle=(-1, 3)).table()
    assert not np.array_equal(other["share"], share)
    specs = [sweeps.sobol("draw", 8, seed=n, share=(0, 1)).describe() for n in (3, 4)]
    assert specs[0] != specs[1]


BAD_AXES = {
    "share out of range": (lambda: sweeps.linear("share", 0, 2, 5), r"share: got share 2\.0"),
    "NaN": (lambda: sweeps.values("share", share=[0.1, math.nan]), "NaN or infinity"),
    "unequal": (lambda: sweeps.values("p", share=[0.1], noise=[0, 1]), "equally many"),
    "no quantity": (lambda: sweeps.values("p"), "p: got 0"),
    "unknown": (lambda: sweeps.values("p", speed=[1]), "'speed', expected one of share"),
    "words": (lambda: sweeps.values("share", share=["a"]), "share of list, expected numbers"),
    "fractions of seeds": (lambda: sweeps.values("seed", seed=[0.5]), "expected integers"),
    "seeds below 0": (lambda: sweeps.values("seed", seed=[-1]), "expected at least 0"),
    "a count of 0": (lambda: sweeps.linear("share", 0, 1, 0), "share: got 0"),
    "a fractional count": (lambda: sweeps.linear("share", 0, 1, 2.5), r"share: got 2\.5"),
    "seeds of more than 32 bits": (lambda: sweeps.values("seed", seed=[2**32]), "below 2³²"),
    "more seeds than there are": (lambda: sweeps.seeds(2, 2**32 - 1), "seed 4294967296, expected"),
    "a quantity named as an argument": (lambda: sweeps.values("p", name=[1]), "'name', expected"),
    "a rule": (lambda: sweeps.Axis("share", "log", 2, (("share", (0, 1)),)), "rule: got 'log'"),
    "range of seeds": (lambda: sweeps.sobol("d", 8, seed=0, taps=(0, 1)), "a range of taps"),
    "one end": (lambda: sweeps.sobol("d", 8, share=(0,)), "the two ends"),
    "a name": (lambda: sweeps.values("a b", share=[0.1]), "'a b', expected a name"),
    "a vector": (lambda: sweeps.values("share", share=[[0.1]]), "a list with one entry per point"),
}


@pytest.mark.parametrize("case", BAD_AXES)
def test_invalid_axes_raise(case):
    make, message = BAD_AXES[case]
    with pytest.raises(ValueError, match=message):
        make()


BAD_SWEEPS = {
    "no share": ({"axes": (sweeps.seeds(2),)}, "either share or ratio"),
    "both": ({"axes": (SHARE, sweeps.linear("ratio", 0, 1, 2))}, "either share or ratio"),
    "twice": ({"axes": (SHARE, SHARE)}, "each name and quantity only once"),
    "an unused seed": ({"axes": (SHARE, sweeps.seeds(2))}, "noise as well, or family random"),
    "no seed": ({"family": "random"}, "no seed, expected one for family random"),
    "taps for another": ({"axes": (sweeps.values("k", taps=[[1.0, 2.0]]),)}, "none for family mix"),
    "taps of another size": (
        {"family": "taps", "axes": (sweeps.values("k", taps=[[1.0, 2.0]]),)},
        r"kernels of shape \(2,\), expected \(3,\)",
    ),
    "an angle on a line": (
        {"axes": (SHARE, sweeps.values("angle", angle=[0.0]))},
        "unless dimensions is 2",
    ),
    "a direction of 0": (
        {"axes": (SHARE, sweeps.values("direction", direction=[[0.0]]))},
        "nonzero vectors",
    ),
    "direction of another dimension": (
        {"axes": (SHARE, sweeps.values("direction", direction=[[0.0, 1.0]]))},
        r"expected \(1,\)",
    ),
    "an axis named as a setting": (
        {"axes": (sweeps.values("steps", share=[0.1]),)},
        "a name not used by a setting",
    ),
    "an axis named as an array of the store": (
        {"axes": (sweeps.values("done", share=[0.1]),)},
        "or the store",
    ),
    "a name for an axis": ({"axes": ("share",)}, "axes: got 'share', expected axes made by"),
    "tolerances": ({"edge_tolerance": [0.1]}, r"edge_tolerance: got shape \(1,\)"),
    "a rectifier": ({"rectifier": "foo"}, "rectifier: got 'foo'"),
    "a setting twice": ({"kernel_size": (3, 3)}, "no duplicates"),
    "nothing": ({"kernel_size": ()}, "kernel_size: got nothing"),
    "steps": ({"steps": (0,)}, "steps: got 0"),
    "a number as pattern": ({"pattern": (3,)}, "pattern: got 3"),
    "too small a field": ({"shape": 3, "pattern": "box"}, "at least the shape of the pattern"),
    "a late start": ({"burn_in": 5}, "burn_in: got 5, expected at most 4"),
    "four axes": ({"dimensions": 4}, "dimensions: got 4"),
    "observe": ({"observe": "math:nothing"}, "observe: got 'math:nothing'"),
    "not callable": ({"observe": "math:pi"}, "not callable"),
    "dtype": ({"dtype": "int8"}, "dtype: got 'int8'"),
    "block": ({"block": -1}, "block: got -1"),
}


@pytest.mark.parametrize("case", BAD_SWEEPS)
def test_invalid_sweeps_raise(case):
    changes, message = BAD_SWEEPS[case]
    with pytest.raises(ValueError, match=message):
        sweeps.Sweep(**{"axes": (SHARE,), **SMALL, **changes})


# --- blocks -------------------------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    sizes=st.lists(st.sampled_from([2, 3, 5]), min_size=1, max_size=3, unique=True),
    block=st.integers(1, 40),
)
def test_blocks_partition_the_points(counts, sizes, block):
    quantities = ["share", "noise", "seed"][: len(counts)]
    axes = tuple(
        sweeps.values(q, **{q: np.linspace(0, 1, n) if q != "seed" else np.arange(n)})
        for q, n in zip(quantities, counts, strict=True)
    )
    sweep = sweeps.Sweep(axes=axes, kernel_size=tuple(sizes), block=block, **SMALL)
    plan = _blocks.layout(sweep)
    visits = np.zeros(plan.shape, int)
    tables = [axis.table() for axis in axes]
    grid = np.stack(
        np.meshgrid(*(t[q] for t, q in zip(tables, quantities, strict=True)), indexing="ij"), -1
    )
    for number, part in enumerate(plan.blocks()):
        assert part.number == number
        assert 1 <= part.points <= block
        visits[part.where] += 1
        columns = _blocks.columns(tables, part)
        expected = grid[part.where[plan.varied :]].reshape(-1, len(quantities))
        np.testing.assert_array_equal(np.stack(list(columns.values()), -1), expected)
    assert np.all(visits == 1)
    assert plan.varied == (len(sizes) > 1)


def test_default_block_size():
    def points(**changes):
        return math.prod(
            _blocks.layout(
                sweeps.Sweep(axes=(sweeps.seeds(10**6),), family="random", **changes)
            ).block
        )

    assert points(shape=32, steps=32, radius=1.0) == 2**16
    # 241² × 7² × 40 layers: 2³⁶ multiply-adds are some 600 of these
    heavy = points(kernel_size=7, shape=241, steps=40)
    assert heavy == 2**36 // (241**2 * 49 * 40)
    assert points(shape=5000, steps=48) == 64
    assert points(block=7) == 7


# --- kernels of each family ---------------------------------------------------------------------


def test_kernel_families(tmp_path):
    angle = sweeps.values("angle", angle=[0.0, 0.3])
    changes = {"dimensions": 2, "observe": taps_of}
    taps = swept(tmp_path / "mix", axes=(SHARE, angle), **changes).kernel.values
    for i, j in itertools.product(range(5), range(2)):
        a = angle.table()["angle"][j]
        direction = np.array([np.sin(a), np.cos(a)], np.float32)
        expected = kernels.mix((3, 3), share=i / 4, direction=direction, dtype="float32")
        np.testing.assert_allclose(taps[i, j], expected, atol=5e-7)
    seeds = sweeps.values("seed", seed=[0, 7])
    taps = swept(tmp_path / "random", axes=(seeds,), family="random", **changes).kernel.values
    for i, seed in enumerate((0, 7)):
        key = jax.random.key(np.uint32(seed))
        expected = kernels.random((3, 3), key=key, dtype="float32")
        np.testing.assert_allclose(taps[i], expected, atol=1e-6)
    taps = np.random.default_rng(0).normal(size=(4, 3, 3))
    k = sweeps.values("k", taps=taps)
    table = swept(tmp_path / "taps", axes=(k,), family="taps", **changes)
    np.testing.assert_array_equal(table.kernel.values, taps.astype(np.float32))
    np.testing.assert_array_equal(table.taps_value.values, taps)


def test_noise_has_mean_0_and_the_given_energy(tmp_path):
    noise = sweeps.values("noise", noise=[0.0, 0.5])
    axes = (sweeps.values("ratio", ratio=[0.3]), noise, sweeps.seeds(400))
    table = swept(tmp_path, axes=axes, dimensions=2, observe=taps_of, dtype="float64")
    clean = kernels.mix((3, 3), ratio=0.3, dtype="float64")
    np.testing.assert_allclose(table.kernel[0, 0], np.broadcast_to(clean, (400, 3, 3)), atol=1e-15)
    difference = table.kernel[0, 1].values - np.asarray(clean)
    # 3,600 normal numbers: mean 0 ± 0.003, energy 0.25 ± 0.006
    assert abs(difference.mean()) < 0.01
    assert abs((difference**2).sum((1, 2)).mean() - 0.25) < 0.02


# --- what is measured ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", thinned(["float64", "float32"], 2))
def test_rates_match_the_reference_rollout(tmp_path, dtype):
    table = swept(
        tmp_path,
        axes=(SHARE,),
        dtype=dtype,
        kernel_size=(2, 3),
        rectifier=("relu", "modulus"),
        pattern="box",
        radius=1.0,
    )
    assert table.sizes["kernel_size"] == 2
    assert table.velocity.dtype == dtype
    start = np.pad(np.ones(3), 20)
    for kernel_size, rectifier, share in itertools.product((2, 3), ("relu", "modulus"), range(5)):
        at = table.sel(kernel_size=kernel_size, rectifier=rectifier).isel(share=share)
        kernel = np.asarray(kernels.mix((kernel_size,), share=share / 4, dtype="float64"))
        layers = reference.rollout(kernel, start, 6, rectifier, "zero", "l2")
        centers = [reference.center(u, origin)[0] for u, origin, _ in layers]
        covariances = [reference.covariance(u)[0, 0] for u, *_ in layers]
        time = np.arange(1, 7)
        velocity, diffusion = (np.polyfit(time, v[1:], 1)[0] for v in (centers, covariances))
        tolerance = 2e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(at.velocity, [velocity], atol=tolerance)
        np.testing.assert_allclose(at.diffusion, [[diffusion]], atol=10 * tolerance)
        np.testing.assert_allclose(at.energy, 1, atol=tolerance)
        np.testing.assert_allclose(at.odd_share, share / 4, atol=tolerance)
        np.testing.assert_allclose(at.gain, kernel.sum(), atol=tolerance)
        assert at.status == 0
        predicted = theory.predict(kernel, rectifier=rectifier)
        assert bool(at.inactive) == bool(predicted.inactive)
        np.testing.assert_allclose(at.velocity_theory, predicted.velocity, atol=tolerance)


def all_of(kernel, final, trace, setting):
    """The rates, and the final field, which depends on the normalization."""
    return {**_observed.measure(kernel, final, trace, setting), "last": final.values}


def test_settings_reach_the_rollout(tmp_path):
    """Compares with direct rollouts of the same kernel in which all settings matter."""
    sweep = sweeps.Sweep(
        axes=(sweeps.values("share", share=[0.3]), sweeps.values("seed", seed=[4, 9])),
        family="random",
        boundary=("zero", "periodic"),
        normalize=("max",),
        shape=13,
        observe=all_of,
        every=2,
        edge_tolerance=0.9,
        radius=1.0,
        **{**SMALL, "pattern": "box"},
    )
    sweeps.run(sweep, tmp_path / "s.zarr")
    table = xarray.open_zarr(tmp_path / "s.zarr", chunks=None).load()
    start = np.pad(np.ones(3, np.float32), 5)
    for setting in sweep.settings():
        kernel = kernels.random((3,), key=jax.random.key(9), share=0.3, dtype="float32")
        final, trace = rollout(
            kernel, start, 6, boundary=setting.boundary, normalize=setting.normalize, every=2
        )
        at = table.sel(boundary=setting.boundary, seed=9)
        for name, value in all_of(kernel, final, trace, setting).items():
            tolerance = {"rtol": 2e-4, "atol": 2e-5, "err_msg": f"{name}, {setting}"}
            np.testing.assert_allclose(at[name].values[0], value, **tolerance)
        assert np.isfinite(at.velocity_stderr).all()
        for name, fit in (("velocity", rates.velocity), ("diffusion", rates.diffusion)):
            rate = fit(trace, 1, edge_tolerance=0.9)
            np.testing.assert_allclose(at[f"{name}_stderr"][0], rate.stderr, atol=1e-4)
        edge = max(float(trace.edge.max()), float(trace.cut.max()))
        np.testing.assert_allclose(at.edge[0], edge, atol=1e-5)


def test_dead_fields_and_boundary_contact_are_statuses(tmp_path):
    axes = (sweeps.values("k", taps=[[0.0, -1, 0], [0.0, 1, 0], [0.0, 0, 1]]),)
    table = swept(tmp_path, axes=axes, family="taps", shape=13)
    reasons = [rates.Status(code).reason.split(":")[0] for code in table.status]
    assert reasons == [
        "the field died",
        "ok",
        "the pattern touched the boundary before the end of the fit window",
    ]
    assert np.isnan(table.velocity[[0, 2]]).all()
    assert table.velocity[1] == 0
    assert table.edge[2] > 0.5


def test_observe_accepts_functions(tmp_path):
    def observe(kernel, final, trace, setting):
        return {"last": final.values[:3], "kernel_size": jax.numpy.int32(setting.kernel_size)}

    with pytest.raises(ValueError, match="names not used by the sweep itself"):
        swept(tmp_path, axes=(SHARE,), observe=observe)

    def observe_renamed(kernel, final, trace, setting):
        return {"last": final.values[:3], "taps": jax.numpy.int32(setting.kernel_size)}

    table = swept(tmp_path, axes=(SHARE,), observe=observe_renamed, kernel_size=(2, 3), shape=9)
    assert table["last"].dims == ("kernel_size", "share", "last_axis_0")
    np.testing.assert_array_equal(table["taps"], np.repeat([[2], [3]], 5, 1))
    with pytest.raises(ValueError, match="a dictionary of arrays"):
        swept(tmp_path / "b", axes=(SHARE,), observe=lambda k, f, t, s: t.center)
    with pytest.raises(ValueError, match="the same for all settings"):
        swept(
            tmp_path / "c",
            axes=(SHARE,),
            kernel_size=(2, 3),
            observe=lambda k, f, t, s: {"kernel": k},
        )


INVALID_MEASURES = {
    "nothing": (lambda k: None, "NoneType, expected a dictionary"),
    "an empty dictionary": (lambda k: {}, "an empty dictionary"),
    "text": (lambda k: {"a": "text"}, "a of str, expected a dictionary of arrays"),
    "a dictionary within": (lambda k: {"a": {"b": k}}, "a of dict"),
    "complex": (
        lambda k: {"a": jax.lax.complex(k, k)},
        r"a of complex\d+, expected real.*\.real and \.imag",
    ),
    "half as wide": (lambda k: {"a": k.astype("bfloat16")}, "a of bfloat16, expected real"),
    "a key": (lambda k: {"a": jax.random.key(0)}, "a of key<fry>"),
    "a path": (lambda k: {"a/b": k}, "'a/b', expected names of letters"),
    "a number for a name": (lambda k: {1: k}, "1, expected names of letters"),
    "the name of an axis": (lambda k: {"a": k, "a_axis_0": k[0]}, "a_axis_0, expected names not"),
}


@pytest.mark.parametrize("case", INVALID_MEASURES)
def test_invalid_measurements_raise_before_compilation(case):
    function, message = INVALID_MEASURES[case]
    sweep = sweeps.Sweep(axes=SHARE, observe=lambda k, f, t, s: function(k), **SMALL)
    with pytest.raises(ValueError, match=f"observe: got {message}"):
        sweeps.explain(sweep)


def test_numpy_and_jax_scalars_equal_python_scalars():
    plain = sweeps.Sweep(axes=(SHARE,), kernel_size=(2, 3), radius=2.0, block=4, **SMALL)
    other = sweeps.Sweep(
        axes=sweeps.linear("share", np.float32(0), np.int8(1), np.int64(5)),
        kernel_size=np.array([2, 3]),
        radius=jax.numpy.float32(2),
        block=np.int16(4),
        **{**SMALL, "steps": np.int32(6)},
    )
    assert other == plain
    assert hash(other) == hash(plain)
    assert json.loads(json.dumps(other.describe())) == json.loads(json.dumps(plain.describe()))
    assert _blocks.layout(other) == _blocks.layout(plain)


def test_dtypes_of_settings_are_promoted(tmp_path):
    table = swept(tmp_path, axes=(SHARE,), dtype=("float32", "float64"))
    assert table.velocity.dtype == np.float64
    wide = table.velocity.sel(dtype="float64")
    np.testing.assert_allclose(table.velocity.sel(dtype="float32"), wide, atol=1e-6)
    assert not np.array_equal(table.energy.sel(dtype="float32"), table.energy.sel(dtype="float64"))


def test_float64_needs_enabled_x64(tmp_path):
    sweep = sweeps.Sweep(axes=(SHARE,), dtype="float64", **SMALL)
    for call in (sweeps.explain, lambda sweep: sweeps.run(sweep, tmp_path / "s.zarr")):
        with jax.enable_x64(False), pytest.raises(ValueError, match="got float64, expected jax"):
            call(sweep)
    assert not (tmp_path / "s.zarr").exists()


# --- stores and explanations --------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store of 2 × 5 × 3 points."""
    path = tmp_path_factory.mktemp("sweep") / "s.zarr"
    pair = sweeps.values("pair", noise=[0.0, 0.1, 0.2], seed=[0, 1, 2])
    sweep = sweeps.Sweep(axes=(SHARE, pair), rectifier=("relu", "modulus"), block=6, **SMALL)
    return path, sweep, sweeps.run(sweep, path)


def test_xarray_reads_labels_units_and_provenance(stored):
    path, sweep, done = stored
    assert (done.points, done.computed, done.damaged) == (30, 30, 0)
    table = xarray.open_zarr(path)
    assert dict(table.velocity.sizes) == {"rectifier": 2, "share": 5, "pair": 3, "component": 1}
    assert table.velocity.attrs["units"] == "pixels per layer"
    assert table.noise.dims == ("pair",)
    assert table.sel(rectifier="modulus", share=0.5).isel(pair=1).noise == 0.1
    assert table.boundary == "zero"
    assert table.steps == 6
    assert int((table.done != 0).sum()) == math.prod(_blocks.layout(sweep).grid)
    assert table.attrs["provenance"]["jax"] == jax.__version__
    assert table.attrs["sweep"]["observe"] == "rates"


def test_compute_matches_the_store(tmp_path):
    sweep = sweeps.Sweep(axes=(SHARE,), **{**SMALL, "rectifier": ("relu", "modulus")})
    sweeps.run(sweep, tmp_path / "s.zarr")
    stored = xarray.open_zarr(tmp_path / "s.zarr", chunks=None).load()
    computed = sweeps.compute(sweep)
    xarray.testing.assert_equal(computed, stored)
    assert {k: v.dims for k, v in computed.items()} == {k: v.dims for k, v in stored.items()}
    for name in stored.variables:
        assert computed[name].attrs == stored[name].attrs
    for attrs in (computed.attrs, stored.attrs):
        attrs["provenance"].pop("created")
    assert computed.attrs == stored.attrs


def test_export_matches_the_store(stored, tmp_path, capsys):
    path, *_ = stored
    out = tmp_path / "s.nc"
    assert main(["sweep", "export", str(path), str(out)]) == 0
    assert "share 5" in capsys.readouterr().out
    with xarray.open_dataset(out) as exported, xarray.open_zarr(path) as store:
        for name, array in store.variables.items():
            np.testing.assert_array_equal(exported[name].values, array.values)
        assert set(exported.attrs) == set(store.attrs)


def test_explain(stored):
    _, sweep, done = stored
    plan = sweeps.explain(sweep)
    assert (plan.points, plan.compilations, plan.blocks, plan.block_points) == (30, 2, 6, 6)
    assert plan.batch == done.batch
    # an impulse that widens by 2 pixels per layer for 6 layers, plus 3 at either end
    assert plan.cell_steps == 30 * 6 * (1 + 6 * 2 + 2 * 3)
    # 12 float32 numbers, inactive and status
    assert plan.stored == 30 * (12 * 4 + 2)
    for words in ("points        30", "compilations  2, one per setting", "about"):
        assert words in str(plan)
    narrow = sweeps.explain(sweep, batch=2)
    assert set(narrow.batch.values()) == {2}
    assert narrow.memory == plan.memory / 3
    small, large = (sweeps.explain(dataclasses.replace(sweep, kernel_size=n)) for n in (2, 7))
    assert sweeps.explain(dataclasses.replace(sweep, kernel_size=(7, 2))).memory == large.memory
    assert large.memory > small.memory
    with pytest.raises(ValueError, match="batch: got -1"):
        sweeps.explain(sweep, batch=-1)


def test_batch_size_is_even_and_divisible_by_the_devices():
    setting = next(sweeps.Sweep(axes=(SHARE,), **SMALL).settings())
    one = jax.devices()[:1]
    assert _program.batch_size(setting, 10, one, 4) == 4
    assert _program.batch_size(setting, 9, one, 8) == 5
    assert _program.batch_size(setting, 17, one, 23) == 17
    assert _program.batch_size(setting, 100, one * 8, 64) == 56
    assert _program.batch_size(setting, 100, one * 2, 40) == 34
    assert _program.batch_size(setting, 3, one * 8) == 8
    assert _program.batch_size(setting, 3, one * 8, 8) == 8
    limit = 2**24 // (4 * 4 * 19)
    assert limit / 2 < _program.batch_size(setting, 10**6, one) <= limit


# --- TOML files ---------------------------------------------------------------------------------

SPEC = """\
kernel_size = [2, 3]     # compiled in
rectifier = "modulus"
dimensions = 1
steps = 6
burn_in = 1

[axes.share]
from = 0
to = 1
count = 3

[axes.pair]
noise = [0.0, 0.1]
seed = [1, 2]
"""


def test_load(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(SPEC)
    expected = sweeps.Sweep(
        axes=(
            sweeps.linear("share", 0, 1, 3),
            sweeps.values("pair", noise=[0, 0.1], seed=[1, 2]),
        ),
        kernel_size=(2, 3),
        rectifier="modulus",
        dimensions=1,
        steps=6,
        burn_in=1,
    )
    assert sweeps.load(path) == expected
    np.save(tmp_path / "k.npy", np.ones((2, 3, 3)))
    path.write_text(
        'family = "taps"\nshape = 64\n[axes.kernel]\ntaps = "k.npy"\n[axes.noise]\nvalues = [0]\n'
        "[axes.seed]\ncount = 4\nfirst = 2\n"
    )
    loaded = sweeps.load(path)
    assert (loaded.shape, loaded.axis_lengths) == (64, (2, 1, 4))
    np.testing.assert_array_equal(loaded.axes[0].table()["taps"], np.ones((2, 3, 3)))
    path.write_text("[axes.draw]\nsobol = 8\nscramble = 3\nshare = [0, 1]\nangle = [0, 3]\n")
    assert sweeps.load(path).axes == (sweeps.sobol("draw", 8, seed=3, share=(0, 1), angle=(0, 3)),)


BAD_SPECS = {
    "a misspelt key": ("shpae = 3\n", r"line 1: shpae: got an unknown key.*did you mean shape\?"),
    "a value": ("dimensions = 1\nsteps = 0\n", "line 2: steps: got 0"),
    "a misspelt key of an axis": (
        "[axes.share]\nfrom = 0\nto = 1\ncout = 3\n",
        r"line 4: axes\.share\.cout: got an unknown key",
    ),
    "a range": ("\n[axes.share]\nfrom = 0\nto = 2\ncount = 3\n", "line 2: share: got share 2"),
    "half a range": ("[axes.share]\nfrom = 0\n", "line 1: to: got nothing, expected all of from"),
    "words": ('[axes.share]\nfrom = "a"\nto = 1\ncount = 3\n', "line 1: share from: got str"),
    "axes that are no tables": ("axes = 3\n", "line 1: axes: got no tables"),
    "no TOML": ("shape = = 3\n", r"unreadable \(.*at line 1"),
    "no such file": ('[axes.k]\ntaps = "none.npy"\n', "line 1: taps: got 'none.npy', unreadable"),
    "an axis that doesn't fit": (
        "[axes.share]\nvalues = [0.1]\n[axes.seed]\ncount = 3\n",
        "line 1: axes: got seed",
    ),
    "a range of seeds": (
        "[axes.draw]\nsobol = 8\nshare = [0, 1]\nseed = [0, 9]\n",
        r"line 4: axes\.draw\.seed: got an unknown key",
    ),
    "an axis of no quantity": ("[axes.name]\nvalues = [0]\n", "line 1: name: got 'name'"),
    "a misspelt rule": (
        "[axes.share]\nvalue = [0]\n",
        r"line 2: axes\.share\.value.*did you mean values\?",
    ),
    "a key after rows in brackets": (
        "dimensions = 1\n[axes.direction]\nvalues = [ # [\n  [1.0],\n  [0.5]\n]\ncout = 3\n",
        r"line 7: axes\.direction\.cout",
    ),
    "a relative module": (
        'observe = ".mine:f"\n[axes.share]\nvalues = [0]\n',
        "line 1: observe: .*PYTHONPATH",
    ),
    "a list of lists": (
        "kernel_size = [[3, 3]]\n[axes.share]\nvalues = [0]\n",
        "line 1: kernel_size: got",
    ),
}


@pytest.mark.parametrize("case", BAD_SPECS)
def test_invalid_files_name_key_and_line(tmp_path, case, capsys):
    text, message = BAD_SPECS[case]
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        sweeps.load(path)
    assert main(["sweep", "run", str(path), "--store", str(tmp_path / "s.zarr")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "s.zarr").exists()


@settings(max_examples=60)
@given(
    text=st.text(max_size=80) | st.lists(st.sampled_from(SPEC.split()), max_size=12).map(" ".join)
)
def test_load_raises_only_value_errors(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")
    try:
        result = _spec.load(path)
    except ValueError as error:
        result = str(error)
    assert isinstance(result, sweeps.Sweep) or str(path) in result


def test_command_runs_a_file_and_reports_status(tmp_path, capsys):
    path, store = tmp_path / "s.toml", tmp_path / "s.zarr"
    path.write_text(SPEC)
    assert main(["sweep", "run", str(path), "--explain"]) == 0
    assert "points        12" in capsys.readouterr().out
    assert main(["sweep", "run", str(path), "--store", str(store), "--shard", "0/2"]) == 0
    capsys.readouterr()
    assert main(["sweep", "status", str(store)]) == 1
    assert "6 of 12 points (50.0%)" in capsys.readouterr().out
    assert main(["sweep", "run", str(path), "--store", str(store)]) == 0
    out = capsys.readouterr().out
    assert "12, of which 6 were computed now" in out
    assert "compiling" in out
    assert main(["sweep", "status", str(store)]) == 0
    assert "12  ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "2"], "shard: got '2', expected i/n"),
        (["--shard", "2/2"], "shard: got 2 of 2, expected 0 to 1 of 2"),
        (["--distributed", "here"], "distributed: got 'here'"),
        (["--distributed", "host:1,2,0"], "numbers separated by spaces: --distributed host:1 2 0"),
        (["--batch", "-1"], "batch: got -1"),
    ],
)
def test_invalid_options(tmp_path, capsys, words, message):
    path = tmp_path / "s.toml"
    path.write_text(SPEC)
    assert main(["sweep", "run", str(path), "--store", str(tmp_path / "s.zarr"), *words]) == 2
    assert message in capsys.readouterr().err
