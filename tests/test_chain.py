"""Layers of a file as one network; the commands census and drift; the experiments on networks."""

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

from experiments import receptive_drift, small_cnn, trained_filters
from infomech import networks, plot, weights
from infomech.cli import drift, main
from infomech.networks import chain, sequential
from infomech.weights import Layer


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layers(*shapes):
    return [Layer(f"l{n}", drawn(*shape, seed=n), "OIHW", "") for n, shape in enumerate(shapes)]


@pytest.fixture
def weights_file(tmp_path):
    """A file of two layers that follow each other, a pointwise one and a dense one."""
    path = tmp_path / "net.safetensors"
    tensors = {"a.weight": drawn(4, 1, 3, 3), "b.weight": drawn(3, 4, 3, 3, seed=1)}
    tensors |= {"a.bias": drawn(4), "point.weight": drawn(2, 3, 1, 1), "head.weight": drawn(5, 2)}
    save_file(tensors, path, {"format": "pt"})
    return path


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- chain ----------------------------------------------------------------------------------


def test_depthwise_layers_have_as_many_groups_as_channels():
    _, spec = chain.chain(layers((6, 2, 3, 3), (12, 1, 3, 3), (4, 12, 3, 3)))
    assert [layer.groups for layer in spec.layers] == [1, 6, 1]
    _, spec = chain.chain(layers((6, 1, 3, 3)), groups=[3])
    assert spec.channels == 3


def test_a_chain_is_the_network_that_its_options_say():
    some = layers((6, 2, 3, 3), (6, 3, 3, 3), (8, 6, 5, 5))
    some[1] = some[1]._replace(bias=np.arange(6.0))
    with pytest.raises(ValueError, match="groups if it is a grouped convolution"):
        chain.chain(some)
    params, spec = chain.chain(
        some, strides=[1, 2, 1], dilations=[1, 1, 3], groups=[1, 2, 1], rectifier="modulus"
    )
    assert spec.channels == 2
    assert [layer.groups for layer in spec.layers] == [1, 2, 1]
    assert [layer.stride for layer in spec.layers] == [1, 2, 1]
    assert {layer.rectifier for layer in spec.layers} == {"modulus"}
    np.testing.assert_array_equal(params.layers[1].bias, np.arange(6))
    np.testing.assert_array_equal(params.layers[2].kernels, some[2].kernels)
    out = sequential.apply(params, drawn(2, 9, 8), spec=spec)
    assert out.layers[-1].after.shape == (8, 5, 4)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ((), {}, "layers: got none"),
        (((4, 1, 3, 3), (2, 3, 3, 3)), {}, "layers: got l1 of shape .* behind l0"),
        (((4, 1, 3, 3), (2, 4, 3)), {}, "layers: got l1"),
        (((4, 1, 3, 3), (3, 2, 3, 3)), {}, "layers: got l1"),
        (((4, 1, 3, 3),), {"strides": [1, 2]}, "strides: got 2 of them"),
        (((4, 1, 3, 3),), {"dilations": [0]}, r"dilations\[0\]: got 0"),
    ],
)
def test_layers_that_do_not_follow_each_other_are_named(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        chain.chain(layers(*shapes), **options)


@pytest.mark.parametrize(
    ("taps", "strides", "dilations"),
    [((3, 3), (1, 1), (1, 1)), ((3, 5), (2, 1), (1, 2)), ((2, 4), (3, 2), (2, 1))],
)
def test_reach_is_where_gradients_are(taps, strides, dilations):
    some = [Layer("x", np.ones((1, 1, n, n), np.float32), "OIHW", "") for n in taps]
    params, spec = chain.chain(some, strides=strides, dilations=dilations, rectifier="identity")
    image = np.ones((1, 40, 40), np.float32)

    middle = 20 // int(np.prod(strides))

    def unit(image):
        return sequential.apply(params, image, spec=spec).layers[-1].before[0, middle, middle]

    (gradient,) = np.asarray(jax.grad(unit)(image))
    seen = [np.ptp(places) + 1 for places in np.nonzero(gradient)]
    assert tuple(seen) == chain.reach(spec)


def measured(some, images):
    """What layers do to these images; one program serves all tests."""
    params, spec = chain.chain(some, dilations=(1, 2), strides=(2, 1))
    turns = []
    found = chain.displacements(
        params,
        images,
        spec=spec,
        key=jax.random.key(0),
        samples=20,
        progress=lambda lattices: (turns.append(n) or one for n, one in enumerate(lattices)),
    )
    assert turns == list(range(len(some)))
    return params, spec, found


def test_predicted_and_measured_agree_where_nothing_is_rectified():
    some = [
        one._replace(kernels=0.2 + abs(one.kernels)) for one in layers((3, 1, 3, 3), (4, 3, 3, 3))
    ]
    _, _, found = measured(some, np.abs(drawn(4, 1, 18, 18, seed=9)))
    assert [(one.layer, one.weighting) for one in found] == [
        (1, "signed"),
        (1, "energy"),
        (2, "signed"),
        (2, "energy"),
    ]
    for one in found[:3]:
        np.testing.assert_allclose(one.predicted.displacement, one.measured.displacement, atol=1e-4)
        np.testing.assert_allclose(one.agreement.scores.r_squared, 1, atol=1e-4)
    # in the second layer three paths add up before they are squared
    assert found[3].agreement.scores.r_squared < 0.999
    figure = plot.drift({"mine": found})
    shown = figure.axes[0].lines[0]
    np.testing.assert_allclose(shown.get_ydata(), np.ravel(found[0].measured.displacement))
    np.testing.assert_allclose(shown.get_xdata(), np.ravel(found[0].predicted.displacement))


@pytest.fixture(scope="module")
def rectified():
    """Two layers with dilation whose rectifiers work, and what is known of them."""
    images = drawn(4, 1, 18, 18, seed=9)
    params, spec, found = measured(layers((3, 1, 3, 3), (4, 3, 3, 3)), images)
    return params, spec, images, {(one.layer, one.weighting): one for one in found}


@pytest.mark.parametrize("weighting", ["signed", "energy"])
def test_gates_and_dilations_enter_the_prediction(rectified, weighting):
    params, spec, images, found = rectified
    kernels = [layer.kernels for layer in params.layers]
    gates = sequential.gates(params, images, spec=spec, weighting=weighting)
    predicted, plain = (
        networks.drift.predict(kernels, some, strides=[2, 1], dilations=[1, 2], weighting=weighting)
        for some in (gates, None)
    )
    one = found[2, weighting]
    np.testing.assert_allclose(one.predicted.displacement, predicted.displacement, rtol=1e-4)
    assert np.max(np.abs(predicted.displacement - plain.displacement)) > 0.01


def test_units_in_the_middle_are_measured(rectified):
    params, spec, images, found = rectified
    lattice = sequential.lattices(spec)[1]
    index = np.rint((8.5 - lattice.origin) / lattice.spacing).astype(int)

    def unit(image, channel):
        return sequential.apply(params, image, spec=spec).layers[1].before[(channel, *index)]

    gradients = jax.vmap(jax.grad(unit), (0, None))(images, 2)
    weights = np.mean(np.square(gradients), (0, 1))
    center = [np.sum(weights * np.arange(18)[:, None]), np.sum(weights * np.arange(18))]
    expected = lattice.at(index) - np.array(center) / weights.sum()
    np.testing.assert_allclose(found[2, "energy"].measured.displacement[2], expected, atol=1e-4)


def test_nan_weights_have_no_drift():
    (layer,) = layers((2, 1, 3, 3))
    layer.kernels[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="l0: got 1 of 18 values not finite"):
        chain.chain([layer])


# --- infomech census ----------------------------------------------------------------------------


def test_census_lists_what_a_file_holds(capsys, weights_file):
    code, out, _ = run(capsys, "census", weights_file, "--describe")
    assert code == 0
    assert "5 arrays, 3 of them convolutions" in out
    assert any(line.startswith("head.weight") and "–" in line for line in out.splitlines())
    _, out, _ = run(capsys, "census", weights_file, "--describe", "--json")
    assert {e["name"]: e["layout"] for e in json.loads(out)}["b.weight"] == "OIHW"


def test_a_reader_who_leaves_early_is_no_error(weights_file):
    script = "import sys; from infomech.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "census", str(weights_file), "--describe"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_census_counts_draws_and_writes(capsys, weights_file, tmp_path):
    xarray = pytest.importorskip("xarray")
    out_folder = tmp_path / "o"
    code, out, _ = run(capsys, "census", weights_file, "--against", "random", "--out", out_folder)
    assert code == 0
    assert "left out, of one tap each: point.weight" in out
    assert "Small filters are dominated by DC and gradients [arXiv 2512.24338]: not known" in out
    assert "change from random to this file" in out
    assert sorted(os.listdir(out_folder)) == ["census.json", "census.nc", "census.png"]
    record = json.loads((out_folder / "census.json").read_text())
    direct = networks.census(weights.layers(weights_file))
    assert record["result"]["share"]["axes"] == ["layer", "part"]
    np.testing.assert_allclose(record["result"]["share"]["values"], direct.share)
    assert f"{float(direct.share.sel(layer='b.weight', part='low')):.3f} (" in out
    with xarray.open_dataset(out_folder / "census.nc") as kept:
        np.testing.assert_allclose(kept.ball, direct.ball)
        assert kept.pointwise == "point.weight"


def test_census_against_itself_has_not_changed(capsys, weights_file, tmp_path):
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


def test_census_tells_which_way_filters_changed_and_what_was_left_out(capsys, tmp_path):
    noise, smooth = drawn(6, 2, 3, 3), 1 + 0.1 * drawn(6, 2, 3, 3, seed=1)
    save_file({"a.weight": noise}, tmp_path / "before.safetensors")
    smooth[0, 0, 0, 0] = np.nan
    save_file({"a.weight": smooth}, tmp_path / "after.safetensors")
    arguments = [tmp_path / "after.safetensors", "--against", tmp_path / "before.safetensors"]
    _, out, _ = run(capsys, "census", *arguments, "--out", tmp_path)
    assert "dominated by DC and gradients [arXiv 2512.24338]: not known" in out
    assert "a.weight: 1 filters are NaN or infinite: no shares; --skip-nan leaves them out" in out
    _, out, _ = run(capsys, "census", *arguments, "--skip-nan", "--out", tmp_path)
    assert "dominated by DC and gradients [arXiv 2512.24338]: holds (1 layers are" in out
    assert "a.weight: 1 filters are NaN or infinite, left out" in out
    assert "DC + gradients +0." in out


def test_a_seed_draws_other_random_filters(capsys, weights_file, tmp_path):
    said = []
    for seed in (0, 0, 1):
        arguments = ("--against", "random", "--seed", seed, "--json", "--out", tmp_path)
        said.append(json.loads(run(capsys, "census", weights_file, *arguments)[1])["change"])
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_census_figure_shows_what_was_counted():
    found = networks.census(layers((4, 3, 3, 3), (5, 4, 5, 5)))
    figure = plot.census(found)
    low = next(panel for panel in figure.axes if "DC and gradients" in panel.get_title())
    drawn_ = {line.get_label(): line.get_ydata() for line in low.lines}
    np.testing.assert_allclose(drawn_["Gaussian taps"], [3 / 9, 3 / 25])
    np.testing.assert_allclose(drawn_["taps shuffled"], found.shuffled.sel(part="low"))
    maps = [panel for panel in figure.axes if panel.images]
    assert [panel.images[0].get_array().shape for panel in maps] == [(3, 3), (5, 5)]
    np.testing.assert_allclose(
        10 ** maps[0].images[0].get_array(), found.spectrum[0, :3, :3], rtol=1e-6
    )


def test_census_figure_shows_the_other_network_and_a_key():
    some = layers((4, 3, 3, 3), (5, 4, 5, 5), (2, 5, 3, 3))
    others = [drawn_._replace(kernels=drawn_.kernels + 1) for drawn_ in (some[2], some[0])]
    change = networks.compare(others, some)
    figure = plot.census(networks.census(some), change, other="before")
    low = next(panel for panel in figure.axes if "DC and gradients" in panel.get_title())
    (line,) = [line for line in low.lines if line.get_label() == "before"]
    theirs = networks.census(others).share.sel(part="low").values
    np.testing.assert_allclose(line.get_ydata(), [theirs[1], np.nan, theirs[0]])
    assert "before" in [text.get_text() for text in low.get_legend().texts]
    (key,) = [panel for panel in figure.axes if panel.get_ylabel() == "layer"]
    rose = next(panel for panel in figure.axes if panel.name == "polar")
    shades = [line.get_color() for line in rose.lines[:3]]
    np.testing.assert_array_equal(key.collections[0].get_facecolors(), shades)
    np.testing.assert_array_equal(key.get_xticks(), [1, 3])


def test_census_figure_takes_lines_and_spaces():
    some = [Layer("line", drawn(4, 2, 5), "OIW", ""), Layer("space", drawn(4, 2, 3, 2, 2), "", "")]
    figure = plot.census(networks.census(some))
    maps = [panel.images[0].get_array() for panel in figure.axes if panel.images]
    assert [a.shape for a in maps] == [(1, 5), (3, 2)]
    for shares in maps:
        np.testing.assert_allclose(np.sum(10**shares), 1, rtol=1e-6)


def test_census_names_what_is_wrong_as_it_was_typed(capsys, weights_file, tmp_path):
    other, flat, unknown = (tmp_path / f"{name}.safetensors" for name in ("o", "f", "u"))
    save_file({"c.weight": drawn(2, 2, 3, 3)}, other, {"format": "pt"})
    save_file({"c.weight": drawn(2, 2, 1, 1)}, flat, {"format": "pt"})
    save_file({"c": drawn(2, 2, 3, 3)}, unknown)
    for arguments, message in [
        ((tmp_path / "no.safetensors",), "FILE: got "),
        ((weights_file, "--layer", "zzz*"), "--layer: got 'zzz*'"),
        ((weights_file, "--layer", "point*"), "FILE: got only layers of one tap: point.weight"),
        ((weights_file, "--against", tmp_path / "no.npz"), "--against: got "),
        ((weights_file, "--against", flat), "--against: got none of more than one tap"),
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


def test_drift_says_that_two_channels_are_too_few_to_tell(capsys, tmp_path):
    save_file({"few.weight": drawn(2, 1, 3, 3)}, tmp_path / "few.safetensors")
    code, out, _ = run(
        capsys, "drift", tmp_path / "few.safetensors", "--count", 2, "--out", tmp_path / "o"
    )
    assert code == 0
    for row in out.splitlines()[5:7]:
        assert re.search(r" too few channels to tell +– +2 of 2$", row)
    assert "nan" not in out
    record = json.loads((tmp_path / "o" / "drift.json").read_text())
    assert record["reasons"] == ["too few channels to tell"] * 2
    legends = [panel.get_legend().get_texts() for panel in made(tmp_path).axes]
    assert {text.get_text() for (text,) in legends} == {"layer 1, too few channels to tell"}


def made(folder):
    """The figure of two channels."""
    layers = list(weights.layers(folder / "few.safetensors"))
    params, spec = chain.chain(layers)
    params = jax.tree.map(lambda x: x.astype("float64"), params)
    pixels = drawn(2, 1, 9, 9).astype("float64")
    found = chain.displacements(params, pixels, spec=spec, key=jax.random.key(0), samples=5)
    number = receptive_drift._number("net", found[0])
    assert (number.value, number.met) == (None, None)
    assert number.wanted == "interval above 0.9; too few channels to tell"
    (first, second) = receptive_drift._report([receptive_drift.Case("net", True, found)], "signed")
    assert "undecided, too few channels; interval of R² above 0.9 in 0 of 0" in first
    assert second.split("layer 1  ")[1] == "too few channels to tell  2 of 2 channels"
    return plot.drift({"few": found})


@pytest.mark.slow
def test_drift_predicts_measures_and_writes(capsys, weights_file, tmp_path):
    code, out, _ = run(
        capsys, "drift", weights_file, "--layer", "[ab].*", "--strides", 2, 1, "--count", 3,
        "--images", "camera", "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    assert "a unit of the last layer sees 7×7 pixels" in out
    assert [line.split()[:2] for line in out.splitlines()[6:10]] == [
        ["1", "signed"],
        ["1", "energy"],
        ["2", "signed"],
        ["2", "energy"],
    ]
    record = json.loads((tmp_path / "o" / "drift.json").read_text())
    assert [one["layer"] for one in record["layers"]] == [1, 1, 2, 2]
    one = record["layers"][0]
    np.testing.assert_allclose(
        one["predicted"]["displacement"], one["measured"]["displacement"], atol=1e-9
    )
    assert (tmp_path / "o" / "drift.png").exists()
    assert record["names"] == ["a.weight", "b.weight"]
    assert record["reasons"] == [
        "" if one["agreement"]["used"] >= 3 else "too few channels to tell"
        for one in record["layers"]
    ]
    assert out.startswith("    1  a.weight, 4×1×3×3, stride 2\n")


def test_drift_names_what_is_wrong(capsys, weights_file, tmp_path):
    for arguments, message in [
        (("--layer", "[ab].*", "--strides", 1), "--strides: got 1 of them"),
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


def test_drift_says_on_a_terminal_which_layer_has_its_turn(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(drift._watched([1, 2], ["first", "second"])) == [1, 2]
    assert "first: compiling, measuring:   0%" in terminal.getvalue()
    assert "second: compiling, measuring:  50%" in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(drift._watched([1, 2], ["first", "second"])) == [1, 2]
    assert sys.stderr.getvalue() == ""


# --- experiments ------------------------------------------------------------------------------

SMALL = small_cnn.Training(channels=(3, 4), epochs=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network of two layers after one epoch, and where its weights are."""
    folder = tmp_path_factory.mktemp("data")
    return small_cnn.trained(SMALL, folder), folder


@pytest.mark.slow
def test_training_is_kept_and_not_done_again(small, monkeypatch):
    one, folder = small
    assert list(one.files) == [0, 1]
    monkeypatch.setattr(small_cnn, "train", None)
    again = small_cnn.trained(SMALL, folder)
    assert again == one
    params = small_cnn.load(one.files[1])
    score = small_cnn.accuracy(params, small_cnn.digits(), SMALL.spec)
    assert score == one.accuracy[1]


@pytest.mark.slow
def test_weights_are_kept_as_pytorch_has_them(small, tmp_path):
    one, _ = small
    params = small_cnn.load(one.files[1])
    (kept, _) = weights.layers(one.files[1])
    assert kept.layout == "OIHW"
    np.testing.assert_array_equal(kept.kernels, params.layers[0].kernels)
    small_cnn.save(params, tmp_path / "again.safetensors", {})
    jax.tree.map(
        np.testing.assert_array_equal, small_cnn.load(tmp_path / "again.safetensors"), params
    )


def test_patches_held_out_come_from_elsewhere():
    found = small_cnn.patches(side=8, train=3, test=2)
    assert found.train.shape == (30, 1, 8, 8)
    assert found.test.shape == (20, 1, 8, 8)
    np.testing.assert_allclose(found.train.mean((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_array_equal(found.shown, np.repeat(np.arange(10), 3))


def test_verdicts_follow_the_intervals():
    smooth = [Layer("a", np.ones((9, 2, 3, 3), np.float32) + 0.1 * drawn(9, 2, 3, 3), "", "")]
    noise = [Layer("a", drawn(9, 2, 3, 3), "", "")]
    both = [
        trained_filters.Counted(name, networks.census(some), networks.compare(noise, some))
        for name, some in (("x-seed0", smooth), ("y-seed0", noise))
    ]
    assert trained_filters.dominance(both[:1])[0].startswith("  holds: ")
    assert trained_filters.dominance(both)[0].startswith("  holds in some layers: ")
    assert trained_filters.dominance(both[1:])[0].startswith("  fails: ")
    assert "falls in 1 layers, rises in 0, undecided in 1" in trained_filters.odd(both)[0]
