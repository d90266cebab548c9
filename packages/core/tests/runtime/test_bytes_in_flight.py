"""What a runtime holds of large payloads stays below its limit, and all work is done all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.contract import CommitAnswer, DelegatingProvider, Provider, TurnCommit
from perdure.runtime.bytes_in_flight import LARGE, BytesInFlight, Share
from perdure.testing import Stage

from .conftest import WatchedProvider
from .wrapping import Wrapping

LIMIT = 40 * LARGE
TEXT = "x" * (2 * LARGE)
"""About a twentieth of the limit, and a tenth of the share of activities."""
OPTIONS = RuntimeOptions(max_bytes_in_flight=LIMIT)


class Held:
    """Notes what is held whenever an activity has its input."""

    def __init__(self) -> None:
        self.inside = self.most_inside = self.most_bytes = 0
        self.deliveries: list[int] = []
        self.gate = asyncio.Event()
        self.begun = 0
        self.others = asyncio.Event()
        """Keeps all results but the first from being made until it is set."""
        self.others.set()
        self.bytes_in_flight: Callable[[], int] = lambda: 0

    async def hold(self) -> None:
        self.deliveries.append(perdure.activity_context().delivery)
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.most_bytes = max(self.most_bytes, self.bytes_in_flight())
        await self.gate.wait()
        self.inside -= 1


class HoldingFinishes(DelegatingProvider):
    """Keeps the commits that finish activities under way until the gate is open."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.gate = asyncio.Event()
        self.holds = False

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        if commit.finish:
            self.holds = True
            await self.gate.wait()
        return await super().commit_turn(commit)


def registries() -> tuple[perdure.Registry, perdure.Registry]:
    """The orchestrations, and the activities."""
    flows, work = perdure.Registry(), perdure.Registry()

    @work.activity
    async def measure(text: str) -> int:
        held = perdure.activity_context().resources
        assert isinstance(held, Held)
        await held.hold()
        return len(text)

    @work.activity
    async def produce(size: int) -> str:
        held = perdure.activity_context().resources
        if isinstance(held, Held):
            held.begun += 1
            if held.begun > 1:
                await held.others.wait()
        return "x" * size

    @flows.orchestration
    async def flow(ctx: perdure.OrchestrationContext, text: str) -> int:
        return await ctx.schedule_activity("measure", text, result_type=int)

    @flows.orchestration
    async def produced(ctx: perdure.OrchestrationContext, count: int) -> int:
        made = [ctx.schedule_activity("produce", len(TEXT), result_type=str) for _ in range(count)]
        return sum(map(len, await asyncio.gather(*made)))

    @flows.orchestration
    async def waits(ctx: perdure.OrchestrationContext, text: str) -> int:
        return len(text) + await ctx.schedule_wait("go", int)

    return flows, work


async def starts(stage: Stage, texts: list[str]) -> list[perdure.Handle[object]]:
    start = stage.client.start_orchestration_typed
    return [await start(f"i-{k}", "flow", text) for k, text in enumerate(texts)]


async def test_no_more_inputs_are_held_than_fit_and_every_activity_runs_once() -> None:
    flows, work = registries()
    held = Held()
    async with Stage(flows, work, options=OPTIONS, resources=held) as stage:
        held.bytes_in_flight = lambda: stage.runtime.statistics.bytes_in_flight
        handles = await starts(stage, [TEXT] * 30)
        await stage.until(lambda: held.inside == 9)
        await stage.until(lambda: stage.runtime.statistics.turns_committed == 30)
        held.gate.set()
        found = [await handle.result() for handle in handles]
        await stage.settle()
        left = stage.runtime.statistics.bytes_in_flight

    assert found == [len(TEXT)] * 30
    assert held.deliveries == [1] * 30
    assert held.most_inside == 9
    assert held.most_bytes <= LIMIT
    assert left == 0


async def test_lease_calls_ask_for_few_and_what_does_not_fit_is_given_back_uncounted() -> None:
    flows, work = registries()
    held, watched = Held(), Wrapping(WatchedProvider)
    async with Stage(flows, plugins=[watched]) as stage:
        handles = await starts(stage, [TEXT] * 30)
        await stage.settle()
        async with stage.worker(work, options=OPTIONS, resources=held) as worker:
            held.bytes_in_flight = lambda: worker.runtime.statistics.bytes_in_flight
            await stage.until(lambda: held.inside == 9)
            held.gate.set()
            found = [await handle.result() for handle in handles]

    assert found == [len(TEXT)] * 30
    assert held.deliveries == [1] * 30
    assert held.most_inside == 9
    assert held.most_bytes <= LIMIT // 2


async def test_an_input_above_the_limit_is_held_with_no_other_large_one() -> None:
    flows, work = registries()
    held, huge = Held(), "x" * (2 * LIMIT)
    held.gate.set()
    beside: list[int] = []
    async with Stage(flows, work, options=OPTIONS, resources=held) as stage:
        held.bytes_in_flight = lambda: beside.append(held.inside) or 0
        handles = await starts(stage, [huge, huge, TEXT])
        found = [await handle.result() for handle in handles]

    assert found == [2 * LIMIT, 2 * LIMIT, len(TEXT)]
    assert beside == [1, 1, 1]


async def test_results_that_no_commit_has_stored_hold_back_further_activities() -> None:
    flows, work = registries()
    held, holding = Held(), Wrapping(HoldingFinishes)
    held.gate.set()
    held.others.clear()
    async with Stage(flows, work, options=OPTIONS, resources=held, plugins=[holding]) as stage:
        many = await stage.client.start_orchestration_typed("many", "produced", 12)
        # The turn has one result, so that another turn has room beside it.
        await stage.until(lambda: holding.provider.holds)
        held.others.set()
        await stage.until(lambda: stage.runtime.statistics.bytes_in_flight > LIMIT // 2)
        (other,) = await starts(stage, ["small"])
        await stage.until(lambda: stage.runtime.statistics.turns_committed == 2)

        assert held.deliveries == []
        holding.provider.gate.set()
        assert await other.result() == len("small")
        assert await many.result() == 12 * len(TEXT)
        await stage.settle()
        assert stage.runtime.statistics.bytes_in_flight == 0


async def test_cached_executions_with_large_inputs_go_before_those_that_fit() -> None:
    flows, work = registries()
    async with Stage(flows, work, options=OPTIONS) as stage:
        start = stage.client.start_orchestration_typed
        handles = [await start(f"w-{k}", "waits", TEXT) for k in range(20)]
        await stage.settle()

        # A sixth of the limit for the cache, and what of another sixth no leased instance needed.
        live = stage.runtime.statistics.live_executions
        assert LIMIT // 6 < live * (len(TEXT) + 4) <= LIMIT // 3
        assert stage.runtime.statistics.bytes_in_flight <= LIMIT // 3
        for number, handle in enumerate(handles):
            await handle.raise_event("go", str(number))
        assert [await handle.result() for handle in handles] == [
            len(TEXT) + number for number in range(20)
        ]


async def test_an_execution_does_not_hold_the_text_of_its_input_once_its_code_has_it() -> None:
    flows, work = registries()
    async with Stage(flows, work) as stage:
        await stage.client.start_orchestration_typed("w", "waits", TEXT)
        await stage.settle()
        live = stage.runtime._services.executions._cache._live["w"]  # pyright: ignore[reportPrivateUsage]

    assert live.execution.started.input == ""
    assert live.execution._input == ""  # pyright: ignore[reportPrivateUsage]


# The share itself


def test_a_lease_call_asks_for_as_few_as_fit_if_all_are_as_large_as_the_largest_of_late() -> None:
    share = Share(800)
    assert share.room == 8

    share.found([10, 100])
    assert share.room == 8
    share.found([10])
    share.found([10])
    assert share.room == 800 // 25

    share.take(700)
    assert share.room == 4
    share.found([200])
    assert share.room == 0
    assert not share.fits(200)


def test_room_is_told_of_when_there_was_none() -> None:
    share, told = Share(100), list[int]()
    share.when_freed = lambda: told.append(share.in_use)
    share.found([60])
    share.take(60)
    share.take(30)

    share.give(30)
    assert told == []
    share.give(60)
    assert told == [0]


def test_a_lease_call_under_way_keeps_the_room_for_what_it_may_return() -> None:
    share = Share(800)
    with share.asked_for(share.room):
        assert share.room == 0
        assert not share.fits(1)
    assert share.in_use == 0


@pytest.mark.parametrize("limit", [1, 36, 300_000_000])
def test_the_shares_are_not_more_than_the_whole(limit: int) -> None:
    shares = BytesInFlight(limit)

    assert (
        shares.activities.limit + shares.turns.limit + shares.cached + 6 * shares.commits <= limit
    )
    assert min(shares.activities.room, shares.turns.room) >= 1


def test_the_limit_may_be_as_large_as_the_memory_of_a_large_machine() -> None:
    assert RuntimeOptions(max_bytes_in_flight=512_000_000_000).max_bytes_in_flight == 512 * 10**9
