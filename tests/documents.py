"""Extract the code blocks of README and documentation, run them in order, compare the results."""

import ast
import io
import os
import re
import shlex
import tokenize
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.__main__ import main as experiments
from infomech.cli import main as infomech

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: commands that the tests skip: installation, builds, cluster schedulers
SKIPPED_COMMANDS = ("make", "pip", "srun")
#: imports that are not among the test dependencies
MISSING_IMPORTS = re.compile(r"^import .*\btorch\b", re.M)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
#: a comment that begins with a value documents the value of its line
COMMENT_VALUE = re.compile(
    r"# (\[.*?\]|True\b|False\b|\"[^\"]*\"|-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)"
)


class Block(NamedTuple):
    """A fenced block: its language, its dedented text and its line number."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(m[2], re.sub(rf"^{m[1]}", "", m[3], flags=re.M), text[: m.start()].count("\n") + 1)
        for m in _FENCE.finditer(text)
    ]


class Runner:
    """Run the blocks of one page in the current folder; `capsys` is pytest's fixture."""

    def __init__(self, capsys):
        self.capsys, self.names, self.printed, self.compared = capsys, {}, "", 0

    def run(self, block):
        {
            "python": self._python,
            "sh": self._shell,
            "toml": self._file,
            "text": self._output,
            "math": lambda text: None,
        }[block.language](block.text)
        if block.language in ("python", "sh"):
            self.printed = self.capsys.readouterr().out

    def _python(self, text):
        comments = _comments(text)
        if MISSING_IMPORTS.search(text):
            compile(text, "block", "exec")
            return
        for part in ast.parse(text).body:
            value = self._value(part)
            documented = COMMENT_VALUE.match(comments.get(part.end_lineno, ""))
            if documented and isinstance(part, ast.Expr | ast.Assign):
                assert_value(documented[1], value)
                self.compared += 1

    def _value(self, part):
        """Run one statement; return its value or the value that it assigns."""
        if isinstance(part, ast.Expr):
            return eval(compile(ast.Expression(part.value), "block", "eval"), self.names)
        exec(compile(ast.Module([part], []), "block", "exec"), self.names)
        return self.names.get(ast.unparse(part.targets[0])) if isinstance(part, ast.Assign) else 0

    def _shell(self, text):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(os.path.expandvars(line.partition(" #")[0]), comments=True)
            if not words or words[0] in SKIPPED_COMMANDS:
                continue
            command = infomech if words[0] == "infomech" else experiments
            arguments = words[1:] if command is infomech else words[3:]
            assert command is infomech or words[:3] == ["python", "-m", "experiments"], line
            assert command(arguments) == 0, line

    def _file(self, text):
        """Write a file; its name is in the first line of the block."""
        Path(re.match(r"# (\S+)\n", text)[1]).write_text(text, "utf-8")

    def _output(self, text):
        """Compare the block with the output of the block above."""
        assert_output(text, self.printed)


def _comments(text):
    """Comments by line number."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}


def assert_value(documented, value):
    """Compare numbers to the digits shown, and words exactly."""
    if documented in ("True", "False"):
        assert bool(value) == (documented == "True")
    elif documented[0] == '"':
        assert value == documented[1:-1]
    else:
        numbers = _NUMBER.findall(documented)
        result = np.ravel(np.asarray(value, np.float64))
        assert len(result) == len(numbers), f"got {result}, documented {documented}"
        for number, actual in zip(numbers, result, strict=True):
            np.testing.assert_allclose(actual, _read(number), rtol=0, atol=0.6 * _unit(number))


def assert_output(documented, printed):
    """Find the documented text in the printed text.

    Integers must be equal, decimals may differ by one in the last digit, and … matches any text.
    """
    line = re.sub(" ?… ?", "…", " ".join(documented.split()))
    parts = re.split(rf"(…|{_NUMBER.pattern})", line)
    pattern = "".join(
        ".*?" if part == "…" else f"({_NUMBER.pattern})" if n % 2 else re.escape(part)
        for n, part in enumerate(parts)
    )
    match = re.search(pattern, " ".join(printed.split()))
    assert match, f"not printed:\n{documented}\nbut:\n{printed}"
    numbers = [part for n, part in enumerate(parts) if n % 2 and part != "…"]
    for number, actual in zip(numbers, match.groups(), strict=True):
        is_integer = re.fullmatch(r"-?[\d,]+", number)
        atol = 0 if is_integer else 1.1 * _unit(number)
        np.testing.assert_allclose(
            _read(actual), _read(number), rtol=0, atol=atol, err_msg=documented
        )


def _read(number):
    return float(number.replace(",", ""))


def _unit(number):
    """The unit of the last digit of a written number."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
