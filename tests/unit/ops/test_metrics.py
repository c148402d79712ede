"""What is counted."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imgtag.errors import Undecodable
from imgtag.ops.metrics import TABLE, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_of_ours_is_in_the_table() -> None:
    """The page of metrics and the reference name the same."""
    families = text_string_to_metric_families(Metrics().exposition().decode())
    ours = {
        family.name + "_total" * (family.type == "counter") for family in families if family.name.startswith("imgtag_")
    }

    assert {metric.name for metric in TABLE} == ours


def test_stage_is_measured() -> None:
    """Time, what is in it now, and the code of what went wrong."""
    metrics = Metrics()

    with metrics.stage("fetch"):
        assert 1 == value(metrics, "imgtag_stage_in_flight", stage="fetch")
    with pytest.raises(Undecodable), metrics.stage("fetch"):
        raise Undecodable
    with pytest.raises(TypeError), metrics.stage("fetch"):
        raise TypeError
    with pytest.raises(asyncio.CancelledError), metrics.stage("fetch"):
        raise asyncio.CancelledError

    assert 0 == value(metrics, "imgtag_stage_in_flight", stage="fetch")
    assert 4 == value(metrics, "imgtag_stage_seconds_count", stage="fetch")
    assert 1 == value(metrics, "imgtag_stage_errors_total", stage="fetch", code="undecodable")
    assert 1 == value(metrics, "imgtag_stage_errors_total", stage="fetch", code="internal")


def test_counting() -> None:
    """Each method counts in the metric of its name."""
    metrics = Metrics()
    assert 0 == value(metrics, "imgtag_objects_total", result="failed")

    metrics.object_done("labelled")
    metrics.queued(7)
    metrics.dead_letter("undecodable")
    metrics.conflict()
    metrics.stale()
    metrics.retry("unavailable")
    metrics.wrote()
    metrics.write_refused("retention")
    metrics.worker_restarted("memory")
    metrics.read(12)
    metrics.ready(ready=True)
    metrics.observed("decode", 0.5)

    assert 1 == value(metrics, "imgtag_objects_total", result="labelled")
    assert 7 == value(metrics, "imgtag_queue")
    assert 1 == value(metrics, "imgtag_dead_letters_total", code="undecodable")
    assert 1 == value(metrics, "imgtag_conflicts_total")
    assert 1 == value(metrics, "imgtag_stale_total")
    assert 1 == value(metrics, "imgtag_retries_total", code="unavailable")
    assert 1 == value(metrics, "imgtag_writes_total")
    assert 1 == value(metrics, "imgtag_writes_refused_total", code="retention")
    assert 1 == value(metrics, "imgtag_worker_restarts_total", reason="memory")
    assert 12 == value(metrics, "imgtag_bytes_read_total")
    assert 1 == value(metrics, "imgtag_ready")
    assert 0.5 == value(metrics, "imgtag_stage_seconds_sum", stage="decode")
    assert (value(metrics, "imgtag_last_success_timestamp_seconds") or 0) > 1e9


def test_two_sidecars_in_one_process_count_apart() -> None:
    """Nothing is shared between registries."""
    one, other = Metrics(), Metrics()

    one.wrote()

    assert (1, 0) == (value(one, "imgtag_writes_total"), value(other, "imgtag_writes_total"))
