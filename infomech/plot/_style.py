"""The looks of all figures, and how they are written."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from infomech._core import files

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 200,
}
# told apart by any eye: Okabe and Ito's palette
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")


def style(*, grid: bool = True) -> AbstractContextManager[None]:
    """The looks of all figures, within a `with`."""
    return matplotlib.rc_context({**_STYLE, "axes.grid": grid})


def save(figure: Figure, path: str | Path) -> None:
    """Writes a figure whole or not at all, in the format of the path's suffix.

    Raises:
        ValueError: the folder can't be written.
    """
    with files.replacing(path) as part, style():
        # to be trimmed it is drawn once more; where nothing is laid out, all is in its place
        figure.savefig(part, bbox_inches="tight" if figure.get_layout_engine() else None)
