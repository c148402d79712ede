"""The leaf nodes in the how-to: a site joins a hub, and works without it."""

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


class DocumentedNats(NatsServer):
    """A nats-server with a configuration from the page, on the ports and in the folder of this test."""

    def __init__(self, folder: Path, name: str, leaves: int) -> None:
        super().__init__(binary("nats-server"), folder)
        block = next(block for block in blocks(PAGE) if block.text.startswith(f"# {name}.conf"))
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
    """Start the hub and the site."""
    leaves = free_port()
    with ExitStack() as stack:
        yield {name: stack.enter_context(DocumentedNats(tmp_path / name, name, leaves)) for name in ("hub", "edge7")}


class Admin:
    """Runs `imgtag` with the page's configuration for the hub, on one of the servers."""

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


def passed_checks(doctor):
    """Return the names of the checks that passed."""
    return {check["check"] for check in map(json.loads, doctor.stdout.splitlines()) if check["ok"]}


def test_the_hub_sees_a_site_and_the_site_needs_no_hub(servers, admin):
    """The hub sees the streams of the site, also again after it was down; meanwhile the site works."""
    hub, edge = servers["hub"], servers["edge7"]
    setup = admin.run(edge, "setup", "--yes", at_hub=False)
    assert "created: stream imgtag-edge7" in setup.stdout, setup.stderr
    wait_until(lambda: "stream" in passed_checks(admin.run(hub, "doctor", "--json")), describe=lambda: edge.last_words)
    assert 0 == admin.run(hub, "dlq", "list").returncode
    hub.stop()
    assert {"stream", "consumer", "permissions"} <= passed_checks(admin.run(edge, "doctor", "--json", at_hub=False))
    hub.start()
    wait_until(
        lambda: "permissions" in passed_checks(admin.run(hub, "doctor", "--json")), describe=lambda: edge.last_words
    )
