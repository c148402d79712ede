"""A real browser on the page of a real sidecar. Without Chromium, the tests are skipped; on CI they fail."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from acceptance.conftest import Site
from acceptance_support import wait_until
from fake_meilisearch import FakeMeilisearch
from imgtag.cli.demo.samples import copy_samples

CROPS = 130
"""More pictures than two pages of results have."""
TOKEN = "correct horse battery staple"
MARKUP = "<img src=x onerror=window.pwned=1>"
"""What runs if it is ever taken for HTML."""
BUCKET = "<i>bucket"

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Not for the session: while it is open, an event loop runs that other tests need."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing = "no Chromium: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    with sync_playwright() as playwright:
        # As root, Chromium has no sandbox; a container's /dev/shm may be too small for it.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A sidecar on a folder, whose pictures, bucket, label, category and camera have names that are markup."""
    site = Site(tmp_path_factory.mktemp("page"))
    site.root = site.base / BUCKET
    make_pictures(site.root)
    site.configure(
        '[web]\nlisten = "127.0.0.1:0"\n'
        f"[[label_rules]]\nlabel = 'espresso'\nrename = '{MARKUP}'\ncategory = '{MARKUP}'\n",
    )
    with site.running():
        wait_until(lambda: total(site, "status:*") == CROPS + 8)
        yield site


def make_pictures(root: Path) -> None:
    """The photographs of the demo, small parts of them, one with markup in its name and EXIF, and one that fails."""
    samples = [root / sample.name for sample in copy_samples(root)]
    for number in range(CROPS):
        with Image.open(samples[number % len(samples)]) as picture:
            width, height = picture.size
            part = picture.crop((number, number, width - 2 * number % 200, height - number))
            part.thumbnail((200 + number, 300))
            (root / "parts").mkdir(exist_ok=True)
            part.save(root / f"parts/{number:03}.jpg")
    with Image.open(samples[1]) as picture:
        exif = picture.getexif()
        exif[0x0110] = MARKUP  # the camera
        picture.save(root / f"{MARKUP}.jpg", exif=exif)
    (root / "failed").mkdir()
    (root / "failed" / f"{MARKUP}.png").write_bytes(b"xx\n")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, FakeMeilisearch]]:
    """A sidecar that asks for a token, and the server of its index."""
    with FakeMeilisearch() as index:
        site = Site(tmp_path_factory.mktemp("guarded"))
        list(copy_samples(site.root))
        site.configure(
            f'[indexer.meilisearch]\nurl = "{index.url}"\n[web]\nlisten = "127.0.0.1:0"\ntoken = "{TOKEN}"\n'
        )
        with site.running():
            wait_until(lambda: total(site) == 6)
            yield site, index


def address(site: Site) -> str:
    """Where its page is."""
    port = next(line["port"] for line in site.lines() if line["event"] == "web_listening")
    return f"http://127.0.0.1:{port}/"


def total(site: Site, query: str = "") -> int:
    """How many objects the API finds."""
    url = f"{address(site)}api/search?{urlencode({'q': query, 'limit': 0})}"
    with urlopen(Request(url, headers={"Authorization": f"Bearer {TOKEN}"}), timeout=10) as answer:
        return json.load(answer)["total"]


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens pages, each in a browser of its own; they must ask no other host and report no error."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_page(site: Site, query: str = "", *, expected: tuple[int, ...] = (), **options) -> Page:
        """``expected`` are statuses of answers that the browser may complain about; ``options`` are of its context."""
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        context = browser.new_context(base_url=address(site), **options)
        contexts.append(context)
        page = context.new_page()

        def note_request(url: str) -> None:
            if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != urlsplit(address(site)).netloc:
                problems.append(f"asked {url}")

        def note_message(kind: str, text: str) -> None:
            known = any(f"status of {status} " in text for status in expected)
            if kind in {"error", "warning"} and not known:
                problems.append(text)

        page.on("request", lambda made: note_request(made.url))
        page.on("console", lambda message: note_message(message.type, message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(query or "?")
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            assert page.evaluate("window.pwned") is None
        context.close()
    assert not problems
