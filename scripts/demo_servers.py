#!/usr/bin/env python3
"""Run the whole sidecar with a real MinIO and a real nats-server, and show the commands that an admin types.

python scripts/demo_servers.py [--once]

Everything lives in a temporary folder and on free loopback ports, and is stopped and removed at the end. The index is
SQLite or, if MEILISEARCH_URL (and MEILISEARCH_KEY) are set, a temporary index on that server.
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

find_program: Callable[[str], Path | None] = runpy.run_path(str(HERE / "servers.py"))["find"]
PROGRAMS = {name: find_program(name) or Path() for name in ("minio", "mc", "nats-server")}
IMGTAG = Path(sys.executable).with_name("imgtag")
BUCKET = "demo/photos"
"""In mc's notation: its alias for the server, and the bucket."""
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
    """The demo cannot continue; the message is for the user."""


class DemoMinio(MinioServer):
    """Everyone on this machine can reach loopback, so each run has a new password."""

    access_key = "demo"
    secret_key = token_hex(12)


class Sidecar(ServerProcess):
    """`imgtag run`. On a slow machine, loading the model takes a while."""

    patience = 60.0

    def arguments(self) -> Sequence[str]:
        return ["run"]

    def ready(self) -> bool:
        """Whether the log has the event `ready`."""
        return any(
            json.loads(line)["event"] == "ready" for line in self.log.read_text().splitlines() if line[:1] == "{"
        )


class Shell:
    """Prints each command and runs it in ``folder``."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.console = console
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMGTAG_", "MC_"))}
        places = dict.fromkeys(str(program.parent) for program in (IMGTAG, *PROGRAMS.values()))
        path = os.pathsep.join([*places, os.environ.get("PATH", os.defpath)])
        self._environment = {**inherited, "PATH": path, "MC_CONFIG_DIR": str(folder / "mc")}

    def say(self, line: str) -> None:
        """Print a command line with paths relative to the folder."""
        self.console.print(Text(f"$ {line.replace(f'{self.folder}/', '')}", style="bold"), soft_wrap=True)

    def say_exports(self, variables: Mapping[str, str]) -> None:
        """Print variables as export commands."""
        for name, value in variables.items():
            self.say(f"export {name}={shlex.quote(value)}")

    def export(self, **variables: str) -> None:
        """Set variables for the following commands."""
        self._environment |= variables
        self.say_exports(variables)

    def run(self, *command: str) -> None:
        """Run a command and show its output. Raises Failed."""
        self.say(shlex.join(command))
        process = subprocess.run(command, cwd=self.folder, env=self._environment, check=False)  # noqa: S603 - of this file
        self._require(process.returncode, command)
        self.console.print()

    def lines(self, *command: str) -> Iterator[str]:
        """Run a command and yield each line of its output as it arrives. Raises Failed."""
        self.say(shlex.join(command))
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=pipe, text=True) as process:  # noqa: S603 - of this file
            assert process.stdout
            yield from process.stdout
        self._require(process.returncode, command)

    def _require(self, code: int, command: Sequence[str]) -> None:
        if code:
            raise Failed(f"`{shlex.join(command)}` exited with {code}")

    def start(self, server: ServerProcess) -> None:
        """Start a server in the background. Raises Failed."""
        server.folder.mkdir()
        self.say(shlex.join([server.binary.name, *server.arguments()]) + " &")
        try:
            with held_signals():
                server.start()
        except RuntimeError as error:
            raise Failed(str(error)) from error


@contextmanager
def held_signals() -> Iterator[None]:
    """Delay signals that end the demo until a starting process is known and can be stopped too."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            raise KeyboardInterrupt


class Site:
    """The two servers and the sidecar."""

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
        """The value of MC_HOST_demo: MinIO's address and user."""
        return self.minio.endpoint.replace("//", f"//{self.minio.access_key}:{self.minio.secret_key}@")

    def check(self) -> None:
        """Raise Failed if a process has ended."""
        for server in (self.nats, self.minio, self.sidecar):
            if not server.running:
                raise Failed(f"{server.binary.name} has ended; its last output:\n{server.last_words}")


def demo(shell: Shell, *, watch: bool) -> None:
    """Run the whole demo. Raises Failed and ImgtagError."""
    with temporary_index(shell.folder) as index, ExitStack() as stack:
        site = Site(shell.folder, index)
        for server in (site.nats, site.minio, site.sidecar):
            stack.callback(server.stop)
        start(shell, site)
        show(shell, site)
        if watch:
            show_upload_commands(shell, site)
            anyio.run(watch_uploads, shell.console, site)


@contextmanager
def temporary_index(folder: Path) -> Iterator[str]:
    """Yield the index table for the configuration; afterwards delete the index from a server."""
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
    """Delete the index without waiting: the server works off its queue."""
    try:
        meilisearch.Client(url, key, timeout=10).delete_index(name)
    except MeilisearchError:
        print(f"the index {name} may remain on {url}: delete it there", file=sys.stderr)


def start(shell: Shell, site: Site) -> None:
    """Start the servers, create the bucket, set up the servers, start the sidecar."""
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
    """Upload the images, wait for their labels, search them."""
    uploaded = upload(shell)
    indexed = anyio.run(label, shell.console, site)
    shell.run("mc", "stat", f"{BUCKET}/{SAMPLES[0].name}")
    for query in SEARCHES:
        shell.run("imgtag", "search", query)
    seconds = [indexed[key] - uploaded[key] for key in indexed]
    shell.console.print(
        f"From upload to search: {median(seconds):.2f} s (median of {len(seconds)}), {max(seconds):.2f} s at most."
    )


def upload(shell: Shell) -> dict[str, float]:
    """Upload the samples together; return the start of each upload in monotonic seconds."""
    copy_with_credits(shell.console, shell.folder / "pictures")
    started = {}
    for line in shell.lines("mc", "cp", "--recursive", f"{shell.folder}/pictures/", f"{BUCKET}/"):
        if match := re.search(rf"-> `{BUCKET}/(.+)`", line):  # mc prints this before it sends the first byte
            started[match[1]] = time.monotonic()
    return started


async def label(console: Console, site: Site) -> dict[str, float]:
    """Wait for the labels and show them; return when each image was indexed, in monotonic seconds."""
    config = load(site.file, env={})
    async with make_indexer(config) as indexer:
        try:
            indexed = await show_progress(console, indexer, site.check)
        except TimeoutError:
            raise Failed(
                f"imgtag did not label all images in time; the last output of the sidecar:\n{site.sidecar.last_words}"
            ) from None
        await show_labels(console, indexer, DisplayNames(config.state_dir).load())
    console.print()
    return indexed


def show_upload_commands(shell: Shell, site: Site) -> None:
    """Print the commands that upload another image."""
    shell.console.print(f"MinIO: {site.minio.endpoint}, user {site.minio.access_key}, password {site.minio.secret_key}")
    shell.console.print("\nUpload your own image from another terminal:")
    shell.say_exports({"MC_HOST_demo": site.mc_host})
    shell.say(shlex.join([str(PROGRAMS["mc"]), "cp", "IMAGE.jpg", f"{BUCKET}/"]))
    shell.console.print("Newly labelled images appear here. Ctrl-C stops and removes everything.")


async def watch_uploads(console: Console, site: Site) -> None:
    """Show images as they are labelled."""
    async with make_indexer(load(site.file, env={})) as indexer:
        await show_news(console, indexer, site.check)


def main() -> int:
    """Return the exit code: 0, 1 if something failed, 130 if interrupted."""
    parser = argparse.ArgumentParser(description="Run the sidecar with a real MinIO and a real nats-server.")
    parser.add_argument("--once", action="store_true", help="exit after the searches instead of watching")
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
    """Run the demo in a temporary folder and return the exit code."""
    try:
        with tempfile.TemporaryDirectory(prefix="imgtag-demo-") as folder:
            demo(Shell(console, Path(folder)), watch=watch)
    except KeyboardInterrupt:
        console.print("Everything is stopped and removed.")
        return 0 if watch else 130
    except (Failed, ImgtagError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
