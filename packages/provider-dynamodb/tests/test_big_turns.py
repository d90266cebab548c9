"""Turns that no transaction can hold are committed as a whole, and taken up after a crash."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRequest,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    Serves,
    TurnRequest,
)
from perdure.errors import ActivityLeaseLost, LeaseLost, StorageUnavailable
from perdure_conformance import samples
from perdure_conformance.samples import new_instance
from perdure_dynamodb._transport import Unanswered
from perdure_dynamodb.testing.faults import FaultyCalls, Stall

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND


def message(message_id, instance="big", kind=MessageKind.EVENT, data=b"", incarnation=None):
    return Message(id=message_id, instance=instance, kind=kind, data=data, incarnation=incarnation)


def new(instance="big", incarnation="first"):
    return new_instance(instance, incarnation=incarnation, data=b"")


def turn_request(token):
    return TurnRequest(
        token=token, limit=10, lease_for=LEASE, serves=Serves(orchestrations={"flow": frozenset()})
    )


def work_request(token, limit=5000):
    return ActivityRequest(token=token, limit=limit, lease_for=LEASE, names=frozenset({"work"}))


def commit_of(turn, **fields):
    return samples.commit_of(turn, **{"id": "commit", **fields})


def activities(count):
    return tuple(NewActivity(id=f"w{n}", name="work", data=b"input") for n in range(count))


async def test_a_fan_out_of_a_thousand_is_one_commit(open_on_model):
    async with open_on_model() as provider:
        await provider.create_instance(new())
        [turn] = await provider.lease_turns(turn_request("t"))
        events = tuple(b"scheduled %d" % n for n in range(1000))
        await provider.commit_turn(commit_of(turn, events=events, add=activities(1000)))

        assert len(await provider.lease_activities(work_request("w"))) == 1000
        state = await provider.read_instance("big")
        assert state.last_event == 1000


@pytest.mark.slow
async def test_ten_thousand_messages_are_consumed_in_one_commit(open_on_model, model):
    async with open_on_model() as provider:
        await provider.create_instance(new())
        names = [f"m{n}" for n in range(10_000)]
        await provider.send([message(name) for name in names])
        [turn] = await provider.lease_turns(turn_request("t"))
        assert [each.id for each in turn.messages] == ["start", *names[:999]]
        assert turn.more
        events = tuple(b"%d" % n for n in range(10_000))
        await provider.commit_turn(commit_of(turn, events=events, remove=("start", *names)))

        assert await provider.lease_turns(turn_request("n")) == ()
        assert (await provider.read_instance("big")).last_event == 10_000
    assert [key for key in model.items if key[1][0] in "MPQ"] == []


async def test_megabytes_in_every_place_come_back_whole(open_on_model):
    large = bytes(range(256)) * 8192
    async with open_on_model() as provider:
        await provider.create_instance(new())
        await provider.send([message("e", data=large)])
        [turn] = await provider.lease_turns(turn_request("t"))
        assert turn.messages[1].data == large
        activity = NewActivity(id="w", name="work", data=large)
        told = (message("again", data=large),)
        await provider.commit_turn(
            commit_of(turn, events=(large, b"x"), add=(activity,), send=told)
        )
        [work] = await provider.lease_activities(work_request("w"))
        assert work.data == large
        [turn] = await provider.lease_turns(turn_request("t2"))
        assert turn.messages[0].data == large
        end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=large)
        await provider.commit_turn(commit_of(turn, id="c2", end=end))

        assert (await provider.read_instance("big")).output == large
        page = await provider.read_history("big", 1, incarnation="first")
        assert [event.data for event in page.events] == [large, b"x"]


async def test_payloads_of_what_was_consumed_are_removed(open_on_model, model):
    large = b"x" * 100_000
    async with open_on_model() as provider:
        await provider.create_instance(new())
        await provider.send([message("e", data=large)])
        [turn] = await provider.lease_turns(turn_request("t"))
        activity = NewActivity(id="w", name="work", data=large)
        await provider.commit_turn(commit_of(turn, add=(activity,)))
        [work] = await provider.lease_activities(work_request("w"))
        result = message("r", kind=MessageKind.ACTIVITY, data=large, incarnation="first")
        await provider.complete_activity(ActivityCompletion(lease=work.lease, message=result))
        [turn] = await provider.lease_turns(turn_request("t2"))
        end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"done")
        await provider.commit_turn(commit_of(turn, id="c2", end=end))

    assert [key for key in model.items if key[1][0] in "MPQWX"] == []


async def crash_at(number, model, open_on_model, commit):
    """Let the process that commits die at its n-th request; returns whether it died."""
    requests = 0

    def plan(operation, parameters):
        nonlocal requests
        requests += 1
        if requests > number:
            raise Unanswered("the process is dead")

    faulty = FaultyCalls(model, lambda *_: None)
    async with open_on_model(faulty) as provider:
        [turn] = await provider.lease_turns(turn_request("dying"))
        faulty.plan = plan
        with suppress(StorageUnavailable):
            await provider.commit_turn(commit(turn))
    return requests > number


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, 60, 3))
async def test_the_next_call_finds_all_or_nothing(number, open_on_model, model, clock):
    async with open_on_model() as provider:
        await provider.create_instance(new())
        await provider.create_instance(new("taken"))
        [taken] = [
            turn
            for turn in await provider.lease_turns(turn_request("t"))
            if turn.state.instance == "taken"
        ]
        await provider.commit_turn(commit_of(taken))
        clock.advance(LEASE)

        def commit(turn):
            return commit_of(
                turn,
                events=tuple(b"%d" % n for n in range(300)),
                add=activities(300),
                send=tuple(message(f"m{n}") for n in range(300)),
                create=(
                    NewChild(instance=new("child")),
                    NewChild(
                        instance=new("taken", "second"),
                        if_exists=message("told", kind=MessageKind.CHILD, incarnation="first"),
                    ),
                ),
            )

        await crash_at(number, model, open_on_model, commit)
        clock.advance(LEASE)
        # The first look may find the child, and does not wait for the rest of the commit then.
        turns = {
            turn.state.instance: turn
            for token in ("n", "m")
            for turn in await provider.lease_turns(turn_request(token))
        }
        big = turns["big"]
        decided = big.state.last_commit == "commit"
        found = (
            big.state.last_event,
            len(big.messages),
            len(await provider.lease_activities(work_request("w"))),
            await provider.read_instance("child") is not None,
        )

        assert found == ((300, 301, 300, True) if decided else (0, 1, 0, False))
        answer = await provider.commit_turn(commit(big) if decided else commit_of(big, id="other"))
        assert answer.in_use == (frozenset({"taken"}) if decided else frozenset())


async def test_a_stalled_committer_changes_nothing_after_another_has_gone_on(
    open_on_model, model, clock
):
    async with open_on_model() as first, open_on_model() as second:
        await first.create_instance(new())
        [turn] = await first.lease_turns(turn_request("t"))
        clock.advance(LEASE)
        [other] = await second.lease_turns(turn_request("u"))
        await second.commit_turn(commit_of(other, id="other", events=(b"theirs",)))

        with pytest.raises(LeaseLost):
            await first.commit_turn(commit_of(turn, add=activities(500)))

        assert [key for key in model.items if key[1][0] in "PQWX"] == []


async def test_as_many_activities_as_promised_are_finished_in_one_commit(open_on_model):
    async with open_on_model() as provider:
        await provider.create_instance(new())
        [turn] = await provider.lease_turns(turn_request("t"))
        mine = "worker"
        leased = tuple(
            NewActivity(id=f"w{n}", name="work", data=b"", lease=True)
            for n in range(provider.finish_limit)
        )
        await provider.commit_turn(
            commit_of(
                turn,
                add=leased,
                activity_token=mine,
                activity_lease_for=LEASE,
                keep_for=LEASE,
            )
        )
        finish = tuple(
            ActivityLease(instance="big", activity=each.id, token=mine) for each in leased
        )
        wrong = ActivityLease(instance="big", activity="w3", token=turn.token)
        with pytest.raises(ActivityLeaseLost) as lost:
            await provider.commit_turn(commit_of(turn, id="c1", finish=(*finish[:3], wrong)))
        assert lost.value.activities == ("w3",)

        await provider.commit_turn(
            commit_of(turn, id="c2", finish=finish, events=(b"x",) * 90, add=activities(100))
        )

        assert len(await provider.lease_activities(work_request("n"))) == 100


def stalls_once_committed(stall):
    """Stall the first look at the lock after a staged commit was decided."""
    decided = False

    def plan(operation, parameters):
        nonlocal decided
        if operation == "TransactWriteItems" and ":stage" in str(parameters):
            decided = True
        elif decided and operation == "GetItem" and not stall.is_set():
            return stall
        return None

    return plan


async def test_who_stalled_never_carries_an_old_commit_out_in_place_of_a_new_one(
    open_on_model, model, clock
):
    first, second = Stall(), Stall()
    slow = FaultyCalls(model, stalls_once_committed(first))
    quick = FaultyCalls(model, stalls_once_committed(second))
    async with open_on_model(slow) as late, open_on_model(quick) as next_one:
        await late.create_instance(new())
        [turn] = await late.lease_turns(turn_request("t1"))
        old = commit_of(turn, events=(b"old",), add=activities(150))
        stalled = asyncio.create_task(late.commit_turn(old))
        await until(lambda: slow.requests[-1] == "GetItem")
        async with open_on_model() as helper:
            assert (await helper.read_history("big", 1, incarnation="first")).events
        clock.advance(LEASE)
        await next_one.send([message("go")])
        [turn] = await next_one.lease_turns(turn_request("t2"))
        newer = commit_of(turn, id="c2", events=(b"new",) * 200, add=activities(150))
        committing = asyncio.create_task(next_one.commit_turn(newer))
        await until(lambda: quick.requests[-1] == "GetItem")

        first.set()
        await stalled
        second.set()
        await committing

        page = await next_one.read_history("big", 1, incarnation="first")
        assert [event.data for event in page.events] == [b"old"] + [b"new"] * 200


async def until(condition):
    while not condition():  # noqa: ASYNC110 # a condition of many sides
        await asyncio.sleep(0)
