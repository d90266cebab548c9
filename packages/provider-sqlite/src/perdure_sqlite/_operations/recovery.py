"""Reopening an instance, and ending one without a turn."""

from __future__ import annotations

from perdure.contract import (
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    TurnCommit,
)
from perdure.errors import HistoryConflict, InstanceNotFound

from perdure_sqlite._operations.commits import carry_out
from perdure_sqlite._operations.executions import begin_again, end_execution, save_progress
from perdure_sqlite._operations.mailboxes import put_front, update_bucket
from perdure_sqlite._sql.instances import CHANGE_PIN, RUNNING
from perdure_sqlite._sql.mailboxes import REMOVE_STARTS
from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._writes.transaction import Transaction


def reopen_instance(transaction: Transaction, reopening: InstanceReopening) -> None:
    """Begin the next execution; raises without a change if the instance is not as expected."""
    row = _find(transaction, reopening.instance, reopening.incarnation)
    if row.last_commit == reopening.id:
        return
    if row.execution != reopening.execution:
        raise HistoryConflict(
            row.id,
            expected=(reopening.execution, row.last_event),
            found=(row.execution, row.last_event),
            operation="reopen_instance",
        )
    if row.status == RUNNING:
        end_execution(transaction, row, ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW))
        # The start of the old execution need not name it.
        transaction.execute(REMOVE_STARTS, (row.number,))
    else:
        begin_again(transaction, row)
    if reopening.version is not None or reopening.unpin or reopening.engine is not None:
        if reopening.version is not None or reopening.unpin:
            row.version = reopening.version
        row.engine = reopening.engine or row.engine
        transaction.execute(CHANGE_PIN, (row.version, row.engine, row.number))
    row.lease_token = row.held_until = None
    put_front(transaction, row, (reopening.start,))
    # Any bucket shows that the mailbox is not empty.
    update_bucket(transaction, row)
    save_progress(transaction, row, reopening.id)


def terminate_instance(transaction: Transaction, termination: InstanceTermination) -> bool:
    """End a running instance as Failed; returns whether this call did, now or earlier."""
    row = _find(transaction, termination.instance, termination.incarnation)
    if row.last_commit == termination.id:
        return True
    if row.status != RUNNING:
        return False
    commit = TurnCommit(
        id=termination.id,
        instance=row.id,
        incarnation=row.incarnation,
        token=row.lease_token or "",
        execution=row.execution,
        expected_event=row.last_event,
        events=termination.events,
        send=termination.send,
        end=ExecutionEnd(status=InstanceStatus.FAILED, output=termination.output),
    )
    carry_out(transaction, row, commit)
    return True


def _find(transaction: Transaction, instance: str, incarnation: str) -> InstanceRow:
    row = transaction.find(instance)
    if row is None or row.incarnation != incarnation:
        raise InstanceNotFound(instance)
    return row
