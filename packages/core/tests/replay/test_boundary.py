"""What cannot be replayed ends the turn, whether its refusal is raised, swallowed or never seen."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import perdure
import pytest
from perdure import ForbiddenInOrchestration, InvalidDuration, OrchestrationContext, Registry
from perdure.history import ActivityScheduled, OrchestrationCompleted, OrchestrationFailed
from perdure.replay.signals import ForbiddenUse

from .driver import World, play

Function = Callable[[OrchestrationContext], Awaitable[object]]


def world_of(function: Function) -> World:
    app = Registry()
    app.orchestration(name="subject", allow=["asyncio", "threading", "concurrent"])(function)
    return World(app=app, name="subject", answer_activity=lambda *_: "null")


def why_void(function: Function) -> str:
    """Why the first turn of the orchestration does not count."""
    world = world_of(function)
    try:
        with pytest.raises(ForbiddenUse) as caught:
            world.start()
    finally:
        world.discard()
    return str(caught.value)


def in_a_thread(work: Callable[[], object]) -> None:
    """Run it in a thread, to its end; raises what it raises."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work).result()


# However the code takes the refusal


def raises(use: Callable[[], object]) -> None:
    use()


def swallows(use: Callable[[], object]) -> None:
    try:
        use()
    except Exception:  # noqa: BLE001 # as a library does that hands errors to a model
        return


def swallows_all(use: Callable[[], object]) -> None:
    try:
        use()
    except BaseException:  # noqa: BLE001 # as a careless one does
        return


@pytest.mark.parametrize("take", [raises, swallows, swallows_all])
@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda loop: loop.run_in_executor(None, print), "move the blocking call into an activity"),
        (lambda loop: loop.call_soon_threadsafe(print), "let an activity, or an event"),
        (lambda loop: loop.run_until_complete(None), "await instead"),
        (lambda loop: loop.run_forever(), "await instead"),
        (lambda loop: loop.stop(), "return from the orchestration"),
        (lambda loop: loop.close(), "return from the orchestration"),
        (lambda loop: loop.create_connection(print, "host", 1), "do the I/O in an activity"),
        (lambda loop: loop.sock_recv(None, 1), "do the I/O in an activity"),
        (lambda loop: loop.getaddrinfo("host", 1), "do the I/O in an activity"),
        (lambda loop: loop.subprocess_shell(print, "true"), "do the I/O in an activity"),
        (lambda loop: loop.add_reader(1, print), "do the I/O in an activity"),
        (lambda loop: loop.set_task_factory(None), "create tasks with asyncio.create_task"),
        (lambda loop: loop.set_exception_handler(None), "catch the exception"),
        (lambda loop: loop.set_debug(True), "set it on the host's loop"),
    ],
)
def test_what_cannot_be_replayed_makes_the_turn_void_however_it_is_taken(
    take: Callable[[Callable[[], object]], None], use: Callable[[Any], Any], words: str
) -> None:
    async def flow(ctx: OrchestrationContext) -> str:
        take(lambda: use(asyncio.get_running_loop()))
        return "went through"

    why = why_void(flow)

    assert "was used in an orchestration, where it cannot be replayed" in why
    assert words in why


@pytest.mark.parametrize("take", [raises, swallows, swallows_all])
def test_the_line_that_used_it_is_named(take: Callable[[Callable[[], object]], None]) -> None:
    def use() -> None:
        asyncio.get_running_loop().stop()

    async def flow(ctx: OrchestrationContext) -> None:
        take(use)

    line = use.__code__.co_firstlineno + 1
    assert why_void(flow).endswith(f"; it was used at {__name__}:{line} in use")


def test_the_line_of_the_orchestrations_package_is_named_before_that_of_a_library() -> None:
    library: dict[str, Any] = {"__name__": "agents.tools", "asyncio": asyncio}
    source = "def use():\n    try: asyncio.get_running_loop().stop()\n    except Exception: pass\n"
    exec(compile(source, "tools.py", "exec"), library)  # noqa: S102 # a library that need not be installed

    async def flow(ctx: OrchestrationContext) -> None:
        library["use"]()

    line = flow.__code__.co_firstlineno + 1
    assert why_void(flow).endswith(
        f"it was used at {__name__}:{line} in flow, through agents.tools:2 in use"
    )


def test_nothing_that_is_asked_for_after_a_forbidden_use_has_an_effect() -> None:
    told: list[str] = []

    async def flow(ctx: OrchestrationContext) -> str:
        await ctx.schedule_activity("before")
        swallows(asyncio.get_running_loop().stop)
        ctx.logger.error("not to be told")
        told.append("went on")
        await ctx.schedule_activity("after")
        return "never"

    world = world_of(flow).start()
    with pytest.raises(ForbiddenUse):
        world.deliver("before")
    world.discard()

    assert told == ["went on"]
    assert [event.name for event in world.events(ActivityScheduled)] == ["before"]


def test_a_forbidden_use_is_found_in_a_replay_too() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        await ctx.schedule_activity("b")

    async def edited(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        swallows(asyncio.get_running_loop().stop)
        await ctx.schedule_activity("b")

    world = world_of(flow).start()
    world.deliver("a")
    world.catalog = world_of(edited).catalog
    with pytest.raises(ForbiddenUse, match="stop was used in an orchestration"):
        world.forget()
    world.discard()


def test_what_cleanup_uses_after_the_end_was_decided_changes_nothing() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        try:
            ctx.continue_as_new()
        finally:
            swallows(asyncio.get_running_loop().stop)

    world = world_of(flow)
    world.begin()
    draft = world.execution.take_turn()
    world.discard()

    assert draft.end is not None


def test_threads_and_connections_of_asyncio_make_the_turn_void() -> None:
    async def to_thread(ctx: OrchestrationContext) -> None:
        await asyncio.to_thread(print)

    async def connect(ctx: OrchestrationContext) -> None:
        await asyncio.open_connection("localhost", 1)

    async def wrap(ctx: OrchestrationContext) -> None:
        await asyncio.wrap_future(Future())

    assert why_void(to_thread).startswith("run_in_executor was used")
    assert why_void(connect).startswith("create_connection was used")
    assert "a thread cannot be replayed" in why_void(wrap)


def test_the_context_is_refused_outside_the_run() -> None:
    kept: list[OrchestrationContext] = []

    async def flow(ctx: OrchestrationContext) -> None:
        kept.append(ctx)
        await ctx.schedule_activity("a")

    world = world_of(flow).start()
    for use in (
        lambda: kept[0].schedule_activity("b"),
        lambda: kept[0].schedule_timer(1),
        lambda: kept[0].schedule_wait("x"),
        lambda: kept[0].schedule_sub_orchestration("x"),
        lambda: kept[0].schedule_orchestration("x"),
        lambda: kept[0].continue_as_new(),
        lambda: kept[0].uuid4(),
        lambda: kept[0].random(),
    ):
        with pytest.raises(ForbiddenInOrchestration, match="outside the run of its orchestration"):
            use()
    world.discard()


def test_the_context_of_another_orchestration_makes_the_turn_void() -> None:
    kept: list[OrchestrationContext] = []

    async def first(ctx: OrchestrationContext) -> None:
        kept.append(ctx)
        await ctx.schedule_activity("a")

    async def second(ctx: OrchestrationContext) -> None:
        swallows(lambda: kept[0].schedule_activity("b"))
        await ctx.schedule_activity("c")

    world = world_of(first).start()

    assert "outside the run of its orchestration" in why_void(second)
    assert len(world.events(ActivityScheduled)) == 1
    world.discard()


# Threads, and other code outside


@pytest.mark.parametrize(
    "use",
    [
        lambda ctx, future: ctx.schedule_activity("b"),
        lambda ctx, future: ctx.uuid4(),
        lambda ctx, future: future.cancel(),
        lambda ctx, future: future.set_result(None),
        lambda ctx, future: future.get_loop().call_soon(print),
        lambda ctx, future: future.get_loop().call_soon_threadsafe(print),
        lambda ctx, future: future.get_loop().call_later(1, print),
        lambda ctx, future: future.get_loop().call_at(1, print),
        lambda ctx, future: future.get_loop().create_future(),
    ],
)
def test_a_thread_that_uses_what_is_the_orchestrations_makes_the_turn_void(
    use: Callable[[OrchestrationContext, asyncio.Future[None]], object],
) -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        future = ctx.schedule_activity("a")
        future.add_done_callback(print)
        swallows(lambda: in_a_thread(lambda: use(ctx, future)))
        await ctx.schedule_activity("b")

    why = why_void(flow)

    assert f"it was used at {__name__}:" in why
    assert "while the orchestration waits at" in why


def test_a_future_that_a_thread_completes_after_the_turn_voids_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside: list[asyncio.Future[None]] = []

    async def flow(ctx: OrchestrationContext) -> None:
        outside.append(asyncio.get_running_loop().create_future())
        await asyncio.gather(ctx.schedule_activity("a"), outside[0])

    world = world_of(flow).start()
    with pytest.raises(ForbiddenInOrchestration, match="a thread, or code outside"):
        in_a_thread(lambda: outside[0].set_result(None))
    with pytest.raises(ForbiddenUse, match="while the orchestration waits at .* in flow"):
        world.deliver("a")
    world.discard()

    (told,) = caplog.messages
    assert told.startswith("instance 'instance' is parked at its next turn: a thread, or code")


def test_a_future_that_the_host_completes_between_two_turns_voids_the_next() -> None:
    outside: list[asyncio.Future[None]] = []

    async def flow(ctx: OrchestrationContext) -> None:
        outside.append(asyncio.get_running_loop().create_future())
        await asyncio.gather(ctx.schedule_activity("a"), outside[0])

    world = world_of(flow).start()
    with pytest.raises(ForbiddenInOrchestration):
        outside[0].set_result(None)
    with pytest.raises(ForbiddenUse):
        world.deliver("a")
    world.discard()


def test_a_thread_that_reports_to_an_execution_that_is_gone_changes_nothing() -> None:
    outside: list[asyncio.Future[None]] = []

    async def flow(ctx: OrchestrationContext) -> None:
        outside.append(asyncio.get_running_loop().create_future())
        outside[0].add_done_callback(print)
        await ctx.schedule_activity("a")

    world = play(world_of(flow))
    with pytest.raises(ForbiddenInOrchestration):
        in_a_thread(lambda: outside[0].set_result(None))

    assert world.output == "null"


# Waiting in vain


def test_a_thread_behind_asyncios_back_is_found_at_the_end_of_the_turn() -> None:
    reported = threading.Event()

    async def flow(ctx: OrchestrationContext) -> None:
        loop, result = asyncio.get_running_loop(), asyncio.Future[None]()

        def work() -> None:
            swallows(lambda: loop.call_soon_threadsafe(result.set_result, None))
            reported.set()

        threading.Thread(target=work).start()
        await result

    why = why_void(flow)

    assert reported.wait(10)
    assert f"the orchestration waits at {__name__}:" in why
    assert " in flow" in why


def test_an_orchestration_that_waits_for_what_cannot_come_is_told_where() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        await asyncio.gather(lock.acquire(), asyncio.Event().wait())

    lock = asyncio.Lock()
    world = world_of(flow).start()
    with pytest.raises(ForbiddenUse) as caught:
        world.deliver("a")
    world.discard()

    line = flow.__code__.co_firstlineno + 2
    why = str(caught.value)
    assert why.startswith(f"the orchestration waits at {__name__}:{line} in flow for something")
    assert "await asyncio.sleep(math.inf)" in why


def test_an_orchestration_that_waits_in_vain_can_be_cancelled_with_its_cleanup() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await ctx.schedule_activity("cleanup")

    world = world_of(flow)
    world.begin()
    world.deliver(world.cancel())
    world.deliver("cleanup")

    assert isinstance(world.terminal, OrchestrationFailed)


def test_an_endless_sleep_waits_for_its_cancellation_and_is_no_mistake() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        await asyncio.sleep(math.inf)

    world = world_of(flow).start()
    world.deliver(world.cancel())

    assert isinstance(world.terminal, OrchestrationFailed)


@pytest.mark.parametrize("seconds", [math.nan, -math.inf])
def test_a_callback_at_no_time_is_refused_with_what_to_pass(seconds: float) -> None:
    async def flow(ctx: OrchestrationContext) -> list[str]:
        loop = asyncio.get_running_loop()
        refusals: list[str] = []
        for schedule in (loop.call_later, loop.call_at):
            with pytest.raises(InvalidDuration) as caught:
                schedule(seconds, print)
            refusals.append(str(caught.value))
        return refusals

    world = world_of(flow).start()

    assert isinstance(world.terminal, OrchestrationCompleted)
    assert world.terminal.output.count(f"{seconds} is no time; pass a number of seconds") == 2


def test_an_endless_sleep_that_is_over_hides_no_vain_wait() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        sleep = asyncio.create_task(asyncio.sleep(math.inf))
        await asyncio.sleep(0)
        sleep.cancel()
        await asyncio.Event().wait()

    assert "something that cannot come" in why_void(flow)


def test_a_timeout_that_never_ends_hides_no_vain_wait() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        async with asyncio.timeout(math.inf):
            await asyncio.Event().wait()

    assert "something that cannot come" in why_void(flow)


# What asyncio would order by address


async def none() -> None: ...


def test_wait_of_several_refuses_futures_of_gather_and_ones_own() -> None:
    async def gathered(ctx: OrchestrationContext) -> None:
        pair = asyncio.gather(ctx.schedule_activity("a"), ctx.schedule_activity("b"))
        await asyncio.wait([pair, ctx.schedule_activity("c")])

    async def own(ctx: OrchestrationContext) -> None:
        await asyncio.wait([asyncio.Future(), asyncio.Future()])

    assert "asyncio.wait was given a _GatheringFuture" in why_void(gathered)
    assert "asyncio.wait was given a Future" in why_void(own)


def test_as_completed_of_several_refuses_coroutines() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        coroutines = [none(), none()]
        try:
            for next_one in asyncio.as_completed(coroutines):
                await next_one
        finally:
            for coroutine in coroutines:
                coroutine.close()

    assert "asyncio.as_completed was given coroutines" in why_void(flow)


def test_as_completed_of_several_refuses_finished_futures_of_gather() -> None:
    async def flow(ctx: OrchestrationContext) -> None:
        pairs = [asyncio.gather(none()) for _ in range(2)]
        await asyncio.gather(*pairs)
        for next_one in asyncio.as_completed(pairs):
            await next_one

    assert "asyncio.as_completed was given a finished future" in why_void(flow)


def test_one_future_of_gather_has_one_order_and_is_taken() -> None:
    async def flow(ctx: OrchestrationContext) -> list[object]:
        done, _ = await asyncio.wait({asyncio.gather(ctx.schedule_activity("a"))})
        found = [one.result() for one in done]
        finished = asyncio.gather(ctx.schedule_activity("b"))
        await finished
        for one in (finished, asyncio.gather(ctx.schedule_activity("c")), none()):
            found += [await next_one for next_one in asyncio.as_completed([one])]
        return found

    assert play(world_of(flow)).output == "[[null],[null],[null],null]"


# The context of the caller


def test_a_library_finds_the_context_of_the_orchestration_that_calls_it() -> None:
    found: list[bool] = []

    async def flow(ctx: OrchestrationContext) -> None:
        async def later() -> None:
            found.append(perdure.orchestration_context() is ctx)

        found.append(perdure.orchestration_context() is ctx)
        await asyncio.create_task(later())
        asyncio.get_running_loop().call_soon(
            lambda: found.append(perdure.orchestration_context() is ctx)
        )
        await ctx.schedule_activity("a")
        in_a_thread(lambda: found.append(perdure.orchestration_context() is None))

    play(world_of(flow))

    assert len(found) >= 4
    assert all(found)
    assert perdure.orchestration_context() is None


@pytest.mark.skipif(sys.version_info < (3, 13), reason="an asynchronous iterator from 3.13 on")
def test_as_completed_as_an_asynchronous_iterator_takes_one_coroutine() -> None:
    async def flow(ctx: OrchestrationContext) -> int:
        return len([task async for task in asyncio.as_completed([none()])])

    assert play(world_of(flow)).output == "1"
