"""`imgtag plugins`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgtag.cli.main import main

GOOD = """
from imgtag.plugin.spec import PluginSpec
SPEC = PluginSpec(name="acme", kind="store", summary="For [tests].", factory="acme_good:make")

def make(settings, context): ...
"""


@pytest.fixture(autouse=True)
def drop_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A good plugin and a broken one."""
    folder = tmp_path / "drop-ins"
    folder.mkdir(mode=0o755)
    for name, source in {"acme_good": GOOD, "acme_broken": "raise RuntimeError('no GPU')"}.items():
        path = folder / f"{name}.py"
        path.write_text(source)
        path.chmod(0o644)
    monkeypatch.setenv("IMGTAG_PLUGINS__DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("acme_good", None)


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly the fields that are promised, for the broken one too; a broken plugin does not make the list fail."""
    assert 0 == main(["plugins", "--json"])

    out, talk = capsys.readouterr()
    records = {record["name"]: record for record in map(json.loads, out.splitlines())}
    assert {"kind": "store", "name": "acme", "summary": "For [tests].", "status": "ok", "reason": ""} == records["acme"]
    broken = {"kind": None, "name": "acme_broken", "summary": "", "status": "broken", "reason": "RuntimeError: no GPU"}
    assert broken == records["acme_broken"]
    assert "" == talk


def test_table_is_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, status and what is wrong; brackets in a plugin's words are words."""
    monkeypatch.setenv("COLUMNS", "240")

    assert 0 == main(["plugins"])

    out = capsys.readouterr().out
    assert "For [tests]." in out
    assert "RuntimeError: no GPU" in out


def test_nothing_is_cut_in_a_pipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """However narrow a terminal would be: each plugin is one line, with its whole path."""
    assert 0 == main(["plugins"])

    lines = capsys.readouterr().out.splitlines()
    assert any(f"{tmp_path}/drop-ins/acme_broken.py" in line and "RuntimeError: no GPU" in line for line in lines)
