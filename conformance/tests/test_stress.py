"""The stress command: it measures, tells how far it is, and ends whatever the provider does."""

import asyncio
import json
import time

import pytest
from perdure_conformance import stress
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.command import main
from perdure_conformance.model import ModelProvider
from perdure_conformance.stress import GRACE, SECONDS, Load, as_table, measure
from perdure_conformance.stress_workloads import WORKLOADS, chain, fetch, turn


class InTurns(ModelProvider):
    """Lets other callers come in between its calls, in odd numbers of steps."""

    steps = 0

    async def between(self):
        for _ in range((self.steps * 7) % 5):
            await asyncio.sleep(0)
        self.steps += 1

    async def lease_turns(self, request):
        await self.between()
        return await super().lease_turns(request)

    async def lease_activities(self, request):
        await self.between()
        return await super().lease_activities(request)

    async def commit_turn(self, commit):
        await self.between()
        return await super().commit_turn(commit)


def test_the_command_measures_every_workload_and_tells_how_far_it_is(capsys):
    arguments = ["--operations", "12", "--callers", "3", "--json"]

    assert main(["stress", "memory://stress", *arguments]) == 0

    said = capsys.readouterr()
    measurements = json.loads(said.out)["measurements"]
    names = ["create", "look", "send", "turn", "chain", "fetch"]
    assert [each["workload"] for each in measurements] == names
    assert all(each["per_second"] > 0 for each in measurements)
    assert [(each["operations"], each["unfinished"]) for each in measurements] == [(12, 0)] * 6
    assert list(dict.fromkeys(line.split()[0] for line in said.err.splitlines())) == names


def test_the_command_measures_chosen_workloads(capsys):
    arguments = ["--operations", "3", "--workloads", "send", "create", "--json"]

    main(["stress", "memory://stress", *arguments])

    measurements = json.loads(capsys.readouterr().out)["measurements"]
    assert [each["workload"] for each in measurements] == ["create", "send"]


def test_an_unknown_workload_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["stress", "memory://stress", "--workloads", "sned"])

    assert "invalid choice: 'sned'" in capsys.readouterr().err


@pytest.mark.parametrize("workload", [turn, chain, fetch])
def test_callers_that_take_the_work_of_others_end_all(workload):
    load = Load(operations=60, callers=16, seconds=20)

    (found,) = asyncio.run(measure(StoreBackend(provider=InTurns), load, [workload]))

    assert (found.operations, found.unfinished) == (60, 0)


def test_by_default_all_workloads_take_less_than_a_minute():
    assert (SECONDS + GRACE) * len(WORKLOADS) < 60


def test_a_workload_ends_with_its_time():
    load = Load(operations=10**9, callers=2, seconds=0.05)

    (found,) = asyncio.run(measure(StoreBackend(), load, [turn]))

    assert found.operations > 0


def test_a_provider_that_hangs_is_given_up_and_the_figures_say_so(monkeypatch):
    class Hangs(ModelProvider):
        async def lease_turns(self, request):
            await asyncio.Event().wait()

    monkeypatch.setattr(stress, "GRACE", 0.05)
    began = time.monotonic()

    found = asyncio.run(
        measure(StoreBackend(provider=Hangs), Load(callers=3, seconds=0.05), [turn])
    )

    assert time.monotonic() - began < 60
    assert "(3 operations did not end, and were cancelled)" in as_table(found)


def test_an_error_of_the_provider_ends_the_run():
    class Fails(ModelProvider):
        async def lease_turns(self, request):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(measure(StoreBackend(provider=Fails), Load(seconds=1), [turn]))
