"""What README and documentation show runs, and gives what they say; the site builds."""

import functools
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import documents
import pytest
from documents import PAGES, ROOT, blocks

from experiments.catalog import EXPERIMENTS
from infomech.cli import canary


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", list(filter(blocks, PAGES)), ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_block_runs_and_gives_what_is_said(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # a job array's first task, and `infomech doctor` on batches that take no time
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setattr(canary, "check", functools.partial(_smaller, canary.check))
    runner = documents.Runner(capsys)
    for block in blocks(page):
        try:
            runner.run(block)
        except BaseException as error:
            error.add_note(f"{page.relative_to(ROOT)}, block in line {block.line}")
            raise


def _smaller(check, minors, batches, dtypes):
    return check(minors[:1], (64,), dtypes[:1])


def test_readme_shows_numbers_that_are_compared():
    """Else a change of how values are written would switch the comparison off."""
    said = [documents._SAID.search(block.text) for block in blocks(ROOT / "README.md")]
    assert sum(map(bool, said)) >= 5


@pytest.mark.parametrize(
    ("said", "value"), [("0.41", 0.4), ("[1, 2.0]", [1, 2.1]), ("True", 0), ('"a"', "b")]
)
def test_a_wrong_value_would_be_seen(said, value):
    with pytest.raises(AssertionError):
        documents.assert_said(said, value)


@pytest.mark.parametrize("shown", ["speed 0.4", "speed 0.51", "4 layers", "speed 0.50 … of 3"])
def test_wrong_output_would_be_seen(shown):
    documents.assert_shown("a … speed 0.50 in 3 layers", "a\nbig speed  0.501 in 3 layers of 4")
    with pytest.raises(AssertionError):
        documents.assert_shown(shown, "a big speed 0.53 in 3 layers of 4")


def test_commands_and_files_that_are_named_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for page in PAGES:
        shown = "\n".join(block.text for block in blocks(page) if block.language == "sh")
        assert {*re.findall(r"^make (\w+)", shown, re.M)} <= {*targets}, page
        for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[\w.-]+)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_what_is_said_to_check_a_statement_exists():
    page = (ROOT / "docs" / "exact.md").read_text("utf-8")
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert named
    assert not [name for name in named if f"def {name}(" not in tests]
    experiments = re.findall(r"`(?:python -m experiments )?([a-z]\w*)`", page)
    assert {name for name in experiments if name[:5] != "test_"} <= {*EXPERIMENTS}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


_OUTSIDE_STYLE = re.compile(r"(?:url\(|@import )[\"']?(?:https?:)?//")


class _Requests(HTMLParser):
    """What a browser would fetch for a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        """Everything with a source, and links to styles, icons and the like."""
        named = dict(attrs)
        self.found += [named[name] or "" for name in ("src", "srcset", "poster") if name in named]
        if tag == "link" and named.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(named.get("href") or "")


def _asks(page):
    """What it fetches from elsewhere."""
    parser = _Requests()
    parser.feed(page)
    outside = [one for one in parser.found if re.match(r"(https?:)?//", one)]
    return outside + [m[0] for m in _OUTSIDE_STYLE.finditer(page)]


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_asks_nobody(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        assert _asks(page.read_text("utf-8")) == [], page
    for style in site.rglob("*.css"):
        assert not _OUTSIDE_STYLE.search(style.read_text("utf-8")), style


@pytest.mark.parametrize(
    "line",
    [
        '<script src="https://a.b/c.js">',
        '<img src="//a.b/c.png">',
        "<style>@import '//a'</style>",
        '<link rel="stylesheet" href="https://a.b/c.css">',
        "<style>a {b: url(http://c.d)}</style>",
    ],
)
def test_a_request_to_others_would_be_seen(line):
    assert _asks(f'<head>{line}</head><a href="https://a.b">a link asks for nothing</a>')


@pytest.mark.slow
def test_the_reference_names_all_that_is_public(site):
    """Each function of a room's `__all__`, and each room."""
    import infomech as im

    text = "".join(page.read_text("utf-8") for page in site.glob("reference/*.html"))
    for room in (im, im.design, im.losses, im.networks, im.scattering, im.sweeps):
        for name in room.__all__:
            if callable(getattr(room, name)) and room is not im:
                assert re.search(rf'id="{room.__name__}(\.{name})+"', text), name
    for name in im.__all__:
        assert re.search(rf'id="infomech(\.\w+)*\.{name}"', text), name
