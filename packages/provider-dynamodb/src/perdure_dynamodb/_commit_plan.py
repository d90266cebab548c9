"""The plan of a commit: its changes, in the order in which they happen, and its fence.

The fence is the change of the lock item, under the conditions that decide whether the others may
happen. What a plan cannot know (whether an id is in use, whether a message is held) the changes find
out when they are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perdure.clock import Instant, to_microseconds
from perdure.contract import InstanceStatus, Message, TurnCommit

from perdure_dynamodb._change_kinds import Change, Mailbox, Replace
from perdure_dynamodb._keys import (
    FIRST,
    is_timer_key,
    locked_until,
    message_key,
    open_since,
)
from perdure_dynamodb._lease_memory import MANY_TIMERS, RememberedLease
from perdure_dynamodb._locks import LEASE_STANDS, RUNNING, Validity, unsignalled
from perdure_dynamodb._payloads import (
    TRANSIENT,
    ChunkBuffer,
    chunks_of,
    reference_name,
    size_name,
)
from perdure_dynamodb._table import Key, Update
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

    def fence(self, in_use: Sequence[str], *, parts: int | None = None) -> Update:
        """The change of the lock item; `parts` of a manifest where the commit is staged."""
        change = _LockChange(self)
        change.add_fields()
        change.add_lease()
        change.add_answer(in_use)
        if parts is None:
            change.add_place(in_use)
        else:
            change.add_stage(parts)
        return change.update()

    @property
    def _own_messages(self) -> list[Message]:
        return [message for message in self.commit.send if message.instance == self.commit.instance]


class _LockChange:
    """The change of the lock item, put together part by part."""

    def __init__(self, plan: CommitPlan) -> None:
        self._plan = plan
        self._sets = ["cid = :id", "upd = :at", "trn = trn + :one", "att = :attempt"]
        self._removes = ["pkr", "pkd", "pks", "hid", "tkf", "inu"]
        commit = plan.commit
        self._values: dict[str, Plain] = {
            ":id": commit.id,
            ":at": plan.now,
            ":one": 1,
            ":attempt": 1 if plan.keeps else 0,
            ":inc": commit.incarnation,
            ":exe": commit.execution,
            ":expected": commit.expected_event,
            ":turn": plan.lease.turn,
        }
        self._conditions = [
            "inc = :inc AND exe = :exe AND evn = :expected AND trn = :turn",
            "attribute_not_exists(stg) AND (attribute_not_exists(cid) OR cid <> :id)",
        ]
        if plan.is_forced:
            self._conditions.append(f"stat = :running AND {plan.lease.life.condition}")
            self._values |= {":running": RUNNING, ":life": plan.lease.life.text}
        else:
            self._conditions.append(LEASE_STANDS)
            self._values[":token"] = commit.token

    def add_fields(self) -> None:
        """The plain fields."""
        commit, end = self._plan.commit, self._plan.commit.end
        self._values[":last"] = commit.expected_event + len(commit.events)
        if end is not None and end.status is InstanceStatus.CONTINUED_AS_NEW:
            self._sets += ["evn = :none", "exe = :next", "sta = :at", "tev = tev + :last"]
            self._values |= {":none": 0, ":next": commit.execution + 1}
            if commit.unpin and commit.version is None:
                self._removes.append("ver")
            if not self._plan.lease.is_listed_as_continued:
                self._set_or_not("can", 1)
        else:
            self._sets.append("evn = :last")
        self._set_or_not("stat", end.status.value if end is not None and self._plan.ends else None)
        self._set_or_not("ver", commit.version)
        self._set_or_not("eng", commit.engine)
        for name, value in self._plan.output.items():
            self._set_or_not(name, value)
        self._add_status_and_values()
        if self._plan.slot != self._plan.lease.slot:
            self._set_or_remove("slt", self._plan.slot)
        self._set_or_remove("acu", self._plan.activities_until)
        self._set_or_not("lit", 1 if self._plan.puts_chunks else None)
        self._add_timers()

    def _add_status_and_values(self) -> None:
        plan = self._plan
        if plan.custom_status:
            for name in ("cst", reference_name("cst"), size_name("cst")):
                self._set_or_remove(name, plan.custom_status.get(name))
            self._set_or_not("csn", plan.custom_status_version)
        if plan.commit.values:
            self._set_or_not("vln", plan.value_count)

    def _add_timers(self) -> None:
        """What the next lease may know of the timers, where they are many."""
        plan = self._plan
        if plan.timers >= MANY_TIMERS and plan.next_due is not None:
            self._set_or_not("nxt", plan.next_due)
            self._set_or_not("nxn", plan.timers)
            self._set_or_not("nxs", plan.lease.timer_signals)
        else:
            self._removes += ["nxt", "nxn", "nxs"]

    def add_lease(self) -> None:
        """The end of the lease, whether it is kept or not."""
        if self._plan.until is None:
            self._sets.append("rel = :at")
            self._removes += ["tok", "unt"]
        else:
            self._set_or_not("unt", self._plan.until)

    def add_answer(self, in_use: Sequence[str]) -> None:
        """What a repeat of the commit is answered."""
        self._set_or_remove("ans", self._plan.answer if in_use else None)

    def add_place(self, in_use: Sequence[str]) -> None:
        """Where the instance stands in the queue from now on."""
        plan, lease, until = self._plan, self._plan.lease, self._plan.until
        if plan.ends:
            self._end_place()
            return
        if until is None:
            if plan.leaves_messages(in_use):
                self._stand(open_since(plan.now))
                return
            self._removes += ["gpk", "gsk"]
        else:
            if plan.moves:
                self._stand(locked_until(until, since=lease.since))
            if plan.reads_mailbox(in_use):
                return
        if lease.signals is not None:
            self._conditions.append(unsignalled(lease.signals, self._values))

    def _end_place(self) -> None:
        """An instance that leaves something behind stands where it is until that is removed."""
        plan, lease = self._plan, self._plan.lease
        if plan.leaves_nothing and lease.signals is not None:
            self._removes += ["gpk", "gsk"]
            self._conditions.append(unsignalled(lease.signals, self._values))
        elif not lease.place_until:
            self._stand(open_since(plan.now))

    def add_stage(self, parts: int) -> None:
        """That the rest is in a manifest; the instance stands first in the queue meanwhile."""
        plan = self._plan
        self._sets += ["stg = :stage", "stp = :zero", "stn = :parts"]
        self._values |= {":stage": plan.answer, ":zero": 0, ":parts": parts}
        self._stand(FIRST)
        if not plan.keeps:
            # Other processes leave the rest to this one while it has the lease.
            kept = ("unt",) if plan.is_forced else ("tok", "unt")
            self._removes = [each for each in self._removes if each not in kept]
            self._sets += ["stf = :one", "unt = :until"]
            self._values[":until"] = plan.now + to_microseconds(plan.lease.lease_for)

    def update(self) -> Update:
        """The whole change."""
        return Update(
            key=self._plan.lock_key,
            change=f"SET {', '.join(self._sets)} REMOVE {', '.join(self._removes)}",
            condition=" AND ".join(self._conditions),
            values=self._values,
        )

    def _stand(self, place: str) -> None:
        self._sets += ["gpk = :queue", "gsk = :place"]
        self._values |= {":queue": self._plan.queue, ":place": self._plan.prefix + place}

    def _set_or_not(self, name: str, value: Plain | None) -> None:
        if value is not None:
            self._sets.append(f"{name} = :new_{name}")
            self._values[f":new_{name}"] = value

    def _set_or_remove(self, name: str, value: Plain | None) -> None:
        self._set_or_not(name, value)
        if value is None:
            self._removes.append(name)


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
