"""Traces of OpenTelemetry: one for each object, a span for each stage. Off unless [ops] traces names a collector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

from imgtag import __version__
from imgtag.errors import ConfigError

_NO_SPAN: AbstractContextManager[Any] = nullcontext()
_HINT = "Install the extra: pip install 'imgtag-sidecar[otel]', or leave `traces` under [ops] out."


class Traces:
    """Makes spans; without a collector it makes none and costs nothing."""

    def __init__(self) -> None:
        self._tracer: Any = None

    @contextmanager
    def exported(self, collector: str, site: str) -> Iterator[None]:
        """Send spans to the OTLP/HTTP collector of this URL while inside. Raises ConfigError without the extra."""
        if not collector:
            yield
            return
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            raise ConfigError("[ops] traces is set, but OpenTelemetry is not installed", hint=_HINT)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create({"service.name": "imgtag", "service.version": __version__, "imgtag.site": site})
        provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = provider.get_tracer("imgtag", __version__)
        try:
            yield
        finally:
            self._tracer = None
            provider.shutdown()

    def span(self, name: str, **attributes: str) -> AbstractContextManager[Any]:
        """A span around what is done inside; a child of the one that it is in. An error is recorded in it."""
        if self._tracer is None:
            return _NO_SPAN
        named = {f"imgtag.{key}": value for key, value in attributes.items()}
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(name, attributes=named)
        return span
