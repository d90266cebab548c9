"""The spans: who is the parent of whom, and which ids they have.

The span of an execution is made once, when the execution ends, by the process that commits the end.
Its id derives from the instance, the incarnation and the number of the execution. Therefore every
process knows it while the execution runs, and takes it as the parent of activities and children. A
replay makes no spans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)

from perdure.observe import ActivityCall, ExecutionEnded, TurnCall

_NANOSECONDS: Final = 1000
"""In a microsecond, the unit of Perdure's instants."""

Attributes = dict[str, str | int]


class Spans:
    """Makes spans with the tracer of one provider of tracers, or of the global one."""

    def __init__(self, tracers: TracerProvider | None) -> None:
        self._tracers = tracers
        self._tracer: Tracer | None = None
        self._ids = _DerivedIds()

    def start_headers(self, instance: str, orchestration: str) -> dict[str, str]:
        """A span for the start of an instance, and the headers that carry it."""
        carrier: dict[str, str] = {}
        with self._found().start_as_current_span(
            f"start {orchestration}",
            kind=SpanKind.PRODUCER,
            attributes=_attributes(instance, orchestration),
        ):
            propagate.inject(carrier)
        return carrier

    async def around_activity(
        self, call: ActivityCall, proceed: Callable[[], Awaitable[object]]
    ) -> object:
        """Call the activity in a span of its own, whose parent is the execution."""
        parent = _span_of(call.instance, call.incarnation, call.execution, call.headers)
        attributes: Attributes = {
            "perdure.instance": call.instance,
            "perdure.execution": call.execution,
            "perdure.activity": call.name,
            "perdure.activity.id": call.activity,
            "perdure.attempt": call.attempt,
            "perdure.delivery": call.delivery,
        }
        with self._found().start_as_current_span(
            f"activity {call.name}", context=_inside(parent), attributes=attributes
        ):
            return await proceed()

    async def around_turn(self, call: TurnCall, proceed: Callable[[], Awaitable[None]]) -> None:
        """Make the turn in a span of its own, whose parent is the execution."""
        parent = _span_of(call.instance, call.incarnation, call.execution, call.headers)
        attributes = _attributes(call.instance, call.orchestration)
        attributes["perdure.execution"] = call.execution
        with self._found().start_as_current_span(
            f"turn {call.orchestration}", context=_inside(parent), attributes=attributes
        ):
            await proceed()

    def end_execution(self, event: ExecutionEnded) -> None:
        """The span of an execution that has ended."""
        own = _span_of(event.instance, event.incarnation, event.execution, event.headers)
        above = _parent_of(event)
        started = event.at if event.started_at is None else event.started_at
        attributes = _attributes(event.instance, event.orchestration)
        attributes["perdure.execution"] = event.execution
        attributes["perdure.version"] = event.version
        attributes["perdure.status"] = str(event.status)
        tracer = self._found()
        derived = _DERIVED.set(own)
        try:
            span = tracer.start_span(
                f"orchestration {event.orchestration}",
                context=Context() if above is None else _inside(above),
                links=_links(event),
                start_time=started * _NANOSECONDS,
                attributes=attributes,
            )
        finally:
            _DERIVED.reset(derived)
        if event.failure is not None:
            span.set_status(Status(StatusCode.ERROR, event.failure.display_message()))
        span.end(end_time=event.at * _NANOSECONDS)

    def _found(self) -> Tracer:
        """The tracer; the global provider may be set after this object was made."""
        if self._tracer is None:
            tracers = self._tracers or trace.get_tracer_provider()
            tracer = tracers.get_tracer("perdure")
            if isinstance(tracers, trace.ProxyTracerProvider):
                return tracer
            self._ids.take_over(tracer)
            self._tracer = tracer
        return self._tracer


class _DerivedIds:
    """Gives a span the ids that were derived for it, and all others those of the SDK.

    A tracer of the SDK asks an object for ids that its provider was made with. Only the tracer of
    Perdure gets another one: the application's provider and its other tracers stay as they are.
    """

    def __init__(self) -> None:
        self._inner: Any = None

    def take_over(self, tracer: Any) -> None:
        """Let this tracer ask here for its ids, if it is one of the SDK."""
        self._inner = getattr(tracer, "id_generator", None)
        if self._inner is not None:
            tracer.id_generator = self

    def generate_span_id(self) -> int:
        """Called by the SDK."""
        derived = _DERIVED.get()
        return self._inner.generate_span_id() if derived is None else derived.span_id

    def generate_trace_id(self) -> int:
        """Called by the SDK, for a span without a parent."""
        derived = _DERIVED.get()
        return self._inner.generate_trace_id() if derived is None else derived.trace_id

    def is_trace_id_random(self) -> bool:
        """Called by the SDK, for a span without a parent."""
        is_random = getattr(self._inner, "is_trace_id_random", None)
        return _DERIVED.get() is None and is_random is not None and is_random()


_DERIVED: ContextVar[SpanContext | None] = ContextVar("perdure_derived_span", default=None)
"""The ids of the span that is being made; None: those of the SDK."""


def _span_of(
    instance: str, incarnation: str, execution: int, headers: Mapping[str, str]
) -> SpanContext:
    """The span of an execution, which may not have been made yet."""
    start = _start_span(headers)
    if start is None:
        trace_id, flags, state = _digest(16, instance, incarnation), TraceFlags.SAMPLED, None
    else:
        trace_id, flags, state = start.trace_id, start.trace_flags, start.trace_state
    return SpanContext(
        trace_id=trace_id,
        span_id=_digest(8, instance, incarnation, str(execution)),
        is_remote=True,
        trace_flags=TraceFlags(flags),
        trace_state=state,
    )


def _start_span(headers: Mapping[str, str]) -> SpanContext | None:
    """The span of the start, which the headers of an instance and of its children carry."""
    if not headers:
        return None
    span = trace.get_current_span(propagate.extract(headers, Context())).get_span_context()
    return span if span.is_valid else None


def _parent_of(event: ExecutionEnded) -> SpanContext | None:
    """The execution that started it as a child, or the start by a client."""
    start, link = _start_span(event.headers), event.parent
    if start is None or link is None:
        return start
    return _span_of(link.instance, link.incarnation, link.execution, event.headers)


def _links(event: ExecutionEnded) -> list[Link]:
    """The execution before it, the one whose history it began with, a parent in another trace."""
    before: list[tuple[str, str, int]] = []
    if event.execution > 1:
        before.append((event.instance, event.incarnation, event.execution - 1))
    if event.copied_from is not None:
        source = event.copied_from
        before.append((source.instance, source.incarnation, source.execution))
    links = [Link(_span_of(*each, event.headers)) for each in dict.fromkeys(before)]
    if event.parent is not None and _start_span(event.headers) is None:
        parent = event.parent
        links.append(Link(_span_of(parent.instance, parent.incarnation, parent.execution, {})))
    return links


def _inside(span: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(span))


def _attributes(instance: str, orchestration: str) -> Attributes:
    return {"perdure.instance": instance, "perdure.orchestration": orchestration}


def _digest(size: int, *parts: str) -> int:
    """A number of so many bytes, never 0, the same in every process."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:size], "big") or 1
