"""The real command on a real folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from PIL import Image

from acceptance_support import wait_until

IMGTAG = [sys.executable, "-m", "imgtag"]


class Site:
    """A folder with a configuration, and the processes that work on it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "pictures"
        self.root.mkdir()
        self.file = base / "imgtag.toml"
        self.log = base / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(self, more: str = "", *, pipeline: str = "") -> None:
        self.file.write_text(
            f'[store.directory]\nroot = "{self.root}"\n[source.directory]\nsettle = 0.1\n'
            f'[state]\ndir = "{self.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n'
            f"[pipeline]\nworkers = 2\nretry_first = 0.1\n{pipeline}\n{more}\n"
        )

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*IMGTAG, "--config", str(self.file), "run"], stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: "ready" in self.events() or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.log.read_text()

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    def lines(self) -> list[dict]:
        """What the newest process logged."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        starts = [place for place, line in enumerate(lines) if line["event"] == "health and metrics"]
        return lines[starts[-1] :] if starts else []

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def get(self, path: str) -> str:
        port = next(line["port"] for line in self.lines() if line["event"] == "health and metrics")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name: str) -> float:
        found = [line for line in self.get("/metrics").splitlines() if line.startswith(f"{name} ")]
        return float(found[0].rsplit(" ", 1)[1])

    def run(self, *arguments: str, code: int = 0, stdin: str | None = None) -> str:
        done = subprocess.run(
            [*IMGTAG, "--config", str(self.file), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            input=stdin,
        )
        assert code == done.returncode, done.stdout + done.stderr
        return done.stdout

    def found(self, query: str = "") -> list[dict]:
        lines = self.run("search", "--json", "--limit", "100000", *query.split()).splitlines()
        return [json.loads(line) for line in lines]

    def marked(self) -> set[str]:
        """The keys of files with a mark."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)) for path in files if "user.imgtag-mark" in os.listxattr(path)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site; whatever it started is ended."""
    made = Site(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture(scope="session")
def photographs() -> dict[str, bytes]:
    """Real photographs as small JPEGs, by what is on them."""
    data = {
        "cat": Path(find_spec("skimage").origin).parent / "data/chelsea.png",
        "espresso": Path(find_spec("skimage").origin).parent / "data/coffee.png",
        "daisy": Path(find_spec("sklearn").origin).parent / "datasets/images/flower.jpg",
    }
    return {name: _small(path) for name, path in data.items()}


def _small(path: Path) -> bytes:
    with Image.open(path) as picture:
        picture.thumbnail((500, 500))
        buffer = BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
