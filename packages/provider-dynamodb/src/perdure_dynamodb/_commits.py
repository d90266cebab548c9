"""Commits: one turn's changes, all or nothing.

A commit is one transaction where it fits, else a staged one (see `settling`). Its fence is the
change of the lock item, under the conditions that incarnation, lease, turn number, execution
and last event are what the committer thinks, and the removal of the activities that it
finishes, each under its own lease. When the fence fails, the lock item says why; where it does
not explain the failure, somebody was in between, and the commit is built anew.

Payloads go ahead in chunks that nothing refers to until the transaction does.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract import (
    CommitAnswer,
    InstanceStatus,
    TurnCommit,
    TurnLease,
)
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    LeaseLost,
    StorageCorrupt,
    StorageUnavailable,
)

from perdure_dynamodb._activities import Activities
from perdure_dynamodb._changes import (
    Change,
    Changes,
    FenceFailed,
    Remove,
    Replace,
    weight_of,
)
from perdure_dynamodb._ids_in_use import IdsInUse
from perdure_dynamodb._keys import (
    FIRST,
    LOCK,
    Keys,
    activity_key,
    execution_key,
    front_order,
    message_key,
    segment_key,
)
from perdure_dynamodb._lease_memory import LeaseMemory, RememberedLease
from perdure_dynamodb._locks import LEASE_STANDS, Lock, Validity
from perdure_dynamodb._messages import Delivery, MessageItems, deliver, read_mailbox
from perdure_dynamodb._payloads import LASTING, ChunkBuffer
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._segments import pack
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._staged_commits import Staged, StagedCommits, in_batches
from perdure_dynamodb._table import TRANSACTION_LIMIT, Action, Key, Table, Update
from perdure_dynamodb._turns import Turns
from perdure_dynamodb._values import Item, Plain, Row

FINISH_LIMIT = 90
_MOST_ATTEMPTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A commit, worked out."""

    commit: TurnCommit
    held: RememberedLease
    now: Instant
    changes: Sequence[Change]
    activities: Sequence[Item]
    buffer: ChunkBuffer
    output: dict[str, Plain]
    validity: Validity
    """Of the instance, as the commit leaves it."""
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
    def activities_until(self) -> Instant | None:
        """The end of the leases of activities that are added leased."""
        ends = [Row(item).number_or_none("unt") for item in self.activities]
        return max((end for end in ends if end is not None), default=None)


class Commits:
    """Commits turns of one namespace."""

    def __init__(
        self,
        table: Table,
        keys: Keys,
        *,
        clock: Clock,
        shards: Shards,
        message_items: MessageItems,
        changes: Changes,
        staged_commits: StagedCommits,
        activities: Activities,
        turns: Turns,
        purge: Purge,
        held: LeaseMemory,
        in_use: IdsInUse,
    ) -> None:
        self._in_use = in_use
        self._table = table
        self._keys = keys
        self._clock = clock
        self._shards = shards
        self._message_items = message_items
        self._changes = changes
        self._staged = staged_commits
        self._activities = activities
        self._turns = turns
        self._purge = purge
        self._held = held

    async def commit(self, commit: TurnCommit) -> CommitAnswer:
        """Carry the commit out, or recognise its repeat, or refuse it."""
        held = self._held.get(commit.instance, commit.token)
        for _ in range(_MOST_ATTEMPTS):
            if held is None:
                lock = await self._inspect(commit)
                if lock.last_commit == commit.id:
                    return await self._answer_again(commit, lock)
                held = RememberedLease.of(lock, _lease_left(lock, self._clock.now()))
            plan = self._plan(commit, held)
            # Until it is known how this ends, what is known of the lock may be wrong.
            self._held.forget(commit.instance, commit.token)
            try:
                in_use = await self._carry_out(plan)
            except FenceFailed:
                await plan.buffer.remove(self._table)
                held = None
                continue
            self._after(plan)
            return await self._answer(plan, in_use)
        raise StorageUnavailable(
            f"the lock of instance {commit.instance!r} changed {_MOST_ATTEMPTS} times during a"
            " commit; try again",
            operation="commit_turn",
        )

    async def _inspect(self, commit: TurnCommit) -> Lock:
        """The lock item, if the commit is possible or a repeat; else says why it is not."""
        row = await self._table.get(self._keys.partition(commit.instance), LOCK)
        if row is None:
            raise LeaseLost(commit.instance, operation="commit_turn")
        lock = await self._staged.finish(Lock(commit.instance, row))
        if lock.incarnation != commit.incarnation:
            raise LeaseLost(commit.instance, operation="commit_turn")
        if lock.last_commit == commit.id:
            return lock
        if lock.token != commit.token:
            raise LeaseLost(commit.instance, operation="commit_turn")
        expected = (commit.execution, commit.expected_event)
        found = (lock.execution, lock.last_event)
        if expected != found:
            raise HistoryConflict(commit.instance, expected=expected, found=found)
        if commit.finish and (lost := await self._activities.lost(commit)):
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")
        return lock

    def _plan(self, commit: TurnCommit, held: RememberedLease) -> _Plan:
        now, buffer = self._clock.now(), ChunkBuffer.empty()
        validity = _validity_after(commit)
        activities = self._added(commit, buffer, now)
        changes = [
            *self._removals(commit),
            *self._mail(commit, held, validity, buffer, now),
            *(Replace(item=item) for item in activities),
            *self._history(commit, buffer),
            *self._ending(commit, held, buffer, now),
        ]
        return _Plan(
            commit=commit,
            held=held,
            now=now,
            changes=changes,
            activities=activities,
            buffer=buffer,
            output=self._output(commit, buffer),
            validity=validity,
            answer=uuid.uuid4().hex,
        )

    def _added(self, commit: TurnCommit, buffer: ChunkBuffer, now: Instant) -> list[Item]:
        # An ended execution's activities would be void at once.
        if commit.end is not None:
            return []
        return [
            self._activities.item(new, commit, buffer, now=now)
            for new in commit.add
            if new.id not in commit.cancel
        ]

    def _removals(self, commit: TurnCommit) -> list[Change]:
        """Messages and activities to remove, unless the end makes them void anyway."""
        partition = self._keys.partition(commit.instance)
        removals: list[Change] = []
        if commit.end is None or commit.end.status is InstanceStatus.CONTINUED_AS_NEW:
            removals += [Remove(key=(partition, message_key(each))) for each in commit.remove]
        if commit.end is None:
            # Those that are finished are removed by the fence, and an item may be named once.
            finished = {lease.activity for lease in commit.finish}
            removals += [
                Remove(key=(partition, activity_key(each)))
                for each in commit.cancel
                if each not in finished
            ]
        return removals

    def _mail(
        self,
        commit: TurnCommit,
        held: RememberedLease,
        validity: Validity,
        buffer: ChunkBuffer,
        now: Instant,
    ) -> list[Change]:
        """Creations and messages; those to the front take the place of others of their id."""
        creations: list[Change] = []
        for child in commit.create:
            other = child.if_exists
            post = None if other is None else self._changes.post(other, buffer)
            creations.append(self._changes.create(child.instance, buffer, now=now, if_exists=post))
        sent = [self._changes.post(message, buffer) for message in commit.send]
        front: dict[Key, Change] = {}
        for place, message in enumerate(commit.front):
            order = front_order(held.turn, place)
            item = self._message_items.item(message, buffer, order=order)
            if not validity.voids(item):
                front[_key_of(item)] = Replace(item=item)
        usual = [post for post in sent if _key_of(post.item) not in front]
        return [*creations, *usual, *front.values()]

    def _history(self, commit: TurnCommit, buffer: ChunkBuffer) -> list[Change]:
        partition = self._keys.partition(commit.instance)
        return [
            Replace(
                item={
                    "pk": partition,
                    "sk": segment_key(commit.execution, segment.last),
                    **buffer.place(partition, segment.data, kind=LASTING),
                }
            )
            for segment in pack(commit.events, after=commit.expected_event)
        ]

    def _ending(
        self, commit: TurnCommit, held: RememberedLease, buffer: ChunkBuffer, now: Instant
    ) -> list[Change]:
        """The record of the ended execution, or the listing of the ended instance."""
        end, last = commit.end, commit.expected_event + len(commit.events)
        if end is None:
            return []
        if end.status is not InstanceStatus.CONTINUED_AS_NEW:
            listing = self._changes.listing(
                commit.instance,
                end.status.value,
                created=held.created,
                events=held.earlier_events + last,
            )
            return [Replace(item={**listing, "exe": commit.execution})]
        partition = self._keys.partition(commit.instance)
        record: Item = {
            "pk": partition,
            "sk": execution_key(commit.execution),
            "evn": last,
            "sta": held.execution_started,
            "fin": now,
        }
        if end.output is not None:
            record |= buffer.place(partition, end.output, kind=LASTING, name="oup")
        changes: list[Change] = [Replace(item=record)]
        if commit.execution == 1:
            listing = self._changes.listing(commit.instance, end.status.value, created=held.created)
            changes.append(Replace(item=listing))
        return changes

    def _output(self, commit: TurnCommit, buffer: ChunkBuffer) -> dict[str, Plain]:
        end = commit.end
        if end is None or end.output is None or end.status is InstanceStatus.CONTINUED_AS_NEW:
            return {}
        partition = self._keys.partition(commit.instance)
        return buffer.place(partition, end.output, kind=LASTING, name="oup")

    async def _carry_out(self, plan: _Plan) -> frozenset[str]:
        await self._write_chunks(plan)
        # The lock, the activities that are finished, and an item for ids in use.
        weight = weight_of(plan.changes) + 1 + len(plan.commit.finish) + bool(plan.commit.create)
        validities = {plan.commit.instance: plan.validity}
        if weight <= TRANSACTION_LIMIT:
            outcome = await self._changes.carry_out(
                plan.changes,
                fence=lambda in_use: self._fence(plan, in_use=in_use),
                validities=validities,
            )
            self._purge.chunks(outcome.unused)
            return frozenset(outcome.in_use)
        return await self._carry_out_staged(plan)

    async def _carry_out_staged(self, plan: _Plan) -> frozenset[str]:
        commit = plan.commit
        staged = await self._staged.stage(
            commit.instance,
            in_batches(plan.changes),
            stage=plan.answer,
            meanwhile=lambda: self._stay_alive(plan),
        )
        try:
            await self._changes.carry_out([], fence=lambda _: self._fence(plan, staged=staged))
        except FenceFailed:
            await self._staged.discard(staged)
            raise
        row = await self._table.get(self._keys.partition(commit.instance), LOCK)
        # After a stall the lock may point at a later commit of another process.
        if row is not None and row.text_or_none("stg") == staged.id:
            await self._staged.finish(Lock(commit.instance, row), staged)
        return (
            await self._in_use.read(commit.instance, plan.answer) if commit.create else frozenset()
        )

    async def _write_chunks(self, plan: _Plan) -> None:
        items = plan.buffer.items
        for start in range(0, len(items), 40):
            await self._table.put_many(items[start : start + 40])
            if start + 40 < len(items):
                await self._stay_alive(plan)

    async def _stay_alive(self, plan: _Plan) -> None:
        lease = TurnLease(instance=plan.commit.instance, token=plan.commit.token)
        await self._turns.extend(lease, plan.held.lease_for)

    def _fence(
        self, plan: _Plan, *, in_use: Sequence[str] = (), staged: Staged | None = None
    ) -> list[Action]:
        commit = plan.commit
        sets, removes, values = _fields(plan)
        actions: list[Action] = []
        removes.append("inu")
        if in_use:
            sets.append("ans = :answer")
            values[":answer"] = plan.answer
            actions.append(self._in_use.put(commit.instance, plan.answer, 0, in_use))
        else:
            removes.append("ans")
        if staged is not None:
            sets += ["stg = :stage", "stp = :zero", "stn = :parts", "gpk = :queue", "gsk = :first"]
            values |= {
                ":stage": staged.id,
                ":zero": 0,
                ":parts": len(staged.keys),
                ":queue": self._keys.turns(self._shards.of(commit.instance)),
                ":first": FIRST,
            }
            if not plan.keeps:
                # Other processes leave the rest to this one while it has the lease.
                removes = [each for each in removes if each not in ("tok", "unt")]
                sets += ["stf = :one", "unt = :until"]
                values[":until"] = plan.now + to_microseconds(plan.held.lease_for)
        condition = (
            f"inc = :inc AND exe = :exe AND evn = :expected AND trn = :turn"
            f" AND attribute_not_exists(stg) AND (attribute_not_exists(cid) OR cid <> :id)"
            f" AND {LEASE_STANDS}"
        )
        values |= {
            ":inc": commit.incarnation,
            ":exe": commit.execution,
            ":expected": commit.expected_event,
            ":turn": plan.held.turn,
            ":token": commit.token,
        }
        lock = Update(
            key=(self._keys.partition(commit.instance), LOCK),
            change=f"SET {', '.join(sets)} REMOVE {', '.join(removes)}",
            condition=condition,
            values=values,
        )
        return [lock, *self._activities.finishing(commit), *actions]

    def _after(self, plan: _Plan) -> None:
        commit, held = plan.commit, plan.held
        removed = [held.chunks.pop(each) for each in commit.remove if each in held.chunks]
        self._purge.chunks(key for keys in removed for key in keys)
        gone = [lease.activity for lease in commit.finish] + list(commit.cancel)
        self._activities.ended([self._activity_key(commit, each) for each in gone])
        self._activities.added(commit, plan.activities)
        if held.answer is not None:
            self._purge.answer(commit.instance, held.answer)
        if commit.end is not None:
            self._purge.instance(commit.instance, plan.validity)
        if not plan.keeps:
            self._held.end(commit.instance, commit.token)

    async def _answer(self, plan: _Plan, in_use: frozenset[str]) -> CommitAnswer:
        commit, held = plan.commit, plan.held
        answer = CommitAnswer(activities_until=plan.activities_until, in_use=in_use)
        if not plan.keeps or commit.keep_for is None:
            return answer
        last = commit.expected_event + len(commit.events)
        continues = commit.end is not None
        kept = RememberedLease(
            turn=held.turn + 1,
            created=held.created,
            earlier_events=held.earlier_events + (last if continues else 0),
            execution_started=plan.now if continues else held.execution_started,
            lease_for=commit.keep_for,
            answer=plan.answer if in_use else None,
            chunks=held.chunks,
        )
        until = plan.now + to_microseconds(commit.keep_for)
        delivery = await self._deliver(commit, plan.validity)
        if delivery is None:
            return answer
        kept.chunks.update(delivery.chunks)
        self._held.attempt(commit.token, commit.instance)
        self._held.put(commit.instance, commit.token, kept)
        return replace(answer, lease_until=until, messages=delivery.messages, more=delivery.more)

    async def _answer_again(self, commit: TurnCommit, lock: Lock) -> CommitAnswer:
        answer = CommitAnswer(
            activities_until=lock.row.number_or_none("acu"),
            in_use=await self._in_use.of_last_commit(lock),
        )
        if not lock.running or lock.token != commit.token:
            return answer
        delivery = await self._deliver(commit, lock.validity)
        if delivery is None:
            return answer
        return replace(
            answer, lease_until=lock.until, messages=delivery.messages, more=delivery.more
        )

    async def _deliver(self, commit: TurnCommit, validity: Validity) -> Delivery | None:
        """What the mailbox holds, or None where another process has taken the lease over."""
        rows = await read_mailbox(self._table, self._keys.partition(commit.instance))
        try:
            delivery = await deliver(
                self._table,
                self._message_items,
                rows,
                instance=commit.instance,
                validity=validity,
                now=self._clock.now(),
                held=commit.held,
            )
        except StorageCorrupt:
            # What it consumed meanwhile is no damage.
            lease = TurnLease(instance=commit.instance, token=commit.token)
            if await self._turns.stands(lease):
                raise
            return None
        self._purge.void_rows(delivery.void)
        return delivery

    def _activity_key(self, commit: TurnCommit, activity: str) -> Key:
        return (self._keys.partition(commit.instance), activity_key(activity))


def _fields(plan: _Plan) -> tuple[list[str], list[str], dict[str, Plain]]:
    """What a commit changes in the lock item: to set, to remove, and the values."""
    commit, end = plan.commit, plan.commit.end
    last = commit.expected_event + len(commit.events)
    sets = ["evn = :last", "cid = :id", "upd = :at", "trn = trn + :one", "att = :attempt"]
    removes = ["pkr", "pkd", "pks", "hid", "tkf"]
    values: dict[str, Plain] = {
        ":last": last,
        ":id": commit.id,
        ":at": plan.now,
        ":one": 1,
        ":attempt": 1 if plan.keeps else 0,
    }
    optional: dict[str, Plain | None] = {
        "ver": commit.version,
        "eng": commit.engine,
        "acu": plan.activities_until,
        **plan.output,
    }
    if end is not None and end.status is InstanceStatus.CONTINUED_AS_NEW:
        sets[0] = "evn = :none"
        sets += ["exe = :next", "sta = :at", "tev = tev + :last"]
        values |= {":none": 0, ":next": commit.execution + 1}
        if commit.unpin and commit.version is None:
            removes.append("ver")
    elif end is not None:
        optional["stat"] = end.status.value
    if plan.keeps and commit.keep_for is not None:
        optional["unt"] = plan.now + to_microseconds(commit.keep_for)
    else:
        sets.append("rel = :at")
        removes += ["tok", "unt"]
    if plan.activities_until is None:
        removes.append("acu")
    for name, value in optional.items():
        if value is not None:
            sets.append(f"{name} = :new_{name}")
            values[f":new_{name}"] = value
    return sets, removes, values


def _validity_after(commit: TurnCommit) -> Validity:
    end = commit.end
    if end is None:
        return Validity(commit.incarnation, commit.execution, True)
    continues = end.status is InstanceStatus.CONTINUED_AS_NEW
    return Validity(commit.incarnation, commit.execution + continues, continues)


def _lease_left(lock: Lock, now: Instant) -> timedelta:
    return timedelta(microseconds=max((lock.until or now) - now, 1_000_000))


def _key_of(item: Item) -> Key:
    return (str(item["pk"]), str(item["sk"]))
