"""What can be seen of a provider without a lease, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace

from perdure.clock import Instant
from perdure.contract import (
    LISTING,
    MANAGEMENT,
    VALUES,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    Provider,
    StoredEvent,
)
from perdure.errors import ExecutionNotFound

from perdure_conformance.expect import expect

QUERIES = (
    InstanceQuery(),
    InstanceQuery(statuses=frozenset({InstanceStatus.RUNNING}), parked=False),
    InstanceQuery(labels={"label": "a"}),
    InstanceQuery(parked_reasons=frozenset({"parked"}), orchestrations=frozenset({"flow"})),
)
"""Queries by different conditions."""

Visible = Mapping[str, object]
"""What is visible, by its name."""


async def visible(
    provider: Provider, instances: Iterable[str], *, capabilities: frozenset[str]
) -> Visible:
    """The instances, their histories and, by the capabilities, counts, values, listings and work."""
    seen: dict[str, object] = {}
    admin = provider.as_management_capability() if MANAGEMENT in capabilities else None
    for instance in instances:
        state = seen[f"instance {instance}"] = await provider.read_instance(instance)
        if state is not None:
            for execution in range(1, state.execution + 1):
                seen[f"history {execution} of {instance}"] = await _history(
                    provider, instance, execution, incarnation=state.incarnation
                )
        if VALUES in capabilities:
            found = await provider.read_values(instance)
            seen[f"values of {instance}"] = found and replace(found, values=dict(found.values))
        if admin is not None and LISTING in capabilities:
            work = await admin.read_work(instance)
            seen[f"work of {instance}"] = work and _work(work, provider.clock.now())
    if admin is not None:
        seen["queue depths"] = await admin.count_queues()
        seen["counts"] = await admin.count_instances()
        seen["list"] = sorted((await admin.list_instances(limit=100)).ids)
    if admin is not None and LISTING in capabilities:
        for query in QUERIES:
            page = await admin.find_instances(query, limit=100)
            seen[f"found by {query}"] = _in_order(page.instances)
    return seen


def first_difference(found: Visible, wanted: Visible) -> str | None:
    """The first thing that is not as expected."""
    for what in {**wanted, **found}:
        if found.get(what) != wanted.get(what):
            return f"{what}: {contrast(found.get(what), wanted.get(what))}"
    return None


def contrast(found: object, wanted: object) -> str:
    """How two values differ: by their fields, if they are records of one class."""
    if type(found) is not type(wanted) or not is_dataclass(found) or isinstance(found, type):
        return f"found {found}, expected {wanted}"
    names = [each.name for each in fields(found)]
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in names}
    return "; ".join(
        f"{name}: found {one!r}, expected {other!r}"
        for name, (one, other) in pairs.items()
        if one != other
    )


def _in_order(states: Sequence[InstanceState]) -> Sequence[InstanceState]:
    """The states, in an order of their own among those that were created at the same instant."""
    times = [state.created_at for state in states]
    expect(times == sorted(times, reverse=True), f"instances are not the newest first: {states}")
    return sorted(states, key=lambda state: (-state.created_at, state.instance))


def _work(work: InstanceWork, now: Instant) -> InstanceWork:
    """The work, without an order of activities, and without the instants that they were hidden until."""
    activities = [
        replace(each, visible_at=each.visible_at if (each.visible_at or 0) > now else None)
        for each in work.activities
    ]
    return replace(work, activities=tuple(sorted(activities, key=lambda each: each.id)))


async def _history(
    provider: Provider, instance: str, execution: int, *, incarnation: str
) -> tuple[StoredEvent, ...] | None:
    """The events of an execution, or None if it was deleted."""
    events: list[StoredEvent] = []
    while True:
        try:
            page = await provider.read_history(
                instance,
                execution,
                incarnation=incarnation,
                after=events[-1].number if events else 0,
            )
        except ExecutionNotFound:
            return None
        events.extend(page.events)
        if not page.more:
            return tuple(events)
        expect(page.events, "a page of history is empty although others follow")
