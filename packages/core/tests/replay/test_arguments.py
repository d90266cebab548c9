"""Arguments by the function's own signature, live and in replay; inputs that nothing takes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from perdure import ForbiddenInOrchestration, InvalidInput, OrchestrationContext, Registry, history
from perdure.history import FIRST_FORMAT, FORMAT
from perdure.model.details import ApplicationFailure, Raised

from .driver import Restart, World, play, play_everywhere

app = Registry()


@dataclass
class Order:
    number: int


@app.activity
async def pay(order: Order, cents: int = 500, *, note: str = "") -> str:
    return f"{order.number}/{cents}/{note}"


@app.orchestration
async def child(ctx: OrchestrationContext, order: Order, *, urgent: bool = False) -> bool:
    return urgent


@app.orchestration
async def buying(ctx: OrchestrationContext, orders: list[Order], cents: int = 7) -> list[object]:
    return [
        *await asyncio.gather(*(ctx.activity(pay)(order, note="x") for order in orders)),
        await ctx.activity(pay)(orders[0], cents=cents),
        await ctx.sub_orchestration(child)(orders[0], urgent=True),
        ctx.orchestration(child, instance="apart")(orders[0]),
    ]


@app.orchestration
async def takes_none(ctx: OrchestrationContext) -> object:
    return await ctx.activity(pay)(Order(1))


@app.orchestration
async def keeps_the_call(ctx: OrchestrationContext) -> None:
    kept.append(ctx.activity(pay))


@app.orchestration
async def calls_by_name(ctx: OrchestrationContext) -> None:
    ctx.activity("pay")(Order(1))  # type: ignore[call-overload]


kept: list[object] = []
ORDERS = '{"orders": [{"number": 1}, {"number": 2}]}'


def test_arguments_are_the_same_in_every_replay() -> None:
    def make(restart: Restart) -> World:
        world = World(app=app, name="buying", input=ORDERS, restart=restart)
        world.answer_child = lambda child: "true"
        return world

    worlds = play_everywhere(make, orders=3)

    for world in worlds:
        asked = [event.input for event in world.events(history.ActivityScheduled)]
        assert asked == [
            '{"order":{"number":1},"note":"x"}',
            '{"order":{"number":2},"note":"x"}',
            '{"order":{"number":1},"cents":7}',
        ]
        (started,) = world.events(history.ChildScheduled)
        assert started.input == '{"order":{"number":1},"urgent":true}'
        (apart,) = world.events(history.DetachedScheduled)
        assert apart.input == '{"order":{"number":1}}'


def test_an_input_that_nothing_takes_fails_a_new_execution_and_is_left_out_of_an_old_one() -> None:
    new = play(World(app=app, name="takes_none", input='{"a": 1}', format=FORMAT))
    old = play(World(app=app, name="takes_none", input='{"a": 1}', format=FIRST_FORMAT))

    assert isinstance(new.failure, ApplicationFailure)
    assert isinstance(new.failure.kind, Raised)
    assert new.failure.kind.type_name == "InvalidPayload"
    assert new.rebuilt().terminal == new.terminal
    assert old.output == '"1/500/"'


def test_a_call_that_outlives_its_execution_is_refused() -> None:
    kept.clear()
    play(World(app=app, name="keeps_the_call"))

    with pytest.raises(ForbiddenInOrchestration, match=r"ctx\.activity was called outside"):
        kept[0](Order(1))  # type: ignore[operator]


def test_a_name_has_no_signature_to_call() -> None:
    world = play(World(app=app, name="calls_by_name"))

    assert isinstance(world.failure, ApplicationFailure)
    assert isinstance(world.failure.kind, Raised)
    assert world.failure.kind.type_name == InvalidInput.__name__
    assert "pass the function, or use ctx.schedule_activity" in world.failure.kind.message
