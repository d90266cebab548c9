"""What every provider refuses before it looks at its storage."""

from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import (
    LONGEST_LEASE,
    ActivityLease,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    NewInstance,
    TurnCommit,
    check_commit,
    check_delay,
    check_lease,
    check_limit,
)
from perdure.errors import InvalidDuration, InvalidInput

SECOND = timedelta(seconds=1)
BEYOND = LONGEST_LEASE + timedelta(microseconds=1)
HOLDER = "w"
COMMIT = TurnCommit(
    id="c", instance="i", incarnation="n", token=HOLDER, execution=1, expected_event=0
)
CHILD = NewInstance(
    instance="c",
    incarnation="c@2",
    name="flow",
    start=Message(id="start", instance="c", kind=MessageKind.START, data=b"", incarnation="c@2"),
)

AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)
ENDED = ExecutionEnd(status=InstanceStatus.COMPLETED)
ELSEWHERE = Message(id="m", instance="j", kind=MessageKind.EVENT, data=b"")


@pytest.mark.parametrize("duration", [timedelta(0), -SECOND, BEYOND])
def test_a_lease_that_lasts_nothing_or_too_long_is_refused_by_name(duration):
    with pytest.raises(InvalidDuration, match=r"^lease_for .* at most 0:05:00$"):
        check_lease("lease_for", duration)


@pytest.mark.parametrize("duration", [timedelta(microseconds=1), SECOND, LONGEST_LEASE])
def test_every_length_between_is_a_lease_and_a_delay(duration):
    check_lease("lease_for", duration)
    check_delay(duration)


@pytest.mark.parametrize("duration", [-SECOND, BEYOND])
def test_a_delay_below_nothing_or_too_long_is_refused(duration):
    with pytest.raises(InvalidDuration, match="^delay "):
        check_delay(duration)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(InvalidInput, match=f"^limit {limit} "):
        check_limit(limit)


def test_no_delay_is_a_delay():
    check_delay(timedelta(0))


def test_a_commit_that_contradicts_nothing_passes():
    kept = replace(COMMIT, keep_for=SECOND)
    leased = replace(
        COMMIT,
        add=(NewActivity(id="1", name="work", data=b"", lease=True),),
        activity_token=HOLDER,
        activity_lease_for=SECOND,
    )

    unpinned = replace(COMMIT, end=AGAIN, unpin=True)

    for commit in (COMMIT, kept, leased, unpinned):
        check_commit(commit, finish_limit=16)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"keep_for": BEYOND}, "keep_for"),
        ({"activity_lease_for": timedelta(0)}, "activity_lease_for"),
        ({"end": ExecutionEnd(status=InstanceStatus.RUNNING)}, "as Running"),
        ({"add": (NewActivity(id="1", name="work", data=b"", lease=True),)}, "activity_token"),
        (
            {"create": (NewChild(instance=replace(CHILD, replaces="c@1")),)},
            "in place of 'c@1'",
        ),
        ({"unpin": True}, "without beginning an execution"),
        ({"unpin": True, "end": ENDED}, "without beginning an execution"),
        ({"unpin": True, "end": AGAIN, "version": "2"}, "to version '2'"),
        ({"front": (ELSEWHERE,)}, "for 'j'"),
        ({"create": (NewChild(instance=CHILD, if_exists=ELSEWHERE),)}, "for 'j'"),
        (
            {"finish": (ActivityLease(instance="i", activity="a", token=HOLDER),) * 17},
            "17 activities",
        ),
    ],
)
def test_a_commit_that_contradicts_itself_is_refused(fields, what):
    with pytest.raises(InvalidInput, match=what):
        check_commit(replace(COMMIT, **fields), finish_limit=16)


def test_a_lease_of_another_instance_is_no_part_of_a_commit():
    own = ActivityLease(instance="i", activity="a", token=HOLDER)
    other = replace(own, instance="j")

    check_commit(replace(COMMIT, finish=(own,)), finish_limit=16)
    with pytest.raises(
        InvalidInput, match="^commit 'c' of instance 'i' finishes activity 'a' of 'j'"
    ):
        check_commit(replace(COMMIT, finish=(own, other)), finish_limit=16)


def test_a_commit_adds_an_id_once():
    one, other = (NewActivity(id=name, name="work", data=b"") for name in "ab")

    check_commit(replace(COMMIT, add=(one, other)), finish_limit=16)
    with pytest.raises(InvalidInput, match="^commit 'c' adds two activities of one id"):
        check_commit(replace(COMMIT, add=(one, other, one)), finish_limit=16)
