"""A parked instance that is cancelled ends, whatever parked it, without its code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.authoring.catalog import Catalog
from perdure.contract import (
    CommitAnswer,
    DelegatingProvider,
    HistoryPage,
    Message,
    MessageKind,
    NewInstance,
    Provider,
    TurnCommit,
)
from perdure.errors import StorageFailed
from perdure.history import OrchestrationFailed
from perdure.observe import ExecutionEnded, RuntimeEvent
from perdure.replay.execution import Execution
from perdure.runtime.leased_instance import LeasedInstance
from perdure.testing import Stage

from .wrapping import Killing, Wrapping

MEMBERS = ("parent", "child", "grandchild")
CANCELLED = perdure.ApplicationFailure(perdure.Cancelled(reason="give up"))


class Observer:
    def __init__(self) -> None:
        self.told: list[RuntimeEvent] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        self.told.append(event)

    def ended(self) -> list[str]:
        return [event.instance for event in self.told if isinstance(event, ExecutionEnded)]


def family(*, edited: bool = False, cleaned: list[str] | None = None) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def work() -> None:
        await asyncio.Event().wait()

    @app.activity
    async def clean_up() -> None:
        if cleaned is not None:
            cleaned.append("clean")

    @app.orchestration
    async def grandchild(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_wait("never")

    @app.orchestration
    async def child(ctx: perdure.OrchestrationContext) -> None:
        if edited:
            await asyncio.sleep(1)
        ctx.schedule_sub_orchestration(grandchild, instance="grandchild")
        ctx.schedule_activity(work)
        try:
            await ctx.schedule_wait("go")
        except asyncio.CancelledError:
            await ctx.schedule_activity(clean_up)
            raise

    @app.orchestration
    async def parent(ctx: perdure.OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration(child, instance="child")
        except perdure.SubOrchestrationFailed as error:
            return error.details.display_message()
        return "the child completed"

    return app


async def is_parked(client: perdure.Client, instance: str, reason: str) -> bool:
    match await client.get_orchestration_status(instance):
        case perdure.Running(parked=perdure.Parked(reason=found)):
            return found == reason
        case _:
            return False


async def has_ended(client: perdure.Client, *instances: str) -> bool:
    statuses = [await client.get_orchestration_status(instance) for instance in instances]
    return all(isinstance(status, perdure.Completed | perdure.Failed) for status in statuses)


@asynccontextmanager
async def family_stage(url: str, *plugins: object) -> AsyncGenerator[Stage]:
    """A family whose child waits, beside an activity and a child of its own that go on."""
    async with Stage(family(), url=url, options=RuntimeOptions(), plugins=plugins) as stage:
        await stage.client.start_orchestration("parent", "parent")

        async def grandchild_waits() -> bool:
            state = await stage.client.provider.read_instance("grandchild")
            return state is not None and state.last_event > 1

        await stage.until(grandchild_waits)
        await stage.until(lambda: stage.runtime.statistics.activities_running == 1)
        yield stage


async def until_parked(stage: Stage, instance: str, reason: str) -> None:
    await until(stage, lambda: is_parked(stage.client, instance, reason))


async def until_ended(stage: Stage, *instances: str) -> None:
    await until(stage, lambda: has_ended(stage.client, *instances))


async def until(stage: Stage, condition: Callable[[], Awaitable[bool]]) -> None:
    """Let time pass in seconds, also beside the activity that goes on."""
    for _ in range(300):
        if await condition():
            return
        await stage.advance(1)
    raise AssertionError("the condition did not come true")


async def park(stage: Stage, *, reason: str = "nondeterminism") -> None:
    """Deploy code that disagrees, and let the child run it."""
    await stage.client.raise_event("child", "go")
    await stage.restart(family(edited=True))
    await until_parked(stage, "child", reason)


async def test_an_instance_that_disagrees_takes_its_work_and_children_along_and_tells_its_parent(
    url,
) -> None:
    observer = Observer()
    async with family_stage(url, observer) as stage:
        await park(stage)
        await stage.until(lambda: stage.runtime.statistics.activities_running == 1)

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, "child", "grandchild", "parent")
        await stage.advance(15)
        assert stage.runtime.statistics.activities_running == 0
        statuses = [await stage.client.get_orchestration_status(each) for each in MEMBERS]
        history = await stage.history("child")
    assert statuses[1] == perdure.Failed(details=CANCELLED)
    assert isinstance(statuses[2], perdure.Failed)
    assert statuses[0] == perdure.Completed(output='"canceled: give up"')
    assert observer.ended()[0] == "child"
    assert [event.kind for event in history][-2:] == ["WaitCreated", "OrchestrationFailed"]


async def test_a_cancellation_is_left_to_fitting_code_where_it_was_not_parked_before(url) -> None:
    cleaned: list[str] = []
    async with family_stage(url) as stage:
        await stage.stop()
        await stage.client.cancel_instance("child", "give up")
        await stage.restart(family(edited=True))
        await stage.until(lambda: is_parked(stage.client, "child", "nondeterminism"))

        await stage.restart(family(cleaned=cleaned))
        await until_ended(stage, *MEMBERS)
        status = await stage.client.get_orchestration_status("child")

    assert cleaned == ["clean"]
    assert status == perdure.Failed(details=CANCELLED)


async def test_an_ended_instance_still_agrees_with_its_fitting_code(url) -> None:
    async with family_stage(url) as stage:
        await park(stage)
        await stage.client.cancel_instance("child", "give up")
        await until_ended(stage, "child")
        events = await stage.history("child")
    catalog = Catalog([family()])
    definition = catalog.orchestration("child", None)
    assert definition is not None

    rebuilt = Execution.rebuild(events, definition, catalog, cleanup_timeout=timedelta(minutes=5))

    assert isinstance(rebuilt.terminal, OrchestrationFailed)
    rebuilt.discard()


async def test_an_instance_with_a_message_that_cannot_be_read_ends(url) -> None:
    async with family_stage(url) as stage:
        garbage = Message(id="garbage", instance="child", kind=MessageKind.EVENT, data=b"\x00")
        await stage.client.provider.send([garbage])
        await until_parked(stage, "child", "undecodable")

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, *MEMBERS)
        assert await was_cancelled(stage, "child")


class DamagedStart(DelegatingProvider):
    async def create_instance(self, new: NewInstance) -> None:
        await super().create_instance(replace(new, start=replace(new.start, data=b"\x00")))


async def test_an_instance_whose_start_cannot_be_read_ends(url) -> None:
    async with Stage(family(), url=url, plugins=[Wrapping(DamagedStart)]) as stage:
        await stage.client.start_orchestration("child", "child")
        await until_parked(stage, "child", "undecodable")

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, "child")
        assert await was_cancelled(stage, "child")


class DamagedHistory(DelegatingProvider):
    async def read_history(self, instance, execution, **named) -> HistoryPage:
        page = await super().read_history(instance, execution, **named)
        if instance != "child":
            return page
        damaged = (replace(page.events[0], data=b"\x00"), *page.events[1:])
        return replace(page, events=damaged)


async def test_an_instance_whose_history_cannot_be_read_ends_with_the_children_that_can(
    url,
) -> None:
    async with family_stage(url, Wrapping(DamagedHistory)) as stage:
        await park(stage, reason="undecodable")

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, *MEMBERS)
        assert await was_cancelled(stage, "child")


async def test_a_request_to_cancel_that_cannot_be_read_ends_a_parked_instance_too(url) -> None:
    async with family_stage(url) as stage:
        cancel = Message(id="cancel", instance="child", kind=MessageKind.CANCEL, data=b"\x00")
        await stage.client.provider.send([cancel])
        await until_ended(stage, "child")
        status = await stage.client.get_orchestration_status("child")

    assert isinstance(status, perdure.Failed)
    assert status.details.display_message() == "canceled: the request to cancel cannot be read"


async def test_an_instance_that_no_runtime_has_registered_ends(url) -> None:
    parent_only = perdure.Registry()
    for definition in family().orchestrations():
        if definition.name != "child":
            parent_only.orchestration(name=definition.name)(definition.function)
    async with family_stage(url) as stage:
        await stage.restart(parent_only)
        await stage.client.raise_event("child", "go")
        await until_parked(stage, "child", "unregistered")

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, *MEMBERS)
        assert await was_cancelled(stage, "child")


async def test_an_instance_that_never_ran_and_that_no_runtime_has_registered_ends(url) -> None:
    async with Stage(url=url) as stage:
        await stage.client.start_orchestration("it", "registered nowhere")
        await until_parked(stage, "it", "unregistered")
        # Looks at what is known already have become rare by now.
        await stage.advance(120)
        before = stage.elapsed

        await stage.client.cancel_instance("it", "give up")

        await until_ended(stage, "it")
        assert stage.elapsed - before <= timedelta(seconds=3)
        assert await was_cancelled(stage, "it")


async def test_a_suspected_instance_ends_without_running_again(url) -> None:
    app, ran, gate = perdure.Registry(), list[str](), asyncio.Event()

    @app.activity
    async def other() -> None:
        await gate.wait()

    @app.orchestration
    async def busy(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(other)

    @app.orchestration
    async def suspect(ctx: perdure.OrchestrationContext) -> None:
        ran.append("ran")

    killing, options = Wrapping(Killing), RuntimeOptions(max_attempts=2)
    async with Stage(app, url=url, options=options, plugins=[killing]) as stage:
        await stage.client.start_orchestration("victim", suspect)
        await stage.until(lambda: ran)
        await stage.crash()
        await stage.until(lambda: len(ran) == 2)
        company = await stage.start(busy)
        await stage.crash()
        killing.provider.victim = ""
        await stage.until(lambda: stage.runtime.statistics.activities_running)
        await until_parked(stage, "victim", "suspected")
        await stage.client.cancel_instance("victim", "give up")
        gate.set()
        await company.wait()

        await until_ended(stage, "victim")
        assert await was_cancelled(stage, "victim")
    assert len(ran) == 2


async def test_an_instance_whose_turn_breaks_ends(url, monkeypatch) -> None:
    take_draft = LeasedInstance._take_draft

    def breaks(run: LeasedInstance) -> object:
        if run.held.instance == "child":
            raise RuntimeError("a surprise")
        return take_draft(run)

    async with family_stage(url) as stage:
        monkeypatch.setattr(LeasedInstance, "_take_draft", breaks)
        await stage.client.raise_event("child", "go")
        await until_parked(stage, "child", "broken")

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, *MEMBERS)
        assert await was_cancelled(stage, "child")


class Full(DelegatingProvider):
    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.refused = 2

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        if commit.instance == "child" and self.refused < 2:
            self.refused += 1
            raise StorageFailed("the disk is full; free some", operation="commit_turn")
        return await super().commit_turn(commit)


async def test_an_instance_whose_end_is_not_stored_at_once_ends_later(url) -> None:
    full = Wrapping(Full)
    async with family_stage(url, full) as stage:
        await park(stage)
        full.provider.refused = 0

        await stage.client.cancel_instance("child", "give up")

        await until_ended(stage, *MEMBERS)
    assert full.provider.refused == 2


async def test_an_instance_whose_cleanup_does_what_is_forbidden_ends(url) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def forbidden(ctx: perdure.OrchestrationContext) -> None:
        try:
            await ctx.schedule_wait("go")
        finally:
            with suppress(Exception):
                await asyncio.get_running_loop().run_in_executor(None, len, "")
            await ctx.schedule_wait("never")

    async with Stage(app, url=url) as stage:
        await stage.client.start_orchestration("it", forbidden)
        await stage.client.raise_event("it", "go")
        await until_parked(stage, "it", "forbidden")

        await stage.client.cancel_instance("it", "give up")

        await until_ended(stage, "it")
        assert await was_cancelled(stage, "it")


async def test_a_parked_instance_that_is_not_cancelled_stays(url) -> None:
    async with family_stage(url) as stage:
        await park(stage)

        await stage.advance(100)

        assert await is_parked(stage.client, "child", "nondeterminism")


@pytest.mark.slow
async def test_a_cancellation_behind_thousands_of_messages_ends_a_parked_instance(url) -> None:
    async with family_stage(url) as stage:
        await stage.stop()
        await asyncio.gather(*(stage.client.raise_event("child", "later") for _ in range(1500)))
        await stage.restart(family(edited=True))
        await until_parked(stage, "child", "nondeterminism")
        await stage.client.cancel_instance("child", "give up")
        await until_ended(stage, "child")

        assert await was_cancelled(stage, "child")


async def test_a_parked_instance_hears_of_its_cancellation_at_once(url) -> None:
    async with family_stage(url) as stage:
        await park(stage)
        # Several tries later, each is half a minute after the last.
        await stage.advance(90)
        before = stage.elapsed
        await stage.client.cancel_instance("child", "give up")
        await stage.until(lambda: has_ended(stage.client, "child"))

        assert stage.elapsed == before


class Holding(DelegatingProvider):
    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def read_history(self, *arguments, **named):
        if not self.gate.is_set():
            self.arrived.set()
            await self.gate.wait()
        return await super().read_history(*arguments, **named)


async def test_a_cancellation_that_comes_during_a_try_is_not_hidden_by_the_delay_after_it(
    url,
) -> None:
    holding = Wrapping(Holding)
    async with family_stage(url, holding) as stage:
        await park(stage)
        holding.provider.gate.clear()
        advancing = asyncio.ensure_future(stage.advance(60))
        await holding.provider.arrived.wait()
        before = stage.elapsed
        await stage.client.cancel_instance("child", "give up")
        advancing.cancel()
        holding.provider.gate.set()
        await stage.until(lambda: has_ended(stage.client, "child"))

        assert stage.elapsed == before


async def was_cancelled(stage: Stage, instance: str) -> bool:
    status = await stage.client.get_orchestration_status(instance)
    return status == perdure.Failed(details=CANCELLED)
