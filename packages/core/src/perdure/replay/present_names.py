"""A history under the present names of functions, where it was written under their aliases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from perdure.authoring.catalog import Catalog
from perdure.history import ActivityScheduled, ChildScheduled, DetachedScheduled, Event


def under_present_names(events: Iterable[Event], catalog: Catalog) -> Iterable[Event]:
    """The events as the code asks for them today; nothing is stored."""
    if not (catalog.activity_aliases or catalog.orchestration_aliases):
        return events
    return (_renamed(event, catalog) for event in events)


def _renamed(event: Event, catalog: Catalog) -> Event:
    if isinstance(event, ActivityScheduled):
        name = catalog.activity_aliases.get(event.name)
    elif isinstance(event, ChildScheduled | DetachedScheduled):
        name = catalog.orchestration_aliases.get(event.name)
    else:
        return event
    return event if name is None else replace(event, name=name)
