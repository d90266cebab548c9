"""The protocol under crashes, stalls and lost answers at any request, on the model.

A few processes run a small program by the provider's calls alone. A scheduler decides, request
by request, who goes on and what goes wrong: a process dies before or after a request's effect,
stalls until its leases are over, loses an answer, meets a conflict. Whatever happens, each
instance must end with each thing recorded exactly once. A failure names its seed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    NewInstance,
    ParentLink,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import HistoryConflict, LeaseLost
from perdure_dynamodb import _commit_answers, _fence, _lease_memory
from perdure_dynamodb.testing import scheduling
from perdure_dynamodb.testing.scheduling import FATES, PORTIONS, crash_in_turn, run_portion

SECOND = timedelta(seconds=1)
LEASE = 10 * SECOND
SERVES = Serves(orchestrations={"flow": frozenset()})
CHILD = "-child"


class World(scheduling.World):
    """Instances that run to their end, each with a child."""

    def __init__(self, seed, *, crash_at=None):
        super().__init__(seed, crash_at=crash_at)
        self.accepted = []
        self.roots = ("one", "two") if seed % 4 == 0 else ("one",)

    def process(self, gate, name):
        return Process(self, gate, name)

    def ended(self):
        statuses = {
            key[0]: item["stat"]
            for key, item in self.model.items.items()
            if key[1] == "A" and "stat" in item
        }
        return len(statuses) == 2 * len(self.roots) and set(statuses.values()) == {"Completed"}


class Process(scheduling.Process):
    """Runs whatever it can lease, until it dies."""

    async def work(self):
        await self.begin()
        while True:
            if not await self.round():
                await self.world.clock.sleep(SECOND)

    async def begin(self):
        """Every process begins all, under the same incarnations: repeats have no effect."""
        for root in self.world.roots:
            if await self.persist(self.provider.read_instance, root) is None:
                early = message(f"{root}-early", root, MessageKind.EVENT)
                await self.persist(self.provider.send, [early])
                await self.persist(self.provider.create_instance, new_instance(root))
            # The process that created it may have died before it came to this.
            late = message(f"{root}-late", root, MessageKind.EVENT)
            await self.persist(self.provider.send, [late])

    async def round(self):
        turns = await self.persist(
            self.provider.lease_turns,
            TurnRequest(token=self.fresh(), limit=2, lease_for=LEASE, serves=SERVES),
        )
        for turn in turns:
            await self.run_turn(turn)
        leased = await self.persist(
            self.provider.lease_activities,
            ActivityRequest(
                token=self.fresh(), limit=2, lease_for=LEASE, names=frozenset({"work"})
            ),
        )
        for work in leased:
            await self.run_activity(work)
        return bool(turns or leased)

    async def run_turn(self, turn):
        state, messages = turn.state, turn.messages
        last = state.last_event
        with suppress(LeaseLost, HistoryConflict):
            while True:
                past = await self.history(state.instance, state.execution)
                assert len(past) >= last, (past, last)
                commit = self.work_out(turn, past[:last], messages, last)
                answer = await self.persist(self.provider.commit_turn, commit)
                if commit.finish:
                    self.accept(commit.finish)
                last += len(commit.events)
                if answer.lease_until is None or commit.end is not None:
                    return
                messages = answer.messages
                finish = self.leased_by(commit)
                if finish:
                    await self.finish(turn, commit, finish, messages, last)
                    return
                if not messages:
                    break
            await self.release(turn)

    def work_out(self, turn, past, messages, last, *, finish=()):
        """What the program does with these messages."""
        state = turn.state
        instance, execution = state.instance, state.execution
        is_child = instance.endswith(CHILD)
        seen = {each for each in past if each.startswith("event ")}
        for each in past:
            if each.startswith("started 2|"):
                seen |= set(each.partition("|")[2].split(",")) - {""}
        events = [f"result {lease.activity}" for lease in finish]
        add, create, send = [], [], []
        for each in messages:
            match each.kind:
                case MessageKind.START:
                    events.append(f"started {execution}|{each.data.decode()}")
                    seen |= set(each.data.decode().split(",")) - {""}
                    add += [("a0", True), ("a1", False)] if execution == 1 else [("b0", False)]
                    if execution == 1:
                        due = self.world.clock.now() + 3_000_000
                        send.append(
                            message("timer:1", instance, MessageKind.TIMER, execution=1, due=due)
                        )
                        if not is_child:
                            create.append(instance + CHILD)
                case MessageKind.ACTIVITY:
                    events.append(f"result {each.data.decode()}")
                case MessageKind.EVENT:
                    # As the engine does: an id that the history has had is dropped.
                    if f"event {each.id}" not in seen:
                        seen.add(f"event {each.id}")
                        events.append(f"event {each.id}")
                case _:
                    events.append(each.id)
        everything = past + events
        end, front = None, ()
        first = {"started 1|", "result a0", "result a1", "timer:1"}
        if not is_child:
            first.add("child")
        if execution == 1 and first <= set(everything):
            end = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
            known = ",".join(sorted(seen))
            front = (message("start-2", instance, MessageKind.START, data=known, execution=2),)
        events_wanted = 0 if is_child else 2
        if execution == 2 and "result b0" in everything and len(seen) == events_wanted:
            end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
            if is_child:
                send.append(
                    message("child", instance.removesuffix(CHILD), MessageKind.CHILD, execution=1)
                )
        direct = self.world.random.random() < 0.7
        keep = end is None and (any(lease for _, lease in add) or self.world.random.random() < 0.5)
        return TurnCommit(
            id=self.fresh(),
            instance=instance,
            incarnation=state.incarnation,
            token=turn.token,
            execution=execution,
            expected_event=last,
            events=tuple(each.encode() for each in events),
            remove=tuple(each.id for each in messages),
            finish=finish,
            add=tuple(
                NewActivity(id=name, name="work", data=name.encode(), lease=lease and direct)
                for name, lease in add
            ),
            activity_token=self.fresh(),
            activity_lease_for=LEASE,
            send=tuple(send),
            front=front,
            create=tuple(NewChild(instance=new_instance(child, instance)) for child in create),
            end=end,
            keep_for=LEASE if keep else None,
        )

    def leased_by(self, commit):
        return tuple(
            ActivityLease(instance=commit.instance, activity=new.id, token=commit.activity_token)
            for new in commit.add
            if new.lease
        )

    async def finish(self, turn, commit, finish, messages, last):
        past = await self.history(turn.state.instance, turn.state.execution)
        after = self.work_out(turn, past[:last], messages, last, finish=finish)
        await self.persist(self.provider.commit_turn, after)
        self.accept(finish)
        if after.keep_for is not None:
            await self.release(turn)

    async def release(self, turn):
        lease = TurnLease(instance=turn.state.instance, token=turn.token)
        await self.persist(self.provider.release_turn, TurnRelease(lease=lease))

    async def run_activity(self, work):
        told = message(
            f"result-{work.id}",
            work.instance,
            MessageKind.ACTIVITY,
            data=work.id,
            execution=work.execution,
        )
        completion = ActivityCompletion(lease=work.lease, message=told)
        with suppress(LeaseLost):
            await self.persist(self.provider.complete_activity, completion)
            self.accept([work.lease])

    def accept(self, leases):
        self.world.accepted += [(lease.instance, lease.activity) for lease in leases]

    async def history(self, instance, execution):
        found, more = [], True
        while more:
            incarnation = f"{instance}@"
            page = await self.persist(self.read(instance, execution, incarnation, len(found)))
            found += [event.data.decode() for event in page.events]
            more = page.more
        return found

    def read(self, instance, execution, incarnation, after):
        return lambda: self.provider.read_history(
            instance, execution, incarnation=incarnation, after=after
        )


def message(message_id, instance, kind, *, data="", execution=None, due=None):
    return Message(
        id=message_id,
        instance=instance,
        kind=kind,
        data=data.encode(),
        incarnation=None if kind is MessageKind.EVENT else f"{instance}@",
        execution=execution,
        visible_at=due,
    )


def new_instance(instance, parent=None):
    link = None
    if parent is not None:
        link = ParentLink(instance=parent, incarnation=f"{parent}@", execution=1, event=1)
    start = message("start", instance, MessageKind.START, execution=1)
    return NewInstance(
        instance=instance, incarnation=f"{instance}@", name="flow", start=start, parent=link
    )


async def run_and_check(seed, *, crash_at=None):
    world = World(seed, crash_at=crash_at)
    await world.run()
    await check(world)
    return world.calls


async def check(world):
    """Every thing is recorded exactly once, and nothing is left that could still happen."""
    async with world.opened() as provider:
        for instance in [root + tail for root in world.roots for tail in ("", CHILD)]:
            histories = []
            for execution in (1, 2):
                page = await provider.read_history(instance, execution, incarnation=f"{instance}@")
                assert not page.more
                numbers = [event.number for event in page.events]
                assert numbers == list(range(1, len(numbers) + 1)), (instance, numbers)
                histories += [event.data.decode() for event in page.events]
            wanted = [
                *(f"started {number}" for number in (1, 2)),
                *(f"result {name}" for name in ("a0", "a1", "b0")),
                "timer:1",
            ]
            if not instance.endswith(CHILD):
                wanted += ["child", f"event {instance}-early", f"event {instance}-late"]
            found = [each.partition("|")[0] for each in histories]
            assert sorted(found) == sorted(wanted), (instance, histories)
        depths = await provider.as_management_capability().count_queues()
        assert depths == type(depths)(), depths
        metrics = await provider.as_management_capability().count_instances()
        instances = 2 * len(world.roots)
        assert (metrics.total_instances, metrics.total_executions) == (instances, 2 * instances)
    twice = [each for each, count in Counter(world.accepted).items() if count > 1]
    assert not twice, f"accepted more than once: {twice}"


@pytest.fixture(autouse=True)
def one_timer_counts_as_many(monkeypatch):
    """So that reads leave timers out."""
    monkeypatch.setattr(_fence, "MANY_TIMERS", 1)
    monkeypatch.setattr(_commit_answers, "MANY_TIMERS", 1)
    monkeypatch.setattr(_lease_memory, "MANY_TIMERS", 1)


@pytest.mark.slow
@pytest.mark.parametrize("portion", range(PORTIONS))
@pytest.mark.usefixtures("commits")
async def test_whatever_goes_wrong_everything_happens_once(portion):
    await run_portion(portion, run_and_check)


@pytest.mark.slow
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.usefixtures("commits")
async def test_a_process_may_die_at_any_request(fate):
    await crash_in_turn(fate, run_and_check, stride=10)
