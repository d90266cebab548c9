"""What must hold at the end, whatever was killed: histories, and the ledger of the world outside."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import perdure
from perdure import history
from perdure.clock import to_datetime

from orders import Order, Outcome, euros
from outside import Outside, Request
from screen import Screen
from stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    holds: bool
    text: str


async def show(stage: Stage, client: perdure.Client, screen: Screen) -> bool:
    """Print histories, ledger and findings; returns whether everything holds."""
    outside = Outside(stage.ledger)
    findings: list[Finding] = []
    for order in stage.orders():
        events = await client.read_execution_history(order.number, 1)
        screen.title(f"History of {order.number}")
        for event in events:
            screen.write(_line(event))
        requests = outside.requests(order.number)
        screen.title(f"What was asked for {order.number}, and what came of it")
        for request in requests:
            screen.write(_ledger_line(request))
        findings += _of_history(order, events)
        findings += _of_end(order, await client.get_orchestration_status(order.number))
        findings += _of_requests(order, requests)
    screen.title("What must hold")
    for finding in findings:
        mark = (
            screen.painted("holds ", "green") if finding.holds else screen.painted("BROKEN", "red")
        )
        screen.write(f"  {mark}  {finding.text}")
    return all(finding.holds for finding in findings)


def waits_for_approval(events: Sequence[history.Event]) -> bool:
    """Whether the order has come to the approval."""
    return any(isinstance(event, history.WaitCreated) for event in events)


def _of_end(order: Order, status: perdure.OrchestrationStatus) -> Iterator[Finding]:
    expected = "undone" if order.town == "Atlantis" else "shipped"
    match status:
        case perdure.Completed(output=text):
            outcome = Outcome.model_validate_json(text)
            holds = outcome.state == expected
            yield Finding(holds=holds, text=f"{order.number} is {outcome.state}: {outcome.note}")
        case _:
            yield Finding(holds=False, text=f"{order.number} has not ended well: {status}")


def _of_history(order: Order, events: Sequence[history.Event]) -> Iterator[Finding]:
    numbers = [event.event_id for event in events]
    gapless = numbers == list(range(1, len(events) + 1))
    ends = [event for event in events if isinstance(event, history.TERMINAL)]
    answered = Counter(number for event in events if (number := getattr(event, "scheduled", None)))
    ordered = all(
        event.scheduled < event.event_id
        for event in events
        if isinstance(event, history.ActivityCompleted | history.TimerFired)
    )
    holds = gapless and ordered and ends == [events[-1]] and max(answered.values(), default=0) <= 1
    text = (
        f"the history of {order.number} has {len(events)} events without a gap, one answer at most"
        " to each request, and one end"
    )
    yield Finding(holds=holds, text=text)


def _of_requests(order: Order, requests: Sequence[Request]) -> Iterator[Finding]:
    booked = Counter(request.action for request in requests if request.booked)
    charges = [request for request in requests if request.action == "charge"]
    processes = len({request.process for request in charges})
    yield Finding(
        holds=booked["charge"] == 1,
        text=f"{order.number} was charged {_times(booked['charge'])}, {euros(order.cents)};"
        f" the bank was asked {_times(len(charges))}, by {processes} process(es)",
    )
    undone = order.town == "Atlantis"
    yield Finding(
        holds=booked["refund"] == int(undone)
        and booked["reserve"] == len(order.items)
        and booked["release"] == (len(order.items) if undone else 0)
        and booked["courier"] == int(not undone),
        text=f"{order.number}: {booked['reserve']} reserved, {booked['courier']} parcel sent,"
        f" {booked['refund']} refunded, {booked['release']} released",
    )


def _line(event: history.Event) -> str:
    head = f"  {event.event_id:>3}  {event.time:%H:%M:%S.%f}"[:-4]
    return _fitted(f"{head}  {event.kind:<22}  {'  '.join(_parts(event))}")


def _parts(event: history.Event) -> Iterator[str]:
    """What one wants to know of an event at a glance; `print(event)` tells all."""
    match event:
        case history.TimerCreated():
            yield f"due {to_datetime(event.fire_at):%H:%M:%S.%f}"[:-4]
        case history.ActivityScheduled(attempt=attempt) if attempt > 1:
            yield f"{event.name}, attempt {attempt}"
        case _ if (name := getattr(event, "name", None)) is not None:
            yield str(name)
        case _:
            pass
    scheduled = getattr(event, "scheduled", None)
    if scheduled is not None:
        yield f"of {scheduled}"
    for name in ("input", "data", "result", "output"):
        value = getattr(event, name, None)
        if value is not None and value != "null":
            yield str(value)
    details = getattr(event, "details", None)
    if details is not None:
        yield details.display_message()


def _ledger_line(request: Request) -> str:
    what = request.item or euros(request.cents)
    outcome = "booked" if request.booked else "nothing happened"
    return _fitted(f"  process {request.process:<8} {request.action:<8} {what:<12} {outcome}")


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _fitted(line: str) -> str:
    width = max(60, shutil.get_terminal_size((110, 24)).columns)
    return line if len(line) <= width else line[: width - 1] + "…"
