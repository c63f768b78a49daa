"""Progress of a long call, as passed to its `on_progress`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far a long call is. `on_progress` gets one at the start and after each part of the work.

    Attributes:
        done: parts done so far, including those of earlier runs.
        total: all parts; None if unknown.
        task: what is running now, or "".
        note: message for the user, or "".
        seconds: seconds spent so far by kind of work, where measured.
    """

    done: int
    total: int | None = None
    task: str = ""
    note: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
