"""The site is built without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from docs.pages import ROOT, SITE, anchors, links, pages, told

_REMOTE = re.compile(r"<(?:script|img|iframe|source|video)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: what is not logged is not counted, and strict is content.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert 0 == done.returncode, done.stdout + done.stderr
    return folder


def test_links_and_anchors_resolve(site):
    """mkdocs itself is strict about them: it was built."""
    assert (site / "index.html").exists()
    assert (site / "search" / "search_index.json").exists()


def test_every_page_is_in_it(site):
    """What is written can be found by reading on."""
    for page in SITE.rglob("*.md"):
        assert (site / page.relative_to(SITE)).with_suffix(".html").exists(), page


def test_nothing_is_loaded_from_elsewhere(site):
    """Neither fonts nor scripts nor pictures."""
    found = {page.name: _REMOTE.findall(page.read_text()) for page in site.rglob("*.html")}

    assert {} == {name: remote for name, remote in found.items() if remote}
    assert not [sheet for sheet in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", sheet.read_text())]


@pytest.mark.parametrize(
    "page", [page for page in pages() if SITE not in page.parents], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_of_the_other_pages_resolve(page):
    """Files that are there, and anchors in them."""
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page):
    """A claim that names its test has one."""
    for name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", told(page)):
        assert (ROOT / "tests" / name).exists(), name
