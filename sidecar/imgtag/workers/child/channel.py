"""The worker's end of the socket."""

from __future__ import annotations

import socket
from typing import Any

from imgtag.workers import frames

_MAX_BODY = 1 << 32


class Channel:
    """Blocking frames over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def receive(self) -> tuple[dict[str, Any], bytearray] | None:
        """The next request; None when the sidecar has closed."""
        prefix = self._exactly(frames.PREFIX.size)
        if prefix is None:
            return None
        header, body = frames.lengths(bytes(prefix), _MAX_BODY)
        text, data = self._exactly(header), self._exactly(body)
        return None if text is None or data is None else (frames.decode_header(bytes(text)), data)

    def send(self, header: frames.Header) -> None:
        self._socket.sendall(frames.encode(header, 0))

    def _exactly(self, count: int) -> bytearray | None:
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        while filled < count:
            got = self._socket.recv_into(view[filled:])
            if not got:
                return None
            filled += got
        return buffer
