"""The option `--animation`, shared by the commands."""

from pathlib import Path
from typing import Any

from infomech import plot
from infomech._core import checks
from infomech._rollout import rollout

#: an animation of more layers shows only every n-th; it has fewer than twice as many frames
MAX_FRAMES = 100


def check_format(animation: str) -> None:
    """Raises ValueError unless the format is gif, webp, or "" for no animation."""
    if animation:
        checks.one_of("animation", animation, ("gif", "webp"))


def animate(path: Path, kernel: Any, field: Any, steps: int, **settings: Any) -> None:
    """Writes an animation of a rollout; settings as for `infomech.rollout`."""
    every = max(1, steps // MAX_FRAMES)
    _, frames = rollout(kernel, field, steps, observe=_values, every=every, **settings)
    plot.animation(frames, path)


def _values(field: Any) -> Any:
    return field.values
