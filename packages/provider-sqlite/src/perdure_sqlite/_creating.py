"""Creating instances and sending messages."""

from __future__ import annotations

from collections.abc import Iterable

from perdure.contract import Message, MessageKind, NewInstance
from perdure.errors import InstanceAlreadyExists

from perdure_sqlite._post import Post, put
from perdure_sqlite._rows import InstanceRow
from perdure_sqlite._session import Session
from perdure_sqlite._shelves import NOW, SHELVES
from perdure_sqlite._sql.instances import ADD_INSTANCE, RUNNING, SAVE_ARRIVALS
from perdure_sqlite._sql.mailboxes import READ_EARLY_EVENTS, REMOVE_EARLY_EVENTS


def create_instance(session: Session, new: NewInstance) -> None:
    """Create the instance with its start message, or refuse."""
    found = session.find(new.instance)
    if found is None:
        add_instance(session, new)
    elif found.incarnation != new.incarnation:
        raise InstanceAlreadyExists(new.instance)


def send(session: Session, messages: Iterable[Message]) -> None:
    """Put messages into their mailboxes, in the order given."""
    post = Post(session)
    for message in messages:
        post.put(message)
    post.save()


def add_instance(session: Session, new: NewInstance) -> InstanceRow:
    """Write a new instance, its start message, and the events that waited for it."""
    row = _insert(session, new)
    written = (row.shelf, row.ready_at, 1)
    put(session, row, new.start)
    _deliver_early(session, row)
    if (row.shelf, row.ready_at, row.arrivals) != written:
        session.execute(
            SAVE_ARRIVALS, (row.shelf, row.ready_at, row.arrivals, row.fronts, row.number)
        )
    session.expect_turn(row.shelf, row.ready_at)
    session.note_change(row.id)
    return row


def _insert(session: Session, new: NewInstance) -> InstanceRow:
    """Write the row as it will be when the start message is in the mailbox, and nothing else."""
    now = session.now
    parent = new.parent
    at_once = new.start.visible_at is None
    shelf: int | None = None
    if at_once:
        shelf = session.turn_queue(new.name, new.version, new.engine) * SHELVES + NOW
    ready_at = session.stamp() if at_once else None
    number = session.execute(
        ADD_INSTANCE,
        (
            session.namespace,
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
            shelf,
            ready_at,
            1,
            0,
            parent and parent.instance,
            parent and parent.incarnation,
            parent and parent.execution,
            parent and parent.event,
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
        shelf=shelf,
        ready_at=ready_at,
        arrivals=0,
        fronts=0,
    )


def _deliver_early(session: Session, row: InstanceRow) -> None:
    key = (session.namespace, row.id)
    early = session.execute(READ_EARLY_EVENTS, key).fetchall()
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
            put(session, row, message, due=due)
    if early:
        session.execute(REMOVE_EARLY_EVENTS, key)
