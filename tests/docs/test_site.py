"""The site builds without a warning and loads nothing from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from docs.pages import ROOT, SITE, anchors, links, pages, read

_REMOTE = re.compile(r"<(?:script|img|iframe|source|video)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    # Without --quiet, because --strict counts only logged warnings.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert 0 == process.returncode, process.stdout + process.stderr
    return folder


def test_links_and_anchors_resolve(site):
    """The strict build of mkdocs checks them."""
    assert (site / "index.html").exists()
    assert (site / "search" / "search_index.json").exists()


def test_every_page_is_in_it(site):
    """The build includes every page."""
    for page in SITE.rglob("*.md"):
        assert (site / page.relative_to(SITE)).with_suffix(".html").exists(), page


def test_nothing_is_loaded_from_elsewhere(site):
    """No font, script or image comes from another host."""
    remote_links = {page.name: _REMOTE.findall(page.read_text()) for page in site.rglob("*.html")}

    assert {} == {name: remote for name, remote in remote_links.items() if remote}
    assert not [sheet for sheet in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", sheet.read_text())]


@pytest.mark.parametrize(
    "page", [page for page in pages() if SITE not in page.parents], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_of_the_other_pages_resolve(page):
    """Every link leads to an existing file and anchor."""
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page):
    """Every test file that a page names exists."""
    for name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", read(page)):
        assert (ROOT / "tests" / name).exists() or list((ROOT / "examples").glob(f"*/tests/{name}")), name
