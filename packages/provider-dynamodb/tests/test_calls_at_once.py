"""Calls that overlap: each test holds up one request of one call until another call is over.

What both calls answer is judged as the model test judges it.
"""

import asyncio
import os
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import (
    MANAGEMENT,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    ParentLink,
    ParkedMark,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure_conformance.comparison.overlaps import Exchange, states_after
from perdure_conformance.comparison.requests import TurnRenewal, ask
from perdure_conformance.comparison.state_machine import compare_with_model
from perdure_conformance.comparison.visible import first_difference, visible
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.samples import new_instance
from perdure_dynamodb.testing.faults import FaultyCalls, Stall
from perdure_dynamodb.testing.model import ModelCalls
from perdure_dynamodb.testing.model_backend import ModelBackend

SEEDS = int(os.environ.get("PERDURE_MODEL_SEEDS", "1"))
LEASE = timedelta(seconds=30)
OLD = "old"
SERVES = Serves(orchestrations={"flow": frozenset()})


class HeldUp(FaultyCalls):
    """Holds up the first request of a kind once it is armed."""

    def __init__(self, model):
        super().__init__(model, self.fate)
        self.wanted = None
        self.reached, self.released = asyncio.Event(), Stall()

    def fate(self, operation, parameters):
        if self.wanted is None or not self.wanted(operation, parameters):
            return None
        self.wanted = None
        self.reached.set()
        return self.released


class Pair:
    """Two provider objects and the model, which are asked the same."""

    def __init__(self, held_up, calls, provider, clock):
        self._calls, self._clock = calls, clock
        self._held_up, self._provider = held_up, provider
        self._states = [Store()]

    async def ask(self, request):
        answer = await ask(self._held_up, request)
        agreeing = [state for state in self._states if answer == await self._told(state, request)]
        assert agreeing, answer
        self._states = agreeing
        return answer

    async def _told(self, state, request):
        return await ask(self._model(state), request)

    @staticmethod
    async def _shown_by(provider):
        return await visible(provider, "abc", capabilities=frozenset({MANAGEMENT}))

    def _model(self, state):
        return ModelProvider(state, clock=self._clock, description="model")

    async def overlap(self, first, wanted, *, second):
        """Make the first call, and the second one while a request of the first one is held up."""
        self._calls.wanted = wanted
        calling = asyncio.create_task(ask(self._held_up, first))
        await self._calls.reached.wait()
        other = await ask(self._provider, second)
        self._calls.released.set()
        one = await calling
        await self._judge(Exchange(first, one), Exchange(second, other))
        return one, other

    async def _judge(self, *exchanges):
        states = await states_after(self._states, exchanges, clock=self._clock)
        found = await self._shown_by(self._provider)
        differences = [
            first_difference(found, await self._shown_by(self._model(state))) for state in states
        ]
        assert None in differences, differences
        self._states = [
            state
            for state, difference in zip(states, differences, strict=True)
            if difference is None
        ]


@pytest.fixture
async def pair(open_on_model, model, clock):
    calls = HeldUp(model)
    async with open_on_model(calls) as held_up, open_on_model() as provider:
        yield Pair(held_up, calls, provider, clock)


def new(instance):
    return new_instance(instance, incarnation="first", data=b"")


def look(token):
    return TurnRequest(token=token, limit=100, lease_for=LEASE, serves=SERVES)


def look_for_work(token):
    return ActivityRequest(token=token, limit=100, lease_for=LEASE, names=frozenset({"work"}))


def lease_of(instance):
    return TurnLease(instance=instance, token=OLD)


def commit(id, **fields):
    return TurnCommit(
        id=id,
        instance="a",
        incarnation="first",
        token=OLD,
        execution=1,
        expected_event=0,
        keep_for=LEASE,
        **fields,
    )


def event(id):
    return Message(id=id, instance="a", kind=MessageKind.EVENT, data=b"")


def timer(id, instance):
    return Message(
        id=id,
        instance=instance,
        kind=MessageKind.TIMER,
        data=b"",
        incarnation="first",
        execution=1,
    )


def takes_effect(operation, parameters):
    return operation == "TransactWriteItems"


def reads_the_mailbox(operation, parameters):
    values = parameters.get("ExpressionAttributeValues", {})
    return operation == "Query" and values.get(":first") == {"S": "M#"}


def reads_the_ids_in_use(operation, parameters):
    first = parameters.get("ExpressionAttributeValues", {}).get(":first", {}).get("S", "")
    return operation == "Query" and first.startswith("D#")


def leases(instance):
    def wanted(operation, parameters):
        token = parameters.get("ExpressionAttributeValues", {}).get(":token")
        return operation == "UpdateItem" and token and instance in str(parameters["Key"]["pk"])

    return wanted


async def test_a_repeated_commit_may_tell_of_what_a_newer_one_has_left(pair):
    first = commit("first", remove=("start",))
    for request in (new("a"), look(OLD), (event("m"),), first):
        await pair.ask(request)
    newer = commit("newer", events=(b"event",), remove=("m",))

    repeated, newest = await pair.overlap(first, reads_the_mailbox, second=newer)

    assert repeated.messages == newest.messages == ()


async def test_a_repeated_commit_is_refused_where_a_newer_one_has_removed_its_ids_in_use(pair):
    parent = ParentLink(instance="a", incarnation="first", execution=1, event=1)
    child = NewChild(instance=replace(new("b"), incarnation="second", parent=parent))
    first = commit("first", remove=("start",), create=(child,))
    for request in (new("b"), new("a"), look(OLD)):
        await pair.ask(request)
    answer = await pair.ask(first)
    newer = commit("newer", events=(b"event",))

    repeated, _ = await pair.overlap(first, reads_the_ids_in_use, second=newer)

    assert answer.in_use == {"b"}
    assert repeated.startswith("HistoryConflict")


async def test_a_commit_may_tell_of_a_message_that_came_after_it(pair):
    for request in (new("a"), look(OLD), (event("m"),)):
        await pair.ask(request)
    request = commit("first", remove=("start", "m"))

    answer, _ = await pair.overlap(request, reads_the_mailbox, second=(event("m"),))

    assert [message.id for message in answer.messages] == ["m"]


async def test_a_commit_may_come_between_the_messages_of_a_send_to_two_instances(pair):
    for request in (new("a"), look(OLD), new("b")):
        await pair.ask(request)
    parent = ParentLink(instance="a", incarnation="first", execution=1, event=1)
    child = NewChild(instance=replace(new("c"), parent=parent))
    sent = replace(event("sent"), instance="b")
    request = commit("first", remove=("start",), send=(sent,), create=(child,))
    # In "c" the send comes first, and finds nothing; in "b" it comes second.
    send = (replace(event("m"), instance="b"), timer("dropped", "c"))

    await pair.overlap(request, takes_effect, second=send)

    turns = {turn.state.instance: turn for turn in await pair.ask(look("new"))}
    assert [message.id for message in turns["b"].messages] == ["start", "sent", "m"]
    assert [message.id for message in turns["c"].messages] == ["start"]


async def test_a_look_may_come_between_the_renewals_of_two_leases(pair, clock):
    for request in (new("a"), new("b"), look(OLD)):
        await pair.ask(request)
    clock.advance(LEASE)
    renewal = TurnRenewal(leases=(lease_of("a"), lease_of("b")), lease_for=LEASE)

    gone, turns = await pair.overlap(renewal, leases("a"), second=look("new"))

    assert gone == {lease_of("a")}
    assert [turn.state.instance for turn in turns] == ["a"]


async def test_a_look_may_pass_over_an_instance_that_is_given_back_meanwhile(pair, clock):
    for request in (new("a"), new("b"), look(OLD)):
        await pair.ask(request)
    clock.advance(LEASE)
    release = TurnRelease(lease=lease_of("a"))

    turns, _ = await pair.overlap(look("new"), leases("a"), second=release)

    assert [turn.state.instance for turn in turns] == ["b"]


async def test_an_activity_that_is_completed_meanwhile_parks_nothing(pair):
    added = NewActivity(id="x", name="work", data=b"")
    for request in (new("a"), look(OLD), commit("first", add=(added,)), look_for_work(OLD)):
        await pair.ask(request)
    lease = ActivityLease(instance="a", activity="x", token=OLD)
    release = ActivityRelease(lease=lease, parked=ParkedMark(reason="parked", details="work"))
    completion = ActivityCompletion(lease=lease, message=replace(event("result"), execution=1))

    await pair.overlap(release, takes_effect, second=completion)


class Interleaved:
    """Every request, and every answer, lets others pass a random number of times."""

    def __init__(self, calls, seed):
        self._calls, self._random = calls, random.Random(seed)

    async def call(self, operation, parameters):
        await self._let_pass()
        try:
            return await self._calls.call(operation, parameters)
        finally:
            await self._let_pass()

    async def _let_pass(self):
        for _ in range(self._random.randrange(6)):
            await asyncio.sleep(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_calls_that_overlap_at_any_request_do_what_the_model_does(seed):
    calls = Interleaved(ModelCalls(), seed)

    await compare_with_model(ModelBackend(calls, shards=4), seed=seed)
