"""Quick runs: faster compilation, and a mark on their text and figures."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax
from PIL import Image, ImageDraw, ImageFont

from infomech._core import files

MARK = "quick run: small and coarse, a test of the code; its verdicts do not count"
#: cut XLA's compile time to two thirds; XLA aborts on flags that it does not know
FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if jax.__version_info__ < (0, 11)
    else ""
)


@contextlib.contextmanager
def compilation() -> Iterator[None]:
    """Disable most XLA optimizations, since compilation takes longer than the computation.

    XLA reads `FLAGS` once, at the first computation of a process.
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
    """Set an environment variable for this process and its children, and restore it."""
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
    """Write `MARK` into a strip above a figure.

    Args:
        figure: PNG file; ignored if missing.
    """
    if not figure.exists():
        return
    with Image.open(figure) as picture:
        original, dpi = picture.convert("RGB"), picture.info.get("dpi", (200, 200))
    size = round(dpi[0] / 7)
    marked = Image.new("RGB", (original.width, original.height + 2 * size), "white")
    marked.paste(original, (0, 2 * size))
    # smaller letters on narrow figures
    font = ImageFont.load_default(min(size, 2 * original.width / len(MARK)))
    place = (original.width / 2, size)
    ImageDraw.Draw(marked).text(place, MARK, "#D55E00", font, anchor="mm")
    with files.replacing(figure) as part:
        marked.save(part, dpi=dpi)
