"""Machines whose clocks disagree: everything ends right, and only waits longer."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import perdure
import pytest
from perdure.contract import ManualClock
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._opening import open_on
from perdure_dynamodb._transport import Unanswered
from perdure_dynamodb.testing.faults import FaultyCalls
from perdure_dynamodb.testing.model import ModelCalls

SKEW = timedelta(seconds=5)
STEP = timedelta(milliseconds=100)
TIMER = timedelta(seconds=8)
INSTANCES = 12


async def at_once(seconds):
    """Instead of a pause between two attempts of a request."""
    del seconds


class Machine:
    """A process with a clock of its own, and a way to the store that can break."""

    def __init__(self, model, ahead):
        self.clock = ManualClock()
        self.clock.advance(ahead)
        self.ahead = ahead // timedelta(microseconds=1)
        self.first_ran = asyncio.Event()
        self.broken = False
        self.calls = FaultyCalls(model, self._plan)
        self.ran = []
        """Instance, step and true instant of each activity that ran here."""

    def _plan(self, operation, parameters):
        if self.broken:
            raise Unanswered("the machine is cut off")

    def program(self):
        app = perdure.Registry()

        @app.activity
        async def note(what: str) -> str:
            instance = perdure.activity_context().instance
            self.ran.append((instance, what, self.clock.now() - self.ahead))
            self.first_ran.set()
            return what

        @app.orchestration
        async def child(ctx: perdure.OrchestrationContext, name: str) -> str:
            await asyncio.sleep(1)
            return await ctx.schedule_activity(note, name)

        @app.orchestration
        async def flow(ctx: perdure.OrchestrationContext) -> list[str]:
            done = [await ctx.schedule_activity(note, "before")]
            await ctx.schedule_timer(TIMER)
            done.append(await ctx.schedule_activity(note, "after"))
            event = ctx.schedule_wait("go", str)
            children = [ctx.schedule_sub_orchestration(child, each) for each in ("one", "two")]
            done += await asyncio.gather(*children)
            return [*done, await event]

        return app

    def provider(self, stack):
        options = DynamoDBOptions(table="model", namespace="skew", shards=2)
        opened = open_on(self.calls, options, clock=self.clock, pause=at_once)
        return stack.enter_async_context(opened)


async def pass_time(machines, until):
    """Move all clocks alike, until it is done."""
    for _ in range(1500):
        if until.done():
            return
        for machine in machines:
            machine.clock.advance(STEP)
        # As many rounds of the loop as requests may follow one another at an instant.
        for _ in range(60):
            await asyncio.sleep(0)
    raise AssertionError("it never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("cut_off", [None, "behind", "ahead"])
async def test_clocks_five_seconds_apart_change_nothing_but_waiting_time(cut_off):
    model = ModelCalls()
    behind, ahead = Machine(model, timedelta(0)), Machine(model, SKEW)
    wanted = perdure.Completed(output='["before","after","one","two","now"]')

    async def use(clients):
        names = [f"flow-{number}" for number in range(INSTANCES)]
        for number, name in enumerate(names):
            # What a client of a machine starts, its runtime runs first.
            await clients[number % 2].start_orchestration(name, "flow")
            await clients[number % 2].raise_event(name, "go", '"now"')
        if cut_off is not None:
            victim = {"behind": behind, "ahead": ahead}[cut_off]
            await victim.first_ran.wait()
            victim.broken = True
        # The client that goes on waits for all.
        client = clients[1 if cut_off == "behind" else 0]
        statuses = [await client.wait_for_orchestration(name, timeout=None) for name in names]
        histories = [await client.read_execution_history(name, 1) for name in names]
        return statuses, histories

    async with AsyncExitStack() as stack:
        providers = [await machine.provider(stack) for machine in (behind, ahead)]
        for machine, provider in zip((behind, ahead), providers, strict=True):
            await stack.enter_async_context(perdure.Runtime(provider, machine.program()))
        using = asyncio.ensure_future(use([perdure.Client(each) for each in providers]))
        await pass_time((behind, ahead), using)
        statuses, histories = await using
        behind.broken = ahead.broken = False

    assert statuses == [wanted] * INSTANCES
    assert behind.ran
    assert ahead.ran
    for history in histories:
        assert [event.event_id for event in history] == list(range(1, len(history) + 1))
        completed = [each for each in history if type(each).__name__ == "ActivityCompleted"]
        assert len(completed) == 2
    assert_no_timer_was_early(behind, ahead)


def assert_no_timer_was_early(*machines):
    """By no more than the clocks are apart."""
    first, last = {}, {}
    for machine in machines:
        for instance, what, at in machine.ran:
            if what == "before":
                first[instance] = min(at, first.get(instance, at))
            elif what == "after":
                last[instance] = min(at, last.get(instance, at))
    assert len(last) == INSTANCES
    shortest = min(last[name] - first[name] for name in last)
    assert timedelta(microseconds=shortest) >= TIMER - SKEW
