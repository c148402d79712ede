"""The composition: nothing here can pull its images, so what it says is compared with what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from minio import Minio
from PIL import Image

from acceptance_support import wait_until
from fake_meilisearch import FakeMeilisearch
from imgtag import __version__
from imgtag.cli.main import COMMANDS
from imgtag.config.check import require_run
from imgtag.config.load import load
from integration.conftest import binary
from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "IMGTAG_IMAGE" in service["image"]}
IMGTAG = [sys.executable, "-m", "imgtag", "--config"]
ADMINISTRATORS = {"minio_root_password", "meilisearch_master_key", "nats_minio_password"}


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
        (tmp_path / secret).write_text("a secret of the tests")

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


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """The secrets that the script makes, where the command finds them."""
    folder = tmp_path / "secrets"
    subprocess.run([sys.executable, ROOT / "scripts/compose_secrets.py", folder], check=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_script_makes_each_secret_once(secrets, tmp_path):
    """All that the composition names, each another one; a second run leaves them, and the folder is ours alone."""
    subprocess.run([sys.executable, ROOT / "scripts/compose_secrets.py", tmp_path / "secrets"], check=True)

    assert COMPOSE["secrets"].keys() == secrets.keys()
    assert len(set(secrets.values())) == len(secrets)
    assert secrets == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert 0o700 == (tmp_path / "secrets").stat().st_mode & 0o777


def test_the_sidecar_has_no_administrators_secret():
    """Only servers, and the jobs that make its users, have one. Its users are its own."""
    assert {"minio", "nats", "meilisearch", "store-user", "index-key"} == {
        name for name, service in SERVICES.items() if ADMINISTRATORS & set(service.get("secrets", ()))
    }
    text = (ROOT / "compose/imgtag.toml").read_text()
    assert f'access_key = "{SERVICES["minio"]["environment"]["MINIO_ROOT_USER"]}"' not in text


@pytest.mark.parametrize(
    ("server", "file"),
    [("s3", "minio-policy.json"), ("nats", "nats-permissions.conf"), ("meilisearch", "meilisearch-key.json")],
)
def test_its_permissions_are_those_that_the_command_prints(secrets, server, file):
    """For this very configuration."""
    command = [*IMGTAG, ROOT / "compose/imgtag.toml", "policy", server]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    committed = (ROOT / "compose" / file).read_text()

    if server == "meilisearch":
        uid = {"uid": json.loads(committed)["uid"]}  # our addition: the key's value follows from it
        assert {**uid, **json.loads(printed)} == json.loads(committed)
    else:
        assert printed == committed


@pytest.mark.timeout(180)
def test_its_users_are_enough_for_all_work(secrets, tmp_path):
    """The composition's own commands make the users; with these, setup and run label and index an upload."""
    (tmp_path / "nats").mkdir()
    shutil.copy(ROOT / "compose/nats-permissions.conf", tmp_path / "nats")
    conf = (ROOT / "compose/nats.conf").read_text()
    authorization = conf[conf.index("authorization") :]
    environment = {"NATS_MINIO_PASSWORD": secrets["nats_minio_password"], "NATS_PASSWORD": secrets["nats_password"]}
    with FakeMeilisearch(secrets["meilisearch_master_key"]) as meilisearch:
        nats = NatsServer(binary("nats-server"), tmp_path / "nats", extra=authorization)
        nats.environment |= environment
        settings = {name: text for name, text in SERVICES["minio"]["environment"].items() if "NATS" in name}
        settings |= {name: f"127.0.0.1:{nats.port}" for name in settings if "ADDRESS" in name}
        settings |= {name: str(tmp_path / "queue") for name in settings if "QUEUE_DIR" in name}
        settings |= {f"MINIO_NOTIFY_NATS_PASSWORD_{name}": secrets["nats_minio_password"] for name in ("FAST", "SAFE")}
        minio = MinioServer(minio_binary(), tmp_path / "minio", extra=settings)
        minio.environment |= {"MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": secrets["minio_root_password"]}
        addresses = {
            "http://minio:9000": minio.endpoint,
            "minio:9000": f"127.0.0.1:{minio.port}",
            "nats://nats:4222": nats.url,
            "http://meilisearch:7700": meilisearch.url,
            "/run/secrets": str(tmp_path / "secrets"),
            "/etc/imgtag": str(ROOT / "compose"),
            "$$": "$",
        }

        def local(text: str) -> str:
            for name, address in addresses.items():
                text = text.replace(name, address)
            return text

        def run_job(name: str) -> None:
            path = f"{minio_binary().parent}:/usr/bin:/bin"
            job = subprocess.run(
                [*SERVICES[name]["entrypoint"][:2], local(SERVICES[name]["entrypoint"][2])],
                env={"PATH": path, "HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert 0 == job.returncode, job.stdout + job.stderr

        with nats, minio:
            for _ in range(2):  # as when the composition is started again
                run_job("store-user")
                run_job("index-key")
            config = tmp_path / "imgtag.toml"
            config.write_text(
                local((ROOT / "compose/imgtag.toml").read_text()).replace("0.0.0.0:9464", "127.0.0.1:0")
                + f'[state]\ndir = "{tmp_path / "state"}"\n'
            )
            setup = subprocess.run([*IMGTAG, config, "setup", "--yes"], timeout=60, capture_output=True, text=True)
            assert 0 == setup.returncode, setup.stdout + setup.stderr
            with (tmp_path / "log").open("wb") as log:
                sidecar = subprocess.Popen([*IMGTAG, config, "run"], stdout=log, stderr=log)
                try:
                    admin = Minio(f"127.0.0.1:{minio.port}", "root", secrets["minio_root_password"], secure=False)
                    picture = BytesIO()
                    Image.new("RGB", (64, 64), (200, 30, 30)).save(picture, "PNG")
                    admin.put_object("photos", "red.png", BytesIO(picture.getvalue()), len(picture.getvalue()))
                    wait_until(
                        lambda: "x-amz-meta-imgtag-mark" in admin.stat_object("photos", "red.png").metadata,
                        describe=(tmp_path / "log").read_text,
                    )
                    command = [
                        *IMGTAG,
                        config,
                        "search",
                        "--json",
                        "bucket:photos status:labelled or status:unlabelled",
                    ]
                    wait_until(lambda: subprocess.run(command, capture_output=True).stdout)
                finally:
                    sidecar.terminate()
                    sidecar.wait(40)
