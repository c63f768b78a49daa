"""Packages that some functions need and a plain installation leaves out: the extras.

infomech is on no package index yet, so the extras are installed from a checkout.
"""

import contextlib
from collections.abc import Iterator

#: the name to install where it is not the name to import
_PACKAGES = {"PIL": "Pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}


class MissingExtraError(ImportError):
    """A package is missing; the message names it, its extra and the command that installs it."""


def command(extra: str) -> str:
    """The command that installs `extra`, and where it is run."""
    return f"pip install '.[{extra}]' in a checkout of infomech"


def missing(package: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for a `package` of `extra`, without which there is no `purpose`."""
    package = _PACKAGES.get(package, package)
    text = f"{purpose} needs {package}, which is not installed and comes with the extra"
    return MissingExtraError(f"{text} {extra!r}: run {command(extra)}", name=package)


@contextlib.contextmanager
def needed(extra: str, purpose: str) -> Iterator[None]:
    """Around the imports of an extra's packages.

    Args:
        extra: its name in pyproject.toml.
        purpose: what the packages are for, as the subject of a sentence.

    Raises:
        MissingExtraError: one of them isn't installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise missing(package, extra, purpose) from error
