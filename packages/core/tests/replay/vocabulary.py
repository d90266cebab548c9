"""One orchestration for each word of asyncio's vocabulary, and what it must come to."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from contextlib import aclosing

from perdure import OrchestrationContext, Registry

words = Registry()
request = contextvars.ContextVar("request", default="none")


@words.activity
async def work(name: str) -> str:
    if name.startswith("bad"):
        raise ValueError(name)
    return name.upper()


@words.orchestration
async def gather(ctx: OrchestrationContext) -> list[str]:
    return await asyncio.gather(*(ctx.schedule_activity(work, name) for name in "abc"))


@words.orchestration
async def gather_with_errors(ctx: OrchestrationContext) -> list[str]:
    results = await asyncio.gather(
        *(ctx.schedule_activity(work, name) for name in ("a", "bad", "c")), return_exceptions=True
    )
    return [type(result).__name__ for result in results]


@words.orchestration
async def gather_that_fails(ctx: OrchestrationContext) -> list[str]:
    trace: list[str] = []

    async def branch(name: str) -> None:
        await ctx.schedule_activity(work, name)
        await ctx.schedule_activity(work, name + "-next")
        trace.append(name)

    try:
        await asyncio.gather(branch("a"), branch("bad"), branch("c"))
    except Exception as error:  # noqa: BLE001 # whatever comes out is what is tested
        trace.append(type(error).__name__)
    await ctx.schedule_activity(work, "last")
    return trace


@words.orchestration
async def wait_for_the_first(ctx: OrchestrationContext) -> list[str]:
    tasks = {asyncio.create_task(_one(ctx, name), name=name) for name in "abcdef"}
    trace: list[str] = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        trace += [task.get_name() + task.result() for task in done]
        if len(trace) == 3:
            # In the order of a set: alike in every process.
            for task in tasks:
                task.cancel()
                trace.append("cancel " + task.get_name())
            break
    return trace


@words.orchestration
async def wait_with_timeout(ctx: OrchestrationContext) -> list[int]:
    futures = [ctx.schedule_activity(work, name) for name in "abc"]
    done, pending = await asyncio.wait(futures, timeout=10)
    late, none = await asyncio.wait(futures)
    return [len(done) + len(pending), len(late), len(none)]


@words.orchestration
async def wait_until_one_fails(ctx: OrchestrationContext) -> str:
    tasks = [asyncio.create_task(_one(ctx, name)) for name in ("a", "bad", "c")]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return f"{len(done) + len(pending)} {type(results[1]).__name__}"


@words.orchestration
async def wait_for(ctx: OrchestrationContext) -> str:
    try:
        return await asyncio.wait_for(ctx.schedule_activity(work, "slow"), timeout=5)
    except TimeoutError:
        return await ctx.schedule_activity(work, "instead")


@words.orchestration
async def as_completed(ctx: OrchestrationContext) -> list[str]:
    tasks = [asyncio.create_task(_one(ctx, name)) for name in "abcd"]
    return [await next_one for next_one in asyncio.as_completed(tasks)]


@words.orchestration
async def as_completed_of_futures(ctx: OrchestrationContext) -> list[str]:
    futures = [ctx.schedule_activity(work, name) for name in "abcd"]
    await futures[0]
    await futures[3]
    trace: list[str] = []
    try:
        for next_one in asyncio.as_completed(futures, timeout=60):
            trace.append(await next_one)
    except TimeoutError:
        trace.append("timeout")
    return trace


@words.orchestration
async def task_group(ctx: OrchestrationContext) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one(ctx, name)) for name in "abc"]
    return [task.result() for task in tasks]


@words.orchestration
async def task_group_that_fails(ctx: OrchestrationContext) -> list[str]:
    trace: list[str] = []

    async def careful(name: str) -> None:
        try:
            await ctx.schedule_activity(work, name)
            await ctx.schedule_activity(work, name + "-next")
        except asyncio.CancelledError:
            trace.append("cancelled " + name)
            await ctx.schedule_activity(work, "clean " + name)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "bad", "c", "bad-too", "d"):
                group.create_task(careful(name))
    except* Exception as errors:  # noqa: BLE001 # as above
        trace += [str(error) for error in errors.exceptions]
    return trace


@words.orchestration
async def timeout(ctx: OrchestrationContext) -> list[str]:
    trace: list[str] = []
    try:
        async with asyncio.timeout(30) as scope:
            trace.append(await ctx.schedule_activity(work, "a"))
            scope.reschedule(asyncio.get_running_loop().time() + 7)
            trace.append(await ctx.schedule_activity(work, "b"))
    except TimeoutError:
        trace.append(f"expired {scope.expired()}")
    return trace


@words.orchestration
async def timeout_around_a_group(ctx: OrchestrationContext) -> str:
    try:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(_one(ctx, name))
    except TimeoutError:
        return "late"
    return "in time"


@words.orchestration
async def sleep(ctx: OrchestrationContext) -> list[float]:
    start = asyncio.get_running_loop().time()
    await asyncio.sleep(0)
    first = await asyncio.sleep(1.5, 1)
    await asyncio.gather(asyncio.sleep(60), asyncio.sleep(30), ctx.schedule_timer(20))
    return [first, float(asyncio.get_running_loop().time() - start >= 61.5)]


@words.orchestration
async def shield(ctx: OrchestrationContext) -> list[str]:
    important = ctx.schedule_activity(work, "important")
    trace: list[str] = []
    try:
        trace.append(await asyncio.wait_for(asyncio.shield(important), timeout=5))
    except TimeoutError:
        trace.append("late")
    trace.append(await important)
    return trace


@words.orchestration
async def event(ctx: OrchestrationContext) -> list[str]:
    ready = asyncio.Event()
    trace: list[str] = []

    async def waiter(name: str) -> None:
        await ready.wait()
        trace.append(await ctx.schedule_activity(work, name))

    async def opener() -> None:
        trace.append(await ctx.schedule_activity(work, "open"))
        ready.set()

    await asyncio.gather(waiter("a"), waiter("b"), opener())
    return trace


@words.orchestration
async def lock(ctx: OrchestrationContext) -> list[str]:
    guard = asyncio.Lock()
    trace: list[str] = []

    async def user(name: str) -> None:
        await ctx.schedule_activity(work, name)
        async with guard:
            trace.append("in " + name)
            await ctx.schedule_activity(work, "inside " + name)
            trace.append("out " + name)

    await asyncio.gather(*(user(name) for name in "abc"))
    return trace


@words.orchestration
async def semaphore(ctx: OrchestrationContext) -> list[str]:
    two = asyncio.BoundedSemaphore(2)
    busy, most = 0, 0

    async def user(name: str) -> str:
        nonlocal busy, most
        async with two:
            busy += 1
            most = max(most, busy)
            result = await ctx.schedule_activity(work, name)
            busy -= 1
            return result

    results = await asyncio.gather(*(user(name) for name in "abcde"))
    return [*results, str(most)]


@words.orchestration
async def condition(ctx: OrchestrationContext) -> list[str]:
    changed = asyncio.Condition()
    stock: list[str] = []
    trace: list[str] = []

    async def consumer(name: str) -> None:
        async with changed:
            await changed.wait_for(lambda: bool(stock))
            trace.append(name + stock.pop())

    async def producer(name: str) -> None:
        made = await ctx.schedule_activity(work, name)
        async with changed:
            stock.append(made)
            changed.notify()

    async with asyncio.TaskGroup() as group:
        for name in "123":
            group.create_task(consumer(name))
        for name in "abc":
            group.create_task(producer(name))
    return trace


@words.orchestration
async def barrier(ctx: OrchestrationContext) -> list[int]:
    meeting = asyncio.Barrier(3)

    async def member(name: str) -> int:
        await ctx.schedule_activity(work, name)
        return await meeting.wait()

    return sorted(await asyncio.gather(*(member(name) for name in "abc")))


@words.orchestration
async def queue(ctx: OrchestrationContext) -> list[str]:
    jobs: asyncio.Queue[str] = asyncio.Queue(maxsize=2)
    trace: list[str] = []

    async def worker(name: str) -> None:
        while True:
            job = await jobs.get()
            trace.append(name + await ctx.schedule_activity(work, job))
            jobs.task_done()

    workers = [asyncio.create_task(worker(name)) for name in "xyz"]
    for job in "abcdefg":
        await jobs.put(job)
    await jobs.join()
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return trace


@words.orchestration
async def priority_queue(ctx: OrchestrationContext) -> list[str]:
    jobs: asyncio.PriorityQueue[tuple[int, str]] = asyncio.PriorityQueue()

    async def producer(rank: int, name: str) -> None:
        jobs.put_nowait((rank, await ctx.schedule_activity(work, name)))

    await asyncio.gather(*(producer(-rank, name) for rank, name in enumerate("abc")))
    return [(await jobs.get())[1] for _ in range(3)]


@words.orchestration
async def create_task(ctx: OrchestrationContext) -> list[str]:
    async def nested(name: str, depth: int) -> str:
        result = await ctx.schedule_activity(work, name)
        if depth:
            return result + await asyncio.create_task(nested(result + name, depth - 1))
        return result

    first = asyncio.create_task(nested("a", 2), name="first")
    second = asyncio.create_task(nested("b", 1))
    second.add_done_callback(lambda _: first.get_name())
    return [await second, await first, first.get_name()]


@words.orchestration
async def cancellation(ctx: OrchestrationContext) -> list[str]:
    trace: list[str] = []

    async def stubborn() -> str:
        try:
            await ctx.schedule_activity(work, "a")
            return "early"
        except asyncio.CancelledError as cancelled:
            trace.append(f"told {cancelled}")
            return await ctx.schedule_activity(work, "cleanup")

    async def canceller(task: asyncio.Task[str]) -> None:
        await ctx.schedule_activity(work, "b")
        trace.append(str(task.cancel("please")))

    task = asyncio.create_task(stubborn())
    await canceller(task)
    trace.append(await task)
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        trace.append(str(current.uncancel()))
    return trace


@words.orchestration
async def async_generators(ctx: OrchestrationContext) -> list[str]:
    trace: list[str] = []

    async def pages(name: str) -> AsyncIterator[str]:
        try:
            for number in range(3):
                yield await ctx.schedule_activity(work, f"{name}{number}")
        finally:
            trace.append("closed " + name)
            await ctx.schedule_activity(work, "close " + name)
            trace.append("gone " + name)

    async for page in pages("abandoned"):
        trace.append(page)
        break
    async with aclosing(pages("closed")) as closing:
        async for page in closing:
            trace.append(page)
            break
    trace += [page async for page in pages("whole")]
    await ctx.schedule_activity(work, "end")
    return trace


@words.orchestration
async def context_variables(ctx: OrchestrationContext) -> list[str]:
    before = request.get()
    request.set("main")

    async def child(name: str) -> str:
        request.set(request.get() + name)
        await ctx.schedule_activity(work, name)
        return request.get()

    results = await asyncio.gather(child("a"), child("b"))
    return [before, *results, request.get()]


@words.orchestration
async def callbacks(ctx: OrchestrationContext) -> list[str]:
    loop = asyncio.get_running_loop()
    trace: list[str] = []
    done = loop.create_future()
    loop.call_later(5, trace.append, "later")
    never = loop.call_later(2, trace.append, "never")
    loop.call_soon(trace.append, "soon")
    loop.call_at(loop.time() + 9, done.set_result, None)
    await ctx.schedule_activity(work, "a")
    never.cancel()
    await done
    return trace


async def _one(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(work, name)
