"""The log: each thing once, with its instance and its trace, whatever the ids are."""

from __future__ import annotations

import asyncio
import gc
import logging
from datetime import timedelta

import perdure
import pytest
from perdure import Fixed, RetryPolicy, RuntimeOptions
from perdure.testing import Stage

SOON = Fixed(timedelta(milliseconds=1))


@pytest.fixture(autouse=True)
def _log_everything(caplog) -> None:
    caplog.set_level(logging.INFO, "perdure")


def told(caplog, name: str) -> list[logging.LogRecord]:
    """The records of a logger and those below it."""
    return [
        record
        for record in caplog.records
        if record.name == name or record.name.startswith(f"{name}.")
    ]


async def run_to_end(url: str, app, name: str, input: object = None, **options) -> object:
    async with Stage(app, url=url, options=RuntimeOptions(**options)) as stage:
        handle = await stage.client.start_orchestration_typed("100%s", name, input)
        return await handle.wait()


async def test_an_attempt_that_raised_is_a_warning_and_the_last_one_an_error(url, caplog) -> None:
    app = perdure.Registry()

    @app.activity(name="shop.charge")
    def charge() -> None:
        raise ConnectionError("no answer")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        policy = RetryPolicy(max_attempts=3, backoff=SOON)
        await ctx.schedule_activity("shop.charge", retry=policy)

    await run_to_end(url, app, "main", cache_size=0)

    records = told(caplog, "perdure.activity")
    assert [record.levelname for record in records] == ["WARNING", "WARNING", "ERROR"]
    assert {record.name for record in records} == {"perdure.activity.shop.charge"}
    assert [record.perdure_attempt for record in records] == [1, 2, 3]
    assert {record.perdure_instance for record in records} == {"100%s"}
    assert {record.perdure_activity for record in records} == {"shop.charge"}
    assert {record.exc_info[0] for record in records} == {ConnectionError}
    assert {record.exc_info[2].tb_frame.f_code.co_name for record in records} == {"charge"}
    assert [record.getMessage().partition("; ")[2] for record in records] == [
        "attempt 2 of 3 follows",
        "attempt 3 of 3 follows",
        "no attempt follows: max_attempts is 3",
    ]


@pytest.mark.parametrize(
    ("error", "policy", "level", "follows"),
    [
        (ValueError("no"), None, "ERROR", "no attempt follows: max_attempts is 1"),
        (
            FileNotFoundError("gone"),
            RetryPolicy(non_retryable=(OSError,)),
            "ERROR",
            "no attempt follows: OSError is among non_retryable",
        ),
        (
            perdure.NonRetryable("never"),
            RetryPolicy(max_attempts=None),
            "ERROR",
            "no attempt follows: it is not retryable",
        ),
        (
            perdure.RetryAfter(0.5),
            RetryPolicy(max_attempts=None, total_timeout=timedelta(milliseconds=100)),
            "WARNING",
            "attempt 2 follows after 0.5 s unless its retry policy refuses",
        ),
    ],
)
async def test_an_attempt_that_raised_says_what_follows(
    url, caplog, error, policy, level, follows
) -> None:
    app = perdure.Registry()

    @app.activity
    async def act() -> None:
        raise error

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(act, retry=policy)

    await run_to_end(url, app, "main")

    record = told(caplog, "perdure.activity.act")[0]
    assert (record.levelname, record.getMessage().partition("; ")[2]) == (level, follows)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (RetryPolicy(backoff=SOON, retry_if=lambda error: False), "retry_if refuses"),
        (
            RetryPolicy(backoff=Fixed(timedelta(hours=1)), total_timeout=timedelta(minutes=1)),
            "total_timeout is over before it",
        ),
    ],
)
async def test_a_refusal_of_the_orchestration_is_told_there_once(url, caplog, policy, why) -> None:
    app = perdure.Registry()

    @app.activity
    async def act() -> None:
        raise ValueError("no")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity(act, retry=policy)
        except perdure.ActivityFailed:
            await asyncio.sleep(0.001)

    await run_to_end(url, app, "main", cache_size=0)

    warning, error = told(caplog, "perdure.activity.act")
    assert (warning.levelname, error.levelname) == ("WARNING", "ERROR")
    assert f"no attempt follows: {why}" in error.getMessage()
    assert "test_log:" in error.getMessage()
    assert error.perdure_attempt == 1


async def test_an_exception_that_no_handler_can_print_is_told_all_the_same(url, caplog) -> None:
    app = perdure.Registry()

    class Unprintable(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override] # what is tested
            raise SystemExit("no cause")

    @app.activity
    async def act() -> None:
        raise Unprintable("odd")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(act)

    class Printing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            printed.append(self.format(record))

    printed: list[str] = []
    handler = Printing()
    logging.getLogger("perdure").addHandler(handler)
    try:
        status = await run_to_end(url, app, "main")
    finally:
        logging.getLogger("perdure").removeHandler(handler)

    assert status.details.causes[0].type_name == "Unprintable"
    assert any("its trace could not be logged" in line for line in printed)


async def test_a_filter_that_raises_costs_no_outcome(url, caplog) -> None:
    app = perdure.Registry()

    @app.activity
    async def act() -> None:
        raise ValueError("no")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(act)

    def refuse(record: logging.LogRecord) -> bool:
        raise SystemExit(3)

    logger = logging.getLogger("perdure.activity.act")
    logger.addFilter(refuse)
    try:
        status = await run_to_end(url, app, "main")
    finally:
        logger.removeFilter(refuse)

    assert status.details.is_a(perdure.ActivityFailed)


async def test_a_failed_instance_is_an_error_with_its_reason_and_a_cancelled_one_is_not(
    url, caplog
) -> None:
    app = perdure.Registry()

    @app.activity
    async def act() -> None:
        raise ValueError("the cause")

    @app.orchestration
    async def fails(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity(act)

    @app.orchestration
    async def parent(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration(fails, instance="child")

    @app.orchestration
    async def waits(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_wait("never")

    async with Stage(app, options=RuntimeOptions(cache_size=0), url=url) as stage:
        client = stage.client
        failed = await client.start_orchestration("f", parent)
        cancelled = await client.start_orchestration("c", waits)
        await client.cancel_instance("c", "enough")
        await failed.wait()
        await cancelled.wait()

    records = {record.perdure_instance: record for record in told(caplog, "perdure.runtime")}
    assert sorted(records) == ["c", "child", "f"]
    assert records["child"].levelname == records["f"].levelname == "ERROR"
    assert records["c"].levelname == "INFO"
    assert records["child"].perdure_orchestration == "fails"
    lines = records["f"].getMessage().splitlines()
    assert "'f' of orchestration 'parent' failed: SubOrchestrationFailed" in lines[0]
    assert "ValueError: the cause" in lines[0]
    assert lines[-1].strip().startswith(f"{__name__}:")
    assert lines[-1].endswith(" " + act.__qualname__)


async def test_a_parked_instance_is_a_warning_once_for_each_reason(url, caplog) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        await ctx.schedule_activity("registered nowhere")

    async with Stage(app, url=url) as stage:
        client = stage.client
        await client.start_orchestration("a", main)
        await client.start_orchestration("b", "registered nowhere either")
        await stage.advance(60)

    records = [record for record in told(caplog, "perdure") if "is parked" in record.getMessage()]
    assert sorted(record.perdure_instance for record in records) == ["a", "b"]
    assert {record.levelname for record in records} == {"WARNING"}
    assert {record.perdure_reason for record in records} == {"unregistered"}


async def test_what_an_orchestration_forgets_is_told_once(url, caplog) -> None:
    app = perdure.Registry()

    @app.activity
    async def mail(to: str) -> None:
        return

    @app.activity
    async def slow() -> None:
        await asyncio.sleep(0)

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        async def bad() -> None:
            raise RuntimeError("nothing awaits this")

        asyncio.create_task(bad())  # noqa: RUF006 # what is tested
        await ctx.schedule_activity(slow)
        ctx.schedule_activity(mail, "ada")
        return "mail sent"

    await run_to_end(url, app, "main", cache_size=0)
    gc.collect()

    error, warning = told(caplog, "perdure.orchestration.main")
    assert (error.levelname, warning.levelname) == ("ERROR", "WARNING")
    assert error.exc_info[0] is RuntimeError
    assert "activity 'mail' was under way, which nothing had awaited" in warning.getMessage()
    assert error.perdure_instance == warning.perdure_instance == "100%s"


async def test_levels_can_be_set_for_one_orchestration_and_one_activity(url, caplog) -> None:
    app = perdure.Registry()

    @app.activity
    async def act() -> None:
        raise ValueError("no")

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        ctx.logger.warning("begins")
        await ctx.schedule_activity(act)

    caplog.set_level(logging.CRITICAL, "perdure.activity.act")
    caplog.set_level(logging.ERROR, "perdure.orchestration.main")
    await run_to_end(url, app, "main")

    assert told(caplog, "perdure.activity") == []
    assert told(caplog, "perdure.orchestration") == []


async def test_the_logger_of_an_orchestration_takes_any_id_and_names_its_callers_line(
    url, caplog
) -> None:
    app = perdure.Registry()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        ctx.logger.warning("step %d is 100%% done", 1, extra={"mine": 7})
        ctx.logger.warning("100% done")
        ctx.logger.log(logging.WARNING, {"not": "a text"})

    await run_to_end(url, app, "main")

    records = told(caplog, "perdure.orchestration.main")
    assert [record.getMessage() for record in records] == [
        "[100%s] step 1 is 100% done",
        "[100%s] 100% done",
        "[100%s] {'not': 'a text'}",
    ]
    assert {record.funcName for record in records} == {"main"}
    assert records[0].mine == 7
    assert records[0].perdure_version == "1.0.0"


async def test_what_is_raised_after_a_cancellation_is_told_though_it_has_no_effect(
    url, caplog
) -> None:
    app = perdure.Registry()
    began = asyncio.Event()

    @app.activity
    async def breaks() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("broken in cleanup") from None

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity(breaks)
        except asyncio.CancelledError:
            raise KeyError("broken too") from None

    options = RuntimeOptions(cancel_grace=timedelta(0))
    async with Stage(app, options=options, url=url) as stage:
        client = stage.client
        handle = await client.start_orchestration("i", main)
        await began.wait()
        await client.cancel_instance("i", "enough")
        status = await handle.wait()

    assert status.details.display_message() == "canceled: enough"
    (activity,) = told(caplog, "perdure.activity.breaks")
    (orchestration,) = told(caplog, "perdure.orchestration.main")
    assert (activity.levelname, orchestration.levelname) == ("WARNING", "WARNING")
    assert activity.getMessage().endswith("it was cancelled before, so its outcome is dropped")
    assert orchestration.exc_info[0] is KeyError
