"""Leasing: only what is ready is looked at, whatever else the file holds."""

import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import (
    ActivityRelease,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    Serves,
    TurnLease,
    TurnRelease,
)
from perdure.errors import InvalidDuration
from perdure_sqlite._schema.tables import metadata
from perdure_sqlite._sql import activities, instances, mailboxes, management
from sqlalchemy import create_engine

LEASE = timedelta(seconds=30)
LARGE_SCANS = {"COUNT_INSTANCES", "COUNT_MESSAGES", "COUNT_ACTIVITIES"}
"""These count whole tables, in a thread of their own."""


def statements() -> dict[str, str]:
    return {
        name: value
        for module in (instances, mailboxes, activities, management)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and " " in value
    }


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "x.db"
    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
    raw = sqlite3.connect(path)
    yield raw
    raw.close()


@pytest.mark.parametrize("name", sorted(statements().keys() - LARGE_SCANS))
def test_no_statement_of_a_call_looks_at_a_whole_table(empty_file, name):
    statement = statements()[name]
    given = (None,) * statement.count("?")

    plan = [row[3] for row in empty_file.execute(f"EXPLAIN QUERY PLAN {statement}", given)]

    assert not [step for step in plan if step.startswith("SCAN")], plan


@pytest.mark.parametrize("name", ["TURNS_IN_BUCKET", "ACTIVITIES_IN_BUCKET", "FIRST_MESSAGE"])
def test_what_is_read_in_order_is_stored_in_order(empty_file, name):
    statement = statements()[name]
    given = (None,) * statement.count("?")

    plan = [row[3] for row in empty_file.execute(f"EXPLAIN QUERY PLAN {statement}", given)]

    assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_a_delivery_begins_at_the_head_and_ends_at_the_horizon(empty_file):
    given = (None,) * mailboxes.VISIBLE_MESSAGES.count("?")
    plan = empty_file.execute(f"EXPLAIN QUERY PLAN {mailboxes.VISIBLE_MESSAGES}", given)

    (step,) = [row[3] for row in plan]

    assert "instance=? AND (place,due)<(?,?)" in step


def timer(instance: str, due: int, name: str = "timer") -> Message:
    return Message(id=name, instance=instance, kind=MessageKind.TIMER, data=b"", visible_at=due)


@pytest.mark.slow
async def test_thousands_of_sleeping_instances_cost_a_lease_call_nothing(desk, make):
    provider = await desk.open(durability="normal")
    later = desk.clock.now() + 3_600_000_000
    for n in range(1500):
        await provider.create_instance(make.new(f"sleeper-{n}"))
    while turns := await provider.lease_turns(make.request(limit=500)):
        for turn in turns:
            sleep = (timer(turn.state.instance, later),)
            await provider.commit_turn(make.commit(turn, remove=("start",), send=sleep))
    await provider.create_instance(make.new("awake"))
    steps = count_steps(provider)

    turns = await provider.lease_turns(make.request())

    assert [turn.state.instance for turn in turns] == ["awake"]
    # A step is 100 instructions of SQLite's machine: a look at each sleeper would be ten times it.
    assert len(steps) < 100


def count_steps(provider) -> list[None]:
    steps: list[None] = []
    for connection in (provider.opened.database.writer, provider.opened.database.reader):
        connection.set_progress_handler(lambda: steps.append(None), 100)
    return steps


async def test_a_mailbox_full_of_timers_is_not_read_through(desk, make):
    provider = await desk.open(durability="normal")
    turn = await desk.leased(provider, "a")
    later = desk.clock.now() + 3_600_000_000
    timers = tuple(timer("a", later + n, f"timer-{n}") for n in range(2000))
    await provider.commit_turn(make.commit(turn, remove=("start",), send=timers))
    await provider.send([make.event("a")])
    (turn,) = await provider.lease_turns(make.request())
    steps = count_steps(provider)

    answer = await provider.commit_turn(make.commit(turn, keep_for=LEASE))

    assert [message.kind for message in answer.messages] == [MessageKind.EVENT]
    assert len(steps) < 20


async def test_unregistered_instances_do_not_stand_in_the_way(desk, make):
    provider = await desk.open(durability="normal")
    for n in range(300):
        await provider.create_instance(make.new(f"other-{n}", name="unknown"))
        await provider.create_instance(make.new(f"pinned-{n}", version="9.9.9"))
    await provider.create_instance(make.new("mine"))

    turns = await provider.lease_turns(make.request(limit=1))

    assert [turn.state.instance for turn in turns] == ["mine"]


async def test_unregistered_instances_that_were_just_looked_at_do_not_hide_older_ones(desk, make):
    provider = await desk.open(durability="normal")
    for n in range(20):
        await provider.create_instance(make.new(f"i{n:02}", name="unknown"))
    nothing = Serves(orchestrations={})
    patience = timedelta(seconds=10)
    desk.clock.advance(timedelta(seconds=11))
    seen: list[str] = []

    for _ in range(4):
        turns = await provider.lease_turns(
            make.request(serves=nothing, unregistered_for=patience, limit=5)
        )
        for turn in turns:
            seen.append(turn.state.instance)
            lease = TurnLease(instance=turn.state.instance, token=turn.token)
            await provider.release_turn(TurnRelease(lease=lease, counted=False))

    assert sorted(seen) == [f"i{n:02}" for n in range(20)]
    assert not await provider.lease_turns(make.request(serves=nothing, unregistered_for=patience))


async def test_an_instance_in_a_bucket_too_early_is_moved_back_when_the_clock_stepped_back(
    desk, make
):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    due = desk.clock.now() + 10_000_000
    await provider.commit_turn(make.commit(turn, remove=("start",), send=(timer("a", due),)))
    desk.clock.advance(timedelta(seconds=11))
    (turn,) = await provider.lease_turns(make.request())
    lease = TurnLease(instance="a", token=turn.token)
    await provider.release_turn(TurnRelease(lease=lease))
    desk.clock.step_back(timedelta(seconds=6))

    early = await provider.lease_turns(make.request())
    desk.clock.advance(timedelta(seconds=6))
    late = await provider.lease_turns(make.request())

    assert (len(early), len(late)) == (0, 1)


async def test_activities_of_one_commit_come_in_the_order_given(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    names = [f"{n}" for n in (3, 20, 1, 100, 2)]
    added = tuple(NewActivity(id=name, name="work", data=b"") for name in names)

    await provider.commit_turn(make.commit(turn, add=added))

    assert [activity.id for activity in await desk.activities(provider)] == names


async def test_a_released_activity_goes_to_the_end_of_the_queue(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    added = tuple(NewActivity(id=f"{n}", name="work", data=b"") for n in range(3))
    await provider.commit_turn(make.commit(turn, add=added))
    (first,) = await desk.activities(provider, limit=1)
    desk.clock.advance(timedelta(seconds=1))

    await provider.release_activity(ActivityRelease(lease=first.lease, counted=False))

    assert [activity.id for activity in await desk.activities(provider)] == ["1", "2", "0"]


async def test_a_repeated_commit_gives_its_answer_again_after_a_renewal_elsewhere(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    await provider.create_instance(make.new("child", incarnation="other"))
    commit = make.commit(
        turn,
        events=(b"1",),
        remove=("start",),
        add=(NewActivity(id="1", name="work", data=b"", lease=True),),
        create=(NewChild(instance=make.new("child"), if_exists=make.event("a", id="in-use")),),
        keep_for=LEASE,
    )

    first = await provider.commit_turn(commit)
    second = await provider.commit_turn(commit)

    assert first == second
    assert first.in_use == {"child"}
    assert [message.id for message in first.messages] == ["in-use"]


async def test_what_continues_as_new_may_send_to_its_next_execution(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    again = replace(make.new("a").start, execution=2)
    to_next = Message(
        id="n", instance="a", kind=MessageKind.TIMER, data=b"", incarnation="one", execution=2
    )
    to_old = Message(
        id="o", instance="a", kind=MessageKind.TIMER, data=b"", incarnation="one", execution=1
    )

    answer = await provider.commit_turn(
        make.commit(
            turn,
            remove=("start",),
            end=ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW),
            send=(to_old, to_next),
            front=(again,),
            keep_for=LEASE,
        )
    )

    assert [message.id for message in answer.messages] == ["start", "n"]


@pytest.mark.parametrize("seconds", [0, -1, 301])
async def test_leases_that_are_too_short_or_too_long_are_refused(desk, make, seconds):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    lease_for = timedelta(seconds=seconds)

    for call in (
        provider.lease_turns(make.request(lease_for=lease_for)),
        desk.activities(provider, lease_for=lease_for),
        provider.renew_turns([], lease_for=lease_for),
        provider.renew_activities([], lease_for=lease_for),
        provider.commit_turn(make.commit(turn, keep_for=lease_for)),
        provider.commit_turn(make.commit(turn, activity_lease_for=lease_for)),
    ):
        with pytest.raises(InvalidDuration, match="0:05:00"):
            await call


@pytest.mark.parametrize("seconds", [-1, 301])
async def test_delays_that_are_negative_or_too_long_are_refused(desk, make, seconds):
    provider = await desk.open()
    delay = timedelta(seconds=seconds)
    turn = TurnLease(instance="a", token=make.unique("token"))

    with pytest.raises(InvalidDuration):
        await provider.release_turn(TurnRelease(lease=turn, delay=delay))
    with pytest.raises(InvalidDuration):
        await provider.release_activity(
            ActivityRelease(lease=make.activity_lease("a", "1"), delay=delay)
        )


@pytest.mark.slow
async def test_payloads_of_sixteen_mebibytes_are_kept(desk, make):
    provider = await desk.open(durability="normal")
    data = bytes(range(256)) * 65536
    await provider.send([make.event("a", data=data)])

    turn = await desk.leased(provider, "a")

    # The start fills no delivery, but with the event it would be too large for one.
    assert (len(turn.messages), turn.more) == (1, True)
    await provider.commit_turn(make.commit(turn, events=(data,), remove=("start",)))
    page = await provider.read_history("a", 1, incarnation="one")
    assert page.events[0].data == data
    (turn,) = await provider.lease_turns(make.request())
    assert [message.data for message in turn.messages] == [data]


async def test_namespaces_of_one_file_are_strangers(desk, make):
    blue = await desk.open(namespace="blue")
    green = await desk.open(namespace="green")
    await blue.send([make.event("a", id="early")])
    turn = await desk.leased(blue, "a")
    await blue.commit_turn(
        make.commit(turn, add=(NewActivity(id="1", name="work", data=b""),), keep_for=LEASE)
    )

    assert await green.read_instance("a") is None
    await green.create_instance(make.new("a", incarnation="two"))
    (other,) = await green.lease_turns(make.request(token=turn.token))
    assert [message.id for message in other.messages] == ["start"]
    assert await desk.activities(green) == []
    assert (await green.as_management_capability().count_instances()).total_instances == 1
    assert (await green.as_management_capability().count_queues()).worker_queue == 0
    # The same token in both: a repeat of a lease call finds only its own.
    again = await blue.lease_turns(make.request(token=turn.token))
    assert [found.state.incarnation for found in again] == ["one"]
