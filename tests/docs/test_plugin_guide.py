"""The blocks of the plugin guide: parts of the examples, or drop-ins that work as they are printed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import numpy as np
import pytest

from docs.pages import ROOT, SITE, blocks
from imgtag.errors import ImgtagError, Unavailable, Undecodable
from imgtag.plugin import Image, PluginContext, RemoteClassifier, RemoteImage
from imgtag.plugin_loader import require_members
from imgtag.testing import discover

EXAMPLES = [path.parent for path in (ROOT / "examples").glob("*/pyproject.toml")]
CODE = [block for block in blocks(SITE / "plugins.md") if block.kind in {"python", "toml"}]
DROP_INS = {
    header[1]: block.text
    for block in CODE
    if block.kind == "python" and (header := re.match(r"# (\w+)\.py\n", block.text))
}


@pytest.mark.parametrize("block", CODE, ids=str)
def test_a_block_is_a_part_of_an_example(block) -> None:
    """Its first line names the file, and every line is there, in this order; configurations are read elsewhere."""
    header = re.match(r"# (\S+)\n", block.text)
    if header is None:
        assert "toml" == block.kind
    elif header[1].removesuffix(".py") not in DROP_INS:
        files = [file for path in EXAMPLES if (file := path / header[1]).exists()]
        assert any(_holds(file.read_text(), block.text.splitlines()[1:]) for file in files), block.text


def _holds(text: str, lines: list[str]) -> bool:
    at = 0
    for line in filter(None, lines):
        at = text.find(line, at)
        if at < 0:
            return False
    return True


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Create a part of a drop-in of the page, found in a folder as imgtag finds it."""
    folder = tmp_path / "drop-ins"
    folder.mkdir(mode=0o755)
    for name, text in DROP_INS.items():
        (folder / f"{name}.py").write_text(text)
        (folder / f"{name}.py").chmod(0o644)
    registry = discover(folder, verify=True)

    def make(name: str, *context: PluginContext, **settings: Any) -> Any:
        spec = registry.find("classifier", name)
        return spec.load()(spec.settings(**settings), *context)

    yield make
    for name in DROP_INS:
        sys.modules.pop(name, None)


def test_the_drop_in_classifies(make) -> None:
    """A white image is bright."""
    (scores,) = make("brightness").classify([Image.from_array(np.full((40, 60, 3), 255, np.uint8))])

    assert [0.0, 1.0] == scores.probabilities.tolist()


class TaggingServer(BaseHTTPRequestHandler):
    """Answers with tags, or as the test says."""

    status, body = 200, b""

    def do_POST(self) -> None:
        """Read the image, answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def ask(make, tmp_path: Path, status: int, body: bytes) -> list[tuple[str, float]]:
    """What the remote classifier of the page says when its server answers so."""
    handler = type("Handler", (TaggingServer,), {"status": status, "body": body})
    context = PluginContext(site="home", state_dir=tmp_path)
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        tagger = make("tagger", context, url=f"http://127.0.0.1:{server.server_port}/tags")
        require_members(discover(tmp_path / "drop-ins").find("classifier", "tagger"), tagger, RemoteClassifier)
        try:
            detections = anyio.run(partial(tagger.classify, RemoteImage(data=b"JPEG", width=80, height=60)))
        finally:
            tagger.http.clear()  # the server waits for its connection to end
            server.shutdown()
    return [(detection.name, detection.confidence) for detection in detections]


def test_the_remote_classifier_asks(make, tmp_path) -> None:
    """The tags of the server are detections."""
    body = json.dumps([{"name": "red fox", "confidence": 0.9}]).encode()

    assert [("red fox", 0.9)] == ask(make, tmp_path, 200, body)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(422, b"", Undecodable), (503, b"", Unavailable), (200, b"no JSON", Unavailable), (200, b'["fox"]', Unavailable)],
)
def test_the_remote_classifier_tells_an_outage_from_a_bad_image(
    make, tmp_path, status: int, body: bytes, error: type[ImgtagError]
) -> None:
    """As the page says."""
    with pytest.raises(error):
        ask(make, tmp_path, status, body)
