"""Time: timers over outages, clocks that disagree, clocks that step back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import OrchestrationContext, Registry
from perdure.history import ActivityCompleted, TimerCreated, TimerFired, WaitCreated

from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.scenarios.link import Held
from perdure_conformance.scenarios.simulation import Simulation, expect_soon, scenario
from perdure_conformance.scenarios.simulation_clocks import ClockAhead

SKEW = timedelta(seconds=5)


def timers() -> Registry:
    """Orchestrations that sleep."""
    app = Registry()

    @app.activity
    async def work(number: int) -> int:
        return number

    @app.orchestration
    async def wake_up(ctx: OrchestrationContext) -> list[int]:
        order: list[int] = []

        async def sleep(seconds: int) -> None:
            await asyncio.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(*(sleep(seconds) for seconds in (50, 10, 40, 20, 30)))
        return order

    @app.orchestration
    async def loop(ctx: OrchestrationContext, rounds: int) -> list[int]:
        results: list[int] = []
        for number in range(rounds):
            await asyncio.sleep(7)
            results.append(await ctx.schedule_activity(work, number))
        return results

    @app.orchestration
    async def wait(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_wait("go", str)

    return app


@scenario("SCENARIO-22")
async def timers_that_fell_due_meanwhile_fire_once(simulation: Simulation) -> None:
    """Timers that fell due while everything was down fire once each after the restart, in the order in which they were due; none fires early."""
    client = simulation.client
    node = await simulation.node(timers())
    for instance in ("overdue", "partly"):
        await client.start_orchestration(instance, "wake_up")
        await simulation.until_recorded(instance, TimerCreated, 5)
    await node.stop()
    await simulation.jump(timedelta(seconds=25))
    node = await simulation.node(timers())
    await simulation.until_recorded("partly", TimerFired, 2)
    expect_equal(len(await simulation.recorded("overdue", TimerFired)), 2, "timers fired")
    node.crash()
    await simulation.jump(timedelta(hours=5))
    await simulation.node(timers())
    for instance in ("overdue", "partly"):
        expect_equal(
            await simulation.output(instance), [10, 20, 30, 40, 50], f"order in {instance!r}"
        )
        fired = await simulation.recorded(instance, TimerFired)
        expect_equal(len(fired), 5, f"timers fired in {instance!r}")


@scenario("SCENARIO-34")
async def a_clock_ahead_costs_no_safety(simulation: Simulation) -> None:
    """With one node's clock five seconds ahead no turn and no activity is recorded twice, and no timer fires early by more than that."""
    await simulation.node(timers())
    await simulation.node(timers(), clock=ClockAhead(simulation.clock, SKEW))
    names = [f"loop {number}" for number in range(6)]
    began = simulation.clock.now()
    for name in names:
        await simulation.client.start_orchestration(name, "loop", "6")
    for name in names:
        expect_equal(await simulation.output(name), list(range(6)), f"output of {name!r}")
        completed = await simulation.recorded(name, ActivityCompleted)
        expect_equal(len(completed), 6, f"results recorded in {name!r}")
    took = timedelta(microseconds=simulation.clock.now() - began)
    expect(took >= 6 * timedelta(seconds=7) - SKEW, f"six sleeps of 7 s took {took}")


@scenario("SCENARIO-34a")
async def a_clock_that_steps_back_prolongs_no_lease(simulation: Simulation) -> None:
    """When the clock steps back an hour, what a runtime had leased that died then is taken over within minutes, and everything else goes on."""
    client = simulation.client
    node = await simulation.node(timers())
    await client.start_orchestration("alpha", "wait")
    await client.start_orchestration("beta", "wait")
    await simulation.until_recorded("beta", WaitCreated)
    held = Held(lambda operation, _: operation == "commit_turn")
    node.link.disturbance = held
    await client.raise_event("alpha", "go", '"on"')
    await simulation.until(lambda: held.caught == 1, "a turn that dies")
    node.crash()
    simulation.clock.step_back(timedelta(hours=1))
    await simulation.node(timers())
    await client.raise_event("beta", "go", '"on"')
    took = await simulation.until(lambda: simulation.have_ended("beta"), "the end of the other")
    expect_soon(took, "an instance that was not leased")
    took = await simulation.until(lambda: simulation.have_ended("alpha"), "the takeover")
    expect(took <= timedelta(minutes=7), f"the lease of a dead runtime lasted {took} longer")
    expect_equal(await simulation.output("alpha"), "on", "output")


@scenario("SCENARIO-34b")
async def a_history_does_not_run_backwards(simulation: Simulation) -> None:
    """When the clock steps back while an instance runs, its timers fire when they are due by the clock, and the times in its history never go back."""
    await simulation.node(timers())
    await simulation.client.start_orchestration("alpha", "loop", "3")
    await simulation.until_recorded("alpha", TimerFired)
    simulation.clock.step_back(timedelta(minutes=2))
    expect_equal(await simulation.output("alpha"), [0, 1, 2], "output")
    events = await simulation.history("alpha")
    expect_equal(sorted(event.at for event in events), [e.at for e in events], "times")
    span = timedelta(microseconds=events[-1].at - events[0].at)
    expect(span >= timedelta(seconds=21), f"three sleeps of 7 s took {span} in the history")
