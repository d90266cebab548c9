"""Survival: planted mistakes are found at the crash that shows them, and right code passes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import perdure
import pytest
from perdure import NonRetryable, OrchestrationContext, OrchestrationFailed, RetryPolicy
from perdure.contract import Serves, TurnRequest
from perdure.errors import InvalidInput, NotRegistered
from perdure.testing import Crash, NothingHappens, NotSurvived, Stage, survive
from perdure.testing.proof_stage import CrashingProvider, CrashPlan
from perdure.testing.stage_time import StageTime

from .shop import WEEK

app = perdure.Registry()


class Bank:
    """Books by key where it is asked rightly, and each call where it is not."""

    def __init__(self) -> None:
        self.by_key: dict[str, int] = {}
        self.entries: list[int] = []


def by_key(bank: Bank) -> list[int]:
    return list(bank.by_key.values())


@app.activity
async def book(cents: int) -> str:
    context = perdure.activity_context(Bank)
    context.resources.by_key[context.idempotency_key] = cents
    return "receipt"


@app.activity
async def book_each_call(cents: int) -> str:
    entries = perdure.activity_context(Bank).resources.entries
    entries.append(cents)
    return f"receipt {len(entries)}"


@app.activity
def pack(item: str) -> str:
    return f"{item} in a box"


@app.orchestration
async def ship(ctx: OrchestrationContext, item: str) -> str:
    return await ctx.schedule_activity(pack, item)


@app.orchestration
async def order(ctx: OrchestrationContext, cents: int, item: str = "book") -> str:
    """Five steps: an activity, an event, a timer, a child with an activity."""
    async with asyncio.timeout(60):
        receipt = await ctx.schedule_activity(book, cents)
    await ctx.schedule_wait("approval")
    await asyncio.sleep(WEEK.total_seconds())
    shipped = await ctx.schedule_sub_orchestration(ship, item)
    return f"{receipt}, {shipped}, {ctx.random().random()}"


@app.orchestration
async def deposit(ctx: OrchestrationContext, cents: int) -> None:
    await ctx.schedule_activity(book_each_call, cents)


@app.orchestration
async def count_receipts(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity(book_each_call, 5)


@app.orchestration
async def parent(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(deposit, 7)


async def approve(stage: Stage, handle: perdure.Handle[str]) -> None:
    await stage.settle()
    await handle.raise_event("approval")


async def test_an_order_survives_a_crash_at_each_of_its_commits() -> None:
    survival = await survive(
        app, order, {"cents": 500}, script=approve, resources=Bank, effects=by_key
    )

    assert survival.effects == [500]
    assert isinstance(survival.outcome, perdure.Completed)
    assert survival.outcome.output.startswith('"receipt, book in a box, 0.')
    # Seven commits of both instances at least, before and after, with and without memory.
    assert survival.runs >= 7 * 2 * 2


async def test_a_double_effect_is_found() -> None:
    with pytest.raises(NotSurvived) as found:
        await survive(app, deposit, 5, resources=Bank, effects=lambda bank: bank.entries)

    text = str(found.value)
    assert "the effects are [5, 5], and without the crash [5]" in text
    assert "a crash before commit 2, of 'deposit-1': ActivityCompleted" in text
    lines = text.splitlines()
    crash = lines.index("        -- the crash --")
    assert "ActivityScheduled" in lines[crash - 1]
    assert "ActivityCompleted" in lines[crash + 1]
    assert found.value.crashes[0].crash == Crash(2, "before")


async def test_a_double_effect_in_a_child_is_found() -> None:
    with pytest.raises(NotSurvived, match="of 'parent-1::1.2'"):
        await survive(app, parent, resources=Bank, effects=lambda bank: bank.entries)


async def test_another_outcome_is_found() -> None:
    with pytest.raises(NotSurvived, match='ends with "receipt 2", and without the crash with "re'):
        await survive(app, count_receipts, resources=Bank)


async def test_state_outside_the_history_is_found_where_it_is_rebuilt() -> None:
    began: list[int] = []
    rest = perdure.Registry()

    @rest.activity
    async def note(number: int) -> int:
        return number

    @rest.orchestration
    async def remember(ctx: OrchestrationContext) -> int:
        began.append(1)
        return await ctx.schedule_activity(note, len(began))

    with pytest.raises(NotSurvived, match="of 'remember-1'"):
        await survive(rest, remember)


async def test_fakes_are_made_for_each_run() -> None:
    policy = RetryPolicy(max_attempts=3, backoff=perdure.Fixed(timedelta(seconds=5)))
    rest = perdure.Registry()

    @rest.activity
    async def charge(cents: int) -> str:
        raise NotImplementedError

    @rest.orchestration
    async def pay(ctx: OrchestrationContext, cents: int) -> str:
        return await ctx.schedule_activity(charge, cents, retry=policy)

    survival = await survive(
        rest, pay, 5, fakes={charge: [ConnectionError("busy"), TimeoutError, "paid"]}
    )

    assert survival.outcome == perdure.Completed(output='"paid"')


async def test_children_are_faked_too() -> None:
    survival = await survive(
        app, order, {"cents": 5}, script=approve, resources=Bank, fakes={ship: ["shipped"]}
    )

    assert isinstance(survival.outcome, perdure.Completed)
    assert survival.outcome.output.startswith('"receipt, shipped, 0.')


async def test_a_failure_is_an_outcome_too() -> None:
    survival = await survive(
        app, deposit, 5, fakes={book_each_call: [NonRetryable("no such account")]}
    )

    assert isinstance(survival.outcome, perdure.Failed)


async def test_several_crashes_come_one_after_the_other() -> None:
    crashes = [Crash(1, "after"), Crash(1, "before"), Crash(2, "after"), Crash(99, "before")]
    survival = await survive(
        app, order, {"cents": 5}, script=approve, resources=Bank, effects=by_key, crashes=crashes
    )

    assert survival.runs == 2


async def test_a_script_may_crash_restart_and_move_the_time_too() -> None:
    async def script(stage: Stage, handle: perdure.Handle[str]) -> None:
        await stage.settle()
        await stage.crash()
        await stage.advance(timedelta(minutes=10))
        await handle.raise_event("approval")
        await stage.advance(timedelta(days=3))
        await stage.restart()
        await stage.evict()

    survival = await survive(
        app, order, {"cents": 500}, script=script, resources=Bank, effects=by_key
    )

    assert survival.runs >= 28


async def test_a_script_may_run_a_worker_which_goes_on_while_the_process_crashes() -> None:
    apart, work = perdure.Registry(), perdure.Registry()

    @work.activity
    async def paint(what: str) -> str:
        return f"a painted {what}"

    @apart.orchestration
    async def commission(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(paint, "cat")

    async def script(stage: Stage, handle: perdure.Handle[str]) -> None:
        async with stage.worker(work):
            await handle.wait()

    survival = await survive(apart, commission, script=script)

    assert survival.outcome == perdure.Completed(output='"a painted cat"')


async def test_what_the_run_without_a_crash_raises_is_raised() -> None:
    with pytest.raises(NothingHappens):
        await survive(app, order, {"cents": 5}, resources=Bank)


async def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(NotRegistered, match="not registered as an orchestration"):
        await survive(app, book, 5)
    with pytest.raises(InvalidInput, match="count commits from 1"):
        await survive(app, deposit, 5, resources=Bank, crashes=[Crash(0, "before")])


async def test_a_crash_on_a_stage_leaves_no_task_behind() -> None:
    async with Stage(app, resources=Bank()) as stage:
        running = await stage.start(order, 5)
        await stage.settle()
        await stage.crash()
        assert stage.elapsed == timedelta(0)
        await running.raise_event("approval")
        stage.fake(pack, raises=NonRetryable("no boxes"))
        with pytest.raises(OrchestrationFailed):
            await running.result()

    assert len(asyncio.all_tasks()) == 1


async def test_two_tasks_of_a_test_may_settle_at_once() -> None:
    async with Stage(app, resources=Bank()) as stage:
        await stage.start(order, 5)
        await asyncio.wait_for(asyncio.gather(stage.settle(), stage.settle()), 5)


async def test_a_lease_that_is_given_while_the_process_crashes_is_over_too() -> None:
    clock = perdure.ManualClock()
    async with perdure.open_provider("memory://", clock=clock) as storage:
        time = StageTime(clock, storage.notifier, lambda: False)
        link = CrashingProvider(storage, time, CrashPlan([]), lambda: None)
        await perdure.Client(storage).start_orchestration("it", "flow")
        request = TurnRequest(
            token="t",  # noqa: S106 # a lease
            limit=1,
            lease_for=timedelta(minutes=5),
            serves=Serves(orchestrations={"flow": frozenset({"1.0.0"})}),
        )
        given = storage.lease_turns

        async def lease_and_crash(request: TurnRequest) -> object:
            leased = await given(request)
            link.crash()
            return leased

        storage.lease_turns = lease_and_crash
        lost = asyncio.ensure_future(link.lease_turns(request))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await link.expire_leases()
        leased = await given(replace(request, token="another"))  # noqa: S106 # a lease
        lost.cancel()

    assert [turn.state.instance for turn in leased] == ["it"]
    assert leased[0].attempt == 2
