"""What the chart's containers run, with their arguments, environment and configuration, between servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import pytest
from minio import Minio

from acceptance_support import wait_until
from chart_support import ROOT, config_file, one, render, tool, workload
from fake_meilisearch.server import FakeMeilisearch
from servers.minio import MinioServer, lanes
from servers.nats import NatsServer
from servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MEILISEARCH_KEY = "key-of-the-tests"
MODEL = ROOT / "plugins" / "imgtag_tflite" / "bundled" / "efficientnet-lite0-int8.tflite"


class Pod:
    """The processes of a pod, without the walls around them: its folders are in one of the test's."""

    def __init__(self, objects, folder):
        self.template = workload(objects)["spec"]["template"]["spec"]
        self.test = one(objects, "Pod")["spec"]["containers"][0]
        self.main = self.template["containers"][0]
        self.folder = folder
        self.file = folder / "imgtag.toml"
        self.file.write_text(config_file(objects))
        self.log = folder / "log"
        self.process = None

    def run(self, container, *, code=0):
        """A container that ends by itself: what it printed."""
        done = subprocess.run(
            self._command(container["args"]), capture_output=True, text=True, env=self._env(container)
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def started(self):
        """The sidecar's own container, which never outlives the test."""
        command, env = self._command(self.main["args"]), self._env(self.main)
        with self.log.open("wb") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as self.process:
            try:
                yield
            finally:
                self.process.kill()

    def answers(self, probe):
        """Whether a probe holds, asked as the kubelet does: at an address of the pod, not at its loopback name."""
        asked = self.main[probe]["httpGet"]
        [port] = [port["containerPort"] for port in self.main["ports"] if port["name"] == asked["port"]]
        try:
            with urllib.request.urlopen(f"http://127.0.0.2:{port}{asked['path']}", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    def stop(self):
        """SIGTERM, and the exit code within the time that the pod is given."""
        self.process.terminate()
        return self.process.wait(self.template["terminationGracePeriodSeconds"])

    def _command(self, arguments):
        return [sys.executable, "-m", "imgtag", "--config", str(self.file), *arguments]

    def _env(self, container):
        folders = {"STATE_DIRECTORY": str(self.folder / "state"), "CREDENTIALS_DIRECTORY": str(self.folder)}
        return {"PATH": os.defpath} | {variable["name"]: folders[variable["name"]] for variable in container["env"]}


@dataclass(frozen=True)
class Site:
    """The servers of a single site, as values and Secrets name them."""

    values: dict[str, object]
    secrets: dict[str, str]

    def pod(self, case, folder, **more):
        """The pod of a case beside them, in a folder of its own."""
        given = {**self.values, "config.ops.listen": f"0.0.0.0:{free_port()}", **more}
        for name, secret in self.secrets.items():
            (folder / name).write_text(secret)
        return Pod(
            render(case, *(part for key, value in given.items() for part in ("--set", f"{key}={value}"))), folder
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """MinIO with pictures and models, which notifies a NATS, and a Meilisearch."""
    folder = tmp_path_factory.mktemp("site")
    queue = folder / "queue"
    with (
        FakeMeilisearch(master_key=MEILISEARCH_KEY) as meilisearch,
        NatsServer(tool("nats-server"), folder / "nats") as nats,
        MinioServer(tool("minio"), folder / "minio", extra=lanes(nats, "imgtag.local.events", queue)) as minio,
    ):
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        values = {
            "config.store.s3.endpoint": minio.endpoint,
            "config.store.s3.access_key": minio.access_key,
            "config.source.nats.url": nats.url,
            "config.indexer.meilisearch.url": meilisearch.url,
            "config.pipeline.workers": 1,
            "config.pipeline.require_confinement": True,
        }
        secrets = {"secret_key": minio.secret_key, "meilisearch_key": MEILISEARCH_KEY}
        secrets["mark_key"] = "as in the Secret that the chart makes"
        uploader = Minio(f"127.0.0.1:{minio.port}", secure=False, region="us-east-1", **keys)
        uploader.make_bucket("photos")
        uploader.make_bucket("models")
        for name in ("pets", "birds"):
            uploader.fput_object("models", f"{name}.tflite", str(MODEL))
            uploader.fput_object("models", f"{name}.txt", str(MODEL.with_name("labels.txt")))
        yield Site(values, secrets)


def test_the_pod_of_a_single_site_does_its_work(site, tmp_path):
    """The check passes, all probes hold, `helm test` finds a picture that it sent, and SIGTERM ends it in time."""
    pod = site.pod("s3", tmp_path)
    [check] = pod.template["initContainers"]

    assert pod.run(check).splitlines()[0].endswith(": ok")
    pod.run({"args": ["setup", "--yes"], "env": pod.main["env"]})
    with pod.started():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            wait_until(lambda probe=probe: pod.answers(probe), describe=pod.log.read_text)
        output = pod.run(pod.test)
        assert "FAIL" not in output
        assert "sent: digital clock" in output
        assert pod.stop() == 0


def test_models_come_from_the_store(site, tmp_path):
    """Those that bring them find them there, one a second time too; the sidecar names its model as it was called."""
    digests = {f"model.bucket[{n}].sha256": sha256(MODEL.read_bytes()).hexdigest() for n in (0, 1)}
    pod = site.pod("model-bucket", tmp_path, **digests)
    *bring, check = pod.template["initContainers"]

    for container in (*bring, bring[0]):
        assert "1,000 classes" in pod.run(container)

    assert pod.run(check).splitlines()[0].endswith(": ok")
    listed = pod.run({**pod.main, "args": ["doctor", "--json"]}, code=1).splitlines()  # there is no bucket `aviary`
    checks = {finding["check"]: finding["message"] for finding in map(json.loads, listed)}
    assert checks["classifier"].startswith("pets")


def test_a_model_with_another_digest_is_not_taken(site, tmp_path):
    """The pod does not start then."""
    pod = site.pod("model-bucket", tmp_path)

    output = pod.run(pod.template["initContainers"][0], code=1)

    assert "has the SHA-256 e1d24550" in output
