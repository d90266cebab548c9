"""The demonstration: two branches of two steps each, every order of results, a restart anywhere."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from perdure import OrchestrationContext, Registry

from .driver import Restart, World

app = Registry()
ORDERS = ["".join(order) for order in sorted(set(itertools.permutations("aabb")))]


@app.activity
async def step(name: str) -> str:
    return name + "."


@app.orchestration
async def two_branches(ctx: OrchestrationContext) -> list[str]:
    trace: list[str] = []

    async def branch(name: str) -> str:
        for _ in range(2):
            name = await ctx.schedule_activity(step, name)
            trace.append(name)
        return name

    results = await asyncio.gather(branch("a"), branch("b"))
    return [*results, *trace]


def run(order: str, restart: Restart, point: int | None) -> World:
    world = World(app=app, name="two_branches", restart=restart, restart_at=point).start()
    for branch in order:
        world.deliver(next(w for w in world.waiting if f'\\"{branch}.'.encode() in w.message.data))
    return world


@pytest.mark.parametrize("order", ORDERS)
def test_two_branches_of_two_steps_come_to_the_same_whatever_is_restarted(order: str) -> None:
    undisturbed = run(order, "never", None)
    modes: tuple[Restart, ...] = ("cold", "evicted")
    for mode, point in itertools.product(modes, (1, 2, 3, 4, None)):
        disturbed = run(order, mode, point)

        assert disturbed.histories == undisturbed.histories
        assert disturbed.drafts == undisturbed.drafts
    first_two, trace = json.loads(undisturbed.output)[:2], json.loads(undisturbed.output)[2:]
    assert first_two == ["a..", "b.."]
    assert "".join(name[0] for name in trace) == order
