"""``imgtag status``: the live status of a running sidecar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from imgtag.cli.main import FAILED, App, pass_app
from imgtag.cli.terminal import escape, to_json
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, Unavailable
from imgtag.flow.listen import parse_listen
from imgtag.types.result import COUNTS

if TYPE_CHECKING:
    from rich.console import RenderableType

_TIMEOUT = 5.0
_MAX_WARNINGS = 8
"""That are shown."""
_MAX_ANSWER = 1 << 20
"""Bytes."""

Snapshot = Mapping[str, Any]


@click.command(name="status")
@click.option("--url", metavar="URL", default="", help="Where the sidecar listens. Default: `listen` under [ops].")
@click.option("--once", is_flag=True, help="Show it once. Default without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--check", is_flag=True, help="Print problems only, and exit with 0 if it is live, else with 1; for health checks."
)
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0.2),
    default=1.0,
    show_default=True,
    help="Time between updates.",
)
@pass_app
def command(app: App, *, url: str, once: bool, as_json: bool, check: bool, every: float) -> int:
    """Show the live status of a running sidecar until Ctrl-C: rates, backlog, each part, recent warnings."""
    status = _Status(url or _url(app.load()))
    if check:
        try:
            live = status.get("/livez")
        except ImgtagError as error:
            click.echo(escape(error.message), err=True)
            return FAILED
        for part, problem in live["parts"].items():
            click.echo(escape(f"{part}: {problem}"), err=True)
        return 0 if live["ok"] else FAILED
    if as_json:
        click.echo(to_json(status.get()))
    elif once or not sys.stdout.isatty():
        now = status.get()
        from rich.console import Console  # noqa: PLC0415

        Console().print(_view(now, None))
    else:
        _live(status, every)
    return 0


class _Status:
    """Asks the sidecar at this URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def get(self, path: str = "/status") -> Snapshot:
        """The answer. Raises Unavailable."""
        import urllib3  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        hint = "Is `imgtag run` running there, with the same `listen` under [ops]? For another address use --url."
        try:
            with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
                answer = pool.request("GET", self._url + path, preload_content=False)
                content = json.loads(answer.read(_MAX_ANSWER))
        except (HTTPError, ValueError, OSError) as error:
            raise Unavailable(f"no answer from {self._url}{path}", hint=hint) from error
        if not isinstance(content, dict) or (path == "/status" and "objects" not in content):
            raise Unavailable(f"{self._url} is not a sidecar, or has another version", hint=hint)
        return content


def _url(config: Config) -> str:
    if not config.ops.listen:
        raise Unavailable("`listen` under [ops] is empty, so there is nothing to ask", hint="Set it, or use --url.")
    host, port = parse_listen(config.ops.listen)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - we do not listen on it
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _live(status: _Status, every: float) -> None:
    """Until Ctrl-C, also while the sidecar does not answer."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        before: Snapshot | None = None
        while True:
            try:
                now = status.get()
                live.update(_view(now, before), refresh=True)
                before = now
            except Unavailable as error:
                live.update(Text(escape(f"{error.message}; {error.hint}")), refresh=True)
                before = None
            time.sleep(every)


def _view(now: Snapshot, before: Snapshot | None) -> RenderableType:
    """Rates are since ``before``, else since the start."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _lines(now, before):
        table.add_row(Text(name, style="bold"), Text(value))
    healthy = now["ready"] and now["live"]
    head = Text(f"imgtag {now['version']}, site {now['site']}: ")
    head.append("ready" if healthy else "NOT READY", style="green" if healthy else "red")
    parts = [
        Text(escape(f"  {name}: {problem or 'ok'}"), style="" if problem else "dim")
        for name, problem in now["parts"].items()
    ]
    warnings = []
    for warning in now["troubles"][-_MAX_WARNINGS:]:
        moment = datetime.fromtimestamp(warning["at"], UTC).astimezone().strftime("%H:%M:%S")
        fields = [f"{name}={value}" for name, value in warning.items() if name not in {"at", "level", "event"}]
        line = f"{moment} {warning['level']} {warning['event']} {' '.join(fields)}".rstrip()
        warnings.append(Text(escape(line), style="yellow"))
    return Group(
        head, *parts, Text(), table, *([Text("\nrecent warnings", style="bold"), *warnings] if warnings else [])
    )


def _lines(now: Snapshot, before: Snapshot | None) -> Iterator[tuple[str, str]]:
    done, since = sum(now["objects"].values()), now["started"]
    if before is not None and before["started"] == since:  # the same process, so its counters went on
        done, since = done - sum(before["objects"].values()), before["at"]
    busy = {name: stage["in_flight"] for name, stage in now["stages"].items() if stage.get("in_flight")}
    refused = _counts(now["writes_refused"])
    yield "up for", _span(now["at"] - now["started"])
    yield "models", ", ".join(f"{name}: {model}" for name, model in now["models"].items()) or "none"
    yield "objects", _counts(now["objects"]) or "none yet"
    yield "rate", f"{done / max(now['at'] - since, 1e-3):.1f} objects/s"
    yield "waiting", f"{now['backlog']:,.0f} at the source, {now['queue']:,.0f} here"
    yield "latency", _latency(now["latency"])
    yield "in progress", _counts(busy) or "nothing"
    yield "writes", f"{now['writes']:,.0f}" + (f", refused: {refused}" if refused else "")
    yield "dead letters", _counts(now["dead_letters"]) or "none"
    yield "retries", _counts(now["retries"]) or "none"
    yield "workers replaced", _counts(now["worker_restarts"]) or "none"
    for backfill in now.get("backfills", ()):
        yield "distributed backfill", _backfill(backfill)
    yield "memory", f"{now['memory'] / 1e6:,.0f} MB in the main process"


def _backfill(backfill: Mapping[str, Any]) -> str:
    """How far it is, for all sidecars of the site."""
    done = sum(backfill[name] for name in COUNTS)
    counts = _counts({name: backfill[name] for name in COUNTS if backfill[name]}) or "nothing done yet"
    scopes = ", ".join(escape(scope) for scope in backfill["scopes"])
    listed = f"{backfill['listed']:,} listed{'' if backfill['published'] else ' so far'}"
    if backfill["published"] and not backfill["left"]:
        return f"{backfill['id']}: {scopes}: done: {listed}, {counts}"
    eta = f", {_span(backfill['eta'])} left" if backfill["eta"] else ""
    return (
        f"{backfill['id']}: {scopes}: {done:,} of {listed}: {counts}; {backfill['left']:,} in the queue, "
        f"{backfill['rate']:,.1f}/s{eta}"
    )


def _latency(latency: Mapping[str, Any]) -> str:
    """Within which bound half and nearly all objects were indexed, counted from their event."""
    buckets = {float(bound): count for bound, count in latency["buckets"].items()}
    total = max(buckets.values(), default=0)
    if not total:
        return "unknown yet"
    half, most = (min(bound for bound, count in buckets.items() if count >= share * total) for share in (0.5, 0.99))
    return f"half within {_span(half)}, 99 % within {_span(most)}"


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:,.0f}" for name, count in counts.items())


def _span(seconds: float) -> str:
    """``0.25 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return "ever" if seconds == float("inf") else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"
