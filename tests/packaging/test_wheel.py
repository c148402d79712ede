"""What is in the wheel."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as opened:
        yield opened


def test_only_our_packages_are_at_the_top(wheel):
    """Nothing that could stand in for somebody else's `sidecar` or `plugins`."""
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert all(top.startswith("imgtag") for top in tops), tops


def test_every_plugin_is_in_it(wheel):
    """The list of packages is written by hand and must not lag behind the folders."""
    folders = {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert folders <= tops
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert folders | {"imgtag"} == set(settings["mypy"]["packages"])
    assert folders | {"imgtag"} == set(settings["importlinter"]["root_packages"])


@pytest.mark.parametrize(
    "name",
    [
        "imgtag/jobs/clock.jpg",
        "imgtag/config/embarrassing.toml",
        "imgtag/py.typed",
        "imgtag/web/page/index.html",
        "imgtag/web/page/vendor/LICENSE.preact",
        "imgtag_tflite/bundled/efficientnet-lite0-int8.tflite",
        "imgtag_tflite/bundled/LICENSE",
        "imgtag_tflite/bundled/LICENSE.WordNet",
        "imgtag_tflite/bundled/MODEL.toml",
        "imgtag_tflite/bundled/ancestors.tsv",
        "imgtag_tflite/bundled/labels.txt",
        "imgtag_tflite/bundled/projection.npy",
        "imgtag_tflite/bundled/words.tsv",
    ],
)
def test_what_is_needed_is_in_it(wheel, name):
    """Types, the search page, the bundled model with its words, and their licences."""
    assert name in wheel.namelist()


def test_the_model_in_it_is_that_of_the_tree(wheel):
    """No build step changes the model."""
    name = "imgtag_tflite/bundled/efficientnet-lite0-int8.tflite"

    assert (ROOT / "plugins" / name).read_bytes() == wheel.read(name)


def test_an_installation_cannot_import_the_source_roots():
    """`import sidecar` and `import plugins` belong to others."""
    for name in ("sidecar", "plugins"):
        done = subprocess.run([sys.executable, "-I", "-c", f"import {name}"], capture_output=True, text=True, cwd="/")
        assert "ModuleNotFoundError" in done.stderr
