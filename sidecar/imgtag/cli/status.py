"""``imgtag status``: a live view of a running sidecar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from imgtag.cli.main import FAILED, App, pass_app
from imgtag.config.configuration import Config
from imgtag.config.schema import parse_listen
from imgtag.errors import ImgtagError, Unavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

_TIMEOUT = 5.0
_SHOWN = 8
"""Troubles that are shown."""
_LARGEST = 1 << 20

Snapshot = Mapping[str, Any]


@click.command(name="status")
@click.option("--url", metavar="URL", default="", help="Where it listens. Default: `listen` under [ops].")
@click.option("--once", is_flag=True, help="Show it once, as also where nobody looks; else again and again.")
@click.option("--json", "as_json", is_flag=True, help="Once, as one JSON object.")
@click.option("--check", is_flag=True, help="Only end with 0 where it lives, else with 1; for health checks.")
@click.option("--every", metavar="SECONDS", type=click.FloatRange(min=0.2), default=1.0, show_default=True)
@pass_app
def command(app: App, *, url: str, once: bool, as_json: bool, check: bool, every: float) -> int:
    """Show how a running sidecar is, until Ctrl-C: rates, what waits, how each part is, the newest troubles."""
    status = _Status(url or _url(app.load()))
    if check:
        return _checked(status)
    if as_json:
        click.echo(json.dumps(status.get(), ensure_ascii=False))
    elif once or not sys.stdout.isatty():
        _print(status.get(), None)
    else:
        _live(status, every)
    return 0


class _Status:
    """What the sidecar at this URL says."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def get(self, path: str = "/status") -> Snapshot:
        """The answer. Raises Unavailable."""
        import urllib3  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        hint = "Does `imgtag run` run there? Is `listen` under [ops] the same? Another address: --url."
        try:
            with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
                answer = pool.request("GET", self._url + path, preload_content=False)
                said = json.loads(answer.read(_LARGEST))
        except (HTTPError, ValueError, OSError) as error:
            raise Unavailable(f"nothing answers at {self._url}{path}", hint=hint) from error
        if not isinstance(said, dict) or (path == "/status" and "objects" not in said):
            raise Unavailable(f"what answers at {self._url} is no sidecar, or one of another version", hint=hint)
        return said


def _url(config: Config) -> str:
    if not config.ops.listen:
        raise Unavailable(
            "`listen` under [ops] is empty", hint="Nothing can be asked then. Set it, or name another --url."
        )
    host, port = parse_listen(config.ops.listen)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not to be listened on
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _checked(status: _Status) -> int:
    try:
        live = status.get("/livez")
    except ImgtagError as error:
        click.echo(error.message, err=True)
        return FAILED
    for part, said in live["parts"].items():
        click.echo(f"{part}: {said}", err=True)
    return 0 if live["ok"] else FAILED


def _live(status: _Status, every: float) -> None:
    """Until Ctrl-C; what does not answer for a while is waited for."""
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        before: Snapshot | None = None
        while True:
            try:
                now = status.get()
                live.update(_view(now, before), refresh=True)
                before = now
            except Unavailable as error:
                live.update(f"{error.message}; {error.hint}", refresh=True)
                before = None
            time.sleep(every)


def _print(now: Snapshot, before: Snapshot | None) -> None:
    from rich.console import Console  # noqa: PLC0415

    Console().print(_view(now, before))


def _view(now: Snapshot, before: Snapshot | None) -> RenderableType:
    """Rates are of the time since ``before``, else since the start."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _lines(now, before):
        table.add_row(Text(name, style="bold"), Text(value))
    well = now["ready"] and now["live"]
    head = Text(f"imgtag {now['version']}, site {now['site']}: ")
    head.append("ready" if well else "NOT READY", style="green" if well else "red")
    parts = [Text(f"  {name}: {said or 'ok'}", style="" if said else "dim") for name, said in now["parts"].items()]
    troubles = [Text(line, style="yellow") for line in _troubles(now)]
    return Group(
        head, *parts, Text(), table, *([Text("\nnewest troubles", style="bold"), *troubles] if troubles else [])
    )


def _lines(now: Snapshot, before: Snapshot | None) -> Iterator[tuple[str, str]]:
    yield "up for", _span(now["at"] - now["started"])
    yield "models", ", ".join(f"{name}: {model}" for name, model in now["models"].items()) or "none"
    yield "objects", _counts(now["objects"]) or "none yet"
    yield "rate", f"{_rate(now, before):.1f} objects/s"
    yield "waiting", f"{now['backlog']:,.0f} at the source, {now['queue']:,.0f} here"
    yield "latency", _latency(now["latency"])
    yield "in work", ", ".join(f"{name} {stage['in_flight']:.0f}" for name, stage in _busy(now)) or "nothing"
    yield "writes", f"{now['writes']:,.0f}" + _more(", not written on: ", now["writes_refused"])
    yield "given up", _counts(now["dead_letters"]) or "none"
    yield "tried again", _counts(now["retries"]) or "none"
    yield "workers replaced", _counts(now["worker_restarts"]) or "none"
    yield "memory", f"{now['memory'] / 1e6:,.0f} MB in the main process"


def _rate(now: Snapshot, before: Snapshot | None) -> float:
    done, since = sum(now["objects"].values()), now["started"]
    if before is not None and before["started"] == now["started"]:
        done, since = done - sum(before["objects"].values()), before["at"]
    return float(done / max(now["at"] - since, 1e-3))


def _busy(now: Snapshot) -> Iterator[tuple[str, Mapping[str, float]]]:
    yield from ((name, stage) for name, stage in now["stages"].items() if stage.get("in_flight"))


def _latency(said: Mapping[str, Any]) -> str:
    """Up to which bound half and nearly all took, from the event of a picture until it was indexed."""
    buckets = {float(bound): count for bound, count in said["buckets"].items()}
    total = max(buckets.values(), default=0)
    if not total:
        return "not known yet"
    half, most = (min(bound for bound, count in buckets.items() if count >= share * total) for share in (0.5, 0.99))
    return f"half within {_span(half)}, 99 % within {_span(most)}"


def _troubles(now: Snapshot) -> Iterator[str]:
    for trouble in now["troubles"][-_SHOWN:]:
        moment = datetime.fromtimestamp(trouble["at"], UTC).astimezone().strftime("%H:%M:%S")
        fields = [f"{name}={value}" for name, value in trouble.items() if name not in {"at", "level", "event"}]
        yield f"{moment} {trouble['level']} {trouble['event']} {' '.join(fields)}".rstrip()


def _counts(said: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:,.0f}" for name, count in said.items())


def _more(head: str, said: Mapping[str, float]) -> str:
    return f"{head}{_counts(said)}" if said else ""


def _span(seconds: float) -> str:
    """``0.25 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return "ever" if seconds == float("inf") else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"
