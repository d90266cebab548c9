"""Exploration: every order is run once, and a dependence on the order is found with its order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure import OrchestrationContext, RetryPolicy
from perdure.errors import InvalidInput, NotRegistered
from perdure.testing import Exploration, explore

app = perdure.Registry()


def outputs(found: Exploration) -> set[str]:
    """The outputs of the outcomes that have one."""
    return {
        each.outcome.output
        for each in found.outcomes
        if isinstance(each.outcome, perdure.Completed)
    }


@app.activity
async def quote(shop: str) -> str:
    return shop


@app.activity
def note(text: str) -> None:
    perdure.activity_context(list).resources.append(text)


@app.orchestration
async def first_quote(ctx: OrchestrationContext) -> str:
    """Takes the first of two that answers: the order matters."""
    asked = [ctx.schedule_activity(quote, shop) for shop in ("Ada", "Grace")]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().result()


@app.orchestration
async def all_quotes(ctx: OrchestrationContext) -> list[str]:
    asked = [ctx.schedule_activity(quote, shop) for shop in ("Ada", "Grace", "Joan")]
    return sorted(await asyncio.gather(*asked))


@app.orchestration
async def approve(ctx: OrchestrationContext) -> str:
    charged = ctx.schedule_activity(quote, "charge")
    try:
        async with asyncio.timeout(timedelta(days=7).total_seconds()):
            answer = await ctx.schedule_wait("approval", str)
    except TimeoutError:
        answer = "too late"
    return f"{await charged} {answer}"


@app.orchestration
async def ask_child(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(first_quote)


@app.orchestration
async def wait_for_two(ctx: OrchestrationContext) -> None:
    await ctx.schedule_wait("one")
    await ctx.schedule_wait("two")


@app.orchestration
async def notes(ctx: OrchestrationContext) -> None:
    await asyncio.gather(*(ctx.schedule_activity(note, text) for text in ("a", "b")))


async def test_an_order_that_matters_is_found_and_named() -> None:
    found = await explore(app, first_quote)

    assert outputs(found) == {'"Ada"', '"Grace"'}
    assert [each.example for each in found.outcomes] == [("quote",), ("quote (2)",)]
    with pytest.raises(AssertionError, match=r'"Grace": 1 order, such as quote \(2\)'):
        found.raise_if_order_matters()


async def test_each_order_is_run_once() -> None:
    found = await explore(app, all_quotes)

    found.raise_if_order_matters()
    assert found.orders == 6  # of three answers
    assert found.complete


async def test_events_timers_and_results_are_told_apart() -> None:
    found = await explore(app, approve, events=[("approval", "yes")])

    assert outputs(found) == {'"charge yes"', '"charge too late"'}
    in_time, late = found.outcomes
    assert in_time.example == ("quote", "approval")
    assert late.example == ("quote", "timer of 7 days")
    assert "quote, then timer of 7 days" in str(found)
    # An approval ends the timer, and a timer does not keep the approval from coming.
    assert (in_time.orders, late.orders) == (2, 3)


async def test_a_timer_does_not_fire_before_one_that_is_due_earlier() -> None:
    rest = perdure.Registry()

    @rest.orchestration
    async def sleep(ctx: OrchestrationContext) -> list[str]:
        woken: list[str] = []

        async def nap(seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append(f"{seconds}")

        await asyncio.gather(nap(60), nap(0.5), nap(3600))
        return woken

    found = await explore(rest, sleep)

    assert outputs(found) == {'["0.5","60","3600"]'}
    assert found.outcomes[0].example == (
        "timer of 0.5 seconds",
        "timer of 1 minute",
        "timer of 1 hour",
    )


async def test_the_order_within_a_child_is_explored() -> None:
    found = await explore(app, ask_child)

    assert outputs(found) == {'"Ada"', '"Grace"'}
    assert found.outcomes[0].example == ("quote", "end of a child")


async def test_a_child_is_faked_by_its_function() -> None:
    found = await explore(app, ask_child, fakes={first_quote: ["Joan"]})

    assert outputs(found) == {'"Joan"'}
    assert found.outcomes[0].example == ("end of a child",)


async def test_an_orchestration_that_does_not_end_says_where_it_stands() -> None:
    found = await explore(app, wait_for_two, events=[("one", None)])

    (stuck,) = found.outcomes
    assert stuck.outcome is None
    assert stuck.example == ("one",)
    assert "wait_for_two" in stuck.note


async def test_effects_are_part_of_the_outcome() -> None:
    found = await explore(app, notes, resources=list, effects=tuple)

    assert {each.effects for each in found.outcomes} == {("a", "b"), ("b", "a")}


async def test_a_cancellation_comes_at_any_time() -> None:
    found = await explore(app, all_quotes, cancel=True)

    assert len(found.outcomes) == 2
    failed = next(each for each in found.outcomes if isinstance(each.outcome, perdure.Failed))
    assert failed.example[-1] == "cancellation"


async def test_retries_are_explored_with_fakes() -> None:
    rest = perdure.Registry()
    policy = RetryPolicy(max_attempts=2, backoff=perdure.Fixed(timedelta(seconds=10)))

    @rest.activity
    async def charge(cents: int) -> str:
        raise NotImplementedError

    @rest.orchestration
    async def pay(ctx: OrchestrationContext, cents: int, to: str) -> str:
        return await ctx.schedule_activity(charge, cents, retry=policy)

    found = await explore(
        rest, pay, {"cents": 5, "to": "Ada"}, fakes={charge: [ConnectionError, "paid"]}
    )

    assert outputs(found) == {'"paid"'}
    assert found.outcomes[0].example == ("charge", "timer of 10 seconds", "charge (2)")


async def test_events_outlive_a_new_execution() -> None:
    rest = perdure.Registry()

    @rest.orchestration
    async def collect(ctx: OrchestrationContext, got: list[str]) -> list[str]:
        got = [*got, await ctx.schedule_wait("item", str)]
        if len(got) < 3:
            ctx.continue_as_new(got)
        return sorted(got)

    found = await explore(rest, collect, [], events=[("item", each) for each in "abc"])

    found.raise_if_order_matters()
    assert outputs(found) == {'["a","b","c"]'}
    assert found.orders == 6


async def test_beyond_the_limit_orders_are_chosen_by_a_seed() -> None:
    rest = perdure.Registry()

    @rest.orchestration
    async def last(ctx: OrchestrationContext) -> str:
        waits = [ctx.schedule_wait(each) for each in "abcdefgh"]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        first = "abcdefgh"[waits.index(done.pop())]
        await asyncio.gather(*waits)
        return first

    events = [(each, None) for each in "abcdefgh"]
    found = await explore(rest, last, events=events, limit=50, seed=7)
    again = await explore(rest, last, events=events, limit=50, seed=7)

    assert not found.complete
    assert 50 < found.orders <= 100
    assert found == again
    assert len(found.outcomes) == 8  # depth first alone, all of them would begin with "a"
    assert "not all orders" in str(found)
    assert "seed=7" in str(found)


async def test_one_order_can_be_chosen() -> None:
    found = await explore(app, first_quote, order=[1])

    assert outputs(found) == {'"Grace"'}
    assert found.orders == 1


async def test_an_orchestration_that_goes_on_and_on_is_stopped() -> None:
    rest = perdure.Registry()

    @rest.orchestration
    async def tick(ctx: OrchestrationContext) -> None:
        await asyncio.sleep(1)
        ctx.continue_as_new()

    (endless,) = (await explore(rest, tick)).outcomes

    assert endless.outcome is None
    assert endless.note == "it goes on after 500 arrivals"


async def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(NotRegistered, match="not registered as an orchestration"):
        await explore(app, quote)
    with pytest.raises(InvalidInput, match="pass 1 or more"):
        await explore(app, first_quote, limit=0)
    with pytest.raises(NotRegistered, match="is not registered; pass the function"):
        await explore(app, first_quote, fakes={outputs: ["x"]})


@app.orchestration
async def counts_on(ctx: OrchestrationContext, left: int) -> int:
    ctx.set_value("count", (ctx.get_value("count", int) or 0) + 1)
    ctx.raise_event(ctx.instance, "own", left)
    await asyncio.gather(ctx.schedule_wait("own", int), ctx.schedule_activity(quote, "a"))
    if left:
        ctx.continue_as_new(left - 1)
    return ctx.get_value("count", int) or 0


async def test_values_and_events_that_it_raises_itself_are_handed_on_over_executions() -> None:
    found = await explore(app, counts_on, 1)

    assert outputs(found) == {"2"}
