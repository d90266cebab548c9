"""Plans of commits, made and looked at without a table."""

from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import (
    ExecutionEnd,
    InstanceStatus,
    ManualClock,
    Message,
    MessageKind,
    NewActivity,
    TurnCommit,
)
from perdure_dynamodb._arrivals import Arrivals
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._fence import fence_of
from perdure_dynamodb._keys import Keys, ready_time
from perdure_dynamodb._lease_memory import RememberedLease
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._planner import Planner
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._removal import Removal
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._signals import Signals
from perdure_dynamodb._table import Table

LEASE = timedelta(seconds=30)
LENGTH = 30_000_000
ENDED = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next")


class NoTable:
    async def call(self, operation, parameters):
        raise AssertionError(f"a plan asks for {operation}")


@pytest.fixture
def namespace(clock):
    table, keys = Table(NoTable(), "none"), Keys.of("test")
    shards = Shards(table, keys, clock=clock)
    return Namespace(table, keys, clock, shards, Arrivals(clock, shards), Purge(table, keys))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def planner(namespace):
    return Planner(namespace, Changes(namespace, Signals(namespace, Removal(namespace))))


@pytest.fixture
def lease(clock):
    return RememberedLease(
        turn=7,
        name="flow",
        version=None,
        engine=1,
        created=1,
        earlier_events=0,
        execution_started=1,
        lease_for=LEASE,
        place_until=clock.now() + LENGTH,
        since=1,
        signals=3,
        unread=False,
        delivered=frozenset({"one"}),
    )


def commit(**fields):
    return TurnCommit(
        **{
            "id": "commit",
            "instance": "alpha",
            "incarnation": "first",
            "token": "mine",
            "execution": 1,
            "expected_event": 4,
            "events": (b"five",),
            "remove": ("one",),
            **fields,
        }
    )


def test_a_kept_lease_reads_nothing_under_the_condition_that_no_signal_came(planner, lease):
    plan = planner.plan(commit(keep_for=LEASE), lease)

    fence = fence_of(plan, ())
    assert not plan.reads_mailbox(())
    assert "sig = :signals" in fence.condition
    assert fence.values[":signals"] == 3
    # The queue tells an end that is late enough.
    assert ":place" not in fence.values


@pytest.mark.parametrize(
    "fields",
    [
        {"remove": ()},
        {"send": (Message(id="m", instance="alpha", kind=MessageKind.EVENT, data=b""),)},
        {"front": (Message(id="m", instance="alpha", kind=MessageKind.EVENT, data=b""),)},
    ],
    ids=["not removed", "sent to itself", "put to the front"],
)
def test_a_kept_lease_reads_the_mailbox_where_it_has_something(planner, lease, fields):
    plan = planner.plan(commit(keep_for=LEASE, **fields), lease)

    assert plan.reads_mailbox(())
    assert "sig" not in fence_of(plan, ()).condition


def test_what_is_held_need_not_be_read(planner, lease):
    plan = planner.plan(commit(keep_for=LEASE, remove=(), held=frozenset({"one"})), lease)

    assert not plan.reads_mailbox(())


def test_a_timer_that_is_due_is_read(planner, lease, clock):
    lease.next_due = clock.now()

    assert planner.plan(commit(keep_for=LEASE), lease).reads_mailbox(())


def test_a_lease_that_is_let_go_leaves_its_instance_nowhere_or_ready(planner, lease, clock):
    nowhere = fence_of(planner.plan(commit(), lease), ())
    ready = fence_of(planner.plan(commit(remove=()), lease), ())

    assert "gsk" in nowhere.change.partition("REMOVE")[2]
    assert "sig = :signals" in nowhere.condition
    assert ready_time(ready.values[":place"]) == clock.now()
    assert "sig" not in ready.condition


def test_the_place_in_the_queue_moves_when_the_lease_would_outlast_it(planner, lease, clock):
    clock.advance(20 * timedelta(seconds=1))

    fence = fence_of(planner.plan(commit(keep_for=LEASE), lease), ())

    assert ready_time(fence.values[":place"].partition("/")[0]) == clock.now() + LENGTH


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        ((None, 1), {"version": "1.0.0"}, False),
        (("1.0.0", 1), {"version": "1.0.0", "engine": 2}, False),
        (("1.0.0", 1), {"version": "2.0.0"}, True),
        (("1.0.0", 1), {"unpin": True, "end": AGAIN}, True),
        (("1.0.0", 2), {"engine": 1}, True),
    ],
)
def test_a_kept_lease_moves_where_new_code_does_not_look_at_its_place(
    planner, lease, before, after, moves
):
    lease.version, lease.engine = before

    fence = fence_of(planner.plan(commit(keep_for=LEASE, **after), lease), ())

    assert (":place" in fence.values) is moves


@pytest.mark.parametrize("has_chunks", [False, True])
def test_an_end_leaves_the_queue_only_if_nothing_is_left_behind(planner, lease, has_chunks):
    lease.has_chunks = has_chunks
    plan = planner.plan(commit(end=ENDED, remove=()), replace(lease, delivered=frozenset()))

    assert plan.leaves_nothing is not has_chunks
    assert ("gsk" in fence_of(plan, ()).change) is not has_chunks


def test_an_activity_that_is_added_and_cancelled_is_in_no_plan(planner, lease):
    added = (NewActivity(id="a", name="work", data=b""), NewActivity(id="b", name="work", data=b""))

    plan = planner.plan(commit(add=added, cancel=("a",)), lease)

    assert [item["sk"] for item in plan.activities] == ["W#b"]
