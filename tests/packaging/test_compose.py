"""The composition: nothing here can pull its images, so what it says is compared with what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from imgtag import __version__
from imgtag.cli.main import COMMANDS
from imgtag.config.check import require_run
from imgtag.config.load import load

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "IMGTAG_IMAGE" in service["image"]}


def test_what_it_mounts_is_there():
    """Files of the project exist, volumes are named, secrets are said to be made."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (name, source)
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        assert set(service.get("depends_on", ())) <= SERVICES.keys()


def test_its_configuration_is_valid(tmp_path):
    """With the secrets where compose puts them; each address is that of a service."""
    shutil.copy(ROOT / "compose/imgtag.toml", tmp_path)
    for secret in OURS["imgtag"]["secrets"]:
        (tmp_path / secret).write_text("secret")

    config = load(tmp_path / "imgtag.toml", env={"CREDENTIALS_DIRECTORY": str(tmp_path)})

    require_run(config)
    text = (ROOT / "compose/imgtag.toml").read_text()
    assert set(re.findall(r"//([a-z]+):", text)) <= SERVICES.keys()


def test_our_containers_are_as_small_as_they_can_be():
    """Read-only, without rights; stopped no sooner than it drains; of this version."""
    for name, service in OURS.items():
        assert service["read_only"], name
        assert ["all"] == service["cap_drop"]
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert f"imgtag-sidecar:{__version__}}}" in service["image"]
    assert int(OURS["imgtag"]["stop_grace_period"].removesuffix("s")) > 25
    assert OURS["setup"]["command"].split()[0] in COMMANDS


def test_ports_are_for_this_machine_alone():
    """Nothing is published to the network by itself."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert ports
    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


def test_no_secret_stands_in_it():
    """All of them are files that are not in the project."""
    assert "compose/secrets/" in (ROOT / ".gitignore").read_text()
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./compose/secrets/")


def test_prometheus_reads_its_configuration(tmp_path):
    """With the alerts beside it, as they are mounted."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    shutil.copy(ROOT / "compose/prometheus.yml", tmp_path)
    shutil.copy(ROOT / "helm/imgtag/files/alerts.yaml", tmp_path)

    done = subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
