"""Waiting for the end: at once, woken, polling, in time and out of it, through trouble."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from perdure import (
    ApplicationFailure,
    Client,
    Completed,
    Failed,
    ManualClock,
    NotFound,
    OrchestrationContext,
    OrchestrationFailed,
    Raised,
    Registry,
    Running,
    WaitTimeout,
)
from perdure.client.waiting import Countdown
from perdure.contract import DelegatingProvider, Provider
from perdure.contract.waiting import first_of
from perdure.errors import (
    InvalidDuration,
    InvalidPayload,
    StorageCorrupt,
    StorageFailed,
    StorageUnavailable,
)
from perdure.model.durations import LONGEST_DURATION

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no stock"))
app = Registry()


@app.orchestration(name="Sum")
async def count(ctx: OrchestrationContext) -> tuple[str, int]:
    return ("a", 1)


class Deaf(DelegatingProvider):
    """A provider that tells of no change, and counts the looks."""

    def __init__(self, inner):
        super().__init__(inner)
        self.tells_of_changes = False
        self.looks: list[int] = []

    async def read_instance(self, instance):
        self.looks.append(self.clock.now())
        return await super().read_instance(instance)

    # The function of the base class itself, as where no provider overrides it.
    wait_for_change = Provider.wait_for_change


class Troubled(DelegatingProvider):
    """Fails while told to."""

    error: Exception | None = None
    looks = 0

    async def read_instance(self, instance):
        self.looks += 1
        if self.error is not None:
            raise self.error
        return await super().read_instance(instance)


def unavailable():
    return StorageUnavailable("the storage is busy; try again", operation="read_instance")


async def test_the_status_says_what_was_stored(client, turns):
    await client.start_orchestration("completed", "Sum")
    await client.start_orchestration("failed", "Sum")
    await client.start_orchestration("running", "Sum")
    await turns.complete("completed", '{"a": 1}')
    await turns.fail("failed", FAILURE)

    assert await client.get_orchestration_status("completed") == Completed(output='{"a": 1}')
    assert await client.get_orchestration_status("failed") == Failed(details=FAILURE)
    assert await client.get_orchestration_status("running") == Running()
    assert await client.get_orchestration_status("unknown") == NotFound()


async def test_the_status_is_that_of_the_newest_execution(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.continue_as_new("i")

    assert await client.get_orchestration_status("i") == Running()


async def test_a_parked_instance_says_why_and_since_when(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.park("i", "unregistered", "no runtime has it")

    parked = (await client.get_orchestration_status("i")).parked
    assert parked.reason == "unregistered"
    assert parked.details == "no runtime has it"
    assert parked.since.timestamp() * 1_000_000 == clock.now()
    assert parked.since.utcoffset() == timedelta(0)


@pytest.mark.parametrize("details", [b"", b"no details", b"{}", b"[1]", b"\xff", b"null"])
async def test_an_undecodable_failure_is_reported_with_its_instance(client, turns, details):
    await client.start_orchestration("i", "Sum")
    await turns.fail("i", details)

    with pytest.raises(StorageCorrupt, match="'i'"):
        await client.get_orchestration_status("i")
    with pytest.raises(StorageCorrupt, match="'i'"):
        await client.wait_for_orchestration("i", 1)


async def test_what_has_ended_is_seen_at_once_however_short_the_timeout(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")

    assert await client.wait_for_orchestration("i", 0) == Completed(output="1")
    assert await client.wait_for_orchestration("i", timedelta(0)) == Completed(output="1")


async def test_a_failure_is_an_outcome_of_waiting_not_an_error(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.fail("i", FAILURE)

    assert await client.wait_for_orchestration("i") == Failed(details=FAILURE)


async def test_the_end_wakes_the_waiter_without_the_clock(client, turns):
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i", 60))
    await turns.asleep()
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert await waiting == Completed(output="1")


async def test_the_notifier_wakes_waiters_of_a_provider_that_polls(provider, turns):
    client = Client(Deaf(provider))
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i"))
    await turns.asleep()
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert await waiting == Completed(output="1")


async def test_a_ring_during_the_look_is_not_lost(provider, turns, clock):
    class Slow(Deaf):
        async def read_instance(self, instance):
            state = await super().read_instance(instance)
            if len(self.looks) == 1:
                await turns.complete("i", "1")
            return state

    client = Client(Slow(provider))
    await client.start_orchestration("i", "Sum")

    async with asyncio.timeout(60):
        assert await client.wait_for_orchestration("i") == Completed(output="1")
    assert clock.next_due is None


async def test_a_ring_that_brings_no_end_costs_one_look(provider, turns):
    deaf = Deaf(provider)
    client = Client(deaf)
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i"))
    await turns.asleep()
    provider.notifier.notify_instance("i")
    await turns.settle(lambda: len(deaf.looks) > 1)
    for _ in range(50):
        await asyncio.sleep(0)

    assert len(deaf.looks) == 2
    await turns.complete("i", "1")
    await waiting


class Silent(DelegatingProvider):
    """Tells of changes without the state; counts the reads."""

    reads = 0

    async def read_instance(self, instance):
        self.reads += 1
        return await super().read_instance(instance)

    async def wait_for_change(self, wait):
        await super().wait_for_change(wait)


class Outspoken(Silent):
    """Tells the state, too."""

    async def wait_for_change(self, wait):
        await super().wait_for_change(wait)
        return await self.inner.read_instance(wait.instance)


@pytest.mark.parametrize(("kind", "reads"), [(Silent, 2), (Outspoken, 1)])
async def test_a_state_that_the_provider_tells_spares_a_read(provider, turns, kind, reads):
    telling = kind(provider)
    client = Client(telling)
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i"))
    await turns.asleep()
    # With a notification, too: it must not come before the state.
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert await waiting == Completed(output="1")
    assert telling.reads == reads


@pytest.mark.parametrize(("kind", "reads"), [(Silent, 1), (Outspoken, 0)])
async def test_the_first_wait_on_the_handle_of_a_start_does_not_read_what_was_started(
    provider, turns, kind, reads
):
    telling = kind(provider)
    handle = await Client(telling).start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(handle.wait())
    await turns.asleep()
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert await waiting == Completed(output="1")
        assert telling.reads == reads
        assert await handle.wait(0) == Completed(output="1")
    assert telling.reads == reads + 1


async def test_a_wait_on_the_handle_of_a_start_sees_an_end_however_short_the_timeout(client, turns):
    handle = await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")

    assert await handle.wait(0) == Completed(output="1")


async def test_a_wait_on_the_handle_of_a_start_tells_that_the_instance_exists(provider, turns):
    troubled = Troubled(provider)
    handle = await Client(troubled).start_orchestration("i", "Sum")
    troubled.error = unavailable()

    with pytest.raises(WaitTimeout) as caught:
        await turns.pass_time(asyncio.ensure_future(handle.wait(1)))
    assert caught.value.exists
    assert caught.value.__cause__ is troubled.error


async def test_a_told_state_that_is_not_the_awaited_one_is_waited_on_from(provider, turns):
    telling = Outspoken(provider)
    client = Client(telling)
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i"))
    await turns.asleep()
    await client.start_orchestration("i", "Sum")
    await turns.settle(lambda: provider.clock.next_due is not None)
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert await waiting == Completed(output="1")
    assert telling.reads == 1


async def test_polls_begin_at_5_ms_and_double_to_100_ms(provider, turns, clock):
    deaf = Deaf(provider)
    begun = clock.now()
    waiting = asyncio.ensure_future(Client(deaf).wait_for_orchestration("i", 0.5))

    with pytest.raises(WaitTimeout):
        await turns.pass_time(waiting)
    gaps = [later - look for look, later in zip(deaf.looks, deaf.looks[1:], strict=False)]
    assert deaf.looks[0] == begun
    assert [gap // 1000 for gap in gaps] == [5, 10, 20, 40, 80, 100, 100, 100, 45]


async def test_waiting_for_an_unknown_id_costs_a_look_each_time_and_no_history(provider, turns):
    class Expensive(Deaf):
        async def read_history(self, *arguments, **options):
            raise AssertionError("a wait read a history")

    deaf = Expensive(provider)
    waiting = asyncio.ensure_future(Client(deaf).wait_for_orchestration("unknown", 10))

    with pytest.raises(WaitTimeout) as caught:
        await turns.pass_time(waiting)
    assert not caught.value.exists
    assert "no such instance exists" in str(caught.value)
    assert len(deaf.looks) < 110


async def test_a_wait_outlasts_the_start(client, turns):
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i", 60))
    await turns.asleep()
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert await waiting == Completed(output="1")


@pytest.mark.parametrize("wrap", [Deaf, lambda provider: provider])
async def test_one_step_of_the_clock_past_the_timeout_ends_the_wait(provider, turns, clock, wrap):
    client = Client(wrap(provider))
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i", timedelta(seconds=3)))
    await turns.asleep()
    clock.advance(timedelta(seconds=3))

    async with asyncio.timeout(60):
        with pytest.raises(WaitTimeout, match="'i' did not end within 3 s") as caught:
            await waiting
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.exists
    assert caught.value.timeout == timedelta(seconds=3)


async def test_a_timeout_names_the_reason_why_the_instance_is_parked(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.park("i", "nondeterminism", "event 3 differs")

    with pytest.raises(WaitTimeout, match=r"parked \(nondeterminism\): event 3 differs") as caught:
        await client.wait_for_orchestration("i", 0)
    assert caught.value.parked.reason == "nondeterminism"


@pytest.mark.parametrize(
    "timeout", [-1, -0.001, math.nan, math.inf, timedelta(-1), "3", True, 1e30]
)
async def test_a_timeout_that_is_no_duration_is_refused(client, timeout):
    with pytest.raises(InvalidDuration, match="timeout"):
        await client.wait_for_orchestration("i", timeout)


async def test_no_timeout_waits_on(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i"))
    for _ in range(20):
        await turns.asleep()
        clock.advance(timedelta(days=1))
    assert not waiting.done()
    await turns.complete("i", "1")

    assert await turns.pass_time(waiting) == Completed(output="1")


async def test_retryable_trouble_is_waited_out(provider, turns):
    troubled = Troubled(provider)
    client = Client(troubled)
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")
    troubled.error = unavailable()
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i", 60))
    await turns.asleep()
    troubled.error = None

    assert await turns.pass_time(waiting) == Completed(output="1")


async def test_trouble_from_the_first_look_to_the_end_is_the_error(provider, turns):
    troubled = Troubled(provider)
    troubled.error = unavailable()
    waiting = asyncio.ensure_future(Client(troubled).wait_for_orchestration("i", 1))

    with pytest.raises(StorageUnavailable):
        await turns.pass_time(waiting)
    assert troubled.looks < 30


async def test_trouble_at_the_end_is_the_cause_of_the_timeout(provider, turns):
    troubled = Troubled(provider)
    client = Client(troubled)
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(client.wait_for_orchestration("i", 1))
    await turns.asleep()
    troubled.error = unavailable()

    with pytest.raises(WaitTimeout) as caught:
        await turns.pass_time(waiting)
    assert caught.value.__cause__ is troubled.error
    assert caught.value.exists


async def test_a_provider_whose_waits_fail_is_polled_not_spun(provider, turns):
    class Muted(Deaf):
        async def wait_for_change(self, wait):
            raise unavailable()

    muted = Muted(provider)
    waiting = asyncio.ensure_future(Client(muted).wait_for_orchestration("i", 1))

    with pytest.raises(WaitTimeout):
        await turns.pass_time(waiting)
    assert len(muted.looks) < 30


async def test_trouble_that_is_not_retryable_ends_the_wait(provider):
    troubled = Troubled(provider)
    troubled.error = StorageFailed("the disk is full; free some", operation="read_instance")

    with pytest.raises(StorageFailed):
        await Client(troubled).wait_for_orchestration("i")
    assert troubled.looks == 1


@pytest.mark.parametrize("wrap", [Deaf, lambda provider: provider])
async def test_a_cancelled_wait_leaves_nothing_behind(provider, turns, clock, wrap):
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(Client(wrap(provider)).wait_for_orchestration("i"))
    await turns.asleep()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == before
    assert clock.next_due is None
    assert not provider.notifier._instances


async def test_many_waiters_of_one_instance_all_wake(client, turns):
    await client.start_orchestration("i", "Sum")
    waiting = [asyncio.ensure_future(client.wait_for_orchestration("i")) for _ in range(50)]
    await turns.asleep()
    await turns.complete("i", "1")

    async with asyncio.timeout(60):
        assert set(await asyncio.gather(*waiting)) == {Completed(output="1")}


async def test_a_typed_wait_decodes_the_output(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "[1, 2]")

    assert await client.wait_for_orchestration_typed("i", list[int], 1) == [1, 2]
    assert await client.wait_for_orchestration_typed("i", tuple[int, ...], 1) == (1, 2)
    with pytest.raises(InvalidPayload, match="output of instance 'i'"):
        await client.wait_for_orchestration_typed("i", dict[str, int], 1)


async def test_a_typed_wait_raises_a_failure_with_its_details(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.fail("i", FAILURE)

    with pytest.raises(OrchestrationFailed, match="'i' failed: ValueError: no stock") as caught:
        await client.wait_for_orchestration_typed("i", int, 1)
    assert caught.value.details == FAILURE


async def test_a_handle_speaks_of_its_instance(client, turns):
    handle = await client.start_orchestration("i", count)
    await handle.raise_event("go", "1", event_id="e")
    await handle.raise_event("go", "1", event_id="e")
    await handle.cancel("why")
    with pytest.raises(WaitTimeout):
        await handle.result(0)
    turn = await turns.lease("i")

    assert [message.kind for message in turn.messages] == ["start", "event", "cancel"]
    assert await handle.status() == Running()
    assert "'i'" in repr(handle)


async def test_a_handle_decodes_the_result_by_the_function(client, turns):
    handle = await client.start_orchestration("i", count)
    await turns.complete("i", '["a", 1]')

    assert await handle.wait(1) == Completed(output='["a", 1]')
    assert await handle.result(timedelta(seconds=1)) == ("a", 1)


async def test_a_handle_by_name_decodes_json(client, turns):
    handle = await client.start_orchestration("i", "Sum")
    await turns.complete("i", '{"a": [1]}')

    assert await handle.result() == {"a": [1]}


async def test_a_handle_raises_a_failure(client, turns):
    handle = await client.start_orchestration("i", "Sum")
    await turns.fail("i", FAILURE)

    with pytest.raises(OrchestrationFailed):
        await handle.result()
    assert await handle.wait() == Failed(details=FAILURE)


def test_a_wall_clock_that_steps_back_does_not_prolong_the_countdown():
    clock = ManualClock()
    countdown = Countdown(clock, timedelta(seconds=10))
    clock.advance(timedelta(seconds=4))
    assert countdown.left() == timedelta(seconds=6)
    clock.step_back(timedelta(hours=1))
    assert countdown.left() == timedelta(seconds=6)
    clock.advance(timedelta(seconds=7))

    assert countdown.left() == timedelta(0)


def test_a_countdown_without_a_limit_never_ends():
    clock = ManualClock()
    countdown = Countdown(clock, None)
    clock.advance(LONGEST_DURATION)

    assert countdown.left() is None


class Measured(DelegatingProvider):
    """A wrapper that counts every wait, as metrics do, and changes nothing."""

    async def wait_for_change(self, wait):
        return await self.inner.wait_for_change(wait)


def test_a_wrapper_passes_on_what_a_provider_says_of_its_waits(provider):
    told = Measured(provider)
    silent = Measured(Deaf(provider))

    assert (told.tells_of_changes, told.tells_of_work) == (True, True)
    assert (silent.tells_of_changes, silent.tells_of_work) == (False, True)


async def test_a_wrapper_that_measures_waits_does_not_make_them_longer(provider, turns):
    silent = Deaf(provider)
    waiting = asyncio.ensure_future(Client(Measured(silent)).wait_for_orchestration("i", 10))

    with pytest.raises(WaitTimeout):
        await turns.pass_time(waiting)
    assert max(after - before for before, after in pairwise(silent.looks)) <= 100_000


async def test_the_first_of_many_ends_the_others():
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fail():
        await asyncio.sleep(0)
        raise KeyError("one")

    with pytest.raises(KeyError):
        await first_of(forever(), fail())
    assert ended == [True]


@pytest.mark.slow
async def test_two_thousand_waiters_are_cheap(client, turns):
    for number in range(2000):
        await client.start_orchestration(f"i{number}", "Sum")
    begun = time.process_time()
    waiting = [
        asyncio.ensure_future(client.wait_for_orchestration(f"i{number}", 600))
        for number in range(2000)
    ]
    await turns.asleep()
    turns.clock.advance(timedelta(seconds=600))
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(result, WaitTimeout) for result in results)
    assert time.process_time() - begun < 10
