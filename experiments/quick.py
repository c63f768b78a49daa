"""Quick runs say that they are: in front of what they print, and above their figures."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
from PIL import Image, ImageDraw, ImageFont

from infomech import files

MARK = "quick run: small and coarse, it tries the experiment and settles nothing"


@contextlib.contextmanager
def compilation() -> Iterator[None]:
    """Compiles with few of XLA's optimisations, since it takes longer than what is computed."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def mark(figure: Path) -> None:
    """Writes `MARK` into a strip above a figure.

    Args:
        figure: PNG file; nothing is done if there is none.
    """
    if not figure.exists():
        return
    with Image.open(figure) as picture:
        drawn, dots = picture.convert("RGB"), picture.info.get("dpi", (200, 200))
    size = round(dots[0] / 7)
    marked = Image.new("RGB", (drawn.width, drawn.height + 2 * size), "white")
    marked.paste(drawn, (0, 2 * size))
    # narrow figures get smaller letters
    font = ImageFont.load_default(min(size, 2 * drawn.width / len(MARK)))
    place = (drawn.width / 2, size)
    ImageDraw.Draw(marked).text(place, MARK, "#D55E00", font, anchor="mm")
    with files.replacing(figure) as part:
        marked.save(part, dpi=dots)
