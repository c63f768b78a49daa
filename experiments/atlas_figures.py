"""Figures of the atlas: goodness of fit of the laws, and where the published law holds."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.atlas_readings import Reading
from infomech import plot, rates
from infomech.plot._style import COLORS

#: colors of the candidate laws
_LAWS = dict(zip(rates.SYMBOLS, COLORS, strict=False))
#: colors of the tolerances, from the strictest
_SHADES = ("#08306b", "#4292c6", "#c6dbef")
_TITLES = {"linear": "v = a + bε", "proportional": "v = bε"}
#: row of the common ranges, above those of the settings
_TOP = -1.6


def laws(readings: list[Reading]) -> Figure:
    """R² of the published law, and the best candidate law, for each setting."""
    rows = _rows(readings)
    rectifiers = dict.fromkeys(r.case.rectifier for r in readings)
    columns = [(name, angle) for name in rectifiers for angle in _angles(readings)]
    published = np.full((len(rows), len(columns)), np.nan)
    with plot.style(grid=False):
        figure = Figure(figsize=(13, 1.3 + 0.26 * len(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for r in readings:
            y, x = rows.index(_row(r)), columns.index((r.case.rectifier, r.case.direction))
            published[y, x] = r.r_squared("share")
            color = "white" if published[y, x] < 0.6 else "black"
            shown = rates.format_r_squared(published[y, x], 3)
            left.text(x, y, shown, color=color, ha="center", va="center", fontsize=8)
            if r.best:
                cell = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_LAWS[r.best], alpha=0.4)
                cell.set_edgecolor("white")
                right.add_patch(cell)
                label = f"{rates.SYMBOLS[r.best]}  {rates.format_r_squared(r.r_squared(r.best), 3)}"
                right.text(x, y, label, ha="center", va="center", fontsize=8)
        left.imshow(published, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        left.set_title("R² of the published law (speed against ε)")
        right.set_title("Best law that is finite at all odd shares, and its R²")
        right.set_xlim(left.get_xlim())
        for panel in (left, right):
            words = [f"{rectifier}\n{degrees:g}°" for rectifier, degrees in columns]
            panel.set_xticks(range(len(columns)), words, fontsize=8)
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
        left.set_yticks(range(len(rows)), [_label(row) for row in rows])
        right.tick_params(labelleft=False)
    return figure


def regions(readings: list[Reading], verdicts: list[dict[str, Any]]) -> Figure:
    """Widest ranges of odd shares over which the published law holds, for each setting."""
    measured = {(*_row(r), r.case.direction) for r in readings}
    rows = [
        (*row, angle)
        for row in _rows(readings)
        for angle in _angles(readings)
        if (*row, angle) in measured
    ]
    by_name = {v["settings"]: v for v in verdicts if v["settings"] != "all"}
    columns = [(kind, name) for kind in _TITLES for name in by_name]
    with plot.style(grid=False):
        figure = Figure(figsize=(11.5, 1.8 + 0.14 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(columns), sharey=True)
        for panel, (kind, rectifier) in zip(panels, columns, strict=True):
            for r in readings:
                if r.case.rectifier == rectifier:
                    row = rows.index((*_row(r), r.case.direction))
                    _draw_bars(panel, row, r.widest[kind])
                    panel.plot([r.case.inactive_share] * 2, [row - 0.5, row + 0.5], "k", lw=1.2)
            common = [at["common"] for at in by_name[rectifier][kind]["at"]]
            _draw_bars(panel, _TOP, common)
            if not any(common):
                panel.text(0.5, _TOP, "nowhere", ha="center", va="center", fontsize=7)
            panel.axhline(-0.8, color="black", linewidth=0.6)
            panel.set(xlim=(0, 1), xlabel="odd share ε", title=f"{_TITLES[kind]}, {rectifier}")
            panel.tick_params(axis="y", length=0)
            for row in range(1, len(rows)):
                if rows[row][:3] != rows[row - 1][:3]:
                    panel.axhline(row - 0.5, color="black", alpha=0.15, linewidth=0.6)
        labels = [f"{_label(row)}, {row[-1]:g}°" for row in rows]
        panels[0].set_yticks([_TOP, *range(len(rows))], ["all settings", *labels], fontsize=6.5)
        panels[0].set_ylim(len(rows) - 0.4, _TOP - 0.7)
        for at, shade in zip(verdicts[0]["linear"]["at"], _SHADES, strict=True):
            label = f"to {at['tolerance']:.0%} of the speed gained"
            panels[0].barh(0, 0, color=shade, label=label)
        panels[0].plot([], [], "k", lw=1.2, label="rectifier inactive left of this")
        figure.legend(loc="outside lower center", ncols=len(_SHADES) + 1)
    return figure


def _draw_bars(panel, row, widest):
    """Ranges of one setting; stricter tolerances are darker and thinner."""
    for i in reversed(range(len(widest))):
        if widest[i]:
            low, high = widest[i]
            height = 0.84 - 0.24 * (len(widest) - 1 - i)
            panel.barh(row, high - low, height, left=low, color=_SHADES[i], linewidth=0)


def _angles(readings):
    return sorted({r.case.direction for r in readings})


def _rows(readings):
    """Rows by dimension, pattern (in order of appearance) and kernel size."""
    patterns = list(dict.fromkeys(r.case.pattern for r in readings))
    rows = {_row(r) for r in readings}
    return sorted(rows, key=lambda row: (row[0], patterns.index(row[1]), row[2]))


def _row(reading):
    return reading.case.dimensions, reading.case.pattern, reading.case.kernel_size


def _label(row):
    dimensions, pattern, size = row[:3]
    taps = f"{size} taps" if dimensions == 1 else "×".join([str(size)] * dimensions)
    return f"{pattern}, {taps}"
