"""Traces: what a collector is sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from imgtag.errors import ConfigError, Undecodable
from imgtag.ops.metrics import Metrics


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector of OTLP over HTTP, and what it was sent."""
    sent: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert "/v1/traces" == self.path
            sent.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_object_is_a_trace_with_a_span_for_each_stage(collector) -> None:
    """Children of one parent, with the key; an error is on the span of its stage."""
    url, sent = collector
    metrics = Metrics()

    with metrics.traces.exported(url, "here"):
        with metrics.traces.span("object", bucket="photos", key="a.jpg"), metrics.stage("inspect"):
            pass
        with (
            pytest.raises(Undecodable),
            metrics.traces.span("object", bucket="photos", key="b.jpg"),
            metrics.stage("x"),
        ):
            raise Undecodable("it is damaged")

    (resource,) = [resource for request in sent for resource in request.resource_spans]
    assert "imgtag" in str(resource.resource)
    assert "here" in str(resource.resource)
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    by_name = {span.name: span for span in spans[:2]}
    assert by_name["object"].span_id == by_name["inspect"].parent_span_id
    assert {("imgtag.bucket", "photos"), ("imgtag.key", "a.jpg")} == {
        (attribute.key, attribute.value.string_value) for attribute in by_name["object"].attributes
    }
    failed = next(span for span in spans if span.name == "x")
    assert "it is damaged" in str(failed.events)
    assert 2 == failed.status.code
    assert 2 == len({span.trace_id for span in spans})


def test_without_a_collector_nothing_is_traced() -> None:
    """And nothing of OpenTelemetry is needed."""
    metrics = Metrics()

    with metrics.traces.exported("", "here"), metrics.traces.span("object") as span:
        assert span is None


def test_a_collector_without_the_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(ConfigError) as caught, Metrics().traces.exported("http://127.0.0.1:4318", "here"):
        pass

    assert "imgtag-sidecar[otel]" in caught.value.hint


def test_a_collector_that_is_away_stops_nothing() -> None:
    """Spans are lost then, and that is all."""
    metrics = Metrics()

    with metrics.traces.exported("http://127.0.0.1:9", "here"), metrics.traces.span("object"):
        pass
