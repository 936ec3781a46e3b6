"""Spans as bytes of OTLP, by OpenTelemetry's own packages, which come with `pip install 'ark-runtime[otlp]'`.

They are imported only where something is exported.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ark
from ark.errors import BootError
from ark.otlp_spans import ExportedSpan, ExportedTrace

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["encoder", "refused_spans"]


def encoder(node: str) -> Callable[[Sequence[ExportedTrace]], bytes]:
    """What makes a request of traces.

    Args:
        node: The node's name on its machine.

    Raises:
        BootError: The packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    except ImportError:
        raise BootError(
            "traces.otlp_endpoint is set, but OpenTelemetry's Python packages are not installed",
            hint="pip install 'ark-runtime[otlp]', or take it away, and OTEL_EXPORTER_OTLP_ENDPOINT, too",
        ) from None
    own = Resource(
        {
            "service.name": "ark",
            "service.version": ark.__version__,
            "service.instance.id": f"{socket.gethostname()}/{node}",
        }
    )
    resource = own.merge(OTELResourceDetector().detect())  # what OTEL_RESOURCE_ATTRIBUTES says goes before

    def encode(traces: Sequence[ExportedTrace]) -> bytes:
        spans = [_span(each, trace, resource) for trace in traces for each in trace.spans]
        return bytes(encode_spans(spans).SerializeToString())

    return encode


def refused_spans(answer: bytes) -> tuple[int, str]:
    """How many spans a collector that took the rest did not take, and why it says so; 0 for none.

    Args:
        answer: The content of its answer; whatever cannot be read refuses nothing.
    """
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        told = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return 0, ""
    return int(told.rejected_spans), str(told.error_message)


def _span(span: ExportedSpan, trace: ExportedTrace, resource: Resource) -> ReadableSpan:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

    root = trace.spans[0]
    state = TraceState.from_header([trace.tracestate]) if trace.tracestate else None

    def context(span_id: bytes, *, is_remote: bool) -> SpanContext:
        trace_id = int.from_bytes(trace.trace_id, "big")
        return SpanContext(
            trace_id, int.from_bytes(span_id, "big"), is_remote, TraceFlags(TraceFlags.SAMPLED), state
        )

    return ReadableSpan(
        span.name,
        context=context(span.span_id, is_remote=False),
        parent=None if span.parent_id is None else context(span.parent_id, is_remote=span is root),
        resource=resource,
        attributes=dict(span.attributes),
        events=[Event(name, dict(attributes), at_ns) for name, at_ns, attributes in span.events],
        kind=SpanKind.CONSUMER if span is root else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=InstrumentationScope("ark", ark.__version__),
    )
