"""Reopening and termination on items: what an earlier life left is never met again."""

import asyncio
import os
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityRequest,
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    MessageKind,
    NewActivity,
    TurnLease,
    TurnRequest,
)
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceNotFound,
    LeaseLost,
    StorageUnavailable,
)
from perdure_conformance.samples import (
    LEASE,
    SERVES,
    WORK,
    commit_of,
    event,
    new_instance,
    restart,
    result,
)
from perdure_dynamodb.testing.faults import FaultyCalls, Stall
from perdure_dynamodb.testing.tampering import failing

END = ExecutionEnd(status=InstanceStatus.FAILED, output=b"no")
ALPHA = "test#I#alpha"


def reopening(execution=1, name="again", **fields):
    return InstanceReopening(
        **{
            "id": name,
            "instance": "alpha",
            "incarnation": "alpha@1",
            "execution": execution,
            "start": restart(execution + 1),
            **fields,
        }
    )


def termination(name="stop", **fields):
    return InstanceTermination(
        **{
            "id": name,
            "instance": "alpha",
            "incarnation": "alpha@1",
            "events": (b"stopped",),
            "output": b"stopped",
            **fields,
        }
    )


async def lease(provider):
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=SERVES)
    )


async def leased_work(provider):
    return await provider.lease_activities(
        ActivityRequest(token=uuid4().hex, limit=10, lease_for=LEASE, names=WORK)
    )


async def settle():
    for _ in range(200):
        await asyncio.sleep(0)


async def end(provider, **fields):
    [turn] = await lease(provider)
    await provider.commit_turn(commit_of(turn, **{"events": (b"1",), "end": END, **fields}))


def ids(turn):
    return [message.id for message in turn.messages]


class HoldingUp:
    """Holds the first request that a test names until the test lets it go."""

    def __init__(self, model, part):
        self.calls = FaultyCalls(model, self.fate)
        self.stall, self.part, self.reached = Stall(), part, asyncio.Event()

    def fate(self, operation, parameters):
        if self.part(operation, parameters) and not self.reached.is_set():
            self.reached.set()
            return self.stall
        return None


def puts(key):
    return lambda operation, parameters: operation == "PutItem" and key in str(parameters)


async def test_a_message_that_is_put_after_the_instance_was_reopened_is_void(open_on_model, model):
    late = HoldingUp(model, puts("M#late"))
    async with open_on_model(late.calls) as sender, open_on_model() as provider:
        await provider.create_instance(new_instance())
        sending = asyncio.create_task(sender.send([event("late")]))
        await late.reached.wait()
        await end(provider)
        await provider.reopen_instance(reopening())
        late.stall.set()
        await sending

        [turn] = await lease(provider)
        assert ids(turn) == ["start-2"]
        await settle()
        assert (ALPHA, "M#late") not in model.items


async def test_a_late_put_does_not_replace_the_message_of_the_new_life(open_on_model, model):
    late = HoldingUp(model, puts("M#twice"))
    async with open_on_model(late.calls) as sender, open_on_model() as provider:
        await provider.create_instance(new_instance())
        sending = asyncio.create_task(sender.send([event("twice", data=b"old")]))
        await late.reached.wait()
        await end(provider)
        await provider.reopen_instance(reopening())
        await provider.send([event("twice", data=b"new")])
        late.stall.set()
        await sending

        [turn] = await lease(provider)
        assert [message.data for message in turn.messages] == [b"again", b"new"]


async def test_a_message_takes_the_place_of_one_that_an_earlier_life_left(open_on_model, model):
    late = HoldingUp(model, puts("M#twice"))
    async with open_on_model(late.calls) as sender, open_on_model() as provider:
        await provider.create_instance(new_instance())
        sending = asyncio.create_task(sender.send([event("twice", data=b"old")]))
        await late.reached.wait()
        await end(provider)
        await provider.reopen_instance(reopening())
        late.stall.set()
        await sending
        await provider.send([event("twice", data=b"new")])

        [turn] = await lease(provider)
        assert [message.data for message in turn.messages] == [b"again", b"new"]


async def test_an_event_that_came_before_the_instance_is_not_delivered_to_a_later_life(
    open_on_model,
):
    async with open_on_model() as provider:
        await provider.send([event("early")])
        await provider.create_instance(new_instance())
        await end(provider)
        await provider.reopen_instance(reopening())

        [turn] = await lease(provider)
        assert ids(turn) == ["start-2"]


async def test_a_purge_that_comes_late_leaves_the_new_life_alone(open_on_model, model):
    late = HoldingUp(
        model, lambda operation, parameters: operation == "Query" and "M#" in str(parameters)
    )
    async with open_on_model(late.calls) as ender, open_on_model() as provider:
        await provider.create_instance(new_instance())
        await provider.send([event("left")])
        late.reached.set()
        [turn] = await lease(ender)
        late.reached.clear()
        await ender.commit_turn(commit_of(turn, remove=(), events=(b"1",), end=END))
        await late.reached.wait()
        await provider.reopen_instance(reopening())
        await provider.send([event("large", data=os.urandom(20_000))])
        await settle()
        late.stall.set()
        await settle()

        [turn] = await lease(provider)
        assert ids(turn) == ["start-2", "large"]


@pytest.mark.parametrize("output", [b"no", os.urandom(20_000)], ids=["small", "large"])
async def test_the_execution_that_ended_keeps_its_output_and_its_place_among_the_failed(
    output, open_on_model
):
    async with open_on_model() as provider:
        admin = provider.as_management_capability()
        await provider.create_instance(new_instance())
        await end(provider, end=ExecutionEnd(status=InstanceStatus.FAILED, output=output))
        await provider.reopen_instance(reopening())

        state = await provider.read_instance("alpha")
        assert (state.status, state.execution, state.last_event) == (InstanceStatus.RUNNING, 2, 0)
        assert state.output is None
        first, second = await admin.list_executions("alpha")
        assert (first.status, first.output, first.event_count) == (
            InstanceStatus.FAILED,
            output,
            1,
        )
        assert second.status is InstanceStatus.RUNNING
        metrics = await admin.count_instances()
        assert (metrics.running_instances, metrics.total_executions, metrics.total_events) == (
            1,
            2,
            1,
        )
        listed = [await admin.list_instances(limit=5, status=each) for each in InstanceStatus]
        assert [page.ids for page in listed] == [("alpha",), (), (), ()]


async def test_a_running_instance_is_listed_as_continued_when_it_is_reopened(open_on_model):
    async with open_on_model() as provider:
        await provider.create_instance(new_instance())
        [turn] = await lease(provider)
        work = NewActivity(id="a", name="work", data=b"")
        await provider.commit_turn(commit_of(turn, events=(b"1",), add=(work,), keep_for=LEASE))
        [doing] = await leased_work(provider)
        await provider.send([event("kept"), result("void")])
        await provider.reopen_instance(reopening())
        await provider.reopen_instance(reopening())

        with pytest.raises(LeaseLost):
            await provider.commit_turn(commit_of(turn, id="late", expected_event=1))
        with pytest.raises(ActivityLeaseLost):
            await provider.complete_activity(
                ActivityCompletion(lease=doing.lease, message=result("r"))
            )
        gone = await provider.renew_turns(
            [TurnLease(instance="alpha", token=turn.token)], lease_for=LEASE
        )
        assert len(gone) == 1
        assert await provider.renew_activities([doing.lease], lease_for=LEASE) == {doing.lease}
        [turn] = await lease(provider)
        assert ids(turn) == ["start-2", "kept"]
        with pytest.raises(HistoryConflict):
            await provider.reopen_instance(reopening(name="other"))
        with pytest.raises(InstanceNotFound):
            await provider.reopen_instance(
                reopening(
                    incarnation="other",
                    start=result("s", kind=MessageKind.START, incarnation="other", execution=2),
                )
            )
        admin = provider.as_management_capability()
        continued = await admin.list_instances(limit=5, status=InstanceStatus.CONTINUED_AS_NEW)
        assert continued.ids == ("alpha",)


@pytest.mark.parametrize("count", [1, 120], ids=["in one transaction", "staged"])
async def test_a_termination_ends_what_runs_and_tells_the_others(count, open_on_model):
    async with open_on_model() as provider:
        await provider.create_instance(new_instance())
        await provider.create_instance(new_instance("parent"))
        turns = await lease(provider)
        [turn] = [each for each in turns if each.state.instance == "alpha"]
        told = tuple(result(f"child-{n}", "parent", kind=MessageKind.CHILD) for n in range(count))
        stop = termination(send=told)

        assert await provider.terminate_instance(stop)
        assert await provider.terminate_instance(stop)
        assert not await provider.terminate_instance(termination("other"))

        state = await provider.read_instance("alpha")
        assert (state.status, state.output, state.last_commit) == (
            InstanceStatus.FAILED,
            b"stopped",
            "stop",
        )
        with pytest.raises(LeaseLost):
            await provider.commit_turn(commit_of(turn, id="late"))
        page = await provider.read_history("alpha", 1, incarnation="alpha@1")
        assert [each.data for each in page.events] == [b"stopped"]
        depths = await provider.as_management_capability().count_queues()
        assert depths.orchestrator_queue == 0
        with pytest.raises(InstanceNotFound):
            await provider.terminate_instance(termination(incarnation="other"))


LARGE = os.urandom(20_000)


async def ask(call, provider):
    if call == "terminate":
        await provider.terminate_instance(termination(events=(LARGE,)))
    else:
        await provider.reopen_instance(reopening())


@pytest.mark.parametrize("call", ["reopen running", "reopen ended", "terminate"])
async def test_a_call_that_fails_at_any_request_is_whole_or_nothing(call, open_on_model, model):
    step, reached = 0, True
    while reached:
        step += 1
        namespace = f"at-{step}"
        async with (
            open_on_model(namespace=namespace) as failed,
            open_on_model(namespace=namespace) as other,
        ):
            await other.send([event("early")])
            await other.create_instance(new_instance())
            if call == "reopen ended":
                await end(other)
            before = await other.read_instance("alpha")
            with failing(failed.table, step) as calls:
                try:
                    await ask(call, failed)
                except StorageUnavailable:
                    state = await other.read_instance("alpha")
                    assert state == before or state.last_commit in ("again", "stop")
                reached = calls.reached
            await ask(call, other)
            state = await other.read_instance("alpha")
            if call == "terminate":
                assert (state.status, state.last_event) == (InstanceStatus.FAILED, 1)
            else:
                assert (state.execution, state.status) == (2, InstanceStatus.RUNNING)
                [turn] = await lease(other)
                wanted = {"start-2"} | ({"early"} if call == "reopen running" else set())
                assert set(ids(turn)) - {"start"} == wanted
    assert step > 6
