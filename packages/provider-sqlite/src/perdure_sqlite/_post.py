"""Mailboxes inside a transaction: putting messages in, taking them out, shelving the instance.

Order is kept by the key of the table: place, due time, arrival. Void messages are dropped on
arrival (MAIL-7 to MAIL-10). Everything here works on rows that the operation has read, and
leaves it to the operation, or to `Post.save`, to write them back once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    Instant,
    Message,
    MessageKind,
)

from perdure_sqlite._rows import InstanceRow, message_of
from perdure_sqlite._session import Session
from perdure_sqlite._shelves import NOW, SHELVES, shelve
from perdure_sqlite._sql.instances import SAVE_ARRIVALS
from perdure_sqlite._sql.mailboxes import (
    ADD_EARLY_EVENT,
    ADD_MESSAGE,
    FIRST_MESSAGE,
    FIRST_USUAL_DUE,
    FRONT,
    REMOVE_MESSAGE,
    START,
    SURVEY_MAILBOX,
    USUAL,
    VISIBLE_MESSAGES,
)


class Post:
    """The mailboxes that one operation puts messages into; each is read and written once."""

    __slots__ = ("_changed", "_rows", "_session")

    def __init__(self, session: Session, own: InstanceRow | None = None) -> None:
        self._session = session
        self._rows: dict[str, InstanceRow | None] = {} if own is None else {own.id: own}
        self._changed: dict[int, InstanceRow] = {}

    def find(self, instance: str) -> InstanceRow | None:
        """The row of an instance, as this operation has left it."""
        if instance not in self._rows:
            self._rows[instance] = self._session.find(instance)
        return self._rows[instance]

    def know(self, row: InstanceRow) -> None:
        """This operation has created the instance."""
        self._rows[row.id] = row

    def put(self, message: Message) -> None:
        """Put a message into the mailbox that it addresses, unless it is void or held."""
        row = self.find(message.instance)
        if row is None:
            if message.kind is MessageKind.EVENT:
                _keep_early(self._session, message)
        elif row.is_addressed_by(message) and put(self._session, row, message):
            self._changed[row.number] = row

    def save(self, *, but: InstanceRow | None = None) -> None:
        """Write the rows whose mailboxes have changed, without one that the caller writes."""
        session = self._session
        for row in self._changed.values():
            if row is not but:
                session.execute(
                    SAVE_ARRIVALS, (row.shelf, row.ready_at, row.arrivals, row.fronts, row.number)
                )
                session.expect_turn(row.shelf, row.ready_at)


def put(
    session: Session, row: InstanceRow, message: Message, *, due: Instant | None = None
) -> bool:
    """Add a message that is not void; False where the mailbox holds its id."""
    if due is None:
        due = session.stamp() if message.visible_at is None else message.visible_at
    place = START if message.kind is MessageKind.START else USUAL
    if not _insert(session, row, message, place, due):
        return False
    _shelve_arrival(session, row, message.visible_at, due)
    return True


def put_front(session: Session, row: InstanceRow, messages: Iterable[Message]) -> None:
    """Put messages ahead of all but the start, in this order, in place of held ones.

    The caller shelves the row afterwards.
    """
    row.fronts += 1
    for message in messages:
        if not row.is_addressed_by(message):
            continue
        session.execute(REMOVE_MESSAGE, (row.number, message.id))
        if message.kind is MessageKind.START:
            _insert(session, row, message, START, session.stamp())
        else:
            # Later commits go first: their key is lower.
            _insert(session, row, message, FRONT, -row.fronts)


def reshelve(session: Session, row: InstanceRow) -> None:
    """Put the row on the shelf where its mailbox and its lease or delay belong now."""
    since, due = _survey(session, row)
    _shelve(session, row, since=since, due=due)


def deliver(
    session: Session, row: InstanceRow, held: Collection[str] = ()
) -> tuple[tuple[Message, ...], bool]:
    """The visible messages in order, without those held, and whether more wait."""
    limit = MAX_MESSAGES_PER_DELIVERY + len(held) + 1
    rows = session.execute(VISIBLE_MESSAGES, (row.number, session.horizon, session.now, limit))
    taken: list[Message] = []
    size = 0
    for columns in rows:
        if columns[0] in held:
            continue
        size += len(columns[2])
        full = len(taken) == MAX_MESSAGES_PER_DELIVERY or size > MAX_BYTES_PER_DELIVERY
        if taken and full:
            return tuple(taken), True
        taken.append(message_of(columns, row.id, row.incarnation))
    return tuple(taken), False


def visible_since(session: Session, row: InstanceRow) -> Instant | None:
    """Since when the mailbox has had something visible, or None."""
    return _survey(session, row)[0]


def _insert(session: Session, row: InstanceRow, message: Message, place: int, due: Instant) -> bool:
    row.arrivals += 1
    added = session.execute(
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


def _shelve_arrival(
    session: Session, row: InstanceRow, visible_at: Instant | None, due: Instant
) -> None:
    """Shelve anew after one arrival, without a look at what else the mailbox holds.

    On HELD the end of the lease or delay decides, whatever arrives. On NOW the row may come
    earlier in the queue. On DUE the earlier of the two counts.
    """
    if row.shelf is not None and row.ready_at is not None:
        kind = row.shelf % SHELVES
        if kind == NOW:
            row.ready_at = min(row.ready_at, max(due, row.released_at))
            return
        if kind > NOW + 1:
            return
    is_visible = visible_at is None or visible_at <= session.now
    if row.ready_at is not None and (row.ready_at <= session.now or not is_visible):
        due = min(due, row.ready_at)
    _shelve(session, row, since=due if is_visible else None, due=due)


def _shelve(
    session: Session, row: InstanceRow, *, since: Instant | None, due: Instant | None
) -> None:
    if since is None and due is None:
        row.shelf = row.ready_at = None
        return
    row.shelf, row.ready_at = shelve(
        # Not from the shelf where it stood: it may have got another version, or had none.
        session.turn_queue(row.name, row.version, row.engine),
        since=since,
        due=due,
        held_until=row.held_until,
        released_at=row.released_at,
        now=session.now,
    )


def _survey(session: Session, row: InstanceRow) -> tuple[Instant | None, Instant | None]:
    """Since when something has been visible, else when something is due.

    The first message in order answers that for nearly every mailbox; only where its place says
    nothing about its time, or the clock has stepped back, all are looked at.
    """
    first = session.execute(FIRST_MESSAGE, (row.number, 1)).fetchone()
    if first is None:
        return None, None
    place, due, visible_at = first
    is_visible = visible_at is None or visible_at <= session.now
    if is_visible and place == FRONT:
        return 0, None
    if is_visible and place == START:
        (usual,) = session.execute(FIRST_USUAL_DUE, (row.number,)).fetchone()
        return (due if usual is None else min(due, usual)), None
    if is_visible:
        return due, None
    if place == USUAL and session.horizon < due:
        return None, due
    since, earliest = session.execute(SURVEY_MAILBOX, (session.now, row.number)).fetchone()
    return since, earliest


def _keep_early(session: Session, message: Message) -> None:
    due = session.stamp() if message.visible_at is None else message.visible_at
    session.execute(
        ADD_EARLY_EVENT,
        (
            session.namespace,
            message.instance,
            message.id,
            due,
            message.incarnation,
            message.execution,
            message.visible_at,
            message.data,
        ),
    )
