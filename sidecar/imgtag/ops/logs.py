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
    """Log in this format from this level on, to stderr unless ``stream`` says otherwise."""
    import structlog  # noqa: PLC0415  (a tenth of a second, which commands that do not log need not wait for)
    from structlog import dev, processors, stdlib  # noqa: PLC0415

    stream = stream or sys.stderr
    # Every record has its event, level, logger and time (RFC 3339, UTC).
    fields: list[Processor] = [
        stdlib.add_log_level,
        stdlib.add_logger_name,
        stdlib.PositionalArgumentsFormatter(),
        processors.TimeStamper(fmt="iso", utc=True, key="time"),
        processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = [processors.format_exc_info, processors.JSONRenderer(default=str)]
    if log_format == "console" or (log_format == "auto" and stream.isatty()):
        rendering = [
            dev.ConsoleRenderer(
                colors=stream.isatty(),
                exception_formatter=dev.plain_traceback,
                timestamp_key="time",
                repr_native_str=True,  # keys are strangers' text: no control character may reach the terminal
            )
        ]
    handler = _Handler(stream)
    handler.setFormatter(
        stdlib.ProcessorFormatter(
            foreign_pre_chain=[stdlib.ExtraAdder(), _drop_leftovers, *fields],
            processors=[stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [*(other for other in root.handlers if not isinstance(other, _Handler)), handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *fields,
            stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=stdlib.LoggerFactory(),
        wrapper_class=stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _drop_leftovers(_logger: object, _method: str, record: EventDict) -> EventDict:
    """Formatters of other handlers leave their results on a record, where they look like fields."""
    record.pop("message", None)
    record.pop("asctime", None)
    return record
