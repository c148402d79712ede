"""The example of the plugin author's guide: installed as a stranger's, tested by its own tests, used by the command."""

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
    """A Python of its own with all that this one has, and the example."""
    folder = tmp_path_factory.mktemp("example")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    there = Path(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip())
    (there / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    copy = shutil.copytree(EXAMPLE, folder / "source")  # a build leaves things behind
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
    done = subprocess.run([python, "-m", *arguments], cwd=cwd, capture_output=True, text=True, timeout=200)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(python):
    """The conformance suite that is shipped is among them."""
    said = run(python, "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE), cwd=EXAMPLE)

    assert int(re.search(r"(\d+) passed", said)[1]) > 50


def test_it_is_listed_and_labels(python, tmp_path):
    """Found by its entry point, run in a worker without anything else being said."""
    (tmp_path / "imgtag.toml").write_text("[classifier.colour-bar]\nbins = 12\n")
    Image.new("RGB", (80, 60), (250, 10, 10)).save(tmp_path / "red.png")
    listed = [json.loads(line) for line in run(python, "imgtag", "plugins", "--json", cwd=tmp_path).splitlines()]
    said = json.loads(run(python, "imgtag", "label", "--json", "red.png", cwd=tmp_path))

    assert ["ok"] == [each["status"] for each in listed if each["name"] == "colour-bar"]
    assert [{"label": "red", "confidence": 1.0}] == said["labels"]


@pytest.mark.parametrize(
    "block", [block for block in blocks(SITE / "plugins.md") if block.kind in {"python", "toml"}], ids=str
)
def test_the_guide_shows_what_is_there(block):
    """Every line of a block that names its file stands in that file, in this order."""
    named = re.match(r"# (\S+)\n", block.text)
    if named is None:
        return
    text, at = (EXAMPLE / named[1]).read_text(), 0
    for line in filter(None, block.text.splitlines()[1:]):
        at = text.find(line, at)
        assert at >= 0, line
