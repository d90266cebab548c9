"""A parked instance that is cancelled ends, whatever parked it, without its code."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.authoring.registry import Catalog
from perdure.contract import (
    CommitAnswer,
    DelegatingProvider,
    HistoryPage,
    Message,
    MessageKind,
    ParkedMark,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import StorageFailed
from perdure.history import OrchestrationFailed, decode_event
from perdure.observe import ExecutionEnded, RuntimeEvent
from perdure.replay.execution import Execution
from perdure.runtime.host_loop import run_outside_tasks
from perdure.runtime.leased_instance import LeasedInstance

CANCELLED = perdure.ApplicationFailure(perdure.Cancelled(reason="give up"))


class Observer:
    def __init__(self) -> None:
        self.told: list[RuntimeEvent] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        self.told.append(event)

    def ended(self) -> list[str]:
        return [event.instance for event in self.told if isinstance(event, ExecutionEnded)]


def runtime_of(provider, app: perdure.Registry, *plugins: object) -> Runtime:
    """A runtime that gives activities up at once when it is closed."""
    options = RuntimeOptions(shutdown_grace=timedelta(0))
    return Runtime(provider, app, options=options, plugins=plugins)


def family(*, edited: bool = False, cleaned: list[str] | None = None) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def work() -> None:
        await asyncio.sleep(3600)

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


async def start_family(provider, eventually) -> perdure.Client:
    client = perdure.Client(provider)
    await client.start_orchestration("parent", "parent")
    async with runtime_of(provider, family()) as runtime:

        async def grandchild_waits() -> bool:
            state = await provider.read_instance("grandchild")
            return state is not None and state.last_event > 1

        await eventually(grandchild_waits)
        await eventually(lambda: runtime.statistics.activities_running == 1)
    return client


async def test_an_instance_that_disagrees_takes_its_work_and_children_along_and_tells_its_parent(
    timed_provider, eventually, pass_time
) -> None:
    client, observer = await start_family(timed_provider, eventually), Observer()
    await client.raise_event("child", "go")
    async with runtime_of(timed_provider, family(edited=True), observer) as runtime:
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))
        await eventually(lambda: runtime.statistics.activities_running == 1)

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))
        await pass_time(lambda: runtime.statistics.activities_running == 0)
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)
    assert isinstance(await client.get_orchestration_status("grandchild"), perdure.Failed)
    assert await client.get_orchestration_status("parent") == perdure.Completed(
        output='"canceled: give up"'
    )
    assert observer.ended()[0] == "child"
    history = await client.read_execution_history("child", 1)
    assert [event.kind for event in history][-2:] == ["WaitCreated", "OrchestrationFailed"]


async def test_a_cancellation_is_left_to_fitting_code_where_it_was_not_parked_before(
    timed_provider, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    cleaned: list[str] = []
    await client.cancel_instance("child", "give up")
    async with runtime_of(timed_provider, family(edited=True)):
        await eventually(lambda: is_parked(client, "child", "nondeterminism"))

    async with runtime_of(timed_provider, family(cleaned=cleaned)):
        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))

    assert cleaned == ["clean"]
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_an_ended_instance_still_agrees_with_its_fitting_code(
    timed_provider, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    async with runtime_of(timed_provider, family(edited=True)):
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))
        await client.cancel_instance("child", "give up")
        await pass_time(lambda: has_ended(client, "child"))
    state = await timed_provider.read_instance("child")
    page = await timed_provider.read_history("child", 1, incarnation=state.incarnation)
    events = [decode_event(stored.number, stored.data) for stored in page.events]
    catalog = Catalog([family()])
    definition = catalog.orchestration("child", None)
    assert definition is not None

    rebuilt = await run_outside_tasks(
        lambda: Execution.rebuild(events, definition, catalog, cleanup_timeout=timedelta(minutes=5))
    )

    assert isinstance(rebuilt.terminal, OrchestrationFailed)
    await run_outside_tasks(rebuilt.discard)


async def test_an_instance_with_a_message_that_cannot_be_read_ends(
    timed_provider, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    garbage = Message(id="garbage", instance="child", kind=MessageKind.EVENT, data=b"\x00")
    await timed_provider.send([garbage])
    async with runtime_of(timed_provider, family()):
        await pass_time(lambda: is_parked(client, "child", "undecodable"))

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_an_instance_whose_start_cannot_be_read_ends(timed_provider, pass_time) -> None:
    class Damaged(DelegatingProvider):
        async def create_instance(self, new) -> None:
            await super().create_instance(replace(new, start=replace(new.start, data=b"\x00")))

    client = perdure.Client(timed_provider)
    await perdure.Client(Damaged(timed_provider)).start_orchestration("child", "child")
    async with runtime_of(timed_provider, family()):
        await pass_time(lambda: is_parked(client, "child", "undecodable"))

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child"))
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_an_instance_whose_history_cannot_be_read_ends_with_the_children_that_can(
    timed_provider, eventually, pass_time
) -> None:
    class Damaged(DelegatingProvider):
        async def read_history(self, instance, execution, **named) -> HistoryPage:
            page = await super().read_history(instance, execution, **named)
            if instance != "child":
                return page
            damaged = (replace(page.events[0], data=b"\x00"), *page.events[1:])
            return replace(page, events=damaged)

    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    async with runtime_of(Damaged(timed_provider), family()):
        await pass_time(lambda: is_parked(client, "child", "undecodable"))

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_a_request_to_cancel_that_cannot_be_read_ends_a_parked_instance_too(
    timed_provider, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    cancel = Message(id="cancel", instance="child", kind=MessageKind.CANCEL, data=b"\x00")
    await timed_provider.send([cancel])
    async with runtime_of(timed_provider, family()):
        await pass_time(lambda: has_ended(client, "child"))

    status = await client.get_orchestration_status("child")
    assert isinstance(status, perdure.Failed)
    assert status.details.display_message() == "canceled: the request to cancel cannot be read"


async def test_an_instance_that_no_runtime_has_registered_ends(
    timed_provider, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    parent_only = perdure.Registry()
    for definition in family().orchestrations():
        if definition.name != "child":
            parent_only.orchestration(name=definition.name)(definition.function)
    async with runtime_of(timed_provider, parent_only):
        await pass_time(lambda: is_parked(client, "child", "unregistered"))

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_an_instance_that_never_ran_and_that_no_runtime_has_registered_ends(
    timed_provider, clock, pass_time
) -> None:
    client = perdure.Client(timed_provider)
    await client.start_orchestration("it", "registered nowhere")
    async with runtime_of(timed_provider, perdure.Registry()):
        await pass_time(lambda: is_parked(client, "it", "unregistered"))
        # Looks at what is known already have become rare by now.
        for _ in range(120):
            clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.0005)
        before = clock.now()

        await client.cancel_instance("it", "give up")

        await pass_time(lambda: has_ended(client, "it"))
        assert clock.now() - before <= 3_000_000
    assert await client.get_orchestration_status("it") == perdure.Failed(details=CANCELLED)


async def test_a_suspected_instance_ends_without_running_again(
    timed_provider, clock, pass_time
) -> None:
    app, ran = perdure.Registry(), []

    @app.orchestration
    async def suspect(ctx: perdure.OrchestrationContext) -> None:
        ran.append("ran")

    client = perdure.Client(timed_provider)
    await client.start_orchestration("it", suspect)
    serves = Serves(orchestrations={"suspect": frozenset({"1.0.0"})})
    for number in range(6):
        (leased,) = await timed_provider.lease_turns(
            TurnRequest(token=f"{number}", limit=1, lease_for=timedelta(seconds=1), serves=serves)
        )
        if number < 5:
            clock.advance(timedelta(seconds=2))
    mark = ParkedMark(reason="suspected", details="others run here")
    lease = TurnLease(instance="it", token=leased.token)
    await timed_provider.release_turn(TurnRelease(lease=lease, counted=False, parked=mark))
    await client.cancel_instance("it", "give up")

    async with runtime_of(timed_provider, app):
        await pass_time(lambda: has_ended(client, "it"))

    assert ran == []
    assert await client.get_orchestration_status("it") == perdure.Failed(details=CANCELLED)


async def test_an_instance_whose_turn_breaks_ends(
    timed_provider, eventually, pass_time, monkeypatch
) -> None:
    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")

    deliver = LeasedInstance._deliver

    def breaks(run: LeasedInstance, *arguments) -> object:
        if run.held.instance == "child":
            raise RuntimeError("a surprise")
        return deliver(run, *arguments)

    monkeypatch.setattr(LeasedInstance, "_deliver", breaks)
    async with runtime_of(timed_provider, family()):
        await pass_time(lambda: is_parked(client, "child", "broken"))

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))
    assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_an_instance_whose_end_is_not_stored_at_once_ends_later(
    timed_provider, eventually, pass_time
) -> None:
    class Full(DelegatingProvider):
        refused = 0

        async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
            if commit.instance == "child" and self.refused < 2:
                self.refused += 1
                raise StorageFailed("the disk is full; free some", operation="commit_turn")
            return await super().commit_turn(commit)

    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    full = Full(timed_provider)
    async with runtime_of(full, family(edited=True)):
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))

        await client.cancel_instance("child", "give up")

        await pass_time(lambda: has_ended(client, "child", "grandchild", "parent"))
    assert full.refused == 2


async def test_an_instance_whose_cleanup_does_what_is_forbidden_ends(
    timed_provider, eventually, pass_time
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def forbidden(ctx: perdure.OrchestrationContext) -> None:
        try:
            await ctx.schedule_wait("go")
        finally:
            with suppress(Exception):
                await asyncio.get_running_loop().run_in_executor(None, len, "")
            await ctx.schedule_wait("never")

    client = perdure.Client(timed_provider)
    await client.start_orchestration("it", forbidden)
    await client.raise_event("it", "go")
    async with runtime_of(timed_provider, app):
        await pass_time(lambda: is_parked(client, "it", "forbidden"))

        await client.cancel_instance("it", "give up")

        await pass_time(lambda: has_ended(client, "it"))
    assert await client.get_orchestration_status("it") == perdure.Failed(details=CANCELLED)


async def test_a_parked_instance_that_is_not_cancelled_stays(
    timed_provider, eventually, pass_time, clock
) -> None:
    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    async with runtime_of(timed_provider, family(edited=True)):
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))
        began = clock.now()

        await pass_time(lambda: clock.now() - began > 100_000_000)

        assert await is_parked(client, "child", "nondeterminism")


@pytest.mark.slow
async def test_a_cancellation_behind_thousands_of_messages_ends_a_parked_instance(
    timed_provider, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    await asyncio.gather(*(client.raise_event("child", "later") for _ in range(1500)))
    async with runtime_of(timed_provider, family(edited=True)):
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))
        await client.cancel_instance("child", "give up")
        await pass_time(lambda: has_ended(client, "child"))

        assert await client.get_orchestration_status("child") == perdure.Failed(details=CANCELLED)


async def test_a_parked_instance_hears_of_its_cancellation_at_once(
    timed_provider, clock, eventually, pass_time
) -> None:
    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    async with runtime_of(timed_provider, family(edited=True)) as runtime:
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))
        # Several tries later, each is half a minute after the last.
        for _ in range(90):
            clock.advance(timedelta(seconds=1))
            await asyncio.sleep(0.002)
        # On a slow machine time has passed faster than the storage could answer.
        await pass_time(lambda: runtime.healthy)
        before = clock.now()
        await client.cancel_instance("child", "give up")
        await eventually(lambda: has_ended(client, "child"))

        assert clock.now() == before


async def test_a_cancellation_that_comes_during_a_try_is_not_hidden_by_the_delay_after_it(
    timed_provider, eventually, pass_time
) -> None:
    class Holding(DelegatingProvider):
        gate: asyncio.Event | None = None
        arrived = asyncio.Event()

        async def read_history(self, *arguments, **named):
            if self.gate is not None:
                self.arrived.set()
                await self.gate.wait()
            return await super().read_history(*arguments, **named)

    client = await start_family(timed_provider, eventually)
    await client.raise_event("child", "go")
    provider = Holding(timed_provider)
    async with runtime_of(provider, family(edited=True)):
        await pass_time(lambda: is_parked(client, "child", "nondeterminism"))
        provider.gate = asyncio.Event()
        await pass_time(provider.arrived.is_set)
        before = timed_provider.clock.now()
        await client.cancel_instance("child", "give up")
        provider.gate.set()
        await eventually(lambda: has_ended(client, "child"))

        assert timed_provider.clock.now() == before
