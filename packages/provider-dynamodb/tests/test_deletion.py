"""Deletion on items: what is gone is gone at once, and what is left is removed in time."""

import asyncio
import os
from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    StoreMetrics,
    StoreQueueDepths,
    TurnRequest,
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
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
)
from perdure_dynamodb.testing.faults import Fault, FaultyCalls, Stall
from perdure_dynamodb.testing.tampering import failing

LARGE = os.urandom(20_000)
END = ExecutionEnd(status=InstanceStatus.COMPLETED, output=LARGE)
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=LARGE)
ALPHA = "test#I#alpha"
SETTINGS = "test#!config"


def another(incarnation="alpha@2", **fields):
    new = new_instance(incarnation=incarnation)
    return type(new)(**{**{name: getattr(new, name) for name in new.__slots__}, **fields})


async def lease(provider, instance="alpha"):
    turns = await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=100, lease_for=LEASE, serves=SERVES)
    )
    return [turn for turn in turns if turn.state.instance == instance]


async def settle():
    for _ in range(300):
        await asyncio.sleep(0)


async def create_and_end(provider, *, name="alpha", executions=1):
    """An instance that leaves a bit of everything."""
    await provider.send([event("early", name, data=LARGE)])
    await provider.create_instance(new_instance(name))
    for execution in range(1, executions):
        [turn] = await lease(provider, name)
        await provider.commit_turn(
            commit_of(
                turn,
                id=f"{name} {execution}",
                events=(LARGE, b"1"),
                remove=("start", f"start-{execution}"),
                front=(restart(execution + 1, name),),
                end=AGAIN,
            )
        )
    [turn] = await lease(provider, name)
    works = (NewActivity(id="w", name="work", data=LARGE),)
    await provider.commit_turn(
        commit_of(turn, id="first", events=(LARGE,), remove=(), add=works, keep_for=LEASE)
    )
    await provider.send([event("left", name, data=LARGE)])
    await provider.commit_turn(
        commit_of(turn, id="last", expected_event=1, remove=(), events=(b"2",), end=END)
    )


def left_in(model):
    return sorted(key for key in model.items if key[0] != SETTINGS)


async def test_a_deletion_leaves_nothing_in_the_table(open_on_model, model):
    async with open_on_model() as provider:
        await create_and_end(provider, executions=3)

        assert not await provider.delete_instance("alpha", incarnation="another")
        assert await provider.delete_instance("alpha", incarnation="alpha@1")
        assert not await provider.delete_instance("alpha", incarnation="alpha@1")
        await settle()

        assert left_in(model) == []
        admin = provider.as_management_capability()
        assert await provider.read_instance("alpha") is None
        assert await admin.list_executions("alpha") == ()
        assert await admin.count_instances() == StoreMetrics()
        assert await admin.count_queues() == StoreQueueDepths()
        with pytest.raises(InstanceNotFound):
            await provider.read_history("alpha", 1, incarnation="alpha@1")


async def test_a_running_instance_is_not_deleted(open_on_model, model):
    async with open_on_model() as provider:
        await provider.create_instance(new_instance())
        before = dict(model.items)

        with pytest.raises(InstanceRunning):
            await provider.delete_instance("alpha", incarnation="alpha@1")

        assert model.items == before


@pytest.mark.parametrize("call", ["delete", "replace", "prune"])
async def test_a_call_that_fails_at_any_request_is_whole_or_nothing_and_the_rest_is_removed_later(
    call, open_on_model, model, clock
):
    async def ask(provider):
        match call:
            case "delete":
                return await provider.delete_instance("alpha", incarnation="alpha@1")
            case "replace":
                return await provider.create_instance(another(replaces="alpha@1"))
            case _:
                return await provider.prune_executions("alpha", incarnation="alpha@1", before=3)

    step, reached = 0, True
    while reached:
        step += 1
        for key in list(model.items):
            model.replace(key, None)
        async with open_on_model() as failed, open_on_model() as other:
            await create_and_end(other, executions=3)
            await settle()
            with failing(failed.table, step) as calls:
                try:
                    await ask(failed)
                except StorageUnavailable:
                    state = await other.read_instance("alpha")
                    if state is not None and state.incarnation == "alpha@1":
                        assert state.output == LARGE
                        executions = await other.as_management_capability().list_executions("alpha")
                        first = executions[0].execution
                        for execution in range(first, 4):
                            page = await other.read_history(
                                "alpha", execution, incarnation="alpha@1"
                            )
                            assert page.events[0].data == LARGE
                reached = calls.reached
            await ask(other)
            clock.advance(timedelta(minutes=20))
            # What the first call has left is removed by a later deletion.
            await other.delete_instance("none", incarnation="none")
            await settle()
            left = left_in(model)
            if call == "prune":
                assert [sort[:2] for _, sort in left] == ["A", "B", "H#", "H#", "X#", "X#"]
                with pytest.raises(ExecutionNotFound):
                    await other.read_history("alpha", 2, incarnation="alpha@1")
            else:
                wanted = [] if call == "delete" else ["A", "B", "M#start"]
                assert left == [(ALPHA, sort) for sort in wanted]
    assert step > 6


async def test_a_new_incarnation_gets_nothing_of_the_old_one_while_that_is_being_removed(
    open_on_model, model, clock
):
    """The deleting process dies right after its transaction; the rest is removed much later."""

    def fate(operation, parameters):
        nonlocal dead
        if dead:
            return Fault.LOST_REQUEST
        if operation == "TransactWriteItems" and "T#" in str(parameters):
            dead = True
            return Fault.LOST_ANSWER
        return None

    dead = False
    async with open_on_model(FaultyCalls(model, fate)) as dying, open_on_model() as provider:
        await create_and_end(provider)
        with pytest.raises(StorageUnavailable):
            await dying.delete_instance("alpha", incarnation="alpha@1")
        await provider.send([event("later")])
        await provider.create_instance(another())
        [turn] = await lease(provider)
        assert turn.state.incarnation == "alpha@2"
        assert [each.id for each in turn.messages] == ["start", "later"]
        work = NewActivity(id="w", name="work", data=LARGE)
        await provider.commit_turn(
            commit_of(turn, events=(b"new", LARGE), remove=("start",), add=(work,), keep_for=LEASE)
        )

        clock.advance(timedelta(minutes=20))
        await provider.delete_instance("none", incarnation="none")
        await settle()

        page = await provider.read_history("alpha", 1, incarnation="alpha@2")
        assert [each.data for each in page.events] == [b"new", LARGE]
        [work] = await provider.lease_activities(
            ActivityRequest(token=uuid4().hex, limit=5, lease_for=LEASE, names=WORK)
        )
        assert work.data == LARGE
        [turn] = await lease(provider)
        assert [each.id for each in turn.messages] == ["later"]
        kinds = sorted(sort[:2] for _, sort in left_in(model))
        assert kinds == ["A", "B", "H#", "M#", "P#", "W#", "X#"]


async def test_a_message_that_is_put_after_the_deletion_belongs_to_nothing(open_on_model, model):
    stall, reached = Stall(), asyncio.Event()

    def fate(operation, parameters):
        if operation == "PutItem" and "M#late" in str(parameters) and not reached.is_set():
            reached.set()
            return stall
        return None

    async with open_on_model(FaultyCalls(model, fate)) as sender, open_on_model() as provider:
        await provider.create_instance(new_instance())
        sending = asyncio.create_task(sender.send([event("late")]))
        await reached.wait()
        [turn] = await lease(provider)
        await provider.commit_turn(commit_of(turn, end=END))
        await provider.delete_instance("alpha", incarnation="alpha@1")
        stall.set()
        await sending
        await settle()
        assert left_in(model) == []

        await provider.create_instance(another())
        [turn] = await lease(provider)
        assert [each.id for each in turn.messages] == ["start"]


async def test_of_replacements_at_once_one_succeeds(open_on_model):
    async with open_on_model() as provider, open_on_model() as other:
        await create_and_end(provider)
        names = [f"alpha@{number}" for number in range(2, 8)]
        outcomes = await asyncio.gather(
            *(
                each.create_instance(another(name, replaces="alpha@1"))
                for name, each in zip(names, [provider, other] * 3, strict=True)
            ),
            return_exceptions=True,
        )

        assert sum(outcome is None for outcome in outcomes) == 1
        assert all(isinstance(each, InstanceAlreadyExists) for each in outcomes if each)
        state = await provider.read_instance("alpha")
        assert outcomes[names.index(state.incarnation)] is None
        await provider.create_instance(another(state.incarnation, replaces="alpha@1"))
        with pytest.raises(InstanceAlreadyExists):
            await provider.create_instance(another("late", replaces=state.incarnation))


async def test_two_hundred_instances_leave_nothing(open_on_model, model):
    async with open_on_model() as provider:
        for number in range(200):
            await create_and_end(provider, name=f"i{number}")
            await provider.delete_instance(f"i{number}", incarnation=f"i{number}@1")
        await settle()

        assert left_in(model) == []


async def test_pruned_executions_are_not_counted_and_the_current_one_stays(open_on_model, model):
    async with open_on_model() as provider:
        admin = provider.as_management_capability()
        await provider.create_instance(new_instance())
        for execution in (1, 2, 3):
            [turn] = await lease(provider)
            await provider.commit_turn(
                commit_of(
                    turn,
                    id=f"c{execution}",
                    events=(b"1", b"2"),
                    front=(restart(execution + 1),),
                    end=AGAIN,
                )
            )
        [turn] = await lease(provider)

        async def prune(before):
            return await provider.prune_executions("alpha", incarnation="alpha@1", before=before)

        assert await prune(3) == 2
        assert await prune(3) == 0
        assert [each.execution for each in await admin.list_executions("alpha")] == [3, 4]
        metrics = await admin.count_instances()
        assert (metrics.total_executions, metrics.total_events) == (2, 2)
        # The holder of the lease goes on.
        await provider.commit_turn(commit_of(turn, id="c4", events=(b"1",), keep_for=LEASE))
        assert await prune(100) == 1
        assert (await admin.list_instances(limit=5, status=AGAIN.status)).ids == ()
        await provider.commit_turn(
            commit_of(turn, id="c5", remove=(), expected_event=1, events=(b"2",), end=END)
        )
        metrics = await admin.count_instances()
        assert (metrics.total_executions, metrics.total_events) == (1, 2)
        with pytest.raises(InstanceNotFound):
            await provider.prune_executions("alpha", incarnation="other", before=5)


async def test_early_events_are_deleted_by_id_and_by_age(open_on_model, model, clock):
    async with open_on_model() as provider:
        await provider.create_instance(new_instance())
        await provider.send([event("mine")])
        for number in range(6):
            await provider.send([event(f"e{number}", "later", data=LARGE)])
            clock.advance(timedelta(seconds=1))
        due = clock.now() + 10**9
        await provider.send([event("due", "elsewhere", visible_at=due)])
        old = clock.now() - 3_500_000

        assert await provider.delete_early_events("later", arrived_before=old, limit=2) == 2
        assert await provider.delete_early_events("later", arrived_before=old, limit=5) == 1
        assert await provider.delete_early_events("alpha", limit=5) == 0
        await provider.create_instance(new_instance("later"))
        [turn] = await lease(provider, "later")
        assert [each.id for each in turn.messages] == ["start", "e3", "e4", "e5"]
        assert await provider.delete_early_events(None, limit=5) == 1
        assert not [key for key in left_in(model) if "elsewhere" in key[0]]


async def test_a_namespace_is_deleted_apart_from_others_and_can_be_used_at_once(
    open_on_model, model
):
    async with open_on_model() as provider, open_on_model(namespace="other") as other:
        await create_and_end(other)
        await create_and_end(provider, name="ended", executions=3)
        await provider.create_instance(new_instance())
        [turn] = await lease(provider)
        works = tuple(NewActivity(id=f"w{n}", name="work", data=LARGE) for n in range(200))
        await provider.commit_turn(commit_of(turn, add=works, keep_for=LEASE))
        await provider.send([event("early", "none", data=LARGE)])
        kept = {key: item for key, item in model.items.items() if key[0].startswith("other#")}

        await provider.delete_namespace()
        await provider.delete_namespace()

        assert {key: item for key, item in model.items.items() if key[0] != SETTINGS} == {
            **kept,
        }
        await provider.create_instance(new_instance())
        [turn] = await lease(provider)
        assert turn.state.last_event == 0


async def test_an_instance_of_version_0_1_0_is_deleted_whole(open_on_model, model):
    """It has no tags in its keys and no stamps on its messages."""
    async with open_on_model() as provider:
        await create_and_end(provider, executions=2)
        await settle()
        for (partition, sort), item in list(model.items.items()):
            tag = "#i"
            if partition != ALPHA or tag not in sort:
                continue
            kind, _, rest = sort[2:].partition("#")
            old = f"{sort[:2]}{rest}"
            changed = {
                name: value.replace(kind + "#", "") if name in ("datc", "oupc") else value
                for name, value in item.items()
            }
            model.replace((partition, sort), None)
            model.replace((partition, old), {**changed, "sk": old})
        lock = dict(model.items[ALPHA, "A"])
        for name in ("lif", "can"):
            lock.pop(name)
        lock["oupc"] = lock["oupc"].replace(lock["oupc"].split("#")[1] + "#", "")
        model.replace((ALPHA, "A"), lock)
        message = Message(id="old", instance="alpha", kind=MessageKind.EVENT, data=b"")
        model.replace(
            (ALPHA, "M#old"),
            {"pk": ALPHA, "sk": "M#old", "kin": message.kind.value, "ord": "2#", "dat": b""},
        )
        assert (await provider.read_instance("alpha")).output == LARGE
        page = await provider.read_history("alpha", 1, incarnation="alpha@1")
        assert [each.data for each in page.events] == [LARGE, b"1"]

        assert await provider.delete_instance("alpha", incarnation="alpha@1")
        await settle()

        assert left_in(model) == []
