"""What is logged, and how it looks."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from imgtag.ops.logs import Format, _Handler, configure


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Logging is as it was for the tests that follow."""
    root = logging.getLogger()
    level = root.level
    yield
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Handler)]
    root.setLevel(level)
    structlog.reset_defaults()


Logged = Callable[[Callable[[], object]], list[dict[str, Any]]]


@pytest.fixture
def logged() -> Logged:
    """Configure JSON lines, do something, and return what was logged."""

    def call(do: Callable[[], object]) -> list[dict[str, Any]]:
        stream = io.StringIO()
        configure("auto", "info", stream=stream)
        do()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    return call


def test_both_kinds_of_loggers_look_the_same(logged: Logged) -> None:
    """A plugin's `logging` record with fields comes out as ours do."""

    def do() -> None:
        structlog.get_logger("a").info("object labelled", bucket="b", key="k")
        logging.getLogger("a").info("object labelled", extra={"bucket": "b", "key": "k"})

    ours, theirs = logged(do)

    assert {"event", "level", "time", "logger", "bucket", "key"} == set(ours)
    for record in (ours, theirs):
        moment = datetime.fromisoformat(record.pop("time"))
        assert UTC == moment.tzinfo
    assert ours == theirs
    assert ("object labelled", "info", "a") == (ours["event"], ours["level"], ours["logger"])


def test_any_value_can_be_logged_but_secrets(logged: Logged) -> None:
    """Paths and the like as text; a secret hides itself."""
    (record,) = logged(
        lambda: logging.getLogger("a").warning(
            "it is %s", "so", extra={"path": PurePosixPath("/x"), "token": SecretStr("s3")}
        )
    )

    assert ("it is so", "/x", "**********") == (record["event"], record["path"], record["token"])


def test_an_exception_is_one_field(logged: Logged) -> None:
    """A traceback does not tear a line apart."""

    def do() -> None:
        try:
            raise RuntimeError("no")
        except RuntimeError:
            logging.getLogger("a").exception("failed")

    (record,) = logged(do)

    assert "RuntimeError: no" in record["exception"]


def test_level_and_configuring_again(logged: Logged) -> None:
    """What is below the level is left out, and a second configuration replaces the first."""
    logged(lambda: None)

    def do() -> None:
        logging.getLogger("a").debug("no")
        structlog.get_logger("a").debug("no")
        logging.getLogger("a").error("yes")

    assert ["yes"] == [record["event"] for record in logged(do)]
    assert 1 == sum(isinstance(handler, _Handler) for handler in logging.getLogger().handlers)


@pytest.mark.parametrize("log_format", ["console", "auto"])
def test_console(log_format: Format) -> None:
    """On a terminal people read; no word of a stranger can drive it."""
    stream = io.StringIO()
    if log_format == "auto":
        stream.isatty = lambda: True  # type: ignore[method-assign]
    configure(log_format, stream=stream)

    logging.getLogger("a").info("object labelled", extra={"key": "a\n\x1b[31mb"})

    assert 1 == len(stream.getvalue().splitlines())
    assert "object labelled" in stream.getvalue()
    assert "\x1b[31mb" not in stream.getvalue()
