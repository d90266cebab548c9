"""Mailboxes: which messages are void, which are visible, and in which order they are delivered.

Keeps the clauses MAIL-1 to MAIL-15. Messages enter by `put` and `put_front` only. A void message
is dropped there, or when the instance moves on (`drop_void`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from perdure.clock import Instant, to_microseconds
from perdure.contract import (
    CANCEL_ID,
    FARTHEST_END,
    InstanceStatus,
    Message,
    MessageKind,
    first_page,
)

from perdure_conformance.model.tables import ActivityRow, InstanceRow, Lease, MailboxEntry, Tables

FARTHEST = FARTHEST_END


class Mailboxes:
    """The tables, the present instant, and the rules for messages."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.now: Instant = 0
        """Set before each call."""

    def count(self) -> int:
        """The next number of the order in which things happen."""
        self.tables.happenings += 1
        return self.tables.happenings

    def after(self, duration: timedelta) -> Instant:
        """The instant this far from now."""
        return self.now + to_microseconds(duration)

    def lasts(self, until: Instant | None) -> bool:
        """Whether a lease or a delay that ends then is live."""
        return until is not None and self.now < until <= self.now + FARTHEST

    def is_live(self, lease: Lease | None) -> bool:
        """Whether this lease is live."""
        return lease is not None and self.lasts(lease.until)

    def stands(self, lease: Lease | None, token: str) -> bool:
        """Whether this lease stands under this token, live or expired."""
        return lease is not None and lease.token == token

    def is_held(self, lease: Lease | None, token: str) -> bool:
        """Whether this lease is live under this token."""
        return self.stands(lease, token) and self.is_live(lease)

    def free_since(self, row: InstanceRow | ActivityRow, since: Instant) -> Instant:
        """Since then, or since the row's lease or delay ran out."""
        ends = [row.hidden_until, None if row.lease is None else row.lease.until]
        return max([since, *(end for end in ends if end is not None and end <= self.now)])

    def row_of(self, instance: str, incarnation: str) -> InstanceRow | None:
        """The instance, if this is its incarnation."""
        row = self.tables.instances.get(instance)
        return row if row is not None and row.state.incarnation == incarnation else None

    def is_void(self, message: Message) -> bool:
        """Whether this message must never be delivered (MAIL-7 to MAIL-10)."""
        row = self.tables.instances.get(message.instance)
        if row is None:
            return message.kind is not MessageKind.EVENT
        state = row.state
        return (
            state.status is not InstanceStatus.RUNNING
            or (message.incarnation is not None and message.incarnation != state.incarnation)
            or (message.execution is not None and message.execution != state.execution)
        )

    def put(self, message: Message) -> None:
        """Put a message into its mailbox, unless it is void or held already (MAIL-5)."""
        mailbox = self.tables.mailboxes.setdefault(message.instance, {})
        if self.is_void(message):
            return
        if message.kind is MessageKind.CANCEL and message.visible_at is None:
            self.end_delay(message.instance)
        if message.id in mailbox:
            return
        mailbox[message.id] = MailboxEntry(
            message=message,
            due=self.due_time(message),
            arrived_at=self.stamp(),
            arrival=self.count(),
        )

    def end_delay(self, instance: str) -> None:
        """Let the instance be leased at once, if it is not leased now (LEASE-22)."""
        row = self.tables.instances.get(instance)
        if row is not None and row.lease is None:
            row.hidden_until = None

    def put_front(self, messages: Sequence[Message]) -> None:
        """Put messages ahead of all others, in the order given (COMMIT-15)."""
        commit = -self.count()
        for place, message in enumerate(messages):
            mailbox = self.tables.mailboxes.setdefault(message.instance, {})
            if not self.is_void(message):
                mailbox[message.id] = MailboxEntry(
                    message=message,
                    due=self.due_time(message),
                    arrived_at=self.stamp(),
                    arrival=self.count(),
                    front=(commit, place),
                )

    def due_time(self, message: Message) -> Instant:
        """When the message is due."""
        return self.stamp() if message.visible_at is None else message.visible_at

    def stamp(self) -> Instant:
        """The stamp of an arrival, which never goes back (MAIL-4)."""
        self.tables.stamp = max(self.tables.stamp, self.now)
        return self.tables.stamp

    def remove_messages(self, instance: str, ids: Collection[str]) -> None:
        """Take messages out of a mailbox, whether it has them or not."""
        mailbox = self.tables.mailboxes.get(instance, {})
        for message in ids:
            mailbox.pop(message, None)

    def drop_void(self, instance: str) -> None:
        """Drop the messages that became void when the instance moved on."""
        mailbox = self.tables.mailboxes.get(instance, {})
        void = [entry.message.id for entry in mailbox.values() if self.is_void(entry.message)]
        self.remove_messages(instance, void)

    def is_visible(self, entry: MailboxEntry) -> bool:
        """Whether the message is due."""
        visible_at = entry.message.visible_at
        return visible_at is None or visible_at <= self.now

    def unsorted_visible(self, instance: str) -> list[MailboxEntry]:
        """The visible messages of an instance, in no order."""
        return list(filter(self.is_visible, self.tables.mailboxes.get(instance, {}).values()))

    def has_visible(self, instance: str) -> bool:
        """Whether the instance has a visible message."""
        return any(map(self.is_visible, self.tables.mailboxes.get(instance, {}).values()))

    def visible(self, instance: str) -> list[MailboxEntry]:
        """The visible messages of an instance, in the order of delivery."""
        return sorted(self.unsorted_visible(instance), key=self.order)

    def order(self, entry: MailboxEntry) -> tuple[int, ...]:
        """The place in the mailbox: the start, the front, then by due time and arrival."""
        if entry.message.kind is MessageKind.START:
            return (0,)
        if entry.front is not None:
            return (1, *entry.front)
        return (2, entry.due, entry.arrival)

    def delivery(
        self, instance: str, held: Collection[str] = ()
    ) -> tuple[tuple[Message, ...], bool]:
        """The first visible messages that the caller does not hold, and whether others wait."""
        messages = (entry.message for entry in self.visible(instance))
        free = [message for message in messages if message.id not in held]
        page, more = first_page(free, lambda message: len(message.data))
        return (*page, *self.cancellations(free[len(page) :])), more

    def cancellations(self, behind: Sequence[Message]) -> list[Message]:
        """What is delivered of the messages behind a page."""
        kind = MessageKind.CANCEL
        return [each for each in behind if each.id == CANCEL_ID and each.kind is kind]
