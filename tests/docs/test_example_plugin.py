"""The example in the plugin guide: installed as a third-party plugin, run with its own tests and by the command."""

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

EXAMPLE = ROOT / "examples" / "imgtag_colour_bar"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Create a virtual environment with the libraries of this one and the example."""
    folder = tmp_path_factory.mktemp("example")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    there = Path(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip())
    (there / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    copy = shutil.copytree(EXAMPLE, folder / "source")  # a build leaves files in its source folder
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
    subprocess.run([*command, copy], check=True)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> str:
    process = subprocess.run([python, "-m", *arguments], cwd=cwd, capture_output=True, text=True, timeout=200)
    assert 0 == process.returncode, process.stdout + process.stderr
    return process.stdout


def test_its_own_tests_pass(python):
    """They include the shipped conformance suite."""
    output = run(python, "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE), cwd=EXAMPLE)

    assert int(re.search(r"(\d+) passed", output)[1]) > 50


def test_it_is_listed_and_labels(python, tmp_path):
    """imgtag finds it by its entry point and runs it in a worker, without further configuration."""
    (tmp_path / "imgtag.toml").write_text("[classifier.colour-bar]\nbins = 12\n")
    Image.new("RGB", (80, 60), (250, 10, 10)).save(tmp_path / "red.png")
    listed = [json.loads(line) for line in run(python, "imgtag", "plugins", "--json", cwd=tmp_path).splitlines()]
    result = json.loads(run(python, "imgtag", "label", "--json", "red.png", cwd=tmp_path))

    assert ["ok"] == [plugin["status"] for plugin in listed if plugin["name"] == "colour-bar"]
    assert [{"label": "red", "confidence": 1.0}] == result["labels"]


@pytest.mark.parametrize(
    "block", [block for block in blocks(SITE / "plugins.md") if block.kind in {"python", "toml"}], ids=str
)
def test_the_guide_shows_the_example(block):
    """Every line of a block that names its file is in that file, in this order."""
    header = re.match(r"# (\S+)\n", block.text)
    if header is None:
        return
    text, at = (EXAMPLE / header[1]).read_text(), 0
    for line in filter(None, block.text.splitlines()[1:]):
        at = text.find(line, at)
        assert at >= 0, line
