"""Several parameters, defaults and inputs that nothing takes, from the call to the function."""

from __future__ import annotations

from dataclasses import dataclass

import perdure
import pytest
from perdure import (
    ActivityFailed,
    Failed,
    InvalidPayload,
    OrchestrationContext,
    OrchestrationFailed,
    Registry,
)
from perdure.history import ActivityScheduled, OrchestrationStarted
from perdure.testing import Stage


@dataclass
class Order:
    number: int


class Bank:
    def __init__(self, name: str) -> None:
        self.name = name

    async def pay(self, order: Order, cents: int = 500, *, note: str = "") -> str:
        return f"{self.name}: {order.number}, {cents} {note}"


app = Registry()
bank = Bank("ING")
app.register_activity(bank.pay, name="pay")


@app.activity
def weigh(order: Order, grams: int = 1) -> int:
    return order.number * grams


@app.activity
async def count(*, start: int = 3) -> int:
    return start


@app.orchestration
async def process(ctx: OrchestrationContext, order: Order, cents: int = 7, *, urgent: bool) -> str:
    paid = await ctx.activity(bank.pay)(order, note="now" if urgent else "later")
    more = await ctx.activity(bank.pay)(order, cents=cents)
    grams = await ctx.activity(weigh)(order, 10)
    same = await ctx.schedule_activity("weigh", {"order": order, "grams": 2}, result_type=int)
    default = await ctx.schedule_activity(weigh, order)
    counted = await ctx.activity(count)()
    child = await ctx.sub_orchestration(double, instance="child")(2, times=5)
    by_name = await ctx.schedule_sub_orchestration("double", {"number": 3}, result_type=int)
    return f"{paid}; {more}; {grams} {same} {default}; {counted}; {child} {by_name}"


@app.orchestration
async def double(ctx: OrchestrationContext, number: int, times: int = 2) -> int:
    return number * times


@app.orchestration
async def starting(ctx: OrchestrationContext) -> str:
    return ctx.orchestration(double, instance="detached")(4, times=3)


@app.orchestration
async def countdown(
    ctx: OrchestrationContext, left: int, seen: list[int] | None = None
) -> list[int]:
    if left:
        ctx.continue_as_new({"left": left - 1, "seen": [*(seen or []), left]})
    return seen or []


@app.orchestration
async def countdown_by_call(ctx: OrchestrationContext, left: int, *, seen: list[int]) -> list[int]:
    if left:
        ctx.continue_as(countdown_by_call)(left - 1, seen=[*seen, left])
    return seen


@app.orchestration
async def astray(ctx: OrchestrationContext) -> str:
    try:
        ctx.continue_as(countdown)(1)
    except perdure.InvalidInput as error:
        return str(error)


@app.orchestration
async def takes_none(ctx: OrchestrationContext) -> str:
    return "nothing"


@app.activity
def takes_nothing() -> str:
    return "nothing"


@app.orchestration
async def passing_too_much(ctx: OrchestrationContext) -> str:
    try:
        return await ctx.schedule_activity("takes_nothing", 5)
    except ActivityFailed as failed:
        return f"{failed.type_name}: {failed.message}"


@app.orchestration
async def going_on(ctx: OrchestrationContext) -> str:
    try:
        ctx.continue_as_new(5)
    except InvalidPayload as error:
        return str(error)


EXPECTED = "ING: 1, 500 now; ING: 1, 9 ; 10 2 1; 3; 10 6"


async def test_several_parameters_reach_the_functions_with_their_defaults(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        handle = await client.start("i", process)(Order(1), cents=9, urgent=True)
        assert await handle.result() == EXPECTED

        history = await client.read_execution_history("i", 1)
    assert isinstance(history[0], OrchestrationStarted)
    assert history[0].input == '{"order":{"number":1},"cents":9,"urgent":true}'
    inputs = [event.input for event in history if isinstance(event, ActivityScheduled)]
    assert inputs == [
        '{"order":{"number":1},"note":"now"}',
        '{"order":{"number":1},"cents":9}',
        '{"order":{"number":1},"grams":10}',
        '{"order":{"number":1},"grams":2}',
        '{"order":{"number":1}}',
        "null",
    ]


async def test_a_start_that_leaves_the_rest_to_the_defaults_takes_the_first_argument(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        assert await (await client.start_orchestration("i", double, 4)).result() == 8
        handle = await client.start_orchestration_typed("j", "double", {"number": 4, "times": 3})
        assert await handle.result() == 12
        text = await client.start_orchestration("k", "double", '{"number": 4, "times": 4}')
        assert await text.result() == 16


async def test_a_detached_start_passes_several_arguments(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        started = await (await client.start_orchestration("i", starting)).result()
        assert await client.wait_for_orchestration_typed(started, int) == 12


async def test_an_orchestration_goes_on_with_several_arguments(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        handle = await client.start("i", countdown)(2)
        assert await handle.result() == [2, 1]

        assert await client.list_executions("i") == [1, 2, 3]
        by_call = await client.start("j", countdown_by_call)(2, seen=[])
        assert await by_call.result() == [2, 1]


async def test_an_orchestration_does_not_go_on_as_another(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        handle = await client.start_orchestration("i", astray)

        assert "was given orchestration 'countdown' in 'astray'" in await handle.result()


async def test_an_input_that_nothing_takes_fails_the_instance_and_says_so(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        handle = await client.start_orchestration("i", "takes_none", '{"a": 1}')
        with pytest.raises(OrchestrationFailed, match="takes no input, and one was passed"):
            await handle.result()
        assert isinstance(await handle.status(), Failed)

        activity = await client.start_orchestration("j", passing_too_much)
        assert await activity.result() == (
            "InvalidPayload: activity 'takes_nothing' takes no input, and one was passed; leave it out"
        )


async def test_continuing_with_an_input_that_does_not_fit_is_refused_at_the_call(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        handle = await client.start_orchestration("i", going_on)

        assert "'going_on' takes no input, and 5 was passed" in await handle.result()


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_stored(url) -> None:
    async with Stage(app, url=url) as stage:
        client = stage.client
        with pytest.raises(InvalidPayload, match="missing a required .*'urgent'"):
            await client.start("i", process)(Order(1))  # type: ignore[call-arg]
        with pytest.raises(InvalidPayload, match="missing a required .*'urgent'"):
            await client.start_orchestration("i", process, Order(1))  # type: ignore[arg-type]
        with pytest.raises(perdure.InvalidInput, match="start was given the name 'process'"):
            await client.start("i", "process")(1)  # type: ignore[arg-type]

        assert len(await client.list_all_instances()) == 0
