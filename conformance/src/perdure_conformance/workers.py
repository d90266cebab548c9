"""Workers that run a small program with the provider's calls alone, for races and crashes.

Each instance starts a child, runs three activities one after the other, and takes two events; it
records what happens and ends when all of it has happened. A worker with mishaps abandons
turns and activities in the middle, repeats calls, and makes calls too late. In the end each history
must have each thing once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    LeasedActivity,
    LeasedTurn,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    Provider,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure.errors import HistoryConflict, LeaseLost

from perdure_conformance.samples import event, incarnation_of, new_instance, result

STEPS = 3
EVENTS = ("first", "second")
CHILD = "-child"
SERVES = Serves(orchestrations={"flow": frozenset()})
DONE = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")


async def begin(provider: Provider, instance: str) -> None:
    """Start the program under an id, its events included."""
    await provider.send([event(EVENTS[0], instance)])
    await provider.create_instance(new_instance(instance))
    await provider.send([event(EVENTS[1], instance)])


def expected_history(instance: str) -> list[str]:
    """What an ended history has recorded, in no particular order."""
    steps = [f"{what}-{step}" for step in range(STEPS) for what in ("scheduled", "result")]
    if instance.endswith(CHILD):
        return sorted(["started", *steps])
    return sorted(["started", *steps, *EVENTS, "child"])


@dataclass(slots=True)
class Draft:
    """What a turn will record and do, as its messages are taken in."""

    instance: str
    past: list[str]
    events: list[str] = field(default_factory=list[str])
    add: list[int] = field(default_factory=list[int])

    def take(self, message: Message) -> None:
        """Take one message in."""
        if message.kind is MessageKind.START:
            self.events.append("started")
            self._schedule(0)
        elif message.kind is MessageKind.ACTIVITY:
            self.finish(int(message.data))
        else:
            self.events.append(message.id)

    def finish(self, step: int) -> None:
        """Record a result, and go on with the next activity."""
        self.events.append(f"result-{step}")
        if step + 1 < STEPS:
            self._schedule(step + 1)

    def _schedule(self, step: int) -> None:
        self.events.append(f"scheduled-{step}")
        self.add.append(step)

    @property
    def complete(self) -> bool:
        """Whether everything has happened."""
        return sorted(self.past + self.events) == expected_history(self.instance)


@dataclass(slots=True)
class Worker:
    """Runs all that it can lease, one round at a time."""

    provider: Provider
    name: str
    random: Random
    mishaps: float = 0.0
    """The probability of each mishap."""
    lease_for: timedelta = timedelta(seconds=10)
    accepted: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """The activities, by instance and id, whose result was accepted of this worker."""
    _late: list[TurnCommit | ActivityCompletion] = field(
        default_factory=list[TurnCommit | ActivityCompletion]
    )
    _count: int = 0

    def _fresh(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    def _mishap(self) -> bool:
        return self.random.random() < self.mishaps

    async def round(self) -> bool:
        """Lease and run something; returns whether there was anything."""
        turns = await self.provider.lease_turns(
            TurnRequest(token=self._fresh(), limit=2, lease_for=self.lease_for, serves=SERVES)
        )
        for turn in turns:
            await self._run_turn(turn)
        leased = await self.provider.lease_activities(
            ActivityRequest(
                token=self._fresh(),
                limit=2,
                lease_for=self.lease_for,
                names=frozenset({"work"}),
            )
        )
        for work in leased:
            await self._run_activity(work)
        if self._late and self.random.random() < 0.3:
            await self._try(self._late.pop(0))
        return bool(turns or leased)

    async def _run_turn(self, turn: LeasedTurn) -> None:
        if self._mishap():
            return
        draft = Draft(turn.state.instance, await self._history(turn))
        for message in turn.messages:
            draft.take(message)
        directly = bool(draft.add) and self.random.random() < 0.3
        commit = self._commit(turn, draft, directly=directly)
        if self._mishap():
            self._late.append(commit)
            return
        if not await self._try(commit) or (self._mishap() and not await self._try(commit)):
            return
        if not directly or self._mishap():
            return
        after = self._finishing(turn, draft, commit)
        if self._mishap() or self._mishap():
            # By then another may have leased and completed the activity: its lease is shorter.
            self._late.append(after)
        else:
            await self._try(after)

    def _finishing(self, turn: LeasedTurn, draft: Draft, before: TurnCommit) -> TurnCommit:
        """Finish the activities that were added leased, under the lease that was kept."""
        after = Draft(draft.instance, draft.past + draft.events)
        for step in draft.add:
            after.finish(step)
        token = before.activity_token or ""
        return self._commit(
            turn,
            after,
            directly=False,
            finish=tuple(
                ActivityLease(instance=turn.state.instance, activity=str(step), token=token)
                for step in draft.add
            ),
            expected=before.expected_event + len(before.events),
        )

    async def _history(self, turn: LeasedTurn) -> list[str]:
        events: list[str] = []
        more = True
        while more:
            page = await self.provider.read_history(
                turn.state.instance, 1, incarnation=turn.state.incarnation, after=len(events)
            )
            events.extend(each.data.decode() for each in page.events)
            more = page.more
        return events

    def _commit(
        self,
        turn: LeasedTurn,
        draft: Draft,
        *,
        directly: bool,
        finish: tuple[ActivityLease, ...] = (),
        expected: int | None = None,
    ) -> TurnCommit:
        instance = turn.state.instance
        child = instance + CHILD
        starts = "started" in draft.events and not instance.endswith(CHILD)
        parent = instance.removesuffix(CHILD)
        tells = draft.complete and parent != instance
        return TurnCommit(
            id=self._fresh(),
            instance=instance,
            incarnation=turn.state.incarnation,
            token=turn.token,
            execution=1,
            expected_event=turn.state.last_event if expected is None else expected,
            events=tuple(each.encode() for each in draft.events),
            remove=() if finish else tuple(message.id for message in turn.messages),
            finish=finish,
            add=tuple(
                NewActivity(id=str(step), name="work", data=b"%d" % step, lease=directly)
                for step in draft.add
            ),
            activity_token=self._fresh(),
            activity_lease_for=self.lease_for / 4,
            send=(result("child", parent, kind=MessageKind.CHILD),) if tells else (),
            create=(NewChild(instance=new_instance(child)),) if starts else (),
            end=DONE if draft.complete else None,
            keep_for=self.lease_for if directly else None,
        )

    async def _run_activity(self, work: LeasedActivity) -> None:
        if self._mishap():
            return
        message = Message(
            id=f"result-{work.id}",
            instance=work.instance,
            kind=MessageKind.ACTIVITY,
            data=work.data,
            incarnation=incarnation_of(work.instance),
            execution=work.execution,
        )
        completion = ActivityCompletion(lease=work.lease, message=message)
        if self._mishap():
            self._late.append(completion)
        elif await self._try(completion) and self._mishap():
            await self._try(completion)

    async def _try(self, call: TurnCommit | ActivityCompletion) -> bool:
        """Make a call that may come too late; returns whether it was accepted."""
        try:
            if isinstance(call, TurnCommit):
                await self.provider.commit_turn(call)
                finished: Sequence[ActivityLease] = call.finish
            else:
                await self.provider.complete_activity(call)
                finished = (call.lease,)
        except (LeaseLost, HistoryConflict):
            return False
        self.accepted.extend((lease.instance, lease.activity) for lease in finished)
        return True
