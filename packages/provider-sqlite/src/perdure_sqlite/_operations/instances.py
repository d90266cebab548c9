"""Creating instances and sending messages."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.contract import Message, MessageKind, NewInstance
from perdure.errors import InstanceAlreadyExists

from perdure_sqlite._operations.mailboxes import Mailboxes, put
from perdure_sqlite._operations.removals import discard
from perdure_sqlite._schema.ready_index import BUCKETS, READY
from perdure_sqlite._sql.instances import ADD_INSTANCE, RUNNING, SAVE_ARRIVALS
from perdure_sqlite._sql.listings import ADD_LABEL
from perdure_sqlite._sql.mailboxes import READ_EARLY_EVENTS, REMOVE_EARLY_EVENTS
from perdure_sqlite._sql.rows import InstanceRow, labels_text
from perdure_sqlite._writes.transaction import Transaction


def create_instance(transaction: Transaction, new: NewInstance) -> None:
    """Create the instance with its start message; raises `InstanceAlreadyExists`."""
    found = transaction.find(new.instance)
    if found is None or _makes_room(transaction, found, new):
        add_instance(transaction, new)
    elif found.incarnation != new.incarnation:
        raise InstanceAlreadyExists(new.instance)


def _makes_room(transaction: Transaction, found: InstanceRow, new: NewInstance) -> bool:
    """Delete the instance that has the id if the new one replaces it; returns whether it does."""
    if found.incarnation != new.replaces or found.status == RUNNING:
        return False
    discard(transaction, found)
    return True


def send(transaction: Transaction, messages: Iterable[Message]) -> None:
    """Put messages into their mailboxes, in this order."""
    mailboxes = Mailboxes(transaction)
    for message in messages:
        mailboxes.put(message)
    mailboxes.save()


def add_instance(transaction: Transaction, new: NewInstance) -> InstanceRow:
    """Write a new instance, its start message, and external events that arrived earlier."""
    row = _insert(transaction, new)
    if new.labels:
        transaction.executemany(
            ADD_LABEL,
            [
                (transaction.namespace, key, value, row.started_at, row.number)
                for key, value in new.labels.items()
            ],
        )
    written = (row.bucket, row.ready_at, 1)
    put(transaction, row, new.start)
    _deliver_early_events(transaction, row)
    if (row.bucket, row.ready_at, row.arrivals) != written:
        transaction.execute(
            SAVE_ARRIVALS, (row.bucket, row.ready_at, row.arrivals, row.fronts, row.number)
        )
    transaction.note_ready_turn(row.bucket, row.ready_at)
    transaction.note_change(row.id)
    return row


def _insert(transaction: Transaction, new: NewInstance) -> InstanceRow:
    """Write the row as it will be once the mailbox holds the start message and nothing else."""
    now = transaction.now
    parent = new.parent
    at_once = new.start.visible_at is None
    bucket: int | None = None
    if at_once:
        bucket = transaction.turn_queue(new.name, new.version, new.engine) * BUCKETS + READY
    ready_at = transaction.stamp() if at_once else None
    number = transaction.execute(
        ADD_INSTANCE,
        (
            transaction.namespace,
            new.instance,
            new.incarnation,
            new.name,
            new.version,
            new.engine,
            RUNNING,
            1,
            now,
            0,
            now,
            now,
            0,
            0,
            bucket,
            ready_at,
            1,
            0,
            parent and parent.instance,
            parent and parent.incarnation,
            parent and parent.execution,
            parent and parent.event,
            labels_text(new.labels),
        ),
    ).lastrowid
    return InstanceRow(
        number=number or 0,
        id=new.instance,
        incarnation=new.incarnation,
        name=new.name,
        version=new.version,
        engine=new.engine,
        status=RUNNING,
        execution=1,
        started_at=now,
        last_event=0,
        last_commit=None,
        updated_at=now,
        attempt=0,
        lease_token=None,
        held_until=None,
        released_at=0,
        bucket=bucket,
        ready_at=ready_at,
        arrivals=0,
        fronts=0,
        first_execution=1,
    )


def _deliver_early_events(transaction: Transaction, row: InstanceRow) -> None:
    key = (transaction.namespace, row.id)
    early = transaction.execute(READ_EARLY_EVENTS, key).fetchall()
    for message_id, data, incarnation, execution, visible_at, due in early:
        message = Message(
            id=message_id,
            instance=row.id,
            kind=MessageKind.EVENT,
            data=data,
            incarnation=incarnation,
            execution=execution,
            visible_at=visible_at,
        )
        if row.is_addressed_by(message):
            put(transaction, row, message, due=due)
    if early:
        transaction.execute(REMOVE_EARLY_EVENTS, key)
