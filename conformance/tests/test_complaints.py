"""What checks say about broken providers: what was wrong, and not what follows from it."""

import asyncio
import re
from dataclasses import replace

import pytest
from perdure.contract import MessageKind
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.expect import ClauseBroken, expect_equal
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.runner import judge
from perdure_conformance.scenarios import SCENARIOS, simulation


def complaint(kind, id):
    (check,) = (check for check in (*CLAUSES, *SCENARIOS) if check.id == id)
    return judge(
        check, StoreBackend(kind) if issubclass(kind, Store) else StoreBackend(provider=kind)
    ).message


class GivesHeldTurnsBeyondTheLimit(Store):
    def lease_turns(self, request):
        held = [
            row for row in self.tables.instances.values() if self.is_held(row.lease, request.token)
        ]
        return super().lease_turns(replace(request, limit=max(request.limit, len(held))))


class GivesHeldActivitiesBeyondTheLimit(Store):
    def lease_activities(self, request):
        held = [
            row for row in self.tables.activities.values() if self.is_held(row.lease, request.token)
        ]
        return super().lease_activities(replace(request, limit=max(request.limit, len(held))))


class LeasesTenTurnsAtMost(Store):
    def lease_turns(self, request):
        return super().lease_turns(replace(request, limit=min(request.limit, 10)))


class LeasesAnyNumberOfTurns(Store):
    def lease_turns(self, request):
        return super().lease_turns(replace(request, limit=1000))


class LosesEvents(Store):
    def put(self, message):
        if message.kind is not MessageKind.EVENT:
            super().put(message)


@pytest.mark.parametrize(
    ("kind", "id", "said"),
    [
        (
            GivesHeldTurnsBeyondTheLimit,
            "LEASE-7",
            "leases of a repeat at a limit of two, of three that are held: found 3, expected 2",
        ),
        (
            GivesHeldActivitiesBeyondTheLimit,
            "ACT-6",
            "leases of a repeat at a limit of two, of three that are held: found 3, expected 2",
        ),
        (LeasesAnyNumberOfTurns, "LEASE-7", "leases at a limit of two: found 3, expected 2"),
    ],
)
def test_a_wrong_limit_is_told_as_one(kind, id, said):
    assert complaint(kind, id) == said


def test_a_wrong_number_of_odd_texts_is_told_with_the_numbers_and_what_is_missing():
    said = complaint(LeasesTenTurnsAtMost, "CALL-6")

    assert said.startswith("instances leased by their names: found 10, expected 2")
    assert "; missing: " in said
    assert len(said) < 600


@pytest.mark.slow
def test_a_row_that_does_not_end_says_what_is_left():
    said = complaint(LosesEvents, "SCENARIO-1")

    assert "not within 0:10:00 on the clock\n" in said
    assert re.search(
        r"\n  'later' runs at event \d+(, leased)?, with messages \[\] and activities \[\]", said
    )


def test_a_row_that_hangs_says_how_long_it_was_waited_for(monkeypatch):
    class Hangs(ModelProvider):
        async def commit_turn(self, commit):
            await asyncio.Event().wait()

    monkeypatch.setattr(simulation, "_PATIENCE", 0.05)

    assert "something still moves after 0.05 s of real time" in complaint(Hangs, "SCENARIO-1")


def told(found, wanted):
    with pytest.raises(ClauseBroken) as broken:
        expect_equal(found, wanted, "things")
    return str(broken.value)


MANY = [f"thing number {n}" for n in range(40)]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (MANY[:38], "found 38, expected 40; missing: 'thing number 38', 'thing number 39'"),
        (["other", *MANY], "found 41, expected 40; not expected: 'other'"),
        (
            [*MANY[:39], "other"],
            "missing: 'thing number 39'; not expected: 'other'",
        ),
        (
            [*MANY[:20], MANY[21], MANY[20], *MANY[22:]],
            "the same in another order: found 'thing number 21' at place 20, expected 'thing number 20'",
        ),
        ([*MANY, MANY[0]], "found 41, expected 40; not expected: 'thing number 0'"),
    ],
    ids=["missing", "strange", "both", "order", "twice"],
)
def test_long_lists_are_told_by_what_differs(found, said):
    assert told(found, MANY) == f"things: {said}"


def test_short_values_are_told_whole():
    assert told(["b", "a"], ["a", "b"]) == "things: found ['b', 'a'], expected ['a', 'b']"


def test_many_missing_members_are_counted():
    assert told([], MANY).endswith("'thing number 7' and 32 others")


def test_a_long_member_is_cut():
    said = told(["x" * 500], ["y" * 500])

    assert said.count("characters)") == 2
    assert len(said) < 200
