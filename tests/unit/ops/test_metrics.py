"""What is counted."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imgtag.errors import Undecodable
from imgtag.labels.difference import Difference
from imgtag.ops.metrics import Metrics
from imgtag.types.result import Result


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_of_ours_is_in_the_table() -> None:
    """The page of metrics and the reference name the same."""
    families = text_string_to_metric_families(Metrics().exposition().decode())
    ours = {
        family.name + "_total" * (family.type == "counter") for family in families if family.name.startswith("imgtag_")
    }

    assert {metric.name for metric in Metrics().describe()} == ours


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
    """What belongs together is counted in all its metrics."""
    metrics = Metrics()
    assert 0 == value(metrics, "imgtag_objects_total", result="failed")

    metrics.count_object(Result.LABELLED)
    metrics.count_shadow("m@1", Difference(kept=("fox",), lost=("cat", "dog"), gained=(), same=True))

    assert 1 == value(metrics, "imgtag_objects_total", result="labelled")
    assert 1 == value(metrics, "imgtag_shadow_pictures_total", model="m@1", result="same")
    assert 2 == value(metrics, "imgtag_shadow_labels_total", model="m@1", result="lost")
    assert 0 == value(metrics, "imgtag_shadow_labels_total", model="m@1", result="gained")
    assert (value(metrics, "imgtag_last_success_timestamp_seconds") or 0) > 1e9


def test_two_sidecars_in_one_process_count_apart() -> None:
    """Nothing is shared between registries."""
    one, other = Metrics(), Metrics()

    one.writes.inc()

    assert (1, 0) == (value(one, "imgtag_writes_total"), value(other, "imgtag_writes_total"))
