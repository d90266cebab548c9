"""Reopening, termination, deletion and replacement under crashes, stalls and lost answers anywhere.

Processes run two instances and operate on them at the same time. `job` fails, is reopened when it has
ended, reopened again while it runs, terminated, and replaced by another incarnation, which runs to
its end. `gone` runs to its end and is deleted. Events keep coming all the while. Whatever goes wrong,
nothing of an earlier life or incarnation is met by a later one, and nothing of it is left in the end.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityRequest,
    ExecutionEnd,
    InstanceQuery,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    Message,
    MessageKind,
    NewActivity,
    NewInstance,
    ParentLink,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure.errors import (
    HistoryConflict,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    LeaseLost,
)
from perdure_dynamodb.testing import scheduling
from perdure_dynamodb.testing.scheduling import FATES, PORTIONS, crash_in_turn, run_portion

SECOND = timedelta(seconds=1)
LEASE = 10 * SECOND
SERVES = Serves(orchestrations={"flow": frozenset()})
FAILED = ExecutionEnd(status=InstanceStatus.FAILED, output=b"failed")
STAGES = ("reopen ended", "reopen running", "terminate", "replace", "finish", "over")


class World(scheduling.World):
    """Two instances, and how far the operators have come with them."""

    def __init__(self, seed, *, crash_at=None):
        super().__init__(seed, crash_at=crash_at)
        self.stage = STAGES[0]
        self.deleted = False
        self.terminated = False
        self.sent = 0
        self.unsent = set()
        """Events whose sender has not heard that they were sent."""

    def process(self, gate, name):
        return Process(self, gate, name)

    def ended(self):
        return self.stage == "over" and self.deleted

    def advance(self, stage):
        """An operator has seen that this stage is over."""
        if self.stage == stage:
            self.stage = STAGES[STAGES.index(stage) + 1]


class Process(scheduling.Process):
    """Runs what it can lease, sends an event now and then, and does what the stage asks for."""

    async def work(self):
        while True:
            did = await self.run_something()
            if self.world.random.random() < 0.3 and self.world.sent < 12:
                self.world.sent += 1
                event = message(f"event {self.world.sent}", "job", MessageKind.EVENT)
                self.world.unsent.add(event.id)
                await self.persist(self.provider.send, [event])
                self.world.unsent.discard(event.id)
            if self.world.random.random() < 0.5:
                await self.operate()
            elif not did:
                await self.world.clock.sleep(SECOND)

    async def run_something(self):
        request = TurnRequest(token=self.fresh(), limit=2, lease_for=LEASE, serves=SERVES)
        turns = await self.persist(self.provider.lease_turns, request)
        for turn in turns:
            with suppress(LeaseLost, HistoryConflict, InstanceNotFound):
                await self.run_turn(turn)
        names = frozenset({"work"})
        request = ActivityRequest(token=self.fresh(), limit=2, lease_for=LEASE, names=names)
        works = await self.persist(self.provider.lease_activities, request)
        for work in works:
            told = message(
                f"result {work.id}",
                work.instance,
                MessageKind.ACTIVITY,
                incarnation=work.incarnation,
                execution=work.execution,
                data=f"result {work.incarnation} {work.execution}",
            )
            with suppress(LeaseLost):
                completion = ActivityCompletion(lease=work.lease, message=told)
                await self.persist(self.provider.complete_activity, completion)
        return bool(turns or works)

    async def run_turn(self, turn):
        """An execution ends with the result of its activity; each turn sets a value and the status."""
        state = turn.state
        mark = f"{state.incarnation} {state.execution}"
        for each in turn.messages:
            assert each.incarnation in (None, state.incarnation), (mark, each)
            assert each.execution in (None, state.execution), (mark, each)
        told = [each.data.decode() for each in turn.messages]
        begins = any(each.kind is MessageKind.START for each in turn.messages)
        events = ([f"started {mark}"] if begins else []) + [
            each for each in told if each.startswith(("result", "event"))
        ]
        ends = f"result {mark}" in told
        commit = TurnCommit(
            id=self.fresh(),
            instance=state.instance,
            incarnation=state.incarnation,
            token=turn.token,
            execution=state.execution,
            expected_event=state.last_event,
            events=tuple(each.encode() for each in events),
            remove=tuple(each.id for each in turn.messages),
            add=(NewActivity(id="work", name="work", data=b"do it"),) if begins else (),
            values={f"{mark} {each}": b"seen" for each in events},
            custom_status=mark.encode(),
            end=FAILED if ends else None,
        )
        await self.persist(self.provider.commit_turn, commit)

    async def operate(self):
        stage, world = self.world.stage, self.world
        job = await self.persist(self.provider.read_instance, "job")
        match stage:
            case "reopen ended" if job.status is InstanceStatus.FAILED:
                await self.reopen(1, "first")
                world.advance(stage)
            case "reopen running":
                await self.reopen(2, "second")
                world.advance(stage)
            case "terminate":
                told = message(
                    "told", "parent", MessageKind.CHILD, incarnation="parent@1", execution=1
                )
                stop = InstanceTermination(
                    id="stop",
                    instance="job",
                    incarnation="job@1",
                    events=(b"stopped",),
                    output=b"stopped",
                    send=(told,),
                )
                with suppress(InstanceNotFound):
                    if await self.persist(self.provider.terminate_instance, stop):
                        world.terminated = True
                    await self.look_at_executions()
                world.advance(stage)
            case "replace":
                with suppress(InstanceAlreadyExists):
                    new = new_instance("job", "job@2", replaces="job@1")
                    await self.persist(self.provider.create_instance, new)
                    world.advance(stage)
            case "finish" if job.incarnation == "job@2" and job.status is InstanceStatus.FAILED:
                world.advance(stage)
            case _:
                pass
        if not world.deleted:
            with suppress(InstanceRunning):
                await self.persist(self.delete)
                world.deleted = True

    async def delete(self):
        await self.provider.delete_instance("gone", incarnation="gone@1")

    async def reopen(self, execution, name):
        start = message(
            f"start {name}",
            "job",
            MessageKind.START,
            incarnation="job@1",
            execution=execution + 1,
        )
        reopening = InstanceReopening(
            id=name, instance="job", incarnation="job@1", execution=execution, start=start
        )
        with suppress(HistoryConflict, InstanceNotFound):
            await self.persist(self.provider.reopen_instance, reopening)

    async def look_at_executions(self):
        """Both reopenings have happened, so there are three, each with one start at most."""
        admin = self.provider.as_management_capability()
        executions = await self.persist(admin.list_executions, "job")
        job = await self.persist(self.provider.read_instance, "job")
        if job.incarnation != "job@1":
            return
        assert [each.execution for each in executions] == [1, 2, 3], executions
        assert executions[0].status is InstanceStatus.FAILED
        assert executions[0].output == b"failed"
        for number in (1, 2, 3):
            with suppress(InstanceNotFound):
                page = await self.persist(lambda number=number: self.history("job@1", number))
                told = [event.data.decode() for event in page.events]
                assert told.count(f"started job@1 {number}") <= 1, told
                assert told.count(f"result job@1 {number}") <= 1, told

    async def history(self, incarnation, execution):
        return await self.provider.read_history("job", execution, incarnation=incarnation)


def message(message_id, instance, kind, *, data=None, incarnation=None, execution=None):
    return Message(
        id=message_id,
        instance=instance,
        kind=kind,
        data=(message_id if data is None else data).encode(),
        incarnation=incarnation,
        execution=execution,
    )


def new_instance(instance, incarnation, *, replaces=None):
    start = message("start", instance, MessageKind.START, incarnation=incarnation, execution=1)
    return NewInstance(
        instance=instance,
        incarnation=incarnation,
        name="flow",
        start=start,
        replaces=replaces,
        labels={"tenant": incarnation},
        parent=ParentLink(instance="parent", incarnation="parent@1", execution=1, event=1),
    )


async def run_and_check(seed, *, crash_at=None):
    world = World(seed, crash_at=crash_at)
    async with world.opened() as provider:
        parent = message("start", "parent", MessageKind.START, incarnation="parent@1", execution=1)
        await provider.create_instance(
            NewInstance(instance="parent", incarnation="parent@1", name="waits", start=parent)
        )
        for name in ("job", "gone"):
            await provider.send([message(f"event early {name}", name, MessageKind.EVENT)])
            await provider.create_instance(new_instance(name, f"{name}@1"))
    await world.run()
    await check(world)
    return world.calls


async def check(world):
    async with world.opened() as provider:
        for _ in range(3):
            # What dead processes have left is found and removed.
            world.clock.advance(timedelta(minutes=20))
            request = TurnRequest(token=uuid4().hex, limit=1, lease_for=LEASE, serves=SERVES)
            await provider.lease_turns(request)
            await provider.close()
        job = await provider.read_instance("job")
        assert (job.incarnation, job.execution, job.status) == (
            "job@2",
            1,
            InstanceStatus.FAILED,
        )
        page = await provider.read_history("job", 1, incarnation="job@2")
        told = [event.data.decode() for event in page.events]
        assert sorted(each for each in told if not each.startswith("event")) == [
            "result job@2 1",
            "started job@2 1",
        ]
        assert len(set(told)) == len(told), told
        assert "event early job" not in told
        values = await provider.read_values("job")
        assert set(values.values) == {f"job@2 1 {each}" for each in told}
        assert job.value_count == len(values.values)
        segments = [key for key in world.model.items if key[1].startswith("H#") and "job" in key[0]]
        assert 0 <= job.custom_status_version - len(segments) <= 1
        admin = provider.as_management_capability()
        metrics = await admin.count_instances()
        assert (metrics.total_instances, metrics.total_executions) == (2, 2)
        for labels, wanted in [("job@1", ()), ("gone@1", ()), ("job@2", ("job",))]:
            query = InstanceQuery(labels={"tenant": labels})
            found = await admin.find_instances(query, limit=5)
            assert tuple(each.instance for each in found.instances) == wanted
        children = await admin.find_instances(InstanceQuery(parent="parent"), limit=5)
        assert [each.instance for each in children.instances] == ["job"]
        told = [key for key in world.model.items if key[1] == "M#told"]
        assert len(told) == world.terminated
    left = sorted({key[1][:2] for key in world.model.items if key[0].endswith("#I#gone")})
    assert left == [], left
    # A sender that dies before the signal may leave its message, which is void.
    own = [
        sort
        for partition, sort in world.model.items
        if partition == "fuzz#I#job" and sort[2:] not in world.unsent
    ]
    left = sorted(sort for sort in own if sort[:2] not in ("A", "B", "H#", "K#", "X#", "Y#"))
    assert left == [], left
    tags = {sort.split("#")[1] for sort in own if sort[:2] in ("H#", "K#", "X#")}
    assert len(tags) == 1, tags


@pytest.mark.slow
@pytest.mark.parametrize("portion", range(PORTIONS))
@pytest.mark.usefixtures("commits")
async def test_whatever_goes_wrong_no_life_meets_another(portion):
    await run_portion(portion, run_and_check)


@pytest.mark.slow
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.usefixtures("commits")
async def test_a_process_may_die_at_any_request(fate):
    await crash_in_turn(fate, run_and_check, stride=10)
