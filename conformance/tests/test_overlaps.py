"""What two calls that overlap may come to: the orders that the contract allows, and no other."""

import asyncio
from dataclasses import replace

import pytest
from perdure.clock import ManualClock
from perdure.contract import (
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
    Message,
    MessageKind,
    NewActivity,
    NewChild,
    ParentLink,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.comparison import state_machine
from perdure_conformance.comparison.callers import IDS, LEASE, SERVES, Callers
from perdure_conformance.comparison.intents import Create
from perdure_conformance.comparison.overlaps import Exchange, may_overlap, states_after
from perdure_conformance.comparison.requests import ActivityRenewal, TurnRenewal, ask
from perdure_conformance.comparison.states import copy_of, identity
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store

CLOCK = ManualClock()


def look(token):
    return TurnRequest(token=token, limit=100, lease_for=LEASE, serves=SERVES)


def look_for_work(token):
    return ActivityRequest(token=token, limit=100, lease_for=LEASE, names=frozenset({"work"}))


def lease_of(instance, token):
    return TurnLease(instance=instance, token=token)


def event(id, instance="a"):
    return Message(id=id, instance=instance, kind=MessageKind.EVENT, data=b"")


def commit(token, id="commit", **fields):
    fields = {"expected_event": 0, "keep_for": LEASE, **fields}
    return TurnCommit(id=id, instance="a", incarnation="a@0", token=token, execution=1, **fields)


def child(instance):
    created = Callers(ManualClock()).new_instance(Create(instance=IDS.index(instance)))
    parent = ParentLink(instance="a", incarnation="a@0", execution=1, event=1)
    return NewChild(instance=replace(created, parent=parent))


def after(*requests):
    """The model after these calls, and their answers."""
    store, answers = Store(), []
    for request in requests:
        answers.append(answer(store, request))
    return store, answers


def answer(store, request):
    model = ModelProvider(store, clock=CLOCK, description="model")
    return asyncio.run(ask(model, request))


def states(before, *exchanges):
    return asyncio.run(states_after([before], exchanges, clock=CLOCK))


def two_instances(*requests):
    created = [Callers(ManualClock()).new_instance(Create(instance=number)) for number in (0, 1)]
    store, _ = after(*created, *requests)
    return store


def delivered(store, instance):
    messages, _ = store.delivery(instance)
    return tuple(message.id for message in messages)


def test_answers_of_either_order_agree_and_leave_the_state_of_that_order():
    before = two_instances()
    first = copy_of(before)
    turns = answer(first, look("one"))
    nothing = answer(first, look("two"))

    found = states(before, Exchange(look("two"), nothing), Exchange(look("one"), turns))

    assert [identity(state) for state in found] == [identity(first)]


def test_answers_that_no_order_gives_agree_with_no_state():
    before = two_instances()
    turns = answer(copy_of(before), look("one"))
    the_same = frozenset(replace(turn, token="two") for turn in turns)

    assert not states(before, Exchange(look("one"), turns), Exchange(look("two"), the_same))
    nothing = frozenset()
    assert not states(before, Exchange(look("one"), nothing), Exchange(look("two"), nothing))


def test_of_two_looks_each_may_lease_one_of_two_instances():
    before = two_instances()
    one, other = sorted(answer(copy_of(before), look("one")), key=lambda turn: turn.state.instance)

    found = states(
        before,
        Exchange(look("one"), frozenset({one})),
        Exchange(look("two"), frozenset({replace(other, token="two")})),
    )

    assert len(found) == 1


def test_a_look_may_come_between_the_renewals_of_two_leases():
    before = two_instances(look("old"))
    answer(before, TurnRelease(lease=lease_of("a", "old")))
    leases = (lease_of("a", "old"), lease_of("b", "old"))
    renewal = TurnRenewal(leases=leases, lease_for=LEASE / 3)
    # `b` is told as it is before its renewal, `a` is gone because this very look has leased it.
    told = answer(copy_of(before), look("old"))
    gone = frozenset({leases[0]})

    [state] = states(before, Exchange(renewal, gone), Exchange(look("old"), told))

    assert state.tables.instances["b"].lease.until < state.tables.instances["a"].lease.until


def test_the_messages_of_an_answer_may_have_come_after_the_commit():
    before = two_instances(look("one"), (event("m"),))
    request = commit("one", remove=("start", "m"))
    sent = (event("m"),)
    # In neither order is `m` in the mailbox at the moment of the commit's end.
    found = replace(answer(copy_of(before), request), messages=sent)

    [state] = states(before, Exchange(request, found), Exchange(sent, None))

    assert list(state.tables.mailboxes["a"]) == ["m"]


def test_a_repeat_may_be_told_of_the_messages_that_a_newer_commit_has_left():
    before = two_instances(look("one"), (event("m"),))
    first = commit("one", "first", remove=("start",))
    answer(before, first)
    newer = commit("one", "newer", events=(b"event",), remove=("m",))
    newest = answer(copy_of(before), newer)
    repeated = replace(answer(copy_of(before), first), messages=())

    [state] = states(before, Exchange(newer, newest), Exchange(first, repeated))

    assert state.tables.instances["a"].state.last_commit == "newer"


def test_the_messages_of_two_commits_of_one_instance_are_not_compared():
    before = two_instances(look("one"))
    older, newer = commit("one", "older"), commit("one", "newer", events=(b"event",))
    after_both = copy_of(before)
    strange = replace(answer(after_both, older), messages=(event("strange"),))
    newest = answer(after_both, newer)

    assert states(before, Exchange(older, strange), Exchange(newer, newest))
    assert not states(before, Exchange(older, strange), Exchange((event("m", "b"),), None))


def test_a_repeat_is_never_told_another_end_of_its_lease():
    before = two_instances(look("one"))
    first = commit("one", "first")
    answer(before, first)
    newer = commit("one", "newer", events=(b"event",))
    newest = answer(copy_of(before), newer)
    repeated = replace(answer(copy_of(before), first), lease_until=CLOCK.now())

    assert not states(before, Exchange(newer, newest), Exchange(first, repeated))


def test_a_look_may_pass_over_what_is_given_back_meanwhile_and_nothing_else():
    before = two_instances(look("old"))
    CLOCK.advance(LEASE)
    release = TurnRelease(lease=lease_of("a", "old"))
    turns = answer(copy_of(before), look("new"))
    without = {
        name: frozenset(turn for turn in turns if turn.state.instance != name) for name in "ab"
    }

    assert states(before, Exchange(look("new"), without["a"]), Exchange(release, None))
    assert not states(before, Exchange(look("new"), without["b"]), Exchange(release, None))


def test_a_look_may_pass_over_what_an_event_is_sent_to_and_nothing_else():
    before = two_instances()
    turns = answer(copy_of(before), look("new"))
    without = {
        name: frozenset(turn for turn in turns if turn.state.instance != name) for name in "ab"
    }
    sent = Exchange((event("m", "a"),), None)

    assert states(before, Exchange(look("new"), without["a"]), sent)
    assert not states(before, Exchange(look("new"), without["b"]), sent)


def test_a_look_may_pass_over_what_was_passed_over_only_while_the_other_call_lasts():
    before = two_instances()
    sent = Exchange((event("m", "a"),), None)
    b_alone = frozenset(
        turn for turn in answer(copy_of(before), look("new")) if turn.state.instance == "b"
    )
    [after_both] = states(before, Exchange(look("new"), b_alone), sent)

    assert [turn.state.instance for turn in answer(after_both, look("next"))] == ["a"]


def test_a_look_for_activities_may_pass_over_those_of_an_instance_that_is_concerned():
    added = tuple(NewActivity(id=name, name="work", data=b"") for name in "ab")
    before = two_instances(look("one"), commit("one", add=added), look_for_work("old"))
    CLOCK.advance(LEASE)
    release = ActivityRelease(lease=ActivityLease(instance="a", activity="a", token="old"))
    work = answer(copy_of(before), look_for_work("new"))
    asked = look_for_work("new")

    for left in ("", "a", "b", "ab"):
        some = frozenset(each for each in work if each.id in left)
        assert states(before, Exchange(asked, some), Exchange(release, None))
    elsewhere = Exchange((event("m", "b"),), None)
    assert states(before, Exchange(asked, work), elsewhere)
    assert not states(before, Exchange(asked, frozenset()), elsewhere)


def test_a_look_gets_two_unregistered_activities_of_a_queue_that_is_not_busy():
    added = tuple(NewActivity(id=name, name="other", data=b"") for name in "ab")
    before = two_instances(look("one"), commit("one", add=added))
    CLOCK.advance(LEASE)
    request = replace(look_for_work("new"), unregistered_for=LEASE / 2)
    work = answer(copy_of(before), request)

    assert len(work) == 2
    assert states(before, Exchange(request, work), Exchange((event("m", "b"),), None))
    assert not states(before, Exchange(request, frozenset()), Exchange((event("m", "b"),), None))


def test_a_renewal_tells_of_each_activity_as_it_is_before_or_after_a_commit():
    added = tuple(NewActivity(id=name, name="work", data=b"") for name in "ab")
    before = two_instances(look("one"), commit("one", "first", add=added), look_for_work("old"))
    cancel = commit("one", "second", cancel=("a", "b"))
    leases = tuple(ActivityLease(instance="a", activity=name, token="old") for name in "ab")
    renewal = ActivityRenewal(leases=leases, lease_for=LEASE)
    done = answer(copy_of(before), cancel)

    assert states(before, Exchange(cancel, done), Exchange(renewal, frozenset(leases[1:])))


def test_a_commit_may_come_between_the_messages_of_a_send_to_two_instances_in_either_order():
    before = two_instances(look("one"))
    request = commit("one", remove=("start",), send=(event("sent", "b"),), create=(child("c"),))
    committed = answer(copy_of(before), request)
    # A timer is dropped unless the commit has created its instance.
    timer = replace(event("timer", "c"), kind=MessageKind.TIMER, incarnation="c@0", execution=1)

    found = states(before, Exchange(request, committed), Exchange((event("m", "b"), timer), None))

    assert {(delivered(state, "b")[1], "timer" in delivered(state, "c")) for state in found} == {
        (first, is_there) for first in ("sent", "m") for is_there in (False, True)
    }


def test_the_order_of_two_sends_stays_open_until_a_delivery_shows_it():
    before = two_instances()
    sends = [(event("one"), event("two")), (event("three"),)]

    found = states(before, *(Exchange(send, None) for send in sends))

    assert {delivered(state, "a") for state in found} == {
        ("start", "one", "two", "three"),
        ("start", "one", "three", "two"),
        ("start", "three", "one", "two"),
    }


def test_a_look_under_a_token_never_overlaps_a_call_that_names_it():
    renewal = TurnRenewal(leases=(lease_of("a", "one"),), lease_for=LEASE)

    assert not may_overlap(look("one"), renewal)
    assert not may_overlap(look("one"), look("one"))
    assert may_overlap(look("two"), renewal)
    assert may_overlap(renewal, commit("one"))


class AnswersNoCommit(ModelProvider):
    async def commit_turn(self, commit):
        await super().commit_turn(commit)
        return CommitAnswer()


def test_a_wrong_answer_is_told_and_not_the_difference_that_follows_from_it():
    with pytest.raises(ClauseBroken, match="(?s)the provider answered.*the model"):
        asyncio.run(state_machine.compare_with_model(StoreBackend(provider=AnswersNoCommit)))
