"""Orchestrations that try to break determinism, the engine or the host."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import math
import socket
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from types import CoroutineType
from typing import Any

import pytest
from perdure import OrchestrationContext, Registry
from perdure.history import ActivityScheduled, OrchestrationFailed, TimerCreated
from perdure.model.wire import ResultData
from perdure.records.instances import Message, MessageKind
from perdure.replay import loop as loop_module
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.signals import UndecodableData

from .driver import World, play, play_everywhere

Function = Callable[[OrchestrationContext], Awaitable[object]]


def registry_of(function: Function) -> Registry:
    app = Registry()
    app.orchestration(name="subject")(function)
    return app


def world_of(function: Function, **options: Any) -> World:
    options.setdefault("answer_activity", lambda name, *_: json.dumps(name))
    return World(app=registry_of(function), name="subject", **options)


def agree(function: Function, orders: int = 5) -> list[World]:
    """Play it everywhere: restarts change nothing."""
    return play_everywhere(lambda mode: world_of(function, restart=mode), orders=orders)


# What asyncio would order by address


def test_wait_takes_futures_of_the_loop() -> None:
    async def flow(ctx: OrchestrationContext) -> int:
        own = asyncio.get_running_loop().create_future()
        own.set_result(1)
        done, _ = await asyncio.wait([own, ctx.schedule_activity("a")])
        return len(done)

    assert play(world_of(flow)).output == "2"


def test_as_completed_of_unfinished_futures_of_gather_goes_by_their_ends() -> None:
    async def flow(ctx: OrchestrationContext) -> list[list[str]]:
        pairs = [
            asyncio.gather(*(ctx.schedule_activity(f"{name}{n}") for n in range(2)))
            for name in "abc"
        ]
        return [await next_one for next_one in asyncio.as_completed(pairs)]

    assert len({world.output for world in agree(flow, orders=8)}) > 1


@pytest.mark.skipif(sys.version_info < (3, 13), reason="an asynchronous iterator from 3.13 on")
def test_as_completed_as_an_asynchronous_iterator_replays_alike() -> None:
    async def flow(ctx: OrchestrationContext) -> list[str]:
        tasks = [asyncio.create_task(_one(ctx, name)) for name in "abc"]
        return [task.result() async for task in asyncio.as_completed(tasks)]

    agree(flow)


async def _one(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(name)


# What needs the outside world


def test_every_method_of_asyncios_loop_works_or_is_refused_by_name() -> None:
    inherited = {
        name
        for name, member in vars(asyncio.AbstractEventLoop).items()
        if callable(member) and not name.startswith("__")
    }
    own = {name for kind in OrchestrationLoop.__mro__[:-2] for name in vars(kind)} - {
        name
        for name in inherited
        if getattr(OrchestrationLoop, name) is getattr(asyncio.AbstractEventLoop, name)
    }

    assert inherited - own == set()


# The garbage collector, and what is abandoned


def test_generators_in_cycles_are_not_finalised_by_the_garbage_collector() -> None:
    closed: list[str] = []

    async def flow(ctx: OrchestrationContext) -> list[str]:
        async def pages() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                closed.append("closed")
                ctx.schedule_activity("cleanup")

        class Node:
            pass

        node = Node()
        node.me = node  # type: ignore[attr-defined]
        node.pages = pages()  # type: ignore[attr-defined]
        await anext(node.pages)  # type: ignore[attr-defined]
        del node
        await ctx.schedule_activity("a")
        await ctx.schedule_activity("b")
        return closed.copy()

    world = world_of(flow).start()
    gc.collect()
    world.deliver("a")
    gc.collect()
    world.deliver("b")

    assert world.output == "[]"
    assert "cleanup" not in [event.name for event in world.events(ActivityScheduled)]
    assert closed  # at the discard of the execution, without effect


def test_the_garbage_collector_rests_during_a_run_and_is_as_before_afterwards() -> None:
    seen: list[bool] = []

    async def flow(ctx: OrchestrationContext) -> None:
        seen.append(gc.isenabled())

    play(world_of(flow))
    assert seen == [False, False]  # live, and in the full replay
    assert gc.isenabled()
    gc.disable()
    try:
        play(world_of(flow))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_hooks_and_the_running_loop_of_the_host_are_put_back() -> None:
    hooks = sys.get_asyncgen_hooks()
    agree(_quick)

    assert sys.get_asyncgen_hooks() == hooks
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


async def _quick(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity("a")


def test_an_evicted_execution_ends_its_coroutines_at_once_and_without_effects() -> None:
    ended: list[str] = []

    async def flow(ctx: OrchestrationContext) -> None:
        async def stubborn() -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    ended.append("swallowed")
                    await ctx.schedule_activity("void")

        async def orderly() -> None:
            try:
                await ctx.schedule_wait("never")
            finally:
                ended.append("orderly")
                ctx.logger.error("void")
                await ctx.schedule_activity("void", retry=None)
                await asyncio.sleep(1)
                ended.append("not reached")

        async with asyncio.TaskGroup() as group:
            group.create_task(stubborn())
            group.create_task(orderly())

    world = world_of(flow).start()
    execution = world.execution
    loop = weakref.ref(execution.loop)
    tasks = list(execution.loop._tasks)
    execution.discard()

    assert ended.count("orderly") == 1
    assert "not reached" not in ended
    draft = execution.take_turn()
    assert not draft.events
    assert not draft.activities
    for task in tasks:
        coroutine = task.get_coro()
        assert isinstance(coroutine, CoroutineType)
        assert coroutine.cr_frame is None, "no coroutine is left suspended"
    del world, execution, tasks, task, coroutine
    gc.collect()
    assert loop() is None


def test_cleanup_of_an_evicted_execution_does_not_reach_the_hosts_loop() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        while True:
            try:
                await asyncio.sleep(math.inf)
            except BaseException:  # also GeneratorExit, at the very end
                loops.append(type(asyncio.get_running_loop()).__name__)
                if len(loops) > 8:
                    raise

    loops: list[str] = []
    world = world_of(flow).start()

    async def host() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: future.set_result(world.discard()))
        await future

    asyncio.run(host())
    assert set(loops) == {"OrchestrationLoop"}


def test_an_abandoned_generator_that_waits_in_its_cleanup_is_given_up() -> None:
    closed: list[str] = []

    async def flow(ctx: OrchestrationContext) -> None:
        async def pages() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    closed.append("cancelled")
                    await asyncio.Event().wait()

        kept: list[object] = []
        kept.append(kept)
        kept.append(pages())
        await anext(kept[1])  # type: ignore[call-overload]
        del kept
        await ctx.schedule_activity("a")

    world = world_of(flow).start()
    gc.collect()
    world.discard()

    assert closed == ["cancelled"]


def test_tasks_that_are_never_awaited_run_and_end_with_the_execution() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        async def forgotten(name: str) -> None:
            while True:
                await ctx.schedule_activity(name)

        for name in "ab":
            asyncio.create_task(forgotten(name))  # noqa: RUF006 # what is tested
        return await ctx.schedule_activity("c")

    for world in agree(flow):
        assert world.output == '"c"'


def test_a_coroutine_that_was_created_and_never_started_changes_nothing() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        task = asyncio.create_task(_one(ctx, "never"))
        task.cancel()
        return await ctx.schedule_activity("a")

    for world in agree(flow):
        assert [event.name for event in world.events(ActivityScheduled)] == ["a"]


# Errors in odd places


def test_an_exception_in_a_callback_is_logged_once_and_disturbs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        future = ctx.schedule_activity("a")
        future.add_done_callback(lambda _: 1 / 0)
        await future
        return await ctx.schedule_activity("b")

    play(world_of(flow, restart="cold"))

    assert [record.name for record in caplog.records] == ["perdure.orchestration.subject"]
    assert "ZeroDivisionError" in str(caplog.records[0].exc_info)


def test_an_exit_in_a_callback_is_logged_and_disturbs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def flow(ctx: OrchestrationContext) -> str:
        asyncio.get_running_loop().call_soon(leave)
        return await ctx.schedule_activity("a")

    assert play(world_of(flow, restart="cold")).output == '"a"'

    assert len(caplog.records) == 1
    assert "SystemExit" in str(caplog.records[0].exc_info)


def test_an_interrupt_of_the_process_is_no_outcome() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world_of(flow).start()


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_an_orchestration_that_raises_what_ends_processes_fails_alone(
    error: type[BaseException],
) -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        raise error(3)

    for world in agree(flow, orders=1):
        assert world.failure.type_name == error.__name__


def test_an_interrupt_reaches_the_host() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        raise KeyboardInterrupt

    world = world_of(flow)
    with pytest.raises(KeyboardInterrupt):
        world.begin()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert gc.isenabled()


def test_an_orchestration_that_never_waits_fails_instead_of_blocking_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_module, "_MOST_CALLBACKS", 5000)

    async def flow(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        while True:  # noqa: ASYNC110 # the mistake that is tested
            await asyncio.sleep(0)

    for world in agree(flow, orders=1):
        assert world.failure.type_name == "EndlessRun"
        assert "wait for an activity, an event or a timer" in world.failure.message


def test_an_evicted_execution_that_never_waits_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_module, "_MOST_CALLBACKS", 500)

    async def flow(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_wait("never")
        finally:
            while True:  # noqa: ASYNC110 # as above
                await asyncio.sleep(0)

    world = world_of(flow).start()
    world.discard()


def test_very_deep_recursion_is_an_error_like_any_other() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        async def deeper(n: int) -> int:
            return await deeper(n + 1)

        try:
            await deeper(0)
        except RecursionError:
            return await ctx.schedule_activity("caught")
        return ""

    for world in agree(flow, orders=1):
        assert world.output == '"caught"'


def test_a_result_that_is_too_deep_to_be_encoded_fails_the_instance() -> None:
    async def flow(ctx: OrchestrationContext) -> object:
        value: object = 1
        for _ in range(100_000):
            value = [value]
        kept.append(value)
        return value

    kept: list[Any] = []
    assert play(world_of(flow)).failure.type_name == "InvalidPayload"
    for value in kept:
        while isinstance(value, list):  # freed from outside in: else the interpreter recurses
            value = value.pop()


def test_a_future_that_the_user_settled_ignores_the_result() -> None:
    async def flow(ctx: OrchestrationContext) -> list[object]:
        future, timer = ctx.schedule_activity("a"), ctx.schedule_timer(5)
        future.set_result("mine")
        timer.set_result(None)
        await ctx.schedule_activity("b")
        await ctx.schedule_activity("c")
        return [await future, await timer]

    for world in agree(flow):
        assert world.output == '["mine",null]'


def test_nothing_awaits_the_failure_of_scheduled_work(caplog: pytest.LogCaptureFixture) -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("a", result_type=int)
        await ctx.schedule_activity("b")

    world = world_of(flow, restart="evicted").start()
    world.deliver("a")
    world.deliver("b")
    gc.collect()

    assert world.output == "null"
    assert not caplog.records


# Cancellation, in all its forms


def test_a_task_that_cancels_itself_and_takes_it_back_goes_on() -> None:
    async def flow(ctx: OrchestrationContext) -> list[object]:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("one")
        task.cancel("two")
        trace: list[object] = [task.cancelling()]
        try:
            await ctx.schedule_activity("a")
        except asyncio.CancelledError as error:
            trace += [str(error), task.uncancel(), task.uncancel()]
        return [*trace, await ctx.schedule_activity("b")]

    for world in agree(flow):
        # Which of the reasons comes out is asyncio's business.
        assert json.loads(world.output)[2:] == [1, 0, "b"]


def test_a_group_inside_a_timeout_cleans_up_before_it_ends() -> None:
    async def flow(ctx: OrchestrationContext) -> list[str]:
        trace: list[str] = []

        async def member(name: str) -> None:
            try:
                await ctx.schedule_wait("never")
            finally:
                trace.append(await ctx.schedule_activity(name))

        try:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                for name in "abc":
                    group.create_task(member(name))
        except TimeoutError:
            trace.append("late")
        return trace

    assert {world.output[-7:] for world in agree(flow)} == {'"late"]'}


def test_a_cancellation_during_a_shield_leaves_the_shielded_work() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        work = asyncio.ensure_future(_one(ctx, "kept"))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            return await work
        return "not cancelled"

    world = world_of(flow, restart="cold").start()
    world.deliver(world.cancel())
    world.deliver("kept")

    assert isinstance(world.terminal, OrchestrationFailed)
    assert len(world.events(ActivityScheduled)) == 1
    assert len(world.events(TimerCreated)) == 1


def test_waits_in_a_queue_are_served_in_their_order() -> None:
    async def flow(ctx: OrchestrationContext) -> list[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        trace: list[str] = []

        async def taker(name: str) -> None:
            trace.append(name + await queue.get())

        takers = [asyncio.create_task(taker(name)) for name in "xyz"]
        await ctx.schedule_activity("a")
        takers[0].cancel()
        queue.put_nowait("1")
        queue.put_nowait("2")
        await asyncio.gather(*takers, return_exceptions=True)
        return trace

    for world in agree(flow, orders=2):
        assert world.output == '["y1","z2"]'


# Time


def test_infinite_waits_need_no_timer() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        forever = asyncio.create_task(asyncio.sleep(float("inf")))
        async with asyncio.timeout(float("inf")):
            result = await ctx.schedule_activity("a")
        forever.cancel()
        return result

    for world in agree(flow):
        assert not world.events(TimerCreated)
        assert world.output == '"a"'


def test_the_shortest_waits_still_come_later() -> None:
    async def flow(ctx: OrchestrationContext) -> bool:
        before = ctx.now()
        await asyncio.sleep(1e-9)
        return ctx.now() > before

    for world in agree(flow, orders=1):
        assert world.output == "true"


def test_a_timer_that_is_cancelled_after_it_fired_changes_nothing() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        fired: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        handle = loop.call_later(1, lambda: fired.append(handle))
        await asyncio.sleep(2)
        handle.cancel()
        handle.cancel()
        return await ctx.schedule_activity(f"fired{len(fired)}")

    world = world_of(flow, restart="cold").start()
    world.deliver("timer#2")
    world.deliver("timer#3")
    world.deliver("fired1")
    assert world.output == '"fired1"'


def test_timers_that_are_due_together_fire_in_the_order_of_the_history() -> None:
    async def flow(ctx: OrchestrationContext) -> list[int]:
        trace: list[int] = []

        async def sleeper(number: int) -> None:
            await asyncio.sleep(5)
            trace.append(number)

        await asyncio.gather(*(sleeper(number) for number in range(4)))
        return trace

    for world in agree(flow, orders=6):
        assert sorted(json.loads(world.output)) == [0, 1, 2, 3]


@pytest.mark.parametrize("delay", [timedelta(seconds=-1), float("nan"), 1e12, "soon"])
def test_durations_that_make_no_sense_are_refused_at_the_call(delay: Any) -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        await ctx.schedule_timer(delay)

    assert play(world_of(flow)).failure.type_name == "InvalidDuration"


# The host


def test_variables_set_in_an_orchestration_do_not_reach_the_host() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        variable.set("inside")
        await ctx.schedule_activity("a")
        variable.set("still inside")

    variable = contextvars.ContextVar("variable", default="outside")
    play(world_of(flow))

    assert variable.get() == "outside"


def test_executions_that_take_turns_do_not_disturb_one_another() -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        return await _one(ctx, ctx.instance)

    app = registry_of(flow)
    worlds = [
        World(
            app=app, name="subject", instance=f"i{n}", answer_activity=lambda name, *_: f'"{name}"'
        )
        for n in range(20)
    ]
    for world in worlds:
        world.start()
    for world in reversed(worlds):
        world.deliver(world.waiting[0])

    assert [world.output for world in worlds] == [f'"i{n}"' for n in range(20)]


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"scheduled":"2"}', b"\xff"])
@pytest.mark.parametrize("kind", list(MessageKind))
def test_a_message_that_cannot_be_decoded_leaves_the_execution_as_it_was(
    kind: MessageKind, data: bytes
) -> None:
    if kind is MessageKind.START:
        return
    world = world_of(_quick).start()
    before = world.execution.last_event
    message = Message(id="m", instance="instance", kind=kind, data=data)
    with pytest.raises(UndecodableData, match="message 'm' of kind"):
        world.execution.accept(message, world.now)

    assert world.execution.last_event == before
    world.deliver("a")
    assert world.output == '"a"'


def test_results_of_another_kind_or_of_nothing_are_ignored() -> None:
    world = world_of(_quick).start()
    execution = world.execution

    assert not execution.accept_result(MessageKind.TIMER, ResultData(scheduled=2), world.now)
    assert not execution.accept_result(MessageKind.ACTIVITY, ResultData(scheduled=7), world.now)
    start = Message(id="s", instance="instance", kind=MessageKind.START, data=b"")
    assert not execution.accept(start, world.now)
    world.deliver("a")
    assert not execution.accept_cancel("late", world.now)


def test_nothing_of_the_network_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "socketpair", refuse)

    assert play(world_of(_quick)).output == '"a"'
