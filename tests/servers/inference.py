"""Inference servers of the tests, over real HTTP: any handler, or a model of colours that speaks the v2 protocol."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import uvicorn
from anyio import to_thread
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imgtag.testing.classifier import COLOURS
from servers.process import free_port

Handler = Callable[[Request, bytes], Awaitable[Response]]


class HttpServer:
    """A server on a port that it keeps; a context manager. ``next_answers`` come before what ``handle`` answers."""

    def __init__(self, certs: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"{'https' if certs else 'http'}://127.0.0.1:{self.port}"
        self._tls = {"ssl_certfile": certs / "public.crt", "ssl_keyfile": certs / "private.key"} if certs else {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers and body of each."""
        self.next_answers: deque[Response] = deque()
        self._server: uvicorn.Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        listener = socket.create_server(("127.0.0.1", self.port))
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT"])])
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0, **self._tls)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        """Refuse connections."""
        if self._server:
            self._server.should_exit = True
            self._thread.join()
            self._server = None

    async def take_away(self) -> None:
        """As the conformance suite stops it."""
        await to_thread.run_sync(self.stop)

    async def bring_back(self) -> None:
        """As the conformance suite starts it again."""
        await to_thread.run_sync(self.start)

    async def handle(self, request: Request, body: bytes) -> Response:
        """The answer to a request."""
        raise NotImplementedError

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        self.requests.append((request.url.path, dict(request.headers), body))
        return self.next_answers.popleft() if self.next_answers else await self.handle(request, body)


class V2Server(HttpServer):
    """A model of colours. ``datatype`` and ``shape`` are those of its input; without ``names`` it answers with numbers
    alone.
    """

    def __init__(self, datatype: str = "BYTES", shape: tuple[int, ...] = (-1, 1), *, names: bool = True) -> None:
        super().__init__()
        self.datatype, self.shape, self.names = datatype, shape, names
        self.versions = ["1"]

    async def handle(self, request: Request, body: bytes) -> Response:
        path = request.url.path
        if path.endswith("/ready"):
            return Response(status_code=200)
        if request.method == "GET":
            return JSONResponse(self.metadata())
        pixels = await to_thread.run_sync(self._read, body, request.headers.get("inference-header-content-length"))
        if pixels is None:
            return JSONResponse({"error": "it is no image"}, status_code=400)
        mean = pixels.reshape(-1, 3).mean(axis=0)
        distances = np.linalg.norm(np.array(list(COLOURS.values())) - mean, axis=1)
        scores = [float(score) for score in np.exp(-distances / 60) / np.exp(-distances / 60).sum()]
        outputs = [{"name": "scores", "datatype": "FP32", "shape": [1, len(scores)], "data": [scores]}]
        if self.names:
            outputs.append({"name": "names", "datatype": "BYTES", "shape": [1, len(scores)], "data": [*COLOURS]})
        return JSONResponse({"model_name": "colours", "model_version": self.versions[-1], "outputs": outputs})

    def metadata(self) -> dict[str, Any]:
        """What it says of its model."""
        outputs = [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}]
        if self.names:
            outputs.append({"name": "names", "datatype": "BYTES", "shape": [-1, 10]})
        inputs = [{"name": "image", "datatype": self.datatype, "shape": list(self.shape)}]
        return {"name": "colours", "versions": self.versions, "platform": "t", "inputs": inputs, "outputs": outputs}

    def _read(self, body: bytes, header_length: str | None) -> Any:
        """The pixels, 0 to 255, of a request; None for what is no image."""
        header = json.loads(body[: int(header_length)] if header_length else body)
        (tensor,) = header["inputs"]
        raw = body[int(header_length) :] if header_length else b""
        assert tensor["name"] == "image"
        assert tensor["datatype"] == self.datatype
        if self.datatype == "BYTES":
            if raw:
                (length,) = struct.unpack("<I", raw[:4])
                assert length == len(raw) - 4 == tensor["parameters"]["binary_data_size"] - 4
            try:
                encoded = raw[4:] if raw else base64.b64decode(tensor["data"][0])
                return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
            except OSError:
                return None
        kind = {"UINT8": np.uint8, "FP32": np.float32}[self.datatype]
        values = np.frombuffer(raw, kind) if raw else np.array(tensor["data"], kind)
        pixels = values.reshape(tensor["shape"])[0]
        assert pixels.size == np.prod([abs(side) for side in self.shape])
        pixels = pixels.transpose(1, 2, 0) if tensor["shape"][1] == 3 else pixels
        return pixels * (1 if self.datatype == "UINT8" else 255)


class JsonServer(HttpServer):
    """Answers with what ``say`` makes of an image."""

    def __init__(self, say: Callable[[bytes], Any], certs: Path | None = None) -> None:
        super().__init__(certs)
        self.say = say

    async def handle(self, request: Request, body: bytes) -> Response:
        answer = await to_thread.run_sync(self.say, body)
        return answer if isinstance(answer, Response) else JSONResponse(answer)
