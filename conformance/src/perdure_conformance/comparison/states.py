"""States of the model: how they are copied, and when two of them are the same.

The model counts arrivals, releases and creations. Only the order of these numbers has an effect, so
two states that differ in the numbers alone are the same state.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import replace

from perdure_conformance.model import Store
from perdure_conformance.model.tables import (
    ActivityRow,
    ExecutionRow,
    InstanceRow,
    Lease,
    MailboxEntry,
    Tables,
)


def copy_of(store: Store) -> Store:
    """A store with the same rows. Records and leases are never changed in place, so it shares them."""
    tables = store.tables
    copy = Store()
    copy.now = store.now
    copy.tables = Tables(
        instances={key: replace(row) for key, row in tables.instances.items()},
        mailboxes={key: dict(mailbox) for key, mailbox in tables.mailboxes.items()},
        activities={key: replace(row) for key, row in tables.activities.items()},
        values={key: dict(values) for key, values in tables.values.items()},
        executions={
            key: [ExecutionRow(state=row.state, events=list(row.events)) for row in rows]
            for key, rows in tables.executions.items()
        },
        stamp=tables.stamp,
        happenings=tables.happenings,
    )
    return copy


def view_of(
    store: Store, *, instances: Collection[str], activities: Collection[tuple[str, str]] = ()
) -> Store:
    """A store that has only these rows of the other one: what changes here changes there."""
    tables = store.tables
    view = Store()
    view.now = store.now
    view.tables = replace(
        tables,
        instances={key: row for key, row in tables.instances.items() if key in instances},
        activities={key: row for key, row in tables.activities.items() if key in activities},
    )
    return view


def identity(store: Store) -> Hashable:
    """Equal for states that no call can tell apart."""
    tables = store.tables
    places = _Places(tables)
    return (
        tables.stamp,
        tuple((key, *_instance(row, places)) for key, row in sorted(tables.instances.items())),
        tuple(
            (key, tuple(_letter(entry, places) for _, entry in sorted(mailbox.items())))
            for key, mailbox in sorted(tables.mailboxes.items())
        ),
        tuple(
            (key, tuple(sorted(values.items())))
            for key, values in sorted(tables.values.items())
            if values
        ),
        tuple((key, *_activity(row, places)) for key, row in sorted(tables.activities.items())),
        tuple(
            (key, tuple((row.state, tuple(row.events)) for row in rows))
            for key, rows in sorted(tables.executions.items())
        ),
    )


class _Places:
    """The numbers that the model has counted, by their place in the order of all."""

    def __init__(self, tables: Tables) -> None:
        numbers = {row.created for row in tables.instances.values()}
        numbers |= {row.released for row in tables.instances.values()}
        numbers |= {row.place for row in tables.activities.values()}
        for mailbox in tables.mailboxes.values():
            numbers |= {entry.arrival for entry in mailbox.values()}
            numbers |= {-entry.front[0] for entry in mailbox.values() if entry.front}
        self._places = {number: place for place, number in enumerate(sorted(numbers))}

    def of(self, number: int) -> int:
        return self._places[number]


def _instance(row: InstanceRow, places: _Places) -> tuple[Hashable, ...]:
    return (
        row.state,
        places.of(row.created),
        row.attempt,
        _lease(row.lease),
        row.taken_from,
        row.hidden_until,
        row.released_at,
        places.of(row.released),
        row.answer,
    )


def _activity(row: ActivityRow, places: _Places) -> tuple[Hashable, ...]:
    return (
        row.new,
        row.incarnation,
        row.execution,
        row.added_at,
        places.of(row.place),
        row.due,
        row.hidden_until,
        row.delivery,
        _lease(row.lease),
        row.taken_from,
    )


def _letter(entry: MailboxEntry, places: _Places) -> tuple[Hashable, ...]:
    front = entry.front
    return (
        entry.message,
        entry.due,
        entry.arrived_at,
        places.of(entry.arrival),
        None if front is None else (places.of(-front[0]), front[1]),
    )


def _lease(lease: Lease | None) -> tuple[str, int] | None:
    return None if lease is None else (lease.token, lease.until)
