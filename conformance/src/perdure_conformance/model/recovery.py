"""Recovery: instances that run again, or end without a turn.

Keeps the clauses RECOVER. A reopening is no commit: it ends the lease of a turn instead of asking for it.
A termination has the effects of a commit, without the lease that a commit needs.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    TurnCommit,
)
from perdure.errors import HistoryConflict, InstanceNotFound

from perdure_conformance.model.tables import InstanceRow
from perdure_conformance.model.turns import Turns


class Recovery(Turns):
    """The rules for reopening and terminating an instance."""

    def reopen_instance(self, reopening: InstanceReopening) -> None:
        """Begin the next execution, unless this call has begun it before."""
        row = self.require_instance(reopening.instance, reopening.incarnation)
        if row.state.last_commit == reopening.id:
            return
        self.require_execution(row, reopening)
        self.reopen(row, reopening)

    def require_instance(self, instance: str, incarnation: str) -> InstanceRow:
        """The instance of this incarnation."""
        row = self.row_of(instance, incarnation)
        if row is None:
            raise InstanceNotFound(instance)
        return row

    def require_execution(self, row: InstanceRow, reopening: InstanceReopening) -> None:
        """Refuse the reopening unless the current execution is as expected."""
        state = row.state
        if state.execution != reopening.execution:
            raise HistoryConflict(
                reopening.instance,
                expected=(reopening.execution, state.last_event),
                found=(state.execution, state.last_event),
                operation="reopen_instance",
            )

    def reopen(self, row: InstanceRow, reopening: InstanceReopening) -> None:
        """Make all changes of the reopening; nothing fails from here on."""
        self.leave_execution(row)
        self.set_reopened(row, reopening)
        self.begin_execution(reopening.instance, row.state.execution)
        self.drop_void(reopening.instance)
        self.drop_void_activities(reopening.instance)
        self.put_front((reopening.start,))
        self.end_lease(row)

    def leave_execution(self, row: InstanceRow) -> None:
        """End the execution that runs. One that has ended stays as it is, and its messages are void."""
        if row.state.status is InstanceStatus.RUNNING:
            execution = self.tables.executions[row.state.instance][-1]
            execution.state = replace(
                execution.state, status=InstanceStatus.CONTINUED_AS_NEW, completed_at=self.now
            )
        else:
            self.drop_messages(row.state.instance)

    def drop_messages(self, instance: str) -> None:
        """Drop all messages of an instance."""
        self.tables.mailboxes.pop(instance, None)

    def set_reopened(self, row: InstanceRow, reopening: InstanceReopening) -> None:
        """The plain fields at the begin of the new execution."""
        state = row.state
        version = None if reopening.unpin else state.version
        row.state = replace(
            state,
            execution=state.execution + 1,
            last_event=0,
            last_commit=reopening.id,
            status=InstanceStatus.RUNNING,
            output=None,
            parked=None,
            updated_at=self.now,
            version=version if reopening.version is None else reopening.version,
            engine=state.engine if reopening.engine is None else reopening.engine,
        )

    def end_lease(self, row: InstanceRow) -> None:
        """End the lease of a turn that did not give it up, and what is remembered of leases."""
        self.let_go(row)
        row.taken_from = None
        row.attempt = 0
        row.answer = None

    def terminate_instance(self, termination: InstanceTermination) -> bool:
        """End a running instance as Failed; returns whether it is this call that did."""
        row = self.require_instance(termination.instance, termination.incarnation)
        if row.state.last_commit == termination.id:
            return True
        if row.state.status is not InstanceStatus.RUNNING:
            return False
        self.terminate(row, termination)
        return True

    def terminate(self, row: InstanceRow, termination: InstanceTermination) -> None:
        """Carry out a commit that ends the instance, without the lease of a turn."""
        commit = TurnCommit(
            id=termination.id,
            instance=termination.instance,
            incarnation=termination.incarnation,
            token="",
            execution=row.state.execution,
            expected_event=row.state.last_event,
            events=termination.events,
            send=termination.send,
            end=ExecutionEnd(status=InstanceStatus.FAILED, output=termination.output),
        )
        self.carry_out(row, commit)
