"""How often a runtime looks into the storage: for work, and for work that no runtime takes."""

from __future__ import annotations

from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.contract import DelegatingProvider, Notifier, TurnRequest
from perdure.runtime.polling import UnregisteredLooks

from .manual_time import SECOND, pass_time, rounds


class Looks(DelegatingProvider):
    """Counts the looks for turns, and how many of them asked for unregistered ones."""

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.all = 0
        self.for_unregistered = 0

    async def lease_turns(self, request: TurnRequest):
        self.all += 1
        self.for_unregistered += request.unregistered_for is not None
        return await super().lease_turns(request)


@pytest.mark.slow
async def test_an_idle_runtime_looks_once_in_a_poll_interval(provider, clock) -> None:
    looks = Looks(provider)
    options = RuntimeOptions(poll_interval=timedelta(seconds=10))
    async with Runtime(looks, perdure.Registry(), options=options):
        await pass_time(clock, 30 * SECOND)
        before = looks.all
        await pass_time(clock, 100 * SECOND)
    assert 9 <= looks.all - before <= 11
    # One and the same look serves both purposes.
    assert looks.for_unregistered >= 12


async def test_work_of_the_own_process_does_not_wait_for_a_poll(provider, clock) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return "ran"

    options = RuntimeOptions(poll_interval=timedelta(hours=1))
    async with Runtime(provider, app, options=options):
        handle = await perdure.Client(provider).start_orchestration("i", main)
        # The clock stands: only the subscription can have woken the runtime.
        assert await handle.result() == "ran"


class Forgetful(Looks):
    """Says that it tells of work, and does not."""

    async def wait_for_work(self, wait):
        await self.clock.sleep(wait.timeout)


class Elsewhere(DelegatingProvider):
    """The storage as another process has it: what it does notifies nothing here."""

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.notifier = Notifier()


def registry_of_main() -> perdure.Registry:
    """An orchestration that ends at once."""
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        pass

    return app


async def test_where_work_is_told_of_looks_come_once_an_interval_and_find_what_was_not_told(
    provider, clock
) -> None:
    app = registry_of_main()
    looks = Forgetful(provider)
    elsewhere = perdure.Client(Elsewhere(provider))
    tenth = timedelta(milliseconds=100)
    async with Runtime(looks, app):
        await (await perdure.Client(looks).start_orchestration("here", "main")).result()
        await rounds()
        before = looks.all
        await elsewhere.start_orchestration("elsewhere", "main")
        await pass_time(clock, 9 * tenth, step=tenth / 10)
        assert looks.all == before
        assert isinstance(await elsewhere.get_orchestration_status("elsewhere"), perdure.Running)
        await pass_time(clock, tenth, step=tenth)
        assert isinstance(await elsewhere.get_orchestration_status("elsewhere"), perdure.Completed)


async def test_a_look_that_finds_all_that_is_ready_is_not_followed_by_one_that_finds_nothing(
    provider, clock
) -> None:
    app = registry_of_main()
    looks = Looks(provider)
    # The provider alone tells of the start.
    elsewhere = perdure.Client(Elsewhere(provider))
    async with Runtime(looks, app):
        await rounds()
        before = looks.all
        handle = await elsewhere.start_orchestration("i", "main")
        await handle.result()
        await rounds()

    assert looks.all - before == 1


@pytest.mark.slow
async def test_what_stays_unregistered_is_looked_at_ever_more_rarely_and_still_fails(
    provider, clock
) -> None:
    looks = Looks(provider)
    client = perdure.Client(provider)
    await client.start_orchestration("i", "registered nowhere")
    options = RuntimeOptions(unregistered_timeout=timedelta(minutes=2))
    async with Runtime(looks, perdure.Registry(), options=options):
        await pass_time(clock, 110 * SECOND)
        status = await client.get_orchestration_status("i")
        assert isinstance(status, perdure.Running)
        assert status.parked is not None
        leases = provider.calls["lease_turns"]
        assert 5 <= leases <= 12
        await pass_time(clock, 45 * SECOND)
        status = await client.wait_for_orchestration("i", 0)
    assert isinstance(status, perdure.Failed)


def test_looks_for_unregistered_work_come_once_an_interval(clock) -> None:
    looks = UnregisteredLooks(clock, SECOND)
    assert looks.unregistered_for() is None
    clock.advance(SECOND)
    assert looks.unregistered_for() == SECOND
    assert looks.unregistered_for() is None


@pytest.mark.parametrize("news", [{"new"}, {"old", "new"}, set()])
def test_news_brings_the_short_interval_back(clock, news) -> None:
    looks = UnregisteredLooks(clock, SECOND)
    for _ in range(10):
        looks.saw({"old"})
    clock.advance(timedelta(seconds=29))
    assert looks.unregistered_for() is None
    clock.advance(SECOND)
    assert looks.unregistered_for() == SECOND
    looks.saw(news)
    clock.advance(SECOND)
    assert looks.unregistered_for() == SECOND


def test_a_clock_that_steps_back_does_not_put_a_look_off(clock) -> None:
    looks = UnregisteredLooks(clock, SECOND)
    clock.step_back(timedelta(hours=1))
    assert looks.unregistered_for() == SECOND


@pytest.mark.parametrize("name", ["poll_interval", "unregistered_interval"])
def test_an_interval_that_is_not_above_zero_is_refused_by_name(name) -> None:
    with pytest.raises(perdure.InvalidDuration, match=name):
        RuntimeOptions(**{name: timedelta(0)})
