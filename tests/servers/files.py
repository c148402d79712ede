"""An HTTP server with files in memory, which can break off and does or does not know ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class FileServer:
    """``cut``: bytes of an answer after which the connection ends, once for each file. ``asked``: ranges by path."""

    files: Mapping[str, bytes]
    ranges: bool = True
    cut: int | None = None
    moved: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def run(self) -> Iterator[FileServer]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                files.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append((handler.path, asked))
        if handler.path in self.moved:
            handler.send_response(302)
            handler.send_header("Location", self.moved[handler.path])
            handler.end_headers()
        elif handler.path in self.files:
            self._give(handler, self.files[handler.path], int(asked[6:-1]) if asked and self.ranges else 0)
        else:
            handler.send_error(404)

    def _give(self, handler: BaseHTTPRequestHandler, content: bytes, start: int) -> None:
        if start >= len(content) > 0:
            handler.send_error(416)
            return
        part = content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(part)))
        handler.end_headers()
        cut, self.cut = self.cut, None
        handler.wfile.write(part[:cut])
