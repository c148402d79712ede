#!/usr/bin/env python3
"""The whole sidecar between a real MinIO and a real nats-server, with the commands that an administrator types.

python scripts/demo_servers.py [--once]

All of it lives in a temporary folder and on free ports of loopback, and is ended and removed at the end. The index is
SQLite or, where MEILISEARCH_URL (and MEILISEARCH_KEY) are set, one of its own on that server, deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from statistics import median

import anyio
import meilisearch
from meilisearch.errors import MeilisearchError
from rich.console import Console
from rich.text import Text

from imgtag.assembly import make_indexer
from imgtag.cli.demo.output import SEARCHES, copy_with_credits, show_labels, show_news, show_progress
from imgtag.cli.demo.samples import SAMPLES
from imgtag.config.load import load
from imgtag.errors import ImgtagError
from imgtag.models.display_names import DisplayNames

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from servers.minio import MinioServer, lanes  # noqa: E402 - beside the tests, which use them as well
from servers.nats import NatsServer  # noqa: E402
from servers.process import ServerProcess  # noqa: E402

_find: Callable[[str], Path | None] = runpy.run_path(str(HERE / "servers.py"))["find"]
PROGRAMS = {name: _find(name) or Path() for name in ("minio", "mc", "nats-server")}
IMGTAG = Path(sys.executable).with_name("imgtag")
BUCKET = "demo/photos"
"""As mc writes it: its name for the server, and the bucket."""
SUBJECT = "imgtag.local.events"
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CONFIG = """\
[store.s3]
endpoint = "{minio.endpoint}"
access_key = "{minio.access_key}"
secret_key_file = "minio.secret"

[source.nats]
url = "{nats.url}"
subject = "{subject}"

{index}

[[rules]]
bucket = "photos"

[state]
dir = "{folder}/state"

[ops]
listen = ""
"""


class Failed(Exception):
    """The demo cannot go on; the message is for whoever watches."""


class DemoMinio(MinioServer):
    """Loopback is open to everybody on this machine, so its password is a new one each time."""

    access_key = "demo"
    secret_key = token_hex(12)


class Sidecar(ServerProcess):
    """`imgtag run`. On a slow machine loading the model takes a while."""

    patience = 60.0

    def arguments(self) -> Sequence[str]:
        return ["run"]

    def ready(self) -> bool:
        """Whether it says so."""
        return any(
            json.loads(line)["event"] == "ready" for line in self.log.read_text().splitlines() if line[:1] == "{"
        )


class Shell:
    """Says each command before it runs it, in ``folder``."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.console = console
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMGTAG_", "MC_"))}
        places = dict.fromkeys(str(program.parent) for program in (IMGTAG, *PROGRAMS.values()))
        path = os.pathsep.join([*places, os.environ.get("PATH", os.defpath)])
        self._environment = {**kept, "PATH": path, "MC_CONFIG_DIR": str(folder / "mc")}

    def say(self, line: str) -> None:
        """What an administrator types; paths are short, as seen from the folder."""
        self.console.print(Text(f"$ {line.replace(f'{self.folder}/', '')}", style="bold"), soft_wrap=True)

    def say_exports(self, variables: Mapping[str, str]) -> None:
        """What an administrator puts into the environment."""
        for name, value in variables.items():
            self.say(f"export {name}={shlex.quote(value)}")

    def export(self, **variables: str) -> None:
        """Set it for the commands that follow."""
        self._environment |= variables
        self.say_exports(variables)

    def run(self, *command: str) -> None:
        """A command, whose output is seen. Raises Failed."""
        self.say(shlex.join(command))
        process = subprocess.run(command, cwd=self.folder, env=self._environment, check=False)  # noqa: S603 - of this file
        self._require(process.returncode, command)
        self.console.print()

    def lines(self, *command: str) -> Iterator[str]:
        """A command, and each line of its output as it comes. Raises Failed."""
        self.say(shlex.join(command))
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=pipe, text=True) as process:  # noqa: S603 - of this file
            assert process.stdout
            yield from process.stdout
        self._require(process.returncode, command)

    def _require(self, code: int, command: Sequence[str]) -> None:
        if code:
            raise Failed(f"`{shlex.join(command)}` ended with {code}")

    def start(self, server: ServerProcess) -> None:
        """Something in the background. Raises Failed."""
        server.folder.mkdir()
        self.say(shlex.join([server.binary.name, *server.arguments()]) + " &")
        try:
            with held_signals():
                server.start()
        except RuntimeError as error:
            raise Failed(str(error)) from error


@contextmanager
def held_signals() -> Iterator[None]:
    """What is to end the demo waits until a process that is being started is known, and can be ended as well."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            raise KeyboardInterrupt


class Site:
    """The two servers and the sidecar between them."""

    def __init__(self, folder: Path, index: str) -> None:
        self.file = folder / "imgtag.toml"
        self.nats = NatsServer(PROGRAMS["nats-server"], folder / "nats")
        self.targets = lanes(self.nats, SUBJECT, folder / "queue")
        self.minio = DemoMinio(PROGRAMS["minio"], folder / "minio", extra=self.targets)
        self.sidecar = Sidecar(IMGTAG, folder / "imgtag")
        self.sidecar.environment["IMGTAG_CONFIG"] = str(self.file)
        self._write(folder, index)

    def _write(self, folder: Path, index: str) -> None:
        (folder / "minio.secret").write_text(self.minio.secret_key)
        self.file.write_text(
            CONFIG.format(minio=self.minio, nats=self.nats, subject=SUBJECT, folder=folder, index=index)
        )

    @property
    def mc_host(self) -> str:
        """For MC_HOST_demo: where MinIO is, and its user."""
        return self.minio.endpoint.replace("//", f"//{self.minio.access_key}:{self.minio.secret_key}@")

    def check(self) -> None:
        """Raises Failed where one of them has ended."""
        for server in (self.nats, self.minio, self.sidecar):
            if not server.running:
                raise Failed(f"{server.binary.name} has ended; its last words:\n{server.last_words}")


def demo(shell: Shell, *, watch: bool) -> None:
    """All of it. Raises Failed and ImgtagError."""
    with own_index(shell.folder) as index, ExitStack() as ending:
        site = Site(shell.folder, index)
        for server in (site.nats, site.minio, site.sidecar):
            ending.callback(server.stop)
        start(shell, site)
        show(shell, site)
        if watch:
            tell_how(shell, site)
            anyio.run(news, shell.console, site)


@contextmanager
def own_index(folder: Path) -> Iterator[str]:
    """The table of the index in the configuration; an index on a server is deleted."""
    url, key, name = os.environ.get("MEILISEARCH_URL"), os.environ.get("MEILISEARCH_KEY"), f"imgtag-demo-{token_hex(6)}"
    if not url:
        yield "[indexer.sqlite]"
        return
    (folder / "meilisearch.key").write_text(key or "")
    secret = 'api_key_file = "meilisearch.key"' if key else ""
    try:
        yield f'[indexer.meilisearch]\nurl = "{url}"\nindex = "{name}"\n{secret}'.rstrip()
    finally:
        delete_index(url, key, name)


def delete_index(url: str, key: str | None, name: str) -> None:
    """What the server has queued it does, also when nobody waits."""
    try:
        meilisearch.Client(url, key, timeout=10).delete_index(name)
    except MeilisearchError:
        print(f"the index {name} may be left on {url}: delete it there", file=sys.stderr)


def start(shell: Shell, site: Site) -> None:
    """Servers, bucket, what the sidecar needs there, sidecar."""
    shell.say(f"cd {shell.folder}")
    shell.start(site.nats)
    shell.say_exports(site.targets)
    shell.start(site.minio)
    shell.export(MC_HOST_demo=site.mc_host)
    shell.run("mc", "mb", BUCKET)
    shell.export(IMGTAG_CONFIG=str(site.file))
    shell.run("cat", str(site.file))
    shell.run("imgtag", "setup", "--yes")
    shell.start(site.sidecar)
    shell.console.print()


def show(shell: Shell, site: Site) -> None:
    """From the pictures to the searches."""
    put = upload(shell)
    found = anyio.run(label, shell.console, site)
    shell.run("mc", "stat", f"{BUCKET}/{SAMPLES[0].name}")
    for query in SEARCHES:
        shell.run("imgtag", "search", query)
    took = [found[key] - put[key] for key in found]
    shell.console.print(
        f"From put to found: {median(took):.2f} s (p50 of {len(took)} at once), {max(took):.2f} s at most."
    )


def upload(shell: Shell) -> dict[str, float]:
    """Put the samples at once; when each was begun, in monotonic seconds."""
    copy_with_credits(shell.console, shell.folder / "pictures")
    put = {}
    for line in shell.lines("mc", "cp", "--recursive", f"{shell.folder}/pictures/", f"{BUCKET}/"):
        if begun := re.search(rf"-> `{BUCKET}/(.+)`", line):  # mc says so before it sends the first byte
            put[begun[1]] = time.monotonic()
    return put


async def label(console: Console, site: Site) -> dict[str, float]:
    """Wait for the labels and show them; when each picture was found, in monotonic seconds."""
    config = load(site.file, env={})
    async with make_indexer(config) as indexer:
        try:
            found = await show_progress(console, indexer, site.check)
        except TimeoutError:
            raise Failed(f"not all were labelled in time; the sidecar said:\n{site.sidecar.last_words}") from None
        await show_labels(console, indexer, DisplayNames(config.state_dir).load())
    console.print()
    return found


def tell_how(shell: Shell, site: Site) -> None:
    """How to put a picture of one's own."""
    shell.console.print(f"MinIO: {site.minio.endpoint}, user {site.minio.access_key}, password {site.minio.secret_key}")
    shell.console.print("\nPut a picture of your own, from another terminal:")
    shell.say_exports({"MC_HOST_demo": site.mc_host})
    shell.say(shlex.join([str(PROGRAMS["mc"]), "cp", "PICTURE.jpg", f"{BUCKET}/"]))
    shell.console.print("What is labelled is shown here. Ctrl-C ends and removes everything.")


async def news(console: Console, site: Site) -> None:
    """What is labelled from now on."""
    async with make_indexer(load(site.file, env={})) as indexer:
        await show_news(console, indexer, site.check)


def main() -> int:
    """The exit code: 0, 1 where something failed, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(description="The sidecar between a real MinIO and a real nats-server.")
    parser.add_argument("--once", action="store_true", help="end when the pictures are found, instead of watching")
    once = parser.parse_args().once
    if missing := [name for name, program in PROGRAMS.items() if not program.is_file()]:
        print(
            f"not installed: {', '.join(missing)}. `make servers` builds them with Go 1.24 or newer.", file=sys.stderr
        )
        return 1
    for number in ENDS:
        signal.signal(number, signal.default_int_handler)
    return play(Console(), watch=not once and sys.stdout.isatty())


def play(console: Console, *, watch: bool) -> int:
    """The exit code of the demo in a folder of its own."""
    try:
        with tempfile.TemporaryDirectory(prefix="imgtag-demo-") as folder:
            demo(Shell(console, Path(folder)), watch=watch)
    except KeyboardInterrupt:
        console.print("Everything is ended and removed.")
        return 0 if watch else 130
    except (Failed, ImgtagError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
