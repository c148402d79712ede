"""ElasticMQ, which has the API of SQS; its queues and messages survive a restart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from servers.process import ServerProcess

CONFIG = """\
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "127.0.0.1", bind-port = {port} }}
rest-stats {{ enabled = false }}
queues-storage {{ enabled = true, path = "{folder}/queues.conf" }}
messages-storage {{ enabled = true, uri = "jdbc:h2:{folder}/messages;{durable}" }}
"""
REGION = "elasticmq"
DURABLE = "WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE"
"""Otherwise H2 writes half a second later, and nothing while the server ends: what was accepted then would be lost."""


def require_java() -> Path:
    """Where Java is; without it the test is skipped, and on CI it fails."""
    java = shutil.which("java")
    if java is None:
        missing = "Java is not installed"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return Path(java)


class ElasticMq(ServerProcess):
    """A JVM takes seconds to start on a busy machine."""

    patience = 120.0

    def __init__(self, binary: Path, folder: Path, port: int | None = None) -> None:
        super().__init__(binary, folder, port)
        self.environment["PATH"] += f":{require_java().parent}"
        self._config = folder / "elasticmq.conf"
        quick = "-Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
        self.environment["JAVA_OPTS"] = f"{quick} -Dconfig.file={self._config}"

    def arguments(self) -> Sequence[str]:
        self._config.write_text(CONFIG.format(port=self.port, folder=self.folder, durable=DURABLE))
        return []

    def ready(self) -> bool:
        """Whether it lists queues."""
        try:
            answer = urllib3.request("GET", f"{self.url}/?Action=ListQueues", retries=False, timeout=2.0)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, object]:
        """The table `[source.sqs]`; it accepts any keys."""
        return {
            "endpoint": self.url,
            "region": REGION,
            "access_key": "imgtag-tests",
            "secret_key": "imgtag-tests-secret",
        }

    def send(self, queue: str, *bodies: str) -> None:
        """Send messages as a store does, which has its own client. Blocking."""
        for body in bodies:
            form = urlencode({"Action": "SendMessage", "MessageBody": body})
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = urllib3.request("POST", f"{self.url}/000000000000/{queue}", body=form, headers=kind, retries=False)
            assert answer.status == 200, answer.data
