"""Workers that can import the classifiers of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_LAUNCHER = """#!{python} -I
import runpy, sys
sys.path.append({folder!r})
sys.argv = sys.argv[3:]
runpy.run_module("imgtag.workers.child", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def misdeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The entry point of the classifier that breaks the protocol; a worker sees nothing of this folder otherwise."""
    launcher = tmp_path / "python"
    launcher.write_text(_LAUNCHER.format(python=sys.executable, folder=str(HERE)))
    launcher.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(launcher))
    return "misdeeds:SPEC"
