"""What stands around a sidecar: signals, systemd, health and metrics over HTTP, a configuration that changes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio import to_thread

from imgtag.assembly import is_remote, make_indexer, make_pool, make_remote_classifier, make_source, make_store
from imgtag.config.check import require_run
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, Unavailable
from imgtag.flow import http_server
from imgtag.models.resolver import ModelResolver
from imgtag.ops import http, logs, notify
from imgtag.ops.recent_warnings import RecentWarnings
from imgtag.ops.status import Status, count_by_label
from imgtag.service.sidecar import Sidecar
from imgtag.workers.confinement import hide_memory

log = logging.getLogger(__name__)

BACKLOG_PERIOD = 5.0
"""Seconds between two questions to the source how much waits there; each costs a request."""
REPORT_PERIOD = 5.0
"""Seconds between two reports to systemd, unless its watchdog wants them sooner."""
MAX_ABANDON = 0.8
"""Seconds that an abandoned start may take to unwind."""


class Interrupted(Exception):
    """A second signal came before the drain was done."""


async def supervise(sidecar: Sidecar, read: Callable[[], Config]) -> None:
    """Run until SIGTERM or SIGINT, then drain; the second one stops at once (Interrupted).

    On SIGHUP, ``read`` loads the configuration again: if it is usable, the sidecar drains and continues with it.
    """
    # Commands that a person runs stay open to a debugger; the service has the credentials for as long as the node runs.
    hide_memory()
    supervision, config = _Supervision(sidecar, read), sidecar.config
    recent_warnings = RecentWarnings()
    logging.getLogger().addHandler(recent_warnings)
    try:
        with sidecar.metrics.traces.exported(config.ops.traces, config.site.name):
            async with anyio.create_task_group() as tasks:
                if config.ops.listen:
                    status = Status(
                        site=config.site.name,
                        health=sidecar.health,
                        metrics=sidecar.metrics,
                        recent_warnings=recent_warnings,
                    )
                    port = await tasks.start(http_server.serve, http.application(status), config.ops.listen)
                    log.info("ops_listening", extra={"listen": config.ops.listen, "port": port})
                tasks.start_soon(supervision.receive_signals)
                tasks.start_soon(supervision.reload_on_request)
                tasks.start_soon(supervision.report)
                tasks.start_soon(supervision.measure_backlog)
                await supervision.run()
                tasks.cancel_scope.cancel("stopped")
    finally:
        logging.getLogger().removeHandler(recent_warnings)
    # What was labelled and indexed, but not written on the object, by reason: a run must not end as if it were.
    log.info("stopped", extra={"not_written": dict(count_by_label(sidecar.metrics.writes_refused, "code"))})


class _Supervision:
    """One sidecar after the other, with the same health and metrics."""

    def __init__(self, sidecar: Sidecar, read: Callable[[], Config]) -> None:
        self._sidecar = sidecar
        self._read = read
        self._stop = anyio.Event()
        self._reload_requested = anyio.Event()
        self._next: Config | None = None
        self._ending = False

    async def run(self) -> None:
        while True:
            await self._sidecar.run(self._stop, ready=self._announce_ready)
            if self._ending or self._next is None:
                return
            old, self._stop = self._sidecar, anyio.Event()
            self._sidecar = Sidecar(config=self._next, metrics=old.metrics, health=old.health)
            self._next = None

    async def receive_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                # A terminal that is closed wants its programs to end.
                if number == signal.SIGHUP and not os.isatty(0):
                    self._reload_requested.set()
                elif self._ending:
                    raise Interrupted(signal.Signals(number).name)
                else:
                    log.info("stopping", extra={"signal": signal.Signals(number).name})
                    notify.notify(notify.STOPPING)
                    self._ending = True
                    self._stop.set()
                    if not self._sidecar.started:
                        # End the process even where a thread still waits for a server to accept or answer its first
                        # request. Only for a start that is abandoned: nothing was taken from the source, so nothing can
                        # be lost.
                        timer = threading.Timer(MAX_ABANDON, os._exit, [0])
                        timer.daemon = True
                        timer.start()

    async def reload_on_request(self) -> None:
        """Reload one after the other; a request that comes meanwhile is served after it."""
        while True:
            await self._reload_requested.wait()
            self._reload_requested = anyio.Event()
            notify.notify(*notify.reloading())
            metrics = self._sidecar.metrics
            try:
                config = await _load_and_try(self._read, self._sidecar.config)
            except ImgtagError as error:
                metrics.config_reloads.labels("refused").inc()
                facts = {"findings": error.message.splitlines(), "hint": error.hint}
                log.error("config_rejected", extra={**facts, "reason": "the configuration in use stays in effect"})  # noqa: TRY400
                notify.notify(notify.READY)
                continue
            if self._ending:
                return
            metrics.config_reloads.labels("taken").inc()
            logs.configure(config.ops.log_format, config.ops.log_level)
            log.info("config_reloaded", extra={"file": str(config.path or "")})
            old = self._sidecar.config
            if (old.ops.listen, old.ops.traces) != (config.ops.listen, config.ops.traces):
                reason = "`listen` and `traces` of [ops] change only at a restart"
                log.warning("restart_required", extra={"reason": reason})
            self._next = config
            self._stop.set()

    async def report(self) -> None:
        """Tell systemd how we are, and that we live while we do."""
        watchdog = notify.watchdog_seconds()
        period = min(REPORT_PERIOD, watchdog / 3 if watchdog else REPORT_PERIOD)
        while True:
            self._notify_state()
            await anyio.sleep(period)

    async def measure_backlog(self) -> None:
        while True:
            await anyio.sleep(BACKLOG_PERIOD)
            source = self._sidecar.source
            with suppress(Unavailable):
                waiting = None if source is None else await source.backlog()
                if waiting is not None:
                    self._sidecar.metrics.backlog.set(waiting)

    def _notify_state(self, *more: str) -> None:
        sidecar = self._sidecar
        if sidecar.source is not None:
            sidecar.health.component("source", sidecar.source.trouble)
        ready, live = sidecar.health.ready(), sidecar.health.live()
        sidecar.metrics.ready.set(ready.ok)
        status = notify.status("ready" if ready.ok else str(ready))
        notify.notify(status, *([notify.WATCHDOG] if live.ok else []), *more)

    def _announce_ready(self) -> None:
        log.info("ready")
        self._notify_state(notify.READY)


async def _load_and_try(read: Callable[[], Config], old: Config) -> Config:
    """The configuration as ``read`` loads it now, tried as far as possible before the old one is given up.

    Every model is loaded once and every part made. Servers are not asked: one that is away is waited for, as at the
    start. Raises ConfigError, ModelError, PluginError, Unavailable.
    """
    config = await to_thread.run_sync(read)
    require_run(config)
    specs = await to_thread.run_sync(ModelResolver(config).resolve_all)
    if is_remote(config):
        make_remote_classifier(config)
    else:
        async with make_pool(config, 1, list(specs.values())):
            pass
    if config.web.listen not in {"", old.web.listen}:
        http_server.open_listener(config.web.listen, "web").close()
    for make in (make_indexer, make_store, make_source):
        make(config)
    return config
