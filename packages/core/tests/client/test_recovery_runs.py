"""What a client does to instances, seen by the runtime that runs them: retries, forks, ends, progress."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from perdure import (
    Client,
    Completed,
    Failed,
    InstanceRunning,
    InstanceStatus,
    NonRetryable,
    OrchestrationContext,
    Registry,
    RetryPolicy,
    Runtime,
    SubOrchestrationFailed,
    ValueNotFound,
    activity_context,
    open_provider,
)
from perdure.contract import DelegatingProvider
from perdure.errors import HistoryConflict, StorageUnavailable
from perdure.testing import Stage

app = Registry()


class Bank:
    """Books by key, and refuses while it is closed."""

    def __init__(self) -> None:
        self.is_open = False
        self.booked: dict[str, int] = {}
        self.calls: Counter[str] = Counter()


@app.activity
async def book(cents: int) -> int:
    context = activity_context(Bank)
    context.resources.calls[context.idempotency_key] += 1
    context.resources.booked[context.idempotency_key] = cents
    return cents


@app.activity
async def transfer(cents: int) -> int:
    bank = activity_context(Bank).resources
    bank.calls["transfer"] += 1
    if not bank.is_open:
        raise NonRetryable("the bank is closed")
    return cents


@app.activity
async def unreliable() -> str:
    bank = activity_context(Bank).resources
    bank.calls["unreliable"] += 1
    if not bank.is_open:
        raise ValueError("no answer")
    return "answered"


@app.orchestration
async def pay(ctx: OrchestrationContext, cents: int) -> int:
    booked = await ctx.schedule_activity(book, cents)
    return booked + await ctx.schedule_activity(transfer, cents)


@app.orchestration
async def ask(ctx: OrchestrationContext) -> str:
    policy = RetryPolicy(max_attempts=3)
    return await ctx.schedule_activity(unreliable, retry=policy)


@app.orchestration
async def order(ctx: OrchestrationContext, cents: int) -> int:
    await ctx.schedule_activity(book, cents)
    return await ctx.schedule_sub_orchestration(pay, cents, instance="payment")


@app.orchestration
async def tolerant(ctx: OrchestrationContext, cents: int) -> str:
    try:
        await ctx.schedule_sub_orchestration(pay, cents, instance="payment")
    except SubOrchestrationFailed:
        return "not paid"
    return "paid"


@app.orchestration
async def wait(ctx: OrchestrationContext) -> str:
    await ctx.schedule_activity(book, 1)
    return await ctx.schedule_wait("go", str)


@app.orchestration
async def tell(ctx: OrchestrationContext) -> None:
    ctx.set_status("begun")
    await ctx.schedule_timer(timedelta(hours=1))
    ctx.set_value("done", 3)
    ctx.set_status({"half": True})
    await ctx.schedule_timer(timedelta(hours=1))


@app.orchestration
async def carry(ctx: OrchestrationContext) -> list[str]:
    below = await ctx.schedule_sub_orchestration(carried)
    return [ctx.headers["trace"], *below]


@app.orchestration
async def carried(ctx: OrchestrationContext) -> list[str]:
    return [ctx.headers["trace"], await ctx.schedule_activity(read_header)]


@app.activity
async def read_header() -> str:
    return activity_context().headers["trace"]


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture(params=["memory://", "sqlite:///{directory}/runs.db"], ids=["memory", "sqlite"])
async def stage(request: pytest.FixtureRequest, bank: Bank, tmp_path: Path) -> AsyncIterator[Stage]:
    url = request.param.format(directory=tmp_path)
    async with Stage(app, resources=bank, url=url) as opened:
        yield opened


async def test_a_retry_does_again_what_failed_and_nothing_else(stage, bank):
    client = stage.client
    handle = await client.start_orchestration("i", pay, 5)
    assert isinstance(await handle.wait(), Failed)
    bank.is_open = True

    assert await client.retry_instance("i") == 2
    assert await handle.result() == 10
    assert (sum(bank.booked.values()), list(bank.calls.values())) == (5, [1, 2])
    assert (await client.get_execution_info("i", 1)).status is InstanceStatus.FAILED


async def test_a_retried_activity_has_all_its_attempts_again(stage, bank):
    handle = await stage.client.start_orchestration("i", ask)
    assert isinstance(await handle.wait(), Failed)
    await stage.client.retry_instance("i")
    assert isinstance(await handle.wait(), Failed)
    assert bank.calls["unreliable"] == 6

    bank.is_open = True
    await stage.client.retry_instance("i")
    assert await handle.result() == "answered"


async def test_a_parent_that_failed_by_its_child_goes_on_with_the_retried_child(stage, bank):
    handle = await stage.client.start_orchestration("order", order, 5)
    assert isinstance(await handle.wait(), Failed)
    bank.is_open = True
    await stage.client.retry_instance("order", reason="the bank is open")

    assert await handle.result() == 10
    assert (await stage.client.get_instance_info("payment")).execution == 2
    assert set(bank.calls.values()) == {1, 2}
    assert len(bank.booked) == 2


async def test_a_retried_child_whose_parent_has_moved_on_ends_for_itself(stage, bank):
    handle = await stage.client.start_orchestration("order", tolerant, 5)
    assert await handle.result() == "not paid"
    bank.is_open = True
    await stage.client.retry_instance("payment")

    assert await stage.client.wait_for_orchestration_typed("payment", int) == 10
    assert await handle.result() == "not paid"


async def test_of_two_retries_at_once_one_counts(stage, bank):
    handle = await stage.client.start_orchestration("i", pay, 5)
    await handle.wait()
    bank.is_open = True
    answers = await asyncio.gather(
        *(stage.client.retry_instance("i") for _ in range(4)), return_exceptions=True
    )

    assert [answer for answer in answers if answer == 2] == [2]
    refused = {type(answer) for answer in answers if answer != 2}
    assert refused <= {HistoryConflict, InstanceRunning}
    assert await handle.result() == 10


class Losing(DelegatingProvider):
    """Loses the first answer of a reopening, and gives it up only when the new execution runs."""

    is_lost = False

    async def reopen_instance(self, reopening):
        await super().reopen_instance(reopening)
        if not self.is_lost:
            self.is_lost = True
            while (await self.inner.read_instance(reopening.instance)).last_event == 0:  # noqa: ASYNC110 # there is no event for it
                await asyncio.sleep(0)
            raise StorageUnavailable("the answer was lost", operation="reopen_instance")


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{directory}/lost.db"])
async def test_a_retry_whose_answer_was_lost_counts_once(url, bank, tmp_path):
    async with (
        open_provider(url.format(directory=tmp_path)) as provider,
        Runtime(provider, app, resources=bank),
    ):
        handle = await Client(provider).start_orchestration("i", pay, 5)
        await handle.wait(20)
        bank.is_open = True
        losing = Losing(provider)

        assert await Client(losing).retry_instance("i", reason="the bank is open") == 2
        assert losing.is_lost
        assert await handle.result(20) == 10
        assert (await Client(provider).get_instance_info("i")).execution == 2


async def test_a_cancelled_instance_goes_on_from_before_the_request(stage):
    handle = await stage.client.start_orchestration("i", wait)
    await stage.settle()
    await handle.cancel("by mistake")
    assert isinstance(await handle.wait(), Failed)
    await stage.client.retry_instance("i")
    await handle.raise_event_typed("go", "gone on")

    assert await handle.result() == "gone on"


async def test_a_terminated_instance_goes_on_too(stage, bank):
    handle = await stage.client.start_orchestration("i", wait)
    await stage.settle()
    assert await stage.client.terminate_instance("i", "by mistake") is True
    failed = await handle.wait()
    assert failed.details.display_message() == "terminated: by mistake"
    await stage.client.retry_instance("i")
    await handle.raise_event_typed("go", "gone on")

    assert await handle.result() == "gone on"
    assert list(bank.calls.values()) == [1]


async def test_a_fork_runs_beside_its_source(stage, bank):
    client = stage.client
    source = await client.start_orchestration("i", wait)
    await stage.settle()
    fork = await client.fork_instance("i", "j")
    await fork.raise_event_typed("go", "fork")
    assert await fork.result() == "fork"
    assert await client.get_instance_info("i") == await client.get_instance_info("i")
    await source.raise_event_typed("go", "source")

    assert await source.result() == "source"
    assert list(bank.calls.values()) == [1]


async def test_a_completed_instance_is_rewound_to_an_event(stage):
    handle = await stage.client.start_orchestration("i", wait)
    await handle.raise_event_typed("go", "first")
    assert await handle.result() == "first"
    events = await stage.client.read_execution_history("i", 1)
    (taken,) = [event.event_id for event in events if event.kind == "EventRaised"]
    assert await stage.client.rewind_instance("i", to_event=taken - 1) == 2

    assert await handle.result() == "first"  # the event is delivered again


async def test_progress_is_seen_while_the_instance_runs_and_after(stage):
    client = stage.client
    await client.start_orchestration("i", tell)

    begun = await client.wait_for_status_change("i")
    assert (begun.custom_status, begun.custom_status_version) == ('"begun"', 1)
    assert await client.get_value("i", "done", int) is None
    assert await client.wait_for_value("i", "done", int) == 3
    half = await client.wait_for_status_change("i", 1)
    assert half.custom_status == '{"half":true}'
    assert stage.elapsed == timedelta(hours=1)
    with pytest.raises(ValueNotFound):
        await client.wait_for_value("i", "never", int)
    assert await client.get_orchestration_status("i") == Completed(
        output="null", custom_status='{"half":true}', custom_status_version=2
    )
    assert await client.get_values("i") == {"done": "3"}


async def test_headers_travel_from_the_start_to_activities_and_children(stage):
    handle = await stage.client.start_orchestration("i", carry, headers={"trace": "t-1"})

    assert await handle.result() == ["t-1", "t-1", "t-1"]
