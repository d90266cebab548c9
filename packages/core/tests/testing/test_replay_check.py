"""The replay check finds code that disagrees with a history, and runs nothing to find it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure import HistoryDocument, OrchestrationContext, Registry
from perdure.history import (
    ActivityScheduled,
    Event,
    OrchestrationFailed,
    OrchestrationStarted,
    TimerCreated,
)
from perdure.testing import Stage, check_histories, check_history
from perdure.testing.replay_report import CheckedExecution, ReplayReport
from pydantic import BaseModel

from .conftest import Record

Flow = Callable[[OrchestrationContext, int], Awaitable[object]]


class Receipt(BaseModel):
    number: str


class Bill(BaseModel):
    total: int


def deployed(flow: Flow) -> Registry:
    app = Registry()
    app.orchestration(name="process")(flow)

    @app.activity
    async def charge(cents: int) -> Receipt:
        return Receipt(number=f"r-{cents}")

    @app.activity
    async def pack(cents: int) -> None: ...

    @app.activity
    async def ship(cents: int) -> None: ...

    return app


async def original(ctx: OrchestrationContext, cents: int) -> str:
    receipt = await ctx.schedule_activity("charge", cents, result_type=Receipt)
    await asyncio.sleep(0.001)
    await ctx.schedule_activity("pack", cents)
    await ctx.schedule_activity("ship", cents)
    await ctx.schedule_wait("go")
    await ctx.schedule_wait("done")
    return receipt.number


async def another(ctx: OrchestrationContext, cents: int) -> str:
    return await original(ctx, cents)


async def deployed_elsewhere(ctx: OrchestrationContext, cents: int) -> None:
    await ctx.schedule_wait("done")


@pytest.fixture
async def document(record: Record) -> HistoryDocument:
    return await record(deployed(original), "process", "500", events=("go",))


def only(report: ReplayReport) -> CheckedExecution:
    (checked,) = report.executions
    return checked


def line_of(flow: Flow, offset: int) -> str:
    return f"{__name__}:{flow.__code__.co_firstlineno + offset} in {flow.__name__}"


async def test_code_that_agrees_is_told_where_it_stands(document: HistoryDocument) -> None:
    checked = only(check_history(document, deployed(original)))

    assert checked.verdict == "agrees"
    assert checked.differences == ()
    (task,) = checked.waiting
    assert task.name == "orchestration"
    assert task.stack == (line_of(original, 6),)
    assert (checked.instance, checked.execution) == ("order-1", 1)


async def test_code_that_only_looks_different_agrees(document: HistoryDocument) -> None:
    async def pay(ctx: OrchestrationContext, amount: int) -> Receipt:
        """The same steps, in functions of their own."""
        return await ctx.schedule_activity("charge", amount, result_type=Receipt)

    async def tidied(ctx: OrchestrationContext, amount: int) -> str:
        paid = await asyncio.create_task(pay(ctx, amount))
        await ctx.schedule_timer(timedelta(milliseconds=1))
        for step in ["pack", "ship"]:
            ctx.logger.info("now %s", step)
            await ctx.schedule_activity(step, amount)
        async with asyncio.timeout(None):
            await ctx.schedule_wait("go", on_invalid="raise")
        await ctx.schedule_wait("done")
        return f"{paid.number}"

    report = check_history(document, deployed(tidied), strict=True)

    assert report.agrees
    assert only(report).differences == ()


async def test_a_renamed_activity_is_found_with_the_event_both_sides_and_the_line(
    document: HistoryDocument,
) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge_card", cents)

    checked = only(check_history(document, deployed(edited)))

    assert checked.verdict == "disagrees"
    found = checked.disagreement
    assert found is not None
    assert found.event == 2
    assert found.history.startswith("ActivityScheduled(name='charge', input #")
    assert found.code.startswith("ActivityScheduled(name='charge_card', input #")
    assert found.where == line_of(edited, 1)
    assert str(found.event) in str(checked)
    assert found.where in str(checked)


async def test_an_inserted_step_is_found(document: HistoryDocument) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents)
        await ctx.schedule_activity("pack", cents)
        await asyncio.sleep(0.001)

    found = only(check_history(document, deployed(edited))).disagreement

    assert found is not None
    assert found.event == 4
    assert found.history.startswith("TimerCreated(")
    assert found.where == line_of(edited, 2)


async def test_a_step_that_is_inserted_where_the_instance_waits_is_found(
    document: HistoryDocument,
) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        receipt = await ctx.schedule_activity("charge", cents)
        await asyncio.sleep(0.001)
        await ctx.schedule_activity("pack", cents)
        await ctx.schedule_activity("ship", cents)
        await ctx.schedule_wait("go")
        ctx.schedule_activity("ship", receipt)
        await ctx.schedule_wait("done")

    assert not check_history(document, deployed(edited)).agrees


async def test_another_order_is_found(document: HistoryDocument) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents)
        await asyncio.sleep(0.001)
        await ctx.schedule_activity("ship", cents)
        await ctx.schedule_activity("pack", cents)

    found = only(check_history(document, deployed(edited))).disagreement

    assert found is not None
    assert found.history.startswith("ActivityScheduled(name='pack'")
    assert found.code.startswith("ActivityScheduled(name='ship'")


async def test_a_removed_wait_is_found_with_where_the_code_stands_instead(
    document: HistoryDocument,
) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents)
        await asyncio.sleep(0.001)
        await ctx.schedule_activity("pack", cents)
        await ctx.schedule_activity("ship", cents)
        await asyncio.Event().wait()

    checked = only(check_history(document, deployed(edited)))

    found = checked.disagreement
    assert found is not None
    assert (found.history, found.code) == ("WaitCreated(name='go')", "nothing")
    assert [task.stack for task in checked.waiting] == [(line_of(edited, 5),)]


async def test_a_changed_input_is_a_warning_with_its_path_and_without_its_value(
    document: HistoryDocument,
) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents + 777)
        await asyncio.sleep(0.001)
        await ctx.schedule_activity("pack", {"cents": 888})
        await ctx.schedule_activity("ship", cents)
        await ctx.schedule_wait("go")
        await ctx.schedule_wait("done")

    report = check_history(document, deployed(edited))

    assert report.agrees
    assert [(one.name, one.field, one.path) for one in only(report).differences] == [
        ("charge", "input", "$"),
        ("pack", "input", "$"),
    ]
    assert "warning: event 2 differs in input $ of ActivityScheduled 'charge'" in str(report)
    assert "777" not in str(report)

    strict = only(check_history(document, deployed(edited), strict=True))

    assert strict.disagreement is not None
    assert strict.disagreement.where == line_of(edited, 1)
    assert "differs in input at $" in str(strict)
    assert "1277" not in str(strict)


async def test_a_changed_timer_is_a_warning_and_strictly_a_disagreement(
    document: HistoryDocument,
) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents)
        await asyncio.sleep(3600)
        await ctx.schedule_activity("pack", cents)
        await ctx.schedule_activity("ship", cents)
        await ctx.schedule_wait("go")
        await ctx.schedule_wait("done")

    report = check_history(document, deployed(edited))

    assert report.agrees
    assert [(one.kind, one.field) for one in only(report).differences] == [
        ("TimerCreated", "fire_at")
    ]
    assert not check_history(document, deployed(edited), strict=True).agrees


async def test_a_changed_type_of_a_result_is_found(document: HistoryDocument) -> None:
    async def edited(ctx: OrchestrationContext, cents: int) -> None:
        await ctx.schedule_activity("charge", cents, result_type=Bill)
        await asyncio.sleep(0.001)

    checked = only(check_history(document, deployed(edited)))

    assert checked.disagreement is not None
    assert "InvalidPayload" in checked.disagreement.code


async def test_a_changed_type_of_an_input_is_found(document: HistoryDocument) -> None:
    async def edited(ctx: OrchestrationContext, bill: Bill) -> None:
        await ctx.schedule_activity("charge", bill.total)

    app = Registry()
    app.orchestration(name="process")(edited)

    checked = only(check_history(document, app))

    assert checked.disagreement is not None
    assert "InvalidPayload" in checked.disagreement.code


async def test_a_version_that_is_not_registered_any_more_is_found(
    document: HistoryDocument,
) -> None:
    app = Registry()
    app.orchestration(name="process", version="2.0.0")(deployed_elsewhere)

    checked = only(check_history(document, app))

    assert checked.disagreement is not None
    assert "'process' version 1.0.0 is not registered" in checked.disagreement.message


SEEDS = """
import asyncio, sys
import perdure
from perdure.testing import Stage, check_history

app = perdure.Registry()

@app.orchestration
async def process(ctx: perdure.OrchestrationContext) -> None:
    for step in {"pack", "ship", "bill", "mail", "file"}:  # the order of a set of texts
        ctx.schedule_activity(step)
    await ctx.schedule_wait("done")

async def write(path: str) -> None:
    async with Stage(app) as stage:
        await stage.client.start_orchestration("it", process)
        await stage.settle()
        with open(path, "w") as file:
            file.write((await stage.client.export_history("it")).to_json())

if sys.argv[1] == "write":
    asyncio.run(write(sys.argv[2]))
else:
    print(check_history(sys.argv[2], app).agrees)
"""


@pytest.mark.slow
def test_an_order_that_another_hash_seed_changes_is_found(tmp_path: Path) -> None:
    program, history = tmp_path / "program.py", tmp_path / "it.json"
    program.write_text(SEEDS, "utf-8")

    def run(what: str, seed: str) -> str:
        line = [sys.executable, str(program), what, str(history)]
        done = subprocess.run(
            line,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    run("write", "1")

    assert run("check", "1") == "True"
    assert run("check", "2") == "False"


async def limited(ctx: OrchestrationContext, cents: int) -> None:
    async def one(name: str) -> None:
        await ctx.schedule_activity(name, cents)

    await asyncio.gather(asyncio.wait_for(one("pack"), 60), asyncio.wait_for(one("ship"), 60))


LIMITS_FIRST: list[Event] = [
    TimerCreated(event_id=2, at=10, fire_at=60_000_010),
    TimerCreated(event_id=3, at=10, fire_at=60_000_010),
    ActivityScheduled(event_id=4, at=10, name="pack", input="5"),
    ActivityScheduled(event_id=5, at=10, name="ship", input="5"),
]
"""What Python 3.11 asks for in `limited`: its `wait_for` starts the coroutine as a task."""
ONE_BY_ONE: list[Event] = [
    replace(LIMITS_FIRST[0], event_id=2),
    replace(LIMITS_FIRST[2], event_id=3),
    replace(LIMITS_FIRST[1], event_id=4),
    replace(LIMITS_FIRST[3], event_id=5),
]
"""What later versions ask for."""


# Where the orders differ, the second coroutine is created and never run.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("python", "commands"), [("3.11", LIMITS_FIRST), ("3.12", ONE_BY_ONE)], ids=["3.11", "3.12"]
)
def test_an_order_that_another_python_changes_is_found_and_both_versions_are_named(
    python: str, commands: list[Event]
) -> None:
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    alike = (python == "3.11") is (this == "3.11")
    started = OrchestrationStarted(
        event_id=1,
        at=10,
        instance="order-1",
        incarnation="one",
        execution=1,
        name="process",
        version="1.0.0",
        input="5",
        python=python,
        engine=1,
    )

    checked = only(check_history([started, *commands], deployed(limited), strict=True))

    assert checked.verdict == ("agrees" if alike else "disagrees")
    assert (f"the history began on Python {python}, this is {this}" in str(checked)) is not alike
    gc.collect()  # here, and not in a later test


async def test_an_execution_that_the_runtime_ended_is_not_replayed(
    document: HistoryDocument,
) -> None:
    events = list(document.executions[0].events)
    poisoned = perdure.ApplicationFailure(perdure.Poisoned(work="order-1", attempts=5))
    events[2:] = [OrchestrationFailed(event_id=3, at=events[-1].at, details=poisoned)]

    checked = only(check_history(events, Registry()))

    assert (checked.verdict, checked.disagreement) == ("not replayed", None)


async def test_every_execution_of_an_instance_is_checked(record: Record) -> None:
    app = Registry()

    @app.orchestration
    async def count(ctx: OrchestrationContext, number: int) -> None:
        if number < 3:
            ctx.continue_as_new(number + 1)
        await ctx.schedule_wait("done")

    document = await record(app, "count", "1")

    report = check_history(document, app, strict=True)
    assert [(each.execution, each.verdict) for each in report.executions] == [
        (1, "agrees"),
        (2, "agrees"),
        (3, "agrees"),
    ]
    assert [len(each.waiting) for each in report.executions] == [0, 0, 1]


async def test_each_task_that_waits_is_named_with_its_stack(record: Record) -> None:
    async def inner(ctx: OrchestrationContext, name: str) -> None:
        await ctx.schedule_wait(name)

    async def flow(ctx: OrchestrationContext, cents: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner(ctx, "done"), name="first")
            group.create_task(inner(ctx, "other"), name="second")

    document = await record(deployed(flow), "process", "1")

    waiting = only(check_history(document, deployed(flow))).waiting

    assert [task.name for task in waiting] == ["orchestration", "first", "second"]
    assert [task.stack for task in waiting[1:]] == [
        (f"{__name__}:{inner.__code__.co_firstlineno + 1} in inner",)
    ] * 2
    assert str(waiting[1]).startswith("first waits at ")


async def test_a_report_raises_what_disagrees(document: HistoryDocument) -> None:
    check_history(document, deployed(original)).raise_if_disagrees()

    async def edited(ctx: OrchestrationContext, cents: int) -> None: ...

    with pytest.raises(AssertionError, match="order-1, execution 1"):
        check_history(document, deployed(edited)).raise_if_disagrees()


async def test_a_check_within_a_running_event_loop_and_without_one_say_the_same(
    document: HistoryDocument, tmp_path: Path
) -> None:
    path = tmp_path / "order-1.json"
    path.write_text(document.to_json(), "utf-8")

    within = check_history(path, deployed(original))
    without = await asyncio.to_thread(check_history, str(path), deployed(original))
    folder = await check_histories(tmp_path, deployed(original))

    assert within == without == folder
    assert within.agrees


async def test_a_storage_is_checked_by_its_client_and_by_its_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/live.db"
    app = deployed(original)
    app.orchestration(name="other")(another)
    async with Stage(app, url=url) as stage:
        client = stage.client
        for number in range(3):
            await client.start_orchestration(f"order-{number}", "process", "500")
            await client.start_orchestration(f"other-{number}", "other", "500")
        await stage.settle()
        await client.cancel_instance("order-0")
        await client.wait_for_orchestration("order-0")

        whole = await check_histories(client, app)
    by_url = await check_histories(url, app, orchestration="process", running=True)
    sample = await check_histories(url, app, sample=2)
    again = await check_histories(url, app, sample=2)

    assert whole.agrees
    assert len(whole.executions) == 6
    assert {each.instance for each in by_url.executions} == {"order-1", "order-2"}
    assert len(sample.executions) == 2
    assert sample == again


async def test_a_folder_without_a_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(perdure.InvalidInput, match="has no history"):
        await check_histories(tmp_path, Registry())


NOTHING_RUNS = """
import asyncio, json, sys
import perdure
import perdure.testing
from perdure.testing import check_histories, check_history

app = perdure.Registry()

@app.activity
async def charge(cents: int) -> str:
    print("an activity ran", file=sys.stderr)
    return "r"

@app.orchestration
async def process(ctx: perdure.OrchestrationContext, cents: int) -> str:
    await ctx.schedule_activity(charge, cents)
    await ctx.schedule_timer(3600)
    await ctx.schedule_wait("done")

loop = asyncio.new_event_loop()  # which has a socket of its own, to be woken by

def refuse(event: str, args: tuple) -> None:
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event.startswith(("socket.", "subprocess.", "os.", "sqlite3.")):
        if event not in ("os.scandir", "os.listdir"):
            print("refused", event, args, file=sys.stderr)
            raise SystemExit(3)

sys.addaudithook(refuse)
report = loop.run_until_complete(check_histories(sys.argv[1], app))
print(report.agrees, report == check_history(sys.argv[1] + "/it.json", app))
"""


def check_under_audit(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run the program on one history, with a hook that tells of everything that leaves the process."""
    started = {
        "instance": "it",
        "incarnation": "one",
        "execution": 1,
        "name": "process",
        "version": "1.0.0",
        "input": "500",
        "python": "3.11",
        "engine": 1,
        "format": 2,
    }
    events = [
        {"event_id": 1, "kind": "OrchestrationStarted", "at": 10, **started},
        {"event_id": 2, "kind": "ActivityScheduled", "at": 10, "name": "charge", "input": "500"},
        {"event_id": 3, "kind": "ActivityCompleted", "at": 20, "scheduled": 2, "result": '"r"'},
        {"event_id": 4, "kind": "TimerCreated", "at": 20, "fire_at": 3600000020},
    ]
    document = {
        "format": "perdure-history",
        "version": 1,
        "payloads": "full",
        "instance": "it",
        "orchestration": "process",
        "status": "Running",
        "executions": [{"number": 1, "events": events}],
    }
    (folder / "it.json").write_text(json.dumps(document), "utf-8")
    return subprocess.run(
        [sys.executable, "-B", "-c", program, str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_check_runs_no_activity_opens_no_socket_and_writes_nothing(tmp_path: Path) -> None:
    done = check_under_audit(tmp_path, NOTHING_RUNS)

    assert done.stderr == ""
    assert done.stdout == "True True\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "noticed"),
    [
        ("(await charge(cents))", "an activity ran"),
        ("__import__('socket').socket()", "refused socket.__new__"),
        ("__import__('io').open('written', 'w')", "refused open"),
        ("__import__('sqlite3').connect(':memory:')", "refused sqlite3.connect"),
    ],
    ids=["activity", "socket", "file", "database"],
)
def test_the_check_that_nothing_runs_would_notice(tmp_path: Path, does: str, noticed: str) -> None:
    line = "    await ctx.schedule_activity(charge, cents)\n"
    done = check_under_audit(tmp_path, NOTHING_RUNS.replace(line, f"    {does}\n{line}"))

    assert noticed in done.stderr
    assert not (tmp_path / "written").exists()
