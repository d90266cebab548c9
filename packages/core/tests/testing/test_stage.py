"""The stage: the real engine in a test, with time that skips, fakes, crashes and restarts."""

from __future__ import annotations

import asyncio
import gc
import inspect
import random
import threading
import time
from datetime import UTC, datetime, timedelta

import perdure
import pytest
from perdure import Failed, OrchestrationFailed, RuntimeOptions, WaitTimeout
from perdure.contract import DelegatingProvider, Provider
from perdure.errors import (
    InvalidInput,
    InvalidPayload,
    NotRegistered,
    PerdureError,
    StorageUnavailable,
)
from perdure.testing import NothingHappens, Stage

from .shop import (
    WEEK,
    Charge,
    app,
    approve,
    charge_card,
    order,
    pay,
    refund,
    remind,
    ship,
    sleep_twice,
    wait_for_ever,
)

# What a new user tests first: five to eight lines each.


async def test_a_reminder_after_a_week() -> None:
    async with Stage(app) as stage:
        reminder = stage.fake(remind, returns=None)

        assert await stage.run(approve) == "reminded"
        assert reminder.inputs == ["Ada"]
        assert stage.elapsed == WEEK


async def test_a_payment_that_fails_twice() -> None:
    async with Stage(app) as stage:
        charge = stage.fake(charge_card, calls=[ConnectionError("busy"), TimeoutError, "paid"])

        assert await stage.run(pay, 500) == "paid"
        assert charge.inputs == [Charge(500)] * 3
        assert stage.elapsed == timedelta(seconds=20)


async def test_an_approval_that_comes() -> None:
    async with Stage(app, fake_all=True) as stage:
        waiting = await stage.start(approve)
        await stage.settle()
        await waiting.raise_event("approval", '"Grace"')

        assert await waiting.result() == "Grace"
        assert stage.elapsed == timedelta(0)


async def test_a_cancellation_is_compensated() -> None:
    async with Stage(app, resources=[]) as stage:
        refunded = stage.fake(refund, returns=None)
        running = await stage.start(order, 700)
        await stage.settle()
        await running.cancel("changed my mind")

        assert isinstance(await running.wait(), Failed)
        assert refunded.inputs == ["receipt 1"]


FIRST = (
    test_a_reminder_after_a_week,
    test_a_payment_that_fails_twice,
    test_an_approval_that_comes,
    test_a_cancellation_is_compensated,
)


@pytest.mark.parametrize("test", FIRST, ids=[test.__name__ for test in FIRST])
async def test_a_first_test_has_eight_lines_and_takes_50_milliseconds(test) -> None:
    code, _ = inspect.getsourcelines(test)
    lines = [line for line in code[1:] if line.strip()]

    took: list[float] = []
    for _ in range(5):
        began = time.process_time()
        await test()
        took.append(time.process_time() - began)

    assert 5 <= len(lines) <= 8
    assert min(took) < 0.05  # of the processor, whatever else the machine does


# Time


async def test_the_clock_stops_at_each_instant_at_which_something_is_due() -> None:
    async with Stage(app, start=datetime(2031, 5, 1, tzinfo=UTC)) as stage:
        assert await stage.run(sleep_twice) == 2 * 86_400

        assert stage.elapsed == timedelta(days=2)
        assert stage.clock.now() == 1_935_532_800_000_000


async def test_time_does_not_skip_unless_the_test_waits_for_an_end() -> None:
    async with Stage(app) as stage:
        running = await stage.start(approve)
        await stage.settle()
        await asyncio.sleep(0.01)

        assert stage.elapsed == timedelta(0)
        await running.cancel()


async def test_time_never_jumps_over_an_activity_that_runs() -> None:
    ends = asyncio.Event()

    async def charge(charge: Charge) -> str:
        asyncio.get_running_loop().call_later(0.02, ends.set)
        await ends.wait()
        return f"paid {charge.cents}"

    async with Stage(app) as stage:
        stage.fake(charge_card, calls=charge)

        assert await stage.run(pay, 5) == "paid 5"
        assert stage.elapsed < timedelta(seconds=1)


async def test_without_skipping_only_the_test_moves_the_clock() -> None:
    async with Stage(app, skip=False) as stage:
        stage.fake(remind, returns=None)
        running = await stage.start(approve)
        await stage.advance(WEEK - timedelta(seconds=1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.wait(), 0.01)
        await stage.advance(1)

        assert await running.result() == "reminded"


async def test_time_that_is_moved_beside_an_activity_takes_no_lease_from_it() -> None:
    began, ends = asyncio.Event(), asyncio.Event()

    async def charge(charge: Charge) -> str:
        began.set()
        await ends.wait()
        return "paid in the end"

    options = RuntimeOptions(max_attempts=1)  # the loss of one lease would be the end
    async with Stage(app, options=options) as stage:
        fake = stage.fake(charge_card, calls=charge)
        running = await stage.start(pay, 5)
        await began.wait()
        await stage.advance(timedelta(hours=2))
        ends.set()

        assert await running.result() == "paid in the end"
        assert len(fake.calls) == 1


async def test_the_time_limit_of_a_wait_is_kept() -> None:
    async with Stage(app) as stage:
        running = await stage.start(wait_for_ever)

        with pytest.raises(WaitTimeout):
            await running.wait(timedelta(hours=3))
        assert timedelta(hours=3) <= stage.elapsed < timedelta(hours=3, seconds=5)


async def test_time_skips_while_the_test_watches_an_instance() -> None:
    async with Stage(app) as stage:
        running = await stage.start(sleep_twice)
        async with asyncio.timeout(10):
            statuses = [info.status async for info in stage.client.watch_instance(running.instance)]

        assert statuses[-1].value == "Completed"
        assert stage.elapsed == timedelta(days=2)

        stuck = await stage.start(wait_for_ever)
        with pytest.raises(NothingHappens, match="'wait_for_ever-2' does not go on"):
            async for _ in stage.client.watch_instance(stuck.instance):
                pass


# A test that can't go on says why


async def test_a_wait_that_can_never_end_says_so() -> None:
    async with Stage(app) as stage:
        with pytest.raises(NothingHappens, match="nothing is under way and nothing is due"):
            await stage.run(wait_for_ever)


async def test_what_is_registered_nowhere_is_named() -> None:
    flows = perdure.Registry()

    @flows.orchestration
    async def call(ctx: perdure.OrchestrationContext, kind: str) -> None:
        if kind == "activity":
            await ctx.schedule_activity("nowhere")
        await ctx.schedule_sub_orchestration("nowhere", instance="child")

    async with Stage(flows) as stage:
        with pytest.raises(NothingHappens, match=r"parked \(unregistered\): activity 'nowhere'"):
            await stage.run(call, "activity")
        child = await stage.start(call, "child")
        await stage.settle()
        with pytest.raises(NothingHappens, match=r"\(unregistered\): orchestration 'nowhere'"):
            await stage.client.wait_for_orchestration("child")
        await child.cancel()


async def test_a_parked_instance_says_why_it_is_parked() -> None:
    rest = perdure.Registry()
    rest.orchestration(name="wait_for_ever")(wait_for_ever_otherwise)
    async with perdure.open_provider("memory://parked"):  # keeps the store
        async with Stage(app, url="memory://parked") as stage:
            await stage.client.start_orchestration("it", wait_for_ever)
            await stage.settle()
        async with Stage(rest, url="memory://parked") as stage:
            await stage.client.raise_event("it", "never")

            with pytest.raises(NothingHappens, match=r"parked \(nondeterminism\)"):
                await stage.client.wait_for_orchestration("it")


async def wait_for_ever_otherwise(ctx: perdure.OrchestrationContext) -> None:
    """Other code than the history's."""
    await asyncio.sleep(5)


async def test_a_failure_is_raised_with_its_details() -> None:
    async with Stage(app) as stage:
        stage.fake(charge_card, raises=ValueError("no such card"))

        with pytest.raises(OrchestrationFailed, match="no such card"):
            await stage.run(pay, 5)


async def greet(ctx: perdure.OrchestrationContext) -> str:
    """Greet."""
    return "hi"


async def greet_politely(ctx: perdure.OrchestrationContext) -> str:
    """Greet otherwise."""
    return "good day"


@perdure.Registry().activity
async def registered_elsewhere() -> str:
    """An activity of another registry."""
    return "?"


# Fakes


async def test_what_is_not_faked_is_real() -> None:
    card: list[int] = []
    async with Stage(app, resources=card) as stage:
        assert await stage.run(pay, 300) == "receipt 1"

    assert card == [300]


async def test_a_fake_gets_the_arguments_by_name_where_there_are_several() -> None:
    async with Stage(app, resources=[]) as stage:
        shipped = stage.fake(ship, calls=lambda item, express=False: f"{item} {express}")
        running = await stage.start(order, 5)
        await running.raise_event("approval", '"yes"')

        assert await running.result() == "book True"
        assert shipped.inputs == [{"item": "book", "express": True}]


async def test_a_plain_activity_is_faked_by_an_async_function_too() -> None:
    told: list[str] = []

    async def remind_quietly(customer: str) -> None:
        told.append(f"{customer} in {threading.current_thread().name}")

    async with Stage(app) as stage:
        stage.fake(remind, calls=remind_quietly)
        await stage.run(approve)

    assert told == [f"Ada in {threading.main_thread().name}"]


@pytest.mark.parametrize(
    ("outcome", "error", "says"),
    [
        ({"returns": 5}, InvalidPayload, "result of the fake of activity 'charge_card'"),
        ({"raises": "an error"}, InvalidInput, "pass an exception or its class"),
        ({"raises": UnicodeDecodeError}, InvalidInput, "pass an instance"),
        ({"calls": lambda: "paid"}, InvalidInput, "take the parameters charge"),
        ({"calls": []}, InvalidInput, "a list of outcomes in turn"),
        ({"calls": ["paid", 5]}, InvalidPayload, "result of the fake"),
        ({"returns": "paid", "raises": ValueError}, InvalidInput, "has 2 outcomes"),
        ({}, InvalidInput, "has 0 outcomes"),
    ],
)
async def test_a_fake_that_does_not_fit_is_refused_when_it_is_made(outcome, error, says) -> None:
    async with Stage(app) as stage:
        with pytest.raises(error, match=says):
            stage.fake(charge_card, **outcome)


async def test_what_cannot_be_faked_is_refused() -> None:
    async with Stage(app) as stage:
        with pytest.raises(NotRegistered, match="is not registered; pass the function"):
            stage.fake(asyncio.sleep, returns=None)
        with pytest.raises(NotRegistered, match="is not registered; pass the function"):
            stage.fake(registered_elsewhere, returns="paid")


async def test_a_child_is_faked_by_its_function() -> None:
    async with Stage(app, fake_all=True) as stage:
        paid = stage.fake(pay, returns="a receipt")
        stage.fake(ship, returns="shipped")
        running = await stage.start(order, 700)
        await running.raise_event("approval", '"yes"')

        assert await running.result() == "shipped"
        assert paid.inputs == [700]


async def test_what_the_fake_of_a_child_raises_is_the_failure_of_the_child() -> None:
    async with Stage(app) as stage:
        stage.fake(pay, raises=PermissionError("no credit"))
        running = await stage.start(order, 700)
        failed = await running.wait()

        assert isinstance(failed, Failed)
        assert failed.details.type_name == "SubOrchestrationFailed"
        assert [each.type_name for each in failed.details.causes] == ["PermissionError"]


async def test_the_fake_of_a_child_records_an_execution_once_and_gives_it_one_outcome() -> None:
    begun: list[int] = []

    async def pay_slowly(cents: int) -> str:
        begun.append(cents)
        await asyncio.sleep(86_400)
        return "paid"

    async with Stage(app) as stage:
        slow = stage.fake(pay, calls=pay_slowly)
        stage.fake(ship, returns="shipped")
        running = await stage.start(order, 5)
        await running.raise_event("approval", '"yes"')
        await stage.settle()
        await stage.crash()

        assert await running.result() == "shipped"
        assert slow.inputs == [5]
        assert len(begun) > 1
        assert stage.elapsed >= timedelta(days=1)

        in_turn = stage.fake(pay, calls=["first", ValueError("second")])
        assert await stage.run(pay, 1) == "first"
        with pytest.raises(OrchestrationFailed, match="second"):
            await stage.run(pay, 2)
        assert in_turn.inputs == [1, 2]


async def test_one_version_of_a_child_is_faked() -> None:
    versions = perdure.Registry()
    versions.orchestration(name="greet")(greet)
    versions.orchestration(name="greet", version="2.0.0")(greet_politely)
    async with Stage(versions) as stage:
        stage.fake(greet_politely, returns="good evening")

        assert await stage.run(greet_politely) == "good evening"
        assert await (await stage.client.start("old", greet, version="1.0.0")()).result() == "hi"


async def test_a_fake_that_runs_out_of_outcomes_says_so() -> None:
    async with Stage(app) as stage:
        stage.fake(charge_card, calls=[ConnectionError])

        with pytest.raises(OrchestrationFailed, match="more often than it has outcomes"):
            await stage.run(pay, 5)


async def test_a_stage_on_which_all_is_faked_refuses_real_activities() -> None:
    async def run() -> None:
        async with Stage(app, fake_all=True) as stage:
            with pytest.raises(OrchestrationFailed, match="'charge_card' is not faked"):
                await stage.run(pay, 5)

    with pytest.raises(PerdureError, match="activities without a fake: 'charge_card'"):
        await run()


# Trouble


@pytest.mark.parametrize("trouble", ["restart", "crash", "evict"])
async def test_an_instance_goes_on_after(trouble: str) -> None:
    card: list[int] = []
    async with Stage(app, resources=card) as stage:
        running = await stage.start(order, 40)
        await stage.settle()
        await getattr(stage, trouble)()
        await running.raise_event("approval", '"yes"')

        assert await running.result() == "book by air"
        kinds = [event.kind for event in await stage.history(running.instance)]
    assert card == [40]
    assert kinds.count("ActivityScheduled") == 1


async def test_a_crash_in_the_middle_of_an_activity_runs_it_again() -> None:
    began = asyncio.Event()
    forever = asyncio.Event()
    deliveries: list[int] = []

    async def charge(charge: Charge) -> str:
        deliveries.append(perdure.activity_context().delivery)
        began.set()
        if len(deliveries) == 1:
            await forever.wait()
        return "paid"

    async with Stage(app) as stage:
        stage.fake(charge_card, calls=charge)
        running = await stage.start(pay, 5)
        await began.wait()
        await stage.crash()

        assert await running.result() == "paid"
    assert deliveries == [1, 2]


async def test_a_crash_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for rounds in range(8):
        async with Stage(app, resources=[]) as stage:
            running = await stage.start(order, 5)
            for _ in range(rounds):
                await asyncio.sleep(0)
            await stage.crash()
            await running.cancel("enough")
            await running.wait()

    assert caplog.records == []


# Time that passes until something holds


async def test_time_passes_until_a_condition_holds() -> None:
    async with Stage(app) as stage:
        stage.fake(charge_card, raises=ConnectionError("busy"))
        running = await stage.start(pay, 5)

        async def has_failed_twice() -> bool:
            kinds = [event.kind for event in await stage.history(running.instance)]
            return kinds.count("ActivityFailed") == 2

        await stage.until(has_failed_twice)
        assert stage.elapsed == timedelta(seconds=10)
        await stage.until(lambda: stage.elapsed >= timedelta(seconds=20))
        assert stage.elapsed == timedelta(seconds=20)


async def test_a_condition_that_can_never_hold_is_named() -> None:
    async with Stage(app) as stage:
        await stage.start(approve)

        def never() -> bool:
            return False

        with pytest.raises(NothingHappens, match=r"never.* and 3 days, 0:00:00 are over"):
            await stage.until(never, within=timedelta(days=3))
        assert stage.elapsed < timedelta(seconds=5)
        with pytest.raises(NothingHappens, match="nothing is under way and nothing is due"):
            await stage.until(never)


async def test_time_does_not_pass_beside_an_activity_until_a_condition_holds() -> None:
    gate = asyncio.Event()

    async def charge(charge: Charge) -> str:
        await gate.wait()
        return "paid"

    async with Stage(app) as stage:
        fake = stage.fake(charge_card, calls=charge)
        running = await stage.start(pay, 5)
        await stage.until(lambda: fake.calls)
        gate.set()

        assert await running.result() == "paid"
        assert stage.elapsed < timedelta(seconds=1)


# Deployments and further processes


async def test_a_restart_deploys_other_code() -> None:
    first, second = perdure.Registry(), perdure.Registry()
    first.orchestration(name="greet")(greet)
    second.orchestration(name="greet", version="2.0.0")(greet_politely)
    async with Stage(first) as stage:
        assert await stage.run(greet) == "hi"
        await stage.restart(second, options=RuntimeOptions(cache_size=0))

        assert await (await stage.client.start("new", greet)()).result() == "good day"
        assert stage.runtime.statistics.live_executions == 0


async def test_nothing_runs_while_the_runtime_is_stopped() -> None:
    async with Stage(app, resources=[]) as stage:
        await stage.stop()
        running = await stage.start(pay, 5)
        await stage.settle()
        assert await stage.history(running.instance) == []
        await stage.crash()

        assert await running.result() == "receipt 1"
        await stage.stop()


async def test_activities_of_a_tag_run_in_a_process_of_their_own() -> None:
    flows, work = perdure.Registry(), perdure.Registry()

    @work.activity(tag="gpu")
    async def draw(what: str) -> str:
        return f"{what}, drawn"

    @flows.orchestration
    async def paint(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity(draw, "a cat")

    gpu = RuntimeOptions(tags=frozenset({"gpu"}))
    async with Stage(flows) as stage, stage.worker(work, options=gpu) as worker:
        assert await stage.run(paint) == "a cat, drawn"
        assert worker.runtime.statistics.turns_committed == 0

        drawn = stage.fake(draw, returns="a fake")
        await worker.restart()
        assert await stage.run(paint) == "a fake"
        await worker.crash()
        assert await stage.run(paint) == "a fake"
        assert drawn.inputs == ["a cat", "a cat"]


async def test_work_in_another_process_hears_that_it_is_cancelled() -> None:
    flows, work = perdure.Registry(), perdure.Registry()
    told: list[str] = []
    contexts: list[perdure.ActivityContext[object]] = []

    @work.activity
    async def endless() -> None:
        contexts.append(perdure.activity_context())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    @flows.orchestration
    async def wait(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(endless)

    async with Stage(flows) as stage, stage.worker(work):
        running = await stage.start(wait)
        await stage.until(lambda: contexts)
        await running.cancel("enough")
        assert isinstance(await running.wait(), Failed)
        await stage.advance(1)
        assert (contexts[0].cancel_requested, told) == (True, [])
        await stage.advance(10)
        assert told == ["cancelled"]


# Storage that is wrapped


class LosesAnswers(DelegatingProvider):
    """Loses the first answer of a start, and of a commit."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.lost: set[str] = set()

    async def around(self, operation, call):
        answer = await super().around(operation, call)
        if operation in ("create_instance", "commit_turn") and operation not in self.lost:
            self.lost.add(operation)
            raise StorageUnavailable("the answer was lost", operation=operation)
        return answer


class Losing:
    """A plugin that wraps the provider."""

    def __init__(self) -> None:
        self.wrapped: list[LosesAnswers] = []

    @perdure.hookimpl
    def perdure_wrap_provider(self, spec: object):
        del spec

        def wrap(provider: Provider) -> Provider:
            self.wrapped.append(LosesAnswers(provider))
            return self.wrapped[0]

        return wrap


async def test_a_plugin_may_wrap_the_storage_of_a_stage() -> None:
    plugin = Losing()
    async with Stage(app, resources=[], plugins=[plugin]) as stage:
        assert await stage.run(pay, 5) == "receipt 1"

    assert plugin.wrapped[0].lost == {"create_instance", "commit_turn"}


# Anywhere


class FailsAtRandom(DelegatingProvider):
    """Lets calls fail before or after they took effect, starts excepted."""

    def __init__(self, inner: Provider, seed: int) -> None:
        super().__init__(inner)
        self.random = random.Random(seed)

    async def around(self, operation, call):
        fails = operation != "create_instance" and self.random.random() < 0.3
        if fails and self.random.random() < 0.5:
            raise StorageUnavailable("not carried out", operation=operation)
        answer = await super().around(operation, call)
        if fails:
            raise StorageUnavailable("the answer was lost", operation=operation)
        return answer


class FailingAtRandom:
    """A plugin that wraps the provider."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @perdure.hookimpl
    def perdure_wrap_provider(self, spec: object):
        return lambda inner: FailsAtRandom(inner, self.seed)


@pytest.mark.parametrize("seed", range(12))
async def test_failing_storage_neither_stops_time_nor_lets_it_run_away(seed: int) -> None:
    async with Stage(app, plugins=[FailingAtRandom(seed)]) as stage:
        stage.fake(remind, returns=None)

        assert await stage.run(approve) == "reminded"
        # Repeats take seconds to minutes, and no jump to the end of the week comes before them.
        assert WEEK <= stage.elapsed < WEEK + timedelta(hours=1)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///stage.db"])
async def test_a_stage_stands_on_any_provider(url: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Stage(app, url=url) as stage:
        stage.fake(remind, returns=None)

        assert await stage.run(approve) == "reminded"
        assert stage.elapsed == WEEK


@pytest.mark.slow
async def test_many_stages_leave_nothing_behind() -> None:
    async def one() -> None:
        async with Stage(app) as stage:
            stage.fake(remind, returns=None)
            await stage.run(approve)

    async def alive() -> int:
        for _ in range(5):  # what one collection frees may have kept the next alive
            await asyncio.sleep(0)
            gc.collect()
        return len(gc.get_objects())

    for _ in range(5):
        await one()
    objects, threads = await alive(), threading.active_count()
    for _ in range(200):
        await one()

    # One object for each stage would be 200; earlier tests may leave some behind meanwhile.
    assert await alive() - objects < 100
    assert threading.active_count() <= threads
    assert len(asyncio.all_tasks()) == 1


async def test_a_stage_is_entered_once() -> None:
    stage = Stage(app)
    async with stage:
        pass

    with pytest.raises(PerdureError, match="make a new one for each test"):
        await stage.__aenter__()


@pytest.mark.parametrize(
    "use",
    [
        lambda stage: stage.client,
        lambda stage: stage.runtime,
        lambda stage: stage.fake(remind, returns=None),
    ],
    ids=["client", "runtime", "fake"],
)
def test_a_stage_that_is_not_entered_says_how_to(use) -> None:
    with pytest.raises(PerdureError, match="write `async with Stage"):
        use(Stage(app))
