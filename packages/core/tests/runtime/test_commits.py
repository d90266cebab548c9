"""The commit of a turn: what the engine drafted, fenced by where the instance stands."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract import (
    ActivityLease,
    ExecutionEnd,
    InstanceState,
    InstanceStatus,
    LeasedTurn,
    Message,
    MessageKind,
)
from perdure.history import WaitCreated, decode_event
from perdure.model.wire import ActivityData, decode_activity
from perdure.replay.turn import DraftActivity, TurnDraft
from perdure.runtime.commits import make_commit
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.options import RuntimeOptions

OPTIONS = RuntimeOptions(activity_lease=timedelta(seconds=20))


def held() -> HeldInstance:
    state = InstanceState(
        instance="i",
        incarnation="first",
        name="flow",
        version="1.0.0",
        engine=1,
        execution=2,
        last_event=7,
        last_commit="before",
        status=InstanceStatus.RUNNING,
        output=None,
        created_at=0,
        updated_at=0,
    )
    return HeldInstance.of(
        LeasedTurn(state=state, token="lease", until=30, attempt=1, messages=(), more=False)  # noqa: S106 # no secret
    )


def timer(id: str) -> Message:
    return Message(id=id, instance="i", kind=MessageKind.TIMER, data=b"")


def drafted(**fields: object) -> TurnDraft:
    draft = TurnDraft()
    for name, value in fields.items():
        setattr(draft, name, value)
    return draft


def activity(number: int, *, is_direct: bool = False) -> DraftActivity:
    data = ActivityData(input="1", event=number, attempt=1, first=number)
    return DraftActivity(f"2:{number}", "work", None, data, is_direct)


def test_a_commit_names_the_lease_and_the_event_that_it_follows() -> None:
    draft = drafted(events=[WaitCreated(event_id=8, at=5, name="go")])

    commit = make_commit(draft, held=held(), commit_id="c", options=OPTIONS)

    fence = (commit.instance, commit.incarnation, commit.token, commit.execution)
    assert fence == ("i", "first", "lease", 2)
    assert commit.expected_event == 7
    assert [decode_event(8, data) for data in commit.events] == draft.events


def test_after_a_commit_that_keeps_the_lease_the_next_one_follows_its_events() -> None:
    instance = held()
    event = WaitCreated(event_id=8, at=5, name="go")
    first = make_commit(drafted(events=[event]), held=instance, commit_id="c", options=OPTIONS)
    instance.committed(first, until=60)

    second = make_commit(TurnDraft(), held=instance, commit_id="d", options=OPTIONS)

    assert second.expected_event == 8
    assert instance.last_commit == "c"


def test_delivered_messages_and_those_of_cancelled_timers_are_removed() -> None:
    draft = drafted(removed=["timer:3"], timers={9: timer("timer:9")}, sent=[timer("other")])

    commit = make_commit(
        draft, held=held(), commit_id="c", consumed=["e1", "e2"], in_hand=["e3"], options=OPTIONS
    )

    assert commit.remove == ("e1", "e2", "timer:3")
    assert commit.held == {"e3"}
    assert [message.id for message in commit.send] == ["timer:9", "other"]


def test_activities_that_begin_here_are_added_leased_under_the_id_of_the_commit() -> None:
    draft = drafted(activities={8: activity(8), 9: activity(9, is_direct=True)})

    commit = make_commit(draft, held=held(), commit_id="c", options=OPTIONS)

    assert [(each.id, each.lease) for each in commit.add] == [("2:8", False), ("2:9", True)]
    assert (commit.activity_token, commit.activity_lease_for) == ("c", timedelta(seconds=20))
    assert decode_activity(commit.add[0].data) == draft.activities[8].data


def test_a_commit_whose_activities_all_queue_has_no_token_for_them() -> None:
    commit = make_commit(
        drafted(activities={8: activity(8)}), held=held(), commit_id="c", options=OPTIONS
    )

    assert (commit.activity_token, commit.activity_lease_for) == (None, None)


def test_results_that_were_taken_here_finish_their_activities() -> None:
    lease = ActivityLease(instance="i", activity="2:4", token="worker")  # noqa: S106 # no secret
    draft = drafted(
        cancelled_activities=["2:5"],
        end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"1"),
    )

    commit = make_commit(draft, held=held(), commit_id="c", finish=[lease], options=OPTIONS)

    assert commit.finish == (lease,)
    assert commit.cancel == ("2:5",)
    assert commit.end == draft.end
    assert commit.keep_for is None
