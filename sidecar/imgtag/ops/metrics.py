"""What is counted and measured, in a registry of its own. The attributes of `Metrics` are the metrics."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from imgtag import __version__
from imgtag.errors import ImgtagError
from imgtag.flow.governor import REASONS, GovernorState
from imgtag.labels.difference import Difference
from imgtag.ops.stage_times import BUCKETS, StageSeconds, StageTimes
from imgtag.ops.traces import Traces
from imgtag.types.result import Result

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)


@dataclass(frozen=True, kw_only=True)
class MetricDescription:
    """A metric as the reference shows it, with the name it has in the exposition."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


class Metrics:
    """The metrics of one sidecar, and the traces that go with them."""

    def __init__(self) -> None:  # noqa: PLR0915  (a statement for each metric)
        self.traces = Traces()
        # A `_created` series beside each would double the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.stage_seconds = StageSeconds()
        registry.register(self.stage_seconds)
        self.stage_errors = counter("imgtag_stage_errors_total", "Objects that failed in a stage.", "stage", "code")
        self.stage_in_flight = gauge("imgtag_stage_in_flight", "Objects in a stage now.", "stage")
        self.objects = counter("imgtag_objects_total", "Objects processed, by result.", "result")
        self.backlog = gauge("imgtag_backlog", "Messages waiting at the source, for all sidecars that share it.")
        self.latency = Histogram(
            "imgtag_latency_seconds",
            "From the event of an image until the image was labelled and indexed.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.queue = gauge("imgtag_queue", "Hints received and not processed yet.")
        self.deferred = counter(
            "imgtag_deferred_total", "Events put behind those of others, because their uploader's images are slow."
        )
        self.dead_letters = counter("imgtag_dead_letters_total", "Work given up.", "code")
        self.dead_letters_dropped = counter(
            "imgtag_dead_letters_dropped_total", "Dead letters of messages without an object, dropped for want of room."
        )
        self.conflicts = counter("imgtag_conflicts_total", "Objects that changed while they were processed.")
        self.stale = counter("imgtag_stale_total", "Objects seen with labels from another model or other rules.")
        self.retries = counter("imgtag_retries_total", "Retries scheduled.", "code")
        self.writes = counter("imgtag_writes_total", "Writes of labels on objects.")
        self.writes_refused = counter("imgtag_writes_refused_total", "Objects indexed but not written on.", "code")
        self.worker_restarts = counter("imgtag_worker_restarts_total", "Worker processes replaced.", "reason")
        self.worker_confinement = gauge(
            "imgtag_worker_confinement", "1 for what keeps a compromised worker away from the rest, else 0.", "feature"
        )
        self.models = gauge("imgtag_models", "Always 1; models in use, by the name rules give them.", "name", "model")
        self.config_reloads = counter(
            "imgtag_config_reloads_total", "Configurations reloaded: taken or refused.", "result"
        )
        self.model_changes = counter("imgtag_model_changes_total", "New models: taken or refused.", "result")
        self.shadow_pictures = counter(
            "imgtag_shadow_pictures_total", "Images seen by a shadow model, by its best label.", "model", "result"
        )
        self.shadow_labels = counter(
            "imgtag_shadow_labels_total", "Labels a shadow model would keep, lose or gain.", "model", "result"
        )
        self.bulk_objects = counter(
            "imgtag_bulk_objects_total", "Objects of bulk work begun, such as those of a backfill."
        )
        self.bulk_in_work = gauge("imgtag_bulk_in_work", "Objects of bulk work in work now.")
        self.bulk_limit = gauge(
            "imgtag_bulk_limit",
            "Objects of bulk work that may be in work at once; below 1, the part of the time for a single one.",
        )
        self.bulk_held_back = gauge(
            "imgtag_bulk_held_back", "1 while bulk work is held back for this reason, else 0.", "reason"
        )
        self.backfill_left = gauge(
            "imgtag_backfill_left", "Objects that distributed backfills still have to work off, for all sidecars."
        )
        self.backfill_objects = counter(
            "imgtag_backfill_objects_total",
            "Objects of distributed backfills finished by this sidecar: labelled, skipped, refused or failed.",
            "outcome",
        )
        self.audit_findings = gauge("imgtag_audit_findings", "Findings of the last audit of everything.", "kind")
        self.audit_last_success = gauge(
            "imgtag_audit_last_success_timestamp_seconds",
            "When the last audit of everything came to its end, seconds since 1970; 0 before the first.",
        )
        self.search_objects = gauge(
            "imgtag_search_objects", "Objects that a saved search ([[searches]]) finds, counted every minute.", "search"
        )
        self.job_running = gauge("imgtag_job_running", "1 while this sidecar does a scheduled job, else 0.", "name")
        self.jobs = counter(
            "imgtag_jobs_total",
            "Scheduled jobs of this sidecar that ended: done, failed, or stopped by a drain or a lost lease.",
            "name",  # Prometheus itself has a label `job`
            "result",
        )
        self.web_requests = counter(
            "imgtag_web_requests_total",
            "Requests to the HTTP API, by the class of their status.",
            "operation",
            "status",
        )
        self.web_seconds = Histogram(
            "imgtag_web_seconds",
            "Time until a request to the HTTP API had its answer.",
            ["operation"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.web_thumbnails = counter(
            "imgtag_web_thumbnails_total", "Thumbnails answered: cache, made, not_modified or failed.", "source"
        )
        self.web_bytes_saved = counter(
            "imgtag_web_bytes_saved_total", "Bytes by which thumbnails were smaller than their objects."
        )
        self.web_thumbnail_cache_bytes = gauge(
            "imgtag_web_thumbnail_cache_bytes", "Bytes of thumbnails on disk, as far as this sidecar knows."
        )
        self.bytes_read = counter("imgtag_bytes_read_total", "Bytes of objects read.")
        self.last_success = gauge(
            "imgtag_last_success_timestamp_seconds", "When an object was last processed, seconds since 1970."
        )
        self.ready = gauge("imgtag_ready", "1 while the sidecar is ready, else 0.")
        self.build_info = gauge("imgtag_build_info", "Always 1; versions in use.", "version", "python")
        self.build_info.labels(__version__, platform.python_version()).set(1)
        # Looked up once, because it costs more than to count. All of them now: a rate needs the zero before the first.
        self._objects = {result: self.objects.labels(result.value) for result in Result}
        self._stages: dict[str, StageTimes] = {}
        self._last_success = 0.0
        self.last_success.set_function(lambda: self._last_success)
        self.stage_listeners: dict[str, list[Callable[[float], None]]] = {}
        self._bulk: dict[object, GovernorState] = {}
        self.backfills: Sequence[Mapping[str, Any]] = ()
        """The distributed backfills of the site, as `imgtag status` shows them."""

    def describe(self) -> list[MetricDescription]:
        """Every metric of the sidecar itself, in the order above."""
        metrics = [value for value in vars(self).values() if isinstance(value, MetricWrapperBase | StageSeconds)]
        families = [(metric, next(iter(metric.collect()))) for metric in metrics]
        return [
            MetricDescription(
                name=family.name + "_total" * (family.type == "counter"),
                kind=family.type,
                help=family.documentation,
                labels=tuple(metric._labelnames),  # noqa: SLF001  (the client has no public way to ask for them)
            )
            for metric, family in families
        ]

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Measure one object in a stage, and trace it."""
        return _Stage(self, name)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Count one object in a stage that was measured elsewhere."""
        self.stage_times(stage).observe(seconds)

    def stage_times(self, stage: str) -> StageTimes:
        """How many objects are in the stage, and the seconds that they spent in it."""
        if stage not in self._stages:
            self._stages[stage] = times = self.stage_seconds.add(stage)
            self.stage_in_flight.labels(stage).set_function(lambda: times.in_flight)
        return self._stages[stage]

    def listen(self, stage: str, listener: Callable[[float], None]) -> None:
        """Tell ``listener`` the seconds of each object that went through a stage. What failed says little of speed."""
        self.stage_listeners.setdefault(stage, []).append(listener)

    def stop_listening(self, stage: str, listener: Callable[[float], None]) -> None:
        """End what `listen` began."""
        self.stage_listeners[stage].remove(listener)

    def show_audit(self, at: float, findings: Mapping[str, int]) -> None:
        """Show how an audit ended: when, and how much it found of each kind."""
        self.audit_last_success.set(at)
        for kind, count in findings.items():
            self.audit_findings.labels(kind).set(count)

    def show_bulk(self, governor: object, state: GovernorState | None) -> None:
        """Show how a governor limits bulk work; None: it has ended. Where several run, their limits are added up."""
        before = self._bulk.pop(governor, None)
        if state is not None:
            self.bulk_objects.inc(state.admitted - (before.admitted if before else 0))
            self._bulk[governor] = state
        self.bulk_in_work.set(sum(state.in_work for state in self._bulk.values()))
        self.bulk_limit.set(sum(state.limit for state in self._bulk.values()))
        reasons = {state.held_back for state in self._bulk.values()}
        for reason in REASONS:
            self.bulk_held_back.labels(reason).set(reason in reasons)

    def show_backfills(self, backfills: Sequence[Mapping[str, Any]]) -> None:
        """Show the distributed backfills of the site."""
        self.backfills = backfills
        self.backfill_left.set(sum(backfill["left"] for backfill in backfills))

    def count_object(self, result: Result) -> None:
        """Count an object that was processed."""
        self._objects[result].inc()
        self._last_success = time.time()

    def count_shadow(self, model: str, difference: Difference) -> None:
        """Count what a shadow model would change on one image."""
        self.shadow_pictures.labels(model, "same" if difference.same else "other").inc()
        for result in ("kept", "lost", "gained"):
            self.shadow_labels.labels(model, result).inc(len(getattr(difference, result)))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format; reads /proc, so call it in a thread."""
        return generate_latest(self.registry)


class _Stage:
    """One object in one stage. Not a generator: five of them for each image would cost more than what they measure."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._span = metrics.traces.span(name)
        self._times = metrics.stage_times(name)

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._times.in_flight += 1
        self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._span.__exit__(kind, error, trace)
        seconds = time.perf_counter() - self._started
        if error is None:
            for listener in self._metrics.stage_listeners.get(self._name, ()):
                listener(seconds)
        elif isinstance(error, Exception):
            code = error.code if isinstance(error, ImgtagError) else "internal"
            self._metrics.stage_errors.labels(self._name, code).inc()
        self._times.in_flight -= 1
        self._times.observe(seconds)
