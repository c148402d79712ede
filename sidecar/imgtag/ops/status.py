"""How a sidecar is, as one JSON object: what `imgtag status` shows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imgtag import __version__
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.ops.troubles import RecentWarnings

_PLAIN = {
    "backlog": "imgtag_backlog",
    "queue": "imgtag_queue",
    "writes": "imgtag_writes_total",
    "stale": "imgtag_stale_total",
    "conflicts": "imgtag_conflicts_total",
    "bytes_read": "imgtag_bytes_read_total",
    "last_success": "imgtag_last_success_timestamp_seconds",
}
_BY_LABEL = {
    "objects": ("imgtag_objects_total", "result"),
    "dead_letters": ("imgtag_dead_letters_total", "code"),
    "writes_refused": ("imgtag_writes_refused_total", "code"),
    "retries": ("imgtag_retries_total", "code"),
    "worker_restarts": ("imgtag_worker_restarts_total", "reason"),
    "errors": ("imgtag_stage_errors_total", "stage"),
}


@dataclass(frozen=True, kw_only=True)
class Status:
    """Looks at health, metrics and troubles; asks nobody."""

    site: str
    health: Health
    metrics: Metrics
    troubles: RecentWarnings
    started: float = field(default_factory=time.time)

    def snapshot(self) -> Mapping[str, Any]:
        """The state now; counts are since the start. Looks at /proc, so it is for a thread."""
        samples = self._samples()
        ready, live = self.health.ready(), self.health.live()
        return {
            "version": __version__,
            "site": self.site,
            "at": time.time(),
            "started": self.started,
            "ready": ready.ok,
            "live": live.ok,
            "parts": {**ready.parts, **live.parts},
            "models": {labels["name"]: labels["model"] for labels, _ in samples["imgtag_models"]},
            **{key: sum(value for _, value in samples[name]) for key, name in _PLAIN.items()},
            **{key: self._grouped(samples, *source) for key, source in _BY_LABEL.items()},
            "stages": self._stages(samples),
            "latency": self._histogram(samples, "imgtag_latency_seconds"),
            "memory": sum(value for _, value in samples["process_resident_memory_bytes"]),
            "troubles": self.troubles.newest(),
        }

    def _samples(self) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
        found: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                found[sample.name].append((sample.labels, sample.value))
        return found

    def _grouped(self, samples: Mapping[str, Any], name: str, label: str) -> Mapping[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for labels, value in samples[name]:
            sums[labels[label]] += value
        return {key: value for key, value in sums.items() if value}

    def _stages(self, samples: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
        stages: dict[str, dict[str, float]] = defaultdict(dict)
        for key, name in (("count", "_seconds_count"), ("seconds", "_seconds_sum"), ("in_flight", "_in_flight")):
            for labels, value in samples[f"imgtag_stage{name}"]:
                stages[labels["stage"]][key] = value
        return stages

    def _histogram(self, samples: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        buckets = {labels["le"]: value for labels, value in samples[f"{name}_bucket"]}
        return {"buckets": buckets, "seconds": sum(value for _, value in samples[f"{name}_sum"])}
