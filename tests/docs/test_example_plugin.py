"""The example plugins: installed as those of others are, run with their own tests and by the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from PIL import Image

from docs.pages import ROOT, SITE, blocks

EXAMPLES = {path.name: path for path in (ROOT / "examples").iterdir() if (path / "pyproject.toml").exists()}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Create a virtual environment with the libraries of this one and the example."""
    folder = tmp_path_factory.mktemp("examples")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    there = Path(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip())
    (there / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    copies = [shutil.copytree(path, folder / name) for name, path in EXAMPLES.items()]  # a build leaves files behind
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, *copies], check=True)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> str:
    process = subprocess.run([python, "-m", *arguments], cwd=cwd, capture_output=True, text=True, timeout=200)
    assert 0 == process.returncode, process.stdout + process.stderr
    return process.stdout


@pytest.mark.parametrize("path", EXAMPLES.values(), ids=EXAMPLES)
def test_its_own_tests_pass(python, path):
    """The conformance suite that is shipped is among them."""
    output = run(python, "pytest", "-q", "-p", "no:cacheprovider", str(path), cwd=path)

    assert int(re.search(r"(\d+) passed", output)[1]) > 50


def test_the_classifier_is_listed_and_labels(python, tmp_path):
    """It is found by its entry point, and runs in a worker without a warning."""
    (tmp_path / "imgtag.toml").write_text("[classifier.colour-bar]\nbins = 12\n")
    Image.new("RGB", (80, 60), (250, 10, 10)).save(tmp_path / "red.png")
    records = [json.loads(line) for line in run(python, "imgtag", "plugins", "--json", cwd=tmp_path).splitlines()]
    answer = json.loads(run(python, "imgtag", "label", "--json", "red.png", cwd=tmp_path))

    status = {record["name"]: record["status"] for record in records}
    assert ["ok"] * 3 == [status.get(name) for name in ("colour-bar", "json-folder", "spool")]
    assert [{"label": "red", "confidence": 1.0}] == answer["labels"]


def test_indexer_and_source_are_checked_and_searched(python, tmp_path):
    """The commands use them like bundled ones."""
    for name in ("pictures", "spool"):
        (tmp_path / name).mkdir()
    text = (
        f'[state]\ndir = "{tmp_path}/state"\n[store.directory]\nroot = "{tmp_path}/pictures"\n[indexer.json-folder]\n'
        f'[source.spool]\nfolder = "{tmp_path}/spool"\n'
    )
    (tmp_path / "imgtag.toml").write_text(text)
    answers = [json.loads(line) for line in run(python, "imgtag", "doctor", "--json", cwd=tmp_path).splitlines()]

    assert [True] * 2 == [answer["ok"] for answer in answers if answer["check"] in {"folder", "spool"}]
    assert "" == run(python, "imgtag", "search", "--json", "fox", cwd=tmp_path)


def test_the_tutorial_shows_all_of_the_indexer():
    """The blocks of a file, joined, are the file, but for empty lines."""
    pieces: dict[str, list[str]] = {}
    for block in blocks(SITE / "tutorial" / "indexer.md"):
        if block.kind == "python":
            name, _, text = block.text.removeprefix("# ").partition("\n")
            pieces.setdefault(name, []).extend(filter(None, text.splitlines()))
    folder = EXAMPLES["imgtag_json_folder"]
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}

    assert files.keys() == pieces.keys()
    for name, text in files.items():
        assert [*filter(None, text.splitlines())] == pieces[name], name
