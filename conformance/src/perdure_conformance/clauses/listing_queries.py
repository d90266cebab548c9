"""Instances that differ in everything that a query asks for, and queries of all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from perdure.clock import Instant
from perdure.contract import (
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    NewInstance,
    ParentLink,
    ParkedMark,
    Serves,
    TurnRelease,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    FAILED,
    SECOND,
    incarnation_of,
    new_instance,
    restart,
)

ANY = InstanceQuery()


async def described(bench: Bench) -> list[InstanceState]:
    """Instances that differ in everything that a query asks for, newest first."""
    link = ParentLink(instance="p", incarnation=incarnation_of("p"), execution=1, event=1)
    other = replace(link, instance="p-2")
    acme, late = {"tenant": "acme", "tier": "1"}, {"tenant": "late"}
    news: list[NewInstance] = [
        new_instance("p", labels=acme),
        new_instance("p-2", name="other", labels=late),
        new_instance("P", labels={"tenant": "ACME"}),
        new_instance("child-1", parent=link, labels=acme),
        new_instance("child-2", name="other", parent=link),
        new_instance("child-3", parent=other, labels=late),
        new_instance("child_4", name="third", parent=other, labels={"tier": "1"}),
        new_instance("done", labels=acme),
        new_instance("failed", name="other", labels={"tenant": "acme"}),
        new_instance("again", name="third"),
        new_instance("parked", labels=acme),
        new_instance("held up", name="other"),
    ]
    for new in news:
        bench.advance(SECOND)
        await bench.create(new)
    bench.advance(SECOND)
    serves = {name: frozenset({"1.0.0"}) for name in ("flow", "other", "third")}
    turns = {
        each.state.instance: each
        for each in await bench.lease(serves=Serves(orchestrations=serves))
    }
    await bench.commit(turns["done"], events=(b"1",), end=COMPLETED)
    bench.advance(SECOND)
    await bench.commit(turns["failed"], end=FAILED)
    await bench.commit(turns["child-3"], end=COMPLETED)
    await bench.commit(turns["again"], end=AGAIN, front=(restart(2, "again"),))
    bench.advance(SECOND)
    await bench.commit(turns["p"], events=(b"1",))
    for name, reason in (("parked", "unregistered"), ("held up", "raised"), ("child-1", "raised")):
        mark = ParkedMark(reason=reason, details="details")
        await bench.provider.release_turn(TurnRelease(lease=held_by(turns[name]), parked=mark))
    return [await bench.state(new.instance) for new in reversed(news)]


def queries(states: list[InstanceState]) -> list[InstanceQuery]:
    """Queries with each condition alone, with two, and with several."""
    alone = [*by_fields(), *by_times(states)]
    together = [
        both(first, second)
        for place, first in enumerate(alone)
        for second in alone[place + 7 :: 11]
        if not changed(first).keys() & changed(second).keys()
    ]
    several = InstanceQuery(
        statuses=frozenset({InstanceStatus.RUNNING}),
        orchestrations=frozenset({"flow", "other"}),
        parked=True,
        labels={"tenant": "acme"},
        created_from=states[-1].created_at,
        updated_before=max(state.updated_at for state in states) + 1,
    )
    return [*alone, *together, several]


def by_fields() -> Iterator[InstanceQuery]:
    """Queries by what instances are."""
    ended = (InstanceStatus.COMPLETED, InstanceStatus.FAILED)
    every = (InstanceStatus.RUNNING, *ended)
    for statuses in (*((status,) for status in every), ended, every):
        yield InstanceQuery(statuses=frozenset(statuses))
    for orchestrations in ({"other"}, {"other", "third", "unknown"}, {"unknown"}):
        yield InstanceQuery(orchestrations=frozenset(orchestrations))
    for parked in (True, False):
        yield InstanceQuery(parked=parked)
    for reasons in ({"raised"}, {"raised", "unregistered"}, {"unknown"}):
        yield InstanceQuery(parked_reasons=frozenset(reasons))
    for prefix in ("p", "child", "child_", "child-1", "x", "P", "%"):
        yield InstanceQuery(id_prefix=prefix)
    for parent in ("p", "p-2", "unknown"):
        yield InstanceQuery(parent=parent)
    yield InstanceQuery(roots_only=True)
    for labels in (
        {"tenant": "acme"},
        {"tenant": "acme", "tier": "1"},
        {"tier": "1"},
        {"tenant": ""},
        {"acme": "tenant"},
    ):
        yield InstanceQuery(labels=labels)


def by_times(states: list[InstanceState]) -> Iterator[InstanceQuery]:
    """Queries by when instances were created and updated."""
    created = sorted(state.created_at for state in states)
    updated = sorted({state.updated_at for state in states})
    for instant in (created[0], created[5], created[-1]):
        yield InstanceQuery(created_from=instant)
        yield InstanceQuery(created_before=instant)
    yield InstanceQuery(created_from=created[3], created_before=created[8])
    for instant in updated[::3]:
        yield InstanceQuery(updated_from=instant)
        yield InstanceQuery(updated_before=instant)
    yield InstanceQuery(updated_from=updated[-2], updated_before=updated[-1])


def changed(query: InstanceQuery) -> dict[str, object]:
    """The conditions that a query has, by name."""
    values = {each.name: getattr(query, each.name) for each in fields(query)}
    return {name: value for name, value in values.items() if value != getattr(ANY, name)}


def both(first: InstanceQuery, second: InstanceQuery) -> InstanceQuery:
    """A query with the conditions of two."""
    return replace(first, **changed(second))


def meets(state: InstanceState, query: InstanceQuery) -> bool:
    """Whether an instance meets a query, by the words of the contract."""
    parent = None if state.parent is None else state.parent.instance
    reason = None if state.parked is None else state.parked.reason
    return not (
        (query.statuses and state.status not in query.statuses)
        or (query.orchestrations and state.name not in query.orchestrations)
        or (query.parked is not None and query.parked is not (reason is not None))
        or (query.parked_reasons and reason not in query.parked_reasons)
        or not state.instance.startswith(query.id_prefix)
        or not is_between(state.created_at, query.created_from, query.created_before)
        or not is_between(state.updated_at, query.updated_from, query.updated_before)
        or (query.parent is not None and parent != query.parent)
        or (query.roots_only and parent is not None)
        or any(state.labels.get(key) != value for key, value in query.labels.items())
    )


def is_between(instant: Instant, begin: Instant | None, end: Instant | None) -> bool:
    """Whether an instant is at or after the begin, and before the end."""
    return (begin is None or instant >= begin) and (end is None or instant < end)
