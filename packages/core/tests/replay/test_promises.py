"""What is promised case by case, as far as the engine decides it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from perdure import (
    ActivityFailed,
    OrchestrationContext,
    Registry,
    RetryPolicy,
    SubOrchestrationAlreadyExists,
    SubOrchestrationFailed,
    history,
)
from perdure.model.details import ApplicationFailure, Cancelled, Raised
from perdure.model.wire import decode_cancel, decode_raised, decode_result, decode_start
from perdure.records.instances import InstanceStatus, MessageKind, ParentLink

from .driver import BEGINNING, Restart, World, play, play_everywhere

app = Registry()


@app.activity
async def work(name: str) -> str:
    if name == "bad":
        raise KeyError("no such thing")
    return name.upper()


def reason_of(world: World) -> str:
    details = world.failure
    assert isinstance(details, ApplicationFailure)
    assert isinstance(details.kind, Cancelled)
    return details.kind.reason


# Events


@app.orchestration
async def two_waits(ctx: OrchestrationContext) -> list[int]:
    await ctx.schedule_activity(work, "first")
    first = await ctx.schedule_wait("number", int)
    second = await ctx.schedule_wait("number", int)
    return [first, second]


@app.orchestration
async def one_wait(ctx: OrchestrationContext) -> list[object]:
    got = await ctx.schedule_wait("number", int)
    return [got, await ctx.schedule_activity(work, "after")]


def test_an_event_that_comes_before_its_wait_is_kept() -> None:
    world = World(app=app, name="two_waits").start()
    world.deliver(world.raise_event("number", "7"))
    world.forget()
    world.deliver("work")
    world.deliver(world.raise_event("number", "8"))

    assert world.output == "[7,8]"


def test_two_events_of_a_name_go_to_two_waits_in_order_also_out_of_one_batch() -> None:
    world = World(app=app, name="two_waits").start()
    world.deliver(world.raise_event("number", "1"), world.raise_event("number", "2"), "work")

    assert world.output == "[1,2]"


def test_an_event_without_a_wait_is_kept_and_disturbs_nothing() -> None:
    world = World(app=app, name="one_wait", restart="cold").start()
    world.deliver(world.raise_event("number", "1"), world.raise_event("number", "2"))
    world.deliver(world.raise_event("other", '"text"'))
    world.deliver("work")

    assert world.output == '[1,"AFTER"]'
    assert len(world.events(history.EventRaised)) == 3


def test_an_event_whose_id_was_seen_is_dropped() -> None:
    world = World(app=app, name="two_waits", restart="cold").start()
    world.deliver("work")

    assert world.deliver(world.raise_event("number", "1", id="once")) == [True]
    assert world.deliver(world.raise_event("number", "1", id="once")) == [False]
    assert world.deliver(world.raise_event("number", "2", id="twice")) == [True]
    assert world.output == "[1,2]"


@app.orchestration
async def impatient(ctx: OrchestrationContext) -> str:
    try:
        return await asyncio.wait_for(ctx.schedule_wait("late", str), timeout=1)
    except TimeoutError:
        await ctx.schedule_activity(work, "meanwhile")
        return "again " + await ctx.schedule_wait("late", str)


def test_an_event_for_a_cancelled_wait_goes_to_the_next_wait() -> None:
    world = World(app=app, name="impatient", restart="evicted").start()
    world.deliver("timer")
    world.deliver(world.raise_event("late", '"event"'))
    world.deliver("work")

    assert world.output == '"again event"'


@app.orchestration
async def one_of_two_waits(ctx: OrchestrationContext) -> list[str]:
    waits = [asyncio.create_task(_wait(ctx)), asyncio.create_task(_wait(ctx))]
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return [*(task.result() for task in done), await ctx.schedule_wait("number", str)]


async def _wait(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_wait("number", str)


def test_the_second_event_of_a_batch_is_not_lost_with_a_wait_that_the_first_one_cancelled() -> None:
    world = World(app=app, name="one_of_two_waits").start()
    world.deliver(world.raise_event("number", '"1"'), world.raise_event("number", '"2"'))

    assert world.output == '["1","2"]'


# Cancellation


@app.orchestration
async def plain(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity(work, "a")


def test_a_cancellation_wins_over_the_result_that_came_with_it() -> None:
    world = World(app=app, name="plain").start()
    world.deliver(world.cancel("enough"), "work")

    assert reason_of(world) == "enough"
    assert world.failure.display_message() == "canceled: enough"
    assert [event.kind for event in world.history] == [
        "OrchestrationStarted",
        "ActivityScheduled",
        "CancelRequested",
        "TimerCreated",
        "WorkCancelled",
        "OrchestrationFailed",
    ]


def test_a_result_that_came_before_the_cancellation_completes() -> None:
    world = World(app=app, name="plain").start()
    assert world.deliver("work", world.cancel()) == [True, False]

    assert world.output == '"A"'


def test_a_second_cancellation_changes_nothing() -> None:
    world = World(app=app, name="careful", restart="cold").start()

    assert world.deliver(world.cancel("first")) == [True]
    assert world.deliver(world.cancel("second")) == [False]
    world.deliver("work")
    assert reason_of(world) == "first"


@app.orchestration
async def careful(ctx: OrchestrationContext) -> str:
    try:
        return await ctx.schedule_activity(work, "a")
    except asyncio.CancelledError as cancelled:
        return await ctx.schedule_activity(work, f"clean up: {cancelled}")


def test_cleanup_may_schedule_and_await_and_the_end_is_cancelled_though_swallowed() -> None:
    worlds = play_everywhere(
        lambda mode: World(app=app, name="careful", restart=mode),
        start=lambda world: (world.start(), world.cancel("stop it")),
        orders=8,
    )

    scheduled = [event.input for event in worlds[0].events(history.ActivityScheduled)]
    assert scheduled == ['"a"']  # the result came first
    cancelled = [
        world for world in worlds if isinstance(world.terminal, history.OrchestrationFailed)
    ]
    assert cancelled
    for world in cancelled:
        assert reason_of(world) == "stop it"
        scheduled = [event.input for event in world.events(history.ActivityScheduled)]
        assert scheduled in (['"a"', '"clean up: stop it"'], ['"a"'])


@app.orchestration
async def endless_cleanup(ctx: OrchestrationContext) -> None:
    while True:
        try:
            await ctx.schedule_wait("never")
        except asyncio.CancelledError:
            continue


def test_cleanup_that_does_not_end_is_ended_by_its_durable_limit() -> None:
    world = World(
        app=app, name="endless_cleanup", restart="evicted", cleanup_timeout=timedelta(seconds=90)
    ).start()
    world.deliver(world.cancel("now"))
    (limit,) = world.events(history.TimerCreated)
    assert limit.purpose == "cleanup"
    assert limit.fire_at == world.now + 90_000_000

    world.deliver("timer")

    assert reason_of(world) == "now"


def test_another_cleanup_timeout_after_a_restart_is_no_nondeterminism() -> None:
    world = World(app=app, name="endless_cleanup").start()
    world.deliver(world.cancel("now"))
    world.cleanup_timeout = timedelta(seconds=1)

    world.restart = "cold"
    world.forget()
    world.deliver("timer")

    assert reason_of(world) == "now"


@app.orchestration
async def many_at_once(ctx: OrchestrationContext) -> None:
    children = [ctx.schedule_sub_orchestration("child", instance=f"c{n}") for n in range(2)]
    await asyncio.gather(
        *children, ctx.schedule_activity(work, "a"), ctx.schedule_timer(60), ctx.schedule_wait("x")
    )


def test_cancelling_cancels_activities_timers_waits_and_children() -> None:
    world = World(app=app, name="many_at_once").start()
    world.deliver(world.cancel("stop"))

    draft = world.drafts[-1]
    cancels = [message for message in draft.sent if message.kind is MessageKind.CANCEL]
    created = {new.instance.instance: new.instance for new in world.drafts[0].children.values()}
    assert [message.instance for message in cancels] == ["c0", "c1"]
    for message in cancels:
        assert message.incarnation == created[message.instance].incarnation
    assert draft.cancelled_activities == ["1:4"]
    assert reason_of(world) == "stop"


def test_a_parent_that_is_cancelled_passes_its_reason_on_to_a_child_that_is_never_awaited() -> None:
    world = World(app=app, name="detour").start()
    world.deliver(world.cancel("because"))

    (message,) = [m for m in world.drafts[-1].sent if m.kind is MessageKind.CANCEL]
    assert decode_cancel(message.data).reason == "because"


@app.orchestration
async def detour(ctx: OrchestrationContext) -> None:
    ctx.schedule_sub_orchestration("child", instance="c")
    await ctx.schedule_wait("never")


@app.orchestration
async def ends_at_once(ctx: OrchestrationContext) -> str:
    ctx.schedule_activity(work, "unwanted")
    ctx.schedule_timer(5)
    ctx.schedule_sub_orchestration("child")
    ctx.schedule_orchestration("other", instance="free")
    return "done"


def test_what_is_scheduled_in_the_turn_of_the_end_never_runs_but_detached_starts_do() -> None:
    world = World(app=app, name="ends_at_once").start()

    draft = world.drafts[-1]
    assert world.output == '"done"'
    assert not draft.activities
    assert not draft.timers
    assert not draft.children
    assert not draft.sent
    assert [new.instance.instance for new in draft.detached] == ["free"]
    assert draft.detached[0].instance.parent is None
    assert draft.detached[0].if_exists is None


@app.orchestration
async def changes_its_mind(ctx: OrchestrationContext) -> str:
    ctx.schedule_activity(work, "plain").cancel()
    ctx.schedule_activity(work, "retried", retry=RetryPolicy()).cancel()
    ctx.schedule_timer(5).cancel()
    ctx.schedule_sub_orchestration("child").cancel()
    ctx.schedule_wait("x").cancel()
    return await ctx.schedule_activity(work, "kept")


def test_what_is_scheduled_and_cancelled_in_one_turn_never_runs() -> None:
    world = World(app=app, name="changes_its_mind", restart="cold").start()

    draft = world.drafts[0]
    assert len(world.labels) == 1
    assert not draft.cancelled_activities
    assert not draft.removed
    assert not draft.sent
    assert len(world.events(history.WorkCancelled)) == 5
    world.deliver("work")
    assert world.output == '"KEPT"'


# Continue as new


@app.orchestration
async def generations(ctx: OrchestrationContext, number: int) -> list[object]:
    if number == 3:
        return [number, await ctx.schedule_wait("a"), await ctx.schedule_wait("b")]
    ctx.schedule_activity(work, "running")
    ctx.schedule_timer(60)
    ctx.schedule_sub_orchestration("child", instance=f"child-{number}")
    ctx.schedule_orchestration("detached", instance=f"detached-{number}")
    await ctx.schedule_wait("go")
    try:
        ctx.continue_as_new(number + 1)
    finally:
        ctx.schedule_activity(work, "void")


def test_continue_as_new_carries_unread_events_in_order_and_nothing_else() -> None:
    world = World(app=app, name="generations", input="1", keeps_late=True).start()
    world.deliver(world.raise_event("b", "1"), world.raise_event("a", "2"))
    world.deliver(world.raise_event("go"), world.raise_event("b", "3"))

    draft = world.drafts[-2]
    assert draft.end is not None
    assert draft.end.status is InstanceStatus.CONTINUED_AS_NEW
    start, *carried = draft.front
    assert decode_start(start.data).input == "2"
    assert [decode_raised(m.data).data for m in carried] == ["1", "2"]
    assert all(m.incarnation is None and m.execution is None for m in carried)
    assert [m.instance for m in draft.sent] == ["child-1"]
    assert [event.kind for event in world.histories[0]][-1] == "OrchestrationContinuedAsNew"
    assert world.labels[:2] == ["event:e1", "event:e2"]
    # The scheduled and detached of the first generation took effect exactly once.
    assert [len(d.detached) for d in world.drafts] == [1, 0, 0, 1]


def test_carried_events_reach_later_generations_and_repeats_are_dropped() -> None:
    world = World(app=app, name="generations", input="1", restart="cold").start()
    world.deliver(world.raise_event("b", "1", id="b1"), world.raise_event("go", id="go1"))
    assert world.deliver(world.raise_event("go", id="go1")) == [False]
    world.deliver("event:b1")
    world.deliver(world.raise_event("go", id="go2"))
    world.deliver("event:b1")
    assert world.deliver(world.raise_event("go", id="go1")) == [False]
    world.deliver(world.raise_event("a", "2"))

    assert world.output == "[3,2,1]"
    starts = world.events(history.OrchestrationStarted)
    assert [start.seen for start in starts] == [(), ("go1",), ("go1", "go2")]


def test_only_the_newest_thousand_ids_are_told_to_the_next_execution() -> None:
    world = World(app=app, name="many_events").start(
        input="1", seen=tuple(f"old{n}" for n in range(990))
    )
    for _ in range(20):
        world.deliver(world.raise_event("tick"))

    (_, start) = world.events(history.OrchestrationStarted)
    assert len(start.seen) == 1000
    assert start.seen[0] == "old10"
    assert start.seen[-1] == "e20"


@app.orchestration
async def many_events(ctx: OrchestrationContext, left: int) -> None:
    if not left:
        return
    for _ in range(20):
        await ctx.schedule_wait("tick")
    ctx.continue_as_new(left - 1)


@app.orchestration
async def continues_from_a_task(ctx: OrchestrationContext, number: int) -> int:
    if number:
        return number

    async def decide() -> None:
        await ctx.schedule_activity(work, "a")
        ctx.continue_as_new(1)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(decide())
            group.create_task(asyncio.sleep(60))
    except* BaseException:  # noqa: BLE001 # an orchestration that catches too much
        ctx.schedule_activity(work, "void")
    return -1


def test_continue_as_new_is_decided_at_the_call_in_every_place() -> None:
    for world in play_everywhere(
        lambda mode: World(app=app, name="continues_from_a_task", input="0", restart=mode)
    ):
        assert world.output in ("1", "-1")
    assert play(World(app=app, name="continues_from_a_task", input="0")).output == "1"


@app.orchestration
async def continues_though_cancelled(ctx: OrchestrationContext) -> None:
    try:
        await ctx.schedule_wait("never")
    except asyncio.CancelledError:
        ctx.continue_as_new()


def test_a_cancellation_stands_above_continue_as_new() -> None:
    world = World(app=app, name="continues_though_cancelled").start()
    world.deliver(world.cancel("really"))

    assert reason_of(world) == "really"


# Races


@app.orchestration
async def race(ctx: OrchestrationContext) -> str:
    tasks = [asyncio.create_task(_work(ctx, name)) for name in ("left", "right")]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for loser in pending:
        loser.cancel()
    (winner,) = done
    return winner.result() + await ctx.schedule_activity(work, "!")


async def _work(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(work, name)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_of_two_results_in_one_batch_the_first_in_history_wins(first: int, second: int) -> None:
    world = World(app=app, name="race", restart="cold", keeps_late=True).start()
    batch = [world.waiting[first], world.waiting[second]]

    assert [world.execution.accept(item.message, world.now) for item in batch] == [True, False]
    world.commit()
    world.deliver(world.labels[-1])
    assert world.output == json.dumps(["LEFT!", "RIGHT!"][first])
    assert len(world.events(history.WorkCancelled)) == 1


def test_a_loser_that_finishes_before_its_cancellation_is_applied_is_ignored() -> None:
    world = World(app=app, name="race", restart="evicted", keeps_late=True).start()
    late = world.waiting[1]
    world.deliver(world.waiting[0])

    assert world.deliver(late) == [False]
    world.deliver(world.labels[-1])
    assert world.output == '"LEFT!"'


# Timers


@app.orchestration
async def sleeps(ctx: OrchestrationContext) -> float:
    await asyncio.sleep(10)
    return ctx.now().timestamp()


def test_a_timer_is_never_early_by_the_time_of_the_history() -> None:
    world = World(app=app, name="sleeps").start()
    message = world.find("timer").message
    world.waiting.clear()

    assert world.execution.accept(message, BEGINNING + 1)  # a clock that lags behind
    world.commit()
    assert world.output == str((BEGINNING + 10_000_000) / 1_000_000)


def test_the_time_of_a_history_never_goes_back() -> None:
    world = World(app=app, name="sleeps").start()
    world.execution.accept_cancel("x", BEGINNING - 5_000_000)
    world.commit()

    assert [event.at for event in world.history] == [BEGINNING] * len(world.history)


# Failures and children


@app.orchestration
async def catches(ctx: OrchestrationContext) -> list[object]:
    try:
        await ctx.schedule_activity(work, "bad")
    except ActivityFailed as error:
        kind = error.details.kind
        assert isinstance(kind, Raised)
        return [error.activity, error.type_name, error.message, len(kind.trace) > 0]
    return []


@app.orchestration
async def does_not_catch(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity(work, "bad")


def test_an_orchestration_can_catch_what_an_activity_raised() -> None:
    assert json.loads(play(World(app=app, name="catches")).output) == [
        "work",
        "KeyError",
        "'no such thing'",
        True,
    ]


def test_what_is_never_caught_fails_the_instance_with_a_trace_without_machine_paths() -> None:
    details = play(World(app=app, name="does_not_catch")).failure

    assert details.category() == "application"
    assert details.type_name == "ActivityFailed"
    assert isinstance(details.kind, Raised)
    assert any("does_not_catch" in line for line in details.kind.trace)
    assert not any("/" in line for line in details.kind.trace)


@app.orchestration
async def has_children(ctx: OrchestrationContext) -> list[str]:
    found: list[str] = []
    for name in ("fine", "failing", "taken"):
        try:
            found.append(await ctx.schedule_sub_orchestration(name, name, instance=name))
        except SubOrchestrationFailed as error:
            found.append(f"{error.instance} {error.details.type_name}")
        except SubOrchestrationAlreadyExists as error:
            found.append(f"{error.instance} exists")
    return found


def test_a_parent_is_told_how_each_child_ended() -> None:
    def make(mode: Restart) -> World:
        return World(
            app=app,
            name="has_children",
            restart=mode,
            answer_child=lambda child: {
                "fine": '"fine"',
                "failing": ApplicationFailure(Raised(type_name="Oops", message="")),
                "taken": None,
            }[child.instance.name],
        )

    for world in play_everywhere(make):
        assert world.output == '["fine","failing Oops","taken exists"]'
        assert all(not draft.sent for draft in world.drafts)


@pytest.mark.parametrize("name", ["plain", "does_not_catch", "careful"])
def test_a_child_tells_its_parent_its_end_once(name: str) -> None:
    link = ParentLink(instance="parent", incarnation="its", execution=4, event=9)
    world = World(app=app, name=name, parent=link).start()
    if name == "careful":
        world.deliver(world.cancel("c"))
    play(world)

    (answer,) = [message for draft in world.drafts for message in draft.sent]
    data = decode_result(answer.data)
    assert (answer.instance, answer.incarnation, answer.execution) == ("parent", "its", None)
    assert (data.execution, data.scheduled) == (4, 9)
    assert (data.result is None) == (name != "plain")


def test_a_child_that_continues_as_new_tells_its_parent_only_in_the_end() -> None:
    link = ParentLink(instance="parent", incarnation="its", execution=4, event=9)
    world = World(app=app, name="many_events", input="1", parent=link).start()
    for _ in range(20):
        world.deliver(world.raise_event("tick"))

    answers = [m for draft in world.drafts for m in draft.sent if m.instance == "parent"]
    assert len(answers) == 1
    assert len(world.histories) == 2


# The context


@app.orchestration
async def chances(ctx: OrchestrationContext) -> list[object]:
    found: list[object] = [str(ctx.uuid4()), ctx.random().random(), ctx.now().isoformat()]
    await ctx.schedule_activity(work, "a")
    return [*found, str(ctx.uuid4()), ctx.random().randint(0, 10**9), ctx.now().isoformat()]


def test_time_uuids_and_random_numbers_replay_alike() -> None:
    worlds = play_everywhere(lambda mode: World(app=app, name="chances", restart=mode), orders=1)

    found = json.loads(worlds[0].output)
    assert len(set(map(str, found))) == 6


@app.orchestration
async def logs(ctx: OrchestrationContext) -> None:
    ctx.logger.info("before %s", "it")
    await ctx.schedule_activity(work, "a")
    ctx.logger.info("after, replaying %s", ctx.is_replaying)


def test_the_logger_is_silent_in_replay_and_after_an_eviction(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "perdure.orchestration")
    world = World(app=app, name="logs", restart="evicted").start()
    play(world)

    assert caplog.messages == ["[instance] before it", "[instance] after, replaying False"]
    record = caplog.records[0]
    assert record.name == "perdure.orchestration.logs"
    assert record.perdure_instance == "instance"
    assert record.perdure_orchestration == "logs"


def test_thousands_of_events_in_one_batch_are_delivered_in_order() -> None:
    world = World(app=app, name="counts", input="2000").start()
    messages = [world.find(world.raise_event("n", str(n))).message for n in range(2000)]
    world.waiting.clear()
    for message in messages:
        world.execution.accept(message, world.now)
    world.commit()

    assert world.output == "true"


@app.orchestration
async def counts(ctx: OrchestrationContext, many: int) -> bool:
    return [await ctx.schedule_wait("n", int) for _ in range(many)] == list(range(many))
