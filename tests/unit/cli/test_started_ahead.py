"""``imgtag label`` and ``imgtag run`` start a worker first, and no process that they do not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imgtag.cli.main import CONFIGURATION, DONE, USAGE, main
from imgtag.workers import process as process_module


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The worker processes that are started."""
    found: list[subprocess.Popen[bytes]] = []
    start = process_module.subprocess.Popen

    def watched(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = start(command, **options)
        if "imgtag.workers.child" in command:
            found.append(process)
        return process

    monkeypatch.setattr(process_module.subprocess, "Popen", watched)
    return found


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # there is no configuration
    path = tmp_path / "picture.png"
    Image.new("RGB", (32, 32)).save(path)
    return str(path)


def test_a_picture_takes_one_process(
    picture: str, processes: list[subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", picture]) == DONE
    assert capsys.readouterr().out
    (process,) = processes
    assert process.returncode is not None, "it is ended and reaped"


@pytest.mark.parametrize("command", ["label", "run"])
def test_a_wrong_configuration_leaves_no_process(
    command: str, picture: str, processes: list[subprocess.Popen[bytes]]
) -> None:
    Path("imgtag.toml").write_text("[nonsense]\n")
    assert main([command, *([picture] if command == "label" else [])]) == CONFIGURATION
    (process,) = processes
    assert process.returncode is not None


@pytest.mark.parametrize(("arguments", "code"), [([], USAGE), (["--help"], DONE), (["--no-such", "a.jpg"], USAGE)])
def test_who_labels_nothing_starts_no_process(
    arguments: list[str], code: int, processes: list[subprocess.Popen[bytes]]
) -> None:
    assert main(["label", *arguments]) == code
    assert processes == []


def test_wrong_usage_is_answered_at_once() -> None:
    """That is: without what only labelling needs."""
    script = (
        "import sys; from imgtag.cli.main import main; main(['label']); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"pydantic", "anyio", "asyncio", "numpy"} & {*done.stdout.split()}
