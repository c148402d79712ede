"""The Debian package as a file; how it is installed and removed is in test_systemd_boot.py."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from imgtag.cli.main import COMMANDS
from packaging_support import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tree(deb, tmp_path_factory) -> Path:
    """What is in it."""
    folder = tmp_path_factory.mktemp("tree")
    subprocess.run(["dpkg-deb", "--raw-extract", deb, folder], check=True)
    return folder


def test_the_same_tree_gives_the_same_package(deb, tmp_path):
    """Byte for byte, from another folder at another time."""
    again = build(tmp_path)

    assert deb.name == again.name
    assert hashlib.sha256(deb.read_bytes()).hexdigest() == hashlib.sha256(again.read_bytes()).hexdigest()


def test_it_knows_nothing_of_where_it_was_built(tree, deb):
    """No path of the build in any file, and nothing that pip would find it by."""
    places = (str(deb.parent).encode(), str(Path(__file__).parents[2]).encode())
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    traces = [path for path in files if any(place in path.read_bytes() for place in places)]

    assert [] == traces
    assert [] == [path for path in files if path.name in {"direct_url.json", "RECORD"}]


def test_nothing_is_compiled_at_the_installation(tree):
    """Every module of the sidecar and of its libraries has its bytecode, but for a few that are no Python."""
    libraries = next((tree / "usr/lib/imgtag/lib").glob("python3*/site-packages"))
    sources = set(libraries.rglob("*.py"))
    compiled = {path.parents[1] / f"{path.name.split('.')[0]}.py" for path in libraries.rglob("*.pyc")}

    assert set() == {path for path in sources - compiled if path.relative_to(libraries).parts[0].startswith("imgtag")}
    assert len(sources - compiled) <= 3, sources - compiled


def test_every_command_has_its_page(tree):
    """`man imgtag-COMMAND` for each, and `man imgtag`."""
    pages = {path.name.removesuffix(".1.gz") for path in (tree / "usr/share/man/man1").iterdir()}

    assert {"imgtag", *(f"imgtag-{name}" for name in COMMANDS)} <= pages
    assert "imgtag-dlq-list" in pages


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", "bash-completion/completions/imgtag"),
        ("zsh", "zsh/vendor-completions/_imgtag"),
        ("fish", "fish/vendor_completions.d/imgtag.fish"),
    ],
)
def test_shells_take_their_completions(tree, shell, file):
    """Each shell reads its own."""
    if not shutil.which(shell):
        missing = f"{shell} is not installed: scripts/ci-packages.sh"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    done = subprocess.run([shell, "-n", tree / "usr/share" / file], capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stderr)


def test_its_python_is_the_one_that_its_libraries_are_for(tree):
    """Another minor version of Python would not find them."""
    control = (tree / "DEBIAN/control").read_text()
    version = next((tree / "usr/lib/imgtag/lib").iterdir()).name.removeprefix("python")
    major, minor = version.split(".")

    assert f"python3 (>= {version}), python3 (<< {major}.{int(minor) + 1}~)" in control
    assert f"/usr/bin/python{version}" == str((tree / "usr/lib/imgtag/bin/python").readlink())


def test_it_asks_for_the_c_library_that_its_libraries_need(tree):
    """dpkg refuses where the loader would."""
    asked = re.search(r"libc6 \(>= (\d+)\.(\d+)\)", (tree / "DEBIAN/control").read_text())
    needed = set()
    for library in (tree / "usr/lib/imgtag").rglob("*.so*"):
        shown = subprocess.run(["readelf", "--version-info", "--wide", library], capture_output=True, text=True).stdout
        needed |= {tuple(map(int, pair)) for pair in re.findall(r"GLIBC_(\d+)\.(\d+)", shown)}

    assert max(needed) == (int(asked[1]), int(asked[2]))
