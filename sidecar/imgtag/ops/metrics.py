"""What is counted and measured, in a registry of its own.

``TABLE`` holds every metric that is ours; the reference page is made from it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from imgtag import __version__
from imgtag.errors import ImgtagError
from imgtag.labels.difference import Difference
from imgtag.ops.traces import Traces

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCIES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

RESULTS = (
    "labelled", "relabelled", "unlabelled", "reindexed", "current", "answered", "deleted", "absent", "skipped",
    "refused", "failed",
)  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = BUCKETS


TABLE = (
    Metric("imgtag_stage_seconds", "histogram", "Time that an object spends in a stage.", ("stage",)),
    Metric("imgtag_stage_errors_total", "counter", "Objects that a stage could not deal with.", ("stage", "code")),
    Metric("imgtag_stage_in_flight", "gauge", "Objects that are in a stage now.", ("stage",)),
    Metric("imgtag_objects_total", "counter", "Objects that were dealt with, by what became of them.", ("result",)),
    Metric("imgtag_backlog", "gauge", "Messages that wait at the source, for all sidecars that share it."),
    Metric(
        "imgtag_latency_seconds",
        "histogram",
        "From the event of a picture until it was labelled and indexed.",
        buckets=LATENCIES,
    ),
    Metric("imgtag_queue", "gauge", "Hints that were received and are not dealt with yet."),
    Metric("imgtag_dead_letters_total", "counter", "Work that was given up.", ("code",)),
    Metric("imgtag_conflicts_total", "counter", "Objects that changed while they were worked on."),
    Metric("imgtag_stale_total", "counter", "Objects seen with labels of another model or of other rules."),
    Metric("imgtag_retries_total", "counter", "Work that is to be tried again.", ("code",)),
    Metric("imgtag_writes_total", "counter", "Writes of labels on objects."),
    Metric("imgtag_writes_refused_total", "counter", "Objects that were indexed but not written on.", ("code",)),
    Metric("imgtag_worker_restarts_total", "counter", "Worker processes that were replaced.", ("reason",)),
    Metric(
        "imgtag_models", "gauge", "Always 1; the models in use, by the name that rules give them.", ("name", "model")
    ),
    Metric("imgtag_config_reloads_total", "counter", "Configurations read again: taken, or refused.", ("result",)),
    Metric("imgtag_model_changes_total", "counter", "New models that were taken, or refused.", ("result",)),
    Metric(
        "imgtag_shadow_pictures_total",
        "counter",
        "Pictures that a shadow model saw, by its best label.",
        ("model", "result"),
    ),
    Metric("imgtag_shadow_labels_total", "counter", "Labels that it would keep, lose or gain.", ("model", "result")),
    Metric("imgtag_bytes_read_total", "counter", "Bytes of objects that were read."),
    Metric("imgtag_last_success_timestamp_seconds", "gauge", "When an object was last dealt with, since 1970."),
    Metric("imgtag_ready", "gauge", "1 while the sidecar is ready, else 0."),
    Metric("imgtag_build_info", "gauge", "Always 1; what runs.", ("version", "python")),
)


class Metrics:
    """The metrics of one sidecar."""

    def __init__(self) -> None:
        self.traces = Traces()
        # A `_created` beside each would double the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._stages: dict[str, tuple[Gauge, Histogram]] = {}
        for metric in TABLE:
            self._make(metric)
        self._gauges["imgtag_build_info"].labels(__version__, platform.python_version()).set(1)
        for result in RESULTS:  # a rate needs the zero before the first
            self._counters["imgtag_objects_total"].labels(result)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one object in a stage, and trace it."""
        started = time.perf_counter()
        in_flight, seconds = self._stage(name)
        in_flight.inc()
        try:
            with self.traces.span(name):
                yield
        except Exception as error:
            code = error.code if isinstance(error, ImgtagError) else "internal"
            self._counters["imgtag_stage_errors_total"].labels(name, code).inc()
            raise
        finally:
            in_flight.dec()
            seconds.observe(time.perf_counter() - started)

    def object_done(self, result: str) -> None:
        """An object was dealt with."""
        self._counters["imgtag_objects_total"].labels(result).inc()
        self._gauges["imgtag_last_success_timestamp_seconds"].set_to_current_time()

    def queued(self, hints: int) -> None:
        """So many hints wait now."""
        self._gauges["imgtag_queue"].set(hints)

    def backlog(self, messages: int) -> None:
        """So many messages wait at the source."""
        self._gauges["imgtag_backlog"].set(messages)

    def latency(self, seconds: float) -> None:
        """So long after its event a picture was labelled."""
        self._histograms["imgtag_latency_seconds"].observe(seconds)

    def dead_letter(self, code: str) -> None:
        """Work was given up."""
        self._counters["imgtag_dead_letters_total"].labels(code).inc()

    def conflict(self) -> None:
        """An object changed while it was worked on."""
        self._counters["imgtag_conflicts_total"].inc()

    def stale(self) -> None:
        """An object has labels of another model or of other rules."""
        self._counters["imgtag_stale_total"].inc()

    def retry(self, code: str) -> None:
        """Work is to be tried again."""
        self._counters["imgtag_retries_total"].labels(code).inc()

    def wrote(self) -> None:
        """Labels were written on an object."""
        self._counters["imgtag_writes_total"].inc()

    def write_refused(self, code: str) -> None:
        """Labels were not written on an object, only indexed."""
        self._counters["imgtag_writes_refused_total"].labels(code).inc()

    def observed(self, stage: str, seconds: float) -> None:
        """A worker spent so long in a stage of its own."""
        self._stage(stage)[1].observe(seconds)

    def worker_restarted(self, reason: str) -> None:
        """A worker process was replaced."""
        self._counters["imgtag_worker_restarts_total"].labels(reason).inc()

    def models(self, models: Mapping[str, str]) -> None:
        """These are in use now: ids by name."""
        gauge = self._gauges["imgtag_models"]
        gauge.clear()
        for name, model in models.items():
            gauge.labels(name or "default", model).set(1)

    def config_reload(self, result: str) -> None:
        """A configuration that was read again was ``taken`` or ``refused``."""
        self._counters["imgtag_config_reloads_total"].labels(result).inc()

    def model_change(self, result: str) -> None:
        """A new model was ``taken`` or ``refused``."""
        self._counters["imgtag_model_changes_total"].labels(result).inc()

    def shadow(self, model: str, difference: Difference) -> None:
        """What a shadow model would change on one picture."""
        self._counters["imgtag_shadow_pictures_total"].labels(model, "same" if difference.same else "other").inc()
        for result in ("kept", "lost", "gained"):
            self._counters["imgtag_shadow_labels_total"].labels(model, result).inc(len(getattr(difference, result)))

    def shadow_failed(self, model: str) -> None:
        """A shadow model could not say anything of a picture."""
        self._counters["imgtag_shadow_pictures_total"].labels(model, "failed").inc()

    def read(self, size: int) -> None:
        """Bytes of an object were read."""
        self._counters["imgtag_bytes_read_total"].inc(size)

    def ready(self, *, ready: bool) -> None:
        """Whether the sidecar is ready now."""
        self._gauges["imgtag_ready"].set(ready)

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them; looks at /proc, so it is for a thread."""
        return generate_latest(self.registry)

    def _stage(self, name: str) -> tuple[Gauge, Histogram]:
        """Gauge and histogram of a stage: looked up once, as every picture passes a dozen."""
        if name not in self._stages:
            in_flight = self._gauges["imgtag_stage_in_flight"].labels(name)
            self._stages[name] = (in_flight, self._histograms["imgtag_stage_seconds"].labels(name))
        return self._stages[name]

    def _make(self, metric: Metric) -> None:
        if metric.kind == "counter":
            self._counters[metric.name] = Counter(metric.name, metric.help, metric.labels, registry=self.registry)
        elif metric.kind == "gauge":
            self._gauges[metric.name] = Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
        else:
            self._histograms[metric.name] = Histogram(
                metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets
            )
