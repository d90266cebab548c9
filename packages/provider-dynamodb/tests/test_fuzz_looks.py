"""Looks of several processes under random outages: healthy work is run once, and never suspected.

Hundreds of rows stand in the queues, most of which no runtime here serves. Any request of a look may be
throttled or lose its answer, alone or in an outage that outlasts all repeats. No process dies, and
each runs at once what a look returns, so nothing counts as leased before.
"""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from random import Random
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    ManualClock,
    Message,
    MessageKind,
    NewActivity,
    NewInstance,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure.errors import ActivityLeaseLost, LeaseLost, StorageUnavailable
from perdure_dynamodb import DynamoDBOptions, _queue_scan
from perdure_dynamodb._opening import open_on
from perdure_dynamodb.testing.faults import Fault, FaultyCalls
from perdure_dynamodb.testing.model import ModelCalls

RUNS = int(os.environ.get("PERDURE_FUZZ_RUNS", "80")) // 10
LEASE = timedelta(minutes=5)
"""Longer than a process takes for what it leased, whatever outages others wait for meanwhile."""
SERVED, OTHERS = 60, 250
FAULTS = [Fault.BUSY, Fault.LOST_REQUEST, Fault.LOST_ANSWER]
MOST_ROUNDS = 2000


def start_message(instance):
    return Message(
        id="start", instance=instance, kind=MessageKind.START, data=b"", incarnation="first"
    )


async def create(provider, instance, name):
    await provider.create_instance(
        NewInstance(
            instance=instance, incarnation="first", name=name, start=start_message(instance)
        )
    )


class World:
    def __init__(self, seed):
        self.random = Random(seed)
        self.model = ModelCalls(index_lag=self.random.choice([0, 0, 5]))
        self.clock = ManualClock()
        self.turns = {}
        self.works = {}

    async def no_pause(self, seconds):
        await asyncio.sleep(0)

    def opened(self, calls):
        options = DynamoDBOptions(table="model", namespace="fuzz", shards=2)
        return open_on(calls, options, clock=self.clock, pause=self.no_pause)

    async def fill(self):
        async with self.opened(self.model) as provider:
            await create(provider, "parent", "parent")
            request = self.turn_request(uuid4().hex, "parent", 1)
            self.model.show_everything()
            [turn] = await provider.lease_turns(request)
            names = ["work"] * SERVED + ["other-work"] * OTHERS
            self.random.shuffle(names)
            added = [
                NewActivity(id=f"a{number:03}", name=name, data=b"")
                for number, name in enumerate(names)
            ]
            await provider.commit_turn(self.commit_of(turn, add=tuple(added)))
            names = ["flow"] * SERVED + ["other"] * OTHERS
            self.random.shuffle(names)
            for number, name in enumerate(names):
                await create(provider, f"{name}-{number:03}", name)

    def turn_request(self, token, name, limit):
        serves = Serves(orchestrations={name: frozenset()})
        return TurnRequest(token=token, limit=limit, lease_for=LEASE, serves=serves)

    def commit_of(self, turn, **fields):
        return TurnCommit(
            id=uuid4().hex,
            instance=turn.state.instance,
            incarnation="first",
            token=turn.token,
            execution=1,
            expected_event=0,
            events=(b"1",),
            remove=("start",),
            **fields,
        )

    @property
    def is_done(self):
        return len(self.turns) == len(self.works) == SERVED


class Process:
    """Leases and runs what it can; it may or may not keep the token of a look that failed."""

    def __init__(self, world):
        self.world = world
        self.left_of_outage = 0

    def fate(self, operation, parameters):
        random = self.world.random
        if self.left_of_outage:
            self.left_of_outage -= 1
            return random.choice(FAULTS)
        if random.random() < 0.004:
            self.left_of_outage = random.randint(1, 100)
        return random.choice(FAULTS) if random.random() < 0.05 else None

    async def run(self, calls):
        world = self.world
        async with world.opened(calls) as provider:
            calls.plan = self.fate
            for _ in range(MOST_ROUNDS):
                if world.is_done:
                    break
                for turn in await self.lease(provider.lease_turns, self.turns_wanted):
                    await self.run_turn(provider, turn)
                for work in await self.lease(provider.lease_activities, self.work_wanted):
                    await self.run_activity(provider, work)
                world.clock.advance(timedelta(seconds=world.random.choice([0, 0, 1, 3])))
            calls.plan = lambda *_: None

    def turns_wanted(self, token):
        return self.world.turn_request(token, "flow", self.world.random.choice([1, 10, 100]))

    def work_wanted(self, token):
        return ActivityRequest(
            token=token,
            limit=self.world.random.choice([1, 10, 100]),
            lease_for=LEASE,
            names=frozenset({"work"}),
        )

    async def lease(self, call, wanted):
        token = uuid4().hex
        for _ in range(500):
            try:
                return await call(wanted(token))
            except StorageUnavailable:
                self.world.clock.advance(timedelta(seconds=1))
                if self.world.random.random() < 0.5:
                    token = uuid4().hex
        raise AssertionError("the outage does not end")

    async def persist(self, call, argument):
        while True:
            with suppress(StorageUnavailable):
                return await call(argument)

    async def run_turn(self, provider, turn):
        assert turn.attempt == 1, (turn.state.instance, turn.attempt)
        end = ExecutionEnd(status=InstanceStatus.COMPLETED)
        commit = self.world.commit_of(turn, end=end)
        with suppress(LeaseLost):
            await self.persist(provider.commit_turn, commit)
            instance = turn.state.instance
            self.world.turns[instance] = self.world.turns.get(instance, 0) + 1

    async def run_activity(self, provider, work):
        assert work.delivery == 1, (work.id, work.delivery)
        message = Message(
            id=f"result-{work.id}", instance="parent", kind=MessageKind.ACTIVITY, data=b""
        )
        completion = ActivityCompletion(lease=work.lease, message=message)
        # A repeat after an answer that was lost finds the activity gone.
        with suppress(ActivityLeaseLost):
            await self.persist(provider.complete_activity, completion)
        self.world.works[work.id] = self.world.works.get(work.id, 0) + 1


@pytest.mark.slow
@pytest.mark.parametrize("portion", range(5))
async def test_healthy_work_is_run_once_however_looks_fail(portion, monkeypatch):
    monkeypatch.setattr(_queue_scan, "PAGE", 40)
    for seed in range(portion, RUNS, 5):
        world = World(seed)
        try:
            await world.fill()
            processes = [Process(world) for _ in range(3)]
            await asyncio.gather(
                *(each.run(FaultyCalls(world.model, lambda *_: None)) for each in processes)
            )
            assert world.is_done, (len(world.turns), len(world.works))
            assert set(world.turns.values()) == {1}
        except BaseException:
            print(f"seed {seed}")
            raise
