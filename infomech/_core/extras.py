"""Optional dependencies, grouped into extras that are installed on request.

infomech is not on a package index yet: extras are installed from a checkout.
"""

import contextlib
from collections.abc import Iterator

#: import name -> distribution name, where they differ
_DISTRIBUTIONS = {"PIL": "Pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}


class MissingExtraError(ImportError):
    """A package is missing; the message names it, its extra and the command that installs it."""


def command(extra: str) -> str:
    """The command that installs `extra`, and where to run it."""
    return f"pip install '.[{extra}]' in a checkout of infomech"


def missing(package: str, extra: str, purpose: str) -> MissingExtraError:
    """The error for a missing `package` of `extra` that `purpose` needs."""
    package = _DISTRIBUTIONS.get(package, package)
    text = f"{purpose} needs {package}, which is not installed and comes with the extra"
    return MissingExtraError(f"{text} {extra!r}: run {command(extra)}", name=package)


@contextlib.contextmanager
def needed(extra: str, purpose: str) -> Iterator[None]:
    """Context manager around imports from an extra.

    Args:
        extra: its name in pyproject.toml.
        purpose: the feature that needs the packages, as the subject of a sentence.

    Raises:
        MissingExtraError: a package isn't installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise missing(package, extra, purpose) from error
