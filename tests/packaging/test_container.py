"""The image is built and run: read-only, without root, without rights, between a real MinIO and a real nats-server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from minio import Minio

from acceptance_support import wait_until
from attack.report import Report
from fake_meilisearch.server import FakeMeilisearch
from integration.conftest import binary
from servers.container import Engine, Running, engine
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.process import free_port

ROOT = Path(__file__).parents[2]
CAT = Path(find_spec("skimage").origin).parent / "data/chelsea.png"
KEY = "key-of-the-index-0123456789"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Engine:
    """The image, built once."""
    folder = tmp_path_factory.mktemp("engine")
    made = engine(folder)
    made.build()
    yield made
    shutil.rmtree(folder / "graph", ignore_errors=True)


@pytest.fixture(scope="module")
def idle(made: Engine) -> Iterator[Running]:
    """A container without a configuration that does nothing: each container is a copy of all that is in the image."""
    running = made.start("--entrypoint", "sleep", arguments=("infinity",))
    yield running
    running.remove()


def test_a_worker_that_is_taken_over_reaches_nothing(made):
    """The attack of `tests/attack` within the image, under the engine's own profile of system calls."""
    volume = ("--volume", f"{ROOT / 'tests/attack'}:/attack:ro", "--tmpfs", "/tmp")
    done = made.run("/attack/victim.py", "/tmp/x", options=(*volume, "--entrypoint", "/opt/imgtag/bin/python"))

    Report.read(done.stdout, "container").require_confined()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    with (
        FakeMeilisearch(master_key=KEY) as meilisearch,
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, "imgtag.local.events", folder / "q")) as minio,
    ):
        yield minio, nats, meilisearch


def configured(folder: Path, servers, port: int) -> tuple[str, ...]:
    """Options that mount the configuration and the secrets."""
    minio, nats, meilisearch = servers
    (folder / "imgtag.toml").write_text(
        f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
        'secret_key_file = "secret_key"\n'
        f'[source.nats]\nurl = "{nats.url}"\n[indexer.meilisearch]\nurl = "{meilisearch.url}"\n'
        f'api_key_file = "meilisearch_key"\n[ops]\nlisten = "127.0.0.1:{port}"\n[pipeline]\nworkers = 1\n'
        "require_confinement = true\n"
        '[labels]\nmark_key_file = "mark_key"\n[[rules]]\nbucket = "photos"\n'
    )
    (folder / "mark_key").write_text("every container of the site has this one")
    (folder / "secret_key").write_text(minio.secret_key)
    (folder / "meilisearch_key").write_text(KEY)
    names = {"imgtag.toml": "/etc/imgtag", "secret_key": "/run/secrets", "meilisearch_key": "/run/secrets"}
    names["mark_key"] = "/run/secrets"  # what setup would create goes with its container
    for name in names:
        (folder / name).chmod(0o644)
    return tuple(part for name, to in names.items() for part in ("--volume", f"{folder / name}:{to}/{name}:ro"))


def test_a_picture_goes_through_the_container(made, servers, tmp_path):
    """Set up, labelled, found, healthy; SIGTERM drains; nothing was written but state; nobody but 65532 ran."""
    tmp_path.chmod(0o755)
    minio, _, _ = servers
    options = configured(tmp_path, servers, free_port())
    user = Minio(f"127.0.0.1:{minio.port}", minio.access_key, minio.secret_key, secure=False, region="us-east-1")
    user.make_bucket("photos")
    running = made.start(*options)
    try:
        wait_until(lambda: '"ready"' in running.logs(), describe=running.logs)
        running.exec("imgtag", "setup", "--yes")
        user.fput_object("photos", "cat.png", str(CAT), content_type="image/png")
        wait_until(
            lambda: "photos/cat.png" in running.exec("imgtag", "search", "--keys", "cat").stdout, describe=running.logs
        )

        assert "x-amz-meta-imgtag_tiger+cat" in user.stat_object("photos", "cat.png").metadata
        assert running.exec("imgtag", "doctor", "--json").stdout.count('"ok": true') > 10
        running.exec("imgtag", "status", "--check")
        owners = running.exec("sh", "-c", "for p in /proc/[0-9]*; do grep -h ^Uid: $p/status; done").stdout
        assert {"65532"} == set(re.findall(r"Uid:\s+(\d+)", owners))
        status = running.exec("sh", "-c", "cat /proc/1/status").stdout
        assert re.search(r"CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"NoNewPrivs:\s+1", status)
        assert 0 == running.stop()
        assert [] == [
            path for path in running.changed() if not path.startswith(("/etc", "/run", "/var", "/tmp", "/dev"))
        ]
        assert '"stopped"' in running.logs()
    finally:
        running.remove()


def test_without_a_configuration_it_says_what_to_write(idle):
    """Exit 78, so that no orchestrator takes it for a crash of ours."""
    done = idle.exec("imgtag", "run", code=78)

    assert "no store is configured" in done.stderr


def test_the_image_holds_no_more_than_it_needs(idle):
    """No compiler, no pip of ours, no cache; a user without a name to log in by; nothing to be written."""
    script = (
        "command -v gcc cc make git; ls /root/.cache /opt/imgtag/bin/pip* /build 2>/dev/null; touch /x /opt/x /etc/x"
    )
    done = idle.exec("sh", "-c", f"{script}; id -u; true")

    assert "65532" == done.stdout.strip()
    assert 3 == done.stderr.count("Read-only file system")


def test_the_image_says_what_it_is(made, idle):
    """Labels, health check, user, entry point; its bill of materials names every library with its version."""
    image = made.image()
    labels, config = image["Config"]["Labels"], image["Config"]

    assert ("imgtag-sidecar", "Apache-2.0", "test") == tuple(
        labels[f"org.opencontainers.image.{name}"] for name in ("title", "licenses", "version")
    )
    assert (["imgtag"], ["run"], "65532:65532") == (config["Entrypoint"], config["Cmd"], config["User"])
    assert ["CMD", "imgtag", "status", "--check"] == (config.get("Healthcheck") or image["Healthcheck"])["Test"]
    sbom = json.loads(idle.exec("cat", labels["imgtag.sbom"]).stdout)
    there = {(component["name"].lower().replace("_", "-"), component["version"]) for component in sbom["components"]}
    locked = re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / "packaging/requirements.lock").read_text(), re.MULTILINE)
    assert "CycloneDX" == sbom["bomFormat"]
    assert {"minio", "nats-py", "meilisearch", "pillow", "ai-edge-litert", "watchdog"} <= {name for name, _ in there}
    assert [] == [pair for pair in there if pair[0] in dict(locked) and pair not in set(locked)]
