"""Executions: appending to their histories, ending them, beginning the next, and writing the row.

Commits, reopenings and terminations are made of these steps. They change the row that the operation
has read, and `save_progress` writes it back at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import (
    MAX_PACKED_BYTES,
    MAX_PACKED_EVENTS,
    ExecutionEnd,
    InstanceStatus,
    pack_history,
)

from perdure_sqlite._operations.activities import remove_activities
from perdure_sqlite._operations.mailboxes import update_bucket
from perdure_sqlite._sql.instances import (
    ADD_EVENT,
    ADD_EXECUTION,
    COMMIT_ENDING,
    COMMIT_KEEPING,
    COMMIT_RELEASING,
    CONTINUE_EXECUTION,
    READ_EVENTS_UP_TO,
    REMOVE_HISTORY,
    REOPEN_INSTANCE,
    RUNNING,
)
from perdure_sqlite._sql.mailboxes import REMOVE_MAILBOX, REMOVE_OTHER_EXECUTIONS
from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._writes.transaction import Transaction


def append_events(transaction: Transaction, row: InstanceRow, events: Sequence[bytes]) -> None:
    """Append events to the history of the current execution."""
    first = row.last_event + 1
    transaction.executemany(
        ADD_EVENT,
        [(row.number, row.execution, number, data) for number, data in enumerate(events, first)],
    )
    row.last_event += len(events)


def end_execution(
    transaction: Transaction, row: InstanceRow, end: ExecutionEnd, events: Sequence[bytes] = ()
) -> None:
    """Append the last events, end the execution, and remove what becomes void with it.

    `save_progress` writes the end of the instance.
    """
    now, status = transaction.now, end.status.value
    history = _take_history(transaction, row, events)
    if history is None:
        append_events(transaction, row, events)
    else:
        row.last_event += len(events)
    transaction.execute(
        ADD_EXECUTION,
        (
            row.number,
            row.execution,
            status,
            row.last_event,
            row.started_at,
            now,
            end.output,
            history,
        ),
    )
    remove_activities(transaction, row)
    if end.status is InstanceStatus.CONTINUED_AS_NEW:
        ended, count = row.execution, row.last_event
        row.execution, row.started_at, row.last_event = ended + 1, now, 0
        transaction.execute(CONTINUE_EXECUTION, (row.execution, now, ended, count, row.number))
        if row.bucket is not None:
            transaction.execute(REMOVE_OTHER_EXECUTIONS, (row.number, row.execution))
        return
    row.status = status
    if row.bucket is not None:
        transaction.execute(REMOVE_MAILBOX, (row.number,))


def _take_history(
    transaction: Transaction, row: InstanceRow, last: Sequence[bytes]
) -> bytes | None:
    """Pack the history with its last events, and remove the others; None if it stays unpacked.

    A damaged history stays as it is, so that its readers are told what is missing.
    """
    if row.last_event + len(last) > MAX_PACKED_EVENTS:
        return None
    events: list[bytes] = []
    if row.last_event:
        key = (MAX_PACKED_BYTES, row.number, row.execution)
        for number, data in transaction.execute(READ_EVENTS_UP_TO, key).fetchall():
            if number != len(events) + 1 or type(data) is not bytes:
                return None
            events.append(data)
        if len(events) != row.last_event:
            return None
    packed = pack_history((*events, *last))
    if packed is not None and events:
        transaction.execute(REMOVE_HISTORY, (row.number, row.execution))
    return packed


def begin_again(transaction: Transaction, row: InstanceRow) -> None:
    """Begin the next execution of an instance that has ended."""
    count = row.last_event
    row.status, row.execution = RUNNING, row.execution + 1
    row.started_at, row.last_event = transaction.now, 0
    transaction.execute(
        REOPEN_INSTANCE, (RUNNING, row.execution, row.started_at, count, row.number)
    )


def save_progress(
    transaction: Transaction,
    row: InstanceRow,
    id: str,
    *,
    keep_for: timedelta | None = None,
    continues: bool = False,
) -> None:
    """Keep the turn lease or end it, and write the row; `id` becomes the last commit."""
    now = transaction.now
    row.last_commit, row.updated_at = id, now
    if keep_for is not None:
        row.attempt, row.held_until = 1, now + to_microseconds(keep_for)
    else:
        row.attempt, row.lease_token, row.held_until, row.released_at = 0, None, None, now
    if row.status != RUNNING:
        row.bucket = row.ready_at = None
    elif row.bucket is not None:
        update_bucket(transaction, row)
        transaction.note_ready_turn(row.bucket, row.ready_at)
    columns = (
        row.last_event,
        id,
        now,
        row.attempt,
        row.held_until,
        row.released_at,
        row.bucket,
        row.ready_at,
        row.arrivals,
        row.fronts,
        row.number,
    )
    if row.status != RUNNING:
        transaction.execute(COMMIT_ENDING, (row.status, *columns))
    elif keep_for is None:
        transaction.execute(COMMIT_RELEASING, columns)
    else:
        transaction.execute(COMMIT_KEEPING, columns)
        transaction.remember(row)
    transaction.note_change(row.id, continues=continues)
