"""Shards grow while processes run: nothing is lost, nothing waits for ever."""

from datetime import timedelta
from uuid import uuid4

from perdure.contract import (
    ActivityRequest,
    InstanceStatus,
    NewActivity,
    Serves,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_dynamodb._keys import shard_of
from perdure_dynamodb._shards import GRACE, REFRESH
from perdure_dynamodb.testing.faults import FaultyCalls

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


def names(prefix):
    """Ids that four shards would keep in four places."""
    found = [f"{prefix}-{number}" for number in range(20)]
    assert {shard_of(name, 4) for name in found} == {0, 1, 2, 3}
    return found


async def create(provider, instance):
    await provider.create_instance(new_instance(instance, incarnation="first", data=b""))


async def take_turns(provider):
    """Lease all turns, and add an activity with each."""
    request = TurnRequest(
        token=uuid4().hex,
        limit=1000,
        lease_for=LEASE,
        serves=Serves(orchestrations={"flow": frozenset()}),
    )
    turns = await provider.lease_turns(request)
    for turn in turns:
        await provider.commit_turn(
            commit_of(
                turn,
                remove=("start",),
                add=(NewActivity(id="w", name="work", data=b""),),
            )
        )
    return sorted(turn.state.instance for turn in turns)


async def take_work(provider):
    request = ActivityRequest(
        token=uuid4().hex, limit=1000, lease_for=LEASE, names=frozenset({"work"})
    )
    return sorted(work.instance for work in await provider.lease_activities(request))


def places(model, instances):
    """The shards that the instances' items are found in."""
    return {
        str(item["gpk"]).rpartition("#")[2]
        for (partition, _), item in model.items.items()
        if "gpk" in item and partition.rpartition("#")[2] in instances
    }


async def test_what_is_written_before_during_and_after_a_growth_is_found_by_every_process(
    open_on_model, model, clock
):
    before, during, after, late = (names(each) for each in ("before", "during", "after", "late"))
    async with open_on_model(shards=1) as old:
        for name in before:
            await create(old, name)
        async with open_on_model(shards=4) as new:
            for name in during:
                await create(new, name)
            # A process that has not learned of it finds all the same.
            assert places(model, during) == {"0"}
            assert await take_turns(old) == sorted(before + during)
            assert await take_work(new) == sorted(before + during)

            clock.advance(GRACE)
            for name in after:
                await create(new, name)
            # The older one has not looked for settings since it was opened.
            assert places(model, after) == {"0", "1", "2", "3"}
            assert await take_turns(old) == sorted(after)
            assert await take_work(old) == sorted(set(before + during + after))

            for name in late:
                await create(old, name)
            assert await take_turns(new) == sorted(late)

            for provider in (old, new):
                admin = provider.as_management_capability()
                listed = await admin.list_instances(limit=1000, status=InstanceStatus.RUNNING)
                assert sorted(listed.ids) == sorted(before + during + after + late)
                counted = await admin.count_instances()
                assert counted.running_instances == 80
                depths = await admin.count_queues()
                assert depths.worker_queue == len(late)


async def test_readers_look_into_new_shards_before_any_process_writes_there(
    open_on_model, model, clock
):
    looked_into = set()

    def note(operation, parameters):
        partition = parameters.get("ExpressionAttributeValues", {}).get(":p", {"S": ""})["S"]
        if operation == "Query" and "#O#" in partition:
            looked_into.add(partition)

    async with (
        open_on_model(FaultyCalls(model, note), shards=1) as reader,
        open_on_model(shards=4) as writer,
    ):
        clock.advance(REFRESH)
        looked_into.clear()
        assert await take_turns(reader) == []
        assert looked_into == {f"test#O#{shard}" for shard in range(4)}

        clock.advance(GRACE - REFRESH - SECOND)
        for name in names("now"):
            await create(writer, name)
        assert places(model, names("now")) == {"0"}


async def test_a_process_that_slept_through_the_grace_loses_nothing(open_on_model, model, clock):
    async with open_on_model(shards=1) as sleeper, open_on_model(shards=4) as other:
        clock.advance(10 * GRACE)
        theirs, own = names("theirs"), names("own")
        for name in theirs:
            await create(other, name)
        # It writes where it always did, since it has not looked for settings meanwhile.
        for name in own:
            await create(sleeper, name)
        assert places(model, own) == {"0"}

        assert await take_turns(sleeper) == sorted(theirs + own)
        assert await take_work(other) == sorted(theirs + own)


async def test_the_largest_number_that_is_asked_for_counts(open_on_model, clock):
    async with open_on_model(shards=2), open_on_model(shards=8), open_on_model(shards=4) as third:
        clock.advance(GRACE)
        assert await take_turns(third) == []
        for name in names("any"):
            await create(third, name)

        assert await take_turns(third) == sorted(names("any"))
