"""Mailboxes: adding messages, delivering them, and keeping each instance in its bucket.

The key of the table orders messages: place, due time, arrival. Void messages are dropped on arrival
(MAIL-7 to MAIL-10). The functions change rows that the operation has read; the operation, or
`Mailboxes.save`, writes each of them back once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from perdure.contract import (
    CANCEL_ID,
    MAX_MESSAGES_PER_DELIVERY,
    Instant,
    Message,
    MessageKind,
    first_page,
)

from perdure_sqlite._schema.ready_index import BUCKETS, HIDDEN, READY, bucket_of
from perdure_sqlite._sql.instances import END_DELAY, SAVE_ARRIVALS
from perdure_sqlite._sql.mailboxes import (
    ADD_EARLY_EVENT,
    ADD_MESSAGE,
    FIND_CANCELLATION,
    FIRST_MESSAGE,
    FIRST_USUAL_DUE,
    FRONT,
    READ_MAILBOX_TIMES,
    REMOVE_MESSAGE,
    START,
    USUAL,
    VISIBLE_MESSAGES,
)
from perdure_sqlite._sql.rows import InstanceRow, MessageColumns, message_of
from perdure_sqlite._writes.transaction import Transaction


class Mailboxes:
    """The mailboxes that one operation puts messages into; each row is read and written once."""

    __slots__ = ("_changed", "_rows", "_transaction")

    def __init__(self, transaction: Transaction, own: InstanceRow | None = None) -> None:
        self._transaction = transaction
        self._rows: dict[str, InstanceRow | None] = {} if own is None else {own.id: own}
        self._changed: dict[int, InstanceRow] = {}

    def find(self, instance: str) -> InstanceRow | None:
        """The row of an instance, with the changes of this operation."""
        if instance not in self._rows:
            self._rows[instance] = self._transaction.find(instance)
        return self._rows[instance]

    def add_row(self, row: InstanceRow) -> None:
        """Add the row of an instance that this operation has created."""
        self._rows[row.id] = row

    def put(self, message: Message) -> None:
        """Put a message into its mailbox, unless it is void or the mailbox holds its id."""
        row = self.find(message.instance)
        if row is None:
            if message.kind is MessageKind.EVENT:
                _keep_early_event(self._transaction, message)
        elif row.is_addressed_by(message) and put(self._transaction, row, message):
            self._changed[row.number] = row

    def save(self, *, besides: InstanceRow | None = None) -> None:
        """Write the rows of changed mailboxes, except for one that the caller writes itself."""
        transaction = self._transaction
        for row in self._changed.values():
            if row is not besides:
                transaction.execute(
                    SAVE_ARRIVALS, (row.bucket, row.ready_at, row.arrivals, row.fronts, row.number)
                )
                transaction.note_ready_turn(row.bucket, row.ready_at)


def put(
    transaction: Transaction, row: InstanceRow, message: Message, *, due: Instant | None = None
) -> bool:
    """Add a message that is not void, unless the mailbox holds its id; returns whether it has changed
    the row."""
    if due is None:
        due = transaction.stamp() if message.visible_at is None else message.visible_at
    place = START if message.kind is MessageKind.START else USUAL
    is_new = _insert(transaction, row, message, place, due)
    if message.kind is MessageKind.CANCEL and message.visible_at is None and _is_delayed(row):
        row.held_until = None
        transaction.execute(END_DELAY, (row.number,))
        update_bucket(transaction, row)
        return True
    if is_new:
        _update_bucket_on_arrival(transaction, row, message.visible_at, due)
    return is_new


def _is_delayed(row: InstanceRow) -> bool:
    return row.lease_token is None and row.held_until is not None


def put_front(transaction: Transaction, row: InstanceRow, messages: Iterable[Message]) -> None:
    """Put messages ahead of all but the start message, in this order; each replaces its held copy.

    The caller updates the bucket afterwards.
    """
    row.fronts += 1
    for message in messages:
        if not row.is_addressed_by(message):
            continue
        transaction.execute(REMOVE_MESSAGE, (row.number, message.id))
        if message.kind is MessageKind.START:
            _insert(transaction, row, message, START, transaction.stamp())
        else:
            # Messages of later commits go first, because their key is lower.
            _insert(transaction, row, message, FRONT, -row.fronts)


def update_bucket(transaction: Transaction, row: InstanceRow) -> None:
    """Move the row to the bucket that its mailbox and its lease or delay call for now."""
    since, due = _message_times(transaction, row)
    _set_bucket(transaction, row, since=since, due=due)


def deliver(
    transaction: Transaction, row: InstanceRow, held: Collection[str] = ()
) -> tuple[tuple[Message, ...], bool]:
    """The visible messages in order, without those in `held`, and whether there are more."""
    limit = MAX_MESSAGES_PER_DELIVERY + len(held) + 1
    key = (row.number, transaction.horizon, transaction.now, limit)
    rows = transaction.execute(VISIBLE_MESSAGES, key)
    if held:
        rows = (columns for columns in rows if columns[0] not in held)
    page, more = first_page(rows, _size_of)
    if more and CANCEL_ID not in held and all(columns[0] != CANCEL_ID for columns in page):
        # Its place may be behind thousands of others (MAIL-16).
        found = transaction.execute(FIND_CANCELLATION, (row.number, transaction.now)).fetchone()
        page += [found] if found is not None else []
    return tuple(message_of(columns, row.id, row.incarnation) for columns in page), more


def visible_since(transaction: Transaction, row: InstanceRow) -> Instant | None:
    """Since when the mailbox has had a visible message, or None."""
    return _message_times(transaction, row)[0]


def _size_of(columns: MessageColumns) -> int:
    return len(columns[2])


def _insert(
    transaction: Transaction, row: InstanceRow, message: Message, place: int, due: Instant
) -> bool:
    row.arrivals += 1
    added = transaction.execute(
        ADD_MESSAGE,
        (
            row.number,
            place,
            due,
            row.arrivals,
            message.id,
            message.kind.value,
            message.incarnation is not None,
            message.execution,
            message.visible_at,
            message.data,
        ),
    )
    return added.rowcount > 0


def _update_bucket_on_arrival(
    transaction: Transaction, row: InstanceRow, visible_at: Instant | None, due: Instant
) -> None:
    """Update the bucket after one arrival, without reading the rest of the mailbox.

    In HIDDEN the end of the lease or delay decides, whatever arrives. In READY the row may move
    forward. In SCHEDULED the earlier of the two times counts.
    """
    if row.bucket is not None and row.ready_at is not None:
        kind = row.bucket % BUCKETS
        if kind == READY:
            row.ready_at = min(row.ready_at, max(due, row.released_at))
            return
        if kind == HIDDEN:
            return
    is_visible = visible_at is None or visible_at <= transaction.now
    if row.ready_at is not None and (row.ready_at <= transaction.now or not is_visible):
        due = min(due, row.ready_at)
    _set_bucket(transaction, row, since=due if is_visible else None, due=due)


def _set_bucket(
    transaction: Transaction, row: InstanceRow, *, since: Instant | None, due: Instant | None
) -> None:
    if since is None and due is None:
        row.bucket = row.ready_at = None
        return
    row.bucket, row.ready_at = bucket_of(
        # Not the queue of its old bucket: the version may have changed, or there was no bucket.
        transaction.turn_queue(row.name, row.version, row.engine),
        since=since,
        due=due,
        held_until=row.held_until,
        released_at=row.released_at,
        now=transaction.now,
    )


def _message_times(
    transaction: Transaction, row: InstanceRow
) -> tuple[Instant | None, Instant | None]:
    """Since when a message has been visible and, if none is, when the next one is due.

    The first message answers this for nearly every mailbox. All messages are read only if the place
    of the first one says nothing about its time, or the clock has stepped back.
    """
    first = transaction.execute(FIRST_MESSAGE, (row.number, 1)).fetchone()
    if first is None:
        return None, None
    place, due, visible_at = first
    is_visible = visible_at is None or visible_at <= transaction.now
    if is_visible and place == FRONT:
        return 0, None
    if is_visible and place == START:
        (usual,) = transaction.execute(FIRST_USUAL_DUE, (row.number,)).fetchone()
        return (due if usual is None else min(due, usual)), None
    if is_visible:
        return due, None
    if place == USUAL and transaction.horizon < due:
        return None, due
    since, earliest = transaction.execute(
        READ_MAILBOX_TIMES, (transaction.now, row.number)
    ).fetchone()
    return since, earliest


def _keep_early_event(transaction: Transaction, message: Message) -> None:
    due = transaction.stamp() if message.visible_at is None else message.visible_at
    transaction.execute(
        ADD_EARLY_EVENT,
        (
            transaction.namespace,
            message.instance,
            message.id,
            due,
            message.incarnation,
            message.execution,
            message.visible_at,
            message.data,
            transaction.horizon,
        ),
    )
