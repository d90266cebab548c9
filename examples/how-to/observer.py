"""Watching a runtime: counts for metrics from observed events, and depths from the storage."""

import asyncio
import logging
from collections import Counter

import perdure
from perdure.observe import ActivityEnded, ExecutionEnded, InstanceParked, RuntimeEvent

app = perdure.Registry()
counts: Counter[str] = Counter()


class Metrics:
    """Hands what happens to your metrics library; it must return quickly."""

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        match event:
            case ActivityEnded():
                counts[f"activity {event.name} {event.outcome}"] += 1
            case ExecutionEnded():
                counts[f"orchestration {event.orchestration} {event.status}"] += 1
            case InstanceParked():
                counts[f"parked {event.reason}"] += 1
            case _:
                pass


class Lines(logging.Handler):
    """Keeps the lines that Perdure logs, with the instance that each is about."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        instance = getattr(record, "perdure_instance", "-")
        self.lines.append(f"{record.levelname} {record.name} {instance}")


@app.activity
async def loud() -> None:
    raise ConnectionError("no answer")


@app.activity
async def quiet() -> None:
    raise ConnectionError("no answer either")


@app.orchestration
async def calls(ctx: perdure.OrchestrationContext) -> None:
    await asyncio.gather(
        ctx.schedule_activity(loud), ctx.schedule_activity(quiet), return_exceptions=True
    )
    ctx.schedule_activity(loud)  # the await is forgotten


async def main() -> None:
    handler = Lines()
    logging.getLogger("perdure").addHandler(handler)
    logging.getLogger("perdure.activity.quiet").setLevel(logging.CRITICAL)
    async with (
        perdure.open_provider("memory://") as provider,
        perdure.Runtime(provider, app, plugins=[Metrics()]) as runtime,
    ):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("calls-1", calls)
        await handle.result(timeout=10)
        assert (await client.get_queue_depths()).worker_queue == 0
        assert runtime.statistics.turns_committed > 0
    assert counts["orchestration calls Completed"] == 1
    assert counts["activity loud failed"] == 1, counts
    assert handler.lines == [
        "ERROR perdure.activity.loud calls-1",
        "WARNING perdure.orchestration.calls calls-1",
    ]


asyncio.run(main())
