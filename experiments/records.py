"""Stored results of experiments, which let an interrupted report resume.

The record of an experiment lies next to its figure and numbers in `OUT/SCALE/NAME/`. It is written
last, and is valid while the code that produced it is unchanged.
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
#: suffixes of the library's source files
SOURCES = (".py", ".c", ".h")
#: packages that affect numbers: arithmetic, optimizers, the C compiler, data sets
PACKAGES = (
    "jax", "jaxlib", "numpy", "scipy", "optax", "optimistix", "equinox", "lineax", "ziglang",
    "scikit-learn", "scikit-image",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """Result of one experiment, or its error.

    Attributes:
        name, statement, source, claims: of the experiment.
        scale: quick, default or full.
        version: digest of the code, see `version`.
        seconds: run time.
        finding: None after an error.
        error: the error raised; empty on success.
        provenance: from `infomech.files`.
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
        """Verdict of the finding, or "error"."""
        return self.finding.verdict if self.finding else "error"


def scale_of(experiment: ModuleType, requested: str) -> str:
    """Scale at which an experiment runs: "full" only if it supports that."""
    has_full = "full" in inspect.signature(experiment.run).parameters
    return "default" if requested == "full" and not has_full else requested


def run(name: str, experiment: ModuleType, out: Path, *, scale: str) -> Finding:
    """Run one experiment into a folder; mark the text and figure of a quick run."""
    if scale != "quick":
        return experiment.run(out, **({"full": True} if scale == "full" else {}))
    with quick.compilation():
        finding = experiment.run(out, quick=True)
    quick.mark(out / f"{name}.png")
    return replace(finding, text=f"{quick.MARK}\n{finding.text}")


def recorded(name: str, experiment: ModuleType, out: Path, *, scale: str) -> Record:
    """Run one experiment and store its record; an exception is recorded as an error."""
    folder, code = out / scale / name, version(experiment)
    if folder.exists() and not _of_code(folder, code):
        # results of other code, such as the store of a sweep, must not be resumed
        shutil.rmtree(folder)
    files.write_text(files.folder(folder) / "version", code)
    (folder / "record.json").unlink(missing_ok=True)
    finding, error, started = None, "", time.perf_counter()
    try:
        finding = run(name, experiment, folder, scale=scale)
    except Exception as raised:
        error = "".join(traceback.format_exception_only(raised)).strip()
        traceback.print_exc()
    seconds = time.perf_counter() - started
    # each experiment sets its own precision and records it in its own file
    provenance = {key: value for key, value in files.provenance().items() if key != "x64"}
    record = Record(
        name,
        experiment.STATEMENT,
        experiment.SOURCE,
        tuple(experiment.CLAIMS),
        scale,
        code,
        seconds,
        finding,
        error,
        provenance,
    )
    files.write_text(folder / "record.json", files.to_json(record) + "\n")
    return record


def _of_code(folder: Path, code: str) -> bool:
    try:
        return (folder / "version").read_text("utf-8") == code
    except OSError:
        return False


def stored(name: str, experiment: ModuleType, out: Path, *, scale: str) -> Record | None:
    """Stored record of an experiment at this scale; None if missing or of other code."""
    folder = out / scale / name
    try:
        content = json.loads((folder / "record.json").read_text("utf-8"))
        if content["version"] != version(experiment):
            return None
        finding = content.pop("finding")
        if finding is not None:
            figure = finding.pop("figure")
            numbers = tuple(Number(**number) for number in finding.pop("numbers"))
            path = None if figure is None else folder / Path(figure).name
            if path is not None and not path.exists():
                return None
            finding = Finding(**finding, numbers=numbers, figure=path)
        return Record(**{**content, "claims": tuple(content["claims"])}, finding=finding)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def version(experiment: ModuleType) -> str:
    """Digest of everything that determines an experiment's numbers.

    It covers the Python and C code of the library, the experiment, the experiments that it imports,
    and the versions of `PACKAGES`.
    """
    library = {path for path in (ROOT / "infomech").rglob("*") if path.suffix in SOURCES}
    sources = {ROOT / "experiments" / "quick.py", *library}
    pending = [_source(experiment)]
    while pending:
        path = pending.pop()
        if path not in sources:
            sources.add(path)
            pending += _imported(path)
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for package in PACKAGES:
        digest.update(f"{package} {_installed(package)}\0".encode())
    return digest.hexdigest()[:16]


def _installed(package: str) -> str:
    """Version of a package, "none" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _source(module: Any) -> Path:
    return Path(inspect.getfile(module)).resolve()


def _imported(path: Path) -> list[Path]:
    """Files of `experiments` that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "experiments":
            names |= {f"experiments.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("experiments."):
            names.add(str(node.module))
    return [_source(sys.modules[name]) for name in sorted(names) if name in sys.modules]
