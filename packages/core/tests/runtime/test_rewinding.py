"""Rewinds, retries and forks in a runtime: kept work goes on under its keys, and nothing happens twice."""

from __future__ import annotations

import asyncio

import perdure
from perdure import OrchestrationContext, activity_context
from perdure.errors import SubOrchestrationFailed
from perdure.history import (
    ActivityScheduled,
    ChildCompleted,
    ChildScheduled,
    EventRaised,
    OrchestrationStarted,
)
from perdure.testing import Stage


class Bank:
    """Books by key: the same key never books twice."""

    def __init__(self) -> None:
        self.bookings: dict[str, int] = {}
        self.refuses: set[int] = set()

    def book(self, amount: int) -> int:
        if amount in self.refuses:
            raise ValueError(f"{amount} is refused")
        self.bookings.setdefault(activity_context().idempotency_key, amount)
        return amount


def app_of(bank: Bank) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def book(amount: int) -> int:
        return bank.book(amount)

    @app.orchestration
    async def pay(ctx: OrchestrationContext, first: int, second: int) -> int:
        paid = await ctx.activity(book)(first)
        await ctx.schedule_wait("go")
        return paid + await ctx.activity(book)(second)

    @app.orchestration
    async def both(ctx: OrchestrationContext) -> list[int]:
        left = ctx.schedule_sub_orchestration("pay", {"first": 1, "second": 2}, instance="left")
        right = ctx.schedule_sub_orchestration("pay", {"first": 3, "second": 4}, instance="right")
        return list(await asyncio.gather(left, right))

    return app


async def test_a_retry_runs_the_failed_activity_again_and_nothing_else() -> None:
    bank = Bank()
    bank.refuses.add(7)
    async with Stage(app_of(bank)) as stage:
        handle = await stage.client.start_orchestration("a", "pay", '{"first":5,"second":7}')
        await stage.client.raise_event("a", "go")
        await stage.settle()
        assert list(bank.bookings.values()) == [5]
        bank.refuses.clear()

        assert await stage.client.retry_instance("a", reason="the bank is back") == 2

        await stage.settle()
        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed)
        assert status.output == "12"
        assert sorted(bank.bookings.values()) == [5, 7]
        assert all(":1:" in key for key in bank.bookings)
    del handle


async def test_a_rewind_to_the_beginning_books_again_under_new_keys_only_what_is_scheduled_again() -> (
    None
):
    bank = Bank()
    async with Stage(app_of(bank)) as stage:
        client = stage.client
        await client.start_orchestration("a", "pay", '{"first":5,"second":7}')
        await client.raise_event("a", "go")
        await stage.settle()
        before = await client.read_execution_history("a", 1)

        await client.rewind_instance("a", to_event=2)
        await stage.settle()

        assert sorted(bank.bookings.values()) == [5, 7, 7]
        history = await client.read_execution_history("a", 2)
        assert history[1] == before[1]
        assert len([event for event in history if isinstance(event, EventRaised)]) == 1
        assert await client.read_execution_history("a", 1) == before


async def test_a_fork_is_a_new_instance_and_leaves_its_source_alone() -> None:
    bank = Bank()
    async with Stage(app_of(bank)) as stage:
        client = stage.client
        await client.start_orchestration("a", "pay", '{"first":5,"second":7}')
        await stage.settle()
        before = await client.read_execution_history("a", 1)

        await client.fork_instance("a", "b")
        await client.raise_event("b", "go")
        await stage.settle()

        assert await client.read_execution_history("a", 1) == before
        status = await client.get_orchestration_status("b")
        assert isinstance(status, perdure.Completed)
        assert sorted(bank.bookings.values()) == [5, 7]
        started = (await client.read_execution_history("b", 1))[0]
        assert isinstance(started, OrchestrationStarted)
        assert started.is_fork


async def test_a_failed_child_is_retried_with_its_parent_and_the_other_goes_on() -> None:
    bank = Bank()
    bank.refuses.add(2)
    async with Stage(app_of(bank)) as stage:
        client = stage.client
        await client.start_orchestration("both", "both")
        await client.raise_event("left", "go")
        await stage.settle()
        status = await client.get_orchestration_status("both")
        assert isinstance(status, perdure.Failed)
        assert status.details.is_a(SubOrchestrationFailed)
        assert isinstance(await client.get_orchestration_status("right"), perdure.Failed)
        bank.refuses.clear()

        await client.retry_instance("both")
        await client.raise_event("right", "go")
        await stage.settle()

        status = await client.get_orchestration_status("both")
        assert isinstance(status, perdure.Completed), status
        assert status.output == "[3,7]"
        assert sorted(bank.bookings.values()) == [1, 2, 3, 4]
        history = await client.read_execution_history("both", 2)
        assert len([event for event in history if isinstance(event, ChildScheduled)]) == 2
        assert len([event for event in history if isinstance(event, ChildCompleted)]) == 2


async def test_a_child_that_ended_after_the_cut_is_not_run_again() -> None:
    bank = Bank()
    async with Stage(app_of(bank)) as stage:
        client = stage.client
        await client.start_orchestration("both", "both")
        await client.raise_event("left", "go")
        await client.raise_event("right", "go")
        await stage.settle()

        await client.rewind_instance("both", to_event=3)
        await stage.settle()

        status = await client.get_orchestration_status("both")
        assert isinstance(status, perdure.Completed), status
        assert sorted(bank.bookings.values()) == [1, 2, 3, 4]


async def test_children_that_were_started_after_the_cut_are_cancelled() -> None:
    bank = Bank()
    async with Stage(app_of(bank)) as stage:
        client = stage.client
        await client.start_orchestration("both", "both")
        await stage.settle()

        await client.rewind_instance("both", to_event=1)
        await stage.settle()

        assert isinstance(await client.get_orchestration_status("left"), perdure.Failed)
        status = await client.get_orchestration_status("both")
        assert isinstance(status, perdure.Failed)  # its ids are in use, and it does not catch that


async def test_the_history_of_a_rewound_execution_replays() -> None:
    bank = Bank()
    async with Stage(app_of(bank)) as stage:
        client = stage.client
        await client.start_orchestration("a", "pay", '{"first":5,"second":7}')
        await stage.settle()
        await client.rewind_instance("a", to_event=2)
        await stage.settle()
        await stage.restart(app_of(bank))
        await client.raise_event("a", "go")
        await stage.settle()

        status = await client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed)
        assert sorted(bank.bookings.values()) == [5, 7]
        history = await client.read_execution_history("a", 2)
        assert len([event for event in history if isinstance(event, ActivityScheduled)]) == 2


async def test_children_and_forks_have_the_labels_and_values_of_where_they_come_from() -> None:
    app = perdure.Registry()

    @app.orchestration
    async def child(ctx: OrchestrationContext) -> None:
        await ctx.schedule_wait("go")

    @app.orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        ctx.set_value("step", 1)
        ctx.set_status("waiting")
        await ctx.schedule_sub_orchestration(child)

    async with Stage(app) as stage:
        client, provider = stage.client, stage.client.provider
        await client.start_orchestration("a", "parent", labels={"tenant": "acme"})
        await stage.settle()
        await client.fork_instance("a", "b")
        await stage.settle()

        for instance in ("a", "a::1.4", "b", "b::1.4"):
            state = await provider.read_instance(instance)
            assert state is not None, instance
            assert state.labels == {"tenant": "acme"}, instance
        stored = await provider.read_values("b")
        assert stored is not None
        assert stored.values == {"step": b"1"}
        fork = await provider.read_instance("b")
        assert fork is not None
        assert fork.custom_status == b'"waiting"'
