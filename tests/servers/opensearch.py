"""OpenSearch, a single node of its core: see scripts/opensearch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import urllib3

from servers.process import ServerProcess

JAVA = "-Xms256m -Xmx768m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""Little memory, and a start in seconds: the second compiler would cost more than it brings."""


class OpenSearchServer(ServerProcess):
    """``extra`` are settings of the node."""

    patience = 120.0

    def __init__(self, binary: Path, folder: Path, *, extra: Sequence[str] = (), port: int | None = None) -> None:
        super().__init__(binary, folder, port)
        self.environment["JAVA_OPTS"] = JAVA
        self._extra = extra

    def arguments(self) -> Sequence[str]:
        # Without the watermarks, a disk that is nearly full makes every index read-only.
        settings = ["cluster.routing.allocation.disk.threshold_enabled=false", *self._extra]
        return [str(self.folder), str(self.port), *settings]

    def ready(self) -> bool:
        """Whether it has its indexes again."""
        with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
            try:
                answer = pool.request("GET", f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s")
            except urllib3.exceptions.HTTPError:
                return False
        return answer.status == 200

    @property
    def url(self) -> str:
        """Where to connect to."""
        return f"http://127.0.0.1:{self.port}"
