"""The listener of the search page and the HTTP API."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from imgtag.assembly import make_indexer, make_store
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError
from imgtag.flow.budget import ByteBudget
from imgtag.flow.http_server import ListenerLimits, serve
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.web.api import Api, WebParts
from imgtag.web.arrivals import Arrivals
from imgtag.web.errors import HttpError, respond_to
from imgtag.web.guard import Guard, IPNetwork
from imgtag.web.limits import Lane
from imgtag.web.operations import LaneName, Operation
from imgtag.web.original import OriginalResponse
from imgtag.web.routes import LANES, OPERATIONS
from imgtag.web.session import Sessions
from imgtag.web.thumbnail_cache import ThumbnailCache
from imgtag.web.thumbnails import Thumbnails
from imgtag.web.visible import Visible
from imgtag.workers.generations import LoadedModel

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
"""The files of the page."""
LIMITS = ListenerLimits(section="web", connections=256, requests=1000)


async def serve_web(
    config: Config,
    models: Callable[[], Mapping[str, LoadedModel]],
    arrivals: Arrivals,
    *,
    metrics: Metrics,
    health: Health,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the page and the API until cancelled; reports the port as started.

    Index and store are opened once more, so that searches and live work do not wait for each other's connections.
    Raises ConfigError when it cannot listen, Unavailable.
    """
    async with AsyncExitStack() as stack:
        indexer = await stack.enter_async_context(make_indexer(config, read_only=True))
        store = await stack.enter_async_context(make_store(config, read_only=True))
        policy_of = await to_thread.run_sync(PolicyResolver, config)
        budget = ByteBudget(config.pipeline.bytes_in_flight)
        cache = ThumbnailCache(config.state_dir / "thumbnails", config.web.thumbnail_cache)
        parts = WebParts(
            site=config.site.name,
            root=getattr(config.require("store").settings, "root", None),
            indexer=indexer,
            store=store,
            models=models,
            policy_of=policy_of,
            thumbnails=Thumbnails(store, models, policy_of, cache, metrics, budget),
            arrivals=arrivals,
            health=health,
            metrics=metrics,
            budget=budget,
            sessions=Sessions(config.web.token.get_secret_value() if config.web.token else None),
            visible=Visible(site=config.site.name, buckets=config.web.buckets),
        )
        app = application(parts, config.web.hosts, config.web.proxies)

        async def announce(*, task_status: TaskStatus[int]) -> None:
            await serve(app, config.web.listen, LIMITS, task_status=task_status)

        async with anyio.create_task_group() as tasks:
            port = await tasks.start(announce)
            log.info("web_listening", extra={"listen": config.web.listen, "port": port})
            task_status.started(port)


def application(parts: WebParts, hosts: Collection[str] = (), proxies: Collection[IPNetwork] = ()) -> ASGIApp:
    """The app: the operations of the API, and the files of the page."""
    api = Api(parts)
    lanes = {name: Lane(at_once, waiting) for name, (at_once, waiting) in LANES.items()}
    app = Starlette(
        routes=[
            *(
                Route(operation.path, _Endpoint(operation, api, lanes).run, methods=[operation.method])
                for operation in OPERATIONS
            ),
            Route("/", _index),
            Mount("/page", _Files(directory=PAGE, check_dir=False)),
        ],
        exception_handlers={HTTPException: _respond_to_starlette, Exception: _respond_to_failure},
    )
    return Guard(app, parts.sessions, hosts, proxies)


class _Files(StaticFiles):
    """The files of the page; a browser asks each time whether its copy is the current one."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file. Raises HTTPException where there is none."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _index(_: Request) -> Response:
    if not await anyio.Path(PAGE / "index.html").exists():
        return HttpError(404, "absent", "the page is not installed").response()
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


@dataclass(frozen=True)
class _Endpoint:
    """An operation within its limits."""

    operation: Operation
    api: Api
    lanes: Mapping[LaneName, Lane]

    async def run(self, request: Request) -> Response:
        """Answer a request, and count it."""
        started, name = time.perf_counter(), self.operation.name
        response = await self._answer(request)
        metrics = self.api.parts.metrics
        metrics.web_seconds.labels(name).observe(time.perf_counter() - started)
        metrics.web_requests.labels(name, f"{response.status_code // 100}xx").inc()
        return response

    async def _answer(self, request: Request) -> Response:
        seconds = self.operation.seconds
        try:
            wanted = self.operation.read(request)
            async with AsyncExitStack() as stack:
                if self.operation.lane is not None:
                    await stack.enter_async_context(self.lanes[self.operation.lane].enter())
                with anyio.fail_after(seconds):
                    answer = await self.operation.handler(self.api, request, wanted)
                if isinstance(answer, OriginalResponse):
                    # Its bytes are read while they are sent.
                    return _Held(answer, stack.pop_all())
        except HttpError as error:
            return error.response()
        except ImgtagError as error:
            return respond_to(error)
        except TimeoutError:
            return HttpError(504, "timeout", f"it took longer than {seconds:g} s", "Ask for less.").response()
        if isinstance(answer, Response):
            return answer
        content = answer.model_dump_json(exclude_unset=True)
        return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})


class _Held(Response):
    """An answer that is sent while it holds a place in its lane."""

    def __init__(self, response: OriginalResponse, stack: AsyncExitStack) -> None:
        super().__init__()
        self._response = response
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await self._response(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._response.close()
                await self._stack.aclose()


async def _respond_to_starlette(_: Request, error: Exception) -> Response:
    """The answer where no operation is meant."""
    status = getattr(error, "status_code", 500)
    message = {404: "there is nothing here", 405: "this method is not allowed here"}.get(status, "this is no request")
    return HttpError(status, "absent" if status == 404 else "method", message, "See /api/openapi.json.").response()


async def _respond_to_failure(request: Request, error: Exception) -> Response:
    """The answer to an error that nobody foresaw: its text may quote anything, so it is only logged."""
    log.error("web_request_failed", extra={"path": request.url.path, "reason": f"{type(error).__name__}: {error}"})
    return HttpError(500, "internal", "something went wrong", "The log of the sidecar says what.").response()
