"""The leaf nodes of the how-to, as they stand there: a site joins a hub, and does not need it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from acceptance_support import wait_until
from docs.pages import SITE, blocks
from integration.conftest import binary
from servers.nats import NatsServer
from servers.process import ServerProcess, free_port

PAGE = SITE / "howto" / "edge.md"
PASSWORDS = {"EDGE7_PASSWORD": "a-long-random-text", "ADMIN_PASSWORD": "another-long-text"}
pytestmark = pytest.mark.timeout(180)


class Shown(NatsServer):
    """A nats-server with a configuration of the page, on ports and with a folder of this test."""

    def __init__(self, folder: Path, name: str, leaves: int) -> None:
        super().__init__(binary("nats-server"), folder)
        block = next(each for each in blocks(PAGE) if each.text.startswith(f"# {name}.conf"))
        text = re.sub(r"listen: [\d.]+:4222", f"listen: 127.0.0.1:{self.port}", block.text)
        text = re.sub(r"listen: [\d.]+:7422", f"listen: 127.0.0.1:{leaves}", text)
        self.text = text.replace("/var/lib/nats", str(folder / "data"))
        remote = f'"nats-leaf://edge7:{PASSWORDS["EDGE7_PASSWORD"]}@127.0.0.1:{leaves}"'
        self.environment |= {**PASSWORDS, "HUB_URL": remote}

    def arguments(self):
        config = self.folder / "nats.conf"
        config.write_text(self.text)
        return ["-c", str(config)]


@pytest.fixture
def servers(tmp_path):
    """The hub and the site."""
    leaves = free_port()
    with ExitStack() as stack:
        yield {name: stack.enter_context(Shown(tmp_path / name, name, leaves)) for name in ("hub", "edge7")}


class Admin:
    """Runs `imgtag` with the configuration that the page has for the hub, at one of the servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = next(block.text for block in blocks(PAGE) if "domain" in block.text and block.kind == "toml")
        (folder / "admin_password").write_text(PASSWORDS["ADMIN_PASSWORD"])

    def run(self, server: ServerProcess, *arguments: str, at_hub: bool = True) -> subprocess.CompletedProcess[str]:
        text = self.text.replace("127.0.0.1:4222", f"127.0.0.1:{server.port}")
        if not at_hub:
            text = re.sub(r"(user|password_file|domain) = .*\n", "", text)
        file = self.folder / "imgtag.toml"
        file.write_text(
            f'{text}\n[store.directory]\nroot = "{self.folder}"\n[state]\ndir = "{self.folder / "state"}"\n'
        )
        command = [sys.executable, "-m", "imgtag", "--config", str(file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def admin(tmp_path):
    folder = tmp_path / "admin"
    folder.mkdir()
    return Admin(folder)


def names(done):
    """Of checks that are well."""
    return {check["check"] for check in map(json.loads, done.stdout.splitlines()) if check["ok"]}


def test_the_hub_sees_a_site_and_the_site_needs_no_hub(servers, admin):
    """Streams made at the site are seen from the hub; with the hub gone the site's are there; afterwards both again."""
    hub, edge = servers["hub"], servers["edge7"]
    made = admin.run(edge, "setup", "--yes", at_hub=False)
    assert "made: stream imgtag-edge7" in made.stdout, made.stderr
    wait_until(lambda: "stream" in names(admin.run(hub, "doctor", "--json")), 30, lambda: edge.last_words)
    assert 0 == admin.run(hub, "dlq", "list").returncode
    hub.stop()
    assert {"stream", "consumer", "permissions"} <= names(admin.run(edge, "doctor", "--json", at_hub=False))
    hub.start()
    wait_until(lambda: "permissions" in names(admin.run(hub, "doctor", "--json")), 30, lambda: edge.last_words)
