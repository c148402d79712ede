"""What `imgtag status` is told."""

from __future__ import annotations

import json
import logging

import anyio
import pytest

from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.ops.recent_warnings import RecentWarnings
from imgtag.ops.status import Status
from imgtag.types.result import Result

pytestmark = pytest.mark.anyio


async def test_counts_are_those_of_the_metrics() -> None:
    """By what became of objects, by code, by stage; with health and models."""
    metrics, health = Metrics(), Health()
    for result in ("labelled", "labelled", "failed"):
        metrics.count_object(Result(result))
    metrics.dead_letters.labels("undecodable").inc()
    metrics.backlog.set(7)
    metrics.latency.observe(0.2)
    metrics.models.labels("default", "m@1").set(1)
    metrics.models.labels("birds", "b@2").set(1)
    with metrics.stage("fetch"):
        pass
    health.component("store", "it does not answer")

    status = Status(site="here", health=health, metrics=metrics, recent_warnings=RecentWarnings())
    snapshot = json.loads(json.dumps(await anyio.to_thread.run_sync(status.snapshot)))

    assert {"labelled": 2, "failed": 1} == snapshot["objects"]
    assert {"undecodable": 1} == snapshot["dead_letters"]
    assert (7, False, "it does not answer") == (snapshot["backlog"], snapshot["ready"], snapshot["parts"]["store"])
    assert {"default": "m@1", "birds": "b@2"} == snapshot["models"]
    assert 1 == snapshot["stages"]["fetch"]["count"]
    assert (0, 1) == (snapshot["latency"]["buckets"]["0.1"], snapshot["latency"]["buckets"]["0.25"])


def test_troubles_are_the_newest_warnings_with_their_fields() -> None:
    """And nothing that is only information; what is long is cut."""
    troubles, log = RecentWarnings(), logging.getLogger("imgtag.test_troubles")
    log.addHandler(troubles)
    log.setLevel(logging.DEBUG)
    try:
        log.info("ready")
        log.warning("try again", extra={"code": "unavailable", "reason": "x" * 1000})
        for number in range(30):
            log.error("worse %d", number)
    finally:
        log.removeHandler(troubles)

    kept = troubles.newest()
    assert [f"worse {number}" for number in range(10, 30)] == [trouble["event"] for trouble in kept]
    assert {"error"} == {trouble["level"] for trouble in kept}


def test_a_trouble_has_its_fields() -> None:
    """As the log has them."""
    troubles = RecentWarnings()
    record = logging.makeLogRecord({"msg": "try again", "levelno": 30, "levelname": "WARNING", "reason": "y" * 1000})

    troubles.emit(record)

    (trouble,) = troubles.newest()
    assert ("try again", "warning", 300) == (trouble["event"], trouble["level"], len(trouble["reason"]))
