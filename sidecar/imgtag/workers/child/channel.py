"""The worker's end of the socket."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from imgtag.workers import frames

if TYPE_CHECKING:
    import socket

_MAX_BODY = 1 << 32


class Channel:
    """Blocking frames over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """The next request; None when the sidecar has closed."""
        prefix = self._receive_exactly(frames.PREFIX.size)
        if prefix is None:
            return None
        header, body = frames.lengths(prefix, _MAX_BODY)
        text, data = self._receive_exactly(header), self._receive_exactly(body)
        return None if text is None or data is None else (frames.decode_header(text), data)

    def send(self, header: frames.Header) -> None:
        self._socket.sendall(frames.encode(header, 0))

    def _receive_exactly(self, count: int) -> bytes | None:
        # BytesIO is filled in place and hands out its bytes without a copy, so that an image is held once.
        buffer = BytesIO(bytes(count))
        with buffer.getbuffer() as view:
            filled = 0
            while filled < count:
                received = self._socket.recv_into(view[filled:])
                if not received:
                    return None
                filled += received
        return buffer.getvalue()
