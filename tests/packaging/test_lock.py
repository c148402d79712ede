"""The locked libraries: packaging/requirements.lock."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("packaging/requirements.lock", "packaging/build.lock")
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
GLIBC = ("2_17", "2_24", "2_26", "2_27", "2_28")
"""What Debian 12 and everything newer has, and the older ones that wheels are tagged with."""
WITHOUT_WHEEL = "nkeys"


def entries(name):
    """Each library with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(line.split(" --hash=")[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


@pytest.mark.parametrize("name", LOCKS)
def test_everything_is_pinned_and_hashed(name):
    """One version each, and files that are known beforehand."""
    for requirement, hashes in entries(name):
        assert ["=="] == [specifier.operator for specifier in requirement.specifier], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", hash_) for hash_ in hashes), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_nothing_says_where_from(name):
    """Whoever installs it chooses the registry."""
    text = (ROOT / name).read_text()

    assert [] == re.findall(r"https?:|--index|--extra-index|--find-links|@ ", text)


@pytest.mark.parametrize("python", PYTHONS)
def test_it_has_what_the_project_asks_for(python):
    """Every dependency of pyproject.toml and of the extras that image and package have, in a version that it takes."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    locked = {
        canonicalize_name(each.name): next(iter(each.specifier)).version
        for each, _ in entries(LOCKS[0])
        if not each.marker or each.marker.evaluate(here)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [
        Requirement(requirement)
        for requirement in [*project["dependencies"], *extras["aws"], *extras["elasticsearch"], *extras["heif"]]
    ]

    assert len(asked) > 10
    for requirement in asked:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", [PYTHONS[0], PYTHONS[-1]])
def test_pip_can_install_it(tmp_path, python, machine):
    """With hashes required, and nothing compiled: whatever it depends on is in it, for this Python and processor.

    What the oldest and the newest Python have wheels for, those between them have as well.
    """
    wheels = [f"--platform=manylinux_{version}_{machine}" for version in GLIBC]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--ignore-installed",
        "--target",
        tmp_path,
    ]
    lock = tmp_path / "lock"
    lock.write_text(_without(WITHOUT_WHEEL, (ROOT / LOCKS[0]).read_text()))
    done = subprocess.run(
        [*command, "--require-hashes", "--only-binary=:all:", f"--python-version={python}", *wheels, "-r", lock],
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr


def _without(name, text):
    """The lock without one library: pip builds nothing for a Python that is not its own."""
    return re.sub(rf"^{name}==(.*\\\n)*.*\n", "", text, flags=re.MULTILINE)
