"""Reopening and terminating instances: what becomes of rows that the contract's clauses do not see."""

import sqlite3
from typing import Any

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    Message,
    MessageKind,
    NewActivity,
    TurnLease,
)
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceNotFound,
    InvalidInput,
    LeaseLost,
    StorageFailed,
)
from perdure_sqlite._schema.tables import TABLES
from perdure_sqlite._testing.failing_statements import failing_statement

ENDED = ExecutionEnd(status=InstanceStatus.FAILED, output=b"broken")
WORK = NewActivity(id="work", name="work", data=b"", lease=True)


def reopening(execution: int = 1, **fields: Any) -> InstanceReopening:
    given: dict[str, Any] = {"id": f"again-{execution}", "instance": "a", "incarnation": "one"}
    given |= fields
    start = Message(
        id="start-again",
        instance=given["instance"],
        kind=MessageKind.START,
        data=b"again",
        incarnation=given["incarnation"],
        execution=execution + 1,
    )
    return InstanceReopening(execution=execution, **{"start": start, **given})


def termination(**fields: Any) -> InstanceTermination:
    given = {"id": "stop", "instance": "a", "incarnation": "one", "events": (b"end",)}
    return InstanceTermination(**{"output": b"stopped", **given, **fields})


async def failed(desk, make, provider, instance="a"):
    turn = await desk.leased(provider, instance)
    await provider.commit_turn(make.commit(turn, events=(b"1", b"2"), end=ENDED))


async def test_an_ended_instance_runs_again_from_its_new_start(desk, make):
    provider = await desk.open()
    await failed(desk, make, provider)

    await provider.reopen_instance(reopening())
    (turn,) = await provider.lease_turns(make.request())

    assert (turn.state.execution, turn.state.last_event, turn.attempt) == (2, 0, 1)
    assert (turn.state.status, turn.state.output) == (InstanceStatus.RUNNING, None)
    assert turn.state.last_commit == "again-1"
    assert [message.id for message in turn.messages] == ["start-again"]


async def test_what_the_earlier_executions_were_stays_readable_and_counted(desk, make):
    provider = await desk.open()
    admin = provider.as_management_capability()
    await failed(desk, make, provider)

    await provider.reopen_instance(reopening())

    first, second = await admin.list_executions("a")
    assert (first.status, first.output, first.event_count) == (ENDED.status, b"broken", 2)
    assert (second.status, second.event_count) == (InstanceStatus.RUNNING, 0)
    assert [event.data for event in (await admin.read_events("a", 1)).events] == [b"1", b"2"]
    counts = await admin.count_instances()
    assert (counts.total_executions, counts.total_events, counts.running_instances) == (2, 2, 1)


async def test_only_an_instance_that_was_running_is_listed_as_continued(desk, make):
    provider = await desk.open()
    admin = provider.as_management_capability()
    await failed(desk, make, provider)
    await provider.create_instance(make.new("b"))

    await provider.reopen_instance(reopening())
    await provider.reopen_instance(reopening(instance="b"))

    page = await admin.list_instances(status=InstanceStatus.CONTINUED_AS_NEW, limit=10)
    assert page.ids == ("b",)


async def test_a_running_instance_loses_its_lease_and_its_activities_and_keeps_its_events(
    desk, make
):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, remove=("start",), add=(WORK,)))
    await provider.send([make.event("a", id="first"), make.event("a", id="second")])
    (held,) = await provider.lease_turns(make.request())

    await provider.reopen_instance(reopening())

    lease = TurnLease(instance="a", token=held.token)
    assert await provider.renew_turns([lease], lease_for=make.request().lease_for) == {lease}
    with pytest.raises(LeaseLost):
        await provider.commit_turn(make.commit(held))
    with pytest.raises(ActivityLeaseLost):
        await provider.commit_turn(
            make.commit(
                (await provider.lease_turns(make.request()))[0],
                finish=(make.activity_lease("a", "work"),),
            )
        )
    assert await desk.activities(provider) == []
    work = desk.raw().execute("SELECT id FROM perdure_messages ORDER BY place, due, arrival")
    assert work.fetchall() == [("start-again",), ("first",), ("second",)]


async def test_an_instance_that_never_ran_has_one_start_afterwards(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    desk.raw().execute("UPDATE perdure_messages SET execution = NULL")

    await provider.reopen_instance(reopening())
    (turn,) = await provider.lease_turns(make.request())

    assert [message.id for message in turn.messages] == ["start-again"]


async def test_a_repeat_has_no_effect_until_the_next_commit(desk, make):
    provider = await desk.open()
    await failed(desk, make, provider)

    await provider.reopen_instance(reopening())
    await provider.reopen_instance(reopening())
    (turn,) = await provider.lease_turns(make.request())
    await provider.reopen_instance(reopening())
    await provider.commit_turn(make.commit(turn, events=(b"1",)))

    with pytest.raises(HistoryConflict):
        await provider.reopen_instance(reopening())
    assert (await provider.read_instance("a")).execution == 2


async def test_reopening_asks_for_the_right_instance_execution_and_start(desk, make):
    provider = await desk.open()
    await failed(desk, make, provider)

    with pytest.raises(InstanceNotFound):
        await provider.reopen_instance(reopening(incarnation="two"))
    with pytest.raises(InstanceNotFound):
        await provider.reopen_instance(reopening(instance="b"))
    with pytest.raises(HistoryConflict):
        await provider.reopen_instance(reopening(execution=2))
    with pytest.raises(InvalidInput):
        await provider.reopen_instance(reopening(start=reopening(execution=2).start))


@pytest.mark.parametrize(
    ("pin", "after"), [({}, "1.0.0"), ({"version": "2.0.0"}, "2.0.0"), ({"unpin": True}, None)]
)
async def test_the_pin_is_set_removed_or_kept_and_the_instance_is_in_that_queue(
    desk, make, pin, after
):
    provider = await desk.open()
    await provider.create_instance(make.new("a", version="1.0.0"))

    await provider.reopen_instance(reopening(**pin))

    assert (await provider.read_instance("a")).version == after
    queues = desk.raw().execute(
        "SELECT q.version FROM perdure_turn_queues q, perdure_instances i WHERE q.number = i.bucket / 4"
    )
    assert queues.fetchall() == [(after,)]


async def test_a_delay_and_a_parked_mark_end_with_a_reopening(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    raw = desk.raw()
    raw.execute(
        "UPDATE perdure_instances SET held_until = 1 << 60, attempt = 7, parked_reason = 'r',"
        " parked_details = 'd', parked_since = 1"
    )

    await provider.reopen_instance(reopening())
    (turn,) = await provider.lease_turns(make.request())

    assert (turn.attempt, turn.state.parked) == (1, None)


async def test_a_termination_ends_a_leased_instance_and_tells_others(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("parent"))
    turn = await desk.leased(provider, "a")
    turn_of_a = turn
    await provider.commit_turn(make.commit(turn, events=(b"1",), keep_for=make.request().lease_for))

    stopped = await provider.terminate_instance(
        termination(send=(make.event("parent", id="told"),))
    )

    state = await provider.read_instance("a")
    assert stopped
    assert (state.status, state.output, state.last_commit) == (ENDED.status, b"stopped", "stop")
    page = await provider.read_history("a", 1, incarnation="one")
    assert [event.data for event in page.events] == [b"1", b"end"]
    with pytest.raises(LeaseLost):
        await provider.commit_turn(make.commit(turn_of_a, expected_event=1))
    found = desk.raw().execute("SELECT id FROM perdure_messages WHERE kind = 'event'").fetchall()
    assert found == [("told",)]


async def test_a_termination_is_repeated_without_effect_and_changes_no_other_end(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))
    await failed(desk, make, provider, "b")

    assert await provider.terminate_instance(termination())
    assert await provider.terminate_instance(termination())
    assert not await provider.terminate_instance(termination(instance="b"))
    with pytest.raises(InstanceNotFound):
        await provider.terminate_instance(termination(incarnation="two"))
    assert (await provider.read_instance("b")).output == b"broken"
    assert (await provider.read_instance("a")).last_event == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda provider: provider.reopen_instance(reopening()),
        lambda provider: provider.terminate_instance(termination(send=(start_of_b(),))),
    ],
    ids=["reopen", "terminate"],
)
async def test_a_call_that_fails_at_any_statement_has_no_effect(desk, make, call):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.commit_turn(make.commit(turn, events=(b"1",), add=(WORK,)))
    await provider.create_instance(make.new("b"))
    raw = desk.raw()
    before = contents(raw)

    for step in range(1, 100):
        with failing_statement(provider.transaction, step) as fails:
            try:
                await call(provider)
            except StorageFailed:
                assert contents(raw) == before
        if not fails.reached:
            break

    assert step > 5
    assert contents(raw) != before


def start_of_b() -> Message:
    return Message(id="told", instance="b", kind=MessageKind.EVENT, data=b"")


def contents(raw: sqlite3.Connection) -> list[list[Any]]:
    return [raw.execute(f"SELECT * FROM {table.name}").fetchall() for table in TABLES]  # noqa: S608
