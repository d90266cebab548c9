"""What can be seen of a provider without a lease, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure.contract import Provider, StoredEvent

from perdure_conformance.expect import expect

Visible = Mapping[str, object]
"""What is visible, by its name."""


async def visible(provider: Provider, instances: Iterable[str], *, managed: bool) -> Visible:
    """The instances, their histories and, where the provider can be `managed`, all counts."""
    seen: dict[str, object] = {}
    for instance in instances:
        state = seen[f"instance {instance}"] = await provider.read_instance(instance)
        if state is not None:
            for execution in range(1, state.execution + 1):
                seen[f"history {execution} of {instance}"] = await _history(
                    provider, instance, execution, incarnation=state.incarnation
                )
    admin = provider.as_management_capability() if managed else None
    if admin is not None:
        seen["queue depths"] = await admin.count_queues()
        seen["counts"] = await admin.count_instances()
    return seen


def first_difference(found: Visible, wanted: Visible) -> str | None:
    """The first thing that is not as expected."""
    for what in {**wanted, **found}:
        if found.get(what) != wanted.get(what):
            return f"{what}: found {found.get(what)}, expected {wanted.get(what)}"
    return None


async def _history(
    provider: Provider, instance: str, execution: int, *, incarnation: str
) -> tuple[StoredEvent, ...]:
    events: list[StoredEvent] = []
    while True:
        page = await provider.read_history(
            instance,
            execution,
            incarnation=incarnation,
            after=events[-1].number if events else 0,
        )
        events.extend(page.events)
        if not page.more:
            return tuple(events)
        expect(page.events, "a page of history is empty although others follow")
