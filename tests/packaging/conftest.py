"""The Debian package, built once from what is in the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from packaging_support import build


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package."""
    return build(tmp_path_factory.mktemp("deb"))
