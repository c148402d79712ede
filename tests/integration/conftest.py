"""Servers for all integration tests, each started once. Where a binary is missing: skipped, and on CI failed."""

import os
import runpy
from pathlib import Path

import pytest

from servers.nats import NatsServer
from servers.toxiproxy import Toxiproxy

SERVERS = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "servers.py"))


def binary(name):
    """Where a server is; skips or fails the test where it is not."""
    path = SERVERS["find"](name)
    if path is None:
        missing = f"{name} is not installed: python scripts/servers.py install {name}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return path


@pytest.fixture(scope="session")
def nats(tmp_path_factory):
    """nats-server with JetStream, where anybody may do anything; tests keep apart by names of their own."""
    with NatsServer(binary("nats-server"), tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def make_nats(tmp_path):
    """Makes a nats-server for one test, which may stop it: keyword arguments as for `NatsServer`."""
    servers = []

    def make(**options):
        server = NatsServer(binary("nats-server"), tmp_path / f"nats-{len(servers)}", **options)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def toxiproxy(tmp_path_factory):
    """A proxy that slows, cuts and limits."""
    with Toxiproxy(binary("toxiproxy-server"), tmp_path_factory.mktemp("toxiproxy")) as server:
        yield server
