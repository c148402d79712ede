"""The Debian package, built once from what is in the tree."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from packaging_support import build


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The package, which all processes of a run of the tests share: it takes about a minute to build."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "deb"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return next(folder.glob("*.deb"), None) or build(folder)
