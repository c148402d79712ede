"""What stands around a sidecar: signals, systemd, health and metrics over HTTP, a configuration that changes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, Unavailable
from imgtag.ops import http, logs, notify
from imgtag.ops.status import Status
from imgtag.ops.troubles import RecentWarnings
from imgtag.service.reload import reread
from imgtag.service.sidecar import Sidecar

log = logging.getLogger(__name__)

_LOOK = 5.0
"""Seconds between two looks at what waits at the source."""


class Interrupted(Exception):
    """A second signal came before the drain was done."""


async def supervise(sidecar: Sidecar, read: Callable[[], Config]) -> None:
    """Run until SIGTERM or SIGINT, then drain; the second one stops at once (Interrupted).

    SIGHUP has ``read`` give the configuration anew: where it can be used the sidecar drains and goes on with it.
    """
    supervision, config = _Supervision(sidecar, read), sidecar.config
    traces = sidecar.metrics.traces.exported(config.ops.traces, config.site.name)
    with traces, _troubles() as troubles:
        status = Status(site=config.site.name, health=sidecar.health, metrics=sidecar.metrics, troubles=troubles)
        await _served(supervision, status, config.ops.listen)
    log.info("stopped")


@contextmanager
def _troubles() -> Iterator[RecentWarnings]:
    """What is logged meanwhile, for those who look at the status."""
    troubles = RecentWarnings()
    logging.getLogger().addHandler(troubles)
    try:
        yield troubles
    finally:
        logging.getLogger().removeHandler(troubles)


async def _served(supervision: _Supervision, status: Status, listen: str) -> None:
    async with anyio.create_task_group() as tasks:
        if listen:
            app = http.application(status)
            port = await tasks.start(http.serve, app, listen)
            log.info("health and metrics", extra={"listen": listen, "port": port})
        tasks.start_soon(supervision.signals)
        tasks.start_soon(supervision.reloads)
        tasks.start_soon(supervision.report)
        tasks.start_soon(supervision.look)
        await supervision.run()
        tasks.cancel_scope.cancel("stopped")


class _Supervision:
    """One sidecar after the other, with the same health and metrics."""

    def __init__(self, sidecar: Sidecar, read: Callable[[], Config]) -> None:
        self._sidecar = sidecar
        self._read = read
        self._stop = anyio.Event()
        self._hung_up = anyio.Event()
        self._next: Config | None = None
        self._ending = False

    async def run(self) -> None:
        while True:
            await self._sidecar.run(self._stop, ready=self._ready)
            if self._ending or self._next is None:
                return
            old, self._stop = self._sidecar, anyio.Event()
            self._sidecar = Sidecar(config=self._next, metrics=old.metrics, health=old.health)
            self._next = None

    async def signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                # A terminal that is closed wants its programs to end.
                if number == signal.SIGHUP and not os.isatty(0):
                    self._hung_up.set()
                elif self._ending:
                    raise Interrupted(signal.Signals(number).name)
                else:
                    log.info("stopping", extra={"signal": signal.Signals(number).name})
                    notify.notify(notify.STOPPING)
                    self._ending = True
                    self._stop.set()

    async def reloads(self) -> None:
        """One after the other; what is asked for meanwhile is done after it."""
        while True:
            await self._hung_up.wait()
            self._hung_up = anyio.Event()
            await self._reload()

    async def report(self) -> None:
        """Tell systemd how we are, and that we live while we do."""
        watchdog = notify.watchdog_seconds()
        period = min(5.0, watchdog / 3 if watchdog else 5.0)
        while True:
            self._say()
            await anyio.sleep(period)

    def _say(self, *more: str) -> None:
        sidecar = self._sidecar
        if sidecar.source is not None:
            sidecar.health.component("source", sidecar.source.trouble)
        ready, live = sidecar.health.ready(), sidecar.health.live()
        sidecar.metrics.ready(ready=ready.ok)
        status = notify.status("ready" if ready.ok else str(ready))
        notify.notify(status, *([notify.WATCHDOG] if live.ok else []), *more)

    async def look(self) -> None:
        """How much waits at the source; asked seldom, as it costs a request."""
        while True:
            await anyio.sleep(_LOOK)
            source = self._sidecar.source
            with suppress(Unavailable):
                waiting = None if source is None else await source.backlog()
                if waiting is not None:
                    self._sidecar.metrics.backlog(waiting)

    async def _reload(self) -> None:
        notify.notify(*notify.reloading())
        try:
            config = await reread(self._read)
        except ImgtagError as error:
            self._refuse(error)
        else:
            self._take(config)

    def _refuse(self, error: ImgtagError) -> None:
        self._sidecar.metrics.config_reload("refused")
        facts = {"findings": error.message.splitlines(), "hint": error.hint}
        log.error("new configuration refused; the old one goes on", extra=facts)
        notify.notify(notify.READY)

    def _take(self, config: Config) -> None:
        self._sidecar.metrics.config_reload("taken")
        logs.configure(config.ops.log_format, config.ops.log_level)
        log.info("new configuration taken", extra={"file": str(config.path or "")})
        old = self._sidecar.config
        if (old.ops.listen, old.ops.traces) != (config.ops.listen, config.ops.traces):
            log.warning("`listen` and `traces` of [ops] are taken at the next start only")
        if not self._ending:
            self._next = config
            self._stop.set()

    def _ready(self) -> None:
        log.info("ready")
        self._say(notify.READY)
