"""Rewinds, retries and forks: what was kept stands, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta

from perdure import OrchestrationContext, Registry, activity_context
from perdure.contract import DELETION, LISTING, RECOVERY, VALUES, InstanceStatus
from perdure.errors import SubOrchestrationFailed
from perdure.history import ActivityFailed, ChildCompleted, ChildFailed, WaitCreated
from perdure.model.details import Cancelled

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.simulation import Node, Simulation, scenario

_NEEDS = (DELETION, LISTING, RECOVERY)
_READS = frozenset({"read_history", "read_instance", "read_values"})
_WRITES = frozenset({"reopen_instance", "commit_turn", "send"})
"""With those that read, the calls of a runtime that a rewind may make, besides looks for work."""


class Bank:
    """Books by key, as an idempotent service does; it answers to some bookings with an error."""

    def __init__(self) -> None:
        self.keys: defaultdict[str, set[str]] = defaultdict(set)
        """The keys under which each text was booked."""
        self.fails: set[str] = set()

    def book(self, text: str) -> str:
        """Book it, whatever the answer is."""
        self.keys[text].add(activity_context().idempotency_key)
        if text in self.fails:
            raise ValueError(f"the answer for {text} was lost")
        return text


def shop(bank: Bank) -> Registry:
    """An order with work of every kind around two bookings."""
    app = Registry()

    @app.activity
    async def book(text: str) -> str:
        return bank.book(text)

    @app.orchestration
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    @app.orchestration
    async def order(ctx: OrchestrationContext, name: str) -> list[str]:
        child = ctx.schedule_sub_orchestration(wait)
        first = await ctx.schedule_activity(book, f"{name} first")
        ctx.schedule_activity(book, f"{name} never").cancel()
        timer = asyncio.ensure_future(asyncio.sleep(30))
        word = await ctx.schedule_wait("go", str)
        second = await ctx.schedule_activity(book, f"{name} second")
        await timer
        return [first, word, second, await child]

    @app.orchestration
    async def patient(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration(order, "one", instance="one")
        except SubOrchestrationFailed:
            return await ctx.schedule_wait("go", str)
        return "it did not fail"

    return app


def killed_at(node: Node, number: int) -> None:
    """Kill the node at this place: before each call is one, and one is after each that writes."""
    left = number

    async def kill(operation: str, _: object, call: Callable[[], Awaitable[object]]) -> object:
        nonlocal left
        if operation not in _READS | _WRITES:
            return await call()
        place = left
        left -= 2 if operation in _WRITES else 1
        if place == 0:
            node.crash()
        answer = await call()
        if place == 1 and operation in _WRITES:
            node.crash()
        return answer

    node.link.disturbance = kill


async def failed_order(simulation: Simulation, bank: Bank, name: str) -> None:
    """Run an order until its second booking fails it, with everything else under way."""
    bank.fails.add(f"{name} second")
    node = await simulation.node(shop(bank))
    await simulation.client.start_orchestration_typed(name, "order", name)
    await simulation.client.raise_event_typed(name, "go", "word")
    await simulation.ended(name)
    await simulation.ended(f"{name}::1.2")
    bank.fails.clear()
    await node.stop()


async def until_it_runs(simulation: Simulation, child: str) -> None:
    """Let time pass until a child runs again: events that are raised to it before are ignored."""

    async def runs() -> bool:
        return (await simulation.state(child)).status is InstanceStatus.RUNNING

    await simulation.until(runs, f"that {child!r} runs again")


@scenario("SCENARIO-47", needs=_NEEDS)
async def a_retry_that_is_killed_anywhere_does_nothing_twice(simulation: Simulation) -> None:
    """A failed instance that is retried or rewound goes on from before its failure, whichever call of it the runtime dies at: kept work keeps its results and keys, no booking has a second key, the child that the failure cancelled goes on, and the earlier execution stays as it was."""
    for way in ("retry", "rewind"):
        number = 0
        while await killed_and_finished(simulation, way, number):
            number += 1
        expect(number > 6, f"a {way} had only {number} places to die at")


async def killed_and_finished(simulation: Simulation, way: str, number: int) -> bool:
    """Try a failed order again on a runtime that dies at a call; returns whether it did so."""
    client, bank, name = simulation.client, Bank(), f"{way}{number}"
    await failed_order(simulation, bank, name)
    before = await simulation.history(name)
    dying = await simulation.node(shop(bank))
    killed_at(dying, number)
    if way == "retry":
        again = client.retry_instance(name, reason="again")
    else:
        (failed,) = await simulation.recorded(name, ActivityFailed)
        again = client.rewind_instance(name, to_event=failed.event_id - 1)
    expect_equal(await simulation.run(again, f"the {way}"), 2, "the new execution")
    await simulation.pass_time(timedelta(seconds=30))
    was_killed = dying.link.is_cut
    survivor = await simulation.node(shop(bank))
    await until_it_runs(simulation, f"{name}::1.2")
    await client.raise_event_typed(f"{name}::1.2", "go", "child")
    output = await simulation.output(name)
    expect_equal(output, [f"{name} first", "word", f"{name} second", "child"], "the output")
    for text in (f"{name} first", f"{name} second"):
        expect_equal(len(bank.keys[text]), 1, f"keys of the booking {text!r}")
    expect(f"{name} never" not in bank.keys, "a cancelled booking was made")
    expect_equal(await simulation.history(name), before, "the earlier execution")
    answers = await simulation.recorded(name, ChildCompleted, 2)
    expect_equal(len(answers), 1, "answers of the child")
    await survivor.stop()
    await dying.dispose()
    return was_killed


@scenario("SCENARIO-47a", needs=_NEEDS)
async def a_rewound_child_ends_for_itself(simulation: Simulation) -> None:
    """A child that is retried after its parent was told of its failure runs to its end, and the parent is not told again."""
    client, bank = simulation.client, Bank()
    bank.fails.add("one second")
    await simulation.node(shop(bank))
    await client.start_orchestration("parent", "patient")
    await client.raise_event_typed("one", "go", "word")
    await simulation.until_recorded("parent", ChildFailed)
    bank.fails.clear()
    await simulation.run(client.retry_instance("one"), "the retry")
    await client.raise_event_typed("one::1.2", "go", "child")
    expect_equal(
        await simulation.output("one"), ["one first", "word", "one second", "child"], "one"
    )
    await client.raise_event_typed("parent", "go", "over")
    expect_equal(await simulation.output("parent"), "over", "the output of the parent")
    expect_equal(len(await simulation.recorded("parent", ChildFailed)), 1, "failures told")
    expect_equal(await simulation.recorded("parent", ChildCompleted), [], "results told")


@scenario("SCENARIO-47b", needs=_NEEDS)
async def a_running_instance_is_rewound(simulation: Simulation) -> None:
    """A running instance that is rewound answers again to the event at the cut: what it had scheduled later is void or cancelled, and the external events that it had consumed later come again, ahead of newer ones."""
    client, bank = simulation.client, Bank()
    await simulation.node(shop(bank))
    await client.start_orchestration_typed("alpha", "order", "alpha")
    await simulation.until_recorded("alpha", WaitCreated)
    await client.raise_event_typed("alpha", "go", "old")
    await simulation.settle()
    await client.raise_event_typed("alpha", "go", "new")
    await simulation.run(client.rewind_instance("alpha", to_event=1), "the rewind")
    await simulation.until_recorded("alpha::2.2", WaitCreated)
    await client.raise_event_typed("alpha::2.2", "go", "second child")
    expected = ["alpha first", "old", "alpha second", "second child"]
    expect_equal(await simulation.output("alpha"), expected, "output of the rewound execution")
    details = await simulation.failure("alpha::1.2")
    expect(isinstance(details.kind, Cancelled), f"the dropped child ended with {details}")
    rewinding = client.rewind_instance("alpha", to_event=3, execution=1)
    expect_equal(await simulation.run(rewinding, "the rewind"), 3, "the new execution")
    await until_it_runs(simulation, "alpha::1.2")
    await client.raise_event_typed("alpha::1.2", "go", "first child")
    expected = ["alpha first", "old", "alpha second", "first child"]
    expect_equal(await simulation.output("alpha"), expected, "output of the first one again")
    expect_equal(len(bank.keys["alpha first"]), 2, "keys, one of each time it was scheduled")


@scenario("SCENARIO-48", needs=(*_NEEDS, VALUES))
async def a_fork_leaves_its_source_alone(simulation: Simulation) -> None:
    """A fork of a running and of a failed instance is a new instance with the same beginning: its activities have keys and its children ids of their own, and the source is as it was."""
    client, bank = simulation.client, Bank()
    bank.fails.add("alpha second")
    app = shop(bank)

    @app.orchestration
    async def family(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_sub_orchestration("wait")

    node = await simulation.node(app)
    await client.start_orchestration("alpha", "family")
    await simulation.until_recorded("alpha::1.2", WaitCreated)
    before = await simulation.history("alpha")
    await simulation.run(client.fork_instance("alpha", "beta"), "the fork")
    await simulation.until_recorded("beta::1.2", WaitCreated)
    await client.raise_event_typed("beta::1.2", "go", "forked")
    expect_equal(await simulation.output("beta"), "forked", "the output of the fork")
    expect_equal(await simulation.history("alpha"), before, "the history of the source")
    await client.raise_event_typed("alpha::1.2", "go", "source")
    expect_equal(await simulation.output("alpha"), "source", "the output of the source")
    await client.start_orchestration_typed("one", "order", "alpha")
    await client.raise_event_typed("one", "go", "word")
    await simulation.failure("one")
    before = await simulation.history("one")
    bank.fails.clear()
    await simulation.run(
        client.fork_instance("one", "two", to_event=before[-3].event_id), "the fork"
    )
    await simulation.settle()
    expect_equal(await simulation.history("one"), before, "the history of the failed source")
    await node.stop()
