"""What became of experiments, kept so that a report takes up where it was stopped.

An experiment's record lies beside its figure and its own numbers in `OUT/SCALE/NAME/`, and is
written last. It counts for as long as the code that it comes from is the same.
"""

import ast
import hashlib
import inspect
import json
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments import quick
from experiments.ledger import Finding, Number
from infomech._core import files

ROOT = Path(__file__).resolve().parent.parent
#: files of the library that are code
SOURCES = (".py", ".c", ".h")
#: packages whose results go into numbers: arithmetic, optimizers, the C compiler, data sets
PACKAGES = (
    "jax", "jaxlib", "numpy", "scipy", "optax", "optimistix", "equinox", "lineax", "ziglang",
    "scikit-learn", "scikit-image",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What one experiment found, or why it didn't.

    Attributes:
        name, statement, source, claims: of the experiment.
        scale: quick, default or full.
        version: of the code, see `version`.
        seconds: that it took.
        finding: None if it failed.
        error: what was raised; nothing if all went well.
        provenance: of `infomech.files`.
    """

    name: str
    statement: str
    source: str
    claims: tuple[int, ...]
    scale: str
    version: str
    seconds: float
    finding: Finding | None
    error: str
    provenance: dict[str, Any]

    @property
    def verdict(self) -> str:
        """Of the finding, or "error"."""
        return self.finding.verdict if self.finding else "error"


def scale_of(experiment: ModuleType, wanted: str) -> str:
    """The scale at which an experiment runs: full only where it has one."""
    has_full = "full" in inspect.signature(experiment.run).parameters
    return "default" if wanted == "full" and not has_full else wanted


def run(name: str, experiment: ModuleType, out: Path, *, scale: str) -> Finding:
    """Runs one experiment into a folder; quick ones say so in their text and on their figure."""
    if scale != "quick":
        return experiment.run(out, **({"full": True} if scale == "full" else {}))
    with quick.compilation():
        found = experiment.run(out, quick=True)
    quick.mark(out / f"{name}.png")
    return replace(found, text=f"{quick.MARK}\n{found.text}")


def recorded(name: str, experiment: ModuleType, out: Path, *, scale: str) -> Record:
    """Runs one experiment and keeps its record; whatever it raises is recorded as an error."""
    place, code = out / scale / name, version(experiment)
    if place.exists() and not _of_code(place, code):
        # what other code left there, such as the store of a sweep, isn't gone on with
        shutil.rmtree(place)
    files.write_text(files.folder(place) / "version", code)
    (place / "record.json").unlink(missing_ok=True)
    found, error, started = None, "", time.perf_counter()
    try:
        found = run(name, experiment, place, scale=scale)
    except Exception as raised:
        error = "".join(traceback.format_exception_only(raised)).strip()
        traceback.print_exc()
    seconds = time.perf_counter() - started
    # the precision is that of the experiment, and in its own file
    about = {key: value for key, value in files.provenance().items() if key != "x64"}
    record = Record(
        name,
        experiment.STATEMENT,
        experiment.SOURCE,
        tuple(experiment.CLAIMS),
        scale,
        code,
        seconds,
        found,
        error,
        about,
    )
    files.write_text(place / "record.json", files.to_json(record) + "\n")
    return record


def _of_code(place: Path, code: str) -> bool:
    try:
        return (place / "version").read_text("utf-8") == code
    except OSError:
        return False


def stored(name: str, experiment: ModuleType, out: Path, *, scale: str) -> Record | None:
    """The record of an experiment at this scale; None if there is none, or not of this code."""
    place = out / scale / name
    try:
        known = json.loads((place / "record.json").read_text("utf-8"))
        if known["version"] != version(experiment):
            return None
        finding = known.pop("finding")
        if finding is not None:
            figure = finding.pop("figure")
            numbers = tuple(Number(**number) for number in finding.pop("numbers"))
            path = None if figure is None else place / Path(figure).name
            if path is not None and not path.exists():
                return None
            finding = Finding(**finding, numbers=numbers, figure=path)
        return Record(**{**known, "claims": tuple(known["claims"])}, finding=finding)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def version(experiment: ModuleType) -> str:
    """Digest of all that decides an experiment's numbers.

    That is the code of the library, in Python and C, the experiment with all experiments that it
    imports, and the versions of `PACKAGES`.
    """
    library = {path for path in (ROOT / "infomech").rglob("*") if path.suffix in SOURCES}
    sources = {ROOT / "experiments" / "quick.py", *library}
    waiting = [_source(experiment)]
    while waiting:
        path = waiting.pop()
        if path not in sources:
            sources.add(path)
            waiting += _imported(path)
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for package in PACKAGES:
        digest.update(f"{package} {_installed(package)}\0".encode())
    return digest.hexdigest()[:16]


def _installed(package: str) -> str:
    """The version of a package, "none" if it isn't installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _source(module: Any) -> Path:
    return Path(inspect.getfile(module)).resolve()


def _imported(path: Path) -> list[Path]:
    """Files of the experiments that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "experiments":
            names |= {f"experiments.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("experiments."):
            names.add(str(node.module))
    return [_source(sys.modules[name]) for name in sorted(names) if name in sys.modules]
