"""MkDocs hooks: add files from outside docs/, notebooks as pages, and formulas as MathML."""

import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Render `math` blocks as MathML, which browsers draw without a script."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": _formula}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add figures, benchmarks and notebooks from outside docs/."""
    for pattern in ("experiments/*.png", "benchmarks/*.png", "benchmarks/*.md"):
        for path in sorted(ROOT.glob(pattern)):
            _add(files, config, str(path.relative_to(ROOT)), abs_src_path=str(path))
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        page = notebook(json.loads(path.read_text("utf-8")))
        _add(files, config, f"notebooks/{path.stem}.md", content=page)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite links to files outside docs/; the site has them inside its root."""
    relinked = re.sub(
        r"\]\(\.\./((?:\.\./)*(?:experiments|benchmarks|notebooks)/)", r"](\1", markdown
    )
    return re.sub(r"(\]\(\S*notebooks/\w+)\.ipynb\)", r"\1.md)", relinked)


def _add(files: Files, config: MkDocsConfig, name: str, **source: Any) -> None:
    files.append(File.generated(config, name, **source))


def notebook(document: dict[str, Any]) -> str:
    """A notebook with its stored outputs as Markdown."""
    parts = []
    for cell in document["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        parts += [block for output in cell["outputs"] if (block := _output(output))]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    """The Markdown of one output of a cell; empty if it has neither image nor text."""
    data = output.get("data", {})
    for kind in ("image/png", "image/gif"):
        if kind in data:
            return f'<img alt="" src="data:{kind};base64,{"".join(data[kind]).strip()}">'
    text = output.get("text", data.get("text/plain", ()))
    return f"```text\n{''.join(text).rstrip()}\n```" if text else ""


def _formula(source: str, *_: Any, **__: Any) -> str:
    """One row per line; parts separated by \\qquad wrap on narrow screens."""
    rows = []
    for line in filter(None, map(str.strip, source.splitlines())):
        parts = (convert(part, display="block") for part in line.split(r"\qquad"))
        rows.append("<p>" + "".join(f"<span>{part}</span> " for part in parts) + "</p>")
    return f'<div class="formula">{"".join(rows)}</div>'
