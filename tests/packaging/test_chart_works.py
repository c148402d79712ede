"""What the chart's containers run, with their arguments, environment and configuration, between servers."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from minio import Minio

from acceptance_support import wait_until
from chart_support import config_file, one, render, tool, workload
from fake_meilisearch.server import FakeMeilisearch
from servers.minio import MinioServer, lanes
from servers.nats import NatsServer
from servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MEILISEARCH_KEY = "key-of-the-tests"


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

    def run(self, container):
        """A container that ends by itself: what it printed."""
        done = subprocess.run(
            self._command(container["args"]), capture_output=True, text=True, env=self._env(container)
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log.read_text() * self.log.exists()
        return done.stdout

    def start(self):
        """The sidecar's own container."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command(self.main["args"]), env=self._env(self.main), stdout=log, stderr=log
            )

    def answers(self, probe):
        """Whether a probe holds, asked as the kubelet does: at an address of the pod, not at its loopback name."""
        asked = self.main[probe]["httpGet"]
        [port] = [each["containerPort"] for each in self.main["ports"] if each["name"] == asked["port"]]
        try:
            with urllib.request.urlopen(f"http://127.0.0.2:{port}{asked['path']}", timeout=5) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    def stop(self):
        """SIGTERM, and the exit code within the time that the pod is given."""
        self.process.terminate()
        return self.process.wait(self.template["terminationGracePeriodSeconds"])

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _command(self, arguments):
        return [sys.executable, "-m", "imgtag", "--config", str(self.file), *arguments]

    def _env(self, container):
        folders = {"STATE_DIRECTORY": str(self.folder / "state"), "CREDENTIALS_DIRECTORY": str(self.folder)}
        return {"PATH": os.defpath} | {each["name"]: folders[each["name"]] for each in container["env"]}


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    """The pod of a single site, running beside MinIO, NATS and a Meilisearch."""
    folder = tmp_path_factory.mktemp("pod")
    with (
        FakeMeilisearch(master_key=MEILISEARCH_KEY) as meilisearch,
        NatsServer(tool("nats-server"), folder / "nats") as nats,
        MinioServer(
            tool("minio"), folder / "minio", extra=lanes(nats, "imgtag.local.events", folder / "queue")
        ) as minio,
    ):
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        Minio(f"127.0.0.1:{minio.port}", secure=False, region="us-east-1", **keys).make_bucket("photos")
        (folder / "secret_key").write_text(minio.secret_key)
        (folder / "meilisearch_key").write_text(MEILISEARCH_KEY)
        given = {
            "config.store.s3.endpoint": minio.endpoint,
            "config.store.s3.access_key": minio.access_key,
            "config.source.nats.url": nats.url,
            "config.indexer.meilisearch.url": meilisearch.url,
            "config.ops.listen": f"0.0.0.0:{free_port()}",
            "config.pipeline.workers": 1,
        }
        made = Pod(
            render("s3", *(part for key, value in given.items() for part in ("--set", f"{key}={value}"))), folder
        )
        made.run({"args": ["setup", "--yes"], "env": made.main["env"]})
        yield made
        made.kill()


def test_the_pod_of_a_single_site_does_its_work(pod):
    """The check passes, all probes hold, `helm test` finds a picture that it sent, and SIGTERM ends it in time."""
    [check] = pod.template["initContainers"]

    assert pod.run(check).endswith(": ok\n")
    pod.start()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        wait_until(lambda probe=probe: pod.answers(probe), 30, pod.log.read_text)
    told = pod.run(pod.test)
    assert "FAIL" not in told
    assert "sent: digital clock" in told
    assert pod.stop() == 0
