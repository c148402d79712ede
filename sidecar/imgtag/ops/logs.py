"""Logs on stderr: a fixed message and fields, as JSON lines or for people.

Records of the standard library, with their ``extra`` fields, come out as those of structlog do.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

Format = Literal["auto", "json", "console"]


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring again replaces it and nobody else's."""


def configure(log_format: Format = "auto", level: str = "info", *, stream: TextIO | None = None) -> None:
    """Log from now on in this format, from this level on; to stderr unless told otherwise."""
    import structlog  # noqa: PLC0415  (a tenth of a second, which commands that do not log need not wait for)

    stream = stream or sys.stderr
    people = log_format == "console" or (log_format == "auto" and stream.isatty())
    fields = _fields()
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _without_leftovers, *fields],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(stream, people=people)],
        )
    )
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _Handler)), handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *fields,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _without_leftovers(_logger: object, _method: str, record: EventDict) -> EventDict:
    """Formatters of other handlers leave their results on a record, where they look like fields."""
    record.pop("message", None)
    record.pop("asctime", None)
    return record


def _fields() -> list[Processor]:
    """What every record has besides its event: level, logger and time (RFC 3339, UTC)."""
    from structlog import processors, stdlib  # noqa: PLC0415

    return [
        stdlib.add_log_level,
        stdlib.add_logger_name,
        stdlib.PositionalArgumentsFormatter(),
        processors.TimeStamper(fmt="iso", utc=True, key="time"),
        processors.StackInfoRenderer(),
    ]


def _rendering(stream: TextIO, *, people: bool) -> list[Processor]:
    from structlog import dev, processors  # noqa: PLC0415

    if not people:
        return [processors.format_exc_info, processors.JSONRenderer(default=str)]
    renderer = dev.ConsoleRenderer(
        colors=stream.isatty(),
        exception_formatter=dev.plain_traceback,
        timestamp_key="time",
        repr_native_str=True,  # keys are strangers' words: no control character reaches the terminal
    )
    return [renderer]
