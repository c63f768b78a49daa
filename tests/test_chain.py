"""Stacked layers, the commands census and drift, and the experiments on networks."""

import io
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import infomech as im
from experiments import receptive_drift, small_cnn, trained_filters
from infomech import networks, plot, weights
from infomech.cli import drift, main
from infomech.networks import chain, sequential
from infomech.weights import Layer


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layers(*shapes):
    return [Layer(f"l{n}", normal(*shape, seed=n), "OIHW", "") for n, shape in enumerate(shapes)]


@pytest.fixture
def weights_file(tmp_path):
    """A file with two consecutive layers, a pointwise one and a dense one."""
    path = tmp_path / "net.safetensors"
    tensors = {"a.weight": normal(4, 1, 3, 3), "b.weight": normal(3, 4, 3, 3, seed=1)}
    tensors |= {
        "a.bias": normal(4),
        "point.weight": normal(2, 3, 1, 1),
        "head.weight": normal(5, 2),
    }
    save_file(tensors, path, {"format": "pt"})
    return path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- chain ----------------------------------------------------------------------------------


def test_depthwise_layers_are_inferred():
    _, spec = chain.chain(layers((6, 2, 3, 3), (12, 1, 3, 3), (4, 12, 3, 3)))
    assert [layer.groups for layer in spec.layers] == [1, 6, 1]
    _, spec = chain.chain(layers((6, 1, 3, 3)), groups=[3])
    assert spec.channels == 3


def test_chain_applies_options():
    grouped = layers((6, 2, 3, 3), (6, 3, 3, 3), (8, 6, 5, 5))
    grouped[1] = grouped[1]._replace(bias=np.arange(6.0))
    with pytest.raises(ValueError, match="groups for grouped convolutions"):
        chain.chain(grouped)
    params, spec = chain.chain(
        grouped, strides=[1, 2, 1], dilations=[1, 1, 3], groups=[1, 2, 1], rectifier="modulus"
    )
    assert spec.channels == 2
    assert [layer.groups for layer in spec.layers] == [1, 2, 1]
    assert [layer.stride for layer in spec.layers] == [1, 2, 1]
    assert {layer.rectifier for layer in spec.layers} == {"modulus"}
    np.testing.assert_array_equal(params.layers[1].bias, np.arange(6))
    np.testing.assert_array_equal(params.layers[2].kernels, grouped[2].kernels)
    out = sequential.apply(params, normal(2, 9, 8), spec=spec)
    assert out.layers[-1].after.shape == (8, 5, 4)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ((), {}, "layers: got none"),
        (((4, 1, 3, 3), (2, 3, 3, 3)), {}, "layers: got l1 of shape .* after l0"),
        (((4, 1, 3, 3), (2, 4, 3)), {}, "layers: got l1"),
        (((4, 1, 3, 3), (3, 2, 3, 3)), {}, "layers: got l1"),
        (((4, 1, 3, 3),), {"strides": [1, 2]}, "strides: got 2 values"),
        (((4, 1, 3, 3),), {"dilations": [0]}, r"dilations\[0\]: got 0"),
    ],
)
def test_mismatched_layers_raise(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        chain.chain(layers(*shapes), **options)


@pytest.mark.parametrize(
    ("sizes", "strides", "dilations"),
    [((3, 3), (1, 1), (1, 1)), ((3, 5), (2, 1), (1, 2)), ((2, 4), (3, 2), (2, 1))],
)
def test_reach_matches_gradients(sizes, strides, dilations):
    stack = [Layer("x", np.ones((1, 1, n, n), np.float32), "OIHW", "") for n in sizes]
    params, spec = chain.chain(stack, strides=strides, dilations=dilations, rectifier="identity")
    image = np.ones((1, 40, 40), np.float32)

    middle = 20 // int(np.prod(strides))

    def unit(image):
        return sequential.apply(params, image, spec=spec).layers[-1].before[0, middle, middle]

    (gradient,) = np.asarray(jax.grad(unit)(image))
    extent = [np.ptp(indices) + 1 for indices in np.nonzero(gradient)]
    assert tuple(extent) == chain.reach(spec)


def displacements(stack, images):
    """Displacements for these images; all tests share one compiled program."""
    params, spec = chain.chain(stack, dilations=(1, 2), strides=(2, 1))
    order = []
    results = chain.displacements(
        params,
        images,
        spec=spec,
        key=jax.random.key(0),
        resamples=20,
        on_progress=lambda progress: order.append((progress.done, progress.total)),
    )
    assert order == [(n, len(stack)) for n in range(len(stack) + 1)]
    return params, spec, results


def test_prediction_is_exact_with_inactive_rectifiers():
    positive = [
        layer._replace(kernels=0.2 + abs(layer.kernels))
        for layer in layers((3, 1, 3, 3), (4, 3, 3, 3))
    ]
    _, _, results = displacements(positive, np.abs(normal(4, 1, 18, 18, seed=9)))
    assert [(result.layer, result.weighting) for result in results] == [
        (1, "signed"),
        (1, "energy"),
        (2, "signed"),
        (2, "energy"),
    ]
    for result in results[:3]:
        np.testing.assert_allclose(
            result.predicted.displacement, result.measured.displacement, atol=1e-4
        )
        np.testing.assert_allclose(result.agreement.scores.r_squared, 1, atol=1e-4)
    # in the second layer, three paths add up before squaring
    assert results[3].agreement.scores.r_squared < 0.999
    figure = plot.drift({"positive": results})
    points = figure.axes[0].lines[0]
    np.testing.assert_allclose(points.get_ydata(), np.ravel(results[0].measured.displacement))
    np.testing.assert_allclose(points.get_xdata(), np.ravel(results[0].predicted.displacement))


@pytest.fixture(scope="module")
def rectified():
    """Two layers with dilation and active rectifiers, and their displacements."""
    images = normal(4, 1, 18, 18, seed=9)
    params, spec, results = displacements(layers((3, 1, 3, 3), (4, 3, 3, 3)), images)
    return params, spec, images, {(result.layer, result.weighting): result for result in results}


@pytest.mark.parametrize("weighting", ["signed", "energy"])
def test_gates_and_dilations_enter_the_prediction(rectified, weighting):
    params, spec, images, results = rectified
    kernels = [layer.kernels for layer in params.layers]
    gates = sequential.gates(params, images, spec=spec, weighting=weighting)
    predicted, plain = (
        networks.drift.predict(kernels, g, strides=[2, 1], dilations=[1, 2], weighting=weighting)
        for g in (gates, None)
    )
    result = results[2, weighting].predicted.displacement
    np.testing.assert_allclose(result, predicted.displacement, rtol=1e-4)
    assert np.max(np.abs(predicted.displacement - plain.displacement)) > 0.01


def test_central_units_are_measured(rectified):
    params, spec, images, results = rectified
    lattice = sequential.lattices(spec)[1]
    index = np.rint((8.5 - lattice.origin) / lattice.spacing).astype(int)

    def unit(image, channel):
        return sequential.apply(params, image, spec=spec).layers[1].before[(channel, *index)]

    gradients = jax.vmap(jax.grad(unit), (0, None))(images, 2)
    weights = np.mean(np.square(gradients), (0, 1))
    center = [np.sum(weights * np.arange(18)[:, None]), np.sum(weights * np.arange(18))]
    expected = lattice.at(index) - np.array(center) / weights.sum()
    result = results[2, "energy"].measured.displacement[2]
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_nan_weights_raise():
    (layer,) = layers((2, 1, 3, 3))
    layer.kernels[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="l0: got 1 of 18 values not finite"):
        chain.chain([layer])


# --- infomech census ----------------------------------------------------------------------------


def test_census_describe(capsys, weights_file):
    code, out, _ = run(capsys, "census", weights_file, "--describe")
    assert code == 0
    assert "5 arrays, 3 convolutions" in out
    assert any(line.startswith("head.weight") and "–" in line for line in out.splitlines())
    _, out, _ = run(capsys, "census", weights_file, "--describe", "--json")
    assert {e["name"]: e["layout"] for e in json.loads(out)}["b.weight"] == "OIHW"


def test_closed_pipe_is_silent(weights_file):
    script = "import sys; from infomech.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "census", str(weights_file), "--describe"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_census_prints_and_writes(capsys, weights_file, tmp_path):
    xarray = pytest.importorskip("xarray")
    out_folder = tmp_path / "o"
    code, out, _ = run(capsys, "census", weights_file, "--against", "random", "--out", out_folder)
    assert code == 0
    assert "skipped, only one tap: point.weight" in out
    assert "Small filters are dominated by DC and gradients [arXiv 2512.24338]: undecided" in out
    assert "change from random to this file" in out
    assert sorted(os.listdir(out_folder)) == ["census.json", "census.nc", "census.png"]
    record = json.loads((out_folder / "census.json").read_text())
    direct = networks.census(weights.layers(weights_file))
    assert record["result"]["share"]["axes"] == ["layer", "part"]
    np.testing.assert_allclose(record["result"]["share"]["values"], direct.share)
    assert f"{float(direct.share.sel(layer='b.weight', part='low')):.3f} (" in out
    with xarray.open_dataset(out_folder / "census.nc") as stored:
        np.testing.assert_allclose(stored.ball, direct.ball)
        assert stored.pointwise == "point.weight"


def test_census_against_itself_shows_no_change(capsys, weights_file, tmp_path):
    code, out, _ = run(
        capsys,
        "census",
        weights_file,
        "--against",
        weights_file,
        "--layer",
        "b.*",
        "--json",
        "--out",
        tmp_path,
    )
    assert code == 0
    change = json.loads(out)["change"]
    np.testing.assert_allclose(change["change"]["values"], 0)
    np.testing.assert_allclose(change["cosine"]["values"], 1)


def test_census_reports_change_and_skipped_filters(capsys, tmp_path):
    noise, smooth = normal(6, 2, 3, 3), 1 + 0.1 * normal(6, 2, 3, 3, seed=1)
    save_file({"a.weight": noise}, tmp_path / "before.safetensors")
    smooth[0, 0, 0, 0] = np.nan
    save_file({"a.weight": smooth}, tmp_path / "after.safetensors")
    arguments = [tmp_path / "after.safetensors", "--against", tmp_path / "before.safetensors"]
    _, out, _ = run(capsys, "census", *arguments, "--out", tmp_path)
    assert "dominated by DC and gradients [arXiv 2512.24338]: undecided" in out
    message = "a.weight: 1 filters are NaN or infinite"
    assert f"{message}: no shares; use --skip-nan to skip them" in out
    _, out, _ = run(capsys, "census", *arguments, "--skip-nan", "--out", tmp_path)
    assert "dominated by DC and gradients [arXiv 2512.24338]: holds (yes in 1 layers" in out
    assert f"{message}, skipped" in out
    assert "DC + gradients +0." in out


def test_seed_changes_the_random_filters(capsys, weights_file, tmp_path):
    changes = []
    for seed in (0, 0, 1):
        arguments = ("--against", "random", "--seed", seed, "--json", "--out", tmp_path)
        changes.append(json.loads(run(capsys, "census", weights_file, *arguments)[1])["change"])
    assert changes[0] == changes[1]
    assert changes[0] != changes[2]


def test_census_figure_values():
    dataset = networks.census(layers((4, 3, 3, 3), (5, 4, 5, 5)))
    figure = plot.census(dataset)
    low = next(panel for panel in figure.axes if "DC and gradients" in panel.get_title())
    lines = {line.get_label(): line.get_ydata() for line in low.lines}
    np.testing.assert_allclose(lines["Gaussian taps"], [3 / 9, 3 / 25])
    np.testing.assert_allclose(lines["taps shuffled"], dataset.shuffled.sel(part="low"))
    maps = [panel for panel in figure.axes if panel.images]
    assert [panel.images[0].get_array().shape for panel in maps] == [(3, 3), (5, 5)]
    np.testing.assert_allclose(
        10 ** maps[0].images[0].get_array(), dataset.spectrum[0, :3, :3], rtol=1e-6
    )


def test_census_figure_shows_other_network_and_color_key():
    stack = layers((4, 3, 3, 3), (5, 4, 5, 5), (2, 5, 3, 3))
    others = [layer._replace(kernels=layer.kernels + 1) for layer in (stack[2], stack[0])]
    change = networks.compare(others, stack)
    figure = plot.census(networks.census(stack), change, other="before")
    low = next(panel for panel in figure.axes if "DC and gradients" in panel.get_title())
    (line,) = [line for line in low.lines if line.get_label() == "before"]
    shares = networks.census(others).share.sel(part="low").values
    np.testing.assert_allclose(line.get_ydata(), [shares[1], np.nan, shares[0]])
    assert "before" in [text.get_text() for text in low.get_legend().texts]
    (key,) = [panel for panel in figure.axes if panel.get_ylabel() == "layer"]
    rose = next(panel for panel in figure.axes if panel.name == "polar")
    shades = [line.get_color() for line in rose.lines[:3]]
    np.testing.assert_array_equal(key.collections[0].get_facecolors(), shades)
    np.testing.assert_array_equal(key.get_xticks(), [1, 3])


def test_census_figure_in_one_and_three_dimensions():
    stack = [
        Layer("line", normal(4, 2, 5), "OIW", ""),
        Layer("space", normal(4, 2, 3, 2, 2), "", ""),
    ]
    figure = plot.census(networks.census(stack))
    maps = [panel.images[0].get_array() for panel in figure.axes if panel.images]
    assert [a.shape for a in maps] == [(1, 5), (3, 2)]
    for shares in maps:
        np.testing.assert_allclose(np.sum(10**shares), 1, rtol=1e-6)


def test_census_errors_name_the_options(capsys, weights_file, tmp_path):
    other, flat, unknown = (tmp_path / f"{name}.safetensors" for name in ("o", "f", "u"))
    save_file({"c.weight": normal(2, 2, 3, 3)}, other, {"format": "pt"})
    save_file({"c.weight": normal(2, 2, 1, 1)}, flat, {"format": "pt"})
    save_file({"c": normal(2, 2, 3, 3)}, unknown)
    for arguments, message in [
        ((tmp_path / "no.safetensors",), "FILE: got "),
        ((weights_file, "--layer", "zzz*"), "--layer: got 'zzz*'"),
        ((weights_file, "--layer", "point*"), "FILE: got only layers with one tap: point.weight"),
        ((weights_file, "--against", tmp_path / "no.npz"), "--against: got "),
        ((weights_file, "--against", flat), "--against: got no layer with more than one tap"),
        ((weights_file, "--layer", "a.*", "--against", other), "--layer: got 'a.*'"),
        (
            (weights_file, "--against", other),
            "FILE: got a.weight, b.weight, expected layers named as c",
        ),
        ((weights_file, "--layout", "HW"), "--layout: got 'HW'"),
        ((unknown,), "expected --layout one of OIW, OIHW"),
    ]:
        code, _, err = run(capsys, "census", *arguments, "--out", tmp_path / "o")
        assert code == 2
        assert message in err
        assert err.startswith("infomech: ")
        assert err.count("\n") == 1


# --- infomech drift -----------------------------------------------------------------------------


def test_drift_reports_too_few_channels(capsys, tmp_path):
    save_file({"few.weight": normal(2, 1, 3, 3)}, tmp_path / "few.safetensors")
    code, out, _ = run(
        capsys, "drift", tmp_path / "few.safetensors", "--count", 2, "--out", tmp_path / "o"
    )
    assert code == 0
    for row in out.splitlines()[5:7]:
        assert re.search(r" too few channels to tell +– +2 of 2$", row)
    assert "nan" not in out
    record = json.loads((tmp_path / "o" / "drift.json").read_text())
    assert record["reasons"] == ["too few channels to tell"] * 2
    legends = [panel.get_legend().get_texts() for panel in two_channel_figure(tmp_path).axes]
    assert {text.get_text() for (text,) in legends} == {"layer 1, too few channels to tell"}


def two_channel_figure(folder):
    """The figure for two channels, which are also reported as too few."""
    layers = list(weights.layers(folder / "few.safetensors"))
    params, spec = chain.chain(layers)
    params = jax.tree.map(lambda x: x.astype("float64"), params)
    images = normal(2, 1, 9, 9).astype("float64")
    results = chain.displacements(params, images, spec=spec, key=jax.random.key(0), resamples=5)
    number = receptive_drift._number("net", results[0])
    assert (number.value, number.met) == (None, None)
    assert number.wanted == "interval above 0.9; too few channels to tell"
    (first, second) = receptive_drift._report(
        [receptive_drift.Case("net", True, results)], "signed"
    )
    assert "undecided, too few channels; interval of R² above 0.9 in 0 of 0" in first
    assert second.split("layer 1  ")[1] == "too few channels to tell  2 of 2 channels"
    return plot.drift({"few": results})


@pytest.mark.slow
def test_drift_prints_and_writes(capsys, weights_file, tmp_path):
    code, out, _ = run(
        capsys, "drift", weights_file, "--layer", "[ab].*", "--strides", 2, 1, "--count", 3,
        "--images", "camera", "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    assert "receptive field of the last layer: 7×7 pixels" in out
    assert [line.split()[:2] for line in out.splitlines()[6:10]] == [
        ["1", "signed"],
        ["1", "energy"],
        ["2", "signed"],
        ["2", "energy"],
    ]
    record = json.loads((tmp_path / "o" / "drift.json").read_text())
    assert [result["layer"] for result in record["layers"]] == [1, 1, 2, 2]
    first = record["layers"][0]
    np.testing.assert_allclose(
        first["predicted"]["displacement"], first["measured"]["displacement"], atol=1e-9
    )
    assert (tmp_path / "o" / "drift.png").exists()
    assert record["names"] == ["a.weight", "b.weight"]
    assert record["reasons"] == [
        "" if result["agreement"]["used"] >= 3 else "too few channels to tell"
        for result in record["layers"]
    ]
    assert out.startswith("    1  a.weight, 4×1×3×3, stride 2\n")


def test_drift_errors_name_the_options(capsys, weights_file, tmp_path):
    for arguments, message in [
        (("--layer", "[ab].*", "--strides", 1), "--strides: got 1 values"),
        (("--layer", "[ab].*", "--strides", 1, 0), "--strides[1]: got 0"),
        (("--layer", "[ap]*"), "--layer: got point.weight of shape"),
        (("--layer", "zzz"), "--layer: got 'zzz'"),
        (("--layer", "point*", "--images", "nowhere"), "nowhere"),
        (("--layer", "a.*", "--count", 0), "--count: got 0"),
        (("--layer", "a.*", "--rectifier", "max"), "--rectifier: got 'max'"),
    ]:
        code, _, err = run(capsys, "drift", weights_file, *arguments, "--out", tmp_path / "o")
        assert code == 2
        assert message in err


def show_two_layers():
    with drift._show_progress(["first", "second"]) as update:
        for done in range(3):
            update(im.Progress(done, 2))


def test_drift_shows_progress_on_terminals_only(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    show_two_layers()
    assert "first: compiling, measuring:   0%" in terminal.getvalue()
    assert "second: compiling, measuring:  50%" in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    show_two_layers()
    assert sys.stderr.getvalue() == ""


# --- experiments ------------------------------------------------------------------------------

SMALL = small_cnn.Training(channels=(3, 4), epochs=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network with two layers after one epoch, and the folder of its weights."""
    folder = tmp_path_factory.mktemp("data")
    return small_cnn.trained(SMALL, folder), folder


@pytest.mark.slow
def test_training_is_cached(small, monkeypatch):
    trained, folder = small
    assert list(trained.files) == [0, 1]
    monkeypatch.setattr(small_cnn, "train", None)
    assert small_cnn.trained(SMALL, folder) == trained
    params = small_cnn.load(trained.files[1])
    score = small_cnn.accuracy(params, small_cnn.digits(), SMALL.spec)
    assert score == trained.accuracy[1]


@pytest.mark.slow
def test_weights_are_saved_in_pytorch_layout(small, tmp_path):
    trained, _ = small
    params = small_cnn.load(trained.files[1])
    (first, _) = weights.layers(trained.files[1])
    assert first.layout == "OIHW"
    np.testing.assert_array_equal(first.kernels, params.layers[0].kernels)
    small_cnn.save(params, tmp_path / "again.safetensors", {})
    jax.tree.map(
        np.testing.assert_array_equal, small_cnn.load(tmp_path / "again.safetensors"), params
    )


def test_patches_are_split_and_normalized():
    patches = small_cnn.patches(side=8, train=3, test=2)
    assert patches.train.shape == (30, 1, 8, 8)
    assert patches.test.shape == (20, 1, 8, 8)
    np.testing.assert_allclose(patches.train.mean((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_array_equal(patches.shown, np.repeat(np.arange(10), 3))


def test_verdicts_follow_intervals():
    smooth = [Layer("a", np.ones((9, 2, 3, 3), np.float32) + 0.1 * normal(9, 2, 3, 3), "", "")]
    noise = [Layer("a", normal(9, 2, 3, 3), "", "")]
    both = [
        trained_filters.Counted(name, networks.census(stack), networks.compare(noise, stack))
        for name, stack in (("x-seed0", smooth), ("y-seed0", noise))
    ]
    assert trained_filters.dominance(both[:1])[0].startswith("  holds: ")
    assert trained_filters.dominance(both)[0].startswith("  holds in some layers: ")
    assert trained_filters.dominance(both[1:])[0].startswith("  fails: ")
    assert "falls in 1 layers, rises in 0, undecided in 1" in trained_filters.odd(both)[0]
