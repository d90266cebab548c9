"""Traces: one for each instance, from the request that started it to its last child."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from textwrap import dedent

import perdure
import pytest
from opentelemetry import trace
from perdure.contract import DelegatingProvider
from perdure.errors import InvalidInput
from perdure.testing import Stage


def shop():
    app = perdure.Registry()
    app.tries = 0

    @app.activity
    async def charge(amount: int) -> int:
        app.tries += 1
        trace.get_current_span().set_attribute("in.activity", amount)
        if app.tries == 1:
            raise ConnectionError("the bank is away")
        return amount

    @app.activity
    def pack(item: str) -> str:
        with app.tracer.start_as_current_span("ask the warehouse"):
            return item

    @app.orchestration
    async def deliver(ctx: perdure.OrchestrationContext, item: str) -> str:
        return await ctx.schedule_activity(pack, item)

    @app.orchestration
    async def order(ctx: perdure.OrchestrationContext, item: str) -> str:
        retry = perdure.RetryPolicy(max_attempts=2, backoff=perdure.Fixed(timedelta(seconds=1)))
        await ctx.schedule_activity(charge, 10, retry=retry)
        return await ctx.schedule_sub_orchestration(deliver, item)

    @app.orchestration
    async def count(ctx: perdure.OrchestrationContext, left: int) -> str:
        if left:
            ctx.continue_as_new(left - 1)
        return "done"

    @app.orchestration
    async def fail(ctx: perdure.OrchestrationContext) -> None:
        raise ValueError("no such item")

    return app


async def test_one_trace_covers_request_orchestration_attempts_and_child(exported):
    app = shop()
    tracer = app.tracer = exported.tracers.get_tracer("application")
    async with Stage(app, plugins=[exported.plugin]) as stage:
        with tracer.start_as_current_span("request"):
            order = await stage.client.start_orchestration("order-1", "order", '"lamp"')
        assert await order.result() == "lamp"

    request, start = exported.span("request"), exported.span("start order")
    order, deliver = exported.span("orchestration order"), exported.span("orchestration deliver")
    first, second = exported.spans("activity charge")
    pack, asked = exported.span("activity pack"), exported.span("ask the warehouse")
    assert {span.context.trace_id for span in exported.exporter.get_finished_spans()} == {
        request.context.trace_id
    }
    parents = [(start, request), (order, start), (first, order), (second, order)]
    parents += [(deliver, order), (pack, deliver), (asked, pack)]
    for span, parent in parents:
        assert span.parent.span_id == parent.context.span_id, span.name
    assert [span.attributes["perdure.attempt"] for span in (first, second)] == [1, 2]
    assert first.status.status_code is trace.StatusCode.ERROR
    assert first.events[0].attributes["exception.message"] == "the bank is away"
    assert second.attributes["in.activity"] == 10
    assert order.attributes["perdure.status"] == "Completed"
    assert second.end_time <= order.end_time
    assert order.end_time - order.start_time >= 1_000_000_000  # the delay of the retry


async def test_turns_are_spans_that_the_storage_is_called_within_if_that_is_asked_for(exported):
    app = shop()
    tracer = app.tracer = exported.tracers.get_tracer("application")

    class Traced(DelegatingProvider):
        async def commit_turn(self, commit):
            with tracer.start_as_current_span("commit"):
                return await super().commit_turn(commit)

    class Driver:
        @perdure.hookimpl
        def perdure_wrap_provider(self, spec):
            return Traced

    plugins = [exported.plugin_with(turns=True), Driver()]
    async with Stage(app, plugins=plugins) as stage:
        deliver = await stage.client.start_orchestration("one", "deliver", '"lamp"')
        assert await deliver.result() == "lamp"

    deliver, pack = exported.span("orchestration deliver"), exported.span("activity pack")
    turns, commits = exported.spans("turn deliver"), exported.spans("commit")
    assert len(turns) == len(commits) == 2
    assert {turn.parent.span_id for turn in turns} == {deliver.context.span_id}
    assert [commit.parent.span_id for commit in commits] == [turn.context.span_id for turn in turns]
    assert pack.parent.span_id == deliver.context.span_id


async def test_a_restart_makes_no_span_twice(exported):
    app = shop()
    app.tracer = exported.tracers.get_tracer("application")
    async with Stage(app, plugins=[exported.plugin]) as stage:
        order = await stage.client.start_orchestration("order-1", "order", '"lamp"')
        await stage.until(lambda: app.tries == 1)
        await stage.restart()
        assert await order.result() == "lamp"
    assert sorted(exported.names()) == sorted(
        ["start order", "orchestration order", "orchestration deliver", "activity pack"]
        + ["activity charge"] * 2
        + ["ask the warehouse"]
    )


async def test_continued_and_rewound_executions_link_to_those_before(exported):
    app = shop()
    async with Stage(app, plugins=[exported.plugin]) as stage:
        count = await stage.client.start_orchestration("count-1", "count", "2")
        await count.wait()
        fail = await stage.client.start_orchestration("fail-1", "fail")
        await fail.wait()
        await stage.client.retry_instance("fail-1")
        await fail.wait()
    first, second, third = exported.spans("orchestration count")
    assert not first.links
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert [link.context.span_id for link in third.links] == [second.context.span_id]
    start = exported.span("start count")
    assert {span.parent.span_id for span in (first, second, third)} == {start.context.span_id}
    failed, again = exported.spans("orchestration fail")
    assert failed.status.description == "ValueError: no such item"
    assert [link.context.span_id for link in again.links] == [failed.context.span_id]


async def test_an_instance_that_was_started_without_the_plugin_has_a_trace_of_its_own(exported):
    app = shop()
    app.tracer = exported.tracers.get_tracer("application")
    async with (
        perdure.open_provider("memory://") as provider,
        perdure.Runtime(provider, app, plugins=[exported.plugin]),
    ):
        handle = await perdure.Client(provider).start_orchestration("alone", "deliver", '"lamp"')
        await handle.wait(timeout=10)
    pack, deliver = exported.span("activity pack"), exported.span("orchestration deliver")
    assert deliver.parent is None
    assert pack.parent.span_id == deliver.context.span_id
    assert pack.context.trace_id == deliver.context.trace_id
    # Other tracers of the application keep their own ids.
    exported.tracers.get_tracer("other").start_span("apart").end()
    assert exported.span("apart").context.trace_id != deliver.context.trace_id


WORKER = """
import asyncio, sys
import perdure
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from perdure.telemetry import OpenTelemetry

def line(span):
    of = span.parent.span_id if span.parent else 0
    return f"SPAN {span.name}|{span.context.trace_id}|{span.context.span_id}|{of}\\n"

tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
app = perdure.Registry()

@app.activity
async def first() -> None: pass

@app.activity
async def second() -> None: pass

@app.orchestration
async def part(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(second)

@app.orchestration
async def whole(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(first)
    await ctx.schedule_wait("go on", None)
    await ctx.schedule_sub_orchestration(part)

async def main():
    plugins = [OpenTelemetry(tracer_provider=tracers)]
    async with perdure.open_provider(sys.argv[1]) as provider:
        async with perdure.Runtime(provider, app, plugins=plugins) as runtime:
            print("READY", flush=True)
            await runtime.run_until_stopped()

asyncio.run(main())
"""


@pytest.mark.slow
def test_one_trace_goes_over_a_kill_and_a_restart_of_its_worker(exported, tmp_path):
    program, url = tmp_path / "worker.py", f"sqlite:///{tmp_path}/store.db"
    program.write_text(dedent(WORKER))

    def worker():
        command = [sys.executable, "-u", str(program), url]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def spans(process, until):
        found = {}
        for line in process.stdout:
            if line.startswith("SPAN "):
                name, *ids = line.removeprefix("SPAN ").split("|")
                found[name] = [int(each) for each in ids]
                if name == until:
                    return found
        raise AssertionError(f"no span {until!r}, but {found}")

    killed = worker()
    try:
        with perdure.BlockingClient.open(url, plugins=[exported.plugin]) as client:
            with exported.tracers.get_tracer("web").start_as_current_span("request"):
                client.start_orchestration("order-1", "whole")
            before = spans(killed, until="activity first")
            for _ in client.watch_instance("order-1"):
                if client.describe_instance("order-1").waits:
                    break
            os.kill(killed.pid, signal.SIGKILL)
            again = worker()
            try:
                client.raise_event("order-1", "go on", "null")
                after = spans(again, until="orchestration whole")
            finally:
                again.terminate()
                again.communicate(timeout=20)
    finally:
        killed.kill()
        killed.communicate(timeout=20)
    request, start = exported.span("request"), exported.span("start whole")
    trace_ids = {ids[0] for ids in [*before.values(), *after.values()]}
    assert trace_ids == {request.context.trace_id}
    whole, part = after["orchestration whole"], after["orchestration part"]
    assert before.keys() == {"activity first"}
    assert after.keys() == {"activity second", "orchestration part", "orchestration whole"}
    assert before["activity first"][2] == whole[1]
    assert after["activity second"][2] == part[1]
    assert (part[2], whole[2]) == (whole[1], start.context.span_id)


async def test_a_wrapper_sees_the_call_and_decides_its_outcome():
    app, calls = perdure.Registry(), []

    @app.activity
    def double(number: int) -> int:
        return number * 2

    @app.orchestration
    async def run(ctx: perdure.OrchestrationContext) -> int:
        return await ctx.schedule_activity(double, 4)

    class Wrapper:
        def __init__(self, name):
            self.name = name

        @perdure.hookimpl
        def perdure_wrap_activity(self):
            async def wrapper(call, proceed):
                calls.append((self.name, call.name, call.attempt))
                return await proceed() + 1

            return wrapper

    async with Stage(app, plugins=[Wrapper("outer"), Wrapper("inner")]) as stage:
        one = await stage.client.start_orchestration("one", "run")
        assert await one.result() == 10
    assert calls == [("outer", "double", 1), ("inner", "double", 1)]


async def test_a_wrapper_that_cannot_be_called_is_refused():
    class Wrong:
        @perdure.hookimpl
        def perdure_wrap_activity(self):
            return 3

    async with perdure.open_provider("memory://") as provider:
        with pytest.raises(InvalidInput, match="perdure_wrap_activity returned 3"):
            perdure.Runtime(provider, perdure.Registry(), plugins=[Wrong()])
