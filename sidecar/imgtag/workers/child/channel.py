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
        prefix = self._exactly(frames.PREFIX.size)
        if prefix is None:
            return None
        header, body = frames.lengths(prefix, _MAX_BODY)
        text, data = self._exactly(header), self._exactly(body)
        return None if text is None or data is None else (frames.decode_header(text), data)

    def send(self, header: frames.Header) -> None:
        self._socket.sendall(frames.encode(header, 0))

    def _exactly(self, count: int) -> bytes | None:
        # BytesIO is filled in place and gives its bytes away without a copy: a picture is held once.
        buffer = BytesIO(bytes(count))
        with buffer.getbuffer() as view:
            filled = 0
            while filled < count:
                got = self._socket.recv_into(view[filled:])
                if not got:
                    return None
                filled += got
        return buffer.getvalue()
