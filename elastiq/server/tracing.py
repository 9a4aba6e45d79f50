"""OpenTelemetry traces: a span for each request, with its wait and its run, to whoever collects."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from elastiq import __version__
from elastiq.requests import Answer

SECOND = 1_000_000_000  # nanoseconds


class Tracing:
    """Makes spans of requests once they are over, so that none waits for its trace."""

    def __init__(self, processor: SpanProcessor) -> None:
        about = Resource.create({"service.name": "elastiq", "service.version": __version__})
        self._provider = TracerProvider(resource=about)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("elastiq", __version__)

    def over(
        self,
        model: str,
        version: str,
        spent: float,
        deadline: float | None,
        carrier: Mapping[str, str],
        outcome: Answer | BaseException,
    ) -> None:
        """Trace a request that has just ended, `spent` seconds after it came."""
        end = time.time_ns()
        begin = end - round(spent * SECOND)
        facts: dict[str, Any] = {"elastiq.model": model, "elastiq.version": version}
        if deadline is not None:
            facts["elastiq.deadline_ms"] = 1e3 * deadline
        span = self._tracer.start_span(
            f"infer {model}", extract(carrier), SpanKind.SERVER, facts, start_time=begin
        )
        if isinstance(outcome, BaseException):
            span.set_status(Status(StatusCode.ERROR, str(outcome)))
            span.set_attribute("error.type", type(outcome).__name__)
        else:
            choice = outcome.choice
            span.set_attributes(
                {
                    "elastiq.point": outcome.point,
                    "elastiq.score": choice.option.score,
                    "elastiq.why": choice.decision.why,
                    "elastiq.predicted_ms": 1e3 * choice.predicted,
                    "elastiq.late": deadline is not None and spent > deadline,
                }
            )
            inside = set_span_in_context(span)
            ran = begin + round(outcome.waited * SECOND)
            self._tracer.start_span("wait", inside, start_time=begin).end(ran)
            run = self._tracer.start_span("run", inside, start_time=ran)
            run.end(ran + round(outcome.took * SECOND))
        span.end(end)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def to(address: str) -> Tracing:
    """Traces that are sent by OTLP over HTTP to a collector: http://localhost:4318/v1/traces."""
    return Tracing(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
