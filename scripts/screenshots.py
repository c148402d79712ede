"""Take the screenshots of the docs: the search page of a sidecar on the photographs of the demo, in docs/images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from imgtag.cli.demo.samples import SAMPLES, copy_samples

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SIZE = {"width": 1200, "height": 720}
_LOADED = "[...document.images].every(image => image.complete || image.getBoundingClientRect().top > innerHeight)"


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="imgtag-") as folder,
        _sidecar(Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(base_url=address, viewport=SIZE)
        page.goto("?q=after:2023&confidence=0.1")
        _save(page, "search-page.webp")
        page.goto("?confidence=0")
        page.locator(".tile a[aria-label^=chelsea]").click()
        page.locator(".similar img").first.wait_for()
        _save(page, "search-page-object.webp")
        page.emulate_media(color_scheme="dark")
        page.goto("?view=dashboard")
        page.locator(".panel").first.wait_for()
        _save(page, "dashboard.webp")
        browser.close()


@contextmanager
def _sidecar(folder: Path) -> Iterator[str]:
    """Where its page is, once all photographs are labelled."""
    list(copy_samples(folder / "photos"))
    (folder / "photos" / "holiday.jpg").write_bytes(b"not an image")
    (folder / "imgtag.toml").write_text(
        f'[store.directory]\nroot = "{folder / "photos"}"\n[state]\ndir = "{folder / "state"}"\n'
        '[ops]\nlisten = ""\n[web]\nlisten = "127.0.0.1:0"\n'
    )
    command = [sys.executable, "-m", "imgtag", "--config", str(folder / "imgtag.toml"), "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            assert process.stderr
            lines = (json.loads(line) for line in process.stderr if line.startswith("{"))
            port = next(line["port"] for line in lines if line["event"] == "web_listening")
            address = f"http://127.0.0.1:{port}/"
            while _total(address) <= len(SAMPLES):
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def _total(address: str) -> int:
    with urlopen(f"{address}api/search?limit=0&q=status:*", timeout=10) as answer:  # noqa: S310 - loopback
        total: int = json.load(answer)["total"]
        return total


def _save(page: Page, name: str) -> None:
    """Save what is seen, once all pictures in it are there."""
    page.wait_for_timeout(1000)
    while not page.evaluate(_LOADED):
        page.wait_for_timeout(100)
    with Image.open(BytesIO(page.screenshot())) as picture:
        picture.save(IMAGES / name, quality=82, method=6)


if __name__ == "__main__":
    main()
