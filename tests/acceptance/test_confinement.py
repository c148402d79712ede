"""What a kernel grants to confine workers is said, and can be required."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.conftest import IMGTAG, Site
from acceptance_support import wait_until

DENY = Path(__file__).parents[1] / "attack" / "deny.py"
FEATURES = ("landlock", "seccomp", "dumpable")


def without(feature: str) -> list[str]:
    """The beginning of a command that runs on a kernel without this."""
    return [sys.executable, str(DENY), feature]


def confinement(site: Site) -> dict[str, float]:
    return {feature: site.metric(f'imgtag_worker_confinement{{feature="{feature}"}}') for feature in FEATURES}


def test_confined_workers_are_no_news(site: Site) -> None:
    """The metric shows what is in force, also where it is required, and nothing is logged."""
    site.configure(pipeline="require_confinement = true")
    site.start()

    assert confinement(site) == dict.fromkeys(FEATURES, 1)
    assert "worker_confinement_incomplete" not in site.events()


@pytest.mark.parametrize("feature", ["landlock", "seccomp"])
def test_missing_confinement_is_said_once_and_pictures_go_on(
    site: Site, feature: str, photographs: dict[str, bytes]
) -> None:
    (site.root / "cup.jpg").write_bytes(photographs["espresso"])
    site.start(under=without(feature))

    wait_until(site.marked)
    assert confinement(site) == {**dict.fromkeys(FEATURES, 1), feature: 0}
    (warning,) = (line for line in site.lines() if line["event"] == "worker_confinement_incomplete")
    assert warning["missing"] == [feature]
    assert "Linux 5.13" in warning["hint"]


@pytest.mark.parametrize("feature", ["landlock", "seccomp"])
def test_missing_confinement_can_be_a_refusal(site: Site, feature: str) -> None:
    """Exit code 78: a restart mends nothing."""
    site.configure(pipeline="require_confinement = true")
    command = [*without(feature), *IMGTAG, "--config", str(site.file), "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 78
    assert f"`require_confinement` under [pipeline]: the kernel does not grant {feature} here" in done.stderr
    assert "Linux 5.13" in done.stderr


def test_doctor_says_what_confines_workers(site: Site) -> None:
    def check(*under: str) -> dict[str, object]:
        command = [*under, *IMGTAG, "--config", str(site.file), "doctor", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return next(line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "confinement")

    assert check()["ok"]
    missing = check(*without("landlock"))
    assert not missing["ok"]
    assert "the kernel does not grant landlock" in missing["message"]
