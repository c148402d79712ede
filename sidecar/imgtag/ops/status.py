"""How a sidecar is, as one JSON object: what `imgtag status` shows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.registry import Collector

from imgtag import __version__
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.ops.recent_warnings import RecentWarnings


@dataclass(frozen=True, kw_only=True)
class Status:
    """Reads health, metrics and recent warnings; asks no server."""

    site: str
    health: Health
    metrics: Metrics
    recent_warnings: RecentWarnings
    started: float = field(default_factory=time.time)

    def snapshot(self) -> Mapping[str, Any]:
        """The state now; counts are since the start. Reads /proc, so call it in a thread."""
        metrics, ready, live = self.metrics, self.health.ready(), self.health.live()
        stages: dict[str, dict[str, float]] = defaultdict(dict)
        seconds, in_flight = metrics.stage_seconds, metrics.stage_in_flight
        for key, metric, suffix in (
            ("count", seconds, "_count"),
            ("seconds", seconds, "_sum"),
            ("in_flight", in_flight, ""),
        ):
            for labels, value in _samples(metric, suffix):
                stages[labels["stage"]][key] = value
        return {
            "version": __version__,
            "site": self.site,
            "at": time.time(),
            "started": self.started,
            "ready": ready.ok,
            "live": live.ok,
            "parts": {**ready.parts, **live.parts},
            "models": {labels["name"]: labels["model"] for labels, _ in _samples(metrics.models)},
            "backlog": _total(metrics.backlog),
            "queue": _total(metrics.queue),
            "writes": _total(metrics.writes),
            "stale": _total(metrics.stale),
            "conflicts": _total(metrics.conflicts),
            "bytes_read": _total(metrics.bytes_read),
            "last_success": _total(metrics.last_success),
            "objects": count_by_label(metrics.objects, "result"),
            "dead_letters": count_by_label(metrics.dead_letters, "code"),
            "writes_refused": count_by_label(metrics.writes_refused, "code"),
            "retries": count_by_label(metrics.retries, "code"),
            "worker_restarts": count_by_label(metrics.worker_restarts, "reason"),
            "errors": count_by_label(metrics.stage_errors, "stage"),
            "stages": stages,
            "latency": {
                "buckets": {labels["le"]: value for labels, value in _samples(metrics.latency, "_bucket")},
                "seconds": sum(value for _, value in _samples(metrics.latency, "_sum")),
            },
            "backfills": metrics.backfills,
            "memory": metrics.registry.get_sample_value("process_resident_memory_bytes") or 0,
            "troubles": self.recent_warnings.newest(),
        }


def _samples(metric: Collector, suffix: str | None = None) -> list[tuple[Mapping[str, str], float]]:
    """The labels and values of a metric's samples; of a histogram, those of one ``suffix``."""
    (family,) = metric.collect()
    return [
        (sample.labels, sample.value)
        for sample in family.samples
        if suffix is None or sample.name == f"{family.name}{suffix}"
    ]


def _total(metric: Collector) -> float:
    return sum(value for _, value in _samples(metric))


def count_by_label(metric: Collector, label: str) -> Mapping[str, float]:
    """The values of a metric summed up by one of its labels, without those that are 0."""
    sums: dict[str, float] = defaultdict(float)
    for labels, value in _samples(metric):
        sums[labels[label]] += value
    return {key: value for key, value in sums.items() if value}
