"""Commits: one turn's changes, all or nothing.

A commit is one transaction where it fits, else a staged one (see `staged_commits`). Its fence is the
change of the lock item, under the conditions that incarnation, lease, turn number, execution and
last event are what the committer thinks, and the removal of the activities that it finishes, each
under its own lease. When the fence fails, the lock item says why; where it does not explain the
failure, something changed in between, and the commit is planned again.

Most commits also have the condition that no message came since the mailbox was read. It spares the
look at the mailbox afterwards, and where it fails the next plan does without it.

Payloads go ahead in chunks that nothing refers to until the transaction does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from perdure.clock import Instant
from perdure.contract import (
    CommitAnswer,
    ExecutionEnd,
    InstanceStatus,
    InstanceTermination,
    TurnCommit,
    TurnLease,
)
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceNotFound,
    LeaseLost,
    StorageUnavailable,
)

from perdure_dynamodb._activities import Activities
from perdure_dynamodb._activity_items import finishing, slot_key, wanted, wanted_values
from perdure_dynamodb._change_kinds import FenceFailed, Remove, weight_of
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._commit_answers import CommitAnswers
from perdure_dynamodb._commit_plan import CommitPlan
from perdure_dynamodb._fence import fence_of
from perdure_dynamodb._ids_in_use import IdsInUse
from perdure_dynamodb._keys import SLOT, activity_key, value_key
from perdure_dynamodb._lease_memory import LeaseMemory, RememberedLease
from perdure_dynamodb._litter import Litter, kept_until_the_end
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._manifest import in_batches
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._planner import Planner
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import ABSENT, TRANSACTION_LIMIT, Action, Check, Delete, Key, Put
from perdure_dynamodb._turn_leases import TurnLeases
from perdure_dynamodb._values import Row

FINISH_LIMIT = 90
_MOST_ATTEMPTS = 20

_TO_TERMINATE = timedelta(seconds=30)
"""For so long other processes leave the rest of a large termination to its caller."""

WARY = 8
"""So many commits read the mailbox after one met new messages: they tend to keep coming."""


class Commits:
    """Commits turns of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        activities: Activities,
        leases: TurnLeases,
        memory: LeaseMemory,
        ids_in_use: IdsInUse,
        litter: Litter,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._changes = changes
        self._staged = staged_commits
        self._activities = activities
        self._leases = leases
        self._memory = memory
        self._ids_in_use = ids_in_use
        self._litter = litter
        self._planner = Planner(namespace, changes)
        self._answers = CommitAnswers(
            namespace, changes=changes, leases=leases, memory=memory, ids_in_use=ids_in_use
        )

    async def commit(self, commit: TurnCommit) -> CommitAnswer:
        """Carry the commit out, or recognise its repeat, or refuse it."""
        known = self._memory.get(commit.instance, commit.token)
        before = known
        for _ in range(_MOST_ATTEMPTS):
            if known is None:
                lock = await self._inspect(commit)
                if lock.last_commit == commit.id:
                    again = await self._answers.again(commit, lock)
                    if again is None:
                        continue
                    return again
                known = _learned(lock, before, self._namespace.now)
            values = await self._values_before(commit, known)
            plan = self._planner.plan(commit, known, values=values)
            # Until it is known how this ends, what is known of the lock may be wrong.
            self._memory.forget(commit.instance, commit.token)
            marks = await self._litter.mark(commit.instance, plan.buffer)
            try:
                in_use = await self._carry_out(plan, marks)
            except FenceFailed:
                await self._litter.drop(plan.buffer, marks)
                # What is in the slot is looked at once, by a commit that would use it.
                known.slot_is_taken |= plan.tries_slot
                before, known = known, None
                continue
            self._after(plan)
            return await self._answers.of(plan, in_use)
        raise StorageUnavailable(
            f"the lock of instance {commit.instance!r} changed {_MOST_ATTEMPTS} times during a"
            " commit; try again",
            operation="commit_turn",
        )

    async def _values_before(self, commit: TurnCommit, lease: RememberedLease) -> Mapping[str, Row]:
        """Of the values that a commit changes, the items that there are."""
        if not commit.values:
            return {}
        partition = self._keys.partition(commit.instance)
        keys = {key: (partition, value_key(key, lease.life.tag)) for key in commit.values}
        rows = await self._table.get_many(keys.values())
        return {key: rows[place] for key, place in keys.items() if place in rows}

    async def terminate(self, termination: InstanceTermination) -> bool:
        """End a running instance as Failed, with or without a lease."""
        for _ in range(_MOST_ATTEMPTS):
            row = await self._table.get(*self._namespace.lock_key(termination.instance))
            if row is None or row.text("inc") != termination.incarnation:
                raise InstanceNotFound(termination.instance)
            lock = await self._staged.finish(Lock(termination.instance, row))
            if lock.last_commit == termination.id:
                await self._changes.signal_again(termination.send)
                return True
            if not lock.running:
                return False
            lease = RememberedLease.of(lock, _TO_TERMINATE)
            lease.signals = lock.signals
            plan = self._planner.plan(_forced_end(termination, lock), lease, is_forced=True)
            marks = await self._litter.mark(lock.instance, plan.buffer)
            try:
                await self._carry_out(plan, marks)
            except FenceFailed:
                await self._litter.drop(plan.buffer, marks)
                continue
            self._after(plan)
            return True
        raise StorageUnavailable(
            f"the lock of instance {termination.instance!r} changed {_MOST_ATTEMPTS} times during a"
            " termination; try again",
            operation="terminate_instance",
        )

    async def _inspect(self, commit: TurnCommit) -> Lock:
        """The lock item, if the commit is possible or a repeat; else says why it is not."""
        row = await self._table.get(*self._namespace.lock_key(commit.instance))
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
        if commit.finish and (lost := await self._activities.lost(commit, lock.life)):
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")
        return lock

    async def _carry_out(self, plan: CommitPlan, marks: Sequence[Delete]) -> frozenset[str]:
        await self._write_chunks(plan)
        # The lock, the activities that are finished, and an item for ids in use.
        weight = weight_of(plan.changes) + 1 + len(plan.commit.finish) + bool(plan.commit.create)
        weight += len(marks) + (plan.in_slot is not None)
        if weight <= TRANSACTION_LIMIT:
            outcome = await self._changes.carry_out(
                plan.changes,
                fence=lambda in_use: [*self._fence(plan, in_use), *marks],
                known={plan.commit.instance: plan.mailbox},
            )
            await self._changes.signal(outcome)
            self._namespace.purge.chunks(outcome.unused)
            return frozenset(outcome.in_use)
        return await self._carry_out_staged(plan, marks)

    async def _carry_out_staged(self, plan: CommitPlan, marks: Sequence[Delete]) -> frozenset[str]:
        commit = plan.commit
        unmarking = [Remove(key=each.key) for each in marks]
        staged = await self._staged.stage(
            commit.instance,
            in_batches([*plan.all_changes, *unmarking]),
            stage=plan.answer,
            meanwhile=lambda: self._stay_alive(plan),
        )
        fenced: list[Action] = finishing(
            self._namespace, commit, life=plan.lease.life, slot=plan.lease.slot
        )
        if plan.tries_slot:
            key = slot_key(self._namespace, commit.instance)
            fenced.append(Check(key=key, condition=ABSENT))
        try:
            await self._changes.carry_out(
                [],
                fence=lambda _: [
                    fence_of(plan, (), parts=len(staged.keys)),
                    *fenced,
                    *kept_until_the_end(marks),
                    staged.mark,
                ],
            )
        except FenceFailed:
            await self._staged.discard(staged)
            raise
        row = await self._table.get(*self._namespace.lock_key(commit.instance))
        # After a stall the lock may point at a later commit of another process.
        if row is not None and row.text_or_none("stg") == staged.id:
            await self._staged.finish(Lock(commit.instance, row), staged)
        # The signals that came meanwhile are not known.
        plan.lease.signals = None
        if not commit.create:
            return frozenset()
        in_use = await self._ids_in_use.read(commit.instance, plan.answer)
        if not await self._answers.is_last(commit):
            raise StorageUnavailable(
                f"the ids in use that commit {commit.id!r} found were removed before they were read;"
                " make it again",
                operation="commit_turn",
            )
        return in_use

    async def _write_chunks(self, plan: CommitPlan) -> None:
        items = plan.buffer.items
        for start in range(0, len(items), 40):
            await self._table.put_many(items[start : start + 40])
            if start + 40 < len(items):
                await self._stay_alive(plan)

    async def _stay_alive(self, plan: CommitPlan) -> None:
        if not plan.is_forced:
            lease = TurnLease(instance=plan.commit.instance, token=plan.commit.token)
            await self._leases.extend(lease, plan.lease.lease_for)

    def _fence(self, plan: CommitPlan, in_use: Sequence[str]) -> list[Action]:
        commit = plan.commit
        slot = None if plan.in_slot is None else slot_key(self._namespace, commit.instance)
        actions: list[Action] = [
            fence_of(plan, in_use),
            *finishing(
                self._namespace, commit, life=plan.lease.life, slot=plan.lease.slot, but=slot
            ),
            *self._into_slot(plan),
        ]
        if in_use:
            actions.append(self._ids_in_use.put(commit.instance, plan.answer, 0, in_use))
        return actions

    def _into_slot(self, plan: CommitPlan) -> list[Action]:
        """Put the activity for the slot over the one that is finished, or where there is none."""
        commit, item = plan.commit, plan.in_slot
        if item is None:
            return []
        for lease in commit.finish:
            if lease.activity == plan.lease.slot:
                key = slot_key(self._namespace, commit.instance)
                life = plan.lease.life
                values = wanted_values(lease, key, commit.incarnation, commit.execution, life)
                return [Put(item=item, condition=wanted(key), values=values)]
        return [Put(item=item, condition=ABSENT if plan.tries_slot else None)]

    def _after(self, plan: CommitPlan) -> None:
        commit, lease, purge = plan.commit, plan.lease, self._namespace.purge
        # What is put to the front is put with chunks of its own.
        replaced = [*commit.remove, *(message.id for message in commit.front)]
        removed = [lease.chunks.pop(each) for each in replaced if each in lease.chunks]
        purge.chunks(key for keys in removed for key in keys)
        purge.chunks(plan.replaced_chunks)
        gone = [each.activity for each in commit.finish] + list(commit.cancel)
        slot = lease.slot
        self._activities.ended([self._activity_key(commit, each, slot) for each in gone])
        self._activities.added(commit, plan.activities)
        if lease.answer is not None:
            purge.answer(commit.instance, lease.answer)
        if commit.end is not None and not plan.leaves_nothing:
            purge.instance(commit.instance, plan.validity, signals=lease.signals)
        if not plan.keeps:
            self._memory.end(commit.instance, commit.token)

    def _activity_key(self, commit: TurnCommit, activity: str, slot: str | None) -> Key:
        sort = SLOT if activity == slot else activity_key(activity)
        return (self._keys.partition(commit.instance), sort)


def _forced_end(termination: InstanceTermination, lock: Lock) -> TurnCommit:
    """The commit that ends an instance where it stands."""
    return TurnCommit(
        id=termination.id,
        instance=termination.instance,
        incarnation=termination.incarnation,
        token="",
        execution=lock.execution,
        expected_event=lock.last_event,
        events=termination.events,
        send=termination.send,
        end=ExecutionEnd(status=InstanceStatus.FAILED, output=termination.output),
    )


def _learned(lock: Lock, before: RememberedLease | None, now: Instant) -> RememberedLease:
    """What a lock item tells of a lease, and what is known of its mailbox."""
    left = timedelta(microseconds=max((lock.until or now) - now, 1_000_000))
    learned = RememberedLease.of(lock, left)
    if before is not None and before.slot == lock.slot:
        learned.slot_is_taken, learned.slot_place = before.slot_is_taken, before.slot_place
    if before is None or before.turn != lock.turn:
        return learned
    learned.lease_for = before.lease_for
    learned.delivered, learned.unread = before.delivered, before.unread
    learned.next_due, learned.chunks = before.next_due, before.chunks
    learned.timers, learned.timer_signals = before.timers, before.timer_signals
    learned.wary = WARY
    return learned
