"""The real command on a real folder, or between real servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Self
from unittest import mock

import psutil
import pytest
from minio import Minio
from PIL import Image

from acceptance.watched import Watched
from acceptance_support import wait_until
from imgtag.cli.main import main
from imgtag_s3 import SPEC
from integration.conftest import binary
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client

IMGTAG = [sys.executable, "-m", "imgtag"]
SUBJECT = "imgtag.local.events"


class Site:
    """A folder with a configuration, and the processes that work on it; ``workers`` is how many classify."""

    def __init__(self, base: Path, workers: int = 2) -> None:
        self.base = base
        self._pool = f"workers = {workers}\nretry_first = 0.1\n"
        self.root = base / "pictures"
        self.root.mkdir()
        self.file = base / "imgtag.toml"
        self.log = base / "log"
        self.log.touch()
        self.begun = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(self, more: str = "", *, pipeline: str = "") -> None:
        self.file.write_text(
            f'[store.directory]\nroot = "{self.root}"\n[source.directory]\nsettle = 0.1\n'
            f'[state]\ndir = "{self.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n'
            f"[pipeline]\n{self._pool}{pipeline}\n{more}\n"
        )

    def connect(self, minio: MinioServer, nats: NatsServer, more: str = "", *, source: str = "") -> None:
        """Between these servers, with the index in a file of the state folder."""
        self.file.write_text(
            f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
            f'secret_key = "{minio.secret_key}"\n[source.nats]\nurl = "{nats.url}"\nsubject = "{SUBJECT}"\n{source}\n'
            f'[indexer.sqlite]\n[state]\ndir = "{self.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n'
            f"[pipeline]\n{self._pool}retry_max = 2\n{more}\n"
        )

    def start(self, until: str = "ready", under: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        """Start the sidecar with these options, and wait until it has logged this event.

        ``under``: a command that runs it.
        """
        self.begun = self.log.stat().st_size
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*under, *IMGTAG, "--config", str(self.file), "run", *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: until in self.events() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start the sidecar; whatever runs at the end of the context is killed."""
        try:
            self.start()
            yield self
        finally:
            self.end()

    def end(self) -> None:
        """Kill what runs."""
        if self.process and self.process.poll() is None:
            self.kill()

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    def lines(self) -> list[dict]:
        """What the newest process logged. A line that crosses a page of memory may be half there."""
        lines = self.log.read_bytes()[self.begun :].rpartition(b"\n")[0].decode().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def get(self, path: str) -> str:
        port = next(line["port"] for line in self.lines() if line["event"] == "ops_listening")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name: str) -> float:
        """The value of a series. One with labels is not there before it is first counted: then it is 0."""
        lines = self.get("/metrics").splitlines()
        values = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
        if not values:
            family = re.sub(r"(_count|_sum|_bucket)?{.*", "", name)
            assert any(line.startswith(f"# TYPE {family} ") for line in lines), f"no metric is called {name}"
            return 0.0
        return float(values[0])

    def run(self, *arguments: str, code: int = 0, stdin: str | None = None, timeout: float = 60) -> str:
        done = subprocess.run(
            [*IMGTAG, "--config", str(self.file), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
        )
        assert code == done.returncode, done.stdout + done.stderr
        return done.stdout

    def fails(self, *arguments: str, code: int) -> str:
        """What the command says on stderr, and nothing on stdout."""
        command = [*IMGTAG, "--config", str(self.file), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (code, "") == (done.returncode, done.stdout), done.stdout + done.stderr
        return done.stderr

    def ask(self, *arguments: str, code: int = 0) -> str:
        """As ``run``, in this process: another one takes most of a second to start."""
        ended, output, complaint = self._call(arguments)
        assert code == ended, output + complaint
        return output

    def ask_wrongly(self, *arguments: str, code: int) -> str:
        """As ``fails``, in this process."""
        ended, output, complaint = self._call(arguments)
        assert (code, "") == (ended, output), output + complaint
        return complaint

    def _call(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command that is run in this process."""
        files = [TextIOWrapper(BytesIO(), encoding="utf-8") for _ in range(2)]
        # Bulk commands lower their own priority, which would stay with this process and all that it starts.
        with mock.patch("os.nice"), redirect_stdout(files[0]), redirect_stderr(files[1]):
            code = main(["--config", str(self.file), *arguments])
        for file in files:
            file.flush()
        output, complaint = (file.buffer.getvalue().decode() for file in files)
        return code, output, complaint

    def found(self, query: str = "") -> list[dict]:
        lines = self.ask("search", "--json", "--limit", "100000", *query.split()).splitlines()
        return [json.loads(line) for line in lines]

    def marked(self) -> set[str]:
        """The keys of files with a mark."""
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)) for path in files if "user.imgtag-mark" in os.listxattr(path)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site; whatever it started is ended. One worker will do: to start another costs a second of a processor."""
    made = Site(tmp_path, workers=1)
    yield made
    made.end()


def uploader(minio: MinioServer) -> Minio:
    """Somebody with an S3 client."""
    keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
    return Minio(f"127.0.0.1:{minio.port}", **keys, secure=False, region="us-east-1")


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Iterator[Watched]:
    """A sidecar on buckets of every kind, for all tests that keep to keys of their own."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "site").mkdir()
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as minio,
        closing(S3Client(SPEC.settings(**minio.settings))) as client,
    ):
        watched = Watched(Site(folder / "site"), minio, nats, client, uploader(minio))
        watched.make_buckets(photographs["cat"])
        watched.connect(minio, nats)
        watched.site.ask("setup", "--yes")
        with watched.site.running():
            yield watched


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
