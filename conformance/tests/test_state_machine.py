"""The model test never passes over an error of the provider, and tells how to meet it again."""

import ast
import asyncio
import re
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from perdure.clock import ManualClock
from perdure.errors import StorageUnavailable
from perdure_conformance.bench import open_bench
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.comparison import state_machine
from perdure_conformance.comparison.callers import Callers
from perdure_conformance.comparison.intents import (
    Create,
    LeaseTurns,
    ReleaseTurn,
    intents,
)
from perdure_conformance.comparison.programs import call_of
from perdure_conformance.comparison.requests import method_of
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider
from perdure_conformance.runner import judge


class OpensForAWhile(StoreBackend):
    openings = 0

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        type(self).openings += 1
        if self.openings > 20:
            raise StorageUnavailable("no answer", operation="open")
        async with super().open(clock=clock, namespace=namespace) as provider:
            yield provider


class LosesItsStorage(ModelProvider):
    async def renew_turns(self, leases, *, lease_for):
        raise StorageUnavailable("no answer", operation="renew_turns")


class ForgetsReleases(ModelProvider):
    async def release_turn(self, release):
        pass


class Stumbles(ModelProvider):
    async def read_instance(self, instance):
        raise ZeroDivisionError("an accident")


@pytest.fixture
def without_simplifying(monkeypatch):
    """The first disagreement is the one that is told; how far a search comes depends on the machine."""
    monkeypatch.setattr(state_machine, "SIMPLIFYING", 0.0)


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        (OpensForAWhile(), "the storage was not available.*no answer"),
        (StoreBackend(provider=LosesItsStorage), "the storage was not available.*no answer"),
        (StoreBackend(provider=Stumbles), "an accident"),
    ],
    ids=["opening", "storage", "reading"],
)
@pytest.mark.slow
def test_an_error_of_the_provider_breaks_the_promise(without_simplifying, backend, complaint):
    with pytest.raises(ClauseBroken, match=f"(?s){complaint}"):
        asyncio.run(state_machine.compare_with_model(backend))


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """A busy machine must not end the simplifying early."""
    monkeypatch.setattr(state_machine, "SIMPLIFYING", 3600.0)
    monkeypatch.setattr(state_machine, "LONGEST", 3600.0)


async def played(provider, *steps):
    """The complaint about one example of the state machine, after these steps."""
    machine = type(
        "One",
        (state_machine.Comparison,),
        {
            "backend": StoreBackend(provider=provider),
            "findings": state_machine.Findings(time.monotonic() + 60, 1),
        },
    )

    def run():
        one = machine()
        try:
            for step in steps:
                step(one)
        except ClauseBroken as broken:
            one.teardown()
            return str(broken)
        try:
            one.teardown()
        except ClauseBroken as broken:
            return str(broken)
        return ""

    return await asyncio.to_thread(run)


def complaint_about(provider, *steps):
    return asyncio.run(played(provider, *steps))


def one_runs(machine):
    machine.something_runs(False)


def it_is_released(machine):
    machine.calls([ReleaseTurn(turn=0, counted=False)], 0)


def it_is_released_beside_a_creation(machine):
    machine.two_calls_at_once(Create(instance=1), ReleaseTurn(turn=0, counted=False))


def test_a_disagreement_tells_its_seed_and_how_much_was_tried(without_simplifying):
    with pytest.raises(ClauseBroken) as raised:
        asyncio.run(
            state_machine.compare_with_model(StoreBackend(provider=ForgetsReleases), seed=1)
        )

    assert re.fullmatch(
        r"in this program\n.*\n\(seed 1, the simplest of \d+ examples\)",
        str(raised.value),
        re.DOTALL,
    ), str(raised.value)


def test_the_same_seed_makes_the_same_calls_whatever_modules_are_loaded(
    monkeypatch, without_simplifying
):
    def compared():
        with pytest.raises(ClauseBroken) as raised:
            asyncio.run(
                state_machine.compare_with_model(StoreBackend(provider=ForgetsReleases), seed=1)
            )
        return str(raised.value)

    before = compared()
    full_of_numbers = providers.Constants(integers=providers.SortedSet(range(20)))
    monkeypatch.setattr(providers, "_get_local_constants", lambda: full_of_numbers)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", {})

    assert compared() == before


@pytest.mark.parametrize(
    ("released", "order"),
    [
        (it_is_released, ""),
        (
            it_is_released_beside_a_creation,
            "in the order (?:create_instance < release_turn|release_turn < create_instance)\n    ",
        ),
    ],
    ids=["alone", "beside"],
)
def test_a_disagreement_tells_what_differs_and_in_which_order(released, order):
    told = complaint_about(ForgetsReleases, one_runs, released)

    difference = (
        f"  {order}work of a: attempt: found 1, expected 0; leased_until: found \\d+, expected None"
    )
    assert re.fullmatch(
        r"in this program\n.*\n"
        r"all answers are those of the model, but the storage shows something else"
        rf" \(states of the model that fit the answers: \d\)(?:\n{difference})+",
        told,
        re.DOTALL,
    ), told


def test_a_disagreement_is_a_program_that_can_be_run():
    told = complaint_about(ForgetsReleases, one_runs, it_is_released)
    text = told.removeprefix("in this program\n").partition("\nall answers")[0]
    found = {}
    exec(text, found)  # noqa: S102 # what a reader of the complaint does

    async def run():
        async with open_bench(StoreBackend(provider=ForgetsReleases)) as bench:
            await found["program"](bench)
            return await bench.admin.read_work("a")

    work = asyncio.run(run())
    leased_until = re.search(r"leased_until: found (\d+)", told)[1]
    assert (work.attempt, work.leased_until) == (1, int(leased_until))


@pytest.mark.slow
def test_every_call_can_be_written_as_a_line_of_a_program():
    callers = Callers(ManualClock(), capabilities=frozenset({"deletion", "recovery", "values"}))
    kinds = set()

    @settings(max_examples=60, database=None, derandomize=True)
    @given(st.lists(intents, max_size=20))
    def write(asked):
        for intent in asked:
            request = callers.request(intent)
            if request is not None:
                kinds.add(method_of(request))
                ast.parse(f"async def f():\n    await {call_of('p1', request)}")

    write()

    assert {"create_instance", "send", "lease_turns", "delete_early_events"} <= kinds


def test_calls_at_once_whose_answers_no_order_gives_are_told_with_the_orders():
    class AnswersTwice(ModelProvider):
        looks = 0

        async def lease_turns(self, request):
            type(self).looks += 1
            turns = await super().lease_turns(request)
            return [*turns, *(replace(turn, attempt=9) for turn in turns)][-1:]

    def two_look_at_once(machine):
        machine.calls([Create(instance=0), Create(instance=1)], 0)
        machine.two_calls_at_once(LeaseTurns(), LeaseTurns())

    found = complaint_about(AnswersTwice, two_look_at_once)

    assert "to the last two calls, which overlap, the provider answered\n  lease_turns: [" in found
    assert re.search(r"and in none of the \d+ orders of their steps does the model answer", found)
    assert found.count("\nor\n") == 1


@pytest.mark.slow
def test_a_slow_storage_gets_the_least_number_of_examples(monkeypatch):
    monkeypatch.setattr(state_machine, "LONGEST", 0.0)
    monkeypatch.setattr(state_machine, "LEAST", 3)

    count = asyncio.run(state_machine.compare_with_model(StoreBackend()))

    assert count == 3


@pytest.mark.slow
def test_the_report_says_how_many_examples_were_compared(monkeypatch):
    monkeypatch.setattr(state_machine, "LONGEST", 0.0)
    monkeypatch.setattr(state_machine, "LEAST", 3)
    (check,) = (check for check in CLAUSES if check.id == "MODEL-1")

    result = judge(check, StoreBackend())

    assert result.message == "3 examples were compared, of the seed 4"
