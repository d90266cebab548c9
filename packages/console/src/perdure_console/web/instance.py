"""The page of one instance: its head, and one of its views at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from perdure import InstanceDescription, InstanceStatus
from perdure.clock import to_datetime
from perdure.errors import InvalidInput, PerdureError
from perdure.history import Event
from starlette.requests import Request
from starlette.responses import Response

from perdure_console.web.happenings import happenings, pretty
from perdure_console.web.instances import fingerprint
from perdure_console.web.pages import Pages
from perdure_console.web.source import listings, locate_in_thread
from perdure_console.web.timeline import Window, timeline_of

_EVENTS: Final = 200
"""How many a page of the history has."""
VIEWS: Final = ("timeline", "history", "tree", "executions", "source")


async def show_instance(pages: Pages, request: Request) -> Response:
    """The page, or that there is no such instance."""
    query = request.query_params
    instance = query.get("id", "")
    try:
        description = await pages.client.describe_instance(instance)
        view = query.get("view", "timeline")
        if view not in VIEWS or (view == "source" and not pages.settings.app):
            raise InvalidInput(f"there is no view {view!r}")
        execution = _number(query.get("execution"), "execution") or description.info.execution
        values = await _VIEWS[view](pages, request, description, execution)
    except PerdureError as error:
        missing = {"title": "Not shown", "problem": str(error), "live": None}
        return pages.render(request, "problem.html", missing, status=404)
    hide = pages.settings.hide_payloads
    info = description.info
    return pages.render(
        request,
        "instance.html",
        {
            "title": instance,
            "description": description,
            "info": info,
            "doing": _doing(description) if hide else description.doing,
            "output": pretty(info.output, hide=hide),
            "custom_status": pretty(info.custom_status, hide=hide),
            "values": {key: pretty(text, hide=hide) for key, text in description.values.items()},
            "hide": hide,
            "view": view,
            "execution": execution,
            "is_running": info.status is InstanceStatus.RUNNING,
            "is_failed": info.status is InstanceStatus.FAILED,
            "live": {"page": "instance", "id": instance, "seen": fingerprint([info])},
            **values,
        },
    )


def _doing(description: InstanceDescription) -> str:
    """Without what an error or an event tells."""
    info = description.info
    if info.failure is not None:
        return f"failed: {info.failure.type_name}"
    return f"is parked ({info.parked.reason})" if info.parked is not None else description.doing


async def _show_timeline(
    pages: Pages, request: Request, description: InstanceDescription, execution: int
) -> Mapping[str, object]:
    query = request.query_params
    events = await _events(pages, description, execution)
    begin, end = _number(query.get("from"), "from"), _number(query.get("to"), "to")
    window = None if begin is None or end is None or end <= begin else Window(begin=begin, end=end)
    now = pages.client.provider.clock.now()
    return {
        "timeline": timeline_of(events, to_datetime(now), window),
        "is_zoomed": window is not None,
    }


async def _show_history(
    pages: Pages, request: Request, description: InstanceDescription, execution: int
) -> Mapping[str, object]:
    events = await _events(pages, description, execution)
    first = _number(request.query_params.get("after"), "after") or 0
    if (wanted := _number(request.query_params.get("event"), "event")) is not None:
        first = (max(wanted, 1) - 1) // _EVENTS * _EVENTS
    shown = events[first : first + _EVENTS]
    before = events[first - 1] if 0 < first <= len(events) else None
    return {
        "events": list(happenings(shown, before, hide=pages.settings.hide_payloads)),
        "first": first,
        "page_size": _EVENTS,
        "total": len(events),
    }


async def _show_tree(
    pages: Pages, request: Request, description: InstanceDescription, execution: int
) -> Mapping[str, object]:
    del request, execution
    root = await pages.client.get_instance_tree(description.info.instance)
    return {"tree": root}


async def _show_executions(
    pages: Pages, request: Request, description: InstanceDescription, execution: int
) -> Mapping[str, object]:
    del request, execution
    instance = description.info.instance
    numbers = await pages.client.list_executions(instance)
    shown = numbers[-100:]
    found = [await pages.client.get_execution_info(instance, number) for number in reversed(shown)]
    return {"executions": found, "more": len(numbers) - len(shown)}


async def _show_source(
    pages: Pages, request: Request, description: InstanceDescription, execution: int
) -> Mapping[str, object]:
    events = await _events(pages, description, execution)
    if not events:
        return {"location": None, "last": 0, "at": 0, "listings": [], "event_text": ""}
    chosen = _number(request.query_params.get("event"), "event")
    at = min(max(chosen or len(events), 1), len(events))
    location = await locate_in_thread(events, pages.settings.app, at)
    (event,) = happenings(events[at - 1 : at], None, hide=True)
    return {
        "location": location,
        "at": at,
        "last": len(events),
        "listings": listings(location),
        "event_text": f"{event.kind} {event.title}".strip(),
    }


_VIEWS: Final = {
    "timeline": _show_timeline,
    "history": _show_history,
    "tree": _show_tree,
    "executions": _show_executions,
    "source": _show_source,
}


async def _events(
    pages: Pages, description: InstanceDescription, execution: int
) -> Sequence[Event]:
    return await pages.client.read_execution_history(description.info.instance, execution)


def _number(text: str | None, what: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise InvalidInput(f"{what} {text!r} is no number")
    return int(text)
