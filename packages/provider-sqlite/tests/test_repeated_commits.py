"""A repeated commit gets the answer of the first, whatever became of the ids that it would create."""

from datetime import timedelta

import perdure
from perdure.contract import InstanceStatus, NewChild, Serves, TurnCommit, TurnRequest
from perdure.records.turns import ExecutionEnd
from perdure_conformance.samples import new_instance

MINUTE = timedelta(minutes=1)


async def leased(provider, name):
    turns = await provider.lease_turns(
        TurnRequest(
            token=f"token-{name}",
            limit=10,
            lease_for=MINUTE,
            serves=Serves(orchestrations={"flow": frozenset()}),
        )
    )
    return {turn.state.instance: turn for turn in turns}


def commit_of(turn, id, **changes):
    return TurnCommit(
        id=id,
        instance=turn.state.instance,
        incarnation=turn.state.incarnation,
        token=turn.token,
        execution=1,
        expected_event=turn.state.last_event,
        remove=("start",),
        **changes,
    )


async def ended_and_deleted(provider, instance):
    turn = (await leased(provider, f"end-{instance}"))[instance]
    end = ExecutionEnd(status=InstanceStatus.COMPLETED)
    await provider.commit_turn(commit_of(turn, f"end-{instance}", end=end))
    await provider.delete_instance(instance, incarnation=turn.state.incarnation)


async def test_ids_in_use_are_those_of_the_first_time(tmp_path):
    async with perdure.open_provider(f"sqlite:///{tmp_path / 'store.db'}") as provider:
        await provider.create_instance(new_instance("parent"))
        parent = (await leased(provider, "parent"))["parent"]
        await provider.create_instance(new_instance("taken", incarnation="another"))
        children = tuple(NewChild(instance=new_instance(name)) for name in ("taken", "free"))
        commit = commit_of(parent, "commit", create=children, keep_for=MINUTE)

        first = await provider.commit_turn(commit)
        assert first.in_use == {"taken"}
        await ended_and_deleted(provider, "taken")
        assert await provider.commit_turn(commit) == first

        await provider.create_instance(new_instance("taken", incarnation="third"))
        assert await provider.commit_turn(commit) == first


async def test_a_child_that_made_way_for_another_instance_was_created(tmp_path):
    async with perdure.open_provider(f"sqlite:///{tmp_path / 'store.db'}") as provider:
        await provider.create_instance(new_instance("parent"))
        parent = (await leased(provider, "parent"))["parent"]
        child = NewChild(instance=new_instance("child"))
        commit = commit_of(parent, "commit", create=(child,), keep_for=MINUTE)

        first = await provider.commit_turn(commit)
        await ended_and_deleted(provider, "child")
        await provider.create_instance(new_instance("child", incarnation="another"))

        assert await provider.commit_turn(commit) == first
        assert first.in_use == frozenset()
