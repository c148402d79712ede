"""Progress of long work: a bar on a terminal, a line now and then in a log, or JSON for a program."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import anyio
import click

from imgtag.cli.terminal import to_json
from imgtag.types.result import COUNTS

BAR_PERIOD, JSON_PERIOD, LINE_PERIOD = 0.25, 2.0, 30.0
"""Seconds between two reports."""


class Reporter:
    """Reports what ``read`` gives: ``listed``, the counts of ``names``, perhaps ``bytes``, and more for a program.

    ``done`` names the counts whose sum says how much is done. ``total`` is what is to be done, unless ``read`` gives a
    newer one. ``why_slow`` says what holds the work back; empty while nothing does.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, Any]],
        *,
        names: Sequence[str] = COUNTS,
        done: Sequence[str] = ("listed",),
        as_json: bool = False,
        total: int | None = None,
        why_slow: Callable[[], str] = lambda: "",
    ) -> None:
        self._read = read
        self._names = names
        self._done = done
        self._as_json = as_json
        self._total = total
        self._why_slow = why_slow
        self._began = time.monotonic()
        self._first = self._count_done(read())

    async def run(self) -> None:
        """Report until cancelled."""
        if self._as_json:
            while True:
                await anyio.sleep(JSON_PERIOD)
                click.echo(to_json({**self._fields(), "held_back": self._why_slow() or None}))
        elif sys.stderr.isatty():
            with self._bar() as update:
                while True:
                    await anyio.sleep(BAR_PERIOD)
                    update()
        else:
            while True:
                await anyio.sleep(LINE_PERIOD)
                click.echo(self._line(), err=True)

    def _count_done(self, fields: Mapping[str, Any]) -> int:
        return sum(fields[name] for name in self._done)

    def _fields(self) -> dict[str, Any]:
        """The counts, with the rate of this run in objects a second and the seconds that are left, if known."""
        fields = {"total": self._total, **self._read()}
        done, total = self._count_done(fields), fields["total"]
        rate = (done - self._first) / max(1e-3, time.monotonic() - self._began)
        left = None if total is None or done == self._first else max(0, total - done) / max(1e-9, rate)
        return {**fields, "rate": round(rate, 1), "eta": left and round(left)}

    def _line(self) -> str:
        fields = self._fields()
        of = f" of {fields['total']:,}" if fields["total"] else ""
        counts = ", ".join(f"{name} {fields[name]:,}" for name in self._names if fields[name]) or "nothing done yet"
        size = f"; {fields['bytes'] / 1e6:,.0f} MB" if "bytes" in fields else ""
        left = f", {duration(fields['eta'])} left" if fields["eta"] else ""
        slow = self._why_slow()
        return (
            f"{self._count_done(fields):,}{of}: {counts}{size}, {fields['rate']:,.1f}/s{left}{'; ' * bool(slow)}{slow}"
        )

    @contextmanager
    def _bar(self) -> Iterator[Callable[[], None]]:
        from rich.console import Console  # noqa: PLC0415  (only a terminal needs it)
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        columns = (BarColumn(bar_width=10), TextColumn("{task.fields[line]}", markup=False))
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=self._total, line="")

            def update() -> None:
                fields = self._read()
                total = fields.get("total", self._total)
                progress.update(task, completed=self._count_done(fields), total=total, line=self._line())

            yield update


def duration(seconds: float) -> str:
    """Roughly, for people."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
