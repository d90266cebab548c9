"""Deleting instances, executions, early events, and everything in the namespace."""

from __future__ import annotations

from typing import Final

from perdure.contract import Instant
from perdure.errors import InstanceNotFound, InstanceRunning

from perdure_sqlite._operations.activities import remove_activities
from perdure_sqlite._operations.removals import (
    ROWS_PER_PART,
    Part,
    discard,
    remove_executions,
)
from perdure_sqlite._schema.ready_index import ALWAYS
from perdure_sqlite._sql.deletions import (
    EARLY_EVENT_SIZES,
    EARLY_EVENT_SIZES_OF,
    INSTANCES_OF_NAMESPACE,
    REMOVE_ACTIVITY_QUEUES,
    REMOVE_EARLY_EVENT,
    REMOVE_TURN_QUEUES,
    SET_FIRST_EXECUTION,
)
from perdure_sqlite._sql.instances import RUNNING
from perdure_sqlite._sql.mailboxes import REMOVE_MAILBOX
from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._writes.transaction import Transaction

_INSTANCES_PER_LOOK: Final = 50


def delete_instance(transaction: Transaction, instance: str, incarnation: str) -> bool:
    """Delete an ended instance; returns whether there was one."""
    row = transaction.find(instance)
    if row is None or row.incarnation != incarnation:
        return False
    if row.status == RUNNING:
        raise InstanceRunning(instance)
    discard(transaction, row)
    return True


def prune_executions(transaction: Transaction, instance: str, incarnation: str, before: int) -> int:
    """Delete the executions below a number, except for the current one; returns how many."""
    row = transaction.find(instance)
    if row is None or row.incarnation != incarnation:
        raise InstanceNotFound(instance)
    first = min(before, row.execution)
    count = first - row.first_execution
    if count <= 0:
        return 0
    transaction.execute(SET_FIRST_EXECUTION, (first, row.number))
    remove_executions(transaction, row.number, first)
    return count


def delete_early_events(
    transaction: Transaction, instance: str | None, arrived_before: Instant | None, limit: int
) -> tuple[int, bool]:
    """Delete one part of these events; returns how many, and whether others may be left."""
    before = ALWAYS if arrived_before is None else arrived_before
    count = min(limit, ROWS_PER_PART)
    if instance is None:
        found = transaction.execute(EARLY_EVENT_SIZES, (transaction.namespace, before, count))
    else:
        key = (transaction.namespace, instance, before, count)
        found = transaction.execute(EARLY_EVENT_SIZES_OF, key)
    events, is_all = Part().take(found)
    transaction.executemany(REMOVE_EARLY_EVENT, [(number,) for number, _ in events])
    return len(events), not is_all or len(events) == count


def delete_part_of_namespace(transaction: Transaction) -> bool:
    """Delete one part of what the namespace holds; returns whether others may be left."""
    part = Part()
    while not part.is_full:
        key = (transaction.namespace, _INSTANCES_PER_LOOK)
        found = transaction.execute(INSTANCES_OF_NAMESPACE, key).fetchall()
        if not found:
            break
        for columns in found:
            if not part.is_full:
                _discard_with_work(transaction, InstanceRow(*columns), part)
    if part.is_full:
        return True
    _, more = delete_early_events(transaction, None, None, ROWS_PER_PART)
    if not more:
        transaction.execute(REMOVE_TURN_QUEUES, (transaction.namespace,))
        transaction.execute(REMOVE_ACTIVITY_QUEUES, (transaction.namespace,))
        transaction.forget_queues()
    return more


def _discard_with_work(transaction: Transaction, row: InstanceRow, part: Part) -> None:
    if row.status == RUNNING:
        remove_activities(transaction, row)
        transaction.execute(REMOVE_MAILBOX, (row.number,))
    discard(transaction, row, part)
