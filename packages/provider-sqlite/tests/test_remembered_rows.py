"""The rows that the writer remembers between commits are as they stand in the file."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import (
    CANCEL_ID,
    ActivityCompletion,
    ExecutionEnd,
    InstanceReopening,
    InstanceStatus,
    InstanceTermination,
    Message,
    MessageKind,
    NewActivity,
    ParkedMark,
    TurnLease,
    TurnRelease,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, ProviderError
from perdure_sqlite._sql.instances import FIND_INSTANCE
from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._testing.failing_statements import failing_statement

LEASE = timedelta(seconds=30)
MINUTE = timedelta(minutes=1)


class Scene:
    """An instance whose lease the last commit has kept, and calls that change it."""

    def __init__(self, desk, make, provider, turn):
        self.desk, self.make, self.provider, self.turn = desk, make, provider, turn
        self.lease = TurnLease(instance="a", token=turn.token)

    async def commit(self, *, expected=1, **fields):
        commit = self.make.commit(self.turn, events=(b"e",), expected_event=expected, **fields)
        return await self.provider.commit_turn(commit)

    async def renewal(self):
        await self.provider.renew_turns([self.lease], lease_for=MINUTE)

    async def release(self):
        await self.provider.release_turn(TurnRelease(lease=self.lease, counted=False))

    async def release_with_a_mark(self):
        mark = ParkedMark(reason="why", details="so")
        await self.provider.release_turn(TurnRelease(lease=self.lease, delay=MINUTE, parked=mark))

    async def release_and_cancellation(self):
        await self.provider.release_turn(TurnRelease(lease=self.lease, delay=MINUTE))
        cancel = Message(id=CANCEL_ID, instance="a", kind=MessageKind.CANCEL, data=b"")
        await self.provider.send([cancel])

    async def message(self):
        await self.provider.send([self.make.event("a")])

    async def message_of_another_instance(self):
        other = await self.desk.leased(self.provider, "other")
        await self.provider.commit_turn(self.make.commit(other, send=(self.make.event("a"),)))

    async def result(self):
        lease = self.make.activity_lease("a", "work")
        message = self.make.event("a")
        await self.provider.complete_activity(ActivityCompletion(lease=lease, message=message))

    async def takeover(self):
        await self.message()
        self.desk.clock.advance(LEASE * 2)
        (turn,) = await self.provider.lease_turns(self.make.request())
        return turn

    async def takeover_and_an_uncounted_release(self):
        await self.takeover()
        await self.release()

    async def commit_that_keeps(self):
        await self.commit(keep_for=LEASE)

    async def commit_that_releases(self):
        await self.commit()

    async def commit_that_continues(self):
        start = replace(self.make.new("a").start, id="again", execution=2)
        end = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
        await self.commit(keep_for=LEASE, end=end, front=(start,), unpin=True, engine=2)

    async def end(self):
        await self.commit(end=ExecutionEnd(status=InstanceStatus.COMPLETED))

    async def end_and_a_reopening(self):
        await self.end()
        start = replace(self.make.new("a").start, id="again", execution=2)
        await self.provider.reopen_instance(
            InstanceReopening(id="r", instance="a", incarnation="one", execution=1, start=start)
        )

    async def termination(self):
        await self.provider.terminate_instance(
            InstanceTermination(id="t", instance="a", incarnation="one", events=(), output=b"")
        )

    async def deletion_and_a_new_one(self):
        await self.end()
        await self.provider.delete_instance("a", incarnation="one")
        await self.provider.create_instance(self.make.new("a", incarnation="two"))

    async def deletion_of_the_namespace_and_a_new_one(self):
        await self.provider.delete_namespace()
        await self.provider.create_instance(self.make.new("a", incarnation="two"))

    async def refusal(self):
        with pytest.raises(HistoryConflict):
            await self.commit(expected=7, keep_for=LEASE)

    async def refusal_for_an_activity(self):
        with pytest.raises(ActivityLeaseLost):
            await self.commit(finish=(self.make.activity_lease("a", "none"),), keep_for=LEASE)

    async def commits_that_fail_at_each_statement(self):
        for step in itertools.count(1):
            with failing_statement(self.provider.transaction, step) as fails:
                try:
                    await self.commit(keep_for=LEASE)
                except ProviderError:
                    assert fails.reached
                else:
                    return


@pytest.fixture
async def scene(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    work = NewActivity(id="work", name="work", data=b"", lease=True)
    first = make.commit(turn, events=(b"e",), remove=("start",), add=(work,), keep_for=LEASE)
    await provider.commit_turn(first)
    return Scene(desk, make, provider, turn)


CHANGES = [name for name in vars(Scene) if not name.startswith("_") and name != "commit"]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_remembered_row_is_as_it_stands_in_the_file_after(scene, change):
    await getattr(scene, change)()

    stored = InstanceRow(*scene.desk.raw().execute(FIND_INSTANCE, (1, "a")).fetchone())
    assert scene.provider.transaction.find("a") == stored


async def test_a_row_that_another_connection_has_changed_is_read_again(scene, desk):
    another = await desk.open()
    commit = scene.make.commit(scene.turn, events=(b"e",), expected_event=1, keep_for=LEASE)
    await another.commit_turn(commit)

    with pytest.raises(HistoryConflict):
        await scene.commit(expected=1, keep_for=LEASE)

    await scene.commit(expected=2, keep_for=LEASE)
