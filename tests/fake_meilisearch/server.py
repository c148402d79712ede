"""The server: routes over real HTTP on a free port of the loopback."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fake_meilisearch.errors import Refusal
from fake_meilisearch.faults import Faults
from fake_meilisearch.federation import multi_search
from fake_meilisearch.index import Index
from fake_meilisearch.keys import Key, Keys
from fake_meilisearch.tasks import Queue, Task, listed
from fake_meilisearch.tenant import joined

Handle = Callable[["Call"], Any]
NDJSON = "application/x-ndjson"


class Call:
    """One request that is allowed."""

    def __init__(self, request: Request, body: bytes, key: Key) -> None:
        self.uid: str = request.path_params.get("uid", "")
        self.query = dict(request.query_params)
        self.content_type = request.headers.get("content-type", "")
        self.body = body
        self.key = key

    @property
    def json(self) -> Any:
        if not self.content_type.startswith("application/json"):
            raise Refusal("invalid_content_type", f"The Content-Type `{self.content_type}` is invalid.")
        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except ValueError as error:
            raise Refusal("malformed_payload", f"The json payload is malformed: {error}") from error

    @property
    def search(self) -> Any:
        """What is searched for, limited by the rules of a tenant token."""
        return {**self.json, "filter": joined(self.json.get("filter"), self.key.filter_of(self.uid))}

    @property
    def note(self) -> str | None:
        return self.query.get("customMetadata")


class FakeMeilisearch:
    """To be entered; then ``url`` answers. ``faults`` plans what goes wrong, ``queue`` holds and shows the tasks."""

    def __init__(self, master_key: str | None = None) -> None:
        self.faults = Faults()
        self.keys = Keys(master_key)
        self.indexes: dict[str, Index] = {}
        self.queue = Queue(self.indexes, self._failing)
        self._socket = _listening(0)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None

    def __enter__(self) -> Self:
        self.queue.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self.queue.stop()

    def up(self) -> None:
        """Listen."""
        if self._socket.fileno() == -1:
            self._socket = _listening(self.port)
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def down(self) -> None:
        """Refuse connections. What was indexed is still there when it is up again."""
        if self._server:
            self._server.should_exit = True
            self._thread.join()
            self._server = None
            self._socket.close()

    def forget_tasks(self) -> None:
        """As after a restore from a backup: the tasks are gone."""
        with self.queue.lock:
            self.queue.tasks.clear()

    def index(self, uid: str) -> Index:
        """The index. Raises Refusal."""
        if uid not in self.indexes:
            raise Refusal("index_not_found", f"Index `{uid}` not found.")
        return self.indexes[uid]

    def _failing(self, task: Task) -> Refusal | None:
        return self.faults.failing(task)

    # Routes.

    def _app(self) -> Starlette:
        routes: list[tuple[str, str, str | None, Handle]] = [
            ("GET", "/health", None, lambda _: {"status": "available"}),
            ("GET", "/tasks", "tasks.get", self._tasks),
            ("POST", "/keys", "keys.create", lambda call: self.keys.create(call.json)),
            ("DELETE", "/keys/{uid}", "keys.delete", lambda call: self.keys.delete(call.uid)),
            ("POST", "/indexes", "indexes.create", self._create),
            ("POST", "/swap-indexes", "indexes.swap", self._swap),
            ("GET", "/indexes/{uid}", "indexes.get", self._info),
            ("DELETE", "/indexes/{uid}", "indexes.delete", lambda call: self._enqueue("indexDeletion", call)),
            ("GET", "/indexes/{uid}/settings", "settings.get", lambda call: self.index(call.uid).settings),
            ("PATCH", "/indexes/{uid}/settings", "settings.update", self._settings),
            ("POST", "/indexes/{uid}/documents", "documents.add", self._add),
            ("POST", "/indexes/{uid}/documents/delete-batch", "documents.delete", self._delete),
            (
                "POST",
                "/indexes/{uid}/documents/fetch",
                "documents.get",
                lambda call: self.index(call.uid).fetch(call.json),
            ),
            ("POST", "/indexes/{uid}/search", "search", lambda call: self.index(call.uid).search(call.search)),
            (
                "POST",
                "/indexes/{uid}/facet-search",
                "search",
                lambda call: self.index(call.uid).facet_search(call.search),
            ),
            ("POST", "/indexes/{uid}/similar", "search", lambda call: self.index(call.uid).similar(call.search)),
            ("POST", "/multi-search", "search", lambda call: multi_search(call.json, self.index, call.key)),
        ]
        return Starlette(
            routes=[
                Route(path, self._endpoint(action, handle), methods=[verb]) for verb, path, action, handle in routes
            ]
        )

    def _endpoint(self, action: str | None, handle: Handle) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self.faults.asked.append(f"{request.method} {request.url.path}")
            fault = self.faults.take(request.url.path)
            if fault is None or fault.after:
                response = await self._answered(request, action, handle)
            if fault is None:
                return response
            await anyio.sleep(fault.seconds)
            if fault.body is not None:
                return Response(fault.body, fault.status)
            return JSONResponse(Refusal(fault.code, "a planned fault").body(), fault.status)

        return endpoint

    async def _answered(self, request: Request, action: str | None, handle: Handle) -> Response:
        try:
            key = (
                self.keys.check(request.headers.get("authorization"), action, request.path_params.get("uid"))
                if action
                else None
            )
            call = Call(request, self._body(request, await request.body()), key)  # type: ignore[arg-type]
            with self.queue.lock:
                answer = handle(call)
            if request.method == "DELETE" and answer is None:
                return Response(status_code=204)
            done = 201 if action == "keys.create" else 200
            return JSONResponse(answer, 202 if isinstance(answer, dict) and "taskUid" in answer else done)
        except Refusal as error:
            return JSONResponse(error.body(), error.status)

    def _body(self, request: Request, body: bytes) -> bytes:
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if len(body) > self.faults.payload_limit:
            raise Refusal("payload_too_large", f"The payload reached the limit of {self.faults.payload_limit} bytes")
        return body

    def _enqueue(self, kind: str, call: Call, data: Any = None, index: str | None = None) -> dict[str, Any]:
        # Only the routes of documents keep the note: routes/indexes/{mod,settings}.rs pass None.
        return self.queue.add(
            kind, call.uid if index is None else index, data, call.note if kind.startswith("document") else None
        )

    def _tasks(self, call: Call) -> dict[str, Any]:
        return listed(self.queue.tasks, call.query, call.key.sees)

    def _create(self, call: Call) -> dict[str, Any]:
        return self._enqueue("indexCreation", call, call.json.get("primaryKey"), call.json["uid"])

    def _swap(self, call: Call) -> dict[str, Any]:
        """crates/meilisearch/src/routes/swap_indexes.rs: the length is looked at before the indexes of the key."""
        for swap in call.json:
            if len(swap["indexes"]) != 2:
                raise Refusal("invalid_swap_indexes", "Two indexes must be given for each swap.")
            if not all(map(call.key.sees, swap["indexes"])):
                raise Refusal("invalid_api_key", "The provided API key is invalid.")
        return self._enqueue("indexSwap", call, [swap["indexes"] for swap in call.json], "")

    def _info(self, call: Call) -> dict[str, Any]:
        index = self.index(call.uid)
        return {
            "uid": index.uid,
            "createdAt": index.created,
            "updatedAt": index.created,
            "primaryKey": index.primary_key,
        }

    def _settings(self, call: Call) -> dict[str, Any]:
        return self._enqueue("settingsUpdate", call, call.json)

    def _add(self, call: Call) -> dict[str, Any]:
        if call.content_type != NDJSON:
            raise Refusal("invalid_content_type", f"The Content-Type `{call.content_type}` is invalid.")
        if not call.body.strip():
            raise Refusal("missing_payload", "A ndjson payload is missing.")
        for line in call.body.splitlines():
            _document(line)
        creates = call.key.allows("indexes.create", call.uid)
        data = {"body": call.body, "primaryKey": call.query.get("primaryKey"), "create": creates}
        return self._enqueue("documentAdditionOrUpdate", call, data)

    def _delete(self, call: Call) -> dict[str, Any]:
        return self._enqueue("documentDeletion", call, [str(id_) for id_ in call.json])


def _listening(port: int) -> socket.socket:
    """With the protocol named, asyncio switches Nagle's waiting off; else each answer takes 40 ms."""
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    return listening


def _document(line: bytes) -> None:
    try:
        document = json.loads(line.decode(), parse_constant=_no_constant)
    except ValueError as error:
        raise Refusal("malformed_payload", f"The `ndjson` payload provided is malformed: {error}") from error
    if not isinstance(document, dict):
        raise Refusal("malformed_payload", "The `ndjson` payload provided is malformed: no object")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


__all__ = ["Call", "FakeMeilisearch", "Task"]
