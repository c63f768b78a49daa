"""The code blocks of README and documentation: taken out, run in order, and compared."""

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
#: what a page may show and the tests can't run: installing, building, machines with a scheduler
NOT_HERE = ("make", "pip", "srun")
#: and what isn't among the packages of the tests
ABSENT = re.compile(r"^import .*\btorch\b", re.M)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
#: a comment that begins with a value says what the line in front of it gives
_SAID = re.compile(r"# (\[.*?\]|True\b|False\b|\"[^\"]*\"|-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)")


class Block(NamedTuple):
    """A fenced block: its language, its text without the margin, and the line where it begins."""

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
    """Runs the blocks of one page in the current folder; `capsys` is pytest's."""

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
        if ABSENT.search(text):
            compile(text, "block", "exec")
            return
        for part in ast.parse(text).body:
            value = self._value(part)
            said = _SAID.match(comments.get(part.end_lineno, ""))
            if said and isinstance(part, ast.Expr | ast.Assign):
                assert_said(said[1], value)
                self.compared += 1

    def _value(self, part):
        """Runs one statement; what it gives, or what it puts into its name."""
        if isinstance(part, ast.Expr):
            return eval(compile(ast.Expression(part.value), "block", "eval"), self.names)
        exec(compile(ast.Module([part], []), "block", "exec"), self.names)
        return self.names.get(ast.unparse(part.targets[0])) if isinstance(part, ast.Assign) else 0

    def _shell(self, text):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(os.path.expandvars(line.partition(" #")[0]), comments=True)
            if not words or words[0] in NOT_HERE:
                continue
            command = infomech if words[0] == "infomech" else experiments
            rest = words[1:] if command is infomech else words[3:]
            assert command is infomech or words[:3] == ["python", "-m", "experiments"], line
            assert command(rest) == 0, line

    def _file(self, text):
        """A file whose name is in its first line."""
        Path(re.match(r"# (\S+)\n", text)[1]).write_text(text, "utf-8")

    def _output(self, text):
        """What the block above has printed."""
        assert_shown(text, self.printed)


def _comments(text):
    """By line."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}


def assert_said(said, value):
    """Numbers to the digits shown, words exactly."""
    if said in ("True", "False"):
        assert bool(value) == (said == "True")
    elif said[0] == '"':
        assert value == said[1:-1]
    else:
        numbers = _NUMBER.findall(said)
        got = np.ravel(np.asarray(value, np.float64))
        assert len(got) == len(numbers), f"{got}, and {said} is said"
        for number, one in zip(numbers, got, strict=True):
            np.testing.assert_allclose(one, _read(number), rtol=0, atol=0.6 * _unit(number))


def assert_shown(shown, printed):
    """All of it stands in what was printed: numbers with a point to one unit, … for anything."""
    shown_in_line = re.sub(" ?… ?", "…", " ".join(shown.split()))
    parts = re.split(rf"(…|{_NUMBER.pattern})", shown_in_line)
    pattern = "".join(
        ".*?" if part == "…" else f"({_NUMBER.pattern})" if n % 2 else re.escape(part)
        for n, part in enumerate(parts)
    )
    found = re.search(pattern, " ".join(printed.split()))
    assert found, f"not printed:\n{shown}\nbut:\n{printed}"
    numbers = [part for n, part in enumerate(parts) if n % 2 and part != "…"]
    for number, one in zip(numbers, found.groups(), strict=True):
        exact = re.fullmatch(r"-?[\d,]+", number)
        allowed = 0 if exact else 1.1 * _unit(number)
        np.testing.assert_allclose(_read(one), _read(number), rtol=0, atol=allowed, err_msg=shown)


def _read(number):
    return float(number.replace(",", ""))


def _unit(number):
    """One in the last digit of a number as it is written."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
