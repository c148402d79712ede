"""What stands around a sidecar: signals, systemd, health and metrics over HTTP."""

from __future__ import annotations

import logging
import signal

import anyio

from imgtag.ops import http, notify
from imgtag.service.sidecar import Sidecar

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """A second signal came before the drain was done."""


async def supervise(sidecar: Sidecar) -> None:
    """Run until SIGTERM or SIGINT, then drain; the second one stops at once (Interrupted)."""
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        listen = sidecar.config.ops.listen
        if listen:
            app = http.application(sidecar.health, sidecar.metrics)
            port = await tasks.start(http.serve, app, listen)
            log.info("health and metrics", extra={"listen": listen, "port": port})
        tasks.start_soon(_signals, stop)
        tasks.start_soon(_report, sidecar)
        await sidecar.run(stop, ready=_ready)
        tasks.cancel_scope.cancel("stopped")
    log.info("stopped")


async def _signals(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if stop.is_set():
                raise Interrupted(signal.Signals(number).name)
            log.info("stopping", extra={"signal": signal.Signals(number).name})
            notify.notify(notify.STOPPING)
            stop.set()


def _ready() -> None:
    log.info("ready")
    notify.notify(notify.READY)


async def _report(sidecar: Sidecar) -> None:
    """Tell systemd how we are, and that we live while we do."""
    watchdog = notify.watchdog_seconds()
    period = min(5.0, watchdog / 3 if watchdog else 5.0)
    while True:
        if sidecar.source is not None:
            sidecar.health.component("source", sidecar.source.trouble)
        ready, live = sidecar.health.ready(), sidecar.health.live()
        sidecar.metrics.ready(ready=ready.ok)
        states = [notify.status("ready" if ready.ok else str(ready))]
        notify.notify(*states, *([notify.WATCHDOG] if live.ok else []))
        await anyio.sleep(period)
