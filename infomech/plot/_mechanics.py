"""Figures and animations of kernels, rollouts and the speed law."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from infomech import parity, rates, spectrum, theory
from infomech._core import checks, extras, files
from infomech._rollout import Trace
from infomech.fields import Field
from infomech.plot._style import COLORS, MARKERS, style
from infomech.survey import Outcome


def law(outcomes: Sequence[Outcome]) -> Figure:
    """Speed against odd share and against tan θ with theory, and spread against speed with 1/γ.

    Colors distinguish kernel sizes; lines and markers distinguish the other settings. Refused
    speeds are omitted.

    Args:
        outcomes: of `infomech.survey.run`.

    Returns:
        Figure of three panels.
    """
    with style():
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        by_share, by_tangent, by_speed = figure.subplots(1, 3)
        sizes = sorted({o.setting.kernel_size for o in outcomes})
        kinds = list(dict.fromkeys(_kind(o) for o in outcomes))
        for outcome in outcomes:
            color = COLORS[sizes.index(outcome.setting.kernel_size) % len(COLORS)]
            kind = kinds.index(_kind(outcome))
            look = {
                "color": color,
                "marker": MARKERS[kind % len(MARKERS)],
                "markersize": 4,
                "linewidth": 0.8,
                "markerfacecolor": color if kind % 2 == 0 else "white",
                "linestyle": "-" if kind % 2 == 0 else "--",
            }
            _draw_outcome(outcome, by_share, by_tangent, by_speed, look, _label(outcome, kinds))
        _finish_law(by_share, by_tangent, by_speed, [theory.step_spread(n) for n in sizes])
        figure.legend(
            *by_share.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=min(5, len(outcomes) + 1),
        )
    return figure


def _kind(outcome: Outcome) -> tuple[Any, ...]:
    s = outcome.setting
    return (s.rectifier, s.boundary, s.normalize, s.direction, s.pattern)


def _label(outcome: Outcome, kinds: list[tuple[Any, ...]]) -> str:
    """The kernel size, and those other settings that differ between outcomes."""
    s = outcome.setting
    taps = "×".join([str(s.kernel_size)] * len(s.shape))
    along = "along " + ",".join(f"{x:.2g}" for x in s.direction)
    names = (s.rectifier, s.boundary, s.normalize, along, Path(s.pattern).name)
    differing = [n for i, n in enumerate(names) if len({kind[i] for kind in kinds}) > 1]
    return ", ".join([f"{taps} taps", *(differing or [s.rectifier])])


def _draw_outcome(outcome, by_share, by_tangent, by_speed, look, label):
    limit = theory.step_spread(outcome.setting.kernel_size)
    tangent = np.asarray(rates.candidates(outcome.share)["tangent"])
    dense = np.linspace(0, outcome.inactive_share, 200)
    dense_tangent = np.sqrt(dense / np.maximum(1 - dense, 1e-12))
    theory_look = {"color": look["color"], "linewidth": 3, "alpha": 0.25, "zorder": 0}
    by_share.plot(outcome.share, outcome.speed, label=label, **look)
    by_tangent.plot(tangent, outcome.speed, **look)
    if np.isfinite(outcome.inactive_share):
        by_share.plot(dense, limit * dense_tangent, **theory_look)
        by_tangent.plot(dense_tangent, limit * dense_tangent, **theory_look)
    by_speed.plot(outcome.speed / limit, outcome.contraction, **{**look, "linestyle": "none"})


def _finish_law(by_share, by_tangent, by_speed, limits):
    top = 1.6 * max(limits)
    for panel in (by_share, by_tangent):
        panel.set_ylabel("speed v (pixels per layer)")
        low = min(0, panel.get_ylim()[0])
        panel.set_ylim(low, min(top, panel.get_ylim()[1]))
    by_share.set_xlabel("odd share of the energy, ε")
    by_share.set_title("Speed against odd share")
    by_share.plot([], [], color="gray", linewidth=3, alpha=0.35, label="theory, rectifier inactive")
    by_tangent.set_xlabel("tan θ = ‖k$_o$‖ / ‖k$_e$‖  (ε = 1 lies at infinity)")
    by_tangent.set_title("Speed against tan θ")
    by_tangent.set_xlim(-0.1, 3.2)
    v = np.linspace(0, 1, 200)
    by_speed.plot(
        v,
        theory.contraction(v, 1.0),
        color="black",
        linewidth=1.2,
        label=r"$1/\gamma=\sqrt{1-v^2/\sigma_1^2}$",
    )
    by_speed.set_xlabel("speed v / σ₁")
    by_speed.set_ylabel("spread along the motion, √D / σ₁")
    by_speed.set_title("Contraction against speed")
    by_speed.set_xlim(-0.05, 1.5)
    by_speed.set_ylim(-0.05, 1.6)
    by_speed.legend()


def kernel(taps: Any) -> Figure:
    """A kernel, its even and odd parts and its DCT-II energies.

    In three dimensions the slices along axis 0 are shown side by side.

    Args:
        taps: kernel of 1 to 3 axes.

    Returns:
        Figure of four panels.
    """
    taps = np.asarray(checks.kernel("taps", taps))
    even, odd = (np.asarray(part) for part in parity.split(taps))
    energy = np.asarray(spectrum.energies(taps))
    limit = np.max(np.abs(taps)) or 1
    with style(grid=False):
        figure = Figure(figsize=(11, 3), layout="constrained")
        panels = figure.subplots(*((2, 2) if taps.ndim == 3 else (1, 4))).ravel()
        for panel, title, values in zip(
            panels[:3], ("kernel", "even part", "odd part"), (taps, even, odd), strict=True
        ):
            _draw_taps(panel, values, -limit, limit, "RdBu_r")
            panel.set_title(f"{title}  (energy {np.sum(values**2):.4g})")
        _draw_taps(panels[3], energy, 0, np.max(energy) or 1, "viridis")
        panels[3].set_title("DCT-II energies (DC first)")
    return figure


def _draw_taps(panel, values, low, high, colors):
    if values.ndim == 1:
        panel.bar(
            np.arange(len(values)) - (len(values) - 1) / 2 * (low < 0), values, color="#0072B2"
        )
        panel.set_ylim(low * 1.1, high * 1.1)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set_xlabel("offset (pixels)" if low < 0 else "mode")
        return
    flat = values if values.ndim == 2 else _side_by_side(values)
    panel.imshow(flat, cmap=colors, vmin=low, vmax=high)
    panel.set_xticks([])
    panel.set_yticks([])
    if flat.shape[1] <= 9:
        for (i, j), value in np.ndenumerate(flat):
            if np.isfinite(value):
                value = value if abs(value) > 1e-6 * high else 0.0
                dark = abs(value) > 0.6 * high if low < 0 else value < 0.6 * high
                panel.text(
                    j,
                    i,
                    f"{value:.2g}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )


def _side_by_side(volume):
    gap = np.full((volume.shape[1], 1), np.nan)
    return np.concatenate([part for piece in volume for part in (piece, gap)][:-1], axis=1)


def simulation(first: Field, final: Field, trace: Trace) -> Figure:
    """The field before and after a rollout, the path of its center, and its spread.

    Args:
        first, final: fields of 1 to 3 axes; three-dimensional ones are summed along axis 0.
        trace: of the rollout between them.

    Returns:
        Figure of four panels.
    """
    layers, center, sigma = (np.asarray(x) for x in (trace.layer, trace.center, trace.spread))
    with style():
        figure = Figure(figsize=(12, 3.2), layout="constrained")
        before, after, path, spread = figure.subplots(1, 4)
        _draw_field(before, first, "before")
        _draw_field(after, final, f"after {layers[-1]} layers")
        if center.shape[1] > 1:
            for panel in (before, after):
                panel.plot(center[:, -1], center[:, -2], color="#D55E00", linewidth=1.2)
                panel.plot(center[-1:, -1], center[-1:, -2], "x", color="#D55E00")
        for axis in range(center.shape[1]):
            look = {"color": COLORS[axis], "label": f"axis {axis}"}
            path.plot(layers, center[:, axis] - center[0, axis], **look)
            spread.plot(layers, sigma[:, axis], **look)
        for panel, title, unit in (
            (path, "motion of the center", "pixels"),
            (spread, "spread σ", "pixels"),
        ):
            panel.set(title=title, xlabel="layer", ylabel=unit)
            panel.legend()
    return figure


def _draw_field(panel, field, title):
    values, origin = np.asarray(field.values, np.float64), np.asarray(field.origin)
    panel.set_title(title)
    if values.ndim == 1:
        panel.plot(origin[0] + np.arange(len(values)), values, color="#0072B2")
        panel.set_xlabel("position (pixels)")
        return
    values, origin = _flat(values), origin[-2:]
    rows, columns = values.shape
    colors, low, high = _scale(values)
    panel.grid(False)
    panel.imshow(
        values,
        cmap=colors,
        vmin=low,
        vmax=high,
        extent=(
            origin[1] - 0.5,
            origin[1] + columns - 0.5,
            origin[0] + rows - 0.5,
            origin[0] - 0.5,
        ),
    )


def _flat(values):
    return values.sum(0) if values.ndim == 3 else values


def _scale(values):
    """Color map and limits: gray from 0 for a non-negative field, else diverging."""
    high = float(np.nanmax(np.abs(values))) or 1.0
    return ("gray", 0, high) if np.nanmin(values) >= 0 else ("RdBu_r", -high, high)


def animation(frames: Any, path: str | Path, *, frame_time: float = 0.08) -> None:
    """Writes fields as a GIF or animated WebP; each frame is scaled to its own maximum.

    Args:
        frames: (n, *shape) of 1 to 3 axes each; three-dimensional ones are summed along axis 0.
        path: ends in .gif or .webp.
        frame_time: seconds per frame.

    Raises:
        ValueError: another suffix, or the folder can't be written.
    """
    with extras.needed("plot", "an animation"):
        from PIL import Image

    suffix = Path(path).suffix.lower()
    if suffix not in (".gif", ".webp"):
        raise checks.error("animation", str(path), "a path that ends in .gif or .webp")
    checks.unmasked("frames", frames)
    pictures = []
    for values in np.asarray(frames, np.float64):
        flat = np.tile(values, (24, 1)) if values.ndim == 1 else _flat(values)
        colors, low, high = _scale(flat)
        shades = matplotlib.colormaps[colors]((flat - low) / (high - low), bytes=True)
        zoom = max(1, 320 // max(flat.shape))
        pictures.append(Image.fromarray(shades[..., :3].repeat(zoom, 0).repeat(zoom, 1)))
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    with files.replacing(path) as part:
        pictures[0].save(
            part,
            save_all=True,
            append_images=pictures[1:],
            duration=int(frame_time * 1000),
            loop=0,
            **options,
        )
