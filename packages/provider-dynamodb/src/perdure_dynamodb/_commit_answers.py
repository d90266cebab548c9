"""The answers to commits: what the mailbox holds, for the holder of a lease that is kept.

A commit under the condition that no signal came needs no look at the mailbox. Where it was made
without, the mailbox is read afterwards, and what is known of the lease from then on is remembered.
"""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import CommitAnswer, TurnCommit, TurnLease
from perdure.errors import StorageCorrupt

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._commit_plan import CommitPlan, engine_after, version_after
from perdure_dynamodb._ids_in_use import IdsInUse
from perdure_dynamodb._lease_memory import MANY_TIMERS, LeaseMemory, RememberedLease
from perdure_dynamodb._locks import Lock, Validity
from perdure_dynamodb._messages import Delivery, deliver, read_mailbox
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._turn_leases import TurnLeases


class CommitAnswers:
    """Answers commits of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        leases: TurnLeases,
        memory: LeaseMemory,
        ids_in_use: IdsInUse,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._leases = leases
        self._memory = memory
        self._ids_in_use = ids_in_use

    async def of(self, plan: CommitPlan, in_use: frozenset[str]) -> CommitAnswer:
        """The answer to a commit that was made; remembers the lease that it keeps."""
        commit = plan.commit
        answer = CommitAnswer(activities_until=plan.activities_until, in_use=in_use)
        if plan.until is None:
            return answer
        kept = _kept(plan, in_use)
        delivery: Delivery | None = None
        if plan.reads_mailbox(tuple(in_use)):
            delivery = await self._read_for(commit, plan, kept)
            if delivery is None:
                return answer
        self._memory.attempt(commit.token, commit.instance)
        self._memory.put(commit.instance, commit.token, kept)
        answer = replace(answer, lease_until=plan.until)
        if delivery is None:
            return answer
        return replace(answer, messages=delivery.messages, more=delivery.more)

    async def again(self, commit: TurnCommit, lock: Lock) -> CommitAnswer | None:
        """The answer to a repeat; None where it is not the last commit any more."""
        others = [each for each in commit.send if each.instance != commit.instance]
        if others:
            # The commit was made, and then its caller heard of an error: maybe that of a signal.
            await self._changes.signal_again(others)
        in_use = await self._ids_in_use.of_last_commit(lock)
        if lock.row.text_or_none("ans") is not None and not await self.is_last(commit):
            return None
        answer = CommitAnswer(activities_until=lock.row.number_or_none("acu"), in_use=in_use)
        if commit.keep_for is None or not lock.running or lock.token != commit.token:
            return answer
        delivery = await self._deliver(commit, lock.validity)
        if delivery is None:
            return answer
        return replace(
            answer, lease_until=lock.until, messages=delivery.messages, more=delivery.more
        )

    async def is_last(self, commit: TurnCommit) -> bool:
        """Whether the ids in use were still there when they were read: the next commit removes them."""
        row = await self._table.get(*self._namespace.lock_key(commit.instance))
        return row is not None and Lock(commit.instance, row).last_commit == commit.id

    async def _read_for(
        self, commit: TurnCommit, plan: CommitPlan, kept: RememberedLease
    ) -> Delivery | None:
        """What the mailbox holds; notes what is known from then on."""
        timer_signals, with_timers = None, True
        if kept.timers >= MANY_TIMERS or (kept.signals is None and kept.wary <= 1):
            row = await self._table.get(*self._namespace.lock_key(commit.instance))
            if row is not None:
                lock = Lock(commit.instance, row)
                kept.signals, timer_signals = lock.signals, lock.timer_signals
                with_timers = kept.needs_timers(self._namespace.now, timer_signals=timer_signals)
        kept.wary = max(0, kept.wary - 1)
        delivery = await self._deliver(commit, plan.validity, with_timers=with_timers)
        if delivery is not None:
            kept.note(
                delivery,
                signals=kept.signals,
                timer_signals=timer_signals,
                with_timers=with_timers,
            )
        return delivery

    async def _deliver(
        self, commit: TurnCommit, validity: Validity, *, with_timers: bool = True
    ) -> Delivery | None:
        """What the mailbox holds, or None where another process has taken the lease over."""
        partition = self._namespace.keys.partition(commit.instance)
        rows = await read_mailbox(self._table, partition, timers=with_timers)
        try:
            delivery = await deliver(
                self._namespace,
                rows,
                instance=commit.instance,
                validity=validity,
                now=self._namespace.now,
                held=commit.held,
            )
        except StorageCorrupt:
            # What it consumed meanwhile is no damage.
            lease = TurnLease(instance=commit.instance, token=commit.token)
            if await self._leases.stands(lease):
                raise
            return None
        self._namespace.purge.void_rows(delivery.void, validity)
        return delivery


def _kept(plan: CommitPlan, in_use: frozenset[str]) -> RememberedLease:
    """What is known of the lease after a commit that keeps it."""
    commit, lease = plan.commit, plan.lease
    last = commit.expected_event + len(commit.events)
    continues = commit.end is not None
    return replace(
        lease,
        turn=lease.turn + 1,
        version=version_after(commit, lease),
        engine=engine_after(commit, lease),
        is_listed_as_continued=lease.is_listed_as_continued or continues,
        earlier_events=lease.earlier_events + (last if continues else 0),
        execution_started=plan.now if continues else lease.execution_started,
        lease_for=commit.keep_for or lease.lease_for,
        place_until=(plan.until or 0) if plan.moves else lease.place_until,
        # One that is removed and held may have been put again by the same commit.
        delivered=(lease.delivered - set(commit.remove)) | commit.held,
        next_due=plan.next_due,
        timers=plan.timers,
        has_chunks=lease.has_chunks or plan.puts_chunks,
        answer=plan.answer if in_use else None,
        is_parked=False,
        slot=plan.slot,
        slot_is_taken=plan.in_slot is not None or (lease.slot_is_taken and plan.slot is not None),
        slot_place=lease.slot_place if plan.in_slot is None else str(plan.in_slot["gsk"]),
        custom_status_version=plan.custom_status_version,
        status_chunks=plan.status_chunks,
        value_count=plan.value_count,
    )
