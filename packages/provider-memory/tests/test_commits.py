"""All or nothing, repeats, children, and what a commit does to activities."""

from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    CommitAnswer,
    ExecutionEnd,
    InstanceStatus,
    MessageKind,
    NewActivity,
    NewChild,
    ParkedMark,
)
from perdure.errors import (
    ActivityLeaseLost,
    ExecutionNotFound,
    HistoryConflict,
    InstanceAlreadyExists,
    InstanceNotFound,
    InvalidInput,
    LeaseLost,
)

SECOND = timedelta(seconds=1)
RUNTIME = "runtime"
CHARGE = NewActivity(id="charge 1", name="charge", data=b"10")


async def history(bench, execution=1):
    page = await bench.provider.read_history("a", execution, incarnation="first")
    return [(event.number, event.data) for event in page.events]


async def test_creating_again_is_harmless_for_the_same_incarnation_only(bench):
    await bench.create()
    await bench.commit(
        await bench.lease_one(), end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1")
    )
    before = await bench.provider.read_instance("a")
    await bench.create()

    with pytest.raises(InstanceAlreadyExists):
        await bench.create(incarnation="second")
    assert await bench.provider.read_instance("a") == before
    assert await bench.lease() == []


async def test_a_repeat_is_answered_after_the_lease_is_gone_and_changes_nothing(bench):
    await bench.create()
    await bench.create("child", incarnation="other")
    commit = bench.commit_of(
        await bench.lease_one(limit=1),
        events=(b"1",),
        create=(NewChild(instance=bench.new("child")),),
        add=(replace(CHARGE, lease=True),),
        activity_token=RUNTIME,
        activity_lease_for=10 * SECOND,
    )
    answer = await bench.provider.commit_turn(commit)
    bench.clock.advance(60 * SECOND)

    assert await bench.provider.commit_turn(commit) == answer
    assert answer.in_use == {"child"}
    assert await history(bench) == [(1, b"1")]


async def test_a_repeat_with_a_kept_lease_gives_what_is_visible_by_then(bench):
    await bench.create()
    commit = bench.commit_of(await bench.lease_one(), keep_for=30 * SECOND)
    answer = await bench.provider.commit_turn(commit)
    await bench.provider.send([bench.message("since")])
    again = await bench.provider.commit_turn(commit)
    bench.clock.advance(30 * SECOND)
    expired = await bench.provider.commit_turn(commit)
    await bench.lease_one()

    assert again.lease_until == answer.lease_until
    assert [message.id for message in again.messages] == ["since"]
    assert expired == again
    assert await bench.provider.commit_turn(commit) == CommitAnswer()


async def test_conditions_are_looked_at_in_their_order_and_a_refusal_changes_nothing(bench):
    await bench.create()
    turn = await bench.lease_one()
    wrong = bench.commit_of(
        turn,
        events=(b"1",),
        finish=(ActivityLease(instance="a", activity="none", token=RUNTIME),),
        add=(CHARGE,),
        send=(bench.message("e", "b"),),
        create=(NewChild(instance=bench.new("b")),),
    )
    wrong = replace(wrong, token=RUNTIME, expected_event=7)

    with pytest.raises(LeaseLost) as lease_lost:
        await bench.provider.commit_turn(wrong)
    assert type(lease_lost.value) is LeaseLost
    with pytest.raises(HistoryConflict):
        await bench.provider.commit_turn(replace(wrong, token=turn.token))
    with pytest.raises(ActivityLeaseLost) as activity_lost:
        await bench.provider.commit_turn(replace(wrong, token=turn.token, expected_event=0))
    assert activity_lost.value.activities == ("none",)

    assert await history(bench) == []
    assert await bench.provider.read_instance("a") == turn.state
    assert await bench.provider.read_instance("b") is None
    assert await bench.take() == []


async def test_an_activity_added_leased_is_finished_by_a_later_commit(bench):
    await bench.create()
    turn = await bench.lease_one()
    answer = await bench.commit(
        turn,
        add=(replace(CHARGE, lease=True),),
        activity_token=RUNTIME,
        activity_lease_for=10 * SECOND,
        keep_for=30 * SECOND,
    )
    assert answer.activities_until == bench.after(10)
    assert await bench.take() == []
    lease = ActivityLease(instance="a", activity=CHARGE.id, token=RUNTIME)
    await bench.commit(turn, remove=(), finish=(lease,))

    bench.clock.advance(10 * SECOND)
    assert await bench.take() == []
    assert await bench.provider.renew_activities([lease], lease_for=SECOND) == {lease}


async def test_an_activity_whose_direct_lease_ran_out_is_delivered_a_second_time(bench):
    await bench.create()
    turn = await bench.lease_one()
    await bench.commit(
        turn,
        add=(replace(CHARGE, lease=True),),
        activity_token=RUNTIME,
        activity_lease_for=10 * SECOND,
        keep_for=30 * SECOND,
    )
    bench.clock.advance(10 * SECOND)
    [activity] = await bench.take()
    assert activity.delivery == 2

    late = ActivityLease(instance="a", activity=CHARGE.id, token=RUNTIME)
    with pytest.raises(ActivityLeaseLost):
        await bench.commit(turn, remove=(), finish=(late,))


async def test_a_cancelled_activity_of_the_same_commit_is_not_added(bench):
    await bench.create()
    await bench.commit(await bench.lease_one(), add=(CHARGE,), cancel=(CHARGE.id, "unknown"))

    assert await bench.take() == []


async def test_completing_puts_the_result_into_the_mailbox_once(bench):
    await bench.create()
    await bench.commit(await bench.lease_one(), add=(CHARGE,))
    [activity] = await bench.take()
    result = bench.message("result", kind=MessageKind.ACTIVITY, execution=1, data=b"ok")
    completion = ActivityCompletion(lease=activity.lease, message=result)
    await bench.provider.complete_activity(completion)

    with pytest.raises(ActivityLeaseLost):
        await bench.provider.complete_activity(completion)
    assert [message.data for message in (await bench.lease_one()).messages] == [b"ok"]


@pytest.mark.parametrize("status", [InstanceStatus.CONTINUED_AS_NEW, InstanceStatus.FAILED])
async def test_activities_of_an_ended_execution_are_void(bench, status):
    await bench.create()
    await bench.provider.send([bench.message("e")])
    await bench.commit(await bench.lease_one(), remove=("start",), add=(CHARGE,))
    [activity] = await bench.take()
    extra = replace(CHARGE, id="charge 2")
    await bench.commit(await bench.lease_one(), add=(extra,), end=ExecutionEnd(status=status))

    result = bench.message("result", kind=MessageKind.ACTIVITY)
    with pytest.raises(ActivityLeaseLost):
        await bench.provider.complete_activity(
            ActivityCompletion(lease=activity.lease, message=result)
        )
    assert await bench.take() == []
    assert await bench.lease() == []


async def test_a_release_of_an_activity_delays_it_uncounts_it_and_parks_its_instance(bench):
    await bench.create()
    await bench.commit(await bench.lease_one(), add=(CHARGE,))
    [activity] = await bench.take()
    release = ActivityRelease(
        lease=activity.lease,
        delay=10 * SECOND,
        counted=False,
        parked=ParkedMark(reason="unregistered", details="charge"),
    )
    await bench.provider.release_activity(release)
    await bench.provider.release_activity(replace(release, delay=300 * SECOND))

    assert (await bench.provider.read_instance("a")).parked.reason == "unregistered"
    assert await bench.take() == []
    bench.clock.advance(10 * SECOND)
    [activity] = await bench.take()
    assert activity.delivery == 1


async def test_activities_are_leased_by_name_and_tag(bench):
    await bench.create()
    added = (
        CHARGE,
        replace(CHARGE, id="tagged", tag="gpu"),
        replace(CHARGE, id="other", name="ship"),
        replace(CHARGE, id="later", visible_at=bench.after(10)),
    )
    await bench.commit(await bench.lease_one(), add=added)

    assert [each.id for each in await bench.take()] == [CHARGE.id]
    assert [each.id for each in await bench.take(tags=frozenset({"gpu"}))] == ["tagged"]
    bench.clock.advance(10 * SECOND)
    taken = await bench.take(unregistered_for=10 * SECOND)
    assert [(each.id, each.served) for each in taken] == [("later", True), ("other", False)]


async def test_a_child_whose_id_is_in_use_is_told_to_the_committer_alone(bench):
    await bench.create("taken", incarnation="other")
    existing = await bench.provider.read_instance("taken")
    await bench.create()
    [_, turn] = await bench.lease()
    refusal = bench.message("refused", kind=MessageKind.CHILD)
    answer = await bench.commit(
        turn,
        create=(
            NewChild(instance=bench.new("taken"), if_exists=refusal),
            NewChild(instance=bench.new("fresh")),
            NewChild(instance=bench.new("fresh")),
        ),
        send=(bench.message("to the child", "fresh", incarnation="first"),),
    )

    assert answer.in_use == {"taken"}
    assert await bench.provider.read_instance("taken") == existing
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    assert [each.id for each in turns["a"].messages] == ["refused"]
    assert [each.id for each in turns["fresh"].messages] == ["start", "to the child"]


async def test_versions_are_pinned_kept_and_unpinned(bench):
    await bench.create()
    turn = await bench.lease_one()

    async def version_after(expected_execution, **fields):
        commit = replace(
            bench.commit_of(turn, keep_for=30 * SECOND, **fields), execution=expected_execution
        )
        await bench.provider.commit_turn(commit)
        return (await bench.provider.read_instance("a")).version

    again = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
    assert await version_after(1, version="1.0.0") == "1.0.0"
    assert await version_after(1, end=again) == "1.0.0"
    assert await version_after(2, end=again, unpin=True) is None
    assert await version_after(3, end=again, version="2.0.0") == "2.0.0"


async def test_histories_are_kept_by_execution_and_read_in_pages(bench):
    await bench.create()
    turn = await bench.lease_one()
    await bench.commit(
        turn,
        events=tuple(str(number).encode() for number in range(1, 2501)),
        end=ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW),
    )
    numbers = []
    more = True
    while more:
        page = await bench.provider.read_history(
            "a", 1, incarnation="first", after=numbers[-1] if numbers else 0
        )
        numbers += [event.number for event in page.events]
        more = page.more

    assert numbers == list(range(1, 2501))
    assert await history(bench, execution=2) == []
    with pytest.raises(ExecutionNotFound):
        await history(bench, execution=3)
    with pytest.raises(InstanceNotFound):
        await bench.provider.read_history("a", 1, incarnation="another")


async def test_a_commit_that_contradicts_itself_is_refused_before_anything_changes(bench):
    await bench.create()
    turn = await bench.lease_one()

    with pytest.raises(InvalidInput, match="activity_token"):
        await bench.commit(turn, events=(b"1",), add=(replace(CHARGE, lease=True),))
    with pytest.raises(InvalidInput, match="Running"):
        await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.RUNNING))
    assert await history(bench) == []
