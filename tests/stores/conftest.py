"""One server of each kind, where it is installed."""

import os
from contextlib import ExitStack

import pytest

from servers.stores import SCRIPT

CI = {"minio", "versitygw"}
"""Those that must be there on CI; the others take too long to build."""


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts servers by class, each once. Where one is not installed the test is skipped, and on CI may fail."""
    running = {}
    with ExitStack() as stack:

        def start(kind):
            if kind not in running:
                path = SCRIPT["find"](kind.name)
                if path is None:
                    missing = f"{kind.name} is not installed: python scripts/servers.py install {kind.name}"
                    (pytest.fail if os.environ.get("CI") == "true" and kind.name in CI else pytest.skip)(missing)
                running[kind] = stack.enter_context(kind(path, tmp_path_factory.mktemp(kind.name)))
            return running[kind]

        yield start
