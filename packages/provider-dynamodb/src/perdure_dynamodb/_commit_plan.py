"""The plan of a commit: its changes, in the order in which they happen, and what they lead to.

What a plan cannot know (whether an id is in use, whether a message is held) the changes find out when
they are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perdure.clock import Instant, to_microseconds
from perdure.contract import InstanceStatus, Message, TurnCommit

from perdure_dynamodb._change_kinds import Change, Mailbox, Replace
from perdure_dynamodb._keys import (
    is_timer_key,
    message_key,
)
from perdure_dynamodb._lease_memory import RememberedLease
from perdure_dynamodb._locks import Validity
from perdure_dynamodb._payloads import (
    TRANSIENT,
    ChunkBuffer,
    chunks_of,
)
from perdure_dynamodb._table import Key
from perdure_dynamodb._values import Item, Plain, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitPlan:
    """A commit, worked out."""

    commit: TurnCommit
    lease: RememberedLease
    is_forced: bool
    """Whether it ends the instance without a lease; `lease` then has what the lock item tells."""
    now: Instant
    lock_key: Key
    queue: str
    """The shard of the queue of turns that the instance stands in."""
    changes: Sequence[Change]
    activities: Sequence[Item]
    """Those that are added."""
    in_slot: Item | None
    """The one among them that goes into the slot, and is no part of the changes."""
    buffer: ChunkBuffer
    output: Mapping[str, Plain]
    custom_status: Mapping[str, Plain]
    """The attributes that hold it, if the commit sets one."""
    values_before: Mapping[str, Row]
    """Of the values that the commit changes, the items that there were."""
    validity: Validity
    """Of the instance, as the commit leaves it."""
    prefix: str
    """Of the instance's place in the queue, as the commit leaves it."""
    answer: str
    """Names the ids in use that the commit finds; no other attempt has it."""

    @property
    def ends(self) -> bool:
        """Whether the instance has ended."""
        return not self.validity.running

    @property
    def keeps(self) -> bool:
        """Whether the lease is kept."""
        return self.commit.keep_for is not None and not self.ends

    @property
    def until(self) -> Instant | None:
        """The end of the lease that is kept."""
        keep_for = self.commit.keep_for
        return None if keep_for is None or self.ends else self.now + to_microseconds(keep_for)

    @property
    def activities_until(self) -> Instant | None:
        """The end of the leases of activities that are added leased."""
        ends = [Row(item).number_or_none("unt") for item in self.activities]
        return max((end for end in ends if end is not None), default=None)

    @property
    def mailbox(self) -> Mailbox:
        """The instance's own mailbox."""
        return Mailbox(self.validity, self.prefix)

    @property
    def slot(self) -> str | None:
        """The activity that is in the slot after the commit, if there still is one of this id."""
        if self.in_slot is not None:
            return str(self.in_slot["aid"])
        is_over = self.commit.end is not None or slot_is_free(self.commit, self.lease)
        return None if is_over else self.lease.slot

    @property
    def all_changes(self) -> Sequence[Change]:
        """The changes, with what goes into the slot."""
        return self.changes if self.in_slot is None else [*self.changes, Replace(item=self.in_slot)]

    @property
    def tries_slot(self) -> bool:
        """Whether the commit fails where the activity is still in the slot that was there before."""
        return self.in_slot is not None and not slot_is_free(self.commit, self.lease)

    @property
    def value_count(self) -> int:
        """How many values the instance has after the commit."""
        given = self.commit.values.items()
        added = sum(data is not None and key not in self.values_before for key, data in given)
        removed = sum(data is None and key in self.values_before for key, data in given)
        return self.lease.value_count + added - removed

    @property
    def custom_status_version(self) -> int:
        """The version of the custom status after the commit."""
        return self.lease.custom_status_version + bool(self.custom_status)

    @property
    def replaced_chunks(self) -> list[Key]:
        """The chunks of values and of the custom status that the commit replaces."""
        chunks = [key for row in self.values_before.values() for key in chunks_of(row)]
        return [*chunks, *(self.lease.status_chunks if self.custom_status else ())]

    @property
    def status_chunks(self) -> tuple[Key, ...]:
        """The chunks of the custom status after the commit."""
        if not self.custom_status:
            return self.lease.status_chunks
        return chunks_of(Row({"pk": self.lock_key[0], **self.custom_status}), "cst")

    @property
    def next_due(self) -> Instant | None:
        """When the next message is due that is not visible yet."""
        own = [message.visible_at for message in self._own_messages]
        dues = [each for each in (self.lease.next_due, *own) if each is not None]
        return min(dues, default=None)

    @property
    def puts_chunks(self) -> bool:
        """Whether payloads of messages or activities go into chunks of the instance."""
        return any(
            partition == self.lock_key[0] and chunk_id.startswith(TRANSIENT)
            for partition, chunk_id, _ in self.buffer.payloads
        )

    @property
    def timers(self) -> int:
        """How many messages stand among the timers, about."""
        keys = (message_key(message.id) for message in self._own_messages)
        return self.lease.timers + sum(map(is_timer_key, keys))

    @property
    def puts_into_own_mailbox(self) -> bool:
        """Whether the commit itself puts messages into the own mailbox that are visible at once."""
        own = any(message.visible_at is None for message in self._own_messages)
        return own or bool(self.commit.front)

    @property
    def is_found_where_it_stands(self) -> bool:
        """Whether every process that can run the instance after the commit looks at its place.

        A look goes through the places of the versions that it serves, of instances without a pin, and
        of all engines up to its own. So the first pin, which every instance gets, moves nothing.
        """
        lease = self.lease
        has_its_version = lease.version in (None, version_after(self.commit, lease))
        return has_its_version and lease.engine <= engine_after(self.commit, lease)

    @property
    def moves(self) -> bool:
        """Whether the instance gets another place in the queue, where the lease is kept."""
        keep_for = self.commit.keep_for
        return keep_for is not None and not (
            self.is_found_where_it_stands and self.lease.stands_well(self.now, keep_for)
        )

    def reads_mailbox(self, in_use: Sequence[str]) -> bool:
        """Whether the mailbox may have messages that the caller wants and does not have."""
        removed = {*self.commit.remove, *self.commit.held}
        due = self.next_due
        return (
            self.lease.leaves(removed)
            or self.puts_into_own_mailbox
            or bool(in_use)
            or (due is not None and due <= self.now)
        )

    @property
    def leaves_nothing(self) -> bool:
        """Whether the instance ends and leaves nothing to be removed, unless a message came."""
        lease, commit = self.lease, self.commit
        return self.ends and not (
            lease.leaves(commit.remove)
            # Its transaction need not remove them, since they are void.
            or commit.remove
            or lease.next_due is not None
            or lease.has_chunks
            or self._own_messages
            or commit.front
            or commit.cancel
        )

    def leaves_messages(self, in_use: Sequence[str]) -> bool:
        """Whether a lease that is let go leaves visible messages, or may."""
        removed = self.commit.remove
        return self.lease.leaves(removed) or self.puts_into_own_mailbox or bool(in_use)

    @property
    def _own_messages(self) -> list[Message]:
        return [message for message in self.commit.send if message.instance == self.commit.instance]


def slot_is_free(commit: TurnCommit, lease: RememberedLease) -> bool:
    """Whether nothing is in the slot, once the commit is made, of what was there before."""
    finished = {each.activity for each in commit.finish}
    return lease.slot is None or lease.slot in finished or lease.slot in commit.cancel


def version_after(commit: TurnCommit, lease: RememberedLease) -> str | None:
    """The version that the instance is pinned to after the commit."""
    continues = commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW
    if commit.version is None and commit.unpin and continues:
        return None
    return lease.version if commit.version is None else commit.version


def engine_after(commit: TurnCommit, lease: RememberedLease) -> int:
    """The engine that the instance needs after the commit."""
    return lease.engine if commit.engine is None else commit.engine
