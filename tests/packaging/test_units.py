"""The systemd units as files; how they behave is in test_systemd_boot.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from imgtag.config.check import require_run
from imgtag.config.load import load
from imgtag.config.schema import PipelineSettings

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = ("imgtag.service", "imgtag@.service", "imgtag-audit.service")
EXPOSURE = 12
"""Tenths, as systemd-analyze counts them from 0 to 100."""


@pytest.fixture(scope="module")
def analyze() -> str:
    path = shutil.which("systemd-analyze")
    if not path:
        missing = "systemd-analyze is not installed: scripts/ci-packages.sh"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return path


@pytest.fixture
def alone(tmp_path) -> Path:
    """The units without the examples of drop-ins, which systemd-analyze would take for ours."""
    for name in NAMES:
        text = (UNITS / name).read_text()
        command = str(Path(sys.executable).with_name("imgtag"))  # that it exists is verified, too
        (tmp_path / name).write_text(text.replace("/usr/bin/imgtag", command))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_understood(analyze, alone, name):
    """systemd has nothing to say of them; what it does not understand it would leave out."""
    done = subprocess.run([analyze, "verify", "--man=no", alone / name], capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


@pytest.mark.parametrize("name", NAMES)
def test_the_exposure_stays_low(analyze, alone, name):
    """By systemd's own measure, at most 1.2 of 10."""
    command = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", alone / name]
    done = subprocess.run(command, capture_output=True, text=True)

    assert 0 == done.returncode, done.stdout
    assert "Failed to parse" not in done.stdout + done.stderr
    assert "" == done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_processor_can_be_seen(name):
    """Without /proc/cpuinfo inference falls back to code that is many times slower and gives other scores."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(), re.MULTILINE))

    assert "ProcSubset" not in settings
    assert "EPERM" == settings["SystemCallErrorNumber"]


def test_a_drain_is_waited_for():
    """systemd kills only what has not finished long after its own time for that."""
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", (UNITS / "imgtag.service").read_text(), re.MULTILINE)[1])

    assert stop >= PipelineSettings().drain + 10


def test_the_configuration_of_the_readme_is_one(tmp_path):
    """What it says to type is all that `imgtag run` needs."""
    block = re.search(r"<<'END'\n(.*?)\n    END\n", (UNITS / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "imgtag.toml"
    file.write_text(textwrap.dedent(block[1]))
    (tmp_path / "secret_key").write_text("secret")

    require_run(load(file, env={}))


def test_the_environment_that_the_package_suggests_is_understood(tmp_path):
    """Its commented lines are settings."""
    lines = (UNITS.parent / "packaging/deb/default").read_text().splitlines()
    env = dict(line.removeprefix("#").split("=", 1) for line in lines if line.startswith("#IMGTAG_"))
    config = load(env={**env, "IMGTAG_STATE__DIR": str(tmp_path)}, paths=())
    assert config.pipeline.require_confinement


def test_secrets_of_the_readme_are_those_of_the_unit():
    """Every name that needs nothing further is loaded, and has what it is without a file."""
    table = (UNITS / "README.md").read_text().split("| name | for |")[1].split("\n\n")[0]
    names = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    unit = (UNITS / "imgtag.service").read_text()

    assert names == set(re.findall(r"^LoadCredential=(\w+):", unit, re.MULTILINE))
    assert names == set(re.findall(r"^SetCredential=(\w+):", unit, re.MULTILINE))


def test_the_units_differ_in_names_alone():
    """What is mended in one is mended in the other."""
    one, several = ((UNITS / name).read_text() for name in NAMES[:2])
    names = {
        "one store: /etc/imgtag/imgtag.toml": "one of several stores: /etc/imgtag/%i.toml",
        "edit imgtag.service`": "edit imgtag@%i`",
        "for an object store": "for the object store %i",
        "private/imgtag": "private/imgtag@%i",
        "/usr/bin/imgtag run": "/usr/bin/imgtag --config /etc/imgtag/%i.toml run",
        "DynamicUser=yes\n": "DynamicUser=yes\nUser=imgtag-%i\n",
        "StateDirectory=imgtag\n": "StateDirectory=imgtag@%i\n",
        "/etc/default/imgtag\n": "/etc/default/imgtag@%i\n",
    }
    for old, new in names.items():
        assert old in one
        one = one.replace(old, new)
    one = re.sub(r"Credential=(\w+):", r"Credential=%i.\1:", one)
    one = re.sub(r":/etc/imgtag/(\w+)$", r":/etc/imgtag/%i.\1", one, flags=re.MULTILINE)

    assert one == several


def test_the_audit_has_the_sandbox_of_the_sidecar():
    """Its unit differs in what a command that ends needs, and in nothing that confines it."""
    sidecar, audit = ((UNITS / name).read_text().split("DynamicUser=yes\n")[1] for name in (NAMES[0], NAMES[2]))

    assert sidecar.split("\n[Install]")[0] == audit.split("User=imgtag\n")[1]


def test_the_timer_starts_the_audit(analyze, alone):
    """It is understood beside the unit of its name."""
    timer = alone / "imgtag-audit.timer"
    timer.write_bytes((UNITS / timer.name).read_bytes())
    done = subprocess.run([analyze, "verify", "--man=no", timer], capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


@pytest.mark.parametrize("example", sorted(path.name for path in (UNITS / "imgtag.service.d").iterdir()))
def test_examples_of_drop_ins_are_understood(analyze, alone, example):
    """Each as it is, beside the unit."""
    folder = alone / "imgtag.service.d"
    folder.mkdir()
    (folder / example).write_bytes((UNITS / "imgtag.service.d" / example).read_bytes())
    done = subprocess.run([analyze, "verify", "--man=no", alone / NAMES[0]], capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stdout + done.stderr)
