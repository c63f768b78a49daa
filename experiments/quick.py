"""Quick runs compile fast, and say what they are before their text and above their figures."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax
from PIL import Image, ImageDraw, ImageFont

from infomech._core import files

MARK = "quick run: small and coarse, it tries the experiment and settles nothing"
#: make XLA compile in two thirds of the time; it ends a process that names one it doesn't know
FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if jax.__version_info__ < (0, 11)
    else ""
)


@contextlib.contextmanager
def compilation() -> Iterator[None]:
    """Compiles with few of XLA's optimizations, since it takes longer than what is computed.

    XLA reads `FLAGS` with the first that a process computes, and keeps to them.
    """
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with environment("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()):
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Sets a variable for this process and those it starts, and puts it back."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


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
