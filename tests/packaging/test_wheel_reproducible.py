"""The wheel hangs on the commit alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("LICENSE", "README.md", "pyproject.toml", "sidecar", "plugins")


def built(folder: Path, **env: str) -> str:
    """The digest of the wheel of a copy of the tree in this folder."""
    source = folder / "source"
    source.mkdir(parents=True)
    for part in PARTS:
        path = ROOT / part
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, source / part, ignore=leave) if path.is_dir() else shutil.copy(path, source)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(command, cwd=source, check=True, capture_output=True, env={**os.environ, **env}, timeout=120)
    (wheel,) = (source / "dist").glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_the_wheel_is_the_same_wherever_it_is_built(tmp_path):
    """In another folder, with other times, another umask and another order of hashing."""
    one = built(tmp_path / "one", SOURCE_DATE_EPOCH="1700000000", PYTHONHASHSEED="1")
    before = os.umask(0o077)
    try:
        other = built(
            tmp_path / "elsewhere" / "other", SOURCE_DATE_EPOCH="1700000000", PYTHONHASHSEED="2", TZ="Asia/Tokyo"
        )
    finally:
        os.umask(before)

    assert one == other
