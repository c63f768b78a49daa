"""Figures show the data that they receive."""

import numpy as np
import pytest
from PIL import Image

from infomech import kernels, plot, scattering, survey


@pytest.fixture(scope="module")
def outcomes():
    config = survey.LawConfig(
        kernel_size=(3,), shares=5, steps=6, burn_in=2, radius=2.0, resamples=10
    )
    return survey.run(config)


def test_law_figure_has_a_curve_for_each_setting(outcomes):
    by_share, by_tangent, by_speed = plot.law(outcomes).axes
    labels = [text for text in by_share.get_legend_handles_labels()[1]]
    assert labels == ["3×3 taps, relu", "3×3 taps, modulus", "theory, rectifier inactive"]
    curves = dict(zip(labels, by_share.get_legend_handles_labels()[0], strict=True))
    np.testing.assert_allclose(curves["3×3 taps, relu"].get_ydata(), outcomes[0].speed)
    assert "tan" in by_tangent.get_xlabel()
    assert "spread" in by_speed.get_ylabel()


@pytest.mark.parametrize("shape", [(5,), (3, 3), (2, 3, 3)])
def test_kernel_figure_shows_energies(shape):
    figure = plot.kernel(kernels.mix(shape, share=0.3))
    assert [panel.get_title() for panel in figure.axes[1:3]] == [
        "even part  (energy 0.7)",
        "odd part  (energy 0.3)",
    ]


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animation_contains_all_frames(tmp_path, suffix):
    frames = np.zeros((5, 12, 10))
    for layer in range(5):
        frames[layer, 4, 2 * layer] = 1 + layer
    path = tmp_path / f"moving.{suffix}"
    plot.animation(frames, path)
    with Image.open(path) as picture:
        assert picture.n_frames == 5
        picture.seek(4)
        shown = np.asarray(picture.convert("L"), np.float64)
    zoom = shown.shape[1] // 10
    row, column = np.unravel_index(np.argmax(shown), shown.shape)
    assert (row // zoom, column // zoom) == (4, 8)


def test_animation_refuses_other_formats(tmp_path):
    with pytest.raises(ValueError, match=r"animation: got .*film\.avi"):
        plot.animation(np.zeros((2, 4, 4)), tmp_path / "film.avi")


@pytest.mark.parametrize("with_paths", [True, False])
def test_scattering_figure_shows_energies_and_scales(with_paths):
    signal = np.cos(np.arange(64.0) ** 2 / 50)
    frame = scattering.meyer(64, 3)
    result = scattering.energies(signal, frame, 2)
    paths = scattering.paths(signal, frame, 2, prune=0.0) if with_paths else None
    bound = np.full(4, float(result.energy))
    _, decay, split = plot.scattering(signal, frame, result, {"custom": bound}, paths).axes
    curves = dict(zip(*reversed(decay.get_legend_handles_labels()), strict=True))
    measured = np.asarray(result.propagated / result.energy)
    np.testing.assert_allclose(curves["measured"].get_ydata(), measured)
    np.testing.assert_allclose(curves["guarantee, custom"].get_ydata(), 1)
    heights = np.array([bar.get_height() for bar in split.patches])
    if with_paths:
        np.testing.assert_allclose(heights.reshape(3, 2).sum(0), 1)
    else:
        np.testing.assert_allclose(heights, result.collected / result.energy)
