"""Long replays run in slices: others run in between, and they may be given up at any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import timedelta
from itertools import pairwise

import perdure
import pytest
from perdure.contract import Provider
from perdure.errors import StorageUnavailable
from perdure.history import Event, TimerFired
from perdure.observe import RuntimeEvent, TurnLost
from perdure.replay.execution import STEP, Execution
from perdure.replay.recording import Recording
from perdure.runtime import commits, host_loop
from perdure.runtime.host_loop import NoLongerWanted, Pacer, Slice, run_in_slices

from .manual_time import soon

STEPS = 40


class Ticks:
    """A clock of which each look takes a millisecond."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 0.001
        return self.time


class Steps:
    """Steps that note who ran: themselves, or the host."""

    def __init__(self, count: int = STEPS) -> None:
        self.log: list[str] = []
        self._count = count

    def run(self) -> Generator[None]:
        try:
            for _ in range(self._count):
                self.log.append("step")
                yield
        finally:
            self.log.append("closed")

    async def beside(self) -> None:
        while True:
            self.log.append("host")
            await asyncio.sleep(0)

    def longest(self) -> int:
        """The most steps in a row."""
        return max(map(len, "".join("s" if one == "step" else " " for one in self.log).split()))


async def test_others_run_after_each_slice() -> None:
    steps = Steps()
    host = asyncio.create_task(steps.beside())

    await run_in_slices(steps.run(), of=Slice(Ticks()))

    host.cancel()
    assert steps.log.count("step") == STEPS
    assert steps.longest() == round(host_loop.SLICE / 0.001)


async def test_steps_are_closed_when_their_caller_is_cancelled() -> None:
    steps = Steps()
    running = asyncio.ensure_future(run_in_slices(steps.run(), of=Slice(Ticks())))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)

    assert 0 < steps.log.count("step") < STEPS
    assert steps.log[-1] == "closed"


async def test_steps_are_closed_when_they_are_no_longer_wanted() -> None:
    steps = Steps()

    with pytest.raises(NoLongerWanted):
        await run_in_slices(steps.run(), wanted=lambda: len(steps.log) < 10, of=Slice(Ticks()))

    assert 10 <= steps.log.count("step") < STEPS
    assert steps.log[-1] == "closed"


async def test_the_error_of_a_step_is_that_of_the_whole() -> None:
    def failing() -> Generator[None]:
        yield
        raise StorageUnavailable("no", operation="step")

    with pytest.raises(StorageUnavailable):
        await run_in_slices(failing())


async def test_a_loop_within_a_coroutine_makes_room_too() -> None:
    steps, pacer = Steps(), Pacer(Ticks())
    host = asyncio.create_task(steps.beside())

    for _ in range(STEPS):
        steps.log.append("step")
        await pacer.pause()

    host.cancel()
    assert steps.longest() <= round(host_loop.SLICE / 0.001)


# A runtime that rebuilds a long execution


app = perdure.Registry()
LENGTH = 60


@app.activity
async def add(number: int) -> int:
    return number + 1


@app.orchestration
async def chain(ctx: perdure.OrchestrationContext) -> int:
    try:
        total = 0
        for _ in range(LENGTH):
            total = await ctx.schedule_activity(add, total)
        await ctx.schedule_wait("go")
        return total
    finally:
        left.append(ctx.is_replaying)


left: list[bool] = []


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One step for each slice, and a log of the events that are delivered in replay."""
    log: list[str] = []
    deliver = Execution._deliver

    def logged(execution: Execution, event: Event, most: int) -> None:
        if execution._transcript.replaying:
            log.append("step")
            for act in list(acts):
                act(len(log))
        deliver(execution, event, most)

    monkeypatch.setattr(host_loop, "SLICE", 0)
    monkeypatch.setattr(Execution, "_deliver", logged)
    left.clear()
    acts.clear()
    return log


acts: list[Callable[[int], None]] = []


class Observer:
    def __init__(self) -> None:
        self.lost: list[TurnLost] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        if isinstance(event, TurnLost):
            self.lost.append(event)


async def long_instance(provider: Provider) -> perdure.Handle[int]:
    client = perdure.Client(provider)
    handle = await client.start_orchestration("it", chain)

    async def waits() -> bool:
        state = await provider.read_instance("it")
        return state is not None and state.last_event >= 2 * LENGTH + 2

    async with perdure.Runtime(provider, app):
        await soon(waits)
    left.clear()
    return handle


async def test_the_host_runs_between_any_two_events(
    provider: Provider, replayed: list[str]
) -> None:
    async def beside() -> None:
        while True:
            await asyncio.sleep(0)
            replayed.append("host")

    handle = await long_instance(provider)
    replayed.clear()
    host = asyncio.create_task(beside())
    async with perdure.Runtime(provider, app):
        await handle.raise_event("go")
        assert await handle.result(timeout=10) == LENGTH
    host.cancel()

    assert replayed.count("step") == LENGTH + 1
    places = [place for place, one in enumerate(replayed) if one == "step"]
    assert all(later - earlier > 1 for earlier, later in pairwise(places))


async def test_the_lease_is_renewed_while_a_long_replay_goes_on(replayed: list[str]) -> None:
    clock, observer = perdure.ManualClock(), Observer()
    options = perdure.RuntimeOptions(turn_lease=timedelta(seconds=30))
    async with perdure.open_provider("memory://", clock=clock) as provider:
        handle = await long_instance(provider)
        await handle.raise_event("go")
        began = clock.now()
        acts.append(lambda _: clock.advance(timedelta(seconds=1)))
        async with perdure.Runtime(provider, app, options=options, plugins=[observer]):
            assert await asyncio.wait_for(handle.result(), 10) == LENGTH

    assert clock.now() - began > 60_000_000
    assert observer.lost == []


async def test_a_runtime_that_is_closed_gives_a_long_replay_up_and_the_instance_back(
    provider: Provider, replayed: list[str]
) -> None:
    handle = await long_instance(provider)
    await handle.raise_event("go")
    replayed.clear()
    begun = asyncio.Event()
    acts.append(lambda count: begun.set() if count == 5 else None)

    async with perdure.Runtime(provider, app):
        await asyncio.wait_for(begun.wait(), 10)

    assert 5 <= replayed.count("step") < LENGTH
    assert left == [True]
    acts.clear()
    async with perdure.Runtime(provider, app):
        assert await handle.result(timeout=10) == LENGTH


async def test_a_replay_whose_lease_is_lost_is_given_up(
    provider: Provider, replayed: list[str]
) -> None:
    observer = Observer()
    handle = await long_instance(provider)
    await handle.raise_event("go")
    replayed.clear()

    def lose(count: int) -> None:
        if count == 5:
            for run in runtime._turn_leases.all():
                run.lease_lost()

    acts.append(lose)
    async with perdure.Runtime(provider, app, plugins=[observer]) as runtime:
        assert await handle.result(timeout=10) == LENGTH

    assert [lost.reason for lost in observer.lost] == ["the lease was lost"]
    assert left == [True, False]
    assert replayed.count("step") < 2 * LENGTH


async def test_one_event_that_wakes_many_waits_runs_in_slices_live_and_in_replay(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_loop, "SLICE", 0)
    crowd, ticks, woken_at = perdure.Registry(), 0, list[int]()
    waiters = 10 * STEP

    @crowd.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> int:
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()
            woken_at.append(ticks)

        tasks = [asyncio.create_task(wait()) for _ in range(waiters)]
        await ctx.schedule_wait("open")
        gate.set()
        await asyncio.gather(*tasks)
        await ctx.schedule_wait("end")
        return len(tasks)

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(tick())
    handle = await perdure.Client(provider).start_orchestration("it", flow)
    await handle.raise_event("open")
    async with perdure.Runtime(provider, crowd):
        await soon(lambda: len(woken_at) == waiters)
    live = len(set(woken_at))
    woken_at.clear()
    async with perdure.Runtime(provider, crowd):
        await handle.raise_event("end")
        result = await handle.result(timeout=10)
    beside.cancel()

    assert result == len(woken_at) == waiters
    assert min(live, len(set(woken_at))) >= waiters // STEP


async def test_many_messages_are_delivered_in_slices(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_loop, "SLICE", 0)
    listening, ticks, heard_at = perdure.Registry(), 0, list[int]()

    @listening.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> None:
        for _ in range(50):
            await ctx.schedule_wait("e")
            heard_at.append(ticks)

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    handle = await perdure.Client(provider).start_orchestration("it", flow)
    for _ in range(50):
        await handle.raise_event("e")
    beside = asyncio.create_task(tick())
    async with perdure.Runtime(provider, listening):
        await handle.result(timeout=10)
    beside.cancel()

    assert len(heard_at) == 50
    assert len(set(heard_at)) == 50


async def test_the_commit_of_a_large_fan_out_is_encoded_in_slices(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_loop, "SLICE", 0)
    wide, ticks, encoded_at = perdure.Registry(), 0, list[int]()
    width = 300

    @wide.activity
    async def one(number: int) -> int:
        return number

    @wide.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> int:
        return sum(await asyncio.gather(*(ctx.schedule_activity(one, k) for k in range(width))))

    encode = commits.encode_event

    def noted(event: Event) -> bytes:
        encoded_at.append(ticks)
        return encode(event)

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(commits, "encode_event", noted)
    beside = asyncio.create_task(tick())
    handle = await perdure.Client(provider).start_orchestration("it", flow)
    async with perdure.Runtime(provider, wide):
        assert await handle.result(timeout=30) == sum(range(width))
    beside.cancel()

    # The first turn has an event for each activity, and no two of them in one slice.
    assert len(set(encoded_at[: width + 1])) == width + 1


def test_a_replay_reads_its_history_as_it_comes_to_it_and_lets_go_of_what_it_has_delivered() -> (
    None
):
    taken = 0

    def recorded() -> Generator[Event]:
        nonlocal taken
        for number in range(1, LENGTH + 1):
            taken = number
            yield TimerFired(event_id=number, at=0, scheduled=0)

    recording = Recording(recorded(), str)
    most = 0
    while not recording.read_on() and recording.due is not None:
        most = max(most, taken - recording.number_due + 1)
        recording.take_due()

    assert recording.number_due == LENGTH + 1
    # The event that is delivered, and the one that ends what follows it.
    assert most == 2


async def test_an_instance_that_always_has_work_lets_the_host_run_between_its_turns(
    provider: Provider,
) -> None:
    endless, turns, ticks = perdure.Registry(), 0, 0

    @endless.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> None:
        nonlocal turns
        turns += 1
        if turns < 20:
            ctx.continue_as_new()

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with perdure.Runtime(provider, endless):
        beside = asyncio.create_task(tick())
        handle = await perdure.Client(provider).start_orchestration("it", flow)
        await handle.result(timeout=10)
        beside.cancel()

    assert turns == 20
    assert ticks > turns
