"""Whatever user code raises is its outcome: recorded once, at once, and the process lives."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import perdure
import pytest
from perdure.history import ActivityFailed as ActivityFailedEvent
from perdure.runtime.activity_call import ActivityTask
from perdure.testing import Stage
from pydantic import PlainSerializer, PlainValidator


class Abort(BaseException):
    """Of no class that code expects."""


class Untold(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise SystemExit("no text")


def nested() -> BaseException:
    error: Exception = ValueError("innermost")
    for _ in range(3000):
        error = ExceptionGroup("group", [error])
    return error


RAISED = {
    "an exception": lambda: ValueError("no"),
    "a base exception": Abort,
    "an exit": lambda: SystemExit(3),
    "a closed generator": GeneratorExit,
    "a stop": lambda: StopIteration(7),
    "a cancellation": asyncio.CancelledError,
    "a group without end": nested,
    "a text that cannot be had": Untold,
    "an interrupt": KeyboardInterrupt,
}
IN_A_COROUTINE = {name: type(make()).__name__ for name, make in RAISED.items()} | {
    "a stop": "RuntimeError"  # Python's own: a coroutine that raises it would seem to return
}
del IN_A_COROUTINE["an interrupt"]  # it ends the process


def raising() -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def in_the_loop(name: str) -> None:
        raise RAISED[name]()

    @app.activity
    def in_a_thread(name: str) -> None:
        raise RAISED[name]()

    @app.orchestration
    async def calling(ctx: perdure.OrchestrationContext, call: list[str]) -> str:
        try:
            await ctx.schedule_activity(*call)
        except perdure.ActivityFailed as error:
            return error.type_name
        return "nothing was raised"

    @app.orchestration
    async def failing(ctx: perdure.OrchestrationContext, name: str) -> None:
        await asyncio.sleep(0)
        raise RAISED[name]()

    return app


@pytest.mark.parametrize("name", RAISED)
async def test_what_a_thread_raises_is_the_activitys_outcome(url, name) -> None:
    async with Stage(raising(), url=url) as stage:
        client = stage.client
        handle = await client.start_orchestration("i", "calling", f'["in_a_thread", "{name}"]')
        output = await handle.result()

        assert output == type(RAISED[name]()).__name__
        events = await client.read_execution_history("i", 1)
    assert sum(isinstance(event, ActivityFailedEvent) for event in events) == 1


@pytest.mark.parametrize("name", IN_A_COROUTINE)
async def test_what_a_coroutine_raises_is_the_activitys_outcome(url, name) -> None:
    async with Stage(raising(), url=url) as stage:
        client = stage.client
        handle = await client.start_orchestration("i", "calling", f'["in_the_loop", "{name}"]')
        output = await handle.result()

        assert output == IN_A_COROUTINE[name]
        events = await client.read_execution_history("i", 1)
    assert sum(isinstance(event, ActivityFailedEvent) for event in events) == 1


@pytest.mark.parametrize("name", IN_A_COROUTINE)
async def test_what_an_orchestration_raises_is_its_outcome(url, name) -> None:
    async with Stage(raising(), url=url) as stage:
        handle = await stage.client.start_orchestration("i", "failing", f'"{name}"')
        status = await handle.wait()

        assert status.details.type_name == IN_A_COROUTINE[name]
        assert stage.runtime.statistics.histories_read == 0  # at the first attempt


async def test_a_cancellation_that_an_orchestration_raises_keeps_its_text_and_its_cause(
    url,
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def gives_up(ctx: perdure.OrchestrationContext) -> None:
        raise asyncio.CancelledError("out of stock") from ValueError("no boxes")

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("it", gives_up)
        failed = await handle.wait()

    assert isinstance(failed, perdure.Failed)
    assert failed.details.type_name == "CancelledError"
    assert failed.details.message == "out of stock"
    assert [cause.message for cause in failed.details.causes] == ["no boxes"]


async def test_an_interrupt_in_a_loop_of_another_thread_is_an_outcome() -> None:
    def work() -> list[str]:
        async def main() -> list[str]:
            async with Stage(raising()) as stage:
                client = stage.client
                call = '["in_the_loop", "an interrupt"]'
                caught = await client.start_orchestration("a", "calling", call)
                failed = await client.start_orchestration("o", "failing", '"an interrupt"')
                output = await caught.result()
                return [output, (await failed.wait()).details.type_name]

        return asyncio.run(main())

    with ThreadPoolExecutor(1) as threads:
        told = await asyncio.get_running_loop().run_in_executor(threads, work)

    assert told == ["KeyboardInterrupt"] * 2


async def test_an_activity_that_cancels_itself_has_failed(url) -> None:
    app = perdure.Registry()
    runs: list[str] = []

    @app.activity
    async def cancels_itself(how: str) -> str:
        runs.append(how)
        task = asyncio.current_task()
        assert task is not None
        if how == "later":
            asyncio.get_running_loop().call_soon(task.cancel)
        elif how == "by another task":
            await asyncio.gather(asyncio.create_task(_cancel(task)))
        else:
            task.cancel()
        if how != "and returns":
            await asyncio.Event().wait()
        return "returned"

    async def _cancel(task: asyncio.Task[object]) -> None:
        task.cancel()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext, how: str) -> str:
        try:
            return await ctx.schedule_activity(cancels_itself, how)
        except perdure.ActivityFailed as error:
            return error.message

    hows = ["at once", "later", "by another task", "and returns"]
    async with Stage(app, url=url) as stage:
        client = stage.client
        handles = [await client.start_orchestration(how, main, how) for how in hows]
        outputs = [await handle.result() for handle in handles]

    assert outputs == ["the activity cancelled itself"] * 4
    assert sorted(runs) == sorted(hows)


async def test_an_activity_may_use_timeouts_and_task_groups(url) -> None:
    app = perdure.Registry()

    @app.activity
    async def busy() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                raise ValueError("out")
        except* ValueError:
            pass
        await asyncio.sleep(0)
        return "done"

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(busy)

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)

        assert await handle.result() == "done"


async def test_an_activity_that_its_host_cancels_runs_again_uncounted(url) -> None:
    app = perdure.Registry()
    deliveries: list[int] = []

    @app.activity
    async def interrupted() -> int:
        deliveries.append(perdure.activity_context().delivery)
        if len(deliveries) == 1:
            for task in asyncio.all_tasks():
                if isinstance(task, ActivityTask):
                    # As a host that ends all tasks does it: not from the activity's own code.
                    asyncio.get_running_loop().call_soon_threadsafe(
                        task.cancel, context=contextvars.Context()
                    )
            await asyncio.Event().wait()
        return deliveries[-1]

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> int:
        return await ctx.schedule_activity(interrupted)

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main)

        assert await handle.result() == 1
    assert deliveries == [1, 1]


def _reject(value: object) -> int:
    raise {"key": KeyError("k"), "exit": SystemExit(3), "stop": StopIteration()}[str(value)]


Picky = Annotated[str, PlainValidator(_reject), PlainSerializer(str)]
Silent = Annotated[str, PlainSerializer(_reject)]


@pytest.mark.parametrize("what", ["key", "exit", "stop"])
async def test_what_a_validator_raises_is_seen_where_its_value_is_awaited(url, what) -> None:
    app = perdure.Registry()

    @app.activity
    async def echo(text: str) -> str:
        return text

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext, text: str) -> str:
        try:
            await ctx.schedule_activity("echo", text, result_type=Picky)
        except BaseException as error:  # noqa: BLE001 # whatever the validator raises
            return type(error).__name__
        return "nothing was raised"

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main, what)
        output = await handle.result()

        assert stage.runtime.statistics.histories_read == 0
    expected = {"key": "KeyError", "exit": "SystemExit", "stop": "RuntimeError"}
    assert output in (expected[what], "InvalidPayload")


@pytest.mark.parametrize("what", ["key", "exit"])
async def test_what_a_serializer_raises_is_the_outcome_of_whose_value_it_is(url, what) -> None:
    app = perdure.Registry()

    @app.activity
    async def act(text: str) -> Silent:
        return text

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext, text: str) -> Silent:
        try:
            await ctx.schedule_activity(act, text)
        except perdure.ActivityFailed:
            return text
        return "nothing was raised"

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", main, what)
        status = await handle.wait()

    expected = {"key": "KeyError", "exit": "SystemExit"}
    assert status.details.type_name in (expected[what], "InvalidPayload")


async def test_causes_go_all_the_way_from_an_activity_to_the_parent_of_its_orchestration(
    url,
) -> None:
    app = perdure.Registry()

    @app.activity
    def query() -> None:
        try:
            raise ConnectionResetError("the peer went away")
        except ConnectionResetError as error:
            raise RuntimeError("the query failed") from error

    @app.orchestration
    async def child(ctx: perdure.OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity(query)
        except perdure.ActivityFailed as error:
            raise ValueError("the order is broken") from error

    @app.orchestration
    async def parent(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration(child)

    async with Stage(app, url=url) as stage:
        handle = await stage.client.start_orchestration("i", parent)
        details = (await handle.wait()).details

    names, raised = [details.type_name], details.causes
    while raised:
        names.append(raised[0].type_name)
        assert len(raised[0].trace) == 1
        raised = raised[0].causes
    assert names == [
        "SubOrchestrationFailed",
        "ValueError",
        "ActivityFailed",
        "RuntimeError",
        "ConnectionResetError",
    ]
    assert details.display_message().endswith(
        "ValueError: the order is broken, caused by ActivityFailed: activity 'query' failed:"
        " RuntimeError: the query failed, caused by ConnectionResetError: the peer went away"
    )
