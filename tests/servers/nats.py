"""nats-server with JetStream, and the ways to be somebody there."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from servers.process import ServerProcess

CONFIG = """\
listen: "127.0.0.1:{port}"
{jetstream}
{extra}
"""


class NatsServer(ServerProcess):
    """``extra`` is text of its configuration, such as an `authorization` block."""

    def __init__(
        self, binary: Path, folder: Path, *, extra: str = "", jetstream: bool = True, port: int | None = None
    ) -> None:
        super().__init__(binary, folder, port)
        self.extra = extra
        self.jetstream = jetstream

    def arguments(self) -> Sequence[str]:
        config = self.folder / "nats.conf"
        # Streams reserve their largest size; by default there is three quarters of what the disk has free.
        limits = f'store_dir: "{self.folder / "data"}", max_file_store: 1TB'
        store = f"jetstream: {{ {limits} }}" if self.jetstream else ""
        config.write_text(CONFIG.format(port=self.port, jetstream=store, extra=self.extra))
        return ["-c", str(config)]

    def ready(self) -> bool:
        """Whether it greets."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.settimeout(1)
            # With `handshake_first` the server waits for ours.
            return "handshake_first" in self.extra or connection.recv(4) == b"INFO"
        return False

    @property
    def url(self) -> str:
        """Where to connect to."""
        return f"nats://127.0.0.1:{self.port}"
