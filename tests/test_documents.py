"""Tests that the code in README and documentation runs as documented, and that the site builds."""

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
def test_blocks_run_as_documented(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # first task of a job array; `infomech doctor` on small batches
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setattr(canary, "check", functools.partial(_check_small, canary.check))
    runner = documents.Runner(capsys)
    for block in blocks(page):
        try:
            runner.run(block)
        except BaseException as error:
            error.add_note(f"{page.relative_to(ROOT)}, block in line {block.line}")
            raise


def _check_small(check, minors, batches, dtypes):
    return check(minors[:1], (64,), dtypes[:1])


def test_readme_values_are_compared():
    """Guards against a change of format that would disable the comparison."""
    values = [documents.COMMENT_VALUE.search(block.text) for block in blocks(ROOT / "README.md")]
    assert sum(map(bool, values)) >= 5


@pytest.mark.parametrize(
    ("documented", "value"), [("0.41", 0.4), ("[1, 2.0]", [1, 2.1]), ("True", 0), ('"a"', "b")]
)
def test_wrong_values_fail(documented, value):
    with pytest.raises(AssertionError):
        documents.assert_value(documented, value)


@pytest.mark.parametrize("documented", ["speed 0.4", "speed 0.51", "4 layers", "speed 0.50 … of 3"])
def test_wrong_output_fails(documented):
    documents.assert_output("a … speed 0.50 in 3 layers", "a\nbig speed  0.501 in 3 layers of 4")
    with pytest.raises(AssertionError):
        documents.assert_output(documented, "a big speed 0.53 in 3 layers of 4")


def test_named_commands_and_files_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for page in PAGES:
        commands = "\n".join(block.text for block in blocks(page) if block.language == "sh")
        assert {*re.findall(r"^make (\w+)", commands, re.M)} <= {*targets}, page
        for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[\w.-]+)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_checks_named_in_exact_md_exist():
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
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert build.returncode == 0, build.stderr
    assert "WARNING" not in build.stderr
    return folder


_EXTERNAL_STYLE = re.compile(r"(?:url\(|@import )[\"']?(?:https?:)?//")


class _Requests(HTMLParser):
    """Collects the URLs that a browser would fetch for a page."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        """Collect all sources, and links to styles, icons and similar files."""
        values = dict(attrs)
        self.urls += [values[name] or "" for name in ("src", "srcset", "poster") if name in values]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.urls.append(values.get("href") or "")


def _external_requests(page):
    """URLs of other hosts that a browser would fetch for a page."""
    parser = _Requests()
    parser.feed(page)
    external = [url for url in parser.urls if re.match(r"(https?:)?//", url)]
    return external + [m[0] for m in _EXTERNAL_STYLE.finditer(page)]


@pytest.mark.slow
def test_site_makes_no_external_requests(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        assert _external_requests(page.read_text("utf-8")) == [], page
    for style in site.rglob("*.css"):
        assert not _EXTERNAL_STYLE.search(style.read_text("utf-8")), style


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
def test_external_requests_are_detected(line):
    assert _external_requests(f'<head>{line}</head><a href="https://a.b">a link is no request</a>')


@pytest.mark.slow
def test_reference_lists_all_public_names(site):
    """Each function in a module's `__all__`, and each module."""
    import infomech as im

    text = "".join(page.read_text("utf-8") for page in site.glob("reference/*.html"))
    for module in (im, im.design, im.losses, im.networks, im.scattering, im.sweeps):
        for name in module.__all__:
            if callable(getattr(module, name)) and module is not im:
                assert re.search(rf'id="{module.__name__}(\.{name})+"', text), name
    for name in im.__all__:
        assert re.search(rf'id="infomech(\.\w+)*\.{name}"', text), name
