"""Deletion: of instances, old executions, events that wait for an instance, and everything.

Keeps the clauses DELETE. A deletion removes all rows in one step, so nothing is left to be removed later.
"""

from __future__ import annotations

from perdure.clock import Instant
from perdure.contract import InstanceStatus, NewInstance
from perdure.errors import InstanceRunning

from perdure_conformance.model.recovery import Recovery
from perdure_conformance.model.tables import InstanceRow, MailboxEntry, Tables


class Deletion(Recovery):
    """The rules for deleting."""

    def create_instance(self, new: NewInstance) -> None:
        """Create an instance, in place of the ended one that it replaces."""
        row = self.tables.instances.get(new.instance)
        if row is not None and self.is_replaced(row, new):
            self.delete(row)
        super().create_instance(new)

    def is_replaced(self, row: InstanceRow, new: NewInstance) -> bool:
        """Whether the new instance may take the place of this one."""
        state = row.state
        ended = state.status is not InstanceStatus.RUNNING
        return ended and state.incarnation == new.replaces != new.incarnation

    def delete_instance(self, instance: str, incarnation: str) -> bool:
        """Delete an ended instance; returns whether there was one of this incarnation."""
        row = self.row_of(instance, incarnation)
        if row is None:
            return False
        if row.state.status is InstanceStatus.RUNNING:
            raise InstanceRunning(instance)
        self.delete(row)
        return True

    def delete(self, row: InstanceRow) -> None:
        """Remove all rows of an instance; nothing fails from here on."""
        instance = row.state.instance
        self.drop_messages(instance)
        self.drop_activities(instance)
        self.drop_values(instance)
        self.drop_executions(instance, row.state.execution + 1)
        del self.tables.instances[instance]

    def drop_activities(self, instance: str) -> None:
        """Drop all activities of an instance."""
        ids = [activity for owner, activity in self.tables.activities if owner == instance]
        self.remove_activities(instance, ids)

    def prune_executions(self, instance: str, incarnation: str, before: int) -> int:
        """Delete the executions below a number, but not the current one; returns how many there were."""
        row = self.require_instance(instance, incarnation)
        return self.drop_executions(instance, min(before, row.state.execution))

    def drop_executions(self, instance: str, before: int) -> int:
        """Drop the executions below a number; returns how many there were."""
        rows = self.tables.executions[instance]
        kept = [row for row in rows if row.state.execution >= before]
        if kept:
            self.tables.executions[instance] = kept
        else:
            del self.tables.executions[instance]
        return len(rows) - len(kept)

    def delete_early_events(
        self, instance: str | None, arrived_before: Instant | None, limit: int
    ) -> int:
        """Delete events that wait for an instance; returns how many there were."""
        waiting = [
            entry
            for owner, mailbox in self.tables.mailboxes.items()
            for entry in mailbox.values()
            if owner not in self.tables.instances
            and instance in (None, owner)
            and self.is_older(entry, arrived_before)
        ]
        for entry in waiting[:limit]:
            self.remove_messages(entry.message.instance, (entry.message.id,))
        return len(waiting[:limit])

    def is_older(self, entry: MailboxEntry, arrived_before: Instant | None) -> bool:
        """Whether an event arrived so long ago."""
        return arrived_before is None or entry.arrived_at < arrived_before

    def delete_namespace(self) -> None:
        """Remove all rows."""
        self.tables = Tables(stamp=self.tables.stamp, happenings=self.tables.happenings)
