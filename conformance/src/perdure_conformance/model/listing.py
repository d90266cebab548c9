"""Listing: instances by their fields, and what one of them has still to do.

Keeps the clauses LIST. It looks at every instance for each page, which a storage must not do.
"""

from __future__ import annotations

from collections.abc import Iterator

from perdure.contract import (
    InstancePage,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    QueuedActivity,
    QueuedMessage,
    check_limit,
    first_page,
)
from perdure.errors import InvalidInput

from perdure_conformance.model.management import Management
from perdure_conformance.model.store import Store
from perdure_conformance.model.tables import ActivityRow, InstanceRow, MailboxEntry

MOST_SHOWN = 1000
"""How many activities, and how many messages, `read_work` shows."""


class ModelAdmin(Management):
    """The management capability together with the listing capability."""

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        """Newest first. The token has the place of the page's last instance, and a digest of the query."""
        check_limit(limit)
        before = None if token is None else self.place_in(token, query)
        rows = [
            row
            for row in reversed(self.at_present().tables.instances.values())
            if (before is None or row.created < before) and self.meets(row.state, query)
        ]
        page, _ = first_page(rows, self.size_of)
        page = page[:limit]
        more = len(page) < len(rows)
        return InstancePage(
            instances=tuple(row.state for row in page),
            next_token=f"{query.digest()}-{page[-1].created}" if more else None,
        )

    def place_in(self, token: str, query: InstanceQuery) -> int:
        """The place that a token of this query has."""
        begin, _, place = token.rpartition("-")
        if begin != query.digest() or not (place.isascii() and place.isdecimal()):
            raise InvalidInput(
                f"the page token {token!r} is not of this listing; pass next_token unchanged"
            )
        return int(place)

    def size_of(self, row: InstanceRow) -> int:
        """What an instance adds to the size of a page."""
        return len(row.state.output or b"") + len(row.state.custom_status or b"")

    def meets(self, state: InstanceState, query: InstanceQuery) -> bool:
        """Whether an instance meets all conditions."""
        return all(self.conditions(state, query))

    def conditions(self, state: InstanceState, query: InstanceQuery) -> Iterator[bool]:
        """Whether an instance meets each condition that the query has."""
        if query.statuses:
            yield state.status in query.statuses
        if query.orchestrations:
            yield state.name in query.orchestrations
        if query.parked is not None:
            yield (state.parked is not None) == query.parked
        if query.parked_reasons:
            yield state.parked is not None and state.parked.reason in query.parked_reasons
        yield state.instance.startswith(query.id_prefix)
        if query.created_from is not None:
            yield state.created_at >= query.created_from
        if query.created_before is not None:
            yield state.created_at < query.created_before
        if query.updated_from is not None:
            yield state.updated_at >= query.updated_from
        if query.updated_before is not None:
            yield state.updated_at < query.updated_before
        if query.parent is not None:
            yield state.parent is not None and state.parent.instance == query.parent
        if query.roots_only:
            yield state.parent is None
        for label, text in query.labels.items():
            yield state.labels.get(label) == text

    async def read_work(self, instance: str) -> InstanceWork | None:
        """What is queued for an instance."""
        store = self.at_present()
        row = store.tables.instances.get(instance)
        if row is None:
            return None
        activities = self.activities_of(store, instance)
        messages = self.messages_of(store, instance)
        running = row.state.status is InstanceStatus.RUNNING
        return InstanceWork(
            attempt=row.attempt,
            leased_until=None if row.lease is None else row.lease.until,
            delayed_until=row.hidden_until if running and store.lasts(row.hidden_until) else None,
            activities=tuple(self.queued(store, each) for each in activities[:MOST_SHOWN]),
            messages=tuple(self.message(each) for each in messages[:MOST_SHOWN]),
            more=max(len(activities), len(messages)) > MOST_SHOWN,
        )

    def activities_of(self, store: Store, instance: str) -> list[ActivityRow]:
        """The activities of an instance that are wanted."""
        rows = store.tables.activities.values()
        return [row for row in rows if row.instance == instance and store.is_wanted(row)]

    def messages_of(self, store: Store, instance: str) -> list[MailboxEntry]:
        """The messages of an instance that are not void, visible or not, in their order."""
        entries = store.tables.mailboxes.get(instance, {}).values()
        wanted = [entry for entry in entries if not store.is_void(entry.message)]
        return sorted(wanted, key=store.order)

    def queued(self, store: Store, row: ActivityRow) -> QueuedActivity:
        """An activity as a look shows it."""
        delayed = row.hidden_until if store.lasts(row.hidden_until) else None
        return QueuedActivity(
            id=row.new.id,
            name=row.new.name,
            tag=row.new.tag,
            data=row.new.data,
            added_at=row.added_at,
            delivery=row.delivery,
            visible_at=row.visible_at if delayed is None else delayed,
            leased_until=None if row.lease is None else row.lease.until,
        )

    def message(self, entry: MailboxEntry) -> QueuedMessage:
        """A message as a look shows it."""
        message = entry.message
        return QueuedMessage(
            id=message.id,
            kind=message.kind,
            size=len(message.data),
            visible_at=message.visible_at,
        )
