"""Builds the Debian package for the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(folder: Path, *, at: str = "1700000000") -> Path:
    """The package, in this folder, as if of this time."""
    if not shutil.which("dpkg-deb"):
        missing = "dpkg-deb is not there: a Debian package is built on a Debian"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    command = [sys.executable, ROOT / "packaging/deb/build.py", "--output", folder]
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": at, "TMPDIR": str(folder)}, timeout=600)
    (package,) = folder.glob("*.deb")
    return package
