"""Spans of OpenTelemetry from submitter to handler, where the program has set up its SDK. Else nothing happens, and next to nothing is spent.

A submit makes a span of kind producer, whose W3C traceparent travels in the job's `trace_context`. Each attempt makes one of kind consumer, a child of it and linked to
it, so a trace leads from the submitter to every attempt, and on to what the handler submits. A job that brings a trace context of its own keeps it, and its submit makes
no span. Names and attributes follow OpenTelemetry's conventions for messaging.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

TRACER = "headrace"
FIELD = "traceparent"


def enabled() -> bool:
    """Whether somebody wants spans: a provider was set in this process. Whoever set one has imported the package; nobody else pays for its import."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def current() -> str:
    """The traceparent of the span that is open here; empty: there is none."""
    if not enabled():
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(FIELD, "")


class Submitting:
    """The span of one submit; a context manager. `trace_context` goes with the job."""

    __slots__ = ("_span", "trace_context")

    def __init__(self, type_: str) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        attributes = {"messaging.system": "headrace", "messaging.operation.name": "submit", "messaging.operation.type": "send", "messaging.destination.name": type_}
        self._span = trace.get_tracer(TRACER).start_span(f"submit {type_}", kind=trace.SpanKind.PRODUCER, attributes=attributes)
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(self._span))
        self.trace_context = carrier.get(FIELD, "")

    def stored(self, job_id: int, *, existing: bool) -> None:
        """Tells which job it became."""
        self._span.set_attributes({"messaging.message.id": str(job_id), "headrace.existing": existing})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        from opentelemetry.trace import StatusCode

        if error is not None:
            self._span.record_exception(error)
            self._span.set_status(StatusCode.ERROR, str(error))
        self._span.end()


@contextmanager
def handling(type_: str, trace_context: str, attributes: Mapping[str, str | int], *, harmless: type[Exception]) -> Iterator[None]:
    """The span of one attempt, open while the block runs. `harmless`: an exception that is no failure."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({FIELD: trace_context})
    submitted = trace.get_current_span(parent).get_span_context()
    links = [trace.Link(submitted)] if submitted.is_valid else []
    more = {
        "messaging.system": "headrace",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": type_,
        **attributes,
    }
    with trace.get_tracer(TRACER).start_as_current_span(
        f"process {type_}", parent, trace.SpanKind.CONSUMER, more, links, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except harmless:
            raise
        except BaseException as error:  # a handler that is told to stop is cancelled
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}")
            raise
