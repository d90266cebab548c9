"""Work that stays on one machine: the tag of a runtime, and the limit of an activity's beginning."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure import ActivityTimeout, InvalidDuration, OrchestrationContext, activity_context
from perdure.history import ActivityStarted, TimerCreated, WorkCancelled
from perdure.testing import Stage

LIMIT = timedelta(minutes=1)


class Files:
    """What lies on each machine."""

    def __init__(self) -> None:
        self.by_worker: dict[str, str] = {}
        self.hang = asyncio.Event()


def app_of(files: Files) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def download(url: str) -> str:
        tag = activity_context().worker_tag
        files.by_worker[tag] = url
        return tag

    @app.activity
    async def process(slow: bool) -> str:  # its input
        if slow:
            await asyncio.sleep(0)
            await files.hang.wait()
        return files.by_worker[activity_context().worker_tag]

    @app.orchestration
    async def flow(ctx: OrchestrationContext, slow: bool = False) -> list[str]:  # its input
        tries: list[str] = []
        while True:
            tag = await ctx.activity(download)("file")
            try:
                found = await ctx.activity(process, tag=tag, start_timeout=LIMIT)(slow)
            except ActivityTimeout as error:
                tries.append(error.details.message)
            else:
                return [*tries, found]

    @app.orchestration
    async def to_nowhere(ctx: OrchestrationContext) -> str:
        try:
            await ctx.activity(process, tag="worker:gone", start_timeout=LIMIT)(False)
        except ActivityTimeout as error:
            return error.details.message
        return ""

    return app


async def test_an_activity_with_the_tag_of_a_runtime_runs_there() -> None:
    files = Files()
    async with Stage(app_of(files)) as stage:
        await stage.client.start_orchestration("a", "flow")
        await stage.settle()

        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed), status
        assert status.output == '["file"]'
        assert len(files.by_worker) == 1


async def test_an_activity_that_no_worker_begins_is_given_up_and_never_runs() -> None:
    files = Files()
    async with Stage(app_of(files)) as stage:
        await stage.client.start_orchestration("a", "to_nowhere")
        await stage.advance(2 * LIMIT)

        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed), status
        assert status.output == '"it did not begin within start_timeout"'
        history = await stage.client.read_execution_history("a", 1)
        assert [event.scheduled for event in history if isinstance(event, WorkCancelled)] == [2]


async def test_an_activity_that_has_begun_may_go_on_for_longer_than_the_limit() -> None:
    files = Files()
    async with Stage(app_of(files)) as stage:
        await stage.client.start_orchestration("a", "flow", "true")
        await stage.advance(5 * LIMIT)
        files.hang.set()
        await stage.settle()

        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed), status
        assert status.output == '["file"]'
        history = await stage.client.read_execution_history("a", 1)
        assert len([event for event in history if isinstance(event, ActivityStarted)]) == 1
        (timer,) = [event for event in history if isinstance(event, TimerCreated)]
        assert timer.purpose == "start_timeout"


async def test_the_limit_of_a_rewound_activity_begins_again() -> None:
    files = Files()
    async with Stage(app_of(files)) as stage:
        await stage.client.start_orchestration("a", "to_nowhere")
        await stage.advance(10 * LIMIT)

        await stage.client.rewind_instance("a", to_event=3)
        await stage.advance(LIMIT / 2)
        assert isinstance(await stage.client.get_orchestration_status("a"), perdure.Running)
        await stage.advance(LIMIT)
        assert isinstance(await stage.client.get_orchestration_status("a"), perdure.Completed)


async def test_a_limit_of_nothing_is_refused() -> None:
    app = perdure.Registry()

    @app.orchestration
    async def flow(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("a", start_timeout=0)
        except InvalidDuration as error:
            return str(error)
        return ""

    async with Stage(app) as stage:
        await stage.client.start_orchestration("a", "flow")
        await stage.settle()
        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed)
        assert "start_timeout" in status.output


@pytest.mark.parametrize("headers", [None, {"tenant": "acme"}])
async def test_headers_travel_to_activities_and_children(headers: dict[str, str] | None) -> None:
    app = perdure.Registry()

    @app.activity
    async def seen() -> dict[str, str]:
        return dict(activity_context().headers)

    @app.orchestration
    async def child(ctx: OrchestrationContext) -> list[dict[str, str]]:
        return [dict(ctx.headers), await ctx.activity(seen)()]

    @app.orchestration
    async def flow(ctx: OrchestrationContext, again: bool = True) -> list[object]:  # its input
        if again:
            ctx.continue_as(flow)(again=False)
        return [dict(ctx.headers), await ctx.sub_orchestration(child)(), await ctx.activity(seen)()]

    async with Stage(app) as stage:
        await stage.client.start_orchestration("a", "flow", headers=headers)
        await stage.settle()
        status = await stage.client.get_orchestration_status("a")
        assert isinstance(status, perdure.Completed), status
        one = '{"tenant":"acme"}' if headers else "{}"
        assert status.output == f"[{one},[{one},{one}],{one}]"


async def test_a_delayed_start_is_created_now_and_called_later() -> None:
    files = Files()
    async with Stage(app_of(files)) as stage:
        await stage.client.start_orchestration("a", "flow", delay=timedelta(hours=1))
        await stage.client.start_orchestration("b", "flow", delay=timedelta(hours=1))
        await stage.advance(timedelta(minutes=59))
        assert isinstance(await stage.client.get_orchestration_status("a"), perdure.Running)
        assert not files.by_worker
        await stage.client.cancel_instance("b", "not needed")
        await stage.advance(timedelta(minutes=2))

        assert isinstance(await stage.client.get_orchestration_status("a"), perdure.Completed)
        status = await stage.client.get_orchestration_status("b")
        assert isinstance(status, perdure.Failed)
        assert status.details.display_message() == "canceled: not needed"
        assert len(files.by_worker) == 1
